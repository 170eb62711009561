use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use parking_lot::Mutex;
use privatix_channel::Announcement;
use privatix_node::{Node, NodeError};
use privatix_offering::{Addresses, ContactPolicy, SignedOffering};
use privatix_somc::{
    ClientError, ClientLimits, Expected, Peer, RetryPolicy, SomcAddress, SourceType, Transport,
};

use crate::excluded::Excluded;
use crate::recognition::{self, Offered};

/// Until an agent is asked again, when it was this side that was not on the network.
pub(crate) const OFFLINE: Duration = Duration::from_secs(15);

/// How agents are reached.
#[derive(Clone)]
pub(crate) struct Dialler {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) contact: ContactPolicy,
    pub(crate) limits: ClientLimits,
    pub(crate) retry: RetryPolicy,
}

impl Dialler {
    /// An agent that we ask for what it announced: only at the announced address, as nothing else is known of it.
    pub(crate) fn announcer(&self, announcement: &Announcement) -> Result<Peer, NodeError> {
        let addresses = self.contact.candidates(&address(announcement)?, &[])?;
        // What it sends proves itself.
        Ok(Peer::new(Arc::clone(&self.transport), addresses, self.limits.clone(), self.retry.clone()))
    }

    /// An agent that we have business with.
    fn agent(&self, expected: Expected, addresses: Addresses) -> Peer {
        Peer::expecting(
            expected,
            Arc::clone(&self.transport),
            addresses,
            self.limits.clone(),
            self.retry.clone(),
        )
    }
}

/// The agents that we have business with, one connection each.
pub(crate) struct Peers {
    node: Arc<Node>,
    dialler: Dialler,
    /// The lowest version of the messaging protocol that the user permits.
    least_version: u16,
    offered: Arc<Offered>,
    /// Those of our channels, by who they are and the addresses to try; few enough to keep.
    known: Mutex<HashMap<(Address, Addresses), Peer>>,
    /// Our channels whose agents must not be contacted.
    pub(crate) excluded: Excluded,
}

impl Peers {
    pub(crate) fn new(node: Arc<Node>, dialler: Dialler, least_version: u16) -> Self {
        let excluded = Excluded::new(node.notices().clone());
        Self { node, dialler, least_version, offered: Arc::default(), known: Mutex::default(), excluded }
    }

    /// The addresses at which the policy permits to reach an agent.
    pub(crate) fn permitted(
        &self,
        announcement: &Announcement,
        message: &SignedOffering,
    ) -> Result<Addresses, NodeError> {
        Ok(self.dialler.contact.candidates(&address(announcement)?, &message.message().addresses)?)
    }

    /// The agent of an offering that was fetched: its connection is kept.
    pub(crate) fn keep(
        &self,
        announcement: &Announcement,
        message: &SignedOffering,
    ) -> Result<Peer, NodeError> {
        let addresses = self.permitted(announcement, message)?;
        self.offered.note(message.message());
        let mut known = self.known.lock();
        let peer =
            known.entry((message.message().agent, addresses)).or_insert_with_key(|(agent, addresses)| {
                let expected = recognition::expected(&self.node, *agent, self.least_version, &self.offered);
                self.dialler.agent(expected, addresses.clone())
            });
        Ok(peer.clone())
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("known", &self.known.lock().len()).finish_non_exhaustive()
    }
}

fn address(announcement: &Announcement) -> Result<SomcAddress, NodeError> {
    let wrong = |reason: String| {
        NodeError::Refused(format!("the agent announced an address that cannot be used: {reason}"))
    };
    let kind = SourceType::try_from(announcement.source_type).map_err(|error| wrong(error.to_string()))?;
    SomcAddress::new(kind, &announcement.source).map_err(|error| wrong(error.to_string()))
}

/// What became of a question to an agent.
pub(crate) fn no_answer(peer: &Peer) -> impl Fn(ClientError) -> NodeError {
    let address = peer.address().to_string();
    move |error| {
        let reason = error.to_string();
        if error.is_offline() {
            NodeError::Offline { reason }
        } else {
            NodeError::Peer { address: address.clone(), reason }
        }
    }
}
