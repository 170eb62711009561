//! What is proved in each run of the process: what this side has signed, whatever its database knows of it.

use privatix_billing::Billing;
use privatix_market::{
    Carried, Client, ClientEnd, ClientMessage, ClientNotice, ClientOrder, Input, Party as _, Uptime, Verified,
};

use crate::meters::view;
use crate::support::{Run, Signed, a, id, open};

/// What an answer carries on a connection on which the channel was proved.
fn proved(best: Option<u128>) -> Carried {
    let best = best.map(|best| Verified::check(&Signed, &(id(), best)).unwrap());
    Carried { view: Some(view(900, 1, 0)), best }
}

fn known(acknowledged: u128, best: Option<u128>) -> ClientMessage {
    ClientMessage::Known { acknowledged: a(acknowledged), carried: proved(best) }
}

/// A channel of which this database knows a voucher over 60 and as much use, in a new run.
fn restarted() -> Run {
    let mut run = Run::open(200).paid(60);
    run.used(60);
    run.process = 1;
    run
}

/// The same, after the question what the agent knows.
fn asked() -> Run {
    let mut run = restarted();
    assert_eq!(run.give(&Input::Look), "ask 1 Attach");
    run
}

#[test]
fn in_each_run_the_agent_is_asked_what_it_knows_before_anything_higher_is_signed() {
    let mut run = restarted();
    assert_eq!(run.used(70), "ask 1 Attach");
    assert_eq!(run.after(10), "", "nothing is signed");
    assert_eq!(run.peer(known(60, None)), "sign 70");
    assert_eq!(run.signed(70), "send 2 70");
    assert_eq!(run.receipt(70), "");
    assert_eq!(run.used(80), "sign 80", "once in a run");
    run.signed(80);
    run.receipt(80);
    run.process = 2;
    assert_eq!(run.used(81), "ask 4 Attach");
}

#[test]
fn any_answer_on_a_proved_connection_proves_the_run() {
    let carried = proved(None);
    let answers = [
        ClientMessage::Paid { acknowledged: a(60), ended: false, carried },
        ClientMessage::Stale { acknowledged: a(60), carried },
        known(60, None),
    ];
    for answer in answers {
        let mut run = asked();
        run.peer(answer);
        assert_eq!(run.used(70), "sign 70", "{answer:?}");
    }
    let plain = Carried::default();
    let others = [
        ClientMessage::Paid { acknowledged: a(60), ended: false, carried: plain },
        ClientMessage::Stale { acknowledged: a(60), carried: plain },
        ClientMessage::View(view(900, 1, 60)),
        ClientMessage::Pong,
    ];
    for answer in others {
        let mut run = asked();
        run.peer(answer);
        assert_eq!(run.used(70), "", "{answer:?}");
    }
}

#[test]
fn a_channel_that_was_opened_in_this_run_is_paid_for_at_once() {
    let mut run = Run::open(100);
    run.process = 5;
    let accepted = run.accept(&crate::support::opening(100)).unwrap().state;
    assert_eq!(accepted.own.proven_in_run, Some(5));
}

/// Version 1: the rules of before.
#[test]
fn an_agent_that_speaks_version_1_is_believed_as_before() {
    let mut run = asked();
    assert_eq!(run.peer(ClientMessage::InClear), "");
    assert_eq!(run.used(70), "sign 70");
    let claims = ClientMessage::Stale { acknowledged: a(90), carried: Carried::default() };
    run.signed(70);
    run.peer(claims);
    assert_eq!(run.ending(), Some(ClientEnd::AgentClaimsMore));
    // What it claims before that says nothing: this database may be an old one.
    let mut early = asked();
    early.peer(claims);
    assert_eq!((early.ending(), early.state.own.floor), (None, None));
    let mut restored = asked();
    restored.kept_open = Some(10_000);
    restored.peer(ClientMessage::InClear);
    restored.peer(claims);
    assert_eq!(restored.state.own.floor.map(|floor| floor.claimed), Some(a(90)));
}

#[test]
fn a_client_that_nobody_knows_was_restored_adopts_its_own_signature_and_the_use_behind_it() {
    let mut run = asked();
    assert_eq!(run.peer(known(90, Some(90))), "adopt 90");
    assert_eq!(run.notices, [ClientNotice::Adopted { known: a(60), adopted: a(90) }]);
    assert_eq!((run.state.book.best, run.state.book.acknowledged), (a(90), a(90)));
    assert_eq!((run.state.own.floor, run.ending()), (None, None));
    // Its meter goes on from what was signed for, and its reports from what they know.
    assert_eq!(run.used(61), "sign 91");
    run.signed(91);
    run.receipt(91);
    assert_eq!(run.state.meter.used.get(), 61);
    assert_eq!(Client::used(&run.state, &run.env()).get(), 91);
}

#[test]
fn a_restored_client_signs_nothing_lower_than_before() {
    let mut run = Run::open(200);
    run.process = 1;
    assert_eq!(run.used(5), "ask 1 Attach");
    assert_eq!(run.peer(known(90, Some(90))), "adopt 90");
    assert_eq!(run.used(6), "sign 91");
}

/// In a recovery that was noted, too: no claim without a signature counts.
#[test]
fn a_claim_without_a_signature_is_a_lie() {
    for kept_open in [None, Some(10_000)] {
        for carried in [None, Some(60), Some(89)] {
            let mut run = asked();
            run.kept_open = kept_open;
            run.peer(known(90, carried));
            assert_eq!(run.ending(), Some(ClientEnd::AgentClaimsMore), "{kept_open:?} {carried:?}");
            assert_eq!(run.state.own.floor, None);
        }
        let mut run = asked();
        run.kept_open = kept_open;
        assert_eq!(run.peer(known(90, Some(90))), "adopt 90");
        assert_eq!(run.ending(), None);
    }
}

#[test]
fn what_the_chain_has_paid_is_no_lie_and_was_signed_for() {
    let mut run = asked();
    run.chain(open(200, 80));
    assert_eq!(run.ending(), None, "this database may be an old one");
    assert_eq!(run.peer(known(80, None)), "");
    assert_eq!(run.used(61), "sign 81");
    // A settlement that is not seen yet explains it soon.
    let mut stale = asked();
    stale.fresh = false;
    stale.peer(known(80, None));
    assert_eq!(stale.ending(), None);
    stale.fresh = true;
    stale.chain(open(200, 80));
    assert_eq!(stale.ending(), None);
    // Later in the run this side knows all that it signed.
    let mut later = asked();
    later.peer(known(60, None));
    later.chain(open(200, 80));
    assert_eq!(later.ending(), Some(ClientEnd::AgentClaimsMore));
}

#[test]
fn a_better_voucher_later_in_a_run_shows_that_somebody_else_uses_the_key() {
    let mut run = asked();
    run.peer(known(60, None));
    let better = ClientMessage::Stale { acknowledged: a(90), carried: proved(Some(90)) };
    // It is admitted: it is this side's signature.
    assert_eq!(run.peer(better), "adopt 90, submit 2 request_close 90, drive 3");
    assert_eq!(run.notices, [ClientNotice::Ends(ClientEnd::KeyUsedElsewhere)]);
    assert_eq!(run.used(100), "", "nothing more is signed");
    // Its own one comes back without harm.
    let mut same = asked();
    same.peer(known(60, None));
    same.peer(ClientMessage::Stale { acknowledged: a(60), carried: proved(Some(60)) });
    assert_eq!(same.ending(), None);
    let mut lower = asked();
    lower.peer(known(60, Some(50)));
    assert_eq!((lower.ending(), lower.state.book.best), (None, a(60)));
}

#[test]
fn a_voucher_of_another_channel_is_not_adopted() {
    let mut run = asked();
    let other = privatix_channel::ChannelId::new([9; 32].into());
    let best = Verified::check(&Signed, &(other, 90)).unwrap();
    let carried = Carried { best: Some(best), ..proved(None) };
    assert_eq!(run.peer(ClientMessage::Known { acknowledged: a(60), carried }), "");
    assert_eq!(run.state.book.best, a(60));
}

#[test]
fn an_agent_that_came_back_from_a_backup_is_sent_the_best_voucher_again() {
    let mut run = asked();
    assert_eq!(run.peer(known(40, None)), "send 2 60");
    assert_eq!(
        run.peer(ClientMessage::Paid { acknowledged: a(60), ended: false, carried: proved(None) }),
        ""
    );
    assert!(!run.state.own.behind);
    assert_eq!(run.after(100), "");
}

#[test]
fn a_carried_voucher_mends_a_damaged_one() {
    let mut run = Run::open(200);
    run.state.book.acknowledged = a(60);
    (run.damaged, run.process) = (true, 1);
    run.give(&Input::Look);
    assert_eq!(run.peer(known(60, Some(60))), "adopt 60");
    assert_eq!(run.ending(), None);
}

#[test]
fn a_close_before_the_proof_admits_what_was_used() {
    let mut run = restarted();
    run.used(75);
    run.give(&Input::Order(ClientOrder::Close));
    assert_eq!(run.done(), "submit 3 request_close 75");
    // With the proof it is signed, and admitted as signed.
    let mut run = asked();
    run.peer(known(60, None));
    run.used(75);
    assert_eq!(run.signed(75), "send 2 75");
    run.give(&Input::Order(ClientOrder::Close));
    assert_eq!(run.done(), "submit 4 request_close 75");
    // The setup price is due with the access, as it is where it is signed for.
    let mut unused = Run::open(200).terms(|terms| terms.setup_price = a(5));
    unused.process = 1;
    unused.give(&Input::Order(ClientOrder::Close));
    assert_eq!(unused.done(), "submit 3 request_close 5");
    let mut without = Run::open(200).terms(|terms| terms.setup_price = a(5));
    (without.process, without.state.own.access) = (1, privatix_market::AccessStatus::None);
    without.give(&Input::Order(ClientOrder::Close));
    assert_eq!(without.done(), "submit 3 request_close 0");
}

#[test]
fn an_agent_that_never_shows_what_it_knows_is_given_up_in_time() {
    let mut run = asked();
    let minutes = 7 * 24 * 60;
    for _ in 0..=minutes {
        // It answers all else.
        run.unanswered();
        run.peer(ClientMessage::Pong);
        run.after(60);
    }
    assert_eq!(run.ending(), Some(ClientEnd::Unreachable));
}

#[test]
fn a_voucher_raises_the_meter_to_the_least_use_that_costs_it() {
    type Change = fn(&mut privatix_billing::TermsDraft);
    let rows: [(&str, Change, u128, u64); 4] = [
        ("by the unit", |_| {}, 90, 90),
        ("with a setup price", |terms| terms.setup_price = a(20), 90, 70),
        ("the setup price", |terms| (terms.setup_price, terms.free_units) = (a(90), 50), 90, 0),
        ("with free units", |terms| terms.free_units = 10, 90, 100),
    ];
    for (name, change, signed, used) in rows {
        let mut run = Run::open(200).terms(change);
        run.process = 1;
        run.give(&Input::Look);
        run.peer(known(signed, Some(signed)));
        assert_eq!(Client::used(&run.state, &run.env()).get(), used, "{name}");
        assert_eq!(run.ending(), None, "{name}");
    }
}

#[test]
fn a_prepaid_client_goes_on_from_what_it_has_paid_ahead() {
    let mut run =
        Run::open(200).terms(|terms| (terms.billing, terms.billing_interval) = (Billing::Prepaid, 10));
    run.state.own.ran = Some(Uptime::new(0));
    run.process = 1;
    run.give(&Input::Look);
    assert_eq!(run.peer(known(90, Some(90))), "adopt 90, sign 100");
}

#[test]
fn the_agent_is_asked_again_once_the_connection_has_ended_on_which_it_was_heard_last() {
    let ended = |seconds: u64| ClientMessage::Disconnected { connected: Uptime::new(seconds * 1_000) };
    let mut run = asked();
    assert_eq!(run.peer(ended(900)), "", "nothing was heard on it yet");
    assert_eq!(run.peer(known(60, None)), "");
    assert_eq!(run.peer(ended(899)), "", "another one took its place before");
    assert_eq!(run.peer(ended(900)), "ask 2 Attach");
    assert_eq!(run.peer(ended(900)), "", "it is asked already");
    let again = Carried { view: Some(view(950, 1, 60)), best: None };
    assert_eq!(run.peer(ClientMessage::Known { acknowledged: a(60), carried: again }), "");
    assert_eq!(run.after(60), "", "and heard");
    assert_eq!(run.peer(ended(950)), "ask 3 Attach");
    assert_eq!(run.peer(ClientMessage::InClear), "", "there, nothing is heard of by itself");
    assert_eq!(run.after(60), "");
}

#[test]
fn a_connection_that_always_ends_at_once_is_made_again_ever_less_often() {
    let mut run = asked();
    run.peer(known(60, None));
    let mut waits = Vec::new();
    for number in 2..7 {
        run.uptime += 1;
        let connected = run.uptime;
        let again = Carried { view: Some(view(connected, number, 60)), best: None };
        run.peer(ClientMessage::Known { acknowledged: a(60), carried: again });
        let ended = ClientMessage::Disconnected { connected: Uptime::new(connected * 1_000) };
        let mut asked = run.peer(ended);
        let mut waited = 0;
        while asked.is_empty() {
            asked = run.after(1);
            waited += 1;
        }
        assert!(asked.contains("Attach"), "{asked}");
        waits.push(waited);
    }
    assert!(waits.is_sorted() && waits[0] <= 1 && waits[4] >= 8, "{waits:?}");
}
