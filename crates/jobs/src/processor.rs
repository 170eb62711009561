use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use privatix_db::Database;
use tokio_util::sync::CancellationToken;

use crate::run::Run;
use crate::{Done, Handler, Job, JobContext, JobError, JobsError, Policy, Wake};

pub(crate) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Runs the jobs of a database.
///
/// ```no_run
/// # async fn example<J: privatix_jobs::Job>(
/// #     db: privatix_db::Database, handler: impl privatix_jobs::Handler<J>,
/// #     shutdown: tokio_util::sync::CancellationToken,
/// # ) -> Result<(), privatix_jobs::JobsError> {
/// let processor = privatix_jobs::Processor::builder(db).register(handler).workers(8).build()?;
/// let wake = processor.wake(); // for whoever pushes jobs
/// processor.run(shutdown).await
/// # }
/// ```
pub struct Processor {
    settings: Settings,
}

pub(crate) struct Settings {
    pub(crate) db: Database,
    pub(crate) handlers: HashMap<&'static str, Arc<dyn AnyHandler>>,
    pub(crate) workers: usize,
    pub(crate) grace: Duration,
    pub(crate) wake: Wake,
    pub(crate) clock: Clock,
}

impl Processor {
    /// A processor of the jobs in `db`.
    pub fn builder(db: Database) -> ProcessorBuilder {
        ProcessorBuilder {
            settings: Settings {
                db,
                handlers: HashMap::new(),
                workers: 8,
                grace: Duration::from_secs(10),
                wake: Wake::new(),
                clock: Arc::new(SystemTime::now),
            },
            twice: None,
        }
    }

    /// Wakes this processor.
    pub fn wake(&self) -> Wake {
        self.settings.wake.clone()
    }

    /// Runs jobs until `shutdown`, then waits for the running handlers as long as the grace time allows and gives back
    /// the jobs that are not done.
    ///
    /// A database that fails later is waited for. Dropping the future is like a crash: nothing is lost, nothing is done
    /// twice, but its jobs count a crash, and wait for the next processor of this database. Needs tokio's multi-threaded runtime.
    ///
    /// # Errors
    /// [`JobsError::Db`] if the database fails at the start.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), JobsError> {
        Run::new(self.settings).until(shutdown).await
    }
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processor")
            .field("db", &self.db)
            .field("kinds", &self.handlers.keys())
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

/// Settings of a [`Processor`].
#[derive(Debug)]
#[must_use]
pub struct ProcessorBuilder {
    settings: Settings,
    twice: Option<&'static str>,
}

impl ProcessorBuilder {
    /// Runs jobs of kind `J` with `handler`. Share one handler between kinds by an [`Arc`].
    pub fn register<J: Job, H: Handler<J>>(mut self, handler: H) -> Self {
        let handler = Arc::new(Typed { handler, kind: PhantomData::<fn(J)> });
        if self.settings.handlers.insert(J::KIND, handler).is_some() {
            self.twice = Some(J::KIND);
        }
        self
    }

    /// At most `workers` handlers at a time; by default 8, at least 1.
    pub fn workers(mut self, workers: usize) -> Self {
        self.settings.workers = workers.max(1);
        self
    }

    /// How long a shutdown waits for running handlers; by default 10 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// Is woken by this handle.
    pub fn wake(mut self, wake: Wake) -> Self {
        self.settings.wake = wake;
        self
    }

    /// Takes the time from `clock` instead of the system's. It decides what is due; waiting is tokio's.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// The processor.
    ///
    /// # Errors
    /// [`JobsError::KindTwice`].
    pub fn build(self) -> Result<Processor, JobsError> {
        match self.twice {
            Some(kind) => Err(JobsError::KindTwice(kind)),
            None => Ok(Processor { settings: self.settings }),
        }
    }
}

/// A handler whose job type has been forgotten.
#[async_trait]
pub(crate) trait AnyHandler: Send + Sync {
    fn policy(&self) -> Policy;
    async fn run(&self, payload: &str, cx: JobContext) -> Result<Done, Unfinished>;
}

/// Why a run gave no [`Done`].
pub(crate) enum Unfinished {
    Payload(serde_json::Error),
    Handler(JobError),
}

struct Typed<J, H> {
    handler: H,
    kind: PhantomData<fn(J)>,
}

#[async_trait]
impl<J: Job, H: Handler<J>> AnyHandler for Typed<J, H> {
    fn policy(&self) -> Policy {
        J::policy()
    }

    async fn run(&self, payload: &str, cx: JobContext) -> Result<Done, Unfinished> {
        let job: J = serde_json::from_str(payload).map_err(Unfinished::Payload)?;
        self.handler.run(&job, cx).await.map_err(Unfinished::Handler)
    }
}
