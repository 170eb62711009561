//! Broadcasts that no pool takes, and estimates that one node gets wrong.

use std::sync::Arc;
use std::time::Duration;

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, U256, hex};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use parking_lot::Mutex;
use privatix_chain::{
    Endpoints, Fate, FeePolicy, Finality, Intent, Obstacle, Raise, Transactor, TxId, TxRecord, TxStatus,
};
use privatix_db::Database;
use privatix_testkit::{Anvil, wait_until};

use crate::support::{
    FaultProxy, Outcomes, PATIENCE, Running, Verdict, ended, fresh, http, submit, transactor, until,
};

fn target(n: u8) -> Address {
    Address::repeat_byte(n)
}

fn gift(anvil: &Anvil, n: u8) -> Intent {
    Intent::new(format!("gift {n}"), anvil.account(1), target(n), Vec::new()).value(1)
}

async fn got(anvil: &Anvil, n: u8) -> u64 {
    anvil.balance(target(n)).await.unwrap().to()
}

/// Seldom, so that a refused one is not tried again before a new head comes.
const SELDOM: Duration = Duration::from_hours(1);

/// Mines blocks until an intent is over.
async fn over(anvil: &Anvil, db: &Database, transactor: &Transactor, id: TxId) -> TxRecord {
    wait_until("the end", PATIENCE, async || {
        anvil.mine(1).await.unwrap();
        transactor.wake();
        !transactor.get(&mut db.read().await.unwrap(), id).await.unwrap().status.is_open()
    })
    .await
    .unwrap();
    ended(db, transactor, id).await
}

const REFUSAL: Verdict =
    Verdict::Error(-32_000, "tx fee (2.00 ether) exceeds the configured cap (1.00 ether)");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nonce_that_no_pool_accepted_goes_to_the_next_intent() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let refused = hex::encode(target(1));
    proxy.rule(move |method, params| match method {
        "eth_sendRawTransaction" if params[0].as_str().unwrap().contains(&refused) => REFUSAL,
        _ => Verdict::Forward,
    });
    let transactor =
        transactor(&db, http(&proxy.url()), &anvil).poll_interval(SELDOM).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let first = submit(&db, &transactor, gift(&anvil, 1)).await;
    let released = until(&db, &transactor, first, "its release", |record| {
        record.bound == Some(0) && record.nonce.is_none()
    })
    .await;
    let Some(obstacle @ Obstacle::NotServed { endpoint, .. }) = &released.obstacle else {
        panic!("{released:?}")
    };
    assert!(proxy.url().contains(endpoint.as_str()), "{endpoint}");
    assert!(obstacle.to_string().contains("--rpc.txfeecap"), "the remedy: {obstacle}");
    let second = submit(&db, &transactor, gift(&anvil, 2)).await;
    let sent = until(&db, &transactor, second, "its broadcast", |record| record.bound.is_some()).await;
    assert_eq!(sent.bound, Some(0));
    proxy.honest();
    let record = over(&anvil, &db, &transactor, second).await;
    assert_eq!((record.status, record.nonce), (TxStatus::Mined, Some(0)));
    let record = over(&anvil, &db, &transactor, first).await;
    assert_eq!((record.status, record.nonce), (TxStatus::Mined, Some(1)));
    for n in [1, 2] {
        assert_eq!(anvil.balance(target(n)).await.unwrap(), U256::from(1), "{n}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_an_endpoint_kept_and_sent_later_have_no_second_effect() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    proxy.rule(move |method, params| match method {
        "eth_sendRawTransaction" => {
            keep.lock().get_or_insert_with(|| params[0].as_str().unwrap().to_owned());
            REFUSAL
        }
        _ => Verdict::Forward,
    });
    let transactor =
        transactor(&db, http(&proxy.url()), &anvil).poll_interval(SELDOM).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let first = submit(&db, &transactor, gift(&anvil, 1)).await;
    let released = |record: &TxRecord| record.bound == Some(0) && record.nonce.is_none();
    until(&db, &transactor, first, "its release", released).await;
    let second = submit(&db, &transactor, gift(&anvil, 2)).await;
    until(&db, &transactor, second, "the first one's nonce", |record| record.bound == Some(0)).await;

    let raw = kept.lock().clone().unwrap();
    let hash: B256 = anvil.rpc("eth_sendRawTransaction", serde_json::json!([raw])).await.unwrap();
    proxy.honest();
    let first = over(&anvil, &db, &transactor, first).await;
    let second = over(&anvil, &db, &transactor, second).await;
    assert_eq!((first.status, first.nonce), (TxStatus::Mined, Some(0)));
    assert_eq!(first.inclusion.unwrap().tx_hash, hash);
    assert_eq!((second.status, second.nonce), (TxStatus::Mined, Some(1)));
    for n in [1, 2] {
        assert_eq!(anvil.balance(target(n)).await.unwrap(), U256::from(1), "{n}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_pool_says_counts_more_than_what_a_provider_does_not_serve() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let [blocking, poor] = [(); 2].map(|()| FaultProxy::start(anvil.url()));
    let (blocking, poor) = (blocking.await.unwrap(), poor.await.unwrap());
    let refuses = |words: &'static str| {
        move |method: &str, _: &serde_json::Value| match method {
            "eth_sendRawTransaction" => Verdict::Error(-32_000, words),
            _ => Verdict::Forward,
        }
    };
    blocking.rule(refuses("rpc method is not whitelisted"));
    poor.rule(refuses("insufficient funds for gas * price + value: balance 0, tx cost 1"));
    let endpoints = Endpoints::new(http(&blocking.url()), [http(&poor.url())]);
    let transactor = transactor(&db, endpoints, &anvil).poll_interval(SELDOM).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, gift(&anvil, 1)).await;
    let refused = until(&db, &transactor, id, "an obstacle", |record| record.obstacle.is_some()).await;
    assert!(matches!(refused.obstacle, Some(Obstacle::InsufficientFunds { .. })), "{refused:?}");

    // And an endpoint that takes it is enough.
    poor.honest();
    assert_eq!(over(&anvil, &db, &transactor, id).await.status, TxStatus::Mined);
    running.stop().await.unwrap();
}

/// What a wallet of the same account sends.
async fn send_foreign(anvil: &Anvil, nonce: u64) -> B256 {
    let request = TransactionRequest::default()
        .with_from(anvil.account(1))
        .with_to(target(0xff))
        .with_nonce(nonce)
        .with_gas_limit(50_000)
        .with_max_fee_per_gas(400_000_000_000)
        .with_max_priority_fee_per_gas(100_000_000_000);
    *anvil.provider().send_transaction(request).await.unwrap().tx_hash()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filler_that_no_pool_took_ends_when_its_nonce_is_used_without_it() {
    let anvil = Anvil::start().await.unwrap();
    anvil.set_automine(false).await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let (own, refused) = (hex::encode(anvil.account(1)), Arc::new(Mutex::new(0_u32)));
    let count = Arc::clone(&refused);
    proxy.rule(move |method, params| match method {
        "eth_sendRawTransaction" if params[0].as_str().unwrap().contains(&own) => {
            *count.lock() += 1;
            Verdict::Error(-32_000, "txpool is full")
        }
        _ => Verdict::Forward,
    });
    let mut fees = FeePolicy::default();
    fees.stuck_after_blocks = 1;
    let transactor = transactor(&db, http(&proxy.url()), &anvil).fees(fees).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    // A wallet's transaction vanishes from the pool, below one of ours.
    let foreign = send_foreign(&anvil, 0).await;
    let id = submit(&db, &transactor, gift(&anvil, 1)).await;
    until(&db, &transactor, id, "its broadcast", |record| record.nonce == Some(1)).await;
    anvil.drop_transaction(foreign).await.unwrap();
    wait_until("two fillers", PATIENCE, async || {
        anvil.mine(1).await.unwrap();
        *refused.lock() >= 2
    })
    .await
    .unwrap();
    send_foreign(&anvil, 0).await;
    assert_eq!(over(&anvil, &db, &transactor, id).await.status, TxStatus::Mined);
    let open = async || transactor.open_intents(&mut db.read().await.unwrap()).await.unwrap();
    wait_until("the fillers' end", PATIENCE, async || {
        anvil.mine(1).await.unwrap();
        open().await.is_empty()
    })
    .await
    .unwrap();
    assert_eq!(got(&anvil, 1).await, 1);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_intents_that_make_the_same_call_are_both_carried_out() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    proxy.rule(|method, _| if method == "eth_sendRawTransaction" { REFUSAL } else { Verdict::Forward });
    let transactor = transactor(&db, http(&proxy.url()), &anvil)
        .poll_interval(SELDOM)
        .finality(Finality::Depth(3))
        .build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let first = submit(&db, &transactor, gift(&anvil, 1)).await;
    until(&db, &transactor, first, "its release", |record| record.bound == Some(0) && record.nonce.is_none())
        .await;
    proxy.honest();
    // The same call for the same nonce is the same transaction.
    let same = Intent::new("the same", anvil.account(1), target(1), Vec::new()).value(1);
    let second = submit(&db, &transactor, same).await;
    until(&db, &transactor, second, "the first one's nonce", |record| record.bound == Some(0)).await;
    for (id, nonce) in [(second, 0), (first, 1)] {
        let record = over(&anvil, &db, &transactor, id).await;
        assert_eq!((record.status, record.nonce), (TxStatus::Mined, Some(nonce)));
    }
    assert_eq!(got(&anvil, 1).await, 2);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_lagging_node_fails_no_intent() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let transactor = transactor(&db, http(&proxy.url()), &anvil)
        .revert_patience(3, Duration::from_secs(20))
        .build(Outcomes::default());
    let running = Running::transactor(&transactor);
    // One at whose head the call reverts, and one that only estimates wrongly.
    for (n, methods) in [(1, &["eth_estimateGas", "eth_call"][..]), (2, &["eth_estimateGas"])] {
        proxy.rule(move |method, _| {
            if methods.contains(&method) {
                Verdict::Error(3, "execution reverted: not yet")
            } else {
                Verdict::Forward
            }
        });
        let id = submit(&db, &transactor, gift(&anvil, n)).await;
        until(&db, &transactor, id, "an obstacle", |record| record.obstacle.is_some()).await;
        for _ in 0..4 {
            let asked = proxy.count("eth_call");
            anvil.mine(1).await.unwrap();
            proxy.asked("another try", |all| all.iter().filter(|m| *m == "eth_call").count() > asked).await;
        }
        let record = transactor.get(&mut db.read().await.unwrap(), id).await.unwrap();
        assert_eq!(record.status, TxStatus::Unsent);
        proxy.honest();
        anvil.mine(1).await.unwrap();
        assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Mined);
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_what_the_node_has_is_not_answered_by_sending_it_again_and_again() {
    let anvil = Anvil::start().await.unwrap();
    anvil.set_automine(false).await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    proxy.rule(|method, _| match method {
        "eth_sendRawTransaction" => Verdict::ForwardThenError(-32_000, "not today"),
        _ => Verdict::Forward,
    });
    let transactor =
        transactor(&db, http(&proxy.url()), &anvil).poll_interval(SELDOM).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, gift(&anvil, 1)).await;
    wait_until("its fate", PATIENCE, async || {
        let attempts = transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap();
        attempts.first().is_some_and(|attempt| attempt.fate == Fate::Held)
    })
    .await
    .unwrap();
    assert_eq!(proxy.count("eth_sendRawTransaction"), 1);
    assert_eq!(over(&anvil, &db, &transactor, id).await.status, TxStatus::Mined);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_that_is_never_answered_does_not_stop_raises() {
    let anvil = Anvil::start().await.unwrap();
    anvil.set_automine(false).await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    proxy.rule(|method, _| match method {
        "eth_sendRawTransaction" => Verdict::ForwardThenSilence,
        _ => Verdict::Forward,
    });
    let endpoint = http(&proxy.url()).timeout(Duration::from_secs(1));
    let transactor = transactor(&db, endpoint, &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, gift(&anvil, 1)).await;
    until(&db, &transactor, id, "its signature", |record| record.status == TxStatus::Sent).await;
    let mut tx = db.begin().await.unwrap();
    transactor.bump(&mut tx, id, Raise::Market).await.unwrap();
    tx.commit().await.unwrap();
    transactor.wake();
    wait_until("the raise", PATIENCE, async || {
        transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap().len() == 2
    })
    .await
    .unwrap();
    running.stop().await.unwrap();
}
