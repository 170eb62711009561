//! Transactions, with all that was signed for them.

use std::time::SystemTime;

use alloy::primitives::{Address, B256, U256};
use privatix_chain::{TxId, TxStatus};
use serde::{Deserialize, Serialize};

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
    /// The transaction that it is the rescue of: sent by the rescue account in its stead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<TxId>,
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
    #[serde(with = "super::decimal")]
    pub gas_price: U256,
    /// Wei paid in all.
    #[serde(with = "super::decimal")]
    pub cost: U256,
}

/// A transaction with all that was signed for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransactionDetails {
    /// The transaction.
    pub transaction: Transaction,
    /// Its rescue, if the rescue account sends one in its stead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescue: Option<TxId>,
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
    #[serde(with = "super::decimal")]
    pub max_fee: U256,
    /// Most wei per gas above the base fee.
    #[serde(with = "super::decimal")]
    pub priority_fee: U256,
    /// When it was signed.
    #[serde(with = "humantime_serde")]
    pub signed_at: SystemTime,
}

/// What became of the request to cancel a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TransactionCancelled {
    /// Whether it is cancelled for good; else the chain decides, and its status shows it.
    pub done: bool,
    /// Whether it is in a block already, so that it is cancelled only if a reorganisation takes that back.
    #[serde(default)]
    pub mined: bool,
}
