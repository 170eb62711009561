//! Time in which this node ran: [`Uptime`] and [`Stopwatch`].
//!
//! Three clocks are distinguished by their types. [`Uptime`] is for patience: inactivity, retries, grace, giving up.
//! [`ChainTime`](privatix_channel::ChainTime) is for what the contract compares with, such as challenges.
//! [`SystemTime`](std::time::SystemTime) is for what people read, and decides nothing but whether it contradicts the chain's time
//! ([`ClockSkew`](crate::ClockSkew)).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment in the time in which this node ran: milliseconds since its first start, by the monotonic clock, downtime left out.
///
/// The shell keeps the count and stores it now and then. A crash loses what came since the last save, so the count can go back
/// by up to that: patience then lasts longer by as much, and nothing ends too early.
///
/// ```
/// use std::time::Duration;
/// use privatix_market::Uptime;
///
/// let start = Uptime::new(5_000);
/// let later = start.plus(Duration::from_secs(2));
/// assert_eq!(later, Uptime::new(7_000));
/// assert_eq!(later.since(start), Duration::from_secs(2));
/// assert_eq!(start.since(later), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uptime(u64);

impl Uptime {
    /// The latest moment there is, for what never comes.
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `milliseconds` after the first start.
    pub const fn new(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// Milliseconds since the first start.
    pub const fn milliseconds(self) -> u64 {
        self.0
    }

    /// The moment `duration` later, in whole milliseconds; [`Uptime::MAX`] when that does not fit.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole(duration)))
    }

    /// The next multiple of `every` after this moment, at least a millisecond later.
    #[must_use]
    pub(crate) fn next_multiple(self, every: Duration) -> Self {
        let every = whole(every).max(1);
        let rest = self.0.checked_rem(every).unwrap_or(0);
        Self(self.0.saturating_add(every.saturating_sub(rest)))
    }

    /// How long after `earlier` this is; nothing when it is before.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// `"1500 ms"`.
impl fmt::Display for Uptime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// Whole milliseconds of a duration, at most what 64 bits hold.
fn whole(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Counts for how long something holds, over several stretches: inactivity, a suspension.
///
/// It runs only while its cause holds, so that what is not the peer's fault (a stale view, a hold by the operator) does not
/// count against it.
///
/// ```
/// use std::time::Duration;
/// use privatix_market::{Uptime, Stopwatch};
///
/// let mut idle = Stopwatch::default();
/// idle.run(true, Uptime::new(1_000));
/// idle.run(false, Uptime::new(4_000)); // the view of the chain is stale
/// idle.run(true, Uptime::new(60_000));
/// assert_eq!(idle.elapsed(Uptime::new(62_000)), Duration::from_secs(5));
/// assert_eq!(idle.reaches(Duration::from_secs(10)), Some(Uptime::new(67_000)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Stopwatch {
    /// Milliseconds of the stretches that are over.
    run: u64,
    /// The start of the stretch that runs.
    since: Option<Uptime>,
}

impl Stopwatch {
    /// Runs or stands still from `now` on. Repeating it changes nothing.
    pub fn run(&mut self, runs: bool, now: Uptime) {
        match (runs, self.since) {
            (true, None) => self.since = Some(now),
            (false, Some(_)) => *self = Self { run: whole(self.elapsed(now)), since: None },
            _ => {}
        }
    }

    /// Runs, or stands still, while its cause `holds`; without its cause it begins again at nothing.
    pub fn hold(&mut self, holds: bool, runs: bool, now: Uptime) {
        if !holds {
            *self = Self::default();
        }
        self.run(holds && runs, now);
    }

    /// Begins again at nothing; it goes on running if it ran.
    pub fn reset(&mut self, now: Uptime) {
        *self = Self { run: 0, since: self.since.map(|_| now) };
    }

    /// Whether it runs.
    pub const fn is_running(&self) -> bool {
        self.since.is_some()
    }

    /// What it has counted up to `now`.
    pub fn elapsed(&self, now: Uptime) -> Duration {
        let running = self.since.map_or(Duration::ZERO, |since| now.since(since));
        Duration::from_millis(self.run.saturating_add(whole(running)))
    }

    /// When it will have counted `limit` if it goes on running: in the past, if it has already. `None` while it stands still.
    pub fn reaches(&self, limit: Duration) -> Option<Uptime> {
        Some(self.since?.plus(limit.saturating_sub(Duration::from_millis(self.run))))
    }
}
