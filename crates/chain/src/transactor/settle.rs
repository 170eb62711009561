//! Outcomes: which of our transactions the chain holds, and whether that can still change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use alloy::primitives::{Address, B256};
use futures::{StreamExt, TryStreamExt};

use super::account::Item;
use super::changes::{self, Bound};
use super::counts::Counted;
use super::memory::{AccountMemory, Alone, Now};
use super::outcome::{Depth, Outcome, SURE, Second, Used, Winner, outcome};
use super::phase::{Phase, resume};
use super::send::call;
use super::work::{Trouble, is_of_one};
use super::{
    Attempt, Inclusion, Inner, Obstacle, Priority, TxChange, TxId, TxRecord, TxStatus, revert, table,
};
use crate::ChainError;
use crate::rpc::{Backing, Fault, Receipt, Rpc, RpcError, Shown};

/// Requests at once.
pub(super) const AT_ONCE: usize = 16;

/// What is left of an account's open intents once outcomes are applied.
pub(super) struct Settled {
    /// Those that are still to be sent or mined.
    pub(super) open: Vec<Item>,
    /// The next nonce of the chain, as they are to go on with.
    pub(super) latest: u64,
    /// Those that cannot be judged in this pass, because a nonce of theirs was not looked at: nothing is done about them.
    pub(super) unjudged: Vec<Item>,
    /// What went wrong with one of them.
    pub(super) trouble: Trouble,
}

impl Inner {
    /// Judges the open ones.
    pub(super) async fn settle(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        account: Address,
        counted: Counted,
        items: Vec<Item>,
    ) -> Result<Settled, ChainError> {
        let Looked { mut used, unknown, mut trouble } =
            self.used_nonces(memory, now, account, counted.latest, &items).await;
        let (latest, disputed) = counted.without_disputed(&mut used);
        let (unjudged, items): (Vec<_>, Vec<_>) =
            items.into_iter().partition(|item| nonces(item).any(|nonce| unknown.contains(&nonce)));
        let mut open = Vec::new();
        for item in items {
            let attempts: Vec<_> = item.attempts.iter().map(|a| (a.nonce, a.fate)).collect();
            let outcome =
                match (outcome(&item.record, &attempts, latest, &used), disputed.get(&item.record.id)) {
                    (Outcome::Open, Some(block)) => Outcome::Contradicted { block: *block },
                    (outcome, _) => outcome,
                };
            // One intent's trouble, such as a sink that refuses its outcome, holds up no other: one of them may be the
            // answer to a dispute.
            match self.apply(outcome, item).await {
                Ok(item) => open.extend(item),
                Err(error) if is_of_one(&error) => trouble.note(error),
                Err(error) => return Err(error),
            }
        }
        Ok(Settled { open, latest, unjudged, trouble })
    }

    /// What the chain shows of the used nonces that open intents were signed for, those of urgent ones first.
    async fn used_nonces(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        account: Address,
        latest: u64,
        items: &[Item],
    ) -> Looked {
        let is_urgent = |item: &&Item| item.record.intent.priority == Priority::Urgent;
        let urgent: BTreeSet<u64> = items.iter().filter(is_urgent).flat_map(nonces).collect();
        let signed: BTreeSet<u64> = items.iter().flat_map(nonces).filter(|nonce| *nonce < latest).collect();
        let mut order: Vec<u64> = signed.into_iter().collect();
        resume(&mut order, memory.places.used.take(), |nonce| *nonce);
        order.sort_by_key(|nonce| !urgent.contains(nonce));
        let mut looked =
            Looked { used: BTreeMap::new(), unknown: BTreeSet::new(), trouble: Trouble::default() };
        let mut phase = Phase::begin(self.options.phase);
        for (at, nonce) in order.iter().copied().enumerate() {
            if !phase.begins() {
                memory.places.used = Some(nonce);
                looked.unknown.extend(&order[at..]);
                self.wake.notify_one();
                break;
            }
            // What nobody answers about one of them holds up no other.
            match self.used_nonce(memory, now, account, nonce, items).await {
                Ok(used) => {
                    looked.used.insert(nonce, used);
                }
                Err(error) => {
                    looked.unknown.insert(nonce);
                    looked.trouble.note(error);
                }
            }
        }
        if looked.unknown.is_empty() {
            let is_shown = |hash: &B256| {
                let mut winners = looked.used.values().filter_map(|used| used.winner);
                winners.any(|winner| winner.inclusion.tx_hash == *hash)
            };
            memory.backed.retain(|hash, _| is_shown(hash));
            memory.alone.retain(is_shown);
        }
        looked
    }

    async fn used_nonce(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        account: Address,
        nonce: u64,
        items: &[Item],
    ) -> Result<Used, ChainError> {
        let attempts = table::attempts_at(&mut *self.db.read().await?, self.chain_id, account, nonce).await?;
        // Collected first, so that no closure lives across the wait.
        let asked: Vec<_> = attempts.iter().map(|(id, attempt)| self.find_inclusion(*id, attempt)).collect();
        let found: Vec<_> = futures::stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
        let is_urgent = items.iter().any(|item| {
            item.record.intent.priority == Priority::Urgent
                && item.attempts.iter().any(|attempt| attempt.nonce == nonce)
        });
        let mut winner: Option<Winner> = None;
        for (tx, at, inclusion) in found.into_iter().flatten() {
            let (depth, disputed) = self.believed_depth(memory, now, at, &inclusion, is_urgent).await?;
            if winner.is_none() || !disputed {
                winner = Some(Winner { tx, inclusion, depth, disputed });
            }
            if !disputed {
                break;
            }
        }
        let mut used = if let Some(winner) = winner {
            memory.found(nonce);
            let is_final = winner.depth == Depth::Final;
            Used { winner: Some(winner), is_final, missing: 0, second: Second::Agrees }
        } else {
            let missing = memory.miss(nonce, now.head);
            let is_final =
                missing.count >= SURE && self.is_used_for_good(now, account, nonce, missing.first).await?;
            Used { winner: None, is_final, missing: missing.count, second: Second::Agrees }
        };
        let is_lost = |item: &Item| {
            let is_bound = !item.record.intent.repeatable || item.record.ending.is_some();
            is_bound
                && item.attempts.iter().any(|attempt| attempt.nonce == nonce)
                && winner.is_none_or(|winner| winner.tx != item.record.id)
        };
        if used.is_final && items.iter().any(is_lost) {
            let hashes: Vec<_> = attempts.iter().map(|(_, attempt)| attempt.hash).collect();
            let winner = winner.map(|winner| winner.inclusion.tx_hash);
            used.second = self.second(now, account, nonce, hashes, winner).await;
        }
        Ok(used)
    }

    /// Whether two endpoints agree on which of our transactions, if any, used a nonce for good.
    async fn second(
        &self,
        now: Now,
        account: Address,
        nonce: u64,
        hashes: Vec<B256>,
        winner: Option<B256>,
    ) -> Second {
        let hashes = hashes.as_slice();
        let agrees = |rpc: Rpc| async move {
            let mut found = None;
            for hash in hashes {
                if rpc.receipt(*hash).await?.is_some_and(|receipt| receipt.block.is_some()) {
                    found = Some(*hash);
                }
            }
            let next = match rpc.nonce_at(account, now.final_block).await {
                // A state that it has forgotten.
                Err(RpcError { fault: Fault::Refused { .. }, .. }) => rpc.nonce(account).await?,
                next => next?,
            };
            Ok::<_, RpcError>(found == winner && next > nonce)
        };
        let answers = self.rpc.of_two(agrees).await;
        Second::of(self.rpc.are_several(), &answers)
    }

    async fn find_inclusion(
        &self,
        id: TxId,
        attempt: &Attempt,
    ) -> Result<Option<(TxId, usize, Inclusion)>, RpcError> {
        let found = self.rpc.receipt(attempt.hash).await?;
        Ok(found.and_then(|(at, receipt)| Some((id, at, read(&receipt, attempt)?))))
    }

    /// How deep a block is that endpoint `at` shows one of ours in, as far as that counts; and whether another one contradicts. Of what
    /// is urgent that is asked at once: a block that never gets deep enough would hold it up.
    async fn believed_depth(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        at: usize,
        inclusion: &Inclusion,
        is_urgent: bool,
    ) -> Result<(Depth, bool), ChainError> {
        let depth = self.depth(now, inclusion).await?;
        let is_backed = memory.backed.get(&inclusion.tx_hash) == Some(&inclusion.block_hash);
        if is_backed || (depth == Depth::Shallow && !is_urgent) {
            return Ok((depth, false));
        }
        let backing = self.backing(&mut memory.alone, at, inclusion).await;
        if backing == Backing::Backed {
            memory.backed.insert(inclusion.tx_hash, inclusion.block_hash);
            return Ok((depth, false));
        }
        Ok((Depth::Shallow, backing == Backing::Disputed))
    }

    /// What stands behind an outcome that endpoint `at` shows. That nobody else knows of it is enough once that has lasted.
    pub(super) async fn backing(&self, alone: &mut Alone, at: usize, inclusion: &Inclusion) -> Backing {
        let Inclusion { tx_hash: tx, block, block_hash, success, .. } = *inclusion;
        let backing = self.rpc.backing(at, &Shown { tx, block, block_hash, success }).await;
        self.believed(alone, inclusion, backing)
    }

    /// What an outcome with this backing counts as: one that a single endpoint shows is backed once it has waited long enough.
    pub(super) fn believed(&self, alone: &mut Alone, inclusion: &Inclusion, backing: Backing) -> Backing {
        let Inclusion { tx_hash: tx, block, block_hash, .. } = *inclusion;
        if !alone.is_believed((tx, block_hash), backing, self.options.second, Instant::now()) {
            return backing;
        }
        if backing == Backing::Alone {
            tracing::warn!(hash = %tx, block, "no second endpoint answers about a mined transaction; the one that shows it counts alone");
        }
        Backing::Backed
    }

    /// How deep a block is, if it is on the head's chain: a receipt may come from another node than the head.
    async fn depth(&self, now: Now, inclusion: &Inclusion) -> Result<Depth, ChainError> {
        let depth = match inclusion.block {
            block if block.saturating_add(self.options.confirmations) > now.head => Depth::Shallow,
            block if block > now.final_block => Depth::Confirmed,
            _ => Depth::Final,
        };
        if depth > Depth::Shallow && self.rpc.header(inclusion.block).await?.hash != inclusion.block_hash {
            return Ok(Depth::Shallow);
        }
        Ok(depth)
    }

    async fn is_used_for_good(
        &self,
        now: Now,
        account: Address,
        nonce: u64,
        first_seen: u64,
    ) -> Result<bool, ChainError> {
        match self.rpc.nonce_at(account, now.final_block).await {
            Ok(next) => Ok(next > nonce),
            // Most nodes forget states of a hundred blocks ago; then it must have been seen for long enough.
            Err(RpcError { fault: Fault::Refused { .. }, .. }) => Ok(first_seen <= now.final_block),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores an outcome. The intent if it is still to be sent or mined.
    async fn apply(&self, outcome: Outcome, item: Item) -> Result<Option<Item>, ChainError> {
        let record = &item.record;
        match outcome {
            Outcome::Open => {
                let mut record = self.uninclude(item.record).await?;
                if matches!(record.obstacle, Some(Obstacle::Disputed { .. })) {
                    self.obstruct(&record, None).await?;
                    record = self.reload(record.id).await?;
                }
                return Ok(Some(Item { record, ..item }));
            }
            Outcome::Contradicted { block } => {
                let record = self.uninclude(item.record).await?;
                self.obstruct(&record, Some(Obstacle::Disputed { block })).await?;
                let record = self.reload(record.id).await?;
                return Ok(Some(Item { record, ..item }));
            }
            Outcome::Included { nonce, inclusion, disputed } => {
                self.include(record, nonce, inclusion).await?;
                let record = self.reload(record.id).await?;
                let obstacle = match inclusion.success {
                    _ if disputed => Some(Obstacle::Disputed { block: inclusion.block }),
                    false => Some(Obstacle::Reverted),
                    true => None,
                };
                self.obstruct(&record, obstacle).await?;
                if !inclusion.success {
                    // The nonces of its other transactions are to be used up.
                    return Ok(Some(Item { record, ..item }));
                }
            }
            Outcome::Over { nonce, inclusion, status, is_final } => {
                self.over(record, nonce, inclusion, status, is_final).await?;
            }
            Outcome::Waits(obstacle) => {
                let record = self.uninclude(item.record).await?;
                self.obstruct(&record, Some(obstacle)).await?;
                if record.status == TxStatus::Unsent {
                    return Ok(Some(Item { record, ..item }));
                }
            }
            Outcome::Displaced => self.release(record, Bound::Kept).await?,
            Outcome::Free => self.release(record, Bound::Ended).await?,
            Outcome::Dropped { nonce } => {
                let account = record.intent.from;
                let reason = format!("another transaction of account {account} took nonce {nonce}");
                self.end(record.id, TxStatus::Dropped, Some(&reason)).await?;
            }
            Outcome::Ended(ending) => {
                self.end(record.id, ending.status(), ending.reason(record).as_deref()).await?;
            }
        }
        Ok(None)
    }

    /// One of its transactions is in a block.
    async fn include(&self, record: &TxRecord, nonce: u64, inclusion: Inclusion) -> Result<(), ChainError> {
        if record.inclusion == Some(inclusion) && record.nonce == Some(nonce) {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        changes::win(&mut tx, record, nonce).await?;
        changes::set_inclusion(&mut tx, record.id, Some(&inclusion)).await?;
        tx.commit().await?;
        tracing::info!(tx = %record.id, block = inclusion.block, hash = %inclusion.tx_hash, "transaction mined; waiting for confirmations");
        self.announce(&self.reload(record.id).await?);
        Ok(())
    }

    /// One of its transactions is in a block that counts.
    async fn over(
        &self,
        record: &TxRecord,
        nonce: u64,
        inclusion: Inclusion,
        status: TxStatus,
        is_final: bool,
    ) -> Result<(), ChainError> {
        self.include(record, nonce, inclusion).await?;
        let failure = match status {
            TxStatus::Mined => None,
            _ => Some(self.revert_reason(record, inclusion).await),
        };
        let mut tx = self.db.begin().await?;
        if !changes::end(&mut tx, record.id, status, failure.as_deref(), !is_final).await? {
            return Ok(());
        }
        let change = if status == TxStatus::Mined { TxChange::Mined } else { TxChange::Reverted };
        let changes: &[TxChange] = if is_final { &[change, TxChange::Final] } else { &[change] };
        let reported = self.report(&mut tx, record.id, changes).await?;
        tx.commit().await?;
        self.committed(reported);
        Ok(())
    }

    /// Takes its nonce from an intent.
    pub(super) async fn release(&self, record: &TxRecord, bound: Bound) -> Result<(), ChainError> {
        tracing::info!(tx = %record.id, nonce = record.nonce, "transaction has lost its nonce");
        let mut tx = self.db.begin().await?;
        changes::release(&mut tx, record.id, bound).await?;
        changes::set_inclusion(&mut tx, record.id, None).await?;
        changes::set_obstacle(&mut tx, record.id, record.obstacle.as_ref()).await?;
        tx.commit().await?;
        self.announce(&self.reload(record.id).await?);
        self.wake.notify_one();
        Ok(())
    }

    /// A reorg took its block back.
    async fn uninclude(&self, record: TxRecord) -> Result<TxRecord, ChainError> {
        let Some(inclusion) = record.inclusion else { return Ok(record) };
        tracing::warn!(tx = %record.id, block = inclusion.block, "a reorg took the transaction's block back");
        let mut tx = self.db.begin().await?;
        changes::set_inclusion(&mut tx, record.id, None).await?;
        tx.commit().await?;
        let record = self.reload(record.id).await?;
        self.announce(&record);
        Ok(record)
    }

    /// Why a mined transaction reverted, by running it again where it was mined.
    async fn revert_reason(&self, record: &TxRecord, inclusion: Inclusion) -> String {
        let gas = record.gas_limit.unwrap_or(inclusion.gas_used);
        let before = inclusion.block.saturating_sub(1);
        match self.rpc.call(call(record), gas, before).await {
            Ok(_) if inclusion.gas_used >= gas => "reverted: out of gas".to_owned(),
            Ok(_) => "reverted, by what other transactions did just before it".to_owned(),
            Err(error) => match revert::reason(&error.fault, self.options.decode.as_ref()) {
                Some(reason) => format!("reverted: {reason}"),
                // An old state may be gone, or not be served; the outcome is certain all the same.
                None => format!("reverted, reason not known ({})", error.fault),
            },
        }
    }
}

/// What the chain shows of used nonces.
struct Looked {
    used: BTreeMap<u64, Used>,
    /// Those that nobody answered about, or that there was no time for.
    unknown: BTreeSet<u64>,
    trouble: Trouble,
}

/// The nonces that an intent was signed for, and those that it owns or is bound to: what was signed for them may be another one's now.
fn nonces(item: &Item) -> impl Iterator<Item = u64> {
    let signed: Vec<u64> = item.attempts.iter().map(|attempt| attempt.nonce).collect();
    signed.into_iter().chain(item.record.nonce).chain(item.record.bound)
}

/// None while the receipt does not show where its transaction was mined.
fn read(receipt: &Receipt, attempt: &Attempt) -> Option<Inclusion> {
    let (block, block_hash) = receipt.block?;
    Some(Inclusion {
        tx_hash: attempt.hash,
        block,
        block_hash,
        success: receipt.success,
        gas_used: receipt.gas_used,
        // Not every node reports what was paid; it was at most what was offered.
        gas_price: receipt.gas_price.unwrap_or(attempt.fees.max_fee),
    })
}
