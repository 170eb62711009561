//! By what an agent is recognised: the chain, and what was seen of it before.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alloy::primitives::Address;
use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_node::{Node, NodeError};
use privatix_offering::{
    BindingError, ExpectedKey, KeyBinding, OfferingMessage, SessionKey, SignatureProblem, VersionRange,
};
use privatix_somc::{Expected, Recognition};
use privatix_store::agents_seen::{self, Seen};

/// For how long a session goes on by an operator's word at most: the agent may dismiss it.
const BY_OPERATOR: Duration = Duration::from_hours(1);
/// The same, where one endpoint alone shows that it is the operator.
const BY_ONE_ENDPOINT: Duration = Duration::from_mins(10);

/// What this node knows of an agent.
struct ByNode {
    node: Arc<Node>,
    agent: Address,
    /// The lowest version that the user permits.
    least: u16,
    offered: Arc<Offered>,
}

/// The agents whose signed offerings name a version with sessions: they are never talked to in clear.
#[derive(Debug, Default)]
pub(crate) struct Offered(Mutex<HashSet<Address>>);

impl Offered {
    /// Takes in what an agent has signed.
    pub(crate) fn note(&self, message: &OfferingMessage) {
        if message.protocol.is_some_and(VersionRange::in_sessions) {
            self.0.lock().insert(message.agent);
        }
    }

    fn version(&self, agent: &Address) -> Option<u16> {
        self.0.lock().contains(agent).then_some(VersionRange::IN_SESSIONS)
    }
}

/// Whom to reach, recognised by what this node knows.
pub(crate) fn expected(node: &Arc<Node>, agent: Address, least: u16, offered: &Arc<Offered>) -> Expected {
    let (node, offered) = (Arc::clone(node), Arc::clone(offered));
    Expected { agent, recognition: Arc::new(ByNode { node, agent, least, offered }) }
}

impl ByNode {
    async fn seen(&self) -> Result<Option<Seen>, NodeError> {
        let mut conn = self.node.db().read().await?;
        Ok(agents_seen::get(&mut conn, self.agent).await?)
    }

    async fn note(&self, seen: Seen) -> Result<(), NodeError> {
        let mut tx = self.node.db().begin().await?;
        agents_seen::note(&mut tx, self.agent, seen).await?;
        Ok(tx.commit().await?)
    }
}

#[async_trait]
impl Recognition for ByNode {
    async fn versions(&self) -> VersionRange {
        match self.seen().await {
            Ok(seen) => {
                let seen = seen.map(|seen| seen.version).max(self.offered.version(&self.agent));
                VersionRange::permitted(self.least, seen)
            }
            Err(error) => {
                tracing::error!(agent = %self.agent, %error, "cannot read whether the agent has proved a key before");
                VersionRange::exactly(VersionRange::SPOKEN.max())
            }
        }
    }

    async fn check(&self, key: &SessionKey, binding: &KeyBinding) -> Result<Duration, BindingError> {
        let seen = self.seen().await.map_err(|error| unchecked(&error))?;
        let now = self.node.time();
        let newest = seen.map(|seen| seen.issued_at);
        let (agent, domain) = (self.agent, *self.node.domain());
        let mut expected = ExpectedKey { agent, operator: None, domain, now, newest };
        let mut longest = KeyBinding::VALIDITY;
        let mut verified = binding.verify(key, &expected);
        if let Err(BindingError::Signature(SignatureProblem::WrongSigner { .. })) = verified {
            // Not the agent itself: the chain is asked for its operator.
            let operator = self.node.agreed_operator_of(agent).await.map_err(|error| unchecked(&error))?;
            expected.operator = operator.for_now();
            longest = if operator.is_sure() { BY_OPERATOR } else { BY_ONE_ENDPOINT };
            verified = binding.verify(key, &expected);
        }
        verified?;
        let issued_at = binding.remembered(SystemTime::now());
        let proved = Seen { version: binding.versions.max(), issued_at };
        if seen.is_none_or(|seen| seen.version < proved.version || seen.issued_at < proved.issued_at) {
            self.note(proved).await.map_err(|error| unchecked(&error))?;
        }
        Ok(binding.expires().duration_since(now).unwrap_or_default().min(longest))
    }
}

fn unchecked(error: &NodeError) -> BindingError {
    BindingError::Unchecked { reason: error.to_string() }
}

impl fmt::Debug for ByNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByNode").field("agent", &self.agent).finish_non_exhaustive()
    }
}
