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
    /// Those that the endpoint calls `safe`; at most up to its head, and never fewer than before in the same run.
    Safe,
    /// Those that the endpoint calls `finalized`, with the same limits.
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

/// The newest block that a tag has named in this run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tagged(u64);

impl Tagged {
    /// Notes what the endpoint names while the head is `head`. Returns what counts: at most the head, because blocks that are
    /// not there yet are not final, and never less than before, because what was final stays final: the endpoint may lag.
    fn see(&mut self, named: u64, head: u64) -> u64 {
        self.0 = self.0.max(named.min(head));
        self.0
    }
}

impl Inner {
    /// The newest final block. Never above the newest confirmed one: what is final is confirmed.
    pub(super) async fn final_block(
        &self,
        head: &BlockHeader,
        tagged: &mut Tagged,
    ) -> Result<u64, ChainError> {
        let confirmed = head.number.saturating_sub(self.options.confirmations);
        let tag = match self.options.finality {
            Finality::Depth(depth) => return Ok(confirmed.min(head.number.saturating_sub(depth))),
            Finality::Safe => "safe",
            Finality::Finalized => "finalized",
        };
        let number = match self.rpc.tagged_block(tag).await {
            Ok(Some(number)) => tagged.see(number, head.number),
            Ok(None) => head.number.saturating_sub(Finality::UNTAGGED).max(tagged.0),
            Err(error) if matches!(error.fault, Fault::Refused { .. } | Fault::Garbage(_)) => {
                tracing::debug!(%error, tag, "endpoint does not serve the tag; counting blocks");
                head.number.saturating_sub(Finality::UNTAGGED).max(tagged.0)
            }
            Err(error) => return Err(error.into()),
        };
        Ok(confirmed.min(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_counts_up_to_the_head_and_does_not_fall() {
        let mut tagged = Tagged::default();
        for (what, named, head, expected) in [
            ("as named", 60, 100, 60),
            ("lower: the endpoint lags or lies", 40, 101, 60),
            ("none of the chain's blocks", 0, 102, 60),
            ("higher", 70, 103, 70),
            ("the head", 104, 104, 104),
            ("above the head", 900, 105, 105),
            ("what was named above the head is forgotten", 0, 106, 105),
            ("a head that went back is limited by its confirmations", 0, 90, 105),
        ] {
            assert_eq!(tagged.see(named, head), expected, "{what}");
        }
    }
}
