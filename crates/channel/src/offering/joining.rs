//! How further events of an offering are put to those that are folded.

use super::OfferingFold;
use crate::{ChainEvent, Fold, LogPosition};

/// What is kept of an offering when further events of it come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptOffering {
    /// Nothing: it was never announced, as far as is known.
    Nothing,
    /// The offering, but no fold by these rules.
    Unfolded,
    /// The fold of its events.
    Folded(Fold<OfferingFold>),
}

/// How further events of an offering are taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joining {
    /// They change nothing that is kept: the offering was never announced, as far as is known.
    Nothing,
    /// One after the other, after those that are in this fold.
    After(Fold<OfferingFold>),
    /// Before those of a fold: this is both, and snapshots lack them.
    Before(Fold<OfferingFold>),
    /// The stored events are folded again, from the last snapshot before this position; from the first one without it.
    Again {
        /// The first event that snapshots may lack.
        from: Option<LogPosition>,
    },
}

impl Joining {
    /// How `new` events of an offering are taken in. They are in chain order and stored already. `has_later`: later events, of any
    /// offering, are stored.
    pub fn of(kept: KeptOffering, new: &[(LogPosition, &ChainEvent)], has_later: bool) -> Self {
        let [first, last] = [new.first(), new.last()].map(|one| one.map(|(at, _)| *at));
        match kept {
            KeptOffering::Nothing => match new.iter().find(|(_, event)| event.is_announcement()) {
                None => Self::Nothing,
                // What came before does not count.
                Some((_, event)) if event.is_registration() && !has_later => Self::After(Fold::default()),
                Some(_) => Self::Again { from: None },
            },
            KeptOffering::Unfolded => Self::Again { from: None },
            KeptOffering::Folded(fold) if fold.last < first => Self::After(fold),
            KeptOffering::Folded(fold) if last < fold.state.first => {
                let since = fold.since.saturating_add(u32::try_from(new.len()).unwrap_or(u32::MAX));
                match OfferingFold::of(new.iter().copied()).followed_by(fold.state) {
                    Some(state) => Self::Before(Fold { state, last: fold.last, since }),
                    None => Self::Again { from: None },
                }
            }
            KeptOffering::Folded(_) => Self::Again { from: first },
        }
    }
}
