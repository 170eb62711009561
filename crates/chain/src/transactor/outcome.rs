//! What has become of an intent, from what the chain shows of the nonces that it was signed for.

use std::collections::BTreeMap;

use super::{Ending, Fate, Inclusion, Obstacle, Priority, TxId, TxRecord, TxStatus};

/// Heads in a row that must find a nonce used, and no receipt of ours, before it is believed: the nodes behind an endpoint may
/// know different things, and one that lags soon catches up.
pub(super) const SURE: u32 = 3;

/// How safe a block is from a reorg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Depth {
    Shallow,
    Confirmed,
    Final,
}

/// One of our transactions in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Winner {
    pub(super) tx: TxId,
    pub(super) inclusion: Inclusion,
    pub(super) depth: Depth,
    /// Whether another endpoint contradicts, so that it counts as shallow.
    pub(super) disputed: bool,
}

/// Whether a second endpoint agrees that a used nonce was used finally, and by which of our transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Second {
    /// It does.
    Agrees,
    /// Only one endpoint is configured.
    Missing,
    /// It does not yet, or does not answer.
    Open,
}

impl Second {
    /// From what the good endpoints among those configured answer: whether they agree.
    pub(super) fn of(are_several: bool, answers: &[bool]) -> Self {
        match are_several {
            false => Self::Missing,
            true if answers.len() > 1 && answers.iter().all(|agrees| *agrees) => Self::Agrees,
            true => Self::Open,
        }
    }
}

/// A nonce that the chain has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    /// Which of ours used it, if a receipt shows it.
    pub(super) winner: Option<Winner>,
    /// Whether it is used as of a final block, too.
    pub(super) is_final: bool,
    /// Heads in a row that found no receipt of ours.
    pub(super) missing: u32,
    /// What a second endpoint adds to this, if that was of interest.
    pub(super) second: Second,
}

/// What follows for an intent that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing: it is waiting to be sent or to be mined.
    Open,
    /// One of its transactions is in a block, too fresh to count, or `disputed` by another endpoint.
    Included { nonce: u64, inclusion: Inclusion, disputed: bool },
    /// One endpoint shows it in a block, another one contradicts and has not used the nonce: it goes on as if it was not there.
    Contradicted { block: u64 },
    /// It is over.
    Over { nonce: u64, inclusion: Inclusion, status: TxStatus, is_final: bool },
    /// Its nonce is used, and it is not certain yet by which transaction.
    Waits(Obstacle),
    /// Another one of ours has its nonce: it owns none any more, and stays bound.
    Displaced,
    /// It lost its nonce for good, and may be signed for another.
    Free,
    /// A transaction that is not ours has its nonce for good, and it is not sent again.
    Dropped { nonce: u64 },
    /// Nothing that was signed for it can be mined any more, or needs to be looked at.
    Ended(Ending),
}

/// How an intent ends that is not sent again, if it is none that is: it was asked to, or it is a filler without a nonce, which has
/// nothing to fill any more.
fn ends(record: &TxRecord) -> Option<Ending> {
    let is_of_no_use = record.filler && record.status == TxStatus::Unsent;
    record.ending.or(is_of_no_use.then_some(Ending::Cancelled))
}

/// Judges an open intent, whose transactions have these nonces and fates. `used` has all nonces of them below `latest`, the
/// next one of the chain.
pub(super) fn outcome(
    record: &TxRecord,
    attempts: &[(u64, Fate)],
    latest: u64,
    used: &BTreeMap<u64, Used>,
) -> Outcome {
    let repeatable = record.intent.repeatable;
    let live = attempts.iter().any(|(nonce, _)| *nonce >= latest);
    let ours =
        used.iter().filter_map(|(nonce, used)| Some((*nonce, used.winner.filter(|w| w.tx == record.id)?)));
    // Of several, a success beats a revert.
    if let Some((nonce, won)) = ours.max_by_key(|(_, won)| (won.inclusion.success, won.depth)) {
        let inclusion = won.inclusion;
        let (needed, status) = match inclusion.success {
            true => (Depth::Confirmed, TxStatus::Mined),
            // Whoever hears of the failure may try again: not while a reorg could still make the first one succeed.
            false if repeatable => (Depth::Confirmed, TxStatus::Failed),
            false => (Depth::Final, TxStatus::Failed),
        };
        // Another of its transactions could still succeed, and its nonce is used up first. A dispute has no time for that:
        // whoever hears of the failure tries again, and the contract refuses a second effect.
        let waits = !inclusion.success && live && record.intent.priority != Priority::Urgent;
        return if won.depth < needed || waits {
            Outcome::Included { nonce, inclusion, disputed: won.disputed }
        } else {
            Outcome::Over { nonce, inclusion, status, is_final: won.depth == Depth::Final }
        };
    }
    let ending = ends(record);
    // What was signed for it may be another intent's now, which makes the same call for the same nonce. A filler has no effect, so
    // it may be mined by whoever refused and kept it.
    let has_bytes = attempts.iter().any(|(_, fate)| !record.filler || *fate != Fate::Refused);
    if let Some(ending) = ending.filter(|_| !has_bytes) {
        return Outcome::Ended(ending);
    }
    let lost = |nonce: &u64| *nonce < latest;
    let Some(nonce) = record.nonce.filter(lost).or(record.bound.filter(lost)).or_else(|| {
        let signed = attempts.iter().map(|(nonce, _)| *nonce).max();
        signed.filter(|_| ending.is_some() && !live)
    }) else {
        return Outcome::Open;
    };
    let Some(used_up) = used.get(&nonce) else { return Outcome::Open };
    let displaced = used_up.winner.is_some();
    let sure = displaced || used_up.missing >= SURE;
    // What ends on this, or is signed again, could have a second effect if one endpoint is wrong.
    let for_good = sure && used_up.is_final && used_up.second != Second::Open;
    match ending {
        Some(ending) => {
            let all = attempts.iter().all(|(nonce, _)| used.get(nonce).is_some_and(|used| used.is_final));
            return if for_good && all && !live {
                Outcome::Ended(ending)
            } else if record.nonce == Some(nonce) && displaced {
                Outcome::Displaced
            } else if sure && used_up.is_final && all && !live {
                // All that it still waits for is the word of a second endpoint.
                Outcome::Waits(Obstacle::LossUnconfirmed { nonce })
            } else {
                Outcome::Waits(Obstacle::Ending { nonce })
            };
        }
        None if repeatable && sure => return Outcome::Free,
        None => {}
    }
    let refused = attempts.iter().filter(|(of, _)| *of == nonce).all(|(_, fate)| *fate == Fate::Refused);
    let is_alone = used_up.second == Second::Missing;
    match () {
        // The only endpoint may have kept what it refused, and hide that it was mined: it is not signed again.
        () if for_good && !displaced && refused && is_alone => {
            Outcome::Waits(Obstacle::LossUnconfirmed { nonce })
        }
        // A foreign transaction: whoever sent it meant to replace ours, if ours was there to be replaced.
        () if for_good && !displaced && !refused => Outcome::Dropped { nonce },
        () if for_good => Outcome::Free,
        () if displaced && record.status == TxStatus::Sent => Outcome::Displaced,
        () if sure && used_up.is_final => Outcome::Waits(Obstacle::LossUnconfirmed { nonce }),
        () => Outcome::Waits(Obstacle::NonceTaken { nonce }),
    }
}

impl Ending {
    /// Why it ended.
    pub(super) fn reason(self, record: &TxRecord) -> Option<String> {
        match self {
            Self::Cancelled => None,
            Self::Failed => record.failure.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;

    use super::*;
    use crate::transactor::rank::tests::record;

    const LATEST: u64 = 8;

    fn sent(nonce: u64, repeatable: bool) -> TxRecord {
        let mut record = record(1, |intent| if repeatable { intent.repeatable() } else { intent });
        record.status = TxStatus::Sent;
        record.nonce = Some(nonce);
        record.bound = (!repeatable).then_some(nonce);
        record
    }

    fn inclusion(success: bool) -> Inclusion {
        let tx_hash = B256::ZERO;
        Inclusion { tx_hash, block: 5, block_hash: B256::ZERO, success, gas_used: 1, gas_price: 1 }
    }

    fn won(tx: i64, success: bool, depth: Depth) -> Used {
        let winner = Winner { tx: TxId(tx), inclusion: inclusion(success), depth, disputed: false };
        Used { winner: Some(winner), is_final: depth == Depth::Final, missing: 0, second: Second::Agrees }
    }

    fn unknown(missing: u32, is_final: bool) -> Used {
        Used { winner: None, is_final, missing, second: Second::Agrees }
    }

    #[test]
    fn a_loss_that_no_second_endpoint_confirms_is_no_reason_to_sign_again() {
        let of = |used, second| Used { second, ..used };
        let unconfirmed = Outcome::Waits(Obstacle::LossUnconfirmed { nonce: 7 });
        let dropped = Outcome::Dropped { nonce: 7 };
        let displaced = won(2, true, Depth::Final);
        for (fate, used, second, expected) in [
            (Fate::Held, unknown(3, true), Second::Open, unconfirmed.clone()),
            (Fate::Held, unknown(3, true), Second::Missing, dropped),
            (Fate::Refused, unknown(3, true), Second::Open, unconfirmed.clone()),
            (Fate::Refused, unknown(3, true), Second::Missing, unconfirmed.clone()),
            (Fate::Refused, unknown(3, true), Second::Agrees, Outcome::Free),
            (Fate::Held, displaced, Second::Open, Outcome::Displaced),
            (Fate::Held, displaced, Second::Missing, Outcome::Free),
        ] {
            let found = judged(&sent(7, false), fate, of(used, second));
            assert_eq!(found, expected, "{fate:?} {used:?} {second:?}");
        }
        let unsent = TxRecord { status: TxStatus::Unsent, nonce: None, ..sent(7, false) };
        assert_eq!(judged(&unsent, Fate::Held, of(displaced, Second::Open)), unconfirmed);
        let cancelled = TxRecord { ending: Some(Ending::Cancelled), ..sent(7, false) };
        assert_eq!(judged(&cancelled, Fate::Held, of(unknown(3, true), Second::Open)), unconfirmed);
        let over = Outcome::Ended(Ending::Cancelled);
        assert_eq!(judged(&cancelled, Fate::Held, of(unknown(3, true), Second::Missing)), over);
        assert_eq!(judged(&sent(7, true), Fate::Held, of(unknown(3, true), Second::Open)), Outcome::Free);
    }

    #[test]
    fn a_second_endpoint_counts_only_if_it_answers() {
        for (are_several, answers, expected) in [
            (false, &[true][..], Second::Missing),
            (true, &[true], Second::Open),
            (true, &[true, false], Second::Open),
            (true, &[], Second::Open),
            (true, &[true, true], Second::Agrees),
        ] {
            assert_eq!(Second::of(are_several, answers), expected, "{are_several} {answers:?}");
        }
    }

    fn judged(record: &TxRecord, fate: Fate, used: Used) -> Outcome {
        outcome(record, &[(7, fate)], LATEST, &BTreeMap::from([(7, used)]))
    }

    #[test]
    fn a_success_counts_when_confirmed_and_a_revert_once_nothing_can_make_it_succeed() {
        use Depth::{Confirmed, Final, Shallow};
        let over = |status, is_final| Outcome::Over {
            nonce: 7,
            inclusion: inclusion(status == TxStatus::Mined),
            status,
            is_final,
        };
        let fresh = |success| {
            let inclusion = inclusion(success);
            Outcome::Included { nonce: 7, inclusion, disputed: false }
        };
        for (repeatable, success, depth, expected) in [
            (false, true, Shallow, fresh(true)),
            (false, true, Confirmed, over(TxStatus::Mined, false)),
            (false, true, Final, over(TxStatus::Mined, true)),
            (false, false, Confirmed, fresh(false)),
            (false, false, Final, over(TxStatus::Failed, true)),
            (true, false, Confirmed, over(TxStatus::Failed, false)),
        ] {
            let found = judged(&sent(7, repeatable), Fate::Held, won(1, success, depth));
            assert_eq!(found, expected, "{repeatable} {success} {depth:?}");
        }
    }

    #[test]
    fn a_lost_nonce_is_replaced_only_when_that_is_final() {
        let taken = Outcome::Waits(Obstacle::NonceTaken { nonce: 7 });
        let dropped = Outcome::Dropped { nonce: 7 };
        for (fate, used, expected) in [
            (Fate::Held, unknown(1, true), taken.clone()),
            (Fate::Held, unknown(9, false), taken.clone()),
            (Fate::Held, unknown(3, true), dropped.clone()),
            (Fate::Unknown, unknown(3, true), dropped),
            (Fate::Refused, unknown(9, false), taken.clone()),
            (Fate::Refused, unknown(3, true), Outcome::Free),
            (Fate::Held, won(2, true, Depth::Confirmed), Outcome::Displaced),
            (Fate::Held, won(2, true, Depth::Final), Outcome::Free),
        ] {
            assert_eq!(judged(&sent(7, false), fate, used), expected, "{fate:?} {used:?}");
        }
        let unsent = TxRecord { status: TxStatus::Unsent, nonce: None, ..sent(7, false) };
        assert_eq!(judged(&unsent, Fate::Held, won(2, true, Depth::Confirmed)), taken, "it stays bound");
    }

    #[test]
    fn what_the_contract_refuses_twice_is_signed_again_at_once() {
        let dispute = sent(7, true);
        assert_eq!(judged(&dispute, Fate::Held, won(2, true, Depth::Shallow)), Outcome::Free);
        assert_eq!(judged(&dispute, Fate::Held, unknown(1, true)), {
            Outcome::Waits(Obstacle::NonceTaken { nonce: 7 })
        });
        assert_eq!(judged(&dispute, Fate::Held, unknown(3, false)), Outcome::Free);
    }

    #[test]
    fn of_several_nonces_a_success_counts_and_a_revert_waits_for_the_rest() {
        let dispute = sent(9, true);
        let attempts = [(6, Fate::Held), (7, Fate::Held), (9, Fate::Held)];
        let used = BTreeMap::from([(6, won(1, false, Depth::Final)), (7, won(1, true, Depth::Confirmed))]);
        assert!(matches!(
            outcome(&dispute, &attempts, LATEST, &used),
            Outcome::Over { nonce: 7, status: TxStatus::Mined, .. }
        ));
        let used = BTreeMap::from([(6, won(1, false, Depth::Final)), (7, won(2, true, Depth::Final))]);
        assert!(matches!(outcome(&dispute, &attempts, LATEST, &used), Outcome::Included { nonce: 6, .. }));
        let mut urgent = dispute.clone();
        urgent.intent.priority = Priority::Urgent;
        assert!(
            matches!(
                outcome(&urgent, &attempts, LATEST, &used),
                Outcome::Over { status: TxStatus::Failed, .. }
            ),
            "it is tried again while there is time"
        );
        assert!(matches!(
            outcome(&dispute, &attempts[..2], LATEST, &used),
            Outcome::Over { status: TxStatus::Failed, .. }
        ));
    }

    #[test]
    fn a_cancelled_one_ends_when_all_its_nonces_are_used_for_good_and_not_by_itself() {
        let cancelled = |repeatable| TxRecord { ending: Some(Ending::Cancelled), ..sent(7, repeatable) };
        let over = Outcome::Ended(Ending::Cancelled);
        let waits = Outcome::Waits(Obstacle::Ending { nonce: 7 });
        assert_eq!(judged(&cancelled(false), Fate::Held, unknown(3, true)), over);
        assert_eq!(judged(&cancelled(false), Fate::Held, unknown(3, false)), waits);
        assert_eq!(judged(&cancelled(true), Fate::Held, won(2, true, Depth::Final)), over);
        let released = TxRecord { status: TxStatus::Unsent, nonce: None, ..cancelled(true) };
        assert_eq!(judged(&released, Fate::Held, won(2, true, Depth::Confirmed)), waits);
        assert!(matches!(
            judged(&cancelled(false), Fate::Held, won(1, true, Depth::Final)),
            Outcome::Over { status: TxStatus::Mined, .. }
        ));
    }

    #[test]
    fn a_filler_that_lost_its_nonce_ends_as_soon_as_no_pool_can_hold_it() {
        let filler = |status, nonce| TxRecord { filler: true, status, nonce, ..sent(7, true) };
        let (sent, unsent) = (filler(TxStatus::Sent, Some(7)), filler(TxStatus::Unsent, None));
        let ended = Outcome::Ended(Ending::Cancelled);
        let nothing = BTreeMap::new();
        for (record, attempts, expected) in [
            (&sent, &[(7, Fate::Refused)][..], Outcome::Open), // it is about to be released
            (&unsent, &[(7, Fate::Refused)], ended.clone()),
            (&unsent, &[], ended.clone()), // its bytes are another filler's
            (&unsent, &[(7, Fate::Refused), (9, Fate::Held)], Outcome::Open),
            (&unsent, &[(9, Fate::Held)], Outcome::Open),
            (&unsent, &[(9, Fate::Unknown)], Outcome::Open),
        ] {
            assert_eq!(outcome(record, attempts, 7, &nothing), expected, "{:?} {attempts:?}", record.status);
        }
        let waits = Outcome::Waits(Obstacle::Ending { nonce: 7 });
        for (used, expected) in [
            (won(2, true, Depth::Final), ended.clone()),
            (unknown(3, true), ended),
            (won(2, true, Depth::Confirmed), waits.clone()),
            (unknown(1, true), waits.clone()),
            (unknown(3, false), waits),
        ] {
            assert_eq!(judged(&unsent, Fate::Held, used), expected, "{used:?}");
        }
        assert!(matches!(judged(&unsent, Fate::Held, won(1, true, Depth::Final)), Outcome::Over { .. }));
    }

    #[test]
    fn what_was_signed_for_an_intent_may_be_anothers_that_makes_the_same_call() {
        let cancelled = TxRecord { status: TxStatus::Unsent, nonce: None, ..sent(7, true) };
        let cancelled = TxRecord { ending: Some(Ending::Cancelled), ..cancelled };
        let judged = |record, used| outcome(record, &[], LATEST, &BTreeMap::from([(7, used)]));
        assert_eq!(judged(&cancelled, won(2, true, Depth::Shallow)), Outcome::Ended(Ending::Cancelled));
        let bound = TxRecord { status: TxStatus::Unsent, nonce: None, ..sent(7, false) };
        let taken = Outcome::Waits(Obstacle::NonceTaken { nonce: 7 });
        assert_eq!(judged(&bound, won(2, true, Depth::Confirmed)), taken);
        assert_eq!(judged(&bound, won(2, true, Depth::Final)), Outcome::Free);
    }
}
