//! A durable job processor over a database that the jobs' effects live in too.
//!
//! What it owns: the queue ([`push`], [`cancel`], [`hasten`], [`reactivate`], [`get`], [`list`], [`prune`], [`Queue`]) and the [`Processor`]
//! that runs its jobs. It knows nothing about what the jobs do, and serves alone.
//!
//! - **One effect per job.** A handler works outside any transaction, then calls [`JobContext::finish`]: that opens a
//!   write transaction in which its job is marked done under its fencing token. It writes its effects and pushes
//!   follow-up jobs into the same transaction, and [`Completion::commit`] returns the [`Done`] without which a handler
//!   cannot return success. Kill the process at any instant: the effects and the mark are both there or both not.
//!   What a handler does *outside* the database may happen again after a crash; make it idempotent.
//! - **Order.** The jobs of one subject run one after another in the order of their creation; a delayed or retried job
//!   holds up the later ones of its subject. A job that failed or was cancelled holds up nothing. Different subjects
//!   run side by side.
//! - **Lanes.** Kinds run in [`Lane`]s with workers of their own, so that a flood in one lane delays no other.
//! - **No job runs twice at once.** A running job is held by the life of its processor, and what may be claimed is held by
//!   nobody. It is freed when its run has ended, or when that life has: at the next start, because one process at a time
//!   opens a database. No clock takes part, so that neither a suspended machine nor a clock that is set runs a job twice.
//! - **A job that kills the process** is not failed for it: from the second crash in a row on it waits, and runs alone in
//!   its lane, so that the others get done.
//! - **Kinds without a handler wait** for a process that has one, and cost nothing.
//! - **What it does is seen at no cost.** [`Stats`] are counted in memory, and [`depths`] reads a bounded number of rows,
//!   however many jobs wait.
//! - **Nothing polls.** The processor sleeps until a [`Wake`] or the next job's time, and looks once a minute for what no
//!   event announces.
//!
//! ```
//! use async_trait::async_trait;
//! use privatix_db::Database;
//! use privatix_jobs::{Done, Handler, Job, JobContext, JobError, Processor, PushOptions};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Greet { name: String }
//!
//! impl Job for Greet {
//!     const KIND: &'static str = "greet";
//!     fn subject(&self) -> String { self.name.clone() }
//! }
//!
//! struct Greeter(tokio_util::sync::CancellationToken);
//!
//! #[async_trait]
//! impl Handler<Greet> for Greeter {
//!     async fn run(&self, _job: &Greet, cx: JobContext) -> Result<Done, JobError> {
//!         let completion = cx.finish().await?; // the job is done in this transaction...
//!         // ... in which its effects and follow-up jobs are written too: `completion` is a `Conn`.
//!         self.0.cancel();
//!         Ok(completion.commit().await?)
//!     }
//! }
//!
//! # #[tokio::main(flavor = "multi_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let db = Database::open(&dir.path().join("app.db"), &[privatix_jobs::MIGRATIONS]).await?;
//! let mut tx = db.begin().await?;
//! privatix_jobs::push(&mut tx, &Greet { name: "Ada".into() }, PushOptions::by("example")).await?;
//! tx.commit().await?;
//!
//! let shutdown = tokio_util::sync::CancellationToken::new();
//! Processor::builder(db).register(Greeter(shutdown.clone())).workers(4).build()?.run(shutdown).await?;
//! # Ok(()) }
//! ```

mod claim;
mod clock;
mod context;
mod depth;
mod effects;
mod ends;
mod error;
mod handle;
mod inspect;
mod job;
mod lane;
mod lease;
mod left_behind;
mod periodic;
#[cfg(test)]
mod plans;
mod policy;
mod processor;
mod queue;
mod record;
mod retention;
mod round;
mod rounds;
mod run;
mod schema;
mod statement;
mod stats;
mod suspect;
mod wake;
mod worker;

pub use context::{Completion, Done, JobContext};
pub use depth::{Depth, MOST_COUNTED, depths, failed_count, unhandled};
pub use effects::Effects;
pub use error::JobsError;
pub use handle::Queue;
pub use inspect::{Filter, Page, get, list};
pub use job::{Handler, Job, JobError, OrRetry};
pub use lane::Lane;
pub use policy::{Backoff, Duplicates, Policy};
pub use processor::{Processor, ProcessorBuilder};
pub use queue::{PushOptions, Pushed, cancel, hasten, prune, push, push_all, reactivate};
pub use record::{Failure, FailureCause, JobId, JobRecord, JobStatus, UnknownName};
pub use retention::Retention;
pub use stats::{Histogram, LaneStats, Stats};
pub use wake::Wake;

/// The table of this crate, for [`Database::open`](privatix_db::Database::open).
pub const MIGRATIONS: privatix_db::MigrationSet =
    privatix_db::MigrationSet { name: "jobs", sqlite: &privatix_db::embed_migrations!("migrations") };

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
