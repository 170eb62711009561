use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use privatix_node::NodeError;
use privatix_somc::{ClientError, ClientLimits, Peer, RetryPolicy, SomcAddress, SourceType, Transport};
use privatix_store::offerings::Announcement;

/// The agents that we talk to, one connection each.
pub(crate) struct Peers {
    transport: Arc<dyn Transport>,
    limits: ClientLimits,
    retry: RetryPolicy,
    /// Those of our channels; few enough to keep.
    known: Mutex<HashMap<SomcAddress, Peer>>,
}

impl Peers {
    pub(crate) fn new(transport: Arc<dyn Transport>, limits: ClientLimits, retry: RetryPolicy) -> Self {
        Self { transport, limits, retry, known: Mutex::default() }
    }

    /// An agent that we have business with: its connection is kept.
    pub(crate) fn keep(&self, said: &Announcement) -> Result<Peer, NodeError> {
        let address = address(said)?;
        let mut known = self.known.lock();
        let peer = known.entry(address.clone()).or_insert_with(|| self.dial(address));
        Ok(peer.clone())
    }

    /// An agent that we ask one thing: its connection ends with the value.
    pub(crate) fn once(&self, said: &Announcement) -> Result<Peer, NodeError> {
        Ok(self.dial(address(said)?))
    }

    fn dial(&self, address: SomcAddress) -> Peer {
        Peer::new(Arc::clone(&self.transport), address, self.limits.clone(), self.retry.clone())
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("known", &self.known.lock().len()).finish_non_exhaustive()
    }
}

fn address(said: &Announcement) -> Result<SomcAddress, NodeError> {
    let wrong = |reason: String| {
        NodeError::Refused(format!("the agent announced an address that cannot be used: {reason}"))
    };
    let kind = SourceType::try_from(said.source_type).map_err(|error| wrong(error.to_string()))?;
    SomcAddress::new(kind, &said.source).map_err(|error| wrong(error.to_string()))
}

/// What became of a question to an agent.
pub(crate) fn no_answer(peer: &Peer) -> impl Fn(ClientError) -> NodeError {
    let address = peer.address().to_string();
    move |error| NodeError::Peer { address: address.clone(), reason: error.to_string() }
}
