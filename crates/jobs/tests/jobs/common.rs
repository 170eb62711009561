//! A database with a table for effects, handlers made of closures, and a processor to start and stop.
#![allow(unreachable_pub, reason = "shared by all tests")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use futures::future::BoxFuture;
use privatix_db::{Conn, Database, on};
use privatix_jobs::{
    Backoff, Done, Duplicates, Filter, Handler, Job, JobContext, JobError, JobId, JobRecord, JobStatus,
    JobsError, MIGRATIONS, OrRetry as _, Policy, Processor, ProcessorBuilder, PushOptions, Pushed, Queue,
    Stats, Wake,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

mod schema {
    diesel::table! {
        effect (id) { id -> BigInt, job -> BigInt, subject -> Text, note -> Text, }
    }
    diesel::table! {
        job (id) { id -> BigInt, payload -> Text, token -> BigInt, }
    }
}
use schema::{effect, job};

/// What a test may wait for, at most.
pub const PATIENCE: Duration = Duration::from_mins(2);

pub async fn open(path: &Path) -> Database {
    let db = Database::open(path, &[MIGRATIONS]).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    // No unique constraint: an effect that happened twice shall show.
    let sql = "CREATE TABLE IF NOT EXISTS effect (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
        job BIGINT NOT NULL, subject TEXT NOT NULL, note TEXT NOT NULL)";
    on!(&mut *tx, |c| c.batch_execute(sql).await).unwrap();
    tx.commit().await.unwrap();
    db
}

pub async fn fresh() -> (tempfile::TempDir, Database) {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir.path().join("jobs.db")).await;
    (dir, db)
}

/// Writes an effect of a job.
pub async fn effect(
    conn: &mut Conn,
    job: JobId,
    subject: &str,
    note: &str,
) -> Result<(), diesel::result::Error> {
    let row = (effect::job.eq(number(job)), effect::subject.eq(subject), effect::note.eq(note));
    on!(conn, |c| diesel::insert_into(effect::table).values(row).execute(c).await)?;
    Ok(())
}

/// All effects in the order in which they happened: job, subject, note.
pub async fn effects(db: &Database) -> Vec<(i64, String, String)> {
    let mut conn = db.read().await.unwrap();
    on!(&mut *conn, |c| effect::table
        .order(effect::id)
        .select((effect::job, effect::subject, effect::note))
        .load(c)
        .await)
    .unwrap()
}

/// The notes of all effects, in order.
pub async fn notes(db: &Database) -> Vec<String> {
    effects(db).await.into_iter().map(|(.., note)| note).collect()
}

macro_rules! kind {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $policy:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Serialize, Deserialize)]
        pub struct $name {
            pub subject: String,
            pub note: String,
        }

        impl $name {
            pub fn new(subject: impl Into<String>, note: impl Into<String>) -> Self {
                Self { subject: subject.into(), note: note.into() }
            }
        }

        impl Job for $name {
            const KIND: &'static str = $kind;
            fn subject(&self) -> String {
                self.subject.clone()
            }
            fn key(&self) -> String {
                self.note.clone()
            }
            fn policy() -> Policy {
                $policy
            }
        }
    };
}

kind!(
    /// 3 tries with no delay between them.
    Step, "step", Policy::default().backoff(Backoff::fixed(Duration::ZERO))
);
kind!(
    /// 3 tries with a long delay between them.
    Slow, "slow", Policy::default().backoff(Backoff::fixed(Duration::from_secs(1000)))
);
kind!(
    /// Its handler has no time.
    Hasty, "hasty", Policy::default().tries(1).timeout(Duration::from_millis(20))
);
kind!(
    /// Starts after an hour.
    Later, "later", Policy::default().first_delay(Duration::from_hours(1))
);
kind!(
    /// Only one pending for each subject and note.
    Once, "once", Policy::default().backoff(Backoff::fixed(Duration::ZERO)).duplicates(Duplicates::RefusedWhilePending)
);
kind!(
    /// Only one waiting for each subject and note.
    Refresh, "refresh", Policy::default().duplicates(Duplicates::RefusedWhileWaiting)
);
kind!(
    /// What the process may die under.
    Fragile, "fragile", Policy::default()
);

/// A job of another shape under the name of [`Step`]: what an older program may have left.
#[derive(Serialize, Deserialize)]
pub struct OldStep {
    pub subject: String,
}

impl Job for OldStep {
    const KIND: &'static str = Step::KIND;
    fn subject(&self) -> String {
        self.subject.clone()
    }
}

type Body<J> = dyn Fn(J, JobContext) -> BoxFuture<'static, Result<Done, JobError>> + Send + Sync;

/// A handler made of a closure.
pub struct Do<J>(Arc<Body<J>>);

impl<J: Job + Clone> Do<J> {
    pub fn new<F, R>(body: F) -> Self
    where
        F: Fn(J, JobContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Done, JobError>> + Send + 'static,
    {
        Self(Arc::new(move |job, cx| Box::pin(body(job, cx))))
    }
}

#[async_trait]
impl<J: Job + Clone> Handler<J> for Do<J> {
    async fn run(&self, job: &J, cx: JobContext) -> Result<Done, JobError> {
        (self.0)(job.clone(), cx).await
    }
}

/// Finishes a job with one effect.
pub async fn finish(cx: JobContext, subject: &str, note: &str) -> Result<Done, JobError> {
    let id = cx.id();
    let mut completion = cx.finish().await?;
    effect(&mut completion, id, subject, note).await.or_retry()?;
    Ok(completion.commit().await?)
}

/// A handler that writes the job's note.
pub fn write<J: Job + Clone + Noted>() -> Do<J> {
    Do::new(|job: J, cx| async move { finish(cx, &job.subject(), job.note()).await })
}

pub trait Noted {
    fn note(&self) -> &str;
}
macro_rules! noted {
    ($($name:ident)+) => { $(impl Noted for $name { fn note(&self) -> &str { &self.note } })+ };
}
noted!(Step Slow Hasty Later Once Refresh Fragile);

/// Tells the test when a [`Signal`] job ran. Pushed behind another job of its subject, that the other has ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Signal(pub String);

impl Job for Signal {
    const KIND: &'static str = "signal";
    fn subject(&self) -> String {
        self.0.clone()
    }
}

pub struct Running {
    pub wake: Wake,
    pub queue: Queue,
    pub stats: Stats,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<Result<(), JobsError>>,
    signals: mpsc::UnboundedReceiver<String>,
}

impl Running {
    /// Waits until the signal of a subject has run.
    pub async fn signalled(&mut self, subject: &str) {
        self.signalled_all(&[subject]).await;
    }

    /// Waits until the signals of all these subjects have run, in whatever order.
    pub async fn signalled_all(&mut self, subjects: &[&str]) {
        let mut missing: BTreeSet<&str> = subjects.iter().copied().collect();
        while !missing.is_empty() {
            missing.remove(next(&mut self.signals).await.as_str());
        }
    }

    /// Waits until the signals of all these subjects are done, be it in an earlier process.
    pub async fn signalled_missing(&mut self, db: &Database, subjects: &[String]) {
        let done = list(db, Filter::new().kind(Signal::KIND).status(JobStatus::Done).limit(1000)).await;
        // What is done between this look and its signal is signalled too.
        let missing = subjects.iter().filter(|subject| done.iter().all(|job| job.subject != **subject));
        self.signalled_all(&missing.map(String::as_str).collect::<Vec<_>>()).await;
    }

    /// Shuts down and waits for the end.
    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("stops").unwrap().unwrap();
    }

    /// Is dropped, which is to the jobs as if the process had died.
    pub async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// Starts a processor that handles signals too.
pub fn start(db: &Database, set_up: impl FnOnce(ProcessorBuilder) -> ProcessorBuilder) -> Running {
    let (seen, signals) = mpsc::unbounded_channel();
    let signal = Do::new(move |job: Signal, cx: JobContext| {
        let seen = seen.clone();
        async move {
            let done = cx.finish().await?.commit().await?;
            let _ = seen.send(job.0);
            Ok(done)
        }
    });
    let processor = set_up(Processor::builder(db.clone())).register::<Signal, _>(signal).build().unwrap();
    let shutdown = CancellationToken::new();
    let (wake, queue, stats) = (processor.wake(), processor.queue(), processor.stats());
    let task = tokio::spawn(processor.run(shutdown.clone()));
    Running { wake, queue, stats, shutdown, task, signals }
}

pub async fn push<J: Job>(db: &Database, job: J) -> JobId {
    match try_push(db, &job, PushOptions::by("test")).await {
        Pushed::New(id) => id,
        Pushed::Duplicate(id) => panic!("duplicate of {id}"),
    }
}

pub async fn try_push<J: Job>(db: &Database, job: &J, options: PushOptions) -> Pushed {
    let mut tx = db.begin().await.unwrap();
    let pushed = privatix_jobs::push(&mut tx, job, options).await.unwrap();
    tx.commit().await.unwrap();
    pushed
}

pub async fn cancel(db: &Database, id: JobId) -> Result<(), JobsError> {
    let mut tx = db.begin().await.unwrap();
    privatix_jobs::cancel(&mut tx, id).await?;
    tx.commit().await.unwrap();
    Ok(())
}

pub async fn reactivate(db: &Database, id: JobId) -> Result<(), JobsError> {
    let mut tx = db.begin().await.unwrap();
    privatix_jobs::reactivate(&mut tx, id).await?;
    tx.commit().await.unwrap();
    Ok(())
}

pub async fn get(db: &Database, id: JobId) -> JobRecord {
    privatix_jobs::get(&mut db.read().await.unwrap(), id).await.unwrap()
}

pub async fn list(db: &Database, filter: Filter) -> Vec<JobRecord> {
    privatix_jobs::list(&mut db.read().await.unwrap(), &filter).await.unwrap().jobs
}

fn number(id: JobId) -> i64 {
    id.to_string().parse().unwrap()
}

/// Writes another payload into a job, as no program should.
pub async fn scribble(db: &Database, id: JobId, payload: &str) {
    let mut tx = db.begin().await.unwrap();
    let update = diesel::update(job::table.find(number(id))).set(job::payload.eq(payload));
    on!(&mut *tx, |c| update.execute(c).await).unwrap();
    tx.commit().await.unwrap();
}

/// Runs SQL, as no program should.
pub async fn tamper(db: &Database, sql: &str) {
    let mut tx = db.begin().await.unwrap();
    on!(&mut *tx, |c| c.batch_execute(sql).await).unwrap();
    tx.commit().await.unwrap();
}

/// Lets the database grow to this many pages (or to its present size, if that is more).
pub async fn limit_pages(conn: &mut Conn, pages: u32) {
    on!(conn, |c| c.batch_execute(&format!("PRAGMA max_page_count = {pages}")).await).unwrap();
}

/// A clock that tests set: by how many seconds it is ahead of the system's.
#[derive(Clone, Default)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    pub fn set_ahead(&self, seconds: i64) {
        self.0.store(seconds, Ordering::SeqCst);
    }

    pub fn read(&self) -> impl Fn() -> SystemTime + Send + Sync + 'static {
        let ahead = Arc::clone(&self.0);
        move || {
            let seconds = AtomicI64::load(&ahead, Ordering::SeqCst);
            let by = Duration::from_secs(seconds.unsigned_abs());
            if seconds < 0 { SystemTime::now() - by } else { SystemTime::now() + by }
        }
    }
}

/// A clock that is ahead of the system's.
pub fn ahead(by: Duration) -> impl Fn() -> SystemTime + Send + Sync {
    move || SystemTime::now() + by
}

/// Receives with patience.
pub async fn next<T>(events: &mut mpsc::UnboundedReceiver<T>) -> T {
    tokio::time::timeout(PATIENCE, events.recv()).await.expect("an event in time").expect("an event")
}
