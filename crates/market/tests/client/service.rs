//! Service: what is wanted of the adapter, and when patience with a quiet or a broken one ends.

use privatix_channel::OnChain;
use privatix_market::{
    AccessStatus, Actual, Answered, Ask, Carried, ClientEnd, ClientMessage, ClientOrder, Floor, Input,
    Target, Why,
};

use crate::support::{HOUR, Run, a, closed, closing, hours};

/// The channel, what is wanted of its service, and why not more.
#[test]
fn a_service_runs_while_the_channel_is_open_and_nothing_is_in_the_way() {
    let but = |change: fn(&mut Run)| {
        let mut run = Run::open(100);
        change(&mut run);
        run
    };
    let of = |chain: OnChain, access| {
        let mut run = Run::open(100);
        (run.state.chain, run.state.own.access) = (chain, access);
        run
    };
    let claimed = |accepted| {
        let mut run = Run::open(100);
        run.state.own.floor = Some(Floor { claimed: a(90), accepted });
        run
    };
    let absent = |why| (Target::Absent, Some(why));
    let suspended = |why| (Target::Suspended, Some(why));
    let running = (Target::Running, None);
    let rows = vec![
        ("nothing in the way", but(|_| {}), running),
        ("a stale view", but(|run| run.fresh = false), running),
        ("an agent that is silent", but(|run| run.state.own.peer = privatix_market::Reach::Silent), running),
        ("paused", but(|run| run.state.own.paused = true), suspended(Why::Paused)),
        ("terms not known", but(|run| run.state.terms = None), suspended(Why::NoTerms)),
        ("a claim", claimed(false), suspended(Why::Claimed)),
        ("a claim that is accepted", claimed(true), running),
        ("no access", of(Run::open(100).state.chain, AccessStatus::None), absent(Why::NoAccess)),
        ("access refused", of(Run::open(100).state.chain, AccessStatus::Refused), absent(Why::NoAccess)),
        ("undone", of(OnChain::default(), AccessStatus::Here), suspended(Why::NotOpen)),
        ("not open yet", of(OnChain::default(), AccessStatus::None), absent(Why::NotOpen)),
        ("a request to close", of(closing(100, 0, 5_000), AccessStatus::Here), suspended(Why::Closing)),
        ("ended", but(|_| {}).ended(ClientEnd::ByOrder), absent(Why::Ended)),
        ("closed", of(closed(100, 0), AccessStatus::Here), absent(Why::NotOpen)),
    ];
    for (name, mut run, target) in rows {
        run.give(&Input::Look);
        assert_eq!(run.target(), target, "{name}");
    }
}

/// What the service does, the order, what follows, what is wanted then.
#[test]
fn a_pause_and_its_end_are_followed_at_once_whatever_the_adapter_does() {
    let asked = |orders: &[ClientOrder]| {
        let mut run = Run::open(100);
        for order in orders {
            run.give(&Input::Order(*order));
        }
        run
    };
    let (pause, resume) = (ClientOrder::Pause, ClientOrder::Resume);
    let suspended = (Target::Suspended, Some(Why::Paused));
    let running = (Target::Running, None);
    let rows = [
        ("it runs", asked(&[]), pause, "drive 1", suspended),
        ("it runs, and is to", asked(&[]), resume, "", running),
        ("it is being suspended", asked(&[pause]), pause, "", suspended),
        ("it is being suspended, and is to run", asked(&[pause]), resume, "drive 2", running),
        ("it is being started again", asked(&[pause, resume]), pause, "drive 3", suspended),
    ];
    for (name, mut run, order, effects, target) in rows {
        assert_eq!(run.give(&Input::Order(order)), effects, "{name}");
        assert_eq!(run.target(), target, "{name}");
        if run.state.own.service.asked.is_some() {
            run.done();
        }
        assert!(run.state.own.service.actual.is(run.target().0), "{name}");
    }
}

/// The adapter's answer to a start, how long it may answer so, and why the service ends.
#[test]
fn an_adapter_that_does_not_start_the_service_is_waited_for() {
    let rows = [("refuses", Answered::Refused, 10 * 60), ("answers nothing", Answered::GaveUp, 24 * HOUR)];
    for (name, answer, patience) in rows {
        let mut run = Run::open(100);
        run.state.own.service.actual = Actual::Absent;
        assert_eq!(run.give(&Input::Look), "drive 1", "{name}");
        let begun = run.uptime;
        while run.ending().is_none() && run.uptime < 1_000_000 {
            if run.state.own.service.asked.is_some() {
                run.adapter(answer);
            }
            run.after(30);
        }
        assert_eq!(run.ending(), Some(ClientEnd::AdapterStuck), "{name}");
        assert!((patience..patience + 60).contains(&(run.uptime - begun)), "{name}: {}", run.uptime - begun);
    }
}

#[test]
fn fault_73_an_idle_service_ends_only_if_its_agent_answers() {
    let idle = |terms: &mut privatix_billing::TermsDraft| terms.max_inactive = hours(1);
    let mut run = Run::open(100).paid(10).terms(idle);
    run.give(&Input::Look);
    assert_eq!(run.after(HOUR), "ask 1 Ping");
    let (mut not_now, mut stale) = (run.clone(), run.clone());
    assert_eq!(run.receipt(10), "drive 2");
    assert_eq!(run.ending(), Some(ClientEnd::Inactive));
    // Also by an answer that it has less: it was overdue and came again without end. Found by the simulator (seed 1073591).
    assert_eq!(
        stale.peer(ClientMessage::Stale { acknowledged: a(0), carried: Carried::default() }),
        "drive 2"
    );
    assert_eq!(stale.ending(), Some(ClientEnd::Inactive));
    assert_eq!(not_now.peer(ClientMessage::NotNow(None)), "");
    assert_eq!(not_now.after(5 * HOUR), "ask 2 Ping");
    assert_eq!(not_now.ending(), None);
    // A use begins it again.
    not_now.used(1);
    not_now.peer(ClientMessage::Pong);
    assert_eq!(not_now.after(HOUR - 1), "");
}

#[test]
fn the_agents_downtime_is_not_counted_as_inactivity() {
    let idle = |terms: &mut privatix_billing::TermsDraft| terms.max_inactive = hours(1);
    let away = |run: &mut Run, answer: fn(u32) -> ClientMessage| {
        let seq = run.state.own.requests.first().unwrap().seq;
        run.peer(answer(seq));
        run.after(60); // it is asked again
        assert_eq!(run.state.own.requests.first().unwrap().what, Ask::Ping);
        run.peer(ClientMessage::Pong);
    };
    let answers: [fn(u32) -> ClientMessage; 2] =
        [|seq| ClientMessage::Unanswered { seq }, |_| ClientMessage::NotNow(None)];
    for answer in answers {
        let mut run = Run::open(100).paid(10).terms(idle);
        run.give(&Input::Look);
        // It may have been away for all of the hour: then it has a fresh one, and not for ever.
        for _ in 0..8 {
            assert_eq!(run.after(HOUR - 1), "");
            run.after(1);
            away(&mut run, answer);
            assert_eq!(run.ending(), None);
        }
        let mut used = run.clone();
        run.after(HOUR);
        away(&mut run, answer);
        assert_eq!(run.ending(), Some(ClientEnd::Inactive));
        // A use begins it again.
        used.used(1);
        used.signed(11);
        used.receipt(11);
        used.after(HOUR);
        away(&mut used, answer);
        assert_eq!(used.ending(), None);
    }
}

#[test]
fn a_service_that_cannot_be_suspended_is_ended() {
    let mut run = Run::open(100);
    run.chain(closing(100, 0, 5_000));
    run.adapter(Answered::Refused);
    assert_eq!(run.ending(), Some(ClientEnd::AdapterStuck));
    assert_eq!(run.target().0, Target::Absent);
}

/// Found by the simulator (seed 108163, at the agent): what ran was believed to be suspended, and was left so.
#[test]
fn a_service_that_may_have_been_started_late_is_stopped_in_the_end() {
    let mut run = Run::open(100);
    run.give(&Input::Order(ClientOrder::Pause));
    run.done();
    assert_eq!(run.give(&Input::Order(ClientOrder::Resume)), "drive 2");
    assert_eq!(run.after(60), "drive 3");
    let late = Input::Adapter { seq: 2, answer: Answered::Did(Actual::Running) };
    assert_eq!(run.give(&late), "", "it answers another request than the one that is waited for");
    assert_eq!(run.give(&Input::Order(ClientOrder::Pause)), "drive 4");
    assert_eq!(run.after(60), "drive 5", "to stop it");
    assert_eq!((run.target().0, run.ending()), (Target::Absent, Some(ClientEnd::AdapterStuck)));
}
