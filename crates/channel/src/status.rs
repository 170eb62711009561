//! The channel's status: its life on chain together with what its owner has set going.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{ChainEvent, Phase};

/// A channel's status as each side keeps it (reference system, §3): what the chain says, and which own transaction is under
/// way. The `Wait` states have one under way.
///
/// ```
/// use privatix_channel::{ChannelEvent, ChannelStatus};
///
/// let status = ChannelStatus::Active.apply(ChannelEvent::CloseRequestSent)?;
/// assert_eq!(status, ChannelStatus::WaitChallenge);
/// assert!(ChannelStatus::ClosedCoop.apply(ChannelEvent::CloseSent).is_err());
/// # Ok::<(), privatix_channel::TransitionRefused>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelStatus {
    /// Not open on chain yet.
    Pending,
    /// Open.
    Active,
    /// The agent's close is under way.
    WaitCoop,
    /// Closed by the agent, or by both.
    ClosedCoop,
    /// The client's close request is under way.
    WaitChallenge,
    /// The client asked to close alone and the challenge runs (or is over, but the client has not finalized).
    InChallenge,
    /// The client's finalization is under way.
    WaitUncoop,
    /// Closed by the client alone.
    ClosedUncoop,
}

/// What moves a channel's status: the first group is the chain's, the second the own side's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelEvent {
    /// The channel was opened.
    Opened,
    /// The deposit was topped up, which cancels a close request.
    ToppedUp,
    /// A voucher was cashed and the channel stayed open.
    Settled,
    /// The client's close request was mined.
    CloseRequested,
    /// The client took its close request back.
    CloseCancelled,
    /// The channel was closed.
    Closed {
        /// By the agent or both, and not by the client alone.
        cooperative: bool,
    },

    /// The agent (or anybody with both signatures) sent a close.
    CloseSent,
    /// That close failed for good; the chain is now in this phase.
    CloseFailed {
        /// Whether a close request of the client stands.
        in_challenge: bool,
    },
    /// The client sent a close request.
    CloseRequestSent,
    /// That request failed for good.
    CloseRequestFailed,
    /// The client sent the finalization after the challenge.
    FinalizeSent,
    /// That finalization failed for good.
    FinalizeFailed,
}

impl From<ChainEvent> for ChannelEvent {
    fn from(event: ChainEvent) -> Self {
        match event {
            ChainEvent::Opened { .. } => Self::Opened,
            ChainEvent::ToppedUp { .. } => Self::ToppedUp,
            ChainEvent::Settled { .. } => Self::Settled,
            ChainEvent::CloseRequested { .. } => Self::CloseRequested,
            ChainEvent::CloseCancelled => Self::CloseCancelled,
            ChainEvent::Closed { closure, .. } => Self::Closed { cooperative: closure.is_cooperative() },
        }
    }
}

impl ChannelEvent {
    /// The event's name, for messages and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::ToppedUp => "topped_up",
            Self::Settled => "settled",
            Self::CloseRequested => "close_requested",
            Self::CloseCancelled => "close_cancelled",
            Self::Closed { .. } => "closed",
            Self::CloseSent => "close_sent",
            Self::CloseFailed { .. } => "close_failed",
            Self::CloseRequestSent => "close_request_sent",
            Self::CloseRequestFailed => "close_request_failed",
            Self::FinalizeSent => "finalize_sent",
            Self::FinalizeFailed => "finalize_failed",
        }
    }
}

impl ChannelStatus {
    /// Every status, in the order of a channel's life.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Active,
        Self::WaitCoop,
        Self::ClosedCoop,
        Self::WaitChallenge,
        Self::InChallenge,
        Self::WaitUncoop,
        Self::ClosedUncoop,
    ];

    /// The status's name in storage and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::WaitCoop => "wait_coop",
            Self::ClosedCoop => "closed_coop",
            Self::WaitChallenge => "wait_challenge",
            Self::InChallenge => "in_challenge",
            Self::WaitUncoop => "wait_uncoop",
            Self::ClosedUncoop => "closed_uncoop",
        }
    }

    /// Whether the channel is over.
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::ClosedCoop | Self::ClosedUncoop)
    }

    /// Whether the contract would still pay a voucher, as far as this side knows.
    pub const fn is_open(self) -> bool {
        !self.is_closed() && !matches!(self, Self::Pending)
    }

    /// Whether service may go on: open and nobody is closing.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Active)
    }

    /// The status after `event`.
    ///
    /// An event of the chain that says what is already known leaves the status as it is. What was set going on this side
    /// stands until the chain or its failure decides it: a close request that is mined while the agent's close is under way
    /// leaves [`WaitCoop`](Self::WaitCoop).
    #[expect(
        clippy::match_same_arms,
        reason = "the arms are grouped by what causes them, not by their outcome"
    )]
    pub fn apply(self, event: ChannelEvent) -> Result<Self, TransitionRefused> {
        use ChannelEvent as E;
        match (self, event) {
            (Self::Pending, E::Opened) => Ok(Self::Active),
            (Self::Pending, _) => Err(self.refuses(event)),

            // The channel is over: only events that change nothing.
            (Self::ClosedCoop, E::Closed { cooperative: false })
            | (Self::ClosedUncoop, E::Closed { cooperative: true }) => Err(self.refuses(event)),
            (
                Self::ClosedCoop | Self::ClosedUncoop,
                E::Opened
                | E::ToppedUp
                | E::Settled
                | E::CloseRequested
                | E::CloseCancelled
                | E::Closed { .. },
            ) => Ok(self),
            // A transaction that lost the race against the closing.
            (
                Self::ClosedCoop | Self::ClosedUncoop,
                E::CloseFailed { .. } | E::CloseRequestFailed | E::FinalizeFailed,
            ) => Ok(self),

            (_, E::Closed { cooperative: true }) => Ok(Self::ClosedCoop),
            (_, E::Closed { cooperative: false }) => Ok(Self::ClosedUncoop),
            (_, E::Opened | E::Settled) => Ok(self),

            (Self::InChallenge | Self::WaitUncoop, E::ToppedUp | E::CloseCancelled) => Ok(Self::Active),
            (_, E::ToppedUp | E::CloseCancelled) => Ok(self),
            (Self::Active | Self::WaitChallenge, E::CloseRequested) => Ok(Self::InChallenge),
            (_, E::CloseRequested) => Ok(self),

            (Self::Active | Self::WaitChallenge | Self::InChallenge | Self::WaitUncoop, E::CloseSent) => {
                Ok(Self::WaitCoop)
            }
            (Self::WaitCoop, E::CloseFailed { in_challenge: true }) => Ok(Self::InChallenge),
            (Self::WaitCoop, E::CloseFailed { in_challenge: false }) => Ok(Self::Active),
            (Self::Active, E::CloseRequestSent) => Ok(Self::WaitChallenge),
            (Self::WaitChallenge, E::CloseRequestFailed) => Ok(Self::Active),
            (Self::InChallenge, E::FinalizeSent) => Ok(Self::WaitUncoop),
            (Self::WaitUncoop, E::FinalizeFailed) => Ok(Self::InChallenge),

            _ => Err(self.refuses(event)),
        }
    }

    /// The status that the chain alone gives, when nothing of the own side is under way: what a recovery starts from.
    pub const fn of_phase(phase: Phase) -> Self {
        match phase {
            Phase::Unopened => Self::Pending,
            Phase::Open => Self::Active,
            Phase::Closing { .. } => Self::InChallenge,
            Phase::Closed { closure } if closure.is_cooperative() => Self::ClosedCoop,
            Phase::Closed { .. } => Self::ClosedUncoop,
        }
    }

    const fn refuses(self, event: ChannelEvent) -> TransitionRefused {
        TransitionRefused { machine: "channel", from: self.as_str(), event: event.as_str() }
    }
}

impl fmt::Display for ChannelStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ChannelStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| UnknownStatus(text.into()))
    }
}

/// An event that a status does not allow. The status stays as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {machine} that is {from} does not take the event {event}")]
pub struct TransitionRefused {
    /// `channel` or `service`.
    pub machine: &'static str,
    /// The status.
    pub from: &'static str,
    /// The refused event.
    pub event: &'static str,
}

/// A text that is not the name of a status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a status")]
pub struct UnknownStatus(pub String);
