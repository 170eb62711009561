//! What an agent knows about a channel beyond the chain and the vouchers.

use privatix_channel::{Amount, ChainTime, ChannelStatus, OnChain, ServiceStatus, Usage};
use serde::{Deserialize, Serialize};

use crate::flight::Brings;
use crate::skip::is_default;
use crate::{Blocked, Ended, Flight, Purpose, Service, Stopwatch, Uptime};

/// What an agent did about a channel, and the answers it received. No rollback of the chain changes it, and nothing in it copies
/// the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AgentOwn {
    /// The last number that was given to an effect.
    pub seq: u32,
    /// The service.
    pub service: Service,
    /// What a timed session used, in the measure of the terms, up to the moment in which it was known to run no more. The next
    /// report counts it.
    pub unreported: Usage,
    /// What was used beyond what the meter counts, at least: it was signed for, and a database that came back from a backup does not know
    /// the reports.
    #[serde(skip_serializing_if = "is_default")]
    pub raised: Usage,
    /// When the service was ready for the first time: known to the adapter.
    pub ready: Option<Uptime>,
    /// Whether the operator holds the service.
    pub held: bool,
    /// For how long nothing was used.
    pub idle: Stopwatch,
    /// For how long the service has been suspended because of the client.
    pub suspended: Stopwatch,
    /// For how long the deposit has been used and paid.
    pub spent: Stopwatch,
    /// For how long a service that is ready has been neither used nor paid for, since the channel was opened.
    pub unused: Stopwatch,
    /// For how long the terms of an open channel have not been known, counted while the chain is seen.
    pub no_terms: Stopwatch,
    /// For how long the adapter has not done what was wanted.
    pub stuck: Stopwatch,
    /// Whether the adapter answered last that it refuses this channel.
    pub refused: bool,
    /// When the adapter did not answer while the service was to be suspended because of this side's view of the chain. The service
    /// is stopped without an end then, and prepared afresh once the view is good again, which clears this.
    pub unanswered: Option<Uptime>,
    /// The life of the adapter in which it does not hold the service to its bound. A later life is given the bound first.
    pub unbounded: Option<u64>,
    /// Why the service ends, once that is decided. It is never taken back.
    pub ending: Option<Ended<AgentEnd>>,
    /// For how long the channel has been ended and open, counted while the chain is seen.
    pub ended: Stopwatch,
    /// For how long the channel has not been open on chain, counted while the chain is seen.
    pub unopened: Stopwatch,
    /// Its closes and settlements, until their outcomes are final.
    pub flights: Vec<Flight<AgentPurpose>>,
    /// Why the next close waits.
    pub blocked: Option<Blocked>,
    /// How often a close was replaced by a better one.
    pub replaced: Replaced,
    /// What the client's meter showed last, as it says. It is shown, and decides nothing. A payment alone does not store it: it is
    /// stored with the next decision that stores more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported: Option<Usage>,
    /// The number of the access that the client is given: another one once it differs.
    #[serde(skip_serializing_if = "is_default")]
    pub access: u32,
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

    /// Whether it closes the channel.
    pub const fn is_close(self) -> bool {
        matches!(self, Self::Close { .. })
    }
}

impl Brings for AgentPurpose {
    /// The same, with a voucher at least as good.
    fn brings(self, wanted: Self) -> bool {
        self.is_close() == wanted.is_close() && self.cumulative() >= wanted.cumulative()
    }

    /// A close is shown once the channel is closed. Of a settlement, a block that was processed shows all that counts: a second one
    /// would do no harm.
    fn is_shown(self, _: u64, _: Option<Amount>, chain: &OnChain) -> bool {
        !self.is_close() || chain.closed.is_some()
    }

    fn bounds(self) -> bool {
        self.is_close()
    }
}

impl AgentPurpose {
    /// The purpose as one of an agent's about a channel; `None` for any other.
    pub const fn of(purpose: Purpose) -> Option<Self> {
        match purpose {
            Purpose::Close { cumulative } => Some(Self::Close { cumulative }),
            Purpose::Settle { cumulative } => Some(Self::Settle { cumulative }),
            Purpose::Open { .. }
            | Purpose::TopUp { .. }
            | Purpose::RequestClose { .. }
            | Purpose::FinalizeClose
            | Purpose::Publish
            | Purpose::PopUp
            | Purpose::Remove
            | Purpose::Deposit { .. }
            | Purpose::Withdraw { .. }
            | Purpose::Transfer { .. }
            | Purpose::Appoint { .. }
            | Purpose::Approve { .. } => None,
        }
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
    /// The usage limit is reached, and everything is paid.
    MaxUnits,
    /// The adapter could not suspend the service, or not run it for too long.
    AdapterStuck,
    /// The opening was undone, and did not come again.
    Vanished,
    /// A version that stored no reason ended it. It closed what had something to gain; what has nothing is closed by order, or as
    /// [`AgentPolicy::free_adopted`](super::AgentPolicy::free_adopted) says.
    Adopted {
        /// Where the channel was when its state was built.
        status: ChannelStatus,
        /// Where its service was.
        service: ServiceStatus,
    },
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
    /// The terms of its offering did not become known here in time.
    NoTerms,
}

/// How often a close that was under way was replaced by one that brings more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Replaced {
    /// The end of the challenge in which these replacements were; none outside of one. Another challenge counts afresh.
    pub challenge: Option<ChainTime>,
    /// Their number.
    pub count: u8,
    /// The last one, or the last answer that is counted as `doubted`.
    pub last: Option<Uptime>,
    /// How many answers were made in this challenge beside successes that the events do not show.
    #[serde(default)]
    pub doubted: u8,
}
