use std::time::{Duration, Instant, SystemTime};

use super::view::Sight;
use super::{Head, View};

/// What a monitor is doing, for operators and for those who wait for a block.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MonitorStatus {
    /// What it is doing.
    pub state: MonitorState,
    /// The endpoint's newest block, when last heard of.
    pub head: Option<u64>,
    /// The newest block by its time, with when it was first seen and the chain's pace, by which to see whether the endpoint
    /// still follows its chain.
    pub newest: Option<Head>,
    /// When an endpoint last answered what its newest block is.
    pub heard: Option<Instant>,
    /// The newest block that has the configured confirmations.
    pub confirmed: Option<u64>,
    /// The newest block whose effects are committed.
    pub processed: Option<u64>,
    /// The own time of that block, once it is known: stored, so also at a start without an endpoint.
    pub processed_time: Option<SystemTime>,
    /// Since when there are confirmed blocks that are not processed.
    pub behind_since: Option<Instant>,
    /// Blocks that a request for logs may span now.
    pub range: u64,
    /// Whether endpoints contradict each other and nothing can be believed: what happens on the chain is not seen.
    pub disagreement: bool,
    /// Blocks of the past that are still to be searched for [recent logs](super::MonitorBuilder::recent); none before the
    /// search has begun.
    pub unsearched: Option<u64>,
    /// Reorgs undone since the start.
    pub reorgs: u64,
    /// Blocks processed since the start by the word of one endpoint alone, although several are configured: the others rested, or
    /// did not answer. They count from when a second one has checked blocks again.
    pub unchecked: u64,
    /// Since when the step under way has waited for one answer of an endpoint or one commit; none while there is no step. A
    /// change of this field alone does not notify watchers.
    pub step_since: Option<Instant>,
}

/// What a monitor is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MonitorState {
    /// It has not heard from the endpoint yet, or is not running.
    Idle,
    /// It works through blocks of the past.
    CatchingUp,
    /// It waits for the next block.
    Following,
    /// Something failed; it tries again.
    Stalled {
        /// What failed, and the remedy.
        reason: String,
        /// Tries that failed in a row.
        failures: u32,
        /// When the first of them failed.
        since: SystemTime,
    },
}

impl MonitorStatus {
    pub(super) fn new(range: u64) -> Self {
        Self {
            state: MonitorState::Idle,
            head: None,
            newest: None,
            heard: None,
            confirmed: None,
            processed: None,
            processed_time: None,
            behind_since: None,
            range,
            disagreement: false,
            unsearched: None,
            reorgs: 0,
            unchecked: 0,
            step_since: None,
        }
    }

    /// Whether every confirmed block is processed, as far as the endpoint shows.
    pub fn is_caught_up(&self) -> bool {
        self.state == MonitorState::Following && self.processed >= self.confirmed
    }

    /// What was seen of the chain, judged by the wall clock `now` and the monotonic clock `instant`.
    /// `max_age` is the age from which on it is stale, if the chain's own pace does not ask for more; 0 judges nothing but
    /// contradictions.
    pub fn view(&self, now: SystemTime, instant: Instant, max_age: Duration) -> View {
        let sight = Sight {
            head: self.newest,
            heard: self.heard,
            stored: self.processed_time,
            backlog: self.backlog(),
            behind_since: self.behind_since,
            disagreement: self.disagreement,
        };
        sight.view(self.processed, now, instant, max_age)
    }

    fn backlog(&self) -> u64 {
        self.confirmed.unwrap_or(0).saturating_sub(self.processed.unwrap_or(0))
    }

    /// Notes `now` what is confirmed and processed.
    pub(super) fn reach(&mut self, confirmed: Option<u64>, processed: u64, now: Instant) {
        self.confirmed = confirmed.or(self.confirmed);
        self.processed = Some(processed);
        self.behind_since = (self.backlog() > 0).then(|| self.behind_since.unwrap_or(now));
    }
}
