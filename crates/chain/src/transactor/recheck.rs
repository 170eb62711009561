//! Outcomes that are known: whether the chain still holds them, and which are final.

use std::collections::BTreeMap;

use alloy::primitives::B256;

use super::memory::{AccountMemory, Now};
use super::outcome::SURE;
use super::phase::{Phase, resume};
use super::work::Trouble;
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
        mut records: Vec<TxRecord>,
    ) -> Trouble {
        memory.forget_unwatched(|hash| {
            records.iter().any(|record| record.inclusion.is_some_and(|inclusion| inclusion.tx_hash == *hash))
        });
        if records.is_empty() || memory.compared == Some(now.hash) {
            return Trouble::default();
        }
        let mut hashes = BTreeMap::new();
        let (mut trouble, mut all_sure) = (Trouble::default(), true);
        resume(&mut records, memory.places.watched.take(), |record| record.id);
        let mut phase = Phase::begin(self.options.phase);
        for record in records {
            let Some(inclusion) = record.inclusion else { continue };
            if !phase.begins() {
                memory.places.watched = Some(record.id);
                all_sure = false;
                self.wake.notify_one();
                break;
            }
            // What nobody answers about one of them holds up no other, and nothing that is to be sent.
            match self.watch_one(memory, now, latest, &record, inclusion, &mut hashes).await {
                Ok(is_sure) => all_sure &= is_sure,
                Err(error) => trouble.note(error),
            }
        }
        memory.compared = (trouble.is_none() && all_sure).then_some(now.hash);
        trouble
    }

    /// Looks whether the block of an outcome is still there, and is final. `hashes` are those of blocks that were asked for already.
    /// Returns whether it is certain.
    async fn watch_one(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        latest: u64,
        record: &TxRecord,
        inclusion: Inclusion,
        hashes: &mut BTreeMap<u64, Option<B256>>,
    ) -> Result<bool, ChainError> {
        let on_chain = if let Some(found) = hashes.get(&inclusion.block) {
            *found
        } else {
            let header = self.rpc.find_header(inclusion.block).await?;
            *hashes.entry(inclusion.block).or_insert(header.map(|header| header.hash))
        };
        // A node that does not know the block lags.
        let gone = on_chain.is_some_and(|hash| hash != inclusion.block_hash);
        if gone {
            // If it was final: not by one endpoint's word.
            if record.watched
                || !self.rpc.are_several()
                || is_replaced(&self.rpc.hashes(inclusion.block).await, inclusion.block_hash)
            {
                self.reinstate(memory, record).await?;
            }
            return Ok(true);
        }
        let is_due = record.watched && inclusion.block <= now.final_block;
        match self.last_look(memory, now, latest, record, &inclusion).await? {
            Look::Gone => self.reinstate(memory, record).await?,
            Look::Shown if is_due => self.finalize(record).await?,
            Look::Shown => {}
            Look::Open => return Ok(false),
        }
        Ok(true)
    }

    async fn reinstate(&self, memory: &mut AccountMemory, record: &TxRecord) -> Result<(), ChainError> {
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
        if let Some(inclusion) = record.inclusion {
            memory.forget_outcome(inclusion.tx_hash);
        }
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
        record: &TxRecord,
        inclusion: &Inclusion,
    ) -> Result<Look, ChainError> {
        let is_due = record.watched && inclusion.block <= now.final_block;
        let unused = record.nonce.filter(|nonce| *nonce >= latest);
        if !is_due && unused.is_none() {
            return Ok(Look::Shown);
        }
        let several = self.rpc.are_several();
        let receipt = self.rpc.receipt(inclusion.tx_hash).await?;
        let found = receipt.and_then(|(at, receipt)| {
            let (block, block_hash) = receipt.block?;
            Some((at, Inclusion { block, block_hash, success: receipt.success, ..*inclusion }))
        });
        let Some((at, found)) = found else {
            return Ok(self.look_without_receipt(memory, now, unused.is_some(), inclusion).await);
        };
        memory.see_outcome(inclusion.tx_hash);
        if unused.is_some() || !several {
            let is_in_its_block = (found.block, found.block_hash) == (inclusion.block, inclusion.block_hash);
            return Ok(match unused {
                _ if !is_in_its_block => Look::Gone,
                Some(_) => Look::Open,
                None => Look::Shown,
            });
        }
        // By the endpoint that shows a receipt now, and another one.
        Ok(match self.backing(&mut memory.alone_at_last, at, &found).await {
            Backing::Backed if found == *inclusion => Look::Shown,
            Backing::Backed => Look::Gone,
            Backing::Alone | Backing::Disputed => Look::Open,
        })
    }

    /// The same where no endpoint shows a receipt: a node may keep receipts for less long than blocks.
    async fn look_without_receipt(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        is_unused: bool,
        inclusion: &Inclusion,
    ) -> Look {
        let (several, height) = (self.rpc.are_several(), inclusion.block);
        let look = if is_unused {
            Look::Gone
        } else {
            of_blocks(&self.rpc.of_two(|rpc| async move { rpc.block_at(height).await }).await, inclusion)
        };
        match look {
            // The nodes behind an endpoint may know different things.
            Look::Gone if several || is_unused => {
                let is_sure = memory.miss_outcome(inclusion.tx_hash, now.head) >= SURE;
                if is_sure { Look::Gone } else { Look::Open }
            }
            // A block alone does not show whether it succeeded.
            Look::Shown if several => {
                match self.believed(&mut memory.alone_at_last, inclusion, Backing::Alone) {
                    Backing::Backed => Look::Shown,
                    Backing::Alone | Backing::Disputed => Look::Open,
                }
            }
            look => look,
        }
    }
}

/// What the blocks at its height show of an outcome without a receipt, as the endpoints that answer have them.
fn of_blocks(blocks: &[Option<(B256, Vec<B256>)>], inclusion: &Inclusion) -> Look {
    let holds = |(hash, transactions): &(B256, Vec<B256>)| {
        *hash == inclusion.block_hash && transactions.contains(&inclusion.tx_hash)
    };
    let mut holding = blocks.iter().flatten().map(holds);
    match (holding.clone().any(|holds| holds), holding.any(|holds| !holds)) {
        (true, false) => Look::Shown,
        (false, true) => Look::Gone,
        (true, true) | (false, false) => Look::Open,
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

    #[test]
    fn an_outcome_without_a_receipt_is_gone_only_if_no_block_holds_it() {
        let (tx_hash, block_hash, other) = (B256::repeat_byte(1), B256::repeat_byte(2), B256::repeat_byte(3));
        let inclusion = Inclusion { tx_hash, block: 5, block_hash, success: true, gas_used: 1, gas_price: 1 };
        let holds = || Some((block_hash, vec![other, tx_hash]));
        let lacks = || Some((block_hash, vec![other]));
        let replaced = || Some((other, vec![tx_hash]));
        for (blocks, expected) in [
            (vec![], Look::Open),
            (vec![None, None], Look::Open),
            (vec![holds()], Look::Shown),
            (vec![holds(), None], Look::Shown),
            (vec![holds(), holds()], Look::Shown),
            (vec![holds(), lacks()], Look::Open),
            (vec![replaced(), holds()], Look::Open),
            (vec![lacks()], Look::Gone),
            (vec![lacks(), None], Look::Gone),
            (vec![lacks(), replaced()], Look::Gone),
        ] {
            assert_eq!(of_blocks(&blocks, &inclusion), expected, "{blocks:?}");
        }
    }
}
