//! A channel's status as what became of our own last step under the events since.

use privatix_channel::{ChainEvent, ChannelStatus, LogPosition, OnChain, Phase};

/// Our own last step: a transaction sent, or failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnStep {
    /// The status that it led to.
    pub(crate) status: ChannelStatus,
    /// The channel's last event then; none before its opening.
    pub(crate) after: Option<LogPosition>,
}

/// The status after these events, which are in chain order, and our own step among them.
///
/// The same as applying each when it happened ([`ChannelStatus::apply`]), except that events which are no longer there
/// have never been.
pub(crate) fn status(events: &[(LogPosition, ChainEvent)], step: Option<OwnStep>) -> ChannelStatus {
    let after = step.and_then(|step| step.after);
    let (before, later) = events.split_at(events.partition_point(|(at, _)| Some(*at) <= after));
    let mut chain = OnChain::fold(before.iter().copied());
    let mut status = match step {
        Some(step) => at_phase(step.status, chain.phase()),
        None => ChannelStatus::of_phase(chain.phase()),
    };
    for &(at, event) in later {
        chain.apply(at, event);
        status = status.apply(event.into()).unwrap_or_else(|_| ChannelStatus::of_phase(chain.phase()));
    }
    status
}

/// A step's status where the chain is in this phase: what we set going still is, if the phase allows it.
fn at_phase(step: ChannelStatus, phase: Phase) -> ChannelStatus {
    match (step, phase) {
        (ChannelStatus::WaitCoop, Phase::Open | Phase::Closing { .. })
        | (ChannelStatus::WaitChallenge, Phase::Open)
        | (ChannelStatus::WaitUncoop, Phase::Closing { .. }) => step,
        (_, phase) => ChannelStatus::of_phase(phase),
    }
}
