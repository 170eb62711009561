//! Settings of `agentd`.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use privatix_daemon::config::{
    self, AccountSection, AdapterSection, ApiSection, ChainSection, LogSection, PrivacySection,
};
use privatix_daemon::{Announced, Connections, DaemonError};
use privatix_somc::{ServerLimits, SomcAddress, SourceType};
use serde::{Deserialize, Serialize};

/// The whole configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    #[serde(default = "here")]
    data_dir: PathBuf,
    chain: ChainSection,
    #[serde(default)]
    account: AccountSection,
    api: ApiSection,
    #[serde(default)]
    pub(crate) somc: SomcSection,
    #[serde(default)]
    adapter: AdapterSection,
    #[serde(default)]
    privacy: PrivacySection,
    #[serde(default)]
    log: LogSection,
}

fn here() -> PathBuf {
    ".".into()
}

impl config::Settings for Settings {
    fn data_dir(&self) -> &Path {
        &self.data_dir
    }
    fn chain(&self) -> &ChainSection {
        &self.chain
    }
    fn account(&self) -> &AccountSection {
        &self.account
    }
    fn api(&self) -> &ApiSection {
        &self.api
    }
    fn adapter(&self) -> &AdapterSection {
        &self.adapter
    }
    fn privacy(&self) -> PrivacySection {
        self.privacy
    }
    fn log(&self) -> &LogSection {
        &self.log
    }
}

/// `[somc]`: the messaging server that clients talk to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SomcSection {
    pub(crate) listen: SocketAddr,
    announce: Option<String>,
    max_connections: usize,
    max_strangers: usize,
    max_connections_per_peer: usize,
    #[serde(with = "humantime_serde")]
    idle_timeout: Duration,
    #[serde(with = "humantime_serde")]
    request_timeout: Duration,
}

impl Default for SomcSection {
    fn default() -> Self {
        let limits = ServerLimits::default();
        Self {
            listen: (Ipv6Addr::UNSPECIFIED, 9500).into(),
            announce: None,
            max_connections: limits.max_connections,
            max_strangers: limits.max_strangers,
            max_connections_per_peer: limits.max_connections_per_peer,
            idle_timeout: limits.idle_timeout,
            request_timeout: limits.request_timeout,
        }
    }
}

impl SomcSection {
    /// The address that offerings announce: the configured one, else that of the socket.
    pub(crate) fn announced(&self, bound: SocketAddr) -> Result<SomcAddress, DaemonError> {
        let wrong = |source| DaemonError::Address { setting: "somc.announce", source };
        match &self.announce {
            Some(address) => SomcAddress::new(SourceType::Direct, address).map_err(wrong),
            None if bound.ip().is_unspecified() => Err(DaemonError::Usage {
                what: "somc.announce".into(),
                reason: format!(
                    "needed, as {} is no address that clients can reach: write this machine's public name and port",
                    bound.ip()
                ),
            }),
            None => Ok(bound.into()),
        }
    }

    /// The connections that the messaging server may have, beside the plug-in's.
    pub(crate) fn connections(&self, mut connections: Connections) -> Connections {
        connections.messaging = self.max_connections;
        connections.messaging_strangers = self.max_strangers;
        connections
    }

    /// What is announced, and where connections to it arrive.
    pub(crate) fn reach(&self) -> Option<Announced> {
        let address = self.announced(self.listen).ok()?;
        Some(Announced {
            setting: "somc.announce",
            host: address.host().to_owned(),
            listen_setting: "somc.listen",
            listen: self.listen,
        })
    }

    pub(crate) fn limits(&self, allowed: Connections) -> ServerLimits {
        let mut limits = ServerLimits::default();
        limits.max_connections = self.max_connections.min(allowed.messaging);
        limits.max_strangers = self.max_strangers.min(allowed.messaging_strangers);
        limits.max_connections_per_peer = self.max_connections_per_peer;
        limits.idle_timeout = self.idle_timeout;
        limits.request_timeout = self.request_timeout;
        limits
    }
}

/// What `init` takes besides.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Init {
    /// The public name or address of this machine, under which clients reach it; to be filled in later when not given
    #[arg(long, value_name = "HOST", value_parser = host)]
    public_host: Option<String>,
}

fn host(text: &str) -> Result<String, String> {
    match SomcAddress::direct(text, 9500) {
        Ok(address) => Ok(address.host().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl Init {
    /// What a new configuration file says of the settings that only `agentd` has.
    pub(crate) fn sections(&self) -> String {
        let Some(host) = &self.public_host else { return SECTIONS.to_owned() };
        // A checked host has nothing in it that TOML would read otherwise.
        let is_v6 = host.contains(':');
        let name = if is_v6 { format!("[{host}]") } else { host.clone() };
        // Where nothing else would do, nobody should change it without a look.
        let listen = if is_v6 { "listen = \"[::]:" } else { "# listen = \"[::]:" };
        SECTIONS
            .replace("# listen = \"[::]:", listen)
            .replace("# announce = \"agent.example.org:", &format!("announce = \"{name}:"))
            .replace("# public_host = \"agent.example.org\"", &format!("public_host = \"{host}\""))
    }
}

const SECTIONS: &str = r#"[somc]
# The messaging server that clients fetch offerings and access from, and pay at.
# Where it listens; [::] takes IPv4, too.
# listen = "[::]:9500"
# The public name or address, with the port, under which clients reach it. Needed unless `listen` names an address.
# announce = "agent.example.org:9500"
# Connections that have proved a channel, those that have not ("strangers"), and strangers from one address (IPv6: one /64
# network). Raise the last behind a container's port mapping or a load balancer: all clients have one address there.
# max_connections = 4096
# max_strangers = 1024
# max_connections_per_peer = 64
# idle_timeout = "5m"
# request_timeout = "30s"

[adapter]
# The service plug-in.
# kind = "proxy"

[adapter.settings]
# Where the proxy listens (SOCKS5 and HTTP; [::] takes IPv4, too), and the public name under which clients reach it. The
# name is needed unless `listen` names an address.
# listen = "[::]:1080"
# public_host = "agent.example.org"
# public_port = 1080

# What clients may reach through the proxy. Private networks and mail (port 25) are refused unless allowed here.
# destinations = { allow = [], deny = [], deny_ports = [25] }

# Connections that have logged in (in all, of one channel), those that have not, and of these those from one address.
# limits = { connections = 4096, connections_per_channel = 512, connections_before_login = 1024, connections_before_login_per_address = 256, idle = "10m" }
"#;
