//! What a daemon is, and how far it has come.

use std::time::SystemTime;

use alloy::primitives::{Address, U256};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Health, TokenUnit};

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
    /// The account that settles in a dispute what our own account cannot answer, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescue: Option<RescueStatus>,
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

/// A rescue account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RescueStatus {
    /// Its address.
    pub account: Address,
    /// Its ether, in wei, at the last look; none while that is not known.
    #[serde(default, with = "super::decimal_option", skip_serializing_if = "Option::is_none")]
    pub ether: Option<U256>,
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
    /// Seconds for which what happens on the chain may not have been seen.
    #[serde(default)]
    pub view_age: Option<u64>,
    /// `fresh`, `late` when a block, an answer or its processing is overdue, `stale` when what happens on the chain is not
    /// seen: then no voucher is taken, and nothing is opened or topped up.
    #[serde(default)]
    pub freshness: Option<String>,
    /// The newest block with enough confirmations.
    pub confirmed: Option<u64>,
    /// The newest block whose events are stored.
    pub processed: Option<u64>,
    /// Blocks of the past that are still to be searched for offerings; absent before that search, and for an agent.
    #[serde(default)]
    pub unsearched: Option<u64>,
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
