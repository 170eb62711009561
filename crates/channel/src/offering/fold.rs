//! What some consecutive events make of an offering, so that events can be put after them and before them.

use serde::{Deserialize, Serialize};

use super::{OfferingOnChain, places::Places};
use crate::{ChainEvent, LogPosition};

/// What consecutive events of an offering come to, all of them or some. A search from the newest blocks on puts older events
/// before it, each at the same cost however many came after them.
///
/// Its serde form is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferingFold {
    /// What they make of an offering that was not announced before them.
    pub state: Option<OfferingOnChain>,
    /// The first of them.
    pub first: Option<LogPosition>,
    /// What those before the first announcement among them do to the free places of an offering that was announced earlier.
    before: Places,
    /// Whether one of them is its registration: what was before does not count then.
    is_anchored: bool,
}

impl OfferingFold {
    /// The events, which are in chain order.
    pub fn of<'a>(events: impl IntoIterator<Item = (LogPosition, &'a ChainEvent)>) -> Self {
        let mut fold = Self::default();
        for (at, event) in events {
            fold.take(at, event);
        }
        fold
    }

    /// Takes in the next event.
    pub fn take(&mut self, at: LogPosition, event: &ChainEvent) {
        self.first = self.first.or(Some(at));
        if self.state.is_none() {
            self.before.take(event);
        }
        self.is_anchored |= event.is_registration();
        OfferingOnChain::apply(&mut self.state, at.block, event);
    }

    /// These events and, after them, those of `later`. `None` if `later` has no announcement: it then keeps only what its
    /// openings and closings do to free places, and lacks what its other events would have done.
    pub fn followed_by(self, later: Self) -> Option<Self> {
        let mut state = later.state?;
        let mut before = later.before;
        match self.state {
            None => before = self.before.followed_by(before),
            Some(earlier) => {
                if !later.is_anchored {
                    let supply = before.supply(earlier.free, earlier.announcement.supply);
                    state.announcement.supply = state.announcement.supply.max(supply);
                }
                before = self.before;
            }
        }
        Some(Self {
            state: Some(state),
            first: self.first.or(later.first),
            before,
            is_anchored: self.is_anchored || later.is_anchored,
        })
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Amount, Announcement, ChannelDescriptor, ChannelEvent, ChannelId, Closure, Fee, OfferingEvent,
        OfferingHash,
    };

    fn event() -> impl Strategy<Value = ChainEvent> {
        let agent = Address::repeat_byte(1);
        let offering = OfferingHash::new(B256::repeat_byte(2));
        let offered = move |event| {
            let block_time = Some(crate::ChainTime::new(9));
            ChainEvent::Offering { agent, offering, block_time, event }
        };
        let announcement = |supply| Announcement {
            min_deposit: Amount::new(1),
            supply,
            fee: Fee::ZERO,
            source_type: 1,
            source: String::new(),
        };
        let client = Address::repeat_byte(3);
        let channel = ChannelId::new(B256::repeat_byte(4));
        let descriptor = ChannelDescriptor { client, agent, offering, nonce: 0, signer: client };
        let opened = ChannelEvent::Opened { deposit: Amount::new(5), fee: Fee::ZERO };
        let closed =
            ChannelEvent::Closed { paid: Amount::new(1), refund: Amount::new(4), closure: Closure::ByBoth };
        prop_oneof![
            1 => (0..8u32).prop_map(move |supply| offered(OfferingEvent::Registered(announcement(supply)))),
            2 => (0..8u32).prop_map(move |supply| offered(OfferingEvent::PoppedUp(announcement(supply)))),
            1 => Just(offered(OfferingEvent::Removed)),
            1 => (0..9u16).prop_map(move |fee| {
                offered(OfferingEvent::FeeRefreshed { fee: Fee::new(fee).unwrap_or_default() })
            }),
            6 => Just(ChainEvent::Opened { channel, descriptor, event: opened }),
            6 => Just(ChainEvent::Closed { channel, agent, client, offering, event: closed }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        /// Whichever way a history is divided, and in whichever direction its parts are put together, it comes to the same.
        #[test]
        fn parts_come_to_what_the_whole_comes_to(
            history in proptest::collection::vec(event(), 0..60),
            cuts in proptest::collection::vec(1..12usize, 1..8),
        ) {
            let history: Vec<_> =
                (0u64..).map(|block| LogPosition::new(block, 0)).zip(&history).collect();
            let whole = OfferingFold::of(history.iter().copied());
            let (mut rest, mut known) = (history.as_slice(), None);
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (before, part) = rest.split_at(rest.len().saturating_sub(cut));
                let from = before.len();
                known = Some(match known {
                    None => OfferingFold::of(part.iter().copied()),
                    Some(later) => OfferingFold::of(part.iter().copied())
                        .followed_by(later)
                        // Without an announcement it is folded again.
                        .unwrap_or_else(|| OfferingFold::of(history[from..].iter().copied())),
                });
                rest = before;
            }
            prop_assert_eq!(known.unwrap_or_default(), whole);
        }
    }
}
