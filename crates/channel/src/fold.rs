//! Folds of events as they stand, so that a further event costs the same however many came before it.

use serde::{Deserialize, Serialize};

use crate::LogPosition;

/// The edition of the rules by which events are folded. What was folded by another one is to be folded again from the events.
pub const FOLD_RULES: i32 = 2;

/// A snapshot is due after this many events.
const SNAPSHOT_EVERY: u32 = 64;

/// What the events of a channel or an offering come to, up to the last one that was taken in.
///
/// Its serde form is stored, with that of its state: a change of it is another edition of [`FOLD_RULES`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fold<S> {
    /// What they come to.
    pub state: S,
    /// The last event that is in it.
    pub last: Option<LogPosition>,
    /// How many events it took in since its last snapshot.
    pub since: u32,
}

impl<S> Fold<S> {
    /// Notes an event that was taken into the state. Returns whether a snapshot is due.
    pub fn took(&mut self, at: LogPosition) -> bool {
        self.last = self.last.max(Some(at));
        self.since = self.since.saturating_add(1);
        let is_due = self.since >= SNAPSHOT_EVERY;
        if is_due {
            self.since = 0;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_due_after_every_64th_event() {
        let mut fold = Fold::<()>::default();
        let due: Vec<u64> = (1..=200).filter(|block| fold.took(LogPosition::new(*block, 0))).collect();
        assert_eq!(due, [64, 128, 192]);
        assert_eq!((fold.last, fold.since), (Some(LogPosition::new(200, 0)), 8));
    }
}
