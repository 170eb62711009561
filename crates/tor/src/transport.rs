//! The way to agents over Tor.

use arti_client::config::BoolOrAuto;
use arti_client::isolation::IsolationHelper;
use arti_client::{DataStream, IsolationToken, StreamPrefs};
use async_trait::async_trait;
use privatix_somc::{BoxStream, SomcAddress, SourceType, Transport, TransportError};

use crate::{Tor, TorError};

/// Dials agents over Tor.
///
/// Each agent has circuits of its own, so that nothing in the network lets two agents, or one relay between them, see
/// that they have the same client.
#[derive(Clone, Debug)]
pub struct TorTransport {
    tor: Tor,
    exits: bool,
    fresh: bool,
}

impl TorTransport {
    pub(crate) const fn new(tor: Tor) -> Self {
        Self { tor, exits: false, fresh: false }
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
        self.tor
            .client()
            .connect_with_prefs((address.host(), address.port()), &prefs)
            .await
            .map_err(|error| TorError::connecting(address, error))
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

    #[test]
    fn streams_share_circuits_only_when_they_go_to_one_agent() {
        let to = |host: &str| PerAgent { host: host.to_owned() };
        assert!(to("a").compatible_same_type(&to("a")));
        assert_eq!(to("a").join_same_type(&to("a")), Some(to("a")));
        assert!(!to("a").compatible_same_type(&to("b")));
        assert_eq!(to("a").join_same_type(&to("b")), None);
    }
}
