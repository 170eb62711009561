//! What other endpoints say to an outcome that one of them shows.

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

/// What another endpoint says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Agrees,
    Denies,
    Unknown,
}

impl Backing {
    fn of(words: &[Word]) -> Self {
        match words {
            _ if words.contains(&Word::Agrees) => Self::Backed,
            _ if words.contains(&Word::Denies) => Self::Disputed,
            _ => Self::Alone,
        }
    }
}

impl Word {
    /// From a receipt; none if only the block can show more.
    fn of_receipt(shown: &Shown, receipt: Option<&Receipt>) -> Option<Self> {
        let receipt = receipt?;
        let (block, hash) = receipt.block?;
        let is_same = (block, hash, receipt.success) == (shown.block, shown.block_hash, shown.success);
        Some(if is_same { Self::Agrees } else { Self::Denies })
    }

    /// From the block at its height, with its transactions, where there is no receipt. A node may keep receipts for less long than
    /// blocks, or write them later.
    fn of_block(shown: &Shown, block: Option<&(B256, Vec<B256>)>) -> Self {
        match block {
            Some((hash, _)) if *hash != shown.block_hash => Self::Denies,
            Some((_, transactions)) if !transactions.contains(&shown.tx) => Self::Denies,
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
        let mut words = Vec::new();
        for other in self.order().into_iter().filter(|other| *other != at && self.is_good(*other)) {
            let word = match tokio::time::timeout(PATIENCE, word(self.rpc(other), shown)).await {
                Ok(Ok(word)) => {
                    self.answered(other);
                    word
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
            words.push(word);
            if word == Word::Agrees {
                break;
            }
        }
        Backing::of(&words)
    }
}

async fn word(rpc: Rpc, shown: &Shown) -> Result<Word, RpcError> {
    let receipt = rpc.receipt(shown.tx).await?;
    match Word::of_receipt(shown, receipt.as_ref()) {
        Some(word) => Ok(word),
        None => Ok(Word::of_block(shown, rpc.block_at(shown.block).await?.as_ref())),
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
    fn another_receipt_denies_an_outcome_and_none_says_nothing() {
        let of = |block, success| Receipt { block, success, gas_used: 1, gas_price: None };
        for (receipt, expected) in [
            (None, None),
            (Some(of(None, true)), None),
            (Some(of(Some((5, HASH)), true)), Some(Word::Agrees)),
            (Some(of(Some((5, HASH)), false)), Some(Word::Denies)),
            (Some(of(Some((5, OTHER)), true)), Some(Word::Denies)),
            (Some(of(Some((6, OTHER)), true)), Some(Word::Denies)),
        ] {
            assert_eq!(Word::of_receipt(&shown(), receipt.as_ref()), expected, "{receipt:?}");
        }
    }

    #[test]
    fn a_block_without_the_transaction_denies_it_and_one_that_is_not_there_says_nothing() {
        for (block, expected) in [
            (None, Word::Unknown),
            (Some((HASH, vec![OTHER, TX])), Word::Unknown),
            (Some((HASH, vec![OTHER])), Word::Denies),
            (Some((OTHER, vec![TX])), Word::Denies),
        ] {
            assert_eq!(Word::of_block(&shown(), block.as_ref()), expected, "{block:?}");
        }
    }

    #[test]
    fn one_that_agrees_is_enough() {
        use Word::{Agrees, Denies, Unknown};
        for (words, expected) in [
            (&[][..], Backing::Alone),
            (&[Unknown, Unknown], Backing::Alone),
            (&[Unknown, Denies], Backing::Disputed),
            (&[Denies, Agrees], Backing::Backed),
            (&[Agrees], Backing::Backed),
        ] {
            assert_eq!(Backing::of(words), expected, "{words:?}");
        }
    }
}
