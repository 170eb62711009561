//! When to look whether an onion service can be reached, and when to start it again: decisions only.

use std::time::Duration;

/// Between looks at a service that was reached.
const STEADY: Duration = Duration::from_mins(10);
/// Between looks at one that was reached before, and not the last time.
const ANXIOUS: Duration = Duration::from_secs(20);
/// Failures in a row after which a service that was reached before is started again.
const PATIENCE: u32 = 3;
/// Between looks at one that was never reached since its start: publishing a descriptor takes from a second on a small
/// network to minutes on a loaded one.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST_FIRST: Duration = Duration::from_secs(30);
/// Failures in a row after which such a one is started again; five minutes go by until then.
const FIRST_PATIENCE: u32 = 14;

/// Before the next launch, after one that failed or ended.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How long a service must have run, and been reached, for its end to count as the first trouble again.
const HEALTHY: Duration = Duration::from_mins(10);

/// What to do after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Look again after this time.
    LookIn(Duration),
    /// Start the service again, which publishes its descriptor afresh.
    Restart,
}

/// What is known of a service since it was started, and of how often that happened lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watchdog {
    /// All pauses are divided by it; 1, except in tests on a real network.
    hurry: u32,
    reached: bool,
    failures: u32,
    /// Launches that came to nothing, in a row.
    ended: u32,
}

impl Default for Watchdog {
    fn default() -> Self {
        Self { hurry: 1, reached: false, failures: 0, ended: 0 }
    }
}

impl Watchdog {
    /// One whose pauses are `hurry` times shorter; `hurry` is not 0.
    #[cfg(test)]
    pub(crate) fn hurried(hurry: u32) -> Self {
        Self { hurry, ..Self::default() }
    }

    /// After a look that reached the service, or did not.
    pub(crate) fn looked(&mut self, reached: bool) -> Next {
        if reached {
            (self.reached, self.failures) = (true, 0);
            return Next::LookIn(STEADY / self.hurry);
        }
        self.failures = self.failures.saturating_add(1);
        let (patience, pause) = if self.reached {
            (PATIENCE, ANXIOUS)
        } else {
            let doubled = FIRST.saturating_mul(1 << (self.failures - 1).min(10));
            (FIRST_PATIENCE, doubled.min(LONGEST_FIRST))
        };
        if self.failures < patience { Next::LookIn(pause / self.hurry) } else { Next::Restart }
    }

    /// After the service ended, or was to be started again, `ran` after its launch; zero when it could not be launched.
    /// Returns how long to wait before the next launch: ever longer while launches come to nothing soon.
    pub(crate) fn ended(&mut self, ran: Duration) -> Duration {
        let before = if self.reached && ran >= HEALTHY { 0 } else { self.ended };
        *self = Self { hurry: self.hurry, ended: before.saturating_add(1), ..Self::default() };
        FIRST_PAUSE.saturating_mul(1 << before.min(10)).min(LONGEST_PAUSE) / self.hurry
    }

    /// Launches that came to nothing, in a row.
    pub(crate) const fn launches(self) -> u32 {
        self.ended
    }

    /// How often in a row it was not reached.
    pub(crate) const fn failures(self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_service_is_looked_at_ever_less_often_and_started_again_after_minutes() {
        let mut dog = Watchdog::default();
        let mut waited = Duration::ZERO;
        let mut pauses = Vec::new();
        while let Next::LookIn(pause) = dog.looked(false) {
            waited += pause;
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30, 30, 30]);
        assert!(waited > Duration::from_mins(4) && waited < Duration::from_mins(6), "{waited:?}");
    }

    #[test]
    fn a_service_that_was_reached_is_started_again_after_three_failures_in_a_row() {
        let mut dog = Watchdog::default();
        assert_eq!(dog.looked(true), Next::LookIn(STEADY));
        assert_eq!(dog.looked(false), Next::LookIn(ANXIOUS));
        assert_eq!(dog.looked(false), Next::LookIn(ANXIOUS));
        assert_eq!(dog.looked(true), Next::LookIn(STEADY), "one success and it starts over");
        assert_eq!(dog.looked(false), Next::LookIn(ANXIOUS));
        assert_eq!(dog.looked(false), Next::LookIn(ANXIOUS));
        assert_eq!(dog.looked(false), Next::Restart);
        dog.ended(HEALTHY);
        assert_eq!(dog.looked(false), Next::LookIn(FIRST));
    }

    #[test]
    fn launches_that_come_to_nothing_are_made_ever_less_often() {
        let mut dog = Watchdog::default();
        // Whether it could not be launched, ended at once, or was never reached.
        let ran = [0, 0, 1, 300, 1, 300, 1, 0, 0, 0].map(Duration::from_secs);
        let pauses = ran.map(|ran| dog.ended(ran).as_millis());
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);

        dog.looked(true);
        assert_eq!(dog.ended(Duration::from_secs(2)), LONGEST_PAUSE, "reached, but not for long");
        assert_eq!(dog.ended(HEALTHY), LONGEST_PAUSE, "long, but never reached");
        dog.looked(true);
        dog.looked(false);
        assert_eq!(dog.ended(HEALTHY), FIRST_PAUSE, "it was well for a while");
        assert_eq!(dog.ended(Duration::ZERO), FIRST_PAUSE * 2);
    }
}
