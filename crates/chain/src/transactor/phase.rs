//! The total time of a pass: no endpoint, however slow, makes one thing wait for all the others for ever.

use std::time::{Duration, Instant};

use super::{Priority, TxId};

/// One part of a pass over an account. When its time is over, it begins nothing new, and what it did not reach comes first in the next
/// pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Phase {
    until: Option<Instant>,
    has_begun: bool,
}

impl Phase {
    pub(super) fn begin(limit: Duration) -> Self {
        Self { until: Instant::now().checked_add(limit), has_begun: false }
    }

    /// Other work of the same time.
    pub(super) const fn also(self) -> Self {
        Self { has_begun: false, ..self }
    }

    /// Whether one more thing is begun: the first one in any case, so that each pass advances, and others until the time is over.
    pub(super) fn begins(&mut self) -> bool {
        let is_over = self.until.is_some_and(|until| Instant::now() >= until);
        !std::mem::replace(&mut self.has_begun, true) || !is_over
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
    fn a_phase_begins_one_thing_in_any_case_and_others_in_its_time() {
        for (limit, expected) in [
            (Duration::ZERO, [true, false, false]),
            (Duration::from_hours(1), [true; 3]),
            (Duration::MAX, [true; 3]),
        ] {
            let mut phase = Phase::begin(limit);
            assert_eq!(
                [phase.begins(), phase.begins(), phase.also().begins()],
                [expected[0], expected[1], true]
            );
            assert_eq!(phase.begins(), expected[2], "{limit:?}");
        }
    }
}
