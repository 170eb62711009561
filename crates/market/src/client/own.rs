//! What a client knows about a channel beyond the chain and the vouchers.

use privatix_channel::{Amount, ChannelStatus, Closure, OnChain, ServiceStatus, Usage};
use serde::{Deserialize, Serialize};

use super::{Floor, Reach, Request, Restored, Shown};
use crate::flight::Brings;
use crate::skip::is_default;
use crate::{
    Again, Blocked, Ended, Flight, NotNow, OrderId, Purpose, RecoveryId, Service, Stopwatch, Trouble, Uptime,
};

/// What a client did about a channel, and the answers it received. No rollback of the chain changes it, and nothing in it copies
/// the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "facts, each of its own")]
pub struct ClientOwn {
    /// The last number that was given to an effect.
    pub seq: u32,
    /// The last order of a top-up that was taken. The numbers of a channel's orders rise, so that a repeated one has no effect.
    pub last_order: Option<OrderId>,
    /// The buyer's side of the service.
    pub service: Service,
    /// For how long the adapter has not done what was wanted.
    pub stuck: Stopwatch,
    /// Whether the adapter answered last that it refuses this channel.
    pub refused: bool,
    /// What a timed session used, in the measure of the terms, up to the moment in which it was known to run no more. The next
    /// report counts it.
    pub unreported: Usage,
    /// What was used beyond what the meter counts, at least: it was signed for, and a database that came back from a backup does not know
    /// the reports.
    #[serde(skip_serializing_if = "is_default")]
    pub raised: Usage,
    /// Why the service ends, once that is decided. It is never taken back.
    pub ending: Option<Ended<ClientEnd>>,
    /// When the service ran for the first time.
    pub ran: Option<Uptime>,
    /// Whether the user paused it.
    pub paused: bool,
    /// Whether the user gave up what a voucher promised that cannot be read.
    pub abandoned: bool,
    /// How well the agent answers.
    pub peer: Reach,
    /// Why the agent took no voucher, or gave no access, if its last answer was that and gave a reason.
    pub not_now: Option<NotNow>,
    /// For how long the agent has not answered, or has acknowledged nothing more of what it was sent, counted while this node's own
    /// network works.
    pub unreachable: Stopwatch,
    /// Since when `unreachable` has exceeded [`unreachable_notice`](super::ClientPolicy::unreachable_notice), so that the user is shown
    /// it.
    pub away: Option<Uptime>,
    /// What the agent is asked for.
    pub requests: Vec<Request>,
    /// Whether the time of a request was over and nobody had asked the agent, since its last answer or silence: that is this side's fault.
    pub unasked: bool,
    /// Whether the agent answered after nothing had been used for too long.
    pub pinged: bool,
    /// The last recovery in which the agent answered what it knows of the best voucher.
    pub proven_in: Option<RecoveryId>,
    /// The last run of the process in which the agent has shown what it knows, or was found to speak version 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proven_in_run: Option<u64>,
    /// Whether the agent knows less than what it has acknowledged: it came back from a backup, and is sent the best voucher again.
    #[serde(skip_serializing_if = "is_default")]
    pub behind: bool,
    /// What the state held when its database came back from a backup.
    pub restored: Option<Restored>,
    /// Why the opening did not succeed, as far as a restored database knows. Another try of it may have succeeded: the chain decides.
    pub not_opened: Option<Trouble>,
    /// What the agent claims beyond what a restored database shows as signed.
    pub floor: Option<Floor>,
    /// What the agent showed of the channel last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theirs: Option<Shown>,
    /// Whether the connection has ended on which it did. It is asked again then, so that a change is seen soon.
    #[serde(skip_serializing_if = "is_default")]
    pub disconnected: bool,
    /// When that is, at the earliest: connections that end soon after they were made are made again ever less often.
    #[serde(skip_serializing_if = "is_default")]
    pub reattach: Again,
    /// For how long the agent has suspended the service with a total that is above what is paid for.
    pub apart: Stopwatch,
    /// Since when that has lasted longer than a payment takes, so that the user is shown both totals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disagrees: Option<Uptime>,
    /// What is being signed: reported in the transaction that stores the state.
    #[serde(skip)]
    pub signing: Option<Amount>,
    /// The next try of a key that fails.
    pub signer: Again,
    /// For how long nothing was used.
    pub idle: Stopwatch,
    /// How often since the last use that began again because the agent did not answer, or took nothing.
    pub excused: u8,
    /// For how long the deposit has been used and paid.
    pub spent: Stopwatch,
    /// For how long the agent has given no access, counted while the chain is seen and the agent answers.
    pub no_access: Stopwatch,
    /// For how long the channel has been ended and open, counted while the chain is seen and the agent answers.
    pub ended: Stopwatch,
    /// For how long the channel has not been open on chain with nothing on its way for that, counted while the chain is seen.
    pub unopened: Stopwatch,
    /// Whether the agent has given access.
    pub access: AccessStatus,
    /// The number of the access that is here, if its agent gave one: it has another one once its view shows another number.
    pub access_number: Option<u32>,
    /// The life of the adapter in which it does not reach the agent by the access that is here.
    pub unreached: Option<u64>,
    /// When access that is here may be asked for again, and how often that was done lately.
    pub refetch: Again,
    /// The top-ups that have not ended yet.
    pub top_ups: Vec<TopUp>,
    /// When the next automatic top-up may be ordered.
    pub auto: Again,
    /// Its transactions, until their outcomes are final.
    pub flights: Vec<Flight<ClientPurpose>>,
    /// Why the next close request, or its end, waits.
    pub blocked: Option<Blocked>,
    /// How this channel is paid and topped up, where that differs from [`ClientPolicy::billing`](super::ClientPolicy::billing).
    pub billing: Option<privatix_billing::ClientPolicy>,
}

/// What a client's transactions about a channel are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientPurpose {
    /// See [`Purpose::Open`].
    Open {
        /// What it locks, in base units.
        deposit: Amount,
    },
    /// See [`Purpose::TopUp`].
    TopUp {
        /// The order that it carries out.
        order: OrderId,
        /// What it adds, in base units.
        amount: Amount,
    },
    /// See [`Purpose::RequestClose`].
    RequestClose {
        /// What it admits to have paid, in base units.
        admitted: Amount,
    },
    /// See [`Purpose::FinalizeClose`].
    FinalizeClose,
}

impl ClientPurpose {
    /// Whether it takes the deposit back, in one of two steps.
    pub const fn closes(self) -> bool {
        matches!(self, Self::RequestClose { .. } | Self::FinalizeClose)
    }

    /// Whether it adds to the deposit.
    pub const fn is_top_up(self) -> bool {
        matches!(self, Self::TopUp { .. })
    }
}

impl Brings for ClientPurpose {
    /// The same; a close request also with more that it admits.
    fn brings(self, wanted: Self) -> bool {
        match (self, wanted) {
            (Self::RequestClose { admitted }, Self::RequestClose { admitted: least }) => admitted >= least,
            _ => self == wanted,
        }
    }

    fn is_shown(self, block: u64, deposit: Option<Amount>, chain: &OnChain) -> bool {
        match self {
            _ if chain.closed.is_some() => true,
            Self::FinalizeClose => false,
            // Nothing from before a cancellation or a top-up stands.
            Self::RequestClose { .. } => {
                let is_closing = chain.challenge_ends_at().is_some();
                let last = chain.last_close_request.map(|request| request.at).max(chain.last_cancellation);
                is_closing || last.is_some_and(|last| last.block >= block)
            }
            // The event of a top-up names the whole deposit.
            Self::TopUp { .. } => {
                let has_grown = deposit.is_some_and(|before| chain.deposit > before);
                has_grown || chain.last_cancellation.is_some_and(|last| last.block >= block)
            }
            Self::Open { .. } => chain.opened_at.is_some(),
        }
    }

    /// This side promises nothing that a transaction of its own could take back.
    fn bounds(self) -> bool {
        false
    }
}

impl ClientPurpose {
    /// The purpose as one of a client's about a channel; `None` for any other.
    pub const fn of(purpose: Purpose) -> Option<Self> {
        match purpose {
            Purpose::Open { deposit } => Some(Self::Open { deposit }),
            Purpose::TopUp { order, amount } => Some(Self::TopUp { order, amount }),
            Purpose::RequestClose { admitted } => Some(Self::RequestClose { admitted }),
            Purpose::FinalizeClose => Some(Self::FinalizeClose),
            Purpose::Close { .. }
            | Purpose::Settle { .. }
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

impl From<ClientPurpose> for Purpose {
    fn from(purpose: ClientPurpose) -> Self {
        match purpose {
            ClientPurpose::Open { deposit } => Self::Open { deposit },
            ClientPurpose::TopUp { order, amount } => Self::TopUp { order, amount },
            ClientPurpose::RequestClose { admitted } => Self::RequestClose { admitted },
            ClientPurpose::FinalizeClose => Self::FinalizeClose,
        }
    }
}

/// Why a client ends a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClientEnd {
    /// The user ordered it.
    ByOrder,
    /// The user ordered to close the channel.
    CloseByOrder,
    /// The channel did not open.
    NotOpened(Trouble),
    /// The agent gave no access.
    NoAccess,
    /// The agent ended the service.
    AgentEnded,
    /// The agent claims more than was signed.
    AgentClaimsMore,
    /// Somebody else uses the channel's key: the agent showed a voucher that this side signed neither in this run nor before.
    KeyUsedElsewhere,
    /// The user does not permit to contact the agent.
    Excluded,
    /// Nobody used the service for too long.
    Inactive,
    /// The agent could not be reached, or took no payment, for too long.
    Unreachable,
    /// The deposit is used and paid.
    DepositSpent,
    /// The usage limit is reached, and everything is paid.
    MaxUnits,
    /// The adapter could not suspend the service, or not run it for too long.
    AdapterStuck,
    /// A version that stored no reason ended it. Its agent is waited for as after any other end: if it does not close the channel,
    /// the client asks for it.
    Adopted {
        /// Where the channel was when its state was built.
        status: ChannelStatus,
        /// Where its service was.
        service: ServiceStatus,
    },
}

/// Whether the agent has given access to its service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessStatus {
    /// Not yet.
    #[default]
    None,
    /// It has.
    Here,
    /// It never will.
    Refused,
}

/// An order to add to the deposit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TopUp {
    /// Its number.
    pub order: OrderId,
    /// How much it adds.
    pub amount: Amount,
    /// Whether the policy gave it, and not the user.
    pub automatic: bool,
    /// How it ended. It is reported then, and is not in the state any more.
    #[serde(skip)]
    pub outcome: Option<Outcome>,
}

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was carried out.
    Done,
    /// An agent's order to close: the channel is closed on chain, by whom this says.
    Closed(Closure),
    /// It was not.
    Failed(Trouble),
}

impl Outcome {
    /// Whether what was ordered has come about.
    pub const fn is_done(self) -> bool {
        matches!(self, Self::Done | Self::Closed(_))
    }
}
