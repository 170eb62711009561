//! The rows of the client's transitions over enumerated states: each state has exactly one row of each part, and does what it says.

use privatix_channel::{ChannelStatus, OnChain, Phase, ServiceStatus};
use privatix_market::*;

use crate::support::{Run, closed, closing, open};

/// A state after a decision, with its surroundings, and the facts that the rows are about.
struct Case {
    run: Run,
    effects: Vec<Effect<Client>>,
}

impl Case {
    /// Looks at a state.
    fn look(mut run: Run) -> Self {
        let decision = Client::decide(&run.state, &Input::Look, &run.env()).unwrap();
        run.state = decision.state;
        Self { run, effects: decision.effects }
    }

    fn own(&self) -> &ClientOwn {
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

    fn why(&self) -> Option<ClientEnd> {
        self.run.ending()
    }

    /// Not closed, and not ended.
    fn is_alive(&self) -> bool {
        !self.is_closed() && self.why().is_none()
    }

    fn has_access(&self) -> bool {
        self.own().access == AccessStatus::Here
    }

    /// To be served, as far as chain, agent and user allow it.
    fn is_served(&self) -> bool {
        self.is_alive() && self.is_open() && self.has_access()
    }

    /// Open and ended.
    fn is_left(&self) -> bool {
        self.is_open() && self.why().is_some()
    }

    fn is_kept_open(&self) -> bool {
        self.run.kept_open.is_some()
    }

    /// What the best voucher promises is not known, and was not given up.
    fn is_unreadable(&self) -> bool {
        self.run.damaged && !self.own().abandoned
    }

    /// Nothing keeps from asking for the close.
    fn may_ask(&self) -> bool {
        self.is_left() && !self.is_kept_open() && !self.is_unreadable()
    }

    /// The last payment had its time: the service is gone, or ended ten seconds ago; some ends have none.
    fn is_over(&self) -> bool {
        let own = self.own();
        let has_none = matches!(
            self.why(),
            Some(ClientEnd::NotOpened(_) | ClientEnd::AgentClaimsMore | ClientEnd::KeyUsedElsewhere)
        );
        let ended = own.ending.map(|ending| self.run.env().uptime.since(ending.since).as_secs());
        has_none || own.service.gone_since().is_some() || ended >= Some(10)
    }

    fn is_at_once(&self) -> bool {
        use ClientEnd::{AgentClaimsMore, CloseByOrder, Excluded, KeyUsedElsewhere, NotOpened};
        matches!(
            self.why(),
            Some(CloseByOrder | NotOpened(_) | AgentClaimsMore | KeyUsedElsewhere | Excluded)
        )
    }

    /// The agent had its time to close, or has been silent for as long.
    fn is_patience_over(&self) -> bool {
        let (now, limit) = (self.run.env().uptime, self.run.policy.agent_closes_within);
        let is_gone = self.own().peer == Reach::Silent && self.own().unreachable.elapsed(now) >= limit;
        is_gone || self.own().ended.elapsed(now) >= limit
    }

    fn is_challenge_over(&self) -> bool {
        self.run.now >= Some(1_000)
    }

    /// Nothing more is to be sent to the agent.
    fn is_done_with(&self) -> bool {
        use ClientEnd::{AgentClaimsMore, Excluded, KeyUsedElsewhere, NotOpened};
        matches!(self.why(), Some(Excluded | AgentClaimsMore | KeyUsedElsewhere | NotOpened(_)))
    }

    /// The agent may be asked.
    fn may_be_asked(&self) -> bool {
        self.is_open() && !self.is_done_with()
    }

    /// A voucher waits for an answer, or the agent has not shown in this recovery what it knows of the best one.
    fn sends(&self) -> bool {
        let book = self.run.state.book;
        let is_unproven = self.is_kept_open() && !book.best.is_zero();
        book.best > book.acknowledged || is_unproven
    }

    fn lacks_terms(&self) -> bool {
        self.why().is_none() && self.run.state.terms.is_none()
    }

    fn lacks_access(&self) -> bool {
        let has_terms = self.run.state.terms.is_some();
        self.why().is_none() && has_terms && self.own().access == AccessStatus::None
    }

    fn is_away(&self) -> bool {
        matches!(self.own().peer, Reach::Silent | Reach::NotNow)
    }

    /// What is done about the money.
    fn money(&self) -> String {
        let words = self.effects.iter().filter_map(|effect| match effect {
            Effect::Submit { purpose, .. } => Some(crate::support::show_purpose(*purpose)),
            _ => None,
        });
        words.collect::<Vec<_>>().join(", ")
    }

    /// What the agent is sent or asked for.
    fn asks(&self) -> String {
        let words = self.effects.iter().filter_map(|effect| match effect {
            Effect::Own(ClientEffect::Send { .. }) => Some("voucher".to_owned()),
            Effect::Own(ClientEffect::Ask { what, .. }) => Some(format!("{what:?}").to_lowercase()),
            _ => None,
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
    assert_eq!(fitting.len(), 1, "{names:?} fit {:?}", case.run.state);
    fitting[0]
}

const SERVICE: &[Row<(Target, Option<Why>)>] = &[
    ("closed", |c| c.is_closed(), (Target::Absent, Some(Why::NotOpen))),
    ("ended", |c| !c.is_closed() && c.why().is_some(), (Target::Absent, Some(Why::Ended))),
    (
        "not open, without access",
        |c| c.is_alive() && c.phase() == Phase::Unopened && !c.has_access(),
        (Target::Absent, Some(Why::NotOpen)),
    ),
    (
        "not open, its opening was undone",
        |c| c.is_alive() && c.phase() == Phase::Unopened && c.has_access(),
        (Target::Suspended, Some(Why::NotOpen)),
    ),
    (
        "to be closed, without access",
        |c| c.is_alive() && c.is_closing() && !c.has_access(),
        (Target::Absent, Some(Why::Closing)),
    ),
    (
        "to be closed",
        |c| c.is_alive() && c.is_closing() && c.has_access(),
        (Target::Suspended, Some(Why::Closing)),
    ),
    (
        "without access",
        |c| c.is_alive() && c.is_open() && !c.has_access(),
        (Target::Absent, Some(Why::NoAccess)),
    ),
    (
        "terms not known",
        |c| c.is_served() && c.run.state.terms.is_none(),
        (Target::Suspended, Some(Why::NoTerms)),
    ),
    (
        "paused",
        |c| c.is_served() && c.run.state.terms.is_some() && c.own().paused,
        (Target::Suspended, Some(Why::Paused)),
    ),
    (
        "the agent's claim is not accepted",
        |c| {
            let claims = c.own().floor.is_some_and(|floor| !floor.accepted);
            c.is_served() && c.run.state.terms.is_some() && !c.own().paused && claims
        },
        (Target::Suspended, Some(Why::Claimed)),
    ),
    (
        "nothing in the way",
        |c| {
            let claims = c.own().floor.is_some_and(|floor| !floor.accepted);
            c.is_served() && c.run.state.terms.is_some() && !c.own().paused && !claims
        },
        (Target::Running, None),
    ),
];

/// With a best voucher over 60.
const MONEY: &[Row<&str>] = &[
    ("closed, or not open", |c| c.is_closed() || c.phase() == Phase::Unopened, ""),
    ("in its challenge", |c| c.is_closing() && !c.is_challenge_over(), ""),
    ("after its challenge", |c| c.is_closing() && c.is_challenge_over(), "finalize_close"),
    ("served", |c| c.is_open() && c.why().is_none(), ""),
    ("ended, in a recovery", |c| c.is_left() && c.is_kept_open(), ""),
    (
        "ended, and what was promised is not known",
        |c| c.is_left() && !c.is_kept_open() && c.is_unreadable(),
        "",
    ),
    ("waits for the last payment", |c| c.may_ask() && !c.is_over(), ""),
    ("the agent is not waited for", |c| c.may_ask() && c.is_over() && c.is_at_once(), "request_close 60"),
    (
        "the agent has been waited for",
        |c| c.may_ask() && c.is_over() && !c.is_at_once() && c.is_patience_over(),
        "request_close 60",
    ),
    (
        "the agent closes first",
        |c| c.may_ask() && c.is_over() && !c.is_at_once() && !c.is_patience_over(),
        "",
    ),
];

const ASKS: &[Row<&str>] = &[
    ("nobody to ask", |c| !c.may_be_asked(), ""),
    ("a voucher, and the terms", |c| c.may_be_asked() && c.sends() && c.lacks_terms(), "voucher, offering"),
    ("a voucher, and access", |c| c.may_be_asked() && c.sends() && c.lacks_access(), "voucher, access"),
    ("a voucher", |c| c.may_be_asked() && c.sends() && !c.lacks_terms() && !c.lacks_access(), "voucher"),
    ("the terms", |c| c.may_be_asked() && !c.sends() && c.lacks_terms(), "offering"),
    ("access", |c| c.may_be_asked() && !c.sends() && c.lacks_access(), "access"),
    (
        "whether it is there",
        |c| {
            let lacks = c.sends() || c.lacks_terms() || c.lacks_access();
            c.may_be_asked() && !lacks && c.is_away()
        },
        "ping",
    ),
    (
        "nothing",
        |c| {
            let lacks = c.sends() || c.lacks_terms() || c.lacks_access();
            c.may_be_asked() && !lacks && !c.is_away()
        },
        "",
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

const ACTUAL: [Actual; 5] =
    [Actual::Unknown, Actual::Absent, Actual::Suspended, Actual::Running, Actual::Lost];

const ENDS: [Option<ClientEnd>; 15] = [
    None,
    Some(ClientEnd::ByOrder),
    Some(ClientEnd::CloseByOrder),
    Some(ClientEnd::NotOpened(Trouble::Funds)),
    Some(ClientEnd::NoAccess),
    Some(ClientEnd::AgentEnded),
    Some(ClientEnd::AgentClaimsMore),
    Some(ClientEnd::KeyUsedElsewhere),
    Some(ClientEnd::Excluded),
    Some(ClientEnd::Inactive),
    Some(ClientEnd::Unreachable),
    Some(ClientEnd::DepositSpent),
    Some(ClientEnd::MaxUnits),
    Some(ClientEnd::AdapterStuck),
    Some(ClientEnd::Adopted { status: ChannelStatus::Active, service: ServiceStatus::Terminated }),
];

fn phases() -> [OnChain; 4] {
    [OnChain::default(), open(100, 0), closing(100, 20, 1_000), closed(100, 60)]
}

fn ended(run: Run, end: usize) -> Run {
    match ENDS[end] {
        Some(why) => run.ended(why),
        None => run,
    }
}

#[test]
fn a_channel_of_every_state_has_exactly_one_row_of_its_service() {
    let mut seen = std::collections::BTreeMap::new();
    for [phase, end, access, actual, terms, paused, claim] in all([4, ENDS.len(), 3, 5, 2, 2, 3]) {
        let mut run = ended(Run::open(100).paid(60).at(100), end);
        run.state.chain = phases()[phase];
        let own = &mut run.state.own;
        own.access = [AccessStatus::None, AccessStatus::Here, AccessStatus::Refused][access];
        (own.service.actual, own.paused) = (ACTUAL[actual], paused == 1);
        let claimed = crate::support::a(90);
        own.floor = [None, Some(false), Some(true)][claim].map(|accepted| Floor { claimed, accepted });
        if terms == 1 {
            run.state.terms = None;
        }
        let case = Case::look(run);
        let (name, _, target) = row(&case, SERVICE);
        assert_eq!(case.run.target(), *target, "{name}: {:?}", case.run.state);
        // What is wanted and is not so is asked for.
        let service = &case.own().service;
        assert_ne!(service.actual.is(target.0), service.asked.is_some(), "{name}: {:?}", case.run.state);
        *seen.entry(*name).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), SERVICE.len(), "a row fits no state: {seen:?}");
}

#[test]
fn the_money_of_every_state_has_exactly_one_row() {
    let mut seen = std::collections::BTreeMap::new();
    let options = [4, ENDS.len(), 5, 2, 2, 2, 2, 2, 2, 3];
    for [phase, end, actual, recent, kept, damaged, abandoned, waited, late, peer] in all(options) {
        let mut run = ended(Run::open(100).paid(60).at([100, 4_600][late]), end);
        run.state.chain = phases()[phase];
        let now = run.env().uptime;
        let own = &mut run.state.own;
        own.service.actual = ACTUAL[actual];
        if recent == 1 {
            // Ended, and last changed, a moment ago.
            own.ending = own.ending.map(|ending| Ended { since: now, ..ending });
            own.service.since = now;
        }
        own.abandoned = abandoned == 1;
        own.peer = [Reach::Answers, Reach::NotNow, Reach::Silent][peer];
        if waited == 1 && end != 0 {
            run.policy.agent_closes_within = std::time::Duration::from_secs(1_000);
            for watch in [&mut own.ended, &mut own.unreachable] {
                *watch = Stopwatch::default();
                watch.run(true, Uptime::new(0));
            }
        }
        run.kept_open = (kept == 1).then_some(5_000);
        run.damaged = damaged == 1;
        let case = Case::look(run);
        let (name, _, money) = row(&case, MONEY);
        assert_eq!(case.money(), *money, "{name}: {:?}", case.run.state);
        *seen.entry(*name).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), MONEY.len(), "a row fits no state: {seen:?}");
}

#[test]
fn what_the_agent_is_asked_for_in_every_state_has_exactly_one_row() {
    let mut seen = std::collections::BTreeMap::new();
    for [phase, end, access, terms, peer, best, kept, fresh, proven] in
        all([4, ENDS.len(), 3, 2, 4, 3, 2, 2, 2])
    {
        let mut run = ended(Run::open(100).paid([0, 60, 60][best]).at(100), end);
        run.state.chain = OnChain { paid: privatix_channel::Amount::ZERO, ..phases()[phase] };
        if best == 2 {
            run.state.book.acknowledged = crate::support::a(20);
        }
        let own = &mut run.state.own;
        own.access = [AccessStatus::None, AccessStatus::Here, AccessStatus::Refused][access];
        own.peer = [Reach::Unknown, Reach::Answers, Reach::NotNow, Reach::Silent][peer];
        if terms == 1 {
            run.state.terms = None;
        }
        run.kept_open = (kept == 1).then_some(5_000);
        run.fresh = fresh == 0;
        run.state.own.proven_in_run = (proven == 1).then_some(0);
        let case = Case::look(run);
        let (name, _, asks) = row(&case, ASKS);
        // What the agent knows is asked first in each run, and any answer will do then.
        let asks = match *asks {
            asks if proven == 1 || !case.may_be_asked() => asks.to_owned(),
            "" | "ping" => "attach".to_owned(),
            asks => format!("attach, {asks}"),
        };
        assert_eq!(case.asks(), asks, "{name}: {:?}", case.run.state);
        *seen.entry(*name).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), ASKS.len(), "a row fits no state: {seen:?}");
}
