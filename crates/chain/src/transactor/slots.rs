//! Which nonce an intent is signed for: a plan from what is known of the account's nonces.

use std::collections::{BTreeMap, BTreeSet};

use super::rank::Rank;
use super::{Priority, TxId};

/// How far above the next nonce of the chain anything is signed. A count of an endpoint that leads further is wrong, or is
/// that of a wallet with which the account cannot be shared.
const REACH: u64 = 32;
/// How many transactions may be in flight for an account. Pools guarantee 16 places (geth, Erigon).
const PLACES: usize = 16;

impl Priority {
    /// How many may be in flight when one more of this priority is sent: four places are left for urgent ones.
    fn places(self) -> usize {
        match self {
            Self::Background => 4,
            Self::Normal => 12,
            Self::Urgent => PLACES,
        }
    }
}

/// An own transaction at a nonce that the chain has not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) id: TxId,
    pub(super) rank: Rank,
    /// Its nonce is wanted for something else: it is being cancelled.
    pub(super) ending: bool,
    /// It does not pay what the market wants, or has waited for too long.
    pub(super) stalled: bool,
}

/// What wants a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: TxId,
    pub(super) rank: Rank,
    pub(super) priority: Priority,
    /// The only nonce that it may be signed for, see [`TxRecord::bound`](super::TxRecord::bound).
    pub(super) bound: Option<u64>,
    /// Whether it may be signed for several nonces.
    pub(super) repeatable: bool,
    /// Whether half of the time in which its price rises is gone.
    pub(super) pressed: bool,
}

/// A nonce for a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) nonce: u64,
    /// The owner that loses it.
    pub(super) displaces: Option<TxId>,
}

/// The account's nonces from the next one of the chain on.
#[derive(Debug, Clone, Default)]
pub(super) struct Slots {
    /// The next nonce of the chain.
    pub(super) latest: u64,
    /// The next one after what the endpoint's pool holds.
    pub(super) pending: u64,
    pub(super) owners: BTreeMap<u64, Owner>,
    /// Nonces at which a pool may hold a transaction of ours.
    pub(super) held: BTreeSet<u64>,
    /// Nonces that must be used up by something else before an intent can end.
    pub(super) ending: BTreeSet<u64>,
    /// Nonces to which intents are bound that wait for a better price.
    pub(super) bound: BTreeSet<u64>,
}

impl Slots {
    /// The highest nonce that anything is signed for.
    pub(super) fn reach(&self) -> u64 {
        self.latest.saturating_add(REACH)
    }

    /// The nonce for a candidate, which owns it from then on; none if it must wait.
    pub(super) fn take(&mut self, candidate: &Candidate) -> Option<Slot> {
        let left = self.owners.iter().find(|(_, owner)| owner.id == candidate.id).map(|(nonce, _)| *nonce);
        // One that has a nonce only ever moves to a lower one: each move costs a replacement.
        let below = left.unwrap_or(u64::MAX);
        let slot = match candidate.bound {
            Some(nonce) if !candidate.repeatable => self.slot_at(candidate, nonce)?,
            _ => {
                let ending = self.owners.range(..below).find(|(_, owner)| owner.ending);
                let ending = ending.map(|(nonce, owner)| Slot { nonce: *nonce, displaces: Some(owner.id) });
                self.overtake(candidate, below).or(ending).or_else(|| self.free(candidate, below))?
            }
        };
        if let Some(left) = left {
            self.owners.remove(&left);
        }
        let owner = Owner { id: candidate.id, rank: candidate.rank, ending: false, stalled: false };
        self.owners.insert(slot.nonce, owner);
        self.held.insert(slot.nonce);
        Some(slot)
    }

    fn slot_at(&self, candidate: &Candidate, nonce: u64) -> Option<Slot> {
        if nonce < self.latest || nonce > self.reach() {
            return None;
        }
        match self.owners.get(&nonce) {
            None => Some(Slot { nonce, displaces: None }),
            Some(owner) if owner.ending || yields(owner, candidate) => {
                Some(Slot { nonce, displaces: Some(owner.id) })
            }
            Some(_) => None,
        }
    }

    /// The lowest nonce of a cheaper one, for an urgent candidate that would be blocked by it: now, or later, when it could
    /// not be signed for another nonce any more.
    fn overtake(&self, candidate: &Candidate, below: u64) -> Option<Slot> {
        let (nonce, owner) = self.owners.range(..below).find(|(_, owner)| yields(owner, candidate))?;
        let (_, ahead) = self.owners.range(..below).next()?;
        let blocked = ahead.stalled || !candidate.repeatable || self.owners.len() >= PLACES;
        blocked.then_some(Slot { nonce: *nonce, displaces: Some(owner.id) })
    }

    /// The lowest nonce that nobody has. One that waits behind foreign transactions, or a gap, moves there when it is pressed.
    fn free(&self, candidate: &Candidate, below: u64) -> Option<Slot> {
        let has_one = below < u64::MAX;
        let may_move = candidate.repeatable && candidate.pressed;
        if (has_one && !may_move) || (!has_one && self.owners.len() >= candidate.priority.places()) {
            return None;
        }
        (self.latest..=self.reach())
            .take_while(|nonce| *nonce < below)
            .find(|nonce| !self.owners.contains_key(nonce) && (candidate.pressed || !self.is_foreign(*nonce)))
            .map(|nonce| Slot { nonce, displaces: None })
    }

    /// Whether a transaction that is not ours waits with this nonce, as the endpoint has it.
    fn is_foreign(&self, nonce: u64) -> bool {
        nonce < self.pending && !self.held.contains(&nonce)
    }

    /// Nonces that only a transaction without another purpose can use up, so that what waits for them, or above them, goes
    /// on.
    pub(super) fn gaps(&self) -> Vec<Slot> {
        let after = |nonce: &u64| nonce.saturating_add(1);
        // What is out of reach was signed by a wrong count: nothing is spent on nonces below it.
        let reach = ..=self.reach();
        let ends = [
            self.owners.range(reach).next_back().map(|(nonce, _)| after(nonce)),
            self.ending.range(reach).next_back().map(after),
            self.bound.range(reach).next_back().copied(),
        ];
        let end = ends.into_iter().flatten().max().unwrap_or(self.latest);
        let gap = |nonce| match self.owners.get(&nonce) {
            Some(owner) if owner.ending => Some(Slot { nonce, displaces: Some(owner.id) }),
            Some(_) => None,
            None if self.is_foreign(nonce) => None,
            None => Some(Slot { nonce, displaces: None }),
        };
        (self.latest..end).filter_map(gap).collect()
    }
}

/// Whether an owner gives its nonce to a candidate.
fn yields(owner: &Owner, candidate: &Candidate) -> bool {
    candidate.priority == Priority::Urgent && candidate.rank < owner.rank && owner.id != candidate.id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transactor::rank::tests::ranked;

    fn candidate(id: i64, priority: Priority) -> Candidate {
        let rank = ranked(id, priority);
        Candidate { id: TxId(id), rank, priority, bound: None, repeatable: false, pressed: false }
    }

    fn dispute(id: i64) -> Candidate {
        Candidate { repeatable: true, ..candidate(id, Priority::Urgent) }
    }

    /// Normal intents 1, 2, ... at the nonces from 10 on.
    fn slots(owners: i64) -> Slots {
        let mut slots = Slots { latest: 10, pending: 10, ..Slots::default() };
        for id in 1..=owners {
            slots.take(&candidate(id, Priority::Normal)).unwrap();
        }
        slots.pending += u64::try_from(owners).unwrap();
        slots
    }

    #[test]
    fn a_dispute_that_has_a_nonce_never_moves_behind_it() {
        let mut slots = slots(3);
        stall(&mut slots);
        assert_eq!(slots.take(&dispute(9)), Some(slot(10, 1)), "it takes the first place");
        stall(&mut slots);
        assert_eq!(slots.take(&dispute(9)), None, "and stays there, whatever does not pay behind it");
        let (urgent, more) = (dispute(8), Candidate { pressed: true, ..dispute(8) });
        slots.take(&urgent).unwrap();
        stall(&mut slots);
        assert_eq!(slots.take(&urgent), None, "two disputes do not change places");
        assert_eq!(slots.take(&more), None, "there is no free nonce below its own");
    }

    #[test]
    fn a_pressed_dispute_moves_to_a_free_nonce_below_its_own() {
        let mut slots = Slots { latest: 10, pending: 13, ..Slots::default() };
        assert_eq!(slots.take(&dispute(1)), Some(slot(13, 0)), "behind foreign ones");
        assert_eq!(slots.take(&dispute(1)), None);
        assert_eq!(slots.take(&Candidate { pressed: true, ..dispute(1) }), Some(slot(10, 0)));
    }

    fn stall(slots: &mut Slots) {
        slots.owners.values_mut().for_each(|owner| owner.stalled = true);
    }

    fn slot(nonce: u64, displaces: i64) -> Slot {
        Slot { nonce, displaces: (displaces > 0).then_some(TxId(displaces)) }
    }

    #[expect(clippy::unnecessary_wraps, reason = "what `take` returns")]
    fn at(nonce: u64, displaces: i64) -> Option<Slot> {
        Some(slot(nonce, displaces))
    }

    #[test]
    fn each_takes_the_lowest_free_nonce_up_to_its_priority_s_places() {
        let mut slots = slots(3);
        assert_eq!(slots.take(&candidate(90, Priority::Background)), at(13, 0));
        assert_eq!(slots.take(&candidate(91, Priority::Background)), None);
        for (nonce, id) in (14..22).zip(100..) {
            assert_eq!(slots.take(&candidate(id, Priority::Normal)), at(nonce, 0));
        }
        assert_eq!(slots.take(&candidate(200, Priority::Normal)), None);
        assert_eq!(slots.take(&dispute(201)), at(22, 0), "places are left for urgent ones");
    }

    #[test]
    fn foreign_nonces_are_left_alone_except_by_a_pressed_dispute() {
        let mut slots = Slots { latest: 10, pending: 12, ..Slots::default() };
        assert_eq!(slots.clone().take(&candidate(1, Priority::Normal)), at(12, 0));
        assert_eq!(slots.clone().take(&dispute(1)), at(12, 0));
        assert_eq!(slots.clone().take(&Candidate { pressed: true, ..dispute(1) }), at(10, 0));
        slots.pending = 1_000;
        assert_eq!(slots.take(&candidate(1, Priority::Normal)), None, "a nonce that never comes");
    }

    #[test]
    fn a_dispute_takes_the_lowest_cheaper_nonce_when_those_ahead_are_stuck() {
        let mut slots = slots(3);
        assert_eq!(slots.clone().take(&dispute(50)), at(13, 0), "they are mined in time");
        stall(&mut slots);
        assert_eq!(slots.take(&dispute(50)), at(10, 1));
        assert_eq!(slots.owners[&10].id, TxId(50));
        // The next dispute goes behind the first, and before the others, once the first is stuck, too.
        stall(&mut slots);
        assert_eq!(slots.take(&dispute(51)), at(11, 2));
        assert_eq!(slots.take(&candidate(52, Priority::Normal)), at(13, 0));
    }

    #[test]
    fn a_dispute_that_was_sent_first_moves_ahead_when_the_market_leaves_the_others_behind() {
        let mut slots = slots(3);
        assert_eq!(slots.take(&dispute(50)), at(13, 0));
        assert_eq!(slots.clone().take(&dispute(50)), None, "it is on its way");
        stall(&mut slots);
        assert_eq!(slots.take(&dispute(50)), at(10, 1));
        assert_eq!(slots.owners.len(), 3, "it owns one nonce only");
    }

    #[test]
    fn what_may_be_signed_once_only_goes_ahead_at_once_and_stays_bound() {
        let mut slots = slots(2);
        let urgent = candidate(50, Priority::Urgent);
        assert_eq!(slots.take(&urgent), at(10, 1));
        let bound = Candidate { bound: Some(11), ..candidate(51, Priority::Normal) };
        assert_eq!(slots.take(&bound), None, "owned by another");
        slots.owners.remove(&11);
        assert_eq!(slots.take(&bound), at(11, 0));
        let far = Candidate { bound: Some(1_000), ..candidate(53, Priority::Urgent) };
        assert_eq!(slots.take(&far), None, "it was signed by a wrong count");
        let lost = Candidate { bound: Some(9), ..candidate(52, Priority::Urgent) };
        assert_eq!(slots.take(&lost), None, "until it is certain which transaction has it");
    }

    #[test]
    fn the_nonce_of_a_cancelled_one_goes_to_the_next_and_else_to_a_filler() {
        let mut slots = slots(3);
        slots.owners.get_mut(&11).unwrap().ending = true;
        assert_eq!(slots.gaps(), [slot(11, 2)]);
        assert_eq!(slots.take(&candidate(50, Priority::Normal)), at(11, 2));
        assert_eq!(slots.gaps(), []);
    }

    #[test]
    fn gaps_are_what_something_waits_above_or_for() {
        let mut slots = Slots { latest: 5, pending: 5, ..Slots::default() };
        assert_eq!(slots.gaps(), []);
        slots.bound.insert(7);
        assert_eq!(slots.gaps(), [slot(5, 0), slot(6, 0)]);
        slots.ending.insert(7);
        assert_eq!(slots.gaps().len(), 3);
        slots.pending = 6;
        assert_eq!(slots.gaps().len(), 2, "a foreign one waits there");
        slots.ending.insert(1_000_000);
        assert_eq!(slots.gaps().len(), 2, "nothing is spent for what is out of reach");
    }
}
