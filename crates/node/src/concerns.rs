//! What endangers the money of channels, as their last decisions found it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use privatix_channel::ChannelId;
use privatix_market::Concern;

/// The channels whose money is endangered, each with why. Every channel that is not final is decided about at each start, and again
/// when something happens to it, so what is kept here is complete soon after a start, and no more than what is wrong. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Concerns(Arc<Mutex<BTreeMap<ChannelId, Vec<Concern>>>>);

impl Concerns {
    /// What the last decision about a channel found.
    pub fn set(&self, channel: ChannelId, concerns: &[Concern]) {
        let mut all = self.0.lock();
        if concerns.is_empty() {
            all.remove(&channel);
        } else {
            all.insert(channel, concerns.to_vec());
        }
    }

    /// All there are, by channel.
    pub fn all(&self) -> Vec<(ChannelId, Concern)> {
        let all = self.0.lock();
        all.iter()
            .flat_map(|(channel, concerns)| concerns.iter().map(|concern| (*channel, *concern)))
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
        concerns.set(channel(1), &[]);
        concerns.set(channel(2), &[waits]);
        assert_eq!(concerns.clone().all(), [(channel(2), waits)]);
        concerns.set(channel(2), &[]);
        assert_eq!(concerns.all(), []);
    }
}
