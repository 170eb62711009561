use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use privatix_db::Database;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::ends::Ends;
use crate::lane::Lanes;
use crate::periodic::Periodic;
use crate::queue::{self, NewJob};
use crate::rounds::{Request, Rounds};
use crate::run::Run;
use crate::{
    Done, Effects, Failure, Handler, Job, JobContext, JobError, JobsError, Lane, Policy, PushOptions, Queue,
    Retention, Stats, Wake,
};

pub(crate) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Runs the jobs of a database.
///
/// ```no_run
/// # async fn example<J: privatix_jobs::Job>(
/// #     db: privatix_db::Database, handler: impl privatix_jobs::Handler<J>,
/// #     shutdown: tokio_util::sync::CancellationToken,
/// # ) -> Result<(), privatix_jobs::JobsError> {
/// let processor = privatix_jobs::Processor::builder(db).register(handler).build()?;
/// let wake = processor.wake(); // for whoever pushes jobs
/// processor.run(shutdown).await
/// # }
/// ```
pub struct Processor {
    settings: Settings,
    rounds: Rounds,
    requests: mpsc::Receiver<Request>,
}

pub(crate) struct Settings {
    pub(crate) db: Database,
    pub(crate) handlers: HashMap<&'static str, Arc<dyn AnyHandler>>,
    pub(crate) lanes: Lanes,
    pub(crate) periodic: Vec<Periodic>,
    pub(crate) retention: Retention,
    pub(crate) ends: Ends,
    pub(crate) stats: Stats,
    pub(crate) grace: Duration,
    pub(crate) wake: Wake,
    pub(crate) clock: Clock,
}

impl Processor {
    /// A processor of the jobs in `db`.
    pub fn builder(db: Database) -> ProcessorBuilder {
        ProcessorBuilder {
            db,
            handlers: HashMap::new(),
            kinds: Vec::new(),
            workers: Vec::new(),
            periodic: Vec::new(),
            retention: Retention::default(),
            grace: Duration::from_secs(10),
            wake: Wake::new(),
            clock: Arc::new(SystemTime::now),
            twice: None,
        }
    }

    /// Wakes this processor.
    pub fn wake(&self) -> Wake {
        self.settings.wake.clone()
    }

    /// Pushes jobs in shared commits and waits for their ends, while this processor runs.
    pub fn queue(&self) -> Queue {
        Queue { rounds: self.rounds.clone(), ends: self.settings.ends.clone(), db: self.settings.db.clone() }
    }

    /// What this processor does, while it runs.
    pub fn stats(&self) -> Stats {
        self.settings.stats.clone()
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
        Run::new(self.settings, self.rounds, self.requests).until(shutdown).await
    }
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processor").field("db", &self.db).field("lanes", &self.lanes).finish_non_exhaustive()
    }
}

/// Settings of a [`Processor`].
#[must_use]
pub struct ProcessorBuilder {
    db: Database,
    handlers: HashMap<&'static str, Arc<dyn AnyHandler>>,
    kinds: Vec<(&'static str, Lane)>,
    workers: Vec<(&'static str, usize)>,
    periodic: Vec<(Duration, Result<Vec<NewJob>, JobsError>)>,
    retention: Retention,
    grace: Duration,
    wake: Wake,
    clock: Clock,
    twice: Option<&'static str>,
}

impl fmt::Debug for ProcessorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessorBuilder")
            .field("db", &self.db)
            .field("kinds", &self.kinds)
            .finish_non_exhaustive()
    }
}

impl ProcessorBuilder {
    /// Runs jobs of kind `J` with `handler`. Share one handler between kinds by an [`Arc`].
    pub fn register<J: Job, H: Handler<J>>(self, handler: H) -> Self {
        self.add(J::KIND, J::LANE, Arc::new(Typed { handler, kind: PhantomData::<fn(J)> }))
    }

    /// Runs `job` with `handler` every `period`: one run is always pending, and the next is due a period after the last was
    /// due, however that ended. Periods in which no processor ran are not made up for. The first run is due at once.
    ///
    /// Give the job a subject of its own, as the later jobs of its subject wait for it.
    pub fn every<J: Job, H: Handler<J>>(mut self, period: Duration, job: J, handler: H) -> Self {
        let period = period.max(Duration::from_millis(1));
        self.periodic.push((period, queue::new_jobs(&[job], &PushOptions::by("schedule"))));
        self.register(handler)
    }

    /// Deletes ended jobs by and by when they are older than this. By default they are kept.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Fails the jobs of a kind that no process handles any more, by [`UnknownKind`](crate::FailureCause::UnknownKind).
    /// Otherwise they wait for a process that has a handler, and the later jobs of their subjects wait behind them.
    pub fn retired(self, kind: &'static str) -> Self {
        self.add(kind, Lane::DEFAULT, Arc::new(Retired))
    }

    fn add(mut self, kind: &'static str, lane: Lane, handler: Arc<dyn AnyHandler>) -> Self {
        if self.handlers.insert(kind, handler).is_some() {
            self.twice = Some(kind);
        }
        self.kinds.push((kind, lane));
        self
    }

    /// At most `workers` handlers at a time of kinds that name no lane; by default 8, at least 1.
    pub fn workers(self, workers: usize) -> Self {
        self.lane(Lane::DEFAULT.name(), workers)
    }

    /// At most `workers` handlers at a time in the lane of this name, at least 1.
    pub fn lane(mut self, name: &'static str, workers: usize) -> Self {
        self.workers.push((name, workers));
        self
    }

    /// How long a shutdown waits for running handlers; by default 10 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Is woken by this handle.
    pub fn wake(mut self, wake: Wake) -> Self {
        self.wake = wake;
        self
    }

    /// Takes the time from `clock` instead of the system's. It decides what is due; waiting is tokio's.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The processor.
    ///
    /// # Errors
    /// [`JobsError::KindTwice`], [`JobsError::LaneTwice`], [`JobsError::NoSuchLane`], [`JobsError::Encode`].
    pub fn build(self) -> Result<Processor, JobsError> {
        if let Some(kind) = self.twice {
            return Err(JobsError::KindTwice(kind));
        }
        let mut periodic = Vec::new();
        for (period, jobs) in self.periodic {
            periodic.extend(jobs?.into_iter().map(|job| Periodic { period, job }));
        }
        let lanes = Lanes::new(self.kinds, &self.workers)?;
        let settings = Settings {
            db: self.db,
            periodic,
            retention: self.retention,
            ends: Ends::default(),
            handlers: self.handlers,
            stats: Stats::new(&lanes),
            lanes,
            grace: self.grace,
            wake: self.wake,
            clock: self.clock,
        };
        let (rounds, requests) = Rounds::new();
        Ok(Processor { settings, rounds, requests })
    }
}

/// A handler whose job type has been forgotten.
#[async_trait]
pub(crate) trait AnyHandler: Send + Sync {
    fn policy(&self) -> Policy;
    async fn run(&self, payload: &str, cx: JobContext) -> Result<Done, Unfinished>;
    async fn when_exhausted(
        &self,
        payload: &str,
        failure: &Failure,
        effects: &mut Effects<'_>,
    ) -> Result<(), JobError>;
}

/// Why a run gave no [`Done`].
pub(crate) enum Unfinished {
    Payload(serde_json::Error),
    Retired,
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

    async fn when_exhausted(
        &self,
        payload: &str,
        failure: &Failure,
        effects: &mut Effects<'_>,
    ) -> Result<(), JobError> {
        match serde_json::from_str(payload) {
            Ok(job) => self.handler.when_exhausted(&job, failure, effects).await,
            Err(_) => Ok(()), // that is why it fails
        }
    }
}

/// Stands for the handler of a kind that nobody handles any more.
struct Retired;

#[async_trait]
impl AnyHandler for Retired {
    fn policy(&self) -> Policy {
        Policy::default()
    }

    async fn run(&self, _: &str, _: JobContext) -> Result<Done, Unfinished> {
        Err(Unfinished::Retired)
    }

    async fn when_exhausted(&self, _: &str, _: &Failure, _: &mut Effects<'_>) -> Result<(), JobError> {
        Ok(())
    }
}
