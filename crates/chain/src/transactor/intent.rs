use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use alloy::primitives::{Address, B256, Bytes};
use serde::{Deserialize, Serialize};

use super::{Deadline, Priority, Raise};

/// What the chain should do. Becomes durable with the caller's transaction, see
/// [`Transactor::submit`](crate::Transactor::submit).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Intent {
    /// The idempotency key: one key, one intent, for ever.
    pub key: String,
    /// The account that sends and pays.
    pub from: Address,
    /// The contract called, or the receiver of value.
    pub to: Address,
    /// The calldata.
    pub input: Bytes,
    /// Wei sent along.
    pub value: u128,
    /// What it is, for people and for the sink, e.g. `open-channel`.
    pub kind: String,
    /// What it is about, for the same, e.g. a channel id.
    pub subject: String,
    /// How it competes with the account's other intents.
    pub priority: Priority,
    /// When it should be mined at the latest.
    pub deadline: Option<Deadline>,
    /// What is lost if it is not mined, in wei. Never is more paid for it, all fees included.
    pub stake: Option<Wei>,
    /// The intent that must be mined before this one goes out.
    pub after: Option<TxId>,
    /// Whether the contract refuses a second effect of it by itself.
    pub repeatable: bool,
}

impl Intent {
    /// A call of `to` by `from`.
    pub fn new(key: impl Into<String>, from: Address, to: Address, input: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            from,
            to,
            input: input.into(),
            value: 0,
            kind: String::new(),
            subject: String::new(),
            priority: Priority::Normal,
            deadline: None,
            stake: None,
            after: None,
            repeatable: false,
        }
    }

    /// Sends wei along.
    #[must_use]
    pub fn value(mut self, wei: u128) -> Self {
        self.value = wei;
        self
    }

    /// Names what it is.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = kind.into();
        self
    }

    /// Names what it is about.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// Gives it another priority than the usual one.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// It should be mined before this time.
    #[must_use]
    pub fn deadline(mut self, deadline: Deadline) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// This many wei are lost if it is not mined. As its deadline approaches, up to this much may be paid for it.
    #[must_use]
    pub fn stake(mut self, wei: u128) -> Self {
        self.stake = Some(Wei(wei));
        self
    }

    /// It goes out once `earlier` is mined, and fails if that does not succeed.
    #[must_use]
    pub fn after(mut self, earlier: TxId) -> Self {
        self.after = Some(earlier);
        self
    }

    /// The contract refuses a second effect of it, so that it may be signed for another nonce before the first is certain to
    /// be lost. Never for a payment.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }
}

/// The id of a stored intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TxId(pub i64);

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TxId {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// How far an intent has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TxStatus {
    /// Stored; not signed yet.
    Unsent,
    /// Signed, stored and broadcast; maybe mined already, but without the configured confirmations.
    Sent,
    /// Mined with success and confirmed. Final.
    Mined,
    /// Refused before it cost anything, or mined with a revert. Final.
    Failed,
    /// Another transaction of the account, which is not ours, took its nonce: it will never be mined. Final.
    Dropped,
}

impl TxStatus {
    /// The name it is stored under.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsent => "unsent",
            Self::Sent => "sent",
            Self::Mined => "mined",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }

    /// Whether nothing can change it any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Mined | Self::Failed | Self::Dropped)
    }
}

impl fmt::Display for TxStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TxStatus {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Unsent, Self::Sent, Self::Mined, Self::Failed, Self::Dropped]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| format!("no transaction status is called {text:?}"))
    }
}

/// Why an intent that is not final does not advance. It goes on by itself once the cause is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "obstacle", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Obstacle {
    /// The account cannot pay for the value and the gas.
    #[error("account {account} has {available} wei but needs {needed} wei for value and gas; send it ether")]
    InsufficientFunds {
        /// The account.
        account: Address,
        /// Wei that it needs; none if only the endpoint said so.
        needed: Wei,
        /// Wei that it has free.
        available: Wei,
    },
    /// Its account's key is not loaded.
    #[error("the key of account {account} is not loaded; import it")]
    NoKey {
        /// The account.
        account: Address,
    },
    /// It would revert now, but earlier transactions of the account may change that.
    #[error("it would fail ({reason}) before the account's earlier transactions are mined; waiting for them")]
    WaitsForEarlier {
        /// The revert reason.
        reason: String,
    },
    /// Gas costs more than the cap allows.
    #[error("gas costs {needed} wei now, above the configured cap of {cap} wei; wait or raise the cap")]
    FeeCap {
        /// The least fee that would do, in wei per gas.
        needed: Wei,
        /// The cap, in wei per gas.
        cap: Wei,
    },
    /// The endpoint does not take it.
    #[error("the endpoint refuses it: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// Another transaction took its nonce and waits for confirmations.
    #[error("another transaction of the account took nonce {nonce}; waiting until that is certain")]
    NonceTaken {
        /// The nonce.
        nonce: u64,
    },
}

/// Wei, as a decimal string in JSON: 2^53 wei are less than a cent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wei(pub u128);

impl fmt::Display for Wei {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Wei {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Wei {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// Where an intent's transaction was mined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inclusion {
    /// Which of its transactions.
    pub tx_hash: B256,
    /// Height of the block.
    pub block: u64,
    /// Hash of the block.
    pub block_hash: B256,
    /// Whether it did what it should, or reverted.
    pub success: bool,
    /// Gas used.
    pub gas_used: u64,
    /// Wei paid per gas.
    pub gas_price: u128,
}

impl Inclusion {
    /// What the gas cost, in wei.
    pub fn cost(&self) -> u128 {
        u128::from(self.gas_used).saturating_mul(self.gas_price)
    }
}

/// A stored intent and what has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TxRecord {
    /// Its id.
    pub id: TxId,
    /// What was asked for.
    pub intent: Intent,
    /// On which chain.
    pub chain_id: u64,
    /// How far it has come.
    pub status: TxStatus,
    /// Its nonce, once it has one.
    pub nonce: Option<u64>,
    /// Its gas limit, once estimated.
    pub gas_limit: Option<u64>,
    /// Why it does not advance, if it does not.
    pub obstacle: Option<Obstacle>,
    /// Why it failed, if it has.
    pub failure: Option<String>,
    /// Where it was mined; may be taken back by a reorg until it is final.
    pub inclusion: Option<Inclusion>,
    /// The raise of its fee that was asked for and has not happened yet.
    pub raise: Option<Raise>,
    /// Whether it is the transactor's own and only uses up a nonce.
    pub filler: bool,
    /// When it was submitted.
    pub created_at: SystemTime,
    /// When anything of it changed last.
    pub updated_at: SystemTime,
}

/// One signed transaction of an intent. Several of them differ in fees only; at most one is ever mined.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// Its hash.
    pub hash: B256,
    /// Its nonce.
    pub nonce: u64,
    /// What it offers for gas.
    pub fees: super::Fees,
    /// When it was signed.
    pub at: SystemTime,
    pub(super) raw: Vec<u8>,
    pub(super) head: u64,
}

/// Which intents to list: all that match every given field, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TxFilter {
    /// Of this status.
    pub status: Option<TxStatus>,
    /// Of this kind.
    pub kind: Option<String>,
    /// About this subject.
    pub subject: Option<String>,
    /// By this account.
    pub from: Option<Address>,
    /// With a smaller id, for paging.
    pub before: Option<TxId>,
    /// At most this many; 0 means 100.
    pub limit: u32,
}
