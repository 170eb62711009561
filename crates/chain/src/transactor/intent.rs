use std::fmt;
use std::str::FromStr;

use alloy::primitives::{Address, Bytes};
use serde::{Deserialize, Serialize};

use super::{Deadline, Priority};

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
    /// What it is, for people and for the sink, e.g. `pay`.
    pub kind: String,
    /// What it is about, for the same, e.g. the number of an order.
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
    /// Gas that it may need beyond what the estimate shows, such as that of a contract which decides about a signature.
    pub extra_gas: u64,
    /// A call with the same purpose that anybody may make. The transactor's
    /// [rescue account](crate::TransactorBuilder::rescue) sends it if this one is urgent and does not get through.
    pub fallback: Option<Fallback>,
}

/// A call with the purpose of an [`Intent`] that any account may make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fallback {
    /// The contract called.
    pub to: Address,
    /// The calldata.
    pub input: Bytes,
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
            extra_gas: 0,
            fallback: None,
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

    /// It may need this much gas beyond what the estimate shows.
    #[must_use]
    pub fn extra_gas(mut self, gas: u64) -> Self {
        self.extra_gas = gas;
        self
    }

    /// Anybody may do the same by this call, see [`fallback`](Self#structfield.fallback).
    #[must_use]
    pub fn fallback(mut self, to: Address, input: impl Into<Bytes>) -> Self {
        self.fallback = Some(Fallback { to, input: input.into() });
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
