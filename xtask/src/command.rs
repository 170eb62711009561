//! Running other programs.

use std::{
    ffi::OsStr,
    io::ErrorKind,
    path::Path,
    process::{Child, Command, Stdio},
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

/// Prints a command as one would type it, and runs it with its output shown. Fails unless it succeeds.
pub fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", shown(command));
    let status = command.stdin(Stdio::null()).status().map_err(|e| cannot_run(command, &e))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed ({status})", shown(command)).into()) }
}

/// As [`run`], but ends it when it takes longer than `limit`.
pub fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    println!("$ {}", shown(command));
    let mut child = command.stdin(Stdio::null()).spawn().map_err(|e| cannot_run(command, &e))?;
    let status = wait(&mut child, limit)?;
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("`{}` failed ({status})", shown(command)).into()),
        None => Err(format!("`{}` did not end within {}", shown(command), minutes(limit)).into()),
    }
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
        let error = run(&mut Command::new("no-such-program")).unwrap_err().to_string();
        assert_eq!(error, "`no-such-program` is not installed or not on PATH");
        let error =
            output(Command::new("/bin/sh").args(["-c", "echo why >&2; exit 1"])).unwrap_err().to_string();
        assert!(error.ends_with(": why"), "{error}");
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
