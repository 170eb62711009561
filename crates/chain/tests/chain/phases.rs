//! A pass of the transactor has a total time: what is slow or broken for one intent holds up no other, least of all an urgent one.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, U256};
use alloy::sol_types::SolCall;
use parking_lot::Mutex;
use privatix_chain::{Deadline, Finality, Intent, Priority, TxStatus};
use privatix_contracts::PTC;
use privatix_testkit::{Anvil, wait_until};
use serde_json::Value;

use crate::support::{
    FaultProxy, NEVER, Outcomes, PATIENCE, Running, Verdict, ended, fresh, http, submit, transactor, until,
};

const ETHER: u128 = 1_000_000_000_000_000_000;

fn target(n: u8) -> Address {
    Address::repeat_byte(n)
}

fn gift(anvil: &Anvil, n: u8) -> Intent {
    Intent::new(format!("gift {n}"), anvil.account(1), target(n), Vec::new()).value(1)
}

fn dispute(anvil: &Anvil, n: u8) -> Intent {
    gift(anvil, n)
        .priority(Priority::Urgent)
        .deadline(Deadline::new(u64::MAX / 2, 1_000_000))
        .stake(ETHER)
        .repeatable()
}

/// Whether a call or an estimate is for one of these targets.
fn is_for(params: &Value, mut targets: impl Iterator<Item = u8>) -> bool {
    targets.any(|n| is_to(params, target(n)))
}

fn is_to(params: &Value, address: Address) -> bool {
    params[0]["to"].as_str().and_then(|to| to.parse().ok()) == Some(address)
}

async fn received(anvil: &Anvil, n: u8) {
    wait_until("the transfer", PATIENCE, async || anvil.balance(target(n)).await.unwrap() == U256::from(1))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_urgent_intent_is_in_the_pool_while_the_estimates_of_others_hang() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    proxy.rule(|method, params| match method {
        "eth_estimateGas" if is_for(params, 1..=5) => Verdict::Silence,
        _ => Verdict::Forward,
    });
    let patient = http(&proxy.url()).timeout(NEVER);
    let transactor = transactor(&db, patient, &anvil).build(Outcomes::default());
    for n in 1..=5 {
        submit(&db, &transactor, gift(&anvil, n)).await;
    }
    let urgent = submit(&db, &transactor, dispute(&anvil, 9)).await;
    let running = Running::transactor(&transactor);
    received(&anvil, 9).await;
    let record = until(&db, &transactor, urgent, "its broadcast", |tx| tx.status == TxStatus::Sent).await;
    assert_eq!(record.nonce, Some(0), "nothing else was sent");
    running.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_behind_estimates_that_hang_get_their_turn() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    proxy.rule(|method, params| match method {
        "eth_estimateGas" if is_for(params, 1..=40) => Verdict::Silence,
        _ => Verdict::Forward,
    });
    let hasty = http(&proxy.url()).timeout(Duration::from_millis(300));
    let transactor = transactor(&db, hasty, &anvil).phase_limit(Duration::ZERO).build(Outcomes::default());
    let mut ids = Vec::new();
    for n in 1..=43 {
        ids.push(submit(&db, &transactor, gift(&anvil, n)).await);
    }
    let running = Running::transactor(&transactor);
    for id in &ids[40..] {
        assert_eq!(ended(&db, &transactor, *id).await.status, TxStatus::Mined);
    }
    proxy.honest();
    for id in &ids[..40] {
        assert_eq!(ended(&db, &transactor, *id).await.status, TxStatus::Mined);
    }
    for n in 1..=43 {
        assert_eq!(anvil.balance(target(n)).await.unwrap(), U256::from(1), "once");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_revert_are_looked_at_one_after_the_other_across_passes() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = anvil.deploy().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    // How often the calls are run in each pass.
    let asked = Arc::new(Mutex::new(Vec::<u32>::new()));
    let seen = asked.clone();
    let token = contracts.token;
    proxy.rule(move |method, params| {
        match method {
            "eth_blockNumber" => seen.lock().push(0),
            "eth_call" if is_to(params, token) => *seen.lock().last_mut().unwrap() += 1,
            _ => {}
        }
        Verdict::Forward
    });
    let transactor = transactor(&db, http(&proxy.url()), &anvil)
        .phase_limit(Duration::ZERO)
        .revert_patience(1, Duration::ZERO)
        .build(Outcomes::default());
    // Nobody has allowed it.
    let (from, to) = (anvil.account(2), target(1));
    let take = PTC::transferFromCall { from, to, value: U256::from(1) }.abi_encode();
    let mut ids = Vec::new();
    for n in 0..20 {
        let intent = Intent::new(format!("take {n}"), anvil.account(1), contracts.token, take.clone());
        ids.push(submit(&db, &transactor, intent).await);
    }
    let running = Running::transactor(&transactor);
    for id in ids {
        assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Failed);
    }
    running.stop().await.unwrap();
    let of_passes = asked.lock();
    assert!(of_passes.iter().all(|calls| *calls <= 1), "{of_passes:?}");
    assert_eq!(of_passes.iter().sum::<u32>(), 20, "{of_passes:?}");
}

/// An endpoint gives no receipt of a transaction that waits for its confirmations, or for its block to be final. Then comes a dispute.
async fn without_receipts(is_confirmed: bool) {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let transactor = transactor(&db, http(&proxy.url()), &anvil)
        .confirmations(if is_confirmed { 0 } else { 3 })
        .finality(Finality::Depth(8))
        .build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let first = submit(&db, &transactor, gift(&anvil, 1)).await;
    if is_confirmed {
        assert_eq!(ended(&db, &transactor, first).await.status, TxStatus::Mined);
    } else {
        until(&db, &transactor, first, "its block", |tx| tx.inclusion.is_some()).await;
    }
    proxy.rule(|method, _| match method {
        "eth_getTransactionReceipt" => Verdict::Error(-32_000, "no receipts today"),
        _ => Verdict::Forward,
    });
    anvil.mine(40).await.unwrap();
    submit(&db, &transactor, dispute(&anvil, 9)).await;
    received(&anvil, 9).await;

    proxy.honest();
    let record = until(&db, &transactor, first, "its final block", |tx| !tx.watched).await;
    assert_eq!(record.status, TxStatus::Mined);
    assert_eq!(anvil.balance(target(1)).await.unwrap(), U256::from(1), "once");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_that_no_endpoint_gives_holds_up_no_dispute() {
    without_receipts(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_that_cannot_be_looked_at_again_holds_up_no_dispute() {
    without_receipts(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_that_stop_at_once_still_see_everything_through() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let transactor = transactor(&db, http(anvil.url()), &anvil)
        .confirmations(2)
        .finality(Finality::Depth(8))
        .phase_limit(Duration::ZERO)
        .build(Outcomes::default());
    anvil.set_automine(false).await.unwrap();
    let mut ids = Vec::new();
    for n in 1..=40 {
        let intent = gift(&anvil, n);
        ids.push(submit(&db, &transactor, if n % 2 == 0 { intent } else { intent.repeatable() }).await);
    }
    let running = Running::transactor(&transactor);
    wait_until("final blocks", PATIENCE, async || {
        anvil.mine(1).await.unwrap();
        let open = transactor.watched_intents(&mut db.read().await.unwrap()).await.unwrap();
        open.is_empty()
    })
    .await
    .unwrap();
    for (n, id) in (1..).zip(ids) {
        assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Mined);
        assert_eq!(anvil.balance(target(n)).await.unwrap(), U256::from(1), "once");
    }
    running.stop().await.unwrap();
}
