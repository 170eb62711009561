//! Settings of `agentd`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy::primitives::Address;
use privatix_channel::Period;
use privatix_daemon::config::{
    self, AccountSection, AdapterSection, ApiSection, ChainSection, JobsSection, LogSection, PrivacySection,
    TorSection,
};
use privatix_daemon::{Announced, Connections, DaemonError};
use privatix_somc::{ServerLimits, SomcAddress, SourceType};
use privatix_tor::OnionSettings;
use serde::{Deserialize, Serialize};

use crate::closing::{ClosingSection, ServiceSection};

/// The whole configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    #[serde(default = "here")]
    data_dir: PathBuf,
    pub(crate) chain: ChainSection,
    #[serde(default)]
    account: AccountSection,
    #[serde(default)]
    pub(crate) operator: OperatorSection,
    api: ApiSection,
    #[serde(default)]
    pub(crate) somc: SomcSection,
    #[serde(default)]
    pub(crate) offerings: OfferingsSection,
    #[serde(default)]
    pub(crate) service: ServiceSection,
    #[serde(default)]
    pub(crate) closing: ClosingSection,
    #[serde(default)]
    pub(crate) tor: TorSection,
    #[serde(default)]
    adapter: AdapterSection,
    #[serde(default)]
    privacy: PrivacySection,
    #[serde(default)]
    jobs: JobsSection,
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
    fn tor(&self) -> &TorSection {
        &self.tor
    }
    fn privacy(&self) -> PrivacySection {
        self.privacy
    }
    fn jobs(&self) -> JobsSection {
        self.jobs
    }
    fn log(&self) -> &LogSection {
        &self.log
    }
}

/// `[operator]`: for whom the key acts, if not for its own account.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OperatorSection {
    /// The agent whose operator the key of `[account]` is.
    pub(crate) agent: Option<Address>,
}

/// `[offerings]`: what is done about them without an order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OfferingsSection {
    /// How old the announcement of an offering may become before it is announced again.
    #[serde(serialize_with = "humantime_serde::serialize", deserialize_with = "schedule")]
    pop_up_every: Option<Duration>,
}

/// Less than a second would announce an offering as often as the contract allows it, at the agent's cost.
fn schedule<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let every: Option<Duration> = humantime_serde::deserialize(deserializer)?;
    match every {
        Some(every) if every < Duration::from_secs(1) => Err(serde::de::Error::custom(
            "offerings.pop_up_every is less than a second; leave it out for offerings that are announced again only by order",
        )),
        every => Ok(every),
    }
}

impl OfferingsSection {
    /// The same, on the chain's clock.
    pub(crate) fn pop_up_every(&self) -> Option<Period> {
        self.pop_up_every.map(|every| Period::new(u32::try_from(every.as_secs()).unwrap_or(u32::MAX)))
    }
}

/// `[somc]`: the messaging server that clients talk to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SomcSection {
    pub(crate) onion: Onion,
    authorized_clients: Vec<String>,
    listen: Option<SocketAddr>,
    announce: Option<String>,
    max_connections: usize,
    max_strangers: usize,
    max_connections_per_peer: Option<usize>,
    #[serde(with = "humantime_serde")]
    idle_timeout: Duration,
    #[serde(with = "humantime_serde")]
    request_timeout: Duration,
}

/// The onion service that clients reach the server at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Onion {
    /// One in this process, under the account's address.
    #[default]
    Own,
    /// None.
    Off,
    /// One of a tor daemon, which forwards it to `somc.listen`.
    Elsewhere(SomcAddress),
}

impl TryFrom<String> for Onion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "own" => Ok(Self::Own),
            "off" => Ok(Self::Off),
            address => SomcAddress::read_onion(address).map(Self::Elsewhere).map_err(|error| {
                format!("neither \"own\" nor \"off\" nor the address of an onion service: {error}")
            }),
        }
    }
}

impl From<Onion> for String {
    fn from(onion: Onion) -> Self {
        match onion {
            Onion::Own => "own".into(),
            Onion::Off => "off".into(),
            Onion::Elsewhere(address) => address.source(),
        }
    }
}

impl Default for SomcSection {
    fn default() -> Self {
        let limits = ServerLimits::default();
        Self {
            onion: Onion::Own,
            authorized_clients: Vec::new(),
            listen: None,
            announce: None,
            max_connections: limits.max_connections,
            max_strangers: limits.max_strangers,
            max_connections_per_peer: None,
            idle_timeout: limits.idle_timeout,
            request_timeout: limits.request_timeout,
        }
    }
}

/// The port for direct connections, when none is configured.
const PORT: u16 = 9500;

impl SomcSection {
    /// Where direct connections arrive; none when clients come by this process's onion service alone.
    pub(crate) fn listen(&self) -> Option<SocketAddr> {
        match (&self.onion, &self.announce) {
            (Onion::Own, None) => None,
            // Only the tor daemon beside us connects.
            (Onion::Elsewhere(_), None) => {
                Some(self.listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, PORT).into()))
            }
            _ => Some(self.listen.unwrap_or_else(|| (Ipv6Addr::UNSPECIFIED, PORT).into())),
        }
    }

    /// The direct address that offerings name, if any: the configured one, else that of the socket.
    pub(crate) fn direct(&self, bound: SocketAddr) -> Result<Option<SomcAddress>, DaemonError> {
        let wrong = |source| DaemonError::Address { setting: "somc.announce", source };
        match (&self.announce, &self.onion) {
            (Some(address), _) => SomcAddress::new(SourceType::Direct, address).map(Some).map_err(wrong),
            (None, Onion::Own | Onion::Elsewhere(_)) => Ok(None),
            (None, Onion::Off) if bound.ip().is_unspecified() => Err(DaemonError::Usage {
                what: "somc.announce".into(),
                reason: format!(
                    "needed, as {} is no address that clients can reach: write this machine's public name and port, or set somc.onion to \"own\"",
                    bound.ip()
                ),
            }),
            (None, Onion::Off) => Ok(Some(bound.into())),
        }
    }

    /// What can be wrong with it.
    pub(crate) fn check(&self, tor: &TorSection) -> Result<(), DaemonError> {
        let wrong =
            |what: &str, reason: &str| Err(DaemonError::Usage { what: what.into(), reason: reason.into() });
        if let Some(listen) = self.listen() {
            self.direct(listen)?;
        } else if !tor.enabled {
            return wrong(
                "tor.enabled",
                "clients reach this agent by its onion service only: enable Tor, or set somc.announce (and somc.onion = \"off\")",
            );
        }
        if self.listen.is_some() && self.listen().is_none() {
            return wrong(
                "somc.listen",
                "nothing would listen there: set somc.announce to the address under which clients reach it, or leave it out",
            );
        }
        if tor.socks.is_some() {
            return wrong(
                "tor.socks",
                "it is for clientd; to use a tor daemon's onion service, set somc.onion to its address",
            );
        }
        if !self.authorized_clients.is_empty() && self.onion != Onion::Own {
            return wrong(
                "somc.authorized_clients",
                "it is for this process's onion service (somc.onion = \"own\")",
            );
        }
        self.onion_settings().check().map_err(|error| match DaemonError::of_tor("somc", error) {
            DaemonError::Usage { what, reason } => {
                let reason = format!("{reason}; a client's `clientd onion-key` prints its key");
                DaemonError::Usage { what, reason }
            }
            other => other,
        })
    }

    /// What works, but probably not as meant.
    pub(crate) fn doubts(&self, tor: &TorSection) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.onion == Onion::Own && self.listen().is_some() && !tor.enabled {
            doubts.push(
                "somc.onion is \"own\", but tor.enabled = false: there is no onion service, and clients that use Tor alone \
                 cannot reach this agent; enable Tor, or set somc.onion = \"off\""
                    .to_owned(),
            );
        }
        if !self.authorized_clients.is_empty() && self.announce.is_some() {
            doubts.push(
                "somc.authorized_clients keeps nobody out who comes by the direct address: leave somc.announce out".to_owned(),
            );
        }
        doubts
    }

    /// The settings of this process's onion service.
    pub(crate) fn onion_settings(&self) -> OnionSettings {
        let mut settings = OnionSettings::default();
        settings.authorized_clients.clone_from(&self.authorized_clients);
        settings
    }

    /// The connections that the messaging server may have, beside the plug-in's.
    pub(crate) fn connections(&self, mut connections: Connections) -> Connections {
        connections.messaging = self.max_connections;
        connections.messaging_strangers = self.max_strangers;
        connections
    }

    /// What is announced, and where connections to it arrive.
    pub(crate) fn reach(&self) -> Option<Announced> {
        let listen = self.listen()?;
        let address = self.direct(listen).ok()??;
        Some(Announced {
            setting: "somc.announce",
            host: address.host().to_owned(),
            listen_setting: "somc.listen",
            listen,
        })
    }

    pub(crate) fn limits(&self, allowed: Connections) -> ServerLimits {
        let mut limits = ServerLimits::default();
        limits.max_connections = self.max_connections.min(allowed.messaging);
        limits.max_strangers = self.max_strangers.min(allowed.messaging_strangers);
        limits.max_connections_per_peer = match (self.max_connections_per_peer, &self.onion) {
            (Some(most), _) => most,
            // All who come by the tor daemon have its address.
            (None, Onion::Elsewhere(_)) => limits.max_strangers,
            (None, Onion::Own | Onion::Off) => limits.max_connections_per_peer,
        };
        limits.idle_timeout = self.idle_timeout;
        limits.request_timeout = self.request_timeout;
        limits
    }
}

/// What `init` takes besides.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Init {
    /// The public name or address of this machine, under which clients reach its service; to be filled in later when not
    /// given
    #[arg(long, value_name = "HOST", value_parser = host)]
    public_host: Option<String>,
    /// How clients send messages: over an onion service, directly to the public host, or both. Offerings name the public
    /// host then, so that everybody can read it. By default both with --public-host, and onion without
    #[arg(long, value_name = "HOW")]
    messages: Option<Messages>,
}

/// How clients send messages.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Messages {
    Onion,
    Direct,
    Both,
}

fn host(text: &str) -> Result<String, String> {
    match SomcAddress::direct(text, PORT) {
        Ok(address) => Ok(address.host().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl Init {
    /// What a new configuration file says of the settings that only `agentd` has.
    ///
    /// # Errors
    /// Messages by a public host that is not given.
    pub(crate) fn sections(&self) -> Result<String, DaemonError> {
        let messages = self.messages.unwrap_or(if self.public_host.is_some() {
            Messages::Both
        } else {
            Messages::Onion
        });
        let onion = if messages == Messages::Direct { "onion = \"off\"" } else { "# onion = \"own\"" };
        let mut sections = SECTIONS.replace("# onion = \"own\"", onion);
        let Some(host) = &self.public_host else {
            return match messages {
                // Direct messages alone are refused by `config check` until the address is filled in.
                Messages::Onion | Messages::Direct => Ok(sections),
                Messages::Both => Err(DaemonError::Usage {
                    what: "--messages both".into(),
                    reason: "clients cannot reach this agent directly without an address: give --public-host HOST, too, or --messages onion".into(),
                }),
            };
        };
        // A checked host has nothing in it that TOML would read otherwise.
        let is_v6 = host.contains(':');
        let name = if is_v6 { format!("[{host}]") } else { host.clone() };
        // Where nothing else would do, nobody should change it without a look.
        let shown = |port: u16| {
            if is_v6 { format!("listen = \"[::]:{port}\"") } else { format!("# listen = \"[::]:{port}\"") }
        };
        if messages != Messages::Onion {
            sections = sections
                .replace("# listen = \"[::]:9500\"", &shown(9500))
                .replace("# announce = \"agent.example.org:", &format!("announce = \"{name}:"));
        }
        Ok(sections
            .replace("# listen = \"[::]:1080\"", &shown(1080))
            .replace("# public_host = \"agent.example.org\"", &format!("public_host = \"{host}\"")))
    }
}

const SECTIONS: &str = r#"[operator]
# The agent that the key above is the operator of: it publishes and closes for that account and pays the gas, and cannot move
# the account's money. The account's own key appoints it: `agentd operator appoint ADDRESS`.
# agent = "0x1111111111111111111111111111111111111111"

[somc]
# The messaging server that clients fetch offerings and access from, and pay at.
# The onion service by which they reach it: "own" is one in this process, under an address that belongs to the account; "off";
# or the address of one that a tor daemon on this machine forwards to `listen`, e.g. "....onion:80".
# onion = "own"
# Only these clients can find the onion service, by the keys that their `clientd onion-key` prints; all can when it is empty.
# authorized_clients = []
# The public name or address, with the port, under which clients reach it directly. Everybody can read it in the offerings.
# announce = "agent.example.org:9500"
# Where direct connections arrive; [::] takes IPv4, too. Nothing listens there without `announce`, unless `onion` is not "own".
# listen = "[::]:9500"
# Connections that have proved a channel, those that have not ("strangers"), and strangers from one address (IPv6: one /64
# network). Raise the last behind a container's port mapping or a load balancer: all clients have one address there. It is
# max_strangers by default where `onion` is the address of a tor daemon's service, for the same reason.
# max_connections = 4096
# max_strangers = 1024
# max_connections_per_peer = 64
# idle_timeout = "5m"
# request_timeout = "30s"

[offerings]
# How old the announcement of an offering may become before it is announced again, on the chain's clock, for offerings that are made
# from now on; `offerings popup --every` sets it for one. Each time costs gas. By order only when it is left out.
# pop_up_every = "7d"

[service]
# How long a channel whose deposit is used and paid waits for a top-up, and how long one whose offering cannot be read waits for it.
# top_up_grace = "10m"
# terms_within = "1h"
# How long the plug-in may refuse to prepare or to run a channel's service, and how long it may not answer, before the channel ends.
# refused_for = "10m"
# outage_for = "1d"
# After how long a channel is given up whose opening was taken back by the chain.
# vanished_for = "1d"

[closing]
# When what channels have earned is cashed, and at which cost. Amounts are base units of the token; docs/daemons.md explains each.
# An ended channel is closed at once and alone if it brings at least this much, and more than the gas of its close; needs
# chain.ether_per_token. What brings less waits for a batch, which costs less than half of the gas.
# min_gain = 1
# How long it waits: for a batch (two thirds of the other by default), and until it is closed alone.
# batch_within = "20m"
# close_within = "30m"
# The same for an ended channel that brings nothing, whose close only frees its place and stake; "never" closes it along with
# others or by order only.
# batch_free_within = "20m"
# free_within = "30m"
# A batch goes sooner once it brings this much beyond its gas (needs chain.ether_per_token), or while gas costs less than this.
# batch_min_surplus = 1
# batch_below_gwei = 2
# Cashes what is owed above this amount while the channel goes on, by settlements in batches. By the close only when left out.
# settle_above = 1000000
# The least amount for which a client that asks to close below it is answered. The price of one unit when left out.
# dispute_min = 1000
# How long an ended channel waits for its client's last voucher.
# last_voucher_within = "10s"
# Whether a channel whose client has asked to close, and admits everything, is closed in the next batch; else the client may
# finalize it until this long after its challenge.
# free_admitted = true
# finalized_within = "1h"
# Whether channels that an earlier version ended and left open because nothing was to gain are closed, too.
# free_adopted = false

[adapter]
# The service plug-in.
# kind = "proxy"

[adapter.settings]
# Where the proxy listens (SOCKS5 and HTTP; [::] takes IPv4, too), and the public name under which clients reach it, who get
# it with their access. The name is needed unless `listen` names an address.
# listen = "[::]:1080"
# public_host = "agent.example.org"
# public_port = 1080

# What clients may reach through the proxy. Private networks and mail (port 25) are refused unless allowed here.
# destinations = { allow = [], deny = [], deny_ports = [25] }

# Connections that have logged in (in all, of one channel), those that have not, and of these those from one address.
# limits = { connections = 4096, connections_per_channel = 512, connections_before_login = 1024, connections_before_login_per_address = 256, idle = "10m" }
"#;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::json;

    use super::*;

    #[test]
    fn clients_of_a_tor_daemon_s_onion_service_are_not_bounded_by_the_address_that_they_share() {
        let elsewhere = "rlwpm3t44rbn5jllcabzyhgpsea55xx2m3c7jzwgq2cvavdpuodno4ad.onion:80";
        let per_peer = |somc: serde_json::Value| {
            let somc: SomcSection = serde_json::from_value(somc).unwrap();
            let mut allowed = Connections::default();
            (allowed.messaging, allowed.messaging_strangers) = (4096, 500);
            somc.limits(allowed).max_connections_per_peer
        };
        assert_eq!(per_peer(json!({})), 64);
        assert_eq!(per_peer(json!({ "onion": "off" })), 64);
        assert_eq!(per_peer(json!({ "onion": elsewhere })), 500, "as many as there are places");
        assert_eq!(per_peer(json!({ "onion": elsewhere, "max_connections_per_peer": 7 })), 7);
    }
}
