//! The dispatcher: claims jobs, starts their handlers, and sleeps in between.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use privatix_db::types::Micros;
use privatix_db::{Conn, Presence};
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::claim::{self, Among, Claimed, Wanted};
use crate::lane::Served;
use crate::processor::Settings;
use crate::round::Round;
use crate::rounds::{Ended, Request, Rounds, Waiting};
use crate::suspect::{self, Room};
use crate::worker::Shared;
use crate::{JobId, JobsError, clock, lease, left_behind};

// Between two looks for what no event announces: a clock that was set, an end that could not be written.
const LOOK_EVERY: Duration = Duration::from_mins(1);
// After an error of the database.
const PAUSE: Duration = Duration::from_secs(1);
// For aborted handlers to be dropped and their jobs to be given back.
const LAST_WAIT: Duration = Duration::from_secs(10);

pub(crate) struct Run {
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
    /// What is in no round yet.
    waiting: Waiting,
    tasks: JoinSet<bool>,
    running: HashMap<Id, Running>,
    /// Who works on this database in this process.
    presences: watch::Receiver<BTreeSet<String>>,
    /// When [`look`](Self::look) is due.
    look_at: Instant,
    /// When to look whether each periodic job is pending.
    periodic_at: Instant,
    /// When to delete old jobs.
    prune_at: Instant,
    /// False if no suspect waits.
    may_be_suspects: bool,
}

struct Running {
    /// The place of its lane in the order of priority.
    lane: usize,
    is_suspect: bool,
    is_periodic: bool,
    began: Instant,
    job: JobId,
    token: i64,
    cancelled: CancellationToken,
    /// Its end is on disk: its worker is free, even if its handler has not returned yet.
    has_ended: bool,
}

impl Run {
    pub(crate) fn new(settings: Settings, rounds: Rounds, requests: mpsc::Receiver<Request>) -> Self {
        let presences = settings.db.presences();
        let shared = Shared {
            life: enter(&settings.db),
            rounds,
            closing: CancellationToken::new(),
            abort: CancellationToken::new(),
            settings,
        };
        Self {
            shared: Arc::new(shared),
            requests,
            waiting: Waiting::default(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            presences,
            look_at: Instant::now(),
            periodic_at: Instant::now(),
            prune_at: Instant::now(),
            may_be_suspects: true,
        }
    }

    pub(crate) async fn until(mut self, shutdown: CancellationToken) -> Result<(), JobsError> {
        let shared = Arc::clone(&self.shared);
        let work = async {
            self.look().await?;
            self.serve(&shutdown).await;
            self.drain().await;
            Ok(())
        };
        // Beside the work, which may itself be waiting for a handler that sits on its completion.
        tokio::select! {
            ended = work => ended,
            never = close_on(&shutdown, &shared) => match never {},
        }
    }

    async fn serve(&mut self, shutdown: &CancellationToken) {
        let wake = self.shared.settings.wake.clone();
        loop {
            self.shared.settings.stats.step_begins();
            let step = self.step().await;
            self.shared.settings.stats.step_ends();
            let sleep = match step {
                Ok(sleep) => sleep,
                Err(error) => {
                    tracing::error!(%error, "the job processor cannot write, will try again");
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
                Some(request) = self.requests.recv() => self.waiting.add(request),
                () = std::future::ready(()), if sleep.is_zero() => {}
                () = tokio::time::sleep(sleep) => {}
            }
            self.gather();
        }
    }

    fn gather(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.ended(ended);
        }
        while let Ok(request) = self.requests.try_recv() {
            self.waiting.add(request);
        }
    }

    /// Writes what waits and claims what is due; returns how long there is nothing to do.
    async fn step(&mut self) -> Result<Duration, JobsError> {
        self.keep_up().await;
        let suspects = self.waiting_suspects().await?;
        if !self.waiting.is_empty() {
            self.round(&suspects).await?;
            return Ok(Duration::ZERO);
        }
        let now = self.shared.now();
        let until_look = self.look_at.min(self.periodic_at).min(self.prune_at);
        let until_look = until_look.saturating_duration_since(Instant::now());
        let rooms = self.rooms(&suspects, now.into(), &Ended::new());
        if !rooms.contains(&Room::Suspect) {
            let lanes = self.shared.settings.lanes.iter().zip(&rooms);
            let kinds = lanes.filter(|(_, room)| **room != Room::Jobs(0)).flat_map(|(lane, _)| &lane.kinds);
            let kinds: Vec<&'static str> = kinds.copied().collect();
            if kinds.is_empty() {
                return Ok(until_look);
            }
            let due = claim::next_due(&mut *self.shared.settings.db.read().await?, &kinds).await?;
            let suspect = suspects.iter().map(|(_, due)| *due).filter(|due| *due > now.into()).min();
            let Some(due) = due.into_iter().chain(suspect).min() else { return Ok(until_look) };
            if let Ok(wait) = SystemTime::from(due).duration_since(now)
                && !wait.is_zero()
            {
                return Ok(until_look.min(wait));
            }
        }
        self.round(&suspects).await?;
        Ok(Duration::ZERO)
    }

    /// Does what is due beside the jobs. What fails is tried again soon, and holds up no job.
    async fn keep_up(&mut self) {
        let now = Instant::now();
        let soon = now + PAUSE;
        if now >= self.look_at
            && let Err(error) = self.look().await
        {
            tracing::error!(%error, "cannot look for jobs that nobody runs");
            self.look_at = soon;
        }
        if now >= self.periodic_at
            && let Err(error) = self.ensure_periodic().await
        {
            tracing::error!(%error, "cannot push the next run of a periodic job");
            self.periodic_at = soon;
        }
        let settings = &self.shared.settings;
        if now >= self.prune_at {
            self.prune_at =
                settings.retention.prune(&settings.db, self.shared.now()).await.unwrap_or_else(|error| {
                    tracing::error!(%error, "cannot delete old jobs");
                    soon
                });
        }
    }

    /// Writes what waits, and claims for the workers that are free then, in one commit.
    async fn round(&mut self, suspects: &[(usize, Micros)]) -> Result<(), JobsError> {
        let shared = Arc::clone(&self.shared);
        let now = || Micros::from(shared.now());
        let round = Round::begin(&shared.settings.db).await?;
        let mut round = round.write(&mut self.waiting, &mut self.requests, now).await?;
        let rooms = if shared.closing.is_cancelled() {
            Vec::new()
        } else {
            self.rooms(suspects, now(), round.ended())
        };
        let claimed = match self.claim(round.conn(), &rooms, now()).await {
            Ok(claimed) => claimed,
            Err(error) => return Err(round.failed(error)),
        };
        match round.commit().await {
            Ok(ended) => {
                let jobs = self.running.values_mut().filter(|job| ended.contains(&job.job));
                jobs.for_each(|job| job.has_ended = true);
                shared.settings.ends.notify(&ended);
                for job in claimed {
                    self.start(job);
                }
                Ok(())
            }
            Err(error) => {
                // What became of the claims is not known.
                self.look_at = Instant::now();
                Err(error)
            }
        }
    }

    async fn claim(&self, conn: &mut Conn, rooms: &[Room], now: Micros) -> Result<Vec<Claimed>, JobsError> {
        let lanes = || self.shared.settings.lanes.iter().zip(rooms);
        let wanted = |of: fn(Room) -> usize| -> Vec<Wanted<'_>> {
            lanes().map(|(lane, room)| (lane.kinds.as_slice(), of(*room))).collect()
        };
        let jobs = wanted(|room| if let Room::Jobs(free) = room { free } else { 0 });
        let suspects = wanted(|room| usize::from(room == Room::Suspect));
        let life = self.shared.life.name();
        let mut claimed = claim::claim(conn, life, &jobs, Among::Jobs, now).await?;
        claimed.extend(claim::claim(conn, life, &suspects, Among::Suspects, now).await?);
        Ok(claimed)
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

    /// What each lane may claim when the jobs in `ended` have ended.
    fn rooms(&self, suspects: &[(usize, Micros)], now: Micros, ended: &Ended) -> Vec<Room> {
        let lanes = self.shared.settings.lanes.iter().enumerate();
        let room = |(lane, served): (usize, &Served)| {
            let is_running = |job: &&Running| job.lane == lane && !job.has_ended && !ended.contains(&job.job);
            let running = || self.running.values().filter(is_running);
            let is_due = suspects.iter().any(|(of, due)| *of == lane && *due <= now);
            suspect::room(served.workers, running().count(), running().any(|job| job.is_suspect), is_due)
        };
        lanes.map(room).collect()
    }

    fn start(&mut self, job: Claimed) {
        // Only kinds of lanes are claimed.
        let Some(lane) = self.shared.settings.lanes.of_kind(&job.kind) else { return };
        let is_periodic = self.shared.settings.periodic.iter().any(|periodic| periodic.job.kind == job.kind);
        let cancelled = self.shared.closing.child_token();
        let (id, token, is_suspect) = (job.lease.id, job.lease.token, job.is_suspect);
        let waited = self.shared.now().duration_since(job.due.into()).unwrap_or_default();
        self.shared.settings.stats.started(lane, waited);
        let (shared, stop) = (Arc::clone(&self.shared), cancelled.clone());
        let task = self.tasks.spawn(async move { shared.work(lane, job, stop).await });
        let began = Instant::now();
        let running =
            Running { lane, is_suspect, is_periodic, began, job: id, token, cancelled, has_ended: false };
        self.running.insert(task.id(), running);
    }

    /// Frees what nobody runs any more, and mends waits if the clock was set back. Writes nothing if there is nothing.
    async fn look(&mut self) -> Result<(), JobsError> {
        let present = self.presences.borrow_and_update().clone();
        let life = self.shared.life.name();
        let now = Micros::from(self.shared.now());
        let running = &self.running;
        let is_running = |held: &lease::Held| {
            let lease = held.lease();
            running.values().any(|job| (job.job, job.token) == (lease.id, lease.token))
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
            let mut tx = self.shared.settings.db.begin().await?;
            let crashed = left_behind::free_crashed(&mut tx, &present, &self.shared.settings, now).await?;
            let unwritten = left_behind::release_unwritten(&mut tx, life, is_running, now).await?;
            tx.commit().await?;
            tracing::info!(crashed, unwritten, "taking up jobs that nobody runs any more");
        }
        if set_back {
            let mut tx = self.shared.settings.db.begin().await?;
            let jobs = clock::write_waits_again(&mut tx, now).await?;
            tx.commit().await?;
            tracing::warn!(jobs, "the clock was set back; waiting jobs keep the length of their waits");
        }
        self.may_be_suspects = true;
        self.look_at = Instant::now() + LOOK_EVERY;
        Ok(())
    }

    /// Pushes the next run of each periodic job that has none. Writes nothing if there is nothing.
    async fn ensure_periodic(&mut self) -> Result<(), JobsError> {
        let Settings { periodic, db, .. } = &self.shared.settings;
        let now = Micros::from(self.shared.now());
        for periodic in periodic {
            if periodic.is_missing(&mut *db.read().await?, now).await? {
                let mut tx = db.begin().await?;
                periodic.ensure(&mut tx, now).await?;
                tx.commit().await?;
            }
        }
        self.periodic_at = Instant::now() + LOOK_EVERY;
        Ok(())
    }

    /// Informs handlers whose jobs have been cancelled.
    async fn notify_cancelled(&mut self) {
        // A periodic job may be among them. Not at each wake-up of many.
        self.periodic_at = self.periodic_at.min(Instant::now() + PAUSE);
        if self.running.is_empty() {
            return;
        }
        let look = async {
            let mut conn = self.shared.settings.db.read().await?;
            lease::held(&mut conn).await
        };
        match look.await {
            Ok(held) => {
                let cancelled: Vec<JobId> =
                    held.iter().filter(|held| held.is_cancelled()).map(lease::Held::id).collect();
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
        if let Some(job) = self.running.remove(&id) {
            self.shared.settings.stats.ended(job.lane, job.began.elapsed());
            if job.is_periodic {
                self.periodic_at = Instant::now();
            }
        }
    }

    /// Waits for what runs, and writes how it ends.
    async fn drain(&mut self) {
        let end = Instant::now() + self.shared.settings.grace + LAST_WAIT;
        while !(self.tasks.is_empty() && self.waiting.is_empty()) {
            let pause = if self.waiting.is_empty() {
                Duration::MAX
            } else if let Err(error) = self.round(&[]).await {
                tracing::error!(%error, "cannot write how jobs ended while shutting down");
                PAUSE
            } else {
                Duration::ZERO
            };
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                Some(request) = self.requests.recv() => self.waiting.add(request),
                () = std::future::ready(()), if pause.is_zero() => {}
                () = tokio::time::sleep(pause) => {}
                () = tokio::time::sleep_until(end) => {
                    tracing::error!(jobs = self.tasks.len(), "handlers block their threads; left behind");
                    self.tasks.detach_all();
                    return;
                }
            }
            self.gather();
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
