//! What an event of the chain makes of an offering.

use privatix_channel::{Announcement, ChainEvent, OfferingEvent};
use serde::{Deserialize, Serialize};

use super::OfferingStatus;

/// The on-chain part of an offering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OnChain {
    pub(super) status: OfferingStatus,
    pub(super) announcement: Announcement,
    pub(super) free: u32,
    pub(super) announced_at: u64,
}

impl OnChain {
    /// Takes in the next event of the offering, in a block of this number. None before its first announcement that we know of.
    pub(super) fn apply(state: &mut Option<Self>, block: u64, event: &ChainEvent) {
        match (event, state) {
            (ChainEvent::Offering { event: OfferingEvent::Registered(announced), .. }, state) => {
                *state = Some(Self {
                    status: OfferingStatus::Registered,
                    announcement: announced.clone(),
                    free: announced.supply,
                    announced_at: block,
                });
            }
            (ChainEvent::Offering { event: OfferingEvent::PoppedUp(announced), .. }, state) => {
                // Whoever missed the registration knows no better total than the places free now.
                let supply = state.as_ref().map_or(announced.supply, |known| known.announcement.supply);
                *state = Some(Self {
                    status: OfferingStatus::PoppedUp,
                    announcement: Announcement { supply: supply.max(announced.supply), ..announced.clone() },
                    free: announced.supply,
                    announced_at: block,
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
    pub(super) fn differs_in_places_only(&self, other: &Self) -> bool {
        let Self { status, announcement, free: _, announced_at } = other;
        let announcement = Announcement { supply: self.announcement.supply, ..announcement.clone() };
        (self.status, &self.announcement, self.announced_at) == (*status, &announcement, *announced_at)
    }

    /// The status when our own last step led to `step` at the announcement of block `step_at`: a transaction of ours that
    /// the chain has not answered stays under way, whatever else happens to the offering meanwhile.
    pub(super) fn status_with(&self, step: Option<OfferingStatus>, step_at: Option<u64>) -> OfferingStatus {
        match step {
            Some(OfferingStatus::PoppingUp)
                if self.status.is_on_market() && step_at == Some(self.announced_at) =>
            {
                OfferingStatus::PoppingUp
            }
            Some(OfferingStatus::Removing) if self.status.is_on_market() => OfferingStatus::Removing,
            _ => self.status,
        }
    }
}
