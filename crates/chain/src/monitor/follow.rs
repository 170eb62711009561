use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant, SystemTime};

use alloy::primitives::B256;
use futures::StreamExt;

use super::backward::{PastMemory, Unsearched};
use super::batch::ConfirmedBatch;
use super::cursor::{self, Cursor};
use super::fetch::{Ahead, Headers, Judged, Wanted, may_fetch_ahead};
use super::head::NewestBlocks;
use super::lag::Lag;
use super::range::MANY_LOGS;
use super::witness::{Second, Witness};
use super::{Direction, Inner, Interest, MonitorState, RangePlanner, StartFrom, part};
use crate::ChainError;
use crate::rpc::{Rpc, block_time};

/// This many blocks below the newest confirmed one are checked block by block.
pub(super) const CHECKED_RANGE: u64 = 64;
/// Requests for headers under way at once.
const CONCURRENT: usize = 16;
/// Times in a row that a lower head must be reported before it is believed.
const LOWER_HEADS: u32 = 3;

/// Times in a row that endpoints must contradict each other before that is reported.
const CONTRADICTIONS: u32 = 3;

/// What a run remembers between steps. All of it can be lost.
pub(super) struct Memory {
    /// What each endpoint was found to allow.
    planners: Vec<RangePlanner>,
    /// Endpoints that were found to serve the chain and its contracts.
    pub(super) checked: Vec<bool>,
    /// How far each was behind what was needed next.
    pub(super) lags: Vec<Lag>,
    /// The endpoint of the last step.
    used: Option<usize>,
    /// Whether it worked once, so that what looks like a wrong set-up is rather the endpoint's trouble.
    worked: bool,
    /// Something was wrong: make sure that the processed blocks are still on the chain.
    pub(super) suspicious: bool,
    /// Steps that failed in a row, and since when.
    failures: Option<(u32, SystemTime)>,
    best_head: u64,
    lower_heads: u32,
    newest: NewestBlocks,
    /// The blocks after those that the last step applied, if they were asked for meanwhile.
    ahead: Option<Ahead>,
    pub(super) past: PastMemory,
    /// Blocks that were applied since a second endpoint last checked some.
    pub(super) unchecked: u64,
}

pub(super) enum Step {
    Progress,
    CaughtUp,
}

impl Inner {
    pub(super) async fn follow(&self) -> Result<(), ChainError> {
        let planner = RangePlanner::new(self.options.first_range, self.options.max_range);
        let planners = vec![planner; self.endpoints.all().len()];
        let mut memory = Memory {
            planners: planners.clone(),
            checked: vec![false; self.endpoints.all().len()],
            lags: vec![Lag::default(); self.endpoints.all().len()],
            used: None,
            worked: false,
            suspicious: true,
            failures: None,
            best_head: 0,
            lower_heads: 0,
            newest: NewestBlocks::default(),
            ahead: None,
            past: PastMemory::new(planners),
            unchecked: 0,
        };
        if let Err(error) = self.show_stored().await {
            tracing::warn!(%error, "cannot show what was seen before");
        }
        loop {
            let at = self.endpoints.order()[0];
            if memory.used.replace(at).is_some_and(|before| before != at) {
                memory.suspicious = true;
                // The head of one is no measure for another.
                (memory.best_head, memory.lower_heads) = (0, 0);
                memory.newest.forget();
            }
            let rpc = self.endpoints.rpc(at);
            let outcome = {
                let _step = self.clock.begin();
                self.step(&mut memory, at, &rpc).await
            };
            let pause = match outcome {
                Ok(step) => {
                    memory.failures = None;
                    memory.worked = true;
                    self.endpoints.answered(at);
                    self.status.send_if_modified(|status| std::mem::take(&mut status.disagreement));
                    match step {
                        Step::Progress => continue,
                        Step::CaughtUp => self.options.poll_interval,
                    }
                }
                Err(error) if error.is_permanent() && !memory.worked && self.is_the_end(&error) => {
                    return Err(error);
                }
                Err(error) => {
                    if let Some(pause) = self.note_failure(&mut memory, at, &error) {
                        tokio::time::sleep(pause).await; // a new head is no reason to hurry
                    }
                    continue;
                }
            };
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Draws the conclusions from a step that failed. How long to wait before the next one; none if another endpoint is asked.
    fn note_failure(&self, memory: &mut Memory, at: usize, error: &ChainError) -> Option<Duration> {
        memory.checked[at] = false;
        memory.suspicious = true;
        let disagree = matches!(error, ChainError::Disagreement { .. });
        let another_is_good = if disagree {
            false
        } else if error.is_permanent() {
            self.endpoints.is_good(self.endpoints.order()[0])
        } else {
            self.endpoints.failed(at, error)
        };
        if another_is_good {
            tracing::info!(%error, "chain monitor goes on with another endpoint");
            return None;
        }
        let (before, since) = memory.failures.unwrap_or_else(|| (0, SystemTime::now()));
        let failures = before.saturating_add(1);
        memory.failures = Some((failures, since));
        tracing::warn!(%error, failures, "chain monitor cannot go on; trying again");
        let reason = error.to_string();
        self.status.send_modify(|status| {
            status.state = MonitorState::Stalled { reason, failures, since };
            // To be on two branches for a moment is no disagreement.
            status.disagreement = disagree && failures >= CONTRADICTIONS;
            status.range = memory.planners[at].blocks();
        });
        Some(self.options.backoff.wait(failures, error.retry_after()))
    }

    /// Shows what was seen before this run, until an endpoint answers.
    async fn show_stored(&self) -> Result<(), ChainError> {
        let stored = cursor::load(&mut *self.db.read().await?, &self.options.stream).await?;
        if let Some(cursor) = stored.filter(|cursor| cursor.chain_id == self.chain_id) {
            self.status.send_modify(|status| {
                status.processed_time = cursor.time.map(block_time);
                status.reach(None, cursor.last(), Instant::now());
            });
        }
        Ok(())
    }

    /// Whether a wrong set-up is one of all endpoints, or of the database.
    fn is_the_end(&self, error: &ChainError) -> bool {
        let of_endpoint = matches!(error, ChainError::WrongChain { .. } | ChainError::NoContract { .. });
        !of_endpoint || self.endpoints.all().len() == 1 || self.endpoints.are_all_wrong()
    }

    /// One bounded piece of work, all of it by one endpoint: its answers must fit together.
    async fn step(&self, memory: &mut Memory, at: usize, rpc: &Rpc) -> Result<Step, ChainError> {
        let ahead = memory.ahead.take();
        if !memory.checked[at] {
            self.endpoints.check_one(at, self.chain_id, &self.contracts()).await?;
            memory.checked[at] = true;
        }
        let head = rpc.head().await?;
        let confirmed = head.saturating_sub(self.options.confirmations);
        let cursor = self.cursor(rpc, confirmed).await?;
        if head < cursor.last() {
            self.endpoints.seen_at(at, head);
        }
        self.status.send_modify(|status| {
            status.head = Some(head);
            status.processed_time = cursor.time.map(block_time);
            // As far as is known without a second one: less may count.
            status.reach(status.confirmed.is_none().then_some(confirmed), cursor.last(), Instant::now());
            status.range = memory.planners[at].blocks();
            status.unsearched = cursor.back.map(Unsearched::left);
        });
        let widened = !Interest::are_covered(&cursor.interests, &self.followed(&cursor));
        if widened || !self.is_part_valid(at, rpc, &cursor, head).await? {
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
            && self.undo_reorg(at, rpc, &cursor, head).await?
        {
            memory.best_head = head;
            memory.newest.forget();
            return Ok(Step::Progress);
        }
        memory.suspicious = false;
        self.look_at_head(rpc, &mut memory.newest, head).await;
        // Not before the newest block was looked at, by whose pace a view is judged.
        self.status.send_modify(|status| status.heard = Some(Instant::now()));
        Self::judge_head(memory, head)?;
        let Some(range) = planned else {
            self.endpoints.seen_at(at, head);
            self.compare_heads(at, &cursor, head).await;
            self.status.send_modify(|status| {
                status.state = MonitorState::Following;
                status.reach(Some(confirmed), cursor.last(), Instant::now());
            });
            return self.search_past(memory, &cursor, head).await;
        };
        let Some((witness, confirmed)) =
            self.second_opinion(memory, (at, rpc), &cursor, (*range.start(), head)).await
        else {
            return Ok(Step::CaughtUp);
        };
        // What only one of two has is not confirmed.
        let Some(range) = narrowed(memory, range, confirmed, witness.as_ref()) else {
            return Ok(Step::CaughtUp);
        };
        self.status.send_modify(|status| {
            status.reach(Some(confirmed), cursor.last(), Instant::now());
            if range.end() - range.start() > CHECKED_RANGE {
                status.state = MonitorState::CatchingUp;
            }
        });
        let wanted = self.wanted(&cursor, range, cursor.hash, confirmed);
        self.apply_range(memory, (at, rpc), &cursor, wanted, (witness, ahead), head).await?;
        Ok(Step::Progress)
    }

    /// The second endpoint for the blocks from `next` on, if there is one, and the newest block that is confirmed with it. None
    /// if one is waited for.
    async fn second_opinion(
        &self,
        memory: &mut Memory,
        (at, rpc): (usize, &Rpc),
        cursor: &Cursor,
        (next, head): (u64, u64),
    ) -> Option<(Option<Witness>, u64)> {
        let confirmed = head.saturating_sub(self.options.confirmations);
        match self.second((&mut memory.checked, &mut memory.lags), at, next, head).await {
            Second::None => {
                self.endpoints.seen_at(at, head);
                Some((None, confirmed))
            }
            Second::Lags(theirs) => {
                self.note_claimed_head(at, rpc, cursor, head, theirs).await;
                // A few blocks count as unconfirmed, as it will have them in a moment; a backlog is one.
                let few = confirmed.saturating_sub(cursor.last()) <= CHECKED_RANGE;
                self.status.send_modify(|status| {
                    status.state = if few { MonitorState::Following } else { MonitorState::CatchingUp };
                    let confirmed = if few { cursor.last() } else { confirmed };
                    status.reach(Some(confirmed), cursor.last(), Instant::now());
                });
                None
            }
            Second::Checks(witness) => {
                self.note_claimed_head(at, rpc, cursor, head, witness.head).await;
                let theirs = witness.head.saturating_sub(self.options.confirmations);
                Some((Some(witness), confirmed.min(theirs)))
            }
        }
    }

    /// Fetches a range, unless that was done ahead, and applies it while the next one is fetched.
    async fn apply_range(
        &self,
        memory: &mut Memory,
        (at, rpc): (usize, &Rpc),
        cursor: &Cursor,
        wanted: Wanted,
        (witness, ahead): (Option<Witness>, Option<Ahead>),
        head: u64,
    ) -> Result<(), ChainError> {
        let confirmed = wanted.confirmed;
        let second = witness.clone();
        let fetched = match ahead {
            Some(ahead) if ahead.is(at, &wanted, witness.as_ref()) => ahead.fetched,
            _ => self.fetch((at, rpc), wanted, witness).await,
        };
        let (batch, headers, is_checked) = match self.judge(&mut memory.planners, (at, rpc), fetched).await? {
            Judged::Apply { batch, headers, is_checked } => (batch, headers, is_checked),
            Judged::Smaller => return Ok(()),
            Judged::Again => {
                memory.suspicious = true;
                return Ok(());
            }
        };
        let next = self.plan_ahead(memory, at, cursor, (&batch, &headers), confirmed, second);
        let fetch = async {
            match next {
                Some((wanted, second)) => Some(self.fetch((at, rpc), wanted, second).await),
                None => None,
            }
        };
        let (from, to) = (batch.from_block, batch.to_block);
        // The endpoint's work and the database's take turns otherwise.
        let (committed, fetched) = tokio::join!(self.commit(cursor, batch, &headers, confirmed), fetch);
        committed?;
        self.note_check(&mut memory.unchecked, is_checked, (from, to));
        memory.ahead = fetched.map(|fetched| Ahead { at, fetched });
        if to >= confirmed {
            self.note_nothing_left(memory, head).await?;
        }
        Ok(())
    }

    /// Notes whether blocks that were applied had been checked by a second endpoint; and once it has checked some, how many it had not
    /// before.
    pub(super) fn note_check(&self, unchecked: &mut u64, is_checked: bool, (from, to): (u64, u64)) {
        if !is_checked && self.endpoints.are_several() {
            *unchecked = unchecked.saturating_add(to.saturating_sub(from)).saturating_add(1);
        }
        if is_checked && *unchecked > 0 {
            let before = std::mem::take(unchecked);
            self.status.send_modify(|status| status.unchecked = status.unchecked.saturating_add(before));
        }
    }

    /// A range above the block with hash `parent`.
    fn wanted(&self, cursor: &Cursor, range: RangeInclusive<u64>, parent: B256, confirmed: u64) -> Wanted {
        let (direction, interests) = (Direction::Forward, self.followed(cursor));
        Wanted { direction, range, parent: Some(parent), interests, confirmed }
    }

    /// Goes on as after the newest block when a step has processed all that was confirmed at its begin: where blocks come
    /// faster than steps end, none ever begins with nothing to process.
    async fn note_nothing_left(&self, memory: &mut Memory, head: u64) -> Result<(), ChainError> {
        self.status.send_modify(|status| status.state = MonitorState::Following);
        let cursor = cursor::load(&mut *self.db.read().await?, &self.options.stream).await?;
        if let Some(cursor) = cursor {
            self.search_past(memory, &cursor, head).await?;
        }
        Ok(())
    }

    /// What to ask for while a batch is applied: the next blocks, unless there are too many logs in memory, or too large ones.
    ///
    /// Not the blocks up to the newest confirmed one: there are newer ones when these are wanted, and a step that applied only
    /// what was asked for before them would never end with nothing left.
    fn plan_ahead(
        &self,
        memory: &Memory,
        at: usize,
        cursor: &Cursor,
        (batch, headers): (&ConfirmedBatch, &Headers),
        confirmed: u64,
        second: Option<Witness>,
    ) -> Option<(Wanted, Option<Witness>)> {
        if batch.logs.len() > MANY_LOGS {
            return None;
        }
        let range = memory.planners[at].plan(batch.to_block.saturating_add(1), confirmed)?;
        let range = narrowed(memory, range, confirmed, second.as_ref())?;
        if *range.end() >= confirmed {
            return None;
        }
        let blocks_of = |from: u64, to: u64| to.saturating_sub(from).saturating_add(1);
        let (blocks, next) =
            (blocks_of(batch.from_block, batch.to_block), blocks_of(*range.start(), *range.end()));
        let asked = if second.is_some() { 2 } else { 1 };
        if !may_fetch_ahead(batch.bytes(), blocks, next, asked, self.options.most_held) {
            return None;
        }
        let parent = headers.get(&batch.to_block)?.hash;
        Some((self.wanted(cursor, range, parent, confirmed), second))
    }

    /// Notes when the newest block was made and seen. No money depends on it: it is for what is shown, for the keys of sessions, and
    /// for a clock that contradicts it. So trouble with it holds up nothing.
    async fn look_at_head(&self, rpc: &Rpc, newest: &mut NewestBlocks, head: u64) {
        if !newest.wants(head, Instant::now()) {
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
                newest.fail(Instant::now());
                return;
            }
        };
        // After the head, so that the past is asked for once only and not as often as the head is missing.
        if newest.is_new() {
            let past: Vec<_> = futures::stream::iter(NewestBlocks::wanted(head))
                .map(|number| rpc.find_header(number))
                .buffer_unordered(CONCURRENT)
                .collect()
                .await;
            past.iter().flatten().flatten().for_each(|header| newest.add(header));
        }
        let head = newest.see(&header, Instant::now());
        self.status.send_modify(|status| status.newest = Some(head));
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
                self.credible_head(&rpc, cursor, found, head).await
            };
            match seen.await {
                Ok(seen) => self.endpoints.seen_at(other, seen),
                Err(error) => {
                    self.endpoints.failed(other, &error);
                }
            }
        }
    }

    /// Notes how far an endpoint is that claims to be at `head`, while another one is at `other`.
    async fn note_claimed_head(&self, at: usize, rpc: &Rpc, cursor: &Cursor, head: u64, other: u64) {
        let seen = self.credible_head(rpc, cursor, head, other).await.unwrap_or(head.min(other));
        self.endpoints.seen_at(at, seen);
    }

    /// The stored cursor, made first if there is none.
    async fn cursor(&self, rpc: &Rpc, confirmed: u64) -> Result<Cursor, ChainError> {
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
            return self.narrow(stored).await;
        }
        let start = match self.options.start {
            StartFrom::Block(block) => block,
            StartFrom::Recent(blocks) => (confirmed + 1).saturating_sub(blocks),
        };
        // The block before the first one is the anchor of the chain of hashes.
        let start = start.max(1);
        let anchor = rpc.header(start - 1).await?;
        let cursor = Cursor {
            chain_id: self.chain_id,
            contracts,
            start,
            next: start,
            hash: anchor.hash,
            time: Some(anchor.timestamp),
            interests: Interest::stored(&self.interests),
            part: None,
            back: None,
        };
        let mut tx = self.db.begin().await?;
        cursor::create(&mut tx, &self.options.stream, &cursor).await?;
        tx.commit().await?;
        tracing::info!(stream = %self.options.stream, start, "following the chain from here");
        Ok(cursor)
    }

    /// A stored cursor that follows no more than the present interests.
    async fn narrow(&self, stored: Cursor) -> Result<Cursor, ChainError> {
        let all = self.all_interests();
        let (interests, back) = match &self.recent {
            // One from before recent interests were searched for has seen theirs from its start on.
            Some(_) if stored.back.is_none() && Interest::are_covered(&stored.interests, &all) => {
                (Interest::stored(&all), Some(Unsearched::nothing(stored.start)))
            }
            _ => (Interest::stored(&self.followed(&stored)), stored.back),
        };
        let is_narrower =
            Interest::are_covered(&stored.interests, &self.followed(&Cursor { back, ..stored.clone() }));
        if (stored.interests == interests && stored.back == back) || !is_narrower {
            return Ok(stored);
        }
        // From now on it sees less, so that following more again is noticed.
        let mut tx = self.db.begin().await?;
        cursor::set_interests(&mut tx, &self.options.stream, &interests).await?;
        cursor::set_back(&mut tx, &self.options.stream, stored.back, back).await?;
        tx.commit().await?;
        Ok(Cursor { interests, back, ..stored })
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

    /// Effects, hashes and cursor in one transaction for each slice of the batch.
    async fn commit(
        &self,
        cursor: &Cursor,
        batch: ConfirmedBatch,
        headers: &Headers,
        confirmed: u64,
    ) -> Result<(), ChainError> {
        let to = batch.to_block;
        let stream = &self.options.stream;
        let history = confirmed.saturating_sub(self.options.history);
        let mut with_logs: BTreeMap<u64, B256> =
            batch.logs.iter().map(|log| (log.block, log.block_hash)).collect();
        let mut at = (cursor.next, cursor.part);
        for slice in part::slices(batch, cursor.part, part::MOST) {
            let part::Slice { batch: slice, part, is_last } = slice;
            let next = if is_last { (to + 1, part) } else { (cursor.next, part) };
            let mut tx = self.db.begin().await?;
            cursor::advance(&mut tx, stream, at, next).await?;
            // Before the sink, for which these blocks count as processed.
            if is_last {
                let not_final = cursor::lowest_not_final(&mut tx, self.chain_id).await?;
                let oldest = history.min(not_final.unwrap_or(history));
                // A block with logs was assembled with its header where that was fetched: the hashes are the same.
                let mut blocks = std::mem::take(&mut with_logs);
                blocks.extend(headers.values().map(|header| (header.number, header.hash)));
                let kept = blocks.into_iter().filter(|(number, _)| *number == to || *number >= oldest);
                cursor::keep(&mut tx, stream, kept).await?;
                cursor::forget_below(&mut tx, stream, oldest).await?;
                if let Some(last) = headers.get(&to) {
                    cursor::set_time(&mut tx, stream, last.timestamp).await?;
                }
            }
            let inform = self.sink.apply(&mut tx, &slice).await.map_err(|e| ChainError::Sink {
                from: slice.from_block,
                to: slice.to_block,
                source: e.into_inner(),
            })?;
            tx.commit().await?;
            at = next;
            self.clock.restart();
            inform();
        }
        self.status.send_modify(|status| {
            status.reach(None, to, Instant::now());
            status.processed_time = headers.get(&to).map(|last| block_time(last.timestamp));
        });
        Ok(())
    }
}

/// The range as far as it is confirmed and a witness allows it.
fn narrowed(
    memory: &Memory,
    range: RangeInclusive<u64>,
    confirmed: u64,
    witness: Option<&Witness>,
) -> Option<RangeInclusive<u64>> {
    let Some(witness) = witness else { return Some(range) };
    memory.planners[witness.at].plan(*range.start(), confirmed.min(*range.end()))
}
