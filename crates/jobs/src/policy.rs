use std::num::NonZeroU32;
use std::time::Duration;

/// How the jobs of one kind are tried, delayed and de-duplicated.
///
/// The default: 3 tries, exponential backoff from 10 s to 10 min, no first delay, a handler has 2 minutes, duplicates
/// allowed. A job that ran when its process crashed waits from the second such crash in a row on, from 10 s to 10 min.
///
/// ```
/// use std::time::Duration;
/// use privatix_jobs::{Backoff, Duplicates, Policy};
///
/// let renew = Policy::default()
///     .tries(200)
///     .backoff(Backoff::fixed(Duration::from_mins(1)))
///     .first_delay(Duration::from_secs(30))
///     .duplicates(Duplicates::RefusedWhilePending);
/// # let _ = renew;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub(crate) tries: Option<NonZeroU32>,
    pub(crate) suspect_delay: Backoff,
    pub(crate) backoff: Backoff,
    pub(crate) first_delay: Duration,
    pub(crate) timeout: Duration,
    pub(crate) duplicates: Duplicates,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            tries: NonZeroU32::new(3),
            suspect_delay: Backoff::exponential(Duration::from_secs(10), Duration::from_mins(10)),
            backoff: Backoff::exponential(Duration::from_secs(10), Duration::from_mins(10)),
            first_delay: Duration::ZERO,
            timeout: Duration::from_mins(2),
            duplicates: Duplicates::Allowed,
        }
    }
}

impl Policy {
    /// The job fails for good when this many tries have ended in an error, a panic or a timeout. 0 counts as 1.
    #[must_use]
    pub fn tries(mut self, tries: u32) -> Self {
        self.tries = Some(NonZeroU32::new(tries).unwrap_or(NonZeroU32::MIN));
        self
    }

    /// The job is tried until it is done, failed by its handler or cancelled.
    #[must_use]
    pub fn tries_without_end(mut self) -> Self {
        self.tries = None;
        self
    }

    /// How long to wait when the process has died under the job twice in a row or more: it may be the cause. Then it runs
    /// alone in its lane. It is never failed for that.
    #[must_use]
    pub fn suspect_delay(mut self, delay: Backoff) -> Self {
        self.suspect_delay = delay;
        self
    }

    /// How long to wait after a failed try.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How long after its creation the job starts at the earliest.
    #[must_use]
    pub fn first_delay(mut self, delay: Duration) -> Self {
        self.first_delay = delay;
        self
    }

    /// How long a handler may take. It is dropped then, which counts as a failed try.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether a job may be pushed while one like it is pending.
    #[must_use]
    pub fn duplicates(mut self, duplicates: Duplicates) -> Self {
        self.duplicates = duplicates;
        self
    }

    /// True if a job may be tried again after `tries` failed tries.
    pub(crate) fn allows_another_after(&self, tries: u32) -> bool {
        self.tries.is_none_or(|limit| tries < limit.get())
    }
}

/// Whether a job may be pushed while another of the same kind, subject and [key](crate::Job::key) is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Duplicates {
    /// Every push makes a job.
    Allowed,
    /// None while one is waiting, being retried or running. For commands: "terminate" need not be said twice.
    RefusedWhilePending,
    /// None while one waits for its first run. For refreshes: what changed after a run began is not in that run, so
    /// another must follow.
    RefusedWhileWaiting,
}

/// The delay between tries: `first * 2^(n-1)` after the n-th failed try, at most `longest`, of which a random part of
/// up to a fifth is taken away so that jobs that failed together do not return together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// Doubles from `first` up to `longest`.
    pub fn exponential(first: Duration, longest: Duration) -> Self {
        Self { first, longest: longest.max(first) }
    }

    /// Always the same delay.
    pub fn fixed(delay: Duration) -> Self {
        Self { first: delay, longest: delay }
    }

    /// The delay after `failed` failed tries. `jitter` is the random part: 0 takes nothing away, [`u16::MAX`] a fifth.
    pub(crate) fn delay(self, failed: u32, jitter: u16) -> Duration {
        let doublings = failed.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.longest);
        let taken = whole.as_nanos() * u128::from(jitter) / u128::from(u16::MAX) / 5;
        whole.saturating_sub(Duration::from_nanos(u64::try_from(taken).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn backoff_doubles_up_to_its_longest() {
        let backoff = Backoff::exponential(secs(10), secs(60));
        let delays: Vec<_> = (0..7).map(|n| backoff.delay(n, 0).as_secs()).collect();
        assert_eq!(delays, [10, 10, 20, 40, 60, 60, 60]);
    }

    #[test]
    fn a_fixed_backoff_stays_the_same() {
        assert_eq!(Backoff::fixed(secs(20)).delay(1, 0), secs(20));
        assert_eq!(Backoff::fixed(secs(20)).delay(u32::MAX, 0), secs(20));
    }

    #[test]
    fn the_try_limit_counts_failed_tries_and_zero_means_one() {
        assert!(Policy::default().tries(3).allows_another_after(2));
        assert!(!Policy::default().tries(3).allows_another_after(3));
        assert!(!Policy::default().tries(0).allows_another_after(1));
        assert!(Policy::default().tries_without_end().allows_another_after(u32::MAX));
    }

    proptest! {
        #[test]
        fn a_delay_is_between_four_fifths_of_the_whole_and_the_whole(
            first in 0u64..=u64::MAX / 1_000, longest in 0u64..=u64::MAX, failed: u32, jitter: u16,
        ) {
            let backoff = Backoff::exponential(Duration::from_millis(first), Duration::from_millis(longest));
            let whole = backoff.delay(failed, 0);
            let delay = backoff.delay(failed, jitter);
            prop_assert!(delay <= whole);
            prop_assert!(delay + Duration::from_nanos(5) >= whole / 5 * 4);
            prop_assert!(backoff.delay(failed.saturating_add(1), 0) >= whole);
        }
    }
}
