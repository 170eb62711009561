//! Offerings that agents announce: their messages are fetched and checked before anybody sees them.

mod adoption;
mod ask;
mod decisions;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use privatix_channel::Announcement;
use privatix_market::offering::Unlisted;
use privatix_node::{Node, NodeError};
use privatix_offering::{Announced, OfferingError, SignatureProblem, SignedOffering};
use privatix_somc::SourceType;
use privatix_store::offering_states::Key;

pub use self::{
    adoption::adopt,
    ask::{AskOffering, OfferingAsker},
    decisions::{AT_ONCE, OfferingDecisions, OfferingDecisionsParts, Visibility},
};
use crate::peers::{Dialler, no_answer};

/// Those who announce offerings.
#[async_trait]
pub trait Announcers: Send + Sync {
    /// Asks the agent for the message of an offering that it announced, and checks it.
    ///
    /// # Errors
    /// [`NodeError::Peer`], [`NodeError::Offline`], [`NodeError::NotPermitted`]; [`NodeError::Offering`] for a message that is none;
    /// [`NodeError::Refused`] for an address that is none; others show nothing about the agent.
    async fn offering(&self, of: Key, announcement: &Announcement) -> Result<SignedOffering, NodeError>;
}

/// A whole try over Tor. Whoever answers later is asked again, and keeps no worker from others.
const LONGEST_TRY: Duration = Duration::from_secs(45);
/// A whole try without Tor.
const LONGEST_DIRECT_TRY: Duration = Duration::from_secs(20);

/// How long a whole try takes at most, by the announced kind of address.
const fn longest_try(source: u8) -> Duration {
    if source == SourceType::Direct.number() { LONGEST_DIRECT_TRY } else { LONGEST_TRY }
}

/// Fetches the messages of offerings over the network.
pub(crate) struct Offerings {
    node: Arc<Node>,
    dialler: Dialler,
}

impl Offerings {
    /// Fetches with `dialler`, which connects once: the offering's state is what asks again.
    pub(crate) fn new(node: Arc<Node>, mut dialler: Dialler) -> Self {
        dialler.retry.attempts = 1;
        Self { node, dialler }
    }

    /// The chain is asked for the agent's operator only where the agent itself did not sign.
    async fn check(&self, (agent, hash): Key, wire: &[u8]) -> Result<SignedOffering, NodeError> {
        let node = &self.node;
        let mut announced = Announced { hash, agent, operator: None, domain: *node.domain() };
        let mut checked = SignedOffering::verify(wire, &announced, node.templates());
        if let Err(OfferingError::Signature(SignatureProblem::WrongSigner { .. })) = checked {
            announced.operator = node.operator_of(agent).await?;
            checked = SignedOffering::verify(wire, &announced, node.templates());
        }
        Ok(checked?)
    }
}

#[async_trait]
impl Announcers for Offerings {
    async fn offering(&self, of: Key, announcement: &Announcement) -> Result<SignedOffering, NodeError> {
        let peer = self.dialler.announcer(announcement)?;
        let limit = longest_try(announcement.source_type);
        let Ok(answered) = tokio::time::timeout(limit, peer.offering(of.1)).await else {
            let reason = format!("it did not send the offering within {limit:?}");
            return Err(NodeError::Peer { address: peer.address().to_string(), reason });
        };
        self.check(of, &answered.map_err(no_answer(&peer))?).await
    }
}

/// Why an offering is not shown, where nothing else explains it: in words, with the setting.
pub(crate) fn hidden(why: Unlisted) -> Option<String> {
    match why {
        Unlisted::Expired { age } => {
            Some(format!("it was announced last {} ago: see `offerings.expires_after`", rounded(age)))
        }
        Unlisted::Unseen { unseen } => {
            Some(format!("its agent has not sent it for {}: see `offerings.unseen_for`", rounded(unseen)))
        }
        _ => None,
    }
}

/// A time in its largest full unit.
fn rounded(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86_400, seconds / 3_600, seconds / 60) {
        (days @ 1.., ..) => format!("{days} d"),
        (_, hours @ 1.., _) => format!("{hours} h"),
        (.., minutes @ 1..) => format!("{minutes} min"),
        _ => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_keeps_a_worker_for_as_long_as_its_network_needs_and_no_longer() {
        assert_eq!(longest_try(SourceType::Direct.number()), Duration::from_secs(20));
        assert_eq!(longest_try(SourceType::Tor.number()), Duration::from_secs(45));
        // Of an unknown kind: refused before it is dialled.
        assert_eq!(longest_try(9), LONGEST_TRY);
    }

    #[test]
    fn a_time_is_shown_in_its_largest_full_unit() {
        for (seconds, expected) in [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7_199, "1 h"), (200_000, "2 d")]
        {
            assert_eq!(rounded(Duration::from_secs(seconds)), expected);
        }
    }
}
