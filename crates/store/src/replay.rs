//! A channel's status as what became of our own last step under the events since.

use privatix_channel::{ChannelEvent, ChannelStatus, LogPosition, OnChain};
use serde::{Deserialize, Serialize};

/// Our own last step: a transaction sent, or failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastStep {
    /// The status that it led to.
    pub(crate) status: ChannelStatus,
    /// The channel's last event then; none before its opening.
    pub(crate) after: Option<LogPosition>,
}

/// A channel after some of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) state: OnChain,
    pub(crate) status: ChannelStatus,
}

impl Default for Known {
    /// Before all events.
    fn default() -> Self {
        Self { state: OnChain::default(), status: ChannelStatus::Pending }
    }
}

impl Known {
    /// Takes in the next event. What the chain shows wins over what seemed possible.
    pub(crate) fn apply(&mut self, at: LogPosition, event: ChannelEvent) {
        self.state.apply(at, event);
        self.status =
            self.status.apply(event).unwrap_or_else(|_| ChannelStatus::of(self.state.phase(), None));
    }
}

/// Events in chain order, and our own step among them.
///
/// The same as applying each when it happened ([`ChannelStatus::apply`]), except that events which are no longer there
/// have never been.
#[derive(Debug)]
pub(crate) struct Replay {
    known: Known,
    /// Our step, until the events before it are in.
    step: Option<LastStep>,
}

impl Replay {
    /// Goes on from what was known after the event at `at`. A step from before that event is in it already.
    pub(crate) fn from(known: Known, at: Option<LogPosition>, step: Option<LastStep>) -> Self {
        Self { known, step: step.filter(|step| step.after >= at) }
    }

    /// Takes in the next event.
    pub(crate) fn take(&mut self, at: LogPosition, event: ChannelEvent) {
        if self.step.is_some_and(|step| step.after < Some(at)) {
            self.take_step();
        }
        self.known.apply(at, event);
    }

    /// What is known after the events so far, without a step that came after them all.
    pub(crate) const fn known(&self) -> &Known {
        &self.known
    }

    /// What is known after all events.
    pub(crate) fn end(mut self) -> Known {
        self.take_step();
        self.known
    }

    fn take_step(&mut self) {
        if let Some(step) = self.step.take() {
            // What we set going still is, if the phase allows it.
            self.known.status = ChannelStatus::of(self.known.state.phase(), step.status.under_way());
        }
    }
}
