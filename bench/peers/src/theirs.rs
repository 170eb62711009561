//! `apalis-sqlite`. Its own `setup` sets pragmas on one connection of the pool only, and `synchronous=OFF`; here its
//! migrations run alone, and every connection has the pragmas of the other side.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use apalis::prelude::*;
use apalis_sqlite::{
    Config, SqliteConnectOptions, SqlitePool, SqliteStorage, callback::HookCallbackListener,
};
use futures::StreamExt as _;
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::load::{Contender, EFFECTS, Load, Shape, effect};

/// Short enough to be no part of the measurement; shorter ones only burn the processor.
const POLL: Duration = Duration::from_millis(20);
/// In whole seconds, the least that it counts in.
const HEARTBEAT: Duration = Duration::from_secs(1);
const QUEUE: &str = "load";

struct Work {
    pool: SqlitePool,
    effects: bool,
    ended: AtomicU64,
    progress: Notify,
}

async fn run_one(job: Load, work: Data<Arc<Work>>) -> Result<(), BoxDynError> {
    if work.effects {
        sqlx::raw_sql(sqlx::AssertSqlSafe(effect(job.number))).execute(&work.pool).await?;
    }
    work.ended.fetch_add(1, Ordering::SeqCst);
    work.progress.notify_one();
    Ok(())
}

/// A worker that runs.
pub struct Running {
    pub pool: SqlitePool,
    work: Arc<Work>,
    task: JoinHandle<()>,
}

impl Running {
    pub async fn start(contender: Contender, file: &Path, workers: usize, effects: bool) -> Self {
        let (pool, listener) = connect(file);
        SqliteStorage::migrations().run(&pool).await.unwrap();
        sqlx::raw_sql(EFFECTS).execute(&pool).await.unwrap();
        let work =
            Arc::new(Work { pool: pool.clone(), effects, ended: AtomicU64::new(0), progress: Notify::new() });
        let config = Config::default().queue(QUEUE).batch_size(workers.max(1)).heartbeat_interval(HEARTBEAT);
        let storage = SqliteStorage::<Load>::new(&pool).with_config(config);
        // A name of its own for each life: one that died cannot be registered again at once.
        let name = format!("worker-{}", std::process::id());
        let builder = WorkerBuilder::new(name.as_str());
        let data = Arc::clone(&work);
        let task = match contender {
            Contender::Ours => unreachable!("the other side"),
            Contender::Polling => {
                let worker = builder.backend(storage.poll_with_interval(POLL)).data(data).build(run_one);
                tokio::spawn(async move { worker.run().await.unwrap() })
            }
            Contender::Hooked => {
                let strategy = Strategy::new().stream(listener.ready_chunks(workers.max(1))).interval(POLL);
                let worker = builder.backend(storage.poll_with_strategy(strategy)).data(data).build(run_one);
                tokio::spawn(async move { worker.run().await.unwrap() })
            }
        };
        Self { pool, work, task }
    }

    /// Pushes jobs in one commit and returns once they are on disk.
    pub async fn push(pool: &SqlitePool, jobs: &[Load]) {
        let tasks: Vec<_> =
            jobs.iter().map(|job| TaskBuilder::new(serde_json::to_vec(job).unwrap()).build()).collect();
        let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
        apalis_sqlite::queries::push_tasks(&mut *tx, QUEUE, &tasks).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Jobs that are not done yet.
    pub async fn open(pool: &SqlitePool) -> i64 {
        let query = "SELECT count(*) FROM Jobs WHERE status <> 'Done'";
        sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
    }

    /// A handler's end is on disk some time after it has returned: the table shows when.
    async fn all_ended(&mut self, jobs: u64) {
        while self.work.ended.load(Ordering::SeqCst) < jobs {
            tokio::select! {
                () = self.work.progress.notified() => {}
                ended = &mut self.task => panic!("the worker has ended: {ended:?}"),
            }
        }
        while Self::open(&self.pool).await > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub fn stop(self) {
        self.task.abort();
    }
}

fn connect(file: &Path) -> (SqlitePool, HookCallbackListener) {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10))
        .foreign_keys(true)
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", "-16000");
    // The pool connects later, with these options; the address only makes the pool.
    let (pool, listener) = SqliteStorage::connect_with_callback("sqlite::memory:").unwrap();
    pool.set_connect_options(options);
    (pool, listener)
}

/// From the first push to the last end on disk.
pub async fn measure(contender: Contender, file: &Path, shape: Shape, jobs: u64) -> Duration {
    let mut running = Running::start(contender, file, shape.workers, shape.effects).await;
    let started = Instant::now();
    let producers = (0..shape.producers).map(|producer| {
        let pool = running.pool.clone();
        tokio::spawn(async move {
            for batch in crate::rates::batches(producer, shape, jobs) {
                Running::push(&pool, &batch).await;
            }
        })
    });
    futures::future::try_join_all(producers).await.unwrap();
    running.all_ended(jobs).await;
    let taken = started.elapsed();
    running.stop();
    taken
}
