//! Every money rule as a property: for any terms and any account the decision is exactly what the rule says.
//!
//! The rules are told here a second time, in closed formulas over plain numbers, and not as the crate computes them.

use std::time::{Duration, SystemTime};

use crate::support::{any_case, any_policy, any_terms, any_terms_of, start};
use privatix_billing::{
    Account, AgentAction, Billing, ClientAction, ClientPolicy, Measure, SuspendReason, TerminateReason,
    Terms, assess_agent, assess_client, covered, price,
};
use privatix_channel::{Amount, ServiceStatus, Usage};
use proptest::prelude::*;

use AgentAction::{Resume, Suspend, Terminate};

/// A deposit that no use here reaches.
const PLENTY: Amount = Amount::new(1 << 90);

/// `setup + ceil((m - free) * price / size)`, up to `max_units`.
fn costs(terms: &Terms, used: u64) -> u128 {
    let draft = terms.as_draft();
    let size = draft.unit.size;
    let used = draft.max_units.map_or(used, |max| used.min(max * size));
    let beyond_free = u128::from(used.saturating_sub(draft.free_units * size));
    draft.setup_price.get() + (beyond_free * draft.unit_price.get()).div_ceil(size.into())
}

/// The use that `paid` pays for, without regard to `max_units`; nothing while the setup price is unpaid.
fn pays_for(terms: &Terms, paid: u128) -> Option<u64> {
    let draft = terms.as_draft();
    let beyond_setup = paid.checked_sub(draft.setup_price.get())?;
    let priced = beyond_setup * u128::from(draft.unit.size) / draft.unit_price.get();
    Some(draft.free_units * draft.unit.size + u64::try_from(priced).unwrap_or(u64::MAX >> 1))
}

/// Whether an agent must not serve for want of payment, below every limit.
fn owes(terms: &Terms, used: u64, paid: u128) -> bool {
    let Some(covered) = pays_for(terms, paid) else { return true };
    let beyond_lag = used.saturating_sub(covered) > terms.max_lag().get();
    let first_interval = terms.interval().min(terms.max()).get();
    beyond_lag || (terms.billing() == Billing::Prepaid && covered < first_interval)
}

/// An account of which nothing but the money can decide.
fn fresh(service: ServiceStatus, deposit: Amount, used: u64, paid: u128) -> Account {
    let mut account = Account::new(deposit, service, start());
    (account.used, account.paid) = (Usage::new(used), Amount::new(paid));
    account
}

fn decision(terms: &Terms, account: &Account) -> Option<AgentAction> {
    assess_agent(terms, account, start()).action
}

/// Terms with a use below every limit, and what is paid for it: anything, and often what is just enough or just not.
fn any_unfinished() -> impl Strategy<Value = (Terms, u64, u128)> {
    unfinished(any_terms())
}

fn unfinished(terms: impl Strategy<Value = Terms>) -> impl Strategy<Value = (Terms, u64, u128)> {
    terms.prop_flat_map(|terms| {
        let most = terms.max().get().min(60 * terms.unit().size);
        (0..most, 0..=terms.max_lag().get() + 2, 0..3_u128, any::<bool>(), 0..30_000_u128).prop_map(
            move |(used, lag, off, near, anything)| {
                let near_lag = (costs(&terms, used.saturating_sub(lag)) + off).saturating_sub(1);
                (terms.clone(), used, if near { near_lag } else { anything })
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_price_is_the_formula((terms, used, paid) in any_unfinished()) {
        prop_assert_eq!(price(&terms, Usage::new(used)).get(), costs(&terms, used));
        let covers = pays_for(&terms, paid).map_or(0, |covers| covers.min(terms.max().get()));
        prop_assert_eq!(covered(&terms, Amount::new(paid)).get(), covers);
    }

    #[test]
    fn an_agent_suspends_exactly_when_more_than_the_lag_is_unpaid((terms, used, paid) in any_unfinished()) {
        let account = fresh(ServiceStatus::Active, PLENTY, used, paid);
        let expected = owes(&terms, used, paid).then_some(Suspend(SuspendReason::Unpaid));
        prop_assert_eq!(decision(&terms, &account), expected);
    }

    #[test]
    fn an_agent_resumes_exactly_when_it_would_not_suspend((terms, used, paid) in any_unfinished()) {
        let account = fresh(ServiceStatus::Suspended, PLENTY, used, paid);
        let expected = (!owes(&terms, used, paid)).then_some(Resume);
        prop_assert_eq!(decision(&terms, &account), expected);
        // Whatever is paid, the operator's pause stands.
        prop_assert_eq!(decision(&terms, &Account { held: true, ..account }), None);
    }

    #[test]
    fn a_used_up_deposit_ends_service_and_once_paid_the_channel(
        (terms, used, _) in any_unfinished(), below in 0..100_u128, missing in 0..3_u128,
    ) {
        let deposit = costs(&terms, used).saturating_sub(below);
        let paid = deposit.saturating_sub(missing);
        let account = fresh(ServiceStatus::Active, Amount::new(deposit), used, paid);
        let expected = if paid == deposit {
            Terminate(TerminateReason::DepositSpent)
        } else {
            Suspend(SuspendReason::DepositReached)
        };
        prop_assert_eq!(decision(&terms, &account), Some(expected));
        // One unit more in the deposit, and money is no reason to end.
        let more = Account { deposit: Amount::new(costs(&terms, used) + 1), ..account };
        prop_assert!(!matches!(decision(&terms, &more), Some(Terminate(_))));
    }

    #[test]
    fn max_units_end_service_and_once_paid_the_channel(
        terms in any_terms(), beyond in 0..500_u64, missing in 0..3_u128,
    ) {
        if terms.as_draft().max_units.is_none() {
            return Ok(());
        }
        let used = terms.max().get() + beyond;
        let all = costs(&terms, used);
        let account = fresh(ServiceStatus::Active, PLENTY, used, all.saturating_sub(missing));
        let expected = if missing == 0 {
            Terminate(TerminateReason::MaxUnits)
        } else {
            Suspend(SuspendReason::MaxUnitsReached)
        };
        prop_assert_eq!(decision(&terms, &account), Some(expected));
        prop_assert_eq!(costs(&terms, terms.max().get()), all, "nothing beyond is for sale");
    }

    #[test]
    fn a_channel_without_use_ends_exactly_after_max_inactive(
        (terms, mut account, _) in any_case(), quiet in 0..2_000_u64,
    ) {
        if account.service.is_ending() {
            account.service = ServiceStatus::Active;
        }
        account.running_since = None;
        let last = account.last_usage.max(account.status_since);
        let now = last + Duration::from_secs(quiet);
        let ends = Duration::from_secs(quiet) >= terms.max_inactive();
        let agent = assess_agent(&terms, &account, now).action;
        prop_assert_eq!(agent == Some(Terminate(TerminateReason::Inactive)), ends && !account.held);
        let client = assess_client(&terms, &account, &ClientPolicy::default(), now).action;
        prop_assert_eq!(client == Some(ClientAction::Terminate(TerminateReason::Inactive)), ends);
    }

    #[test]
    fn a_suspended_channel_ends_exactly_after_max_suspend((terms, mut account, now) in any_case()) {
        account.service = ServiceStatus::Suspended;
        let since = |moment: SystemTime| now.duration_since(moment).unwrap_or_default();
        if since(account.last_usage.max(account.status_since)) >= terms.max_inactive() {
            return Ok(()); // ends for that
        }
        let too_long = now >= account.status_since && since(account.status_since) >= terms.max_suspend();
        let action = assess_agent(&terms, &account, now).action;
        let ends = too_long && !account.held;
        prop_assert_eq!(action == Some(Terminate(TerminateReason::SuspendedTooLong)), ends);
    }

    #[test]
    fn seconds_pass_by_the_clock_and_nothing_else_does((terms, account, now) in any_case()) {
        let runs = account.running_since.filter(|_| {
            terms.unit().measure == Measure::Seconds && account.service == ServiceStatus::Active
        });
        let passed = runs.and_then(|since| now.duration_since(since).ok()).map_or(0, |time| time.as_secs());
        prop_assert_eq!(account.used_at(&terms, now).get(), account.used.get() + passed);
    }

    #[test]
    fn no_decision_undoes_itself((terms, mut account, now) in any_case()) {
        let service = match assess_agent(&terms, &account, now).action {
            Some(Suspend(_)) => ServiceStatus::Suspended,
            Some(Resume) => ServiceStatus::Active,
            _ => return Ok(()),
        };
        // A timed session stops when the service does: what it used until then is on the meter.
        account.used = account.used_at(&terms, now);
        account.running_since = None;
        (account.service, account.status_since) = (service, now);
        let again = assess_agent(&terms, &account, now).action;
        prop_assert!(!matches!(again, Some(Suspend(_) | Resume)), "then {again:?}");
    }

    #[test]
    fn a_payment_never_costs_a_client_its_service((terms, mut account, now) in any_case(), more in 1..5_000_u128) {
        account.service = ServiceStatus::Active;
        account.paid = account.paid.min(account.deposit);
        let paid = Account { paid: account.paid.saturating_add(Amount::new(more)).min(account.deposit), ..account };
        if assess_agent(&terms, &account, now).action.is_none() {
            prop_assert_eq!(assess_agent(&terms, &paid, now).action, None);
        }
    }

    #[test]
    fn a_postpaid_client_pays_exactly_when_an_interval_is_unpaid(
        (terms, used, paid) in unfinished(any_terms_of(Just(Billing::Postpaid))),
    ) {
        let account = fresh(ServiceStatus::Active, PLENTY, used, paid);
        let due = costs(&terms, used);
        let unpaid = pays_for(&terms, paid).map(|covered| used.saturating_sub(covered));
        // The setup price is due at once, an interval when it is over.
        let is_due = unpaid.is_none_or(|unpaid| unpaid >= terms.interval().get());
        let pays = assess_client(&terms, &account, &ClientPolicy::default(), start()).pay_to;
        prop_assert_eq!(pays, (is_due && due > paid).then_some(Amount::new(due)));
    }

    #[test]
    fn a_prepaid_client_pays_one_interval_ahead_before_half_of_it_is_left(
        (terms, used, paid) in unfinished(any_terms_of(Just(Billing::Prepaid))),
    ) {
        let account = fresh(ServiceStatus::Active, PLENTY, used, paid);
        let due = costs(&terms, used + terms.interval().get());
        let left = pays_for(&terms, paid).and_then(|covered| covered.checked_sub(used));
        let most = terms.max().get().saturating_sub(used);
        let pays = assess_client(&terms, &account, &ClientPolicy::default(), start()).pay_to;
        let enough = left.is_some_and(|left| if used == 0 {
            left >= terms.interval().get().min(most)
        } else {
            left > terms.interval().get() / 2 || left >= most
        });
        prop_assert_eq!(pays, (!enough && due > paid).then_some(Amount::new(due)));
    }

    #[test]
    fn a_client_tops_up_exactly_at_its_share((terms, account, now) in any_case(), policy in any_policy()) {
        let action = assess_client(&terms, &account, &policy, now).action;
        let quiet = account.last_usage.max(account.status_since) + terms.max_inactive() <= now;
        let timed = terms.unit().measure == Measure::Seconds
            && account.service == ServiceStatus::Active
            && account.running_since.is_some();
        let runs = matches!(account.service, ServiceStatus::Activating | ServiceStatus::Active);
        let deposit = account.deposit.get();
        let wanted = policy.top_up.as_ref().is_some_and(|top_up| {
            let share = deposit * u128::from(u8::from(top_up.percent));
            costs(&terms, account.used_at(&terms, now).get()) * 100 >= share
        });
        // Never more than the channel can cost at all.
        let room = costs(&terms, u64::MAX >> 8).min(Amount::MAX_ON_CHAIN.get()).saturating_sub(deposit);
        let added = deposit.min(room);
        let tops_up = wanted && runs && (timed || !quiet) && !account.top_up_pending && added > 0;
        let expected = tops_up.then_some(ClientAction::TopUp(Amount::new(added)));
        prop_assert_eq!(action.filter(|action| matches!(action, ClientAction::TopUp(_))), expected);
    }
}
