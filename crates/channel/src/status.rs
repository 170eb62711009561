//! The channel's status: its life on chain together with what its owner has set going.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Phase;

/// A channel's status as each side keeps it (reference system, §3): what the chain says, and which own transaction is under
/// way. The `Wait` states have one under way.
///
/// ```
/// use privatix_channel::{ChannelStatus, Phase, UnderWay};
///
/// assert_eq!(ChannelStatus::of(Phase::Open, None), ChannelStatus::Active);
/// assert_eq!(ChannelStatus::of(Phase::Open, Some(UnderWay::CloseRequest)), ChannelStatus::WaitChallenge);
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

/// An own transaction that is sent and not seen in its block yet, as far as a status shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnderWay {
    /// A close by the agent.
    Close,
    /// A close request by the client.
    CloseRequest,
    /// The finalization of a close that the client asked for.
    Finalization,
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

    /// The status of a channel in this phase, with an own transaction under way. One that cannot come to anything in the phase is
    /// not shown.
    pub const fn of(phase: Phase, under_way: Option<UnderWay>) -> Self {
        match (phase, under_way) {
            (Phase::Unopened, _) => Self::Pending,
            (Phase::Open | Phase::Closing { .. }, Some(UnderWay::Close)) => Self::WaitCoop,
            (Phase::Open, Some(UnderWay::CloseRequest)) => Self::WaitChallenge,
            (Phase::Closing { .. }, Some(UnderWay::Finalization)) => Self::WaitUncoop,
            (Phase::Open, _) => Self::Active,
            (Phase::Closing { .. }, _) => Self::InChallenge,
            (Phase::Closed { closure }, _) if closure.is_cooperative() => Self::ClosedCoop,
            (Phase::Closed { .. }, _) => Self::ClosedUncoop,
        }
    }

    /// The own transaction that this status shows as under way.
    pub const fn under_way(self) -> Option<UnderWay> {
        match self {
            Self::WaitCoop => Some(UnderWay::Close),
            Self::WaitChallenge => Some(UnderWay::CloseRequest),
            Self::WaitUncoop => Some(UnderWay::Finalization),
            _ => None,
        }
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

/// A text that is not the name of a status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a status")]
pub struct UnknownStatus(pub String);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChainTime, Closure};

    #[test]
    fn a_status_shows_what_is_under_way_where_it_can_still_come_to_something() {
        use ChannelStatus as S;
        let closing = Phase::Closing { ends_at: ChainTime::new(9) };
        let closed = |closure| Phase::Closed { closure };
        // The phase; without a transaction, and with a close, a close request and a finalization under way.
        for (phase, expected) in [
            (Phase::Unopened, [S::Pending; 4]),
            (Phase::Open, [S::Active, S::WaitCoop, S::WaitChallenge, S::Active]),
            (closing, [S::InChallenge, S::WaitCoop, S::InChallenge, S::WaitUncoop]),
            (closed(Closure::ByAgent), [S::ClosedCoop; 4]),
            (closed(Closure::ByClient), [S::ClosedUncoop; 4]),
        ] {
            let under_way = [UnderWay::Close, UnderWay::CloseRequest, UnderWay::Finalization].map(Some);
            let found = [None, under_way[0], under_way[1], under_way[2]].map(|own| S::of(phase, own));
            assert_eq!(found, expected, "{phase:?}");
            for status in found {
                assert_eq!(S::of(phase, status.under_way()), status, "what it shows is all there is to it");
            }
        }
    }
}
