//! The end of a channel: how the rest of the deposit comes back.

use privatix_channel::{ChainTime, CloseRequest, LogPosition, OnChain};
use privatix_market::{ClientEnd, ClientNotice, ClientOrder, ClientPurpose, Fate, Input, Target};

use crate::support::{HOUR, Run, a, block, closed, closing, open};

#[test]
fn a_top_up_mined_after_the_close_request_does_not_keep_the_deposit() {
    let mut run = Run::open(100).paid(60).at(1_000);
    run.top_up(50);
    run.tx(1, Fate::Funded);
    assert_eq!(run.give(&Input::Order(ClientOrder::Close)), "cancel 1, drive 2");
    assert_eq!(run.done(), "submit 3 request_close 60");
    run.tx(3, Fate::Mined(block(7)));
    run.sees();
    assert_eq!(run.chain(closing(100, 60, 5_000)), "");
    // It could not be cancelled, and takes the request back.
    run.tx(1, Fate::Mined(block(8)));
    run.sees();
    let last_cancellation = Some(LogPosition::new(8, 0));
    let topped_up = OnChain { last_cancellation, ..open(150, 60) };
    assert_eq!(run.chain(topped_up), "submit 4 request_close 60");
    run.tx(4, Fate::Mined(block(9)));
    run.sees();
    run.chain(closing(150, 60, 6_000));
    run.now = Some(6_000);
    assert_eq!(run.give(&Input::Look), "submit 5 finalize_close");
}

#[test]
fn fault_52_a_close_by_the_agent_that_is_undone_is_asked_for_again() {
    let mut run = Run::open(100).paid(60).ended(ClientEnd::AgentEnded);
    assert_eq!(run.chain(closed(100, 60)), "");
    assert_eq!(run.owners(), "nobody");
    assert_eq!(run.chain(open(100, 0)), "");
    assert_eq!(run.after(2 * HOUR), "submit 1 request_close 60");
}

#[test]
fn fault_54_what_the_operator_cancels_waits_for_another_order() {
    let mut run = Run::open(100).ended(ClientEnd::CloseByOrder);
    run.give(&Input::Look);
    assert_eq!(run.tx(1, Fate::Cancelled), "");
    assert_eq!(run.notices, [ClientNotice::Parked]);
    assert_eq!(run.owners(), "user, reminder 86400 s");
    assert_eq!(run.give(&Input::Order(ClientOrder::Close)), "submit 2 request_close 0");
}

#[test]
fn fault_11_a_close_request_that_fails_is_repeated_after_pauses() {
    let mut run = Run::open(100).ended(ClientEnd::CloseByOrder);
    run.give(&Input::Look);
    for (seq, pause) in [(1, 15), (2, 30), (3, 60)] {
        run.tx(seq, Fate::Failed { lasting: false });
        assert_eq!(run.after(pause - 1), "");
        assert_eq!(run.after(1), format!("submit {} request_close 0", seq + 1));
    }
    run.tx(4, Fate::Failed { lasting: true });
    assert_eq!(run.owners(), format!("user, reminder {} s", run.uptime + 24 * HOUR));
}

#[test]
fn fault_70_a_settlement_above_what_was_signed_ends_the_channel() {
    let mut run = Run::open(100).paid(60);
    assert_eq!(run.chain(open(100, 60)), "");
    assert_eq!(run.chain(open(100, 61)), "submit 1 request_close 61, drive 2");
    assert_eq!(run.notices, [ClientNotice::Ends(ClientEnd::AgentClaimsMore)]);
}

#[test]
fn a_request_of_an_earlier_life_of_the_database_is_finalized_too() {
    let mut run = Run::open(100).at(1_000);
    run.chain(closing(100, 20, 5_000));
    run.done();
    assert_eq!(run.target().0, Target::Suspended);
    run.now = Some(4_999);
    assert_eq!(run.give(&Input::Look), "");
    run.now = Some(5_000);
    assert_eq!(run.give(&Input::Look), "submit 2 finalize_close");
    // Taken back, it is not needed, and the service goes on.
    assert_eq!(run.chain(open(100, 0)), "cancel 2, drive 3");
}

#[test]
fn an_opening_that_is_mined_after_it_was_given_up_is_closed_at_once() {
    let mut run = Run::accepted(100);
    run.tx(1, Fate::Funded);
    run.give(&Input::Order(ClientOrder::End));
    run.tx(1, Fate::Mined(block(7)));
    run.sees();
    assert_eq!(run.chain(open(100, 0)), "submit 2 request_close 0");
}

#[test]
fn nothing_is_asked_for_in_a_recovery() {
    let mut run = Run::open(100).paid(60).ended(ClientEnd::CloseByOrder);
    run.give(&Input::Look);
    run.kept_open = Some(2_000);
    // Also what is on its way: it may admit too little.
    assert_eq!(run.give(&Input::Look), "cancel 1, send 2 60");
    run.tx(1, Fate::Cancelled);
    run.receipt(60);
    assert_eq!(run.owners(), "time 2000 s");
    // Nor is it a fraud when the chain knows more than the backup.
    let mut served = Run::open(100).paid(60);
    served.kept_open = Some(2_000);
    assert_eq!(served.chain(open(100, 80)), "send 1 60");
    assert_eq!(served.ending(), None);
    run.state.book.best = a(80);
    assert_eq!(run.after(1_000), "submit 3 request_close 80, send 4 80");
}

/// Found by the simulator (seed 20079 of the one with endpoints): both went out beside each other.
#[test]
fn a_close_request_that_comes_back_beside_another_leaves_one() {
    let mut run = Run::open(100).paid(60).ended(ClientEnd::CloseByOrder);
    assert_eq!(run.give(&Input::Look), "submit 1 request_close 60");
    run.tx(1, Fate::Reverted);
    run.tx(1, Fate::Final);
    assert_eq!(run.after(15), "submit 2 request_close 60");
    let purpose = ClientPurpose::RequestClose { admitted: a(60) };
    let again = Input::Tx { seq: 1, purpose, fate: Fate::Reinstated { batch: false } };
    assert_eq!(run.give(&again), "cancel 1");
    assert_eq!(run.tx(1, Fate::Cancelled), "");
}

/// Found by a kill campaign (`torture --seed 3`): the event came before the receipt, so the request was cancelled as not needed any
/// more; a reorganisation took its block back, and the channel stayed open, as if the user had cancelled the request.
#[test]
fn a_close_request_that_was_cancelled_in_its_block_is_made_again_when_a_reorganisation_takes_that() {
    let mut run = Run::open(100).paid(60).ended(ClientEnd::CloseByOrder);
    assert_eq!(run.give(&Input::Look), "submit 1 request_close 60");
    assert_eq!(run.chain(closing(100, 60, 3_600)), "cancel 1");
    run.tx(1, Fate::Mined(block(5)));
    run.chain(open(100, 0));
    assert_eq!(run.tx(1, Fate::Withdrawn), "submit 2 request_close 60");
    assert_eq!(run.tx(1, Fate::Cancelled), "");
    assert!(!run.notices.contains(&ClientNotice::Parked));
}

/// Found by the simulator (seeds 501594 and 1001677): it was asked for again and again, which failed, and between two tries a voucher
/// was signed that it does not admit.
#[test]
fn a_close_request_whose_success_is_final_stands_until_an_event_shows_otherwise() {
    let mut run = Run::open(100).paid(60).ended(ClientEnd::CloseByOrder);
    assert_eq!(run.give(&Input::Look), "submit 1 request_close 60");
    run.tx(1, Fate::Mined(block(5)));
    run.sees();
    assert_eq!(run.after(HOUR), "", "no event shows it");
    assert_eq!(run.used(80), "");
    assert_eq!(run.tx(1, Fate::Final), "");
    assert_eq!(run.notices, [ClientNotice::Hidden]);
    assert_eq!(run.used(90), "", "nothing is signed that it does not admit");
    assert_eq!(run.after(HOUR), "", "another one would fail");
    assert_eq!((run.notices.len(), run.owners().as_str()), (0, "time 11800 s"));
    // It is not believed for ever, and not against the user's order.
    let (mut disproved, mut ordered, mut lower) = (run.clone(), run.clone(), run.clone());
    assert_eq!(ordered.give(&Input::Order(ClientOrder::Close)), "sign 90");
    assert_eq!(ordered.signed(90), "submit 2 request_close 90, send 3 90");
    disproved.explained = false;
    assert_eq!(disproved.after(24 * HOUR), "");
    assert_eq!(disproved.owners(), "chain, reminder 172800 s");
    disproved.explained = true;
    assert_eq!(disproved.give(&Input::Look), "sign 90");
    // A reorganisation brought it into a lower block.
    lower.now = Some(100);
    let request = |block| CloseRequest { at: LogPosition::new(block, 0), ends_at: ChainTime::new(900) };
    lower.chain(OnChain { last_close_request: Some(request(4)), ..open(100, 60) });
    assert!(lower.state.own.flights.is_empty());
    // A top-up that came before it does not take it back, and one that came after it does.
    let topped_up = |block| {
        let last_cancellation = Some(LogPosition::new(block, 0));
        OnChain { last_cancellation, ..open(150, 0) }
    };
    assert_eq!(run.chain(topped_up(4)), "");
    let mut taken_back = run.clone();
    assert_eq!(taken_back.chain(topped_up(6)), "sign 90");
    assert_eq!(taken_back.signed(90), "submit 2 request_close 90, send 3 90");
    run.now = Some(100);
    assert_eq!(run.chain(OnChain { last_close_request: Some(request(5)), ..open(100, 60) }), "");
    assert!(run.state.own.flights.is_empty());
    assert_eq!(run.owners(), "chain time 900");
}

/// Found by the simulator (seeds 1064583 and 1070644): a reorganisation took a top-up back, and its event was hidden when it came again. The
/// request admitted what the deposit seemed to cover, and left a part unpaid of what was signed.
#[test]
fn a_close_request_admits_all_that_was_signed_also_above_the_deposit_that_the_events_show() {
    let mut run = Run::open(150).paid(140).ended(ClientEnd::CloseByOrder);
    assert_eq!(run.chain(open(100, 0)), "submit 1 request_close 140");
    // What is paid on chain is admitted, too.
    let mut paid = Run::open(150).paid(60);
    paid.kept_open = Some(2_000);
    paid.chain(open(150, 80));
    let mut paid = paid.ended(ClientEnd::CloseByOrder);
    paid.uptime = 2_000;
    assert!(paid.give(&Input::Look).starts_with("submit 2 request_close 80"));
}

/// Found by the simulator (seed 1056995, at the agent).
#[test]
fn a_close_request_that_comes_back_leaves_one_also_while_another_is_waited_for() {
    let mut run = Run::open(100).paid(60).ended(ClientEnd::CloseByOrder);
    run.give(&Input::Look);
    run.tx(1, Fate::Reverted);
    run.tx(1, Fate::Final);
    run.after(15);
    // The opening was undone, so nothing is wanted now.
    assert_eq!(run.chain(OnChain::default()), "");
    let purpose = ClientPurpose::RequestClose { admitted: a(60) };
    let again = Input::Tx { seq: 1, purpose, fate: Fate::Reinstated { batch: false } };
    assert_eq!(run.give(&again), "cancel 1");
}

/// Found by the simulator (seed 60356 of the one with endpoints): the end of a challenge was asked for again and again while its event
/// was missing.
#[test]
fn an_end_of_a_challenge_that_is_in_a_block_is_not_sent_again_where_no_event_shows_it() {
    let mut run = Run::open(100).paid(60).ended(ClientEnd::CloseByOrder).at(1_000);
    assert_eq!(run.chain(closing(100, 60, 900)), "submit 1 finalize_close");
    run.tx(1, Fate::Mined(block(5)));
    run.sees();
    assert_eq!(run.after(HOUR), "");
    assert_eq!(run.owners(), "transaction 1");
    let mut is_final = run.clone();
    assert_eq!(run.chain(closed(100, 60)), "");
    assert_eq!(run.tx(1, Fate::Final), "");
    assert_eq!(is_final.tx(1, Fate::Final), "");
    assert_eq!(is_final.after(HOUR), "");
    assert_eq!(is_final.owners(), "time 11800 s");
    let mut ordered = is_final.clone();
    assert_eq!(ordered.give(&Input::Order(ClientOrder::Close)), "submit 2 finalize_close");
    assert_eq!(is_final.clone().after(HOUR), "submit 2 finalize_close");
    assert_eq!(is_final.chain(closed(100, 60)), "");
    assert_eq!(is_final.owners(), "nobody");
}
