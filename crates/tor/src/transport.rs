//! The way to agents over Tor.

use std::time::Duration;

use arti_client::config::BoolOrAuto;
use arti_client::isolation::IsolationHelper;
use arti_client::{DataStream, IsolationToken, StreamPrefs};
use async_trait::async_trait;
use privatix_somc::{BoxStream, SomcAddress, SourceType, Transport, TransportError};

use crate::{Tor, TorError};

/// How long a connection waits for this process's Tor to be on the network.
const READY: Duration = Duration::from_secs(10);

/// Dials agents over Tor.
///
/// Each agent has circuits of its own, so that nothing in the network lets two agents, or one relay between them, see
/// that they have the same client.
///
/// While this process's Tor is not on the network, a connection waits for it for ten seconds at most. It then fails with
/// [`TransportError::Offline`], which names what is in the way: nobody is to take that for an agent that is away.
#[derive(Clone, Debug)]
pub struct TorTransport {
    tor: Tor,
    exits: bool,
    fresh: bool,
    ready_within: Duration,
}

impl TorTransport {
    pub(crate) const fn new(tor: Tor) -> Self {
        Self { tor, exits: false, fresh: false, ready_within: READY }
    }

    /// Reaches direct addresses too, through the network's exits. Whoever is reached then sees an exit's address.
    #[must_use]
    pub fn with_exits(mut self) -> Self {
        self.exits = true;
        self
    }

    /// Uses other circuits for each connection, also to one agent: for looking around, and for looking at oneself.
    #[must_use]
    pub fn unlinked(mut self) -> Self {
        self.fresh = true;
        self
    }

    pub(crate) async fn dial(&self, address: &SomcAddress) -> Result<DataStream, TorError> {
        let mut prefs = StreamPrefs::new();
        prefs.connect_to_onion_services(BoolOrAuto::Explicit(address.kind() == SourceType::Tor));
        if self.fresh {
            prefs.set_isolation(IsolationToken::new());
        } else {
            prefs.set_isolation(PerAgent { host: address.host().to_owned() });
        }
        let target = (address.host(), address.port());
        // It is tried whatever the status: only attempts show that a network is back.
        tokio::select! {
            connected = self.tor.client().connect_with_prefs(target, &prefs) => connected.map_err(|error| {
                let now = self.tor.now();
                if now.ready { TorError::connecting(address, error) } else { TorError::NotReady(now) }
            }),
            error = self.not_ready() => Err(error),
        }
    }

    /// Ends when Tor should be ready and is not.
    async fn not_ready(&self) -> TorError {
        tokio::time::sleep(self.ready_within).await;
        let now = self.tor.now();
        if now.ready { std::future::pending().await } else { TorError::NotReady(now) }
    }
}

#[async_trait]
impl Transport for TorTransport {
    async fn connect(&self, address: &SomcAddress) -> Result<BoxStream, TransportError> {
        match address.kind() {
            SourceType::Tor => {}
            SourceType::Direct if self.exits => {}
            kind => return Err(TransportError::Unsupported { kind }),
        }
        match self.dial(address).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error @ TorError::NotReady(_)) => Err(TransportError::Offline(Box::new(error))),
            Err(error) => Err(TransportError::Other(Box::new(error))),
        }
    }
}

/// Streams to one host may share circuits, and no others.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PerAgent {
    host: String,
}

impl IsolationHelper for PerAgent {
    fn compatible_same_type(&self, other: &Self) -> bool {
        self == other
    }

    fn join_same_type(&self, other: &Self) -> Option<Self> {
        (self == other).then(|| self.clone())
    }

    fn enables_long_lived_circuits(&self) -> bool {
        true // a channel's payments go on for days, and changing circuits shows nobody less
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TorProblem, TorSettings, TorStatus};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_names_what_keeps_our_own_tor_from_the_network() {
        let dir = tempfile::tempdir().unwrap();
        // The only relay to start from never answers.
        let relay = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let identity = "A".repeat(43);
        let arti = format!(
            "[[tor_network.fallback_caches]]\n\
             rsa_identity = \"{}\"\n\
             ed_identity = \"{identity}\"\n\
             orports = [\"{}\"]\n\
             [address_filter]\nallow_local_addrs = true\n\
             [storage.permissions]\ndangerously_trust_everyone = true",
            "0".repeat(40),
            relay.local_addr().unwrap(),
        );
        let settings = TorSettings { arti: arti.parse().unwrap(), ..TorSettings::default() };
        let tor = Tor::new(dir.path(), &settings).unwrap();
        let mut transport = tor.transport();
        transport.ready_within = Duration::from_millis(100);
        let agent = SomcAddress::onion(&[7; 32], 80).unwrap();
        let Err(error) = transport.connect(&agent).await else { panic!("it is connected") };
        assert!(matches!(error, TransportError::Offline(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.starts_with("your own Tor is not connected: it is still starting ("), "{text}");
        assert!(!text.contains(agent.host()), "{text}");
    }

    #[test]
    fn a_known_problem_is_named_with_its_remedy() {
        let problem = TorProblem::Offline("no route".into());
        let status = TorStatus { problem: Some(problem), ..TorStatus::default() };
        assert_eq!(
            TorError::NotReady(status).to_string(),
            "your own Tor is not connected: no network: no route; check this machine's connection"
        );
    }

    #[test]
    fn streams_share_circuits_only_when_they_go_to_one_agent() {
        let to = |host: &str| PerAgent { host: host.to_owned() };
        assert!(to("a").compatible_same_type(&to("a")));
        assert_eq!(to("a").join_same_type(&to("a")), Some(to("a")));
        assert!(!to("a").compatible_same_type(&to("b")));
        assert_eq!(to("a").join_same_type(&to("b")), None);
    }
}
