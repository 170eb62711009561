use super::fees::Waited;
use super::send::{Broadcast, call};
use super::work::{Memory, Missing, Now};
use super::{Attempt, Inclusion, Inner, NONCE_FILLER, Obstacle, TxRecord, TxStatus, revert, table};
use crate::ChainError;
use crate::rpc::{Fault, Receipt, RpcError};

/// Heads in a row at which a nonce must be found taken, deep in the chain, and no receipt of ours, before it is
/// believed: the nodes behind an endpoint may know different things, and one that lags soon catches up.
const SURE: u32 = 3;

impl Inner {
    /// Brings a sent transaction forward. The record if it is still under way.
    pub(super) async fn settle(
        &self,
        memory: &mut Memory,
        now: Now,
        next: u64,
        record: TxRecord,
    ) -> Result<Option<TxRecord>, ChainError> {
        let attempts = table::attempts(&mut *self.db.read().await?, record.id).await?;
        let Some(nonce) = record.nonce else { return Ok(Some(record)) };
        if nonce >= next {
            memory.missing.remove(&record.id);
            return self.push(memory, now, next, record, &attempts).await.map(Some);
        }
        match self.find_inclusion(&attempts).await? {
            Some(inclusion) => {
                memory.missing.remove(&record.id);
                self.included(now, record, inclusion).await
            }
            None => self.not_ours(memory, now, record, nonce).await,
        }
    }

    async fn find_inclusion(&self, attempts: &[Attempt]) -> Result<Option<Inclusion>, ChainError> {
        for attempt in attempts {
            if let Some(receipt) = self.rpc.receipt(attempt.hash).await? {
                return Ok(read(&receipt, attempt));
            }
        }
        Ok(None)
    }

    /// One of its transactions is in a block; the outcome is final once that block is deep enough.
    async fn included(
        &self,
        now: Now,
        mut record: TxRecord,
        inclusion: Inclusion,
    ) -> Result<Option<TxRecord>, ChainError> {
        if record.inclusion != Some(inclusion) {
            let mut tx = self.db.begin().await?;
            table::set_inclusion(&mut tx, record.id, Some(&inclusion)).await?;
            tx.commit().await?;
            tracing::info!(tx = %record.id, block = inclusion.block, hash = %inclusion.tx_hash, "transaction mined; waiting for confirmations");
            record = self.reload(record.id).await?;
            self.announce(&record);
        }
        if inclusion.block.saturating_add(self.options.confirmations) > now.head {
            return Ok(Some(record));
        }
        // The receipt may come from another node than the head: its block must be on the head's chain.
        if self.rpc.header(inclusion.block).await?.hash != inclusion.block_hash {
            return Ok(Some(record));
        }
        if inclusion.success {
            self.finish(record.id, TxStatus::Mined, None).await?;
        } else {
            let reason = self.revert_reason(&record, inclusion).await?;
            self.finish(record.id, TxStatus::Failed, Some(&reason)).await?;
        }
        Ok(None)
    }

    /// Why a mined transaction reverted, by running it again where it was mined.
    async fn revert_reason(&self, record: &TxRecord, inclusion: Inclusion) -> Result<String, ChainError> {
        let gas = record.gas_limit.unwrap_or(inclusion.gas_used);
        let before = inclusion.block.saturating_sub(1);
        match self.rpc.call(call(record), gas, before).await {
            Ok(_) if inclusion.gas_used >= gas => Ok("reverted: out of gas".to_owned()),
            Ok(_) => Ok("reverted, by what other transactions did just before it".to_owned()),
            Err(error) => match revert::reason(&error.fault, self.options.decode.as_ref()) {
                Some(reason) => Ok(format!("reverted: {reason}")),
                // An old state may be gone; the outcome is certain all the same.
                None if matches!(error.fault, Fault::Refused { .. }) => {
                    Ok(format!("reverted, reason not known ({})", error.fault))
                }
                None => Err(error.into()),
            },
        }
    }

    /// Its nonce is taken and no receipt of ours is known.
    async fn not_ours(
        &self,
        memory: &mut Memory,
        now: Now,
        record: TxRecord,
        nonce: u64,
    ) -> Result<Option<TxRecord>, ChainError> {
        let record = self.uninclude(record).await?;
        self.obstruct(&record, Some(Obstacle::NonceTaken { nonce })).await?;
        let missing =
            memory.missing.entry(record.id).or_insert(Missing { first: now.head, last: now.head, heads: 1 });
        if missing.last != now.head {
            missing.last = now.head;
            missing.heads += 1;
        }
        let deep = now.head.saturating_sub(self.options.confirmations);
        let taken_deep = match self.rpc.nonce_at(record.intent.from, deep).await {
            Ok(next) => next > nonce,
            // Most nodes forget states of a hundred blocks ago; then it must have been seen for so long.
            Err(RpcError { fault: Fault::Refused { .. }, .. }) => missing.first <= deep,
            Err(error) => return Err(error.into()),
        };
        if !taken_deep || missing.heads < SURE {
            return Ok(Some(record));
        }
        memory.missing.remove(&record.id);
        if memory.refused.remove(&record.id) && record.intent.kind != NONCE_FILLER {
            return self.use_another_nonce(&record, nonce).await;
        }
        let reason = format!("another transaction of account {} took nonce {nonce}", record.intent.from);
        self.finish(record.id, TxStatus::Dropped, Some(&reason)).await?;
        Ok(None)
    }

    /// It lost its nonce at the first broadcast already, before anybody could have meant to replace it.
    async fn use_another_nonce(&self, record: &TxRecord, nonce: u64) -> Result<Option<TxRecord>, ChainError> {
        tracing::info!(tx = %record.id, nonce, "nonce was taken by a foreign transaction; using another");
        let mut tx = self.db.begin().await?;
        table::release_nonce(&mut tx, record.id).await?;
        tx.commit().await?;
        self.announce(&self.reload(record.id).await?);
        self.wake.notify_one();
        Ok(None)
    }

    /// A reorg took its block back.
    async fn uninclude(&self, record: TxRecord) -> Result<TxRecord, ChainError> {
        let Some(inclusion) = record.inclusion else { return Ok(record) };
        tracing::warn!(tx = %record.id, block = inclusion.block, "a reorg took the transaction's block back");
        let mut tx = self.db.begin().await?;
        table::set_inclusion(&mut tx, record.id, None).await?;
        tx.commit().await?;
        let record = self.reload(record.id).await?;
        self.announce(&record);
        Ok(record)
    }

    /// It waits to be mined: kept in the pool, and its fee raised when it waits for too long.
    async fn push(
        &self,
        memory: &mut Memory,
        now: Now,
        next: u64,
        record: TxRecord,
        attempts: &[Attempt],
    ) -> Result<TxRecord, ChainError> {
        let record = self.uninclude(record).await?;
        // Each offers more than those before it, whatever the clock says.
        let ours = attempts.iter().filter(|attempt| Some(attempt.nonce) == record.nonce);
        let Some(newest) = ours.max_by_key(|attempt| attempt.fees.max_fee) else { return Ok(record) };
        let in_line = memory.line.get(&record.intent.from).map_or(now.head, |(_, head)| *head);
        let waiting_since = newest.head.max(in_line);
        let waited = if record.nonce == Some(next) {
            let seconds = newest.at.elapsed().unwrap_or_default().as_secs();
            Waited { blocks: now.head.saturating_sub(waiting_since), seconds }
        } else {
            Waited::default()
        };
        // At most once for each head.
        let due = record.raise.is_some() || newest.head < now.head;
        if due && self.bump(memory, now, &record, newest, waited).await? {
            return self.reload(record.id).await;
        }
        if memory.pooled.insert(record.id, now.head) != Some(now.head) && !self.rpc.knows(newest.hash).await?
        {
            tracing::info!(tx = %record.id, hash = %newest.hash, "transaction is not in the pool; sending it again");
            match self.broadcast(&record, newest).await? {
                Broadcast::Refused(obstacle) => self.obstruct(&record, Some(obstacle)).await?,
                Broadcast::NonceUsed => {} // the next pass sees it, too
                Broadcast::Accepted => {
                    memory.refused.remove(&record.id);
                    if !matches!(record.obstacle, Some(Obstacle::FeeCap { .. })) {
                        self.obstruct(&record, None).await?;
                    }
                }
            }
        }
        self.reload(record.id).await
    }
}

/// None while the receipt does not say where its transaction was mined.
fn read(receipt: &Receipt, attempt: &Attempt) -> Option<Inclusion> {
    let (block, block_hash) = receipt.block?;
    Some(Inclusion {
        tx_hash: attempt.hash,
        block,
        block_hash,
        success: receipt.success,
        gas_used: receipt.gas_used,
        // Not every node says what was paid; it was at most what was offered.
        gas_price: receipt.gas_price.unwrap_or(attempt.fees.max_fee),
    })
}
