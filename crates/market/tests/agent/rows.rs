//! The rows of the agent's transitions over enumerated states: each state has exactly one row of each part, and does what it says.

use alloy::primitives::Address;
use privatix_channel::{ChannelStatus, Fee, OnChain, Phase, ServiceStatus};
use privatix_market::*;

use crate::support::{Run, a, closed, closing, hours, open};

/// A state after a decision, with its surroundings, and the facts that the rows are about.
struct Case {
    run: Run,
    effects: Vec<Effect<Agent>>,
}

impl Case {
    /// Looks at a state.
    fn look(mut run: Run) -> Self {
        let decision = Agent::decide(&run.state, &Input::Look, &run.env()).unwrap();
        run.state = decision.state;
        Self { run, effects: decision.effects }
    }

    fn own(&self) -> &AgentOwn {
        &self.run.state.own
    }

    fn phase(&self) -> Phase {
        self.run.state.chain.phase()
    }

    fn is_open(&self) -> bool {
        self.phase() == Phase::Open
    }

    fn is_closing(&self) -> bool {
        matches!(self.phase(), Phase::Closing { .. })
    }

    fn is_closed(&self) -> bool {
        matches!(self.phase(), Phase::Closed { .. })
    }

    fn is_ended(&self) -> bool {
        self.own().ending.is_some()
    }

    /// Open or not, and to be served as far as that is possible.
    fn is_alive(&self) -> bool {
        !self.is_closed() && !self.is_ended()
    }

    /// Whether the adapter knows it and has not stopped it for the view's sake.
    fn is_known(&self) -> bool {
        self.own().ready.is_some() && self.own().unanswered.is_none()
    }

    /// Open, with known terms, and the chain is seen.
    fn is_seen(&self) -> bool {
        let sees = self.run.fresh && self.run.explained;
        self.is_alive() && self.is_open() && self.run.state.terms.is_some() && sees
    }

    fn is_paid(&self) -> bool {
        let state = &self.run.state;
        let used = u128::from(state.meter.used.get());
        used <= state.book.best.get() + 40 && used < 100
    }

    fn claims(&self) -> bool {
        !self.run.state.book.claimable(&self.run.state.chain).is_zero()
    }

    fn is_disputed(&self) -> bool {
        self.is_closing() && self.claims() && !self.own().abandoned
    }

    fn is_kept_open(&self) -> bool {
        self.run.kept_open.is_some() || (self.run.damaged.is_some() && !self.own().abandoned)
    }

    fn is_late(&self) -> bool {
        self.run.now.unwrap() >= 4_600
    }

    fn is_by_order(&self) -> bool {
        self.own().ending.is_some_and(|ending| ending.why == AgentEnd::CloseByOrder)
    }

    /// Open and ended, and nothing keeps it open.
    fn may_settle(&self) -> bool {
        self.is_open() && self.is_ended() && !self.is_kept_open()
    }

    /// The last voucher had its time: ten seconds after the service's end, or after the order.
    fn is_over(&self) -> bool {
        let gone = self.own().service.gone_since();
        let uptime = self.run.env().uptime;
        self.is_by_order() || gone.is_some_and(|gone| uptime.since(gone).as_secs() >= 10)
    }

    fn is_worth(&self) -> bool {
        self.claims() && self.run.gas.rate.is_some()
    }

    fn is_patience_over(&self) -> bool {
        let patience =
            if self.claims() { Some(self.run.policy.max_delay) } else { self.run.policy.free_after };
        patience.is_some_and(|patience| self.own().ended.elapsed(self.run.env().uptime) >= patience)
    }

    /// An earlier version ended it, and nothing is to gain.
    fn is_left_open(&self) -> bool {
        let is_adopted =
            self.own().ending.is_some_and(|ending| matches!(ending.why, AgentEnd::Adopted { .. }));
        is_adopted && !self.claims() && !self.run.policy.free_adopted
    }

    /// A close request admits everything, or what it does not admit is given up, and nothing keeps the channel open.
    fn is_agreed(&self) -> bool {
        self.is_closing() && !self.is_disputed() && !self.is_kept_open()
    }

    /// What is done about the money.
    fn money(&self) -> String {
        let words = self.effects.iter().filter_map(|effect| match effect {
            Effect::Submit { purpose, bid, .. } => {
                Some((purpose, if bid.deadline.is_some() { "urgent" } else { "submit" }))
            }
            Effect::Collect { purpose, .. } => Some((purpose, "collect")),
            _ => None,
        });
        let words = words.map(|(purpose, how)| {
            assert_eq!(purpose.cumulative(), self.run.state.book.best);
            format!("{how} {}", Purpose::from(*purpose).name())
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

/// A row: its name, when it fits, and what is wanted then.
type Row<T> = (&'static str, fn(&Case) -> bool, T);

/// The one row that fits.
fn row<'a, T>(case: &Case, rows: &'a [Row<T>]) -> &'a Row<T> {
    let fitting: Vec<&Row<T>> = rows.iter().filter(|(_, fits, _)| fits(case)).collect();
    let names: Vec<&str> = fitting.iter().map(|(name, ..)| *name).collect();
    assert_eq!(
        fitting.len(),
        1,
        "{names:?} fit {:?}\nview {} {}",
        case.run.state,
        case.run.fresh,
        case.run.explained
    );
    fitting[0]
}

const SERVICE: &[Row<Target>] = &[
    ("closed", |c| c.is_closed(), Target::Absent),
    ("ended", |c| !c.is_closed() && c.is_ended(), Target::Absent),
    ("not open, not known", |c| c.is_alive() && !c.is_open() && !c.is_known(), Target::Absent),
    ("not open", |c| c.is_alive() && !c.is_open() && c.is_known(), Target::Suspended),
    (
        "terms not known, or not seen; not known to the adapter",
        |c| c.is_alive() && c.is_open() && !c.is_seen() && !c.is_known(),
        Target::Absent,
    ),
    (
        "terms not known, or not seen",
        |c| c.is_alive() && c.is_open() && !c.is_seen() && c.is_known(),
        Target::Suspended,
    ),
    (
        "no gas for its close",
        |c| c.is_seen() && c.own().ready.is_none() && !c.run.gas.affords_new,
        Target::Absent,
    ),
    (
        "nothing in the way",
        |c| c.is_seen() && c.own().ready.is_none() && c.run.gas.affords_new,
        Target::Suspended,
    ),
    ("held", |c| c.is_seen() && c.own().ready.is_some() && c.own().held, Target::Suspended),
    (
        "not paid, or used up",
        |c| c.is_seen() && c.own().ready.is_some() && !c.own().held && !c.is_paid(),
        Target::Suspended,
    ),
    (
        "paid as agreed",
        |c| c.is_seen() && c.own().ready.is_some() && !c.own().held && c.is_paid(),
        Target::Running,
    ),
];

const MONEY: &[Row<&str>] = &[
    ("closed, or not open yet", |c| c.is_closed() || c.phase() == Phase::Unopened, ""),
    ("disputed", |c| c.is_disputed() && !c.is_kept_open() && !c.is_late(), "urgent close"),
    ("disputed, late", |c| c.is_disputed() && !c.is_kept_open() && c.is_late(), "submit close"),
    ("disputed, kept open", |c| c.is_disputed() && c.is_kept_open() && !c.is_late(), "urgent settle"),
    ("disputed, kept open, late", |c| c.is_disputed() && c.is_kept_open() && c.is_late(), "submit settle"),
    ("agreed, kept open", |c| c.is_closing() && !c.is_disputed() && c.is_kept_open(), ""),
    ("agreed, ended by an earlier version", |c| c.is_agreed() && c.is_left_open(), ""),
    ("agreed, not finalized", |c| c.is_agreed() && !c.is_left_open() && c.is_late(), "submit close"),
    (
        "agreed, freed at once",
        |c| {
            let frees = c.run.policy.free_at_once && !c.own().abandoned;
            c.is_agreed() && !c.is_left_open() && !c.is_late() && frees
        },
        "collect close",
    ),
    (
        "agreed, left to the client",
        |c| {
            let frees = c.run.policy.free_at_once && !c.own().abandoned;
            c.is_agreed() && !c.is_left_open() && !c.is_late() && !frees
        },
        "",
    ),
    ("served", |c| c.is_open() && !c.is_ended() && c.run.policy.at_risk.is_none_or(|_| !c.claims()), ""),
    (
        "served, at risk",
        |c| c.is_open() && !c.is_ended() && c.run.policy.at_risk.is_some_and(|_| c.claims()),
        "collect settle",
    ),
    ("ended, kept open", |c| c.is_open() && c.is_ended() && c.is_kept_open(), ""),
    ("waits for the last voucher", |c| c.may_settle() && !c.is_over(), ""),
    (
        "by order, or worth it",
        |c| c.may_settle() && c.is_over() && (c.is_by_order() || c.is_worth()),
        "submit close",
    ),
    (
        "ended by an earlier version, with nothing to gain",
        |c| c.may_settle() && c.is_over() && !c.is_by_order() && c.is_left_open(),
        "",
    ),
    (
        "not known to be worth it, waited long enough",
        |c| {
            let waits = c.may_settle() && c.is_over() && !c.is_by_order() && !c.is_worth();
            waits && !c.is_left_open() && c.is_patience_over()
        },
        "submit close",
    ),
    (
        "not known to be worth it",
        |c| {
            let waits = c.may_settle() && c.is_over() && !c.is_by_order() && !c.is_worth();
            waits && !c.is_left_open() && !c.is_patience_over()
        },
        "collect close",
    ),
];

/// All combinations of this many choices, as far as each has options.
fn all<const N: usize>(options: [usize; N]) -> impl Iterator<Item = [usize; N]> {
    let count = options.iter().product::<usize>();
    (0..count).map(move |mut number| {
        options.map(|options| {
            let choice = number % options;
            number /= options;
            choice
        })
    })
}

const ACTUAL: [Actual; 4] = [Actual::Absent, Actual::Suspended, Actual::Running, Actual::Lost];

const ADOPTED: AgentEnd =
    AgentEnd::Adopted { status: ChannelStatus::Active, service: ServiceStatus::Terminated };

fn ending(choice: usize, run: Run) -> Run {
    match choice {
        0 => run,
        1 => run.ended(AgentEnd::Inactive),
        2 => run.ended(AgentEnd::CloseByOrder),
        _ => run.ended(ADOPTED),
    }
}

#[test]
fn a_channel_of_every_state_has_exactly_one_row_of_each_part() {
    let mut seen = std::collections::BTreeMap::new();
    let options = [4, 3, 2, 4, 3, 2, 2, 2, 2, 2, 2, 3];
    for [phase, end, ready, actual, view, terms, held, gas, signer, fee, stopped, used] in all(options) {
        let mut run = ending(end, Run::open(100).paid(60).at(100));
        run.state.chain = [OnChain::default(), open(100, 0), closing(100, 20, 1_000), closed(100, 60)][phase];
        let own = &mut run.state.own;
        own.ready = (ready == 1).then_some(Uptime::new(0));
        (own.service.actual, own.held) = (ACTUAL[actual], held == 1);
        own.unanswered = (stopped == 1).then_some(Uptime::new(0));
        (run.fresh, run.explained) = (view != 1, view != 2);
        if terms == 1 {
            run.state.terms = None;
        }
        if signer == 1 {
            run.state.descriptor.signer = Address::ZERO;
        }
        run.policy.accept_fee = if fee == 1 { Fee::ZERO } else { Fee::MAX };
        run.state.chain.fee = Fee::new(6).unwrap();
        run.gas.affords_new = gas == 0;
        run.state.meter.used = privatix_channel::Usage::new([10, 101, 100][used]);
        let case = Case::look(run);
        let (name, _, target) = row(&case, SERVICE);
        assert_eq!(case.own().service.target, *target, "{name}: {:?}", case.run.state);
        *seen.entry(*name).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), SERVICE.len(), "a row fits no state: {seen:?}");
}

#[test]
fn the_money_of_every_state_has_exactly_one_row() {
    let mut seen = std::collections::BTreeMap::new();
    let options = [5, 4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2];
    for choices in all(options) {
        let [
            phase,
            end,
            gone,
            kept,
            damaged,
            abandoned,
            best,
            priced,
            frees,
            free_after,
            adopted,
            waited,
            late,
            risk,
        ] = choices;
        let run = Run::open(100).paid([0, 60][best]).at([100, 4_600][late]);
        let mut run = ending(end, if priced == 1 { run } else { run.unpriced() });
        run.state.chain = [
            OnChain::default(),
            open(100, 0),
            closing(100, 20, 1_000),
            closing(100, 60, 1_000),
            closed(100, 60),
        ][phase];
        let own = &mut run.state.own;
        let since = [own.service.since, Uptime::new(1_000_000), own.service.since][gone];
        (own.service.actual, own.service.since) = (ACTUAL[[0, 3, 2][gone]], since);
        own.abandoned = abandoned == 1;
        if waited == 1 && end != 0 {
            own.ended = Stopwatch::default();
            own.ended.run(true, Uptime::new(0));
            run.policy.max_delay = hours(0) + std::time::Duration::from_secs(1_000);
            run.policy.free_after = Some(run.policy.max_delay);
        }
        run.policy.free_after = run.policy.free_after.filter(|_| free_after == 1);
        run.policy.free_at_once = frees == 1;
        run.policy.free_adopted = adopted == 1;
        run.policy.at_risk = (risk == 1).then_some(a(0));
        run.kept_open = (kept == 1).then_some(5_000);
        run.damaged = (damaged == 1).then_some(70);
        let case = Case::look(run);
        let (name, _, money) = row(&case, MONEY);
        assert_eq!(case.money(), *money, "{name}: {:?}", case.run.state);
        *seen.entry(*name).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), MONEY.len(), "a row fits no state: {seen:?}");
}
