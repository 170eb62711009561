//! One intent, one nonce, one mined transaction: whoever else uses the account, whatever the chain takes back.

use std::sync::Arc;

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use privatix_chain::{
    Endpoints, FeePolicy, Finality, Intent, Obstacle, Transactor, TxChange, TxId, TxStatus,
};
use privatix_db::Database;
use privatix_testkit::{Anvil, wait_until};
use serde_json::Value;
use tokio::sync::Notify;

use crate::support::{
    FaultProxy, NEVER, Outcomes, PATIENCE, Running, Verdict, ended, fresh, http, submit, transactor, until,
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

/// What a wallet of the same account sends, with this nonce, for much more gas than we offer.
fn foreign(anvil: &Anvil, nonce: u64) -> TransactionRequest {
    TransactionRequest::default()
        .with_from(anvil.account(1))
        .with_to(target(0xff))
        .with_value(U256::from(1))
        .with_nonce(nonce)
        .with_gas_limit(50_000)
        .with_max_fee_per_gas(400_000_000_000)
        .with_max_priority_fee_per_gas(100_000_000_000)
}

async fn send_foreign(anvil: &Anvil, nonce: u64) -> B256 {
    *anvil.provider().send_transaction(foreign(anvil, nonce)).await.unwrap().tx_hash()
}

async fn sent(db: &Database, transactor: &Transactor, id: TxId) -> B256 {
    until(db, transactor, id, "its broadcast", |record| record.status == TxStatus::Sent).await;
    transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap()[0].hash
}

async fn in_pool(anvil: &Anvil, hash: B256) {
    wait_until("the transaction in the pool", PATIENCE, async || {
        anvil.provider().get_transaction_by_hash(hash).await.unwrap().is_some()
    })
    .await
    .unwrap();
}

/// Mines a block again and again until the intent is as wished.
async fn mine_until(anvil: &Anvil, what: &str, mut wish: impl AsyncFnMut() -> bool) {
    wait_until(what, PATIENCE, async || {
        anvil.mine(1).await.unwrap();
        wish().await
    })
    .await
    .unwrap();
}

async fn status(db: &Database, transactor: &Transactor, id: TxId) -> TxStatus {
    transactor.get(&mut db.read().await.unwrap(), id).await.unwrap().status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_a_wallet_replaced_is_dropped_once_that_is_certain() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let transactor = transactor(&db, http(anvil.url()), &anvil).confirmations(2).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    anvil.set_automine(false).await.unwrap();
    let id = submit(&db, &transactor, gift(&anvil, 1)).await;
    let hash = sent(&db, &transactor, id).await;
    in_pool(&anvil, hash).await;
    send_foreign(&anvil, 0).await;
    anvil.mine(1).await.unwrap();
    let record = until(&db, &transactor, id, "an obstacle", |record| record.obstacle.is_some()).await;
    assert_eq!((record.status, record.obstacle), (TxStatus::Sent, Some(Obstacle::NonceTaken { nonce: 0 })));
    assert!(Outcomes::rows(&db).await.is_empty(), "a reorg may still give it back");

    mine_until(&anvil, "the end", async || !status(&db, &transactor, id).await.is_open()).await;
    let rows = Outcomes::rows(&db).await;
    let [(dropped, TxStatus::Dropped, Some(reason))] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(*dropped, id);
    assert!(reason.contains("took nonce 0"), "{reason}");

    // The next one is not held up.
    let next = submit(&db, &transactor, gift(&anvil, 2)).await;
    sent(&db, &transactor, next).await;
    mine_until(&anvil, "the next", async || !status(&db, &transactor, next).await.is_open()).await;
    let record = ended(&db, &transactor, next).await;
    assert_eq!((record.status, record.nonce), (TxStatus::Mined, Some(1)));
    assert_eq!((got(&anvil, 1).await, got(&anvil, 2).await), (0, 1));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nonce_that_a_wallet_took_just_before_the_broadcast_is_replaced_by_another() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let go = Arc::new(Notify::new());
    let hold = Arc::clone(&go);
    let mut first = true;
    proxy.rule(move |method, params| match method {
        "eth_sendRawTransaction" if std::mem::take(&mut first) => Verdict::ForwardAfter(Arc::clone(&hold)),
        // A node that does not keep old states.
        "eth_getTransactionCount" if params[1].as_str().is_some_and(|at| at.starts_with("0x")) => {
            Verdict::Error(-32_000, "missing trie node")
        }
        _ => Verdict::Forward,
    });
    let transactor = transactor(&db, http(&proxy.url()), &anvil).confirmations(1).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, gift(&anvil, 1)).await;
    proxy.asked("the broadcast", |asked| asked.iter().any(|method| method == "eth_sendRawTransaction")).await;
    let foreign = send_foreign(&anvil, 0).await;
    wait_until("the wallet's block", PATIENCE, async || {
        anvil.provider().get_transaction_receipt(foreign).await.unwrap().is_some()
    })
    .await
    .unwrap();
    go.notify_one();
    until(&db, &transactor, id, "an obstacle", |record| {
        record.obstacle == Some(Obstacle::NonceTaken { nonce: 0 })
    })
    .await;
    // The only endpoint could hide that it kept and mined what it refused.
    let unconfirmed = Some(Obstacle::LossUnconfirmed { nonce: 0 });
    mine_until(&anvil, "the obstacle", async || {
        transactor.get(&mut db.read().await.unwrap(), id).await.unwrap().obstacle == unconfirmed
    })
    .await;
    running.stop().await.unwrap();
    let both = Endpoints::new(http(&proxy.url()), [http(anvil.url())]);
    let transactor =
        crate::support::transactor(&db, both, &anvil).confirmations(1).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    mine_until(&anvil, "the end", async || !status(&db, &transactor, id).await.is_open()).await;
    let record = ended(&db, &transactor, id).await;
    assert_eq!((record.status, record.nonce), (TxStatus::Mined, Some(1)));
    assert_eq!(got(&anvil, 1).await, 1);
    assert_eq!(Outcomes::rows(&db).await, [(id, TxStatus::Mined, None)]);
    running.stop().await.unwrap();
}

/// Something between us and the node delivers the transaction twice, tells us the second answer, and the receipt is
/// not to be had for a while. Whoever believed that and took another nonce would pay twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nonce_that_our_own_transaction_took_is_not_replaced() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    proxy.rule(|method, _| match method {
        "eth_sendRawTransaction" => {
            Verdict::ForwardThenError(-32_000, "nonce too low: next nonce 1, tx nonce 0")
        }
        "eth_getTransactionReceipt" => Verdict::Change(Box::new(|_| Value::Null)),
        _ => Verdict::Forward,
    });
    let transactor = transactor(&db, http(&proxy.url()), &anvil).confirmations(1).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, gift(&anvil, 1)).await;
    until(&db, &transactor, id, "an obstacle", |record| record.obstacle.is_some()).await;
    // A block on top makes the nonce's loss as deep as confirmed, but not yet certain: the receipt may only lag.
    anvil.mine(1).await.unwrap();
    proxy.asked_again("eth_blockNumber", 4).await;
    assert_eq!(status(&db, &transactor, id).await, TxStatus::Sent);
    assert_eq!(proxy.count("eth_sendRawTransaction"), 1);
    proxy.honest();
    anvil.mine(1).await.unwrap();
    let record = ended(&db, &transactor, id).await;
    assert_eq!((record.status, record.nonce), (TxStatus::Mined, Some(0)));
    assert_eq!(got(&anvil, 1).await, 1);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_whose_answer_is_lost_is_not_repeated_under_another_nonce() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let mut first = true;
    proxy.rule(move |method, _| match method {
        "eth_sendRawTransaction" if std::mem::take(&mut first) => {
            Verdict::Change(Box::new(|_| Value::Null)) // it was taken, and the answer says nothing
        }
        _ => Verdict::Forward,
    });
    let transactor = transactor(&db, http(&proxy.url()), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, gift(&anvil, 1)).await;
    let record = ended(&db, &transactor, id).await;
    assert_eq!((record.status, record.nonce), (TxStatus::Mined, Some(0)));
    assert_eq!(got(&anvil, 1).await, 1);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_only_endpoint_that_keeps_what_it_refused_and_hides_it_causes_no_second_effect() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    proxy.rule(|method, _| match method {
        "eth_sendRawTransaction" => Verdict::ForwardThenError(-32_000, "not today"),
        "eth_getTransactionReceipt" | "eth_getTransactionByHash" => {
            Verdict::Change(Box::new(|_| Value::Null))
        }
        _ => Verdict::Forward,
    });
    let transactor = transactor(&db, http(&proxy.url()), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, gift(&anvil, 1)).await;
    let unconfirmed = Some(Obstacle::LossUnconfirmed { nonce: 0 });
    mine_until(&anvil, "the obstacle", async || {
        transactor.get(&mut db.read().await.unwrap(), id).await.unwrap().obstacle == unconfirmed
    })
    .await;
    assert_eq!(transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap().len(), 1);
    proxy.honest();
    mine_until(&anvil, "the end", async || !status(&db, &transactor, id).await.is_open()).await;
    let record = ended(&db, &transactor, id).await;
    assert_eq!((record.status, record.nonce), (TxStatus::Mined, Some(0)));
    assert_eq!(got(&anvil, 1).await, 1);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_first_endpoint_hides_is_found_at_a_second_one() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    proxy.rule(|method, _| match method {
        "eth_getTransactionReceipt" => Verdict::Change(Box::new(|_| Value::Null)),
        _ => Verdict::Forward,
    });
    let both = Endpoints::new(http(&proxy.url()), [http(anvil.url())]);
    let transactor = transactor(&db, both, &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, gift(&anvil, 1)).await;
    assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Mined);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_a_reorg_takes_back_is_mined_again() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let transactor = transactor(&db, http(anvil.url()), &anvil).confirmations(3).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    anvil.mine(3).await.unwrap();
    let id = submit(&db, &transactor, gift(&anvil, 1)).await;
    let record = until(&db, &transactor, id, "its block", |record| record.inclusion.is_some()).await;
    let first = record.inclusion.unwrap();

    anvil.reorg(1).await.unwrap();
    assert_eq!(got(&anvil, 1).await, 0);
    until(&db, &transactor, id, "another block", |record| {
        record.inclusion.is_some_and(|inclusion| inclusion.block_hash != first.block_hash)
    })
    .await;
    anvil.mine(3).await.unwrap();
    let record = ended(&db, &transactor, id).await;
    assert_eq!((record.status, record.nonce), (TxStatus::Mined, Some(0)));
    assert_eq!(record.inclusion.unwrap().tx_hash, first.tx_hash);
    assert_eq!(got(&anvil, 1).await, 1);
    assert_eq!(Outcomes::rows(&db).await, [(id, TxStatus::Mined, None)]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorg_of_a_mined_intent_is_reported_and_has_one_effect() {
    use TxChange::{Final, Mined, Reinstated};
    // Watched until it is final; and found again even if it was final.
    for (finality, first_changes) in
        [(Finality::Depth(4), &[Mined][..]), (Finality::Depth(0), &[Mined, Final][..])]
    {
        let anvil = Anvil::start().await.unwrap();
        let (_dir, db) = fresh().await;
        let sink = Outcomes::default();
        let transactor = transactor(&db, http(anvil.url()), &anvil)
            .fees(impatient())
            .finality(finality)
            .build(sink.clone());
        let running = Running::transactor(&transactor);
        anvil.mine(3).await.unwrap();
        let first = submit(&db, &transactor, gift(&anvil, 1)).await;
        assert_eq!(ended(&db, &transactor, first).await.status, TxStatus::Mined);
        anvil.reorg(1).await.unwrap();
        assert_eq!(got(&anvil, 1).await, 0);

        let second = submit(&db, &transactor, gift(&anvil, 2)).await;
        let is_over = async |id| {
            let record = transactor.get(&mut db.read().await.unwrap(), id).await.unwrap();
            !record.watched && record.status == TxStatus::Mined
        };
        mine_until(&anvil, "both", async || {
            sink.changes().contains(&(first, Reinstated)) && is_over(first).await && is_over(second).await
        })
        .await;
        assert_eq!((got(&anvil, 1).await, got(&anvil, 2).await), (1, 1), "{finality:?}");
        let of = |id| sink.changes().into_iter().filter(move |(of, _)| *of == id).map(|(_, change)| change);
        let expected = [first_changes, &[Reinstated, Mined, Final]].concat();
        assert_eq!(of(first).collect::<Vec<_>>(), expected, "{finality:?}");
        assert_eq!(of(second).collect::<Vec<_>>(), [Mined, Final], "{finality:?}");
        let attempts = transactor.attempts(&mut db.read().await.unwrap(), first).await.unwrap();
        assert!(attempts.iter().all(|attempt| attempt.nonce == attempts[0].nonce), "{attempts:?}");
        running.stop().await.unwrap();
    }
}

fn impatient() -> FeePolicy {
    let mut fees = FeePolicy::default();
    fees.stuck_after_blocks = 1;
    fees.stuck_after_seconds = 0;
    fees
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_that_a_wallet_leaves_is_filled() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let transactor = transactor(&db, http(anvil.url()), &anvil).fees(impatient()).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    anvil.set_automine(false).await.unwrap();
    let foreign = send_foreign(&anvil, 0).await;
    let id = submit(&db, &transactor, gift(&anvil, 1)).await;
    sent(&db, &transactor, id).await;
    assert_eq!(transactor.get(&mut db.read().await.unwrap(), id).await.unwrap().nonce, Some(1));
    anvil.drop_transaction(foreign).await.unwrap();
    mine_until(&anvil, "the end", async || !status(&db, &transactor, id).await.is_open()).await;
    assert_eq!(status(&db, &transactor, id).await, TxStatus::Mined);
    assert_eq!((got(&anvil, 1).await, got(&anvil, 0xff).await), (1, 0));
    let filter = privatix_chain::TxFilter { kind: Some("nonce-filler".to_owned()), ..Default::default() };
    let fillers = transactor.list(&mut db.read().await.unwrap(), &filter).await.unwrap();
    assert_eq!(fillers.iter().map(|filler| filler.nonce).collect::<Vec<_>>(), [Some(0)]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_transactors_on_one_database_never_give_an_intent_two_nonces() {
    const INTENTS: u8 = 12;
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let both = [(); 2].map(|()| transactor(&db, http(anvil.url()), &anvil).build(Outcomes::default()));
    let running = [Running::transactor(&both[0]), Running::transactor(&both[1])];
    let mut ids = Vec::new();
    for n in 1..=INTENTS {
        ids.push(submit(&db, &both[0], gift(&anvil, n)).await);
        both[1].wake();
    }
    for id in &ids {
        wait_until("the end", PATIENCE, async || !status(&db, &both[0], *id).await.is_open()).await.unwrap();
    }
    for (n, id) in (1..=INTENTS).zip(&ids) {
        assert_eq!((status(&db, &both[0], *id).await, got(&anvil, n).await), (TxStatus::Mined, 1), "{n}");
    }
    assert_eq!(Outcomes::rows(&db).await.len(), usize::from(INTENTS));
    for running in running {
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_blocks_come_with_transactions_only_a_lost_one_is_sent_again_after_a_while() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let mut fees = impatient();
    fees.stuck_after_seconds = 1;
    let transactor = transactor(&db, http(anvil.url()), &anvil).fees(fees).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    anvil.set_automine(false).await.unwrap();
    let id = submit(&db, &transactor, gift(&anvil, 1)).await;
    let hash = sent(&db, &transactor, id).await;
    in_pool(&anvil, hash).await;
    anvil.drop_transaction(hash).await.unwrap();
    anvil.set_automine(true).await.unwrap();
    ended(&db, &transactor, id).await;
    assert_eq!((status(&db, &transactor, id).await, got(&anvil, 1).await), (TxStatus::Mined, 1));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_websocket_a_lost_pool_is_noticed_at_the_next_block() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let transactor =
        transactor(&db, http(&anvil.ws_url()), &anvil).poll_interval(NEVER).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    anvil.set_automine(false).await.unwrap();
    let id = submit(&db, &transactor, gift(&anvil, 1)).await;
    let hash = sent(&db, &transactor, id).await;
    in_pool(&anvil, hash).await;
    anvil.drop_transaction(hash).await.unwrap();
    anvil.mine(1).await.unwrap();
    in_pool(&anvil, hash).await;
    mine_until(&anvil, "the end", async || !status(&db, &transactor, id).await.is_open()).await;
    assert_eq!((status(&db, &transactor, id).await, got(&anvil, 1).await), (TxStatus::Mined, 1));
    running.stop().await.unwrap();
}
