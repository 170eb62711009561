//! Recent logs of some interests, searched for backwards, while those of others come in their order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy::primitives::Address;
use alloy::providers::Provider;
use alloy::rpc::types::Filter;
use privatix_chain::{Endpoints, Interest, Monitor, MonitorBuilder, MonitorState, MonitorStatus};
use privatix_db::Database;
use privatix_testkit::{Anvil, Fault, Rule, Script};
use serde_json::Value;

use crate::flood::{flood, flooder};
use crate::support::{
    FaultProxy, NEVER, Running, Seen, SeenLog, Verdict, emit, emitter, fresh, http, monitor, settled, synced,
};

/// A chain on which the logs of an own contract and of the market's take turns: `n` of each.
async fn two(anvil: &Anvil, n: u64) -> [Address; 2] {
    let [own, market] = [emitter(anvil).await, emitter(anvil).await];
    for number in 0..n {
        emit(anvil, own, format!("own {number}").as_bytes()).await;
        emit(anvil, market, format!("market {number}").as_bytes()).await;
    }
    [own, market]
}

/// A monitor of all that one contract emits, and of what another one has emitted in the last `blocks`.
fn both(
    db: &Database,
    endpoints: impl Into<Endpoints>,
    anvil: &Anvil,
    [own, market]: [Address; 2],
    blocks: u64,
) -> MonitorBuilder {
    monitor(db, endpoints, anvil, own).recent([Interest::all_of(market)], blocks)
}

/// Waits until nothing is left, neither of the present nor of the past.
async fn searched(monitor: &Monitor, anvil: &Anvil) {
    synced(monitor, anvil, 0).await;
    settled(monitor, "the end of the search", |status| status.unsearched == Some(0)).await;
}

/// What a contract has emitted from a block on, in chain order.
async fn emitted(anvil: &Anvil, contract: Address, from: u64) -> Vec<SeenLog> {
    let filter = Filter::new().address(contract).from_block(from);
    let logs = anvil.provider().get_logs(&filter).await.unwrap();
    let place = |log: &alloy::rpc::types::Log| (log.block_number.unwrap(), log.log_index.unwrap());
    logs.iter().map(|log| (place(log).0, place(log).1, log.inner.data.data.to_vec())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recent_logs_come_from_the_newest_on_while_others_come_in_order() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = two(&anvil, 12).await;
    let head = anvil.block_number().await.unwrap();
    let (_dir, db) = fresh().await;
    let monitor =
        both(&db, http(anvil.url()), &anvil, contracts, 18).max_block_range(4).build(Seen::default());
    let running = Running::monitor(&monitor);
    searched(&monitor, &anvil).await;
    let mut expected = emitted(&anvil, contracts[0], 1).await;
    let of_market = emitted(&anvil, contracts[1], head + 1 - 18).await;
    for newest in (head + 1 - 18..=head).rev().step_by(4) {
        let range = newest - 3..=newest;
        expected.extend(of_market.iter().filter(|(block, ..)| range.contains(block)).cloned());
    }
    assert_eq!(expected.len(), 12 + 9);
    assert_eq!(Seen::rows(&db).await, expected);

    // From now on in the chain's order.
    emit(&anvil, contracts[1], b"market 12").await;
    emit(&anvil, contracts[0], b"own 12").await;
    emit(&anvil, contracts[1], b"market 13").await;
    searched(&monitor, &anvil).await;
    assert_eq!(Seen::payloads(&db).await[expected.len()..], ["market 12", "own 12", "market 13"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_that_is_killed_after_each_commit_goes_on_where_it_was() {
    let anvil = Anvil::start().await.unwrap();
    let own = emitter(&anvil).await;
    let market = flooder(&anvil).await;
    emit(&anvil, own, b"own").await;
    // In one answer, but too many for one commit.
    for _ in 0..17 {
        flood(&anvil, market, 250).await;
    }
    let (_dir, db) = fresh().await;
    let mut counts = Vec::new();
    loop {
        let sink = Seen::default();
        sink.refuse_after(1);
        let monitor = both(&db, http(anvil.url()), &anvil, [own, market], 100).build(sink.clone());
        let running = Running::monitor(&monitor);
        let is_over = tokio::select! {
            () = sink.refused() => false,
            () = searched(&monitor, &anvil) => true,
        };
        running.kill().await;
        counts.push(Seen::rows(&db).await.len());
        if is_over {
            break;
        }
    }
    assert_eq!(counts, [1, 2_001, 4_001, 4_251]);
    let mut rows = Seen::rows(&db).await;
    rows.sort_unstable();
    let expected = [emitted(&anvil, own, 1).await, emitted(&anvil, market, 1).await].concat();
    assert_eq!(rows, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorg_in_the_middle_of_a_search_undoes_what_was_found_and_no_more() {
    // Above what was searched, in the middle of it, and below.
    for depth in [1, 3, 10] {
        let anvil = Anvil::start().await.unwrap();
        let contracts = two(&anvil, 12).await;
        let head = anvil.block_number().await.unwrap();
        let (_dir, db) = fresh().await;
        let build =
            |sink: Seen| both(&db, http(anvil.url()), &anvil, contracts, 20).max_block_range(6).build(sink);
        let sink = Seen::default();
        let forward = head.div_ceil(6);
        // The own logs, and the first six blocks of the past.
        sink.refuse_after(u32::try_from(forward).unwrap() + 1);
        let running = Running::monitor(&build(sink.clone()));
        sink.refused().await;
        running.kill().await;
        assert_eq!(Seen::rows(&db).await.len(), 12 + 3);

        anvil.reorg(depth).await.unwrap();
        emit(&anvil, contracts[1], b"market, other branch").await;
        emit(&anvil, contracts[0], b"own, other branch").await;
        let sink = Seen::default();
        let monitor = build(sink.clone());
        let running = Running::monitor(&monitor);
        searched(&monitor, &anvil).await;
        assert_eq!(sink.rollbacks().len(), 1);
        let mut rows = Seen::rows(&db).await;
        rows.sort_unstable();
        let mut expected = emitted(&anvil, contracts[0], 1).await;
        expected.extend(emitted(&anvil, contracts[1], head + 1 - 20).await);
        expected.sort_unstable();
        assert_eq!(rows, expected, "depth {depth}");
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_followed_everything_before_goes_on_without_a_search() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = two(&anvil, 3).await;
    let (_dir, db) = fresh().await;
    let everything = contracts.map(Interest::all_of);
    let before = Monitor::builder(db.clone(), http(anvil.url()), anvil.chain_id(), everything)
        .start(privatix_chain::StartFrom::Block(1))
        .confirmations(0)
        .build(Seen::default());
    let running = Running::monitor(&before);
    synced(&before, &anvil, 0).await;
    running.stop().await.unwrap();

    for round in 3..5 {
        emit(&anvil, contracts[1], format!("market {round}").as_bytes()).await;
        emit(&anvil, contracts[0], format!("own {round}").as_bytes()).await;
        let sink = Seen::default();
        let monitor = both(&db, http(anvil.url()), &anvil, contracts, 1_000).build(sink.clone());
        let running = Running::monitor(&monitor);
        searched(&monitor, &anvil).await;
        running.stop().await.unwrap();
        assert!(sink.rollbacks().is_empty());
    }
    let mut expected =
        [emitted(&anvil, contracts[0], 1).await, emitted(&anvil, contracts[1], 1).await].concat();
    expected.sort_unstable();
    assert_eq!(Seen::rows(&db).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_with_the_past_holds_up_nothing_that_is_new() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = two(&anvil, 6).await;
    let head = anvil.block_number().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let market = contracts[1].to_string().to_lowercase();
    // As of a node that keeps no logs for long.
    proxy.rule(move |method, params| {
        let is_past = |params: &Value| {
            let to = params[0]["toBlock"].as_str().unwrap_or_default();
            u64::from_str_radix(to.trim_start_matches("0x"), 16).is_ok_and(|to| to <= head)
        };
        if method == "eth_getLogs" && params.to_string().to_lowercase().contains(&market) && is_past(params) {
            return Verdict::Http(500, vec![], "history was pruned");
        }
        Verdict::Forward
    });
    let monitor = both(&db, http(&proxy.url()), &anvil, contracts, 100).build(Seen::default());
    let running = Running::monitor(&monitor);
    settled(&monitor, "the begin of the search", |status| status.unsearched.is_some()).await;
    for round in 6..9 {
        emit(&anvil, contracts[1], format!("market {round}").as_bytes()).await;
        let status =
            settled(&monitor, "the newest block", |status| status.processed == Some(head + round - 5)).await;
        assert!(!matches!(status.state, MonitorState::Stalled { .. }), "{status:?}");
    }
    let expected: Vec<String> =
        (0..6).map(|n| format!("own {n}")).chain((6..9).map(|n| format!("market {n}"))).collect();
    assert_eq!(Seen::payloads(&db).await, expected);
    assert_eq!(monitor.status().borrow().unsearched, Some(head));

    proxy.honest();
    searched(&monitor, &anvil).await;
    assert_eq!(Seen::rows(&db).await.len(), 6 + 9);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_keeps_the_past_to_itself_delays_what_is_new_for_a_moment_only() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = two(&anvil, 6).await;
    let head = anvil.block_number().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let market = contracts[1].to_string().to_lowercase();
    proxy.rule(move |method, params| {
        let to = params[0]["toBlock"].as_str().unwrap_or_default();
        let is_past = u64::from_str_radix(to.trim_start_matches("0x"), 16).is_ok_and(|to| to <= head);
        let is_of_market = params.to_string().to_lowercase().contains(&market);
        if method == "eth_getLogs" && is_past && is_of_market { Verdict::Silence } else { Verdict::Forward }
    });
    // A request by itself would be waited for.
    let endpoint = http(&proxy.url()).timeout(NEVER);
    let monitor = both(&db, endpoint, &anvil, contracts, 100)
        .range_limit(Duration::from_millis(500))
        .build(Seen::default());
    let running = Running::monitor(&monitor);
    settled(&monitor, "the begin of the search", |status| status.unsearched.is_some()).await;
    let new = emit(&anvil, contracts[0], b"new").await;
    let status = settled(&monitor, "the newest block", |status| status.processed == Some(new)).await;
    assert!(!matches!(status.state, MonitorState::Stalled { .. }), "{status:?}");
    proxy.honest();
    searched(&monitor, &anvil).await;
    assert_eq!(Seen::rows(&db).await.len(), 6 + 1 + 6);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_is_searched_although_each_step_ends_after_the_next_block() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = two(&anvil, 12).await;
    let first = anvil.block_number().await.unwrap();
    anvil.mine(2_000).await.unwrap();
    let head = anvil.block_number().await.unwrap();
    // What is fetched ahead while a small range is applied must not keep the monitor behind for ever.
    for range in [10_000, 4] {
        let shown = Arc::new(AtomicU64::new(first));
        let (_dir, db) = fresh().await;
        let proxy = FaultProxy::start(anvil.url()).await.unwrap();
        let next = shown.clone();
        proxy.rule(move |method, _| {
            if method != "eth_blockNumber" {
                return Verdict::Forward;
            }
            let number = next.fetch_add(1, Ordering::Relaxed).min(head);
            Verdict::Change(Box::new(move |_| format!("0x{number:x}").into()))
        });
        let monitor = both(&db, http(&proxy.url()), &anvil, contracts, 30)
            .max_block_range(range)
            .build(Seen::default());
        let running = Running::monitor(&monitor);
        settled(&monitor, "the end of the search", |status| status.unsearched == Some(0)).await;
        settled(&monitor, "a moment without a backlog", MonitorStatus::is_caught_up).await;
        assert!(shown.load(Ordering::Relaxed) < head, "it stood still, range {range}");
        // All of the own logs; of the market's those of the last 30 blocks before the search began.
        let rows = Seen::rows(&db).await;
        let own = emitted(&anvil, contracts[0], 1).await;
        assert!(own.iter().all(|log| rows.contains(log)), "{rows:?}");
        let market = rows.len() - own.len();
        assert!((9..=12).contains(&market), "{market} logs of the market");
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_the_past_that_one_endpoint_leaves_out_is_found_by_another() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = [emitter(&anvil).await, emitter(&anvil).await];
    emit(&anvil, contracts[1], b"long ago").await;
    anvil.mine(300).await.unwrap();
    let (_dir, db) = fresh().await;
    let mut proxies = Vec::new();
    for _ in 0..3 {
        proxies.push(FaultProxy::start(anvil.url()).await.unwrap());
    }
    let fault = Fault::OmitLogs { from: 0, to: None, topic: None, receipts: true, bloom: true };
    proxies[0].script(Script(vec![Rule::new([], fault)]));
    let all: Vec<_> = proxies.iter().map(|proxy| http(&proxy.url())).collect();
    let endpoints = Endpoints::new(all[0].clone(), all[1..].iter().cloned());
    let monitor = both(&db, endpoints, &anvil, contracts, 1_000).build(Seen::default());
    let running = Running::monitor(&monitor);
    searched(&monitor, &anvil).await;
    assert_eq!(Seen::payloads(&db).await, ["long ago"]);
    running.stop().await.unwrap();
}
