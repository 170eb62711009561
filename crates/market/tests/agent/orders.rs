//! How the operator's orders end.

use privatix_channel::{Closure, OnChain};
use privatix_market::{
    Actual, AgentEnd, AgentOrder, Answered, Blocked, Fate, Input, OrderChange, Outcome, Trouble, Uptime,
};

use crate::support::{HOUR, Run, block, closed, open};

use AgentOrder::{Abandon, Close, End, Hold, Resume};

const DONE: Option<Outcome> = Some(Outcome::Done);

fn closed_by(closure: Closure) -> OnChain {
    let mut chain = closed(100, 60);
    chain.closed.as_mut().unwrap().closure = closure;
    chain
}

#[test]
fn an_order_has_the_outcome_that_its_state_shows() {
    let gone = |hours| {
        let mut run = Run::open(100);
        run.chain(OnChain::default());
        run.after(hours * HOUR);
        run
    };
    let served = |actual| {
        let mut run = Run::open(100).ended(AgentEnd::ByOrder);
        run.state.own.service.actual = actual;
        run
    };
    let shown = |chain| {
        let mut run = Run::open(100).ended(AgentEnd::CloseByOrder);
        run.state.chain = chain;
        run
    };
    let parked = {
        let mut run = Run::open(100).ended(AgentEnd::CloseByOrder);
        run.state.own.blocked = Some(Blocked::Parked { since: Uptime::new(0) });
        run
    };
    let close = |closure| Some(Outcome::Closed(closure));
    for (name, order, run, outcome) in vec![
        ("a pause", Hold, Run::open(100), DONE),
        ("the end of one", Resume, Run::open(100), DONE),
        ("given up", Abandon, Run::open(100), DONE),
        ("it runs", End, served(Actual::Running), None),
        ("it is suspended", End, served(Actual::Suspended), None),
        ("the adapter has not said so", End, served(Actual::Lost), None),
        ("the adapter was restarted", End, served(Actual::Unknown), None),
        ("it has stopped", End, served(Actual::Absent), DONE),
        ("open", Close, shown(open(100, 0)), None),
        ("by us", Close, shown(closed_by(Closure::ByAgent)), close(Closure::ByAgent)),
        ("by the client", Close, shown(closed_by(Closure::ByClient)), close(Closure::ByClient)),
        ("cancelled by hand", Close, parked, Some(Outcome::Failed(Trouble::Cancelled))),
        ("undone a moment ago", Close, gone(1), None),
        ("undone for good", Close, gone(25), Some(Outcome::Failed(Trouble::Vanished))),
    ] {
        assert_eq!(order.outcome(&run.state, &run.env()), outcome, "{name}");
        let change = outcome.map(OrderChange::Ended);
        assert_eq!(order.change(None, &run.state, &run.env()), change, "{name}");
        assert_eq!(order.change(outcome, &run.state, &run.env()), None, "{name}: what is known is not new");
    }
}

#[test]
fn a_close_that_is_undone_is_under_way_again_and_one_that_failed_stays_so() {
    let mut run = Run::open(100).paid(60);
    run.give(&Input::Order(AgentOrder::Close));
    let before = run.state.clone();
    assert_eq!(run.adapter(Answered::Did(Actual::Absent)), "");
    assert!(run.state.moves_orders(&before, &run.env()), "the service has stopped");
    assert_eq!(run.after(10), "submit 2 close 60");

    let (before, failed) = (run.state.clone(), Some(Outcome::Failed(Trouble::Cancelled)));
    run.tx(2, Fate::Mined(block(9)));
    assert!(!run.state.moves_orders(&before, &run.env()), "the events do not show it yet");
    assert_eq!(run.state.closed_by(), None);
    run.chain(closed(100, 60));
    assert!(run.state.moves_orders(&before, &run.env()));
    assert_eq!(run.state.closed_by(), Some(2));
    let by_us = Some(Outcome::Closed(Closure::ByAgent));
    let change = |was, run: &Run| AgentOrder::Close.change(was, &run.state, &run.env());
    assert_eq!(change(None, &run), by_us.map(OrderChange::Ended));
    assert_eq!(change(failed, &run), None, "a later order has brought it");

    // A reorganisation, after which the client closes.
    run.chain(open(100, 0));
    assert_eq!(change(by_us, &run), Some(OrderChange::UnderWay));
    run.chain(closed_by(Closure::ByClient));
    let by_client = Outcome::Closed(Closure::ByClient);
    assert_eq!(change(by_us, &run), Some(OrderChange::Ended(by_client)));
    assert_eq!(run.state.closed_by(), None);
}
