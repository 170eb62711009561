//! The service adapter: what it truly does, which the node learns from its answers only.

use privatix_billing::Measure;
use privatix_market::Actual;

/// A service at the adapter.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) actual: Actual,
    /// The use at which it stops by itself.
    pub(crate) bound: u64,
    /// What was truly used.
    pub(crate) used: u64,
    /// What was reported last, and whether a session ran.
    pub(crate) reported: (u64, bool),
    /// By how much its meter is too low.
    pub(crate) drift: u64,
    /// By how much its meter is too high.
    pub(crate) ahead: u64,
    /// What the node's database has lost of it.
    pub(crate) lost: u64,
    /// The most that it had ever lost.
    pub(crate) most_lost: u64,
    /// Since when a session runs that is not counted yet, in milliseconds.
    pub(crate) session: Option<u64>,
}

impl Service {
    pub(crate) const fn new() -> Self {
        let actual = Actual::Absent;
        Self {
            actual,
            bound: 0,
            used: 0,
            reported: (0, false),
            drift: 0,
            ahead: 0,
            lost: 0,
            most_lost: 0,
            session: None,
        }
    }

    /// What it counts for the node.
    pub(crate) const fn counted(&self) -> u64 {
        (self.used + self.ahead).saturating_sub(self.drift + self.lost)
    }

    /// The use at which it stops by itself.
    const fn stops_at(&self) -> u64 {
        self.bound.saturating_add(self.lost).saturating_sub(self.ahead)
    }

    /// Whether it may serve more.
    pub(crate) const fn has_room(&self) -> bool {
        self.used < self.stops_at()
    }

    pub(crate) fn runs(&self) -> bool {
        self.actual == Actual::Running
    }

    /// Uses more, up to the bound.
    pub(crate) fn consume(&mut self, more: u64) {
        if self.runs() {
            self.used = self.used.max(self.stops_at().min(self.used + more));
        }
    }

    /// Counts a session up to now.
    pub(crate) fn count(&mut self, measure: Measure, now: u64) {
        let Some(since) = self.session else { return };
        if !self.runs() {
            self.session = None;
        } else if measure == Measure::Seconds {
            let seconds = (now - since) / 1_000;
            self.session = Some(since + seconds * 1_000);
            self.consume(seconds);
            if !self.has_room() {
                self.session = None;
            }
        }
    }

    pub(crate) fn set(&mut self, actual: Actual, measure: Measure, now: u64) {
        self.count(measure, now);
        self.actual = actual;
        if actual != Actual::Running {
            self.session = None;
        }
    }
}

/// The adapter as a whole.
#[derive(Debug)]
pub(crate) struct Adapter {
    pub(crate) services: Vec<Service>,
    /// Another number after each start.
    pub(crate) instance: u64,
    /// The number of the last call.
    pub(crate) calls: u64,
}
