use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{TestkitError, temp_dir, toolchain::tail, watchdog::Watchdog};

const POLL: Duration = Duration::from_millis(10);
const SHOWN_LINES: usize = 60;

/// How to start a [`Process`].
#[derive(Debug)]
pub struct ProcessBuilder {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    log: Option<PathBuf>,
    stderr: Option<Stdio>,
}

impl ProcessBuilder {
    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable, beside the inherited ones.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The working directory; the test's own when not given.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// The file to append standard output and error to; one in a temporary directory when not given.
    #[must_use]
    pub fn log_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Where standard error goes instead of the log file: a pipe, a device.
    #[must_use]
    pub fn stderr(mut self, to: impl Into<Stdio>) -> Self {
        self.stderr = Some(to.into());
        self
    }

    /// Starts the process.
    pub fn spawn(self) -> Result<Process, TestkitError> {
        let (log_path, log_dir) = if let Some(path) = self.log {
            (path, None)
        } else {
            let dir = temp_dir()?;
            (dir.path().join("process.log"), Some(dir))
        };
        let log_error = |source| TestkitError::File { action: "open", path: log_path.clone(), source };
        let out = OpenOptions::new().create(true).append(true).open(&log_path).map_err(log_error)?;
        let log_start = out.metadata().map_err(log_error)?.len();
        let err = match self.stderr {
            Some(stderr) => stderr,
            None => out.try_clone().map_err(log_error)?.into(),
        };

        let mut command = Command::new(&self.program);
        command.args(self.args).envs(self.env).stdin(Stdio::null()).stdout(out).stderr(err);
        command.process_group(0);
        if let Some(dir) = self.dir {
            command.current_dir(dir);
        }
        let spawn_error =
            |source| TestkitError::Spawn { name: self.name.clone(), program: self.program.clone(), source };
        let mut child = command.spawn().map_err(spawn_error)?;
        let watchdog = match Watchdog::new(child.id()) {
            Ok(watchdog) => watchdog,
            Err(source) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(spawn_error(source));
            }
        };
        Ok(Process {
            name: self.name,
            child,
            exited: None,
            log_path,
            log_start,
            _log_dir: log_dir,
            _watchdog: watchdog,
        })
    }
}

/// A program under test, in a process group of its own with all that it starts.
///
/// Dropped, it is killed with SIGKILL together with its group; if the test is panicking, the end of its log is printed.
/// A test process that dies without dropping anything takes it along, too.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    exited: Option<ExitStatus>,
    log_path: PathBuf,
    /// What an earlier process left in the log file.
    log_start: u64,
    _log_dir: Option<TempDir>,
    _watchdog: Watchdog,
}

impl Process {
    /// A process called `name` in messages, running `program`.
    pub fn builder(name: impl Into<String>, program: impl Into<PathBuf>) -> ProcessBuilder {
        ProcessBuilder {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            dir: None,
            log: None,
            stderr: None,
        }
    }

    /// The process id, which is the id of its group as well.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, if it has ended.
    pub fn try_exit(&mut self) -> Result<Option<ExitStatus>, TestkitError> {
        if self.exited.is_none() {
            self.exited = self.child.try_wait().map_err(|source| self.signal_error("await", source))?;
            if self.exited.is_some() {
                self.kill_group(); // what it left behind, while its id is surely not another's
            }
        }
        Ok(self.exited)
    }

    /// Where its output goes.
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// All that it has printed.
    pub fn log(&self) -> String {
        self.log_from(0)
    }

    /// A mark at the log's present end, for [`Self::wait_for_line_after`].
    pub fn log_mark(&self) -> u64 {
        self.log_path.metadata().map_or(0, |m| m.len().saturating_sub(self.log_start))
    }

    fn log_from(&self, mark: u64) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&self.log_path)?;
            file.seek(SeekFrom::Start(self.log_start + mark))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_or_else(|e| format!("(no log: {e})"), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits until the log has a complete line with `text` in it, from the start on, and returns that line.
    pub async fn wait_for_line(&mut self, text: &str, limit: Duration) -> Result<String, TestkitError> {
        self.wait_for_line_after(0, text, limit).await
    }

    /// As [`Self::wait_for_line`], but looks only at what came after `mark`.
    pub async fn wait_for_line_after(
        &mut self,
        mark: u64,
        text: &str,
        limit: Duration,
    ) -> Result<String, TestkitError> {
        let find = |process: &mut Self| {
            let log = process.log_from(mark);
            log.split_inclusive('\n')
                .filter_map(|line| line.strip_suffix('\n'))
                .find(|line| line.contains(text))
                .map(str::to_owned)
        };
        self.wait_while_alive(&format!("line with {text:?}"), limit, async |process| find(process)).await
    }

    /// Waits until an HTTP GET of `url` answers with a success status.
    pub async fn wait_healthy(&mut self, url: &str, limit: Duration) -> Result<(), TestkitError> {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build();
        let awaited = format!("success from {url}");
        self.wait_while_alive(&awaited, limit, async |_| {
            let response = client.as_ref().ok()?.get(url).send().await.ok()?;
            response.status().is_success().then_some(())
        })
        .await
    }

    /// Asks `found` until it gives a value, the process ends, or `limit` is over.
    pub(crate) async fn wait_while_alive<T>(
        &mut self,
        awaited: &str,
        limit: Duration,
        mut found: impl AsyncFnMut(&mut Self) -> Option<T>,
    ) -> Result<T, TestkitError> {
        let deadline = Instant::now() + limit;
        loop {
            // Asked before the last look, so that what it printed just before its end still counts.
            let ended = self.try_exit()?;
            if let Ok(Some(value)) = tokio::time::timeout_at(deadline, found(self)).await {
                return Ok(value);
            }
            let (name, awaited) = (self.name.clone(), awaited.to_owned());
            if let Some(status) = ended {
                return Err(TestkitError::Exited { name, status, awaited, log: self.shown_log() });
            }
            if Instant::now() >= deadline {
                return Err(TestkitError::NotInTime { name, awaited, limit, log: self.shown_log() });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until it ends by itself.
    pub async fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus, TestkitError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.try_exit()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                let (name, awaited) = (self.name.clone(), "end".to_owned());
                return Err(TestkitError::NotInTime { name, awaited, limit, log: self.shown_log() });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends SIGTERM to the process (not to its group: children are its own business) and waits until it ends.
    pub async fn terminate(&mut self, limit: Duration) -> Result<ExitStatus, TestkitError> {
        self.signal("terminate", Signal::TERM)?;
        self.wait_exit(limit).await
    }

    /// Sends SIGHUP, as a terminal that goes away does, and returns at once.
    pub fn hang_up(&mut self) -> Result<(), TestkitError> {
        self.signal("hang up", Signal::HUP)
    }

    /// Kills it and its group with SIGKILL, as a crash or a power cut would, and waits until it is gone.
    pub fn kill(&mut self) -> Result<ExitStatus, TestkitError> {
        if let Some(status) = self.try_exit()? {
            return Ok(status);
        }
        self.kill_group();
        let status = self.child.wait().map_err(|source| self.signal_error("await", source))?;
        Ok(*self.exited.insert(status))
    }

    /// Stops it with SIGSTOP: it keeps its sockets but no longer answers.
    pub fn pause(&mut self) -> Result<(), TestkitError> {
        self.signal("pause", Signal::STOP)
    }

    /// Lets a paused process go on.
    pub fn resume(&mut self) -> Result<(), TestkitError> {
        self.signal("resume", Signal::CONT)
    }

    /// Signals the process unless it has ended: its id may belong to another by then.
    fn signal(&mut self, action: &'static str, signal: Signal) -> Result<(), TestkitError> {
        if self.try_exit()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&self.child), signal)
            .map_err(|errno| self.signal_error(action, errno.into()))
    }

    fn kill_group(&self) {
        // An error means that the group is gone.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
    }

    fn shown_log(&self) -> String {
        tail(&self.log(), SHOWN_LINES)
    }

    fn signal_error(&self, action: &'static str, source: io::Error) -> TestkitError {
        TestkitError::Signal { action, name: self.name.clone(), source }
    }
}

impl Drop for Process {
    #[allow(clippy::print_stderr, reason = "the test harness shows it with the failed test")]
    fn drop(&mut self) {
        let _ = self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} (process {}) printed last:\n{}\n---", self.name, self.pid(), self.shown_log());
        }
    }
}

/// The path of a binary of this workspace, such as `agentd`, in the profile of the running test.
///
/// Cargo builds binaries only for the tests of their own package, so this builds it first: nothing to do, in a second,
/// when it is fresh. With `PRIVATIX_PREBUILT=1` (set by `cargo xtask test`) the existing one is taken.
pub fn workspace_bin(package: &str, name: &str) -> Result<PathBuf, TestkitError> {
    let here = std::env::current_exe().map_err(|source| TestkitError::File {
        action: "find",
        path: PathBuf::from("the running test"),
        source,
    })?;
    // <target>/<profile>/deps/<test> or <target>/<profile>/<program>
    let profile_dir = here
        .ancestors()
        .skip(1)
        .find(|dir| !dir.ends_with("deps") && !dir.ends_with("examples"))
        .unwrap_or(Path::new("."));
    let path = profile_dir.join(name);
    if std::env::var_os("PRIVATIX_PREBUILT").is_some_and(|v| v == "1") && path.is_file() {
        return Ok(path);
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--package", package, "--bin", name]);
    command.current_dir(crate::toolchain::workspace_root());
    if let Some(target) = profile_dir.parent() {
        command.arg("--target-dir").arg(target);
    }
    if profile_dir.ends_with("release") {
        command.arg("--release");
    }
    // Cargo's progress and errors show up as the test's own output.
    let status = command.stdin(Stdio::null()).status().map_err(|source| TestkitError::Spawn {
        name: "cargo".to_owned(),
        program: "cargo".into(),
        source,
    })?;
    if status.success() { Ok(path) } else { Err(TestkitError::Build { name: name.to_owned(), status }) }
}
