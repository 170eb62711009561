//! Lanes: kinds that share workers, and share them with no other lane.

use crate::JobsError;

/// A group of kinds with workers of its own, so that a flood of jobs in one lane delays no other.
///
/// Kinds name their lane by [`Job::LANE`](crate::Job::LANE); all kinds of a lane name the same constant. Lanes are not
/// stored: a kind moves to another lane by a change of its constant.
///
/// ```
/// use privatix_jobs::Lane;
///
/// /// What must not wait: claimed first, and first at the writer.
/// const URGENT: Lane = Lane::new("urgent", 8).priority(0);
/// /// Downloads that may hang.
/// const FETCHES: Lane = Lane::new("fetches", 16);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    name: &'static str,
    workers: u16,
    priority: u8,
}

impl Lane {
    /// The lane of kinds that name none: "default", 8 workers, priority 100.
    pub const DEFAULT: Self = Self::new("default", 8);

    /// A lane in which at most `workers` handlers run at a time (at least 1), of priority 100.
    pub const fn new(name: &'static str, workers: u16) -> Self {
        Self { name, workers: if workers == 0 { 1 } else { workers }, priority: 100 }
    }

    /// Lanes of lower numbers are served first. This takes no worker away from the others.
    #[must_use]
    pub const fn priority(self, priority: u8) -> Self {
        Self { priority, ..self }
    }

    /// The name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// The lanes of a processor, by priority, each with the kinds that have a handler here.
#[derive(Debug)]
pub(crate) struct Lanes(Vec<Served>);

#[derive(Debug)]
pub(crate) struct Served {
    lane: Lane,
    /// How many handlers may run at a time.
    pub(crate) workers: usize,
    pub(crate) kinds: Vec<&'static str>,
}

impl Served {
    pub(crate) const fn name(&self) -> &'static str {
        self.lane.name
    }
}

impl Lanes {
    /// Groups kinds by their lane. `workers` are settings that override the constants, by the lane's name.
    pub(crate) fn new(
        kinds: impl IntoIterator<Item = (&'static str, Lane)>,
        workers: &[(&'static str, usize)],
    ) -> Result<Self, JobsError> {
        let mut lanes: Vec<Served> = Vec::new();
        for (kind, lane) in kinds {
            match lanes.iter_mut().find(|served| served.lane.name == lane.name) {
                Some(served) if served.lane == lane => served.kinds.push(kind),
                Some(_) => return Err(JobsError::LaneTwice(lane.name)),
                None => {
                    let set = workers.iter().rev().find(|(name, _)| *name == lane.name);
                    let workers = set.map_or(lane.workers.into(), |(_, workers)| (*workers).max(1));
                    lanes.push(Served { lane, workers, kinds: vec![kind] });
                }
            }
        }
        let is_served =
            |name: &str| name == Lane::DEFAULT.name || lanes.iter().any(|lane| lane.lane.name == name);
        if let Some((name, _)) = workers.iter().find(|(name, _)| !is_served(name)) {
            return Err(JobsError::NoSuchLane(name));
        }
        lanes.sort_by_key(|served| (served.lane.priority, served.lane.name));
        for served in &mut lanes {
            served.kinds.sort_unstable();
        }
        Ok(Self(lanes))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Served> {
        self.0.iter()
    }

    /// The place of a kind's lane in the order of priority.
    pub(crate) fn of_kind(&self, kind: &str) -> Option<usize> {
        self.0.iter().position(|served| served.kinds.contains(&kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URGENT: Lane = Lane::new("urgent", 2).priority(0);

    #[test]
    fn kinds_are_grouped_by_lane_and_lanes_are_ordered_by_priority() {
        let kinds = [
            ("fetch", Lane::new("fetches", 16)),
            ("pay", URGENT),
            ("plain", Lane::DEFAULT),
            ("close", URGENT),
        ];
        let lanes = Lanes::new(kinds, &[("default", 4)]).unwrap();
        let found: Vec<_> =
            lanes.iter().map(|lane| (lane.lane.name, lane.workers, lane.kinds.join(" "))).collect();
        assert_eq!(
            found,
            [
                ("urgent", 2, "close pay".to_owned()),
                ("default", 4, "plain".to_owned()),
                ("fetches", 16, "fetch".to_owned())
            ]
        );
        assert_eq!(
            (lanes.of_kind("pay"), lanes.of_kind("fetch"), lanes.of_kind("unknown")),
            (Some(0), Some(2), None)
        );
    }

    #[test]
    fn a_lane_that_is_described_in_two_ways_is_refused() {
        let kinds = [("pay", URGENT), ("close", URGENT.priority(1))];
        assert!(matches!(Lanes::new(kinds, &[]), Err(JobsError::LaneTwice("urgent"))));
    }

    #[test]
    fn a_setting_for_a_lane_that_no_kind_names_is_refused() {
        let kinds = [("pay", URGENT)];
        assert!(matches!(Lanes::new(kinds, &[("urgnet", 4)]), Err(JobsError::NoSuchLane("urgnet"))));
    }
}
