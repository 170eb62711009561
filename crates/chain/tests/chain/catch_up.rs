//! Catching up through endpoints that limit, stumble or leave things out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use alloy::primitives::B256;
use alloy::providers::Provider;
use alloy::rpc::types::Filter;
use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_chain::{ConfirmedBatch, LogSink, MonitorState, RangePlanner, SinkError};
use privatix_db::Conn;
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

/// A sink that holds each batch until the blocks after it have been asked for, if these are below block `newest`.
struct UntilNextIsAsked {
    proxy: Arc<FaultProxy>,
    newest: u64,
    range: u64,
    applied: Mutex<Vec<(u64, u64)>>,
}

#[async_trait]
impl LogSink for UntilNextIsAsked {
    type Applied = ();

    async fn apply(&self, _: &mut Conn, batch: &ConfirmedBatch) -> Result<(), SinkError> {
        let before = self.applied.lock().len();
        self.applied.lock().push((batch.from_block, batch.to_block));
        if batch.to_block + self.range < self.newest {
            // Its own range, those before it, and the next one.
            let next = before + 2;
            let of_logs =
                |asked: &Vec<String>| asked.iter().filter(|method| *method == "eth_getLogs").count();
            self.proxy.asked("the next range", move |asked| of_logs(asked) >= next).await;
            assert_eq!(self.proxy.count("eth_getLogs"), next, "no more than two ranges at a time");
        }
        Ok(())
    }

    async fn rollback(&self, _: &mut Conn, to_block: u64) -> Result<(), SinkError> {
        panic!("nothing is undone above {to_block}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_range_is_fetched_while_one_is_applied() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    anvil.mine(49).await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = Arc::new(FaultProxy::start(anvil.url()).await.unwrap());
    let sink = Arc::new(UntilNextIsAsked {
        proxy: Arc::clone(&proxy),
        newest: 50,
        range: 10,
        applied: Mutex::default(),
    });
    let monitor =
        monitor(&db, http(&proxy.url()), &anvil, contract).max_block_range(10).build(Arc::clone(&sink));
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    let expected: Vec<(u64, u64)> = (0..5).map(|n| (10 * n + 1, 10 * n + 10)).collect();
    assert_eq!(*sink.applied.lock(), expected);
    assert_eq!(proxy.count("eth_getLogs"), 5, "what was fetched ahead is not fetched again");
    running.stop().await.unwrap();
}

/// Finds out whether the next range is asked for while one is applied.
struct AheadOf {
    proxy: Arc<FaultProxy>,
    found: Mutex<Vec<bool>>,
}

#[async_trait]
impl LogSink for AheadOf {
    type Applied = ();

    async fn apply(&self, _: &mut Conn, _: &ConfirmedBatch) -> Result<(), SinkError> {
        let next = self.found.lock().len() + 2;
        let of_logs =
            move |asked: &Vec<String>| asked.iter().filter(|method| *method == "eth_getLogs").count() >= next;
        let asked = self.proxy.asked("the next range", of_logs);
        let is_ahead = tokio::time::timeout(Duration::from_millis(300), asked).await.is_ok();
        self.found.lock().push(is_ahead);
        Ok(())
    }

    async fn rollback(&self, _: &mut Conn, to_block: u64) -> Result<(), SinkError> {
        panic!("nothing is undone above {to_block}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_fetched_ahead_of_logs_that_take_too_much_memory() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    emit(&anvil, contract, b"in the first range").await;
    anvil.mine(38).await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = Arc::new(FaultProxy::start(anvil.url()).await.unwrap());
    let sink = Arc::new(AheadOf { proxy: Arc::clone(&proxy), found: Mutex::default() });
    let monitor = monitor(&db, http(&proxy.url()), &anvil, contract)
        .max_block_range(10)
        .max_bytes_held(100)
        .build(Arc::clone(&sink));
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    // The second range has no logs. The one up to the newest block is never fetched ahead.
    assert_eq!(*sink.found.lock(), [false, true, false, false]);
    running.stop().await.unwrap();
}

/// Keeps the times of logs.
#[derive(Default)]
struct Times(Mutex<Vec<(u64, SystemTime)>>);

#[async_trait]
impl LogSink for Times {
    type Applied = ();

    async fn apply(&self, _: &mut Conn, batch: &ConfirmedBatch) -> Result<(), SinkError> {
        self.0.lock().extend(batch.logs.iter().map(|log| (log.block, log.block_time)));
        Ok(())
    }

    async fn rollback(&self, _: &mut Conn, _: u64) -> Result<(), SinkError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_of_logs_save_the_headers_of_their_blocks_unless_they_are_wrong() {
    let anvil = Anvil::start().await.unwrap();
    let (contract, payloads) = sparse_chain(&anvil, 30).await;
    anvil.mine(200).await.unwrap();
    let mut expected = Vec::new();
    for log in anvil.provider().get_logs(&Filter::new().address(contract).from_block(0)).await.unwrap() {
        let block = anvil.provider().get_block(log.block_number.unwrap().into()).await.unwrap().unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(block.header.timestamp);
        expected.push((block.header.number, time));
    }
    assert_eq!(expected.len(), payloads.len());
    let times: BTreeMap<u64, u64> = expected
        .iter()
        .map(|(block, time)| (*block, time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()))
        .collect();
    let headers = async |given: fn(u64) -> Option<u64>| {
        let (_dir, db) = fresh().await;
        let proxy = FaultProxy::start(anvil.url()).await.unwrap();
        let times = times.clone();
        proxy.rule(move |method, _| {
            let times = times.clone();
            if method != "eth_getLogs" {
                return Verdict::Forward;
            }
            Verdict::Change(Box::new(move |mut logs| {
                for log in logs.as_array_mut().unwrap() {
                    let block = log["blockNumber"].as_str().unwrap().trim_start_matches("0x").to_owned();
                    let time = times[&u64::from_str_radix(&block, 16).unwrap()];
                    log["blockTimestamp"] =
                        given(time).map_or(Value::Null, |time| json!(format!("{time:#x}")));
                }
                logs
            }))
        });
        let sink = Arc::new(Times::default());
        let monitor = monitor(&db, http(&proxy.url()), &anvil, contract).build(Arc::clone(&sink));
        let running = Running::monitor(&monitor);
        synced(&monitor, &anvil, 0).await;
        running.stop().await.unwrap();
        assert_eq!(*sink.0.lock(), expected);
        proxy.count("eth_getBlockByNumber")
    };
    let without = headers(|_| None).await;
    let with = headers(Some).await;
    assert!(with + payloads.len() <= without, "{with} headers in place of {without}");
    assert_eq!(headers(|_| Some(7)).await, without, "times that no block there can have are not believed");
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
