use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

use alloy::primitives::{Address, B256};

use super::price::Market;
use super::{
    Inner, NONCE_FILLER, Obstacle, TransactorState, TxId, TxRecord, TxStatus, TxUpdate, TxWaiting, table,
};
use crate::{ChainError, Intent};

/// Times in a row that a lower head must be told before it is believed.
const LOWER_HEADS: u32 = 3;
/// Fillers made for one account at a time.
const FILLERS: usize = 16;

/// What a run remembers between passes. All of it can be lost.
#[derive(Default)]
pub(super) struct Memory {
    checked: bool,
    worked: bool,
    best_head: u64,
    lower_heads: u32,
    seen: Option<SeenHead>,
    /// For each account: its next nonce on the chain, and the head at which it became that.
    pub(super) line: HashMap<Address, (u64, u64)>,
    /// For each account: the head at which a gap before its transactions was noticed.
    gaps: HashMap<Address, u64>,
    /// The heads in a row that found a nonce taken and no receipt of ours.
    pub(super) missing: HashMap<TxId, Missing>,
    /// What was refused at its first broadcast, and never taken since: nobody can have meant to replace it.
    pub(super) refused: HashSet<TxId>,
    /// The head at which the pool was last asked for a transaction.
    pub(super) pooled: HashMap<TxId, u64>,
}

/// A head, since when it is known, and what gas costs as of it.
#[derive(Clone, Copy)]
struct SeenHead {
    hash: B256,
    at: Instant,
    market: Market,
}

/// Heads that found a nonce taken and no receipt of ours.
pub(super) struct Missing {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) heads: u32,
}

/// The chain as of one pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) head: u64,
    hash: B256,
    pub(super) market: Market,
    /// The chain's time, in seconds, as it counts for urgency.
    pub(super) time: u64,
}

/// How far the wall clock may be from the chain's and still be believed.
const CLOCKS_AGREE: u64 = 3_600;

/// The chain's time for judging urgency: that of the head, and what has gone by since it was first seen; or the wall clock's,
/// if that is later and both agree roughly. The later one, because a head may be an old one: an error on this side costs at
/// most a higher price, within the stake.
fn chain_time(head: u64, since: Duration, wall: SystemTime) -> u64 {
    let of_head = head.saturating_add(since.as_secs());
    let wall = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    if wall.abs_diff(of_head) <= CLOCKS_AGREE { of_head.max(wall) } else { of_head }
}

impl Inner {
    pub(super) async fn work(&self) -> Result<(), ChainError> {
        let mut memory = Memory::default();
        let mut failures = 0u32;
        let mut since = SystemTime::now();
        loop {
            match self.pass(&mut memory).await {
                Ok(open) => {
                    failures = 0;
                    let state = if open == 0 { TransactorState::Idle } else { TransactorState::Working };
                    self.status.send_modify(|status| {
                        status.state = state;
                        status.open = open;
                    });
                    // Idle, too: a call of `wake` may be lost, and a look at an empty table costs nothing.
                    tokio::select! {
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep(self.options.poll_interval) => {}
                    }
                }
                Err(error) if error.is_permanent() && !memory.worked => return Err(error),
                Err(error) => {
                    memory.checked = false;
                    failures = failures.saturating_add(1);
                    if failures == 1 {
                        since = SystemTime::now();
                    }
                    tracing::warn!(%error, failures, "transactor cannot go on; trying again");
                    let reason = error.to_string();
                    self.status.send_modify(|status| {
                        status.state = TransactorState::Stalled { reason, failures, since };
                    });
                    let pause = tokio::time::sleep(self.options.backoff.wait(failures, error.retry_after()));
                    if is_of_one(&error) {
                        // Nothing is wrong with the endpoint: the others' work is not held up.
                        tokio::select! {
                            () = self.wake.notified() => {}
                            () = pause => {}
                        }
                    } else {
                        pause.await;
                    }
                }
            }
        }
    }

    /// Brings every open intent as far as it gets now. How many stay open.
    async fn pass(&self, memory: &mut Memory) -> Result<usize, ChainError> {
        // Checked even when there is nothing to do, so that a wrong set-up is told at the start.
        if !memory.checked {
            self.rpc.check(self.chain_id, &[]).await?;
            memory.checked = true;
            memory.worked = true;
        }
        let open = table::open(&mut *self.db.read().await?, self.chain_id).await?;
        self.status.send_modify(|status| status.open = open.len());
        if open.is_empty() {
            self.status.send_modify(|status| status.waiting = None);
            return Ok(0);
        }
        let now = self.now(memory).await?;
        let mut accounts: BTreeMap<Address, Vec<TxRecord>> = BTreeMap::new();
        for record in open {
            accounts.entry(record.intent.from).or_default().push(record);
        }
        let mut trouble = None;
        for (account, records) in accounts {
            match self.serve(memory, now, account, records).await {
                Err(error) if is_of_one(&error) => trouble = Some(error),
                other => other?,
            }
        }
        let open = table::open(&mut *self.db.read().await?, self.chain_id).await?;
        let waiting = open.iter().find_map(|record| {
            // Waiting for one's turn is nothing to mend.
            let obstacle = record
                .obstacle
                .clone()
                .filter(|obstacle| !matches!(obstacle, Obstacle::WaitsForEarlier { .. }))?;
            Some(TxWaiting { id: record.id, kind: record.intent.kind.clone(), obstacle })
        });
        self.status.send_modify(|status| status.waiting = waiting);
        trouble.map_or(Ok(open.len()), Err)
    }

    async fn now(&self, memory: &mut Memory) -> Result<Now, ChainError> {
        let number = self.rpc.head().await?;
        if number < memory.best_head {
            memory.lower_heads += 1;
            if memory.lower_heads <= LOWER_HEADS {
                return Err(ChainError::HeadWentBack { best: memory.best_head, head: number });
            }
        }
        memory.lower_heads = 0;
        memory.best_head = number;
        let head = self.rpc.header(number).await?;
        self.status.send_modify(|status| status.head = Some(number));
        let seen = match memory.seen {
            Some(seen) if seen.hash == head.hash => seen,
            _ => *memory.seen.insert(SeenHead {
                hash: head.hash,
                at: Instant::now(),
                market: self.market(&head).await?,
            }),
        };
        let time = chain_time(head.timestamp, seen.at.elapsed(), SystemTime::now());
        Ok(Now { head: number, hash: head.hash, market: seen.market, time })
    }

    async fn serve(
        &self,
        memory: &mut Memory,
        now: Now,
        account: Address,
        records: Vec<TxRecord>,
    ) -> Result<(), ChainError> {
        let next = self.rpc.nonce(account).await?;
        match memory.line.get(&account) {
            Some((nonce, _)) if *nonce == next => {}
            _ => drop(memory.line.insert(account, (next, now.head))),
        }
        let (mut sent, mut unsent): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|record| record.status == TxStatus::Sent);
        sent.sort_by_key(|record| record.nonce);
        // Fillers first: everything behind them waits for them.
        unsent.sort_by_key(|record| (record.nonce.is_none(), record.nonce, record.id));

        // One intent's trouble, such as a sink that refuses its outcome, holds up no other: one of them may be the
        // answer to a dispute.
        let mut trouble = None;
        let mut in_flight = Vec::new();
        for record in sent {
            match self.settle(memory, now, next, record.clone()).await {
                Ok(waiting) => in_flight.extend(waiting),
                Err(error) if is_of_one(&error) => {
                    trouble = Some(error);
                    in_flight.push(record);
                }
                Err(error) => return Err(error),
            }
        }
        if self.fill_gap(memory, now, account, next, &in_flight, &unsent).await? {
            self.wake.notify_one();
            return Ok(());
        }
        let mut first_open = in_flight.iter().map(|record| record.id).min();
        for record in unsent {
            let id = record.id;
            let earlier = first_open.is_some_and(|first| first < id);
            match self.send(memory, now, record, &in_flight, earlier).await {
                Ok(sent) => in_flight.extend(sent),
                Err(error) if is_of_one(&error) => trouble = Some(error),
                Err(error) => return Err(error),
            }
            // It may have ended just now; then what comes after it is judged anew at the next pass.
            first_open = Some(first_open.map_or(id, |first| first.min(id)));
        }
        trouble.map_or(Ok(()), Err)
    }

    /// Notices nonces before our waiting transactions that nobody holds (a foreign transaction vanished from the
    /// pool, a reorg deeper than the confirmations took one back), and after a while uses them up: by sending again
    /// what was mined with them, else by transactions that do nothing. Nothing else could ever get the waiting ones
    /// mined.
    async fn fill_gap(
        &self,
        memory: &mut Memory,
        now: Now,
        account: Address,
        next: u64,
        in_flight: &[TxRecord],
        unsent: &[TxRecord],
    ) -> Result<bool, ChainError> {
        let lowest =
            in_flight.iter().filter(|record| record.inclusion.is_none()).filter_map(|r| r.nonce).min();
        let lowest = match lowest {
            Some(lowest) if lowest > next && unsent.iter().all(|record| record.nonce.is_none()) => lowest,
            _ => {
                memory.gaps.remove(&account);
                return Ok(false);
            }
        };
        if self.rpc.pending_nonce(account).await? > next {
            memory.gaps.remove(&account); // a foreign transaction waits in the gap
            return Ok(false);
        }
        let noticed = *memory.gaps.entry(account).or_insert(now.head);
        if now.head < noticed.saturating_add(self.options.fees.stuck_after_blocks) {
            return Ok(false);
        }
        tracing::warn!(%account, from = next, to = lowest - 1, "nobody holds these nonces; filling them");
        let mut free = Vec::new();
        for nonce in (next..lowest).take(FILLERS) {
            let once_mined =
                table::finished_attempt(&mut *self.db.read().await?, self.chain_id, account, nonce).await?;
            match once_mined {
                Some((id, raw)) => {
                    tracing::warn!(tx = %id, nonce, "a reorg took back a final transaction; sending it again");
                    // A refusal is repeated at the next try; there is no other transaction that may have this nonce.
                    if let Err(error) = self.rpc.send_raw(&raw).await {
                        tracing::warn!(tx = %id, %error, "it was not taken");
                    }
                }
                None => free.push(nonce),
            }
        }
        memory.gaps.remove(&account);
        if free.is_empty() {
            return Ok(false);
        }
        let mut tx = self.db.begin().await?;
        for nonce in free {
            // The block makes the key new if the same nonce must be filled again after a reorg.
            let key = format!("{NONCE_FILLER}:{}:{account}:{nonce}:{}", self.chain_id, now.hash);
            let intent = Intent::new(key, account, account, Vec::new())
                .kind(NONCE_FILLER)
                .subject(format!("{account}:{nonce}"));
            table::submit(&mut tx, self.chain_id, &intent, Some(nonce)).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    pub(super) async fn reload(&self, id: TxId) -> Result<TxRecord, ChainError> {
        table::get(&mut *self.db.read().await?, id).await?.ok_or(ChainError::UnknownTx { tx: id })
    }

    pub(super) fn announce(&self, record: &TxRecord) {
        // Nobody may be listening.
        let _ = self.updates.send(TxUpdate {
            id: record.id,
            status: record.status,
            included: record.inclusion.is_some(),
            obstacle: record.obstacle.clone(),
        });
    }

    /// Shows why an intent does not advance.
    pub(super) async fn obstruct(
        &self,
        record: &TxRecord,
        obstacle: Option<Obstacle>,
    ) -> Result<(), ChainError> {
        if record.obstacle == obstacle {
            return Ok(());
        }
        match &obstacle {
            // As it should: a payment after its approval.
            Some(obstacle @ Obstacle::WaitsForEarlier { .. }) => {
                tracing::info!(tx = %record.id, kind = %record.intent.kind, %obstacle, "transaction waits");
            }
            Some(obstacle) => {
                tracing::warn!(tx = %record.id, kind = %record.intent.kind, %obstacle, "transaction waits");
            }
            None => {}
        }
        let mut tx = self.db.begin().await?;
        table::set_obstacle(&mut tx, record.id, obstacle.as_ref()).await?;
        tx.commit().await?;
        self.announce(&TxRecord { obstacle, ..record.clone() });
        Ok(())
    }

    /// Makes a status final, together with what the sink makes of it.
    pub(super) async fn finish(
        &self,
        id: TxId,
        status: TxStatus,
        failure: Option<&str>,
    ) -> Result<(), ChainError> {
        let mut tx = self.db.begin().await?;
        if !table::finish(&mut tx, id, status, failure).await? {
            return Ok(());
        }
        let record = table::get(&mut tx, id).await?.ok_or(ChainError::UnknownTx { tx: id })?;
        self.sink
            .finished(&mut tx, &record)
            .await
            .map_err(|e| ChainError::TxSink { tx: id, source: e.into_inner() })?;
        tx.commit().await?;
        match failure {
            None => tracing::info!(tx = %id, kind = %record.intent.kind, %status, "transaction is final"),
            Some(failure) => {
                tracing::warn!(tx = %id, kind = %record.intent.kind, %status, failure, "transaction is final");
            }
        }
        self.announce(&record);
        self.sink.committed();
        Ok(())
    }
}

/// Whether an error concerns a single intent, so that the others can go on.
fn is_of_one(error: &ChainError) -> bool {
    matches!(error, ChainError::TxSink { .. } | ChainError::Signing { .. } | ChainError::TxMoved { .. })
}
