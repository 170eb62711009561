//! What is decided about a client's channel is carried out in the transaction that stores it.

use std::time::Duration;

use alloy::primitives::keccak256;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall as _;
use diesel_async::SimpleAsyncConnection as _;
use privatix_channel::{
    ChainTime, ChannelEvent, ChannelStatus, Fee, OnChain, ServiceStatus, Voucher, VoucherVerifier,
    sign_voucher,
};
use privatix_contracts::{IPSC, call};
use privatix_db::on;
use privatix_market::*;
use privatix_node::shell::NotApplied;
use privatix_store::{channels, purposes, vouchers};

use crate::support::{Parts, Scene, a, descriptor, domain, id, key, terms};

/// An offering is accepted, with a deposit of 1,000.
async fn accept(scene: &Scene) {
    let opening = Opening { terms: terms(), deposit: a(1_000), fee: Fee::ZERO };
    let decision = ClientState::accept(id(), descriptor(), &opening, &scene.decider.surroundings()).unwrap();
    let mut tx = scene.db.begin().await.unwrap();
    channels::insert(&mut tx, id(), &descriptor(), a(1_000)).await.unwrap();
    let applied = scene.decider.begin(&mut tx, decision.clone()).await.unwrap();
    assert!(applied.wakes_jobs);
    let again = scene.decider.begin(&mut tx, decision).await.unwrap_err();
    assert!(matches!(again, NotApplied::Moved(_)), "{again}");
    tx.commit().await.unwrap();
    scene.decider.committed(&applied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opening_is_submitted_once_its_money_is_there_and_asks_for_access_once_it_is_on_chain() {
    let scene = Scene::empty(Parts::default()).await;
    accept(&scene).await;
    let purpose = ClientPurpose::Open { deposit: a(1_000) };
    assert_eq!(*scene.asked.funded.lock().unwrap(), [(1, purpose)]);
    assert!(scene.transactions().await.is_empty());

    let applied = scene.give(Input::Tx { seq: 1, purpose, fate: Fate::Funded }).await;
    assert!(applied.wakes_transactor);
    let [open] = &scene.transactions().await[..] else { panic!("no opening") };
    let expected = call::open(&descriptor(), a(1_000)).unwrap().abi_encode();
    assert_eq!((open.intent.to, open.intent.input.to_vec()), (domain().contract(), expected));
    let [recorded] =
        &purposes::of_subject(&mut scene.db.read().await.unwrap(), Subject::Channel(id())).await.unwrap()[..]
    else {
        panic!("no purpose")
    };
    assert_eq!((recorded.effect.seq, recorded.purpose, recorded.from_wallet), (1, purpose.into(), false));

    assert_eq!(*scene.asked.openings.lock().unwrap(), []);
    scene.happens(1, ChannelEvent::Opened { deposit: a(1_000), fee: Fee::ZERO }).await;
    assert_eq!(*scene.asked.openings.lock().unwrap(), [Some(Outcome::Done)]);
    assert!(matches!(scene.asked.questions.lock().unwrap()[..], [(_, Ask::Access)]));
    scene.give(Input::Chain(OnChain::default())).await;
    assert_eq!(*scene.asked.openings.lock().unwrap(), [Some(Outcome::Done), None], "undone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opening_that_is_given_up_or_has_no_money_ends_with_its_reason() {
    for (is_given_up, trouble) in [(true, Trouble::Cancelled), (false, Trouble::Funds)] {
        let scene = Scene::empty(Parts::default()).await;
        accept(&scene).await;
        let purpose = ClientPurpose::Open { deposit: a(1_000) };
        let applied = if is_given_up {
            scene.order(ClientOrder::End).await.unwrap()
        } else {
            scene.give(Input::Tx { seq: 1, purpose, fate: Fate::Unfunded(trouble) }).await
        };
        assert_eq!(applied.state.own.ending.map(|end| end.why), Some(ClientEnd::NotOpened(trouble)));
        assert_eq!(*scene.asked.openings.lock().unwrap(), [Some(Outcome::Failed(trouble))]);
        assert_eq!(*scene.asked.taken_back.lock().unwrap(), if is_given_up { vec![1] } else { vec![] });
        assert!(scene.transactions().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_is_signed_and_stored_before_it_is_sent_and_a_close_request_admits_it() {
    let scene = Scene::served().await;
    let applied = scene.uses(60).await;
    assert_eq!(applied.state.book.best, a(60));
    let stored = vouchers::get(&mut scene.db.read().await.unwrap(), id()).await.unwrap().unwrap();
    VoucherVerifier::new(domain(), &descriptor()).verify(&stored.signed).unwrap();
    assert_eq!(stored.signed.cumulative(), a(60));
    let [sent] = scene.asked.sent.lock().unwrap()[..] else { panic!("not sent") };
    assert_eq!(sent.cumulative, a(60));
    let received = ClientMessage::Paid { acknowledged: a(60), ended: false, carried: Carried::default() };
    assert_eq!(scene.give(Input::Peer(received)).await.state.book.acknowledged, a(60));

    scene.order(ClientOrder::Close).await.unwrap();
    // The service is not stopped, so what was used meanwhile is waited for.
    assert!(scene.transactions().await.is_empty());
    scene.uses(75).await;
    scene.calm.wait(Duration::from_mins(2));
    scene.give(Input::Look).await;
    let [request] = &scene.transactions().await[..] else { panic!("no request") };
    assert_eq!(request.intent.input.to_vec(), call::request_close(&descriptor(), a(75)).abi_encode());
    assert!(!request.intent.repeatable);
    assert_eq!(scene.row().await.status, ChannelStatus::WaitChallenge);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_is_taken_back_when_the_challenge_is_over() {
    let scene = Scene::served().await;
    let asked = ChannelEvent::CloseRequested { paid: a(0), ends_at: ChainTime::new(2_000) };
    scene.happens(2, asked).await;
    assert_eq!(scene.row().await.status, ChannelStatus::InChallenge);
    assert!(scene.transactions().await.is_empty());
    *scene.calm.now.lock().unwrap() = ChainTime::new(2_000);
    scene.give(Input::Look).await;
    let [end] = &scene.transactions().await[..] else { panic!("no end") };
    assert_eq!(end.intent.input.to_vec(), call::finalize_close(&descriptor()).abi_encode());
    assert!(end.intent.repeatable, "a channel closes once only");
    assert_eq!(scene.row().await.status, ChannelStatus::WaitUncoop);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_top_up_is_paid_from_where_its_money_is_and_ends_its_order() {
    let scene = Scene::served().await;
    *scene.asked.left.lock().unwrap() = Some(a(100));
    let top_up = |order, amount| ClientOrder::TopUp { order: OrderId(order), amount: a(amount) };
    let refused = scene.order(top_up(1, 101)).await.unwrap_err();
    assert!(
        matches!(refused, NotApplied::Refused(Refused::Budget { left, .. }) if left == a(100)),
        "{refused}"
    );

    scene.order(top_up(1, 100)).await.unwrap();
    let [(seq, purpose)] = scene.asked.funded.lock().unwrap()[..] else { panic!("not funded") };
    assert_eq!(purpose, ClientPurpose::TopUp { order: OrderId(1), amount: a(100) });
    *scene.asked.wallet.lock().unwrap() = true;
    scene.give(Input::Tx { seq, purpose, fate: Fate::Funded }).await;
    let [sent] = &scene.transactions().await[..] else { panic!("no top-up") };
    let expected = call::top_up_with_permit(&descriptor(), a(100), IPSC::Permit::default()).unwrap();
    assert_eq!(sent.intent.input.to_vec(), expected.abi_encode());
    assert_eq!(sent.intent.after, Some(privatix_chain::TxId(7)));
    let recorded =
        purposes::of_subject(&mut scene.db.read().await.unwrap(), Subject::Channel(id())).await.unwrap();
    assert!(recorded[0].from_wallet, "another payment of the wallet waits for it");

    assert_eq!(*scene.asked.ended.lock().unwrap(), []);
    scene.give(Input::Tx { seq, purpose, fate: Fate::Final }).await;
    assert_eq!(*scene.asked.ended.lock().unwrap(), [(OrderId(1), Outcome::Done)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_not_the_channels_signs_nothing_and_stops_no_decision() {
    let other = PrivateKeySigner::from_bytes(&keccak256("another")).unwrap();
    let scene = Scene::served_with(Parts { signer: other, ..Parts::default() }).await;
    let applied = scene.uses(60).await;
    assert_eq!(applied.state.meter.used.get(), 60);
    assert_eq!((applied.state.book.best, applied.state.own.signer.tries), (a(0), 1));
    assert!(applied.effects.contains(&Effect::Notify(ClientNotice::CannotSign)));
    assert_eq!(vouchers::get(&mut scene.db.read().await.unwrap(), id()).await.unwrap(), None);
    assert!(scene.asked.sent.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_signed_beside_a_voucher_that_cannot_be_read_unless_it_is_more() {
    let scene = Scene::served().await;
    scene.uses(60).await;
    let mut tx = scene.db.begin().await.unwrap();
    on!(&mut *tx, |c| c.batch_execute("UPDATE vouchers SET signature = zeroblob(65)").await).unwrap();
    tx.commit().await.unwrap();
    scene.calm.wait(Duration::from_mins(1));
    let applied = scene.give(Input::Look).await;
    assert!(applied.damaged_voucher);
    assert_eq!((applied.state.book.best, applied.state.own.signer.tries), (a(0), 1));
    let stored = vouchers::amounts(&mut scene.db.read().await.unwrap(), id()).await.unwrap().unwrap();
    assert_eq!(stored.cumulative, a(60), "it is left for a repair");

    // More is due, so a better one takes its place.
    scene.calm.wait(Duration::from_mins(1));
    let applied = scene.uses(70).await;
    assert_eq!((applied.damaged_voucher, applied.state.book.best), (false, a(70)));
    let voucher = Voucher { channel: id(), cumulative: a(70) };
    let expected = sign_voucher(&key(), &domain(), voucher).unwrap();
    let stored = vouchers::get(&mut scene.db.read().await.unwrap(), id()).await.unwrap().unwrap();
    assert_eq!(stored.signed, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_show_where_a_channel_is_and_why() {
    let scene = Scene::open(Parts::default()).await;
    let shown = async || {
        let row = scene.row().await;
        (row.status, row.service, row.reason.unwrap(), row.held)
    };
    let expected = |service, reason: &str, held| (ChannelStatus::Active, service, reason.to_owned(), held);
    let waits = "the agent has not given access yet";
    assert_eq!(shown().await, expected(ServiceStatus::Pending, waits, false));
    let applied = scene.give(Input::Peer(ClientMessage::Access(Fetched::default()))).await;
    assert_eq!(shown().await, expected(ServiceStatus::Activating, "paid as agreed", false));
    let seq = applied.state.own.service.asked.unwrap().seq;
    scene.give(Input::Adapter { seq, answer: Answered::Did(Actual::Running) }).await;
    assert_eq!(shown().await, expected(ServiceStatus::Active, "paid as agreed", false));
    scene.order(ClientOrder::Pause).await.unwrap();
    assert_eq!(shown().await, expected(ServiceStatus::Suspending, "paused by the user", true));
    // Nothing waits for the plug-in: the last order counts.
    scene.order(ClientOrder::Resume).await.unwrap();
    scene.order(ClientOrder::Pause).await.unwrap();
    assert_eq!(scene.state().await.own.service.target, Target::Suspended);
    assert_eq!(scene.asked.driven.lock().unwrap().last().unwrap().1, Target::Suspended);
    scene.order(ClientOrder::End).await.unwrap();
    assert_eq!(shown().await, expected(ServiceStatus::Terminating, "ended by the user", true));
}
