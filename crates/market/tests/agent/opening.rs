//! Opening: which channels are served, and when they are prepared.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use privatix_channel::Fee;
use privatix_market::{Actual, AgentEnd, AgentNotice, Answered, Input, Target, Unserved, Uptime, Why};

use crate::support::{ACCESS, HOUR, Run, closed, closing, hours, terms, voucher};

/// State, effects, target and why, owners.
#[test]
fn a_channel_is_prepared_once_nothing_is_in_the_way() {
    let but = |change: fn(&mut Run)| {
        let mut run = Run::opening(100);
        change(&mut run);
        run
    };
    let (absent, suspended) = (Target::Absent, Target::Suspended);
    let rows = [
        (
            "nothing in the way",
            Run::opening(100),
            "drive 1",
            suspended,
            Why::Opening,
            "adapter 1 until 1060 s",
        ),
        (
            "terms not known",
            but(|run| run.state.terms = None),
            "",
            absent,
            Why::NoTerms,
            "time 4600 s, user, reminder 86400 s",
        ),
        ("stale view", but(|run| run.fresh = false), "", absent, Why::StaleView, "chain, reminder 86400 s"),
        (
            "no gas for its close",
            but(|run| run.gas.affords_new = false),
            "",
            absent,
            Why::NoGas,
            "user, reminder 86400 s",
        ),
    ];
    for (name, mut run, effects, target, why, owners) in rows {
        assert_eq!(run.give(&Input::Look), effects, "{name}");
        assert_eq!(run.target(), (target, Some(why)), "{name}");
        assert_eq!(run.owners(), owners, "{name}");
    }
}

#[test]
fn a_channel_runs_once_it_is_prepared() {
    let mut run = Run::opening(100);
    assert_eq!(run.give(&Input::Look), "drive 1");
    assert_eq!(run.done(), "drive 2");
    assert_eq!(run.target(), (Target::Running, None));
    assert_eq!(run.done(), "");
    // A prepaid one is paid for first.
    let mut run = Run::opening(100).terms(|terms| terms.billing = privatix_billing::Billing::Prepaid);
    run.give(&Input::Look);
    assert_eq!(run.done(), "");
    assert_eq!(run.target(), (Target::Suspended, Some(Why::Unpaid)));
    assert_eq!(run.give(&voucher(1)), "keep 1, drive 2, paid 1");
}

#[test]
fn terms_that_become_known_later_are_enough() {
    let mut run = Run::opening(100);
    let known = run.state.terms.take().unwrap();
    assert_eq!(run.give(&Input::Look), "");
    assert_eq!(run.give(&Input::Terms(Arc::clone(&known))), "drive 1");
    // The first ones count: no later change of the offering changes the price.
    run.give(&Input::Terms(Arc::new(terms(|terms| terms.free_units = 7))));
    assert_eq!(run.state.terms, Some(known));
}

#[test]
fn terms_that_do_not_become_known_free_the_channels_place() {
    for limit in [HOUR, 2 * HOUR] {
        let mut run = Run::opening(100);
        run.state.terms = None;
        run.policy.terms_within = std::time::Duration::from_secs(limit);
        run.give(&Input::Look);
        // It is counted while the chain is seen.
        run.fresh = false;
        run.give(&Input::Look);
        assert_eq!(run.after(10 * HOUR), "");
        run.fresh = true;
        run.give(&Input::Look);
        assert_eq!(run.after(limit - 1), "");
        assert_eq!(run.after(1), "collect 1 close 0");
        assert_eq!(run.notices, [AgentNotice::Ends(AgentEnd::NotServed(Unserved::NoTerms))]);
    }
}

/// State, the answer to a client that asks for access.
#[test]
fn access_is_handed_out_once_the_service_is_ready_and_refused_by_name() {
    let opening = |change: fn(&mut Run)| {
        let mut run = Run::opening(100);
        change(&mut run);
        run
    };
    let ready = |change: fn(&mut Run)| {
        let mut run = Run::open(100);
        change(&mut run);
        run
    };
    let rows = vec![
        ("ready", ready(|_| {}), "Access"),
        ("ready, held", ready(|run| run.state.own.held = true), "Access"),
        ("ready, stale view", ready(|run| run.fresh = false), "Access"),
        ("ready, closing", ready(|run| run.state.chain = closing(100, 0, 900)), "Access"),
        (
            "stopped because of the view",
            ready(|run| (run.fresh, run.state.own.unanswered) = (false, Some(Uptime::new(0)))),
            "NotReady(StaleView)",
        ),
        ("being prepared", opening(|_| {}), "NotReady(Opening)"),
        ("terms not known", opening(|run| run.state.terms = None), "NotReady(NoTerms)"),
        ("no gas for its close", opening(|run| run.gas.affords_new = false), "NotReady(NoGas)"),
        ("stale view", opening(|run| run.fresh = false), "NotReady(StaleView)"),
        (
            "no signer",
            opening(|run| run.state.descriptor.signer = Address::ZERO),
            "Ended(NotServed(NoSigner))",
        ),
        ("ended", Run::open(100).ended(AgentEnd::Inactive), "Ended(Inactive)"),
        ("closed", ready(|run| run.state.chain = closed(100, 0)), "NotOpen { closed: true }"),
        (
            "undone",
            ready(|run| run.state.chain = privatix_channel::OnChain::default()),
            "NotOpen { closed: false }",
        ),
    ];
    for (name, mut run, answer) in rows {
        let given = run.give(&ACCESS);
        assert_eq!(given.split(", ").last(), Some(answer), "{name}: {given}");
    }
}

#[test]
fn fault_8_a_channel_that_is_refused_frees_its_place() {
    let mut no_signer = Run::opening(100);
    no_signer.state.descriptor.signer = Address::ZERO;
    let mut fee = Run::opening(100);
    fee.policy.accept_fee = Fee::new(5).unwrap();
    fee.state.chain.fee = Fee::new(6).unwrap();
    for (mut run, why) in [(no_signer, Unserved::NoSigner), (fee, Unserved::Fee)] {
        assert_eq!(run.give(&Input::Look), "collect 1 close 0");
        assert_eq!(run.notices, [AgentNotice::Ends(AgentEnd::NotServed(why))]);
        assert_eq!(run.after(24 * HOUR), "submit 1 close 0");
    }
}

#[test]
fn a_fee_that_is_too_high_ends_no_service_that_runs() {
    let mut run = Run::open(100);
    run.policy.accept_fee = Fee::ZERO;
    run.state.chain.fee = Fee::new(6).unwrap();
    assert_eq!(run.give(&Input::Look), "");
    assert_eq!(run.state.own.ending, None);
}

#[test]
fn no_voucher_of_a_channel_without_signer_is_taken() {
    let mut run = Run::opening(100);
    run.state.descriptor.signer = Address::ZERO;
    run.give(&Input::Look);
    assert_eq!(run.give(&voucher(10)), "NoSigner");
}

#[test]
fn a_channel_that_nobody_uses_or_pays_ends_after_the_time_for_the_first_use() {
    let mut run = Run::opening(100).terms(|terms| terms.max_first_use = Some(hours(1)));
    run.give(&Input::Look);
    run.done();
    run.done();
    // Whether its client comes for the access or not.
    let mut absent = run.clone();
    assert_eq!(run.give(&ACCESS), "Access");
    for run in [&mut absent, &mut run] {
        assert_eq!(run.after(HOUR - 1), "");
    }
    let (mut used, mut paid, mut connected) = (run.clone(), run.clone(), run.clone());
    for run in [&mut absent, &mut run] {
        assert_eq!(run.after(1), "drive 3");
        assert_eq!(run.state.own.ending.unwrap().why, AgentEnd::NeverUsed);
    }
    used.used(1);
    paid.give(&voucher(1));
    connected.give(&Input::Used { used: privatix_channel::Usage::ZERO, running: true });
    for mut run in [used, paid, connected] {
        assert_eq!(run.after(HOUR), "");
    }
}

#[test]
fn an_adapter_that_is_away_counts_against_no_client() {
    let mut run = Run::opening(100).terms(|terms| {
        (terms.max_inactive, terms.max_first_use) = (hours(2), Some(hours(1)));
    });
    run.give(&Input::Look);
    run.done();
    run.done();
    run.give(&ACCESS);
    // It starts again, and answers nothing.
    run.instance += 1;
    run.give(&Input::Look);
    for _ in 0..300 {
        run.after(60);
    }
    assert_eq!(run.state.own.ending, None);
    // Once it is back, what it had against the channel is forgotten.
    run.done();
    run.policy.outage = hours(1);
    assert_eq!(run.after(HOUR - 1), "");
    assert_eq!(run.state.own.ending, None);
    run.after(1);
    assert_eq!(run.state.own.ending.unwrap().why, AgentEnd::NeverUsed);
}

#[test]
fn what_is_not_open_is_not_judged() {
    let mut no_signer = Run::opening(100);
    no_signer.state.descriptor.signer = Address::ZERO;
    no_signer.chain(privatix_channel::OnChain::default());
    let mut no_terms = Run::opening(100);
    no_terms.state.terms = None;
    no_terms.chain(closing(100, 0, 900_000));
    for mut run in [no_signer, no_terms] {
        run.after(23 * HOUR);
        assert_eq!(run.state.own.ending, None);
    }
}

#[test]
fn an_adapter_that_refuses_a_channel_ends_it_and_one_that_is_away_for_an_hour_ends_none() {
    let tries = |answer: Answered, until: u64| {
        let mut run = Run::opening(100);
        run.give(&Input::Look);
        while run.state.own.ending.is_none() && run.uptime < 1_000 + until {
            run.uptime += 30;
            run.adapter(answer);
        }
        (run.state.own.ending.map(|ending| ending.why), run.uptime - 1_000)
    };
    assert_eq!(tries(Answered::Refused, 2 * HOUR), (Some(AgentEnd::AdapterStuck), 10 * 60 + 30));
    assert_eq!(tries(Answered::GaveUp, HOUR), (None, HOUR));
    assert_eq!(tries(Answered::GaveUp, 25 * HOUR), (Some(AgentEnd::AdapterStuck), 24 * HOUR + 30));
}

#[test]
fn an_opening_that_comes_again_goes_on_with_the_same_service() {
    let mut run = Run::open(100).terms(|terms| terms.max_inactive = Duration::from_hours(48));
    run.chain(privatix_channel::OnChain::default());
    run.done();
    assert_eq!(run.target(), (Target::Suspended, Some(Why::NotOpen)));
    assert_eq!(run.chain(crate::support::open(100, 0)), "drive 2");
    assert_eq!(run.done(), "");
    assert_eq!(run.state.own.service.actual, Actual::Running);
}
