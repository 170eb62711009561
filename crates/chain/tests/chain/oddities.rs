//! Endpoints that answer in a way of their own: what they leave out, refuse or write differently stops nothing.

use alloy::primitives::{Address, U256};
use alloy::providers::Provider;
use privatix_chain::{Intent, Obstacle, TxStatus};
use privatix_testkit::Anvil;
use serde_json::{Value, json};

use crate::support::{
    FaultProxy, Outcomes, Running, Seen, Verdict, emit, emitter, ended, fresh, http, monitor, submit, synced,
    transactor, until,
};

const TARGET: Address = Address::repeat_byte(0xfe);

fn gift(anvil: &Anvil, key: &str) -> Intent {
    Intent::new(key, anvil.account(1), TARGET, Vec::new()).value(1)
}

fn is_pending(params: &Value) -> bool {
    params.as_array().is_some_and(|params| params.iter().any(|param| param == "pending"))
}

/// Zeros after `0x` in every quantity of an object.
fn padded(mut value: Value, fields: &[&str]) -> Value {
    for field in fields {
        if let Some(text) = value[field].as_str().and_then(|text| text.strip_prefix("0x")) {
            value[field] = format!("0x000{text}").into();
        }
    }
    value
}

fn without(mut value: Value, fields: &[&str]) -> Value {
    if let Some(object) = value.as_object_mut() {
        for field in fields {
            object.remove(*field);
        }
    }
    value
}

fn changed(change: impl FnOnce(Value) -> Value + Send + 'static) -> Verdict {
    Verdict::Change(Box::new(change))
}

type Rule = fn(&str, &Value) -> Verdict;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_and_logs_get_through_whatever_the_endpoint_s_manner() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let manners: &[(&str, Rule)] = &[
        ("no pending block", |_, params| {
            if is_pending(params) {
                Verdict::Error(-32_000, "pending block is not available")
            } else {
                Verdict::Forward
            }
        }),
        ("pending is a wrong parameter", |_, params| {
            if is_pending(params) { Verdict::http(400, "<html>bad request</html>") } else { Verdict::Forward }
        }),
        (
            "pending is null",
            |_, params| if is_pending(params) { changed(|_| Value::Null) } else { Verdict::Forward },
        ),
        ("headers without what is new or not needed", |method, _| match method {
            "eth_getBlockByNumber" => changed(|block| {
                without(
                    block,
                    &["logsBloom", "mixHash", "nonce", "size", "sha3Uncles", "difficulty", "transactions"],
                )
            }),
            _ => Verdict::Forward,
        }),
        ("no base fees", |method, _| match method {
            "eth_getBlockByNumber" => changed(|block| without(block, &["baseFeePerGas"])),
            "eth_maxPriorityFeePerGas" | "eth_feeHistory" => {
                Verdict::Error(-32_601, "the method does not exist")
            }
            _ => Verdict::Forward,
        }),
        ("no opinion on tips", |method, _| match method {
            "eth_maxPriorityFeePerGas" => changed(|_| Value::Null),
            _ => Verdict::Forward,
        }),
        ("receipts without a price", |method, _| match method {
            "eth_getTransactionReceipt" => changed(|receipt| {
                without(receipt, &["effectiveGasPrice", "gasPrice", "type", "logsBloom", "cumulativeGasUsed"])
            }),
            _ => Verdict::Forward,
        }),
        ("no hash for a transaction that is taken", |method, _| match method {
            "eth_sendRawTransaction" => changed(|_| Value::Null),
            _ => Verdict::Forward,
        }),
        ("leading zeros", |method, _| match method {
            "eth_getBlockByNumber" => {
                changed(|block| padded(block, &["number", "timestamp", "baseFeePerGas"]))
            }
            "eth_getTransactionReceipt" => {
                changed(|receipt| padded(receipt, &["status", "gasUsed", "blockNumber", "effectiveGasPrice"]))
            }
            "eth_getLogs" => changed(|logs| {
                let pad = |log: &Value| padded(log.clone(), &["blockNumber", "logIndex", "transactionIndex"]);
                logs.as_array().map_or(Value::Null, |logs| logs.iter().map(pad).collect())
            }),
            "eth_chainId"
            | "eth_blockNumber"
            | "eth_getTransactionCount"
            | "eth_estimateGas"
            | "eth_getBalance" => changed(|quantity| padded(json!({ "it": quantity }), &["it"])["it"].take()),
            _ => Verdict::Forward,
        }),
    ];
    for (manner, rule) in manners {
        let (_dir, db) = fresh().await;
        let proxy = FaultProxy::start(anvil.url()).await.unwrap();
        proxy.rule(rule);
        let monitor = monitor(&db, http(&proxy.url()), &anvil, contract).build(Seen::default());
        let transactor = transactor(&db, http(&proxy.url()), &anvil).build(Outcomes::default());
        let running = [Running::monitor(&monitor), Running::transactor(&transactor)];
        emit(&anvil, contract, manner.as_bytes()).await;
        let before = anvil.provider().get_balance(TARGET).await.unwrap();
        for n in 1..=2 {
            let id = submit(&db, &transactor, gift(&anvil, &format!("{manner} {n}"))).await;
            let record = ended(&db, &transactor, id).await;
            assert_eq!(record.status, TxStatus::Mined, "{manner}: {record:?}");
            assert!(record.inclusion.unwrap().cost() > 0, "{manner}");
        }
        assert_eq!(anvil.provider().get_balance(TARGET).await.unwrap(), before + U256::from(2), "{manner}");
        synced(&monitor, &anvil, 0).await;
        assert_eq!(Seen::payloads(&db).await.last().map(String::as_str), Some(*manner));
        for running in running {
            running.stop().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_tag_is_asked_for_once_and_nonces_are_counted_without_it() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let (asked, tags) = tokio::sync::watch::channel(0);
    proxy.rule(move |_, params| {
        if is_pending(params) {
            asked.send_modify(|asked| *asked += 1);
            return Verdict::Error(-32_602, "unknown block tag");
        }
        Verdict::Forward
    });
    let transactor = transactor(&db, http(&proxy.url()), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    anvil.set_automine(false).await.unwrap();
    let mut ids = Vec::new();
    for n in 0..4 {
        let id = submit(&db, &transactor, gift(&anvil, &format!("gift {n}"))).await;
        let sent =
            until(&db, &transactor, id, "its broadcast", |record| record.status == TxStatus::Sent).await;
        assert_eq!(sent.nonce, Some(n), "none of ours is mined yet");
        ids.push(id);
    }
    assert_eq!(*tags.borrow(), 2, "once for each method");
    anvil.set_automine(true).await.unwrap();
    anvil.mine(1).await.unwrap();
    for id in ids {
        assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Mined);
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_would_revert_is_not_mistaken_for_a_refused_tag() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    proxy.rule(|method, params| match method {
        "eth_estimateGas" if is_pending(params) => Verdict::Error(3, "execution reverted: not yet"),
        "eth_call" => Verdict::Error(3, "execution reverted: not yet"),
        _ => Verdict::Forward,
    });
    let transactor = transactor(&db, http(&proxy.url()), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, gift(&anvil, "gift")).await;
    let record = ended(&db, &transactor, id).await;
    assert_eq!((record.status, record.nonce), (TxStatus::Failed, None), "{record:?}");
    assert_eq!(proxy.count("eth_estimateGas"), 1);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_obstacle_is_told_in_the_status_until_it_is_gone() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    proxy.rule(|method, _| match method {
        "eth_estimateGas" => Verdict::Error(-32_000, "estimates are not served here"),
        _ => Verdict::Forward,
    });
    let transactor = transactor(&db, http(&proxy.url()), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, gift(&anvil, "gift").kind("deposit")).await;
    let mut status = transactor.status();
    let waiting = status.wait_for(|status| status.waiting.is_some()).await.unwrap().waiting.clone().unwrap();
    assert_eq!((waiting.id, waiting.kind.as_str()), (id, "deposit"));
    assert!(matches!(&waiting.obstacle, Obstacle::Refused { reason } if reason.contains("not served")));
    proxy.honest();
    ended(&db, &transactor, id).await;
    status.wait_for(|status| status.waiting.is_none()).await.unwrap();
    running.stop().await.unwrap();
}
