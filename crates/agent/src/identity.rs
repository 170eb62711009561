//! The key of this agent's messaging sessions, signed by the account or by its operator: a fresh one twice a day, never stored.

use std::sync::Arc;
use std::time::SystemTime;

use alloy::primitives::Address;
use parking_lot::Mutex;
use privatix_node::{Node, Part};
use privatix_offering::{KeyBinding, SignatureProblem, VersionRange};
use privatix_somc::{Identities, Identity, SessionSecret};

/// Stands for the node's account.
pub(crate) struct OwnIdentity {
    node: Arc<Node>,
    signed: Mutex<Option<Arc<Identity>>>,
}

impl OwnIdentity {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node, signed: Mutex::default() }
    }

    /// A word is never given twice about one key: whoever steals the key speaks for the agent until its word expires, and no longer.
    fn sign(&self, now: SystemTime) -> Result<Identity, SignatureProblem> {
        let (node, secret) = (&self.node, SessionSecret::generate());
        let (key, of) = (secret.public(), (node.domain(), now));
        let versions = VersionRange::SPOKEN;
        let word = KeyBinding::issue(node.account(), node.as_operator(), &key, versions, of, node.signer())?;
        Ok(Identity::new(secret, word))
    }
}

impl Identities for OwnIdentity {
    /// Key and word are renewed when half of its time is over, and when it was dated by a clock that the chain shows to be
    /// wrong: strangers make the account sign twice a day, however often they connect.
    fn identity(&self, agent: &Address) -> Option<Arc<Identity>> {
        if *agent != self.node.account() {
            return None;
        }
        let now = self.now();
        let mut signed = self.signed.lock();
        if signed.as_ref().is_none_or(|identity| is_due(identity.binding(), now)) {
            let notice = match self.sign(now) {
                Ok(identity) => {
                    *signed = Some(Arc::new(identity));
                    None
                }
                Err(error) => Some(format!(
                    "the key of messaging sessions could not be signed, so clients refuse to talk to this agent once they know it: {error}"
                )),
            };
            self.node.notices().set(Part::SessionKey, notice);
        }
        signed.clone()
    }

    /// Clients judge by theirs in the same way.
    fn now(&self) -> SystemTime {
        self.node.time()
    }
}

/// Whether half of the time is over, or the word is dated so far ahead that clients refuse it.
fn is_due(binding: &KeyBinding, now: SystemTime) -> bool {
    let left = binding.expires().duration_since(now).unwrap_or_default();
    let (least, most) = (
        KeyBinding::VALIDITY.saturating_sub(KeyBinding::RENEWED_AFTER),
        KeyBinding::VALIDITY.saturating_add(KeyBinding::MAX_SKEW),
    );
    !(least..=most).contains(&left)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use alloy::primitives::B256;
    use alloy::signers::local::PrivateKeySigner;
    use privatix_channel::Domain;

    use super::*;

    #[test]
    fn a_word_is_renewed_when_half_of_its_time_is_over_and_when_its_clock_was_wrong() {
        let (agent, secret) =
            (PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).unwrap(), SessionSecret::generate());
        let domain = Domain::new(1, Address::repeat_byte(1), Address::repeat_byte(2));
        let issued = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let versions = VersionRange::SPOKEN;
        let binding =
            KeyBinding::issue(agent.address(), None, &secret.public(), versions, (&domain, issued), &agent)
                .unwrap();
        let (minute, hour) = (Duration::from_mins(1), Duration::from_hours(1));
        for (now, due) in [
            (issued, false),
            (issued + hour, false),
            (issued + 12 * hour, false),
            (issued + 12 * hour + minute, true),
            (issued + 1_000 * hour, true),
            (issued - 15 * minute, false),
            (issued - 16 * minute, true),
            (issued - 1_000 * hour, true),
        ] {
            assert_eq!(is_due(&binding, now), due, "{now:?}");
        }
    }
}
