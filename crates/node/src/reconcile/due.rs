//! When stored events are to be compared with the contract, and how long logs may be searched for. No clock and no I/O.

use std::time::Duration;

use privatix_channel::Period;
use tokio::time::Instant;

use super::SOON;

/// The longest time between two comparisons.
const LONGEST: Duration = Duration::from_hours(1);
/// The least time between two of them that nothing but unchecked blocks make due: an endpoint that comes and goes leaves some behind
/// again and again.
const PAUSE: Duration = Duration::from_secs(10);
/// The longest time that one endpoint may be searched in a comparison, for all entries together.
const SEARCH: Duration = Duration::from_mins(2);
/// The least time for a comparison of all channels, or of all offerings.
const SHORTEST: Duration = Duration::from_secs(5);
/// The least part of the time that is left which no entry may take: a search that ends only with its time leaves some to others.
const PARTS: usize = 4;

/// How often to start to compare without an occasion: three times in a challenge period, so that a close request that was left out is
/// found while it can be answered.
pub(super) fn usual(challenge: Period) -> Duration {
    LONGEST.min(Duration::from_secs(u64::from(challenge.seconds() / 3)))
}

/// How long all channels, and all offerings, may take to be compared, before anything is searched for: a 24th of a challenge period each.
pub(super) fn comparison(challenge: Period) -> Duration {
    Duration::from_secs(u64::from(challenge.seconds() / 24)).clamp(SHORTEST, SEARCH)
}

/// The time for the searches of a comparison: for each endpoint, and at all of them a sixth of a challenge period, so that one which
/// begins in the first third of a challenge leaves half of it for an answer.
#[derive(Debug)]
pub(super) struct SearchTime {
    /// What is left, by endpoint.
    left: Vec<Duration>,
    /// Entries that are not done with.
    waiting: usize,
}

impl SearchTime {
    pub(super) fn new(challenge: Period, endpoints: usize, entries: usize) -> Self {
        let all = Duration::from_secs(u64::from(challenge.seconds() / 6));
        let each = u32::try_from(endpoints).ok().and_then(|endpoints| all.checked_div(endpoints));
        Self { left: vec![each.unwrap_or_default().min(SEARCH); endpoints], waiting: entries }
    }

    /// How long the present entry may be searched for at an endpoint: a quarter of what is left of its time, or an equal part where
    /// fewer entries wait.
    pub(super) fn share(&self, endpoint: usize) -> Duration {
        let parts = u32::try_from(self.waiting.clamp(1, PARTS)).unwrap_or(1);
        self.left.get(endpoint).and_then(|left| left.checked_div(parts)).unwrap_or_default()
    }

    /// Takes the time of a search off.
    pub(super) fn spent(&mut self, endpoint: usize, took: Duration) {
        if let Some(left) = self.left.get_mut(endpoint) {
            *left = left.saturating_sub(took);
        }
    }

    /// The present entry is done with.
    pub(super) fn entry_done(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }
}

/// What makes a comparison due before its time when it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Occasion {
    pub(super) reorgs: u64,
    pub(super) quarantined: usize,
    /// Times that the monitor came to a halt.
    pub(super) gaps: u64,
    /// Blocks that no second endpoint had checked, before one that is back.
    pub(super) unchecked: u64,
}

/// The last comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last {
    /// What there was to compare for.
    pub(super) occasion: Occasion,
    /// When it ended.
    pub(super) ended: Instant,
    /// When the next one is due without an occasion.
    pub(super) next: Instant,
}

impl Last {
    /// A comparison that began and ended at these times. The next one is due after `wait`, counted from its end, or at the usual time,
    /// counted from its start, whichever is earlier: a long search delays nothing.
    pub(super) fn new(
        occasion: Occasion,
        (began, ended): (Instant, Instant),
        wait: Duration,
        challenge: Period,
    ) -> Option<Self> {
        let latest = began.checked_add(usual(challenge))?;
        let next = ended.checked_add(wait)?.min(latest).max(ended.checked_add(SOON)?);
        Some(Self { occasion, ended, next })
    }

    /// When the next one is due, with this occasion.
    pub(super) fn due(&self, occasion: Occasion) -> Instant {
        if occasion == self.occasion {
            self.next
        } else if (Occasion { unchecked: self.occasion.unchecked, ..occasion }) == self.occasion {
            self.ended.checked_add(PAUSE).map_or(self.next, |soon| soon.min(self.next))
        } else {
            self.ended
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_fits_into_a_challenge_three_times() {
        for (challenge, expected) in [
            (Period::minutes(15), Duration::from_mins(5)),
            (Period::hours(2), Duration::from_mins(40)),
            (Period::hours(3), LONGEST),
            (Period::days(7), LONGEST),
        ] {
            assert_eq!(usual(challenge), expected, "{challenge:?}");
            for endpoints in 1..=5 {
                let time = SearchTime::new(challenge, endpoints, 1);
                let search: Duration = (0..endpoints).map(|endpoint| time.share(endpoint)).sum();
                let began = Instant::now();
                let ended = began + search;
                let last =
                    Last::new(Occasion::default(), (began, ended), usual(challenge), challenge).unwrap();
                assert_eq!(last.next - began, expected, "{challenge:?}, {endpoints} endpoints");
                let found = last.next + search - began;
                assert!(found <= Duration::from(challenge) / 2, "{challenge:?}, {endpoints} endpoints");
                assert!(time.share(0) <= SEARCH, "{challenge:?}, {endpoints} endpoints");
            }
        }
    }

    #[test]
    fn comparisons_take_a_small_part_of_a_challenge_and_two_minutes_at_most() {
        for (challenge, seconds) in
            [(Period::new(10), 5), (Period::minutes(15), 37), (Period::hours(1), 120), (Period::days(7), 120)]
        {
            assert_eq!(comparison(challenge), Duration::from_secs(seconds), "{challenge:?}");
        }
    }

    #[test]
    fn the_usual_time_counts_from_the_start_of_a_comparison() {
        let (challenge, began) = (Period::minutes(15), Instant::now());
        let after = |seconds| began + Duration::from_secs(seconds);
        for (what, ended, wait, next) in [
            ("as usual", after(100), 300, after(300)),
            ("soon", after(100), 1, after(101)),
            ("again", after(100), 60, after(160)),
            ("again, and it is due before", after(270), 60, after(300)),
            ("one that took longer than is usual", after(400), 300, after(401)),
        ] {
            let last =
                Last::new(Occasion::default(), (began, ended), Duration::from_secs(wait), challenge).unwrap();
            assert_eq!((last.ended, last.next), (ended, next), "{what}");
        }
    }

    #[test]
    fn no_entry_takes_the_time_of_all_others() {
        let seconds = Duration::from_secs;
        let mut time = SearchTime::new(Period::days(7), 2, 5);
        for (what, expected) in [
            ("the first of five", 30_000),
            ("the second", 22_500),
            ("one of the last three", 22_500),
            ("one of the last two", 22_500),
            ("the last", 22_500),
        ] {
            assert_eq!(time.share(0), Duration::from_millis(expected), "{what}");
            time.spent(0, time.share(0));
            time.entry_done();
        }
        assert_eq!(time.share(1), seconds(120), "the other endpoint has its own time");
        assert_eq!(time.share(0), Duration::ZERO);
        assert_eq!(time.share(2), Duration::ZERO, "there is no such endpoint");
    }

    #[test]
    fn an_occasion_makes_a_comparison_due_at_once_and_unchecked_blocks_do_after_a_pause() {
        let ended = Instant::now();
        let after = |seconds| ended + Duration::from_secs(seconds);
        let occasion = Occasion { reorgs: 1, quarantined: 1, gaps: 1, unchecked: 5 };
        let last = Last { occasion, ended, next: after(300) };
        for (what, now, due) in [
            ("nothing", occasion, after(300)),
            ("a reorg", Occasion { reorgs: 2, ..occasion }, ended),
            ("an endpoint found wrong", Occasion { quarantined: 2, ..occasion }, ended),
            ("a gap", Occasion { gaps: 2, ..occasion }, ended),
            ("unchecked blocks", Occasion { unchecked: 6, ..occasion }, after(10)),
            ("unchecked blocks in a gap", Occasion { unchecked: 6, gaps: 2, ..occasion }, ended),
        ] {
            assert_eq!(last.due(now), due, "{what}");
        }
        let soon = Last { next: after(1), ..last };
        assert_eq!(soon.due(Occasion { unchecked: 6, ..occasion }), after(1), "it is due before");
    }
}
