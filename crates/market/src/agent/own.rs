//! What an agent knows about a channel beyond the chain and the vouchers.

use privatix_channel::{Amount, ChainTime};
use serde::{Deserialize, Serialize};

use crate::{Flight, Purpose, Served, Stopwatch};

/// What an agent did about a channel, and what it was told. No rollback of the chain changes it, and nothing in it is a copy of
/// the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AgentOwn {
    /// The last number that was given to an effect.
    pub seq: u32,
    /// The service.
    pub service: Service,
    /// When the service was ready for the first time: known to the adapter.
    pub ready: Option<Served>,
    /// Whether the operator holds the service.
    pub held: bool,
    /// For how long nothing was used.
    pub idle: Stopwatch,
    /// For how long the service has been suspended because of the client.
    pub suspended: Stopwatch,
    /// For how long the deposit has been used and paid.
    pub spent: Stopwatch,
    /// For how long the service has been ready, and neither used nor paid for.
    pub unused: Stopwatch,
    /// For how long the adapter has not done what was wanted.
    pub stuck: Stopwatch,
    /// Whether the adapter answered last that it refuses this channel.
    pub refused: bool,
    /// Why the service ends, once that is decided. It is never taken back.
    pub ending: Option<Ending>,
    /// For how long the channel has been ended and open, counted while the chain is seen.
    pub ended: Stopwatch,
    /// For how long the channel has not been open on chain, counted while the chain is seen.
    pub unopened: Stopwatch,
    /// Its closes and settlements, until their outcomes are final.
    pub flights: Vec<Flight<AgentPurpose>>,
    /// Why the next close waits.
    pub obstacle: Option<Obstacle>,
    /// How often a close was replaced by a better one.
    pub replaced: Replaced,
    /// By the operator's order, what is claimable is left to the client.
    pub abandoned: bool,
}

/// What an agent's transactions about a channel are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentPurpose {
    /// See [`Purpose::Close`].
    Close {
        /// The voucher that is cashed with it; zero for none.
        cumulative: Amount,
    },
    /// See [`Purpose::Settle`].
    Settle {
        /// The voucher.
        cumulative: Amount,
    },
}

impl AgentPurpose {
    /// The voucher's amount.
    pub const fn cumulative(self) -> Amount {
        match self {
            Self::Close { cumulative } | Self::Settle { cumulative } => cumulative,
        }
    }

    /// Whether this brings all that `wanted` would: the same, with a voucher at least as good.
    pub fn brings(self, wanted: Self) -> bool {
        self.is_close() == wanted.is_close() && self.cumulative() >= wanted.cumulative()
    }

    /// Whether it closes the channel.
    pub const fn is_close(self) -> bool {
        matches!(self, Self::Close { .. })
    }
}

impl From<AgentPurpose> for Purpose {
    fn from(purpose: AgentPurpose) -> Self {
        match purpose {
            AgentPurpose::Close { cumulative } => Self::Close { cumulative },
            AgentPurpose::Settle { cumulative } => Self::Settle { cumulative },
        }
    }
}

/// Why a service ends, and since when that is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ending {
    /// The first reason; an order to close replaces it.
    pub why: AgentEnd,
    /// When it was decided.
    pub since: Served,
}

/// Why an agent ends a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AgentEnd {
    /// The channel is not served.
    NotServed(Unserved),
    /// The operator ordered it.
    ByOrder,
    /// The operator ordered to close the channel.
    CloseByOrder,
    /// Nobody used the service or paid for it in the time for the first use.
    NeverUsed,
    /// Nobody used the service for too long.
    Inactive,
    /// The service was suspended for too long.
    SuspendedTooLong,
    /// The deposit is used and paid.
    DepositSpent,
    /// The offering's largest amount of units is used and paid.
    MaxUnits,
    /// The adapter could not suspend the service, or not run it for too long.
    AdapterStuck,
    /// The opening was undone, and did not come again.
    Vanished,
}

/// Why a channel is not served at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unserved {
    /// It names no signer: code of the client's account could void all its vouchers.
    NoSigner,
    /// Its network fee is above what the operator accepts.
    Fee,
}

/// What the service should do and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Service {
    /// What is wanted.
    pub target: Target,
    /// Why nothing more is wanted; `None` while it should run.
    pub why: Option<Why>,
    /// What the adapter said last.
    pub actual: Actual,
    /// Since when `actual` has its value.
    pub since: Served,
    /// The life of the adapter in which it said so.
    pub instance: u64,
    /// What the adapter was asked for and has not answered.
    pub asked: Option<Asked>,
}

impl Default for Service {
    fn default() -> Self {
        let (target, actual) = (Target::Absent, Actual::Absent);
        let why = Some(Why::NotOpen);
        Self { target, why, actual, since: Served::default(), instance: 0, asked: None }
    }
}

impl Service {
    /// What the service does. A new life of the adapter knows nothing of what an earlier one ran; what is gone stays gone.
    pub fn actual(&self, instance: u64) -> Actual {
        match self.actual {
            Actual::Absent | Actual::Lost => self.actual,
            _ if self.instance == instance => self.actual,
            _ => Actual::Unknown,
        }
    }

    /// Since when nothing more is served: the service is absent, or the adapter was given up.
    pub fn gone_since(&self) -> Option<Served> {
        matches!(self.actual, Actual::Absent | Actual::Lost).then_some(self.since)
    }
}

/// What a service should do. A stricter target is a lesser one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Unknown to the adapter.
    Absent,
    /// Known, and not served.
    Suspended,
    /// Served.
    Running,
}

/// Why a service is not to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Why {
    /// It has ended.
    Ended,
    /// The channel is not open on chain.
    NotOpen,
    /// The client asked to close the channel.
    Closing,
    /// The terms of its offering are not known here.
    NoTerms,
    /// The view of the chain is stale.
    StaleView,
    /// The contract holds something that the channel's events do not explain.
    Unexplained,
    /// The account could not pay for the channel's close.
    NoGas,
    /// It is being prepared: known to the adapter first.
    Opening,
    /// The operator holds it.
    Held,
    /// More is unpaid than agreed.
    Unpaid,
    /// The deposit is used up, and not paid in full.
    DepositReached,
    /// The deposit is used and paid: a top-up is waited for.
    DepositSpent,
    /// The offering's largest amount of units is used up.
    MaxUnitsReached,
}

impl Why {
    /// Whether the client is the reason: only then counts the suspension as too long.
    pub const fn is_clients(self) -> bool {
        matches!(self, Self::Unpaid | Self::DepositReached | Self::MaxUnitsReached)
    }
}

/// What a service does, as its adapter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actual {
    /// Not asked since the adapter's start.
    Unknown,
    /// Unknown to the adapter.
    Absent,
    /// Known, and not served.
    Suspended,
    /// Served.
    Running,
    /// The adapter did not stop it in time: it counts as ended, and may go on.
    Lost,
}

impl Actual {
    /// Whether this is what the target asks for.
    pub const fn is(self, target: Target) -> bool {
        matches!(
            (self, target),
            (Self::Absent | Self::Lost, Target::Absent)
                | (Self::Suspended, Target::Suspended)
                | (Self::Running, Target::Running)
        )
    }
}

/// A request to the service adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Asked {
    /// Its number.
    pub seq: u32,
    /// What it asks for.
    pub target: Target,
    /// When the adapter is given up.
    pub until: Served,
}

/// Why the next close waits. Both count for less while a close request is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// The last one failed.
    Failing {
        /// When.
        since: Served,
        /// How many failed in a row.
        tries: u8,
        /// Whether it fails until somebody does something.
        lasting: bool,
    },
    /// The operator cancelled the last one.
    Parked {
        /// When.
        since: Served,
    },
}

/// How often a close that was under way was replaced by one that brings more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Replaced {
    /// The end of the challenge in which these replacements were; none outside of one. Another challenge counts afresh.
    pub challenge: Option<ChainTime>,
    /// Their number.
    pub count: u8,
    /// The last one.
    pub last: Option<Served>,
}
