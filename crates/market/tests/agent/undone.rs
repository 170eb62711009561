//! What reorganisations, and events that come late, do to closes.

use privatix_market::{AgentEnd, AgentNotice, AgentPurpose, Fate, Flight, Input, Stage, Uptime, Wei};

use crate::support::{HOUR, Run, a, block, closed, closing, open, voucher};

#[test]
fn an_undone_close_is_under_way_until_it_is_in_a_block_again_or_over() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive);
    run.give(&Input::Look);
    run.tx(1, Fate::Mined(block(9)));
    run.chain(closed(100, 60));
    assert_eq!(run.chain(open(100, 0)), "", "mined, as far as is known");
    assert_eq!(run.tx(1, Fate::Reinstated { batch: false }), "");
    assert_eq!(run.tx(1, Fate::Failed { lasting: false }), "");
    assert_eq!(run.after(15), "submit 2 close 60");
    // Also after it was final.
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive);
    run.give(&Input::Look);
    let purpose = run.state.own.flights[0].purpose;
    run.tx(1, Fate::Mined(block(9)));
    run.sees();
    run.chain(closed(100, 60));
    run.tx(1, Fate::Final);
    assert_eq!(run.owners(), "nobody");
    assert_eq!(run.give(&Input::Tx { seq: 1, purpose, fate: Fate::Reinstated { batch: false } }), "cancel 1");
    assert_eq!(run.chain(open(100, 0)), "submit 2 close 60");
}

#[test]
fn an_undone_batch_is_not_cancelled_for_one_of_its_channels() {
    let mut run = Run::open(100).ended(AgentEnd::Inactive);
    run.give(&Input::Look);
    run.tx(1, Fate::Batched);
    let purpose = run.state.own.flights[0].purpose;
    run.tx(1, Fate::Mined(block(9)));
    run.sees();
    run.chain(closed(100, 0));
    let mut mined = run.clone();
    mined.tx(1, Fate::Reinstated { batch: true });
    run.tx(1, Fate::Final);
    run.give(&Input::Tx { seq: 1, purpose, fate: Fate::Reinstated { batch: true } });
    for mut run in [mined, run] {
        assert_eq!(run.state.own.flights[0].stage, Stage::Sent { batch: true });
        assert_eq!(run.give(&Input::Look), "", "still closed, as far as is known");
        // A better voucher goes beside it.
        run.chain(open(100, 0));
        assert_eq!(run.give(&voucher(60)), "keep 60, submit 2 close 60, kept, paid 0");
    }
}

/// Found by the simulator (seed 7239 of the one with endpoints): a close that was mined was sent again and again while an endpoint left
/// its event out, and a reorganisation brought both back.
#[test]
fn a_close_that_is_in_a_block_is_not_sent_again_where_the_events_do_not_show_it() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive);
    assert_eq!(run.give(&Input::Look), "submit 1 close 60");
    run.tx(1, Fate::Mined(block(5)));
    run.sees();
    assert_eq!(run.after(HOUR), "");
    assert_eq!(run.owners(), "transaction 1");
    // Nothing better is promised meanwhile.
    assert_eq!(run.give(&voucher(70)), "keep 70, kept, paid 60");
    assert_eq!(run.chain(closed(100, 60)), "");
    assert_eq!(run.tx(1, Fate::Final), "");
}

/// Found by the simulator (seeds 1059029 and 49661): it was sent again and failed, until a voucher came between two tries, which was
/// acknowledged.
#[test]
fn a_close_whose_success_is_final_bounds_what_is_acknowledged_until_its_event_shows() {
    for is_seen in [true, false] {
        let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive);
        assert_eq!(run.give(&Input::Look), "submit 1 close 60");
        run.tx(1, Fate::Mined(block(5)));
        if is_seen {
            run.sees();
        }
        assert_eq!(run.tx(1, Fate::Final), "");
        assert_eq!(
            run.notices,
            Vec::from_iter(is_seen.then_some(AgentNotice::Hidden)),
            "not where the view lags"
        );
        assert_eq!(run.after(HOUR), "", "another one would fail");
        assert_eq!(run.owners(), "time 8200 s");
        assert_eq!(run.give(&voucher(70)), "keep 70, kept, paid 60");
        assert_eq!(run.state.ceiling(), Some(a(60)));
        assert_eq!(run.tx(1, Fate::Final), "", "reported twice");
        // A reorganisation below the final block takes it back.
        let mut undone = run.clone();
        assert_eq!(undone.tx(1, Fate::Reinstated { batch: false }), "cancel 1, submit 2 close 70");
        assert_eq!(run.chain(closed(100, 60)), "");
        assert_eq!(run.owners(), "nobody");
    }
}

/// An endpoint may report a success that there was not, and a reorganisation below the final block may take one back unseen.
#[test]
fn a_success_that_the_events_and_the_contract_deny_for_hours_is_not_believed() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive);
    run.give(&Input::Look);
    run.tx(1, Fate::Mined(block(5)));
    run.sees();
    run.tx(1, Fate::Final);
    let mut stale = run.clone();
    (run.explained, stale.fresh) = (false, false);
    for mut run in [run, stale] {
        assert_eq!(run.after(24 * HOUR), "");
        assert_eq!(run.owners(), "chain, reminder 172800 s");
        assert!(!run.give(&voucher(70)).contains("paid 70"));
        (run.explained, run.fresh) = (true, true);
        assert_eq!(run.give(&Input::Look), "submit 2 close 60");
        // Found by the simulator (seed 5003754): its bytes were there, and it came back.
        assert!(run.give(&voucher(70)).ends_with("kept, paid 60"), "it may still be mined");
        assert_eq!(run.state.ceiling(), Some(a(60)));
        let mut again = run.clone();
        assert!(again.tx(1, Fate::Reinstated { batch: false }).contains("cancel 1"));
        assert_eq!(again.state.ceiling(), Some(a(60)));
        // Found by the simulator (seed 17797): a channel whose opening was undone waited for it without end.
        let mut undone = run.clone();
        undone.chain(privatix_channel::OnChain::default());
        run.chain(closed(100, 60));
        for run in [undone, run] {
            assert!(run.state.own.flights.iter().all(|flight| flight.seq != 1));
        }
    }
}

/// If the success was a lie, all that is claimed would be lost with the challenge's end.
#[test]
fn an_answer_is_sent_again_beside_one_that_succeeded_and_is_not_shown() {
    let mut run = Run::open(100).paid(60).at(100);
    assert_eq!(
        run.chain(closing(100, 20, 1_000)),
        "submit 1 close 60 urgent before 1000 for 40 wei, drive 2"
    );
    run.tx(1, Fate::Mined(block(6)));
    assert_eq!(run.give(&Input::Look), "", "its block is not processed");
    run.sees();
    let mut is_final = run.clone();
    assert_eq!(is_final.tx(1, Fate::Final), "submit 3 close 60 urgent before 1000 for 40 wei");
    assert_eq!(run.give(&Input::Look), "submit 3 close 60 urgent before 1000 for 40 wei");
    for mut run in [run, is_final] {
        assert_eq!(run.state.ceiling(), Some(a(20)));
        run.chain(open(100, 20));
        assert_eq!(run.give(&voucher(70)), "keep 70, kept, paid 60", "it goes on bounding");
        run.chain(closed(100, 60));
        let is_over = |flight: &Flight<AgentPurpose>| !matches!(flight.stage, Stage::Unseen { .. });
        assert!(run.state.own.flights.iter().all(is_over));
    }
}

/// The pauses, in seconds, between the answers in a challenge until `ends`, while endpoints make up the success of each answer. Time goes
/// on for `seconds`.
fn pauses_between_answers(run: &mut Run, ends: u64, seconds: u64) -> Vec<u64> {
    assert!(run.chain(closing(100, 20, ends)).starts_with("submit 1 close 60 urgent"));
    let mut sent = vec![run.uptime];
    for _ in 0..seconds / 5 {
        if let Some(last) = run.state.own.flights.last().filter(|flight| flight.stage.is_under_way()) {
            let (seq, number) = (last.seq, u64::from(last.seq));
            run.tx(seq, Fate::Mined(block(number)));
            run.sees();
            if run.give(&Input::Look).starts_with("submit") {
                sent.push(run.uptime);
            }
            run.tx(seq, Fate::Final);
        }
        run.now = run.now.map(|now| now + 5);
        if run.after(5).starts_with("submit") {
            sent.push(run.uptime);
        }
    }
    sent.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// Found by the simulator (seed 2006849): endpoints that lied for long got one answer after the other, without end.
#[test]
fn endpoints_that_make_up_one_success_after_the_other_get_a_few_answers_in_a_challenge() {
    let mut run = Run::open(100).paid(60).at(100);
    assert_eq!(pauses_between_answers(&mut run, 1_000_000, HOUR), [0, 15, 30, 60, 120, 240]);
    // Another challenge gets its answer.
    run.chain(open(100, 20));
    assert!(run.chain(closing(100, 20, 2_000_000)).starts_with("submit"));
}

/// Found by the simulator (seed 9008921): endpoints that lied at the beginning of a challenge got all answers then, and none once they
/// were honest again.
#[test]
fn the_last_answers_are_spread_over_the_challenge() {
    let mut run = Run::open(100).paid(60).at(100);
    let day = 24 * HOUR;
    let pauses = pauses_between_answers(&mut run, 100 + day, day - 60);
    assert_eq!(pauses.len(), 16, "{pauses:?}");
    let mut at = 0;
    for (number, pause) in pauses.iter().enumerate() {
        let left = day - at;
        assert!(
            number < 6 || pause.abs_diff(left / 5) < 60,
            "pause {number} of {pause} s, with {left} s left"
        );
        at += pause;
    }
    assert!(day - at < 3 * HOUR, "the last answer went out {} s before the end", day - at);
}

/// Found by the simulator (seed 2357): nothing was left of the challenge, and the next answer was put off for ever.
#[test]
fn once_the_challenge_is_over_the_next_answer_waits_for_a_bounded_pause() {
    let mut run = Run::open(100).paid(60).at(100);
    pauses_between_answers(&mut run, 100 + HOUR, HOUR / 3);
    run.now = Some(100 + HOUR);
    assert_eq!(run.give(&Input::Look), "");
    let is_sent = (0..HOUR / 5).any(|_| run.after(5).starts_with("submit"));
    assert!(is_sent, "{}", run.owners());
}

/// Found by the simulator (seeds 709218 and 99335). The contract passes over a channel that it cannot close, so the success of the
/// batch proves nothing, and another close goes out beside it.
#[test]
fn a_batch_whose_success_is_final_bounds_what_is_acknowledged_until_its_event_shows() {
    let mut run = Run::open(100).ended(AgentEnd::Inactive);
    run.state.own.seq = 6;
    for seq in [7, 8] {
        assert_eq!(run.give(&Input::Look), if seq == 7 { "collect 7 close 0" } else { "" });
        run.tx(seq, Fate::Batched);
        run.tx(seq, Fate::Mined(block(5)));
        run.sees();
        assert_eq!(run.give(&Input::Look), format!("collect {} close 0", seq + 1), "in case it was left out");
        assert_eq!(run.tx(seq, Fate::Final), "");
    }
    let unseen = run.state.own.flights.iter().filter(|flight| matches!(flight.stage, Stage::Unseen { .. }));
    assert_eq!(unseen.count(), 1, "one is enough to know the least");
    assert_eq!(run.give(&voucher(60)), "keep 60, submit 9 close 60, kept, paid 0");
    assert_eq!(run.tx(9, Fate::Reverted), "");
    assert_eq!(run.tx(9, Fate::Final), "");
    assert_eq!(run.give(&voucher(60)), "kept, paid 0");
    assert_eq!(run.state.book.acknowledged, a(0));
    assert_eq!(run.chain(closed(100, 0)), "");
    assert_eq!(run.owners(), "nobody");
    assert_eq!(run.state.own.service.since, Uptime::new(940_000));
}

/// Found by the simulator (seed 20079 of the one with endpoints, at the client): nobody cancelled the second.
#[test]
fn a_close_that_comes_back_beside_another_leaves_one() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive);
    run.give(&Input::Look);
    run.tx(1, Fate::Reverted);
    run.tx(1, Fate::Final);
    assert_eq!(run.after(15), "submit 2 close 60");
    let purpose = AgentPurpose::Close { cumulative: a(60) };
    let again = Input::Tx { seq: 1, purpose, fate: Fate::Reinstated { batch: false } };
    assert_eq!(run.give(&again), "cancel 1");
    assert_eq!(run.tx(1, Fate::Cancelled), "");
}

/// Found by the simulator (seed 1056995): gas had become so dear that nothing was wanted at once.
#[test]
fn a_close_that_comes_back_beside_another_leaves_the_better_one_also_while_it_waits_for_a_batch() {
    for (first, rest) in [(60, 2), (70, 1)] {
        let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive);
        run.give(&Input::Look);
        run.tx(1, Fate::Reverted);
        run.tx(1, Fate::Final);
        run.after(15);
        run.gas.close_cost = Some(Wei::new(1_000));
        run.state.own.flights[0].purpose = AgentPurpose::Close { cumulative: a(65) };
        run.state.book.best = a(70);
        let purpose = AgentPurpose::Close { cumulative: a(first) };
        let again = Input::Tx { seq: 1, purpose, fate: Fate::Reinstated { batch: false } };
        assert_eq!(run.give(&again), format!("cancel {}", 3 - rest), "{first}");
        let waits = |flight: &&Flight<AgentPurpose>| flight.stage == Stage::Sent { batch: false };
        let waiting: Vec<_> = run.state.own.flights.iter().filter(waits).map(|flight| flight.seq).collect();
        assert_eq!(waiting, [rest]);
    }
}

/// Found by the simulator (seed 1023223): the client had admitted everything, so that nothing was wanted any more.
#[test]
fn an_answer_that_comes_back_beside_another_leaves_the_more_urgent_one() {
    let mut run = Run::open(100).paid(60).at(100);
    assert_eq!(
        run.chain(closing(100, 20, 1_000)),
        "submit 1 close 60 urgent before 1000 for 40 wei, drive 2"
    );
    run.chain(closing(100, 60, 1_000));
    run.state.own.flights[0].stage = Stage::Sent { batch: false };
    let purpose = AgentPurpose::Close { cumulative: a(60) };
    let again = Input::Tx { seq: 0, purpose, fate: Fate::Reinstated { batch: false } };
    assert_eq!(run.give(&again), "cancel 0");
}

/// Found by the simulator (seed 5008156): both came back, and the one for an earlier challenge was left, which does not serve this one.
#[test]
fn of_two_answers_that_come_back_the_one_for_the_present_challenge_is_left() {
    let mut run = Run::open(100).paid(60).at(100).policy(|policy| policy.min_gain = a(20));
    run.chain(closing(100, 20, 1_000));
    run.tx(1, Fate::Mined(block(6)));
    run.sees();
    run.chain(open(100, 20));
    run.chain(closing(100, 20, 2_000));
    let second = run.state.own.flights.last().unwrap().seq;
    assert_ne!(second, 1);
    // A better voucher is not worth another answer.
    assert_eq!(run.give(&voucher(65)), "keep 65, kept, paid 60");
    run.tx(1, Fate::Reinstated { batch: false });
    let waits = |flight: &&Flight<AgentPurpose>| flight.stage == Stage::Sent { batch: false };
    let waiting: Vec<_> = run.state.own.flights.iter().filter(waits).map(|flight| flight.seq).collect();
    assert_eq!(waiting, [second]);
    assert_eq!(run.give(&Input::Look), "", "nothing else is to be done");
}

/// Found by the simulator (seed 4294): the close that came back was cancelled for an answer of an earlier challenge, which could not pay for
/// its gas, and that one was replaced with the next decision only.
#[test]
fn a_close_that_comes_back_beside_an_answer_that_cannot_pay_is_replaced_with_it_at_once() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::CloseByOrder).at(100);
    assert_eq!(run.give(&Input::Look), "submit 1 close 60");
    run.tx(1, Fate::Mined(block(5)));
    run.sees();
    run.tx(1, Fate::Final);
    run.state.book.best = a(75);
    assert!(run.chain(closing(100, 60, 1_000)).starts_with("submit 2 close 75 urgent"));
    // The client has cashed more for its agent than that has, and keeps the channel.
    assert_eq!(run.chain(open(100, 80)), "");
    run.gas.close_cost = Some(Wei::new(1_000));
    assert_eq!(run.give(&Input::Look), "");
    assert_eq!(run.tx(1, Fate::Reinstated { batch: false }), "cancel 1, cancel 2, submit 3 close 75");
    assert_eq!(run.give(&Input::Look), "", "nothing else is to be done");
}

/// Found by a kill campaign (`torture --seed 3`): the channel stayed open, as if its operator had cancelled the close.
#[test]
fn a_close_that_was_cancelled_because_it_was_there_is_made_again_when_it_is_undone() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive);
    run.give(&Input::Look);
    assert_eq!(run.chain(closed(100, 60)), "cancel 1", "the event came before the receipt");
    assert_eq!(run.tx(1, Fate::Mined(block(9))), "");
    assert_eq!(run.chain(open(100, 0)), "", "mined, as far as is known");
    assert_eq!(run.tx(1, Fate::Cancelled), "submit 2 close 60");
}

/// The same, where the transactor reports first that the block is gone, and then that the transaction is.
#[test]
fn a_close_that_was_cancelled_in_its_block_is_made_again_when_a_reorganisation_takes_that() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive);
    run.give(&Input::Look);
    assert_eq!(run.chain(closed(100, 60)), "cancel 1");
    run.tx(1, Fate::Mined(block(9)));
    assert_eq!(run.chain(open(100, 0)), "");
    assert_eq!(run.tx(1, Fate::Withdrawn), "submit 2 close 60");
    assert_eq!(run.tx(1, Fate::Cancelled), "");
    assert!(!run.notices.contains(&AgentNotice::Parked));
}
