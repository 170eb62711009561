//! What endangers the money of channels, as their last decisions found it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use privatix_channel::ChannelId;
use privatix_market::Concern;

/// The channels whose money is endangered, each with why. Every channel that is not final is decided about at each start, and again
/// when something happens to it, so what is kept here is complete soon after a start. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Concerns(Arc<Mutex<BTreeMap<ChannelId, Found>>>);

/// What the newest decision about a channel found. Without concerns it is kept for its revision, as long as the channel is not final.
#[derive(Clone, Debug)]
struct Found {
    revision: u64,
    concerns: Vec<Concern>,
}

impl Concerns {
    /// What a decision found that led to this revision of a channel's state, and whether that state is final. Of two decisions, the
    /// later one may come here first. Returns whether none of a higher revision did; else nothing changes.
    pub fn set(&self, channel: ChannelId, revision: u64, is_final: bool, concerns: &[Concern]) -> bool {
        let mut all = self.0.lock();
        if all.get(&channel).is_some_and(|found| found.revision > revision) {
            return false;
        }
        if is_final && concerns.is_empty() {
            all.remove(&channel);
        } else {
            all.insert(channel, Found { revision, concerns: concerns.to_vec() });
        }
        true
    }

    /// All there are, by channel.
    pub fn all(&self) -> Vec<(ChannelId, Concern)> {
        let all = self.0.lock();
        all.iter()
            .flat_map(|(channel, found)| found.concerns.iter().map(|concern| (*channel, *concern)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use privatix_channel::Amount;

    use super::*;

    #[test]
    fn a_channel_is_kept_until_a_decision_finds_nothing() {
        let (concerns, channel) = (Concerns::default(), |n: u8| ChannelId::new([n; 32].into()));
        let waits = Concern::Waits { at_stake: Amount::new(5), by_order: false };
        assert!(concerns.set(channel(1), 1, false, &[]));
        assert!(concerns.set(channel(2), 1, false, &[waits]));
        assert_eq!(concerns.clone().all(), [(channel(2), waits)]);
        assert!(concerns.set(channel(2), 2, false, &[]));
        assert_eq!(concerns.all(), []);
    }

    #[test]
    fn an_older_decision_replaces_no_newer_one() {
        let (concerns, channel) = (Concerns::default(), ChannelId::new([1; 32].into()));
        let waits = |by_order| Concern::Waits { at_stake: Amount::new(5), by_order };
        assert!(concerns.set(channel, 8, false, &[]));
        assert!(!concerns.set(channel, 7, false, &[waits(false)]));
        assert_eq!(concerns.all(), [], "the newer one found nothing");
        assert!(concerns.set(channel, 8, false, &[waits(false)]), "a look that changed nothing of the state");
        assert!(concerns.set(channel, 9, true, &[waits(true)]));
        for is_final in [false, true] {
            assert!(!concerns.set(channel, 8, is_final, &[]));
        }
        assert_eq!(concerns.all(), [(channel, waits(true))]);
    }

    #[test]
    fn nothing_is_kept_of_a_final_channel_without_concerns() {
        let concerns = Concerns::default();
        for n in 0..100 {
            let channel = ChannelId::new([n; 32].into());
            concerns.set(channel, 1, false, &[]);
            concerns.set(channel, 2, true, &[]);
        }
        assert!(concerns.0.lock().is_empty());
    }
}
