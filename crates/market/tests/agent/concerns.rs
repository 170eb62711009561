//! What endangers an agent's money.

use privatix_channel::ChainTime;
use privatix_market::{
    Actual, Agent, AgentEnd, AgentOrder, Answered, Blocked, Concern, Fate, Input, Party as _, Side,
};

use crate::support::{Run, a, closed, closing};

fn concerns(run: &Run) -> Vec<Concern> {
    Agent::concerns(&run.state, &run.env())
}

fn waits(at_stake: u128, by_order: bool) -> Concern {
    Concern::Waits { at_stake: a(at_stake), by_order }
}

/// A channel of 100 with a voucher over 60, and what becomes of it.
#[test]
fn what_endangers_a_channel_is_read_off_its_state() {
    let ended = || Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100).unpriced();
    let (claimable, ends_at) = (a(40), ChainTime::new(1_000));
    let (unanswered, answered) =
        (Concern::Unanswered { claimable, ends_at }, Concern::Answered { claimable, ends_at });
    let run = |mut run: Run, change: &dyn Fn(&mut Run)| {
        change(&mut run);
        run
    };
    let lost = |run: &mut Run| run.state.own.service.actual = Actual::Lost;
    let damaged = |run: &mut Run| (run.state.book.best, run.damaged) = (a(0), Some(60));
    let damage = |in_challenge| Concern::Damaged { voucher: Some(a(60)), in_challenge };
    let failing = Blocked::Failing { since: ended().env().uptime, tries: 1, lasting: false };
    let rows: Vec<(&str, Run, Vec<Concern>)> = vec![
        ("served", Run::open(100).paid(60), vec![]),
        ("ended", ended(), vec![]),
        ("the client admits all", run(ended(), &|r| drop(r.chain(closing(100, 60, 1_000)))), vec![]),
        ("an answer is submitted", run(ended(), &|r| drop(r.chain(closing(100, 20, 1_000)))), vec![answered]),
        ("none is submitted", run(ended(), &|r| r.state.chain = closing(100, 20, 1_000)), vec![unanswered]),
        (
            "the last one failed, and the next one waits",
            run(ended(), &|r| {
                r.state.chain = closing(100, 20, 1_000);
                r.state.own.blocked = Some(failing);
                r.give(&Input::Look);
            }),
            vec![unanswered],
        ),
        (
            "it is not worth an answer",
            run(ended().policy(|p| p.dispute_min = Some(a(41))), &|r| drop(r.chain(closing(100, 20, 1_000)))),
            vec![],
        ),
        (
            "given up by order",
            run(ended(), &|r| {
                r.give(&Input::Order(AgentOrder::Abandon));
                r.chain(closing(100, 20, 1_000));
            }),
            vec![],
        ),
        ("not stopped", run(ended(), &lost), vec![Concern::Unstopped { side: Side::Agent }]),
        (
            "not stopped by an earlier life of the adapter",
            run(ended(), &|r| {
                lost(r);
                r.instance = 1;
            }),
            vec![],
        ),
        ("a voucher that cannot be read", run(ended(), &damaged), vec![damage(false)]),
        (
            "the same in a challenge",
            run(ended(), &|r| {
                damaged(r);
                r.chain(closing(100, 20, 1_000));
            }),
            vec![damage(true)],
        ),
        (
            "the same once it was closed",
            run(ended(), &|r| {
                damaged(r);
                r.chain(closed(100, 20));
            }),
            vec![],
        ),
        (
            "a better one came",
            run(ended(), &|r| {
                damaged(r);
                r.state.book.best = a(60);
            }),
            vec![],
        ),
        (
            "its close was cancelled",
            run(ended(), &|r| {
                r.state.own.blocked = Some(Blocked::Parked { since: r.env().uptime });
                r.policy.max_delay = std::time::Duration::ZERO;
                r.give(&Input::Look);
            }),
            vec![waits(60, true)],
        ),
        (
            "its close fails for good",
            run(ended(), &|r| {
                let since = r.env().uptime;
                r.state.own.blocked = Some(Blocked::Failing { since, tries: 1, lasting: true });
                r.policy.max_delay = std::time::Duration::ZERO;
                r.give(&Input::Look);
            }),
            vec![waits(60, false)],
        ),
        (
            "the account has no ether for its close, which the reserve names",
            run(Run::opening(100), &|r| {
                r.gas.affords_new = false;
                r.give(&Input::Look);
            }),
            vec![],
        ),
    ];
    for (name, run, expected) in rows {
        assert_eq!(concerns(&run), expected, "{name}: {}", run.owners());
    }
}

#[test]
fn what_is_over_is_no_concern_any_more() {
    let mut run = Run::open(100).paid(60).at(100).unpriced();
    run.chain(closing(100, 20, 1_000));
    run.adapter(Answered::GaveUp);
    run.adapter(Answered::GaveUp);
    let ends_at = ChainTime::new(1_000);
    let lost = Concern::Unstopped { side: Side::Agent };
    assert_eq!(concerns(&run), [Concern::Answered { claimable: a(40), ends_at }, lost]);
    run.tx(1, Fate::Mined(crate::support::block(9)));
    run.chain(closed(100, 60));
    assert_eq!(concerns(&run), [lost]);
    run.give(&Input::Look);
    let seq = run.state.own.service.asked.unwrap().seq;
    run.give(&Input::Adapter { seq, answer: Answered::Did(Actual::Absent) });
    assert_eq!(concerns(&run), []);
}
