use std::time::SystemTime;

use super::Head;

/// What a monitor is doing, for operators and for those who wait for a block.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MonitorStatus {
    /// What it is doing.
    pub state: MonitorState,
    /// The endpoint's newest block, when last heard of.
    pub head: Option<u64>,
    /// The newest block by its time, with when it was first seen and the chain's pace: what tells whether the endpoint still
    /// follows its chain.
    pub newest: Option<Head>,
    /// The newest block that has the configured confirmations.
    pub confirmed: Option<u64>,
    /// The newest block whose effects are committed.
    pub processed: Option<u64>,
    /// Blocks that a request for logs may span now.
    pub range: u64,
    /// Whether endpoints contradict each other and nothing can be believed: what happens on the chain is not seen.
    pub disagreement: bool,
    /// Reorgs undone since the start.
    pub reorgs: u64,
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
            confirmed: None,
            processed: None,
            range,
            disagreement: false,
            reorgs: 0,
        }
    }

    /// Whether every confirmed block is processed, as far as the endpoint tells.
    pub fn is_caught_up(&self) -> bool {
        self.state == MonitorState::Following && self.processed >= self.confirmed
    }
}
