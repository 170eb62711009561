//! A channel at an agent, and its decisions in words.

use std::sync::Arc;

use privatix_billing::TermsDraft;
use privatix_channel::{ChainTime, OnChain, Period, Usage};
use privatix_market::*;

pub(crate) use crate::common::*;

pub(crate) fn voucher(cumulative: u128) -> Input<Agent> {
    let voucher = Verified::check(&Signed, &(id(), cumulative)).unwrap();
    Input::Peer(AgentMessage::Voucher { voucher, used: None })
}

/// The client asks for access.
pub(crate) const ACCESS: Input<Agent> = Input::Peer(AgentMessage::Access);

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
    /// The amount of the best voucher, if it cannot be read.
    pub(crate) damaged: Option<u128>,
    pub(crate) gas: Gas,
    pub(crate) instance: u64,
    /// The life of the adapter that is being prepared.
    pub(crate) starts: Option<u64>,
    /// What was shown by the last decision.
    pub(crate) notices: Vec<AgentNotice>,
}

impl Run {
    /// A channel with this deposit that is open and served.
    pub(crate) fn open(deposit: u128) -> Self {
        let mut state = AgentState::new(id(), descriptor());
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
            damaged: None,
            gas: priced(),
            instance: 0,
            starts: None,
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
        own.ending = Some(Ended { why, since });
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
        env.damaged_voucher = self.damaged.map(a);
        env.gas = self.gas;
        env.instance = self.instance;
        env.adapter_starts = self.starts == Some(self.instance);
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
            let closes_at = flight.purpose.cumulative();
            let is_safe = closes_at >= decision.state.book.acknowledged;
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
