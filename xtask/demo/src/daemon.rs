//! A daemon as its operator handles it: `init`, a configuration file, `run`, the command line.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use alloy::primitives::Address;
use privatix_api::{ApiClient, Request};
use privatix_testkit::{Process, TempDir, free_port, temp_dir};
use serde_json::Value;
use toml_edit::{Array, DocumentMut, Table, table, value};

use crate::market::Chain;
use crate::{LIMIT, Result};

/// How two daemons exchange messages.
#[derive(Clone, Debug)]
pub enum Messages {
    /// Straight from one to the other.
    Direct,
    /// Over onion services.
    Tor {
        /// The part of arti's configuration that describes the network.
        arti: Table,
    },
}

impl Messages {
    /// Over the Tor network that such a configuration describes.
    pub fn over(arti_toml: &str) -> Result<Self> {
        let arti: DocumentMut = arti_toml.parse()?;
        Ok(Self::Tor { arti: arti.as_table().clone() })
    }

    /// The arguments of a daemon's `init`. An onion service, and nothing but Tor, are the defaults.
    fn arguments(&self, daemon: &str) -> &'static [&'static str] {
        match (self, daemon) {
            (Self::Tor { .. }, _) => &[],
            (Self::Direct, "agentd") => &["--messages", "direct"],
            (Self::Direct, _) => &["--messages", "direct-allowed"],
        }
    }

    /// The settings beyond those that `init` writes.
    fn configure(&self, document: &mut DocumentMut) {
        let tor = document.entry("tor").or_insert_with(table);
        match self {
            Self::Direct => tor["enabled"] = value(false),
            Self::Tor { arti } => tor["arti"] = arti.clone().into(),
        }
    }
}

/// A daemon with its folder.
pub struct Daemon {
    name: &'static str,
    program: PathBuf,
    folder: TempDir,
    /// Its account.
    pub account: Address,
    api: ApiClient,
    /// The port of its control API.
    pub api_port: u16,
    /// The port of an agent's service; `None` of a client.
    pub service_port: Option<u16>,
    process: Option<Process>,
}

impl Daemon {
    /// Makes its folder with `init`, and writes into the configuration what makes it fit on one machine.
    pub async fn init(bins: &Path, name: &'static str, chain: &Chain, messages: &Messages) -> Result<Self> {
        let program = bins.join(name);
        let folder = temp_dir()?;
        let init = tokio::process::Command::new(&program)
            .args(["init", "--json", "--generate-password"])
            .args(["--endpoint", chain.url()])
            .args(["--contract", &chain.contracts.contract.to_string()])
            .args(["--chain-id", &chain.id().to_string()])
            .args(messages.arguments(name))
            .arg(folder.path())
            .stdin(Stdio::null())
            .output()
            .await?;
        if !init.status.success() {
            return Err(format!("{name} init failed: {}", String::from_utf8_lossy(&init.stderr)).into());
        }
        let made: Value = serde_json::from_slice(&init.stdout)?;
        let account = made["account"].as_str().ok_or("init reported no account")?.parse()?;

        let config = folder.path().join(format!("{name}.toml"));
        let mut document: DocumentMut = std::fs::read_to_string(&config)?.parse()?;
        let api_port = free_port()?;
        document["chain"]["start_block"] = value(0);
        document["chain"]["poll_interval"] = value("250ms");
        document["api"]["listen"] = value(format!("127.0.0.1:{api_port}"));
        messages.configure(&mut document);
        let is_direct = matches!(messages, Messages::Direct);
        let service_port = if name == "agentd" { Some(free_port()?) } else { None };
        let settings = &mut document["adapter"]["settings"];
        if let Some(port) = service_port {
            settings["listen"] = value(format!("127.0.0.1:{port}"));
            settings["destinations"]["allow"] = value(Array::from_iter(["127.0.0.0/8"]));
            if is_direct {
                document["somc"]["listen"] = value(format!("127.0.0.1:{}", free_port()?));
            }
        } else {
            settings["port"] = value(0);
            settings["allow_private_agents"] = value(true);
            if is_direct {
                document["somc"]["allow_private"] = value(true);
            }
        }
        std::fs::write(&config, document.to_string())?;

        let token = std::fs::read_to_string(folder.path().join("api.token"))?;
        let api = ApiClient::new(&format!("http://127.0.0.1:{api_port}"), token.trim().into())?;
        Ok(Self { name, program, folder, account, api, api_port, service_port, process: None })
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join(format!("{}.toml", self.name))
    }

    /// Changes its configuration file, for the next start.
    pub fn configure(&self, change: impl FnOnce(&mut DocumentMut)) -> Result<()> {
        let mut document: DocumentMut = std::fs::read_to_string(self.config())?.parse()?;
        change(&mut document);
        Ok(std::fs::write(self.config(), document.to_string())?)
    }

    /// Starts it and waits until it is healthy.
    pub async fn start(&mut self) -> Result<()> {
        self.start_in(&[]).await
    }

    /// Starts it with these variables in its environment.
    pub async fn start_in(&mut self, environment: &[(&str, &str)]) -> Result<()> {
        self.start_until("health", environment).await
    }

    /// Starts it with these variables in its environment, and waits only until it answers: it may be unable to work.
    pub async fn start_unready(&mut self, environment: &[(&str, &str)]) -> Result<()> {
        self.start_until("health/live", environment).await
    }

    async fn start_until(&mut self, page: &str, environment: &[(&str, &str)]) -> Result<()> {
        let mut builder = Process::builder(self.name, &self.program)
            .args([std::ffi::OsString::from("--config"), self.config().into(), "run".into()])
            .log_file(self.log());
        for (name, value) in environment {
            builder = builder.env(*name, *value);
        }
        let mut process = builder.spawn()?;
        process.wait_healthy(&format!("{}{page}", self.api.url()), LIMIT).await?;
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

    /// Stops it with SIGSTOP, as a machine that is suspended does.
    pub fn freeze(&mut self) -> Result<()> {
        Ok(self.process.as_mut().map_or(Ok(()), Process::pause)?)
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&mut self) -> Result<()> {
        Ok(self.process.as_mut().map_or(Ok(()), Process::resume)?)
    }

    /// Fails if it was started and has ended by itself.
    pub fn check_alive(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        match process.try_exit()? {
            None => Ok(()),
            Some(status) => Err(format!("{} ended by itself with {status}", self.name).into()),
        }
    }

    /// Its control API, to be asked while somebody else kills and starts the daemon.
    pub fn api(&self) -> ApiClient {
        self.api.clone()
    }

    /// Asks its control API.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Answer> {
        Ok(self.api.call(request).await?)
    }

    /// Its metrics, as a monitoring system reads them.
    pub async fn metrics(&self) -> Result<String> {
        let token = std::fs::read_to_string(self.folder().join("api.token"))?;
        let url = format!("http://127.0.0.1:{}/metrics", self.api_port);
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(client.get(url).bearer_auth(token.trim()).send().await?.error_for_status()?.text().await?)
    }

    /// Its process; 0 when it does not run.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::pid)
    }

    /// Where it keeps its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
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

#[cfg(test)]
mod tests {
    use super::*;

    const INIT: &str = "[chain]\nid = 1\n\n[tor]\n# A comment.\nenabled = true\n";

    #[test]
    fn messages_over_tor_are_the_default_on_a_network_of_our_own() {
        let mut document: DocumentMut = INIT.parse().unwrap();
        let over = Messages::over("[tor_network]\nx = [1]\n[tor_network.authorities]\ny = 2\n").unwrap();
        over.configure(&mut document);
        let written: DocumentMut = document.to_string().parse().unwrap();
        assert_eq!(written["tor"]["arti"]["tor_network"]["x"][0].as_integer(), Some(1));
        assert_eq!(written["tor"]["arti"]["tor_network"]["authorities"]["y"].as_integer(), Some(2));
        assert_eq!(written["tor"]["enabled"].as_bool(), Some(true));
        assert_eq!(written["chain"]["id"].as_integer(), Some(1));
        assert!(over.arguments("agentd").is_empty() && over.arguments("clientd").is_empty());
    }

    #[test]
    fn direct_messages_are_chosen_explicitly_and_need_no_tor() {
        let mut document = DocumentMut::new();
        Messages::Direct.configure(&mut document);
        let written: DocumentMut = document.to_string().parse().unwrap();
        assert_eq!(written["tor"]["enabled"].as_bool(), Some(false));
        assert_eq!(Messages::Direct.arguments("agentd"), ["--messages", "direct"]);
        assert_eq!(Messages::Direct.arguments("clientd"), ["--messages", "direct-allowed"]);
    }
}
