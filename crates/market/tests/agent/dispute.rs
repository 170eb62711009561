//! Dispute: the client asked to close.

use privatix_channel::{ChainTime, LogPosition};
use privatix_market::{
    Actual, AgentEnd, AgentNotice, AgentOrder, Answered, Blocked, Fate, Gas, Input, Rate, Refused, Replaced,
    Target,
};

use crate::support::{HOUR, Run, a, block, closed, closing, open, voucher};

/// State, what the chain shows, effects, owners. The chain's time is 100; a challenge ends at 1000.
#[test]
fn a_close_request_is_answered_as_far_as_it_pays() {
    let ended = |best| Run::open(100).paid(best).ended(AgentEnd::Inactive).at(100).unpriced();
    let rated = |mut run: Run| {
        run.gas = Gas::default();
        run.gas.rate = Some(Rate { wei_per_token: 2, decimals: 0 });
        run
    };
    let kept_open = |mut run: Run| {
        run.kept_open = Some(5_000);
        run
    };
    let rows = [
        ("less admitted", ended(60), 20, "submit 1 close 60 urgent before 1000", "transaction 1"),
        (
            "less admitted, the worth of a token is known",
            rated(ended(60)),
            20,
            "submit 1 close 60 urgent before 1000 for 80 wei",
            "chain time 4600, transaction 1",
        ),
        (
            "one unit less admitted",
            ended(60).policy(|p| p.min_gain = a(50)),
            59,
            "submit 1 close 60 urgent before 1000",
            "transaction 1",
        ),
        ("all admitted", ended(60), 60, "collect 1 close 60", "chain time 4600"),
        (
            "all admitted, left to the client",
            ended(60).policy(|p| p.free_at_once = false),
            60,
            "",
            "chain time 4600",
        ),
        (
            "all admitted, the hour after is over",
            ended(60).at(4_600),
            60,
            "submit 1 close 60",
            "transaction 1",
        ),
        (
            "less admitted, the hour after is over",
            rated(ended(60)).at(4_600),
            20,
            "submit 1 close 60",
            "transaction 1",
        ),
        (
            "less admitted, vouchers may be missing",
            kept_open(ended(60)),
            20,
            "submit 1 settle 60 urgent before 1000",
            "transaction 1",
        ),
        ("all admitted, vouchers may be missing", kept_open(ended(60)), 60, "", "time 5000 s"),
        ("more admitted than is known", ended(60), 70, "collect 1 close 60", "chain time 4600"),
    ];
    for (name, mut run, paid, effects, owners) in rows {
        assert_eq!(run.chain(closing(100, paid, 1_000)), effects, "{name}");
        assert_eq!(run.owners(), owners, "{name}");
    }
}

#[test]
fn a_close_request_is_answered_from_the_price_of_one_unit_on() {
    let urgent = "submit 1 close 60 urgent before 1000";
    // The price of a unit, the policy's least amount, what is admitted of 60.
    let rows = [
        (Some(41), None, 20, "collect 1 close 60"),
        (Some(40), None, 20, urgent),
        (Some(41), Some(40), 20, urgent),
        (Some(1), Some(41), 20, "collect 1 close 60"),
        // Without terms no unit has a price.
        (None, None, 59, urgent),
    ];
    for (price, least, paid, effects) in rows {
        let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100).unpriced();
        run = run.terms(|terms| terms.unit_price = a(price.unwrap_or(1)));
        if price.is_none() {
            run.state.terms = None;
        }
        run.policy.dispute_min = least.map(a);
        assert_eq!(run.chain(closing(100, paid, 1_000)), effects, "{price:?}, {least:?}");
        assert_eq!(run.owners(), if effects == urgent { "transaction 1" } else { "chain time 4600" });
    }
}

#[test]
fn a_channel_that_is_served_is_suspended_and_answered_at_once() {
    let mut run = Run::open(100).paid(60).at(100).unpriced();
    assert_eq!(run.chain(closing(100, 20, 1_000)), "submit 1 close 60 urgent before 1000, drive 2");
    assert_eq!(run.state.own.service.target, Target::Suspended);
    assert_eq!(run.notices, [AgentNotice::Disputed { claimable: a(40), ends_at: ChainTime::new(1_000) }]);
    // The close does not wait for the adapter, which is given up and ends the service then.
    assert_eq!(run.adapter(Answered::GaveUp), "drive 3");
    assert_eq!(run.state.own.ending.unwrap().why, AgentEnd::AdapterStuck);
    run.tx(1, Fate::Mined(block(9)));
    run.chain(closed(100, 60));
    run.tx(1, Fate::Final);
    assert_eq!(run.owners(), "adapter 3 until 1060 s");
    run.adapter(Answered::Did(Actual::Absent));
    assert_eq!(run.owners(), "nobody");
}

#[test]
fn a_dispute_does_not_wait_on_its_own_cheap_close() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100);
    assert_eq!(run.give(&Input::Look), "submit 1 close 60");
    assert_eq!(
        run.chain(closing(100, 20, 1_000)),
        "cancel 1, submit 2 close 60 urgent before 1000 for 40 wei"
    );
    // Another challenge is another deadline.
    let again = |ends_at| {
        let mut chain = closing(100, 20, ends_at);
        chain.last_close_request.as_mut().unwrap().at = LogPosition::new(7, 0);
        chain
    };
    assert_eq!(run.chain(again(2_000)), "cancel 2, submit 3 close 60 urgent before 2000 for 40 wei");
    let ends_at = ChainTime::new(2_000);
    assert_eq!(run.notices, [AgentNotice::Disputed { claimable: a(40), ends_at }]);
    // What is cancelled already may be cancelled.
    assert_eq!(run.state.may_cancel(2, &run.policy), Ok(()));
    assert_eq!(run.state.may_cancel(3, &run.policy), Err(Refused::AnswersDispute { seq: 3 }));
}

#[test]
fn a_dispute_waits_for_no_batch_and_cancels_none() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100).unpriced();
    run.policy.min_gain = a(80);
    assert_eq!(run.give(&Input::Look), "collect 1 close 60");
    let mut sent = run.clone();
    assert_eq!(run.chain(closing(100, 20, 1_000)), "submit 1 close 60 urgent before 1000");
    sent.tx(1, Fate::Batched);
    assert_eq!(sent.chain(closing(100, 20, 1_000)), "submit 2 close 60 urgent before 1000");
    assert_eq!(sent.owners(), "transaction 1, transaction 2");
}

#[test]
fn a_dispute_with_a_slightly_better_voucher_waits_on_nothing_of_another_class() {
    // The state before the request, and the effects of the look at the request. 64 is 4 more than 60, which is worth no
    // replacement; the one before was a moment ago, and no more are allowed.
    let closing_with = |min_gain: u128, batched: bool| {
        let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100);
        run.policy.min_gain = a(min_gain);
        run.policy.replacements_of_answers = 0;
        run.give(&Input::Look);
        if batched {
            run.tx(1, Fate::Batched);
        }
        run.policy.min_gain = a(50);
        run.give(&voucher(64));
        run
    };
    let rows = [
        (
            "everyday terms",
            closing_with(1, false),
            "cancel 1, submit 2 close 64 urgent before 1000 for 44 wei",
        ),
        ("in a batch", closing_with(80, true), "submit 2 close 64 urgent before 1000 for 44 wei"),
    ];
    for (name, mut run, effects) in rows {
        assert_eq!(run.chain(closing(100, 20, 1_000)), effects, "{name}");
        // It is not counted.
        assert_eq!(run.state.own.replaced, Replaced::default(), "{name}");
        // The answer itself is replaced as the policy says.
        assert_eq!(run.give(&voucher(99)), "keep 99, kept, paid 60", "{name}");
    }
}

#[test]
fn fault_3_each_better_voucher_of_a_challenge_is_sent() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100).unpriced();
    run.chain(closing(100, 20, 1_000));
    assert_eq!(
        run.give(&voucher(70)),
        "keep 70, cancel 1, submit 2 close 70 urgent before 1000, kept, paid 60"
    );
    assert_eq!(run.give(&voucher(80)), "keep 80, kept, paid 60");
    assert_eq!(run.after(30), "cancel 2, submit 3 close 80 urgent before 1000");
}

#[test]
fn each_challenge_has_replacements_of_its_own() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100).unpriced();
    run.policy.replacements_of_answers = 1;
    let challenge = |ends_at| {
        let mut chain = closing(100, 20, ends_at);
        chain.last_close_request.as_mut().unwrap().at = LogPosition::new(ends_at, 0);
        chain
    };
    for (seq, ends_at, better) in [(1, 1_000, 70), (3, 2_000, 80), (5, 3_000, 90)] {
        run.chain(challenge(ends_at));
        let again =
            format!("keep {better}, cancel {seq}, submit {} close {better} urgent before {ends_at}", seq + 1);
        assert_eq!(
            run.give(&voucher(better)),
            format!("{again}, kept, paid 60"),
            "however soon after the last one"
        );
        assert_eq!(run.state.own.replaced.count, 1);
        assert_eq!(run.give(&voucher(better + 1)), format!("keep {}, kept, paid 60", better + 1));
    }
}

#[test]
fn what_the_deposit_does_not_cover_is_no_gain() {
    let mut run = Run::open(100).paid(100).ended(AgentEnd::Inactive).at(100).unpriced();
    run.policy.min_gain = a(0);
    run.chain(closing(100, 20, 1_000));
    assert_eq!(run.give(&voucher(120)), "keep 120, kept, paid 100");
}

#[test]
fn a_settlement_in_a_block_answers_a_request_whatever_its_terms_were() {
    let mut run = Run::open(100).paid(60).at(100).policy(|policy| policy.at_risk = Some(a(30)));
    assert_eq!(run.give(&Input::Look), "collect 1 settle 60");
    run.tx(1, Fate::Batched);
    run.tx(1, Fate::Mined(block(9)));
    run.kept_open = Some(5_000);
    assert_eq!(run.chain(closing(100, 20, 1_000)), "drive 2");
}

#[test]
fn a_batch_that_fails_while_a_client_may_finalize_is_tried_again_ever_later() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(0);
    let since = privatix_market::Uptime::new(1_000_000);
    run.state.own.blocked = Some(Blocked::Failing { since, tries: 9, lasting: false });
    // No part of the challenge hurries: nothing would be lost at its end.
    assert_eq!(run.chain(closing(100, 60, 6_000)), "");
    assert_eq!(run.owners(), "time 4600 s, chain time 9600");
    assert_eq!(run.after(3_599), "");
    assert_eq!(run.after(1), "collect 1 close 60");
}

#[test]
fn what_is_abandoned_is_left_until_an_order_to_close() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100).unpriced();
    run.give(&Input::Order(AgentOrder::Abandon));
    run.chain(closing(100, 20, 1_000));
    assert_eq!(run.notices, [], "that was shown with the order");
    assert_eq!(run.give(&Input::Order(AgentOrder::Close)), "submit 2 close 60 urgent before 1000");
}

#[test]
fn fault_4_a_better_voucher_raises_the_stake() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100).unpriced();
    run.gas.rate = Some(Rate { wei_per_token: 2, decimals: 0 });
    assert_eq!(run.chain(closing(100, 20, 1_000)), "submit 1 close 60 urgent before 1000 for 80 wei");
    assert_eq!(
        run.give(&voucher(90)),
        "keep 90, cancel 1, submit 2 close 90 urgent before 1000 for 140 wei, kept, paid 60"
    );
}

#[test]
fn fault_6_the_answer_to_a_close_request_cannot_be_cancelled_only_abandoned() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100).unpriced();
    run.chain(closing(100, 20, 1_000));
    assert_eq!(run.state.may_cancel(1, &run.policy), Err(Refused::AnswersDispute { seq: 1 }));
    // Cancelled before the request was known, it goes out again.
    assert_eq!(run.tx(1, Fate::Cancelled), "submit 2 close 60 urgent before 1000");
    run.give(&Input::Order(AgentOrder::Abandon));
    assert_eq!(run.notices, [AgentNotice::Abandoned { claimable: a(40) }]);
    assert_eq!(run.state.may_cancel(2, &run.policy), Ok(()));
    assert_eq!(run.tx(2, Fate::Cancelled), "");
    assert_eq!(run.owners(), "chain time 4600");
}

#[test]
fn a_claim_that_is_not_worth_an_answer_is_conceded_by_name() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100).unpriced();
    run.policy.dispute_min = Some(a(10));
    assert_eq!(run.chain(closing(100, 51, 1_000)), "collect 1 close 60");
    assert_eq!(run.notices, [AgentNotice::Conceded { claimable: a(9) }]);
    assert_eq!(run.give(&voucher(61)), "keep 61, submit 1 close 61 urgent before 1000, kept, paid 60");
}

#[test]
fn fault_9_a_request_that_nobody_finalizes_ends_an_hour_after_its_challenge() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100).unpriced();
    run.policy.free_at_once = false;
    assert_eq!(run.chain(closing(100, 60, 1_000)), "");
    assert_eq!(run.notices, [], "nothing is conceded");
    run.now = Some(4_599);
    assert_eq!(run.give(&Input::Look), "");
    run.now = Some(4_600);
    assert_eq!(run.give(&Input::Look), "submit 1 close 60");
}

#[test]
fn an_answer_that_is_under_way_is_not_replaced_when_its_challenge_is_over() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100).unpriced();
    run.gas.rate = Some(Rate { wei_per_token: 2, decimals: 0 });
    assert_eq!(run.chain(closing(100, 20, 1_000)), "submit 1 close 60 urgent before 1000 for 80 wei");
    run.now = Some(4_600);
    assert_eq!(run.give(&Input::Look), "");
}

#[test]
fn an_answer_that_may_cost_less_than_its_gas_is_replaced_when_its_challenge_is_over() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100).unpriced();
    (run.gas.rate, run.gas.close_cost) =
        (Some(Rate { wei_per_token: 2, decimals: 0 }), Some(privatix_market::Wei::new(81)));
    assert_eq!(run.chain(closing(100, 20, 1_000)), "submit 1 close 60 urgent before 1000 for 80 wei");
    run.now = Some(4_600);
    assert_eq!(run.give(&Input::Look), "cancel 1, submit 2 close 60");
}

/// Found by the simulator (seed 1049): the answer could not pay for its gas, and what was gained by the next one alone was less
/// than that, so that nothing was claimed although all of it together was worth an answer.
#[test]
fn a_voucher_that_makes_the_claim_worth_an_answer_replaces_one_that_cannot_pay_for_its_gas() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100).unpriced();
    (run.gas.rate, run.gas.close_cost) =
        (Some(Rate { wei_per_token: 2, decimals: 0 }), Some(privatix_market::Wei::new(81)));
    assert_eq!(run.chain(closing(100, 20, 1_000)), "submit 1 close 60 urgent before 1000 for 80 wei");
    assert_eq!(
        run.give(&voucher(61)),
        "keep 61, cancel 1, submit 2 close 61 urgent before 1000 for 82 wei, kept, paid 60"
    );
}

#[test]
fn fault_13_a_request_and_its_cancellation_in_one_batch_change_nothing() {
    let mut run = Run::open(100).paid(60).at(100).unpriced();
    run.give(&Input::Look);
    let before = run.state.clone();
    let mut chain = closing(100, 0, 1_000);
    chain.last_cancellation = Some(LogPosition::new(5, 1));
    assert_eq!(run.chain(chain), "");
    assert_eq!((&run.state.own, &run.state.book), (&before.own, &before.book));
    // Nor do they in two, as soon as the answer is cancelled.
    let mut run = Run::open(100).paid(60).at(100).unpriced();
    run.chain(closing(100, 20, 1_000));
    // The service may have been suspended meanwhile, so it is asked for again.
    assert_eq!(run.chain(open(100, 20)), "cancel 1, drive 3");
    assert_eq!(run.state.own.ending, None);
}

#[test]
fn fault_14_a_request_that_is_undone_after_the_end_of_service_leaves_no_channel_behind() {
    let mut run = Run::open(100).ended(AgentEnd::Inactive).at(100).unpriced();
    assert_eq!(run.chain(closing(100, 0, 1_000)), "collect 1 close 0");
    assert_eq!(run.chain(open(100, 0)), "");
    assert_eq!(run.owners(), "time 87340 s");
    assert_eq!(run.after(24 * HOUR - 60), "submit 1 close 0");
}

#[test]
fn an_answer_that_fails_is_tried_ever_faster_as_the_end_comes_near() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(0).unpriced();
    run.chain(closing(100, 20, 6_000));
    // (chain time, tries so far, pause in seconds): never more than a twentieth of what is left, never less than the first.
    for (now, pause) in [(0, 15), (0, 30), (0, 60), (0, 120), (0, 240), (0, 300), (4_000, 100), (5_900, 15)] {
        let seq = run.state.own.flights.last().unwrap().seq;
        run.now = Some(now);
        run.tx(seq, Fate::Failed { lasting: true });
        assert_eq!(run.after(pause - 1), "", "at {now}");
        assert_eq!(run.after(1), format!("submit {} close 60 urgent before 6000", seq + 1), "at {now}");
    }
}

#[test]
fn a_reverted_answer_may_still_be_mined_after_a_reorganisation() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100);
    run.give(&Input::Look);
    run.tx(1, Fate::Reverted);
    assert_eq!(run.give(&voucher(70)), "keep 70, kept, paid 60", "the revert is not final");
    assert_eq!(run.tx(1, Fate::Final), "");
    assert_eq!(run.give(&voucher(70)), "paid 70, service ended");
    assert_eq!(run.after(15), "submit 2 close 70");
}
