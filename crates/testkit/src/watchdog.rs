use std::{
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

/// A shell that kills a process group when the test process dies without dropping its parts: SIGKILL, a time limit of
/// the test runner, `abort`. It waits at a pipe whose other end only the test process holds.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Guards the process group `group`.
    pub(crate) fn new(group: u32) -> io::Result<Self> {
        let shell = Command::new("/bin/sh")
            .args(["-c", r#"read -r line || kill -KILL "-$0""#, &group.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0) // outlives what kills the test's own group
            .spawn()?;
        Ok(Self { shell })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // A line means that all is well. Nothing can be done about an error here, and nothing is lost by it.
        if let Some(mut stdin) = self.shell.stdin.take() {
            let _ = stdin.write_all(b"\n");
        }
        let _ = self.shell.wait();
    }
}
