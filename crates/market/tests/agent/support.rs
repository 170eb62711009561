//! A channel at an agent, and its decisions in words.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256};
use privatix_billing::{Billing, Measure, Terms, TermsDraft, Unit};
use privatix_channel::{
    Amount, ChainTime, ChannelDescriptor, ChannelId, CloseRequest, Closure, Ending as End, Fee, LogPosition,
    OnChain, Period, Usage,
};
use privatix_market::*;

pub(crate) fn a(units: u128) -> Amount {
    Amount::new(units)
}

pub(crate) fn id() -> ChannelId {
    ChannelId::new(B256::repeat_byte(4))
}

/// The simulation's verifier: a voucher is its channel and amount, and always signed.
pub(crate) struct Signed;

impl Verifier for Signed {
    type Voucher = (ChannelId, u128);
    type Refused = std::convert::Infallible;
    fn verified(&self, voucher: &(ChannelId, u128)) -> Result<(ChannelId, Amount), Self::Refused> {
        Ok((voucher.0, a(voucher.1)))
    }
}

/// One unit for each base unit, postpaid. A client may owe 40 units, and be inactive or suspended for 100 days.
pub(crate) fn terms(change: impl FnOnce(&mut TermsDraft)) -> Terms {
    let mut draft = TermsDraft {
        unit: Unit { name: "unit".into(), measure: Measure::Requests, size: 1 },
        billing: Billing::Postpaid,
        setup_price: Amount::ZERO,
        unit_price: a(1),
        free_units: 0,
        min_units: 1,
        max_units: None,
        billing_interval: 1,
        max_billing_unit_lag: 40,
        max_suspend: hours(2_400),
        max_inactive: hours(2_400),
    };
    change(&mut draft);
    draft.validate().unwrap()
}

pub(crate) fn voucher(cumulative: u128) -> Input<Agent> {
    Input::Peer(AgentMessage::Voucher(Verified::check(&Signed, &(id(), cumulative)).unwrap()))
}

/// The client asks for access.
pub(crate) const ACCESS: Input<Agent> = Input::Peer(AgentMessage::Access);

pub(crate) fn open(deposit: u128, paid: u128) -> OnChain {
    OnChain { opened_at: Some(1), deposit: a(deposit), paid: a(paid), fee: Fee::ZERO, ..OnChain::default() }
}

pub(crate) fn closing(deposit: u128, paid: u128, ends_at: u64) -> OnChain {
    let request = CloseRequest { at: LogPosition::new(5, 0), ends_at: ChainTime::new(ends_at) };
    OnChain { last_close_request: Some(request), ..open(deposit, paid) }
}

pub(crate) fn closed(deposit: u128, paid: u128) -> OnChain {
    let end = End { refund: a(deposit - paid), closure: Closure::ByAgent, block: 9 };
    OnChain { closed: Some(end), ..open(deposit, paid) }
}

pub(crate) fn block(number: u64) -> BlockRef {
    BlockRef { number, hash: B256::with_last_byte(u8::try_from(number % 250).unwrap()) }
}

/// A channel, and the surroundings of its decisions.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) state: AgentState,
    pub(crate) policy: AgentPolicy,
    /// The node's uptime in seconds.
    pub(crate) uptime: u64,
    /// The chain's time, in seconds.
    pub(crate) now: Option<u64>,
    pub(crate) fresh: bool,
    /// Whether the channel's events explain what its contract holds.
    pub(crate) explained: bool,
    /// Until which second of uptime the channel must not be closed.
    pub(crate) kept_open: Option<u64>,
    /// Whether the best voucher cannot be read.
    pub(crate) damaged: bool,
    pub(crate) gas: Gas,
    pub(crate) instance: u64,
    /// What was shown by the last decision.
    pub(crate) notices: Vec<AgentNotice>,
}

impl Run {
    /// A channel with this deposit that is open and served.
    pub(crate) fn open(deposit: u128) -> Self {
        let descriptor = ChannelDescriptor {
            client: Address::repeat_byte(1),
            agent: Address::repeat_byte(2),
            offering: B256::repeat_byte(3).into(),
            nonce: 0,
            signer: Address::repeat_byte(1),
        };
        let mut state = AgentState::new(id(), descriptor);
        state.chain = open(deposit, 0);
        state.own.service.target = Target::Running;
        state.own.service.actual = Actual::Running;
        state.own.service.why = None;
        state.own.ready = Some(Uptime::new(0));
        state.terms = Some(Arc::new(terms(|_| {})));
        Self {
            state,
            policy: policy(),
            uptime: 1_000,
            now: None,
            fresh: true,
            explained: true,
            kept_open: None,
            damaged: false,
            gas: priced(),
            instance: 0,
            notices: Vec::new(),
        }
    }

    /// A channel with this deposit that has just opened.
    pub(crate) fn opening(deposit: u128) -> Self {
        let mut run = Self::open(deposit);
        run.state.own = AgentOwn::default();
        run
    }

    /// Where neither the worth of a token nor the price of gas is known.
    pub(crate) fn unpriced(mut self) -> Self {
        self.gas = Gas::default();
        self
    }

    /// With other terms.
    pub(crate) fn terms(mut self, change: impl FnOnce(&mut TermsDraft)) -> Self {
        self.state.terms = Some(Arc::new(terms(change)));
        self
    }

    /// With a best voucher that was acknowledged.
    pub(crate) fn paid(mut self, best: u128) -> Self {
        self.state.book = Book { best: a(best), acknowledged: a(best) };
        self
    }

    /// Whose service was ended for this reason a minute ago, and is gone.
    pub(crate) fn ended(mut self, why: AgentEnd) -> Self {
        let since = Uptime::new((self.uptime - 60) * 1_000);
        let own = &mut self.state.own;
        own.ending = Some(Ending { why, since });
        own.ended.run(true, since);
        (own.service.target, own.service.actual, own.service.since) = (Target::Absent, Actual::Absent, since);
        self
    }

    pub(crate) fn policy(mut self, change: impl FnOnce(&mut AgentPolicy)) -> Self {
        change(&mut self.policy);
        self
    }

    pub(crate) fn at(mut self, now: u64) -> Self {
        self.now = Some(now);
        self
    }

    pub(crate) fn env(&self) -> Env<'_, Agent> {
        let mut env = Env::new(Uptime::new(self.uptime * 1_000), &self.policy);
        env.chain.now = self.now.map(ChainTime::new);
        (env.chain.fresh, env.chain.explained) = (self.fresh, self.explained);
        env.chain.challenge = Period::new(1_000);
        env.kept_open = self.kept_open.filter(|until| *until > self.uptime).map(|s| Uptime::new(s * 1_000));
        env.damaged_voucher = self.damaged;
        env.gas = self.gas;
        env.instance = self.instance;
        env
    }

    /// Decides, checks what holds for every decision, and gives the effects in words, without the notices.
    pub(crate) fn give(&mut self, input: &Input<Agent>) -> String {
        self.try_give(input).unwrap()
    }

    pub(crate) fn try_give(&mut self, input: &Input<Agent>) -> Result<String, Refused> {
        let decision = Agent::decide(&self.state, input, &self.env())?;
        for effect in &decision.effects {
            if let Effect::Submit { purpose: AgentPurpose::Close { cumulative }, .. } = effect {
                assert!(*cumulative >= decision.state.book.acknowledged, "{effect:?} after {input:?}");
            }
        }
        for flight in decision.state.own.flights.iter().filter(|flight| flight.stage.may_be_mined()) {
            let is_safe = flight.purpose.cumulative() >= decision.state.book.acknowledged;
            assert!(!flight.purpose.is_close() || is_safe, "acknowledged above a close: {decision:?}");
        }
        let again = Agent::decide(&decision.state, input, &self.env())?;
        let repeated: Vec<_> =
            again.effects.iter().filter(|e| !matches!(e, Effect::Own(AgentEffect::Answer(_)))).collect();
        assert!(repeated.is_empty(), "{input:?} again: {repeated:?}\nafter {:?}", decision.effects);
        self.state = decision.state;
        self.notices.clear();
        let mut words = Vec::new();
        for effect in &decision.effects {
            match effect {
                Effect::Notify(notice) => self.notices.push(*notice),
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

    /// The adapter does what it was asked for.
    pub(crate) fn done(&mut self) -> String {
        let actual = match self.state.own.service.target {
            Target::Absent => Actual::Absent,
            Target::Suspended => Actual::Suspended,
            Target::Running => Actual::Running,
        };
        self.adapter(Answered::Did(actual))
    }

    /// What is wanted of the service, and why not more.
    pub(crate) fn target(&self) -> (Target, Option<Why>) {
        (self.state.own.service.target, self.state.own.service.why)
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

    pub(crate) fn adapter(&mut self, answer: Answered) -> String {
        let seq = self.state.own.service.asked.unwrap().seq;
        self.give(&Input::Adapter { seq, answer })
    }

    /// All owners, in words.
    pub(crate) fn owners(&self) -> String {
        let owners = Agent::owners(&self.state, &self.env());
        let words: Vec<String> = owners.iter().map(show_owner).collect();
        if words.is_empty() { "nobody".to_owned() } else { words.join(", ") }
    }
}

/// An effect in words.
pub(crate) fn show(effect: &Effect<Agent>) -> String {
    match effect {
        Effect::Submit { seq, purpose, bid } => {
            let urgent = bid.deadline.filter(|_| bid.priority == Priority::Urgent);
            let urgent =
                urgent.map_or_else(String::new, |deadline| format!(" urgent before {}", deadline.at));
            let stake = bid.stake.map_or_else(String::new, |stake| format!(" for {stake}"));
            format!("submit {seq} {}{urgent}{stake}", show_purpose(*purpose))
        }
        Effect::Collect { seq, purpose } => format!("collect {seq} {}", show_purpose(*purpose)),
        Effect::Cancel { seq } => format!("cancel {seq}"),
        Effect::Drive { seq } => format!("drive {seq}"),
        Effect::Own(AgentEffect::Keep(voucher)) => format!("keep {}", voucher.cumulative()),
        Effect::Own(AgentEffect::Answer(reply)) => match reply {
            Reply::Paid { acknowledged, ended: false } => format!("paid {acknowledged}"),
            Reply::Paid { acknowledged, ended: true } => format!("paid {acknowledged}, service ended"),
            Reply::Kept { acknowledged } => format!("kept, paid {acknowledged}"),
            Reply::Stale { acknowledged } => format!("stale, paid {acknowledged}"),
            other => format!("{other:?}"),
        },
        other => format!("{other:?}"),
    }
}

fn show_purpose(purpose: AgentPurpose) -> String {
    format!("{} {}", Purpose::from(purpose).name(), purpose.cumulative())
}

fn show_owner(owner: &Owner) -> String {
    let s = |at: &Uptime| format!("{} s", at.milliseconds() / 1_000);
    match owner {
        Owner::Time(at) => format!("time {}", s(at)),
        Owner::ChainTime(at) => format!("chain time {at}"),
        Owner::Transaction(seq) => format!("transaction {seq}"),
        Owner::Adapter { seq, until } => format!("adapter {seq} until {}", s(until)),
        Owner::Chain { reminder } => format!("chain, reminder {}", s(reminder)),
        Owner::User { reminder } => format!("user, reminder {}", s(reminder)),
        other => format!("{other:?}"),
    }
}

/// Gas so cheap that any gain is worth a close.
fn priced() -> Gas {
    let mut gas = Gas::default();
    (gas.rate, gas.close_cost) = (Some(Rate { wei_per_token: 1, decimals: 0 }), Some(Wei::new(0)));
    gas
}

/// A policy that waits for a day.
fn policy() -> AgentPolicy {
    let mut policy = AgentPolicy::default();
    (policy.max_delay, policy.free_after) = (hours(24), Some(hours(24)));
    policy
}

pub(crate) const HOUR: u64 = 3_600;

pub(crate) fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}
