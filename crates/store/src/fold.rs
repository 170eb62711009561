//! Folds as they are stored.

use privatix_channel::{FOLD_RULES, Fold};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StoreError;
use crate::columns::{from_json, to_json};

/// The most stored events that are read at once.
pub(crate) const PAGE: usize = 256;

/// A stored fold; none if it was not folded yet, or by other rules, or cannot be read: the events are there to fold again.
pub(crate) fn stored<S: DeserializeOwned>(version: i32, fold: Option<&str>) -> Option<Fold<S>> {
    let fold = fold.filter(|_| version == FOLD_RULES)?;
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
