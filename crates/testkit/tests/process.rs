//! Real processes: shells.

#![allow(clippy::unwrap_used, reason = "a failure to set up is a failure of the test")]

use std::{path::Path, process::Command, time::Duration};

use privatix_testkit::{FileServer, Process, TestkitError, free_port, temp_dir, wait_until, workspace_bin};

const LIMIT: Duration = Duration::from_secs(20);

fn shell(script: &str) -> Process {
    Process::builder("shell", "/bin/sh").args(["-c", script]).spawn().unwrap()
}

/// A zombie that nobody reaps (in a container without an init) is dead, too.
fn is_alive(pid: &str) -> bool {
    if Path::new("/proc/self/stat").exists() {
        // "pid (name) state ..."
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        return stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'));
    }
    let state = Command::new("ps").args(["-o", "stat=", "-p", pid]).output().unwrap().stdout;
    !state.is_empty() && !state.starts_with(b"Z")
}

#[tokio::test]
async fn lines_are_awaited_from_the_start_or_from_a_mark() {
    let mut process =
        shell("echo ready on 1; sleep 0.1; echo oops >&2; sleep 0.1; echo ready on 2; sleep 60");
    assert_eq!(process.wait_for_line("ready", LIMIT).await.unwrap(), "ready on 1");
    let mark = process.log_mark();
    assert_eq!(process.wait_for_line_after(mark, "ready", LIMIT).await.unwrap(), "ready on 2");
    assert!(process.log().contains("oops"), "standard error is kept, too");
}

#[tokio::test]
async fn an_early_end_is_told_with_the_log() {
    let mut process = shell("echo cannot open the database; exit 3");
    let error = process.wait_for_line("ready", LIMIT).await.unwrap_err();
    assert!(matches!(&error, TestkitError::Exited { status, .. } if status.code() == Some(3)), "{error}");
    assert!(error.to_string().contains("cannot open the database"), "{error}");
}

#[tokio::test]
async fn a_line_printed_just_before_the_end_is_found() {
    assert_eq!(shell("echo done").wait_for_line("done", LIMIT).await.unwrap(), "done");
}

#[tokio::test]
async fn a_line_that_does_not_come_is_a_timeout_with_the_log() {
    let mut process = shell("echo starting; sleep 60");
    process.wait_for_line("starting", LIMIT).await.unwrap();
    let error = process.wait_for_line("ready", Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, TestkitError::NotInTime { .. }), "{error}");
    assert!(error.to_string().ends_with("starting"), "{error}");
}

#[tokio::test]
async fn sigterm_lets_it_end_in_order_and_is_bounded() {
    let mut polite = shell("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done");
    polite.wait_for_line("ready", LIMIT).await.unwrap();
    assert_eq!(polite.terminate(LIMIT).await.unwrap().code(), Some(7));
    assert!(polite.log().ends_with("bye\n"));
    assert_eq!(polite.kill().unwrap().code(), Some(7), "killing what has ended changes nothing");

    let mut deaf = shell("trap '' TERM; echo ready; while :; do sleep 0.05; done");
    deaf.wait_for_line("ready", LIMIT).await.unwrap();
    let error = deaf.terminate(Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(error, TestkitError::NotInTime { .. }), "{error}");
    assert_eq!(deaf.kill().unwrap().code(), None, "SIGKILL always works");
}

#[tokio::test]
async fn its_children_die_with_it() {
    for end in ["drop", "kill", "own end"] {
        let script =
            if end == "own end" { "sleep 600 & echo child $!" } else { "sleep 600 & echo child $!; wait" };
        let mut process = shell(script);
        let line = process.wait_for_line("child", LIMIT).await.unwrap();
        let child = line.strip_prefix("child ").unwrap();
        match end {
            "drop" => drop(process),
            "kill" => drop(process.kill().unwrap()),
            _ => drop(process.wait_exit(LIMIT).await.unwrap()),
        }
        wait_until(format!("the end of the child at {end}"), LIMIT, async || !is_alive(child)).await.unwrap();
    }
}

/// Not a test of its own: what the next one runs in another process and kills.
#[tokio::test]
async fn victim() {
    let Some(file) = std::env::var_os("TESTKIT_VICTIM") else { return };
    let mut process = shell("sleep 600 & echo child $!; wait");
    let line = process.wait_for_line("child", LIMIT).await.unwrap();
    std::fs::write(file, format!("{} {}", process.pid(), line.strip_prefix("child ").unwrap())).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_test_that_is_itself_killed_leaves_nothing_behind() {
    let dir = temp_dir().unwrap();
    let file = dir.path().join("pids");
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim"])
        .env("TESTKIT_VICTIM", &file)
        .spawn()
        .unwrap();
    let pids = privatix_testkit::wait_for("the process ids", LIMIT, async || read_pids(&file)).await.unwrap();
    assert!(pids.iter().all(|pid| is_alive(pid)));
    test.kill().unwrap(); // SIGKILL: no destructor runs
    test.wait().unwrap();
    wait_until("the end of both", LIMIT, async || !pids.iter().any(|pid| is_alive(pid))).await.unwrap();
}

fn read_pids(file: &Path) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    let pids: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    if pids.len() == 2 { Ok(pids) } else { Err(text) }
}

#[tokio::test]
async fn a_paused_process_goes_on_later() {
    let mut process = shell("echo ready; n=0; while :; do n=$((n+1)); echo beat $n; sleep 0.02; done");
    process.wait_for_line("beat 1", LIMIT).await.unwrap();
    process.pause().unwrap();
    let stopped = async || {
        let before = process.log_mark();
        tokio::time::sleep(Duration::from_millis(100)).await;
        process.log_mark() == before
    };
    wait_until("silence", LIMIT, stopped).await.unwrap();
    let mark = process.log_mark();
    process.resume().unwrap();
    process.wait_for_line_after(mark, "beat", LIMIT).await.unwrap();
}

#[tokio::test]
async fn health_is_awaited() {
    let server = FileServer::start(1).await.unwrap();
    let mut process = shell("sleep 600");
    process.wait_healthy(&server.url(), LIMIT).await.unwrap();
    let dead = format!("http://127.0.0.1:{}/", free_port().unwrap());
    let error = process.wait_healthy(&dead, Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(error, TestkitError::NotInTime { .. }), "{error}");
}

#[test]
fn a_program_that_is_missing_is_named() {
    let error = Process::builder("agentd", "/no/such/agentd").spawn().unwrap_err();
    assert_eq!(error.to_string(), "cannot start agentd (/no/such/agentd)");
}

#[tokio::test]
async fn a_binary_of_the_workspace_is_built_and_run() {
    let program = tokio::task::spawn_blocking(|| workspace_bin("xtask", "xtask")).await.unwrap().unwrap();
    let mut process = Process::builder("xtask", program).arg("--help").spawn().unwrap();
    assert!(process.wait_exit(LIMIT).await.unwrap().success());
    assert!(process.log().contains("Usage: cargo xtask"), "{}", process.log());
}

#[test]
fn a_binary_that_does_not_exist_is_named() {
    let error = workspace_bin("xtask", "no-such-binary").unwrap_err();
    assert!(matches!(&error, TestkitError::Build { name, .. } if name == "no-such-binary"), "{error}");
}
