//! A channel at a client, and its decisions in words.

use std::sync::Arc;
use std::time::SystemTime;

use privatix_billing::TermsDraft;
use privatix_channel::{Amount, ChainTime, LogPosition, OnChain, Period, Usage};
use privatix_market::*;

pub(crate) use crate::common::*;

/// Open, with a deposit that a top-up in this block has raised.
pub(crate) fn topped_up(deposit: u128, block: u64) -> OnChain {
    OnChain { last_cancellation: Some(LogPosition::new(block, 0)), ..open(deposit, 0) }
}

/// Two clocks that contradict each other.
pub(crate) const SKEW: ClockSkew = ClockSkew { wall: SystemTime::UNIX_EPOCH, chain: ChainTime::new(10_000) };

/// A channel, and the surroundings of its decisions.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "bits of the surroundings, independent of each other")]
pub(crate) struct Run {
    pub(crate) state: ClientState,
    pub(crate) policy: ClientPolicy,
    /// The node's uptime in seconds.
    pub(crate) uptime: u64,
    /// The chain's time, in seconds.
    pub(crate) now: Option<u64>,
    pub(crate) fresh: bool,
    /// Whether this machine's clock contradicts the chain's time.
    pub(crate) skewed: bool,
    /// Whether the channel's events explain what its contract holds.
    pub(crate) explained: bool,
    /// Until which second of uptime the channel must not be closed.
    pub(crate) kept_open: Option<u64>,
    /// The recovery, while the channel is kept open.
    pub(crate) recovery: u64,
    pub(crate) reachable: bool,
    /// Whether the best voucher cannot be read.
    pub(crate) damaged: bool,
    /// What may be spent, beyond what is reserved.
    pub(crate) left: Option<u128>,
    pub(crate) instance: u64,
    /// The run of the process.
    pub(crate) process: u64,
    /// What was shown by the last decision.
    pub(crate) notices: Vec<ClientNotice>,
    /// The orders that the last decision took: number, amount, whether the policy gave it.
    pub(crate) taken: Vec<(u64, u128, bool)>,
}

impl Run {
    fn of(state: ClientState) -> Self {
        Self {
            state,
            policy: ClientPolicy::default(),
            uptime: 1_000,
            now: None,
            fresh: true,
            skewed: false,
            explained: true,
            kept_open: None,
            recovery: 1,
            reachable: true,
            damaged: false,
            left: None,
            instance: 0,
            process: 0,
            notices: Vec::new(),
            taken: Vec::new(),
        }
    }

    /// A channel with this deposit that is open and served.
    pub(crate) fn open(deposit: u128) -> Self {
        let mut state = ClientState::new(id(), descriptor());
        state.chain = open(deposit, 0);
        state.terms = Some(Arc::new(terms(|_| {})));
        state.own.access = AccessStatus::Here;
        state.own.proven_in_run = Some(0);
        let service = &mut state.own.service;
        (service.target, service.actual, service.why) = (Target::Running, Actual::Running, None);
        Self::of(state)
    }

    /// A channel with this deposit that was accepted a moment ago.
    pub(crate) fn accepted(deposit: u128) -> Self {
        let run = Self::of(ClientState::new(id(), descriptor()));
        let decision = run.accept(&opening(deposit)).unwrap();
        Self { state: decision.state, ..run }
    }

    pub(crate) fn accept(&self, opening: &Opening) -> Result<Decision<Client>, Refused> {
        ClientState::accept(id(), descriptor(), opening, &self.env())
    }

    /// With other terms.
    pub(crate) fn terms(mut self, change: impl FnOnce(&mut TermsDraft)) -> Self {
        self.state.terms = Some(Arc::new(terms(change)));
        self
    }

    pub(crate) fn policy(mut self, change: impl FnOnce(&mut ClientPolicy)) -> Self {
        change(&mut self.policy);
        self
    }

    /// With a best voucher that was acknowledged.
    pub(crate) fn paid(mut self, best: u128) -> Self {
        self.state.book = Book { best: a(best), acknowledged: a(best) };
        self
    }

    /// Whose service was ended for this reason a minute ago, and is gone.
    pub(crate) fn ended(mut self, why: ClientEnd) -> Self {
        let since = Uptime::new((self.uptime - 60) * 1_000);
        let own = &mut self.state.own;
        own.ending = Some(Ended { why, since });
        own.ended.run(true, since);
        (own.service.target, own.service.actual, own.service.since) = (Target::Absent, Actual::Absent, since);
        self
    }

    pub(crate) fn at(mut self, now: u64) -> Self {
        self.now = Some(now);
        self
    }

    pub(crate) fn env(&self) -> Env<'_, Client> {
        let mut env = Env::new(Uptime::new(self.uptime * 1_000), &self.policy);
        env.chain.now = self.now.map(ChainTime::new);
        (env.chain.fresh, env.chain.explained) = (self.fresh, self.explained);
        env.chain.challenge = Period::new(1_000);
        env.chain.skew = self.skewed.then_some(SKEW);
        env.kept_open = self.kept_open.filter(|until| *until > self.uptime).map(|s| Uptime::new(s * 1_000));
        env.recovery = env.kept_open.map(|_| RecoveryId::new(self.recovery));
        (env.reachable, env.damaged_voucher) = (self.reachable, self.damaged.then_some(Amount::ZERO));
        env.budget.overall = self.left.map(Amount::new);
        env.next_order = self.next_order();
        (env.instance, env.run) = (self.instance, self.process);
        env
    }

    /// A number above those of all orders before.
    pub(crate) fn next_order(&self) -> OrderId {
        OrderId(self.state.own.last_order.map_or(1, |last| last.0 + 1))
    }

    /// Decides, checks what holds for every decision, and gives the effects in words, without the notices and what was taken.
    pub(crate) fn give(&mut self, input: &Input<Client>) -> String {
        self.try_give(input).unwrap()
    }

    pub(crate) fn try_give(&mut self, input: &Input<Client>) -> Result<String, Refused> {
        let decision = Client::decide(&self.state, input, &self.env())?;
        assert!(decision.state.own.flights.len() <= 64, "too many flights: {:?}", decision.state);
        self.state = decision.state;
        for again in [input, &Input::Look] {
            let repeated = Client::decide(&self.state, again, &self.env());
            let effects = repeated.map(|repeated| repeated.effects).unwrap_or_default();
            assert!(effects.is_empty(), "{again:?}: {effects:?}\nafter {:?}", decision.effects);
        }
        self.notices.clear();
        self.taken.clear();
        let mut words = Vec::new();
        for effect in &decision.effects {
            match effect {
                Effect::Notify(notice) => self.notices.push(*notice),
                Effect::Own(ClientEffect::TakeOrder { order, amount, automatic }) => {
                    self.taken.push((order.0, amount.get(), *automatic));
                }
                effect => words.push(show(effect)),
            }
        }
        Ok(words.join(", "))
    }

    /// What is decided after this many more seconds, in which nothing else happened.
    pub(crate) fn after(&mut self, seconds: u64) -> String {
        self.uptime += seconds;
        self.give(&Input::Look)
    }

    pub(crate) fn chain(&mut self, chain: OnChain) -> String {
        self.give(&Input::Chain(chain))
    }

    /// What was used so far.
    pub(crate) fn used(&mut self, used: u64) -> String {
        self.give(&Input::Used { used: Usage::new(used), running: false })
    }

    /// The agent's message.
    pub(crate) fn peer(&mut self, message: ClientMessage) -> String {
        self.give(&Input::Peer(message))
    }

    /// The agent took vouchers over this much.
    pub(crate) fn receipt(&mut self, acknowledged: u128) -> String {
        self.peer(ClientMessage::Paid {
            acknowledged: a(acknowledged),
            ended: false,
            carried: Carried::default(),
        })
    }

    /// Nothing that the agent is asked for is answered.
    pub(crate) fn unanswered(&mut self) {
        for request in self.state.own.requests.clone() {
            self.peer(ClientMessage::Unanswered { seq: request.seq });
        }
    }

    /// A voucher over this amount is signed and stored.
    pub(crate) fn signed(&mut self, cumulative: u128) -> String {
        let voucher = Verified::check(&Signed, &(id(), cumulative)).unwrap();
        self.give(&Input::Report(ClientReport::Signed(Ok(voucher))))
    }

    /// The user adds to the deposit.
    pub(crate) fn top_up(&mut self, amount: u128) -> String {
        let order = self.next_order();
        self.give(&Input::Order(ClientOrder::TopUp { order, amount: a(amount) }))
    }

    /// The adapter does what it was asked for.
    pub(crate) fn done(&mut self) -> String {
        let actual = match self.state.own.service.target {
            Target::Absent => Actual::Absent,
            Target::Suspended => Actual::Suspended,
            Target::Running => Actual::Running,
        };
        self.adapter(Answered::Did(actual))
    }

    pub(crate) fn adapter(&mut self, answer: Answered) -> String {
        let seq = self.state.own.service.asked.unwrap().seq;
        self.give(&Input::Adapter { seq, answer })
    }

    /// What is wanted of the service, and why not more.
    pub(crate) fn target(&self) -> (Target, Option<Why>) {
        (self.state.own.service.target, self.state.own.service.why)
    }

    /// Why the service ends.
    pub(crate) fn ending(&self) -> Option<ClientEnd> {
        self.state.own.ending.map(|ending| ending.why)
    }

    /// The fold includes the blocks of all transactions that are in one.
    pub(crate) fn sees(&mut self) {
        for flight in &mut self.state.own.flights {
            if let Stage::Mined { seen, .. } = &mut flight.stage {
                *seen = true;
            }
        }
    }

    /// The fate of a transaction that is under way.
    pub(crate) fn tx(&mut self, seq: u32, fate: Fate) -> String {
        let purpose = self.state.own.flights.iter().find(|f| f.seq == seq).unwrap().purpose;
        self.give(&Input::Tx { seq, purpose, fate })
    }

    /// All owners, in words.
    pub(crate) fn owners(&self) -> String {
        let owners = Client::owners(&self.state, &self.env());
        let words: Vec<String> = owners.iter().map(show_owner).collect();
        if words.is_empty() { "nobody".to_owned() } else { words.join(", ") }
    }
}

/// What a user accepts.
pub(crate) fn opening(deposit: u128) -> Opening {
    let fee = privatix_channel::Fee::ZERO;
    Opening { terms: Arc::new(terms(|_| {})), deposit: a(deposit), fee }
}

/// An effect in words.
pub(crate) fn show(effect: &Effect<Client>) -> String {
    match effect {
        Effect::Submit { seq, purpose, .. } => format!("submit {seq} {}", show_purpose(*purpose)),
        Effect::Cancel { seq } => format!("cancel {seq}"),
        Effect::Own(ClientEffect::Adopt(voucher)) => format!("adopt {}", voucher.cumulative()),
        Effect::Own(ClientEffect::Sign(due)) => format!("sign {due}"),
        Effect::Own(ClientEffect::Send { seq, cumulative, .. }) => format!("send {seq} {cumulative}"),
        Effect::Own(ClientEffect::Ask { seq, what, .. }) => format!("ask {seq} {what:?}"),
        Effect::Drive { seq } => format!("drive {seq}"),
        Effect::Own(ClientEffect::Fund { seq, purpose }) => format!("fund {seq} {}", show_purpose(*purpose)),
        Effect::Own(ClientEffect::EndOrder { order, outcome }) => match outcome {
            Outcome::Done => format!("order {} done", order.0),
            Outcome::Failed(trouble) => format!("order {} failed: {trouble:?}", order.0),
            Outcome::Closed(closure) => format!("order {} closed {closure:?}", order.0),
        },
        other => format!("{other:?}"),
    }
}

pub(crate) fn show_purpose(purpose: ClientPurpose) -> String {
    let name = Purpose::from(purpose).name();
    match purpose {
        ClientPurpose::Open { deposit } => format!("{name} {deposit}"),
        ClientPurpose::TopUp { amount, .. } => format!("{name} {amount}"),
        ClientPurpose::RequestClose { admitted } => format!("{name} {admitted}"),
        ClientPurpose::FinalizeClose => name.to_owned(),
    }
}
