//! A stored intent, and what has become of it.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};

use super::{Deadline, Fees, Intent, Raise, TxId, Wei};

/// How far an intent has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TxStatus {
    /// Stored; not signed yet.
    Unsent,
    /// Signed, stored and broadcast; maybe mined already, but without the configured confirmations.
    Sent,
    /// Mined with success and confirmed.
    Mined,
    /// Refused before it cost anything, or mined with a revert.
    Failed,
    /// Another transaction of the account, which is not ours, took its nonce: it will never be mined.
    Dropped,
    /// Cancelled: it will never be mined.
    Cancelled,
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
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether there is no outcome yet.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Unsent | Self::Sent)
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
        [Self::Unsent, Self::Sent, Self::Mined, Self::Failed, Self::Dropped, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| format!("no transaction status is called {text:?}"))
    }
}

/// How an intent is to end instead of being sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// Its submitter does not want it any more.
    Cancelled,
    /// It cannot succeed any more.
    Failed,
}

impl Ending {
    pub(super) fn as_str(self) -> &'static str {
        self.status().as_str()
    }

    /// The status that it ends in.
    pub(super) fn status(self) -> TxStatus {
        match self {
            Self::Cancelled => TxStatus::Cancelled,
            Self::Failed => TxStatus::Failed,
        }
    }
}

impl FromStr for Ending {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Cancelled, Self::Failed]
            .into_iter()
            .find(|ending| ending.as_str() == text)
            .ok_or_else(|| format!("no transaction ends as {text:?}"))
    }
}

/// What is known of a signed transaction's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fate {
    /// Not answered: it counts as held.
    Unknown,
    /// A pool took it, or knew it.
    Held,
    /// Whoever was asked refused it.
    Refused,
}

impl Fate {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Held => "held",
            Self::Refused => "refused",
        }
    }
}

impl FromStr for Fate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Unknown, Self::Held, Self::Refused]
            .into_iter()
            .find(|fate| fate.as_str() == text)
            .ok_or_else(|| format!("no transaction's fate is {text:?}"))
    }
}

/// Why an intent that is open does not advance. It goes on by itself once the cause is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "obstacle", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Obstacle {
    /// The account cannot pay for the value and the gas.
    #[error("account {account} has {available} wei but needs {needed} wei for {}; send it ether", paid_for(*l1_fee))]
    InsufficientFunds {
        /// The account.
        account: Address,
        /// Wei that it needs; none if only the endpoint said so.
        needed: Wei,
        /// Wei that it has free.
        available: Wei,
        /// Of the wei that it needs, those for the data on the other chain, on a chain that charges for it beside the gas (the OP
        /// stack); 0 where they are not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        l1_fee: Option<Wei>,
    },
    /// Its account's key is not loaded.
    #[error("the key of account {account} is not loaded; import it")]
    NoKey {
        /// The account.
        account: Address,
    },
    /// Its account's signer does not sign it.
    #[error("it is not signed: {reason}")]
    NotSigned {
        /// The signer's error.
        reason: String,
    },
    /// It would revert now, but earlier transactions of the account may change that.
    #[error("it would fail ({reason}) before the account's earlier transactions are mined; waiting for them")]
    WaitsForEarlier {
        /// The revert reason.
        reason: String,
    },
    /// It waits for the intent that it goes after.
    #[error("it goes out once transaction {tx} is mined")]
    After {
        /// The other intent.
        tx: TxId,
    },
    /// It would revert now. It fails if that lasts.
    #[error("it would fail now: {reason}; looking again at the next blocks")]
    WouldRevert {
        /// The revert reason.
        reason: String,
    },
    /// It was mined and reverted, which a reorg could still change.
    #[error("it was mined and failed; waiting until that is final")]
    Reverted,
    /// It is being cancelled, and the original could still be mined.
    #[error("its end is waited for: another transaction has to take nonce {nonce} for good")]
    Ending {
        /// The nonce.
        nonce: u64,
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
    /// An endpoint does not send it, by its provider's rules or its node's settings, and no other one has taken it.
    #[error(
        "endpoint {endpoint} does not send it, by its provider's rules or its node's settings: {reason}; change the plan or the setting (a cap on fees is geth's --rpc.txfeecap), or configure another endpoint"
    )]
    NotServed {
        /// The endpoint, without credentials.
        endpoint: String,
        /// What it said.
        reason: String,
    },
    /// Another transaction took its nonce and waits for confirmations.
    #[error("another transaction of the account took nonce {nonce}; waiting until that is certain")]
    NonceTaken {
        /// The nonce.
        nonce: u64,
    },
    /// Its nonce is used, by another transaction as it seems, and no second endpoint confirms that.
    #[error(
        "nonce {nonce} is used, and no second endpoint confirms that another transaction used it, so this one is not signed again; configure another endpoint, or look the account up in an explorer and cancel it"
    )]
    LossUnconfirmed {
        /// The nonce.
        nonce: u64,
    },
    /// One endpoint shows it in a block, and another one has that block without it, or another block in its place. It is sent
    /// again and raised unless both have counted its nonce.
    #[error(
        "one endpoint shows it in block {block}, and another one contradicts; waiting until they agree, or a third one decides: look it up in an explorer, and remove the endpoint that is wrong from `chain.endpoints`"
    )]
    Disputed {
        /// The height.
        block: u64,
    },
    /// What the chain is reported to hold of the account is far above what we have signed.
    #[error(
        "an endpoint reports nonce {count} as the account's next one, far above our {ours}; waiting until that stays so or, with several endpoints, until a second one confirms it"
    )]
    CountUnconfirmed {
        /// The account's next nonce, as reported.
        count: u64,
        /// The one after the last that we have signed.
        ours: u64,
    },
    /// It was signed for a nonce that the account is far from: an endpoint once reported a wrong count.
    #[error(
        "it was signed for nonce {nonce} on a wrong count from an endpoint; the account's next nonce is {next}, and it waits until the account gets there (ordering it again risks that both are mined)"
    )]
    OutOfReach {
        /// The only nonce that it may be signed for.
        nonce: u64,
        /// The account's next one.
        next: u64,
    },
}

/// What an account's ether is needed for.
fn paid_for(l1_fee: Option<Wei>) -> String {
    match l1_fee {
        None => "value and gas".to_owned(),
        Some(Wei(0)) => {
            "value, gas, and a fee for the data on the other chain (L1 fee) that is not known".to_owned()
        }
        Some(fee) => format!(
            "value and gas, {fee} of them for the data on the other chain (L1 fee), which moves with the price of gas there"
        ),
    }
}

impl Obstacle {
    /// Whether somebody should know of it: to wait for one's turn is nothing to mend.
    pub(super) fn is_to_be_mended(&self) -> bool {
        !matches!(self, Self::WaitsForEarlier { .. } | Self::After { .. } | Self::Ending { .. })
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
    /// The nonce that it owns.
    pub nonce: Option<u64>,
    /// The only nonce that it may be signed for, until another transaction has that for good: whoever got what was signed
    /// may keep it and send it later. None for a [repeatable](Intent::repeatable) intent.
    pub bound: Option<u64>,
    /// How it is to end instead of being sent again, if it is.
    pub ending: Option<Ending>,
    /// Whether the transactor still looks at it: it is open, or the block of its outcome is not final yet.
    pub watched: bool,
    /// Its gas limit, once estimated.
    pub gas_limit: Option<u64>,
    /// Why it does not advance, if it does not.
    pub obstacle: Option<Obstacle>,
    /// Why it failed, if it has.
    pub failure: Option<String>,
    /// Where it was mined; may be taken back by a reorg as long as it is watched.
    pub inclusion: Option<Inclusion>,
    /// The raise of its fee that was asked for and has not happened yet.
    pub raise: Option<Raise>,
    /// Whether it is the transactor's own and only uses up a nonce.
    pub filler: bool,
    /// The intent that it is the rescue of: the transactor's own, which sends that one's [`Fallback`](crate::Fallback).
    pub parent: Option<TxId>,
    /// Whether its purpose is served, for now, by its rescue or by the intent that it is the rescue of: then [`Self::intent`]
    /// is an ordinary one, without a deadline and a stake.
    pub relieved: bool,
    /// Its deadline, even if it is relieved of it.
    pub(super) asked_deadline: Option<Deadline>,
    /// When it was submitted.
    pub created_at: SystemTime,
    /// When anything of it changed last.
    pub updated_at: SystemTime,
}

impl TxRecord {
    /// Whether the transactor made it by itself: to use up a nonce, or as the rescue of another one. It ends with the intent that
    /// it is for.
    pub fn is_internal(&self) -> bool {
        self.filler || self.parent.is_some()
    }

    /// Whether it still has to get into a block: it is sent, or will be, and no endpoint shows it in a block without another one that
    /// contradicts.
    pub fn is_to_be_mined(&self) -> bool {
        let is_in_a_block = self.inclusion.is_some() && !self.is_disputed();
        self.status.is_open() && self.ending.is_none() && !is_in_a_block
    }

    /// Whether endpoints contradict each other about the block that it is in.
    pub(super) fn is_disputed(&self) -> bool {
        matches!(self.obstacle, Some(Obstacle::Disputed { .. }))
    }
}

/// One signed transaction of an intent. Those of one nonce differ in fees only, and at most one of them is ever mined.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// Its hash.
    pub hash: B256,
    /// Its nonce.
    pub nonce: u64,
    /// What it offers for gas.
    pub fees: Fees,
    /// Whether a pool has it.
    pub fate: Fate,
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
