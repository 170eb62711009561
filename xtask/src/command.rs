//! Running other programs.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    io::{self, BufRead as _, BufReader, ErrorKind, IsTerminal as _, PipeReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use crate::Result;

/// Cargo as this process was started by.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// `npm run <script>` in the contracts folder.
pub fn npm_script(script: &str) -> Command {
    let mut command = Command::new("npm");
    command.args(["run", "--silent", script]).current_dir(privatix_testkit::toolchain::contracts_dir());
    command
}

/// A command that did not succeed.
#[derive(Debug)]
pub struct Failed {
    /// The command, and how it ended.
    pub what: String,
    /// The last lines that it printed, unless a terminal shows them.
    pub printed: Vec<String>,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failed {}

/// Prints a command as one would type it, and runs it with its output shown.
///
/// # Errors
/// [`Failed`] unless it succeeds.
pub fn run(command: &mut Command) -> Result<()> {
    run_for(command, None)
}

/// As [`run`], but ends it when it takes longer than `limit`.
pub fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    run_for(command, Some(limit))
}

fn run_for(command: &mut Command, limit: Option<Duration>) -> Result<()> {
    println!("$ {}", shown(command));
    let shown_again = if io::stdout().is_terminal() { None } else { Some(Shown::of(command)?) };
    let spawned = command.stdin(Stdio::null()).spawn();
    // The command holds the pipe's other end, which would keep it open for ever.
    command.stdout(Stdio::inherit()).stderr(Stdio::inherit());
    let mut child = spawned.map_err(|e| cannot_run(command, &e))?;
    let status = match limit {
        Some(limit) => wait(&mut child, limit)?,
        None => Some(child.wait()?),
    };
    let printed = shown_again.map(Shown::last).unwrap_or_default();
    let what = match (status, limit.unwrap_or_default()) {
        (Some(status), _) if status.success() => return Ok(()),
        (Some(status), _) => format!("`{}` failed ({status})", shown(command)),
        (None, limit) => format!("`{}` did not end within {}", shown(command), minutes(limit)),
    };
    Err(Failed { what, printed }.into())
}

/// Lines of a command's output that are kept.
const KEPT: usize = 120;
/// For the output of a command that has ended: processes that it left behind may keep the pipe open.
const DRAINED_WITHIN: Duration = Duration::from_secs(5);

/// The output of a command, which is shown as it comes and remembered.
struct Shown {
    lines: Arc<Mutex<VecDeque<String>>>,
    /// Closed at the end of the output.
    ended: mpsc::Receiver<()>,
}

impl Shown {
    fn of(command: &mut Command) -> Result<Self> {
        let (reader, writer) = io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let (sender, ended) = mpsc::channel();
        let kept = Arc::clone(&lines);
        thread::spawn(move || {
            show(reader, &kept);
            drop(sender);
        });
        Ok(Self { lines, ended })
    }

    fn last(self) -> Vec<String> {
        let _ = self.ended.recv_timeout(DRAINED_WITHIN);
        lock(&self.lines).drain(..).collect()
    }
}

/// Shows lines until there are no more, or nobody can be shown any.
fn show(reader: PipeReader, kept: &Mutex<VecDeque<String>>) {
    let (mut reader, mut line) = (BufReader::new(reader), Vec::new());
    while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        if io::stdout().write_all(&line).is_err() {
            return;
        }
        let mut kept = lock(kept);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
}

fn lock(lines: &Mutex<VecDeque<String>>) -> MutexGuard<'_, VecDeque<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait(child: &mut Child, limit: Duration) -> Result<Option<std::process::ExitStatus>> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// What a command prints on standard output. Fails unless it succeeds.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| cannot_run(command, &e))?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("`{}` failed ({}): {said}", shown(command), output.status).into())
}

/// Whether a command can be run and succeeds, its output thrown away.
pub fn succeeds(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A time for people: `0.4 s`, `12 s`, `3 min 05 s`.
pub fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{seconds}.{} s", time.subsec_millis() / 100),
        10..60 => format!("{seconds} s"),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

pub(crate) fn cannot_run(command: &Command, error: &std::io::Error) -> String {
    let program = command.get_program().to_string_lossy();
    if error.kind() == ErrorKind::NotFound {
        format!("`{program}` is not installed or not on PATH")
    } else {
        format!("cannot run `{program}`: {error}")
    }
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_stem().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_to_read() {
        assert_eq!(minutes(Duration::from_millis(449)), "0.4 s");
        assert_eq!(minutes(Duration::from_millis(12_900)), "12 s");
        assert_eq!(minutes(Duration::from_secs(185)), "3 min 05 s");
    }

    #[test]
    fn a_failing_command_is_named_with_its_status() {
        let error = run(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert_eq!(error, "`sh -c exit 3` failed (exit status: 3)");
        let error = run(Command::new("/bin/sh").args(["-c", "echo one; echo two >&2; exit 1"])).unwrap_err();
        let printed = &error.downcast_ref::<Failed>().unwrap().printed;
        assert_eq!(*printed, if io::stdout().is_terminal() { vec![] } else { vec!["one", "two"] });
        let error = run(&mut Command::new("no-such-program")).unwrap_err().to_string();
        assert_eq!(error, "`no-such-program` is not installed or not on PATH");
        let error =
            output(Command::new("/bin/sh").args(["-c", "echo why >&2; exit 1"])).unwrap_err().to_string();
        assert!(error.ends_with(": why"), "{error}");
    }

    #[test]
    fn the_last_lines_are_kept_and_one_that_was_left_behind_keeps_nobody() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "seq 1 200"]);
        let output = Shown::of(&mut command).unwrap();
        let mut child = command.spawn().unwrap();
        drop(command);
        child.wait().unwrap();
        let last = output.last();
        assert_eq!((last.len(), last.first().unwrap().as_str()), (KEPT, "81"));

        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 600 & echo $!"]);
        let output = Shown::of(&mut command).unwrap();
        command.spawn().unwrap().wait().unwrap();
        let left = output.last();
        assert!(succeeds(Command::new("kill").args(&left)), "{left:?}");
    }

    #[test]
    fn a_hanging_command_is_ended() {
        let mut hanging = Command::new("/bin/sh");
        let error =
            run_within(hanging.args(["-c", "exec sleep 600"]), Duration::from_millis(100)).unwrap_err();
        assert!(error.to_string().contains("did not end within 0.1 s"), "{error}");
        run_within(&mut Command::new("true"), Duration::from_mins(1)).unwrap();
    }
}
