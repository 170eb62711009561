//! Free places of an offering whose number before is not known.

use serde::{Deserialize, Serialize};

use crate::ChainEvent;

/// What openings and closings do to the free places: of `free` before them, `max(free + shift, least)` are left, and on the way
/// there were at most `max(free + rise, peak)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Places {
    shift: i64,
    least: i64,
    rise: i64,
    peak: i64,
}

impl Places {
    pub(super) fn take(&mut self, event: &ChainEvent) {
        match event {
            ChainEvent::Opened { .. } => {
                self.shift = self.shift.saturating_sub(1);
                // There are never less than none.
                self.least = self.least.saturating_sub(1).max(0);
            }
            ChainEvent::Closed { .. } => {
                self.shift = self.shift.saturating_add(1);
                self.least = self.least.saturating_add(1);
                self.rise = self.rise.max(self.shift);
                self.peak = self.peak.max(self.least);
            }
            ChainEvent::Offering { .. } | ChainEvent::Changed { .. } | ChainEvent::Contract { .. } => {}
        }
    }

    pub(super) fn followed_by(self, later: Self) -> Self {
        Self {
            shift: self.shift.saturating_add(later.shift),
            least: self.least.saturating_add(later.shift).max(later.least),
            rise: self.rise.max(self.shift.saturating_add(later.rise)),
            peak: self.peak.max(self.least.saturating_add(later.rise)).max(later.peak),
        }
    }

    /// How many places there are at least after these events, of an offering that had this many before them.
    pub(super) fn supply(self, free: u32, supply: u32) -> u32 {
        let most = i64::from(free).saturating_add(self.rise).max(self.peak);
        supply.max(u32::try_from(most).unwrap_or(u32::MAX))
    }
}
