//! One run: the events in their order, and what each of them does. `run.rs` starts runs and reports them.

mod backup;
mod blocks;
mod buyer;
mod buyer_adapter;
mod endpoints;
mod moves;
mod rogue;
mod service;
mod shell;
mod views;
mod vouchers;
mod wire;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use privatix_billing::Terms;
use privatix_channel::{Amount, Phase};
use privatix_market::{
    AffordsNew, Agent, AgentOrder, AgentPolicy, AgentPurpose, AgentState, Answered, Client as Buying,
    ClientMessage, ClientPolicy, ClientState, Effect, Owner, Party as _, Target, Uptime,
};

use crate::adapter::{Adapter, Service};
use crate::buyer::{Asking, Buyer};
use crate::chain::{AGENT, Chain};
use crate::check::Ledger;
use crate::choice::{Dice, hash};
use crate::client::Client;
use crate::node::{Disk, Memory, Stored};
use crate::report::{RowOfRun, Rows, Rule, Violation};
use crate::scenario::{Kind, Scenario, amount};
use crate::transactor::Transactor;

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
        seq: u32,
        life: u64,
        instance: u64,
        target: Target,
        /// The bound with which a service is prepared.
        bound: u64,
        outcome: CallOutcome,
    },
    Answer(CallAnswer),
    Report {
        channel: usize,
    },
    Act {
        channel: usize,
    },
    ToAgent {
        channel: usize,
        message: Message,
        request: Option<Asking>,
    },
    ToClient {
        channel: usize,
        acknowledged: Amount,
    },
    Step {
        number: usize,
    },
    Start,
    /// The machine wakes up.
    Awake {
        life: u64,
        uptime: Uptime,
    },
    Tick {
        life: u64,
    },
    Batch,
    Quiet,
    Buyer {
        channel: usize,
        what: BuyerEvent,
    },
}

/// Something at a client's node.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "most of them are messages")]
enum BuyerEvent {
    Start,
    /// The machine wakes up.
    Awake {
        life: u64,
        uptime: Uptime,
    },
    Deliver {
        life: u64,
    },
    Wake {
        life: u64,
    },
    Tick {
        life: u64,
    },
    /// An answer, if somebody still waits for it.
    Message {
        life: u64,
        until: u64,
        message: ClientMessage,
    },
    /// A job has looked for the money of a transaction.
    Funded {
        seq: u32,
    },
    Report,
    Call {
        call: u64,
        instance: u64,
        target: Target,
        outcome: CallOutcome,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    Voucher {
        cumulative: Amount,
        is_forged: bool,
    },
    Access,
    /// The client proves its channel.
    Attach,
    /// Any answer will do.
    Ping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallOutcome {
    Done,
    Refused,
    /// Done, and answered late or to nobody.
    Late,
}

/// The adapter's answer to a call.
#[derive(Clone, Copy, Debug)]
struct CallAnswer {
    channel: usize,
    call: u64,
    seq: u32,
    instance: u64,
    /// The life of the process that asked.
    life: u64,
    answer: Answered,
}

/// Until when each fault goes on, in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Until {
    pub(crate) stale: u64,
    unexplained: u64,
    spike: u64,
    pub(crate) no_ether: u64,
    pub(crate) hang: u64,
    pub(crate) refuse: u64,
    pub(crate) offline: u64,
    pub(crate) no_key: u64,
    /// Its requests wait behind other work.
    pub(crate) queued: u64,
    /// The disk is full.
    pub(crate) full: u64,
    pub(crate) lag: u64,
    /// The endpoints show transactions as mined that are in no block.
    pub(crate) lie: u64,
    pub(crate) hidden: u64,
    /// From when on the node knows that events are missing.
    pub(crate) noticed: u64,
    /// Something of late may delay an answer to a close request.
    trouble: u64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that were carried out.
    pub events: u64,
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
    pub(crate) client_policy: ClientPolicy,
    pub(crate) now: u64,
    events: BinaryHeap<Reverse<(u64, u64, u64)>>,
    scheduled: Vec<Event>,
    free: Vec<usize>,
    pushed: u64,
    pub(crate) chain: Chain,
    pub(crate) transactor: Transactor<AgentPurpose>,
    pub(crate) disk: Disk,
    /// The newest copy of it.
    backup: Option<Box<backup::Backup>>,
    pub(crate) memory: Memory,
    pub(crate) adapter: Adapter,
    pub(crate) clients: Vec<Client>,
    /// The nodes of the clients that decide by `market`.
    pub(crate) buyers: Vec<Option<Box<Buyer>>>,
    pub(crate) ledgers: Vec<Ledger>,
    pub(crate) until: Until,
    /// How many sides of commits the process survives before it dies: each commit has two, before and after.
    crash: Option<u64>,
    is_quiet: bool,
    /// When the last message of a connection arrives, to the agent and to the client.
    arrivals: Vec<[u64; 2]>,
    delays: Dice,
    blocks: Dice,
    /// What endpoints show, and whether a monitor or a transactor looks first.
    views: Dice,
    pub(crate) counts: Counts,
    pub(crate) notices: BTreeSet<String>,
    /// What the buyers' nodes refused.
    pub(crate) refused: BTreeSet<String>,
    /// The last inputs, of one channel or of all, if they are kept.
    pub(crate) rows: Option<Rows>,
    pub(crate) violation: Option<Violation>,
}

impl<'a> Sim<'a> {
    pub(crate) fn new(scenario: &'a Scenario, terms: Terms, rows: Option<Rows>) -> Self {
        let world = &scenario.world;
        let seed = scenario.seed;
        let chain = Chain::new(world);
        let count = world.clients.len();
        let channels = chain.channels.iter().map(|(id, of)| Stored::new(AgentState::new(*id, *of))).collect();
        let disk =
            Disk { channels, blocks: vec![chain.blocks[0].hash], has_gaps: false, uptime: Uptime::default() };
        let memory = Memory {
            is_up: false,
            life: 0,
            started: (0, Uptime::default()),
            is_fresh: false,
            is_explained: true,
            affords_new: AffordsNew::default(),
            instance: 0,
            seen_at: 0,
            queue: Vec::new(),
            wakes: vec![None; count],
            chain_wakes: vec![None; count],
            calls: vec![None; count],
            views: vec![None; count],
        };
        let client = |(n, kind): (usize, &_)| {
            Client::new(*kind, Dice::new(seed, 100 + n as u64), world.duration * 1_000)
        };
        let to_usize = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let mut sim = Self {
            scenario,
            terms: Arc::new(terms),
            policy: world.policy(),
            client_policy: world.client_policy(),
            now: 0,
            events: BinaryHeap::new(),
            scheduled: Vec::new(),
            free: Vec::new(),
            pushed: 0,
            chain,
            transactor: Transactor::new(AGENT, to_usize(world.confirmations), to_usize(world.final_depth)),
            disk,
            backup: None,
            memory,
            adapter: Adapter { services: vec![Service::new(); count], instance: 0, calls: 0 },
            clients: world.clients.iter().enumerate().map(client).collect(),
            buyers: Vec::new(),
            ledgers: vec![Ledger::default(); count],
            until: Until::default(),
            crash: None,
            is_quiet: false,
            arrivals: vec![[0; 2]; count],
            delays: Dice::new(seed, 4),
            blocks: Dice::new(seed, 5),
            views: Dice::new(seed, 8),
            counts: Counts { channels: count as u64, ..Counts::default() },
            notices: BTreeSet::new(),
            refused: BTreeSet::new(),
            rows,
            violation: None,
        };
        sim.begin();
        sim
    }

    fn begin(&mut self) {
        let world = &self.scenario.world;
        self.after(0, Event::Start);
        self.after(world.block_time * 1_000, Event::Block);
        self.after(world.batch_every * 1_000, Event::Batch);
        self.after(world.duration * 1_000, Event::Quiet);
        for channel in 0..self.clients.len() {
            let buyer = self.new_buyer(channel, world.clients[channel]);
            if let Some(buyer) = &buyer {
                self.after(0, Event::Buyer { channel, what: BuyerEvent::Start });
                self.after(6_000, Event::Buyer { channel, what: BuyerEvent::Report });
                for &(seq, _) in &buyer.funding {
                    self.after(1_000, Event::Buyer { channel, what: BuyerEvent::Funded { seq } });
                }
            } else if !matches!(world.clients[channel], Kind::Buyer | Kind::Cheated) {
                let (_, descriptor) = self.chain.channels[channel];
                let call = self.chain.open(channel, amount(world.deposit));
                self.chain.pool.push((descriptor.client, call));
            }
            self.buyers.push(buyer);
            let first = self.delays.below(30_000);
            self.after(first, Event::Act { channel });
            self.after(5_000, Event::Report { channel });
        }
        for (number, step) in self.scenario.steps.iter().enumerate() {
            // Not counted like the others: a step that is left out changes no tie of theirs.
            self.schedule(step.at, hash(self.scenario.seed, 7, step.at), Event::Step { number });
        }
    }

    /// Runs to the end.
    pub(crate) fn run(&mut self) {
        let end = self.scenario.world.duration * 1_000 + BOUND;
        while self.violation.is_none() {
            let Some(event) = self.advance() else { break };
            if self.is_quiet && matches!(event, Event::Block) && self.is_final() {
                return self.check_end();
            }
            if self.now > end {
                let open = (0..self.clients.len()).find(|channel| !self.is_over(*channel));
                let shown = open.map(|channel| self.transactor.shown(channel)).unwrap_or_default();
                return self.violate(
                    open,
                    Rule::Invariant(9),
                    &format!("not final in time after all faults were over; transactions: {shown}"),
                );
            }
        }
    }

    /// Carries out the next event.
    fn advance(&mut self) -> Option<Event> {
        let Reverse((at, _, place)) = self.events.pop()?;
        let place = usize::try_from(place).unwrap_or(0);
        let event = self.scheduled[place];
        self.free.push(place);
        self.now = at;
        self.counts.events += 1;
        self.happen(event);
        Some(event)
    }

    fn after(&mut self, pause: u64, event: Event) {
        self.pushed += 1;
        let tie = hash(self.scenario.seed, 6, self.pushed);
        self.schedule(self.now + pause, tie, event);
    }

    /// Of two events at the same time, the one with the lower tie is first.
    fn schedule(&mut self, at: u64, tie: u64, event: Event) {
        let place = if let Some(place) = self.free.pop() {
            self.scheduled[place] = event;
            place
        } else {
            self.scheduled.push(event);
            self.scheduled.len() - 1
        };
        self.events.push(Reverse((at, tie, place as u64)));
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
            Event::Call { channel, call, seq, life, instance, target, bound, outcome } => {
                self.finish_call(channel, (call, seq, life), instance, (target, bound), outcome);
            }
            Event::Answer(answer) => self.answered(answer),
            Event::Buyer { channel, what } => self.buyer_event(channel, what),
            Event::Report { channel } => self.report(channel),
            Event::Act { channel } => self.act(channel),
            Event::ToAgent { channel, message, request } => self.receive(channel, message, request),
            Event::ToClient { channel, acknowledged } => {
                let client = &mut self.clients[channel];
                client.acknowledged = client.acknowledged.max(acknowledged);
            }
            Event::Step { .. } if self.is_quiet => {}
            Event::Step { number } => self.step(number),
            Event::Start => self.start(),
            Event::Awake { life, uptime } => self.awake(life, uptime),
            Event::Batch => {
                self.batch(false);
                self.after(self.scenario.world.batch_every * 1_000, Event::Batch);
            }
            Event::Quiet => self.quiet(),
        }
    }

    /// Whether nothing of late kept the node from answering a close request.
    pub(crate) fn is_able(&self) -> bool {
        let until = &self.until;
        let last =
            [until.stale, until.lag, until.hidden, until.spike, until.no_ether, until.full, until.trouble];
        let last = last.into_iter().max();
        self.memory.is_up && self.memory.is_fresh && self.now >= last.unwrap_or(0)
    }

    /// All faults are over.
    fn quiet(&mut self) {
        self.is_quiet = true;
        self.check_duration();
        let trouble = self.until.trouble;
        self.until = Until { trouble, ..Until::default() };
        self.crash = None;
        self.start();
        for channel in 0..self.clients.len() {
            let service = &mut self.adapter.services[channel];
            (service.drift, service.ahead) = (0, 0);
            self.consume(channel, 0);
            self.order(channel, AgentOrder::Resume);
            self.with_buyer(channel, |sim, buyer| {
                (buyer.until, buyer.crash, buyer.drift) = (Until::default(), None, 0);
                buyer.wall = 0; // its user has set it
                sim.start_buyer(channel, buyer);
            });
        }
    }

    /// What nobody but the operator moves on, the operator closes.
    fn attend(&mut self) {
        for channel in 0..self.clients.len() {
            let policy = std::mem::take(&mut self.policy);
            let owners = Agent::owners(&self.load(channel), &self.env_of(channel, &policy));
            self.policy = policy;
            if owners.iter().any(|owner| matches!(owner, Owner::User { .. })) {
                self.order(channel, AgentOrder::Close);
            }
            self.attend_buyer(channel);
        }
    }

    fn is_final(&mut self) -> bool {
        // What a node believes of blocks that are not on the chain any more is no end.
        if self.sees_all() && (0..self.clients.len()).all(|channel| self.is_over(channel)) {
            return true;
        }
        if self.counts.events.is_multiple_of(16) {
            self.attend();
        }
        false
    }

    fn is_over(&self, channel: usize) -> bool {
        self.is_over_for_agent(channel) && self.is_over_for_buyer(channel)
    }

    fn is_over_for_agent(&self, channel: usize) -> bool {
        if self.is_rogue(channel) {
            return !self.chain.is_open(channel);
        }
        let state = &self.disk.channels[channel].state;
        let is_closed = matches!(state.chain.phase(), Phase::Closed { .. }) && state.own.flights.is_empty();
        let is_gone = state.own.service.actual(self.memory.instance).is(Target::Absent);
        let is_known = self.disk.channels[channel].is_known;
        let was_never_seen = !is_known && !self.chain.is_open(channel);
        if state.chain.phase() == Phase::Unopened && is_known && !self.chain.is_open(channel) {
            // The opening was undone, and did not come again.
            return Agent::owners(&self.load(channel), &self.env_of(channel, &self.policy)).is_empty();
        }
        (is_closed && is_gone && self.disk.channels[channel].collected.is_none()) || was_never_seen
    }

    pub(crate) fn violate(&mut self, channel: Option<usize>, rule: Rule, what: &str) {
        if self.violation.is_none() {
            self.violation = Some(Violation { at: self.now, channel, rule, what: what.to_owned() });
        }
    }

    /// A notice was shown: its name counts.
    fn shown(&mut self, notice: &str) {
        if !notice.contains(' ') {
            self.notices.insert(notice.to_owned());
        }
        self.notices.insert(variant(notice).to_owned());
    }

    fn note_buyer(&mut self, channel: usize, input: &str, effects: &[Effect<Buying>], state: &ClientState) {
        self.keep(channel, |at| RowOfRun::of_client(at, channel, input, effects, state));
    }

    fn keep(&mut self, channel: usize, row: impl FnOnce(u64) -> RowOfRun) {
        let Some(rows) = self.rows.as_mut().filter(|rows| rows.of.is_none_or(|of| of == channel)) else {
            return;
        };
        if rows.last.len() == ROWS {
            rows.last.pop_front();
        }
        rows.last.push_back(row(self.now));
    }

    fn note(&mut self, channel: usize, input: &str, effects: &[Effect<Agent>], state: &AgentState) {
        self.keep(channel, |at| RowOfRun::new(at, channel, input, effects, state));
    }
}

/// The name of the variant that was written.
fn variant(written: &str) -> &str {
    let end = written.find([' ', '(']).unwrap_or(written.len());
    &written[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that was stored or mined before a time.
    fn before(scenario: &Scenario, time: u64) -> String {
        let mut sim = Sim::new(scenario, scenario.world.terms().unwrap(), None);
        while sim.events.peek().is_some_and(|Reverse((at, ..))| *at < time) {
            sim.advance();
        }
        assert_eq!(sim.violation, None);
        format!("{:?} {:?} {:?}", sim.chain, sim.disk, sim.transactor)
    }

    #[test]
    fn a_step_that_is_left_out_changes_nothing_before_it() {
        let mut left_out = 0;
        for seed in 1..40 {
            let scenario = Scenario::random(seed);
            let half = scenario.world.duration * 500;
            let mut fewer = scenario.clone();
            fewer.steps.retain(|step| step.at < half);
            left_out += scenario.steps.len() - fewer.steps.len();
            assert!(before(&fewer, half) == before(&scenario, half), "seed {seed}");
        }
        assert!(left_out > 100, "{left_out} steps");
    }
}
