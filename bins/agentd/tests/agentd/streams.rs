//! Standard output, standard error and the terminal can fail in every way without harm.

use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeReader, pipe};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use privatix_testkit::wait_for;

use crate::bad_input::offline;
use crate::market;
use crate::support::{Home, LONG};

fn full_disk() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A pipe that nobody reads any more.
fn without_reader() -> Stdio {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    writer.into()
}

/// Lines of the log that were lost, as the daemon counts them.
async fn lost_lines(home: &Home) -> u64 {
    let page = reqwest::Client::builder().no_proxy().build().unwrap().get(format!("{}/metrics", home.url()));
    let text = page.bearer_auth(home.token()).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("privatix_log_lines_lost_total "));
    line.unwrap_or_else(|| panic!("no count in {text}")).parse().unwrap()
}

/// The daemon does what it is there for.
fn works(home: &Home) {
    assert_eq!(home.ask(&["status"])["role"], "agent");
    home.ask(&["deposit", "1000", "--wait"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_on_a_full_disk_does_not_harm_the_daemon() {
    let (_anvil, _, home) = market().await;
    let mut daemon = home.start_as(home.builder().stderr(full_disk())).await;
    works(&home);
    assert!(lost_lines(&home).await > 0);
    assert_eq!(daemon.terminate(LONG).await.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_log_that_goes_away_does_not_harm_the_daemon() {
    let (_anvil, _, mut home) = market().await;
    home.set("LOG__LEVEL", "debug");
    let (reader, writer) = pipe().unwrap();
    let mut daemon = home.start_as(home.builder().stderr(writer)).await;
    let first: Vec<String> = BufReader::new(reader).lines().take(3).map(Result::unwrap).collect();
    assert_eq!(first.len(), 3); // and the reader is gone
    works(&home);
    assert!(lost_lines(&home).await > 0);
    assert_eq!(daemon.terminate(LONG).await.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_log_that_never_reads_does_not_hold_up_the_daemon() {
    let (_anvil, _, mut home) = market().await;
    // Fills the pipe and the queue in a while.
    home.set("LOG__LEVEL", "trace");
    home.set("CHAIN__POLL_INTERVAL", "1ms");
    let (reader, writer): (PipeReader, _) = pipe().unwrap();
    let mut daemon = home.start_as(home.builder().stderr(writer)).await;
    let lost = wait_for("lost lines", LONG, async || {
        home.ask(&["status"]);
        match lost_lines(&home).await {
            0 => Err("none is lost yet"),
            _ => Ok(()),
        }
    });
    lost.await.unwrap();
    works(&home);
    assert_eq!(daemon.terminate(LONG).await.unwrap().code(), Some(0));
    drop(reader);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_ends_with_its_usual_code_whatever_becomes_of_its_message() {
    let (_anvil, _, home) = market().await;
    std::fs::write(home.file("password"), "wrong").unwrap();
    for stderr in [Stdio::from(full_disk()), without_reader()] {
        let mut daemon = home.builder().stderr(stderr).spawn().unwrap();
        assert_eq!(daemon.wait_exit(LONG).await.unwrap().code(), Some(2));
    }
}

/// A command of a folder that needs no chain, with nothing to read.
fn command(home: &Home, arguments: &[&str]) -> Command {
    let mut command = Command::new(&home.program);
    command.args(arguments).envs(home.env.clone()).stdin(Stdio::null());
    command
}

#[test]
fn a_command_whose_answer_nobody_reads_ends_quietly() {
    let home = offline();
    let config = home.config();
    let check = ["--config", config.to_str().unwrap(), "config", "check", "--offline"];
    let example = ["offerings", "create", "--template-example"];
    for arguments in [&["--help"][..], &["run", "--help"], &["--version"], &check, &example] {
        let ended = command(&home, arguments).stdout(without_reader()).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("error"), "{arguments:?}: {said}");
    }
    for arguments in [&["nonsense"][..], &[], &["--config", "/nowhere", "status"]] {
        let mut command = command(&home, arguments);
        let ended = command.stdout(without_reader()).stderr(without_reader()).status().unwrap();
        assert_eq!(ended.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let home = offline();
    let config = home.config();
    let check = ["--config", config.to_str().unwrap(), "config", "check", "--offline"];
    let ended = command(&home, &check).stdout(full_disk()).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot write standard output"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_goes_away_ends_the_daemon_in_order() {
    let (_anvil, _, home) = market().await;
    let mut daemon = home.start().await;
    // The kernel and the shell both send one.
    daemon.hang_up().unwrap();
    daemon.hang_up().unwrap();
    let ended = daemon.wait_exit(LONG).await.unwrap();
    assert_eq!((ended.code(), ended.signal()), (Some(0), None));
    assert!(daemon.log().contains("agentd has ended"), "{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn under_nohup_a_daemon_outlives_its_terminal() {
    let (_anvil, _, home) = market().await;
    let mut daemon = home.start_as(home.builder_in("nohup")).await;
    daemon.hang_up().unwrap();
    works(&home);
    daemon.hang_up().unwrap();
    works(&home);
    assert!(!daemon.log().contains("shutting down"), "{}", daemon.log());
    assert_eq!(daemon.terminate(LONG).await.unwrap().code(), Some(0));
}
