//! Outcomes that are known: whether the chain still holds them, and which are final.

use std::collections::BTreeMap;

use alloy::primitives::B256;

use super::memory::{AccountMemory, Now};
use super::outcome::SURE;
use super::work::is_of_one;
use super::{Ending, Inclusion, Inner, TxChange, TxRecord, changes, table};
use crate::ChainError;
use crate::rpc::Backing;

/// What another look at an outcome shows, whose block is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It is as it was.
    Shown,
    /// Its transaction is in another block, or in none.
    Gone,
    /// That is not certain.
    Open,
}

impl Inner {
    /// Looks whether the blocks of outcomes are still there, and which are final.
    pub(super) async fn watch(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        latest: u64,
        records: Vec<TxRecord>,
    ) -> Result<Option<ChainError>, ChainError> {
        if records.is_empty() || memory.compared == Some(now.hash) {
            return Ok(None);
        }
        let mut hashes = BTreeMap::new();
        let (mut trouble, mut all_sure) = (None, true);
        for record in records {
            let Some(inclusion) = record.inclusion else { continue };
            let (at, on_chain) = if let Some(found) = hashes.get(&inclusion.block) {
                *found
            } else {
                let (at, header) = self.rpc.find_header(inclusion.block).await?;
                *hashes.entry(inclusion.block).or_insert((at, header.map(|header| header.hash)))
            };
            // A node that does not know the block lags.
            let gone = on_chain.is_some_and(|hash| hash != inclusion.block_hash);
            let watched = if gone && !record.watched && self.rpc.are_several() {
                // It was final: not by one endpoint's word.
                if is_replaced(&self.rpc.hashes(inclusion.block).await, inclusion.block_hash) {
                    self.reinstate(&record).await
                } else {
                    Ok(())
                }
            } else if gone {
                self.reinstate(&record).await
            } else {
                let is_due = record.watched && inclusion.block <= now.final_block;
                match self.last_look(memory, now, latest, at, &record, &inclusion).await? {
                    Look::Gone => self.reinstate(&record).await,
                    Look::Shown if is_due => self.finalize(&record).await,
                    Look::Shown => Ok(()),
                    Look::Open => {
                        all_sure = false;
                        Ok(())
                    }
                }
            };
            match watched {
                Err(error) if is_of_one(&error) => trouble = Some(error),
                other => other?,
            }
        }
        memory.compared = (trouble.is_none() && all_sure).then_some(now.hash);
        Ok(trouble)
    }

    async fn reinstate(&self, record: &TxRecord) -> Result<(), ChainError> {
        tracing::warn!(tx = %record.id, block = record.inclusion.map(|i| i.block), "the transaction is not in its block any more, or never was: a reorg, or an endpoint that was wrong");
        let mut tx = self.db.begin().await?;
        if !changes::reinstate(&mut tx, record.id).await? {
            return Ok(());
        }
        let reported = self.report(&mut tx, record.id, &[TxChange::Reinstated]).await?;
        // Its outcome has cancelled its rescue, if it was a revert or final. Unless the user cancelled both, that is needed again.
        if reported.record.ending != Some(Ending::Cancelled)
            && let Some(rescue) = table::child(&mut tx, record.id).await?
        {
            changes::revive(&mut tx, rescue.id).await?;
        }
        tx.commit().await?;
        self.committed(reported);
        self.wake.notify_one();
        Ok(())
    }

    async fn finalize(&self, record: &TxRecord) -> Result<(), ChainError> {
        let mut tx = self.db.begin().await?;
        if !changes::unwatch(&mut tx, record.id).await? {
            return Ok(());
        }
        let reported = self.report(&mut tx, record.id, &[TxChange::Final]).await?;
        tx.commit().await?;
        self.committed(reported);
        Ok(())
    }

    /// Looks again at an outcome whose block is there, before it counts as final, or because the chain has not used its nonce: an
    /// endpoint may have shown a receipt that is none.
    async fn last_look(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        latest: u64,
        at: usize,
        record: &TxRecord,
        inclusion: &Inclusion,
    ) -> Result<Look, ChainError> {
        let is_due = record.watched && inclusion.block <= now.final_block;
        let unused = record.nonce.filter(|nonce| *nonce >= latest);
        if !is_due && unused.is_none() {
            return Ok(Look::Shown);
        }
        let several = self.rpc.are_several();
        if several && unused.is_none() {
            match self.backing(memory, at, inclusion).await {
                Backing::Backed => return Ok(Look::Shown),
                Backing::Alone => return Ok(Look::Open),
                Backing::Disputed => {}
            }
        }
        let receipt = self.rpc.receipt(inclusion.tx_hash).await?;
        let block = receipt.and_then(|(_, receipt)| receipt.block);
        Ok(match (block, unused) {
            (Some(block), _) if block != (inclusion.block, inclusion.block_hash) => Look::Gone,
            (Some(_), Some(nonce)) => {
                memory.found(nonce);
                Look::Open
            }
            (None, Some(nonce)) if memory.miss(nonce, now.head).count >= SURE => Look::Gone,
            (None, Some(_)) => Look::Open,
            // Another endpoint denies it, and the one that shows it still does.
            _ if several => Look::Open,
            (Some(_), None) => Look::Shown,
            // A node may keep receipts for less long than blocks.
            (None, None) => match self.rpc.block_at(inclusion.block).await? {
                Some((hash, transactions)) if hash == inclusion.block_hash => {
                    if transactions.contains(&inclusion.tx_hash) { Look::Shown } else { Look::Gone }
                }
                Some(_) | None => Look::Open,
            },
        })
    }
}

/// Whether two endpoints have another block than this one at its height.
fn is_replaced(hashes: &[Option<B256>], hash: B256) -> bool {
    hashes.len() > 1 && hashes.iter().all(|other| other.is_some_and(|other| other != hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_block_is_gone_only_if_two_endpoints_have_another() {
        let (ours, other, third) = (B256::repeat_byte(1), B256::repeat_byte(2), B256::repeat_byte(3));
        for (hashes, expected) in [
            (&[Some(other), Some(third)][..], true),
            (&[Some(other), Some(ours)], false),
            (&[Some(other), None], false),
            (&[Some(other)], false),
            (&[], false),
        ] {
            assert_eq!(is_replaced(hashes, ours), expected, "{hashes:?}");
        }
    }
}
