//! What both daemons can be asked.

mod balances;
mod channel;
mod health;
mod job;
mod order;
mod status;
mod transaction;

use alloy::primitives::Address;
use privatix_chain::{TxId, TxStatus, Wei};
use privatix_channel::{Amount, ChannelId, ChannelStatus, OfferingHash, ServiceStatus};
use privatix_jobs::{JobId, JobStatus};
use serde::{Deserialize, Serialize};

pub use balances::{Balances, TokenUnit};
pub use channel::{AutomaticTopUp, Channel, ChannelDetails, ChannelPolicy, Session};
pub use health::{Check, CheckState, Health, Reason};
pub use job::{Job, JobDetails, JobFailure, JobsPage};
pub use order::OrderState;
pub use status::{AdapterStatus, ChainStatus, OnionStatus, Recovery, RescueStatus, Status, TorStatus};
pub use transaction::{Attempt, Inclusion, Transaction, TransactionCancelled, TransactionDetails};

use crate::request::requests;

requests! {
    /// What the daemon is and how far it has followed the chain.
    GetStatus {} => "node_status" -> Status;

    /// What the account has, asked from the chain.
    GetBalances {} => "node_balances" -> Balances;

    /// Moves tokens from the wallet into the service contract. Goes on in the background.
    Deposit {
        /// How much.
        amount: Amount,
    } => "node_deposit" -> JobOrder;

    /// Moves tokens from the service contract back to the wallet. Goes on in the background.
    Withdraw {
        /// How much.
        amount: Amount,
        /// To whom; to the account's own wallet when not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Address>,
    } => "node_withdraw" -> JobOrder;

    /// How far the recovery after a restore is, if there is one.
    GetRecovery {} => "recovery_get" -> Option<Recovery>;

    /// Ends the recovery before its time: channels are ended with the vouchers that are known. Refused until the chain was
    /// caught up with.
    EndRecovery {} => "recovery_end" -> Accepted;

    /// The channels, newest first.
    ListChannels {
        /// At most this many; 100 when not given, 1,000 at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    } => "channels_list" -> Vec<Channel>;

    /// A channel with its usage.
    GetChannel {
        /// The channel.
        channel: ChannelId,
    } => "channels_get" -> ChannelDetails;

    /// Pauses a channel's service until it is resumed.
    PauseChannel {
        /// The channel.
        channel: ChannelId,
        /// The caller's key: given again under it, it is the same order. Where it was used for another order it is refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    } => "channels_pause" -> ChannelOrder;

    /// Ends a pause; the service goes on as billing allows.
    ResumeChannel {
        /// The channel.
        channel: ChannelId,
        /// The caller's key: given again under it, it is the same order. Where it was used for another order it is refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    } => "channels_resume" -> ChannelOrder;

    /// Ends a channel's service for good. Goes on in the background.
    TerminateChannel {
        /// The channel.
        channel: ChannelId,
        /// The caller's key: given again under it, it is the same order. Where it was used for another order it is refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    } => "channels_terminate" -> ChannelOrder;

    /// Ends a channel's service and closes it on chain: the agent at once with the best voucher, a client by asking for it.
    /// Goes on in the background.
    CloseChannel {
        /// The channel.
        channel: ChannelId,
        /// The caller's key: given again under it, it is the same order. Where it was used for another order it is refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    } => "channels_close" -> ChannelOrder;

    /// Gives up what a channel may hold for this side. An agent leaves what it would still bring to its client: a close request of it is
    /// not answered, and what answers one may be cancelled, until `channels_close`. A client closes a channel whose best voucher cannot
    /// be read, and admits what is known to be paid. A channel whose voucher cannot be read can then be closed
    /// by either side.
    AbandonChannel {
        /// The channel.
        channel: ChannelId,
        /// The caller's key: given again under it, it is the same order. Where it was used for another order it is refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    } => "channels_abandon" -> ChannelOrder;

    /// An order about a channel or an offering, and what became of it.
    GetOrder {
        /// Its number.
        order: u64,
    } => "orders_get" -> OrderState;

    /// Orders about channels and offerings, the newest first.
    ListOrders {
        /// About this channel.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<ChannelId>,
        /// About this offering of ours. Either it or a channel is given, or none of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offering: Option<OfferingHash>,
        /// Older than this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<u64>,
        /// At most this many; 100 when not given, 1,000 at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    } => "orders_list" -> Vec<OrderState>;

    /// Jobs that match all that is given, newest first.
    ListJobs {
        /// Of this subject, e.g. `account` or `channel 0x...`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<String>,
        /// Of this kind.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<String>,
        /// In this status.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<JobStatus>,
        /// Older than this one: the page before's `next`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<JobId>,
        /// At most this many; 50 when not given, 1,000 at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    } => "jobs_list" -> JobsPage;

    /// A job with its payload and transactions.
    GetJob {
        /// The job.
        job: JobId,
    } => "jobs_get" -> JobDetails;

    /// Cancels a waiting or running job.
    CancelJob {
        /// The job.
        job: JobId,
    } => "jobs_cancel" -> Accepted;

    /// Makes a failed or cancelled job wait again, with all its tries.
    ReactivateJob {
        /// The job.
        job: JobId,
    } => "jobs_reactivate" -> Accepted;

    /// Transactions that match all that is given, newest first.
    ListTransactions {
        /// About this: a channel id, an offering hash, `account`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<String>,
        /// Of this kind, e.g. `deposit`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<String>,
        /// In this status.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<TxStatus>,
        /// Older than this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<TxId>,
        /// At most this many; 100 when not given, 1,000 at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    } => "transactions_list" -> Vec<Transaction>;

    /// A transaction with all that was signed for it.
    GetTransaction {
        /// The transaction.
        transaction: TxId,
    } => "transactions_get" -> TransactionDetails;

    /// Raises the fee of a sent transaction now, without waiting until it counts as stuck: to what urgent ones pay within the
    /// caps, or to the given price, whatever the caps are. Both parts of a price are given, or none.
    BumpTransaction {
        /// The transaction.
        transaction: TxId,
        /// The most to pay in all, in wei per gas.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_fee: Option<Wei>,
        /// The most to pay above the base fee, in wei per gas.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        priority_fee: Option<Wei>,
    } => "transactions_bump" -> Accepted;

    /// Cancels a transaction. One that was signed already is outbid by another, and may still be mined instead. One that answers a
    /// close request of a client is refused: see `channels_abandon`.
    CancelTransaction {
        /// The transaction.
        transaction: TxId,
    } => "transactions_cancel" -> TransactionCancelled;
}

/// Done, with nothing to report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Accepted {}

/// What was asked for is a durable job now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct JobOrder {
    /// The job that carries it out; one that already did the same when the order was given counts.
    pub job: JobId,
    /// What keeps it from being carried out now, if the chain or its endpoint does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl JobOrder {
    pub(crate) const fn new(job: JobId, warning: Option<String>) -> Self {
        Self { job, warning }
    }
}

/// What was asked for about a channel is stored, and goes on in the background.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ChannelOrder {
    /// Where the channel is on chain now.
    pub status: ChannelStatus,
    /// Where its service is now.
    pub service: ServiceStatus,
    /// The order's number, under which it is stored with what becomes of it (`orders_get`).
    pub order: u64,
    /// What keeps it from being carried out now, if the chain or its endpoint does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// Numbers too large for JSON, as decimal strings.
mod decimal {
    use alloy::primitives::U256;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(value: &U256, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<U256, D::Error> {
        let text = String::deserialize(deserializer)?;
        U256::from_str_radix(&text, 10)
            .map_err(|_| D::Error::custom(format!("{text:?} is not a decimal number")))
    }
}

/// The same, where there may be none.
mod decimal_option {
    use alloy::primitives::U256;
    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    #[derive(Deserialize)]
    struct Decimal(#[serde(with = "super::decimal")] U256);

    #[expect(clippy::ref_option, reason = "serde hands the field over in this way")]
    pub(super) fn serialize<S: Serializer>(value: &Option<U256>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(|value| value.to_string()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<U256>, D::Error> {
        Ok(Option::<Decimal>::deserialize(deserializer)?.map(|decimal| decimal.0))
    }
}
