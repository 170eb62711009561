//! Chains with other rules: how much gas a transaction may have, and what else it costs.

use alloy::primitives::{Address, U64, U256};
use privatix_chain::{Attempt, FeePolicy, Intent, Obstacle, TooMuchGas, TxRecord, TxStatus, Wei};
use privatix_testkit::{Anvil, Fault, FaultProxy, Overlay, Rule, Script};

use crate::support::{Outcomes, Running, ended, fresh, http, submit, transactor, until};

const ETHER: u128 = 1_000_000_000_000_000_000;

fn gift(anvil: &Anvil) -> Intent {
    Intent::new("gift", anvil.account(1), Address::repeat_byte(0xfe), Vec::new()).value(1)
}

fn answers(method: &str, value: u64) -> Rule {
    Rule::new([method], Fault::Result(serde_json::to_value(U64::from(value)).unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_above_the_gas_cap_fails_by_name() {
    let anvil = Anvil::start().await.unwrap();
    // What is configured, what the endpoint reports, the estimate, and the limit or the refusal.
    for (configured, reported, estimate, expected) in [
        (None, None, 16_777_217, Err(16_777_216)),
        (None, None, 16_000_000, Ok(16_777_216)),
        (None, Some(1_000_000), 1_000_001, Err(1_000_000)),
        (Some(900_000), Some(1_000_000), 900_001, Err(900_000)),
        (Some(20_000_000), None, 100_000, Ok(120_000)),
    ] {
        let (_dir, db) = fresh().await;
        let mut rules = vec![answers("eth_estimateGas", estimate)];
        rules.extend(reported.map(|cap| answers("eth_txGasLimitCap", cap)));
        rules.push(Rule::new([], Fault::Overlay(Overlay::Osaka)));
        let proxy = FaultProxy::scripted(anvil.url(), Script(rules)).await.unwrap();
        let mut fees = FeePolicy::default();
        fees.tx_gas_cap = configured;
        let transactor = transactor(&db, http(&proxy.url()), &anvil).fees(fees).build(Outcomes::default());
        let running = Running::transactor(&transactor);
        let id = submit(&db, &transactor, gift(&anvil)).await;
        let record = ended(&db, &transactor, id).await;
        match expected {
            Ok(limit) => assert_eq!((record.status, record.gas_limit), (TxStatus::Mined, Some(limit))),
            Err(cap) => {
                let failure = TooMuchGas { needed: estimate, cap }.to_string();
                assert_eq!((record.status, record.failure), (TxStatus::Failed, Some(failure)));
            }
        }
        running.stop().await.unwrap();
    }
}

/// A gift on a node with the manners of another chain, and the transactor's proxy.
async fn gift_on(overlay: Overlay, balance: Option<u128>) -> (TxRecord, Attempt) {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let script = Script(vec![Rule::new([], Fault::Overlay(overlay))]);
    let proxy = FaultProxy::scripted(anvil.url(), script).await.unwrap();
    let transactor = transactor(&db, http(&proxy.url()), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    if let Some(balance) = balance {
        anvil.set_balance(anvil.account(1), U256::from(balance)).await.unwrap();
    }
    let id = submit(&db, &transactor, gift(&anvil)).await;
    if balance.is_some() {
        let is_poor = |record: &TxRecord| matches!(record.obstacle, Some(Obstacle::InsufficientFunds { .. }));
        until(&db, &transactor, id, "an obstacle", is_poor).await;
        assert_eq!(proxy.count("eth_sendRawTransaction"), 0, "the pool would refuse it");
        anvil.set_balance(anvil.account(1), U256::from(10 * ETHER)).await.unwrap();
        anvil.mine(1).await.unwrap();
    }
    let record = ended(&db, &transactor, id).await;
    assert_eq!((record.status, record.failure.as_deref()), (TxStatus::Mined, None));
    let attempt = transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap().remove(0);
    running.stop().await.unwrap();
    (record, attempt)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intent_is_mined_on_arbitrum() {
    let (record, attempt) = gift_on(Overlay::Arbitrum { minimum_gas_price: 10_000_000 }, None).await;
    assert_eq!(attempt.fees.priority_fee, 0, "tips are not collected");
    assert_eq!(record.gas_limit, Some(28_000 * 3 / 2), "half above the estimate");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intent_is_mined_on_the_op_stack() {
    // With the fee of the other chain alone it could pay, but not with what that may become.
    gift_on(Overlay::OpStack { l1_fee: 1_000_000_000_000_000_000 }, Some(ETHER * 5 / 4)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lacks_ether_for_the_other_chain_learns_how_much() {
    let anvil = Anvil::start().await.unwrap();
    let overlay = Fault::Overlay(Overlay::OpStack { l1_fee: 1_000_000 });
    // Of what a pool says when the fee has risen since, and of whatever chain it may be.
    for (words, overlay, l1_fee) in [
        (
            "insufficient funds for gas * price + value: balance 3, tx cost 7",
            Some(overlay),
            Some(Wei(1_500_000)),
        ),
        ("invalid transaction: insufficient funds for l1Fee + l2Fee + value", None, Some(Wei(0))),
        ("insufficient funds for gas * price + value: balance 3, tx cost 7", None, None),
    ] {
        let (_dir, db) = fresh().await;
        let refusal = Fault::Error { code: -32_000, message: words.to_owned(), data: None };
        let mut rules = vec![Rule::new(["eth_sendRawTransaction"], refusal)];
        rules.extend(overlay.map(|overlay| Rule::new([], overlay)));
        let proxy = FaultProxy::scripted(anvil.url(), Script(rules)).await.unwrap();
        let transactor = transactor(&db, http(&proxy.url()), &anvil).build(Outcomes::default());
        let running = Running::transactor(&transactor);
        let id = submit(&db, &transactor, gift(&anvil)).await;
        let record = until(&db, &transactor, id, "an obstacle", |record| record.obstacle.is_some()).await;
        let Some(obstacle @ Obstacle::InsufficientFunds { needed, available, l1_fee: found, .. }) =
            &record.obstacle
        else {
            panic!("{record:?}")
        };
        assert_eq!(*found, l1_fee, "{words}");
        assert!(needed > available, "the pool knows that it lacks something: {obstacle}");
        assert_eq!(obstacle.to_string().contains("L1 fee"), l1_fee.is_some(), "{obstacle}");
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intent_is_mined_on_a_chain_without_base_fees() {
    gift_on(Overlay::Legacy, None).await;
}
