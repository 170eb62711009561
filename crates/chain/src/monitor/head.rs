//! The newest block, and the pace at which blocks come.

use std::time::{Duration, Instant, SystemTime};

use crate::rpc::{BlockHeader, block_time};

/// The newest block of an endpoint, as a monitor sees it, and the pace at which blocks have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// Its height.
    pub number: u64,
    /// Its time, as its maker wrote it.
    pub time: SystemTime,
    /// When it was first seen here, by the monotonic clock.
    pub seen: Instant,
    /// The time between blocks; none while it is not known, or when blocks come at no pace of their own but only when there
    /// is something to put into them, as on a development chain.
    pub pace: Option<Duration>,
}

/// Blocks whose times the pace is measured from.
const SAMPLES: usize = 33;
/// The least number of gaps from which a pace is measured.
const FEWEST_GAPS: usize = 8;
/// A gap that is longer than the mean by this factor shows that blocks come at no pace of their own.
const UNEVEN: u64 = 6;

/// How long the newest block is not asked for again after the endpoint failed to return it: the age that is shown is worth
/// little, and events wait for each attempt.
const RETRY: Duration = Duration::from_secs(10);

/// The newest blocks of the chain: what its pace is measured from.
#[derive(Debug, Default)]
pub(super) struct NewestBlocks {
    /// Ascending in height.
    blocks: Vec<Sample>,
    head: Option<(Sample, Instant)>,
    /// When the endpoint last failed to return its newest block.
    failed: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    number: u64,
    timestamp: u64,
    is_empty: bool,
}

impl From<&BlockHeader> for Sample {
    fn from(header: &BlockHeader) -> Self {
        Self { number: header.number, timestamp: header.timestamp, is_empty: header.is_empty }
    }
}

impl NewestBlocks {
    /// The heights to be looked up before the first judgement.
    pub(super) fn wanted(head: u64) -> impl Iterator<Item = u64> {
        head.saturating_sub(SAMPLES as u64 / 2).max(1)..head
    }

    /// Whether no head has been seen yet.
    pub(super) fn is_new(&self) -> bool {
        self.head.is_none()
    }

    /// Whether the header of this head is to be asked for now: it is not the newest known, and no attempt failed lately.
    pub(super) fn wants(&self, number: u64, now: Instant) -> bool {
        let known = self.head.is_some_and(|(head, _)| head.number == number);
        let failed_lately = self.failed.is_some_and(|failed| now.saturating_duration_since(failed) < RETRY);
        !known && !failed_lately
    }

    /// An attempt to get the newest block failed `now`.
    pub(super) fn fail(&mut self, now: Instant) {
        self.failed = Some(now);
    }

    /// Forgets everything: the chain is another one.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// A block of the past.
    pub(super) fn add(&mut self, header: &BlockHeader) {
        let sample = Sample::from(header);
        if let Err(place) = self.blocks.binary_search_by_key(&sample.number, |known| known.number) {
            self.blocks.insert(place, sample);
        }
        let surplus = self.blocks.len().saturating_sub(SAMPLES);
        self.blocks.drain(..surplus);
    }

    /// The endpoint's head, seen `now`. Only one that is newer than all before it is progress: the nodes behind an endpoint
    /// that has stopped may still take turns.
    pub(super) fn see(&mut self, header: &BlockHeader, now: Instant) -> Head {
        let sample = Sample::from(header);
        self.add(header);
        let (newest, seen) = match self.head {
            Some((known, seen)) if (known.timestamp, known.number) >= (sample.timestamp, sample.number) => {
                (known, seen)
            }
            _ => (sample, now),
        };
        self.head = Some((newest, seen));
        Head { number: newest.number, time: block_time(newest.timestamp), seen, pace: pace(&self.blocks) }
    }
}

/// The mean time between blocks, if the chain makes them at a pace of its own: some of them are empty, or they come evenly.
fn pace(blocks: &[Sample]) -> Option<Duration> {
    let (first, last) = (blocks.first()?, blocks.last()?);
    if blocks.len() <= FEWEST_GAPS {
        return None;
    }
    let (time, count) = (last.timestamp.saturating_sub(first.timestamp), last.number - first.number);
    let mean = Duration::from_secs(time) / u32::try_from(count).unwrap_or(u32::MAX).max(1);
    let longest = blocks
        .windows(2)
        .map(|pair| {
            let gap = pair[1].timestamp.saturating_sub(pair[0].timestamp);
            gap / (pair[1].number - pair[0].number).max(1)
        })
        .max()
        .unwrap_or_default();
    let even = Duration::from_secs(longest)
        <= (mean * u32::try_from(UNEVEN).unwrap_or(u32::MAX)).max(Duration::from_secs(2));
    (even || blocks.iter().any(|block| block.is_empty)).then_some(mean)
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{B256, Bloom};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_mins(1);

    fn header(number: u64, timestamp: u64, is_empty: bool) -> BlockHeader {
        BlockHeader {
            number,
            hash: B256::ZERO,
            parent: B256::ZERO,
            timestamp,
            base_fee: None,
            bloom: Bloom::ZERO,
            is_empty,
        }
    }

    fn measured(times: impl IntoIterator<Item = u64>, is_empty: bool) -> Option<Duration> {
        let mut newest = NewestBlocks::default();
        for (number, timestamp) in times.into_iter().enumerate() {
            newest.add(&header(number as u64 + 1, timestamp, is_empty));
        }
        pace(&newest.blocks)
    }

    #[test]
    fn the_pace_is_that_of_chains_with_a_pace_and_unknown_for_those_without() {
        assert_eq!(measured((0..40).map(|n| n * 12), false), Some(12 * SECOND), "full blocks in even steps");
        assert_eq!(measured((0..40).map(|n| n / 4), true), Some(SECOND / 4), "several blocks a second");
        assert_eq!(measured((0..8).map(|n| n * 12), true), None, "too few to tell");
        // A development chain: a block for each transaction, with pauses between tests.
        let bursts = (0..40).map(|n| n + 300 * (n / 15));
        assert_eq!(measured(bursts.clone(), false), None);
        assert!(measured(bursts, true).is_some(), "empty blocks are made by a clock");
    }

    #[test]
    fn after_a_failure_the_newest_block_is_not_asked_for_at_once() {
        let mut newest = NewestBlocks::default();
        let begin = Instant::now();
        assert!(newest.wants(10, begin));
        newest.fail(begin);
        assert!(!newest.wants(10, begin) && !newest.wants(11, begin + RETRY / 2));
        assert!(newest.wants(10, begin + RETRY));
        newest.see(&header(10, 100, true), begin + RETRY);
        assert!(!newest.wants(10, begin + RETRY) && newest.wants(11, begin + RETRY));
    }

    #[test]
    fn only_a_newer_block_ends_the_silence() {
        let mut newest = NewestBlocks::default();
        let begin = Instant::now();
        assert_eq!(newest.see(&header(10, 100, true), begin).seen, begin);
        // Two nodes take turns.
        let later = begin + MINUTE;
        for number in [9, 10, 9, 10] {
            let head = newest.see(&header(number, 90 + number, true), later);
            assert_eq!((head.number, head.seen), (10, begin));
        }
        assert_eq!(newest.see(&header(11, 101, true), later).seen, later);
        newest.forget();
        assert!(newest.is_new());
        assert_eq!(newest.see(&header(5, 50, true), later).number, 5, "after a reorg");
    }
}
