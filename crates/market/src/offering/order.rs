//! How the operator's orders about an offering end.

use super::{OfferingOrder, OfferingPurpose, OfferingState, Own, Presence, Problem, Shown, Wanted};
use crate::{OrderChange, OrderId, Outcome, Stage, Trouble};

impl OfferingOrder {
    /// What the transaction of the order is for; `None` where it needs none.
    pub const fn purpose(self) -> Option<OfferingPurpose> {
        match self {
            Self::Publish => Some(OfferingPurpose::Publish),
            Self::PopUp => Some(OfferingPurpose::PopUp),
            Self::Remove => Some(OfferingPurpose::Remove),
            Self::PopUpEvery(_) => None,
        }
    }

    /// What is new of an order whose outcome was this, by the step from one state of the offering to another. For one that was given a
    /// moment ago, both are the state that it led to. An order that failed stays so, whatever a later one brings.
    ///
    /// Of the pop-ups that were done only the last can be under way again: see [`changes`](Self::changes).
    pub fn change(
        self,
        was: Option<Outcome>,
        before: &OfferingState,
        after: &OfferingState,
    ) -> Option<OrderChange> {
        let (own_before, own) = (before.own()?, after.own()?);
        let now = match self {
            Self::PopUpEvery(_) => Some(Outcome::Done),
            Self::PopUp => popped_up((own_before, &before.chain), (own, &after.chain)),
            Self::Publish => published(own_before, (own, &after.chain)),
            Self::Remove => removed(own_before, (own, &after.chain)),
        };
        match (was, now) {
            (None, Some(outcome)) => Some(OrderChange::Ended(outcome)),
            (Some(Outcome::Done), None) if self != Self::PopUp || is_taken_back(own_before, own) => {
                Some(OrderChange::UnderWay)
            }
            _ => None,
        }
    }

    /// Whether the step from one state to another may set an order that was done under way again. Most steps do not, and no order that
    /// has ended is read then.
    pub fn may_resume(before: &OfferingState, after: &OfferingState) -> bool {
        let resumes =
            |order: Self| order.change(Some(Outcome::Done), before, after) == Some(OrderChange::UnderWay);
        [Self::Publish, Self::PopUp, Self::Remove].into_iter().any(resumes)
    }

    /// What is new of an offering's orders, each with its outcome before, by the step from one state to another. Of the pop-ups that were
    /// done, a reorganisation sets only the last under way again: one announcement is enough for all.
    pub fn changes(
        orders: &[(OrderId, Self, Option<Outcome>)],
        before: &OfferingState,
        after: &OfferingState,
    ) -> Vec<(OrderId, Self, OrderChange)> {
        let done = |(_, order, was): &&(OrderId, Self, Option<Outcome>)| {
            (*order, *was) == (Self::PopUp, Some(Outcome::Done))
        };
        let last = orders.iter().filter(done).map(|(id, ..)| *id).max();
        let mut orders = orders.iter().filter(|order| !done(order) || Some(order.0) == last);
        let mut changes = Vec::new();
        for (id, order, was) in orders.by_ref() {
            changes.extend(order.change(*was, before, after).map(|change| (*id, *order, change)));
        }
        changes
    }
}

/// Whether a reorganisation took back the announcement that carried out the last pop-up.
const fn is_taken_back(before: &Own, after: &Own) -> bool {
    before.popped_up.is_some() && after.popped_up.is_none() && after.pop_up
}

fn published(before: &Own, (own, shown): (&Own, &Shown)) -> Option<Outcome> {
    match (shown.presence, own.wanted) {
        (Presence::OnMarket | Presence::Removed, _) => Some(Outcome::Done),
        (Presence::Draft, Wanted::OnMarket) => None,
        (Presence::Draft, Wanted::Removed) => Some(Outcome::Failed(Trouble::Replaced)),
        (Presence::Draft, Wanted::AsShown) => Some(given_up(before, own, OfferingPurpose::Publish)),
    }
}

fn removed(before: &Own, (own, shown): (&Own, &Shown)) -> Option<Outcome> {
    match (shown.presence, own.wanted) {
        (Presence::Removed, _) | (Presence::Draft, Wanted::Removed | Wanted::AsShown) => Some(Outcome::Done),
        (Presence::OnMarket, Wanted::Removed) => None,
        (Presence::Draft | Presence::OnMarket, Wanted::OnMarket) => Some(Outcome::Failed(Trouble::Replaced)),
        (Presence::OnMarket, Wanted::AsShown) => Some(given_up(before, own, OfferingPurpose::Remove)),
    }
}

fn popped_up((before, was): (&Own, &Shown), (own, shown): (&Own, &Shown)) -> Option<Outcome> {
    if own.pop_up {
        return None;
    }
    if shown.is_announced_after(was) {
        return Some(Outcome::Done);
    }
    let is_off = shown.presence == Presence::Removed || own.wanted == Wanted::Removed;
    Some(if is_off {
        Outcome::Failed(Trouble::Replaced)
    } else {
        given_up(before, own, OfferingPurpose::PopUp)
    })
}

/// Why an order is not carried out that is wanted no more.
fn given_up(before: &Own, own: &Own, purpose: OfferingPurpose) -> Outcome {
    Outcome::Failed(if own.problem == Some(Problem::Failed(purpose)) {
        Trouble::Failed
    } else if before.restored && !own.restored {
        Trouble::Restored
    } else {
        Trouble::Cancelled
    })
}

impl Shown {
    /// Whether the last announcement is a later one than it was.
    pub(super) fn is_announced_after(&self, was: &Self) -> bool {
        let block = |shown: &Self| shown.announced.as_ref().map(|last| last.block);
        block(self) > block(was)
    }

    /// Whether it is on the market, and an announcement of this block is not the last one, nor before it: it was taken back.
    pub(super) fn lacks_announcement_of(&self, block: u64) -> bool {
        let last = self.announced.as_ref().filter(|_| self.presence == Presence::OnMarket);
        last.is_some_and(|last| last.block < block)
    }
}

impl OfferingState {
    /// The number of the transaction that carries out what this is for, where the chain shows that: one that is in a block, of several
    /// pop-ups in that of the last announcement; or the newest that may get there.
    pub fn carried_by(&self, purpose: OfferingPurpose, shown: &Shown) -> Option<u32> {
        let flights = self.own()?.flights.iter().filter(|flight| flight.purpose == purpose);
        let announced = shown.announced.as_ref().map(|last| last.block);
        // An offering is published and removed once, and announced again often.
        let is_mined = |stage: &Stage| match stage {
            Stage::Mined { block, .. } | Stage::Unseen { block, .. } => {
                purpose != OfferingPurpose::PopUp || Some(block.number) == announced
            }
            _ => false,
        };
        flights
            .filter(|flight| {
                is_mined(&flight.stage) || (flight.stage.may_be_mined() && !flight.stage.is_in_block())
            })
            .max_by_key(|flight| (is_mined(&flight.stage), flight.seq))
            .map(|flight| flight.seq)
    }
}
