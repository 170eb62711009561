//! Which of an account's intents goes first.

use std::cmp::Reverse;

use super::{Deadline, Priority, TxId, TxRecord};

/// A smaller one goes first: by priority; what still has time before what is late; the nearer its deadline, in quarters of
/// its window; the more is at stake; the less time is left; the older.
///
/// Late ones stand back because a deadline fails nothing: they would stand first for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    priority: Reverse<Priority>,
    late: bool,
    quarters_gone: Reverse<u64>,
    stake: Reverse<u128>,
    left: u64,
    id: TxId,
}

impl Rank {
    /// Before everything.
    pub(super) const FIRST: Self = Self {
        priority: Reverse(Priority::Urgent),
        late: false,
        quarters_gone: Reverse(u64::MAX),
        stake: Reverse(u128::MAX),
        left: 0,
        id: TxId(i64::MIN),
    };
}

/// The rank of an intent at the chain's time `now`.
pub(super) fn rank(record: &TxRecord, now: u64) -> Rank {
    let intent = &record.intent;
    let left = intent.deadline.map_or(u64::MAX, |deadline| deadline.left(now));
    Rank {
        priority: Reverse(intent.priority),
        late: left == 0,
        quarters_gone: Reverse(intent.deadline.map_or(0, |deadline| quarters_gone(deadline, now))),
        stake: Reverse(intent.stake.map_or(0, |stake| stake.0)),
        left,
        id: record.id,
    }
}

fn quarters_gone(deadline: Deadline, now: u64) -> u64 {
    let window = u64::from(deadline.window);
    let gone = window - deadline.left(now).min(window);
    (4 * gone).checked_div(window).unwrap_or(4)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::SystemTime;

    use alloy::primitives::Address;

    use super::*;
    use crate::{Intent, TxStatus};

    pub(in crate::transactor) fn record(id: i64, intent: impl FnOnce(Intent) -> Intent) -> TxRecord {
        let intent = intent(Intent::new("key", Address::ZERO, Address::ZERO, Vec::new()));
        TxRecord {
            id: TxId(id),
            asked_deadline: intent.deadline,
            intent,
            chain_id: 1,
            status: TxStatus::Unsent,
            nonce: None,
            bound: None,
            ending: None,
            watched: true,
            gas_limit: None,
            obstacle: None,
            failure: None,
            inclusion: None,
            raise: None,
            filler: false,
            parent: None,
            relieved: false,
            created_at: SystemTime::UNIX_EPOCH,
            updated_at: SystemTime::UNIX_EPOCH,
        }
    }

    /// The rank of an intent of this priority.
    pub(in crate::transactor) fn ranked(id: i64, priority: Priority) -> Rank {
        rank(&record(id, |intent| intent.priority(priority)), 0)
    }

    #[test]
    fn urgency_comes_before_age_and_what_is_late_stands_back() {
        let now = 10_000;
        let urgent = |left: u64, stake: u128| {
            move |intent: Intent| {
                let at = (now + left).saturating_sub(1_000);
                intent.priority(Priority::Urgent).deadline(Deadline::new(at, 4_000)).stake(stake)
            }
        };
        // In the order in which they should go.
        let mut records = [
            record(9, urgent(1_500, 7)),  // an eighth of its window is left
            record(8, urgent(1_600, 6)),  // the same quarter, less at stake
            record(10, urgent(3_000, 5)), // half of its window
            record(7, |intent| intent.priority(Priority::Urgent)),
            record(6, urgent(0, 1_000)), // late, however much is at stake
            record(3, |intent| intent),
            record(4, |intent| intent),
            record(1, |intent| intent.priority(Priority::Background)),
        ];
        let wanted: Vec<TxId> = records.iter().map(|record| record.id).collect();
        records.reverse();
        records.sort_by_key(|record| rank(record, now));
        assert_eq!(records.map(|record| record.id).to_vec(), wanted);
    }

    #[test]
    fn a_normal_intent_never_goes_before_an_urgent_one() {
        let pressed = record(1, |intent| intent.deadline(Deadline::new(100, 50)).stake(u128::MAX));
        let urgent = record(2, |intent| intent.priority(Priority::Urgent));
        for now in [0, 99, 100, 1_000] {
            assert!(rank(&urgent, now) < rank(&pressed, now));
        }
    }
}
