//! Transactions under way: [`Flight`].

use alloy::primitives::B256;
use serde::{Deserialize, Serialize};

use crate::Bid;

/// A transaction, from the decision to make it until its outcome is final.
///
/// `X` is the purpose, of those that the side has. Which stored transaction it is, only the table of purposes knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flight<X> {
    /// Its number among the channel's effects. Each try has another one.
    pub seq: u32,
    /// What it is for.
    pub purpose: X,
    /// The terms with which it was submitted.
    pub bid: Bid,
    /// How far it is.
    pub stage: Stage,
}

/// How far a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// It waits for a batch. Nothing was submitted: it can be changed or dropped.
    Collected,
    /// Submitted, alone or in a batch with other channels.
    Sent {
        /// In a batch: it is not cancelled, since that would cancel those of the others.
        batch: bool,
    },
    /// We cancelled it. It may still be mined.
    Cancelling,
    /// In a block with success.
    Mined {
        /// The block.
        block: BlockRef,
        /// Whether the fold of the channel includes that very block: then its effect is what the fold shows, also none. A fact
        /// that the shell fills in when it loads the state.
        #[serde(skip)]
        seen: bool,
    },
    /// In a block, without effect. A reorganisation may still give it another outcome.
    Reverted,
}

/// A block, by number and hash: another block of the same number is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlockRef {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
}

impl Stage {
    /// Whether it may still have its effect on chain.
    pub const fn may_be_mined(self) -> bool {
        !matches!(self, Self::Collected)
    }

    /// Whether its effect is on its way: nothing else is needed for the same.
    pub const fn is_under_way(self) -> bool {
        matches!(self, Self::Sent { .. } | Self::Mined { seen: false, .. })
    }
}
