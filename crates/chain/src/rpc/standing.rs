//! Which of several endpoints to ask first, by what was heard of each. No clock and no I/O.

use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256};

/// What an endpoint is good for now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It answers.
    Good,
    /// It did not answer, or limits our requests: asked again at `until`, and before only if no other is good.
    Resting {
        /// When.
        until: Instant,
    },
    /// It is wrong, by evidence: used only if all others are resting or wrong, too.
    Quarantined {
        /// Until when.
        until: Instant,
        /// Why.
        evidence: Evidence,
    },
}

/// What shows that an endpoint is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Evidence {
    /// It serves another chain.
    #[error("it serves chain {found} instead of {expected}")]
    WrongChain {
        /// The configured chain.
        expected: u64,
        /// Its chain.
        found: u64,
    },
    /// It has no code at a contract's address.
    #[error("it has no contract at {0}")]
    NoContract(Address),
    /// It gave logs of a block that contradict its own other answer, the block's bloom filter, or two other endpoints.
    #[error("its logs of block {block} ({hash}) are not those of the chain")]
    OtherLogs {
        /// The block.
        block: u64,
        /// Its hash, which it agrees on.
        hash: B256,
    },
}

/// The first rest after trouble; doubled each time in a row.
const FIRST_REST: Duration = Duration::from_secs(1);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_mins(5);
/// How long evidence counts.
const QUARANTINE: Duration = Duration::from_mins(30);
/// Requests under way at once.
const WIDTH: usize = 16;
/// How long an endpoint that limits our rate gets fewer of them.
const CALM: Duration = Duration::from_mins(10);
/// An endpoint is behind from this many blocks on.
pub(crate) const BEHIND: u64 = 3;

/// What is known of an endpoint.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) standing: Standing,
    /// Failures in a row.
    troubles: u32,
    /// Its head, as far as it is credible.
    head: u64,
    width: usize,
    narrow_until: Option<Instant>,
}

impl Default for Record {
    fn default() -> Self {
        Self { standing: Standing::Good, troubles: 0, head: 0, width: WIDTH, narrow_until: None }
    }
}

impl Record {
    /// It answered.
    pub(super) fn answered(&mut self) {
        self.troubles = 0;
        if matches!(self.standing, Standing::Resting { .. }) {
            self.standing = Standing::Good;
        }
    }

    /// It did not answer; `asked` is how long it wants to be left alone, if it said so.
    pub(super) fn failed(&mut self, now: Instant, asked: Option<Duration>) {
        let rest = FIRST_REST.saturating_mul(1 << self.troubles.min(20)).max(asked.unwrap_or_default());
        self.troubles = self.troubles.saturating_add(1);
        if !matches!(self.standing, Standing::Quarantined { .. }) {
            self.standing = Standing::Resting { until: now + rest.min(LONGEST_REST) };
        }
    }

    /// It limits our rate: it gets half as many requests at once for a while.
    pub(super) fn limited(&mut self, now: Instant) {
        self.width = (self.width(now) / 2).max(1);
        self.narrow_until = Some(now + CALM);
    }

    /// It is wrong.
    pub(super) fn convict(&mut self, now: Instant, evidence: Evidence) {
        self.standing = Standing::Quarantined { until: now + QUARANTINE, evidence };
    }

    /// Its head, as far as it is credible.
    pub(super) fn seen_at(&mut self, head: u64) {
        self.head = head;
    }

    /// Requests it may get at once.
    pub(super) fn width(&self, now: Instant) -> usize {
        if self.narrow_until.is_some_and(|until| now < until) { self.width } else { WIDTH }
    }

    /// Whether it is time to try it again.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        match self.standing {
            Standing::Good => false,
            Standing::Resting { until } | Standing::Quarantined { until, .. } => until <= now,
        }
    }

    /// It answered a trial after its time.
    pub(super) fn restored(&mut self) {
        self.standing = Standing::Good;
    }
}

/// All endpoints, the one to ask first in front: the good ones in the order of the configuration, those behind the chain
/// after the others; then the resting ones, the one whose rest ends first in front; then the wrong ones. None is left
/// out: the last one that can be asked is never taken away.
pub(super) fn preference(records: &[Record]) -> Vec<usize> {
    let is_good = |record: &Record| record.standing == Standing::Good;
    let best = records.iter().filter(|record| is_good(record)).map(|record| record.head).max().unwrap_or(0);
    let mut order: Vec<usize> = (0..records.len()).collect();
    order.sort_by_key(|&at| {
        let record = &records[at];
        match record.standing {
            Standing::Good => (u8::from(record.head.saturating_add(BEHIND) < best), None),
            Standing::Resting { until } => (2, Some(until)),
            Standing::Quarantined { until, .. } => (3, Some(until)),
        }
    });
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrong() -> Evidence {
        Evidence::WrongChain { expected: 1, found: 2 }
    }

    fn at(standing: Standing, head: u64) -> Record {
        Record { standing, head, ..Record::default() }
    }

    #[test]
    fn the_order_is_by_standing_then_by_lag_then_by_preference() {
        use Standing::{Good, Quarantined, Resting};
        let now = Instant::now();
        let rest = |seconds| Resting { until: now + Duration::from_secs(seconds) };
        let out = || Quarantined { until: now, evidence: wrong() };
        for (what, records, order) in [
            ("all good", vec![at(Good, 100), at(Good, 101), at(Good, 99)], vec![0, 1, 2]),
            ("the first rests", vec![at(rest(5), 100), at(Good, 100)], vec![1, 0]),
            ("the first is behind", vec![at(Good, 96), at(Good, 100)], vec![1, 0]),
            ("a little behind", vec![at(Good, 97), at(Good, 100)], vec![0, 1]),
            ("a resting one is ahead", vec![at(Good, 96), at(rest(1), 100)], vec![0, 1]),
            ("both rest", vec![at(rest(5), 0), at(rest(2), 0)], vec![1, 0]),
            ("wrong ones are last", vec![at(out(), 0), at(rest(9), 0), at(Good, 0)], vec![2, 1, 0]),
            ("the only one is wrong", vec![at(out(), 0)], vec![0]),
        ] {
            assert_eq!(preference(&records), order, "{what}");
        }
    }

    #[test]
    fn rests_double_up_to_five_minutes_and_end_with_an_answer() {
        let now = Instant::now();
        let mut record = Record::default();
        let mut rests = Vec::new();
        for _ in 0..11 {
            record.failed(now, None);
            let Standing::Resting { until } = record.standing else { panic!("{record:?}") };
            rests.push((until - now).as_secs());
        }
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        record.answered();
        assert_eq!(record.standing, Standing::Good);
        record.failed(now, Some(Duration::from_secs(20)));
        assert_eq!(record.standing, Standing::Resting { until: now + Duration::from_secs(20) });
    }

    #[test]
    fn neither_an_answer_nor_a_failure_ends_a_quarantine() {
        let now = Instant::now();
        let mut record = Record::default();
        record.convict(now, wrong());
        record.answered();
        record.failed(now, None);
        assert!(matches!(record.standing, Standing::Quarantined { .. }));
        assert!(!record.is_due(now) && record.is_due(now + QUARANTINE));
    }

    #[test]
    fn an_endpoint_that_limits_our_rate_gets_half_for_ten_minutes() {
        let now = Instant::now();
        let mut record = Record::default();
        let mut widths = Vec::new();
        for _ in 0..6 {
            widths.push(record.width(now));
            record.limited(now);
        }
        assert_eq!(widths, [16, 8, 4, 2, 1, 1]);
        assert_eq!(record.width(now + CALM), WIDTH);
    }

    proptest! {
        #[test]
        fn every_endpoint_stays_in_the_order_once(kinds in proptest::collection::vec((0..3u8, 0..200u64), 1..6)) {
            let now = Instant::now();
            let records: Vec<Record> = kinds.iter().map(|&(kind, head)| match kind {
                0 => at(Standing::Good, head),
                1 => at(Standing::Resting { until: now }, head),
                _ => at(Standing::Quarantined { until: now, evidence: wrong() }, head),
            }).collect();
            let mut order = preference(&records);
            let good = records.iter().filter(|record| record.standing == Standing::Good).count();
            prop_assert!(order[..good].iter().all(|&n| records[n].standing == Standing::Good));
            order.sort_unstable();
            prop_assert_eq!(order, (0..records.len()).collect::<Vec<_>>());
        }
    }
}
