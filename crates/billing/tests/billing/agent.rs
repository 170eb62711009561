//! The agent's decisions, rule by rule. A unit is ten bytes for 30, the lag two units.

use crate::support::{account, after, start, terms};
use privatix_billing::{
    Account, AgentAction, Billing, Measure, SuspendReason, TerminateReason, Terms, allowance, assess_agent,
};
use privatix_channel::{Amount, ServiceStatus, Usage};

use AgentAction::{Resume, Suspend, Terminate};

fn decision(terms: &Terms, account: &Account) -> Option<AgentAction> {
    assess_agent(terms, account, start()).action
}

fn suspended(used: u64, paid: u128) -> Account {
    Account { service: ServiceStatus::Suspended, ..account(used, paid) }
}

#[test]
fn the_lag_is_borne_and_one_byte_more_is_not() {
    let terms = terms(|_| {});
    assert_eq!(decision(&terms, &account(20, 0)), None);
    assert_eq!(decision(&terms, &account(21, 0)), Some(Suspend(SuspendReason::Unpaid)));
    assert_eq!(decision(&terms, &account(50, 90)), None);
    assert_eq!(decision(&terms, &account(51, 90)), Some(Suspend(SuspendReason::Unpaid)));
}

#[test]
fn a_plug_in_is_allowed_what_is_borne_and_what_the_deposit_can_pay() {
    let terms = terms(|_| {});
    let allowed =
        |paid: u128, deposit: u128| allowance(&terms, Amount::new(paid), Amount::new(deposit)).get();
    // The least more than is borne, so that billing sees it.
    assert_eq!(allowed(0, 1_000), 21);
    assert_eq!(allowed(90, 1_000), 51);
    assert_eq!(allowed(90, 90), 31);
}

#[test]
fn the_lag_counts_units_whatever_the_interval_is() {
    // The reference divided by the interval, and so lent `interval` times as much.
    let terms = terms(|draft| {
        draft.billing_interval = 4;
        draft.max_billing_unit_lag = 4;
    });
    assert_eq!(decision(&terms, &account(40, 0)), None);
    assert_eq!(decision(&terms, &account(41, 0)), Some(Suspend(SuspendReason::Unpaid)));
}

#[test]
fn payment_resumes_what_lag_suspended() {
    let terms = terms(|_| {});
    assert_eq!(decision(&terms, &suspended(21, 0)), None);
    assert_eq!(decision(&terms, &suspended(21, 3)), Some(Resume));
}

#[test]
fn free_units_are_no_debt() {
    let terms = terms(|draft| draft.free_units = 3);
    assert_eq!(decision(&terms, &account(50, 0)), None);
    assert_eq!(decision(&terms, &account(51, 0)), Some(Suspend(SuspendReason::Unpaid)));
}

#[test]
fn the_setup_price_is_owed_before_any_service() {
    let terms = terms(|draft| draft.setup_price = Amount::new(7));
    assert_eq!(decision(&terms, &account(0, 6)), Some(Suspend(SuspendReason::Unpaid)));
    assert_eq!(decision(&terms, &suspended(0, 7)), Some(Resume));
}

#[test]
fn a_prepaid_service_starts_with_its_first_interval_paid() {
    let terms = terms(|draft| {
        draft.billing = Billing::Prepaid;
        draft.billing_interval = 3;
        draft.max_billing_unit_lag = 0;
    });
    assert_eq!(decision(&terms, &suspended(0, 89)), None);
    assert_eq!(decision(&terms, &suspended(0, 90)), Some(Resume));
    assert_eq!(decision(&terms, &account(30, 90)), None);
    assert_eq!(decision(&terms, &account(31, 90)), Some(Suspend(SuspendReason::Unpaid)));
}

#[test]
fn a_used_deposit_ends_the_channel_once_it_is_paid() {
    let terms = terms(|_| {});
    assert_eq!(decision(&terms, &account(100, 300)), Some(Terminate(TerminateReason::DepositSpent)));
    // 99 bytes cost 297: there is still something left.
    assert_eq!(decision(&terms, &account(99, 297)), None);
    // Unpaid: no more service, but a last chance to pay or top up.
    assert_eq!(decision(&terms, &account(100, 270)), Some(Suspend(SuspendReason::DepositReached)));
    assert_eq!(decision(&terms, &suspended(100, 270)), None);
    let topped_up = Account { deposit: Amount::new(600), ..suspended(100, 270) };
    assert_eq!(decision(&terms, &topped_up), Some(Resume));
}

#[test]
fn max_units_end_the_channel_once_they_are_paid() {
    let terms = terms(|draft| draft.max_units = Some(6));
    assert_eq!(decision(&terms, &account(59, 177)), None);
    assert_eq!(decision(&terms, &account(60, 180)), Some(Terminate(TerminateReason::MaxUnits)));
    assert_eq!(decision(&terms, &account(65, 180)), Some(Terminate(TerminateReason::MaxUnits)));
    assert_eq!(decision(&terms, &account(60, 179)), Some(Suspend(SuspendReason::MaxUnitsReached)));
}

#[test]
fn a_channel_without_use_ends_when_its_time_is_over() {
    let terms = terms(|_| {});
    for service in [ServiceStatus::Pending, ServiceStatus::Activating, ServiceStatus::Active] {
        let account = Account { service, ..account(0, 0) };
        let waiting = assess_agent(&terms, &account, after(599));
        assert_eq!((waiting.action, waiting.next), (None, Some(after(600))), "{service:?}");
        let over = assess_agent(&terms, &account, after(600));
        assert_eq!(
            (over.action, over.next),
            (Some(Terminate(TerminateReason::Inactive)), None),
            "{service:?}"
        );
    }
    let used_later = Account { last_usage: after(500), ..account(5, 0) };
    assert_eq!(assess_agent(&terms, &used_later, after(600)).next, Some(after(1_100)));
    let changed_later = Account { status_since: after(550), ..used_later };
    assert_eq!(assess_agent(&terms, &changed_later, after(600)).next, Some(after(1_150)));
}

#[test]
fn a_suspended_channel_ends_when_its_time_is_over() {
    let terms = terms(|_| {});
    let account = suspended(21, 0);
    let waiting = assess_agent(&terms, &account, after(59));
    assert_eq!((waiting.action, waiting.next), (None, Some(after(60))));
    let over = assess_agent(&terms, &account, after(60));
    assert_eq!(over.action, Some(Terminate(TerminateReason::SuspendedTooLong)));
}

#[test]
fn a_held_channel_is_not_ended_by_max_suspend() {
    let terms = terms(|_| {});
    for service in [ServiceStatus::Active, ServiceStatus::Suspended] {
        let held = Account { held: true, service, ..account(0, 0) };
        let much_later = assess_agent(&terms, &held, after(1_000_000));
        let pause = (service == ServiceStatus::Active).then_some(Suspend(SuspendReason::Held));
        assert_eq!((much_later.action, much_later.next), (pause, None), "{service:?}");
    }
    // Once it is resumed, which is a change, its time begins again.
    let resumed = Account { status_since: after(1_000_000), ..suspended(21, 0) };
    assert_eq!(assess_agent(&terms, &resumed, after(1_000_059)).next, Some(after(1_000_060)));
    assert_eq!(assess_agent(&terms, &resumed, after(1_000_059)).action, None);
}

#[test]
fn nothing_is_ordered_while_the_plug_in_moves_or_after_the_end() {
    let terms = terms(|_| {});
    for service in [ServiceStatus::Activating, ServiceStatus::Suspending] {
        assert_eq!(decision(&terms, &Account { service, ..account(90, 0) }), None);
    }
    for service in [ServiceStatus::Terminating, ServiceStatus::Terminated] {
        let assessment = assess_agent(&terms, &Account { service, ..account(100, 300) }, after(10_000));
        assert_eq!((assessment.action, assessment.next), (None, None));
    }
}

#[test]
fn only_the_operator_resumes_what_the_operator_paused() {
    let terms = terms(|_| {});
    let held = Account { held: true, ..account(0, 0) };
    assert_eq!(decision(&terms, &held), Some(Suspend(SuspendReason::Held)));
    let paused = Account { service: ServiceStatus::Suspended, ..held };
    assert_eq!(decision(&terms, &paused), None);
    assert_eq!(decision(&terms, &Account { held: false, ..paused }), Some(Resume));
}

#[test]
fn seconds_of_a_running_session_need_no_reports() {
    let terms = terms(|draft| draft.unit.measure = Measure::Seconds);
    let running = Account { running_since: Some(start()), ..account(15, 0) };
    let assessment = assess_agent(&terms, &running, after(5));
    // Two units of ten seconds may be unpaid: at second 6 the meter shows 21.
    assert_eq!((assessment.action, assessment.next), (None, Some(after(6))));
    assert_eq!(running.used_at(&terms, after(6)), Usage::new(21));
    let assessment = assess_agent(&terms, &running, after(6));
    assert_eq!(assessment.action, Some(Suspend(SuspendReason::Unpaid)));
    // A running session is use: it does not end for inactivity.
    let paid = Account { paid: Amount::new(10_000), deposit: Amount::new(10_000), ..running };
    assert_eq!(assess_agent(&terms, &paid, after(1_000)).action, None);
}

#[test]
fn the_clock_counts_only_for_timed_services_that_are_active() {
    let by_bytes = terms(|_| {});
    let running = Account { running_since: Some(start()), ..account(15, 0) };
    assert_eq!(running.used_at(&by_bytes, after(100)), Usage::new(15));
    let timed = terms(|draft| draft.unit.measure = Measure::Seconds);
    let paused = Account { service: ServiceStatus::Suspended, ..running };
    assert_eq!(paused.used_at(&timed, after(100)), Usage::new(15));
}
