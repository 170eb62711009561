//! Jobs per second from their push to their end, every commit on disk before it counts (`synchronous=FULL`), beside
//! the rate at which the same disk takes single commits.
//!
//! - `single commits`: one writer, one row a commit: the limit for anything that commits each job alone.
//! - `one at a time`: pushed one a commit, claimed and done one at a time (one worker).
//! - `x1`: four producers push one job a commit; eight workers.
//! - `x10`: four producers push ten jobs a commit; eight workers.
//!
//! These push in transactions of their own and end jobs by a completion that has no effects. The same with `queue` push
//! through the processor's queue and end jobs by `done`; with 64 workers, a commit ends and claims tens of jobs.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use diesel_async::SimpleAsyncConnection;
use privatix_db::{Database, on};
use privatix_jobs::{Done, Handler, Job, JobContext, JobError, MIGRATIONS, Processor, PushOptions};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const JOBS: u64 = 1_000;
const PRODUCERS: u64 = 4;

/// 200 bytes under a subject of its own.
#[derive(Serialize, Deserialize)]
struct Load {
    subject: u64,
    body: String,
}

impl Job for Load {
    const KIND: &'static str = "load";
    fn subject(&self) -> String {
        self.subject.to_string()
    }
}

#[derive(Default)]
struct Count {
    by: By,
    done: AtomicU64,
    all: Notify,
}

/// How jobs are pushed and ended.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum By {
    #[default]
    Transaction,
    Queue,
}

#[async_trait]
impl Handler<Load> for Count {
    async fn run(&self, _job: &Load, cx: JobContext) -> Result<Done, JobError> {
        let done = match self.by {
            By::Transaction => cx.finish().await?.commit().await?,
            By::Queue => cx.done().await?,
        };
        if (self.done.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(JOBS) {
            self.all.notify_one();
        }
        Ok(done)
    }
}

/// The time from the first push to the last end of `JOBS` jobs, `rounds` times.
async fn push_and_run(by: By, workers: usize, producers: u64, a_commit: u64, rounds: u64) -> Duration {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(&dir.path().join("jobs.db"), &[MIGRATIONS]).await.unwrap();
    let count = Arc::new(Count { by, ..Count::default() });
    let processor = Processor::builder(db.clone())
        .register::<Load, _>(Arc::clone(&count))
        .workers(workers)
        .build()
        .unwrap();
    let (wake, queue, shutdown) = (processor.wake(), processor.queue(), CancellationToken::new());
    let running = tokio::spawn(processor.run(shutdown.clone()));
    let started = Instant::now();
    for _ in 0..rounds {
        let producers = (0..producers).map(|producer| {
            let (db, wake, queue) = (db.clone(), wake.clone(), queue.clone());
            tokio::spawn(async move {
                let share = JOBS / producers;
                for first in (0..share).step_by(usize::try_from(a_commit).unwrap()) {
                    let new = |n| Load { subject: producer * JOBS + n, body: "x".repeat(200) };
                    let jobs: Vec<Load> = (first..(first + a_commit).min(share)).map(new).collect();
                    if by == By::Queue {
                        queue.push_all(&jobs, PushOptions::by("bench")).await.unwrap();
                        continue;
                    }
                    let mut tx = db.begin().await.unwrap();
                    for job in &jobs {
                        privatix_jobs::push(&mut tx, job, PushOptions::by("bench")).await.unwrap();
                    }
                    tx.commit().await.unwrap();
                    wake.wake();
                }
            })
        });
        futures::future::try_join_all(producers).await.unwrap();
        count.all.notified().await;
    }
    let taken = started.elapsed();
    shutdown.cancel();
    running.await.unwrap().unwrap();
    taken
}

async fn single_commits(rounds: u64) -> Duration {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(&dir.path().join("plain.db"), &[]).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    on!(&mut *tx, |c| c.batch_execute("CREATE TABLE plain (body TEXT NOT NULL)").await).unwrap();
    tx.commit().await.unwrap();
    let insert = format!("INSERT INTO plain (body) VALUES ('{}')", "x".repeat(200));
    let started = Instant::now();
    for _ in 0..rounds * JOBS {
        let mut tx = db.begin().await.unwrap();
        on!(&mut *tx, |c| c.batch_execute(&insert).await).unwrap();
        tx.commit().await.unwrap();
    }
    started.elapsed()
}

fn jobs(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("jobs");
    group.throughput(Throughput::Elements(JOBS)).sample_size(10).measurement_time(Duration::from_secs(10));
    group.bench_function("single commits", |b| b.to_async(&runtime).iter_custom(single_commits));
    group.bench_function("one at a time", |b| {
        b.to_async(&runtime).iter_custom(|rounds| push_and_run(By::Transaction, 1, 1, 1, rounds));
    });
    group.bench_function("x1", |b| {
        b.to_async(&runtime).iter_custom(|rounds| push_and_run(By::Transaction, 8, PRODUCERS, 1, rounds));
    });
    group.bench_function("x10", |b| {
        b.to_async(&runtime).iter_custom(|rounds| push_and_run(By::Transaction, 8, PRODUCERS, 10, rounds));
    });
    group.bench_function("queue one at a time", |b| {
        b.to_async(&runtime).iter_custom(|rounds| push_and_run(By::Queue, 1, 1, 1, rounds));
    });
    group.bench_function("queue x1", |b| {
        b.to_async(&runtime).iter_custom(|rounds| push_and_run(By::Queue, 8, PRODUCERS, 1, rounds));
    });
    group.bench_function("queue x10", |b| {
        b.to_async(&runtime).iter_custom(|rounds| push_and_run(By::Queue, 8, PRODUCERS, 10, rounds));
    });
    group.bench_function("queue x10, 64 workers", |b| {
        b.to_async(&runtime).iter_custom(|rounds| push_and_run(By::Queue, 64, PRODUCERS, 10, rounds));
    });
    group.finish();
}

criterion_group!(benches, jobs);
criterion_main!(benches);
