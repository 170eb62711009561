//! What an event of the chain makes of an offering.

use serde::{Deserialize, Serialize};

use super::OfferingStatus;
use crate::{Announcement, ChainEvent, ChainTime, OfferingEvent};

/// The on-chain part of an offering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferingOnChain {
    /// `Registered`, `PoppedUp` or `Removed`.
    pub status: OfferingStatus,
    /// The last announcement, with all places as its supply, and the fee of the next channels.
    pub announcement: Announcement,
    /// Places free now.
    pub free: u32,
    /// The number of the block of the last announcement.
    pub announced_at: u64,
    /// The time of that block. `None` if an earlier version stored the announcement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced_time: Option<ChainTime>,
}

impl OfferingOnChain {
    /// Takes in the next event of the offering, in a block of this number. None before its first announcement that we know of.
    pub fn apply(state: &mut Option<Self>, block: u64, event: &ChainEvent) {
        match (event, state) {
            (ChainEvent::Offering { event: OfferingEvent::Registered(announced), block_time, .. }, state) => {
                *state = Some(Self {
                    status: OfferingStatus::Registered,
                    announcement: announced.clone(),
                    free: announced.supply,
                    announced_at: block,
                    announced_time: *block_time,
                });
            }
            (ChainEvent::Offering { event: OfferingEvent::PoppedUp(announced), block_time, .. }, state) => {
                // Whoever missed the registration knows no better total than the places free now.
                let supply = state.as_ref().map_or(announced.supply, |known| known.announcement.supply);
                *state = Some(Self {
                    status: OfferingStatus::PoppedUp,
                    announcement: Announcement { supply: supply.max(announced.supply), ..announced.clone() },
                    free: announced.supply,
                    announced_at: block,
                    announced_time: *block_time,
                });
            }
            (ChainEvent::Offering { event: OfferingEvent::Removed, .. }, Some(state)) => {
                state.status = OfferingStatus::Removed;
            }
            (ChainEvent::Offering { event: OfferingEvent::FeeRefreshed { fee }, .. }, Some(state)) => {
                state.announcement.fee = *fee;
            }
            (ChainEvent::Opened { .. }, Some(state)) => state.free = state.free.saturating_sub(1),
            (ChainEvent::Closed { .. }, Some(state)) => {
                state.free = state.free.saturating_add(1);
                state.announcement.supply = state.announcement.supply.max(state.free);
            }
            (_, _) => {}
        }
    }

    /// Whether only the numbers of places are others than in `other`.
    pub fn differs_in_places_only(&self, other: &Self) -> bool {
        let Self { status, announcement, free: _, announced_at, announced_time } = other;
        let announcement = Announcement { supply: self.announcement.supply, ..announcement.clone() };
        (self.status, &self.announcement, self.announced_at, self.announced_time)
            == (*status, &announcement, *announced_at, *announced_time)
    }
}

#[cfg(test)]
mod tests {
    use super::OfferingStatus::{PoppedUp, Registered};
    use super::*;
    use crate::{Amount, Fee};

    fn announced(status: OfferingStatus, supply: u32, free: u32) -> OfferingOnChain {
        let announcement = Announcement {
            min_deposit: Amount::new(1),
            supply,
            fee: Fee::ZERO,
            source_type: 1,
            source: String::new(),
        };
        OfferingOnChain {
            status,
            announcement,
            free,
            announced_at: 7,
            announced_time: Some(ChainTime::new(70)),
        }
    }

    #[test]
    fn supply_and_free_places_are_the_numbers_of_places() {
        let known = announced(Registered, 5, 5);
        let with = |change: fn(&mut OfferingOnChain)| {
            let mut other = known.clone();
            change(&mut other);
            other.differs_in_places_only(&known)
        };
        assert!(with(|_| {}) && with(|state| state.free = 4) && with(|state| state.announcement.supply = 6));
        assert!(!with(|state| state.status = PoppedUp));
        assert!(!with(|state| state.announced_at = 8));
        assert!(!with(|state| state.announced_time = Some(ChainTime::new(71))));
        assert!(!with(|state| state.announcement.min_deposit = Amount::new(2)));
        assert!(!with(|state| state.announcement.fee = Fee::new(1).unwrap()));
        assert!(!with(|state| state.announcement.source = "here".to_owned()));
    }
}
