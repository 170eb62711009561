use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::{Instant, SystemTime};

use alloy::primitives::B256;
use alloy::rpc::types::{Filter, Log};
use futures::{StreamExt, TryStreamExt};

use super::batch::{self, Answer, ConfirmedBatch};
use super::cursor::{self, Cursor};
use super::head::Recent;
use super::reorg::AncestorSearch;
use super::{Inner, Interest, MonitorState, RangePlanner, StartFrom, flood, part};
use crate::rpc::{BlockHeader, Fault, Rpc, RpcError};
use crate::{ChainError, Inconsistency};

/// So many blocks below the newest confirmed one are checked block by block.
const CHECKED_RANGE: u64 = 64;
/// Requests for headers under way at once.
const CONCURRENT: usize = 16;
/// Times in a row that a lower head must be told before it is believed.
const LOWER_HEADS: u32 = 3;

/// What a run remembers between steps. All of it can be lost.
struct Memory {
    /// What each endpoint was found to allow.
    planners: Vec<RangePlanner>,
    /// Endpoints that were found to serve the chain and its contracts.
    checked: Vec<bool>,
    /// The endpoint of the last step.
    used: Option<usize>,
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
            planners: vec![
                RangePlanner::new(self.options.first_range, self.options.max_range);
                self.endpoints.all().len()
            ],
            checked: vec![false; self.endpoints.all().len()],
            used: None,
            worked: false,
            suspicious: true,
            best_head: 0,
            lower_heads: 0,
            recent: Recent::default(),
        };
        let mut failures = 0u32;
        let mut since = SystemTime::now();
        loop {
            let at = self.endpoints.order()[0];
            if memory.used.replace(at).is_some_and(|before| before != at) {
                memory.suspicious = true;
            }
            let rpc = self.endpoints.rpc(at);
            let pause = match self.step(&mut memory, at, &rpc).await {
                Ok(step) => {
                    failures = 0;
                    memory.worked = true;
                    self.endpoints.answered(at);
                    match step {
                        Step::Progress => continue,
                        Step::CaughtUp => self.options.poll_interval,
                    }
                }
                Err(error) if error.is_permanent() && !memory.worked && self.is_the_end(&error) => {
                    return Err(error);
                }
                Err(error) => {
                    memory.checked[at] = false;
                    memory.suspicious = true;
                    let another_is_good = if error.is_permanent() {
                        self.endpoints.is_good(self.endpoints.order()[0])
                    } else {
                        self.endpoints.failed(at, &error)
                    };
                    if another_is_good {
                        tracing::info!(%error, "chain monitor goes on with another endpoint");
                        continue;
                    }
                    failures = failures.saturating_add(1);
                    if failures == 1 {
                        since = SystemTime::now();
                    }
                    tracing::warn!(%error, failures, "chain monitor cannot go on; trying again");
                    let reason = error.to_string();
                    self.status.send_modify(|status| {
                        status.state = MonitorState::Stalled { reason, failures, since };
                        status.range = memory.planners[at].blocks();
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

    /// Whether a wrong set-up is one of all endpoints, or of the database.
    fn is_the_end(&self, error: &ChainError) -> bool {
        let of_endpoint = matches!(error, ChainError::WrongChain { .. } | ChainError::NoContract { .. });
        !of_endpoint || self.endpoints.all().len() == 1 || self.endpoints.are_all_wrong()
    }

    /// One bounded piece of work, all of it by one endpoint: its answers must fit together.
    async fn step(&self, memory: &mut Memory, at: usize, rpc: &Rpc) -> Result<Step, ChainError> {
        if !memory.checked[at] {
            self.endpoints.check_one(at, self.chain_id, &self.contracts()).await?;
            memory.checked[at] = true;
        }
        let head = rpc.head().await?;
        let confirmed = head.saturating_sub(self.options.confirmations);
        let cursor = self.cursor(rpc, confirmed).await?;
        self.status.send_modify(|status| {
            status.head = Some(head);
            status.confirmed = Some(confirmed);
            status.processed = Some(cursor.last());
            status.range = memory.planners[at].blocks();
        });
        let widened = !Interest::are_covered(&cursor.interests, &self.interests);
        if widened || !self.is_part_valid(rpc, &cursor, head).await? {
            let (why, to) = if widened {
                ("it follows more than before", (cursor.start.saturating_sub(1), None))
            } else {
                ("the block of which a part was applied is gone", (cursor.last(), Some(cursor.hash)))
            };
            self.read_again(rpc, &cursor, to, why).await?;
            return Ok(Step::Progress);
        }
        let planned = memory.planners[at].plan(cursor.next, confirmed);
        let went_back = head < memory.best_head;
        if (memory.suspicious || planned.is_none() || went_back)
            && self.undo_reorg(rpc, &cursor, head).await?
        {
            memory.best_head = head;
            memory.recent.forget();
            return Ok(Step::Progress);
        }
        memory.suspicious = false;
        self.look_at_head(rpc, &mut memory.recent, head).await;
        Self::judge_head(memory, head)?;
        self.endpoints.seen_at(at, head);
        let Some(range) = planned else {
            self.compare_heads(at, &cursor, head).await;
            self.status.send_modify(|status| status.state = MonitorState::Following);
            return Ok(Step::CaughtUp);
        };
        if range.end() - range.start() > CHECKED_RANGE {
            self.status.send_modify(|status| status.state = MonitorState::CatchingUp);
        }
        let (from, to) = (*range.start(), *range.end());
        let asked = to - from + 1;
        let started = Instant::now();
        let (batch, headers) =
            match self.fetch(rpc, self.endpoints.width(at), &cursor, from..=to, confirmed).await {
                Ok(fetched) => fetched,
                Err(error) => return self.shrink(&mut memory.planners[at], asked, error),
            };
        memory.planners[at].succeeded(asked, batch.logs.len(), started.elapsed());
        self.commit(&cursor, batch, &headers, confirmed).await?;
        Ok(Step::Progress)
    }

    /// Whether the block that a part was applied of is still on the chain, if there is one.
    async fn is_part_valid(&self, rpc: &Rpc, cursor: &Cursor, head: u64) -> Result<bool, ChainError> {
        let Some(part) = cursor.part else { return Ok(true) };
        if part.block > head {
            let what = Inconsistency::HeaderMissing(part.block);
            return Err(ChainError::Inconsistent { from: cursor.next, to: part.block, what });
        }
        Ok(rpc.header(part.block).await?.hash == part.hash)
    }

    /// Undoes what was applied above a block, whose hash is looked up if it is not known, to read it again.
    async fn read_again(
        &self,
        rpc: &Rpc,
        cursor: &Cursor,
        (to, hash): (u64, Option<B256>),
        why: &str,
    ) -> Result<(), ChainError> {
        tracing::warn!(stream = %self.options.stream, to, why, "events above this block are read again");
        let hash = match hash {
            Some(hash) => hash,
            None => rpc.header(to).await?.hash,
        };
        self.rewind(cursor, (to, hash)).await
    }

    /// Notes when the newest block was made and seen. Nothing depends on it but what is shown, so trouble with it holds up
    /// nothing.
    async fn look_at_head(&self, rpc: &Rpc, recent: &mut Recent, head: u64) {
        if !recent.wants(head, Instant::now()) {
            return;
        }
        let header = match rpc.find_header(head).await {
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
                .map(|number| rpc.find_header(number))
                .buffer_unordered(CONCURRENT)
                .collect()
                .await;
            past.iter().flatten().flatten().for_each(|header| recent.add(header));
        }
        let newest = recent.see(&header, Instant::now());
        self.status.send_modify(|status| status.newest = Some(newest));
    }

    /// Looks, when all that this endpoint has is processed, whether another one that has our newest block is ahead of it:
    /// an endpoint may stand still.
    async fn compare_heads(&self, at: usize, cursor: &Cursor, head: u64) {
        for other in self.endpoints.order() {
            if other == at || !self.endpoints.is_good(other) {
                continue;
            }
            let rpc = self.endpoints.rpc(other);
            let seen = async {
                let found = rpc.head().await?;
                let ours = found > head && rpc.header(cursor.last()).await?.hash == cursor.hash;
                Ok::<_, ChainError>(if ours { found } else { found.min(head) })
            };
            match seen.await {
                Ok(seen) => self.endpoints.seen_at(other, seen),
                Err(error) => {
                    self.endpoints.failed(other, &error);
                }
            }
        }
    }

    /// The stored cursor, made first if there is none.
    async fn cursor(&self, rpc: &Rpc, confirmed: u64) -> Result<Cursor, ChainError> {
        let contracts = self.contracts().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let interests = Interest::stored(&self.interests);
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
            if stored.interests != interests && Interest::are_covered(&stored.interests, &self.interests) {
                // From now on it sees less, so that following more again is noticed.
                let mut tx = self.db.begin().await?;
                cursor::set_interests(&mut tx, &self.options.stream, &interests).await?;
                tx.commit().await?;
                return Ok(Cursor { interests, ..stored });
            }
            return Ok(stored);
        }
        let start = match self.options.start {
            StartFrom::Block(block) => block,
            StartFrom::Recent(blocks) => (confirmed + 1).saturating_sub(blocks),
        };
        // The block before the first one is the anchor of the chain of hashes.
        let start = start.max(1);
        let anchor = rpc.header(start - 1).await?;
        let hash = anchor.hash;
        let cursor =
            Cursor { chain_id: self.chain_id, contracts, start, next: start, hash, interests, part: None };
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
    fn shrink(&self, planner: &mut RangePlanner, asked: u64, error: ChainError) -> Result<Step, ChainError> {
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
        let smaller = planner.too_large(asked);
        tracing::debug!(asked, now = planner.blocks(), %error, "asking for fewer blocks");
        self.status.send_modify(|status| status.range = planner.blocks());
        // Only a plain refusal of the size is worth an immediate try; else the endpoint may just be in trouble.
        if smaller && matches!(fault, Fault::TooLarge(_)) { Ok(Step::Progress) } else { Err(error) }
    }

    /// Logs and headers of a range, checked.
    async fn fetch(
        &self,
        rpc: &Rpc,
        width: usize,
        cursor: &Cursor,
        range: RangeInclusive<u64>,
        confirmed: u64,
    ) -> Result<(ConfirmedBatch, BTreeMap<u64, BlockHeader>), ChainError> {
        let (from, to) = (*range.start(), *range.end());
        let wrong = |what| ChainError::Inconsistent { from, to, what };
        let ask = |filter: Filter| async move {
            let ranged = filter.clone().from_block(from).to_block(to);
            let logs = match rpc.logs(&ranged).await {
                // The range cannot be made smaller.
                Err(RpcError { fault: Fault::TooLarge(_), .. }) if from == to => {
                    flood::logs_of_block(rpc, width, &filter, rpc.header(from).await?.hash).await?
                }
                answer => answer?,
            };
            Ok::<_, ChainError>((filter, logs))
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
            .map(|number| async move { Ok::<_, ChainError>((number, rpc.header(number).await?)) })
            .buffer_unordered(width)
            .try_collect()
            .await?;

        for (filter, found) in &logs {
            for header in batch::suspiciously_empty(filter, found, &headers) {
                let of_block = rpc.logs(&filter.clone().at_block_hash(header.hash)).await?;
                if !of_block.is_empty() {
                    return Err(wrong(Inconsistency::LogsMissing(header.number)));
                }
            }
        }
        let answer = Answer { from, to, parent: cursor.hash, logs: &logs, headers: &headers };
        Ok((batch::assemble(&answer).map_err(wrong)?, headers))
    }

    /// Effects, hashes and cursor in one transaction for each slice of the batch.
    async fn commit(
        &self,
        cursor: &Cursor,
        batch: ConfirmedBatch,
        headers: &BTreeMap<u64, BlockHeader>,
        confirmed: u64,
    ) -> Result<(), ChainError> {
        let to = batch.to_block;
        let stream = &self.options.stream;
        let oldest = confirmed.saturating_sub(self.options.history);
        let mut at = (cursor.next, cursor.part);
        for slice in part::slices(batch, cursor.part, part::MOST) {
            let part::Slice { batch: slice, part, is_last } = slice;
            let next = if is_last { (to + 1, part) } else { (cursor.next, part) };
            let mut tx = self.db.begin().await?;
            cursor::advance(&mut tx, stream, at, next).await?;
            self.sink.apply(&mut tx, &slice).await.map_err(|e| ChainError::Sink {
                from: slice.from_block,
                to: slice.to_block,
                source: e.into_inner(),
            })?;
            if is_last {
                let recent = headers.values().filter(|header| header.number == to || header.number >= oldest);
                cursor::keep(&mut tx, stream, recent.map(|header| (header.number, header.hash))).await?;
                cursor::forget_below(&mut tx, stream, oldest).await?;
            }
            tx.commit().await?;
            at = next;
            self.sink.committed();
        }
        self.status.send_modify(|status| status.processed = Some(to));
        Ok(())
    }

    /// Compares the processed blocks with the endpoint's, and rolls back to the newest that both share.
    async fn undo_reorg(&self, rpc: &Rpc, cursor: &Cursor, head: u64) -> Result<bool, ChainError> {
        if cursor.last() <= head {
            match rpc.find_header(cursor.last()).await? {
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
            let found = if number > head { None } else { rpc.find_header(number).await? };
            search.answer(found.map(|header| header.hash));
        }
        let Some((ancestor, hash)) = search.ancestor() else {
            return self.start_over(rpc, cursor, &kept).await;
        };
        // Blocks above the endpoint's head are not contradicted, only unknown to it.
        if kept.iter().all(|&(number, _)| number <= ancestor || number > head) {
            return Ok(false);
        }
        self.rewind(cursor, (ancestor, hash)).await?;
        Ok(true)
    }

    /// No kept block is on the endpoint's chain. Safe only if the kept ones reach back to the stream's start.
    async fn start_over(&self, rpc: &Rpc, cursor: &Cursor, kept: &[(u64, B256)]) -> Result<bool, ChainError> {
        let anchor = cursor.start.saturating_sub(1);
        let (oldest, stored) = kept.first().copied().unwrap_or((cursor.last(), cursor.hash));
        let found = rpc.find_header(oldest).await?.map(|header| header.hash);
        if oldest != anchor || found.is_none() {
            return Err(ChainError::DeepReorg { oldest, stored, found });
        }
        let header = rpc.header(anchor).await?;
        self.rewind(cursor, (anchor, header.hash)).await?;
        Ok(true)
    }

    async fn rewind(&self, cursor: &Cursor, (to, hash): (u64, B256)) -> Result<(), ChainError> {
        let stream = &self.options.stream;
        let mut tx = self.db.begin().await?;
        cursor::rewind(&mut tx, stream, (cursor.next, cursor.part), to, hash).await?;
        cursor::set_interests(&mut tx, stream, &Interest::stored(&self.interests)).await?;
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
