//! How old the newest block is, and whether that is too old.

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
    /// When it was first seen here, by a clock that nobody sets.
    pub seen: Instant,
    /// The time between blocks; none while it is not known, or when blocks come at no pace of their own but only when there
    /// is something to put into them, as on a development chain.
    pub pace: Option<Duration>,
}

/// Whether the endpoint follows its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Freshness {
    /// As far as can be known.
    Fresh,
    /// The next block is overdue, or the newest is old.
    Late,
    /// It has stopped: what happens on the chain is not seen.
    Stale,
}

/// The newest block against the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeadAge {
    /// Since the block's own time. 0 for a block from the future.
    pub age: Duration,
    /// Since it was first seen.
    pub silence: Duration,
    /// What that means.
    pub freshness: Freshness,
}

/// A head is late after this many times the chain's pace without a new block: blocks that are found by chance come ten
/// times later than usual once in 20,000.
const LATE_PACES: u32 = 10;
/// And never earlier than this: a pause is not worth a warning.
const LATE_FLOOR: Duration = Duration::from_secs(30);
/// A head is stale after this many times the pace, if that is longer than the setting.
const STALE_PACES: u32 = 30;
/// Clocks of machines and of block makers may differ by this much.
const CLOCKS: Duration = Duration::from_mins(2);

impl Head {
    /// The age after which a head is stale unless set otherwise.
    pub const MAX_AGE: Duration = Duration::from_mins(10);

    /// Judges the head. `max_age` is the age after which it is stale, at the least; 0 judges nothing.
    ///
    /// The silence since it was first seen needs no clock to be right. The age by the block's own time shows at once that an
    /// endpoint has stood still for long; but as it may come from a wrong clock, too, it makes a head stale only when the
    /// next block is overdue as well.
    pub fn age(&self, now: SystemTime, instant: Instant, max_age: Duration) -> HeadAge {
        let age = now.duration_since(self.time).unwrap_or_default();
        let silence = instant.saturating_duration_since(self.seen);
        let freshness = match self.pace {
            Some(pace) if !max_age.is_zero() => {
                let late = pace.saturating_mul(LATE_PACES).max(LATE_FLOOR);
                let stale = pace.saturating_mul(STALE_PACES).max(max_age).max(late);
                let overdue = silence >= late;
                if silence >= stale || (overdue && age >= stale.saturating_add(CLOCKS)) {
                    Freshness::Stale
                } else if overdue || age >= late.saturating_add(CLOCKS) {
                    Freshness::Late
                } else {
                    Freshness::Fresh
                }
            }
            _ => Freshness::Fresh,
        };
        HeadAge { age, silence, freshness }
    }
}

impl HeadAge {
    /// What an operator should know of a head that is not fresh.
    pub fn complaint(&self, head: &Head) -> Option<String> {
        let number = head.number;
        let since = seconds(self.silence.max(self.age));
        let pace = seconds(head.pace.unwrap_or_default());
        match self.freshness {
            Freshness::Fresh => None,
            // Blocks come, so it is not the endpoint that stands still.
            Freshness::Late
                if self.silence
                    < head.pace.unwrap_or_default().saturating_mul(LATE_PACES).max(LATE_FLOOR) =>
            {
                Some(format!(
                    "newest block {number} is {since} old although blocks come: the endpoint is behind its chain, or this machine's clock is wrong; check both"
                ))
            }
            Freshness::Late => Some(format!(
                "no new block since block {number}, {since} ago, on a chain of a block every {pace}: check that the endpoint follows its chain"
            )),
            Freshness::Stale => Some(format!(
                "the endpoint has stopped following its chain: newest block {number} is {since} old, on a chain of a block every {pace}; what happens there is not seen, use another endpoint (or set this machine's clock, if that is wrong)"
            )),
        }
    }
}

fn seconds(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} minutes", seconds / 60),
        _ => format!("{} hours", seconds / 3_600),
    }
}

/// Blocks whose times the pace is measured from.
const SAMPLES: usize = 33;
/// Fewer gaps tell nothing.
const FEWEST_GAPS: usize = 8;
/// A gap that is longer than the mean by this factor shows that blocks come at no pace of their own.
const UNEVEN: u64 = 6;

/// How long the newest block is not asked for again after the endpoint failed to return it: the age that is shown is worth
/// little, and events wait for each attempt.
const RETRY: Duration = Duration::from_secs(10);

/// The newest blocks of the chain: what its pace is measured from.
#[derive(Debug, Default)]
pub(super) struct Recent {
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

impl Recent {
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
    const HOUR: Duration = Duration::from_hours(1);

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
        let mut recent = Recent::default();
        for (number, timestamp) in times.into_iter().enumerate() {
            recent.add(&header(number as u64 + 1, timestamp, is_empty));
        }
        pace(&recent.blocks)
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

    /// What becomes of a head of a chain of 12 s, `silence` after it was seen, by a clock that shows `age`.
    fn judged(pace: Option<Duration>, silence: Duration, age: Duration) -> (Freshness, Option<String>) {
        let (instant, now) = (Instant::now(), SystemTime::now());
        let head = Head { number: 7, time: now - age, seen: instant, pace };
        let judged = head.age(now, instant + silence, Head::MAX_AGE);
        (judged.freshness, judged.complaint(&head))
    }

    #[test]
    fn a_head_is_late_by_the_chains_own_pace_and_stale_when_the_setting_is_passed_too() {
        use Freshness::{Fresh, Late, Stale};
        let of_12 = Some(12 * SECOND);
        for (pace, silence, age, freshness) in [
            (of_12, 119 * SECOND, 119 * SECOND, Fresh),
            (of_12, 120 * SECOND, 120 * SECOND, Late),
            (of_12, 10 * MINUTE, 10 * MINUTE, Stale),
            (Some(SECOND), 29 * SECOND, 29 * SECOND, Fresh),
            (Some(SECOND), 30 * SECOND, 30 * SECOND, Late),
            (Some(Duration::ZERO), 30 * SECOND, 30 * SECOND, Late),
            (Some(MINUTE), 12 * MINUTE, 12 * MINUTE, Late),
            (Some(MINUTE), 30 * MINUTE, 30 * MINUTE, Stale),
            // An endpoint that had stopped long before we came: known as soon as the next block is overdue.
            (of_12, SECOND, 12 * HOUR, Late),
            (of_12, 2 * MINUTE, 12 * HOUR, Stale),
            // Clocks differ a little.
            (of_12, SECOND, 3 * MINUTE, Fresh),
            // On demand only, or not known: nothing can be said.
            (None, 12 * HOUR, 12 * HOUR, Fresh),
        ] {
            let (found, complaint) = judged(pace, silence, age);
            assert_eq!(found, freshness, "{pace:?} {silence:?} {age:?}");
            assert_eq!(complaint.is_some(), freshness != Fresh);
        }
        let (_, complaint) = judged(of_12, SECOND, 12 * HOUR);
        assert!(complaint.unwrap().contains("clock"), "a wrong clock is named");
        let (_, complaint) = judged(of_12, HOUR, HOUR);
        assert!(complaint.unwrap().contains("60 minutes old"));
    }

    #[test]
    fn a_clock_that_is_set_back_or_an_age_of_0_judges_nothing_wrong() {
        let (instant, now) = (Instant::now(), SystemTime::now());
        let head = Head { number: 7, time: now, seen: instant, pace: Some(SECOND) };
        assert_eq!(head.age(now - HOUR, instant, Head::MAX_AGE).freshness, Freshness::Fresh);
        let off = head.age(now + HOUR, instant + HOUR, Duration::ZERO);
        assert_eq!((off.freshness, off.age, off.silence), (Freshness::Fresh, HOUR, HOUR));
    }

    #[test]
    fn after_a_failure_the_newest_block_is_not_asked_for_at_once() {
        let mut recent = Recent::default();
        let begin = Instant::now();
        assert!(recent.wants(10, begin));
        recent.fail(begin);
        assert!(!recent.wants(10, begin) && !recent.wants(11, begin + RETRY / 2));
        assert!(recent.wants(10, begin + RETRY));
        recent.see(&header(10, 100, true), begin + RETRY);
        assert!(!recent.wants(10, begin + RETRY) && recent.wants(11, begin + RETRY));
    }

    #[test]
    fn only_a_newer_block_ends_the_silence() {
        let mut recent = Recent::default();
        let begin = Instant::now();
        assert_eq!(recent.see(&header(10, 100, true), begin).seen, begin);
        // Two nodes take turns.
        let later = begin + MINUTE;
        for number in [9, 10, 9, 10] {
            let head = recent.see(&header(number, 90 + number, true), later);
            assert_eq!((head.number, head.seen), (10, begin));
        }
        assert_eq!(recent.see(&header(11, 101, true), later).seen, later);
        recent.forget();
        assert!(recent.is_new());
        assert_eq!(recent.see(&header(5, 50, true), later).number, 5, "after a reorg");
    }
}
