//! The age of the newest block.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use alloy::providers::Provider;
use privatix_chain::{Freshness, MonitorState, View, Why};
use privatix_testkit::{Anvil, Fault, Rule, Script};
use serde_json::Value;

use crate::support::{
    FaultProxy, Running, Seen, Verdict, emit, emitter, fresh, http, monitor, settled, synced,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_stands_still_grows_old_and_the_next_block_makes_it_fresh() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    // Empty blocks, 12 seconds apart, as a clock makes them.
    let _: Value = anvil.provider().raw_request("anvil_mine".into(), (20, 12)).await.unwrap();
    let monitor = monitor(&db, http(anvil.url()), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&monitor);
    let newest = |status: &privatix_chain::MonitorStatus| {
        status.newest.filter(|head| Some(head.number) == status.head)
    };
    let status = settled(&monitor, "the newest block", |status| newest(status).is_some()).await;
    let head = newest(&status).unwrap();
    assert_eq!(head.pace, Some(Duration::from_secs(12)));
    synced(&monitor, &anvil, 0).await;
    let status = monitor.status().borrow().clone();
    let after = |seconds| {
        let (now, instant) = (SystemTime::now(), Instant::now());
        let time = Duration::from_secs(seconds);
        status.view(now + time, instant + time, View::MAX_AGE).freshness
    };
    assert_eq!(
        [60, 130, 700].map(after),
        [Freshness::Fresh, Freshness::Late, Freshness::Stale(Why::Unreachable)]
    );
    emit(&anvil, contract, b"the next").await;
    let next = settled(&monitor, "the next block", |status| {
        newest(status).is_some_and(|next| next.number > head.number)
    });
    let next = newest(&next.await).unwrap();
    // Two blocks of anvil may have one time, after time was moved.
    assert!(next.seen > head.seen && next.time >= head.time);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_cannot_return_its_newest_block_delays_no_events() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    emit(&anvil, contract, b"an event").await;
    anvil.mine(40).await.unwrap();
    let head = anvil.provider().get_block_number().await.unwrap();
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let (asked, newest) = (Arc::new(AtomicUsize::new(0)), format!("{head:#x}"));
    let counter = Arc::clone(&asked);
    proxy.rule(move |method, params| {
        if method == "eth_getBlockByNumber" && params[0] == newest.as_str() {
            counter.fetch_add(1, Ordering::Relaxed);
            return Verdict::Error(-32_603, "internal error");
        }
        Verdict::Forward
    });
    let builder = monitor(&db, http(&proxy.url()), &anvil, contract).confirmations(20);
    let monitor = builder.build(Seen::default());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 20).await;
    proxy.asked_again("eth_blockNumber", 3).await;
    assert_eq!(Seen::payloads(&db).await, ["an event"]);
    assert_eq!(asked.load(Ordering::Relaxed), 1, "failed attempts");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_is_as_old_as_its_stored_block_until_an_endpoint_answers() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let first = monitor(&db, http(&proxy.url()), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&first);
    emit(&anvil, contract, b"an event").await;
    synced(&first, &anvil, 0).await;
    running.stop().await.unwrap();

    proxy.script(Script(vec![Rule::new([], Fault::Cut)]));
    let again = monitor(&db, http(&proxy.url()), &anvil, contract).build(Seen::default());
    let running = Running::monitor(&again);
    let stalled =
        |status: &privatix_chain::MonitorStatus| matches!(status.state, MonitorState::Stalled { .. });
    let status = settled(&again, "no answer", stalled).await;
    let head = anvil.block_number().await.unwrap();
    let (now, instant) = (SystemTime::now(), Instant::now());
    let view = status.view(now, instant, View::MAX_AGE);
    assert_eq!((view.processed, view.freshness), (Some(head), Freshness::Fresh));
    let later = status.view(now + View::MAX_AGE, instant, View::MAX_AGE);
    assert_eq!(later.freshness, Freshness::Stale(Why::NeverSeen));
    running.stop().await.unwrap();
}
