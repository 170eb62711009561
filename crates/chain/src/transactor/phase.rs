//! The total time of a pass: no endpoint, however slow, makes one thing wait for all the others for ever.

use std::time::{Duration, Instant};

use super::{Priority, TxId};

/// One part of a pass over an account. When its time is over, it begins nothing new, and what it did not reach comes first in the next
/// pass. It always gets to something, so that each pass advances.
#[derive(Debug, Clone, Copy)]
pub(super) struct Phase {
    until: Option<Instant>,
}

impl Phase {
    pub(super) fn begin(limit: Duration) -> Self {
        Self { until: Instant::now().checked_add(limit) }
    }

    pub(super) fn is_over(self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}

/// The parts in which intents are sent: what is urgent is in the pools before anything is asked about the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    Urgent,
    Others,
}

impl Round {
    pub(super) const ALL: [Self; 2] = [Self::Urgent, Self::Others];

    pub(super) fn of(priority: Priority) -> Self {
        if priority == Priority::Urgent { Self::Urgent } else { Self::Others }
    }
}

/// What the last pass did not reach, for each phase that it did not finish.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Nonces that were to be looked at.
    pub(super) used: Option<u64>,
    /// Outcomes that were to be looked at again.
    pub(super) watched: Option<TxId>,
    urgent: RoundPlaces,
    others: RoundPlaces,
}

/// The same, of a round.
#[derive(Debug, Default)]
pub(super) struct RoundPlaces {
    /// What is in flight.
    pub(super) pushed: Option<TxId>,
    /// What is to be sent.
    pub(super) ready: Option<TxId>,
}

impl Places {
    pub(super) fn of(&mut self, round: Round) -> &mut RoundPlaces {
        match round {
            Round::Urgent => &mut self.urgent,
            Round::Others => &mut self.others,
        }
    }
}

/// Puts what was not reached first. Without a place, or if it is gone, the order stays.
pub(super) fn resume<T, K: PartialEq>(all: &mut [T], place: Option<K>, key: impl Fn(&T) -> K) {
    if let Some(at) = place.and_then(|place| all.iter().position(|one| key(one) == place)) {
        all.rotate_left(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_goes_on_where_it_stopped() {
        for (place, expected) in
            [(None, [1, 2, 3, 4]), (Some(1), [1, 2, 3, 4]), (Some(3), [3, 4, 1, 2]), (Some(9), [1, 2, 3, 4])]
        {
            let mut all = [1, 2, 3, 4];
            resume(&mut all, place, |one| *one);
            assert_eq!(all, expected, "{place:?}");
        }
    }

    #[test]
    fn a_phase_is_over_once_its_time_is() {
        assert!(Phase::begin(Duration::ZERO).is_over());
        assert!(!Phase::begin(Duration::from_hours(1)).is_over());
        assert!(!Phase::begin(Duration::MAX).is_over());
    }
}
