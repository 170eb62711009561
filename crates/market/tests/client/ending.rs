//! Ending: what ends a service, and when its channel is closed after it.

use privatix_billing::TermsDraft;
use privatix_channel::OnChain;
use privatix_market::{
    AgentPolicy, Carried, ClientEnd, ClientMessage, ClientNotice, ClientOrder, ClientOwn, ClientPolicy,
    Input, Reach, Refused, Trouble, Uptime,
};

use crate::support::{HOUR, Run, a, closed, closing, hours, open};

/// A channel, what happens, why its service ends, what follows, and what once the service is gone.
#[test]
fn what_ends_a_service_and_whether_its_agent_is_waited_for() {
    type Row = (&'static str, Run, Input<privatix_market::Client>, ClientEnd, &'static str, &'static str);
    let order = Input::Order;
    let peer = Input::Peer;
    let served = || Run::open(100).paid(60);
    let used_up = |change: fn(&mut TermsDraft)| {
        let mut run = Run::open(100).paid(60).terms(change);
        run.used(60);
        run
    };
    let spent = || {
        let mut run = Run::open(60).paid(60);
        run.used(59);
        run
    };
    let use_of = |used| Input::Used { used: privatix_channel::Usage::new(used), running: false };
    let paid = |ended| ClientMessage::Paid { acknowledged: a(60), ended, carried: Carried::default() };
    let rows: Vec<Row> = vec![
        ("the user ends it", served(), order(ClientOrder::End), ClientEnd::ByOrder, "drive 1", ""),
        (
            "the user closes it",
            served(),
            order(ClientOrder::Close),
            ClientEnd::CloseByOrder,
            "drive 1",
            "submit 2 request_close 60",
        ),
        ("the agent ends it", served(), peer(paid(true)), ClientEnd::AgentEnded, "drive 1", ""),
        (
            "the agent closes",
            served(),
            peer(ClientMessage::Closing { carried: Carried::default() }),
            ClientEnd::AgentEnded,
            "drive 1",
            "",
        ),
        (
            "the agent claims more",
            served(),
            peer(ClientMessage::Stale { acknowledged: a(61), carried: Carried::default() }),
            ClientEnd::AgentClaimsMore,
            "submit 1 request_close 60, drive 2",
            "",
        ),
        (
            "the agent must not be contacted",
            served(),
            peer(ClientMessage::NotPermitted),
            ClientEnd::Excluded,
            "drive 1",
            "submit 2 request_close 60",
        ),
        (
            "the chain shows more as paid than was signed",
            served(),
            Input::Chain(open(100, 61)),
            ClientEnd::AgentClaimsMore,
            "submit 1 request_close 61, drive 2",
            "",
        ),
        ("the deposit is used and paid", spent(), use_of(60), ClientEnd::DepositSpent, "drive 1", ""),
        (
            "all units are used and paid",
            Run::open(100).paid(60).terms(|terms| terms.max_units = Some(60)),
            use_of(60),
            ClientEnd::MaxUnits,
            "drive 1",
            "",
        ),
    ];
    for (name, mut run, input, why, at_once, gone) in rows {
        assert_eq!(run.give(&input), at_once, "{name}");
        assert_eq!(run.ending(), Some(why), "{name}");
        assert!(run.notices.contains(&ClientNotice::Ends(why)), "{name}: {:?}", run.notices);
        assert_eq!(run.done(), gone, "{name}");
        assert_eq!(run.state.own.service.status(true, true, 0).to_string(), "terminated", "{name}");
    }
    assert_eq!(used_up(|terms| terms.max_units = Some(61)).ending(), None);
}

/// A channel, what happens, whether its service goes on.
#[test]
fn what_ends_no_service() {
    let but = |change: fn(&mut Run)| {
        let mut run = Run::open(100).paid(60);
        change(&mut run);
        run
    };
    let stale = Input::Peer(ClientMessage::Stale { acknowledged: a(61), carried: Carried::default() });
    let rows = vec![
        ("an agent that takes nothing now", but(|_| {}), Input::Peer(ClientMessage::NotNow(None))),
        (
            "an agent that knows less",
            but(|_| {}),
            Input::Peer(ClientMessage::Stale { acknowledged: a(10), carried: Carried::default() }),
        ),
        ("a claim in a recovery", but(|run| run.kept_open = Some(9_000)), stale.clone()),
        ("a claim where the voucher cannot be read", but(|run| run.damaged = true), stale),
        ("a settlement of what was signed", but(|_| {}), Input::Chain(open(100, 60))),
        ("an opening that is undone", but(|_| {}), Input::Chain(OnChain::default())),
        ("a request to close that may be taken back", but(|_| {}), Input::Chain(closing(100, 0, 9_000))),
        ("a pause", but(|_| {}), Input::Order(ClientOrder::Pause)),
    ];
    for (name, mut run, input) in rows {
        run.give(&input);
        assert_eq!(run.ending(), None, "{name}");
    }
}

/// The first reason, the order, the reason from then on.
#[test]
fn the_first_reason_stays_unless_the_user_closes() {
    use ClientEnd as E;
    for (first, order, then) in [
        (E::Inactive, ClientOrder::End, E::Inactive),
        (E::Inactive, ClientOrder::Close, E::CloseByOrder),
        (E::ByOrder, ClientOrder::Close, E::CloseByOrder),
        (E::AgentClaimsMore, ClientOrder::Close, E::AgentClaimsMore),
        (E::Excluded, ClientOrder::Close, E::Excluded),
        (E::CloseByOrder, ClientOrder::End, E::CloseByOrder),
    ] {
        let mut run = Run::open(100).paid(60).ended(first);
        run.give(&Input::Look);
        run.give(&Input::Order(order));
        assert_eq!(run.ending(), Some(then), "{first:?}, {order:?}");
    }
    let mut over = Run::open(100).paid(60);
    over.chain(closed(100, 60));
    let phase = over.state.chain.phase();
    for order in [ClientOrder::End, ClientOrder::Close, ClientOrder::Pause, ClientOrder::Abandon] {
        assert_eq!(over.try_give(&Input::Order(order)), Err(Refused::Over { phase }), "{order:?}");
    }
}

/// What it answers to each voucher, whether it is shown as one that answers.
#[test]
fn an_agent_that_answers_and_takes_no_payment_is_given_up_and_its_user_is_shown_it() {
    type Answer = fn(u32) -> ClientMessage;
    let rows: [(&str, Answer, bool); 3] = [
        ("not now", |_| ClientMessage::NotNow(None), true),
        (
            "less than it was sent",
            |_| ClientMessage::Stale { acknowledged: a(0), carried: Carried::default() },
            true,
        ),
        ("nothing", |seq| ClientMessage::Unanswered { seq }, false),
    ];
    for (name, answer, answers) in rows {
        let mut run = Run::open(100);
        run.used(10);
        run.signed(10);
        let (mut shown, begun) = (Vec::new(), run.uptime);
        while run.ending().is_none() && run.uptime < 1_000_000 {
            let seq = run.state.own.requests.first().unwrap().seq;
            run.peer(answer(seq));
            shown.extend(run.notices.iter().map(|notice| (*notice, run.uptime - begun)));
            run.after(60);
            shown.extend(run.notices.iter().map(|notice| (*notice, run.uptime - begun)));
        }
        let week = 7 * 24 * HOUR;
        let unreachable = ClientNotice::Unreachable { answers };
        let ends = ClientNotice::Ends(ClientEnd::Unreachable);
        assert_eq!(shown, [(unreachable, HOUR), (ends, week)], "{name}");
        // From then on it is waited for to close as any other one.
        let mut closes = run.done().contains("request_close 10");
        for _ in 0..130 {
            run.peer(answer(0));
            closes |= run.after(60).contains("request_close 10");
        }
        assert!(closes, "{name}");
    }
}

#[test]
fn an_agent_that_acknowledges_more_each_time_is_not_given_up() {
    let mut run = Run::open(1_000_000).policy(|policy| policy.abandon_after = hours(2));
    for n in 1..300 {
        run.used(2 * n);
        run.signed((2 * n).into());
        // Always one behind.
        run.receipt((2 * n - 1).into());
        run.after(60);
        assert_eq!((run.ending(), run.notices.as_slice()), (None, [].as_slice()), "{n}");
    }
}

#[test]
fn an_agent_that_cannot_be_reached_is_not_waited_for_to_close() {
    let mut run = Run::open(100).paid(60).ended(ClientEnd::AgentEnded);
    run.state.own.peer = privatix_market::Reach::Silent;
    // Its own network does not work: that is not the agent's fault.
    run.reachable = false;
    run.give(&Input::Look);
    assert!(!run.after(9 * HOUR).contains("request_close"));
    run.reachable = true;
    run.unanswered();
    run.give(&Input::Look);
    let mut seconds = 0;
    while !run.after(30).contains("request_close 60") {
        seconds += 30;
        assert!(seconds < 2 * HOUR, "{:?}", run.state);
        run.unanswered();
    }
    assert_eq!(seconds, 2 * HOUR - 30);
}

/// Nobody asks it: its job does not run in time, in a recovery or behind others.
#[test]
fn fault_82_an_agent_that_nobody_asks_is_not_silent() {
    let mut waiting = Run::open(100);
    waiting.state.own = ClientOwn::default();
    waiting.state.own.proven_in_run = Some(0);
    assert_eq!(waiting.give(&Input::Look), "ask 1 Access");
    let mut unpaid = Run::open(100);
    unpaid.used(10);
    assert_eq!(unpaid.signed(10), "send 1 10");
    // Ended, it has its time to close, whatever it did before.
    let mut ended = Run::open(100).paid(60).ended(ClientEnd::AgentEnded);
    ended.state.own.peer = Reach::Silent;
    let closes = (0..130).any(|_| ended.after(60).contains("request_close 60"));
    assert!(closes, "{:?}", ended.state);
    for (name, run) in [("access", &mut waiting), ("voucher", &mut unpaid)] {
        for _ in 0..15_000 {
            run.after(60);
            assert_eq!((run.ending(), run.notices.as_slice()), (None, [].as_slice()), "{name}");
            assert_ne!(run.state.own.peer, Reach::Silent, "{name}");
        }
        assert!(run.owners().contains("user, reminder"), "{name}: {}", run.owners());
    }
    // Asked at last, its answer counts, and so does its silence, also where that is reported late.
    assert_eq!(unpaid.receipt(10), "");
    assert!(!unpaid.state.own.unasked);
    while waiting.state.own.requests[0].until.is_none() {
        waiting.after(60);
    }
    let seq = waiting.state.own.requests[0].seq;
    waiting.after(60);
    assert!(waiting.state.own.requests[0].until.is_none(), "its time is over");
    waiting.peer(ClientMessage::Unanswered { seq });
    assert_eq!((waiting.state.own.peer, waiting.state.own.unasked), (Reach::Silent, false));
}

#[test]
fn an_agent_that_must_not_be_contacted_is_asked_nothing_and_paid_by_the_close() {
    let mut run = Run::open(100);
    run.used(10);
    run.signed(10);
    assert_eq!(run.peer(ClientMessage::NotPermitted), "drive 2");
    assert_eq!(run.done(), "submit 3 request_close 10");
}

#[test]
fn nothing_is_admitted_while_the_best_voucher_cannot_be_read() {
    let mut run = Run::open(100).ended(ClientEnd::CloseByOrder);
    run.damaged = true;
    assert_eq!(run.give(&Input::Look), "");
    assert_eq!(run.owners(), "user, reminder 86400 s");
    run.damaged = false;
    assert_eq!(run.give(&Input::Look), "submit 1 request_close 0");
}

#[test]
fn fault_78_a_channel_whose_voucher_cannot_be_read_is_closed_by_order_with_what_is_known() {
    let damaged = |acknowledged, paid| {
        let mut run = Run::open(100);
        run.state.chain = open(100, paid);
        run.state.book.acknowledged = a(acknowledged);
        run.damaged = true;
        run
    };
    let abandon = Input::Order(ClientOrder::Abandon);
    for (acknowledged, paid, admitted) in [(0, 0, 0), (40, 0, 40), (40, 50, 50)] {
        for why in [ClientEnd::ByOrder, ClientEnd::CloseByOrder] {
            let mut run = damaged(acknowledged, paid).ended(why);
            assert_eq!(run.after(100 * HOUR), "", "{why:?}");
            assert_eq!(run.give(&abandon), format!("submit 1 request_close {admitted}"), "{why:?}");
        }
    }
    // It ends a service, too, and what is known of it is not forgotten.
    let mut run = damaged(40, 0);
    assert_eq!(run.give(&abandon), "drive 1");
    assert_eq!(run.ending(), Some(ClientEnd::CloseByOrder));
    assert_eq!(run.done(), "submit 2 request_close 40");
    // What the chain shows, or the agent acknowledges, is no claim above what was signed: that is not known.
    let mut run = damaged(40, 0);
    run.chain(open(100, 50));
    run.receipt(60);
    assert_eq!(run.ending(), None);
    // One that can be read is not given up by mistake.
    let mut run = Run::open(100).paid(60);
    assert_eq!(run.try_give(&abandon), Err(Refused::Readable));
    assert_eq!(run.ending(), None);
}

/// Why the service ends, after how many seconds the client asks to close.
#[test]
fn the_agent_closes_first_unless_it_is_not_to_be_waited_for() {
    let rows = [
        (ClientEnd::ByOrder, 2 * HOUR - 60),
        (ClientEnd::NoAccess, 2 * HOUR - 60),
        (ClientEnd::AgentEnded, 2 * HOUR - 60),
        (ClientEnd::DepositSpent, 2 * HOUR - 60),
        (ClientEnd::CloseByOrder, 0),
        (ClientEnd::Excluded, 0),
        (ClientEnd::AgentClaimsMore, 0),
        (ClientEnd::NotOpened(Trouble::Funds), 0),
    ];
    for (why, seconds) in rows {
        let mut run = Run::open(100).paid(60).ended(why);
        let shown = |run: &Run| run.state.closes_at(&run.env());
        assert_eq!(shown(&run), Some(Uptime::new((run.uptime + seconds) * 1_000)), "{why:?}");
        if seconds > 0 {
            assert_eq!(run.after(seconds - 1), "", "{why:?}");
            assert_eq!(run.owners(), format!("time {} s", run.uptime + 1), "{why:?}");
        }
        assert_eq!(run.after(seconds.min(1)), "submit 1 request_close 60", "{why:?}");
        assert_eq!(shown(&run), None, "it is asked for");
    }
}

#[test]
fn a_channel_that_no_time_closes_shows_none() {
    let mut served = Run::open(100).paid(60);
    served.give(&Input::Look);
    let mut unseen = Run::open(100).paid(60).ended(ClientEnd::ByOrder);
    unseen.fresh = false;
    unseen.give(&Input::Look);
    let mut damaged = Run::open(100).ended(ClientEnd::CloseByOrder);
    damaged.damaged = true;
    for run in [served, unseen, damaged] {
        assert_eq!(run.state.closes_at(&run.env()), None, "{:?}", run.state.own.ending);
    }
}

#[test]
fn an_honest_agent_closes_before_its_client_asks_to() {
    let (agent, client) = (AgentPolicy::default(), ClientPolicy::default());
    assert!(agent.max_delay < client.agent_closes_within);
    assert!(agent.free_after.unwrap() < client.agent_closes_within);
}

#[test]
fn the_agent_is_waited_for_only_while_the_chain_is_seen() {
    let mut run = Run::open(100).ended(ClientEnd::Inactive);
    run.fresh = false;
    run.give(&Input::Look);
    assert_eq!(run.after(9 * HOUR), "");
    run.fresh = true;
    run.give(&Input::Look);
    assert_eq!(run.after(2 * HOUR - 61), "");
    assert_eq!(run.after(1), "submit 1 request_close 0");
}

#[test]
fn fault_55_a_close_by_order_waits_for_a_hanging_adapter_no_longer_than_for_the_last_payment() {
    let mut run = Run::open(100).paid(60);
    assert_eq!(run.give(&Input::Order(ClientOrder::Close)), "drive 1");
    assert_eq!(run.after(9), "");
    assert_eq!(run.after(1), "submit 2 request_close 60");
}
