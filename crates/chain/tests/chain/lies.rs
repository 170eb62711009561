//! Endpoints that show outcomes which the chain does not have.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use parking_lot::Mutex;
use privatix_chain::{Deadline, Endpoints, Finality, Intent, Obstacle, Priority, TxChange, TxStatus};
use privatix_testkit::{Anvil, wait_until};
use serde_json::{Value, json};

use crate::support::{
    FaultProxy, Outcomes, PATIENCE, Running, Verdict, ended, fresh, http, submit, transactor, until,
};

fn gift(anvil: &Anvil) -> Intent {
    Intent::new("gift", anvil.account(1), Address::repeat_byte(1), Vec::new()).value(1)
}

async fn got(anvil: &Anvil) -> u64 {
    anvil.balance(Address::repeat_byte(1)).await.unwrap().to()
}

/// The receipt of a transaction in a block.
fn receipt(hash: &Value, block: u64, block_hash: B256, success: bool) -> Value {
    json!({
        "transactionHash": hash, "blockNumber": format!("0x{block:x}"), "blockHash": block_hash,
        "status": if success { "0x1" } else { "0x0" }, "gasUsed": "0x5208", "logs": [],
    })
}

/// An endpoint that shows whatever it is asked about as mined in this block, as the account's first transaction.
fn mines_all(proxy: &FaultProxy, block: u64, block_hash: B256, success: bool) {
    proxy.rule(move |method, params| {
        let hash = params[0].clone();
        match method {
            "eth_getTransactionReceipt" => {
                Verdict::Change(Box::new(move |_| receipt(&hash, block, block_hash, success)))
            }
            "eth_getTransactionCount" => Verdict::Change(Box::new(|_| json!("0x1"))),
            _ => Verdict::Forward,
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_that_a_second_endpoint_denies_is_no_outcome() {
    for success in [true, false] {
        let anvil = Anvil::start().await.unwrap();
        anvil.mine(1).await.unwrap();
        anvil.set_automine(false).await.unwrap();
        let block = anvil.provider().get_block_by_number(1.into()).await.unwrap().unwrap();
        let (_dir, db) = fresh().await;
        let liar = FaultProxy::start(anvil.url()).await.unwrap();
        let sink = Outcomes::default();
        let endpoints = Endpoints::new(http(&liar.url()), [http(anvil.url())]);
        let transactor = transactor(&db, endpoints, &anvil).build(sink.clone());
        let running = Running::transactor(&transactor);
        let id = submit(&db, &transactor, gift(&anvil)).await;
        until(&db, &transactor, id, "its broadcast", |record| record.status == TxStatus::Sent).await;
        mines_all(&liar, 1, block.header.hash, success);
        let disputed = Some(Obstacle::Disputed { block: 1 });
        until(&db, &transactor, id, "the obstacle", |record| record.obstacle == disputed).await;
        // To look again makes it no truer.
        liar.asked_again("eth_getTransactionReceipt", 4).await;
        assert!(sink.changes().is_empty(), "{:?}", sink.changes());

        liar.honest();
        anvil.set_automine(true).await.unwrap();
        anvil.mine(1).await.unwrap();
        let record = ended(&db, &transactor, id).await;
        assert_eq!((record.status, record.nonce, record.obstacle), (TxStatus::Mined, Some(0), None));
        assert_eq!(got(&anvil).await, 1);
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_endpoint_decides_between_two_that_contradict_each_other() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let liar = FaultProxy::start(anvil.url()).await.unwrap();
    liar.rule(|method, _| match method {
        "eth_getTransactionReceipt" => Verdict::Change(Box::new(|mut receipt| {
            if receipt.is_object() {
                receipt["status"] = json!("0x0");
            }
            receipt
        })),
        _ => Verdict::Forward,
    });
    let endpoints = Endpoints::new(http(anvil.url()), [http(&liar.url()), http(anvil.url())]);
    let transactor = transactor(&db, endpoints, &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, gift(&anvil)).await;
    assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Mined);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_endpoint_is_asked_once_for_each_outcome() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let second = FaultProxy::start(anvil.url()).await.unwrap();
    let hidden = Arc::new(Mutex::new(0_u32));
    let count = Arc::clone(&hidden);
    second.rule(move |method, _| {
        // Not those that find nothing at the first: these are asked before it is mined.
        if method != "eth_getTransactionReceipt" {
            return Verdict::Forward;
        }
        let count = Arc::clone(&count);
        Verdict::Change(Box::new(move |receipt| {
            *count.lock() += u32::from(receipt.is_object());
            receipt
        }))
    });
    let sink = Outcomes::default();
    let endpoints = Endpoints::new(http(anvil.url()), [http(&second.url())]);
    let transactor = transactor(&db, endpoints, &anvil).finality(Finality::Depth(2)).build(sink.clone());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, gift(&anvil)).await;
    ended(&db, &transactor, id).await;
    anvil.mine(2).await.unwrap();
    until(&db, &transactor, id, "its finality", |record| !record.watched).await;
    assert_eq!(sink.changes(), [(id, TxChange::Mined), (id, TxChange::Final)]);
    assert_eq!(*hidden.lock(), 2, "once for `Mined`, once for `Final`");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_waits_for_a_second_endpoint_that_is_away_and_not_for_ever() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let first = FaultProxy::start(anvil.url()).await.unwrap();
    let second = FaultProxy::start(anvil.url()).await.unwrap();
    second.rule(|_, _| Verdict::http(502, "bad gateway"));
    let endpoints = || Endpoints::new(http(&first.url()), [http(&second.url())]);
    let build = |within| transactor(&db, endpoints(), &anvil).second_endpoint_within(within);
    let sink = Outcomes::default();
    let patient = build(Duration::from_hours(1)).build(sink.clone());
    let running = Running::transactor(&patient);
    let id = submit(&db, &patient, gift(&anvil)).await;
    until(&db, &patient, id, "its block", |record| record.inclusion.is_some()).await;
    first.asked_again("eth_getTransactionReceipt", 4).await;
    assert!(sink.changes().is_empty(), "{:?}", sink.changes());
    running.stop().await.unwrap();

    let transactor = build(Duration::from_millis(200)).build(sink.clone());
    let running = Running::transactor(&transactor);
    assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Mined);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_final_success_that_the_only_endpoint_made_up_is_taken_back() {
    for finality in [Finality::Depth(0), Finality::Depth(3)] {
        let anvil = Anvil::start().await.unwrap();
        anvil.mine(1).await.unwrap();
        anvil.set_automine(false).await.unwrap();
        let block = anvil.provider().get_block_by_number(1.into()).await.unwrap().unwrap();
        let (_dir, db) = fresh().await;
        let liar = FaultProxy::start(anvil.url()).await.unwrap();
        let sink = Outcomes::default();
        let transactor = transactor(&db, http(&liar.url()), &anvil).finality(finality).build(sink.clone());
        let running = Running::transactor(&transactor);
        let id = submit(&db, &transactor, gift(&anvil)).await;
        until(&db, &transactor, id, "its broadcast", |record| record.status == TxStatus::Sent).await;
        let hash = transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap()[0].hash;
        wait_until("the transaction in the pool", PATIENCE, async || {
            anvil.provider().get_transaction_by_hash(hash).await.unwrap().is_some()
        })
        .await
        .unwrap();
        mines_all(&liar, 1, block.header.hash, true);
        assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Mined);

        // No pool has it any more, and the block in which it was shown is there.
        anvil.drop_transaction(hash).await.unwrap();
        liar.honest();
        // Without something to do, the chain is not asked.
        let next = Intent::new("next", anvil.account(1), Address::repeat_byte(2), Vec::new()).value(1);
        let next = submit(&db, &transactor, next).await;
        let reinstated = (id, TxChange::Reinstated);
        wait_until("its return", PATIENCE, async || {
            anvil.mine(1).await.unwrap();
            sink.committed().contains(&reinstated)
        })
        .await
        .unwrap();
        wait_until("its end", PATIENCE, async || {
            anvil.mine(1).await.unwrap();
            let record = transactor.get(&mut db.read().await.unwrap(), id).await.unwrap();
            record.status == TxStatus::Mined && !record.watched
        })
        .await
        .unwrap();
        assert_eq!(got(&anvil).await, 1);
        assert_eq!(ended(&db, &transactor, next).await.nonce, Some(1));
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_goes_on_while_one_endpoint_shows_it_as_mined_and_another_one_contradicts() {
    // In a block that is there, and in one that is not, which never gets deep enough to count.
    for made_up in [false, true] {
        let anvil = Anvil::start().await.unwrap();
        anvil.mine(1).await.unwrap();
        anvil.set_automine(false).await.unwrap();
        let block = anvil.provider().get_block_by_number(1.into()).await.unwrap().unwrap();
        let block_hash = if made_up { B256::repeat_byte(9) } else { block.header.hash };
        let (_dir, db) = fresh().await;
        let liar = FaultProxy::start(anvil.url()).await.unwrap();
        let sink = Outcomes::default();
        let endpoints = Endpoints::new(http(&liar.url()), [http(anvil.url())]);
        let transactor = transactor(&db, endpoints, &anvil).build(sink.clone());
        let running = Running::transactor(&transactor);
        let answer = gift(&anvil)
            .priority(Priority::Urgent)
            .deadline(Deadline::new(block.header.timestamp + 600, 1_000_000))
            .stake(10_u128.pow(18))
            .repeatable();
        let id = submit(&db, &transactor, answer).await;
        until(&db, &transactor, id, "its broadcast", |record| record.status == TxStatus::Sent).await;
        mines_all(&liar, 1, block_hash, true);
        let disputed = Some(Obstacle::Disputed { block: 1 });
        until(&db, &transactor, id, "the obstacle", |record| record.obstacle == disputed).await;

        // What was signed does not pay this any more.
        wait_until("its effect", PATIENCE, async || {
            anvil.set_next_base_fee(50_000_000_000).await.unwrap();
            anvil.mine(1).await.unwrap();
            got(&anvil).await == 1
        })
        .await
        .unwrap();
        assert!(sink.changes().is_empty(), "{:?}", sink.changes());
        liar.honest();
        anvil.mine(1).await.unwrap();
        let record = ended(&db, &transactor, id).await;
        assert_eq!((record.status, record.nonce, record.obstacle), (TxStatus::Mined, Some(0), None));
        assert_eq!(got(&anvil).await, 1);
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_success_that_was_believed_while_no_other_endpoint_answered_is_not_final_and_is_taken_back() {
    for liar_is_first in [true, false] {
        let anvil = Anvil::start().await.unwrap();
        anvil.mine(1).await.unwrap();
        anvil.set_automine(false).await.unwrap();
        let block = anvil.provider().get_block_by_number(1.into()).await.unwrap().unwrap();
        let (_dir, db) = fresh().await;
        let liar = FaultProxy::start(anvil.url()).await.unwrap();
        let second = FaultProxy::start(anvil.url()).await.unwrap();
        let (first, other) = if liar_is_first { (&liar, &second) } else { (&second, &liar) };
        let sink = Outcomes::default();
        let build = |within| {
            let endpoints = Endpoints::new(http(&first.url()), [http(&other.url())]);
            let builder = transactor(&db, endpoints, &anvil).finality(Finality::Depth(3));
            builder.second_endpoint_within(within).build(sink.clone())
        };
        let transactor = build(Duration::from_millis(200));
        let running = Running::transactor(&transactor);
        let id = submit(&db, &transactor, gift(&anvil)).await;
        until(&db, &transactor, id, "its broadcast", |record| record.status == TxStatus::Sent).await;
        let hash = transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap()[0].hash;
        second.rule(|_, _| Verdict::http(502, "bad gateway"));
        mines_all(&liar, 1, block.header.hash, true);
        assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Mined);
        running.stop().await.unwrap();

        // Another transaction takes the nonce, so that the count does not contradict the lie.
        anvil.drop_transaction(hash).await.unwrap();
        let foreign = TransactionRequest::default().from(anvil.account(1)).to(anvil.account(2)).nonce(0);
        let _sent = anvil.provider().send_transaction(foreign).await.unwrap();
        anvil.mine(8).await.unwrap();
        second.honest();
        let transactor = build(Duration::from_hours(1));
        let running = Running::transactor(&transactor);
        liar.asked_again("eth_getTransactionReceipt", 4).await;
        assert_eq!(sink.changes(), [(id, TxChange::Mined)], "while the two contradict each other");

        liar.honest();
        wait_until("its return", PATIENCE, async || {
            anvil.mine(1).await.unwrap();
            sink.changes().len() > 1
        })
        .await
        .unwrap();
        assert_eq!(sink.changes()[1], (id, TxChange::Reinstated));
        wait_until("its end", PATIENCE, async || {
            anvil.mine(1).await.unwrap();
            let record = transactor.get(&mut db.read().await.unwrap(), id).await.unwrap();
            record.status == TxStatus::Dropped
        })
        .await
        .unwrap();
        assert_eq!(got(&anvil).await, 0);
        running.stop().await.unwrap();
    }
}
