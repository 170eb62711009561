//! Settlement: an ended channel is closed with the best voucher.

use std::time::Duration;

use privatix_channel::{ChannelStatus, ServiceStatus};
use privatix_market::{
    Actual, AgentEnd, AgentNotice, AgentOrder, AgentPolicy, AgentPurpose, Answered, Fate, Gas, Input, Rate,
    Refused, Stage, Wei,
};

use crate::support::{HOUR, Run, a, block, closed, closing, hours, open, voucher};

const ADOPTED: AgentEnd =
    AgentEnd::Adopted { status: ChannelStatus::Active, service: ServiceStatus::Terminated };

/// State, effects of a look, owners. The node has run for 1000 s; the service was ended at 940 s and is gone since.
#[test]
fn an_ended_channel_is_closed_as_the_policy_says() {
    let ended = |best, why| Run::open(100).paid(best).ended(why);
    let dear = |mut run: Run| {
        run.gas = Gas::default();
        run.gas.close_cost = Some(Wei::new(1_000));
        run.gas.rate = Some(Rate { wei_per_token: 10, decimals: 0 });
        run
    };
    let kept_open = |mut run: Run| {
        run.kept_open = Some(5_000);
        run
    };
    let rows = vec![
        ("served", Run::open(100).paid(60), "", "time 8641000 s"),
        ("ended, 60 to gain", ended(60, AgentEnd::Inactive), "submit 1 close 60", "transaction 1"),
        (
            "ended, less to gain than the policy wants",
            ended(60, AgentEnd::Inactive).policy(|p| p.min_gain = a(61)),
            "collect 1 close 60",
            "time 87340 s",
        ),
        (
            "ended, less to gain than gas costs",
            dear(ended(60, AgentEnd::Inactive)),
            "collect 1 close 60",
            "time 87340 s",
        ),
        (
            "ended, the worth of a token is unknown",
            ended(60, AgentEnd::Inactive).unpriced(),
            "collect 1 close 60",
            "time 87340 s",
        ),
        ("ended, nothing to gain", ended(0, AgentEnd::Inactive), "collect 1 close 0", "time 87340 s"),
        (
            "ended, nothing to gain, never freed alone",
            ended(0, AgentEnd::Inactive).policy(|p| p.free_after = None),
            "collect 1 close 0",
            "user, reminder 86400 s",
        ),
        (
            "closed by order, nothing to gain",
            ended(0, AgentEnd::CloseByOrder),
            "submit 1 close 0",
            "transaction 1",
        ),
        ("ended by an earlier version, 60 to gain", ended(60, ADOPTED), "submit 1 close 60", "transaction 1"),
        ("ended by an earlier version, nothing to gain", ended(0, ADOPTED), "", "user, reminder 86400 s"),
        (
            "ended by an earlier version, nothing to gain, freed by the policy",
            ended(0, ADOPTED).policy(|p| p.free_adopted = true),
            "collect 1 close 0",
            "time 87340 s",
        ),
        ("ended, vouchers may be missing", kept_open(ended(60, AgentEnd::Inactive)), "", "time 5000 s"),
        ("more signed than deposited", ended(160, AgentEnd::Inactive), "submit 1 close 160", "transaction 1"),
    ];
    for (name, mut run, effects, owners) in rows {
        assert_eq!(run.give(&Input::Look), effects, "{name}");
        assert_eq!(run.owners(), owners, "{name}");
    }
}

/// An upgrade makes nobody pay for closes that bring nothing.
#[test]
fn what_an_earlier_version_ended_with_nothing_to_gain_is_freed_by_order_only() {
    let mut run = Run::open(100).ended(ADOPTED).at(100);
    assert_eq!(run.after(90 * 86_400), "");
    // A close request that nobody finalizes changes nothing about that.
    assert_eq!(run.chain(closing(100, 0, 1_000)), "");
    run.now = Some(1_000_000);
    assert_eq!(run.after(86_400), "");
    assert_eq!(run.chain(open(100, 0)), "");
    // The end by order would be the same end.
    assert_eq!(run.give(&Input::Order(AgentOrder::End)), "");
    assert_eq!(run.give(&Input::Order(AgentOrder::Close)), "submit 1 close 0");

    // What brings something is not left.
    let mut run = Run::open(100).ended(ADOPTED);
    assert_eq!(run.give(&voucher(30)), "keep 30, submit 1 close 30, paid 30, service ended");
    let mut run = Run::open(100).paid(60).ended(ADOPTED).at(100);
    assert_eq!(run.chain(closing(100, 20, 1_000)), "submit 1 close 60 urgent before 1000 for 40 wei");
}

#[test]
fn a_service_that_ends_is_stopped_first_and_the_client_has_time_for_its_last_voucher() {
    let mut run = Run::open(100).paid(60);
    assert_eq!(run.give(&Input::Order(AgentOrder::End)), "drive 1");
    assert_eq!(run.notices, [AgentNotice::Ends(AgentEnd::ByOrder)]);
    assert_eq!(run.owners(), "time 1060 s, adapter 1 until 1060 s");
    run.uptime += 5;
    assert_eq!(run.adapter(Answered::Did(Actual::Absent)), "");
    assert_eq!(run.owners(), "time 1015 s");
    assert_eq!(run.give(&voucher(70)), "keep 70, paid 70, service ended");
    assert_eq!(run.after(9), "");
    assert_eq!(run.after(1), "submit 2 close 70");
    assert_eq!(run.tx(2, Fate::Mined(block(9))), "");
    assert_eq!(run.chain(closed(100, 70)), "");
    assert_eq!(run.owners(), "transaction 2");
    assert_eq!(run.tx(2, Fate::Final), "");
    assert_eq!(run.owners(), "nobody");
}

#[test]
fn an_adapter_that_does_not_stop_the_service_keeps_no_money_waiting() {
    for gives_up in [true, false] {
        let mut run = Run::open(100).paid(60);
        run.give(&Input::Order(AgentOrder::End));
        let effects = if gives_up { run.adapter(Answered::GaveUp) } else { run.after(60) };
        assert_eq!((effects.as_str(), run.state.own.service.actual), ("drive 2", Actual::Lost));
        assert!(run.notices.contains(&AgentNotice::ServiceLost), "{:?}", run.notices);
        assert_eq!(run.after(10), "submit 3 close 60");
    }
}

/// A closed channel whose service was asked to stop, under number 1.
fn closed_and_stopping() -> Run {
    let mut run = Run::open(100).paid(60);
    assert_eq!(run.chain(closed(100, 60)), "drive 1");
    run
}

#[test]
fn a_service_that_is_lost_is_asked_to_stop_each_minute_until_it_has() {
    for answer in [Answered::Refused, Answered::GaveUp] {
        let mut run = closed_and_stopping();
        assert_eq!(run.adapter(answer), "drive 2", "{answer:?}");
        // However fast the adapter answers, it is asked once in a minute, and shown once.
        assert_eq!(run.adapter(answer), "", "{answer:?}");
        assert_eq!(run.owners(), "adapter 2 until 1060 s, user, reminder 86400 s");
        assert_eq!(run.after(59), "");
        assert_eq!(run.after(1), "drive 3");
        assert_eq!((run.state.own.service.actual, run.notices.len()), (Actual::Lost, 0));
        // A new life of the adapter is asked the same.
        run.instance += 1;
        assert_eq!(run.give(&Input::Look), "");
        assert_eq!(run.done(), "");
        assert_eq!(run.state.own.service.actual, Actual::Absent);
        assert_eq!(run.owners(), "nobody");
    }
}

#[test]
fn a_late_answer_heals_a_service_that_is_lost() {
    let did = |seq, actual| Input::Adapter { seq, answer: Answered::Did(actual) };
    let mut run = closed_and_stopping();
    run.after(60);
    run.after(60);
    // Anything else that an earlier request did is ignored.
    assert_eq!(run.give(&did(1, Actual::Suspended)), "");
    assert_eq!(run.state.own.service.actual, Actual::Lost);
    assert_eq!(run.give(&did(1, Actual::Absent)), "");
    assert_eq!(run.owners(), "nobody");
    // The wait for the last voucher does not begin again by that.
    let mut run = Run::open(100).paid(60);
    run.give(&Input::Order(AgentOrder::End));
    run.after(60);
    assert_eq!(run.after(9), "");
    assert_eq!(run.give(&did(1, Actual::Absent)), "");
    assert_eq!(run.after(1), "submit 3 close 60");
}

// --- The faults of the inventory, by number.

#[test]
fn fault_1_a_better_voucher_replaces_a_waiting_close() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive);
    assert_eq!(run.give(&Input::Look), "submit 1 close 60");
    // The close may still come first, so nothing above it is promised.
    assert_eq!(run.give(&voucher(70)), "keep 70, cancel 1, submit 2 close 70, kept, paid 60");
    assert_eq!(run.give(&voucher(70)), "kept, paid 60");
    assert_eq!(run.tx(1, Fate::Cancelled), "");
    assert_eq!(run.give(&voucher(70)), "paid 70, service ended");
    // The first one wins after all: what was promised is paid.
    let mut lost = Run::open(100).paid(60).ended(AgentEnd::Inactive);
    lost.give(&Input::Look);
    lost.give(&voucher(70));
    assert_eq!(lost.tx(1, Fate::Mined(block(8))), "");
    assert_eq!(lost.state.book.acknowledged, a(60));
}

#[test]
fn a_client_cannot_drive_the_price_of_a_close_up() {
    let mut run = Run::open(100).paid(20).ended(AgentEnd::Inactive);
    run.policy.min_gain = a(5);
    assert_eq!(run.give(&Input::Look), "submit 1 close 20");
    assert_eq!(run.give(&voucher(24)), "keep 24, kept, paid 20", "too little more");
    assert_eq!(run.give(&voucher(30)), "keep 30, cancel 1, submit 2 close 30, kept, paid 20");
    assert_eq!(run.give(&voucher(40)), "keep 40, kept, paid 20", "too soon after the last one");
    assert_eq!(run.owners(), "time 1030 s, transaction 1, transaction 2");
    assert_eq!(run.after(30), "cancel 2, submit 3 close 40");
    assert_eq!(run.after(30), "");
    assert_eq!(run.give(&voucher(90)), "keep 90, kept, paid 20", "twice is enough");
    // It is not lost: if the close fails, the next one takes it.
    run.tx(3, Fate::Failed { lasting: false });
    assert_eq!(run.after(15), "submit 4 close 90");
}

#[test]
fn a_close_is_not_replaced_for_a_gain_of_unknown_worth() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::CloseByOrder).unpriced();
    assert_eq!(run.give(&Input::Look), "submit 1 close 60");
    assert_eq!(run.give(&voucher(90)), "keep 90, kept, paid 60");
}

#[test]
fn fault_2_a_close_by_order_waits_for_the_last_voucher_and_not_for_the_adapter() {
    let mut run = Run::open(100).paid(60);
    assert_eq!(run.give(&Input::Order(AgentOrder::Close)), "drive 1");
    assert_eq!(run.give(&voucher(65)), "keep 65, paid 65, service ended");
    assert_eq!(run.after(10), "submit 2 close 65");
    assert_eq!(run.owners(), "transaction 2, adapter 1 until 1060 s");
}

#[test]
fn fault_5_a_look_at_the_start_cashes_what_a_crash_left_without_a_job() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive);
    run.state.own.seq = 7;
    assert_eq!(run.owners(), "time 1000 s", "it says itself that it is to be looked at");
    assert_eq!(run.give(&Input::Look), "submit 8 close 60");
}

#[test]
fn fault_6_a_close_that_the_operator_cancels_waits_for_the_user_and_for_no_close_request() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100);
    run.give(&Input::Look);
    assert_eq!(run.tx(1, Fate::Cancelled), "");
    assert_eq!(run.notices, [AgentNotice::Parked]);
    assert_eq!(run.owners(), "user, reminder 86400 s");
    let mut asked = run.clone();
    assert_eq!(asked.chain(closing(100, 20, 1_000)), "submit 2 close 60 urgent before 1000 for 40 wei");
    assert_eq!(run.give(&Input::Order(AgentOrder::Close)), "submit 2 close 60");
}

#[test]
fn fault_7_a_channel_with_nothing_to_gain_frees_its_place_in_time() {
    let mut run = Run::open(100).ended(AgentEnd::SuspendedTooLong);
    assert_eq!(run.give(&Input::Look), "collect 1 close 0");
    assert_eq!(run.after(24 * HOUR - 61), "");
    assert_eq!(run.after(1), "submit 1 close 0", "under the number with which it was collected");
    let mut batched = Run::open(100).ended(AgentEnd::SuspendedTooLong);
    batched.give(&Input::Look);
    assert_eq!(batched.tx(1, Fate::Batched), "");
    assert_eq!(batched.owners(), "time 87340 s, transaction 1");
}

#[test]
fn an_honest_pair_ends_without_a_close_request() {
    // A client asks for the close an hour after the end.
    let policy = privatix_market::AgentPolicy::default();
    let hour = hours(1);
    assert!(policy.max_delay < hour && policy.free_after.unwrap() < hour);
}

#[test]
fn patience_stands_still_while_the_chain_is_not_seen() {
    let mut run = Run::open(100).ended(AgentEnd::SuspendedTooLong);
    run.give(&Input::Look);
    run.fresh = false;
    run.give(&Input::Look);
    assert_eq!(run.owners(), "chain, reminder 86400 s");
    assert_eq!(run.after(48 * HOUR), "");
    run.fresh = true;
    assert_eq!(run.give(&Input::Look), "");
    assert_eq!(run.after(24 * HOUR - 60), "submit 1 close 0");
}

#[test]
fn patience_stands_still_while_the_channel_is_not_open() {
    for other in [closing(100, 0, 1_000), privatix_channel::OnChain::default()] {
        let mut run = Run::open(100).ended(AgentEnd::SuspendedTooLong).at(100);
        run.policy.vanish_after = hours(1_000);
        run.policy.free_at_once = false;
        run.give(&Input::Look);
        run.chain(other);
        run.after(48 * HOUR);
        assert_eq!(run.chain(open(100, 0)), "collect 2 close 0", "{other:?}");
        assert_eq!(run.after(24 * HOUR - 61), "");
        assert_eq!(run.after(1), "submit 2 close 0");
    }
}

#[test]
fn fault_10_dust_is_not_closed_alone_before_its_delay() {
    let mut run = Run::open(100).paid(1).ended(AgentEnd::Inactive);
    run.policy.min_gain = a(10);
    run.policy.max_delay = hours(2);
    assert_eq!(run.give(&Input::Look), "collect 1 close 1");
    assert_eq!(run.give(&voucher(2)), "keep 2, collect 1 close 2, paid 2, service ended");
    assert_eq!(run.after(2 * HOUR), "submit 1 close 2");
}

#[test]
fn fault_11_a_close_that_fails_is_tried_again_ever_later() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive);
    run.give(&Input::Look);
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let seq = run.state.own.flights.last().unwrap().seq;
        assert_eq!(run.tx(seq, Fate::Failed { lasting: false }), "");
        let again = privatix_market::Party::wake(&run.state, &run.env());
        let pause = again.uptime.unwrap().milliseconds() / 1_000 - run.uptime;
        pauses.push(pause);
        assert_eq!(run.after(pause - 1), "");
        assert_eq!(run.after(1), format!("submit {} close 60", seq + 1), "each try has a number of its own");
    }
    assert_eq!(pauses, [15, 30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
    // One that somebody has to mend is shown, and tried once a day.
    let seq = run.state.own.flights.last().unwrap().seq;
    assert_eq!(run.tx(seq, Fate::Failed { lasting: true }), "");
    assert_eq!(run.notices, [AgentNotice::Failing { tries: 11, lasting: true }]);
    assert!(run.owners().starts_with("user"), "{}", run.owners());
    assert_eq!(run.after(24 * HOUR), format!("submit {} close 60", seq + 1));
}

#[test]
fn fault_12_why_a_channel_closes_is_remembered_and_not_guessed_from_what_it_brings() {
    // For money; while the close waits, the client admits everything by a request, and takes that back.
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100);
    run.give(&Input::Look);
    run.chain(closing(100, 60, 1_000));
    run.tx(1, Fate::Failed { lasting: false });
    assert_eq!(run.chain(open(100, 60)), "");
    assert_eq!(run.after(15), "collect 2 close 60", "nothing to gain: not at the agent's cost");
}

#[test]
fn fault_15_an_undone_settlement_is_cashed_again() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive);
    run.state.chain = open(100, 60);
    assert_eq!(run.give(&Input::Look), "collect 1 close 60");
    assert_eq!(run.chain(open(100, 0)), "submit 1 close 60");
}

#[test]
fn a_close_carries_its_voucher_also_where_all_of_it_is_paid() {
    // The settlement that paid it may be undone before the close is mined, which would be final without the voucher.
    let mut run = Run::open(100).paid(60).ended(AgentEnd::CloseByOrder);
    run.state.chain = open(100, 60);
    assert_eq!(run.give(&Input::Look), "submit 1 close 60");
}

#[test]
fn fault_20_an_order_that_cannot_be_carried_out_is_refused() {
    let mut run = Run::open(100).paid(60);
    run.chain(closed(100, 60));
    for order in [AgentOrder::End, AgentOrder::Close, AgentOrder::Abandon] {
        let refused = run.try_give(&Input::Order(order)).unwrap_err();
        assert!(matches!(refused, Refused::Over { .. }), "{refused}");
    }
}

#[test]
fn what_is_at_risk_while_a_channel_is_served_is_settled_in_a_batch() {
    let mut run = Run::open(100).paid(60);
    assert_eq!(run.give(&voucher(61)), "keep 61, paid 61", "by default it is cashed by the close");
    run.policy.at_risk = Some(a(30));
    run.state.chain = open(100, 31);
    assert_eq!(run.give(&Input::Look), "", "30 are at risk");
    assert_eq!(run.give(&voucher(62)), "keep 62, collect 1 settle 62, paid 62");
    // Better vouchers are not offered again: that would be a row more with each payment. The batch takes what it finds.
    assert_eq!(run.give(&voucher(70)), "keep 70, paid 70");
    assert_eq!(run.give(&voucher(80)), "keep 80, paid 80");
    let mut ended = run.clone();
    let mut settled = run.clone();
    assert_eq!(settled.chain(open(100, 60)), "cancel 1", "something else paid");
    let found = AgentPurpose::Settle { cumulative: a(80) };
    run.give(&Input::Tx { seq: 1, purpose: found, fate: Fate::Batched });
    let sent = run.state.own.flights.iter().map(|flight| (flight.purpose, flight.stage));
    assert_eq!(sent.collect::<Vec<_>>(), [(found, Stage::Sent { batch: true })]);
    assert_eq!(run.give(&voucher(90)), "keep 90, paid 90", "it bounds nothing: the channel stays open");
    run.tx(1, Fate::Mined(block(9)));
    assert_eq!(run.give(&Input::Look), "", "its block is not seen yet");
    run.sees();
    assert_eq!(run.chain(open(100, 90)), "");
    run.tx(1, Fate::Final);
    assert!(run.state.own.flights.is_empty());
    // The end of the service takes the offer back, and the close carries the voucher.
    assert_eq!(ended.give(&Input::Order(AgentOrder::End)), "cancel 1, drive 2");
    ended.done();
    assert_eq!(ended.after(10), "submit 3 close 80");
}

#[test]
fn a_channel_that_is_served_again_is_not_closed_because_something_is_at_risk() {
    let mut run = Run::open(100).paid(60).policy(|policy| policy.at_risk = Some(a(30))).at(100);
    run.chain(closing(100, 20, 1_000));
    assert_eq!(run.chain(open(100, 20)), "cancel 1, collect 3 settle 60, drive 4");
}

#[test]
fn a_settlement_in_a_batch_holds_up_no_close() {
    let mut run = Run::open(100).paid(60).policy(|policy| policy.at_risk = Some(a(30)));
    run.give(&Input::Look);
    run.tx(1, Fate::Batched);
    run.give(&Input::Order(AgentOrder::End));
    run.done();
    assert_eq!(run.after(10), "submit 3 close 60");
    assert_eq!(run.owners(), "transaction 1, transaction 3");
}

#[test]
fn a_close_that_waits_for_a_batch_below_a_better_voucher_is_taken_back() {
    let mut run = Run::open(100).paid(1).ended(AgentEnd::Inactive);
    run.policy.min_gain = a(10);
    assert_eq!(run.give(&Input::Look), "collect 1 close 1");
    let purpose = run.state.own.flights[0].purpose;
    // Another one comes back by a reorganisation, so that no better one can be offered.
    assert_eq!(run.give(&Input::Tx { seq: 9, purpose, fate: Fate::Reinstated { batch: true } }), "");
    assert_eq!(run.give(&voucher(2)), "keep 2, cancel 1, kept, paid 1");
}

#[test]
fn nothing_follows_a_close_that_is_in_a_block() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive);
    run.give(&Input::Look);
    run.tx(1, Fate::Mined(block(9)));
    assert_eq!(run.give(&voucher(90)), "keep 90, kept, paid 60", "the channel is closed by it");
}

#[test]
fn a_success_and_a_cancellation_of_ours_end_a_row_of_failures() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive);
    run.give(&Input::Look);
    run.tx(1, Fate::Failed { lasting: false });
    assert_eq!(run.after(15), "submit 2 close 60");
    run.tx(2, Fate::Mined(block(9)));
    run.tx(2, Fate::Reinstated { batch: false });
    run.tx(2, Fate::Failed { lasting: false });
    assert_eq!(run.notices, [AgentNotice::Failing { tries: 1, lasting: false }]);
    // One that we cancelled, to replace it, may fail.
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive);
    run.give(&Input::Look);
    run.give(&voucher(70));
    run.tx(1, Fate::Failed { lasting: true });
    assert_eq!((run.state.own.blocked, run.notices.len()), (None, 0));
}

#[test]
fn an_order_to_close_that_comes_twice_waits_for_the_last_voucher_once() {
    let mut run = Run::open(100).paid(60);
    run.give(&Input::Order(AgentOrder::Close));
    assert_eq!(run.after(5), "");
    assert_eq!(run.give(&Input::Order(AgentOrder::Close)), "");
    assert_eq!(run.after(5), "submit 2 close 60");
}

#[test]
fn a_service_that_stays_lost_does_not_take_back_what_waits_for_a_batch() {
    let mut run = Run::open(100);
    run.give(&Input::Order(AgentOrder::End));
    run.adapter(Answered::GaveUp);
    assert_eq!(run.after(10), "collect 3 close 0");
    assert_eq!(run.after(50), "drive 4", "it is asked again");
    assert_eq!(run.after(60), "drive 5");
}

#[test]
fn a_row_that_a_mined_batch_skipped_is_sent_alone() {
    let mut run = Run::open(100).ended(AgentEnd::Inactive);
    run.give(&Input::Look);
    run.tx(1, Fate::Batched);
    run.tx(1, Fate::Mined(block(9)));
    run.uptime += 24 * HOUR;
    assert_eq!(run.give(&Input::Look), "", "its block is not seen yet");
    let mut late = run.clone();
    run.sees();
    assert_eq!(run.give(&Input::Look), "submit 2 close 0");
    // Where its block is final before it is seen, the view lags a little.
    assert_eq!(late.tx(1, Fate::Final), "");
    assert_eq!(late.notices, [], "no failure");
    assert_eq!(late.owners(), "time 87415 s, time 94600 s");
    assert_eq!(late.after(14), "");
    assert_eq!(late.after(1), "submit 2 close 0");
    // The first failure after it is the first.
    late.tx(2, Fate::Failed { lasting: false });
    assert_eq!(late.notices, [AgentNotice::Failing { tries: 1, lasting: false }]);
    // What failed before still counts, and what the operator cancelled still waits for an order.
    let mut parked = Run::open(100).ended(AgentEnd::Inactive);
    parked.give(&Input::Look);
    parked.tx(1, Fate::Batched);
    assert_eq!(parked.give(&voucher(70)), "keep 70, submit 2 close 70, kept, paid 0");
    parked.tx(1, Fate::Mined(block(9)));
    parked.tx(2, Fate::Failed { lasting: true });
    parked.tx(1, Fate::Final);
    assert_eq!(parked.owners(), "time 8200 s, user, reminder 87400 s");
}

#[test]
fn what_becomes_of_a_close_that_was_replaced_counts_as_no_failure() {
    for fate in [Fate::Reverted, Fate::Failed { lasting: false }, Fate::Cancelled] {
        let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive);
        run.policy.between_replacements = Duration::ZERO;
        run.give(&Input::Look);
        assert_eq!(run.give(&voucher(70)), "keep 70, cancel 1, submit 2 close 70, kept, paid 60");
        run.tx(1, fate);
        assert_eq!((run.state.own.blocked, run.notices.len()), (None, 0), "{fate:?}");
        // Nothing pauses the next one.
        let replaced = run.give(&voucher(80));
        assert!(replaced.starts_with("keep 80, cancel 2, submit 3 close 80"), "{fate:?}: {replaced}");
    }
}

#[test]
fn when_an_ended_channel_is_closed_at_the_latest_is_known() {
    let shown = |run: &Run| run.state.closes_at(&run.env()).map(|at| at.milliseconds() / 1_000);
    assert_eq!(shown(&Run::open(100).paid(60)), None, "it is served");
    let soon = |policy: &mut AgentPolicy| policy.max_delay = Duration::from_mins(30);
    let mut run = Run::open(100).paid(60).unpriced().policy(soon).ended(AgentEnd::Inactive);
    run.give(&Input::Look);
    let at = run.uptime - 60 + 30 * 60;
    assert_eq!(shown(&run), Some(at), "it waits for others");
    run.after(at - run.uptime);
    assert_eq!(shown(&run), None, "it is sent");
    let mut unseen = Run::open(100).unpriced().ended(AgentEnd::Inactive);
    unseen.fresh = false;
    unseen.give(&Input::Look);
    assert_eq!(shown(&unseen), None);
}
