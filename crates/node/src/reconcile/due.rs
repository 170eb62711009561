//! When stored events are to be compared with the contract. No clock and no I/O.

use std::time::Duration;

use privatix_channel::Period;
use tokio::time::Instant;

/// The longest time between two comparisons.
const LONGEST: Duration = Duration::from_hours(1);
/// The least time between two of them that nothing but unchecked blocks make due: an endpoint that comes and goes leaves some behind
/// again and again.
const PAUSE: Duration = Duration::from_secs(10);

/// How often to compare without an occasion: three times in a challenge period, so that a close request that was left out is found
/// while it can be answered.
pub(super) fn usual(challenge: Period) -> Duration {
    LONGEST.min(Duration::from_secs(u64::from(challenge.seconds() / 3)))
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
        }
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
