//! How the operator's orders about an offering end.

use privatix_channel::Period;
use privatix_market::offering::{
    OfferingInput, OfferingOrder, OfferingPurpose, OfferingState, Presence, Problem, Shown, Wanted,
};
use privatix_market::{Fate, OrderChange, OrderId, Outcome, RecoveryId, Trouble};

use crate::support::{Run, block, market, removed};
use OfferingOrder::{PopUp, PopUpEvery, Publish, Remove};
use OfferingPurpose as For;

const DONE: Option<OrderChange> = Some(OrderChange::Ended(Outcome::Done));
const UNDER_WAY: Option<OrderChange> = Some(OrderChange::UnderWay);

#[expect(clippy::unnecessary_wraps, reason = "as the change it is compared with")]
const fn failed(trouble: Trouble) -> Option<OrderChange> {
    Some(OrderChange::Ended(Outcome::Failed(trouble)))
}

/// What is new of an order that was under way, in this state.
fn new(order: OfferingOrder, state: &OfferingState) -> Option<OrderChange> {
    order.change(None, state, state)
}

#[test]
fn an_order_ends_when_the_chain_shows_it_or_nothing_wants_it_any_more() {
    let at = |shown: Shown, wanted| Run::own(shown, wanted);
    let gave_up = |shown: Shown, purpose| {
        let mut run = Run::own(shown, Wanted::AsShown);
        run.mine().problem = Some(Problem::Failed(purpose));
        run
    };
    let draft = Shown::default;
    for (name, order, run, change) in [
        ("to be published", Publish, at(draft(), Wanted::OnMarket), None),
        ("published", Publish, at(market(9), Wanted::OnMarket), DONE),
        ("published and removed", Publish, at(removed(9), Wanted::OnMarket), DONE),
        ("given up again", Publish, at(draft(), Wanted::Removed), failed(Trouble::Replaced)),
        ("cancelled by hand", Publish, at(draft(), Wanted::AsShown), failed(Trouble::Cancelled)),
        ("failed for good", Publish, gave_up(draft(), For::Publish), failed(Trouble::Failed)),
        ("a draft", Remove, at(draft(), Wanted::Removed), DONE),
        ("to be removed", Remove, at(market(9), Wanted::Removed), None),
        ("removed", Remove, at(removed(9), Wanted::Removed), DONE),
        ("published after all", Remove, at(market(9), Wanted::OnMarket), failed(Trouble::Replaced)),
        ("its removal cancelled", Remove, at(market(9), Wanted::AsShown), failed(Trouble::Cancelled)),
        ("from now on", PopUpEvery(Some(Period::days(1))), at(market(9), Wanted::OnMarket), DONE),
        ("a pop-up given up", PopUp, gave_up(market(9), For::PopUp), failed(Trouble::Failed)),
        ("removed meanwhile", PopUp, at(market(9), Wanted::Removed), failed(Trouble::Replaced)),
    ] {
        assert_eq!(new(order, &run.state), change, "{name}");
    }
}

#[test]
fn a_pop_up_ends_with_the_next_announcement_and_not_with_one_that_is_taken_back() {
    let mut run = Run::own(market(2_000), Wanted::OnMarket);
    assert_eq!(run.give(&OfferingInput::Order(PopUp)), "submit 1 PopUp");
    assert_eq!(new(PopUp, &run.state), None);
    // A reorganisation takes back the announcement of before.
    let before = run.state.clone();
    assert_eq!(run.chain(market(1_000)), "", "the order stands");
    assert_eq!(PopUp.change(None, &before, &run.state), None);
    run.tx(1, Fate::Mined(block(9_000)));
    let before = run.state.clone();
    run.chain(market(9_000));
    assert_eq!(PopUp.change(None, &before, &run.state), DONE);
    assert_eq!(run.state.carried_by(OfferingPurpose::PopUp, &run.state.chain), Some(1));
    // Another one is no news of the first.
    run.give(&OfferingInput::Order(PopUp));
    assert_eq!(PopUp.change(Some(Outcome::Done), &before, &run.state), None);
}

#[test]
fn a_pop_up_that_is_taken_back_is_under_way_again_and_done_with_the_next_announcement() {
    let mut run = Run::own(market(2_000), Wanted::OnMarket);
    assert_eq!(run.give(&OfferingInput::Order(PopUp)), "submit 1 PopUp");
    run.tx(1, Fate::Mined(block(9_000)));
    run.chain(market(9_000));
    let orders = [
        (OrderId(1), PopUp, Some(Outcome::Done)),
        (OrderId(2), PopUp, Some(Outcome::Done)),
        (OrderId(3), PopUp, Some(Outcome::Failed(Trouble::Failed))),
    ];
    let changes = |orders: &[_], before: &OfferingState, after: &OfferingState| {
        let changes = OfferingOrder::changes(orders, before, after);
        changes.into_iter().map(|(id, _, change)| (id.0, Some(change))).collect::<Vec<_>>()
    };

    // What shows it, or a later announcement, is no news; nor is the end of the offering.
    for shown in [market(9_000), market(9_001), removed(9_000), Shown::default()] {
        let mut run = run.clone();
        let before = run.state.clone();
        run.chain(shown.clone());
        assert_eq!(changes(&orders, &before, &run.state), [], "{shown:?}");
        assert!(!run.mine().pop_up, "{shown:?}");
    }
    // It is taken back: the last order that it has carried out is under way again, and its transaction is not cancelled.
    let before = run.state.clone();
    assert_eq!(run.chain(market(2_000)), "");
    assert_eq!(changes(&orders, &before, &run.state), [(2, UNDER_WAY)]);
    assert!(OfferingOrder::may_resume(&before, &run.state));
    assert!(!OfferingOrder::may_resume(&run.state, &run.state), "once");
    assert_eq!(run.tx(1, Fate::Reinstated { batch: false }), "");
    let before = run.state.clone();
    assert_eq!(run.chain(market(2_000)), "", "once");
    let under_way = [orders[0], (OrderId(2), PopUp, None), orders[2]];
    assert_eq!(changes(&under_way, &before, &run.state), []);
    let before = run.state.clone();
    run.chain(market(9_500));
    assert_eq!(changes(&under_way, &before, &run.state), [(2, DONE)]);
    // And once more.
    let before = run.state.clone();
    run.chain(market(2_000));
    assert_eq!(changes(&orders, &before, &run.state), [(2, UNDER_WAY)]);
}

#[test]
fn only_what_waits_for_its_transaction_may_be_an_order_that_was_done() {
    for (shown, wanted, may) in [
        (Shown::default(), Wanted::OnMarket, true),
        (Shown::default(), Wanted::AsShown, false),
        (Shown::default(), Wanted::Removed, false),
        (market(9), Wanted::OnMarket, false),
        (market(9), Wanted::AsShown, false),
        (market(9), Wanted::Removed, true),
        (removed(9), Wanted::OnMarket, false),
        (removed(9), Wanted::Removed, false),
    ] {
        let state = Run::own(shown.clone(), wanted).state;
        assert_eq!(OfferingOrder::may_resume(&state, &state), may, "{shown:?}, {wanted:?}");
    }
}

#[test]
fn a_pop_up_is_carried_out_by_the_transaction_of_its_own_announcement() {
    let mut run = Run::own(market(2_000), Wanted::OnMarket);
    assert_eq!(run.give(&OfferingInput::Order(PopUp)), "submit 1 PopUp");
    run.tx(1, Fate::Mined(block(9_000)));
    run.chain(market(9_000));
    assert_eq!(run.state.carried_by(For::PopUp, &run.state.chain), Some(1));
    for (_, seen) in run.state.mined() {
        *seen = true;
    }
    // The second one's event is here before its transaction's outcome, and the first one's is not final.
    run.now = 20_000;
    assert_eq!(run.give(&OfferingInput::Order(PopUp)), "submit 2 PopUp");
    let before = run.state.clone();
    run.chain(market(20_000));
    assert_eq!(PopUp.change(None, &before, &run.state), DONE);
    assert_eq!(run.state.carried_by(For::PopUp, &run.state.chain), Some(2));
    run.tx(2, Fate::Mined(block(20_000)));
    assert_eq!(run.state.carried_by(For::PopUp, &run.state.chain), Some(2));
    // Somebody else's, such as another node of the account.
    run.chain(market(30_000));
    assert_eq!(run.state.carried_by(For::PopUp, &run.state.chain), None);
    assert_eq!(run.state.carried_by(For::Publish, &run.state.chain), None);
}

#[test]
fn nothing_brings_a_pop_up_back_that_is_not_wanted_any_more() {
    let mut run = Run::own(market(2_000), Wanted::OnMarket);
    run.give(&OfferingInput::Order(PopUp));
    run.chain(market(9_000));
    for given_up in [OfferingInput::Order(Remove), OfferingInput::Restored(RecoveryId::new(1))] {
        let mut run = run.clone();
        run.give(&given_up);
        let before = run.state.clone();
        run.chain(market(2_000));
        assert!(!run.mine().pop_up, "{given_up:?}");
        assert_eq!(PopUp.change(Some(Outcome::Done), &before, &run.state), None, "{given_up:?}");
    }
    // An announcement by the schedule, or of a new address, carries out no order.
    let mut run = Run::own(market(2_000), Wanted::OnMarket);
    run.chain(market(9_000));
    run.chain(market(2_000));
    assert!(!run.mine().pop_up);
}

#[test]
fn a_publication_that_is_undone_is_under_way_again_and_a_recovery_ends_what_it_does_not_know() {
    let mut run = Run::draft();
    assert_eq!(run.give(&OfferingInput::Order(Publish)), "submit 1 Publish");
    run.tx(1, Fate::Mined(block(5)));
    run.chain(market(10_000));
    let before = run.state.clone();
    run.chain(Shown::default());
    assert_eq!(run.state.chain.presence, Presence::Draft);
    assert_eq!(Publish.change(Some(Outcome::Done), &before, &run.state), UNDER_WAY);
    assert_eq!(Publish.change(Some(Outcome::Failed(Trouble::Failed)), &before, &run.state), None);

    let mut run = Run::own(Shown::default(), Wanted::OnMarket);
    run.fresh = false;
    run.give(&OfferingInput::Restored(RecoveryId::new(1)));
    assert_eq!(new(Publish, &run.state), None, "not before the chain was caught up with");
    let before = run.state.clone();
    run.fresh = true;
    run.look();
    assert_eq!(Publish.change(None, &before, &run.state), failed(Trouble::Restored));
}
