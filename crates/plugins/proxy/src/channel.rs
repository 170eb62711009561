//! One channel at work: whether it passes, how much passed, and its session.

use std::io;
use std::num::NonZeroU64;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use privatix_adapter::Session;
use privatix_channel::{ChannelId, Usage};
use privatix_net::PeerAddress;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::pace::Pace;
use crate::reporting::Reporting;

/// Whether bytes may pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Gate {
    Open,
    /// Not started yet, suspended, or at the end of its allowance: connections wait.
    Closed,
    /// For good: connections end.
    Stopped,
}

const CLOSED: u8 = 0;
const OPEN: u8 = 1;
const STOPPED: u8 = 2;

/// What is lost on the way when connections break is forgiven up to this many bytes, or up to what was delivered. A buyer that
/// breaks off fast downloads over a long distance loses a round trip's worth of each, which is about as much as it has got of a
/// short one. And one that takes bytes without acknowledging them gets no more for nothing than it pays for.
const FORGIVEN_AT_LEAST: u64 = 1024 * 1024;

/// What a connection may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// Read or write, at most this many bytes (at least one).
    Pass {
        most: usize,
    },
    /// Ask again then: the channel is at its bandwidth.
    Wait {
        until: Instant,
    },
    Closed,
    Stopped,
}

/// What an offering allows each of its channels.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Bounds {
    pub(crate) connections: Option<usize>,
    pub(crate) bytes_per_second: Option<NonZeroU64>,
}

/// The channel was stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the channel was stopped")]
pub(crate) struct Stopped;

impl From<Stopped> for io::Error {
    fn from(stopped: Stopped) -> Self {
        Self::new(io::ErrorKind::ConnectionAborted, stopped)
    }
}

/// The channel has as many connections as it may have, or was stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum NotAdmitted {
    #[error("the channel has its {0} connections already")]
    TooMany(usize),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// A provisioned channel. Everything on the way of bytes is an atomic; locks are taken per connection and per report.
pub(crate) struct Channel {
    id: ChannelId,
    state: AtomicU8,
    /// Woken at each change of the gate.
    changed: Notify,
    /// Bytes that were sent, never acknowledged, and not counted.
    forgiven: AtomicU64,
    /// Bytes in all, with those of earlier sessions and those on their way: what the allowance is compared with.
    used: AtomicU64,
    allowance: AtomicU64,
    pace: Pace,
    most_connections: AtomicUsize,
    /// Cancelled when the channel is stopped.
    stopped: CancellationToken,
    connections: TaskTracker,
    session: Mutex<Option<Arc<Live>>>,
    reporting: Arc<Reporting>,
    /// Whether the channel waits in the queue of those whose session may end.
    pub(crate) idle_queued: AtomicBool,
    emptied: Mutex<Instant>,
}

/// A session under way; ends when the last connection and the channel let go of it, with all that was counted.
pub(crate) struct Live {
    session: Session,
    bytes: AtomicU64,
    reported: AtomicU64,
    /// Whether it waits for the next report by time.
    pub(crate) queued: AtomicBool,
}

impl Live {
    /// Reports what was counted.
    pub(crate) fn report(&self) {
        let bytes = self.bytes.load(Ordering::Acquire);
        self.reported.fetch_max(bytes, Ordering::AcqRel);
        self.session.report(Usage::new(bytes));
    }

    /// Ends the session with what was counted, whoever else still looks at it.
    fn end(&self) {
        self.session.end(Usage::new(self.bytes.load(Ordering::Acquire)));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.end();
    }
}

impl Channel {
    pub(crate) fn new(id: ChannelId, used: Usage, reporting: Arc<Reporting>) -> Arc<Self> {
        Arc::new(Self {
            id,
            state: AtomicU8::new(CLOSED),
            changed: Notify::new(),
            forgiven: AtomicU64::new(0),
            used: AtomicU64::new(used.get()),
            allowance: AtomicU64::new(u64::MAX),
            pace: Pace::default(),
            most_connections: AtomicUsize::new(usize::MAX),
            stopped: CancellationToken::new(),
            connections: TaskTracker::new(),
            session: Mutex::new(None),
            reporting,
            idle_queued: AtomicBool::new(false),
            emptied: Mutex::new(Instant::now()),
        })
    }

    pub(crate) const fn id(&self) -> ChannelId {
        self.id
    }

    pub(crate) fn gate(&self) -> Gate {
        match self.state.load(Ordering::Acquire) {
            OPEN if self.left() > 0 => Gate::Open,
            STOPPED => Gate::Stopped,
            _ => Gate::Closed,
        }
    }

    /// Bytes until the end of the allowance.
    fn left(&self) -> u64 {
        self.allowance.load(Ordering::Relaxed).saturating_sub(self.used.load(Ordering::Relaxed))
    }

    /// What may be done for the channel now. Between this and [`Flow::take`] nothing waits, so what passes beyond the
    /// allowance is at most one buffer for each other thread of the runtime, and nothing if there is one connection.
    pub(crate) fn turn(&self) -> Turn {
        match self.gate() {
            Gate::Open => match self.pace.turn(Instant::now) {
                Ok(most) => {
                    Turn::Pass { most: usize::try_from(self.left()).unwrap_or(usize::MAX).clamp(1, most) }
                }
                Err(until) => Turn::Wait { until },
            },
            Gate::Closed => Turn::Closed,
            Gate::Stopped => Turn::Stopped,
        }
    }

    /// Keeps to these bounds from now on.
    pub(crate) fn bound(&self, bounds: Bounds) {
        self.most_connections.store(bounds.connections.unwrap_or(usize::MAX), Ordering::Relaxed);
        self.pace.set(bounds.bytes_per_second);
    }

    /// Lets the channel pass.
    pub(crate) fn open_gate(&self) {
        self.set_unless_stopped(OPEN);
    }

    /// Holds all connections of the channel where they are.
    pub(crate) fn close_gate(&self) {
        self.set_unless_stopped(CLOSED);
        if let Some(live) = &*self.session.lock() {
            live.report();
        }
    }

    fn set_unless_stopped(&self, state: u8) {
        let set = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| (now != STOPPED).then_some(state));
        if set.is_ok_and(|before| before != state) {
            tracing::debug!(channel = %self.id, open = (state == OPEN), "gate");
        }
        self.changed.notify_waiters();
    }

    /// Holds the channel to at most this many bytes in all.
    pub(crate) fn allow(&self, up_to: Usage) {
        self.allowance.store(up_to.get(), Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Ends all connections and the session, and waits until they are gone. The last report is made before it returns.
    pub(crate) async fn stop(&self) {
        self.state.store(STOPPED, Ordering::Release);
        self.stopped.cancel();
        self.changed.notify_waiters();
        self.connections.close();
        self.connections.wait().await;
        if let Some(live) = self.session.lock().take() {
            tracing::info!(channel = %self.id, session = %live.session.id(), "session ended, the channel was stopped");
            live.end();
        }
    }

    /// Completes when the channel is stopped.
    pub(crate) async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    /// Completes when the gate is open.
    pub(crate) async fn opened(&self) -> Result<(), Stopped> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable(); // before looking, so that no change between is missed
            match self.gate() {
                Gate::Open => return Ok(()),
                Gate::Stopped => return Err(Stopped),
                Gate::Closed => changed.await,
            }
        }
    }

    /// Takes a connection's place, and begins a session if there is none.
    pub(crate) fn admit(self: &Arc<Self>, peer: PeerAddress, most: usize) -> Result<Flow, NotAdmitted> {
        let mut session = self.session.lock();
        if self.gate() == Gate::Stopped {
            return Err(Stopped.into());
        }
        let most = most.min(self.most_connections.load(Ordering::Relaxed));
        if self.connections.len() >= most {
            return Err(NotAdmitted::TooMany(most));
        }
        let place = self.connections.token();
        let live = Arc::clone(session.get_or_insert_with(|| {
            let session = self.reporting.open(self.id, peer.socket());
            tracing::info!(channel = %self.id, session = %session.id(), %peer, "session started");
            Arc::new(Live {
                session,
                bytes: AtomicU64::new(0),
                reported: AtomicU64::new(0),
                queued: AtomicBool::new(false),
            })
        }));
        drop(session);
        Ok(Flow {
            live: Some(live),
            moved: AtomicU64::new(0),
            held: AtomicU64::new(0),
            channel: Arc::clone(self),
            place: Some(place),
        })
    }

    /// Ends the session if the last connection went `idle` ago or longer. If it went later, returns when to ask again.
    pub(crate) fn end_idle_session(&self, idle: Duration) -> Option<Instant> {
        let mut session = self.session.lock();
        if !self.connections.is_empty() || session.is_none() {
            return None; // in use again; queued again when that ends
        }
        let due = *self.emptied.lock() + idle;
        if Instant::now() < due {
            return Some(due);
        }
        if let Some(live) = session.take() {
            tracing::info!(channel = %self.id, session = %live.session.id(), "session ended, not used any more");
            live.end();
        }
        None
    }
}

/// A connection's place in its channel, and its meter.
pub(crate) struct Flow {
    /// Until it is dropped.
    live: Option<Arc<Live>>,
    moved: AtomicU64,
    /// Taken, and not counted yet.
    held: AtomicU64,
    channel: Arc<Channel>,
    /// Until it is dropped.
    place: Option<TaskTrackerToken>,
}

impl Flow {
    pub(crate) const fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// Completes when bytes may pass, and returns how many (at least one). To be done at once, without waiting in between.
    pub(crate) async fn turn(&self) -> Result<usize, Stopped> {
        loop {
            match self.channel.turn() {
                Turn::Pass { most } => return Ok(most),
                Turn::Wait { until } => tokio::time::sleep_until(until.into()).await,
                Turn::Closed => self.channel.opened().await?,
                Turn::Stopped => return Err(Stopped),
            }
        }
    }

    /// Bytes that this connection moved, both ways.
    pub(crate) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Takes bytes that pass out of the allowance and the bandwidth. They are [counted](Self::count) once it is certain that
    /// they arrived, or [settled](Self::settle) when the connection ends.
    pub(crate) fn take(&self, bytes: u64) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        self.channel.used.fetch_add(bytes, Ordering::Relaxed);
        self.channel.pace.passed(bytes, Instant::now);
    }

    /// Whether something was sent that its peer has not taken yet.
    pub(crate) fn waits_for_its_peer(&self) -> bool {
        self.held.load(Ordering::Relaxed) > 0
    }

    /// Settles what was [taken](Self::take) and not acknowledged when the connection ended. What was never sent is given back
    /// to the allowance. So is what was lost on its way, as far as honest connections lose anything: beyond that it counts,
    /// because a buyer could take it and never acknowledge it.
    pub(crate) fn settle(&self, unsent: u64, in_flight: u64) {
        let channel = &self.channel;
        self.held.fetch_sub(unsent.saturating_add(in_flight), Ordering::Relaxed);
        let delivered = channel.used.load(Ordering::Relaxed).saturating_sub(unsent).saturating_sub(in_flight);
        let bound = delivered.max(FORGIVEN_AT_LEAST);
        let before = channel.forgiven.fetch_add(in_flight, Ordering::AcqRel);
        let forgiven = in_flight.min(bound.saturating_sub(before));
        let charged = in_flight - forgiven; // at most `in_flight`
        let given_back = unsent.saturating_add(forgiven);
        if charged > 0 {
            tracing::warn!(channel = %channel.id, bytes = charged, "bytes were sent and never acknowledged, more often than connections break: they count");
            self.report(charged);
        }
        if given_back > 0 {
            channel.used.fetch_sub(given_back, Ordering::Relaxed);
            channel.changed.notify_waiters();
        }
    }

    /// Counts bytes that were [taken](Self::take), and arrived.
    pub(crate) fn count(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.report(bytes);
    }

    fn report(&self, bytes: u64) {
        let (1.., Some(live)) = (bytes, &self.live) else { return };
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        let total = live.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let unreported = total.saturating_sub(live.reported.load(Ordering::Acquire));
        // At the end of the allowance nothing more comes that would make a report due, and only a payment helps.
        if unreported >= self.channel.reporting.every_bytes() || self.channel.left() == 0 {
            live.report();
        } else if !live.queued.load(Ordering::Relaxed) {
            self.channel.reporting.queue(live);
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            live.report();
        }
        *self.channel.emptied.lock() = Instant::now();
        // In this order: who waits for the last connection to be gone finds its session let go; and who looks for idle
        // sessions because of the last line finds the place free.
        drop(self.place.take());
        self.channel.reporting.queue_idle(&self.channel);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use privatix_adapter::usage_reports;

    use super::*;
    use crate::settings::Reports;

    /// What a connection that acknowledges nothing takes.
    const TAKEN: u64 = 64 * 1024;

    /// What was delivered before, how many connections take and acknowledge nothing, what they get for nothing.
    #[test]
    fn a_client_that_acknowledges_nothing_gets_as_much_for_nothing_as_it_pays_for_and_at_least_a_mebibyte() {
        for (delivered, connections, for_nothing) in [
            (0, 1, TAKEN),
            (0, 16, FORGIVEN_AT_LEAST),
            (0, 160, FORGIVEN_AT_LEAST),
            (FORGIVEN_AT_LEAST / 2, 160, FORGIVEN_AT_LEAST),
            (8 * FORGIVEN_AT_LEAST, 64, 64 * TAKEN),
            (8 * FORGIVEN_AT_LEAST, 1_000, 8 * FORGIVEN_AT_LEAST),
        ] {
            let (reporter, _reports) = usage_reports();
            let (reporting, _) = Reporting::new(reporter, Reports::default(), CancellationToken::new());
            let channel = Channel::new(ChannelId::default(), Usage::ZERO, reporting);
            let peer = PeerAddress::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)));
            let admit = || channel.admit(peer, usize::MAX).unwrap();
            let honest = admit();
            honest.take(delivered);
            honest.count(delivered);
            for _ in 0..connections {
                let flow = admit();
                flow.take(2 * TAKEN);
                flow.settle(TAKEN, TAKEN); // half of it was never sent
            }
            let used = channel.used.load(Ordering::Relaxed);
            let lost = connections * TAKEN;
            assert_eq!(
                delivered + lost - used,
                for_nothing,
                "{delivered} delivered, {connections} connections"
            );
        }
    }
}
