//! Transactions under way: [`Flight`].

use alloy::primitives::B256;
use serde::{Deserialize, Serialize};

use crate::{AtStake, Bid, Effect, Fate, Party, Priority, Purpose};

/// A transaction, from the decision to make it until its outcome is final.
///
/// `X` is the purpose, of those that the side has. Which stored transaction it is, only the table of purposes knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flight<X> {
    /// Its number among the channel's effects. Each try has another one.
    pub seq: u32,
    /// What it is for.
    pub purpose: X,
    /// The terms with which it was submitted.
    pub bid: Bid,
    /// How far it is.
    pub stage: Stage,
}

/// A purpose that can be compared with others of its side.
pub(crate) trait Brings: Copy {
    /// Whether this brings all that `wanted` would.
    fn brings(self, wanted: Self) -> bool;
}

impl<X> Flight<X> {
    /// Whether it is on its way on terms at least as good as those that are wanted. A batch answers no close request.
    pub(crate) fn serves(&self, wanted: &Bid) -> bool {
        match self.stage {
            Stage::Mined { .. } => true,
            Stage::Sent { batch: true } => wanted.priority < Priority::Urgent,
            _ => self.bid.covers(wanted),
        }
    }

    /// Whether it does what is wanted: nothing else is needed for that.
    pub(crate) fn does(&self, wanted: X, bid: &Bid) -> bool
    where
        X: Brings,
    {
        self.stage.is_under_way() && self.purpose.brings(wanted) && self.serves(bid)
    }
}

/// How far a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// It waits for a batch. Nothing was submitted: it can be changed or dropped.
    Collected,
    /// The money for it is being provided. Nothing was submitted: it can be dropped.
    Funding,
    /// Submitted, alone or in a batch with other channels.
    Sent {
        /// In a batch: it is not cancelled, since that would cancel those of the others.
        batch: bool,
    },
    /// We cancelled it. It may still be mined.
    Cancelling,
    /// In a block with success.
    Mined {
        /// The block.
        block: BlockRef,
        /// Whether the fold of the channel includes that very block: then its effect is what the fold shows, also none. A fact
        /// that the shell fills in when it loads the state.
        #[serde(skip)]
        seen: bool,
    },
    /// In a block, without effect. A reorganisation may still give it another outcome.
    Reverted,
}

/// A block, by number and hash: another block of the same number is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlockRef {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
}

impl Stage {
    /// Whether it may still have its effect on chain.
    pub const fn may_be_mined(self) -> bool {
        !matches!(self, Self::Collected | Self::Funding)
    }

    /// Whether its effect is on its way: nothing else is needed for the same.
    pub const fn is_under_way(self) -> bool {
        matches!(self, Self::Funding | Self::Sent { .. } | Self::Mined { seen: false, .. })
    }

    /// The stage after a report. One that we cancelled stays so until it is over or in a block; a repeated report changes
    /// nothing.
    fn following(self, reported: Self) -> Self {
        match (self, reported) {
            (Self::Cancelling, Self::Sent { .. }) => self,
            (Self::Mined { block, .. }, Self::Mined { block: again, .. }) if block == again => self,
            _ => reported,
        }
    }
}

impl Fate {
    /// The stage of a transaction with this fate; `None` if it is over.
    const fn stage(self) -> Option<Stage> {
        match self {
            Self::Funded => Some(Stage::Sent { batch: false }),
            Self::Batched => Some(Stage::Sent { batch: true }),
            Self::Mined(block) => Some(Stage::Mined { block, seen: false }),
            Self::Reverted => Some(Stage::Reverted),
            Self::Reinstated { batch } => Some(Stage::Sent { batch }),
            Self::Unfunded(_) | Self::Failed { .. } | Self::Cancelled | Self::Final => None,
        }
    }
}

/// A report about a transaction, that was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reported {
    /// Its stage before; `None` if it was no flight.
    pub(crate) before: Option<Stage>,
    /// What became of it.
    pub(crate) fate: Fate,
}

/// Takes a report about a transaction in: its stage, or its end. `None` if it is about one that is over, or was never made.
pub(crate) fn report<X: Copy + Eq + Into<Purpose>>(
    flights: &mut Vec<Flight<X>>,
    last: &mut u32,
    (seq, purpose, fate): (u32, X, Fate),
) -> Option<Reported> {
    let place = flights.iter().position(|flight| flight.seq == seq);
    let known = place.and_then(|place| flights.get(place));
    if known.is_some_and(|flight| flight.purpose != purpose) {
        return None; // of another one under this number
    }
    let before = known.map(|flight| flight.stage);
    match (place, fate.stage()) {
        // The money came after it was submitted: a repeated report.
        (Some(_), Some(_)) if fate == Fate::Funded && before != Some(Stage::Funding) => return None,
        (Some(place), Some(stage)) => {
            if let Some(flight) = flights.get_mut(place) {
                flight.stage = flight.stage.following(stage);
            }
        }
        (Some(place), None) => {
            flights.remove(place);
        }
        // One that was over is under way again, or this state comes from before it was made.
        (None, Some(stage)) if matches!(fate, Fate::Reinstated { .. }) || seq > *last => {
            flights.push(Flight { seq, purpose, bid: purpose.into().bid(&AtStake::default()), stage });
            *last = seq.max(*last);
        }
        (None, _) => return None,
    }
    Some(Reported { before, fate })
}

/// Cancels those of `which` that wait for money, for a batch or to be mined.
pub(crate) fn cancel<P: Party>(
    flights: &mut Vec<Flight<P::Purpose>>,
    effects: &mut Vec<Effect<P>>,
    which: impl Fn(&Flight<P::Purpose>) -> bool,
) {
    flights.retain_mut(|flight| {
        let waits = matches!(flight.stage, Stage::Collected | Stage::Funding | Stage::Sent { .. });
        if !waits || !which(flight) {
            return true;
        }
        effects.push(Effect::Cancel { seq: flight.seq });
        let was_sent = flight.stage.may_be_mined();
        flight.stage = Stage::Cancelling;
        was_sent
    });
}

/// Submits a transaction under this number.
pub(crate) fn submit<P: Party>(
    flights: &mut Vec<Flight<P::Purpose>>,
    effects: &mut Vec<Effect<P>>,
    (seq, purpose, bid): (u32, P::Purpose, Bid),
) {
    flights.push(Flight { seq, purpose, bid, stage: Stage::Sent { batch: false } });
    effects.push(Effect::Submit { seq, purpose, bid });
}

/// The next number of the channel's effects.
pub(crate) fn next(seq: &mut u32) -> u32 {
    *seq = seq.saturating_add(1);
    *seq
}
