//! For how long this node has run: [`UptimeClock`].

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use privatix_db::{Conn, Database};
use privatix_market::Uptime;
use privatix_store::StoreError;
use privatix_store::service_clock::{self, Start};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

const TICK: Duration = Duration::from_secs(1);
/// What a tick adds at most. What took longer, this node did not run for: it was stopped, or its machine slept.
const LONGEST_TICK: Duration = Duration::from_secs(2);
/// A crash loses as much.
const KEEP_EVERY: Duration = Duration::from_mins(1);

/// Counts the time in which this node ran, by which patience is measured: downtime, a stopped process, a suspended machine and steps
/// of the wall clock count for nothing. Clones share it.
///
/// It counts while [`keep`](Self::keep) runs.
#[derive(Clone, Debug)]
pub struct UptimeClock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    process: &'static str,
    start: u64,
    count: Mutex<Count>,
}

/// What was counted up to the last tick.
#[derive(Clone, Copy, Debug)]
struct Count {
    counted: Duration,
    tick: Instant,
}

impl Count {
    /// What is counted at a moment of the monotonic clock.
    fn at(self, now: Instant) -> Duration {
        self.counted.saturating_add(now.saturating_duration_since(self.tick).min(LONGEST_TICK))
    }

    fn tick(&mut self, now: Instant) {
        *self = Self { counted: self.at(now), tick: now };
    }
}

impl UptimeClock {
    /// Goes on from what is stored of the process of this name, and counts a start of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn start(conn: &mut Conn, process: &'static str) -> Result<Self, StoreError> {
        let Start { uptime, number } = service_clock::start(conn, process).await?;
        let count = Count { counted: Duration::from_millis(uptime.milliseconds()), tick: Instant::now() };
        Ok(Self(Arc::new(Inner { process, start: number, count: Mutex::new(count) })))
    }

    /// For how long the node has run.
    pub fn now(&self) -> Uptime {
        let counted = self.0.count.lock().at(Instant::now());
        Uptime::default().plus(counted)
    }

    /// The number of this start of the process: another one for each.
    pub fn start_number(&self) -> u64 {
        self.0.start
    }

    /// Counts until `stop`, and stores the count each minute and at the end.
    pub async fn keep(&self, db: &Database, stop: &CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut kept = self.now();
        loop {
            let is_over = stop.run_until_cancelled(ticks.tick()).await.is_none();
            self.0.count.lock().tick(Instant::now());
            let now = self.now();
            if is_over || now.since(kept) >= KEEP_EVERY {
                if let Err(error) = self.store(db, now).await {
                    tracing::warn!(%error, "for how long the node has run is not stored; a crash would lose more of it");
                }
                kept = now;
            }
            if is_over {
                return;
            }
        }
    }

    async fn store(&self, db: &Database, now: Uptime) -> Result<(), StoreError> {
        let mut tx = db.begin().await?;
        service_clock::keep(&mut tx, self.0.process, now).await?;
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_counts_neither_a_stop_nor_a_step_of_the_clock() {
        // Milliseconds since the tick before, by the clock that no step moves; what they add.
        let mut now = Instant::now();
        let mut count = Count { counted: Duration::ZERO, tick: now };
        for (gap, adds) in [
            (0, 0),
            (1_000, 1_000),
            (1_300, 1_300), // the machine is busy
            (2_000, 2_000),
            (2_001, 2_000),
            (3_600_000, 2_000), // stopped, or suspended
            (7, 7),
        ] {
            let before = count.counted;
            let gap = Duration::from_millis(gap);
            // Read in between, it is never ahead of the next tick.
            assert!(count.at(now + gap / 2) <= count.at(now + gap), "{gap:?}");
            now += gap;
            count.tick(now);
            assert_eq!(count.counted, before + Duration::from_millis(adds), "{gap:?}");
            assert_eq!(count.at(now), count.counted);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_goes_on_from_what_was_stored() {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(&dir.path().join("node.db"), &crate::migrations()).await.unwrap();
        let start = async || {
            let mut tx = db.begin().await.unwrap();
            let clock = UptimeClock::start(&mut tx, "agent").await.unwrap();
            tx.commit().await.unwrap();
            clock
        };
        let run = |clock: UptimeClock, stop: CancellationToken| {
            let db = db.clone();
            tokio::spawn(async move { clock.keep(&db, &stop).await })
        };
        let first = start().await;
        let stop = CancellationToken::new();
        let running = run(first.clone(), stop.clone());
        tokio::time::sleep(Duration::from_millis(5_500)).await;
        assert_eq!(first.now(), Uptime::new(5_500));
        // As if the process had been stopped for an hour.
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(first.now(), Uptime::new(7_000), "at most two seconds since the tick before");
        stop.cancel();
        running.await.unwrap();
        let stored = first.now();

        // A day later.
        tokio::time::advance(Duration::from_hours(24)).await;
        let second = start().await;
        assert_eq!((second.now(), second.start_number()), (stored, 2));
        // A crash loses what was not stored, a minute at most.
        let running = run(second.clone(), CancellationToken::new());
        tokio::time::sleep(Duration::from_secs(90)).await;
        running.abort();
        let _ = running.await;
        let (lost, third) = (second.now(), start().await);
        assert!(third.now() < lost && lost.since(third.now()) <= KEEP_EVERY, "{:?} of {lost:?}", third.now());
        assert!(third.now() > stored);
    }
}
