//! Two meters: what is paid for where the agent shows another total than this side's.

use privatix_billing::{Billing, Drift, TermsDraft};
use privatix_channel::{AgentView, Reason, ServiceState, Usage};
use privatix_market::{Carried, ClientMessage, ClientNotice, Shown, Uptime};

use crate::support::{Run, a};

/// A view on a connection that was made in this second.
pub(crate) fn view(connected: u64, number: u64, used: u64) -> Shown {
    let view = AgentView {
        number,
        used: Usage::new(used),
        service: ServiceState::Running,
        reason: None,
        resumes_at: None,
        access: 0,
    };
    Shown { connected: Uptime::new(connected * 1_000), view }
}

/// The service is suspended until this is paid.
fn unpaid(number: u64, used: u64, resumes_at: u128) -> ClientMessage {
    let mut shown = view(900, number, used);
    shown.view.service = ServiceState::Suspended;
    (shown.view.reason, shown.view.resumes_at) = (Reason::of("unpaid"), Some(a(resumes_at)));
    ClientMessage::View(shown)
}

/// Terms by which 10 are granted from the first use on: half of the lag.
fn tolerant(terms: &mut TermsDraft) {
    (terms.billing_interval, terms.max_billing_unit_lag, terms.min_units) = (20, 20, 1_000);
}

/// A channel of which 100 are used and paid.
fn paid_100() -> Run {
    let mut run = Run::open(10_000).terms(tolerant).paid(100);
    run.used(100);
    run
}

#[test]
fn a_suspension_that_the_agent_shows_is_paid_at_once() {
    let mut run = paid_100();
    // Within an interval, so that nothing would be due.
    assert_eq!(run.used(110), "");
    assert_eq!(run.peer(unpaid(1, 118, 105)), "sign 118");
    assert_eq!(run.signed(118), "send 1 118");
    assert_eq!(run.receipt(118), "");
    assert_eq!(run.peer(ClientMessage::View(view(900, 2, 118))), "");
    assert_eq!(run.after(10), "", "nobody disagrees");
    assert!(run.notices.is_empty());
}

#[test]
fn what_an_answer_carries_counts_as_a_notice_does() {
    let mut run = paid_100();
    run.used(110);
    let ClientMessage::View(shown) = unpaid(1, 118, 105) else { unreachable!() };
    let carried = Carried { view: Some(shown), best: None };
    assert_eq!(run.peer(ClientMessage::Paid { acknowledged: a(100), ended: false, carried }), "sign 118");
}

#[test]
fn an_agent_that_counts_too_much_gains_the_tolerance_once_and_the_user_is_shown_both_meters() {
    let mut run = paid_100();
    assert_eq!(run.peer(unpaid(1, 500, 480)), "sign 110");
    run.signed(110);
    run.receipt(110);
    assert_eq!(run.after(2), "", "a report of ours may be on its way");
    assert!(run.notices.is_empty());
    assert_eq!(run.after(1), "");
    let apart = |ours, theirs, most| ClientNotice::MetersApart {
        ours: Usage::new(ours),
        theirs: Usage::new(theirs),
        most: Usage::new(most),
    };
    assert_eq!(run.notices, [apart(100, 500, 110)]);
    // However often it claims more, and whatever is used: ours and one tolerance.
    for (number, claims) in [(2, 600), (3, 100_000)] {
        assert_eq!(run.peer(unpaid(number, claims, claims.into())), "", "{claims}");
        assert!(run.notices.is_empty(), "it is shown once");
    }
    assert_eq!(run.used(105), "sign 115");
}

#[test]
fn a_view_lowers_nothing_and_an_older_one_counts_no_more() {
    let mut run = paid_100();
    run.peer(ClientMessage::View(view(900, 5, 108)));
    run.peer(ClientMessage::View(view(900, 4, 1)));
    run.peer(ClientMessage::View(view(899, 6, 2)));
    assert_eq!(run.state.own.theirs.map(|shown| shown.view.used), Some(Usage::new(108)));
    // The agent has started again, and counts its views from the first.
    run.peer(ClientMessage::View(view(950, 0, 104)));
    assert_eq!(run.state.own.theirs.map(|shown| shown.view.used), Some(Usage::new(104)));
    run.used(130);
    assert_eq!(run.signed(130), "send 1 130", "a lower total lowers nothing");
}

#[test]
fn our_own_meter_alone_ends_the_channel() {
    let mut run = Run::open(10_000)
        .terms(|terms| {
            tolerant(terms);
            terms.max_units = Some(1_000);
        })
        .paid(1_000);
    run.used(995);
    run.peer(ClientMessage::View(view(900, 1, 1_000)));
    assert_eq!(run.ending(), None);
    run.used(1_000);
    assert_eq!(run.ending(), Some(privatix_market::ClientEnd::MaxUnits));
}

#[test]
fn a_prepaid_client_pays_an_interval_ahead_of_what_is_agreed() {
    let mut run = Run::open(10_000)
        .terms(|terms| {
            tolerant(terms);
            terms.billing = Billing::Prepaid;
        })
        .paid(120);
    run.state.own.ran = Some(Uptime::new(0));
    run.used(100);
    assert_eq!(run.peer(ClientMessage::View(view(900, 1, 110))), "sign 130");
    assert_eq!(run.signed(130), "send 1 130");
    assert_eq!(run.peer(unpaid(2, 140, 131)), "", "one tolerance, and no more");
}

#[test]
fn the_users_setting_lowers_the_tolerance() {
    let mut run = paid_100().policy(|policy| {
        policy.billing.drift = Drift { share: 0.try_into().unwrap(), absolute: Some(Usage::new(3)) };
    });
    assert_eq!(run.peer(unpaid(1, 118, 105)), "sign 103");
}

/// Requests, of which one is the least use: nothing is granted before the hundredth.
#[test]
fn without_a_tolerance_a_difference_beyond_the_lag_suspends_and_is_shown() {
    let mut run = Run::open(10_000).terms(|terms| terms.max_billing_unit_lag = 1).paid(50);
    run.used(50);
    assert_eq!(run.peer(unpaid(1, 52, 51)), "");
    assert_eq!(run.after(3), "");
    assert!(matches!(run.notices[..], [ClientNotice::MetersApart { .. }]));
    // It has been counted here, too.
    assert_eq!(run.used(52), "sign 52");
    assert_eq!(run.state.own.disagrees, None);
}
