//! Whatever happens: a look again has no effect, who is not at rest has an owner, giving up on an owner leads on, and once faults
//! cease an own offering is as it was ordered.

use privatix_channel::{ChainTime, Period};
use privatix_market::offering::{
    Announcement, Answer, OfferingInput, OfferingOrder, OfferingPurpose, Ownership, Presence, Shown, Wanted,
    owners,
};
use privatix_market::{Fate, Owner, RecoveryId, Stage};
use proptest::prelude::*;

use crate::support::{Run, block, source};

/// The contract and the transactor, as far as one offering needs them.
#[derive(Clone)]
struct World {
    run: Run,
    /// What the contract holds.
    truth: Shown,
    height: u64,
    before: Vec<(u64, Shown)>,
    /// Number, purpose, whether it waits, the block that it is in.
    transactions: Vec<(u32, OfferingPurpose, bool, Option<u64>)>,
}

impl World {
    fn new(run: Run) -> Self {
        let truth = run.state.chain.clone();
        Self { run, truth, height: 10, before: Vec::new(), transactions: Vec::new() }
    }

    fn give(&mut self, input: &OfferingInput) {
        // It asserts that a look again has no effect.
        let Ok(_) = self.run.try_give(input) else { return };
        let flights = match &self.run.state.ownership {
            Ownership::Own(own) => own.flights.clone(),
            Ownership::Foreign(_) => Vec::new(),
        };
        assert!(flights.len() < 64, "{flights:?}");
        for flight in flights {
            if !self.transactions.iter().any(|(seq, ..)| *seq == flight.seq) {
                self.transactions.push((flight.seq, flight.purpose, true, None));
            }
        }
        assert!(self.run.owners() != "nobody" || self.is_at_rest(), "nobody owns {:?}", self.run.state);
    }

    /// Only an order, the chain or another address leads on.
    fn is_at_rest(&self) -> bool {
        let shown = &self.run.state.chain;
        match &self.run.state.ownership {
            Ownership::Foreign(foreign) => shown.presence != Presence::OnMarket && foreign.asked.is_none(),
            Ownership::Own(own) => {
                let is_as_ordered = match shown.presence {
                    Presence::Removed => true,
                    Presence::Draft => own.wanted != Wanted::OnMarket,
                    Presence::OnMarket => {
                        let is_here =
                            shown.announced.as_ref().is_none_or(|last| last.source == self.run.source);
                        own.wanted != Wanted::Removed && !own.pop_up && own.pop_up_every.is_none() && is_here
                    }
                };
                is_as_ordered && !own.restored && own.flights.is_empty()
            }
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Shown, Announcement)) {
        self.height += 1;
        self.run.now += 12;
        self.before.push((self.height, self.truth.clone()));
        let at = ChainTime::new(self.run.now);
        let announced = Announcement { block: self.height, at, source: self.run.source.clone() };
        change(&mut self.truth, announced);
    }

    fn report(&mut self, place: usize, fate: Fate) {
        let (seq, purpose, ..) = self.transactions[place];
        self.give(&OfferingInput::Tx { seq, purpose, fate });
    }

    fn mine(&mut self, place: usize) {
        let (_, purpose, waits, _) = self.transactions[place];
        if !waits {
            return;
        }
        let age = self.truth.announced.as_ref().map_or(0, |last| self.run.now + 12 - last.at.seconds());
        let succeeds = match (purpose, self.truth.presence) {
            (OfferingPurpose::Publish, Presence::Draft) => true,
            (OfferingPurpose::PopUp, Presence::OnMarket) => age >= 500,
            (OfferingPurpose::Remove, Presence::OnMarket) => age >= 100,
            _ => false,
        };
        self.change(|truth, announced| match purpose {
            _ if !succeeds => {}
            OfferingPurpose::Remove => truth.presence = Presence::Removed,
            _ => *truth = Shown { presence: Presence::OnMarket, announced: Some(announced) },
        });
        let number = self.height;
        (self.transactions[place].2, self.transactions[place].3) = (false, Some(number));
        self.report(place, if succeeds { Fate::Mined(block(number)) } else { Fate::Reverted });
    }

    fn finalize(&mut self, place: usize) {
        if self.transactions[place].3.take().is_some() {
            self.before.clear(); // nothing before a final block is undone
            self.report(place, Fate::Final);
        }
    }

    fn deliver(&mut self) {
        if matches!(self.run.state.ownership, Ownership::Own(_)) {
            self.run.sees();
        }
        self.give(&OfferingInput::Chain(self.truth.clone()));
    }

    fn reorganise(&mut self, blocks: u64) {
        for _ in 0..blocks {
            let Some((number, truth)) = self.before.pop() else { return };
            self.truth = truth;
            for place in 0..self.transactions.len() {
                if self.transactions[place].3 == Some(number) {
                    (self.transactions[place].2, self.transactions[place].3) = (true, None);
                    self.report(place, Fate::Reinstated { batch: false });
                }
            }
        }
    }

    fn step(&mut self, kind: u8, value: u64) {
        let place = usize::try_from(value).unwrap() % self.transactions.len().max(1);
        let waits = self.transactions.get(place).is_some_and(|(_, _, waits, _)| *waits);
        match kind {
            0 => self.deliver(),
            1 if waits => self.mine(place),
            2 | 3 if waits => {
                self.transactions[place].2 = false;
                let lasting = value.is_multiple_of(3);
                self.report(place, if kind == 2 { Fate::Failed { lasting } } else { Fate::Cancelled });
            }
            4 => self.reorganise(value % 4),
            5 => self.give(&OfferingInput::Order(OfferingOrder::Publish)),
            6 => self.give(&OfferingInput::Order(OfferingOrder::PopUp)),
            7 => {
                let every = (!value.is_multiple_of(3)).then_some(Period::new(600));
                self.give(&OfferingInput::Order(OfferingOrder::PopUpEvery(every)));
            }
            8 if value.is_multiple_of(3) => self.give(&OfferingInput::Order(OfferingOrder::Remove)),
            9 => {
                self.run.uptime += value * value * 10;
                self.run.now += value * 7;
                self.give(&OfferingInput::Look);
            }
            10 => {
                self.run.fresh = value.is_multiple_of(2);
                self.run.skewed = value.is_multiple_of(3);
                self.give(&OfferingInput::Look);
            }
            11 => {
                (self.run.balance, self.run.signature) = (u128::from(value * 2), !value.is_multiple_of(5));
                self.give(&OfferingInput::Look);
            }
            12 => {
                self.run.source = source(if value.is_multiple_of(2) { "here" } else { "there" });
                self.give(&OfferingInput::Look);
            }
            13 => self.give(&OfferingInput::Restored(RecoveryId::new(value))),
            14 if self.transactions.len() > place => self.finalize(place),
            15 => self.run.reachable = value.is_multiple_of(2),
            16 => self.answer([Answer::Message, Answer::Refused, Answer::GaveUp][place % 3]),
            17 if matches!(self.run.state.ownership, Ownership::Foreign(_)) => {
                self.change(|truth, announced| {
                    let presence = [Presence::OnMarket, Presence::OnMarket, Presence::Removed][place % 3];
                    if truth.presence != Presence::Removed {
                        *truth = Shown { presence, announced: Some(announced) };
                    }
                });
            }
            _ => {}
        }
    }

    fn answer(&mut self, answer: Answer) {
        if let Ownership::Foreign(foreign) = &self.run.state.ownership
            && let Some(asked) = foreign.asked
        {
            self.give(&OfferingInput::Peer { seq: asked.seq, answer });
        }
    }

    /// Each owner in turn gives up: the state or its owners are others then.
    fn give_up(&self) {
        for owner in owners(&self.run.state, &self.run.env()) {
            let mut world = self.clone();
            let before = (world.run.state.clone(), world.run.owners());
            match owner {
                Owner::Transaction(seq) => {
                    let place = world.transactions.iter().position(|(of, ..)| *of == seq).unwrap();
                    if world.transactions[place].2 {
                        world.report(place, Fate::Failed { lasting: false });
                    } else {
                        world.finalize(place);
                    }
                }
                Owner::ChainTime(at) => {
                    world.run.now = at.seconds();
                    world.give(&OfferingInput::Look);
                }
                // What only others can do is done.
                Owner::Chain { .. } => {
                    (world.run.fresh, world.run.skewed) = (true, false);
                    world.give(&OfferingInput::Look);
                }
                Owner::User { reminder } => {
                    (world.run.balance, world.run.signature) = (1_000, true);
                    world.run.uptime = reminder.milliseconds().div_ceil(1_000);
                    world.give(&OfferingInput::Look);
                    world.give(&OfferingInput::Order(OfferingOrder::PopUp));
                }
                owner => {
                    let at = owner.uptime().unwrap().milliseconds().div_ceil(1_000);
                    world.run.uptime = world.run.uptime.max(at);
                    world.give(&OfferingInput::Look);
                }
            }
            let after = (world.run.state.clone(), world.run.owners());
            assert_ne!(before, after, "{owner:?} gave up, and nothing moved on");
        }
    }

    /// No more faults. An own offering becomes what was ordered last.
    fn quiet(&mut self, order: OfferingOrder, presence: Presence) {
        (self.run.fresh, self.run.balance, self.run.signature) = (true, 1_000, true);
        self.run.skewed = false;
        self.give(&OfferingInput::Order(OfferingOrder::PopUpEvery(None)));
        self.deliver();
        self.give(&OfferingInput::Order(order));
        for _ in 0..60 {
            self.deliver();
            if self.run.owners() == "nobody" {
                break;
            }
            for place in 0..self.transactions.len() {
                self.mine(place);
                self.deliver();
                self.finalize(place);
            }
            for owner in owners(&self.run.state, &self.run.env()) {
                if let Some(at) = owner.uptime() {
                    self.run.uptime = self.run.uptime.max(at.milliseconds().div_ceil(1_000));
                }
                if let Some(at) = owner.chain_time() {
                    self.run.now = self.run.now.max(at.seconds());
                }
            }
            self.give(&OfferingInput::Look);
        }
        assert_eq!(self.run.owners(), "nobody", "{:?}", self.run.state);
        let found = self.truth.presence;
        // A removal that was cancelled may be mined all the same.
        let was_removed =
            self.transactions.iter().any(|(_, purpose, ..)| *purpose == OfferingPurpose::Remove);
        let was_removed = was_removed && found == Presence::Removed;
        let was_never_there = presence == Presence::Removed && found == Presence::Draft;
        assert!(was_removed || found == presence || was_never_there, "{found:?} {:?}", self.run.state);
    }
}

fn steps(kinds: u8) -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((0..kinds, 0..120_u64), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn an_own_offering_has_an_owner_until_it_is_as_ordered(is_published: bool, steps in steps(15)) {
        let mut world = World::new(Run::draft());
        for (kind, value) in steps {
            world.step(kind, value);
            world.give_up();
        }
        let (order, presence) = if is_published {
            (OfferingOrder::Publish, Presence::OnMarket)
        } else {
            (OfferingOrder::Remove, Presence::Removed)
        };
        world.quiet(order, presence);
    }

    #[test]
    fn a_foreign_offering_has_an_owner_while_it_is_on_the_market(steps in steps(18)) {
        let mut world = World::new(Run::foreign());
        for (kind, value) in steps {
            world.step(kind, value);
            world.give_up();
        }
    }

    #[test]
    fn how_a_history_is_divided_does_not_matter(
        presences in prop::collection::vec((0..3_u8, 1..5_000_u64), 1..8), wants: bool,
    ) {
        let shown = |(presence, at): (u8, u64)| match presence {
            0 => Shown::default(),
            1 => crate::support::market(at),
            _ => crate::support::removed(at),
        };
        let wanted = if wants { Wanted::OnMarket } else { Wanted::Removed };
        let mut each = Run::own(Shown::default(), wanted);
        let mut last = each.clone();
        for presence in &presences {
            each.chain(shown(*presence));
        }
        last.chain(shown(presences[presences.len() - 1]));
        let sent = |mut run: Run| {
            let flights = run.mine().flights.iter().filter(|flight| flight.stage == Stage::Sent { batch: false });
            flights.map(|flight| flight.purpose).collect::<Vec<_>>()
        };
        prop_assert_eq!(sent(each), sent(last));
    }
}
