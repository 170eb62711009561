use std::ops::RangeInclusive;
use std::time::Duration;

/// Decides how many blocks to ask for at once.
///
/// Endpoints limit the blocks, the logs or the time of a request, each at another number, and some change it with
/// the load. So the number is found by trying: halved when a request is refused for its size, doubled when requests
/// succeed, carefully again near the size that failed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangePlanner {
    blocks: u64,
    most: u64,
    // The size that worked last; the size that failed last, and how often in a row smaller ones have worked since.
    worked: u64,
    failed_at: Option<u64>,
    calm: u32,
}

/// Successes just below a size that failed, before that size is tried again: limits do get lifted.
const CALM: u32 = 32;
/// A request that takes longer, or brings more, is large enough.
const SLOW: Duration = Duration::from_secs(5);
/// More logs than this are not to be held in memory at once.
pub(super) const MANY_LOGS: usize = 5_000;

impl RangePlanner {
    /// Starts with `first` blocks a request and never asks for more than `most`; both at least 1.
    pub fn new(first: u64, most: u64) -> Self {
        let most = most.max(1);
        Self { blocks: first.clamp(1, most), most, worked: 0, failed_at: None, calm: 0 }
    }

    /// Blocks that a request may span now.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The blocks to ask for next: from `next` up to `last`, or as many of them as one request may span.
    pub fn plan(&self, next: u64, last: u64) -> Option<RangeInclusive<u64>> {
        (next <= last).then(|| next..=last.min(next.saturating_add(self.blocks - 1)))
    }

    /// The blocks to search next in the past: from `next` down to `until`, or as many of them as one request may span.
    pub(crate) fn plan_back(&self, next: u64, until: u64) -> Option<RangeInclusive<u64>> {
        (next >= until).then(|| until.max(next.saturating_sub(self.blocks - 1))..=next)
    }

    /// A request for `asked` blocks brought `logs` logs in `took`.
    pub fn succeeded(&mut self, asked: u64, logs: usize, took: Duration) {
        if logs > MANY_LOGS {
            self.blocks = self.blocks.min((asked / 2).max(1));
            return;
        }
        if asked < self.blocks {
            return; // says nothing about the size in question
        }
        self.worked = self.blocks;
        // Twice as many logs would be too many.
        if took > SLOW || logs > MANY_LOGS / 2 {
            return;
        }
        self.calm = self.calm.saturating_add(1);
        let doubled = self.blocks.saturating_mul(2).min(self.most);
        match self.failed_at {
            Some(failed) if doubled >= failed => {
                if self.calm >= CALM {
                    self.failed_at = None;
                    self.calm = 0;
                    self.blocks = doubled;
                } else {
                    // Half of what is left to the size that failed.
                    self.blocks = (self.blocks + failed.saturating_sub(self.blocks) / 2).min(self.most);
                }
            }
            _ => self.blocks = doubled,
        }
    }

    /// A request for `asked` blocks was refused or timed out. Whether a smaller one can be tried.
    pub fn too_large(&mut self, asked: u64) -> bool {
        self.calm = 0;
        if self.worked >= asked {
            self.worked = 0; // the limit has sunk
        }
        self.blocks = (asked / 2).max(self.worked).clamp(1, self.most);
        self.failed_at = (asked > 1).then_some(asked);
        asked > 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAST: Duration = Duration::from_millis(10);

    #[test]
    fn grows_to_the_most_and_halves_on_refusal() {
        let mut planner = RangePlanner::new(100, 1_000);
        for expected in [200, 400, 800, 1_000, 1_000] {
            planner.succeeded(planner.blocks(), 0, FAST);
            assert_eq!(planner.blocks(), expected);
        }
        assert!(planner.too_large(1_000));
        assert_eq!(planner.blocks(), 500);
        planner.succeeded(500, 0, FAST);
        assert_eq!(planner.blocks(), 750, "creeps up below the size that failed");
    }

    #[test]
    fn slow_or_rich_answers_do_not_grow_it() {
        let mut planner = RangePlanner::new(100, 1_000);
        planner.succeeded(100, MANY_LOGS / 2 + 1, FAST);
        planner.succeeded(100, 0, SLOW * 2);
        planner.succeeded(99, 0, FAST);
        assert_eq!(planner.blocks(), 100);
    }

    #[test]
    fn too_many_logs_halve_it() {
        let mut planner = RangePlanner::new(100, 1_000);
        for (asked, expected) in [(100, 50), (50, 25), (10, 5), (1, 1), (1, 1)] {
            planner.succeeded(asked, MANY_LOGS + 1, FAST);
            assert_eq!(planner.blocks(), expected, "{asked}");
        }
        planner.succeeded(1, 10, FAST);
        assert_eq!(planner.blocks(), 2, "where logs are fewer again");
    }

    #[test]
    fn a_single_block_cannot_be_made_smaller() {
        let mut planner = RangePlanner::new(1, 10);
        assert!(!planner.too_large(1));
        assert_eq!(planner.blocks(), 1);
    }

    proptest! {
        /// Against an endpoint with any limit, which may change under way, every block is asked for and answered
        /// exactly once, in order, in a number of requests that stays near the best possible.
        #[test]
        fn covers_every_block_once_whatever_the_limit(
            start in 0u64..1_000_000,
            length in 1u64..20_000,
            first in 1u64..5_000,
            most in 1u64..5_000,
            limit in 1u64..6_000,
            later_limit in 1u64..6_000,
        ) {
            let mut planner = RangePlanner::new(first, most);
            let (mut next, last) = (start, start + length - 1);
            let (mut requests, mut answered) = (0u64, 0u64);
            while let Some(range) = planner.plan(next, last) {
                requests += 1;
                let asked = range.end() - range.start() + 1;
                prop_assert_eq!(*range.start(), next);
                prop_assert!(asked >= 1 && asked <= most.max(1) && *range.end() <= last);
                let limit = if answered * 2 < length { limit } else { later_limit };
                if asked > limit {
                    prop_assert!(planner.too_large(asked));
                } else {
                    answered += asked;
                    next = range.end() + 1;
                    planner.succeeded(asked, 0, FAST);
                }
            }
            prop_assert_eq!(answered, length);
            let best = length / limit.min(later_limit).min(most) + 1;
            prop_assert!(requests <= 6 * best + 60, "{} requests where {} would do", requests, best);
        }
    }
}
