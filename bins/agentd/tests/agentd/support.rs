//! Daemons as their users have them: a folder made by `init`, a process, a command line.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use privatix_testkit::{Anvil, Contracts, Process, ProcessBuilder, TempDir, temp_dir, wait_for};
use serde_json::Value;

/// A guard against hangs, not a measure.
pub(crate) const LONG: Duration = Duration::from_mins(2);

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Its answer, which must be a success and JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that it failed with this code and says all of this.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for text in says {
            assert!(self.stderr.contains(text), "{text:?} is not in {self:?}");
        }
        let error = self.stderr.lines().position(|line| line.starts_with("error: "));
        assert!(error.is_some(), "{self:?}");
    }

    #[track_caller]
    pub(crate) fn succeeds(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }
}

/// A program with its folder.
pub(crate) struct Home {
    pub(crate) program: PathBuf,
    pub(crate) name: &'static str,
    pub(crate) env_prefix: &'static str,
    pub(crate) folder: PathBuf,
    /// Settings in the environment of every command and of the daemon.
    pub(crate) env: Vec<(String, String)>,
    _dir: TempDir,
}

impl Home {
    /// A program whose folder is not made yet. Its ports are free ones, its chain is looked at often.
    pub(crate) fn new(program: impl Into<PathBuf>, name: &'static str, env_prefix: &'static str) -> Self {
        let dir = temp_dir().unwrap();
        let mut home = Self {
            program: program.into(),
            name,
            env_prefix,
            folder: dir.path().join("home"),
            env: Vec::new(),
            _dir: dir,
        };
        home.set("API__LISTEN", "127.0.0.1:0");
        home.set("CHAIN__CONFIRMATIONS", "0");
        home.set("CHAIN__POLL_INTERVAL", "50ms");
        // Messages over Tor have tests of their own.
        home.set("TOR__ENABLED", "false");
        if name == "agentd" {
            home.set("SOMC__ONION", "off");
        } else {
            home.set("SOMC__CONTACT", "direct-allowed");
        }
        home
    }

    /// A setting in the environment.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.env.push((format!("{}{key}", self.env_prefix), value.to_owned()));
    }

    /// A file of the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.file(&format!("{}.toml", self.name))
    }

    /// Runs the program to its end.
    pub(crate) fn plain(&self, arguments: &[&str], stdin: &str) -> Outcome {
        let mut command = Command::new(&self.program);
        command.args(arguments).envs(self.env.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A program that does not read has closed its end.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command with the folder's configuration.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        let config = self.config();
        let mut all = vec!["--config", config.to_str().unwrap()];
        all.extend(arguments);
        self.plain(&all, "")
    }

    /// Runs a command and reads its JSON.
    #[track_caller]
    pub(crate) fn ask(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(arguments);
        self.run(&all).json()
    }

    /// Makes the folder for an account of the node.
    pub(crate) fn init(&self, anvil: &Anvil, contracts: &Contracts, account: usize) {
        let key = anvil.key(account).to_bytes().to_string();
        let (chain_id, contract) = (anvil.chain_id().to_string(), contracts.contract.to_string());
        let folder = self.folder.to_str().unwrap();
        let arguments = [
            "init",
            folder,
            "--endpoint",
            anvil.url(),
            "--contract",
            &contract,
            "--chain-id",
            &chain_id,
            "--import-key",
            "-",
            "--generate-password",
        ];
        self.plain(&arguments, &key).succeeds();
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) async fn start(&self) -> Process {
        self.start_as(self.builder()).await
    }

    /// Starts the daemon in a way of the test's own and waits until it is ready.
    pub(crate) async fn start_as(&self, builder: ProcessBuilder) -> Process {
        let _ = std::fs::remove_file(self.file("api.address"));
        let mut process = builder.spawn().unwrap();
        let url = wait_for("the API's address", LONG, async || {
            if let Some(status) = process.try_exit().map_err(|error| error.to_string())? {
                panic!("{} ended with {status}:\n{}", self.name, process.log());
            }
            let text =
                std::fs::read_to_string(self.file("api.address")).map_err(|error| error.to_string())?;
            Ok::<_, String>(format!("http://{text}/health"))
        });
        let url = url.await.unwrap();
        process.wait_healthy(&url, LONG).await.unwrap();
        process
    }

    /// How the daemon is started.
    pub(crate) fn builder(&self) -> ProcessBuilder {
        self.run_by(Process::builder(self.name, &self.program))
    }

    /// How the daemon is started by a program that runs the program its first arguments name.
    pub(crate) fn builder_in(&self, program: &str) -> ProcessBuilder {
        self.run_by(Process::builder(self.name, program).arg(&self.program))
    }

    fn run_by(&self, builder: ProcessBuilder) -> ProcessBuilder {
        let arguments = ["--config".into(), self.config(), "run".into()].map(PathBuf::into_os_string);
        self.env.iter().fold(builder.args(arguments), |builder, (key, value)| builder.env(key, value))
    }

    /// Where the running daemon's API is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", read(&self.file("api.address")))
    }

    pub(crate) fn token(&self) -> String {
        read(&self.file("api.token"))
    }
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
