//! Whatever happens: a state that is not final has an owner, every order ends with an outcome, and once faults cease the channel
//! becomes final within a bound.

use privatix_billing::{Billing, Measure, Percent, TopUpAmount, TopUpPolicy};
use privatix_channel::{
    Amount, ChainTime, CloseRequest, Closure, Ending as End, LogPosition, OnChain, Usage,
};
use privatix_market::*;
use proptest::prelude::*;

use crate::support::{Run, Signed, a, block, hours, id};

/// A transaction of the client, as the chain and the transactor have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Funding,
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
    transactions: Vec<(u32, ClientPurpose, Known)>,
    /// Whether the key signs.
    signs: bool,
    is_timed: bool,
    /// The orders that were taken and have not ended.
    orders: Vec<u64>,
}

impl World {
    /// A channel that is served, or one that has just been accepted.
    fn new(is_served: bool, is_timed: bool) -> Self {
        let run = if is_served { Run::open(100) } else { Run::accepted(100) }.at(1_000);
        let percent = Percent::try_from(50).unwrap();
        let top_up = TopUpPolicy { percent, amount: TopUpAmount::Fixed(a(50)), max_deposit: Some(a(400)) };
        let run = run.policy(|policy| policy.billing.top_up = Some(top_up));
        let run = if is_timed {
            run.terms(|terms| {
                (terms.unit.measure, terms.max_inactive) = (Measure::Seconds, hours(1));
                terms.billing = Billing::Prepaid;
            })
        } else {
            run.terms(|terms| terms.max_inactive = hours(1))
        };
        let truth = run.state.chain;
        let (before, transactions, orders) = (Vec::new(), Vec::new(), Vec::new());
        let signs = true;
        let mut world = Self { run, truth, height: 10, before, transactions, orders, signs, is_timed };
        world.give(&Input::Look);
        world
    }

    /// Gives an input and carries out its effects.
    fn give(&mut self, input: &Input<Client>) {
        let old: Vec<u64> = self.run.state.own.top_ups.iter().map(|top_up| top_up.order.0).collect();
        let Ok(effects) = self.run.try_give(input) else { return };
        let own = &self.run.state.own;
        let words: Vec<&str> = effects.split(", ").collect();
        for word in &words {
            if let Some(order) = word.strip_prefix("order ") {
                let order: u64 = order.split(' ').next().unwrap().parse().unwrap();
                let place = self.orders.iter().position(|known| *known == order);
                match place {
                    Some(place) => drop(self.orders.remove(place)),
                    None => assert!(!old.contains(&order), "order {order} ends twice"),
                }
            }
        }
        let new = own.top_ups.iter().map(|top_up| top_up.order.0).filter(|order| !old.contains(order));
        self.orders.extend(new);
        for flight in &own.flights {
            if !self.transactions.iter().any(|(seq, ..)| *seq == flight.seq) {
                let known = if flight.stage == Stage::Funding { Known::Funding } else { Known::Pending };
                self.transactions.push((flight.seq, flight.purpose, known));
            }
        }
        for (seq, _, known) in &mut self.transactions {
            if *known == Known::Funding && words.contains(&format!("cancel {seq}").as_str()) {
                *known = Known::Over;
            }
        }
        for word in &words {
            if let Some(due) = word.strip_prefix("sign ") {
                self.sign(due.parse().unwrap());
                return;
            }
            if let Some(admitted) = word.split("request_close ").nth(1) {
                let state = &self.run.state;
                let signed = state.book.best.min(state.chain.deposit);
                assert!(a(admitted.parse().unwrap()) >= signed, "{word}: {signed} was signed");
            }
        }
        let owners = self.run.owners();
        let own = &self.run.state.own;
        let is_open = self.run.state.chain.phase().is_open();
        assert!(
            owners != "nobody" || (!is_open && own.flights.is_empty()),
            "nobody owns {:?}",
            self.run.state
        );
        assert!(owners != "nobody" || self.orders.is_empty(), "orders without an outcome: {:?}", self.orders);
    }

    /// Signs what is due in the same transaction, if the key works.
    fn sign(&mut self, due: u128) {
        let state = &self.run.state;
        let deposit = state.chain.deposit;
        assert!(a(due) <= deposit, "signed {due} above the deposit of {deposit}");
        let used = state.meter.used.saturating_add(state.own.raised);
        let price = privatix_billing::due(state.terms.as_ref().unwrap(), used, deposit);
        assert_eq!(state.own.proven_in_run, Some(self.run.process), "signed {due} before the proof");
        assert!(self.is_timed || a(due) <= price, "signed {due}, and {price} was due");
        let asks = |f: &Flight<ClientPurpose>| matches!(f.purpose, ClientPurpose::RequestClose { .. });
        assert!(!state.own.flights.iter().any(asks), "signed {due} while a close request is under way");
        let voucher = Verified::check(&Signed, &(id(), due)).unwrap();
        let signed = if self.signs { Ok(voucher) } else { Err(Trouble::Key) };
        self.give(&Input::Report(ClientReport::Signed(signed)));
    }

    fn peer(&mut self, message: ClientMessage) {
        self.give(&Input::Peer(message));
    }

    /// The agent answers everything that it is asked for.
    fn answers(&mut self) {
        for request in self.run.state.own.requests.clone() {
            let acknowledged = self.run.state.book.best;
            self.peer(match request.what {
                Ask::Voucher => {
                    ClientMessage::Paid { acknowledged, ended: false, carried: Carried::default() }
                }
                Ask::Access => {
                    ClientMessage::Access(Fetched { number: None, is_same: request.seq.is_multiple_of(2) })
                }
                Ask::Attach => ClientMessage::Known { acknowledged, carried: proved(None) },
                _ => ClientMessage::Pong,
            });
        }
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

    fn is_funding(&self, place: usize) -> bool {
        self.transactions.get(place).is_some_and(|(.., known)| *known == Known::Funding)
    }

    /// The money for a transaction is there.
    fn fund(&mut self, place: usize) {
        if self.is_funding(place) {
            self.transactions[place].2 = Known::Pending;
            self.report(place, Fate::Funded);
        }
    }

    fn mine(&mut self, place: usize) {
        let (_, purpose, known) = self.transactions[place];
        if known != Known::Pending {
            return;
        }
        let phase = self.truth.phase();
        let now = ChainTime::new(self.run.now.unwrap());
        let success = match purpose {
            ClientPurpose::Open { .. } => self.truth.opened_at.is_none(),
            ClientPurpose::TopUp { .. } => phase.is_open(),
            ClientPurpose::RequestClose { .. } => phase == privatix_channel::Phase::Open,
            ClientPurpose::FinalizeClose => self.truth.challenge_ends_at().is_some_and(|ends| ends <= now),
        };
        self.change(|truth, at| match purpose {
            _ if !success => {}
            ClientPurpose::Open { deposit } => (truth.opened_at, truth.deposit) = (Some(at.block), deposit),
            ClientPurpose::TopUp { amount, .. } => {
                truth.deposit = truth.deposit.checked_add(amount).unwrap();
                truth.last_cancellation = Some(at);
            }
            ClientPurpose::RequestClose { admitted } => {
                truth.paid = truth.paid.max(admitted.min(truth.deposit));
                let ends_at = ChainTime::new(3_000 + at.block * 12);
                truth.last_close_request = Some(CloseRequest { at, ends_at });
            }
            ClientPurpose::FinalizeClose => close(truth, at),
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
                    self.report(place, Fate::Reinstated { batch: false });
                }
            }
        }
    }

    /// One thing that happens, good or bad.
    fn step(&mut self, kind: u8, value: u64) {
        let place = usize::try_from(value).unwrap() % self.transactions.len().max(1);
        let pending = self.transactions.get(place).is_some_and(|(.., known)| *known == Known::Pending);
        let is_open = self.truth.phase().is_open();
        match kind {
            0 => self.deliver(),
            1 if pending => self.mine(place),
            2 if pending => {
                self.transactions[place].2 = Known::Over;
                self.report(place, Fate::Failed { lasting: value.is_multiple_of(3) });
            }
            3 if pending => {
                self.transactions[place].2 = Known::Over;
                self.report(place, Fate::Cancelled);
            }
            4 => self.reorganise(usize::try_from(value % 4).unwrap()),
            5 if is_open => self.change(|truth, at| {
                let ends_at = ChainTime::new(3_000 + at.block * 12);
                truth.last_close_request = Some(CloseRequest { at, ends_at });
            }),
            6 if is_open && value.is_multiple_of(4) => self.change(close),
            7 if is_open => {
                let paid = self.run.state.book.best.min(self.truth.deposit);
                self.change(|truth, _| truth.paid = truth.paid.max(paid));
            }
            8 => self.fund(place),
            9 if value.is_multiple_of(4) => self.give(&Input::Order(ClientOrder::End)),
            10 if value.is_multiple_of(8) => self.give(&Input::Order(ClientOrder::Close)),
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
                self.run.fresh = value.is_multiple_of(2);
                self.run.skewed = value.is_multiple_of(3);
                self.give(&Input::Look);
            }
            14 => {
                self.run.kept_open = (value.is_multiple_of(3)).then_some(self.run.uptime + value * 100);
                self.run.recovery += value % 2;
                self.give(&Input::Look);
            }
            15 => {
                self.run.instance += 1;
                self.give(&Input::Look);
            }
            16 if self.transactions.len() > place => self.finalize(place),
            17 if self.is_funding(place) => {
                self.transactions[place].2 = Known::Over;
                self.report(place, Fate::Unfunded(Trouble::Funds));
            }
            18 => self.give(&Input::Used { used: Usage::new(value), running: value.is_multiple_of(2) }),
            19 => {
                let order = self.run.next_order();
                self.give(&Input::Order(ClientOrder::TopUp { order, amount: a(value.into()) }));
            }
            20 => self.run.left = value.is_multiple_of(2).then_some(value.into()),
            21 if value.is_multiple_of(2) => self.give(&Input::Reached(value.is_multiple_of(4))),
            21 => self.give(&Input::Peer(ClientMessage::Access(Fetched::default()))),
            22 => self.adapter(Answered::Refused),
            23 => self.answers(),
            24 => {
                self.peer(ClientMessage::Paid {
                    acknowledged: self.run.state.book.best,
                    ended: value == 7,
                    carried: Carried::default(),
                });
            }
            25 if value.is_multiple_of(3) || self.run.kept_open.is_some() => {
                self.peer(ClientMessage::Stale {
                    acknowledged: a(value.into()),
                    carried: Carried::default(),
                });
            }
            26 => self.peer(ClientMessage::NotNow(None)),
            27 => {
                let seq = self.run.state.own.requests.first().map_or(0, |request| request.seq);
                self.peer(ClientMessage::Unanswered { seq });
            }
            28 => {
                let order = if value.is_multiple_of(2) { ClientOrder::Pause } else { ClientOrder::Resume };
                self.give(&Input::Order(order));
            }
            29 if value < 10 => self.peer(ClientMessage::Closing { carried: Carried::default() }),
            30 if value < 10 => self.peer(ClientMessage::NotPermitted),
            31 => self.peer(if value < 10 {
                ClientMessage::AccessRefused
            } else {
                ClientMessage::AccessNotReady(None)
            }),
            32 => self.run.reachable = value.is_multiple_of(2),
            33 => self.signs = value.is_multiple_of(2),
            34 => self.give(&Input::Order(ClientOrder::AcceptClaim)),
            35 => {
                self.run.damaged = value.is_multiple_of(3);
                let abandons = value.is_multiple_of(9);
                self.give(&if abandons { Input::Order(ClientOrder::Abandon) } else { Input::Look });
            }
            36 => {
                self.run.process += 1;
                self.give(&Input::Look);
            }
            37 => self.peer(ClientMessage::InClear),
            38 => {
                // A better one than this side knows, or one of before.
                let best = a(value.into());
                self.peer(ClientMessage::Known { acknowledged: best, carried: proved(Some(best)) });
            }
            39 => self.peer(ClientMessage::Known { acknowledged: a(value.into()), carried: proved(None) }),
            _ => {}
        }
    }

    fn adapter(&mut self, answer: Answered) {
        if let Some(asked) = self.run.state.own.service.asked {
            self.give(&Input::Adapter { seq: asked.seq, answer });
        }
    }

    /// No more faults: the adapter answers, transactions are mined, time goes by. The number of steps until the state is final.
    fn quiet(&mut self) -> usize {
        (self.run.fresh, self.run.reachable, self.run.damaged, self.signs) = (true, true, false, true);
        self.run.skewed = false;
        self.give(&Input::Used { used: Usage::ZERO, running: false });
        (self.run.kept_open, self.run.left) = (None, None);
        self.give(&Input::Order(ClientOrder::Close));
        for steps in 0..200 {
            self.deliver();
            if self.run.owners() == "nobody" {
                return steps;
            }
            for place in 0..self.transactions.len() {
                self.fund(place);
                self.mine(place);
                self.deliver();
                self.finalize(place);
            }
            self.answers();
            if self.run.state.own.service.asked.is_some() {
                self.adapter(Answered::Did(match self.run.state.own.service.target {
                    Target::Absent => Actual::Absent,
                    Target::Suspended => Actual::Suspended,
                    Target::Running => Actual::Running,
                }));
            }
            if matches!(Client::owner(&self.run.state, &self.run.env()), Owner::User { .. }) {
                self.give(&Input::Order(ClientOrder::Close));
            }
            let wake = Client::wake(&self.run.state, &self.run.env());
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
        for owner in Client::owners(&self.run.state, &self.run.env()) {
            let mut world = self.clone();
            let before = (world.run.state.clone(), world.run.owners());
            match owner {
                Owner::Transaction(seq) => {
                    let place = world.transactions.iter().position(|(of, ..)| *of == seq).unwrap();
                    match world.transactions[place].2 {
                        Known::Funding => world.report(place, Fate::Unfunded(Trouble::Funds)),
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

/// What an answer carries on a connection on which the channel was proved.
fn proved(best: Option<Amount>) -> Carried {
    let best = best.map(|best| Verified::check(&Signed, &(id(), best.get())).unwrap());
    Carried { view: Some(crate::meters::view(0, 0, 0)), best }
}

fn close(truth: &mut OnChain, at: LogPosition) {
    let refund = truth.deposit.saturating_sub(truth.paid);
    truth.closed = Some(End { refund, closure: Closure::ByAgent, block: at.block });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn every_state_has_an_owner_that_leads_on_and_the_channel_becomes_final(
        is_served: bool,
        is_timed: bool,
        steps in prop::collection::vec((0..40_u8, 0..120_u64), 0..60),
    ) {
        let mut world = World::new(is_served, is_timed);
        for (kind, value) in steps {
            world.step(kind, value);
            world.give_up();
        }
        world.quiet();
    }
}
