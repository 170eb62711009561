//! Whatever happens: a state that is not final has an owner, no close is below what was acknowledged, and once faults cease the
//! channel becomes final within a bound.

use privatix_billing::Measure;
use privatix_channel::{ChainTime, CloseRequest, Closure, Ending as End, LogPosition, OnChain, Usage};
use privatix_market::*;
use proptest::prelude::*;

use crate::support::{ACCESS, Run, a, block, voucher};

/// A transaction of the agent, as the chain and the transactor have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Pending,
    InBlock { number: u64, success: bool },
    Over,
}

/// The chain and the transactor, as far as one channel needs them.
#[derive(Clone)]
struct World {
    run: Run,
    /// What the contract holds.
    truth: OnChain,
    height: u64,
    /// The contract before each block, for reorganisations.
    before: Vec<(u64, OnChain)>,
    transactions: Vec<(u32, AgentPurpose, Known)>,
    /// Those that went in a batch.
    batched: Vec<u32>,
}

impl World {
    /// A channel that is served, or one that has just opened.
    fn new(is_served: bool, is_timed: bool) -> Self {
        let mut run = if is_served { Run::open(100) } else { Run::opening(100) }.at(1_000);
        if is_timed {
            run = run.terms(|terms| terms.unit.measure = Measure::Seconds);
        }
        run.policy.min_gain = a(5);
        run.policy.at_risk = is_timed.then_some(a(30));
        let truth = run.state.chain;
        Self { run, truth, height: 10, before: Vec::new(), transactions: Vec::new(), batched: Vec::new() }
    }

    /// Gives an input and carries out its effects.
    fn give(&mut self, input: &Input<Agent>) {
        let Ok(effects) = self.run.try_give(input) else { return };
        for seq in &self.batched {
            let cancelled = effects.split(", ").any(|effect| effect == format!("cancel {seq}"));
            assert!(!cancelled || self.run.env().kept_open.is_some(), "{seq} is in a batch: {effects}");
        }
        let own = &self.run.state.own;
        for flight in &own.flights {
            let is_new = !self.transactions.iter().any(|(seq, ..)| *seq == flight.seq);
            if is_new && flight.stage != Stage::Collected {
                assert!(effects.contains(&format!("submit {}", flight.seq)), "{effects}: {flight:?}");
                self.transactions.push((flight.seq, flight.purpose, Known::Pending));
            }
        }
        let owners = self.run.owners();
        let is_final = !self.run.state.chain.phase().is_open() && own.flights.is_empty();
        assert!(owners != "nobody" || is_final, "nobody owns {:?}", self.run.state);
    }

    /// A new block with one change.
    fn change(&mut self, change: impl FnOnce(&mut OnChain, LogPosition)) {
        self.height += 1;
        self.run.now = self.run.now.map(|now| now + 12);
        self.before.push((self.height, self.truth));
        change(&mut self.truth, LogPosition::new(self.height, 0));
    }

    fn report(&mut self, place: usize, fate: Fate) {
        let (seq, purpose, _) = self.transactions[place];
        self.give(&Input::Tx { seq, purpose, fate });
    }

    fn mine(&mut self, place: usize) {
        let (_, purpose, known) = self.transactions[place];
        if known != Known::Pending {
            return;
        }
        let success = self.truth.closed.is_none() && self.truth.opened_at.is_some();
        let acknowledged = self.run.state.book.acknowledged;
        self.change(|truth, at| {
            if success {
                truth.paid = truth.paid.max(purpose.cumulative().min(truth.deposit));
                if purpose.is_close() {
                    let refund = truth.deposit.saturating_sub(truth.paid);
                    truth.closed = Some(End { refund, closure: Closure::ByAgent, block: at.block });
                    assert!(truth.paid >= acknowledged.min(truth.deposit), "closed below {acknowledged}");
                }
            }
        });
        let number = self.height;
        self.transactions[place].2 = Known::InBlock { number, success };
        self.report(place, if success { Fate::Mined(block(number)) } else { Fate::Reverted });
    }

    /// The monitor has caught up.
    fn deliver(&mut self) {
        self.run.sees();
        self.give(&Input::Chain(self.truth));
    }

    fn finalize(&mut self, place: usize) {
        if let Known::InBlock { .. } = self.transactions[place].2 {
            self.before.clear(); // nothing before a final block is undone
            self.transactions[place].2 = Known::Over;
            self.report(place, Fate::Final);
        }
    }

    fn reorganise(&mut self, blocks: usize) {
        for _ in 0..blocks {
            let Some((number, truth)) = self.before.pop() else { return };
            self.truth = truth;
            for place in 0..self.transactions.len() {
                if matches!(self.transactions[place].2, Known::InBlock { number: n, .. } if n == number) {
                    self.transactions[place].2 = Known::Pending;
                    let batch = self.batched.contains(&self.transactions[place].0);
                    self.report(place, Fate::Reinstated { batch });
                }
            }
        }
    }

    /// One thing that happens, good or bad.
    fn step(&mut self, kind: u8, value: u64) {
        let place = usize::try_from(value).unwrap() % self.transactions.len().max(1);
        let pending = self.transactions.get(place).is_some_and(|(.., known)| *known == Known::Pending);
        let is_open = self.truth.closed.is_none();
        match kind {
            0 => self.deliver(),
            1 if pending => self.mine(place),
            2 if pending => {
                self.transactions[place].2 = Known::Over;
                self.report(place, Fate::Failed { lasting: value.is_multiple_of(3) });
            }
            3 if pending
                && self.run.state.may_cancel(self.transactions[place].0, &self.run.policy).is_ok() =>
            {
                self.transactions[place].2 = Known::Over;
                self.report(place, Fate::Cancelled);
            }
            4 => self.reorganise(usize::try_from(value % 4).unwrap()),
            5 if is_open => self.change(|truth, at| {
                truth.paid = truth.paid.max(a(u128::from(value)).min(truth.deposit));
                let ends_at = ChainTime::new(3_000 + at.block * 12);
                truth.last_close_request = Some(CloseRequest { at, ends_at });
            }),
            6 if is_open => self.change(|truth, at| truth.last_cancellation = Some(at)),
            7 if is_open => self.change(|truth, at| {
                truth.deposit = truth.deposit.checked_add(a(10)).unwrap();
                truth.last_cancellation = Some(at);
            }),
            8 => self.give(&voucher(u128::from(value))),
            9 => self.give(&Input::Order(AgentOrder::End)),
            10 if value.is_multiple_of(8) => self.give(&Input::Order(AgentOrder::Close)),
            11 => {
                let actual = [Actual::Absent, Actual::Suspended, Actual::Running][place % 3];
                self.adapter(if value.is_multiple_of(5) { Answered::GaveUp } else { Answered::Did(actual) });
            }
            12 => {
                self.run.uptime += value * value * 10;
                self.run.now = self.run.now.map(|now| now + value * 7);
                self.give(&Input::Look);
            }
            13 => {
                (self.run.fresh, self.run.explained) = (value.is_multiple_of(2), !value.is_multiple_of(5));
                self.give(&Input::Look);
            }
            14 => {
                self.run.kept_open = (value.is_multiple_of(3)).then_some(self.run.uptime + value * 100);
                self.give(&Input::Look);
            }
            15 => {
                self.run.instance += 1;
                self.give(&Input::Look);
            }
            16 if self.transactions.len() > place => self.finalize(place),
            17 => self.batch(),
            18 => self.give(&Input::Used { used: Usage::new(value), running: value.is_multiple_of(2) }),
            19 => self.give(&Input::Order(AgentOrder::Hold)),
            20 => self.give(&Input::Order(AgentOrder::Resume)),
            21 => self.run.gas.affords_new = value.is_multiple_of(2),
            22 => self.adapter(Answered::Refused),
            25 => self.give(&ACCESS),
            24 => {
                self.run.damaged = value.is_multiple_of(2).then_some(value.into());
                self.give(&Input::Look);
            }
            23 => {
                self.run.gas.rate =
                    value.is_multiple_of(2).then_some(Rate { wei_per_token: value.into(), decimals: 0 });
            }
            _ => {}
        }
    }

    fn adapter(&mut self, answer: Answered) {
        if let Some(asked) = self.run.state.own.service.asked {
            self.give(&Input::Adapter { seq: asked.seq, answer });
        }
    }

    /// A batch takes what was collected.
    fn batch(&mut self) {
        let flights = &self.run.state.own.flights;
        if let Some(flight) = flights.iter().find(|flight| flight.stage == Stage::Collected).copied() {
            self.transactions.push((flight.seq, flight.purpose, Known::Pending));
            self.batched.push(flight.seq);
            self.report(self.transactions.len() - 1, Fate::Batched);
        }
    }

    /// No more faults: the adapter answers, transactions are mined, time goes by. The number of steps until the state is final.
    fn quiet(&mut self) -> usize {
        (self.run.fresh, self.run.explained) = (true, true);
        (self.run.kept_open, self.run.damaged) = (None, None);
        self.run.gas.affords_new = true;
        self.give(&Input::Used { used: Usage::ZERO, running: false });
        self.give(&Input::Order(AgentOrder::Resume));
        for steps in 0..200 {
            self.deliver();
            if self.run.owners() == "nobody" {
                return steps;
            }
            for place in 0..self.transactions.len() {
                self.mine(place);
                self.deliver();
                self.finalize(place);
            }
            if self.run.state.own.service.asked.is_some() {
                self.run.done();
                self.give(&Input::Look);
            }
            let env = self.run.env();
            if matches!(Agent::owner(&self.run.state, &env), Owner::User { .. }) {
                self.give(&Input::Order(AgentOrder::Close));
            }
            let wake = Agent::wake(&self.run.state, &self.run.env());
            if let Some(at) = wake.uptime {
                self.run.uptime = self.run.uptime.max(at.milliseconds().div_ceil(1_000));
            }
            if let Some(at) = wake.chain {
                self.run.now = self.run.now.max(Some(at.seconds()));
            }
            self.give(&Input::Look);
        }
        panic!("not final: {:?}\nowners: {}", self.run.state, self.run.owners());
    }

    /// Each owner in turn gives up: the state or its owners are others then, or the time is later.
    fn give_up(&self) {
        for owner in Agent::owners(&self.run.state, &self.run.env()) {
            let mut world = self.clone();
            let before = (world.run.state.clone(), world.run.owners());
            match owner {
                Owner::Transaction(seq) => {
                    let place = world.transactions.iter().position(|(of, ..)| *of == seq).unwrap();
                    match world.transactions[place].2 {
                        Known::Pending => world.report(place, Fate::Failed { lasting: false }),
                        _ => world.finalize(place),
                    }
                }
                Owner::ChainTime(at) => {
                    world.run.now = Some(at.seconds());
                    world.give(&Input::Look);
                }
                owner => {
                    let at = owner.uptime().unwrap().milliseconds().div_ceil(1_000);
                    world.run.uptime = world.run.uptime.max(at);
                    world.give(&Input::Look);
                }
            }
            let after = (world.run.state.clone(), world.run.owners());
            assert_ne!(before, after, "{owner:?} gave up, and nothing moved on");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn every_state_has_an_owner_that_leads_on_and_the_channel_becomes_final(
        is_served: bool,
        is_timed: bool,
        steps in prop::collection::vec((0..26_u8, 0..120_u64), 0..60),
    ) {
        let mut world = World::new(is_served, is_timed);
        for (kind, value) in steps {
            world.step(kind, value);
            world.give_up();
        }
        world.quiet();
    }
}
