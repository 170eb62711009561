//! When an outcome cannot be taken back any more.

use super::Inner;
use crate::ChainError;
use crate::rpc::{BlockHeader, Fault};

/// Which blocks count as final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finality {
    /// Those with at least this many blocks on top.
    Depth(u64),
    /// Those that the endpoint calls `safe`.
    Safe,
    /// Those that the endpoint calls `finalized`.
    Finalized,
}

impl Finality {
    /// The depth that counts where an endpoint does not serve a tag.
    const UNTAGGED: u64 = 64;

    /// What is usual on a chain: `finalized` where nodes are known to serve it, a depth on local chains.
    pub fn of_chain(chain_id: u64) -> Self {
        match chain_id {
            31_337 | 1_337 => Self::Depth(32),
            _ => Self::Finalized,
        }
    }
}

impl Inner {
    /// The newest final block. Never above the newest confirmed one: what is final is confirmed.
    pub(super) async fn final_block(&self, head: &BlockHeader) -> Result<u64, ChainError> {
        let confirmed = head.number.saturating_sub(self.options.confirmations);
        let tag = match self.options.finality {
            Finality::Depth(depth) => return Ok(confirmed.min(head.number.saturating_sub(depth))),
            Finality::Safe => "safe",
            Finality::Finalized => "finalized",
        };
        match self.rpc.tagged_block(tag).await {
            Ok(Some(number)) => Ok(confirmed.min(number)),
            Ok(None) => Ok(confirmed.min(head.number.saturating_sub(Finality::UNTAGGED))),
            Err(error) if matches!(error.fault, Fault::Refused { .. } | Fault::Garbage(_)) => {
                tracing::debug!(%error, tag, "endpoint does not serve the tag; counting blocks");
                Ok(confirmed.min(head.number.saturating_sub(Finality::UNTAGGED)))
            }
            Err(error) => Err(error.into()),
        }
    }
}
