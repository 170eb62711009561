//! An offering, and its decisions in words.

use std::time::SystemTime;

use alloy::primitives::{Address, B256};
use privatix_channel::{Amount, ChainTime, Period};
use privatix_market::offering::{
    Announcement, Answer, OfferingEffect, OfferingEnv, OfferingInput, OfferingNotice, OfferingPolicy,
    OfferingRefused, OfferingState, Own, Ownership, Presence, Shown, Source, Wanted, decide, owners,
};
use privatix_market::{BlockRef, ClockSkew, Fate, Owner, Stage, Uptime};

pub(crate) const HOUR: u64 = 3_600;
pub(crate) const DAY: u64 = 24 * HOUR;

/// Two clocks that contradict each other.
pub(crate) const SKEW: ClockSkew = ClockSkew { wall: SystemTime::UNIX_EPOCH, chain: ChainTime::new(10_000) };

pub(crate) fn source(address: &str) -> Source {
    Source { kind: 1, address: address.to_owned() }
}

/// On the market since this second of the chain, at the agent's present address.
pub(crate) fn market(at: u64) -> Shown {
    let announced = Announcement { block: at, at: ChainTime::new(at), source: source("here") };
    Shown { presence: Presence::OnMarket, announced: Some(announced) }
}

pub(crate) fn removed(at: u64) -> Shown {
    Shown { presence: Presence::Removed, ..market(at) }
}

pub(crate) fn block(number: u64) -> BlockRef {
    BlockRef { number, hash: B256::left_padding_from(&number.to_be_bytes()) }
}

/// An offering, and the surroundings of its decisions.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "bits of the surroundings, independent of each other")]
pub(crate) struct Run {
    pub(crate) state: OfferingState,
    pub(crate) policy: OfferingPolicy,
    /// The node's uptime in seconds.
    pub(crate) uptime: u64,
    /// The chain's time in seconds.
    pub(crate) now: u64,
    pub(crate) fresh: bool,
    /// Whether this machine's clock contradicts the chain's time.
    pub(crate) skewed: bool,
    pub(crate) reachable: bool,
    pub(crate) may_ask: bool,
    pub(crate) balance: u128,
    pub(crate) signature: bool,
    pub(crate) source: Source,
    /// What was shown by the last decision.
    pub(crate) notices: Vec<OfferingNotice>,
}

impl Run {
    fn new(make: fn(Address, privatix_channel::OfferingHash) -> OfferingState) -> Self {
        Self {
            state: make(Address::repeat_byte(2), B256::repeat_byte(3).into()),
            policy: OfferingPolicy::default(),
            uptime: 1_000,
            now: 10_000,
            fresh: true,
            skewed: false,
            reachable: true,
            may_ask: true,
            balance: 100,
            signature: true,
            source: source("here"),
            notices: Vec::new(),
        }
    }

    /// An own one that was just made.
    pub(crate) fn draft() -> Self {
        Self::new(OfferingState::draft)
    }

    /// An own one that was found on chain.
    pub(crate) fn found() -> Self {
        Self::new(OfferingState::found)
    }

    /// Another agent's, just announced.
    pub(crate) fn foreign() -> Self {
        let mut run = Self::new(OfferingState::foreign);
        run.state.chain = market(10_000);
        run
    }

    /// An own one that the chain shows so, with this wanted.
    pub(crate) fn own(shown: Shown, wanted: Wanted) -> Self {
        let mut run = Self::draft();
        run.state.chain = shown;
        run.mine().wanted = wanted;
        run
    }

    pub(crate) fn mine(&mut self) -> &mut Own {
        let Ownership::Own(own) = &mut self.state.ownership else { panic!("it is another agent's") };
        own
    }

    /// The stake is 100. The contract allows a pop-up 500 s after an announcement, and a removal 100 s after it.
    pub(crate) fn env(&self) -> OfferingEnv<'_> {
        let mut env = OfferingEnv::new(Uptime::new(self.uptime * 1_000), &self.source, &self.policy);
        env.now = Some(ChainTime::new(self.now));
        (env.fresh, env.reachable, env.signature_counts) = (self.fresh, self.reachable, self.signature);
        env.may_ask = self.may_ask;
        env.skew = self.skewed.then_some(SKEW);
        (env.balance, env.stake) = (Amount::new(self.balance), Amount::new(100));
        (env.pop_up_period, env.remove_period) = (Period::new(500), Period::new(100));
        env
    }

    pub(crate) fn try_give(&mut self, input: &OfferingInput) -> Result<String, OfferingRefused> {
        let decision = decide(&self.state, input, &self.env())?;
        let look = decide(&decision.state, &OfferingInput::Look, &self.env())?;
        assert_eq!((&look.effects[..], &look.state), (&[][..], &decision.state), "a look after {input:?}");
        self.state = decision.state;
        self.notices.clear();
        let mut words = Vec::new();
        for effect in decision.effects {
            match effect {
                OfferingEffect::Submit { seq, purpose, .. } => {
                    words.push(format!("submit {seq} {purpose:?}"));
                }
                OfferingEffect::Cancel { seq } => words.push(format!("cancel {seq}")),
                OfferingEffect::Ask { seq, .. } => words.push(format!("ask {seq}")),
                OfferingEffect::Notify(notice) => self.notices.push(notice),
                other => words.push(format!("{other:?}")),
            }
        }
        Ok(words.join(", "))
    }

    pub(crate) fn give(&mut self, input: &OfferingInput) -> String {
        self.try_give(input).unwrap()
    }

    pub(crate) fn look(&mut self) -> String {
        self.give(&OfferingInput::Look)
    }

    pub(crate) fn chain(&mut self, shown: Shown) -> String {
        self.give(&OfferingInput::Chain(shown))
    }

    /// What is decided after this many more seconds of uptime.
    pub(crate) fn after(&mut self, seconds: u64) -> String {
        self.uptime += seconds;
        self.look()
    }

    /// What is decided at this second of the chain.
    pub(crate) fn at(&mut self, now: u64) -> String {
        self.now = now;
        self.look()
    }

    pub(crate) fn tx(&mut self, seq: u32, fate: Fate) -> String {
        let purpose = self.mine().flights.iter().find(|flight| flight.seq == seq).unwrap().purpose;
        self.give(&OfferingInput::Tx { seq, purpose, fate })
    }

    /// The fold includes the blocks of all transactions that are in one.
    pub(crate) fn sees(&mut self) {
        for flight in &mut self.mine().flights {
            if let Stage::Mined { seen, .. } = &mut flight.stage {
                *seen = true;
            }
        }
    }

    /// The answer to the request that is under way.
    pub(crate) fn answer(&mut self, answer: Answer) -> String {
        let Ownership::Foreign(foreign) = &self.state.ownership else { panic!("it is ours") };
        let seq = foreign.asked.unwrap().seq;
        self.give(&OfferingInput::Peer { seq, answer })
    }

    pub(crate) fn owners(&self) -> String {
        let s = |at: &Uptime| format!("{} s", at.milliseconds() / 1_000);
        let words = owners(&self.state, &self.env())
            .iter()
            .map(|owner| match owner {
                Owner::Time(at) => format!("time {}", s(at)),
                Owner::ChainTime(at) => format!("chain time {at}"),
                Owner::Transaction(seq) => format!("transaction {seq}"),
                Owner::Peer { seq, until } => format!("peer {seq} until {}", s(until)),
                Owner::Chain { .. } => "chain".to_owned(),
                Owner::User { .. } => "user".to_owned(),
                other => format!("{other:?}"),
            })
            .collect::<Vec<_>>();
        if words.is_empty() { "nobody".to_owned() } else { words.join(", ") }
    }
}
