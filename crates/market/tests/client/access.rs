//! Access: when the agent is asked for it, what its answers mean, and what of the service there is without it.

use privatix_channel::{AgentView, OnChain, ServiceState, Usage};
use privatix_market::{
    AccessStatus, Actual, Answered, Carried, ClientEnd, ClientMessage, ClientOrder, ClientOwn, Fetched,
    Input, NotNow, Reach, Shown, Target, Uptime, Why,
};

use crate::support::{HOUR, Run, a, closed, closing, open};

/// An open channel to which no access was given yet.
fn without_access() -> Run {
    let mut run = Run::open(100);
    run.state.own = ClientOwn::default();
    run.state.own.proven_in_run = Some(0);
    run
}

/// The channel, what the agent is asked for, what is wanted of the service, and why not more.
#[test]
fn access_is_asked_for_once_the_channel_is_open_and_its_terms_are_known() {
    let of = |chain: OnChain| {
        let mut run = without_access();
        run.state.chain = chain;
        run
    };
    let but = |change: fn(&mut Run)| {
        let mut run = without_access();
        change(&mut run);
        run
    };
    let rows = [
        ("not open yet", of(OnChain::default()), "", Why::NotOpen),
        ("open", without_access(), "ask 1 Access", Why::NoAccess),
        ("paused", but(|run| run.state.own.paused = true), "ask 1 Access", Why::NoAccess),
        ("stale view", but(|run| run.fresh = false), "ask 1 Access", Why::NoAccess),
        ("terms not known", but(|run| run.state.terms = None), "ask 1 Offering", Why::NoAccess),
        ("a request to close stands", of(closing(100, 0, 5_000)), "", Why::Closing),
        ("ended", without_access().ended(ClientEnd::ByOrder), "", Why::Ended),
        ("closed", of(closed(100, 0)), "", Why::NotOpen),
    ];
    for (name, mut run, asked, why) in rows {
        assert_eq!(run.give(&Input::Look), asked, "{name}");
        assert_eq!(run.target(), (Target::Absent, Some(why)), "{name}");
    }
}

/// The agent's answer, what follows, what follows five seconds later, the access, why the service ends.
#[test]
fn what_the_agents_answer_to_the_request_for_access_means() {
    use ClientMessage as M;
    let not_ready = |why| M::AccessNotReady(why);
    let rows = [
        (M::Access(Fetched::default()), "drive 2", "", AccessStatus::Here, None),
        (not_ready(None), "", "ask 2 Access", AccessStatus::None, None),
        (not_ready(Some(NotNow::StaleView)), "", "ask 2 Access", AccessStatus::None, None),
        (M::AccessRefused, "", "", AccessStatus::Refused, Some(ClientEnd::NoAccess)),
        (M::Unanswered { seq: 1 }, "", "ask 2 Access", AccessStatus::None, None),
        (M::Unanswered { seq: 9 }, "", "", AccessStatus::None, None), // about another request
        (M::Pong, "", "", AccessStatus::None, None),
        (M::Closing { carried: Carried::default() }, "", "", AccessStatus::None, Some(ClientEnd::AgentEnded)),
        (
            M::Paid { acknowledged: a(0), ended: true, carried: Carried::default() },
            "",
            "",
            AccessStatus::None,
            Some(ClientEnd::AgentEnded),
        ),
    ];
    for (message, at_once, later, access, ending) in rows {
        let mut run = without_access();
        assert_eq!(run.give(&Input::Look), "ask 1 Access");
        assert_eq!(run.peer(message), at_once, "{message:?}");
        assert_eq!(run.after(5), later, "{message:?}");
        assert_eq!((run.state.own.access, run.ending()), (access, ending), "{message:?}");
    }
    // One that asked for something else in between has no say: what was given stays.
    let mut given = Run::open(100);
    assert_eq!(given.peer(M::AccessRefused), "");
    assert_eq!((given.state.own.access, given.ending()), (AccessStatus::Here, None));
}

const SAME: ClientMessage = ClientMessage::Access(Fetched { number: None, is_same: true });
const OTHER: ClientMessage = ClientMessage::Access(Fetched { number: Some(2), is_same: false });

/// A channel whose service runs, and whose agent is not reached any more by the access that is here.
fn unreached() -> (Run, String) {
    let mut run = Run::open(100);
    run.state.own.service.target = Target::Running;
    let asked = run.give(&Input::Reached(false));
    (run, asked)
}

#[test]
fn access_is_asked_for_again_while_the_adapter_does_not_reach_the_agent() {
    let (mut run, asked) = unreached();
    assert_eq!(asked, "ask 1 Access");
    assert!(run.target().0 == Target::Running && run.ending().is_none());
    // The agent is where it was: it is asked less and less often, while what is here stays in use.
    for (seq, pause) in [(2, 5), (3, 10), (4, 20), (5, 40), (6, 60), (7, 60)] {
        assert_eq!(run.peer(SAME), "");
        let at = run.uptime + pause;
        assert!(run.owners().contains(&format!("time {at} s")), "{}", run.owners());
        assert_eq!(run.after(pause - 1), "");
        assert_eq!(run.after(1), format!("ask {seq} Access"));
    }
    // It is elsewhere now: the adapter is given that, and what runs goes on.
    assert_eq!(run.peer(OTHER), "drive 8");
    assert_eq!((run.target().0, run.state.own.service.actual), (Target::Running, Actual::Running));
    assert_eq!(run.state.own.access_number, Some(2));
    assert_eq!(run.done(), "");
    assert_eq!(run.give(&Input::Reached(true)), "");
    assert_eq!(run.after(3_600), "");
    // The pauses begin again after that.
    assert_eq!(run.give(&Input::Reached(false)), "ask 9 Access");
    assert_eq!(run.peer(SAME), "");
    assert_eq!(run.after(5), "ask 10 Access");
}

/// The agent shows that its access has this number.
fn view(number: u64, access: u32) -> ClientMessage {
    let view = AgentView {
        number,
        used: Usage::ZERO,
        service: ServiceState::Running,
        reason: None,
        resumes_at: None,
        access,
    };
    ClientMessage::View(Shown { connected: Uptime::default(), view })
}

#[test]
fn access_is_asked_for_again_once_the_agent_shows_another_number() {
    let mut run = Run::open(100);
    run.state.own.service.target = Target::Running;
    assert_eq!(run.peer(view(1, 0)), "", "the first one has this number");
    assert_eq!(run.peer(view(2, 2)), "ask 1 Access");
    assert_eq!(run.peer(OTHER), "drive 2");
    assert_eq!((run.done(), run.after(3_600)), (String::new(), String::new()));
    // A restored agent counts from less. Without a number, what came is what was shown.
    assert_eq!(run.peer(view(3, 1)), "ask 3 Access");
    assert_eq!(run.peer(SAME), "");
    assert_eq!((run.state.own.access_number, run.after(3_600)), (Some(1), String::new()));
    // An agent that shows one number and gives another one is asked less and less often.
    assert_eq!(run.peer(view(4, 9)), "ask 4 Access");
    for (seq, pause) in [(5, 5), (6, 10), (7, 20)] {
        assert_eq!(run.peer(ClientMessage::Access(Fetched { number: Some(2), is_same: true })), "");
        assert_eq!(run.after(pause - 1), "");
        assert_eq!(run.after(1), format!("ask {seq} Access"));
    }
}

#[test]
fn an_agent_that_gives_no_other_access_ends_nothing() {
    use ClientMessage as M;
    for message in [M::AccessRefused, M::AccessNotReady(None), M::Unanswered { seq: 1 }] {
        let (mut run, _) = unreached();
        assert_eq!(run.peer(message), "", "{message:?}");
        assert_eq!((run.state.own.access, run.ending()), (AccessStatus::Here, None), "{message:?}");
        assert_eq!(run.target().0, Target::Running, "{message:?}");
        assert_eq!(run.after(5), "ask 2 Access", "{message:?}");
    }
}

#[test]
fn access_is_not_asked_for_again_by_what_an_earlier_life_of_the_adapter_reported() {
    let mut run = Run::open(100);
    run.fresh = true;
    run.state.own.unreached = Some(7);
    assert_eq!(run.give(&Input::Look), "");
    run.instance = 7;
    assert!(run.give(&Input::Look).contains("Access"));
}

#[test]
fn what_the_adapter_refuses_to_be_given_is_not_given_again() {
    let (mut run, _) = unreached();
    assert_eq!(run.peer(OTHER), "drive 2");
    assert_eq!(run.adapter(Answered::Refused), "");
    assert_eq!((run.after(30 * 60), run.ending()), ("ask 3 Access".to_owned(), None));
    assert_eq!(run.state.own.service.actual, Actual::Running);
}

#[test]
fn other_access_is_given_to_a_service_that_is_suspended_once_it_is_to_run() {
    let (mut run, _) = unreached();
    assert_eq!(run.give(&Input::Order(ClientOrder::Pause)), "drive 2");
    run.done();
    assert_eq!(run.peer(OTHER), "");
    assert_eq!(run.give(&Input::Order(ClientOrder::Resume)), "drive 3");
    assert!(run.state.own.service.afresh);
    run.done();
    assert!(!run.state.own.service.afresh);
}

#[test]
fn a_start_that_was_begun_with_earlier_access_is_made_again_with_the_present_one() {
    let (mut run, _) = unreached();
    run.give(&Input::Order(ClientOrder::Pause));
    run.done();
    assert_eq!(run.give(&Input::Order(ClientOrder::Resume)), "drive 3");
    assert_eq!(run.peer(OTHER), "drive 4");
    let did = Answered::Did(Actual::Running);
    assert_eq!(run.give(&Input::Adapter { seq: 3, answer: did }), "", "the earlier one has no say");
    assert!(run.state.own.service.afresh);
    assert_eq!(run.adapter(did), "");
    assert!(!run.state.own.service.afresh);
}

/// What is in the way, whether the time of the agent stands still meanwhile.
#[test]
fn the_time_to_give_access_stands_still_while_that_is_not_the_agents_fault() {
    type Change = fn(&mut Run);
    let rows: [(&str, Change, bool); 5] = [
        ("nothing", |_| {}, false),
        ("the chain is not seen", |run| run.fresh = false, true),
        ("the contract holds what no event explains", |run| run.explained = false, true),
        ("the agent is silent", |run| run.state.own.peer = Reach::Silent, true),
        ("nobody asks it", |run| run.state.own.unasked = true, true),
    ];
    for (name, change, stands_still) in rows {
        let mut run = without_access();
        run.state.chain = open(100, 0);
        run.give(&Input::Look);
        change(&mut run);
        run.give(&Input::Look);
        let begun = run.state.own.no_access.elapsed(run.env().uptime);
        run.uptime += HOUR / 2;
        let run_on = run.state.own.no_access.elapsed(run.env().uptime) > begun;
        assert_eq!(run_on, !stands_still, "{name}");
    }
}

#[test]
fn fault_30_a_pause_before_the_access_is_here_is_kept() {
    let mut run = Run::open(100);
    run.state.own = ClientOwn::default();
    run.state.own.proven_in_run = Some(0);
    assert_eq!(run.give(&Input::Look), "ask 1 Access");
    assert_eq!(run.owners(), "time 4600 s, peer 1 until 1060 s");
    run.give(&Input::Order(ClientOrder::Pause));
    assert_eq!(run.peer(ClientMessage::Access(Fetched::default())), "drive 2");
    assert_eq!(run.target(), (Target::Suspended, Some(Why::Paused)));
    // Pause, resume, pause.
    run.done();
    assert_eq!(run.give(&Input::Order(ClientOrder::Resume)), "drive 3");
    assert_eq!(run.give(&Input::Order(ClientOrder::Pause)), "drive 4", "it may run by now");
    assert_eq!(run.target().0, Target::Suspended);
}

/// What the agent answers, why and after how long the service ends.
#[test]
fn an_agent_that_gives_no_access_is_waited_for_while_it_answers() {
    let new = || {
        let mut run = Run::open(100);
        run.state.own = ClientOwn::default();
        run.state.own.proven_in_run = Some(0);
        run.give(&Input::Look);
        run
    };
    let mut refused = new();
    refused.peer(ClientMessage::AccessRefused);
    assert_eq!(refused.ending(), Some(ClientEnd::NoAccess));
    let mut not_ready = new();
    while not_ready.ending().is_none() && not_ready.uptime < 20_000 {
        not_ready.peer(ClientMessage::AccessNotReady(None));
        let mut soon = not_ready.clone();
        soon.after(5);
        assert!(soon.state.own.requests.iter().any(|request| request.until.is_some()), "asked again soon");
        not_ready.after(60);
    }
    assert_eq!((not_ready.ending(), not_ready.uptime), (Some(ClientEnd::NoAccess), 1_000 + HOUR));
    let mut silent = new();
    while silent.ending().is_none() && silent.uptime < 1_000_000 {
        silent.unanswered();
        silent.after(60);
    }
    let week = 7 * 24 * HOUR;
    assert_eq!(silent.ending(), Some(ClientEnd::Unreachable));
    assert!((week..week + 200).contains(&(silent.uptime - 1_000)), "{}", silent.uptime);
}
