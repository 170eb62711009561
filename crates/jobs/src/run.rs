//! The dispatcher: claims jobs, starts their handlers, and sleeps in between.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use privatix_db::Presence;
use privatix_db::types::Micros;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::claim::{self, Among, Claimed};
use crate::commits::Commits;
use crate::lane::Served;
use crate::processor::Settings;
use crate::suspect::{self, Room};
use crate::worker::Shared;
use crate::{JobsError, clock, lease, left_behind};

// Between two looks for what no event announces: a clock that was set, an end that could not be written.
const LOOK_EVERY: Duration = Duration::from_mins(1);
// After an error of the database.
const PAUSE: Duration = Duration::from_secs(1);
// For aborted handlers to be dropped and their jobs to be given back.
const LAST_WAIT: Duration = Duration::from_secs(10);

pub(crate) struct Run {
    shared: Arc<Shared>,
    tasks: JoinSet<bool>,
    running: HashMap<Id, Running>,
    /// Who works on this database in this process.
    presences: watch::Receiver<BTreeSet<String>>,
    /// When [`look`](Self::look) is due.
    look_at: Instant,
    /// False if no suspect waits.
    may_be_suspects: bool,
}

struct Running {
    /// Its place in the order of priority.
    lane: usize,
    is_suspect: bool,
    job: i64,
    token: i64,
    cancelled: CancellationToken,
}

impl Run {
    pub(crate) fn new(settings: Settings) -> Self {
        let presences = settings.db.presences();
        let shared = Shared {
            life: enter(&settings.db),
            commits: Commits::new(settings.db.clone()),
            closing: CancellationToken::new(),
            abort: CancellationToken::new(),
            settings,
        };
        Self {
            shared: Arc::new(shared),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            presences,
            look_at: Instant::now(),
            may_be_suspects: true,
        }
    }

    pub(crate) async fn until(mut self, shutdown: CancellationToken) -> Result<(), JobsError> {
        let stop = CancellationToken::new();
        let _stop_if_dropped = stop.clone().drop_guard();
        let commits = Arc::clone(&self.shared.commits);
        let committer = tokio::spawn({
            let stop = stop.clone();
            async move { commits.run(stop).await }
        });
        let shared = Arc::clone(&self.shared);
        let work = async {
            self.look().await?;
            self.serve(&shutdown).await;
            self.drain().await;
            Ok(())
        };
        // Beside the work, which may itself be waiting for a handler that sits on its completion.
        let started = tokio::select! {
            ended = work => ended,
            never = close_on(&shutdown, &shared) => match never {},
        };
        stop.cancel();
        if let Err(error) = committer.await {
            tracing::error!(%error, "the committing task of the job processor died");
        }
        started
    }

    async fn serve(&mut self, shutdown: &CancellationToken) {
        let wake = self.shared.settings.wake.clone();
        loop {
            let sleep = match self.refill().await {
                Ok(sleep) => sleep,
                Err(error) => {
                    tracing::error!(%error, "the job processor cannot reach its database, will try again");
                    PAUSE
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                () = wake.woken() => self.notify_cancelled().await,
                // This processor keeps its own database open, so that the sender stays.
                Ok(()) = self.presences.changed() => self.look_at = Instant::now(),
                () = tokio::time::sleep(sleep) => {}
            }
            while let Some(ended) = self.tasks.try_join_next_with_id() {
                self.ended(ended);
            }
        }
    }

    /// Claims jobs while there is room; returns how long there is nothing to do.
    async fn refill(&mut self) -> Result<Duration, JobsError> {
        if Instant::now() >= self.look_at {
            self.look().await?;
        }
        let db = self.shared.settings.db.clone();
        loop {
            let now = self.shared.now();
            let until_look = self.look_at.saturating_duration_since(Instant::now());
            let suspects = self.waiting_suspects().await?;
            let rooms = self.rooms(&suspects, now.into());
            if !rooms.contains(&Room::Suspect) {
                let lanes = self.shared.settings.lanes.iter().zip(&rooms);
                let kinds =
                    lanes.filter(|(_, room)| **room != Room::Jobs(0)).flat_map(|(lane, _)| &lane.kinds);
                let kinds: Vec<&'static str> = kinds.copied().collect();
                let due = claim::next_due(&mut *db.read().await?, &kinds).await?;
                let suspect = suspects.into_iter().map(|(_, due)| due).filter(|due| *due > now.into()).min();
                let Some(due) = due.into_iter().chain(suspect).min() else { return Ok(until_look) };
                if let Ok(wait) = SystemTime::from(due).duration_since(now)
                    && !wait.is_zero()
                {
                    return Ok(until_look.min(wait));
                }
            }
            self.claim(&rooms, now).await?;
        }
    }

    /// Lanes and times of the suspects that wait.
    async fn waiting_suspects(&mut self) -> Result<Vec<(usize, Micros)>, JobsError> {
        if !self.may_be_suspects {
            return Ok(Vec::new());
        }
        let settings = &self.shared.settings;
        let waiting = suspect::waiting(&mut *settings.db.read().await?).await?;
        self.may_be_suspects = !waiting.is_empty();
        Ok(waiting
            .into_iter()
            .filter_map(|(kind, due)| Some((settings.lanes.of_kind(&kind)?, due)))
            .collect())
    }

    /// What each lane may claim.
    fn rooms(&self, suspects: &[(usize, Micros)], now: Micros) -> Vec<Room> {
        let lanes = self.shared.settings.lanes.iter().enumerate();
        let room = |(lane, served): (usize, &Served)| {
            let running = || self.running.values().filter(|job| job.lane == lane);
            let is_due = suspects.iter().any(|(of, due)| *of == lane && *due <= now);
            suspect::room(served.workers, running().count(), running().any(|job| job.is_suspect), is_due)
        };
        lanes.map(room).collect()
    }

    async fn claim(&mut self, rooms: &[Room], now: SystemTime) -> Result<(), JobsError> {
        let shared = Arc::clone(&self.shared);
        let mut share = shared.commits.begin().await?;
        let mut claimed = Vec::new();
        for ((lane, served), room) in shared.settings.lanes.iter().enumerate().zip(rooms) {
            let (among, limit) = match *room {
                Room::Jobs(limit) => (Among::Jobs, limit),
                Room::Suspect => (Among::Suspects, 1),
            };
            let life = shared.life.name();
            let jobs = claim::claim(&mut share, life, &served.kinds, among, limit, now.into()).await?;
            claimed.extend(jobs.into_iter().map(|job| (lane, job)));
        }
        if let Err(error) = share.commit().await {
            // What became of the claim is not known.
            self.look_at = Instant::now();
            return Err(error.into());
        }
        for (lane, job) in claimed {
            self.start(lane, job);
        }
        Ok(())
    }

    fn start(&mut self, lane: usize, job: Claimed) {
        let cancelled = self.shared.closing.child_token();
        let (id, token, is_suspect) = (job.lease.id.0, job.lease.token, job.is_suspect);
        let (shared, stop) = (Arc::clone(&self.shared), cancelled.clone());
        let task = self.tasks.spawn(async move { shared.work(job, stop).await });
        self.running.insert(task.id(), Running { lane, is_suspect, job: id, token, cancelled });
    }

    /// Frees what nobody runs any more, and mends waits if the clock was set back. Writes nothing if there is nothing.
    async fn look(&mut self) -> Result<(), JobsError> {
        let present = self.presences.borrow_and_update().clone();
        let life = self.shared.life.name();
        let now = Micros::from(self.shared.now());
        let running = &self.running;
        let is_running = |held: &lease::Held| {
            let lease = held.lease();
            running.values().any(|job| (job.job, job.token) == (lease.id.0, lease.token))
        };
        let (nobodys, set_back) = {
            let mut conn = self.shared.settings.db.read().await?;
            let held = lease::held(&mut conn).await?;
            let is_nobodys = |held: &lease::Held| {
                !present.contains(held.holder()) || (held.holder() == life && !is_running(held))
            };
            (held.iter().any(is_nobodys), clock::was_set_back(&mut conn, now).await?)
        };
        if nobodys {
            let mut share = self.shared.commits.begin().await?;
            let crashed = left_behind::free_crashed(&mut share, &present, &self.shared.settings, now).await?;
            let unwritten = left_behind::release_unwritten(&mut share, life, is_running, now).await?;
            share.commit().await?;
            tracing::info!(crashed, unwritten, "taking up jobs that nobody runs any more");
        }
        if set_back {
            let mut share = self.shared.commits.begin().await?;
            let jobs = clock::write_waits_again(&mut share, now).await?;
            share.commit().await?;
            tracing::warn!(jobs, "the clock was set back; waiting jobs keep the length of their waits");
        }
        self.may_be_suspects = true;
        self.look_at = Instant::now() + LOOK_EVERY;
        Ok(())
    }

    /// Informs handlers whose jobs have been cancelled.
    async fn notify_cancelled(&self) {
        if self.running.is_empty() {
            return;
        }
        let look = async {
            let mut conn = self.shared.settings.db.read().await?;
            lease::held(&mut conn).await
        };
        match look.await {
            Ok(held) => {
                let cancelled: Vec<i64> =
                    held.iter().filter(|held| held.is_cancelled()).map(|held| held.id().0).collect();
                for job in self.running.values().filter(|job| cancelled.contains(&job.job)) {
                    job.cancelled.cancel();
                }
            }
            // They cannot commit anyway.
            Err(error) => tracing::error!(%error, "cannot look for cancelled jobs"),
        }
    }

    fn ended(&mut self, task: Result<(Id, bool), JoinError>) {
        let (id, is_written) = match task {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "a job worker died; its job will run again");
                (error.id(), false)
            }
        };
        if !is_written {
            self.look_at = Instant::now();
        }
        self.running.remove(&id);
    }

    /// Waits for what runs.
    async fn drain(&mut self) {
        let end = Instant::now() + self.shared.settings.grace + LAST_WAIT;
        while !self.tasks.is_empty() {
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                () = tokio::time::sleep_until(end) => {
                    tracing::error!(jobs = self.tasks.len(), "handlers block their threads; left behind");
                    self.tasks.detach_all();
                }
            }
        }
    }
}

/// A name that no processor ever had: so that what it holds is its own.
fn enter(db: &privatix_db::Database) -> Presence {
    loop {
        if let Some(life) = db.enter(format!("{:016x}", rand::random::<u64>())) {
            return life;
        }
    }
}

/// At shutdown asks the handlers to stop, and drops them when the grace time is over.
async fn close_on(shutdown: &CancellationToken, shared: &Shared) -> Infallible {
    shutdown.cancelled().await;
    shared.closing.cancel();
    tokio::time::sleep(shared.settings.grace).await;
    tracing::warn!("handlers did not end in the grace time; their jobs will run again");
    shared.abort.cancel();
    std::future::pending().await
}
