//! Recovery: the database came back from a backup, or the chain took something back.

use privatix_channel::{OnChain, Usage};
use privatix_market::{
    Actual, Agent, AgentEnd, AgentMessage, AgentOrder, AgentPurpose, Answered, Fate, Input, Party as _,
    Stage, Taken,
};

use crate::support::{HOUR, Run, a, block, closing, open, voucher};

#[test]
fn a_close_from_before_the_backup_is_cancelled_also_in_a_batch() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive);
    run.give(&Input::Look);
    run.kept_open = Some(5_000);
    let mut batched = run.clone();
    batched.tx(1, Fate::Batched);
    for mut run in [run, batched] {
        // Repeated at each look it would not help: it is cancelled once.
        if run.state.own.flights[0].stage != Stage::Cancelling {
            assert_eq!(run.give(&Input::Look), "cancel 1");
        }
        assert_eq!(run.owners(), "time 5000 s, transaction 1");
        run.tx(1, Fate::Cancelled);
        run.uptime = 5_000;
        assert_eq!(run.give(&Input::Look), "submit 2 close 60");
    }
}

#[test]
fn fault_16_a_challenge_that_runs_in_the_backup_is_answered_whatever_the_service_does() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100).unpriced();
    run.state.chain = closing(100, 20, 1_000);
    run.kept_open = Some(5_000);
    assert_eq!(run.give(&Input::Look), "submit 1 settle 60 urgent before 1000");
}

#[test]
fn fault_17_each_better_voucher_of_a_recovery_is_settled() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100).unpriced();
    run.kept_open = Some(5_000);
    assert_eq!(run.chain(closing(100, 20, 1_000)), "submit 1 settle 60 urgent before 1000");
    run.tx(1, Fate::Mined(block(9)));
    // A settlement leaves the channel open, so that a better one may follow before the first is seen.
    assert_eq!(run.give(&voucher(70)), "keep 70, submit 2 settle 70 urgent before 1000, kept, paid 60");
    run.tx(2, Fate::Mined(block(10)));
    run.sees();
    assert_eq!(run.chain(closing(100, 70, 1_000)), "");
    assert_eq!(run.give(&voucher(80)), "keep 80, submit 3 settle 80 urgent before 1000, kept, paid 70");
}

#[test]
fn the_end_of_a_recovery_closes_what_was_kept_open() {
    let mut run = Run::open(100).paid(60).ended(AgentEnd::Inactive).at(100).unpriced();
    run.kept_open = Some(5_000);
    run.chain(closing(100, 20, 1_000));
    run.uptime = 5_000;
    assert_eq!(run.give(&Input::Look), "submit 2 close 60 urgent before 1000");
}

#[test]
fn fault_18_a_close_request_is_taken_in_without_a_look_at_any_signature() {
    // The book is empty, and the chain's events are taken in all the same. A close at zero would be final.
    let mut run = Run::open(100).at(100).unpriced();
    run.damaged = Some(50);
    assert_eq!(run.chain(closing(100, 20, 1_000)), "drive 1");
    run.done();
    assert_eq!(run.owners(), "user, reminder 86400 s");
}

#[test]
fn a_damaged_voucher_keeps_its_channel_open_until_a_better_one_comes_or_it_is_given_up() {
    let damaged = |why| {
        let mut run = Run::open(100).ended(why);
        run.damaged = Some(50);
        run
    };
    for why in [AgentEnd::Inactive, AgentEnd::CloseByOrder] {
        let mut run = damaged(why);
        assert_eq!(run.give(&Input::Look), "", "{why:?}");
        assert_eq!(run.owners(), "user, reminder 86400 s", "{why:?}");
        assert_eq!(run.after(100 * HOUR), "", "{why:?}");
        let mut restored = run.clone();
        restored.kept_open = Some(500_000);
        assert_eq!(restored.owners(), "time 500000 s", "the damaged one may be in the way no more then");
        let mut given_up = run.clone();
        assert_eq!(given_up.give(&Input::Order(AgentOrder::Abandon)), "submit 1 close 0", "{why:?}");
        // Given up before it is ordered to be closed, it is closed as well.
        let mut served = Run::open(100);
        served.damaged = Some(50);
        assert_eq!(served.give(&Input::Order(AgentOrder::Abandon)), "");
        served.give(&Input::Order(AgentOrder::Close));
        assert_eq!(served.done(), "");
        assert_eq!(served.after(10), "submit 2 close 0");
        // The shell stores the better one in its place.
        run.damaged = None;
        assert_eq!(run.give(&voucher(60)), "keep 60, submit 1 close 60, paid 60, service ended", "{why:?}");
    }
    // What waits for a batch is taken back: the batch would read the signature only when it is made.
    let mut run = Run::open(100).ended(AgentEnd::Inactive);
    assert_eq!(run.give(&Input::Look), "collect 1 close 0");
    run.damaged = Some(50);
    assert_eq!(run.give(&Input::Look), "cancel 1");
}

#[test]
fn fault_19_whatever_is_cancelled_leaves_an_owner() {
    for (input, answer) in [
        (Input::Order(AgentOrder::End), Some(Answered::GaveUp)),
        (Input::Order(AgentOrder::Close), Some(Answered::GaveUp)),
        (Input::Look, None),
    ] {
        let mut run = Run::open(100).paid(60);
        run.give(&input);
        answer.map(|answer| run.adapter(answer));
        assert_ne!(run.owners(), "nobody", "{input:?}");
    }
}

#[test]
fn an_opening_that_is_undone_for_good_is_given_up_and_one_that_comes_again_is_closed() {
    let mut run = Run::open(100).paid(60);
    assert_eq!(run.chain(OnChain::default()), "drive 1", "suspended");
    assert_eq!(run.adapter(Answered::Did(Actual::Suspended)), "");
    assert_eq!(run.owners(), "time 87400 s");
    assert_eq!(run.after(24 * HOUR), "drive 2", "absent");
    assert_eq!(run.adapter(Answered::Did(Actual::Absent)), "");
    assert_eq!(run.owners(), "nobody");
    assert_eq!(run.chain(open(100, 0)), "");
    assert_eq!(run.after(10), "submit 3 close 60");
}

#[test]
fn what_ran_in_an_earlier_life_of_the_adapter_is_asked_for_again() {
    let mut run = Run::open(100);
    run.instance = 1;
    assert_eq!(run.give(&Input::Look), "drive 1");
    assert_eq!(run.adapter(Answered::Did(Actual::Running)), "");
    // What is gone stays gone.
    let mut run = Run::open(100).ended(AgentEnd::Inactive);
    run.instance = 1;
    assert_eq!(run.give(&Input::Look), "collect 1 close 0");
}

#[test]
fn a_transaction_that_this_state_does_not_know_bounds_what_is_acknowledged() {
    // The state comes from before it was made.
    let mut run = Run::open(100).paid(60);
    let purpose = AgentPurpose::Close { cumulative: a(60) };
    assert_eq!(run.give(&Input::Tx { seq: 3, purpose, fate: Fate::Mined(block(9)) }), "");
    assert_eq!(run.state.own.seq, 3);
    assert_eq!(run.give(&voucher(70)), "keep 70, kept, paid 60");
}

/// A voucher on a connection on which the channel was proved.
fn proved(cumulative: u128) -> Input<Agent> {
    let Input::Peer(AgentMessage::Voucher { voucher, .. }) = voucher(cumulative) else { unreachable!() };
    Input::Peer(AgentMessage::Voucher { voucher, used: Some(Usage::ZERO) })
}

/// Else it would suspend a client that came back from a backup, too, until its own meter gets there.
#[test]
fn a_restored_agent_takes_the_use_behind_a_better_voucher() {
    let mut run = Run::open(200).paid(60).terms(|terms| terms.max_billing_unit_lag = 10);
    run.used(55);
    run.kept_open = Some(5_000);
    let bound = |run: &Run| run.state.bound().unwrap().get();
    assert_eq!(bound(&run), 71);
    let decided = Agent::decide(&run.state, &proved(90), &run.env()).unwrap();
    assert_eq!(
        Taken::of(&run.state, privatix_channel::Amount::new(90), &decided),
        Taken::WithEffects,
        "it is stored with the state"
    );
    assert_eq!(run.give(&proved(90)), "keep 90, paid 90");
    assert_eq!(Agent::used(&run.state, &run.env()), Usage::new(90));
    assert_eq!(run.state.view(&run.env()).used, Usage::new(90));
    // Its reports go on from what they know, and so does the adapter's bound.
    assert_eq!((run.state.meter.used, bound(&run)), (Usage::new(55), 66));
    run.used(65);
    assert_eq!(run.state.own.service.why, None);
    run.used(66);
    assert_eq!(run.state.own.service.why, Some(privatix_market::Why::Unpaid));
    // One that comes on any other connection may be that of somebody who has read it on the chain.
    let mut other = Run::open(200).paid(60);
    other.kept_open = Some(5_000);
    other.give(&voucher(90));
    assert_eq!(Agent::used(&other.state, &other.env()), Usage::new(0));
    // Once a newer one than the backup is here, a payment raises nothing.
    run.kept_open = None;
    run.give(&proved(120));
    assert_eq!(Agent::used(&run.state, &run.env()), Usage::new(101));
}
