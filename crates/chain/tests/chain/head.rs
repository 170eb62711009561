//! The age of the newest block.

use std::time::{Duration, Instant, SystemTime};

use alloy::providers::Provider;
use privatix_chain::{Freshness, Head};
use privatix_testkit::Anvil;
use serde_json::Value;

use crate::support::{Running, Seen, emit, emitter, fresh, http, monitor, settled};

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
    let after = |head: Head, seconds| {
        let (now, instant) = (SystemTime::now(), Instant::now());
        let time = Duration::from_secs(seconds);
        head.age(now + time, instant + time, Head::MAX_AGE).freshness
    };
    assert_eq!(
        [60, 130, 700].map(|seconds| after(head, seconds)),
        [Freshness::Fresh, Freshness::Late, Freshness::Stale]
    );
    emit(&anvil, contract, b"the next").await;
    let next = settled(&monitor, "the next block", |status| {
        newest(status).is_some_and(|next| next.number > head.number)
    });
    let next = newest(&next.await).unwrap();
    assert!(next.seen > head.seen && next.time > head.time);
    running.stop().await.unwrap();
}
