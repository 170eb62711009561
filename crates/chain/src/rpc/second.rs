//! Whether other endpoints confirm an outcome that one of them shows.

use std::time::Duration;

use alloy::primitives::B256;

use super::client::Rpc;
use super::reply::Receipt;
use super::{Endpoints, RpcError};

/// For an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A transaction in a block, as an endpoint shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) tx: B256,
    pub(crate) block: u64,
    pub(crate) block_hash: B256,
    pub(crate) success: bool,
}

/// What stands behind an outcome that an endpoint shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backing {
    /// Another endpoint shows the same, or no other one is configured.
    Backed,
    /// Another one shows something else of the same height, and none shows the same.
    Disputed,
    /// No other one knows: it does not answer, or has not got there.
    Alone,
}

/// What another endpoint shows of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Confirmation {
    /// The same receipt.
    Confirms,
    /// Another receipt, another block at its height, or that block without the transaction.
    Contradicts,
    /// It lacks the block, or has no receipt for a transaction of it.
    Unknown,
}

impl Backing {
    fn of(others: &[Confirmation]) -> Self {
        match others {
            _ if others.contains(&Confirmation::Confirms) => Self::Backed,
            _ if others.contains(&Confirmation::Contradicts) => Self::Disputed,
            _ => Self::Alone,
        }
    }
}

impl Confirmation {
    /// From a receipt; none if only the block can show more.
    fn of_receipt(shown: &Shown, receipt: Option<&Receipt>) -> Option<Self> {
        let receipt = receipt?;
        let (block, hash) = receipt.block?;
        let is_same = (block, hash, receipt.success) == (shown.block, shown.block_hash, shown.success);
        Some(if is_same { Self::Confirms } else { Self::Contradicts })
    }

    /// From the block at its height, with its transactions, where there is no receipt. A node may keep receipts for less long than
    /// blocks, or write them later.
    fn of_block(shown: &Shown, block: Option<&(B256, Vec<B256>)>) -> Self {
        match block {
            Some((hash, _)) if *hash != shown.block_hash => Self::Contradicts,
            Some((_, transactions)) if !transactions.contains(&shown.tx) => Self::Contradicts,
            Some(_) | None => Self::Unknown,
        }
    }
}

impl Endpoints {
    /// What stands behind an outcome that endpoint `at` shows. Costs one request if the next good one shows the same, and none where only
    /// one is configured.
    pub(crate) async fn backing(&self, at: usize, shown: &Shown) -> Backing {
        if !self.are_several() {
            return Backing::Backed;
        }
        let mut others = Vec::new();
        for other in self.order().into_iter().filter(|other| *other != at && self.is_good(*other)) {
            let confirmation =
                match tokio::time::timeout(PATIENCE, confirmation(self.rpc(other), shown)).await {
                    Ok(Ok(confirmation)) => {
                        self.answered(other);
                        confirmation
                    }
                    Ok(Err(error)) => {
                        self.failed(other, &error.into());
                        continue;
                    }
                    Err(_) => {
                        self.hangs(other);
                        continue;
                    }
                };
            others.push(confirmation);
            if confirmation == Confirmation::Confirms {
                break;
            }
        }
        Backing::of(&others)
    }
}

async fn confirmation(rpc: Rpc, shown: &Shown) -> Result<Confirmation, RpcError> {
    let receipt = rpc.receipt(shown.tx).await?;
    match Confirmation::of_receipt(shown, receipt.as_ref()) {
        Some(confirmation) => Ok(confirmation),
        None => Ok(Confirmation::of_block(shown, rpc.block_at(shown.block).await?.as_ref())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TX: B256 = B256::repeat_byte(1);
    const HASH: B256 = B256::repeat_byte(2);
    const OTHER: B256 = B256::repeat_byte(3);

    fn shown() -> Shown {
        Shown { tx: TX, block: 5, block_hash: HASH, success: true }
    }

    #[test]
    fn another_receipt_contradicts_an_outcome_and_a_missing_one_proves_nothing() {
        let of = |block, success| Receipt { block, success, gas_used: 1, gas_price: None };
        for (receipt, expected) in [
            (None, None),
            (Some(of(None, true)), None),
            (Some(of(Some((5, HASH)), true)), Some(Confirmation::Confirms)),
            (Some(of(Some((5, HASH)), false)), Some(Confirmation::Contradicts)),
            (Some(of(Some((5, OTHER)), true)), Some(Confirmation::Contradicts)),
            (Some(of(Some((6, OTHER)), true)), Some(Confirmation::Contradicts)),
        ] {
            assert_eq!(Confirmation::of_receipt(&shown(), receipt.as_ref()), expected, "{receipt:?}");
        }
    }

    #[test]
    fn a_block_without_the_transaction_contradicts_it_and_a_missing_one_proves_nothing() {
        for (block, expected) in [
            (None, Confirmation::Unknown),
            (Some((HASH, vec![OTHER, TX])), Confirmation::Unknown),
            (Some((HASH, vec![OTHER])), Confirmation::Contradicts),
            (Some((OTHER, vec![TX])), Confirmation::Contradicts),
        ] {
            assert_eq!(Confirmation::of_block(&shown(), block.as_ref()), expected, "{block:?}");
        }
    }

    #[test]
    fn one_that_confirms_is_enough() {
        use Confirmation::{Confirms, Contradicts, Unknown};
        for (others, expected) in [
            (&[][..], Backing::Alone),
            (&[Unknown, Unknown], Backing::Alone),
            (&[Unknown, Contradicts], Backing::Disputed),
            (&[Contradicts, Confirms], Backing::Backed),
            (&[Confirms], Backing::Backed),
        ] {
            assert_eq!(Backing::of(others), expected, "{others:?}");
        }
    }
}
