use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use privatix_channel::Announcement;
use privatix_node::{NodeError, Notices};
use privatix_offering::{Addresses, ContactPolicy, SignedOffering};
use privatix_somc::{ClientError, ClientLimits, Peer, RetryPolicy, SomcAddress, SourceType, Transport};

use crate::excluded::Excluded;

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
        let announced = address(announcement)?;
        Ok(self.peer(self.contact.candidates(&announced, &[])?))
    }

    fn peer(&self, addresses: Addresses) -> Peer {
        Peer::new(Arc::clone(&self.transport), addresses, self.limits.clone(), self.retry.clone())
    }
}

/// The agents that we have business with, one connection each.
pub(crate) struct Peers {
    dialler: Dialler,
    /// Those of our channels, by the addresses to try; few enough to keep.
    known: Mutex<HashMap<Addresses, Peer>>,
    /// Our channels whose agents must not be contacted.
    pub(crate) excluded: Excluded,
}

impl Peers {
    pub(crate) fn new(dialler: Dialler, notices: Notices) -> Self {
        Self { dialler, known: Mutex::default(), excluded: Excluded::new(notices) }
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
        let mut known = self.known.lock();
        let peer =
            known.entry(addresses).or_insert_with_key(|addresses| self.dialler.peer(addresses.clone()));
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
