//! Transactions under way: [`Flight`].

use std::cmp::Ordering;
use std::time::Duration;

use alloy::primitives::B256;
use privatix_channel::{Amount, OnChain, Phase};
use serde::{Deserialize, Serialize};

use crate::{AtStake, Bid, Effect, Env, Fate, Owner, Party, Priority, Purpose, Uptime};

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

    /// Whether the channel's events show its effect, or that something came after it, once it succeeded alone in the block of this
    /// number. A reorganisation may bring it into another one: `deposit` is what the deposit was before, where that is known.
    fn is_shown(self, block: u64, deposit: Option<Amount>, chain: &OnChain) -> bool;

    /// Whether it bounds what may be promised for as long as it may be mined.
    fn bounds(self) -> bool;
}

impl<X> Flight<X> {
    /// For how long a success that is final is believed against the channel's events, while these explain what the contract holds. The
    /// two are compared once in an hour at least.
    pub const BELIEVED: Duration = Duration::from_hours(2);

    /// Whether the events do not show a success that they should.
    pub(crate) fn is_hidden(&self, chain: &OnChain) -> bool
    where
        X: Brings,
    {
        let is_shown = |block: BlockRef, deposit| self.purpose.is_shown(block.number, deposit, chain);
        match self.stage {
            Stage::Mined { block, seen: true } => !is_shown(block, None),
            Stage::Unseen { block, deposit, .. } => !is_shown(block, Some(deposit)),
            _ => false,
        }
    }

    /// Whether its success is denied by the events and the contract, so that it is made again.
    const fn is_disproved(&self) -> bool {
        matches!(self.stage, Stage::Unseen { disproved: true, .. })
    }

    /// Whether it went out with other channels. Its success says nothing about one of them: the contract passes over what it cannot
    /// close.
    pub(crate) fn is_of_batch(&self) -> bool {
        self.stage == (Stage::Sent { batch: true }) || self.bid == Bid::of_batch()
    }

    /// Whether its effect is on its way, or was brought by a block and the events do not show it: nothing else is needed for the
    /// same.
    pub(crate) fn is_under_way(&self, chain: &OnChain) -> bool
    where
        X: Brings,
    {
        self.stage.is_under_way() || (!self.is_of_batch() && !self.is_disproved() && self.is_hidden(chain))
    }

    /// What moves it on. `reminder`: when health mentions next that the chain is not seen.
    pub(crate) fn owner(&self, now: Uptime, reminder: Uptime) -> Owner {
        match self.stage {
            Stage::Unseen { since, .. } => {
                let until = since.plus(Self::BELIEVED);
                if until > now { Owner::Time(until) } else { Owner::Chain { reminder } }
            }
            _ => Owner::Transaction(self.seq),
        }
    }

    /// Whether it is on its way on terms at least as good as those that are wanted. A batch answers no close request.
    pub(crate) fn serves(&self, wanted: &Bid) -> bool {
        match self.stage {
            Stage::Mined { .. } | Stage::Unseen { .. } => true,
            Stage::Sent { batch: true } => wanted.priority < Priority::Urgent,
            _ => self.bid.covers(wanted),
        }
    }

    /// Whether it does what is wanted: nothing else is needed for that.
    pub(crate) fn does(&self, wanted: X, bid: &Bid, chain: &OnChain) -> bool
    where
        X: Brings,
    {
        self.is_under_way(chain) && self.purpose.brings(wanted) && self.serves(bid)
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
        /// Whether the fold of the channel includes that very block: then what a batch or a settlement brought is what the fold
        /// shows, also nothing. Of everything else a success is known, and an endpoint may hide its event. A fact that the shell
        /// fills in when it loads the state.
        #[serde(skip)]
        seen: bool,
    },
    /// In a block with success that is final, and the channel's events do not show its effect: an endpoint leaves them out, or this
    /// side's view of the chain lags. It goes on counting until they do, or until they and what the contract holds agree for
    /// [`Flight::BELIEVED`] that there was none: the success was a lie, or a reorganisation below the final block took it back. Then
    /// it is made again; a close goes on bounding what is acknowledged, because it may still be mined.
    Unseen {
        /// The block.
        block: BlockRef,
        /// Since when.
        #[serde(default)]
        since: Uptime,
        /// The deposit that the events showed then.
        #[serde(default)]
        deposit: Amount,
        /// Whether it is not believed any more.
        #[serde(default)]
        disproved: bool,
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

    /// Whether it is in a block with success.
    pub(crate) const fn is_in_block(self) -> bool {
        matches!(self, Self::Mined { .. } | Self::Unseen { .. })
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
            Self::Withdrawn => Some(Stage::Cancelling),
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

/// Takes a report about a transaction in: its stage, or its end. `None` if it is about one that is over, or was never made. `lasts`:
/// whether a success for this purpose counts until it is [seen]; `now` and `deposit`: what is known then.
pub(crate) fn report<X: Copy + Eq + Into<Purpose>>(
    flights: &mut Vec<Flight<X>>,
    last: &mut u32,
    (seq, purpose, fate): (u32, X, Fate),
    lasts: impl Fn(X) -> bool,
    (now, deposit): (Uptime, Amount),
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
        (Some(place), None) => match before {
            Some(Stage::Mined { block, .. }) if fate == Fate::Final && lasts(purpose) => {
                if let Some(flight) = flights.get_mut(place) {
                    flight.stage = Stage::Unseen { block, since: now, deposit, disproved: false };
                }
            }
            Some(Stage::Unseen { .. }) if fate == Fate::Final => {}
            _ => {
                flights.remove(place);
            }
        },
        // One that was over is under way again, or this state comes from before it was made.
        (None, Some(stage)) if matches!(fate, Fate::Reinstated { .. } | Fate::Withdrawn) || seq > *last => {
            let is_in_batch = stage == Stage::Sent { batch: true };
            let bid = if is_in_batch { Bid::of_batch() } else { purpose.into().bid(&AtStake::default()) };
            flights.push(Flight { seq, purpose, bid, stage });
            *last = seq.max(*last);
        }
        (None, _) => return None,
    }
    Some(Reported { before, fate })
}

/// Ends what is final and seen by now: the events show its effect, or nothing but its success speaks for it any more. Of the latter, what
/// bounds a promise stays while the channel is open: its bytes may still be mined.
pub(crate) fn seen<P: Party>(flights: &mut Vec<Flight<P::Purpose>>, chain: &OnChain, env: &Env<'_, P>)
where
    P::Purpose: Brings,
{
    let sees = env.chain.fresh && env.chain.explained;
    let is_open = chain.phase() != Phase::Unopened; // else nothing is acknowledged
    flights.retain_mut(|flight| {
        let is_hidden = flight.is_hidden(chain);
        let Stage::Unseen { since, disproved, .. } = &mut flight.stage else { return true };
        *disproved |= sees && env.uptime.since(*since) >= Flight::<P::Purpose>::BELIEVED;
        is_hidden && (!*disproved || (is_open && flight.purpose.bounds()))
    });
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

/// Whether a success has become final whose block was processed, and whose event is not shown.
pub(crate) fn is_hidden_since<X>(before: &[Flight<X>], after: &[Flight<X>]) -> bool {
    let was_processed = |flight: &Flight<X>| matches!(flight.stage, Stage::Mined { seen: true, .. });
    after
        .iter()
        .filter(|flight| matches!(flight.stage, Stage::Unseen { .. }))
        .any(|flight| before.iter().any(|known| known.seq == flight.seq && was_processed(known)))
}

/// Leaves one of `which` that wait to be mined alone: the most urgent, of these one for the latest challenge, and of these the first
/// that brings all that the others would. A reorganisation brings back what another one has replaced.
pub(crate) fn leave_one<P: Party>(
    flights: &mut Vec<Flight<P::Purpose>>,
    effects: &mut Vec<Effect<P>>,
    which: impl Fn(P::Purpose) -> bool,
) where
    P::Purpose: Brings,
{
    let waits =
        |flight: &Flight<P::Purpose>| flight.stage == (Stage::Sent { batch: false }) && which(flight.purpose);
    let best = flights.iter().filter(|flight| waits(flight)).copied().reduce(|best, flight| {
        // That of an earlier challenge is not for this one.
        let urgency = |bid: &Bid| (bid.priority, bid.deadline.map(|deadline| deadline.at));
        let is_better = match urgency(&flight.bid).cmp(&urgency(&best.bid)) {
            Ordering::Less => false,
            Ordering::Equal => !best.purpose.brings(flight.purpose),
            Ordering::Greater => true,
        };
        if is_better { flight } else { best }
    });
    if let Some(best) = best {
        cancel(flights, effects, |flight| waits(flight) && flight.seq != best.seq);
    }
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
