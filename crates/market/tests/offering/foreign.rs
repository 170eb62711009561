//! Offerings that other agents announce.

use privatix_market::offering::{
    Answer, MessageState, OfferingInput, OfferingOrder, OfferingRefused, Ownership, Retracted, Shown,
    Unlisted,
};

use crate::support::{DAY, HOUR, Run, market, removed};

fn has_message(run: &Run) -> bool {
    matches!(&run.state.ownership, Ownership::Foreign(foreign) if foreign.message != MessageState::Missing)
}

#[test]
fn a_message_that_failed_is_fetched_again_without_end() {
    for answer in [Answer::Refused, Answer::GaveUp] {
        let mut run = Run::foreign();
        assert_eq!(run.look(), "ask 1");
        let mut pauses = Vec::new();
        for seq in 2..20 {
            assert_eq!(run.answer(answer), "");
            let mut pause = 0;
            while run.look().is_empty() {
                assert_eq!(
                    run.owners(),
                    format!("time {} s", run.uptime + 60 * (1 << (seq - 2)).min(1_440) - pause)
                );
                pause += 60;
                run.uptime += 60;
            }
            pauses.push(pause / 60);
        }
        assert_eq!(pauses[..12], [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 1_440]);
        assert_eq!(pauses[12..], [1_440; 6], "up to a day");
        // Another announcement says that its agent is there.
        run.answer(answer);
        assert_eq!(run.chain(market(20_000)), "ask 20");
        assert_eq!(run.answer(answer), "");
        assert_eq!(run.after(60), "ask 21");
    }
}

#[test]
fn a_message_that_is_missing_is_asked_for_at_a_start_whatever_failed_before() {
    let mut run = Run::foreign();
    for pause in [60, 120, 240] {
        run.look();
        run.answer(Answer::Refused);
        run.uptime += pause;
    }
    run.look();
    run.answer(Answer::Refused);
    assert_eq!(run.look(), "");
    assert_eq!(run.give(&OfferingInput::Started), "ask 5");
    // It counts as one more failure.
    run.answer(Answer::Refused);
    assert_eq!(run.owners(), format!("time {} s", run.uptime + 60 * 16));
    // One that is here is asked for when its time comes.
    assert_eq!(run.give(&OfferingInput::Started), "ask 6");
    run.answer(Answer::Message);
    assert_eq!(run.give(&OfferingInput::Started), "");
}

#[test]
fn nobody_more_is_asked_while_many_requests_are_under_way() {
    let mut run = Run::foreign();
    run.may_ask = false;
    assert_eq!(run.look(), "");
    assert_eq!(run.owners(), "time 1000 s", "its time has come");
    assert_eq!(run.chain(market(20_000)), "");
    run.may_ask = true;
    assert_eq!(run.look(), "ask 1");
}

#[test]
fn a_request_that_nobody_answers_is_given_up() {
    let mut run = Run::foreign();
    assert_eq!(run.look(), "ask 1");
    assert_eq!(run.owners(), "peer 1 until 1060 s");
    assert_eq!(run.after(59), "");
    assert_eq!(run.after(1), "");
    assert_eq!(run.owners(), "time 1120 s");
    // The answer comes too late, and to another request.
    assert_eq!(run.give(&OfferingInput::Peer { seq: 1, answer: Answer::Message }), "");
    assert!(!has_message(&run));
    assert_eq!(run.chain(market(10_000)), "", "the same announcement again");
    assert_eq!(run.after(60), "ask 2");
    run.give(&OfferingInput::Peer { seq: 1, answer: Answer::Message });
    assert!(!has_message(&run));
    run.answer(Answer::Message);
    assert!(has_message(&run));
}

#[test]
fn a_time_in_which_our_own_network_is_away_says_nothing_about_the_agent() {
    let mut run = Run::foreign();
    run.look();
    run.reachable = false;
    assert_eq!(run.answer(Answer::GaveUp), "");
    assert_eq!(run.after(DAY), "");
    assert_eq!(run.owners(), format!("time {} s", run.uptime + 60));
    run.reachable = true;
    assert_eq!(run.look(), "ask 2");
    run.answer(Answer::GaveUp);
    assert_eq!(run.after(60), "ask 3", "that was the first time");
}

/// Days since the announcement by the chain, hours since the agent sent its message; whether it is listed.
#[test]
fn an_offering_is_listed_while_it_is_young_and_its_agent_answers() {
    for (days, hours, is_listed) in [(0, 0, true), (29, 71, true), (30, 0, false), (0, 72, false)] {
        let mut run = Run::foreign();
        assert_eq!(run.state.unlisted(&run.env()), Some(Unlisted::NoMessage));
        run.look();
        run.answer(Answer::Message);
        run.now += days * DAY;
        run.uptime += hours * HOUR;
        assert_eq!(run.state.is_listed(&run.env()), is_listed, "{days} days, {hours} hours");
        let why = match run.state.unlisted(&run.env()) {
            None => (0, 0),
            Some(Unlisted::Expired { age }) => (age.as_secs() / DAY, 0),
            Some(Unlisted::Unseen { unseen }) => (0, unseen.as_secs() / HOUR),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            why,
            if days == 30 {
                (30, 0)
            } else if hours == 72 {
                (0, 72)
            } else {
                (0, 0)
            }
        );
        assert_eq!(run.clone().chain(removed(10_000)), "");
        run.state.chain = removed(10_000);
        assert_eq!(run.state.unlisted(&run.env()), Some(Unlisted::NotOnMarket));
    }
    let own = Run::own(market(10_000), privatix_market::offering::Wanted::OnMarket);
    assert!(!own.state.is_listed(&own.env()), "nobody buys from itself");
}

#[test]
fn an_agent_whose_offering_is_here_is_asked_again_and_keeps_it_when_it_is_silent() {
    let mut run = Run::foreign();
    run.look();
    run.answer(Answer::Message);
    assert_eq!(run.after(DAY - 1), "");
    assert_eq!(run.after(1), "ask 2");
    assert_eq!(run.answer(Answer::Refused), "");
    assert!(has_message(&run));
    // It is asked soon again, and not listed once it was silent for three days.
    assert_eq!(run.after(60), "ask 3");
    run.answer(Answer::GaveUp);
    run.uptime += 2 * DAY;
    assert!(!run.state.is_listed(&run.env()));
    assert_eq!(run.look(), "ask 4");
    run.answer(Answer::Message);
    assert!(run.state.is_listed(&run.env()));
    assert_eq!(run.owners(), format!("time {} s", run.uptime + DAY));
}

#[test]
fn nobody_is_asked_for_what_is_not_on_the_market() {
    for gone in [removed(10_000), Shown::default()] {
        let mut run = Run::foreign();
        run.look();
        assert_eq!(run.chain(gone), "");
        assert_eq!(run.owners(), "nobody");
        assert_eq!(run.after(10 * DAY), "");
        // A reorganisation brings it back.
        assert_eq!(run.chain(market(10_000)), "ask 2");
    }
}

#[test]
fn an_order_about_another_agents_offering_is_refused() {
    let mut run = Run::foreign();
    let agent = run.state.agent;
    for order in
        [OfferingOrder::Publish, OfferingOrder::PopUp, OfferingOrder::PopUpEvery(None), OfferingOrder::Remove]
    {
        assert_eq!(run.try_give(&OfferingInput::Order(order)), Err(OfferingRefused::NotOurs { agent }));
    }
}

#[test]
fn of_what_the_chain_no_longer_shows_only_what_was_made_here_is_kept() {
    for (is_own, has_message, kept) in [
        (false, false, Retracted::Forgotten),
        (false, true, Retracted::Forgotten),
        (true, false, Retracted::Unlisted),
        (true, true, Retracted::Draft),
    ] {
        assert_eq!(Retracted::of(is_own, has_message), kept, "own: {is_own}, message: {has_message}");
    }
}
