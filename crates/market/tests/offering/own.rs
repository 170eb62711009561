//! An agent's own offerings.

use privatix_channel::{OfferingUnderWay, Period};
use privatix_market::offering::{
    OfferingInput, OfferingNotice, OfferingOrder, OfferingPurpose, OfferingRefused, Own, Presence, Problem,
    Shown, Wanted,
};
use privatix_market::{Fate, RecoveryId};

use crate::support::{DAY, Run, SKEW, block, market, removed, source};

const PUBLISH: OfferingInput = OfferingInput::Order(OfferingOrder::Publish);
const POP_UP: OfferingInput = OfferingInput::Order(OfferingOrder::PopUp);
const REMOVE: OfferingInput = OfferingInput::Order(OfferingOrder::Remove);

#[test]
fn a_restored_agent_publishes_nothing_that_was_removed() {
    // The backup is of a moment in which it was to be published, and of one in which it was on the market. Since then it was
    // removed, or the order was taken back.
    let ordered = || {
        let mut run = Run::own(Shown::default(), Wanted::OnMarket);
        run.fresh = false;
        run
    };
    let sent = || {
        let mut run = Run::own(Shown::default(), Wanted::OnMarket);
        assert_eq!(run.look(), "submit 1 Publish");
        run.fresh = false;
        run
    };
    let announced = || {
        let mut run = Run::own(market(1_000), Wanted::OnMarket);
        run.mine().pop_up_every = Some(Period::days(1));
        (run.fresh, run.now) = (false, 10 * DAY);
        run
    };
    let rows = [
        ("ordered, taken back since", ordered(), "", Shown::default(), Some(Presence::Draft)),
        ("ordered, removed since", ordered(), "", removed(5_000), Some(Presence::Removed)),
        ("sent, taken back since", sent(), "cancel 1", Shown::default(), Some(Presence::Draft)),
        ("sent, removed since", sent(), "cancel 1", removed(5_000), Some(Presence::Removed)),
        ("on the market, removed since", announced(), "", removed(1_000), Some(Presence::Removed)),
        ("on the market, and still", announced(), "", market(10 * DAY), None),
    ];
    for (name, mut run, effects, shown, wanted) in rows {
        assert_eq!(run.give(&OfferingInput::Restored(RecoveryId::new(1))), effects, "{name}");
        assert!(run.owners().contains("chain"), "{name}: {}", run.owners());
        // The chain is caught up with step by step, and nothing is done on the way.
        assert_eq!(run.chain(shown.clone()), "", "{name}");
        run.fresh = true;
        assert_eq!(run.look(), "", "{name}");
        assert_eq!(run.mine().wanted, Wanted::AsShown, "{name}");
        assert_eq!(
            run.notices,
            wanted.map(OfferingNotice::Recovered).into_iter().collect::<Vec<_>>(),
            "{name}"
        );
        if effects == "cancel 1" {
            run.tx(1, Fate::Cancelled);
        }
        assert_eq!(run.after(10 * DAY), "", "{name}");
        assert_eq!(run.owners(), if wanted.is_some() { "nobody" } else { "chain time 950400" }, "{name}");
    }
}

#[test]
fn an_order_after_a_restore_counts() {
    let mut run = Run::draft();
    run.fresh = false;
    run.give(&OfferingInput::Restored(RecoveryId::new(1)));
    assert_eq!(run.give(&PUBLISH), "");
    run.fresh = true;
    assert_eq!(run.look(), "submit 1 Publish");
}

#[test]
fn a_recovery_that_begins_again_takes_back_no_order_that_came_since() {
    let mut run = Run::draft();
    run.fresh = false;
    let restored = |recovery| OfferingInput::Restored(RecoveryId::new(recovery));
    run.give(&restored(1));
    run.give(&PUBLISH);
    // The node starts again before the chain was caught up with.
    run.give(&restored(1));
    assert_eq!(run.mine().wanted, Wanted::OnMarket);
    run.give(&restored(2));
    run.fresh = true;
    assert_eq!(run.look(), "");
    assert_eq!(run.mine().wanted, Wanted::AsShown);
}

#[test]
fn an_order_is_pending_until_the_chain_shows_it_or_it_is_given_up() {
    let pending = |run: &mut Run| {
        let shown = run.state.chain.clone();
        (run.mine().is_pending(&shown), run.mine().under_way())
    };
    let mut run = Run::draft();
    assert_eq!(pending(&mut run), (false, None));
    run.balance = 0;
    run.give(&PUBLISH);
    assert_eq!(pending(&mut run), (true, None));
    run.balance = 100;
    run.look();
    assert_eq!(pending(&mut run), (true, Some(OfferingUnderWay::Publish)));
    run.tx(1, Fate::Mined(block(7)));
    assert_eq!(pending(&mut run), (true, Some(OfferingUnderWay::Publish)));
    run.sees();
    run.chain(market(10_000));
    assert_eq!(pending(&mut run), (false, None));

    run.give(&POP_UP);
    assert_eq!(pending(&mut run), (true, None));
    run.at(10_500);
    assert_eq!(pending(&mut run), (true, Some(OfferingUnderWay::PopUp)));
    run.tx(2, Fate::Failed { lasting: true });
    assert_eq!(pending(&mut run), (false, None));

    run.give(&REMOVE);
    assert_eq!(pending(&mut run), (true, Some(OfferingUnderWay::Remove)));
    run.chain(removed(10_000));
    assert!(!pending(&mut run).0);
}

#[test]
fn an_own_offering_that_is_found_on_chain_stays_as_it_is() {
    for shown in [market(9_000), removed(9_000)] {
        let mut run = Run::found();
        assert_eq!(run.chain(shown.clone()), "");
        assert_eq!(run.mine().wanted, Wanted::AsShown);
        assert_eq!(run.owners(), "nobody");
    }
}

/// State, effects of a look, problem, owners. The chain's time is 10000; the contract allows a pop-up 500 s after an
/// announcement, and a removal 100 s after it.
#[test]
fn what_is_wanted_follows_from_what_is_ordered_and_what_the_chain_shows() {
    let but = |mut run: Run, change: fn(&mut Run)| {
        change(&mut run);
        run
    };
    let draft = |wanted| Run::own(Shown::default(), wanted);
    let shown = |at, wanted| Run::own(market(at), wanted);
    let (not, on, off) = (Wanted::AsShown, Wanted::OnMarket, Wanted::Removed);
    let rows = vec![
        ("a draft", draft(not), "", None, "nobody"),
        ("a draft that is given up", draft(off), "", None, "nobody"),
        ("to be published", draft(on), "submit 1 Publish", None, "transaction 1"),
        ("to be published, stale view", but(draft(on), |run| run.fresh = false), "", None, "chain"),
        ("to be published, wrong clock", but(draft(on), |run| run.skewed = true), "", None, "chain"),
        (
            "to be removed, wrong clock",
            but(shown(9_900, off), |run| run.skewed = true),
            "submit 1 Remove",
            None,
            "transaction 1",
        ),
        (
            "to be published, too little stake",
            but(draft(on), |run| run.balance = 99),
            "",
            Some(Problem::Stake),
            "user",
        ),
        (
            "to be published, a signature that does not count",
            but(draft(on), |run| (run.signature, run.balance) = (false, 0)),
            "",
            Some(Problem::Signature),
            "user",
        ),
        ("on the market", shown(1_000, on), "", None, "nobody"),
        (
            "on the market, its stake is locked",
            but(shown(1_000, on), |run| run.balance = 0),
            "",
            None,
            "nobody",
        ),
        ("to be removed", shown(9_900, off), "submit 1 Remove", None, "transaction 1"),
        ("published, and nothing is ordered any more", shown(9_900, not), "", None, "nobody"),
        ("to be removed, too early", shown(9_901, off), "", None, "chain time 10001"),
        (
            "to be removed, a signature that does not count",
            but(shown(9_000, off), |run| run.signature = false),
            "submit 1 Remove",
            None,
            "transaction 1",
        ),
        ("to be removed, stale view", but(shown(9_000, off), |run| run.fresh = false), "", None, "chain"),
        (
            "at another address",
            but(shown(9_500, on), |run| run.source = source("there")),
            "submit 1 PopUp",
            None,
            "transaction 1",
        ),
        (
            "at another address, too early",
            but(shown(9_501, on), |run| run.source = source("there")),
            "",
            None,
            "chain time 10001",
        ),
        (
            "at another address, a signature that does not count",
            but(shown(9_500, on), |run| (run.signature, run.source) = (false, source("there"))),
            "",
            Some(Problem::Signature),
            "user",
        ),
        (
            "announced long ago",
            but(shown(9_000, on), |run| run.mine().pop_up_every = Some(Period::new(1_000))),
            "submit 1 PopUp",
            None,
            "transaction 1",
        ),
        (
            "announced lately",
            but(shown(9_001, on), |run| run.mine().pop_up_every = Some(Period::new(1_000))),
            "",
            None,
            "chain time 10001",
        ),
        (
            "to be announced more often than the contract allows",
            but(shown(9_600, on), |run| run.mine().pop_up_every = Some(Period::new(100))),
            "",
            None,
            "chain time 10100",
        ),
        ("removed", Run::own(removed(9_000), off), "", None, "nobody"),
        ("removed against the order", Run::own(removed(9_000), on), "", None, "nobody"),
    ];
    for (name, mut run, effects, problem, owners) in rows {
        assert_eq!(run.look(), effects, "{name}");
        assert_eq!(run.mine().problem, problem, "{name}");
        assert_eq!(
            run.notices,
            problem.map(OfferingNotice::Problem).into_iter().collect::<Vec<_>>(),
            "{name}"
        );
        assert_eq!(run.owners(), owners, "{name}");
    }
}

/// Only a publication locks money.
#[test]
fn a_publication_is_refused_while_the_clock_contradicts_the_chain() {
    let mut run = Run::draft();
    run.skewed = true;
    assert_eq!(run.try_give(&PUBLISH), Err(OfferingRefused::Clock(SKEW)));
    assert_eq!(run.mine().wanted, Wanted::AsShown);
    // Ordered while nothing was known of the chain's time, it waits for both.
    (run.fresh, run.skewed) = (false, false);
    assert_eq!(run.give(&PUBLISH), "");
    (run.fresh, run.skewed) = (true, true);
    assert_eq!(run.look(), "");
    run.skewed = false;
    assert_eq!(run.look(), "submit 1 Publish");
    run.skewed = true;
    assert_eq!(run.look(), "", "what was submitted goes on");
    let mut published = Run::own(market(9_900), Wanted::OnMarket);
    published.skewed = true;
    assert_eq!(published.give(&PUBLISH), "", "its stake is locked");
    assert_eq!(published.give(&REMOVE), "submit 1 Remove");
}

#[test]
fn an_offering_is_published_announced_again_and_removed() {
    let mut run = Run::draft();
    assert_eq!(run.give(&PUBLISH), "submit 1 Publish");
    assert_eq!(run.give(&PUBLISH), "", "it is under way");
    run.tx(1, Fate::Mined(block(7)));
    assert_eq!(run.owners(), "transaction 1");
    assert_eq!(run.chain(market(10_000)), "");
    run.sees();
    run.tx(1, Fate::Final);
    assert_eq!(run.owners(), "nobody");
    assert_eq!(run.give(&POP_UP), "");
    assert_eq!(run.owners(), "chain time 10500");
    assert_eq!(run.at(10_500), "submit 2 PopUp");
    run.tx(2, Fate::Mined(block(8)));
    assert_eq!(run.chain(market(10_500)), "");
    run.sees();
    run.tx(2, Fate::Final);
    // Days pass.
    assert_eq!(run.give(&OfferingInput::Order(OfferingOrder::PopUpEvery(Some(Period::days(1))))), "");
    assert_eq!(run.at(10_499 + DAY), "");
    assert_eq!(run.at(10_500 + DAY), "submit 3 PopUp");
    // What is not wanted any more is cancelled, and the removal waits for the contract if it was mined after all.
    assert_eq!(run.give(&REMOVE), "cancel 3, submit 4 Remove");
    run.tx(3, Fate::Mined(block(9)));
    run.chain(market(10_500 + DAY));
    assert_eq!(run.owners(), format!("chain time {}, transaction 3, transaction 4", 10_600 + DAY));
    run.tx(4, Fate::Cancelled);
    assert_eq!(run.at(10_600 + DAY), "submit 5 Remove");
    run.tx(5, Fate::Mined(block(10)));
    run.chain(removed(10_500 + DAY));
    run.sees();
    for seq in [3, 5] {
        run.tx(seq, Fate::Final);
    }
    assert_eq!(run.owners(), "nobody");
    for order in [PUBLISH, POP_UP, REMOVE] {
        assert_eq!(run.try_give(&order), Err(OfferingRefused::Removed));
    }
    // An undone removal is made again.
    assert_eq!(run.chain(market(10_500 + DAY)), "submit 6 Remove");
}

#[test]
fn an_order_that_was_taken_back_in_time_is_cancelled_and_else_undone() {
    let mut run = Run::draft();
    run.give(&PUBLISH);
    assert_eq!(run.give(&REMOVE), "cancel 1");
    let mut late = run.clone();
    run.tx(1, Fate::Cancelled);
    assert_eq!(run.owners(), "nobody");
    late.tx(1, Fate::Mined(block(7)));
    assert_eq!(late.chain(market(10_000)), "");
    assert_eq!(late.owners(), "chain time 10100, transaction 1");
    assert_eq!(late.at(10_100), "submit 2 Remove");
    // Once it is to be removed, a pop-up that was ordered before is not wanted, whatever follows.
    let mut run = Run::own(market(9_950), Wanted::OnMarket);
    run.give(&POP_UP);
    run.give(&REMOVE);
    assert_eq!(run.owners(), "chain time 10050");
    run.give(&PUBLISH);
    assert_eq!(run.owners(), "nobody");
    // A pop-up needs something on the market.
    assert_eq!(Run::draft().try_give(&POP_UP), Err(OfferingRefused::NotOnMarket));
    assert_eq!(late.try_give(&POP_UP), Err(OfferingRefused::NotOnMarket), "it is to be removed");
}

#[test]
fn a_failure_is_tried_again_ever_later_and_one_that_lasts_gives_the_order_up() {
    let mut run = Run::draft();
    run.give(&PUBLISH);
    for (seq, pause) in [(1, 15), (2, 30), (3, 60), (4, 120)] {
        // A revert counts as a failure, once.
        assert_eq!(run.tx(seq, Fate::Reverted), "");
        assert_eq!(run.tx(seq, Fate::Reverted), "");
        assert_eq!(run.after(pause - 1), "", "{seq}");
        assert_eq!(run.after(1), format!("submit {} Publish", seq + 1), "{seq}");
        run.tx(seq, Fate::Final);
    }
    let mut lasting = Run::draft();
    lasting.give(&PUBLISH);
    run.tx(5, Fate::Failed { lasting: false });
    lasting.tx(1, Fate::Failed { lasting: true });
    for mut run in [run, lasting] {
        assert_eq!(run.mine().wanted, Wanted::AsShown);
        assert_eq!(run.notices, [OfferingNotice::Problem(Problem::Failed(OfferingPurpose::Publish))]);
        assert_eq!(run.owners(), "nobody");
        assert_eq!(run.after(10 * DAY), "");
        // Another order tries again at once.
        assert!(run.give(&PUBLISH).starts_with("submit"));
        assert_eq!(run.mine().problem, None);
    }
    // Of one on the market, the pop-ups are tried again now and then.
    let mut run = Run::own(market(1_000), Wanted::OnMarket);
    run.mine().pop_up_every = Some(Period::new(1_000));
    run.look();
    assert_eq!(run.tx(1, Fate::Failed { lasting: true }), "");
    assert_eq!(run.owners(), "user");
    assert_eq!(run.after(DAY - 1), "");
    assert_eq!(run.after(1), "submit 2 PopUp");
    run.tx(2, Fate::Mined(block(9)));
    assert_eq!(run.mine().problem, None);
}

/// A removal frees the stake, so it is not given up.
#[test]
fn a_removal_that_fails_again_and_again_is_tried_once_a_day() {
    let mut run = Run::own(market(1_000), Wanted::OnMarket);
    run.policy.tries = 1;
    run.give(&REMOVE);
    assert_eq!(run.tx(1, Fate::Failed { lasting: false }), "");
    assert_eq!((run.mine().wanted, run.owners().as_str()), (Wanted::Removed, "user"));
    assert_eq!(run.mine().problem, Some(Problem::Failed(OfferingPurpose::Remove)));
    assert_eq!(run.after(DAY), "submit 2 Remove");
    run.tx(2, Fate::Mined(block(9)));
    assert_eq!(run.mine().problem, None);
}

#[test]
fn a_publication_that_shows_late_is_no_reason_to_remove_it() {
    // It succeeded, its event was hidden, and the contract refused each repetition.
    let mut run = Run::draft();
    run.give(&PUBLISH);
    run.policy.tries = 1;
    run.tx(1, Fate::Failed { lasting: false });
    assert_eq!(run.mine().problem, Some(Problem::Failed(OfferingPurpose::Publish)));
    let mut cancelled = Run::draft();
    cancelled.give(&PUBLISH);
    cancelled.tx(1, Fate::Cancelled);
    // Something else of it showed first, such as a change of its fee, which anybody can send.
    let mut found = Run::found();
    found.look();
    for mut run in [run, cancelled, found] {
        assert_eq!(run.chain(market(9_000)), "");
        assert_eq!(run.after(10 * DAY), "");
    }
}

#[test]
fn what_becomes_of_an_earlier_order_does_not_touch_the_present_one() {
    for fate in [Fate::Reverted, Fate::Failed { lasting: true }, Fate::Cancelled] {
        // A pop-up that is mined too late, or never, while the offering is to be removed.
        let mut run = Run::own(market(1_000), Wanted::OnMarket);
        run.give(&POP_UP);
        run.policy.tries = 1;
        assert_eq!(run.give(&REMOVE), "cancel 1, submit 2 Remove");
        assert_eq!(run.tx(1, fate), "", "{fate:?}");
        assert_eq!((run.mine().wanted, run.mine().blocked), (Wanted::Removed, None), "{fate:?}");
        // The same, not cancelled while the chain is not seen.
        let mut unseen = Run::own(market(1_000), Wanted::OnMarket);
        unseen.give(&POP_UP);
        unseen.policy.tries = 1;
        unseen.fresh = false;
        assert_eq!(unseen.give(&REMOVE), "");
        unseen.tx(1, fate);
        assert_eq!((unseen.mine().wanted, unseen.mine().blocked), (Wanted::Removed, None), "{fate:?}");
        // The same, reinstated by a reorganisation: nobody remembers that it was cancelled.
        let purpose = OfferingPurpose::PopUp;
        let fate_before = Fate::Reinstated { batch: true };
        assert_eq!(run.give(&OfferingInput::Tx { seq: 7, purpose, fate: fate_before }), "cancel 7");
        run.give(&OfferingInput::Tx { seq: 7, purpose, fate });
        assert_eq!(run.mine().wanted, Wanted::Removed, "{fate:?}");
        // A publication that comes to nothing when the offering is on the market.
        let purpose = OfferingPurpose::Publish;
        let mut run = Run::own(Shown::default(), Wanted::OnMarket);
        run.look();
        run.policy.tries = 1;
        run.fresh = false;
        run.chain(market(1_000));
        run.give(&OfferingInput::Tx { seq: 1, purpose, fate });
        assert_eq!((run.mine().wanted, run.mine().problem), (Wanted::OnMarket, None), "{fate:?}");
    }
}

#[test]
fn what_the_operator_cancels_is_not_sent_again_without_an_order() {
    let mut run = Run::draft();
    run.give(&PUBLISH);
    assert_eq!(run.tx(1, Fate::Cancelled), "");
    assert_eq!((run.mine().wanted, run.owners().as_str()), (Wanted::AsShown, "nobody"));
    assert_eq!(run.give(&PUBLISH), "submit 2 Publish");
    let mut run = Run::own(market(1_000), Wanted::OnMarket);
    run.mine().pop_up_every = Some(Period::new(1_000));
    run.look();
    run.tx(1, Fate::Cancelled);
    assert_eq!(run.owners(), "user");
    assert_eq!(run.after(10 * DAY), "");
    assert_eq!(run.give(&POP_UP), "submit 2 PopUp");
}

#[test]
fn an_undone_publication_is_under_way_until_it_is_in_a_block_again_or_over() {
    let mut run = Run::draft();
    run.give(&PUBLISH);
    run.tx(1, Fate::Mined(block(7)));
    run.chain(market(10_000));
    run.sees();
    let mut known = run.clone();
    known.tx(1, Fate::Reinstated { batch: false });
    run.tx(1, Fate::Final);
    let purpose = OfferingPurpose::Publish;
    let fate = Fate::Reinstated { batch: false };
    // Until the chain's events are gone, it is not needed.
    assert_eq!(run.give(&OfferingInput::Tx { seq: 1, purpose, fate }), "cancel 1");
    assert_eq!(run.chain(Shown::default()), "submit 2 Publish");
    // It was cancelled, so that it failed is no failure.
    known.tx(1, Fate::Failed { lasting: false });
    assert_eq!(known.chain(Shown::default()), "submit 2 Publish");
    // A transaction that this state does not know counts as under way.
    let mut lost = Run::own(Shown::default(), Wanted::OnMarket);
    let fate = Fate::Mined(block(7));
    assert_eq!(lost.give(&OfferingInput::Tx { seq: 3, purpose, fate }), "");
    assert_eq!(lost.mine().seq, 3);
    // Its outcome is final before its block was seen: the view lags, which is no failure.
    assert_eq!(lost.tx(3, Fate::Final), "");
    assert_eq!((lost.notices.len(), lost.after(14)), (0, String::new()));
    assert_eq!(lost.after(1), "submit 4 Publish");
}

#[test]
fn what_is_known_of_a_transaction_is_not_forgotten() {
    // A view that becomes stale, or money that is spent on something else, cancels nothing that is on its way.
    let mut run = Run::draft();
    run.give(&PUBLISH);
    (run.fresh, run.balance) = (false, 0);
    assert_eq!(run.look(), "");
    run.fresh = true;
    assert_eq!(run.look(), "");
    // What was cancelled is not cancelled again.
    let mut cancelled = run.clone();
    assert_eq!(cancelled.give(&REMOVE), "cancel 1");
    assert_eq!(cancelled.tx(1, Fate::Reinstated { batch: false }), "");
    // A block that was seen is not unseen when it is reported again.
    run.balance = 100;
    run.tx(1, Fate::Mined(block(7)));
    run.sees();
    let before = run.mine().flights.clone();
    run.fresh = false;
    run.tx(1, Fate::Mined(block(7)));
    assert_eq!(run.mine().flights, before);
    // A pop-up that the operator cancelled is in the way of pop-ups only.
    let mut run = Run::own(market(1_000), Wanted::OnMarket);
    run.give(&POP_UP);
    run.tx(1, Fate::Cancelled);
    assert_eq!(run.chain(Shown::default()), "submit 2 Publish");
}

#[test]
fn what_an_agent_did_is_read_back_as_it_was_written() {
    let mut run = Run::draft();
    run.give(&PUBLISH);
    run.tx(1, Fate::Failed { lasting: true });
    run.give(&PUBLISH);
    let json = serde_json::to_string(run.mine()).unwrap();
    assert_eq!(serde_json::from_str::<Own>(&json).unwrap(), *run.mine(), "{json}");
    assert_eq!(serde_json::from_str::<Own>("{}").unwrap(), Own::default());
}
