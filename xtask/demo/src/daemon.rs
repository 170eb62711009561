//! A daemon as its operator handles it: `init`, a configuration file, `run`, the command line.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use alloy::primitives::Address;
use privatix_api::{ApiClient, Request};
use privatix_testkit::{Process, TempDir, free_port, temp_dir};
use serde_json::Value;
use toml_edit::DocumentMut;

use crate::market::Chain;
use crate::{LIMIT, Result};

/// A daemon with its folder.
pub struct Daemon {
    name: &'static str,
    program: PathBuf,
    folder: TempDir,
    /// Its account.
    pub account: Address,
    api: ApiClient,
    process: Option<Process>,
}

impl Daemon {
    /// Makes its folder with `init`, and writes into the configuration what makes it fit on one machine.
    pub async fn init(bins: &Path, name: &'static str, chain: &Chain) -> Result<Self> {
        let program = bins.join(name);
        let folder = temp_dir()?;
        let init = tokio::process::Command::new(&program)
            .args(["init", "--json", "--generate-password"])
            .args(["--endpoint", chain.url()])
            .args(["--contract", &chain.contracts.contract.to_string()])
            .args(["--chain-id", &chain.id().to_string()])
            .arg(folder.path())
            .stdin(Stdio::null())
            .output()
            .await?;
        if !init.status.success() {
            return Err(format!("{name} init failed: {}", String::from_utf8_lossy(&init.stderr)).into());
        }
        let made: Value = serde_json::from_slice(&init.stdout)?;
        let account = made["account"].as_str().ok_or("init told no account")?.parse()?;

        let config = folder.path().join(format!("{name}.toml"));
        let mut document: DocumentMut = std::fs::read_to_string(&config)?.parse()?;
        let api_port = free_port()?;
        document["chain"]["start_block"] = toml_edit::value(0);
        document["chain"]["poll_interval"] = toml_edit::value("250ms");
        document["api"]["listen"] = toml_edit::value(format!("127.0.0.1:{api_port}"));
        let settings = &mut document["adapter"]["settings"];
        if name == "agentd" {
            settings["listen"] = toml_edit::value(format!("127.0.0.1:{}", free_port()?));
            settings["destinations"]["allow"] =
                toml_edit::value(toml_edit::Array::from_iter(["127.0.0.0/8"]));
            document["somc"]["listen"] = toml_edit::value(format!("127.0.0.1:{}", free_port()?));
        } else {
            settings["port"] = toml_edit::value(0);
            settings["allow_private_agents"] = toml_edit::value(true);
            document["somc"]["allow_private"] = toml_edit::value(true);
        }
        std::fs::write(&config, document.to_string())?;

        let token = std::fs::read_to_string(folder.path().join("api.token"))?;
        let api = ApiClient::new(&format!("http://127.0.0.1:{api_port}"), token.trim().into())?;
        Ok(Self { name, program, folder, account, api, process: None })
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join(format!("{}.toml", self.name))
    }

    /// Starts it and waits until it is healthy.
    pub async fn start(&mut self) -> Result<()> {
        let mut process = Process::builder(self.name, &self.program)
            .args([std::ffi::OsString::from("--config"), self.config().into(), "run".into()])
            .log_file(self.log())
            .spawn()?;
        process.wait_healthy(&format!("{}health", self.api.url()), LIMIT).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Stops it as an operator does, and has it end cleanly.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            let status = process.terminate(LIMIT).await?;
            if !status.success() {
                return Err(format!("{} ended with {status}; its log: {}", self.name, process.log()).into());
            }
        }
        Ok(())
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
        }
        Ok(())
    }

    /// Asks its control API.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Answer> {
        Ok(self.api.call(request).await?)
    }

    /// Its process; 0 when it does not run.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::pid)
    }

    /// Where it logs to.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join(format!("{}.log", self.name))
    }

    /// How to type its commands.
    pub fn command_line(&self) -> String {
        format!("{} --config {}", self.program.display(), self.config().display())
    }
}
