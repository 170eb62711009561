//! Vouchers: what is kept, and what is acknowledged.

use privatix_channel::ChannelId;
use privatix_market::{
    Agent, AgentEnd, AgentMessage, AgentPurpose, Bid, Book, Flight, Input, Party as _, Refused, Reply, Stage,
    Taken, Verified,
};

use crate::support::{Run, Signed, a, closed, closing, id, open, voucher};

/// State, voucher, effects.
#[test]
fn a_voucher_is_kept_if_it_can_be_cashed_and_acknowledged_if_that_is_certain() {
    let at = |chain, best: u128, acknowledged: u128| {
        let mut run = Run::open(100);
        run.state.chain = chain;
        run.state.book = Book { best: a(best), acknowledged: a(acknowledged) };
        run.policy.free_at_once = false;
        run
    };
    let stale_view = |mut run: Run| {
        run.fresh = false;
        run
    };
    let damaged = |mut run: Run, amount| {
        run.damaged = Some(amount);
        run
    };
    let rows = vec![
        ("higher", at(open(100, 0), 60, 60), 70, "keep 70, paid 70"),
        ("the same", at(open(100, 0), 60, 60), 60, "paid 60"),
        ("lower", at(open(100, 0), 60, 60), 50, "stale, paid 60"),
        ("lower than paid on chain", at(open(100, 80), 60, 60), 70, "stale, paid 80"),
        ("above the deposit", at(open(100, 0), 60, 60), 120, "keep 120, paid 100"),
        ("stale view", stale_view(at(open(100, 0), 60, 60)), 70, "NotNow(StaleView)"),
        ("stale view, the same", stale_view(at(open(100, 0), 60, 60)), 60, "paid 60"),
        ("closed", at(closed(100, 60), 60, 60), 70, "NotOpen { closed: true }"),
        ("in a challenge that admitted all", at(closing(100, 60, 900), 60, 60), 60, "paid 60"),
        // The best one cannot be read. A lower one would not be stored beside it; one of its amount mends it.
        ("below a damaged one", damaged(at(open(100, 0), 0, 60), 70), 65, "stale, paid 60"),
        ("below what a damaged one paid for", damaged(at(open(100, 0), 0, 60), 70), 50, "stale, paid 60"),
        ("as a damaged one", damaged(at(open(100, 0), 0, 60), 70), 70, "keep 70, paid 70"),
        ("above a damaged one", damaged(at(open(100, 0), 0, 60), 70), 80, "keep 80, paid 80"),
        (
            "below a damaged one, in a challenge",
            damaged(at(closing(100, 80, 900), 0, 60), 70),
            60,
            "stale, paid 80",
        ),
    ];
    for (name, mut run, cumulative, effects) in rows {
        run.give(&Input::Look);
        let given = run.give(&voucher(cumulative));
        assert_eq!(given, effects, "{name}");
    }
}

#[test]
fn nothing_above_what_is_paid_on_chain_is_acknowledged_in_a_challenge() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100).unpriced();
    run.chain(closing(100, 60, 1_000));
    assert_eq!(run.give(&voucher(70)), "keep 70, submit 1 close 70 urgent before 1000, kept, paid 60");
}

#[test]
fn a_voucher_that_mends_a_damaged_one_answers_a_close_request_at_once() {
    let mut run = Run::open(100).at(100).unpriced();
    run.state.book = Book { best: a(0), acknowledged: a(60) };
    run.damaged = Some(70);
    run.policy.free_at_once = false;
    run.chain(closing(100, 20, 1_000));
    assert_eq!(run.give(&voucher(70)), "keep 70, submit 2 close 70 urgent before 1000, kept, paid 60");
}

#[test]
fn what_was_acknowledged_is_remembered() {
    let mut run = Run::open(100).paid(60);
    run.give(&voucher(70));
    assert_eq!(run.state.book, Book { best: a(70), acknowledged: a(70) });
    run.give(&voucher(120));
    assert_eq!(run.state.book, Book { best: a(120), acknowledged: a(100) });
}

#[test]
fn no_answer_names_an_amount_above_a_close_in_the_pool() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive);
    run.policy.replacements = 0;
    run.give(&Input::Look);
    assert_eq!(run.state.ceiling(), Some(a(60)));
    for (cumulative, effects) in [
        (70, "keep 70, kept, paid 60"),
        (65, "kept, paid 60"),
        (70, "kept, paid 60"),
        // Without the end, by which a client would take the 70 as acknowledged.
        (60, "paid 60"),
        (50, "paid 60"),
    ] {
        assert_eq!(run.give(&voucher(cumulative)), effects, "{cumulative}");
    }
}

/// What is paid on chain is not certain while a reorganisation may take it back, and a lower close be mined instead. Found by
/// the simulator (seed 5668).
#[test]
fn what_is_paid_on_chain_is_no_reason_to_acknowledge_more_than_a_close_under_way_pays() {
    let mut run = Run::open(100).ended(AgentEnd::CloseByOrder);
    assert_eq!(run.give(&Input::Look), "submit 1 close 0");
    run.policy.replacements = 0;
    // Somebody settles meanwhile.
    run.chain(open(100, 60));
    assert_eq!(run.state.ceiling(), Some(a(0)));
    assert_eq!(run.give(&voucher(60)), "keep 60, kept, paid 0");
}

#[test]
fn a_voucher_of_another_channel_is_no_input() {
    let mut run = Run::open(100);
    let found = ChannelId::new([9; 32].into());
    let other = Verified::check(&Signed, &(found, 10)).unwrap();
    let refused =
        run.try_give(&Input::Peer(AgentMessage::Voucher { voucher: other, used: None })).unwrap_err();
    assert_eq!(refused, Refused::WrongChannel { expected: id(), found });
}

/// Found by the simulator (seed 393 of the one with endpoints): what was kept above a close was promised in the answer to a lower
/// voucher, while the events that show the channel closed were missing.
#[test]
fn on_a_view_that_is_not_good_nothing_is_promised_that_was_only_kept() {
    for change in [|run: &mut Run| run.fresh = false, |run: &mut Run| run.explained = false] {
        let mut run = Run::open(100);
        run.state.book = Book { best: a(70), acknowledged: a(60) };
        let good = run.clone();
        change(&mut run);
        run.give(&Input::Look);
        for cumulative in [50, 60, 65, 70, 80] {
            let given = run.give(&voucher(cumulative));
            assert!(given.starts_with("NotNow"), "{cumulative}: {given}");
        }
        assert_eq!(run.state.book, good.state.book);
        // To repeat what was acknowledged promises nothing new.
        run.state.book.best = a(60);
        assert_eq!(run.give(&voucher(60)), "paid 60");
        assert_eq!(run.give(&voucher(50)), "stale, paid 60");
    }
}

/// How a voucher over this amount is taken by a view in memory.
fn taken(run: &Run, cumulative: u128) -> Taken {
    let decided = Agent::decide(&run.state, &voucher(cumulative), &run.env()).unwrap();
    Taken::of(&run.state, a(cumulative), &decided)
}

#[test]
fn a_voucher_is_one_row_unless_more_follows_from_it() {
    let settled = |change: fn(&mut Run)| {
        let mut run = Run::open(100).paid(60);
        change(&mut run);
        run.give(&Input::Look);
        run
    };
    let plain = settled(|_| {});
    let Taken::Entered(entry) = taken(&plain, 70) else { panic!("{:?}", taken(&plain, 70)) };
    assert_eq!(entry.acknowledge(), a(70));
    let stale = Reply::Stale { acknowledged: a(60) };
    assert_eq!(taken(&plain, 50), Taken::Answered(stale));
    assert_eq!(taken(&plain, 60), Taken::Answered(Reply::Paid { acknowledged: a(60), ended: false }));

    // The service is resumed by it.
    let unpaid = settled(|run| {
        run.state.book = Book { best: a(10), acknowledged: a(10) };
        run.used(90);
        run.done();
    });
    assert_eq!(taken(&unpaid, 80), Taken::WithEffects);
    // What was only kept is acknowledged: without a voucher to be stored, that has no writer.
    let kept = settled(|run| run.state.book = Book { best: a(70), acknowledged: a(60) });
    assert_eq!(taken(&kept, 70), Taken::WithEffects);
    // A close is replaced by a better one.
    let disputed = settled(|run| drop(run.chain(closing(100, 20, 1_000))));
    assert_eq!(taken(&disputed, 70), Taken::WithEffects);
}

#[test]
fn the_answer_is_made_from_what_the_writer_found() {
    // View, voucher, the ceiling in the writer's transaction: the book, the answer.
    type Row<'a> = (&'a Run, u128, Option<u128>, (u128, u128), Reply);
    let paid = |acknowledged, ended| Reply::Paid { acknowledged: a(acknowledged), ended };
    let kept = |acknowledged| Reply::Kept { acknowledged: a(acknowledged) };
    let (open, mut sent, mut over) =
        (Run::open(100).paid(60), Run::open(100).paid(60), Run::open(100).paid(60));
    // A close at 60 is on its way, by a batch.
    let purpose = AgentPurpose::Close { cumulative: a(60) };
    sent.state.own.flights =
        vec![Flight { seq: 1, purpose, bid: Bid::of_batch(), stage: Stage::Sent { batch: true } }];
    over = over.ended(AgentEnd::Inactive);
    over.policy.replacements = 0;
    over.give(&Input::Look);
    let rows: [Row<'_>; 7] = [
        (&open, 70, None, (70, 70), paid(70, false)),
        (&open, 120, None, (120, 100), paid(100, false)),
        // A close was stored a moment ago.
        (&open, 70, Some(60), (70, 60), kept(60)),
        (&open, 70, Some(65), (70, 65), kept(65)),
        // What was acknowledged stays so.
        (&open, 70, Some(0), (70, 60), kept(60)),
        (&open, 70, Some(70), (70, 70), paid(70, false)),
        (&open, 120, Some(100), (120, 100), kept(100)),
    ];
    for (run, cumulative, ceiling, (best, acknowledged), reply) in rows {
        let Taken::Entered(entry) = taken(run, cumulative) else { panic!("{cumulative} {ceiling:?}") };
        let book = Book { best: a(best), acknowledged: a(acknowledged) };
        assert_eq!(entry.stored(ceiling.map(a)), (book, reply), "{cumulative} {ceiling:?}");
    }
    // The ceiling that the view knows holds, too.
    for run in [&sent, &over] {
        let Taken::Entered(entry) = taken(run, 70) else { panic!("{:?}", run.state) };
        assert_eq!(entry.stored(None), (Book { best: a(70), acknowledged: a(60) }, kept(60)));
    }
}
