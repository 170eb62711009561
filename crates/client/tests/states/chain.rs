//! What the chain shows of a client's channel, and takes back again, is decided in the transaction that stores it.

use std::collections::BTreeSet;
use std::time::Duration;

use alloy::primitives::B256;
use alloy::sol_types::SolCall as _;
use privatix_channel::{ChainEvent, ChainTime, ChannelEvent, Closure, Fee, LogPosition};
use privatix_contracts::call;
use privatix_market::*;
use privatix_node::inputs::Opening as Found;
use privatix_store::channels;
use privatix_store::events::{self, Place};

use crate::support::{Decided, Parts, Scene, a, descriptor, id, terms};

/// A reorganisation removes all blocks above this one.
async fn undo_above(scene: &Scene, block: u64) {
    let inputs = scene.decider.inputs();
    let mut tx = scene.db.begin().await.unwrap();
    let before = inputs.before(&mut tx, &BTreeSet::from([id()])).await.unwrap();
    assert!(!events::undo_above(&mut tx, block).await.unwrap().is_empty());
    channels::refold(&mut tx, id()).await.unwrap();
    let decided = inputs.chain(&mut tx, before).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(decided.damaged, []);
    scene.decider.all_committed(decided);
}

const CLOSED: ChannelEvent = ChannelEvent::Closed { paid: a(60), refund: a(940), closure: Closure::ByAgent };

/// The plug-in does what is asked of it.
async fn obey(scene: &Scene) -> Decided {
    let asked = scene.state().await.own.service.asked.unwrap();
    let did = match asked.target {
        Target::Absent => Actual::Absent,
        Target::Suspended => Actual::Suspended,
        Target::Running => Actual::Running,
    };
    scene.give(Input::Adapter { seq: asked.seq, answer: Answered::Did(did) }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undone_close_by_the_agent_is_asked_for_again() {
    let scene = Scene::served().await;
    scene.uses(60).await;
    // The agent ends the service, and closes.
    scene
        .give(Input::Peer(ClientMessage::Paid {
            acknowledged: a(60),
            ended: true,
            carried: Carried::default(),
        }))
        .await;
    obey(&scene).await;
    scene.happens(2, CLOSED).await;
    scene.calm.wait(Duration::from_hours(9));
    scene.give(Input::Look).await;
    assert!(scene.transactions().await.is_empty(), "there is nothing to do");

    // It does not come again. The agent has its time from then on.
    undo_above(&scene, 1).await;
    scene.calm.wait(Duration::from_mins(119));
    scene.give(Input::Look).await;
    assert!(scene.transactions().await.is_empty());
    scene.calm.wait(Duration::from_mins(2));
    scene.give(Input::Look).await;
    let [request] = &scene.transactions().await[..] else { panic!("no request") };
    assert_eq!(request.intent.input.to_vec(), call::request_close(&descriptor(), a(60)).abi_encode());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_goes_on_when_the_close_that_stopped_it_is_undone() {
    let scene = Scene::served().await;
    scene.uses(60).await;
    scene
        .give(Input::Peer(ClientMessage::Paid {
            acknowledged: a(60),
            ended: false,
            carried: Carried::default(),
        }))
        .await;
    scene.happens(2, CLOSED).await;
    obey(&scene).await;
    assert_eq!(scene.state().await.own.service.actual, Actual::Absent);
    undo_above(&scene, 1).await;
    assert_eq!(scene.asked.driven.lock().unwrap().last().unwrap().1, Target::Running);
    obey(&scene).await;
    let applied = scene.uses(75).await;
    assert_eq!((applied.state.book.best, applied.state.own.ending), (a(75), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_top_up_mined_after_the_close_request_does_not_keep_the_deposit() {
    let scene = Scene::served().await;
    scene.order(ClientOrder::Close).await.unwrap();
    obey(&scene).await;
    scene.calm.wait(Duration::from_secs(11));
    scene.give(Input::Look).await;
    let seq = scene.state().await.own.flights[0].seq;
    let request = ClientPurpose::RequestClose { admitted: a(0) };
    scene.happens(2, ChannelEvent::CloseRequested { paid: a(0), ends_at: ChainTime::new(90_000) }).await;
    scene.give(Input::Tx { seq, purpose: request, fate: Fate::Final }).await;
    assert_eq!(scene.transactions().await.len(), 1);
    // One that was in the pool takes the request back.
    scene.happens(3, ChannelEvent::ToppedUp { deposit: a(1_100), request_cancelled: true }).await;
    let sent = scene.transactions().await;
    assert_eq!(sent.len(), 2, "asked for again");
    assert_eq!(sent[0].intent.input.to_vec(), call::request_close(&descriptor(), a(0)).abi_encode());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_request_admits_every_voucher_that_was_sent() {
    let scene = Scene::served().await;
    scene.uses(60).await;
    scene.order(ClientOrder::Close).await.unwrap();
    // The last use is reported when the plug-in has stopped. It is signed, sent and admitted in one transaction.
    scene.uses(75).await;
    obey(&scene).await;
    scene.give(Input::Look).await;
    let best = scene.asked.sent.lock().unwrap().iter().map(|sending| sending.cumulative).max().unwrap();
    assert_eq!(best, a(75));
    let [request] = &scene.transactions().await[..] else { panic!("no request") };
    assert_eq!(request.intent.input.to_vec(), call::request_close(&descriptor(), best).abi_encode());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_found_on_chain_only_asks_for_its_offering_and_then_for_access() {
    let scene = Scene::empty(Parts::default()).await;
    let inputs = scene.decider.inputs();
    let (channel, described) = (id(), descriptor());
    let event = ChannelEvent::Opened { deposit: a(1_000), fee: Fee::ZERO };
    let at = LogPosition::new(5, 0);
    let mut tx = scene.db.begin().await.unwrap();
    let mut before = inputs.before(&mut tx, &BTreeSet::from([channel])).await.unwrap();
    let found = Found { channel, descriptor: &described, deposit: a(1_000), terms: None };
    inputs.begin(&mut tx, &mut before, found).await.unwrap();
    let shown = ChainEvent::Opened { channel, descriptor: described, event };
    assert!(events::record(&mut tx, Place { at, tx: B256::repeat_byte(1) }, &shown).await.unwrap());
    channels::advance(&mut tx, channel, at, event).await.unwrap();
    let decided = inputs.chain(&mut tx, before).await.unwrap();
    tx.commit().await.unwrap();
    scene.decider.all_committed(decided);
    assert_eq!(*scene.asked.openings.lock().unwrap(), [Some(Outcome::Done)]);
    let questions =
        || scene.asked.questions.lock().unwrap().iter().map(|(_, what)| *what).collect::<Vec<_>>();
    assert_eq!(questions(), [Ask::Attach, Ask::Offering]);
    scene.give(Input::Terms(terms())).await;
    assert_eq!(questions(), [Ask::Attach, Ask::Offering, Ask::Access]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_that_is_rolled_back_leaves_neither_a_voucher_nor_a_message() {
    let scene = Scene::served().await;
    let revision = scene.decider.load(&mut scene.db.read().await.unwrap(), id()).await.unwrap().revision;
    let used = Input::<Client>::Used { used: privatix_channel::Usage::new(60), running: true };
    {
        let mut tx = scene.db.begin().await.unwrap();
        let before = scene.decider.load(&mut tx, id()).await.unwrap();
        let applied = scene.decider.decide_in(&mut tx, &before, used.clone()).await.unwrap();
        assert_eq!(applied.state.book.best, a(60), "signed");
        // Killed before the commit.
    }
    let stored = scene.decider.load(&mut scene.db.read().await.unwrap(), id()).await.unwrap();
    assert_eq!((stored.revision, stored.state.book.best), (revision, a(0)));
    assert!(scene.asked.sent.lock().unwrap().is_empty(), "nothing leaves before the commit");
    assert_eq!(scene.uses(60).await.state.book.best, a(60));
    assert_eq!(scene.asked.sent.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_that_is_undone_is_decided_with_the_budget_that_counts() {
    let scene = Scene::served().await;
    scene.happens(2, CLOSED).await;
    let before = *scene.asked.budgets.lock().unwrap();
    // The channel was closed before this decision, and is open after it.
    undo_above(&scene, 1).await;
    assert_eq!(*scene.asked.budgets.lock().unwrap(), before + 1);
    scene.order(ClientOrder::End).await.unwrap();
    let before = *scene.asked.budgets.lock().unwrap();
    scene.give(Input::Look).await;
    assert_eq!(*scene.asked.budgets.lock().unwrap(), before, "nothing more is spent");
}
