//! What both daemons can be asked.

use alloy::primitives::{Address, B256, U256};
use privatix_billing::Unit;
use privatix_chain::{TxId, TxStatus, Wei};
use privatix_channel::{
    Amount, ChainTime, ChannelId, ChannelStatus, Closure, OfferingHash, ServiceStatus, Usage,
};
use privatix_jobs::{FailureCause, JobId, JobStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::SystemTime;
use uuid::Uuid;

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
    } => "node_deposit" -> Order;

    /// Moves tokens from the service contract back to the wallet. Goes on in the background.
    Withdraw {
        /// How much.
        amount: Amount,
        /// To whom; to the account's own wallet when not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Address>,
    } => "node_withdraw" -> Order;

    /// How far the recovery after a restore is, if there is one.
    GetRecovery {} => "recovery_get" -> Option<Recovery>;

    /// Ends the recovery before its time: channels are ended with the vouchers that are known. Refused until the chain was
    /// caught up with.
    EndRecovery {} => "recovery_end" -> Accepted;

    /// The channels, newest first.
    ListChannels {
        /// At most so many; 100 when not given, 1,000 at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    } => "channels_list" -> Vec<Channel>;

    /// A channel with its usage.
    GetChannel {
        /// Which.
        channel: ChannelId,
    } => "channels_get" -> ChannelDetails;

    /// Pauses a channel's service until it is resumed.
    PauseChannel {
        /// Which.
        channel: ChannelId,
    } => "channels_pause" -> Accepted;

    /// Ends a pause; the service goes on as billing allows.
    ResumeChannel {
        /// Which.
        channel: ChannelId,
    } => "channels_resume" -> Accepted;

    /// Ends a channel's service for good. Goes on in the background.
    TerminateChannel {
        /// Which.
        channel: ChannelId,
    } => "channels_terminate" -> Order;

    /// Ends a channel's service and closes it on chain: the agent at once with the best voucher, a client by asking for it.
    /// Goes on in the background.
    CloseChannel {
        /// Which.
        channel: ChannelId,
    } => "channels_close" -> Order;

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
        /// At most so many; 50 when not given, 1,000 at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    } => "jobs_list" -> JobsPage;

    /// A job with its payload and transactions.
    GetJob {
        /// Which.
        job: JobId,
    } => "jobs_get" -> JobDetails;

    /// Cancels a waiting or running job.
    CancelJob {
        /// Which.
        job: JobId,
    } => "jobs_cancel" -> Accepted;

    /// Makes a failed or cancelled job wait again, with all its tries.
    ReactivateJob {
        /// Which.
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
        /// At most so many; 100 when not given, 1,000 at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    } => "transactions_list" -> Vec<Transaction>;

    /// A transaction with all that was signed for it.
    GetTransaction {
        /// Which.
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

    /// Cancels a transaction. One that was signed already is outbid by another, and may still be mined instead.
    CancelTransaction {
        /// The transaction.
        transaction: TxId,
    } => "transactions_cancel" -> TransactionCancelled;
}

/// What became of the request to cancel a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TransactionCancelled {
    /// Whether it is cancelled for good; else the chain decides, and its status shows it.
    pub done: bool,
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
pub struct Order {
    /// The job that carries it out; one that already did the same when the order was given counts.
    pub job: JobId,
    /// What keeps it from being carried out now, if the chain or its endpoint does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl Order {
    pub(crate) const fn new(job: JobId, warning: Option<String>) -> Self {
        Self { job, warning }
    }
}

/// What a daemon is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `agent` or `client`.
    pub role: String,
    /// The daemon's version.
    pub version: String,
    /// Its account.
    pub account: Address,
    /// This daemon's key, where that is the account's operator and not the account itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<Address>,
    /// The chain (EIP-155).
    pub chain_id: u64,
    /// The service contract.
    pub contract: Address,
    /// The token.
    pub token: Address,
    /// The token's name, if it has one that can be shown.
    #[serde(default)]
    pub token_name: Option<String>,
    /// How amounts of the token read.
    #[serde(default)]
    pub token_unit: TokenUnit,
    /// How tokens get from the wallet into the service contract: by permit, or by approve + deposit and why. As it was at
    /// the start.
    #[serde(default)]
    pub deposits: String,
    /// How long an agent can answer a close request, in seconds of the chain's clock.
    pub challenge_period_seconds: u32,
    /// Where clients reach an agent's messaging server; the first is what its offerings announce on chain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// The Tor client in this process, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tor: Option<TorStatus>,
    /// How far the chain has been followed.
    pub chain: ChainStatus,
    /// The service plug-in.
    pub adapter: AdapterStatus,
    /// When the daemon was started.
    #[serde(with = "humantime_serde")]
    pub started_at: SystemTime,
    /// Whether all is well, and if not, why.
    pub health: Health,
}

/// How far a daemon's Tor client is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TorStatus {
    /// How much of what is needed to use the network is here, in percent.
    pub bootstrap_percent: u8,
    /// Whether the network can be used now.
    pub ready: bool,
    /// What is under way, in words.
    pub stage: String,
    /// What is in the way, with its remedy.
    pub problem: Option<String>,
    /// An agent's onion service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onion: Option<OnionStatus>,
}

/// How an agent's onion service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OnionStatus {
    /// Its address.
    pub address: String,
    /// Whether the daemon reached it at its last look, as a client would.
    pub reachable: bool,
    /// When it was last reached so.
    #[serde(default, with = "humantime_serde")]
    pub last_reached: Option<SystemTime>,
    /// Why it is not reachable, with the remedy.
    pub problem: Option<String>,
    /// How often it was started again because it could not be reached.
    pub restarts: u32,
}

/// How far the chain has been followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainStatus {
    /// `idle`, `catching_up`, `following` or `stalled`.
    pub state: String,
    /// The endpoint's newest block.
    pub head: Option<u64>,
    /// The newest block's own time.
    #[serde(default, with = "humantime_serde")]
    pub head_time: Option<SystemTime>,
    /// Seconds since then.
    #[serde(default)]
    pub head_age: Option<u64>,
    /// `fresh`, `late` when the next block is overdue, `stale` when the endpoint has stopped following its chain.
    #[serde(default)]
    pub freshness: Option<String>,
    /// The newest block with enough confirmations.
    pub confirmed: Option<u64>,
    /// The newest block whose events are stored.
    pub processed: Option<u64>,
    /// Reorganisations undone since the start.
    pub reorgs: u64,
    /// Transactions that are not final.
    pub open_transactions: u64,
}

/// A recovery after a restore: what happened since the backup is unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recovery {
    /// When the backup was made.
    #[serde(with = "humantime_serde")]
    pub backed_up_at: SystemTime,
    /// When the chain was caught up with. Before it no job runs and no service is resumed.
    #[serde(default, with = "humantime_serde")]
    pub caught_up_at: Option<SystemTime>,
    /// Until when channels stay open that were not paid on since.
    #[serde(default, with = "humantime_serde")]
    pub until: Option<SystemTime>,
}

/// The service plug-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdapterStatus {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The product it serves.
    pub product: Uuid,
}

/// How a daemon is, in three answers: the body of `GET /health` and of the pages below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// It runs: a restart would not help. `GET /health/live`.
    pub live: bool,
    /// It can do its work: nothing is in its way. `GET /health/ready`, and `GET /health`.
    pub ready: bool,
    /// Nothing is known to endanger what it has earned or locked: no [check](Self::checks) is bad or unknown.
    /// `GET /health/money`.
    pub money_safe: bool,
    /// What money depends on.
    pub checks: Vec<Check>,
    /// What is in its way.
    pub reasons: Vec<Reason>,
    /// What an operator should know although the daemon works.
    pub warnings: Vec<Reason>,
}

/// One thing that money depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Its name, which docs/operations.md explains.
    pub name: String,
    /// How it stands.
    pub state: CheckState,
    /// What is wrong, and the remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How a [`Check`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum CheckState {
    /// As it should be.
    Good,
    /// Safe for now; look at it.
    AtRisk,
    /// Money may be lost; act.
    Bad,
    /// Not known, which is as bad.
    Unknown,
}

impl CheckState {
    /// The name that it has in JSON and on the metrics page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::AtRisk => "atRisk",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// Where: `chain_monitor`, `chain_head`, `transactor`, `adapter`.
    pub part: String,
    /// What, and the remedy.
    pub message: String,
}

/// What an account has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Balances {
    /// The account.
    pub account: Address,
    /// Ether for gas, in wei.
    #[serde(with = "decimal")]
    pub ether: U256,
    /// Tokens in the wallet, in base units.
    pub wallet: Amount,
    /// Tokens in the service contract, free to use, in base units.
    pub contract: Amount,
    /// How amounts of the token read.
    #[serde(default)]
    pub token_unit: TokenUnit,
}

/// How amounts of the token read to people: what the token says of itself, which may be nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenUnit {
    /// Its symbol.
    pub symbol: Option<String>,
    /// A whole token has `10^decimals` base units.
    pub decimals: Option<u8>,
}

impl TokenUnit {
    /// An amount for people: base units, and beside them whole tokens with their symbol.
    ///
    /// ```
    /// use privatix_api::node::TokenUnit;
    ///
    /// let unit = TokenUnit { symbol: Some("USDC".into()), decimals: Some(6) };
    /// assert_eq!(unit.show(1_500_000u64.into()), "1500000 (1.5 USDC)");
    /// ```
    pub fn show(&self, amount: Amount) -> String {
        let symbol = self.symbol.as_deref().unwrap_or("tokens");
        match self.decimals {
            Some(decimals) => format!("{amount} ({} {symbol})", amount.in_tokens(decimals)),
            None => amount.to_string(),
        }
    }
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// The offering it is under.
    pub offering: OfferingHash,
    /// Who sells.
    pub agent: Address,
    /// Who buys.
    pub client: Address,
    /// Where it is on chain.
    pub status: ChannelStatus,
    /// Where its service is.
    pub service: ServiceStatus,
    /// Since when the service is there.
    #[serde(with = "humantime_serde")]
    pub service_since: SystemTime,
    /// Why the service is there.
    pub reason: Option<String>,
    /// Whether the operator paused it.
    pub paused: bool,
    /// Its deposit.
    pub deposit: Amount,
    /// Paid in all by vouchers.
    pub paid: Amount,
    /// Of that, acknowledged by the agent.
    pub acknowledged: Amount,
    /// Of that, cashed on chain.
    pub settled: Amount,
    /// Vouchers signed or accepted.
    pub vouchers: u64,
    /// Metered on this side, in the finest measure: bytes, seconds, requests.
    pub used: Usage,
    /// The network's fee in 1/100,000, taken from what is cashed.
    pub fee: u16,
    /// Block of its opening.
    pub opened_at: Option<u64>,
    /// When the challenge of the client's pending close request ends, in seconds since 1970 on the chain's clock.
    pub challenge_ends_at: Option<ChainTime>,
    /// How it ended, once it is closed: who closed, and whether it was disputed.
    pub closure: Option<Closure>,
    /// A top-up is on its way.
    pub top_up_pending: bool,
    /// When it was first heard of.
    #[serde(with = "humantime_serde")]
    pub created_at: SystemTime,
}

/// A channel with its usage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelDetails {
    /// The channel.
    pub channel: Channel,
    /// The unit that its terms count in; None while the offering message is not here.
    pub unit: Option<Unit>,
    /// Where the service is: for a client, where its programs connect to.
    pub endpoint: Option<Value>,
    /// What the agent's best voucher would still bring on chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimable: Option<Amount>,
    /// Stretches of use, newest first.
    pub sessions: Vec<Session>,
}

/// A stretch of use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Chosen by the plug-in.
    pub id: Uuid,
    /// Metered in it.
    pub used: Usage,
    /// The user's network address; only with `privacy.keep_peer_addresses`, and where the plug-in reports it.
    pub peer: Option<String>,
    /// When it began.
    #[serde(with = "humantime_serde")]
    pub started_at: SystemTime,
    /// When it was last used.
    #[serde(with = "humantime_serde")]
    pub last_usage: Option<SystemTime>,
    /// When it ended.
    #[serde(with = "humantime_serde")]
    pub stopped_at: Option<SystemTime>,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// Where it is in its life.
    pub status: JobStatus,
    /// Who pushed it.
    pub created_by: String,
    /// When.
    #[serde(with = "humantime_serde")]
    pub created_at: SystemTime,
    /// It is not started before this.
    #[serde(with = "humantime_serde")]
    pub not_before: SystemTime,
    /// When it was done, failed or cancelled.
    #[serde(with = "humantime_serde")]
    pub ended_at: Option<SystemTime>,
    /// Tries that failed.
    pub tries: u32,
    /// How often its process died under it.
    pub crashes: u32,
    /// Why the last failed try failed.
    pub failure: Option<JobFailure>,
}

/// Why a try of a job failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobFailure {
    /// The kind of failure.
    pub cause: FailureCause,
    /// What was said.
    pub message: String,
}

/// Some jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobsPage {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Where the next page begins, if there is one.
    pub next: Option<JobId>,
}

/// A job with its payload and transactions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobDetails {
    /// The job.
    pub job: Job,
    /// What it was given; its text if that is no JSON.
    pub payload: Value,
    /// Transactions that it submitted.
    pub transactions: Vec<Transaction>,
}

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transaction {
    /// Its id here.
    pub id: TxId,
    /// What it does.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// Who sends and pays.
    pub from: Address,
    /// The contract called.
    pub to: Address,
    /// How far it has come.
    pub status: TxStatus,
    /// Its nonce.
    pub nonce: Option<u64>,
    /// Why it does not advance.
    pub obstacle: Option<String>,
    /// Why it failed.
    pub failure: Option<String>,
    /// Where it was mined.
    pub inclusion: Option<Inclusion>,
    /// When it was submitted.
    #[serde(with = "humantime_serde")]
    pub created_at: SystemTime,
    /// When anything of it changed last.
    #[serde(with = "humantime_serde")]
    pub updated_at: SystemTime,
}

/// Where a transaction was mined, and what it cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inclusion {
    /// The transaction's hash.
    pub hash: B256,
    /// The block.
    pub block: u64,
    /// Whether it did what it should, or reverted.
    pub success: bool,
    /// Gas used.
    pub gas_used: u64,
    /// Wei paid per gas.
    #[serde(with = "decimal")]
    pub gas_price: U256,
    /// Wei paid in all.
    #[serde(with = "decimal")]
    pub cost: U256,
}

/// A transaction with all that was signed for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransactionDetails {
    /// The transaction.
    pub transaction: Transaction,
    /// All that was signed for it, newest first; they differ in fees only.
    pub attempts: Vec<Attempt>,
}

/// One signed form of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Its hash.
    pub hash: B256,
    /// Most wei per gas.
    #[serde(with = "decimal")]
    pub max_fee: U256,
    /// Most wei per gas above the base fee.
    #[serde(with = "decimal")]
    pub priority_fee: U256,
    /// When it was signed.
    #[serde(with = "humantime_serde")]
    pub signed_at: SystemTime,
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
