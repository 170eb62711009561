//! The chain's side: blocks, reorganisations, and what the monitor and the transactor make of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use privatix_market::batch::{self, BatchEnv, BatchPolicy};
use privatix_market::{AgentPurpose, Book, Fate, Input, Stage, Wei};

use super::{BuyerEvent, Event, Sim};
use crate::node::Collected;
use crate::transactor::{EVERYDAY, Row};

impl Sim<'_> {
    pub(crate) fn price(&self) -> u128 {
        if self.now < self.until.spike { EVERYDAY * 1_000 } else { EVERYDAY }
    }

    pub(super) fn has_ether(&self) -> bool {
        self.now >= self.until.no_ether
    }

    pub(super) fn block(&mut self) {
        let pause = if self.is_quiet { 60 } else { self.scenario.world.block_time };
        self.after(pause * 1_000, Event::Block);
        let time = self.chain.time() + pause;
        self.make_block(time);
        self.check_block(pause);
        if !self.is_quiet && self.blocks.chance(self.scenario.world.reorgs) {
            let depth = self.blocks.between(1, 4);
            self.reorganise(depth);
        }
        let life = self.memory.life;
        let delay = self.delays.between(10, 3_000);
        self.after(delay, Event::Deliver { life });
        for channel in 0..self.buyers.len() {
            let Some(life) = self.buyers[channel].as_ref().map(|buyer| buyer.life) else { continue };
            let delay = self.delays.between(10, 3_000);
            self.after(delay, Event::Buyer { channel, what: BuyerEvent::Deliver { life } });
        }
    }

    pub(super) fn make_block(&mut self, time: u64) {
        self.chain.begin_block(time);
        let agent_first = self.blocks.chance(50);
        let (price, has_ether) = (self.price(), self.has_ether());
        for buyer in self.buyers.iter_mut().flatten().filter(|buyer| buyer.is_early) {
            let has_ether = self.now >= buyer.until.no_ether;
            buyer.transactor.mine(&mut self.chain, price, has_ether, &mut self.blocks);
        }
        if agent_first {
            self.transactor.mine(&mut self.chain, price, has_ether, &mut self.blocks);
        }
        if !self.chain.pool.is_empty() {
            let waiting = std::mem::take(&mut self.chain.pool);
            for (sender, call) in waiting {
                if self.blocks.chance(85) {
                    self.chain.execute(sender, &call);
                    if let Some(block) = self.chain.blocks.last_mut() {
                        block.calls.push((sender, call));
                    }
                } else {
                    self.chain.pool.push((sender, call));
                }
            }
        }
        if !agent_first {
            self.transactor.mine(&mut self.chain, price, has_ether, &mut self.blocks);
        }
        for buyer in self.buyers.iter_mut().flatten() {
            if !buyer.is_early {
                let has_ether = self.now >= buyer.until.no_ether;
                buyer.transactor.mine(&mut self.chain, price, has_ether, &mut self.blocks);
            }
            // Which of the two sides is first in the next block.
            buyer.is_early = !buyer.is_early;
        }
    }

    /// Replaces the last `depth` blocks by as many others with the same times; never a final one.
    pub(super) fn reorganise(&mut self, depth: u64) {
        self.replace_blocks(depth.min(self.scenario.world.final_depth - 1));
    }

    /// The same, whatever is final.
    pub(super) fn replace_blocks(&mut self, depth: u64) {
        let mut times = Vec::new();
        for _ in 0..depth {
            let Some(block) = self.chain.undo() else { break };
            self.transactor.undo(&block);
            for buyer in self.buyers.iter_mut().flatten() {
                buyer.transactor.undo(&block);
            }
            times.push(block.time);
        }
        for ledger in &mut self.ledgers {
            ledger.restart_answer_time();
        }
        while let Some(time) = times.pop() {
            self.make_block(time);
            self.check_block(0);
        }
        self.until.trouble = self.until.trouble.max(self.now + 60_000);
    }

    /// The monitor and the transactor look at the chain.
    pub(super) fn deliver(&mut self) {
        if self.now < self.until.stale {
            return;
        }
        self.memory.seen_at = self.seen_at(&self.until);
        // They do not wait for each other.
        let is_transactor_first = self.views.chance(20);
        if is_transactor_first {
            self.transact();
        }
        if self.memory.is_up {
            self.monitor();
        }
        if self.memory.is_up && !is_transactor_first {
            self.transact();
        }
        if self.memory.is_up {
            self.surroundings();
        }
    }

    /// Processes blocks with their confirmations, and rolls back what is not on the chain any more.
    pub(super) fn monitor(&mut self) {
        let confirmations = usize::try_from(self.scenario.world.confirmations).unwrap_or(0);
        let last = self.head(&self.until).saturating_sub(confirmations);
        let mut common = self.disk.blocks.len();
        while common > 1 && self.chain.hash(common - 1) != Some(self.disk.blocks[common - 1]) {
            common -= 1;
        }
        let hides = self.hides(&self.until);
        // What was left out is searched for from the first block on.
        let searches = self.disk.has_gaps && !hides;
        if searches {
            common = 1;
        }
        let is_rollback = common < self.disk.blocks.len();
        if !is_rollback && common > last {
            return;
        }
        let mut has_gaps = self.disk.has_gaps && !searches;
        let mut touched = BTreeSet::new();
        let mut inputs = Vec::new();
        let mut logs: Vec<Vec<_>> = Vec::new();
        if is_rollback {
            for (channel, stored) in self.disk.channels.iter().enumerate() {
                let kept = |(at, _): &&(privatix_channel::LogPosition, _)| at.block < common as u64;
                let kept: Vec<_> = stored.logs.iter().filter(kept).copied().collect();
                if kept.len() < stored.logs.len() {
                    touched.insert(channel);
                }
                logs.push(kept);
            }
        }
        for block in self.chain.blocks.iter().take(last + 1).skip(common) {
            for (channel, at, event) in &block.logs {
                if self.is_rogue(*channel) {
                    continue;
                }
                if hides {
                    has_gaps = true;
                    continue;
                }
                if logs.is_empty() {
                    logs = self.disk.channels.iter().map(|stored| stored.logs.clone()).collect();
                }
                logs[*channel].push((*at, *event));
                touched.insert(*channel);
            }
        }
        // A flight in one of these blocks is seen from now on.
        for (channel, stored) in self.disk.channels.iter().enumerate() {
            let is_mined =
                |stage: &Stage| matches!(stage, Stage::Mined { block, .. } if block.number >= common as u64);
            if stored.state.own.flights.iter().any(|flight| is_mined(&flight.stage)) {
                touched.insert(channel);
            }
        }
        let hashes: Vec<_> =
            self.chain.blocks.iter().take(last + 1).skip(common).map(|block| block.hash).collect();
        for channel in touched {
            let fold = match logs.get(channel) {
                Some(logs) => privatix_channel::OnChain::fold(logs.iter().copied()),
                None => self.disk.channels[channel].fold(),
            };
            inputs.push((channel, Input::Chain(fold)));
            if !self.disk.channels[channel].is_known && fold.opened_at.is_some() {
                inputs.push((channel, Input::Terms(Arc::clone(&self.terms))));
            }
        }
        let before = |sim: &mut Self| {
            sim.disk.blocks.truncate(common);
            sim.disk.blocks.extend(hashes);
            sim.disk.has_gaps = has_gaps;
            for (stored, logs) in sim.disk.channels.iter_mut().zip(logs) {
                stored.is_known |= !logs.is_empty();
                stored.logs = logs;
            }
        };
        self.transaction(before, inputs);
    }

    /// The transactor sends what waits, and reports what became of the rest.
    pub(super) fn transact(&mut self) {
        let head = self.head(&self.until);
        let lies = self.now < self.until.lie;
        self.transactor.hear(&self.chain, head, lies, &mut self.views);
        self.transactor.send(head, self.price());
        while let Some((id, fate)) = self.transactor.next_fate(head, lies) {
            self.fate(id, fate);
            if !self.memory.is_up || self.violation.is_some() || self.now < self.until.full {
                return;
            }
        }
    }

    pub(super) fn fate(&mut self, id: usize, fate: Fate) {
        let intent = &self.transactor.intents[id];
        let input =
            |row: &Row<AgentPurpose>| (row.channel, Input::Tx { seq: row.seq, purpose: row.purpose, fate });
        let inputs = intent.rows.iter().map(input).collect();
        self.transaction(|sim: &mut Self| sim.transactor.reported(id, fate), inputs);
    }

    /// What was collected goes out together, as far as it is time for that; all of it if that is asked for.
    pub(super) fn batch(&mut self, all: bool) {
        if !self.memory.is_up || self.now < self.until.full || self.price() > EVERYDAY {
            return;
        }
        let (mut waiting, mut places) = (Vec::new(), Vec::new());
        for (place, stored) in self.disk.channels.iter().enumerate() {
            let Some(Collected { seq, purpose, since }) = stored.collected else { continue };
            let claimed = Book { best: purpose.cumulative(), ..Book::default() };
            let (channel, gain) = (stored.state.id, claimed.claimable(&stored.state.chain));
            let names_signer = stored.state.descriptor.names_signer();
            waiting.push(batch::Row { channel, seq, purpose, gain, names_signer, since });
            places.push(place);
        }
        if waiting.is_empty() {
            return;
        }
        let mut policy = BatchPolicy::default();
        policy.gas_price = all.then_some(Wei::new(u128::MAX));
        let gas_price = Some(Wei::new(self.price()));
        let env = BatchEnv { uptime: self.uptime(), gas_price, rate: self.rate(), policy: &policy };
        let batches = batch::decide(&waiting, &env);
        self.check_batches(&waiting, &batches, &env);
        for batch in batches {
            let place = |row: &batch::Row| waiting.iter().position(|of| of.channel == row.channel);
            let rows = batch.rows.iter().filter_map(|row| {
                let channel = *places.get(place(row)?)?;
                Some(Row { channel, seq: row.seq, purpose: row.purpose })
            });
            let rows: Vec<_> = rows.collect();
            let fate = Fate::Batched;
            let input = |row: &Row<AgentPurpose>| {
                (row.channel, Input::Tx { seq: row.seq, purpose: row.purpose, fate })
            };
            let inputs = rows.iter().map(input).collect();
            let bid = batch.bid();
            let before = |sim: &mut Self| {
                for row in &rows {
                    sim.disk.channels[row.channel].collected = None;
                }
                sim.transactor.submit(rows, true, bid);
            };
            self.transaction(before, inputs);
            if !self.memory.is_up {
                return;
            }
        }
    }
}
