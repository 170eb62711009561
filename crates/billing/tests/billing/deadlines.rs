//! `next` is a promise: until then, time alone changes no answer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, SystemTime};

use crate::support::{any_case, any_policy};
use privatix_billing::{ClientAction, assess_agent, assess_client, price};
use proptest::prelude::*;

const NANO: Duration = Duration::from_nanos(1);

/// Moments from `now` to just before `next` (or for a long time, if there is none).
fn between(now: SystemTime, next: Option<SystemTime>) -> Vec<SystemTime> {
    let end = next
        .map_or(Duration::from_secs(100_000), |next| next.duration_since(now).unwrap().saturating_sub(NANO));
    (0..=8).map(|eighths| now + end * eighths / 8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_agents_answer_stays_until_its_next((terms, account, now) in any_case()) {
        let first = assess_agent(&terms, &account, now);
        prop_assert!(first.next.is_none_or(|next| next > now));
        for later in between(now, first.next) {
            prop_assert_eq!(assess_agent(&terms, &account, later).action, first.action);
        }
    }

    #[test]
    fn the_clients_answer_stays_until_its_next((terms, account, now) in any_case(), policy in any_policy()) {
        let first = assess_client(&terms, &account, &policy, now);
        prop_assert!(first.next.is_none_or(|next| next > now));
        for later in between(now, first.next) {
            let later = assess_client(&terms, &account, &policy, later);
            // The amount of a payment that is due grows with a running clock; that it is due does not change.
            prop_assert_eq!(later.pay_to.is_some(), first.pay_to.is_some());
            prop_assert_eq!(later.action, first.action);
        }
    }

    #[test]
    fn a_client_never_pays_below_what_it_paid_nor_above_its_terms((terms, account, now) in any_case(), policy in any_policy()) {
        if let Some(amount) = assess_client(&terms, &account, &policy, now).pay_to {
            let ours = account.used_at(&terms, now);
            let most = ours.saturating_add(policy.drift.tolerance(&terms, ours));
            let ahead = most.saturating_add(terms.interval());
            prop_assert!(amount > account.paid && amount <= account.deposit);
            prop_assert!(amount <= price(&terms, ahead));
        }
    }

    #[test]
    fn a_top_up_fits_the_chain((terms, account, now) in any_case(), policy in any_policy()) {
        if let Some(ClientAction::TopUp(amount)) = assess_client(&terms, &account, &policy, now).action {
            prop_assert!(account.deposit.checked_add(amount).unwrap().fits_on_chain());
            prop_assert!(!account.top_up_pending && !amount.is_zero());
        }
    }
}
