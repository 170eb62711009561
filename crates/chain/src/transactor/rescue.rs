//! When another account sends an intent's fallback, and what that intent (the parent) and its rescue (the child) mean for each
//! other. Pure: a function of what is stored, of the chain's time and of how long a signer has failed.

use std::fmt;
use std::time::Duration;

use alloy::primitives::Address;

use super::{Attempt, Deadline, Inclusion, Intent, Obstacle, Priority, TxChange, TxId, TxRecord, TxStatus};

/// The kind under which rescues are listed.
pub(super) const KIND: &str = "rescue";
/// How long a signer may fail, unless an eighth of the intent's window is less.
const SIGNER_PATIENCE: Duration = Duration::from_secs(30);

/// Why an intent needs its fallback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Its account cannot pay for it.
    Poor,
    /// Its account's signer has not signed it for too long, or is not there.
    NotSigned,
    /// Half of the time in which its price rises is gone.
    Late,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Poor => "its account cannot pay for it",
            Self::NotSigned => "its account's signer does not sign it",
            Self::Late => "it is not mined, and its time is running out",
        })
    }
}

/// Why the fallback of an intent is to be sent by the account `rescuer` now, if it is. `unsigned` is for how long the intent
/// has been [unsigned](is_unsigned), `chain_now` the chain's time in seconds.
pub(super) fn cause(
    record: &TxRecord,
    rescuer: Address,
    chain_now: u64,
    unsigned: Duration,
) -> Option<Cause> {
    let intent = &record.intent;
    let is_waiting = record.is_to_be_mined();
    if !is_waiting
        || intent.priority != Priority::Urgent
        || intent.fallback.is_none()
        || intent.from == rescuer
    {
        return None;
    }
    if matches!(record.obstacle, Some(Obstacle::InsufficientFunds { .. })) {
        return Some(Cause::Poor);
    }
    if is_unsigned(record) && unsigned >= signer_patience(intent.deadline) {
        return Some(Cause::NotSigned);
    }
    let pressed = intent.deadline.is_some_and(|deadline| deadline.pressure(chain_now) >= Deadline::FULL / 2);
    pressed.then_some(Cause::Late)
}

/// Whether an intent waits for its account's signature.
pub(super) fn is_unsigned(record: &TxRecord) -> bool {
    matches!(record.obstacle, Some(Obstacle::NotSigned { .. } | Obstacle::NoKey { .. }))
}

fn signer_patience(deadline: Option<Deadline>) -> Duration {
    deadline.map_or(SIGNER_PATIENCE, |deadline| {
        SIGNER_PATIENCE.min(Duration::from_secs(u64::from(deadline.window) / 8))
    })
}

/// The child of an intent, sent by `rescuer`. None for an intent without a fallback.
pub(super) fn child(parent: &Intent, rescuer: Address) -> Option<Intent> {
    let fallback = parent.fallback.clone()?;
    let child = Intent::new(format!("rescue:{}", parent.key), rescuer, fallback.to, fallback.input);
    Some(Intent {
        kind: KIND.to_owned(),
        subject: parent.subject.clone(),
        priority: parent.priority,
        deadline: parent.deadline,
        stake: parent.stake,
        repeatable: parent.repeatable,
        ..child
    })
}

/// The other one of a parent and its child, as it was when something was decided for the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counterpart {
    pub(super) id: TxId,
    pub(super) status: TxStatus,
    pub(super) inclusion: Option<Inclusion>,
    /// Whether endpoints contradict each other about that.
    pub(super) disputed: bool,
    /// How many transactions were signed for it.
    pub(super) signed: usize,
    /// The most that it can have cost in the end, by what was signed so far, in wei.
    pub(super) cost: u128,
}

impl Counterpart {
    /// `latest` is the next nonce of its account, 0 where that is not known.
    pub(super) fn of(record: &TxRecord, attempts: &[Attempt], latest: u64) -> Self {
        Self {
            id: record.id,
            status: record.status,
            inclusion: record.inclusion,
            disputed: record.is_disputed(),
            signed: attempts.len(),
            cost: cost(record, attempts, latest, None),
        }
    }

    /// Whether both show the same of what one may cost: attempts are only ever added.
    pub(super) fn costs_as(&self, other: &Self) -> bool {
        let of = |one: &Self| (one.id, one.inclusion, one.disputed, one.signed);
        of(self) == of(other)
    }
}

/// Whether a counterpart costs what it did when something was decided.
pub(super) fn is_as_seen(now: Option<&Counterpart>, seen: Option<&Counterpart>) -> bool {
    match (now, seen) {
        (None, None) => true,
        (Some(now), Some(seen)) => now.costs_as(seen),
        // One that was made since.
        (Some(now), None) => now.signed == 0,
        (None, Some(_)) => false,
    }
}

/// The most that an intent can have cost in the end, by what was signed for it at nonces other than `except`: what its receipt
/// shows, and what its transactions from `latest` on, the next nonce of its account, can cost. In wei. What it has at its own
/// nonce counts until that has a known winner, too: a receipt may show later than the count. A receipt that another endpoint
/// contradicts shows nothing.
pub(super) fn cost(record: &TxRecord, attempts: &[Attempt], latest: u64, except: Option<u64>) -> u128 {
    let gas = u128::from(record.gas_limit.unwrap_or(0));
    let inclusion = record.inclusion.filter(|_| !record.is_disputed());
    let mined = inclusion.map(|inclusion| inclusion.tx_hash);
    // The nonce that has a receipt costs what that shows.
    let used = attempts.iter().find(|attempt| Some(attempt.hash) == mined).map(|attempt| attempt.nonce);
    let mut most = std::collections::BTreeMap::<u64, u128>::new();
    let may_be_mined = |nonce: u64| nonce >= latest || record.nonce == Some(nonce);
    for attempt in attempts.iter().filter(|attempt| may_be_mined(attempt.nonce)) {
        if Some(attempt.nonce) != except && Some(attempt.nonce) != used {
            let offer = most.entry(attempt.nonce).or_default();
            *offer = attempt.fees.max_fee.max(*offer);
        }
    }
    let spent = inclusion.map_or(0, |inclusion| inclusion.cost());
    most.into_values().map(|offer| gas.saturating_mul(offer)).fold(spent, u128::saturating_add)
}

/// Whether nothing is signed for an intent now, because the purpose is served by its counterpart in a block that nobody contradicts. A
/// parent goes on once its child has its confirmations: as an ordinary one, since it may still be of use.
pub(super) fn is_held_back(record: &TxRecord, counterpart: Option<&Counterpart>) -> bool {
    counterpart.is_some_and(|other| {
        let is_done = other.inclusion.is_some_and(|inclusion| inclusion.success) && !other.disputed;
        is_done && !(record.parent.is_none() && other.status == TxStatus::Mined)
    })
}

/// What a change of one means for the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnCounterpart {
    Nothing,
    /// It has neither a deadline nor a stake any more.
    Relieved,
    /// It has them again.
    Restored,
    /// It is not wanted any more.
    Cancelled,
}

/// What a change of an intent means for its counterpart.
pub(super) fn on_counterpart(is_child: bool, status: TxStatus, change: TxChange) -> OnCounterpart {
    match (is_child, change) {
        (_, TxChange::Mined) => OnCounterpart::Relieved,
        (_, TxChange::Reinstated) => OnCounterpart::Restored,
        // Its parent goes on alone.
        (true, _) => OnCounterpart::Nothing,
        // Until then a reorg may take it back, and the child is needed again.
        (false, TxChange::Final) if status == TxStatus::Mined => OnCounterpart::Cancelled,
        (false, TxChange::Final) => OnCounterpart::Nothing,
        // Whoever hears of it may try again, with a rescue of its own.
        (false, TxChange::Reverted | TxChange::Failed | TxChange::Dropped | TxChange::Cancelled) => {
            OnCounterpart::Cancelled
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use alloy::primitives::B256;
    use proptest::prelude::*;

    use super::*;
    use crate::transactor::rank::tests::record;
    use crate::transactor::{Ending, Fate, Fees, Wei};

    const RESCUER: Address = Address::repeat_byte(9);

    /// A dispute with a window of 400 s that ends at 1,000.
    fn dispute() -> TxRecord {
        record(1, |intent| {
            intent
                .priority(Priority::Urgent)
                .deadline(Deadline::new(1_000, 400))
                .stake(1_000)
                .fallback(Address::repeat_byte(7), vec![1, 2])
                .repeatable()
        })
    }

    fn poor() -> Obstacle {
        Obstacle::InsufficientFunds {
            account: Address::ZERO,
            needed: Wei(2),
            available: Wei(1),
            l1_fee: None,
        }
    }

    fn inclusion(success: bool) -> Inclusion {
        let (tx_hash, block_hash) = (B256::ZERO, B256::ZERO);
        Inclusion { tx_hash, block: 1, block_hash, success, gas_used: 10, gas_price: 3 }
    }

    fn not_signed() -> Obstacle {
        Obstacle::NotSigned { reason: "it hangs".into() }
    }

    #[test]
    fn a_child_is_made_when_the_account_cannot_do_it_or_time_runs_out() {
        let no_key = Some(Obstacle::NoKey { account: Address::ZERO });
        let cap = Some(Obstacle::FeeCap { needed: Wei(2), cap: Wei(1) });
        // The obstacle, the chain's time, for how many seconds a signature is waited for.
        for (obstacle, now, unsigned, expected) in [
            (None, 600, 0, None),
            (cap.clone(), 700, 0, None),
            (Some(poor()), 0, 0, Some(Cause::Poor)),
            (Some(poor()), 900, 0, Some(Cause::Poor)),
            (Some(not_signed()), 600, 29, None),
            (Some(not_signed()), 600, 30, Some(Cause::NotSigned)),
            (no_key, 600, 30, Some(Cause::NotSigned)),
            (None, 600, 30, None), // signed meanwhile
            (None, 799, 0, None),
            (None, 800, 0, Some(Cause::Late)),
            (cap, 800, 0, Some(Cause::Late)),
            (Some(not_signed()), 800, 0, Some(Cause::Late)),
            (None, 2_000, 0, Some(Cause::Late)),
        ] {
            let waiting = TxRecord { obstacle, ..dispute() };
            let found = cause(&waiting, RESCUER, now, Duration::from_secs(unsigned));
            assert_eq!(found, expected, "{waiting:?} at {now}, unsigned for {unsigned} s");
        }
    }

    #[test]
    fn an_answer_about_whose_block_endpoints_contradict_each_other_is_rescued_when_time_runs_out() {
        for success in [true, false] {
            let obstacle = Some(Obstacle::Disputed { block: 1 });
            let disputed = TxRecord { obstacle, inclusion: Some(inclusion(success)), ..dispute() };
            assert_eq!(cause(&disputed, RESCUER, 799, Duration::ZERO), None);
            assert_eq!(cause(&disputed, RESCUER, 800, Duration::ZERO), Some(Cause::Late));
            let agreed = TxRecord { obstacle: None, ..disputed };
            assert_eq!(cause(&agreed, RESCUER, 900, Duration::ZERO), None);
        }
    }

    #[test]
    fn a_receipt_that_is_contradicted_limits_no_cost() {
        let attempt = attempt(0, 3, 50);
        let mined =
            TxRecord { nonce: Some(3), gas_limit: Some(20), inclusion: Some(inclusion(true)), ..dispute() };
        assert_eq!(cost(&mined, std::slice::from_ref(&attempt), 4, None), 30);
        let disputed = TxRecord { obstacle: Some(Obstacle::Disputed { block: 1 }), ..mined };
        assert_eq!(cost(&disputed, &[attempt], 4, None), 1_000);
    }

    #[test]
    fn a_short_window_has_less_patience_with_a_signer() {
        let short = |seconds| Some(Deadline::new(1_000, seconds));
        for (deadline, patience) in
            [(None, 30), (short(400), 30), (short(240), 30), (short(80), 10), (short(0), 0)]
        {
            assert_eq!(signer_patience(deadline), Duration::from_secs(patience), "{deadline:?}");
        }
    }

    #[test]
    fn nothing_else_is_rescued() {
        let poor = TxRecord { obstacle: Some(poor()), ..dispute() };
        assert_eq!(cause(&poor, RESCUER, 900, Duration::ZERO), Some(Cause::Poor));
        let with = |change: fn(&mut TxRecord)| {
            let mut record = poor.clone();
            change(&mut record);
            record
        };
        for other in [
            with(|record| record.intent.priority = Priority::Normal),
            with(|record| record.intent.fallback = None),
            with(|record| record.intent.from = RESCUER),
            with(|record| record.status = TxStatus::Failed),
            with(|record| record.ending = Some(Ending::Cancelled)),
            with(|record| record.inclusion = Some(inclusion(true))),
            with(|record| record.inclusion = Some(inclusion(false))),
        ] {
            assert_eq!(cause(&other, RESCUER, 900, Duration::MAX), None, "{other:?}");
        }
    }

    #[test]
    fn a_child_has_its_parents_terms_and_no_child_of_its_own() {
        let parent = dispute().intent.subject("channel");
        let found = child(&parent, RESCUER).unwrap();
        let expected = Intent::new("rescue:key", RESCUER, Address::repeat_byte(7), vec![1, 2])
            .kind(KIND)
            .subject("channel")
            .priority(Priority::Urgent)
            .deadline(Deadline::new(1_000, 400))
            .stake(1_000)
            .repeatable();
        assert_eq!(found, expected);
        assert_eq!(child(&found, RESCUER), None);
    }

    #[test]
    fn what_one_has_come_to_changes_the_other() {
        use OnCounterpart::{Cancelled, Nothing, Relieved, Restored};
        for (change, status, of_parent, of_child) in [
            (TxChange::Mined, TxStatus::Mined, Relieved, Relieved),
            (TxChange::Reinstated, TxStatus::Sent, Restored, Restored),
            (TxChange::Final, TxStatus::Mined, Cancelled, Nothing),
            (TxChange::Final, TxStatus::Failed, Nothing, Nothing),
            (TxChange::Reverted, TxStatus::Failed, Cancelled, Nothing),
            (TxChange::Failed, TxStatus::Failed, Cancelled, Nothing),
            (TxChange::Dropped, TxStatus::Dropped, Cancelled, Nothing),
            (TxChange::Cancelled, TxStatus::Cancelled, Cancelled, Nothing),
        ] {
            assert_eq!(on_counterpart(false, status, change), of_parent, "{change:?} of a parent");
            assert_eq!(on_counterpart(true, status, change), of_child, "{change:?} of a child");
        }
    }

    #[test]
    fn what_is_done_already_is_held_back_until_that_counts() {
        let parent = dispute();
        let child = TxRecord { id: TxId(2), parent: Some(TxId(1)), ..dispute() };
        let other = |status, inclusion| Counterpart {
            id: TxId(3),
            status,
            inclusion,
            disputed: false,
            signed: 1,
            cost: 1,
        };
        for (status, included, holds_parent, holds_child) in [
            (TxStatus::Unsent, None, false, false),
            (TxStatus::Sent, None, false, false),
            (TxStatus::Sent, Some(inclusion(true)), true, true),
            (TxStatus::Sent, Some(inclusion(false)), false, false),
            (TxStatus::Mined, Some(inclusion(true)), false, true),
            (TxStatus::Failed, Some(inclusion(false)), false, false),
            (TxStatus::Cancelled, None, false, false),
        ] {
            let other = other(status, included);
            assert_eq!(is_held_back(&parent, Some(&other)), holds_parent, "parent: {other:?}");
            assert_eq!(is_held_back(&child, Some(&other)), holds_child, "child: {other:?}");
        }
        assert!(!is_held_back(&parent, None));
        let disputed = Counterpart { disputed: true, ..other(TxStatus::Sent, Some(inclusion(true))) };
        assert!(!is_held_back(&parent, Some(&disputed)) && !is_held_back(&child, Some(&disputed)));
    }

    #[test]
    fn a_counterpart_is_as_seen_while_nothing_more_was_signed_for_it_or_mined() {
        let with = |id, signed, inclusion| {
            let (id, status, disputed) = (TxId(id), TxStatus::Sent, false);
            Some(Counterpart { id, status, inclusion, disputed, signed, cost: 1 })
        };
        for (now, seen, expected) in [
            (None, None, true),
            (with(3, 1, None), with(3, 1, None), true),
            (with(3, 2, None), with(3, 1, None), false),
            (with(3, 1, Some(inclusion(true))), with(3, 1, None), false),
            (with(4, 1, None), with(3, 1, None), false),
            (with(3, 0, None), None, true),
            (with(3, 1, None), None, false),
            (None, with(3, 0, None), false),
        ] {
            assert_eq!(is_as_seen(now.as_ref(), seen.as_ref()), expected, "{now:?} {seen:?}");
        }
    }

    fn attempt(n: u8, nonce: u64, max_fee: u128) -> Attempt {
        let (hash, raw, at) = (B256::repeat_byte(n), Vec::new(), SystemTime::UNIX_EPOCH);
        Attempt { hash, nonce, fees: Fees::new(max_fee, 1), fate: Fate::Held, at, raw, head: 1 }
    }

    #[test]
    fn an_intent_costs_its_receipt_and_the_best_offer_at_each_live_nonce() {
        let attempts = [attempt(1, 5, 2), attempt(2, 5, 4), attempt(3, 6, 7)];
        let with = |inclusion| TxRecord { gas_limit: Some(100), inclusion, ..dispute() };
        let of = |n| Some(Inclusion { tx_hash: B256::repeat_byte(n), ..inclusion(true) });
        for (inclusion, latest, except, expected) in [
            (None, 0, None, 1_100),
            (None, 5, None, 1_100),
            (None, 6, None, 700),
            (None, 7, None, 0),
            (None, 5, Some(5), 700),
            (of(1), 6, None, 730),
            (of(1), 0, None, 730), // its nonce is used, whatever is known of the account
            (of(3), 0, Some(5), 30),
        ] {
            assert_eq!(
                cost(&with(inclusion), &attempts, latest, except),
                expected,
                "{inclusion:?} {latest} {except:?}"
            );
        }
    }

    #[test]
    fn a_transaction_of_which_no_receipt_shows_yet_counts_although_its_nonce_is_used() {
        let attempts = [attempt(1, 5, 4), attempt(2, 4, 9)];
        let record = TxRecord { gas_limit: Some(100), nonce: Some(5), ..dispute() };
        assert_eq!(cost(&record, &attempts, 6, None), 400, "its own nonce, and not one that it lost");
    }

    proptest! {
        #[test]
        fn more_that_was_signed_never_costs_less(
            offers in proptest::collection::vec((0u64..6, 0u128..1 << 90), 0..12),
            latest in 0u64..6,
            gas in 0u64..1 << 30,
        ) {
            let record = TxRecord { gas_limit: Some(gas), ..dispute() };
            let attempts: Vec<Attempt> =
                offers.iter().zip(0..).map(|((nonce, fee), n)| attempt(n, *nonce, *fee)).collect();
            for some in 0..attempts.len() {
                let (fewer, more) = (&attempts[..some], &attempts[..=some]);
                prop_assert!(cost(&record, fewer, latest, None) <= cost(&record, more, latest, None));
            }
            prop_assert!(cost(&record, &attempts, latest, None) <= cost(&record, &attempts, 0, None));
        }

        #[test]
        fn a_decision_stays_until_the_intent_is_in_a_block_or_over(
            now in 0u64..2_000,
            later in 0u64..2_000,
            unsigned in 0u64..100,
        ) {
            let (now, later) = (now.min(later), now.max(later));
            for obstacle in [None, Some(poor()), Some(not_signed())] {
                let record = TxRecord { obstacle, ..dispute() };
                let at = |time, seconds| cause(&record, RESCUER, time, Duration::from_secs(seconds)).is_some();
                prop_assert!(!at(now, unsigned) || at(later, unsigned + later - now));
            }
        }
    }
}
