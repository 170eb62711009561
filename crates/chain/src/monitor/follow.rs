use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime};

use alloy::primitives::B256;
use alloy::rpc::types::{Filter, Log};
use futures::{StreamExt, TryStreamExt};

use super::batch::{self, Answer, ConfirmedBatch};
use super::cursor::{self, Cursor};
use super::head::Recent;
use super::reorg::AncestorSearch;
use super::{Inner, MonitorState, RangePlanner, StartFrom};
use crate::rpc::{BlockHeader, Fault, RpcError};
use crate::{ChainError, Inconsistency};

/// So many blocks below the newest confirmed one are checked block by block.
const CHECKED_RANGE: u64 = 64;
/// Requests for headers under way at once.
const CONCURRENT: usize = 16;
/// Times in a row that a lower head must be told before it is believed.
const LOWER_HEADS: u32 = 3;

/// What a run remembers between steps. All of it can be lost.
struct Memory {
    planner: RangePlanner,
    checked: bool,
    /// Whether it worked once, so that what looks like a wrong set-up is rather the endpoint's trouble.
    worked: bool,
    /// Something was wrong: make sure that the processed blocks are still on the chain.
    suspicious: bool,
    best_head: u64,
    lower_heads: u32,
    recent: Recent,
}

enum Step {
    Progress,
    CaughtUp,
}

impl Inner {
    pub(super) async fn follow(&self) -> Result<(), ChainError> {
        let mut memory = Memory {
            planner: RangePlanner::new(self.options.first_range, self.options.max_range),
            checked: false,
            worked: false,
            suspicious: true,
            best_head: 0,
            lower_heads: 0,
            recent: Recent::default(),
        };
        let mut failures = 0u32;
        let mut since = SystemTime::now();
        loop {
            let pause = match self.step(&mut memory).await {
                Ok(step) => {
                    failures = 0;
                    memory.worked = true;
                    match step {
                        Step::Progress => continue,
                        Step::CaughtUp => self.options.poll_interval,
                    }
                }
                Err(error) if error.is_permanent() && !memory.worked => return Err(error),
                Err(error) => {
                    memory.checked = false;
                    memory.suspicious = true;
                    failures = failures.saturating_add(1);
                    if failures == 1 {
                        since = SystemTime::now();
                    }
                    tracing::warn!(%error, failures, "chain monitor cannot go on; trying again");
                    let reason = error.to_string();
                    self.status.send_modify(|status| {
                        status.state = MonitorState::Stalled { reason, failures, since };
                        status.range = memory.planner.blocks();
                    });
                    let pause = self.options.backoff.wait(failures, error.retry_after());
                    tokio::time::sleep(pause).await; // a new head is no reason to hurry
                    continue;
                }
            };
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn step(&self, memory: &mut Memory) -> Result<Step, ChainError> {
        if !memory.checked {
            self.rpc.check(self.chain_id, &self.contracts()).await?;
            memory.checked = true;
        }
        let head = self.rpc.head().await?;
        let confirmed = head.saturating_sub(self.options.confirmations);
        let cursor = self.cursor(confirmed).await?;
        self.status.send_modify(|status| {
            status.head = Some(head);
            status.confirmed = Some(confirmed);
            status.processed = Some(cursor.last());
            status.range = memory.planner.blocks();
        });
        let planned = memory.planner.plan(cursor.next, confirmed);
        let went_back = head < memory.best_head;
        if (memory.suspicious || planned.is_none() || went_back) && self.undo_reorg(&cursor, head).await? {
            memory.best_head = head;
            memory.recent.forget();
            return Ok(Step::Progress);
        }
        memory.suspicious = false;
        self.look_at_head(&mut memory.recent, head).await;
        Self::judge_head(memory, head)?;
        let Some(range) = planned else {
            self.status.send_modify(|status| status.state = MonitorState::Following);
            return Ok(Step::CaughtUp);
        };
        if range.end() - range.start() > CHECKED_RANGE {
            self.status.send_modify(|status| status.state = MonitorState::CatchingUp);
        }
        let (from, to) = (*range.start(), *range.end());
        let asked = to - from + 1;
        let started = Instant::now();
        let (batch, headers) = match self.fetch(&cursor, from, to, confirmed).await {
            Ok(fetched) => fetched,
            Err(error) => return self.shrink(memory, asked, error),
        };
        memory.planner.succeeded(asked, batch.logs.len(), started.elapsed());
        self.commit(&cursor, &batch, &headers, confirmed).await?;
        Ok(Step::Progress)
    }

    /// Notes when the newest block was made and seen. Nothing depends on it but what is shown, so trouble with it holds up
    /// nothing.
    async fn look_at_head(&self, recent: &mut Recent, head: u64) {
        if !recent.wants(head, Instant::now()) {
            return;
        }
        let header = match self.rpc.find_header(head).await {
            Ok(Some(header)) => header,
            Ok(None) => {
                tracing::debug!(head, "endpoint does not have its newest block yet");
                return;
            }
            Err(error) => {
                tracing::debug!(head, %error, "cannot look at the newest block");
                recent.fail(Instant::now());
                return;
            }
        };
        // After the head, so that the past is asked for once only and not as often as the head is missing.
        if recent.is_new() {
            let past: Vec<_> = futures::stream::iter(Recent::wanted(head))
                .map(|number| self.rpc.find_header(number))
                .buffer_unordered(CONCURRENT)
                .collect()
                .await;
            past.iter().flatten().flatten().for_each(|header| recent.add(header));
        }
        let newest = recent.see(&header, Instant::now());
        self.status.send_modify(|status| status.newest = Some(newest));
    }

    /// The stored cursor, made first if there is none.
    async fn cursor(&self, confirmed: u64) -> Result<Cursor, ChainError> {
        let contracts = self.contracts().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let stored = cursor::load(&mut *self.db.read().await?, &self.options.stream).await?;
        if let Some(stored) = stored {
            let describe = |chain: u64, contracts: &str| format!("chain {chain}, contracts {contracts}");
            if (stored.chain_id, &stored.contracts) != (self.chain_id, &contracts) {
                return Err(ChainError::OtherStream {
                    stream: self.options.stream.clone(),
                    stored: describe(stored.chain_id, &stored.contracts),
                    configured: describe(self.chain_id, &contracts),
                });
            }
            return Ok(stored);
        }
        let start = match self.options.start {
            StartFrom::Block(block) => block,
            StartFrom::Recent(blocks) => (confirmed + 1).saturating_sub(blocks),
        };
        // The block before the first one is the anchor of the chain of hashes.
        let start = start.max(1);
        let anchor = self.rpc.header(start - 1).await?;
        let cursor = Cursor { chain_id: self.chain_id, contracts, start, next: start, hash: anchor.hash };
        let mut tx = self.db.begin().await?;
        cursor::create(&mut tx, &self.options.stream, &cursor).await?;
        tx.commit().await?;
        tracing::info!(stream = %self.options.stream, start, "following the chain from here");
        Ok(cursor)
    }

    /// A lower head is not believed at once: endpoints are often many nodes, some of them behind.
    fn judge_head(memory: &mut Memory, head: u64) -> Result<(), ChainError> {
        if head >= memory.best_head {
            memory.best_head = head;
            memory.lower_heads = 0;
            return Ok(());
        }
        memory.lower_heads += 1;
        if memory.lower_heads <= LOWER_HEADS {
            return Err(ChainError::HeadWentBack { best: memory.best_head, head });
        }
        memory.best_head = head;
        memory.lower_heads = 0;
        Ok(())
    }

    /// Reacts to a failed fetch: asks for less where that may help.
    fn shrink(&self, memory: &mut Memory, asked: u64, error: ChainError) -> Result<Step, ChainError> {
        let ChainError::Rpc(RpcError { method, fault, .. }) = &error else { return Err(error) };
        // One request for logs is one request, however many blocks it spans; but it brings as many for headers along.
        let fewer_help = match fault {
            Fault::Unauthorised(_) => false,
            Fault::RateLimited { .. } => *method != "eth_getLogs",
            _ => true,
        };
        if !fewer_help {
            return Err(error);
        }
        let smaller = memory.planner.too_large(asked);
        tracing::debug!(asked, now = memory.planner.blocks(), %error, "asking for fewer blocks");
        self.status.send_modify(|status| status.range = memory.planner.blocks());
        // Only a plain refusal of the size is worth an immediate try; else the endpoint may just be in trouble.
        if smaller && matches!(fault, Fault::TooLarge(_)) { Ok(Step::Progress) } else { Err(error) }
    }

    /// Logs and headers of a range, checked.
    async fn fetch(
        &self,
        cursor: &Cursor,
        from: u64,
        to: u64,
        confirmed: u64,
    ) -> Result<(ConfirmedBatch, BTreeMap<u64, BlockHeader>), ChainError> {
        let wrong = |what| ChainError::Inconsistent { from, to, what };
        let ask = |filter: Filter| async move {
            let ranged = filter.clone().from_block(from).to_block(to);
            self.rpc.logs(&ranged).await.map(|logs| (filter, logs))
        };
        let asked = self.interests.iter().map(|interest| ask(interest.filter()));
        let logs: Vec<(Filter, Vec<Log>)> = futures::future::try_join_all(asked).await?;

        let mut needed = BTreeSet::from([from, to]);
        for (filter, found) in &logs {
            needed.extend(batch::blocks_with_logs(from, to, filter, found).map_err(wrong)?);
        }
        // Near the head, a node that lags behind the one that told the head may silently leave out what it lacks.
        let near_head = confirmed.saturating_sub(CHECKED_RANGE - 1);
        let all_from = if self.options.check_every_block { from } else { from.max(near_head) };
        needed.extend(all_from..=to);
        let headers: BTreeMap<u64, BlockHeader> = futures::stream::iter(needed)
            .map(|number| async move { Ok::<_, ChainError>((number, self.rpc.header(number).await?)) })
            .buffer_unordered(CONCURRENT)
            .try_collect()
            .await?;

        for (filter, found) in &logs {
            for header in batch::suspiciously_empty(filter, found, &headers) {
                let of_block = self.rpc.logs(&filter.clone().at_block_hash(header.hash)).await?;
                if !of_block.is_empty() {
                    return Err(wrong(Inconsistency::LogsMissing(header.number)));
                }
            }
        }
        let answer = Answer { from, to, parent: cursor.hash, logs: &logs, headers: &headers };
        Ok((batch::assemble(&answer).map_err(wrong)?, headers))
    }

    /// Effects, hashes and cursor in one transaction.
    async fn commit(
        &self,
        cursor: &Cursor,
        batch: &ConfirmedBatch,
        headers: &BTreeMap<u64, BlockHeader>,
        confirmed: u64,
    ) -> Result<(), ChainError> {
        let (from, to) = (batch.from_block, batch.to_block);
        let stream = &self.options.stream;
        let oldest = confirmed.saturating_sub(self.options.history);
        let mut tx = self.db.begin().await?;
        cursor::advance(&mut tx, stream, cursor.next, to + 1).await?;
        self.sink.apply(&mut tx, batch).await.map_err(|e| ChainError::Sink {
            from,
            to,
            source: e.into_inner(),
        })?;
        let recent = headers.values().filter(|header| header.number == to || header.number >= oldest);
        cursor::keep(&mut tx, stream, recent.map(|header| (header.number, header.hash))).await?;
        cursor::forget_below(&mut tx, stream, oldest).await?;
        tx.commit().await?;
        self.status.send_modify(|status| status.processed = Some(to));
        self.sink.committed();
        Ok(())
    }

    /// Compares the processed blocks with the endpoint's, and rolls back to the newest that both share.
    async fn undo_reorg(&self, cursor: &Cursor, head: u64) -> Result<bool, ChainError> {
        if cursor.last() <= head {
            match self.rpc.find_header(cursor.last()).await? {
                Some(header) if header.hash == cursor.hash => return Ok(false),
                Some(_) => {}
                None => {
                    let (from, to) = (cursor.last(), head);
                    let what = Inconsistency::HeaderMissing(from);
                    return Err(ChainError::Inconsistent { from, to, what });
                }
            }
        }
        let kept = cursor::kept(&mut *self.db.read().await?, &self.options.stream).await?;
        let mut search = AncestorSearch::new(&kept);
        while let Some(number) = search.probe() {
            let found = if number > head { None } else { self.rpc.find_header(number).await? };
            search.answer(found.map(|header| header.hash));
        }
        let Some((ancestor, hash)) = search.ancestor() else {
            return self.start_over(cursor, &kept).await;
        };
        // Blocks above the endpoint's head are not contradicted, only unknown to it.
        if kept.iter().all(|&(number, _)| number <= ancestor || number > head) {
            return Ok(false);
        }
        self.rewind(cursor, (ancestor, hash)).await?;
        Ok(true)
    }

    /// No kept block is on the endpoint's chain. Safe only if the kept ones reach back to the stream's start.
    async fn start_over(&self, cursor: &Cursor, kept: &[(u64, B256)]) -> Result<bool, ChainError> {
        let anchor = cursor.start.saturating_sub(1);
        let (oldest, stored) = kept.first().copied().unwrap_or((cursor.last(), cursor.hash));
        let found = self.rpc.find_header(oldest).await?.map(|header| header.hash);
        if oldest != anchor || found.is_none() {
            return Err(ChainError::DeepReorg { oldest, stored, found });
        }
        let header = self.rpc.header(anchor).await?;
        self.rewind(cursor, (anchor, header.hash)).await?;
        Ok(true)
    }

    async fn rewind(&self, cursor: &Cursor, (to, hash): (u64, B256)) -> Result<(), ChainError> {
        let stream = &self.options.stream;
        let mut tx = self.db.begin().await?;
        cursor::rewind(&mut tx, stream, cursor.next, to, hash).await?;
        self.sink.rollback(&mut tx, to).await.map_err(|e| ChainError::Sink {
            from: to + 1,
            to: cursor.last(),
            source: e.into_inner(),
        })?;
        tx.commit().await?;
        tracing::warn!(%stream, from = cursor.last(), to, "reorg: rolled back to the common block");
        self.status.send_modify(|status| {
            status.processed = Some(to);
            status.reorgs += 1;
        });
        self.sink.committed();
        Ok(())
    }
}
