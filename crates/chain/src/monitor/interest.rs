use alloy::primitives::{Address, B256, Log};
use alloy::rpc::types::{Filter, FilterSet};
use alloy::sol_types::SolEvent;
use serde::{Deserialize, Serialize};

/// Which logs to follow: those of one contract whose topics match.
///
/// A monitor takes any number of them; a log that matches several is still delivered once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interest {
    contract: Address,
    topics: [Vec<B256>; 4],
}

impl Interest {
    /// All events of a contract.
    pub fn all_of(contract: Address) -> Self {
        Self { contract, topics: Default::default() }
    }

    /// Restricts it to this event, or, called again, to one of these events.
    #[must_use]
    pub fn event<E: SolEvent>(self) -> Self {
        self.topic(0, E::SIGNATURE_HASH)
    }

    /// Restricts an indexed parameter (1 to 3; 0 is the event) to this value, or, called again, to one of these.
    ///
    /// # Panics
    /// If `position` is above 3: an EVM log has four topics.
    #[must_use]
    pub fn topic(mut self, position: usize, value: B256) -> Self {
        self.topics[position].push(value);
        self
    }

    /// Restricts an indexed address parameter (1 to 3), as [`topic`](Self::topic) does.
    ///
    /// # Panics
    /// If `position` is above 3.
    #[must_use]
    pub fn address(self, position: usize, value: Address) -> Self {
        self.topic(position, value.into_word())
    }

    /// The contract.
    pub fn contract(&self) -> Address {
        self.contract
    }

    /// Whether it asks for this log.
    pub fn matches(&self, log: &Log) -> bool {
        let asks = |(position, values): (usize, &Vec<B256>)| {
            values.is_empty() || log.topics().get(position).is_some_and(|topic| values.contains(topic))
        };
        self.contract == log.address && self.topics.iter().enumerate().all(asks)
    }

    /// Whether every log that matches `other` matches this one, too.
    fn covers(&self, other: &Self) -> bool {
        self.contract == other.contract
            && self.topics.iter().zip(&other.topics).all(|(mine, theirs)| {
                mine.is_empty() || (!theirs.is_empty() && theirs.iter().all(|value| mine.contains(value)))
            })
    }

    /// What a cursor stores of what its stream follows.
    pub(super) fn stored(interests: &[Self]) -> String {
        // Addresses and hashes always have a JSON form.
        serde_json::to_string(interests).unwrap_or_default()
    }

    /// Whether a stream that followed what is stored has seen every log that matches one of `interests`. What cannot be
    /// read was stored before interests were: everything.
    pub(super) fn are_covered(stored: &str, interests: &[Self]) -> bool {
        let Ok(stored) = serde_json::from_str::<Vec<Self>>(stored) else { return true };
        interests.iter().all(|wanted| stored.iter().any(|known| known.covers(wanted)))
    }

    pub(crate) fn filter(&self) -> Filter {
        let mut filter = Filter::new().address(self.contract);
        for (set, values) in filter.topics.iter_mut().zip(&self.topics) {
            *set = values.iter().copied().collect::<FilterSet<B256>>();
        }
        filter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrowing_is_covered_and_widening_is_not() {
        let topic = B256::repeat_byte;
        let all = Interest::all_of(Address::repeat_byte(1));
        let events = all.clone().topic(0, topic(1)).topic(0, topic(2));
        let own = events.clone().topic(1, topic(7));
        let elsewhere = Interest::all_of(Address::repeat_byte(2));
        let covered =
            |before: &[Interest], now: &[Interest]| Interest::are_covered(&Interest::stored(before), now);
        for (before, now, expected) in [
            (vec![all.clone()], vec![all.clone()], true),
            (vec![all.clone()], vec![events.clone(), own.clone()], true),
            (vec![events.clone()], vec![own.clone()], true),
            (vec![own.clone()], vec![events.clone()], false),
            (vec![events.clone()], vec![all.clone()], false),
            (vec![own.clone()], vec![events.clone().topic(1, topic(8))], false),
            (vec![own.clone()], vec![own.clone().topic(0, topic(3))], false),
            (vec![elsewhere.clone()], vec![own.clone()], false),
            (vec![elsewhere, events], vec![own], true),
            (vec![], vec![all], false),
        ] {
            assert_eq!(covered(&before, &now), expected, "{before:?} {now:?}");
        }
        assert!(
            Interest::are_covered("", &[Interest::all_of(Address::ZERO)]),
            "stored by an earlier version"
        );
    }
}
