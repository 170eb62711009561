//! How adapters report usage: never blocking, and never more waiting than there are sessions.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;
use privatix_channel::{ChannelId, Usage};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use uuid::Uuid;

/// Identity of one session of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub Uuid);

impl SessionId {
    /// A fresh id; ids sort by the time of their making.
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// All that is known of a session: its start, its usage so far and, once it ended, its end.
///
/// Each report is whole in itself, so the newest is all that a receiver needs: a lost, repeated or reordered one does no
/// harm. Within a session `total` never decreases and `ended_at` is never taken back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionReport {
    /// The channel used.
    pub channel: ChannelId,
    /// The session.
    pub session: SessionId,
    /// Where the session came from, if the service knows.
    pub peer: Option<SocketAddr>,
    /// When it started.
    #[serde(with = "unix_micros")]
    pub started_at: SystemTime,
    /// Usage since the session's start.
    pub total: Usage,
    /// When usage was last seen, or the start if there was none yet.
    #[serde(with = "unix_micros")]
    pub last_usage: SystemTime,
    /// When it ended, if it did.
    #[serde(with = "unix_micros::option")]
    pub ended_at: Option<SystemTime>,
}

impl SessionReport {
    /// Takes over what `newer` knows; what is already known is never taken back.
    fn merge(&mut self, newer: &Self) {
        self.total = self.total.max(newer.total);
        self.last_usage = self.last_usage.max(newer.last_usage);
        self.ended_at = self.ended_at.or(newer.ended_at);
        self.peer = self.peer.or(newer.peer);
    }
}

/// Makes a pair: the reporter for adapters (clone it for each), the receiver for their role.
pub fn usage_reports() -> (UsageReporter, UsageReports) {
    let shared = Arc::new(Shared {
        pending: Mutex::default(),
        arrived: Notify::new(),
        reporters: AtomicUsize::new(1),
    });
    (UsageReporter(Arc::clone(&shared)), UsageReports(shared))
}

struct Shared {
    /// The newest report of each session that the receiver has not taken yet.
    pending: Mutex<HashMap<(ChannelId, SessionId), SessionReport>>,
    arrived: Notify,
    reporters: AtomicUsize,
}

impl Shared {
    fn put(&self, report: SessionReport) {
        match self.pending.lock().entry((report.channel, report.session)) {
            Entry::Occupied(mut known) => known.get_mut().merge(&report),
            Entry::Vacant(place) => {
                place.insert(report);
            }
        }
        self.arrived.notify_one();
    }
}

/// Where an adapter reports usage. Cheap to clone; never blocks, never fails, never grows beyond one report per session: a
/// newer report takes an older one's place while the receiver is busy.
pub struct UsageReporter(Arc<Shared>);

impl UsageReporter {
    /// Reports what is known of a session. Most adapters use [`open`](Self::open) instead.
    pub fn report(&self, report: SessionReport) {
        self.0.put(report);
    }

    /// Begins a session now and reports it.
    pub fn open(&self, channel: ChannelId, peer: Option<SocketAddr>) -> Session {
        let now = SystemTime::now();
        let first = SessionReport {
            channel,
            session: SessionId::fresh(),
            peer,
            started_at: now,
            total: Usage::ZERO,
            last_usage: now,
            ended_at: None,
        };
        self.report(first.clone());
        Session { reporter: self.clone(), last: Mutex::new(first) }
    }
}

impl Clone for UsageReporter {
    fn clone(&self) -> Self {
        self.0.reporters.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for UsageReporter {
    fn drop(&mut self) {
        if self.0.reporters.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.arrived.notify_one(); // the receiver learns that nothing more will come
        }
    }
}

impl fmt::Debug for UsageReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageReporter").finish_non_exhaustive()
    }
}

/// A session under way. Dropped without [`end`](Self::end), it ends with the last total that was reported.
#[derive(Debug)]
pub struct Session {
    reporter: UsageReporter,
    last: Mutex<SessionReport>,
}

impl Session {
    /// The session's id.
    pub fn id(&self) -> SessionId {
        self.last.lock().session
    }

    /// Reports the usage since the session's start. A total lower than an earlier one changes nothing: reports made by
    /// several threads may overtake each other.
    pub fn report(&self, total: Usage) {
        let mut last = self.last.lock();
        if total > last.total && last.ended_at.is_none() {
            last.total = total;
            last.last_usage = SystemTime::now();
            // Under the lock, so that reports leave in the order of their totals.
            self.reporter.report(last.clone());
        }
    }

    /// Ends the session with its last total. Later reports change nothing.
    pub fn end(&self, total: Usage) {
        let mut last = self.last.lock();
        if last.ended_at.is_some() {
            return;
        }
        let now = SystemTime::now();
        if total > last.total {
            last.total = total;
            last.last_usage = now;
        }
        last.ended_at = Some(now);
        self.reporter.report(last.clone());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let total = self.last.lock().total;
        self.end(total);
    }
}

/// Where a role receives usage.
pub struct UsageReports(Arc<Shared>);

impl UsageReports {
    /// Waits until there is something new and takes all of it, at most one report per session and in no order.
    /// `None` when all reporters are gone and everything was taken.
    ///
    /// Cancel-safe: dropped before it returns, nothing is taken.
    pub async fn recv(&mut self) -> Option<Vec<SessionReport>> {
        loop {
            let batch = self.take();
            if !batch.is_empty() {
                return Some(batch);
            }
            if self.0.reporters.load(Ordering::Acquire) == 0 {
                // A reporter may have spoken between the two looks above.
                return Some(self.take()).filter(|batch| !batch.is_empty());
            }
            self.0.arrived.notified().await;
        }
    }

    /// Takes what is there now, perhaps nothing.
    pub fn take(&mut self) -> Vec<SessionReport> {
        std::mem::take(&mut *self.0.pending.lock()).into_values().collect()
    }

    /// Gives a batch back that could not be processed, e.g. as the database was busy. What was reported since wins over it.
    pub fn give_back(&mut self, batch: Vec<SessionReport>) {
        for report in batch {
            self.0.put(report);
        }
    }
}

impl fmt::Debug for UsageReports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageReports").field("sessions", &self.0.pending.lock().len()).finish()
    }
}

/// Instants as Unix microseconds on the wire: JSON has no time of its own.
mod unix_micros {
    use std::time::{Duration, SystemTime};

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    fn micros(time: SystemTime) -> u64 {
        // Before 1970 or after the year 586,000: not a time that a service was used at.
        time.duration_since(SystemTime::UNIX_EPOCH)
            .ok()
            .and_then(|since| u64::try_from(since.as_micros()).ok())
            .unwrap_or_default()
    }

    fn time<E: serde::de::Error>(micros: u64) -> Result<SystemTime, E> {
        SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_micros(micros))
            .ok_or_else(|| E::custom("time too far in the future"))
    }

    pub(super) fn serialize<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        micros(*at).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        time(u64::deserialize(deserializer)?)
    }

    pub(super) mod option {
        use super::{Deserializer, Serializer, SystemTime, micros, time};
        use serde::{Deserialize as _, Serialize as _};

        #[expect(clippy::ref_option, reason = "serde's `with` passes a reference to the field")]
        pub(in super::super) fn serialize<S: Serializer>(
            at: &Option<SystemTime>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            at.map(micros).serialize(serializer)
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<SystemTime>, D::Error> {
            Option::<u64>::deserialize(deserializer)?.map(time).transpose()
        }
    }
}
