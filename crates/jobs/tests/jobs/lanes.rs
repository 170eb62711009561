//! A flood in one lane delays no other.
#![allow(clippy::unwrap_used, reason = "tests")]
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::*;
use privatix_jobs::{Job, JobContext, Lane, PushOptions};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Asks a stranger for something.
#[derive(Clone, Serialize, Deserialize)]
struct Fetch(u32);

impl Job for Fetch {
    const KIND: &'static str = "fetch";
    const LANE: Lane = Lane::new("fetches", 16);
    fn subject(&self) -> String {
        format!("fetch {}", self.0)
    }
}

/// Must not wait.
#[derive(Clone, Serialize, Deserialize)]
struct Close(u32);

impl Job for Close {
    const KIND: &'static str = "close";
    const LANE: Lane = Lane::new("urgent", 2).priority(0);
    fn subject(&self) -> String {
        format!("close {}", self.0)
    }
}

async fn push_fetches(db: &privatix_db::Database, count: u32) {
    let mut tx = db.begin().await.unwrap();
    for n in 0..count {
        privatix_jobs::push(&mut tx, &Fetch(n), PushOptions::by("test")).await.unwrap();
    }
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_starts_within_a_second_behind_a_thousand_hanging_fetches() {
    let (_dir, db) = fresh().await;
    push_fetches(&db, 1_000).await;
    let hanging = Arc::new(AtomicUsize::new(0));
    let (started, mut starts) = mpsc::unbounded_channel();
    let (closed, mut closes) = mpsc::unbounded_channel();
    let count = Arc::clone(&hanging);
    let running = start(&db, |builder| {
        builder
            .grace(Duration::from_millis(10))
            .register::<Fetch, _>(Do::new(move |_, _| {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = started.send(());
                std::future::pending()
            }))
            .register::<Close, _>(Do::new(move |_, cx: JobContext| {
                let closed = closed.clone();
                async move {
                    let _ = closed.send(Instant::now());
                    Ok(cx.finish().await?.commit().await?)
                }
            }))
    });
    for _ in 0..16 {
        next(&mut starts).await;
    }
    for n in 0..10 {
        let pushed = Instant::now();
        push(&db, Close(n)).await;
        running.wake.wake();
        let waited = next(&mut closes).await.duration_since(pushed);
        assert!(waited < Duration::from_secs(1), "started after {waited:?}");
    }
    assert_eq!(AtomicUsize::load(&hanging, Ordering::SeqCst), 16);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_lane_has_the_workers_that_were_set_for_it() {
    let (_dir, db) = fresh().await;
    push_fetches(&db, 10).await;
    for n in 0..10 {
        push(&db, Close(n)).await;
    }
    let (started, mut starts) = mpsc::unbounded_channel();
    let also = started.clone();
    let running = start(&db, |builder| {
        builder
            .lane("fetches", 3)
            .grace(Duration::from_millis(10))
            .register::<Fetch, _>(Do::new(move |_, _| {
                let _ = started.send("fetch");
                std::future::pending()
            }))
            .register::<Close, _>(Do::new(move |_, _| {
                let _ = also.send("close");
                std::future::pending()
            }))
    });
    // The lane of the default kinds has none of these, so its signal shows that all that could start has started.
    let mut found = Vec::new();
    for _ in 0..5 {
        found.push(next(&mut starts).await);
    }
    found.sort_unstable();
    assert_eq!(found, ["close", "close", "fetch", "fetch", "fetch"]);
    push(&db, Signal("a".into())).await;
    let mut running = running;
    running.wake.wake();
    running.signalled("a").await;
    assert!(starts.try_recv().is_err());
    running.stop().await;
}
