//! What the lanes of a processor have done since its start, kept in memory: looking at it reads no row.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::lane::Lanes;

const fn millis(of: [u64; Histogram::BUCKETS]) -> [Duration; Histogram::BUCKETS] {
    let mut bounds = [Duration::ZERO; Histogram::BUCKETS];
    let mut n = 0;
    while n < bounds.len() {
        bounds[n] = Duration::from_millis(of[n]);
        n += 1;
    }
    bounds
}

/// How many durations there were, by size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Histogram {
    /// How many were at most as long as each of the [`BOUNDS`](Self::BOUNDS), and longer than the one before it.
    pub counts: [u64; Self::BUCKETS],
    /// How many were longer than all of them.
    pub longer: u64,
    /// All of them together.
    pub sum: Duration,
}

impl Histogram {
    const BUCKETS: usize = 12;
    /// The longest duration of each bucket: 10 ms to 5 min.
    pub const BOUNDS: [Duration; Self::BUCKETS] =
        millis([10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 60_000, 120_000, 200_000, 300_000]);

    /// How many there were in all.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum::<u64>().saturating_add(self.longer)
    }
}

#[derive(Debug, Default)]
struct Durations {
    counts: [AtomicU64; Histogram::BUCKETS],
    longer: AtomicU64,
    micros: AtomicU64,
}

impl Durations {
    fn add(&self, duration: Duration) {
        let bucket = Histogram::BOUNDS.iter().position(|bound| duration <= *bound);
        let count = bucket.and_then(|bucket| self.counts.get(bucket)).unwrap_or(&self.longer);
        count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros(duration), Ordering::Relaxed);
    }

    fn histogram(&self) -> Histogram {
        Histogram {
            counts: std::array::from_fn(|bucket| self.counts[bucket].load(Ordering::Relaxed)),
            longer: self.longer.load(Ordering::Relaxed),
            sum: Duration::from_micros(self.micros.load(Ordering::Relaxed)),
        }
    }
}

/// What a lane has done since its processor started.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneStats {
    /// The lane's name.
    pub lane: &'static str,
    /// Its kinds.
    pub kinds: Vec<&'static str>,
    /// How many handlers may run at a time.
    pub workers: usize,
    /// How many run.
    pub running: u64,
    /// Runs that were started.
    pub started: u64,
    /// Runs whose job is done.
    pub done: u64,
    /// Runs that failed and are tried again.
    pub retried: u64,
    /// Runs after which their job had failed for good.
    pub failed: u64,
    /// From the time at which a job could have started until it did.
    pub wait: Histogram,
    /// From the start of a run until its end.
    pub run: Histogram,
}

/// How a run has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RunEnd {
    Done,
    Retried,
    Failed,
    PutBack,
}

#[derive(Debug, Default)]
struct Lane {
    started: AtomicU64,
    ended: AtomicU64,
    done: AtomicU64,
    retried: AtomicU64,
    failed: AtomicU64,
    wait: Durations,
    run: Durations,
}

/// What a processor does. Cheap to clone, and to look at.
#[derive(Clone, Debug)]
pub struct Stats(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    names: Vec<(&'static str, Vec<&'static str>, usize)>,
    lanes: Vec<Lane>,
    made_at: Instant,
    /// When the dispatcher's present step has begun, in microseconds since `made_at`, plus one; 0 between two steps.
    step: AtomicU64,
}

impl Stats {
    pub(crate) fn new(lanes: &Lanes) -> Self {
        let names: Vec<_> =
            lanes.iter().map(|lane| (lane.name(), lane.kinds.clone(), lane.workers)).collect();
        let lanes = names.iter().map(|_| Lane::default()).collect();
        Self(Arc::new(Inner { names, lanes, made_at: Instant::now(), step: AtomicU64::new(0) }))
    }

    /// The lanes, those of the highest priority first.
    pub fn lanes(&self) -> Vec<LaneStats> {
        let lanes = self.0.names.iter().zip(&self.0.lanes);
        let stats = lanes.map(|((name, kinds, workers), lane)| {
            // In this order, so that none ends before it has started.
            let ended = lane.ended.load(Ordering::SeqCst);
            let started = lane.started.load(Ordering::SeqCst);
            LaneStats {
                lane: name,
                kinds: kinds.clone(),
                workers: *workers,
                running: started.saturating_sub(ended),
                started,
                done: lane.done.load(Ordering::Relaxed),
                retried: lane.retried.load(Ordering::Relaxed),
                failed: lane.failed.load(Ordering::Relaxed),
                wait: lane.wait.histogram(),
                run: lane.run.histogram(),
            }
        });
        stats.collect()
    }

    /// For how long the dispatcher has been at one step of its work, claiming and committing; `None` while it sleeps. More
    /// than a minute means that it hangs, and that no job starts or ends.
    pub fn in_step_for(&self) -> Option<Duration> {
        let began = self.0.step.load(Ordering::SeqCst).checked_sub(1)?;
        Some(self.0.made_at.elapsed().saturating_sub(Duration::from_micros(began)))
    }

    pub(crate) fn step_begins(&self) {
        self.0.step.store(micros(self.0.made_at.elapsed()).saturating_add(1), Ordering::SeqCst);
    }

    pub(crate) fn step_ends(&self) {
        self.0.step.store(0, Ordering::SeqCst);
    }

    pub(crate) fn started(&self, lane: usize, waited: Duration) {
        if let Some(lane) = self.0.lanes.get(lane) {
            lane.started.fetch_add(1, Ordering::SeqCst);
            lane.wait.add(waited);
        }
    }

    /// A run is over, in whatever way.
    pub(crate) fn ended(&self, lane: usize, ran: Duration) {
        if let Some(lane) = self.0.lanes.get(lane) {
            lane.ended.fetch_add(1, Ordering::SeqCst);
            lane.run.add(ran);
        }
    }

    pub(crate) fn outcome(&self, lane: usize, ended: RunEnd) {
        let Some(lane) = self.0.lanes.get(lane) else { return };
        let count = match ended {
            RunEnd::Done => &lane.done,
            RunEnd::Retried => &lane.retried,
            RunEnd::Failed => &lane.failed,
            RunEnd::PutBack => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_in_the_first_bucket_that_holds_them() {
        let durations = Durations::default();
        for millis in [0, 10, 11, 300_000, 300_001] {
            durations.add(Duration::from_millis(millis));
        }
        let found = durations.histogram();
        assert_eq!((found.counts[0], found.counts[1], found.counts[11], found.longer), (2, 1, 1, 1));
        assert_eq!((found.total(), found.sum), (5, Duration::from_millis(600_022)));
        assert!(Histogram::BOUNDS.is_sorted());
    }

    #[test]
    fn a_step_is_timed_until_it_ends() {
        let stats = Stats::new(&Lanes::new([("a", crate::Lane::DEFAULT)], &[]).unwrap());
        assert_eq!(stats.in_step_for(), None);
        stats.step_begins();
        assert!(stats.in_step_for().is_some());
        stats.step_ends();
        assert_eq!(stats.in_step_for(), None);
    }
}
