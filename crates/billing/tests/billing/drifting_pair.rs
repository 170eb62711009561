//! An honest pair whose meters drift apart: with the agent's total known, and the difference within the tolerance, nobody is suspended for
//! good, and what ends the channel is that it is used up and paid, by either kind of billing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use crate::honest_pair::{Pair, Step};
use crate::support::{any_terms_of, terms};
use privatix_billing::{Billing, TerminateReason, Terms, TermsDraft, min_deposit};
use privatix_channel::{Amount, Usage};
use proptest::prelude::*;

/// Terms whose minimum leaves an absolute part, and a deposit above the least.
fn any_market(billing: Billing) -> impl Strategy<Value = (Terms, Amount)> {
    (any_terms_of(Just(billing)), 1..2_000_u64, 0..2_000_u128).prop_map(|(terms, min, more)| {
        let draft = terms.as_draft().clone();
        let max_units = draft.max_units.map(|max| max.max(min));
        let terms = TermsDraft { min_units: min, max_units, ..draft }.validate().unwrap();
        let deposit = min_deposit(&terms).saturating_add(Amount::new(more * 100));
        (terms, deposit)
    })
}

/// Reports of which the client's meter counts all, some or nothing: it falls behind as far as the test permits.
fn any_drifting_steps() -> impl Strategy<Value = Vec<Step>> {
    let counted = prop_oneof![2 => Just(100), 2 => Just(0_u64), 1 => 0..=110_u64];
    let step = (1..2_000_u64, counted, proptest::bool::weighted(0.2))
        .prop_map(|(agent, client_percent, lost)| Step { agent, client_percent, lost });
    proptest::collection::vec(step, 1..120)
}

/// Trades until the end, and waits for what is suspended.
fn trade(pair: &mut Pair, steps: Vec<Step>) -> Result<(), TestCaseError> {
    pair.has_views = true;
    for step in steps {
        pair.wait_for_service();
        if pair.ended.is_some() {
            return Ok(());
        }
        pair.now += Duration::from_millis(100);
        pair.use_service(step);
        pair.check_risks()?;
        pair.settle(step.lost);
        pair.check_risks()?;
    }
    pair.wait_for_service();
    Ok(())
}

/// Within the tolerance: only a deposit or a limit that is used up and paid in full ends the channel.
fn drifts_within_the_tolerance(
    (terms, deposit): (Terms, Amount),
    steps: Vec<Step>,
) -> Result<(), TestCaseError> {
    let mut pair = Pair::new(terms, deposit);
    pair.within = Some(0);
    trade(&mut pair, steps)?;
    let is_fair =
        matches!(pair.ended, None | Some(TerminateReason::DepositSpent | TerminateReason::MaxUnits));
    prop_assert!(is_fair, "{:?} at {} of ours, {} of theirs", pair.ended, pair.client.used, pair.agent.used);
    Ok(())
}

/// Beyond it by what the agent bears: no suspension is for good before the channel is used up.
fn drifts_by_the_tolerance_and_the_slack(
    (terms, deposit): (Terms, Amount),
    steps: Vec<Step>,
) -> Result<(), TestCaseError> {
    let mut pair = Pair::new(terms, deposit);
    trade(&mut pair, steps)?;
    let is_fair = pair.at_limit()
        || matches!(pair.ended, None | Some(TerminateReason::DepositSpent | TerminateReason::MaxUnits));
    prop_assert!(is_fair, "{:?} at {} of ours, {} of theirs", pair.ended, pair.client.used, pair.agent.used);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_prepaid_pair_that_drifts_within_the_tolerance_ends_only_when_all_is_used_and_paid(
        market in any_market(Billing::Prepaid), steps in any_drifting_steps(),
    ) {
        drifts_within_the_tolerance(market, steps)?;
    }

    #[test]
    fn a_postpaid_pair_that_drifts_within_the_tolerance_ends_only_when_all_is_used_and_paid(
        market in any_market(Billing::Postpaid), steps in any_drifting_steps(),
    ) {
        drifts_within_the_tolerance(market, steps)?;
    }

    #[test]
    fn a_prepaid_pair_is_never_suspended_for_good_within_tolerance_lag_and_interval(
        market in any_market(Billing::Prepaid), steps in any_drifting_steps(),
    ) {
        drifts_by_the_tolerance_and_the_slack(market, steps)?;
    }

    #[test]
    fn a_postpaid_pair_is_never_suspended_for_good_within_tolerance_and_lag(
        market in any_market(Billing::Postpaid), steps in any_drifting_steps(),
    ) {
        drifts_by_the_tolerance_and_the_slack(market, steps)?;
    }
}

/// A channel of 10,000 bytes in, 1 % of which and the lag of 20 the meters may differ by.
fn far_apart(ours: u64) -> Pair {
    let mut pair = Pair::new(terms(|_| {}), Amount::new(1 << 80));
    pair.has_views = true;
    pair.wait_for_service();
    pair.agent.used = Usage::new(ours + 120);
    pair.client.used = Usage::new(ours);
    pair.wait_for_service();
    pair
}

#[test]
fn the_agents_total_saves_a_pair_that_its_lag_alone_would_not() {
    assert_eq!(far_apart(10_000).ended, None);
}

#[test]
fn one_byte_beyond_tolerance_and_lag_suspends_for_good() {
    // 1 % of 9,999 is 99.
    assert_eq!(far_apart(9_999).ended, Some(TerminateReason::SuspendedTooLong));
}
