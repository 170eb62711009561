//! What shows that a task hangs, and what does not: endpoints that answer each request, but slowly.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::Address;
use privatix_chain::{Endpoints, Intent, Standing};
use privatix_testkit::{Anvil, Fault, Rule, Script};
use tokio::sync::Notify;

use crate::support::{
    FaultProxy, NEVER, Outcomes, Running, Seen, Verdict, emit, emitter, fresh, http, monitor, settled,
    submit, synced, transactor, within,
};

/// A proxy that holds each request back until the test lets it go.
async fn gate(anvil: &Anvil) -> (FaultProxy, Arc<Notify>, Arc<Notify>) {
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (at, gate) = (arrived.clone(), go.clone());
    proxy.rule(move |_, _| {
        at.notify_one();
        Verdict::ForwardAfter(gate.clone())
    });
    (proxy, arrived, go)
}

/// Lets some requests pass one after the other. Since when the task has been at each of them.
async fn pass(
    count: usize,
    (arrived, go): (&Notify, &Notify),
    since: impl Fn() -> Option<Instant>,
) -> Vec<Instant> {
    let mut all = Vec::new();
    for _ in 0..count {
        within("a request", arrived.notified()).await;
        all.push(since().expect("it is in the middle of a step"));
        go.notify_one();
    }
    within("a request", arrived.notified()).await;
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_the_monitor_is_timed_from_each_answer_and_ends_with_the_run() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let (proxy, arrived, go) = gate(&anvil).await;
    let monitor = monitor(&db, http(&proxy.url()), &anvil, contract).build(Seen::default());
    let status = monitor.status();
    let running = Running::monitor(&monitor);
    // The chain's id, the code, the head, the anchor: one after the other, in one step.
    let since = pass(4, (&arrived, &go), || status.borrow().step_since).await;
    assert!(since.is_sorted_by(|earlier, later| earlier < later), "{since:?}");
    assert!(status.borrow().step_since.is_some());
    running.kill().await;
    assert_eq!(status.borrow().step_since, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_of_the_transactor_is_timed_from_each_answer_and_ends_with_the_run() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let (proxy, arrived, go) = gate(&anvil).await;
    let transactor = transactor(&db, http(&proxy.url()), &anvil).build(Outcomes::default());
    let intent = Intent::new("key", anvil.account(0), Address::repeat_byte(7), Vec::new());
    submit(&db, &transactor, intent).await;
    let status = transactor.status();
    let running = Running::transactor(&transactor);
    let since = pass(3, (&arrived, &go), || status.borrow().pass_since).await;
    assert!(since.is_sorted_by(|earlier, later| earlier < later), "{since:?}");
    running.kill().await;
    assert_eq!(status.borrow().pass_since, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_is_timed_from_each_slice_of_a_large_batch() {
    let anvil = Anvil::start().await.unwrap();
    let contract = crate::flood::flooder(&anvil).await;
    for _ in 0..17 {
        crate::flood::flood(&anvil, contract, 250).await;
    }
    let (_dir, db) = fresh().await;
    let sink = Seen::default();
    let monitor = monitor(&db, http(anvil.url()), &anvil, contract).build(sink.clone());
    let mut since = Vec::new();
    let status = monitor.status();
    let (at_commit, commits) = tokio::sync::mpsc::unbounded_channel();
    sink.at_each_commit(move || at_commit.send(status.borrow().step_since).unwrap());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    running.stop().await.unwrap();
    let mut commits = commits;
    while let Ok(at) = commits.try_recv() {
        since.push(at.expect("a commit is part of a step"));
    }
    assert!(since.len() >= 3, "{since:?}");
    assert!(since.is_sorted_by(|earlier, later| earlier < later), "{since:?}");
}

/// Each header comes after `wait`.
fn slow_headers(wait: Duration) -> Script {
    let ms = u64::try_from(wait.as_millis()).unwrap();
    Script(vec![Rule::new(["eth_getBlockByNumber"], Fault::Delay { ms })])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_takes_long_for_a_range_is_asked_for_fewer_blocks() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    for n in 0..3 {
        emit(&anvil, contract, format!("{n}").as_bytes()).await;
        anvil.mine(12).await.unwrap();
    }
    let (_dir, db) = fresh().await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    // Sixteen headers at a time.
    proxy.script(slow_headers(Duration::from_millis(200)));
    let sink = Seen::default();
    let monitor = monitor(&db, http(&proxy.url()), &anvil, contract)
        .range_limit(Duration::from_millis(350))
        .build(sink.clone());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    assert_eq!(Seen::payloads(&db).await, ["0", "1", "2"]);
    let widths: Vec<u64> = sink.batches().iter().map(|(from, to)| to - from + 1).collect();
    assert!(widths.iter().all(|&width| width <= 16), "{widths:?}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_takes_long_for_one_block_is_left_for_another() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let [slow, good] =
        [FaultProxy::start(anvil.url()).await.unwrap(), FaultProxy::start(anvil.url()).await.unwrap()];
    let endpoints = Endpoints::new(http(&slow.url()), [http(&good.url())]);
    let monitor = monitor(&db, endpoints.clone(), &anvil, contract)
        .range_limit(Duration::from_millis(100))
        .poll_interval(NEVER)
        .build(Seen::default());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    slow.script(slow_headers(Duration::from_millis(500)));
    let block = emit(&anvil, contract, b"1").await;
    monitor.wake();
    settled(&monitor, "the event", |status| status.processed == Some(block)).await;
    let status = endpoints.status();
    assert!(matches!(status[0].standing, Standing::Resting { .. }), "{status:?}");
    running.stop().await.unwrap();
}
