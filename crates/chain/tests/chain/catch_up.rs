//! Catching up through endpoints that limit, stumble or leave things out.

use std::time::{Duration, Instant};

use alloy::primitives::B256;
use privatix_chain::{MonitorState, RangePlanner};
use privatix_testkit::Anvil;
use serde_json::{Value, json};

use crate::support::{
    FaultProxy, Running, Seen, Verdict, emit, emitter, fresh, http, monitor, settled, synced, within,
};

/// Blocks that a request for logs spans; none for one that names a block by its hash.
fn span(params: &Value) -> Option<u64> {
    let number =
        |name: &str| u64::from_str_radix(params[0].get(name)?.as_str()?.trim_start_matches("0x"), 16).ok();
    Some(number("toBlock")? - number("fromBlock")? + 1)
}

/// A chain with a log in every third block.
async fn sparse_chain(anvil: &Anvil, logs: usize) -> (alloy::primitives::Address, Vec<String>) {
    let contract = emitter(anvil).await;
    let payloads: Vec<String> = (0..logs).map(|n| format!("log {n}")).collect();
    for payload in &payloads {
        emit(anvil, contract, payload.as_bytes()).await;
        anvil.mine(2).await.unwrap();
    }
    (contract, payloads)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_range_adapts_to_the_endpoints_limit_of_blocks() {
    let anvil = Anvil::start().await.unwrap();
    let (contract, payloads) = sparse_chain(&anvil, 20).await;
    anvil.mine(500).await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    proxy.rule(|method, params| match method {
        "eth_getLogs" if span(params).is_some_and(|blocks| blocks > 25) => {
            Verdict::Error(-32602, "eth_getLogs is limited to a 25 block range")
        }
        _ => Verdict::Forward,
    });
    let sink = Seen::default();
    let monitor = monitor(&db, http(&proxy.url()), &anvil, contract).build(sink.clone());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, payloads);
    let widest = sink.batches().iter().map(|(from, to)| to - from + 1).max().unwrap();
    assert!((13..=25).contains(&widest), "{widest} blocks at most");
    // 563 blocks in requests of at most 25, found out by halving from the first size.
    let requests = proxy.count("eth_getLogs");
    assert!(requests < 60, "{requests} requests");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_range_adapts_to_the_endpoints_limit_of_results() {
    let anvil = Anvil::start().await.unwrap();
    let (contract, payloads) = sparse_chain(&anvil, 30).await;
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    proxy.rule(|method, params| match method {
        // A log in every third block: more than 4 logs in more than 12 blocks.
        "eth_getLogs" if span(params).is_some_and(|blocks| blocks > 12) => {
            Verdict::Error(-32005, "query returned more than 4 results")
        }
        _ => Verdict::Forward,
    });
    let monitor = monitor(&db, http(&proxy.url()), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, payloads);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_stumbles_in_every_way_delays_but_loses_and_repeats_nothing() {
    let anvil = Anvil::start().await.unwrap();
    let (contract, payloads) = sparse_chain(&anvil, 25).await;
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let mut n = 0;
    // Every eleventh request fails, each time in another way.
    proxy.rule(move |_, _| {
        n += 1;
        if n % 11 != 0 {
            return Verdict::Forward;
        }
        match n / 11 % 8 {
            0 => Verdict::http(429, "slow down"),
            1 => Verdict::Cut,
            2 => Verdict::http(200, "<html>gateway</html>"),
            3 => Verdict::http(503, "overloaded"),
            4 => Verdict::Error(-32005, "rate limit exceeded"),
            5 => Verdict::Error(-32603, "internal error"),
            6 => Verdict::http(413, "too large"),
            _ => Verdict::Change(Box::new(|_| Value::Null)),
        }
    });
    let monitor = monitor(&db, http(&proxy.url()), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    let head = anvil.block_number().await.unwrap();
    settled(&monitor, "all blocks", |status| status.processed == Some(head)).await;
    assert_eq!(Seen::payloads(&db).await, payloads);

    proxy.honest();
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, payloads);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_serves_few_requests_at_a_time_is_asked_for_few() {
    let anvil = Anvil::start().await.unwrap();
    let (contract, payloads) = sparse_chain(&anvil, 15).await;
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let (mut window, mut served) = (Instant::now(), 0);
    // Ten requests a window; a step needs at least six, one for 64 blocks some seventy.
    proxy.rule(move |_, _| {
        if window.elapsed() > Duration::from_millis(50) {
            (window, served) = (Instant::now(), 0);
        }
        served += 1;
        if served > 10 { Verdict::http(429, "ten are enough") } else { Verdict::Forward }
    });
    let monitor = monitor(&db, http(&proxy.url()), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    let head = anvil.block_number().await.unwrap();
    settled(&monitor, "all blocks", |status| status.processed == Some(head)).await;
    assert_eq!(Seen::payloads(&db).await, payloads);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_asks_for_patience_gets_it() {
    let anvil = Anvil::start().await.unwrap();
    let (contract, payloads) = sparse_chain(&anvil, 3).await;
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let mut limited = false;
    proxy.rule(move |method, _| {
        if method != "eth_getLogs" || std::mem::replace(&mut limited, true) {
            return Verdict::Forward;
        }
        Verdict::Http(429, vec![("retry-after", "2".to_owned())], "")
    });
    let monitor = monitor(&db, http(&proxy.url()), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    let status =
        settled(&monitor, "the refusal", |status| matches!(status.state, MonitorState::Stalled { .. })).await;
    let refused = Instant::now();
    let MonitorState::Stalled { reason, .. } = status.state else { unreachable!() };
    assert!(reason.contains("limits our request rate"), "{reason}");
    synced(&monitor, &anvil, 0).await;
    assert!(refused.elapsed() > Duration::from_millis(1_800), "it asked again after {:?}", refused.elapsed());
    assert_eq!(Seen::payloads(&db).await, payloads);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_that_an_endpoint_leaves_out_are_noticed() {
    let anvil = Anvil::start().await.unwrap();
    let (contract, payloads) = sparse_chain(&anvil, 5).await;
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    // As a node does that has the blocks but not their receipts yet.
    proxy.rule(|method, params| match method {
        "eth_getLogs" if span(params).is_some() => Verdict::Change(Box::new(|mut logs| {
            logs.as_array_mut().unwrap().pop();
            logs
        })),
        _ => Verdict::Forward,
    });
    let monitor = monitor(&db, http(&proxy.url()), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    stalls(&monitor, "are missing from the answer").await;
    assert!(Seen::payloads(&db).await.is_empty());

    proxy.honest();
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, payloads);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_that_an_endpoint_leaves_out_at_the_end_of_a_long_catch_up_are_noticed() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    anvil.mine(150).await.unwrap();
    emit(&anvil, contract, b"near the head").await;
    anvil.mine(20).await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    proxy.rule(|method, params| match method {
        "eth_getLogs" if span(params).is_some() => Verdict::Change(Box::new(|_| json!([]))),
        _ => Verdict::Forward,
    });
    let monitor = monitor(&db, http(&proxy.url()), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    stalls(&monitor, "are missing from the answer").await;
    proxy.honest();
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, ["near the head"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_does_not_follow_the_one_before_it_is_not_applied() {
    let anvil = Anvil::start().await.unwrap();
    let (contract, payloads) = sparse_chain(&anvil, 4).await;
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    // A header from another branch, as from another node behind the same address.
    proxy.rule(|method, params| match method {
        "eth_getBlockByNumber" if params[0] == "0x5" => Verdict::Change(Box::new(|mut block| {
            block["parentHash"] = json!(B256::repeat_byte(7));
            block
        })),
        _ => Verdict::Forward,
    });
    let monitor = monitor(&db, http(&proxy.url()), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    stalls(&monitor, "block 5 does not follow the block before it").await;
    assert!(Seen::payloads(&db).await.is_empty());

    proxy.honest();
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, payloads);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lags_for_a_moment_is_not_taken_for_a_reorg() {
    let anvil = Anvil::start().await.unwrap();
    let (contract, payloads) = sparse_chain(&anvil, 4).await;
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let sink = Seen::default();
    let monitor = monitor(&db, http(&proxy.url()), &anvil, contract).build(sink.clone());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;

    proxy.rule(|method, _| match method {
        "eth_blockNumber" => Verdict::Change(Box::new(|_| json!("0x2"))),
        _ => Verdict::Forward,
    });
    stalls(&monitor, "head went back").await;
    proxy.honest();
    synced(&monitor, &anvil, 0).await;
    assert!(sink.rollbacks().is_empty());
    assert_eq!(Seen::payloads(&db).await, payloads);
    running.stop().await.unwrap();
}

#[test]
fn a_planner_can_be_used_alone() {
    let planner = RangePlanner::new(10, 100);
    assert_eq!(planner.plan(5, 200), Some(5..=14));
    assert_eq!(planner.plan(201, 200), None);
}

async fn stalls(monitor: &privatix_chain::Monitor, because: &str) {
    let stalled = settled(monitor, because, |status| match &status.state {
        MonitorState::Stalled { reason, .. } => reason.contains(because),
        _ => false,
    });
    within(because, stalled).await;
}
