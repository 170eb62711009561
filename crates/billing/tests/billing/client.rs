//! The client's decisions, rule by rule. A unit is ten bytes for 30, the deposit 300.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support::{account, after, start, terms};
use privatix_billing::{
    Account, Billing, ClientAction, ClientAssessment, ClientPolicy, Measure, Percent, TerminateReason, Terms,
    TopUpAmount, TopUpPolicy, assess_client,
};
use privatix_channel::{Amount, ServiceStatus};

use ClientAction::{Terminate, TopUp};

fn assessed(terms: &Terms, account: &Account) -> ClientAssessment {
    assess_client(terms, account, &ClientPolicy::default(), start())
}

fn pays(terms: &Terms, account: &Account) -> Option<u128> {
    assessed(terms, account).pay_to.map(Amount::get)
}

#[test]
fn a_postpaid_client_pays_after_each_interval_what_its_meter_shows() {
    let terms = terms(|_| {});
    assert_eq!(pays(&terms, &account(9, 0)), None);
    assert_eq!(pays(&terms, &account(10, 0)), Some(30));
    assert_eq!(pays(&terms, &account(11, 0)), Some(33));
    assert_eq!(pays(&terms, &account(20, 33)), None);
    assert_eq!(pays(&terms, &account(21, 33)), Some(63));
}

#[test]
fn the_setup_price_is_paid_at_once() {
    let terms = terms(|draft| draft.setup_price = Amount::new(7));
    assert_eq!(pays(&terms, &account(0, 0)), Some(7));
    assert_eq!(pays(&terms, &account(9, 7)), None);
}

#[test]
fn a_prepaid_client_keeps_up_to_one_interval_ahead() {
    let terms = terms(|draft| {
        draft.billing = Billing::Prepaid;
        draft.billing_interval = 2;
    });
    assert_eq!(pays(&terms, &account(0, 0)), Some(60));
    assert_eq!(pays(&terms, &account(9, 60)), None);
    assert_eq!(pays(&terms, &account(10, 60)), Some(90));
    assert_eq!(pays(&terms, &account(25, 60)), Some(135));
    // Not beyond what the agent sells, nor beyond the deposit.
    assert_eq!(pays(&terms, &account(95, 0)), Some(300));
    let few = self::terms(|draft| {
        draft.billing = Billing::Prepaid;
        draft.billing_interval = 4;
        draft.max_units = Some(5);
    });
    assert_eq!(pays(&few, &account(30, 120)), Some(150));
}

#[test]
fn a_paused_prepaid_service_is_not_paid_ahead() {
    let terms = terms(|draft| draft.billing = Billing::Prepaid);
    let ready = Account { service: ServiceStatus::Suspended, ..account(0, 0) };
    assert_eq!(assess_client(&terms, &ready, &ClientPolicy::default(), after(100)).pay_to, None);
}

#[test]
fn a_debt_is_settled_when_the_service_falls_quiet() {
    let terms = terms(|_| {});
    let account = account(5, 0);
    let policy = ClientPolicy::default();
    let waiting = assess_client(&terms, &account, &policy, after(2));
    assert_eq!((waiting.pay_to, waiting.next), (None, Some(after(3))));
    assert_eq!(assess_client(&terms, &account, &policy, after(3)).pay_to, Some(Amount::new(15)));
    let paused = Account { service: ServiceStatus::Suspended, ..account };
    assert_eq!(assess_client(&terms, &paused, &policy, after(3)).pay_to, Some(Amount::new(15)));
}

#[test]
fn a_debt_is_settled_before_the_end_and_nothing_is_paid_after_it() {
    let terms = terms(|draft| draft.billing = Billing::Prepaid);
    let ending = Account { service: ServiceStatus::Terminating, ..account(5, 0) };
    assert_eq!(pays(&terms, &ending), Some(15));
    for service in [ServiceStatus::Pending, ServiceStatus::Terminated] {
        assert_eq!(pays(&terms, &Account { service, ..account(5, 0) }), None);
    }
}

#[test]
fn a_spent_deposit_is_paid_in_full_and_then_left() {
    let terms = terms(|_| {});
    let spent = assessed(&terms, &account(100, 294));
    assert_eq!((spent.pay_to, spent.action), (Some(Amount::new(300)), None));
    let paid = assessed(&terms, &account(100, 300));
    assert_eq!((paid.pay_to, paid.action), (None, Some(Terminate(TerminateReason::DepositSpent))));
    let topping_up = Account { top_up_pending: true, ..account(100, 300) };
    assert_eq!(assessed(&terms, &topping_up).action, None);
}

#[test]
fn a_prepaid_client_uses_what_it_paid_for_before_it_leaves() {
    // The reference left as soon as the whole deposit was paid, one interval too early.
    let terms = terms(|draft| draft.billing = Billing::Prepaid);
    assert_eq!(assessed(&terms, &account(95, 300)).action, None);
    assert_eq!(assessed(&terms, &account(100, 300)).action, Some(Terminate(TerminateReason::DepositSpent)));
}

#[test]
fn max_units_end_the_channel_once_they_are_paid() {
    let terms = terms(|draft| draft.max_units = Some(6));
    let unpaid = assessed(&terms, &account(63, 150));
    assert_eq!((unpaid.pay_to, unpaid.action), (Some(Amount::new(180)), None));
    assert_eq!(assessed(&terms, &account(63, 180)).action, Some(Terminate(TerminateReason::MaxUnits)));
}

#[test]
fn a_channel_without_use_is_left_after_its_debt_is_paid() {
    let terms = terms(|_| {});
    let policy = ClientPolicy::default();
    let idle = assess_client(&terms, &account(5, 0), &policy, after(600));
    assert_eq!(idle.pay_to, Some(Amount::new(15)));
    assert_eq!(idle.action, Some(Terminate(TerminateReason::Inactive)));
}

fn top_up_at(percent: u8) -> ClientPolicy {
    let top_up = TopUpPolicy {
        percent: Percent::try_from(percent).unwrap(),
        amount: TopUpAmount::Double,
        max_deposit: None,
    };
    ClientPolicy { top_up: Some(top_up), ..ClientPolicy::default() }
}

fn action(terms: &Terms, account: &Account, policy: &ClientPolicy) -> Option<ClientAction> {
    assess_client(terms, account, policy, start()).action
}

#[test]
fn a_deposit_is_topped_up_at_the_chosen_share_once() {
    let terms = terms(|_| {});
    let policy = top_up_at(80);
    assert_eq!(action(&terms, &account(79, 0), &policy), None);
    assert_eq!(action(&terms, &account(80, 0), &policy), Some(TopUp(Amount::new(300))));
    let pending = Account { top_up_pending: true, ..account(80, 0) };
    assert_eq!(action(&terms, &pending, &policy), None);
    // Even late it comes before leaving.
    assert_eq!(action(&terms, &account(100, 300), &policy), Some(TopUp(Amount::new(300))));
}

#[test]
fn a_top_up_stays_within_the_policy_and_what_the_channel_can_cost() {
    let limited = |amount, max_deposit| {
        let mut policy = top_up_at(50);
        policy.top_up = policy.top_up.map(|top_up| TopUpPolicy { amount, max_deposit, ..top_up });
        policy
    };
    let open = terms(|_| {});
    let fixed = limited(TopUpAmount::Fixed(Amount::new(100)), None);
    assert_eq!(action(&open, &account(60, 180), &fixed), Some(TopUp(Amount::new(100))));
    let capped = limited(TopUpAmount::Double, Some(Amount::new(350)));
    assert_eq!(action(&open, &account(60, 180), &capped), Some(TopUp(Amount::new(50))));
    let full = limited(TopUpAmount::Double, Some(Amount::new(300)));
    assert_eq!(action(&open, &account(60, 180), &full), None);
    // 11 units cost 330: more deposit could never be spent.
    let eleven = terms(|draft| draft.max_units = Some(11));
    assert_eq!(action(&eleven, &account(60, 180), &top_up_at(50)), Some(TopUp(Amount::new(30))));
    let at_the_chains_limit =
        Account { deposit: Amount::MAX_ON_CHAIN, used: u64::MAX.into(), ..account(0, 0) };
    let dear = terms(|draft| draft.unit_price = Amount::new(1 << 90));
    assert_eq!(action(&dear, &at_the_chains_limit, &top_up_at(50)), None);
}

#[test]
fn percentages_are_exact_and_checked() {
    assert_eq!(Percent::try_from(33).unwrap().of(Amount::new(10)), Amount::new(4));
    assert_eq!(Percent::try_from(100).unwrap().of(Amount::MAX), Amount::MAX);
    for percent in [0, 101, 255] {
        let error = Percent::try_from(percent).unwrap_err().to_string();
        assert_eq!(error, format!("{percent} is not a percentage from 1 to 100"));
    }
    assert!(serde_json::from_str::<Percent>("0").is_err());
}

#[test]
fn a_timed_service_is_paid_by_the_clock() {
    let terms = terms(|draft| draft.unit.measure = Measure::Seconds);
    let running = Account { running_since: Some(start()), ..account(0, 0) };
    let policy = ClientPolicy::default();
    let waiting = assess_client(&terms, &running, &policy, after(4));
    assert_eq!((waiting.pay_to, waiting.next), (None, Some(after(10))));
    assert_eq!(assess_client(&terms, &running, &policy, after(12)).pay_to, Some(Amount::new(36)));
}
