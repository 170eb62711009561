//! The run: events in the order of time, and what each does.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use privatix_billing::{Measure, Terms};
use privatix_channel::model::Call;
use privatix_channel::{Amount, ChainTime, Phase, Usage};
use privatix_market::{
    Actual, Agent, AgentEffect, AgentMessage, AgentOrder, AgentPolicy, AgentState, Answered, Effect, Env,
    Fate, Input, Owner, Party as _, Rate, Reply, Stage, Target, Turn, Uptime, Verified, Wei,
};

use crate::adapter::{Adapter, Service};
use crate::chain::{AGENT, Chain};
use crate::check::Ledger;
use crate::choice::{Dice, hash};
use crate::client::{Client, Seen};
use crate::node::{Disk, Memory, Pending, Stored, Tags};
use crate::report::{RowOfRun, Violation};
use crate::scenario::{Fault, Move, Scenario, What, amount};
use crate::transactor::{CancelOutcome, EVERYDAY, GAS, Row, Transactor};

/// After the quiet end, everything must be final within this time, in milliseconds: the longest patience of the policy is a day.
const BOUND: u64 = 4 * 24 * 3_600_000;
const ROWS: usize = 40;

/// Something that happens at a time.
#[derive(Clone, Copy, Debug)]
enum Event {
    Block,
    /// The monitor and the transactor look at the chain.
    Deliver {
        life: u64,
    },
    Wake {
        life: u64,
        channel: usize,
    },
    /// The group commit of vouchers.
    Write {
        life: u64,
    },
    /// What follows from stored vouchers is decided.
    Follow {
        life: u64,
        channel: usize,
    },
    /// The adapter finishes a call, in time or late.
    Call {
        channel: usize,
        call: u64,
        instance: u64,
        target: Target,
        outcome: Outcome,
    },
    Report {
        channel: usize,
    },
    Act {
        channel: usize,
    },
    ToAgent {
        channel: usize,
        message: Message,
    },
    ToClient {
        channel: usize,
        acknowledged: Amount,
    },
    Step {
        number: usize,
    },
    Start,
    Tick {
        life: u64,
    },
    Batch,
    Quiet,
}

#[derive(Clone, Copy, Debug)]
enum Message {
    Voucher { cumulative: Amount, is_forged: bool },
    Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Refused,
    /// Done, and answered to nobody.
    Late,
}

/// Until when each fault goes on, in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Until {
    stale: u64,
    unexplained: u64,
    spike: u64,
    no_ether: u64,
    hang: u64,
    refuse: u64,
    offline: u64,
    /// Something of late may delay an answer to a close request.
    trouble: u64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events.
    pub steps: u64,
    /// Inputs that were decided.
    pub decisions: u64,
    /// Channels.
    pub channels: u64,
    /// Faults that were injected.
    pub faults: u64,
}

pub(crate) struct Sim<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) terms: Arc<Terms>,
    pub(crate) policy: AgentPolicy,
    pub(crate) now: u64,
    events: BinaryHeap<Reverse<(u64, u64, u64)>>,
    scheduled: Vec<Event>,
    free: Vec<usize>,
    pushed: u64,
    pub(crate) chain: Chain,
    pub(crate) transactor: Transactor,
    pub(crate) disk: Disk,
    pub(crate) memory: Memory,
    pub(crate) adapter: Adapter,
    pub(crate) clients: Vec<Client>,
    pub(crate) ledgers: Vec<Ledger>,
    pub(crate) until: Until,
    /// The process dies beside the next commits but so many.
    crash: Option<u64>,
    is_quiet: bool,
    delays: Dice,
    blocks: Dice,
    pub(crate) counts: Counts,
    pub(crate) notices: BTreeSet<String>,
    /// The last inputs, of one channel or of all, if they are kept.
    pub(crate) rows: Option<(Option<usize>, VecDeque<RowOfRun>)>,
    pub(crate) violation: Option<Violation>,
}

impl<'a> Sim<'a> {
    pub(crate) fn new(scenario: &'a Scenario, terms: Terms, rows_of: Option<Option<usize>>) -> Self {
        let world = &scenario.world;
        let seed = scenario.seed;
        let chain = Chain::new(world);
        let count = world.clients.len();
        let channels = chain.channels.iter().map(|(id, of)| Stored::new(AgentState::new(*id, *of))).collect();
        let disk = Disk { channels, blocks: vec![chain.blocks[0].hash], uptime: Uptime::default() };
        let memory = Memory {
            is_up: false,
            life: 0,
            started: (0, Uptime::default()),
            is_fresh: false,
            is_explained: true,
            affords_new: true,
            instance: 0,
            seen_at: 0,
            queue: Vec::new(),
            wakes: vec![None; count],
            chain_wakes: vec![None; count],
            calls: vec![None; count],
        };
        let client = |(n, kind): (usize, &_)| {
            Client::new(*kind, Dice::new(seed, 100 + n as u64), world.duration * 1_000)
        };
        let to_usize = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let mut sim = Self {
            scenario,
            terms: Arc::new(terms),
            policy: world.policy(),
            now: 0,
            events: BinaryHeap::new(),
            scheduled: Vec::new(),
            free: Vec::new(),
            pushed: 0,
            chain,
            transactor: Transactor::new(to_usize(world.confirmations), to_usize(world.final_depth)),
            disk,
            memory,
            adapter: Adapter { services: vec![Service::new(); count], instance: 0, calls: 0 },
            clients: world.clients.iter().enumerate().map(client).collect(),
            ledgers: vec![Ledger::default(); count],
            until: Until::default(),
            crash: None,
            is_quiet: false,
            delays: Dice::new(seed, 4),
            blocks: Dice::new(seed, 5),
            counts: Counts { channels: count as u64, ..Counts::default() },
            notices: BTreeSet::new(),
            rows: rows_of.map(|of| (of, VecDeque::new())),
            violation: None,
        };
        sim.begin();
        sim
    }

    fn begin(&mut self) {
        let world = &self.scenario.world;
        self.after(0, Event::Start);
        self.after(world.block_time * 1_000, Event::Block);
        self.after(1_800_000, Event::Batch);
        self.after(world.duration * 1_000, Event::Quiet);
        for channel in 0..self.clients.len() {
            let (_, descriptor) = self.chain.channels[channel];
            let call = Call::OpenFromWallet {
                agent: descriptor.agent,
                offering: descriptor.offering,
                nonce: descriptor.nonce,
                signer: descriptor.signer,
                amount: amount(world.deposit),
            };
            self.chain.pool.push((descriptor.client, call));
            let first = self.delays.below(30_000);
            self.after(first, Event::Act { channel });
            self.after(5_000, Event::Report { channel });
        }
        for (number, step) in self.scenario.steps.iter().enumerate() {
            self.after(step.at, Event::Step { number });
        }
    }

    /// Runs to the end.
    pub(crate) fn run(&mut self) {
        let end = self.scenario.world.duration * 1_000 + BOUND;
        while self.violation.is_none() {
            let Some(Reverse((at, _, place))) = self.events.pop() else { break };
            let place = usize::try_from(place).unwrap_or(0);
            let event = self.scheduled[place];
            self.free.push(place);
            self.now = at;
            self.counts.steps += 1;
            self.happen(event);
            if self.is_quiet && matches!(event, Event::Block) && self.is_final() {
                return self.check_end();
            }
            if self.now > end {
                let open = (0..self.clients.len()).find(|channel| !self.is_over(*channel));
                let shown = open.map(|channel| self.transactor.shown(channel)).unwrap_or_default();
                return self.violate(
                    open,
                    &format!("9: not final in time after all faults were over; transactions: {shown}"),
                );
            }
        }
    }

    fn after(&mut self, pause: u64, event: Event) {
        let place = if let Some(place) = self.free.pop() {
            self.scheduled[place] = event;
            place
        } else {
            self.scheduled.push(event);
            self.scheduled.len() - 1
        };
        self.pushed += 1;
        let tie = hash(self.scenario.seed, 6, self.pushed);
        self.events.push(Reverse((self.now + pause, tie, place as u64)));
    }

    fn happen(&mut self, event: Event) {
        let life = self.memory.life;
        let is_alive = |of: u64| self.memory.is_up && of == life;
        match event {
            Event::Block => self.block(),
            Event::Deliver { life } if is_alive(life) => self.deliver(),
            Event::Wake { life, channel } if is_alive(life) => self.wake(channel),
            Event::Write { life } if is_alive(life) => self.write(),
            Event::Follow { life, channel } if is_alive(life) => self.look(channel),
            Event::Tick { life } if is_alive(life) => self.tick(),
            Event::Deliver { .. } | Event::Wake { .. } | Event::Write { .. } => {}
            Event::Follow { .. } | Event::Tick { .. } => {}
            Event::Call { channel, call, instance, target, outcome } => {
                self.call(channel, call, instance, target, outcome);
            }
            Event::Report { channel } => self.report(channel),
            Event::Act { channel } => self.act(channel),
            Event::ToAgent { channel, message } => self.to_agent(channel, message),
            Event::ToClient { channel, acknowledged } => {
                let client = &mut self.clients[channel];
                client.acknowledged = client.acknowledged.max(acknowledged);
            }
            Event::Step { number } if self.is_quiet => {
                debug_assert!(number < self.scenario.steps.len());
            }
            Event::Step { number } => self.step(number),
            Event::Start => self.start(),
            Event::Batch => {
                self.batch();
                self.after(1_800_000, Event::Batch);
            }
            Event::Quiet => self.quiet(),
        }
    }

    // ---- The chain.

    pub(crate) fn price(&self) -> u128 {
        if self.now < self.until.spike { EVERYDAY * 1_000 } else { EVERYDAY }
    }

    fn has_ether(&self) -> bool {
        self.now >= self.until.no_ether
    }

    fn block(&mut self) {
        let pause = if self.is_quiet { 60 } else { self.scenario.world.block_time };
        self.after(pause * 1_000, Event::Block);
        let time = self.chain.time() + pause;
        self.make_block(time);
        self.check_block(pause);
        let life = self.memory.life;
        let delay = self.delays.between(10, 3_000);
        self.after(delay, Event::Deliver { life });
    }

    fn make_block(&mut self, time: u64) {
        self.chain.begin_block(time);
        let agent_first = self.blocks.chance(50);
        let (price, has_ether) = (self.price(), self.has_ether());
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
    }

    /// Replaces the last blocks by others, and one more.
    fn reorganise(&mut self, depth: u64) {
        let depth = depth.min(self.scenario.world.final_depth - 1);
        let mut times = Vec::new();
        for _ in 0..depth {
            let Some(block) = self.chain.undo() else { break };
            self.transactor.undo(&block);
            times.push(block.time);
        }
        for ledger in &mut self.ledgers {
            ledger.forget_blocks_after(self.chain.height());
        }
        while let Some(time) = times.pop() {
            self.make_block(time);
            self.check_block(0);
        }
        self.until.trouble = self.now + 60_000;
    }

    /// The monitor and the transactor look at the chain.
    fn deliver(&mut self) {
        if self.now < self.until.stale {
            return;
        }
        self.memory.seen_at = self.now;
        self.monitor();
        if self.memory.is_up {
            self.transact();
        }
        if self.memory.is_up {
            self.surroundings();
        }
    }

    /// Processes blocks with their confirmations, and rolls back what is not on the chain any more.
    fn monitor(&mut self) {
        let confirmations = usize::try_from(self.scenario.world.confirmations).unwrap_or(0);
        let last = self.chain.height().saturating_sub(confirmations);
        let mut common = self.disk.blocks.len();
        while common > 1 && self.chain.hash(common - 1) != Some(self.disk.blocks[common - 1]) {
            common -= 1;
        }
        let is_rollback = common < self.disk.blocks.len();
        if !is_rollback && common > last {
            return;
        }
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
            for (stored, logs) in sim.disk.channels.iter_mut().zip(logs) {
                stored.is_known |= !logs.is_empty();
                stored.logs = logs;
            }
        };
        self.transaction(before, inputs);
    }

    /// The transactor sends what waits, and reports what became of the rest.
    fn transact(&mut self) {
        self.transactor.send(self.chain.height(), self.price());
        while let Some((id, fate)) = self.transactor.next_fate(&self.chain) {
            self.fate(id, fate);
            if !self.memory.is_up || self.violation.is_some() {
                return;
            }
        }
    }

    fn fate(&mut self, id: usize, fate: Fate) {
        let intent = &self.transactor.intents[id];
        let input = |row: &Row| (row.channel, Input::Tx { seq: row.seq, purpose: row.purpose, fate });
        let inputs = intent.rows.iter().map(input).collect();
        self.transaction(|sim: &mut Self| sim.transactor.reported(id, fate), inputs);
    }

    fn batch(&mut self) {
        if !self.memory.is_up || self.price() > EVERYDAY {
            return;
        }
        let mut rows = Vec::new();
        for (channel, stored) in self.disk.channels.iter().enumerate() {
            if let Some((seq, purpose)) = stored.collected.filter(|(_, purpose)| purpose.is_close()) {
                rows.push(Row { channel, seq, purpose });
            }
        }
        if rows.is_empty() {
            return;
        }
        let fate = Fate::Batched;
        let inputs =
            rows.iter().map(|row| (row.channel, Input::Tx { seq: row.seq, purpose: row.purpose, fate }));
        let inputs = inputs.collect();
        let before = |sim: &mut Self| {
            for row in &rows {
                sim.disk.channels[row.channel].collected = None;
            }
            sim.transactor.submit(rows, true, privatix_market::Bid::of_batch());
        };
        self.transaction(before, inputs);
    }

    // ---- The node.

    pub(crate) fn uptime(&self) -> Uptime {
        let (at, uptime) = self.memory.started;
        Uptime::new(uptime.milliseconds() + (self.now - at))
    }

    pub(crate) fn env<'e>(&self, policy: &'e AgentPolicy) -> Env<'e, Agent> {
        let mut env = Env::new(self.uptime(), policy);
        let seen = self.chain.blocks.get(self.disk.blocks.len() - 1);
        env.chain.now = seen.map(|block| ChainTime::new(block.time));
        env.chain.fresh = self.memory.is_fresh;
        env.chain.explained = self.memory.is_explained;
        env.chain.challenge = self.scenario.world.challenge();
        env.gas.affords_new = self.memory.affords_new;
        env.gas.close_cost = Some(Wei::new(GAS * self.price()));
        env.gas.rate = self.rate();
        env.instance = self.memory.instance;
        env
    }

    /// A base unit is worth a multiple of a thousandth of what a close costs.
    pub(crate) fn rate(&self) -> Option<Rate> {
        let per_unit = u128::from(self.scenario.world.rate?) * GAS / 100;
        Some(Rate { wei_per_token: per_unit, decimals: 0 })
    }

    /// One commit: facts first, then each input is decided and its effects in the database are carried out. What else follows,
    /// follows after the commit. The process may die on either side of it.
    fn transaction(&mut self, facts: impl FnOnce(&mut Self), inputs: Vec<(usize, Input<Agent>)>) {
        if self.dies() {
            return self.die();
        }
        facts(self);
        let policy = std::mem::take(&mut self.policy);
        let mut decided = BTreeSet::new();
        let mut replies = Vec::new();
        for (channel, input) in inputs {
            self.decide(channel, input, &policy, &mut replies);
            decided.insert(channel);
        }
        for &channel in &decided {
            self.check_stored(channel, &policy);
        }
        if self.dies() {
            self.policy = policy;
            return self.die();
        }
        for channel in decided {
            self.committed(channel, &policy);
        }
        self.policy = policy;
        for (channel, reply) in replies {
            self.answer(channel, reply);
        }
    }

    fn load(&self, channel: usize) -> AgentState {
        let mut state = self.disk.channels[channel].state.clone();
        for flight in &mut state.own.flights {
            if let Stage::Mined { block, seen } = &mut flight.stage {
                let number = usize::try_from(block.number).unwrap_or(usize::MAX);
                *seen = self.disk.blocks.get(number) == Some(&block.hash);
            }
        }
        state
    }

    fn decide(
        &mut self,
        channel: usize,
        input: Input<Agent>,
        policy: &AgentPolicy,
        replies: &mut Vec<(usize, Reply)>,
    ) {
        let mut turn = Turn::new(self.load(channel));
        let env = self.env(policy);
        let mut shown = self.rows.is_some().then(|| format!("{input:?}"));
        turn.push(input);
        while let Some(decided) = turn.next(&env) {
            self.counts.decisions += 1;
            let effects = decided.unwrap_or_default();
            if let Some(shown) = shown.take() {
                self.note(channel, shown, &effects, turn.state());
            }
            for effect in effects {
                match effect {
                    Effect::Submit { seq, purpose, bid } => {
                        self.disk.channels[channel].collected.take_if(|(of, _)| *of == seq);
                        self.check_submit(channel, seq, purpose, turn.state());
                        self.transactor.submit(vec![Row { channel, seq, purpose }], false, bid);
                    }
                    Effect::Collect { seq, purpose } => {
                        self.disk.channels[channel].collected = Some((seq, purpose))
                    }
                    Effect::Cancel { seq } => {
                        if let Some(input) = self.cancel(channel, seq) {
                            shown = self.rows.is_some().then(|| format!("{input:?}"));
                            turn.push(input);
                        }
                    }
                    Effect::Own(AgentEffect::Answer(reply)) => replies.push((channel, reply)),
                    Effect::Notify(notice) => {
                        let name = format!("{notice:?}");
                        let end = name.find([' ', '(']).unwrap_or(name.len());
                        self.notices.insert(name[..end].to_owned());
                    }
                    Effect::Own(AgentEffect::Keep(_)) | Effect::Drive { .. } => {}
                    other => self
                        .violate(Some(channel), &format!("3: an effect that nobody carries out: {other:?}")),
                }
            }
        }
        let state = turn.into_state();
        self.check_again(channel, &state, &env);
        let stored = &mut self.disk.channels[channel];
        stored.ceiling = state.ceiling();
        stored.state = state;
    }

    fn cancel(&mut self, channel: usize, seq: u32) -> Option<Input<Agent>> {
        if self.disk.channels[channel].collected.take_if(|(of, _)| *of == seq).is_some() {
            return None;
        }
        let Some(id) = self.transactor.find(channel, seq) else {
            self.violate(Some(channel), &format!("3: cancels {seq}, which does not exist"));
            return None;
        };
        let row = *self.transactor.intents[id].rows.first()?;
        match self.transactor.cancel(id) {
            CancelOutcome::Done => Some(Input::Tx { seq, purpose: row.purpose, fate: Fate::Cancelled }),
            CancelOutcome::Requested | CancelOutcome::NotOpen => None,
        }
    }

    /// What follows a commit: wakes, calls to the adapter, its bound.
    fn committed(&mut self, channel: usize, policy: &AgentPolicy) {
        let (env, state) = (self.env(policy), self.load(channel));
        let owners = Agent::owners(&state, &env);
        self.check_owners(channel, &state, &owners);
        let at = owners.iter().filter_map(Owner::uptime).min();
        self.memory.chain_wakes[channel] = owners.iter().filter_map(Owner::chain_time).min();
        if self.memory.wakes[channel] != at {
            self.memory.wakes[channel] = at;
            self.schedule_wake(channel);
        }
        self.raise(channel);
        let asked = state.own.service.asked;
        let asked_for = self.memory.calls[channel].map(|(_, seq)| seq);
        match asked {
            Some(asked) if asked_for != Some(asked.seq) => self.drive(channel, asked.seq, asked.target),
            None => self.memory.calls[channel] = None,
            Some(_) => {}
        }
        self.send_soon();
    }

    fn schedule_wake(&mut self, channel: usize) {
        let Some(at) = self.memory.wakes[channel] else { return };
        let pause = at.milliseconds().saturating_sub(self.uptime().milliseconds()).max(1);
        let life = self.memory.life;
        self.after(pause, Event::Wake { life, channel });
    }

    fn send_soon(&mut self) {
        self.transactor.send(self.chain.height(), self.price());
    }

    fn look(&mut self, channel: usize) {
        self.transaction(|_| (), vec![(channel, Input::Look)]);
    }

    fn wake(&mut self, channel: usize) {
        let uptime = self.uptime();
        if self.memory.wakes[channel].is_some_and(|at| at <= uptime) {
            self.memory.wakes[channel] = None;
            self.check_busy(channel);
            self.look(channel);
        }
    }

    /// Each channel is looked at when a bit of its surroundings changed, or its time by the chain's clock has come.
    fn surroundings(&mut self) {
        let stale_after = (self.scenario.world.block_time * 5).max(60) * 1_000;
        let seen = (
            self.now - self.memory.seen_at <= stale_after,
            self.now >= self.until.unexplained,
            self.has_ether(),
            self.adapter.instance,
        );
        let memory = &mut self.memory;
        let known = (memory.is_fresh, memory.is_explained, memory.affords_new, memory.instance);
        let has_changed = seen != known;
        (memory.is_fresh, memory.is_explained, memory.affords_new, memory.instance) = seen;
        let time = self.chain.blocks.get(self.disk.blocks.len() - 1).map(|block| ChainTime::new(block.time));
        for channel in 0..self.clients.len() {
            let is_time =
                self.memory.chain_wakes[channel].is_some_and(|at| time.is_some_and(|now| now >= at));
            if has_changed || is_time {
                self.look(channel);
            }
            if !self.memory.is_up || self.violation.is_some() {
                return;
            }
        }
    }

    fn tick(&mut self) {
        let life = self.memory.life;
        let pause = if self.is_quiet { 60_000 } else { 10_000 };
        self.after(pause, Event::Tick { life });
        let uptime = self.uptime();
        if uptime.since(self.disk.uptime).as_secs() >= 60 {
            self.disk.uptime = uptime;
        }
        self.surroundings();
    }

    fn start(&mut self) {
        if self.memory.is_up {
            return;
        }
        let count = self.clients.len();
        self.memory.is_up = true;
        self.memory.life += 1;
        self.memory.started = (self.now, self.disk.uptime);
        self.memory.is_fresh = false;
        self.memory.seen_at = 0;
        self.memory.queue.clear();
        self.memory.wakes = vec![None; count];
        self.memory.chain_wakes = vec![None; count];
        self.memory.calls = vec![None; count];
        self.memory.instance = self.adapter.instance;
        let life = self.memory.life;
        self.after(10_000, Event::Tick { life });
        self.after(1_000, Event::Deliver { life });
        for channel in 0..count {
            if self.memory.is_up {
                self.look(channel);
            }
        }
    }

    /// Whether the process dies here.
    fn dies(&mut self) -> bool {
        match &mut self.crash {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn die(&mut self) {
        self.crash = None;
        self.memory.is_up = false;
        let down = self.delays.pick(&[5_000, 30_000, 30_000, 120_000, 600_000]);
        self.until.trouble = self.until.trouble.max(self.now + down + 60_000);
        self.after(down, Event::Start);
    }

    // ---- Vouchers.

    fn to_agent(&mut self, channel: usize, message: Message) {
        if !self.memory.is_up || self.now < self.until.offline || !self.disk.channels[channel].is_known {
            return;
        }
        let (id, descriptor) = self.chain.channels[channel];
        let message = match message {
            Message::Access => AgentMessage::Access,
            Message::Voucher { cumulative, is_forged } => {
                let signer = if is_forged { AGENT } else { descriptor.signer };
                let Ok(voucher) = Verified::check(&Tags(descriptor.signer), &(id, cumulative, signer)) else {
                    return;
                };
                AgentMessage::Voucher(voucher)
            }
        };
        let policy = std::mem::take(&mut self.policy);
        let mut view = self.load(channel);
        for pending in self.memory.queue.iter().filter(|pending| pending.channel == channel) {
            view.book.best = view.book.best.max(pending.best);
            view.book.acknowledged = view.book.acknowledged.max(pending.acknowledged);
        }
        let input = Input::Peer(message);
        let decided = Agent::decide(&view, &input, &self.env(&policy));
        self.counts.decisions += 1;
        self.policy = policy;
        let Ok(decision) = decided else { return };
        let is_plain = |effect: &Effect<Agent>| {
            matches!(effect, Effect::Own(AgentEffect::Keep(_) | AgentEffect::Answer(_)))
        };
        let is_voucher = matches!(message, AgentMessage::Voucher(_));
        if !is_voucher || !decision.effects.iter().all(is_plain) {
            return self.transaction(|_| (), vec![(channel, input)]);
        }
        let reply = decision.effects.iter().find_map(|effect| match effect {
            Effect::Own(AgentEffect::Answer(reply)) => Some(*reply),
            _ => None,
        });
        if self.rows.is_some() {
            self.note(channel, format!("{input:?} (view)"), &decision.effects, &decision.state);
        }
        let Some(reply) = reply else { return self.violate(Some(channel), "8: a voucher without an answer") };
        let book = decision.state.book;
        if self.memory.queue.is_empty() {
            let (life, pause) = (self.memory.life, self.delays.between(1, 50));
            self.after(pause, Event::Write { life });
        }
        let (best, acknowledged) = (book.best, book.acknowledged);
        self.memory.queue.push(Pending { channel, best, acknowledged, reply });
    }

    /// The group commit. Its transaction decides what is acknowledged: a close may have been stored a moment before.
    fn write(&mut self) {
        if self.dies() {
            return self.die();
        }
        let queue = std::mem::take(&mut self.memory.queue);
        let mut answers = Vec::new();
        let mut grown = BTreeSet::new();
        for pending in queue {
            let stored = &mut self.disk.channels[pending.channel];
            let ceiling = stored.ceiling.unwrap_or(Amount::MAX);
            let book = &mut stored.state.book;
            if pending.best > book.best {
                book.best = pending.best;
                grown.insert(pending.channel);
            }
            book.acknowledged = book.acknowledged.max(pending.acknowledged.min(ceiling));
            let most = book.acknowledged.max(ceiling.min(book.best));
            let reply = match pending.reply {
                Reply::Paid { acknowledged, .. } if acknowledged > most => Reply::Kept { acknowledged: most },
                reply => reply,
            };
            answers.push((pending.channel, reply));
        }
        if self.dies() {
            return self.die();
        }
        for (channel, reply) in answers {
            self.answer(channel, reply);
        }
        for channel in grown {
            self.raise(channel);
            let (life, pause) = (self.memory.life, self.delays.between(1, 200));
            self.after(pause, Event::Follow { life, channel });
        }
    }

    fn answer(&mut self, channel: usize, reply: Reply) {
        let (Reply::Paid { acknowledged, .. } | Reply::Kept { acknowledged } | Reply::Stale { acknowledged }) =
            reply
        else {
            return;
        };
        self.check_answer(channel, acknowledged);
        if self.delays.chance(95) && self.now >= self.until.offline {
            let pause = self.delays.between(20, 2_000);
            self.after(pause, Event::ToClient { channel, acknowledged });
        }
    }

    // ---- The adapter.

    fn measure(&self) -> Measure {
        self.terms.unit().measure
    }

    /// The adapter hears the bound.
    fn raise(&mut self, channel: usize) {
        if self.now < self.until.hang {
            return;
        }
        let (now, measure) = (self.now, self.measure());
        let Some(bound) = self.disk.channels[channel].state.bound() else { return };
        let service = &mut self.adapter.services[channel];
        service.count(measure, now);
        service.bound = bound.get();
    }

    fn drive(&mut self, channel: usize, seq: u32, target: Target) {
        self.adapter.calls += 1;
        let (call, instance) = (self.adapter.calls, self.adapter.instance);
        self.memory.calls[channel] = Some((call, seq));
        let mut outcome = Outcome::Done;
        let mut pause = self.delays.between(20, 2_000);
        if self.now < self.until.hang {
            if self.delays.chance(50) {
                return;
            }
            (outcome, pause) = (Outcome::Late, self.delays.between(5_000, 55_000));
        } else if self.now < self.until.refuse && target != Target::Absent {
            outcome = Outcome::Refused;
        }
        self.after(pause, Event::Call { channel, call, instance, target, outcome });
    }

    fn call(&mut self, channel: usize, call: u64, instance: u64, target: Target, outcome: Outcome) {
        if instance != self.adapter.instance {
            return;
        }
        let actual = match target {
            Target::Absent => Actual::Absent,
            Target::Suspended => Actual::Suspended,
            Target::Running => Actual::Running,
        };
        let (now, measure) = (self.now, self.measure());
        if outcome != Outcome::Refused {
            self.adapter.services[channel].set(actual, measure, now);
        }
        let waited = self.memory.calls[channel].filter(|(of, _)| *of == call && self.memory.is_up);
        let Some((_, seq)) = waited else {
            // The call was dropped, and is done nevertheless: the runner makes the newest one once more.
            let asked = self.memory.calls[channel];
            let wanted = self.disk.channels[channel].state.own.service.target;
            if self.memory.is_up && asked.is_none() && wanted < target {
                self.drive(channel, 0, wanted);
            }
            return;
        };
        if outcome == Outcome::Late {
            return;
        }
        self.memory.calls[channel] = None;
        let answer = if outcome == Outcome::Refused { Answered::Refused } else { Answered::Did(actual) };
        self.transaction(|_| (), vec![(channel, Input::Adapter { seq, answer })]);
    }

    fn report(&mut self, channel: usize) {
        self.after(5_000, Event::Report { channel });
        if self.is_quiet && self.is_over(channel) {
            return;
        }
        let (now, measure) = (self.now, self.measure());
        self.adapter.services[channel].count(measure, now);
        self.check_use(channel);
        if !self.memory.is_up || self.now < self.until.hang || !self.disk.channels[channel].is_known {
            return;
        }
        let service = &mut self.adapter.services[channel];
        let total = (service.used.saturating_sub(service.drift), service.session.is_some());
        if total != service.reported {
            service.reported = total;
            let (used, running) = (Usage::new(total.0), total.1);
            self.transaction(|_| (), vec![(channel, Input::Used { used, running })]);
        }
    }

    // ---- Clients, the operator, and faults.

    fn act(&mut self, channel: usize) {
        let pause = if self.is_quiet { 60_000 } else { self.clients[channel].pause() };
        self.after(pause, Event::Act { channel });
        let (now, measure) = (self.now, self.measure());
        let service = &mut self.adapter.services[channel];
        service.count(measure, now);
        let (used, runs) = (Usage::new(service.used), service.runs());
        let phase = match self.chain.channel(channel) {
            None => Phase::Unopened,
            Some(held) if !held.open => return,
            Some(held) => held.challenge_ends_at.map_or(Phase::Open, |ends_at| Phase::Closing { ends_at }),
        };
        if phase == Phase::Open
            && !self.is_quiet
            && self.disk.channels[channel].state.own.handed_out.is_none()
        {
            self.after(50, Event::ToAgent { channel, message: Message::Access });
        }
        let seen = Seen {
            now,
            phase,
            deposit: self.chain.channel(channel).map_or(Amount::ZERO, |held| held.deposit),
            chain_time: ChainTime::new(self.chain.time()),
            used,
            runs,
            terms: &self.terms,
            is_quiet: self.is_quiet,
        };
        for step in self.clients[channel].act(&seen) {
            self.make(channel, step);
        }
    }

    fn step(&mut self, number: usize) {
        let step = &self.scenario.steps[number];
        let channel = step.who.min(self.clients.len() - 1);
        match step.what {
            What::Do(step) => self.make(channel, step),
            What::Fault(fault) => {
                self.counts.faults += 1;
                self.fail(channel, fault);
            }
        }
    }

    fn make(&mut self, channel: usize, step: Move) {
        let (_, descriptor) = self.chain.channels[channel];
        let client = descriptor.client;
        match step {
            Move::Use(more) => self.consume(channel, more),
            Move::Pay(more) => {
                let cumulative = self.clients[channel].best().saturating_add(amount(more));
                if more > 0 {
                    self.clients[channel].signed.push(cumulative);
                    self.send(channel, cumulative, false);
                }
            }
            Move::Replay(n) => {
                if let Some(cumulative) = self.signed(channel, n) {
                    self.send(channel, cumulative, false);
                }
            }
            Move::Forge(cumulative) => self.send(channel, amount(cumulative), true),
            Move::TopUp(more) => {
                self.chain.pool.push((client, Call::TopUpFromWallet { descriptor, amount: amount(more) }));
            }
            Move::RequestClose(admitted) => {
                self.chain.pool.push((client, Call::RequestClose { descriptor, admitted: amount(admitted) }));
            }
            Move::CancelClose => self.chain.pool.push((client, Call::CancelClose { descriptor })),
            Move::Finalize => self.chain.pool.push((client, Call::FinalizeClose { descriptor })),
            Move::Settle(n) => {
                if let Some(cumulative) = self.signed(channel, n) {
                    let signature = self.chain.signature(channel, cumulative);
                    self.chain.pool.push((client, Call::Settle { descriptor, cumulative, signature }));
                }
            }
            Move::End => self.order(channel, AgentOrder::End),
            Move::Close => self.order(channel, AgentOrder::Close),
            Move::Hold => self.order(channel, AgentOrder::Hold),
            Move::Resume => self.order(channel, AgentOrder::Resume),
            Move::Abandon => {
                self.ledgers[channel].is_abandoned |= self.memory.is_up;
                self.order(channel, AgentOrder::Abandon);
            }
            Move::CancelTransaction => self.cancel_by_operator(channel),
            Move::Batch => self.batch(),
        }
    }

    fn signed(&self, channel: usize, n: u64) -> Option<Amount> {
        let signed = &self.clients[channel].signed;
        let place = n.checked_rem(signed.len() as u64)?;
        signed.get(usize::try_from(place).ok()?).copied()
    }

    fn send(&mut self, channel: usize, cumulative: Amount, is_forged: bool) {
        let message = Message::Voucher { cumulative, is_forged };
        if self.delays.chance(96) {
            let pause = self.delays.between(20, 3_000);
            self.after(pause, Event::ToAgent { channel, message });
        }
        if self.delays.chance(4) {
            let pause = self.delays.between(20, 60_000);
            self.after(pause, Event::ToAgent { channel, message });
        }
    }

    fn consume(&mut self, channel: usize, more: u64) {
        let (now, measure) = (self.now, self.measure());
        let service = &mut self.adapter.services[channel];
        service.count(measure, now);
        if measure == Measure::Seconds {
            // A session begins, or ends.
            service.session = if more > 0 && service.runs() { service.session.or(Some(now)) } else { None };
        } else {
            service.consume(more);
        }
        self.check_use(channel);
    }

    fn order(&mut self, channel: usize, order: AgentOrder) {
        if self.memory.is_up && self.disk.channels[channel].is_known {
            self.transaction(|_| (), vec![(channel, Input::Order(order))]);
        }
    }

    fn cancel_by_operator(&mut self, channel: usize) {
        let Some((id, seq)) = self.transactor.newest(channel) else { return };
        let state = &self.disk.channels[channel].state;
        if !self.memory.is_up || state.may_cancel(seq, &self.policy).is_err() {
            return;
        }
        if self.transactor.is_unsent(id) {
            self.fate(id, Fate::Cancelled);
        } else {
            self.transactor.cancel(id);
        }
    }

    fn fail(&mut self, channel: usize, fault: Fault) {
        let end = |seconds: u64| self.now + seconds * 1_000;
        match fault {
            Fault::Reorg(depth) => self.reorganise(depth),
            Fault::Crash(commits) => self.crash = Some(commits),
            Fault::Stale(seconds) => self.until.stale = end(seconds),
            Fault::Unexplained(seconds) => self.until.unexplained = end(seconds),
            Fault::GasSpike(seconds) => self.until.spike = end(seconds),
            Fault::NoEther(seconds) => self.until.no_ether = end(seconds),
            Fault::Hang(seconds) => self.until.hang = end(seconds),
            Fault::Refuse(seconds) => self.until.refuse = end(seconds),
            Fault::AdapterCrash => self.restart_adapter(),
            Fault::Drift(by) => self.adapter.services[channel].drift = by,
            Fault::Drop => {
                let (now, measure) = (self.now, self.measure());
                let service = &mut self.adapter.services[channel];
                if service.runs() {
                    service.set(Actual::Suspended, measure, now);
                }
            }
            Fault::FailTransaction(n) => {
                self.until.trouble = self.now + 180_000;
                if self.memory.is_up
                    && let Some(id) = self.transactor.oldest()
                {
                    self.fate(id, Fate::Failed { lasting: n % 2 == 1 });
                }
            }
            Fault::Offline(seconds) => self.until.offline = end(seconds),
        }
    }

    fn restart_adapter(&mut self) {
        let (now, measure) = (self.now, self.measure());
        self.adapter.instance += 1;
        for service in &mut self.adapter.services {
            service.set(Actual::Absent, measure, now);
        }
    }

    /// Whether nothing of late kept the node from answering a close request.
    pub(crate) fn is_able(&self) -> bool {
        let until = &self.until;
        let last = [until.stale, until.spike, until.no_ether, until.trouble].into_iter().max();
        self.memory.is_up && self.memory.is_fresh && self.now >= last.unwrap_or(0)
    }

    /// All faults are over.
    fn quiet(&mut self) {
        self.is_quiet = true;
        let trouble = self.until.trouble;
        self.until = Until { trouble, ..Until::default() };
        self.crash = None;
        self.start();
        for channel in 0..self.clients.len() {
            self.adapter.services[channel].drift = 0;
            self.consume(channel, 0);
            self.order(channel, AgentOrder::Resume);
        }
    }

    /// What nobody but the operator moves on, the operator closes.
    fn attend(&mut self) {
        for channel in 0..self.clients.len() {
            let policy = std::mem::take(&mut self.policy);
            let owners = Agent::owners(&self.load(channel), &self.env(&policy));
            self.policy = policy;
            if owners.iter().any(|owner| matches!(owner, Owner::User { .. })) {
                self.order(channel, AgentOrder::Close);
            }
        }
    }

    fn is_final(&mut self) -> bool {
        if (0..self.clients.len()).all(|channel| self.is_over(channel)) {
            return true;
        }
        if self.counts.steps % 16 == 0 {
            self.attend();
        }
        false
    }

    fn is_over(&self, channel: usize) -> bool {
        let state = &self.disk.channels[channel].state;
        let is_closed = matches!(state.chain.phase(), Phase::Closed { .. }) && state.own.flights.is_empty();
        let is_gone = state.own.service.actual(self.memory.instance).is(Target::Absent);
        let was_never_seen = !self.disk.channels[channel].is_known && !self.chain.is_open(channel);
        (is_closed && is_gone && self.disk.channels[channel].collected.is_none()) || was_never_seen
    }

    pub(crate) fn violate(&mut self, channel: Option<usize>, what: &str) {
        if self.violation.is_none() {
            self.violation = Some(Violation { at: self.now, channel, what: what.to_owned() });
        }
    }

    fn note(&mut self, channel: usize, input: String, effects: &[Effect<Agent>], state: &AgentState) {
        let Some((of, rows)) = &mut self.rows else { return };
        if of.is_some_and(|of| of != channel) {
            return;
        }
        let row = RowOfRun::new(self.now, channel, input, effects, state);
        if rows.len() == ROWS {
            rows.pop_front();
        }
        rows.push_back(row);
    }
}
