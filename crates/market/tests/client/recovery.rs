//! A database that came back from a backup: what it holds may have been done since.

use privatix_billing::{Percent, TopUpAmount, TopUpPolicy};
use privatix_channel::OnChain;
use privatix_market::{ClientEnd, ClientMessage, ClientOrder, Fate, Input, Trouble};

use crate::support::{HOUR, Run, a, block, open};

/// The database of this run is lost, and what it holds now is all that is known.
fn restored(mut run: Run) -> Run {
    run.kept_open = Some(run.uptime + 24 * HOUR);
    run
}

#[test]
fn top_ups_from_before_a_restore_end_and_are_not_repeated() {
    let mut run = Run::open(100);
    run.top_up(10);
    run.top_up(20);
    run.tx(1, Fate::Funded);
    // One was sent, and the other one waits for it. Both were mined since.
    let mut run = restored(run);
    assert_eq!(run.give(&Input::Look), "cancel 1, order 2 failed: Restored");
    assert_eq!(run.tx(1, Fate::Cancelled), "order 1 failed: Restored");
    assert_eq!(run.chain(open(130, 0)), "");
    assert_eq!(run.after(HOUR), "");
    // An order that the user gives now is carried out.
    assert_eq!(run.top_up(5), "fund 2 top_up 5");
    assert_eq!(run.after(1), "");
}

#[test]
fn what_was_cancelled_in_a_recovery_counts_where_it_was_mined() {
    let mut run = Run::open(100);
    run.top_up(10);
    run.tx(1, Fate::Funded);
    let mut run = restored(run);
    assert_eq!(run.give(&Input::Look), "cancel 1");
    assert_eq!(run.tx(1, Fate::Mined(block(7))), "");
    // The same transaction again: it is known which one it is.
    assert_eq!(run.tx(1, Fate::Reinstated { batch: false }), "");
    assert_eq!(run.tx(1, Fate::Mined(block(8))), "");
    assert_eq!(run.tx(1, Fate::Final), "order 1 done");
}

/// The first input about the channel after the restore, whatever it is.
#[test]
fn top_ups_whose_money_was_being_provided_end_with_the_first_decision() {
    let mut run = Run::open(100);
    run.top_up(10);
    run.top_up(20);
    let run = restored(run);
    // The recovery has removed the job.
    let mut unfunded = run.clone();
    assert_eq!(
        unfunded.tx(1, Fate::Unfunded(Trouble::Cancelled)),
        "cancel 1, order 1 failed: Restored, order 2 failed: Restored"
    );
    let mut looked_at = run.clone();
    assert_eq!(looked_at.give(&Input::Look), "cancel 1, order 1 failed: Restored, order 2 failed: Restored");
    let mut ordered = run;
    assert_eq!(
        ordered.top_up(5),
        "cancel 1, order 1 failed: Restored, order 2 failed: Restored, fund 2 top_up 5"
    );
    assert_eq!(ordered.taken, [(3, 5, false)]);
}

#[test]
fn a_second_restore_ends_what_was_ordered_after_the_first() {
    let mut run = restored(Run::open(100));
    run.give(&Input::Look);
    assert_eq!(run.top_up(10), "fund 1 top_up 10");
    run.recovery = 2;
    assert_eq!(run.give(&Input::Look), "cancel 1, order 1 failed: Restored");
}

#[test]
fn an_automatic_top_up_from_before_a_restore_is_ordered_again_after_a_pause_if_it_is_still_wanted() {
    let percent = Percent::try_from(80).unwrap();
    let top_up = TopUpPolicy { percent, amount: TopUpAmount::Fixed(a(50)), max_deposit: None };
    let mut run = Run::open(100).paid(1_000).policy(|policy| policy.billing.top_up = Some(top_up));
    run.used(80);
    let mut run = restored(run);
    run.state.own.proven_in = Some(privatix_market::RecoveryId::new(1));
    let mut grown = run.clone();
    assert_eq!(run.give(&Input::Look), "cancel 1, order 1 failed: Restored");
    assert_eq!(run.after(59), "");
    assert_eq!(run.after(1), "fund 2 top_up 50");
    grown.give(&Input::Look);
    assert_eq!(grown.chain(open(150, 0)), "");
    assert_eq!(grown.after(HOUR), "");
}

#[test]
fn a_channel_that_the_chain_shows_is_not_ended_by_a_try_of_its_opening_that_failed() {
    for fate in [Fate::Failed { lasting: false }, Fate::Cancelled] {
        let mut run = Run::accepted(100);
        run.tx(1, Fate::Funded);
        run.chain(open(100, 0));
        run.tx(1, fate);
        assert_eq!(run.ending(), None, "{fate:?}");
        // Where it is undone later, that is waited for as after any other reorganisation.
        run.chain(OnChain::default());
        assert_eq!(run.after(24 * HOUR - 1), "");
        assert_eq!(run.ending(), None, "{fate:?}");
        run.after(1);
        assert_eq!(run.ending(), Some(ClientEnd::NotOpened(Trouble::Vanished)), "{fate:?}");
    }
}

/// What became of the opening of a backup.
#[test]
fn whether_a_restored_channel_was_opened_is_decided_once_the_chain_is_seen() {
    let funding = restored(Run::accepted(100));
    let mut sent = Run::accepted(100);
    sent.tx(1, Fate::Funded);
    let sent = restored(sent);
    let rows = [
        ("waits for money", &funding, None),
        ("cancelled", &sent, Some(Fate::Cancelled)),
        ("its nonce is used", &sent, Some(Fate::Failed { lasting: false })),
    ];
    for (name, run, fate) in rows {
        let mut run = run.clone();
        run.fresh = false;
        // No money is locked for an agent that nobody waits for.
        assert_eq!(run.give(&Input::Look), "cancel 1", "{name}");
        fate.map(|fate| run.tx(1, fate));
        assert_eq!(run.ending(), None, "{name}");
        assert!(run.owners().starts_with("chain, reminder"), "{name}: {}", run.owners());
        let mut opened = run.clone();
        opened.chain(open(100, 0));
        opened.fresh = true;
        opened.after(48 * HOUR);
        assert!(!matches!(opened.ending(), Some(ClientEnd::NotOpened(_))), "{name}: {:?}", opened.ending());
        run.fresh = true;
        run.give(&Input::Look);
        assert_eq!(run.ending(), Some(ClientEnd::NotOpened(Trouble::Restored)), "{name}");
        assert_eq!(run.owners(), "nobody", "{name}");
    }
    // In a block already, it counts.
    let mut mined = sent;
    assert_eq!(mined.tx(1, Fate::Mined(block(7))), "cancel 1");
    mined.sees();
    mined.chain(open(100, 0));
    mined.tx(1, Fate::Final);
    assert_eq!((mined.ending(), mined.state.own.not_opened), (None, None));
}

/// An opening that was accepted after the restore is an ordinary one.
#[test]
fn an_opening_after_the_restore_that_fails_ends_the_channel() {
    let mut run = restored(Run::open(0));
    run.state = run.accept(&crate::support::opening(100)).unwrap().state;
    run.fresh = false;
    run.tx(1, Fate::Unfunded(Trouble::Cancelled));
    assert_eq!(run.ending(), Some(ClientEnd::NotOpened(Trouble::Cancelled)));
}

/// By the wall clock the time until which a channel is kept open is another one at each decision.
#[test]
fn an_agent_is_asked_once_in_a_recovery_what_it_knows() {
    let mut run = restored(Run::open(200).paid(60));
    assert_eq!(run.used(65), "send 1 60");
    assert_eq!(run.receipt(60), "sign 65");
    let mut moved = run.clone();
    moved.kept_open = moved.kept_open.map(|until| until + 1);
    assert_eq!(moved.signed(65), "send 2 65");
    assert_eq!(moved.receipt(65), "");
    moved.kept_open = moved.kept_open.map(|until| until + 1);
    assert_eq!(moved.after(60), "");
    assert_eq!(moved.used(66), "sign 66");
    // Another backup knows less, perhaps.
    run.signed(65);
    run.receipt(65);
    run.recovery = 2;
    assert_eq!(run.give(&Input::Look), "send 3 65");
}

#[test]
fn an_order_to_end_a_restored_channel_is_followed() {
    let mut run = Run::open(100);
    run.top_up(10);
    run.tx(1, Fate::Funded);
    let mut run = restored(run);
    assert_eq!(run.give(&Input::Order(ClientOrder::End)), "cancel 1, drive 2");
    assert_eq!(run.peer(ClientMessage::Pong), "");
    assert_eq!(run.tx(1, Fate::Cancelled), "order 1 failed: Ended");
}
