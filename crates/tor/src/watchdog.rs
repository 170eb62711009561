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

/// What to do after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Look again after this time.
    LookIn(Duration),
    /// Start the service again, which publishes its descriptor afresh.
    Restart,
}

/// What is known of a service since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watchdog {
    reached: bool,
    failures: u32,
}

impl Watchdog {
    /// After a look that reached the service, or did not.
    pub(crate) fn looked(&mut self, reached: bool) -> Next {
        if reached {
            *self = Self { reached: true, failures: 0 };
            return Next::LookIn(STEADY);
        }
        self.failures = self.failures.saturating_add(1);
        let (patience, pause) = if self.reached {
            (PATIENCE, ANXIOUS)
        } else {
            let doubled = FIRST.saturating_mul(1 << (self.failures - 1).min(10));
            (FIRST_PATIENCE, doubled.min(LONGEST_FIRST))
        };
        if self.failures < patience { Next::LookIn(pause) } else { Next::Restart }
    }

    /// After the service was started again.
    pub(crate) fn restarted(&mut self) {
        *self = Self::default();
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
        dog.restarted();
        assert_eq!(dog.looked(false), Next::LookIn(FIRST));
    }
}
