//! The processor of this repository.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use diesel_async::SimpleAsyncConnection;
use privatix_db::{Database, on};
use privatix_jobs::{
    Done, Handler, Job, JobContext, JobError, MIGRATIONS, OrRetry as _, Processor, PushOptions, Queue,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::load::{EFFECTS, Load, Shape, effect};

impl Job for Load {
    const KIND: &'static str = "load";

    fn subject(&self) -> String {
        self.number.to_string()
    }
}

struct Work {
    effects: bool,
    ended: AtomicU64,
    progress: Notify,
}

#[async_trait]
impl Handler<Load> for Work {
    async fn run(&self, job: &Load, cx: JobContext) -> Result<Done, JobError> {
        let done = if self.effects {
            let mut completion = cx.finish().await?;
            on!(&mut *completion, |c| c.batch_execute(&effect(job.number)).await).or_retry()?;
            completion.commit().await?
        } else {
            cx.done().await?
        };
        self.ended.fetch_add(1, Ordering::SeqCst);
        self.progress.notify_one();
        Ok(done)
    }
}

/// A processor that runs.
pub struct Running {
    pub queue: Queue,
    db: Database,
    work: Arc<Work>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub async fn start(file: &Path, workers: usize, effects: bool) -> Self {
        let db = Database::open(file, &[MIGRATIONS]).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        on!(&mut *tx, |c| c.batch_execute(EFFECTS).await).unwrap();
        tx.commit().await.unwrap();
        let work = Arc::new(Work { effects, ended: AtomicU64::new(0), progress: Notify::new() });
        let processor = Processor::builder(db.clone())
            .register::<Load, _>(Arc::clone(&work))
            .workers(workers)
            .build()
            .unwrap();
        let (queue, shutdown) = (processor.queue(), CancellationToken::new());
        let running = processor.run(shutdown.clone());
        let task = tokio::spawn(async move { running.await.unwrap() });
        Self { queue, db, work, shutdown, task }
    }

    /// Pushes jobs in one commit and returns once they are on disk.
    pub async fn push(queue: &Queue, jobs: &[Load]) {
        queue.push_all(jobs, PushOptions::by("bench")).await.unwrap();
    }

    /// Jobs that have not ended yet.
    pub async fn open(&self) -> i64 {
        use diesel_async::RunQueryDsl as _; // here only, or it takes the `load` of atomics

        let count = diesel::dsl::sql::<diesel::sql_types::BigInt>(
            "(SELECT count(*) FROM job WHERE status = 'pending')",
        );
        let mut conn = self.db.read().await.unwrap();
        on!(&mut *conn, |c| diesel::select(count).get_result(c).await).unwrap()
    }

    async fn all_ended(&self, jobs: u64) {
        while self.work.ended.load(Ordering::SeqCst) < jobs {
            self.work.progress.notified().await;
        }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

/// From the first push to the last end on disk.
pub async fn measure(file: &Path, shape: Shape, jobs: u64) -> Duration {
    let running = Running::start(file, shape.workers, shape.effects).await;
    let started = Instant::now();
    let producers = (0..shape.producers).map(|producer| {
        let queue = running.queue.clone();
        tokio::spawn(async move {
            for batch in crate::rates::batches(producer, shape, jobs) {
                Running::push(&queue, &batch).await;
            }
        })
    });
    futures::future::try_join_all(producers).await.unwrap();
    running.all_ended(jobs).await;
    let taken = started.elapsed();
    running.stop().await;
    taken
}

/// One row a commit, one after another, written by the same code into a database of its own.
pub async fn single_commits(file: &Path, rows: u64) -> Duration {
    let db = Database::open(file, &[]).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    on!(&mut *tx, |c| c.batch_execute("CREATE TABLE plain (body TEXT NOT NULL)").await).unwrap();
    tx.commit().await.unwrap();
    let insert = format!("INSERT INTO plain (body) VALUES ('{}')", "x".repeat(200));
    let started = Instant::now();
    for _ in 0..rows {
        let mut tx = db.begin().await.unwrap();
        on!(&mut *tx, |c| c.batch_execute(&insert).await).unwrap();
        tx.commit().await.unwrap();
    }
    started.elapsed()
}
