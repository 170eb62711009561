//! Folds of events that are kept as they stand, so that a further event costs the same however many came before it.

use privatix_channel::LogPosition;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::columns::{from_json, to_json};

/// The rules by which events are folded. What was folded by others is folded again from the stored events.
pub(crate) const VERSION: i32 = 2;

/// A snapshot is kept after this many events.
pub(crate) const SNAPSHOT_EVERY: u32 = 64;

/// The most stored events that are read at once.
pub(crate) const PAGE: usize = 256;

/// What the events of a channel or an offering come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fold<S> {
    pub(crate) state: S,
    /// The last event that is in it.
    pub(crate) last: Option<LogPosition>,
    /// How many events it took in since its last snapshot.
    pub(crate) since: u32,
}

impl<S> Fold<S> {
    /// Notes an event that was taken into the state. Returns whether a snapshot is due.
    pub(crate) fn took(&mut self, at: LogPosition) -> bool {
        self.last = self.last.max(Some(at));
        self.since = self.since.saturating_add(1);
        let is_due = self.since >= SNAPSHOT_EVERY;
        if is_due {
            self.since = 0;
        }
        is_due
    }
}

/// A stored fold; none if it was not folded yet, or by other rules, or cannot be read: the events are there to fold again.
pub(crate) fn stored<S: DeserializeOwned>(version: i32, fold: Option<&str>) -> Option<Fold<S>> {
    let fold = fold.filter(|_| version == VERSION)?;
    let read = from_json("fold", fold);
    if let Err(error) = &read {
        tracing::error!(%error, "folding the stored events again");
    }
    read.ok()
}

/// A fold as it is stored.
pub(crate) fn text<S: Serialize>(fold: &Fold<S>) -> Result<String, StoreError> {
    to_json("fold", fold)
}
