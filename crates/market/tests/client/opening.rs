//! Opening: what is accepted, and what becomes of an opening.

use privatix_channel::Fee;
use privatix_market::{
    ClientEnd, ClientNotice, ClientOrder, Fate, Input, Outcome, Refused, Target, Trouble, Why,
};

use crate::support::{HOUR, Run, SKEW, a, block, descriptor, open, opening, show};

/// State, why an offering is refused.
#[test]
fn an_offering_is_accepted_within_the_users_limits() {
    let with = |change: fn(&mut Run)| {
        let mut run = Run::open(0);
        change(&mut run);
        run
    };
    let agent = descriptor().agent;
    let fee = Fee::new(5).unwrap();
    let rows = vec![
        ("nothing in the way", with(|_| {}), None),
        ("stale view", with(|run| run.fresh = false), Some(Refused::StaleView)),
        ("clocks that contradict each other", with(|run| run.skewed = true), Some(Refused::Clock(SKEW))),
        (
            "the same on a stale view, which shows no time",
            with(|run| (run.fresh, run.skewed) = (false, true)),
            Some(Refused::StaleView),
        ),
        (
            "the same, with nothing to spend",
            with(|run| (run.skewed, run.left) = (true, Some(0))),
            Some(Refused::Clock(SKEW)),
        ),
        (
            "above the budget",
            with(|run| run.left = Some(99)),
            Some(Refused::Budget { needed: a(100), left: a(99) }),
        ),
        ("the whole budget", with(|run| run.left = Some(100)), None),
        ("agent allowed", with(|run| run.policy.allowed = Some(vec![descriptor().agent])), None),
        (
            "agent not allowed",
            with(|run| run.policy.allowed = Some(Vec::new())),
            Some(Refused::NotAllowed { agent }),
        ),
        (
            "fee too high",
            with(|run| run.policy.accept_fee = Fee::ZERO),
            Some(Refused::Fee { fee, accepted: Fee::ZERO }),
        ),
    ];
    for (name, run, refused) in rows {
        let mut opening = opening(100);
        opening.fee = fee;
        let given = run
            .accept(&opening)
            .map(|decision| decision.effects.iter().map(show).collect::<Vec<_>>().join(", "));
        assert_eq!(given, refused.map_or(Ok("fund 1 open 100".to_owned()), Err), "{name}");
    }
    let too_small = Run::open(0).accept(&opening(0)).unwrap_err();
    assert_eq!(too_small, Refused::Deposit { deposit: a(0), least: a(1) });
}

#[test]
fn an_opening_is_submitted_once_its_money_is_there() {
    let mut run = Run::accepted(100);
    assert_eq!(run.owners(), "transaction 1");
    assert_eq!(run.tx(1, Fate::Funded), "submit 1 open 100");
    assert_eq!(run.tx(1, Fate::Mined(block(7))), "");
    // Nothing else counts the time until it is seen.
    assert_eq!(run.after(48 * HOUR), "");
    run.sees();
    run.chain(open(100, 0));
    assert_eq!(run.ending(), None);
}

/// The fate of an opening, why the channel ends.
#[test]
fn an_opening_that_fails_ends_the_channel() {
    for (fate, trouble) in [
        (Fate::Unfunded(Trouble::Funds), Trouble::Funds),
        (Fate::Failed { lasting: false }, Trouble::Failed),
        (Fate::Cancelled, Trouble::Cancelled),
    ] {
        let mut run = Run::accepted(100);
        run.tx(1, fate);
        assert_eq!(run.notices, [ClientNotice::Ends(ClientEnd::NotOpened(trouble))]);
        assert_eq!(run.owners(), "nobody");
    }
}

#[test]
fn fault_53_an_opening_that_is_given_up_is_cancelled() {
    let not_opened = Some(ClientEnd::NotOpened(Trouble::Cancelled));
    let mut funding = Run::accepted(100);
    assert_eq!(funding.give(&Input::Order(ClientOrder::End)), "cancel 1");
    assert_eq!((funding.ending(), funding.owners().as_str()), (not_opened, "nobody"));
    let mut sent = Run::accepted(100);
    sent.tx(1, Fate::Funded);
    assert_eq!(sent.give(&Input::Order(ClientOrder::End)), "cancel 1");
    assert_eq!((sent.ending(), sent.owners().as_str()), (not_opened, "transaction 1"));
    sent.tx(1, Fate::Cancelled);
    assert_eq!(sent.owners(), "nobody");
}

#[test]
fn fault_42_an_opening_that_is_undone_for_good_ends_the_channel() {
    let mut run = Run::open(100);
    run.chain(privatix_channel::OnChain::default());
    run.done();
    assert_eq!(run.target(), (Target::Suspended, Some(Why::NotOpen)));
    assert_eq!(run.after(24 * HOUR - 1), "");
    run.fresh = false; // it is counted while the chain is seen
    run.give(&Input::Look);
    assert_eq!(run.after(HOUR), "");
    run.fresh = true;
    run.give(&Input::Look);
    assert_eq!(run.after(HOUR), "drive 2");
    assert_eq!(run.ending(), Some(ClientEnd::NotOpened(Trouble::Vanished)));
}

/// Torture, seed 3: an order whose opening was undone for good said that it was carried out, since its channel had ended before.
#[test]
fn an_order_whose_opening_is_undone_is_under_way_again_and_fails_if_it_does_not_come_again() {
    for ends in [None, Some(ClientOrder::End), Some(ClientOrder::Close)] {
        let mut run = Run::accepted(100);
        assert_eq!(run.state.opened(), None);
        run.tx(1, Fate::Funded);
        run.tx(1, Fate::Mined(block(7)));
        run.chain(open(100, 0));
        run.sees();
        run.tx(1, Fate::Final);
        assert_eq!(run.state.opened(), Some(Outcome::Done));
        if let Some(order) = ends {
            run.give(&Input::Order(order));
        }
        run.chain(privatix_channel::OnChain::default());
        assert_eq!(run.state.opened(), None, "{ends:?}");
        let mut comes_again = run.clone();
        run.after(24 * HOUR);
        assert_eq!(run.state.opened(), Some(Outcome::Failed(Trouble::Vanished)), "{ends:?}");
        assert_eq!(run.ending(), Some(ClientEnd::NotOpened(Trouble::Vanished)), "{ends:?}");
        comes_again.after(24 * HOUR - 1);
        comes_again.chain(open(100, 0));
        assert_eq!(comes_again.state.opened(), Some(Outcome::Done), "{ends:?}");
    }
}

/// Else its order would fail, its money would be free again, and another channel could be opened beside it.
#[test]
fn an_opening_that_succeeded_is_not_given_up_while_the_events_do_not_explain_the_contract() {
    let mut run = Run::accepted(100);
    run.tx(1, Fate::Funded);
    run.tx(1, Fate::Mined(block(7)));
    run.sees();
    run.tx(1, Fate::Final);
    run.explained = false;
    assert_eq!(run.after(100 * HOUR), "");
    assert_eq!(run.ending(), None);
    let mut shown = run.clone();
    shown.chain(open(100, 0));
    assert_eq!((shown.ending(), shown.state.own.flights.len()), (None, 0));
    run.explained = true;
    run.give(&Input::Look);
    assert_eq!((run.after(24 * HOUR - 1).as_str(), run.ending()), ("", None));
    run.after(1);
    assert_eq!(run.ending(), Some(ClientEnd::NotOpened(Trouble::Vanished)));
}
