//! The dispatcher: claims, hands out, renews, and sleeps in between.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use privatix_db::types::Micros;
use tokio::sync::Semaphore;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::commits::Commits;
use crate::processor::Settings;
use crate::worker::Shop;
use crate::{JobsError, lease};

// The wall clock may be set while we sleep by tokio's: look at it now and then.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);
// After an error of the database.
const PAUSE: Duration = Duration::from_secs(1);
// For aborted handlers to be dropped and their jobs to be given back.
const LAST_WAIT: Duration = Duration::from_secs(10);

pub(crate) struct Run {
    shop: Arc<Shop>,
    tasks: JoinSet<()>,
    hand: HashMap<Id, InHand>,
    renewed: Instant,
}

struct InHand {
    job: i64,
    token: i64,
    cancelled: CancellationToken,
}

impl Run {
    pub(crate) fn new(settings: Settings) -> Self {
        let shop = Shop {
            commits: Commits::new(settings.db.clone()),
            free: Semaphore::new(settings.workers.min(Semaphore::MAX_PERMITS)),
            closing: CancellationToken::new(),
            abort: CancellationToken::new(),
            settings,
        };
        Self { shop: Arc::new(shop), tasks: JoinSet::new(), hand: HashMap::new(), renewed: Instant::now() }
    }

    pub(crate) async fn until(mut self, shutdown: CancellationToken) -> Result<(), JobsError> {
        let stop = CancellationToken::new();
        let _stop_if_dropped = stop.clone().drop_guard();
        let commits = Arc::clone(&self.shop.commits);
        let committer = tokio::spawn({
            let stop = stop.clone();
            async move { commits.run(stop).await }
        });
        let shop = Arc::clone(&self.shop);
        let work = async {
            self.take_over().await?;
            self.serve(&shutdown).await;
            self.drain().await;
            Ok(())
        };
        // Beside the work, which may itself be waiting for a handler that sits on its completion.
        let started = tokio::select! {
            ended = work => ended,
            never = close_on(&shutdown, &shop) => match never {},
        };
        stop.cancel();
        if let Err(error) = committer.await {
            tracing::error!(%error, "the committing task of the job processor died");
        }
        started
    }

    async fn take_over(&self) -> Result<(), JobsError> {
        let mut share = self.shop.commits.begin().await?;
        let jobs = lease::take_over(&mut share, &self.shop.settings.identity).await?;
        share.commit().await?;
        if jobs > 0 {
            tracing::info!(jobs, "taking up jobs that were running when the process died");
        }
        Ok(())
    }

    async fn serve(&mut self, shutdown: &CancellationToken) {
        let wake = self.shop.settings.wake.clone();
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
                () = wake.woken() => self.tell_cancelled().await,
                () = tokio::time::sleep(sleep) => {}
            }
            while let Some(ended) = self.tasks.try_join_next_with_id() {
                self.ended(ended);
            }
        }
    }

    /// Renews leases and claims jobs while there is room; tells how long there is nothing to do.
    async fn refill(&mut self) -> Result<Duration, JobsError> {
        let Settings { workers, prefetch, db, .. } = &self.shop.settings;
        let (workers, prefetch, db) = (*workers, *prefetch, db.clone());
        loop {
            self.renew_if_due().await?;
            let mut sleep =
                if self.hand.is_empty() { LONGEST_SLEEP } else { self.renew_at() - Instant::now() };
            // With jobs claimed ahead, wait until all of them have started, so as to claim many at a time.
            if self.hand.len() >= workers + prefetch.min(1) {
                return Ok(sleep);
            }
            let Some(due) = lease::next_due(&mut *db.read().await?).await? else { return Ok(sleep) };
            let now = self.shop.now();
            if let Ok(wait) = SystemTime::from(due).duration_since(now)
                && !wait.is_zero()
            {
                sleep = sleep.min(wait);
                return Ok(sleep);
            }
            self.claim(workers + prefetch - self.hand.len(), now).await?;
        }
    }

    async fn claim(&mut self, limit: usize, now: SystemTime) -> Result<(), JobsError> {
        let settings = &self.shop.settings;
        let mut share = self.shop.commits.begin().await?;
        let claimed =
            lease::claim(&mut share, &settings.identity, limit, now.into(), self.lease_end()).await?;
        share.commit().await?;
        if self.hand.is_empty() {
            self.renewed = Instant::now();
        }
        for job in claimed {
            let cancelled = self.shop.closing.child_token();
            let (id, token) = (job.lease.id.0, job.lease.token);
            let (shop, told) = (Arc::clone(&self.shop), cancelled.clone());
            let task = self.tasks.spawn(async move { shop.work(job, told).await });
            self.hand.insert(task.id(), InHand { job: id, token, cancelled });
        }
        Ok(())
    }

    fn lease_end(&self) -> Micros {
        let now = self.shop.now();
        now.checked_add(self.shop.settings.lease).unwrap_or(now).into()
    }

    fn renew_at(&self) -> Instant {
        self.renewed + self.shop.settings.lease / 3
    }

    async fn renew_if_due(&mut self) -> Result<(), JobsError> {
        if self.hand.is_empty() || Instant::now() < self.renew_at() {
            return Ok(());
        }
        let started = Instant::now();
        let jobs = self.hand.values().map(|held| held.job).collect();
        let mut share = self.shop.commits.begin().await?;
        let ours = lease::renew(&mut share, &self.shop.settings.identity, jobs, self.lease_end()).await?;
        share.commit().await?;
        self.renewed = started;
        for held in self.hand.values() {
            if !ours.contains(&(held.job, held.token)) {
                // Cancelled, taken over, or just ended: then nobody listens.
                held.cancelled.cancel();
            }
        }
        Ok(())
    }

    /// Tells handlers whose jobs have been cancelled.
    async fn tell_cancelled(&self) {
        if self.hand.is_empty() {
            return;
        }
        let look = async {
            let mut conn = self.shop.settings.db.read().await?;
            lease::cancelled(&mut conn, &self.shop.settings.identity).await
        };
        match look.await {
            Ok(jobs) => {
                for held in self.hand.values().filter(|held| jobs.contains(&held.job)) {
                    held.cancelled.cancel();
                }
            }
            // The next renewal tells them.
            Err(error) => tracing::error!(%error, "cannot look for cancelled jobs"),
        }
    }

    fn ended(&mut self, task: Result<(Id, ()), JoinError>) {
        let id = match task {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "a job worker died; the lease of its job will lapse");
                error.id()
            }
        };
        self.hand.remove(&id);
    }

    /// Gives back what has not started, waits for what has.
    async fn drain(&mut self) {
        let end = Instant::now() + self.shop.settings.grace + LAST_WAIT;
        while !self.tasks.is_empty() {
            if let Err(error) = self.renew_if_due().await {
                tracing::error!(%error, "cannot renew the leases of jobs while shutting down");
                self.renewed = Instant::now();
            }
            let renew_at = self.renew_at();
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                () = tokio::time::sleep_until(renew_at) => {}
                () = tokio::time::sleep_until(end) => {
                    tracing::error!(jobs = self.tasks.len(), "handlers block their threads; left behind");
                    self.tasks.detach_all();
                }
            }
        }
    }
}

/// At shutdown tells the handlers to stop, and drops them when the grace time is over.
async fn close_on(shutdown: &CancellationToken, shop: &Shop) -> Infallible {
    shutdown.cancelled().await;
    shop.closing.cancel();
    tokio::time::sleep(shop.settings.grace).await;
    tracing::warn!("handlers did not end in the grace time; their jobs will run again");
    shop.abort.cancel();
    std::future::pending().await
}
