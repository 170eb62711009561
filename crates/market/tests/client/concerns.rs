//! What endangers a client's money.

use privatix_market::{Actual, Client, ClientEnd, ClientOrder, Concern, Input, Party as _, Side};

use crate::support::{Run, a, closed, closing};

/// A channel of 100 with a voucher over 60, and what becomes of it.
#[test]
fn what_endangers_a_deposit_is_read_off_its_state() {
    let ended = || Run::open(100).paid(60).ended(ClientEnd::CloseByOrder).at(100);
    let ended_by_theft = || Run::open(100).paid(60).ended(ClientEnd::KeyUsedElsewhere).at(100);
    let run = |mut run: Run, change: &dyn Fn(&mut Run)| {
        change(&mut run);
        run
    };
    let damaged = |run: &mut Run| (run.state.book.best, run.damaged) = (a(0), true);
    let damage = Concern::Damaged { voucher: Some(a(0)), in_challenge: false };
    let rows: Vec<(&str, Run, Vec<Concern>)> = vec![
        ("used", Run::open(100).paid(60), vec![]),
        ("ended", ended(), vec![]),
        ("asked to be closed", run(ended(), &|r| drop(r.chain(closing(100, 60, 1_000)))), vec![]),
        (
            "asked to close before the agent has shown what it knows",
            run(ended(), &|r| {
                (r.process, r.state.own.service.actual) = (1, Actual::Absent);
                r.used(70);
                assert!(!r.state.own.flights.is_empty(), "it is asked for");
            }),
            vec![Concern::Unproven { admitted: a(70) }],
        ),
        ("somebody else uses the key", ended_by_theft(), vec![Concern::KeyUsedElsewhere]),
        ("the same once it was closed", run(ended_by_theft(), &|r| drop(r.chain(closed(100, 60)))), vec![]),
        (
            "not stopped",
            run(ended(), &|r| r.state.own.service.actual = Actual::Lost),
            vec![Concern::Unstopped { side: Side::Client }],
        ),
        ("a voucher that cannot be read", run(ended(), &damaged), vec![damage]),
        (
            "the same in a challenge",
            run(ended(), &|r| {
                damaged(r);
                r.chain(closing(100, 60, 1_000));
            }),
            vec![damage],
        ),
        (
            "the same once it was closed",
            run(ended(), &|r| {
                damaged(r);
                r.chain(closed(100, 60));
            }),
            vec![],
        ),
        (
            "given up by order",
            run(ended(), &|r| {
                damaged(r);
                r.give(&Input::Order(ClientOrder::Abandon));
            }),
            vec![],
        ),
    ];
    for (name, run, expected) in rows {
        assert_eq!(Client::concerns(&run.state, &run.env()), expected, "{name}: {}", run.owners());
    }
}
