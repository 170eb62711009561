use std::time::Duration;

use alloy::primitives::Address;
use privatix_chain::{FeePolicy, Head, StartFrom};
use serde::{Deserialize, Serialize};

/// How a node follows the chain.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChainSettings {
    /// The service contract (PSC).
    pub contract: Address,
    /// What a contract of other code means.
    pub unknown_contract: UnknownContract,
    /// The chain's id; None takes the endpoint's word for it.
    pub chain_id: Option<u64>,
    /// Blocks on top of a block before its events count.
    pub confirmations: u64,
    /// How often the head is looked up.
    pub poll_interval: Duration,
    /// The age at which the newest block counts as stale, if the chain's own pace does not ask for more; 0 never does.
    pub max_head_age: Duration,
    /// Where a new database starts.
    pub start: StartFrom,
    /// What transactions may cost.
    pub fees: FeePolicy,
}

impl ChainSettings {
    /// The usual settings: 2 confirmations, a look every 4 s, the last 11,520 blocks (about two days) at the first start.
    pub fn new(contract: Address) -> Self {
        Self {
            contract,
            unknown_contract: UnknownContract::default(),
            chain_id: None,
            confirmations: 2,
            poll_interval: Duration::from_secs(4),
            max_head_age: Head::MAX_AGE,
            start: StartFrom::Recent(11_520),
            fees: FeePolicy::default(),
        }
    }
}

/// What it means that the contract's code is not the one that this version was made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum UnknownContract {
    /// It is refused.
    #[default]
    Refuse,
    /// It is used, with a warning in the log.
    Warn,
}

/// What becomes of the network addresses that the plug-in reports with the sessions of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerAddresses {
    /// None is stored, and those that were are cleared at the start.
    #[default]
    Dropped,
    /// They are stored with the sessions.
    Kept,
}
