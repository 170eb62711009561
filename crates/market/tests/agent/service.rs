//! Service: when it runs, and when patience ends.

use std::time::Duration;

use privatix_billing::{Billing, Measure, Unit};
use privatix_channel::Usage;
use privatix_market::{
    Actual, Agent, AgentEnd, AgentOrder, AgentOwn, Answered, Input, Party as _, Target, Why,
};

use crate::support::{HOUR, Run, hours, open, voucher};

/// State, use, what is wanted. The deposit is 100, a unit costs 1, and 40 may be unpaid.
#[test]
fn a_service_runs_as_it_is_paid() {
    let but = |mut run: Run, change: fn(&mut Run)| {
        change(&mut run);
        run
    };
    let max_units = |run: Run| run.terms(|terms| terms.max_units = Some(60));
    let prepaid = |run: Run| {
        run.terms(|terms| {
            terms.billing = Billing::Prepaid;
            terms.billing_interval = 10;
        })
    };
    let running = (Target::Running, None);
    let suspended = |why| (Target::Suspended, Some(why));
    let rows = vec![
        ("within the lag", Run::open(100).paid(10), 50, running),
        ("beyond the lag", Run::open(100).paid(10), 51, suspended(Why::Unpaid)),
        ("deposit used, not paid", Run::open(100).paid(60), 100, suspended(Why::DepositReached)),
        ("deposit used and paid", Run::open(100).paid(100), 100, suspended(Why::DepositSpent)),
        ("paid above the deposit", Run::open(100).paid(150), 100, suspended(Why::DepositSpent)),
        ("all units used, not paid", max_units(Run::open(100).paid(30)), 60, suspended(Why::MaxUnitsReached)),
        ("prepaid, first interval unpaid", prepaid(Run::open(100)), 0, suspended(Why::Unpaid)),
        ("prepaid, first interval paid", prepaid(Run::open(100).paid(10)), 0, running),
        ("held", but(Run::open(100), |run| run.state.own.held = true), 0, suspended(Why::Held)),
        ("stale view", but(Run::open(100), |run| run.fresh = false), 0, suspended(Why::StaleView)),
        ("terms lost", but(Run::open(100), |run| run.state.terms = None), 0, suspended(Why::NoTerms)),
        ("no gas for a new one", but(Run::open(100), |run| run.gas.affords_new = false), 0, running),
    ];
    for (name, mut run, used, target) in rows {
        run.used(used);
        run.give(&Input::Look);
        assert_eq!(run.target(), target, "{name}");
    }
}

#[test]
fn a_service_that_is_not_held_to_its_bound_is_suspended_until_it_is_or_the_adapter_starts_again() {
    let unbounded = || {
        let mut run = Run::open(100).paid(10);
        assert_eq!(run.give(&Input::Bounded(false)), "drive 1", "to suspend it");
        assert_eq!(run.target(), (Target::Suspended, Some(Why::Unbounded)));
        assert_eq!(run.done(), "");
        assert_eq!(run.give(&voucher(20)), "keep 20, paid 20", "a payment does not help");
        run
    };
    let running = (Target::Running, None);
    let mut taken = unbounded();
    assert_eq!(taken.give(&Input::Bounded(true)), "drive 2");
    assert_eq!(taken.target(), running);
    let mut restarted = unbounded();
    restarted.instance += 1;
    restarted.give(&Input::Look);
    assert_eq!(restarted.target(), running);
    // It is not the client's fault.
    let mut waits = unbounded();
    waits.after(3_600);
    assert_eq!((waits.target().1, waits.state.own.ending), (Some(Why::Unbounded), None));
}

#[test]
fn an_adapter_that_starts_is_asked_for_nothing_but_to_stop_and_ends_no_channel() {
    // Not paid, so that it would be suspended; it may still run by what is known.
    let mut run = Run::open(100).paid(10);
    assert_eq!(run.used(51), "drive 1");
    run.instance += 1;
    run.starts = Some(run.instance);
    assert_eq!(run.give(&Input::Look), "");
    assert_eq!(run.after(300), "");
    assert_eq!((run.state.own.service.asked, run.state.own.ending), (None, None));
    run.starts = None;
    assert_eq!(run.give(&Input::Look), "drive 2");
    run.starts = Some(run.instance);
    assert_eq!(run.give(&Input::Order(AgentOrder::End)), "drive 3");
}

#[test]
fn all_units_used_and_paid_end_the_service() {
    let mut run = Run::open(100).paid(60).terms(|terms| terms.max_units = Some(60));
    assert_eq!(run.used(60), "drive 1");
    assert_eq!(run.state.own.ending.unwrap().why, AgentEnd::MaxUnits);
}

#[test]
fn a_payment_resumes_and_moves_the_bound() {
    let mut run = Run::open(100).paid(10);
    assert_eq!(run.state.bound(), Some(Usage::new(51)));
    assert_eq!(run.used(51), "drive 1");
    assert_eq!(run.done(), "");
    assert_eq!(run.give(&voucher(20)), "keep 20, drive 2, paid 20");
    assert_eq!(run.state.bound(), Some(Usage::new(61)));
    run.give(&voucher(90));
    assert_eq!(run.state.bound(), Some(Usage::new(101)), "at most what the deposit can pay, and one more");
}

#[test]
fn fault_21_a_suspension_that_fails_ends_the_service_in_a_minute() {
    for answer in [Some(Answered::Refused), Some(Answered::GaveUp), None] {
        let mut run = Run::open(100);
        assert_eq!(run.used(41), "drive 1");
        let effects = answer.map_or_else(|| run.clone().after(60), |answer| run.clone().adapter(answer));
        assert_eq!(effects, "drive 2", "to stop it");
        run.uptime += 60;
        run.give(&Input::Look);
        assert_eq!(run.state.own.ending.unwrap().why, AgentEnd::AdapterStuck);
        run.after(60);
        assert_eq!(run.state.own.service.actual, Actual::Lost);
    }
}

#[test]
fn a_suspension_because_of_our_view_ends_nothing_when_the_adapter_is_away() {
    for why in [Why::StaleView, Why::Unexplained] {
        let change = |run: &mut Run| {
            (run.fresh, run.explained) = (why != Why::StaleView, why != Why::Unexplained);
        };
        for answer in [Some(Answered::GaveUp), None] {
            let mut run = Run::open(100);
            change(&mut run);
            assert_eq!(run.give(&Input::Look), "drive 1");
            assert_eq!(run.target(), (Target::Suspended, Some(why)));
            let effects = answer.map_or_else(|| run.clone().after(60), |answer| run.clone().adapter(answer));
            assert_eq!(effects, "drive 2", "to stop it");
            run.uptime += 60;
            run.give(&Input::Look);
            assert_eq!((run.target(), run.state.own.ending), ((Target::Absent, Some(why)), None));
            // Whether it is stopped or lost: once the reason is over, it is served afresh.
            let mut lost = run.clone();
            lost.adapter(Answered::GaveUp);
            assert_eq!(lost.state.own.service.actual, Actual::Lost);
            run.done();
            for mut run in [run, lost] {
                assert_eq!(
                    run.after(HOUR),
                    if run.state.own.service.asked.is_some() { "drive 4" } else { "" }
                );
                let seq = run.state.own.seq;
                (run.fresh, run.explained) = (true, true);
                assert_eq!(run.give(&Input::Look), format!("drive {}", seq + 1));
                assert_eq!(run.target(), (Target::Running, None));
                assert_eq!(run.done(), "");
                // The next time it is suspended first again.
                change(&mut run);
                run.give(&Input::Look);
                assert_eq!(run.target(), (Target::Suspended, Some(why)));
            }
            // An adapter that answers no is at fault.
            let mut refused = Run::open(100);
            change(&mut refused);
            refused.give(&Input::Look);
            refused.adapter(Answered::Refused);
            assert_eq!(refused.state.own.ending.unwrap().why, AgentEnd::AdapterStuck);
        }
    }
}

/// Found by the simulator (seed 108163): the service ran, was believed to be absent, and nothing stopped it when it ended.
#[test]
fn a_request_that_was_given_up_may_be_done_late_and_is_made_undone_in_the_end() {
    let late = Input::Adapter { seq: 2, answer: Answered::Did(Actual::Running) };
    for from in [Actual::Suspended, Actual::Absent] {
        for answer in [Some(Answered::GaveUp), None] {
            let mut run = Run::open(100);
            run.used(41);
            run.done();
            run.state.own.service.actual = from;
            assert_eq!(run.give(&voucher(20)), "keep 20, drive 2, paid 20");
            let again = answer.map_or_else(|| run.clone().after(60), |answer| run.clone().adapter(answer));
            assert_eq!(again, "drive 3");
            run.after(60);
            assert_eq!(run.give(&late), "", "it answers another request than the one that is waited for");
            assert_eq!(run.adapter(Answered::Refused), "drive 4");
            // Whatever is wanted now, it is asked for.
            let mut held = run.clone();
            assert_eq!(held.give(&Input::Order(AgentOrder::Hold)), "drive 5");
            assert_eq!(held.after(60), "drive 6", "it may run, so it is stopped");
            assert_eq!(held.target(), (Target::Absent, Some(Why::Ended)));
            assert_eq!(run.give(&Input::Order(AgentOrder::End)), "drive 5");
            run.after(60);
            assert_eq!(run.state.own.service.actual, Actual::Lost);
        }
    }
}

#[test]
fn a_preparation_that_was_given_up_is_stopped_in_the_end_and_is_not_taken_for_a_service_that_may_run() {
    let mut run = Run::opening(100);
    assert_eq!(run.give(&Input::Look), "drive 1");
    for n in 2..20 {
        assert_eq!(run.after(60), format!("drive {n}"));
    }
    // It was wanted for another reason meanwhile.
    run.fresh = false;
    assert_eq!(run.give(&Input::Look), "drive 20", "to stop it");
    run.fresh = true;
    assert_eq!(run.give(&Input::Look), "drive 21");
    assert_eq!(run.after(60), "drive 22");
    assert_eq!((run.state.own.ending, run.state.own.ready), (None, None));
    assert_eq!(run.give(&Input::Order(AgentOrder::End)), "drive 23", "to stop it");
}

#[test]
fn a_service_that_was_stopped_for_our_view_is_not_prepared_for_a_close_request() {
    let mut run = Run::open(100);
    run.fresh = false;
    run.give(&Input::Look);
    run.adapter(Answered::GaveUp);
    assert_eq!(run.done(), "");
    assert_eq!(run.chain(crate::support::closing(100, 0, 1_000)), "collect 3 close 0");
    assert_eq!(run.target(), (Target::Absent, Some(Why::Closing)));
    run.fresh = true;
    assert_eq!(run.give(&Input::Look), "");
    assert_eq!(run.target(), (Target::Absent, Some(Why::Closing)));
}

#[test]
fn an_adapter_that_was_away_before_and_during_a_stale_view_ends_nothing() {
    let mut run = Run::open(100);
    run.instance += 1;
    run.give(&Input::Look);
    run.adapter(Answered::GaveUp);
    run.fresh = false;
    run.give(&Input::Look);
    run.adapter(Answered::GaveUp);
    assert_eq!(run.target(), (Target::Absent, Some(Why::StaleView)));
    for _ in 0..25 * 60 {
        run.after(60);
    }
    assert_eq!((run.state.own.service.actual, run.state.own.ending), (Actual::Lost, None));
}

#[test]
fn fault_28_pause_resume_pause_ends_paused() {
    let mut run = Run::open(100);
    assert_eq!(run.give(&Input::Order(AgentOrder::Hold)), "drive 1");
    assert_eq!(run.give(&Input::Order(AgentOrder::Resume)), "drive 2");
    assert_eq!(run.give(&Input::Order(AgentOrder::Hold)), "drive 3");
    assert_eq!(run.target(), (Target::Suspended, Some(Why::Held)));
    assert_eq!(run.done(), "");
}

/// Found by the simulator (seed 40 of the one with late answers): the service ran, and was believed to be suspended.
#[test]
fn a_start_that_was_dropped_may_be_done_so_the_service_is_suspended_again() {
    let mut run = Run::open(100);
    run.give(&Input::Order(AgentOrder::Hold));
    run.done();
    assert_eq!(run.give(&Input::Order(AgentOrder::Resume)), "drive 2");
    // It was suspended when it was last heard of, and may run by now.
    assert_eq!(run.give(&Input::Order(AgentOrder::Hold)), "drive 3");
    assert_eq!(run.state.own.service.actual, Actual::Unknown);
    assert_eq!(run.give(&Input::Adapter { seq: 2, answer: Answered::Did(Actual::Running) }), "");
    assert_eq!(run.state.own.service.actual, Actual::Unknown, "an answer to an earlier request");
    assert_eq!(run.done(), "");
    assert_eq!(run.state.own.service.actual, Actual::Suspended);
}

#[test]
fn fault_31_a_held_channel_does_not_end() {
    let mut run = Run::open(100).paid(1).terms(|terms| {
        terms.max_suspend = hours(1);
        terms.max_inactive = hours(1);
    });
    run.give(&Input::Order(AgentOrder::Hold));
    run.done();
    assert_eq!(run.owners(), "user, reminder 86400 s");
    assert_eq!(run.after(100 * HOUR), "");
    run.give(&Input::Order(AgentOrder::Resume));
    run.done();
    assert_eq!(run.after(HOUR), "drive 3");
    assert_eq!(run.state.own.ending.unwrap().why, AgentEnd::Inactive);
}

#[test]
fn fault_32_a_deposit_that_is_used_waits_for_a_top_up() {
    let mut run = Run::open(100).paid(100);
    assert_eq!(run.used(100), "drive 1");
    run.done();
    assert_eq!(run.after(599), "");
    let mut topped_up = run.clone();
    assert_eq!(topped_up.chain(open(200, 0)), "drive 2");
    assert_eq!(topped_up.target(), (Target::Running, None));
    // Nothing is seen for an hour: that is not the client's fault.
    let mut unseen = run.clone();
    unseen.fresh = false;
    unseen.give(&Input::Look);
    assert_eq!(unseen.after(HOUR), "");
    assert_eq!(unseen.state.own.ending, None);
    assert_eq!(run.after(1), "drive 2");
    assert_eq!(run.state.own.ending.unwrap().why, AgentEnd::DepositSpent);
}

#[test]
fn a_suspension_that_waits_for_a_top_up_is_not_one_of_too_long() {
    let mut run = Run::open(100).paid(100).terms(|terms| terms.max_suspend = Duration::from_mins(5));
    run.used(100);
    run.done();
    assert_eq!(run.target(), (Target::Suspended, Some(Why::DepositSpent)));
    assert_eq!(run.after(599), "");
    assert_eq!(run.after(1), "drive 2");
    assert_eq!(run.state.own.ending.unwrap().why, AgentEnd::DepositSpent);
}

#[test]
fn fault_33_a_stale_view_suspends_and_ends_nothing() {
    let mut run = Run::open(100).terms(|terms| {
        terms.max_suspend = hours(1);
        terms.max_inactive = hours(1);
    });
    run.fresh = false;
    assert_eq!(run.give(&Input::Look), "drive 1");
    run.done();
    assert_eq!(run.after(100 * HOUR), "");
    run.fresh = true;
    assert_eq!(run.give(&Input::Look), "drive 2");
}

#[test]
fn fault_35_only_uptime_counts_as_inactivity() {
    // Downtime is no uptime, which is the same after it.
    let mut run = Run::open(100).terms(|terms| terms.max_inactive = hours(1));
    run.give(&Input::Look);
    assert_eq!(run.owners(), "time 4600 s");
    assert_eq!(run.after(HOUR - 1), "");
    run.used(1);
    assert_eq!(run.after(HOUR - 1), "");
    assert_eq!(run.after(1), "drive 1");
    assert_eq!(run.state.own.ending.unwrap().why, AgentEnd::Inactive);
}

#[test]
fn fault_38_a_service_measured_in_seconds_is_used_up_by_the_clock() {
    let timed = |best| {
        let run = Run::open(100).paid(best);
        run.terms(|terms| {
            terms.unit.measure = Measure::Seconds;
            terms.max_inactive = hours(1);
        })
    };
    let runs = Input::Used { used: Usage::ZERO, running: true };
    // 10 seconds are paid, and 40 may be unpaid.
    let mut run = timed(10);
    assert_eq!(run.give(&runs), "");
    assert_eq!(run.owners(), "time 1051 s");
    assert_eq!(run.after(50), "");
    assert_eq!(run.after(1), "drive 1");
    assert_eq!(run.target(), (Target::Suspended, Some(Why::Unpaid)));
    assert_eq!(run.done(), "");
    assert_eq!(run.used(51), "", "the report says the same");
    assert_eq!(run.target(), (Target::Suspended, Some(Why::Unpaid)));
    // A report begins the time that is not reported yet.
    let mut run = timed(10);
    run.give(&runs);
    run.uptime += 30;
    assert_eq!(run.give(&Input::Used { used: Usage::new(30), running: true }), "");
    assert_eq!(run.owners(), "time 1051 s");
    // What is held is not used up, whatever the last report was.
    run.give(&Input::Order(AgentOrder::Hold));
    run.done();
    assert_eq!(run.owners(), "user, reminder 86400 s");
    // While a session runs, nobody is inactive, whatever is reported.
    let mut run = timed(100).terms(|terms| {
        terms.unit = Unit { name: "hour".into(), measure: Measure::Seconds, size: 3_600 };
        terms.max_inactive = hours(1);
    });
    run.give(&runs);
    assert_eq!(run.after(10 * HOUR), "");
    assert_eq!(run.used(10 * HOUR), "");
    assert_eq!(run.after(HOUR), "drive 1");
    assert_eq!(run.state.own.ending.unwrap().why, AgentEnd::Inactive);
}

/// Found by the simulator (seed 163 of the first one with both sides): what a session had used since its last report was forgotten
/// with the suspension, so that the service was resumed at once.
#[test]
fn a_suspension_forgets_nothing_that_was_not_reported() {
    let mut run = Run::open(100).paid(10).terms(|terms| terms.unit.measure = Measure::Seconds);
    let report = |used, running| Input::Used { used: Usage::new(used), running };
    run.give(&report(0, true));
    let used = |run: &Run| Agent::used(&run.state, &run.env()).get();
    assert_eq!(run.after(30), "");
    assert_eq!(run.give(&Input::Order(AgentOrder::Hold)), "drive 1");
    run.uptime += 2;
    assert_eq!(used(&run), 32);
    run.done();
    run.uptime += 100;
    assert_eq!(used(&run), 32, "what is suspended is not used");
    // It goes on, with what came before.
    run.give(&Input::Order(AgentOrder::Resume));
    run.done();
    run.give(&report(0, true));
    run.uptime += 5;
    assert_eq!(used(&run), 37);
    // A new life of the adapter runs nothing, and its report counts.
    run.instance += 1;
    run.give(&Input::Look);
    run.uptime += 5;
    assert_eq!(used(&run), 37);
    run.give(&report(34, false));
    assert_eq!(used(&run), 34);
    // A report that nothing more was used counts, too.
    run.done();
    run.give(&report(34, true));
    run.uptime += 3;
    run.give(&Input::Order(AgentOrder::Hold));
    run.done();
    assert_eq!(used(&run), 37);
    run.give(&report(34, false));
    assert_eq!(used(&run), 34);
}

#[test]
fn what_an_agent_did_is_read_back_as_it_was_written() {
    let mut run = Run::open(100).paid(60);
    run.give(&Input::Order(AgentOrder::Close));
    run.after(10);
    let json = serde_json::to_string(&run.state.own).unwrap();
    assert_eq!(serde_json::from_str::<AgentOwn>(&json).unwrap(), run.state.own, "{json}");
    // A field that a later version adds has a default, and so has one that this version added.
    assert_eq!(serde_json::from_str::<AgentOwn>("{}").unwrap(), AgentOwn::default());
}

#[test]
fn a_client_that_does_not_pay_is_suspended_and_then_ended() {
    let mut run = Run::open(100).terms(|terms| terms.max_suspend = hours(1));
    assert_eq!(run.used(41), "drive 1");
    run.done();
    assert_eq!(run.after(HOUR - 1), "");
    // A payment that is enough begins the next suspension afresh.
    let mut pays = run.clone();
    assert_eq!(pays.give(&voucher(1)), "keep 1, drive 2, paid 1");
    pays.done();
    assert_eq!(pays.used(42), "drive 3");
    pays.done();
    assert_eq!(pays.after(HOUR - 1), "");
    assert_eq!(run.after(1), "drive 2");
    assert_eq!(run.state.own.ending.unwrap().why, AgentEnd::SuspendedTooLong);
}

#[test]
fn whoever_used_all_and_does_not_pay_is_ended_too() {
    let all_units = Run::open(100).paid(30).terms(|terms| {
        terms.max_units = Some(60);
        terms.max_suspend = hours(1);
    });
    let deposit = Run::open(100).paid(90).terms(|terms| terms.max_suspend = hours(1));
    for (mut run, used, why) in [(all_units, 60, Why::MaxUnitsReached), (deposit, 100, Why::DepositReached)] {
        run.used(used);
        run.done();
        assert_eq!(run.target(), (Target::Suspended, Some(why)));
        assert_eq!(run.after(HOUR - 1), "", "{why:?}");
        run.after(1);
        assert_eq!(run.state.own.ending.unwrap().why, AgentEnd::SuspendedTooLong);
    }
}

#[test]
fn an_opening_that_is_not_seen_is_not_given_up_while_the_chain_is_not_seen() {
    let mut run = Run::open(100);
    run.chain(privatix_channel::OnChain::default());
    run.done();
    run.fresh = false;
    run.give(&Input::Look);
    assert_eq!(run.after(100 * HOUR), "");
    assert_eq!((run.target(), run.state.own.ending), ((Target::Suspended, Some(Why::NotOpen)), None));
}

#[test]
fn fault_43_lost_terms_suspend_and_cash_no_less() {
    let mut run = Run::open(100).paid(60);
    run.state.terms = None;
    assert_eq!(run.give(&Input::Look), "drive 1");
    assert_eq!(run.owners(), "time 4600 s, adapter 1 until 1060 s, user, reminder 86400 s");
    assert_eq!(run.give(&voucher(70)), "keep 70, paid 70");
    run.give(&Input::Order(AgentOrder::Close));
    assert_eq!(run.after(10), "submit 3 close 70");
}
