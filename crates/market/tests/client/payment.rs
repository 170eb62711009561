//! Paying: what is signed and sent, and what the agent's answers mean.

use privatix_billing::{Billing, Measure};
use privatix_channel::Usage;
use privatix_market::{
    Actual, Carried, Client, ClientEnd, ClientMessage, ClientNotice, ClientOrder, ClientReport, Input,
    Party as _, Target, Trouble, Why,
};

use crate::support::{HOUR, Run, a, open};

/// A channel of which a backup knows vouchers over 60 while the agent has better ones, within the recovery.
fn restored() -> Run {
    let mut run = Run::open(200).paid(60);
    run.kept_open = Some(10_000);
    run
}

#[test]
fn a_restored_client_signs_nothing_below_its_agents_claim() {
    let mut run = restored();
    // First it asks what the agent knows.
    assert_eq!(run.used(65), "send 1 60");
    assert_eq!(
        run.peer(ClientMessage::Stale { acknowledged: a(90), carried: Carried::default() }),
        "drive 2"
    );
    assert_eq!(run.notices, [ClientNotice::Claimed { claimed: a(90) }]);
    assert_eq!(run.target(), (Target::Suspended, Some(Why::Claimed)));
    assert_eq!(run.ending(), None);
    run.done();
    for used in [70, 90] {
        assert_eq!(run.used(used), "", "{used}");
        assert_eq!(run.after(60), "", "{used}");
    }
    // It exceeds the claim by one interval.
    assert_eq!(run.used(91), "drive 3");
    assert_eq!(run.done(), "sign 91");
    assert_eq!(run.signed(91), "send 4 91");
}

#[test]
fn a_claim_that_the_user_believes_is_paid_on_from() {
    let mut run = restored();
    run.give(&Input::Look);
    run.peer(ClientMessage::Stale { acknowledged: a(90), carried: Carried::default() });
    run.done();
    assert_eq!(run.give(&Input::Order(ClientOrder::AcceptClaim)), "drive 3");
    run.done();
    assert_eq!(run.used(90), "");
    assert_eq!(run.used(91), "sign 91");
}

#[test]
fn a_claim_above_the_deposit_is_not_believed_and_outside_of_a_recovery_none_is() {
    let mut run = restored();
    run.give(&Input::Look);
    run.peer(ClientMessage::Stale { acknowledged: a(201), carried: Carried::default() });
    assert_eq!((run.state.own.floor, run.ending()), (None, None));
    let mut run = Run::open(200).paid(60);
    assert_eq!(
        run.peer(ClientMessage::Stale { acknowledged: a(61), carried: Carried::default() }),
        "submit 1 request_close 60, drive 2"
    );
    assert_eq!(run.ending(), Some(ClientEnd::AgentClaimsMore));
}

#[test]
fn what_the_chain_proves_in_a_recovery_is_no_fraud_after_it() {
    let mut run = restored();
    run.chain(open(200, 80));
    run.receipt(60);
    run.kept_open = None;
    assert_eq!(run.give(&Input::Look), "");
    assert_eq!(run.used(81), "sign 81");
}

#[test]
fn what_is_due_is_signed_and_sent_until_it_is_acknowledged() {
    let mut run = Run::open(100);
    assert_eq!(run.used(10), "sign 10");
    assert_eq!(run.signed(10), "send 1 10");
    // A better one takes its place.
    assert_eq!(run.used(12), "sign 12");
    assert_eq!(run.signed(12), "send 2 12");
    assert_eq!(run.receipt(10), "");
    assert_eq!(run.after(1), "send 3 12");
    assert_eq!(run.receipt(12), "");
    assert_eq!(run.used(500), "sign 100");
}

/// The answer, what follows a second later.
#[test]
fn a_voucher_that_is_not_taken_is_sent_again_after_a_pause() {
    for message in [
        ClientMessage::NotNow(None),
        ClientMessage::Stale { acknowledged: a(5), carried: Carried::default() },
        ClientMessage::Unanswered { seq: 1 },
    ] {
        let mut run = Run::open(100);
        run.used(10);
        run.signed(10);
        assert_eq!(run.peer(message), "", "{message:?}");
        assert_eq!(run.after(1), "send 2 10", "{message:?}");
    }
}

#[test]
fn fault_39_a_prepaid_client_pays_once_its_own_side_has_run() {
    let mut run =
        Run::open(100).terms(|terms| (terms.billing, terms.billing_interval) = (Billing::Prepaid, 10));
    run.state.own.service.actual = Actual::Suspended;
    assert_eq!(run.give(&Input::Look), "drive 1");
    assert_eq!(run.after(30), "");
    assert_eq!(run.done(), "sign 10");
}

/// Found by the simulator (seed 9021 of the first one with both sides): a client paid by the clock for as long as its adapter hung.
#[test]
fn a_session_without_another_report_is_paid_for_half_a_minute() {
    let mut run = Run::open(1_000).terms(|terms| terms.unit.measure = Measure::Seconds);
    let report = |used, running| Input::Used { used: Usage::new(used), running };
    run.give(&report(0, true));
    run.uptime += 29;
    assert_eq!(run.give(&Input::Look), "sign 29");
    assert_eq!(run.signed(29), "send 1 29");
    assert_eq!(run.receipt(29), "");
    assert_eq!(run.after(1), "sign 30");
    run.signed(30);
    run.receipt(30);
    assert_eq!(run.after(HOUR - 1), "");
    assert_eq!(Client::used(&run.state, &run.env()), Usage::new(30));
    // A report counts, and the clock goes on from there.
    assert_eq!(run.give(&report(40, true)), "sign 40");
    run.signed(40);
    assert_eq!(run.after(10), "sign 50");
}

#[test]
fn fault_56_a_close_request_admits_the_last_payment() {
    let mut run = Run::open(100).terms(|terms| terms.billing_interval = 40);
    assert_eq!(run.used(30), "");
    assert_eq!(run.give(&Input::Order(ClientOrder::Close)), "drive 1");
    assert_eq!(run.done(), "sign 30");
    assert_eq!(run.signed(30), "submit 2 request_close 30, send 3 30");
    // Nothing is signed above what it admits.
    assert_eq!(run.used(35), "");
}

#[test]
fn a_key_that_fails_is_tried_again_and_holds_no_close_request_for_ever() {
    let failed = Input::Report(ClientReport::Signed(Err(Trouble::Key)));
    let mut run = Run::open(100);
    run.used(10);
    run.give(&Input::Order(ClientOrder::Close));
    run.give(&failed);
    assert_eq!(run.notices, [ClientNotice::CannotSign]);
    assert_eq!(run.done(), "");
    assert_eq!(run.after(15), "sign 10");
    run.give(&failed);
    assert_eq!(run.after(30), "sign 10");
    let mut late = run.clone();
    assert_eq!(run.give(&failed), "submit 2 request_close 0");
    // A try that falls together with the end is waited for all the same.
    late.state.own.signing = None;
    late.state.own.signer.tries = 3;
    assert_eq!(late.give(&Input::Look), "sign 10");
    assert_eq!(late.signed(10), "submit 2 request_close 10, send 3 10");
}
