//! What is known in memory of the calls to the plug-in: those under way, dropped ones, and refusals.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use privatix_channel::ChannelId;
use privatix_db::Conn;
use privatix_jobs::{PushOptions, Pushed, hasten};
use privatix_market::Target;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::job::{Drive, Outcome};
use super::{Times, Wanted};
use crate::{NodeError, after};

/// Requests to the plug-in, on their way from decisions to the jobs that carry them out. Cheap to clone.
#[derive(Clone, Default)]
pub struct Calls {
    channels: Arc<Mutex<HashMap<ChannelId, Channel>>>,
    times: Times,
}

/// What is known of one channel.
#[derive(Default)]
struct Channel {
    changed: Arc<Notify>,
    /// Left by one job to the next.
    under_way: Option<Call>,
    /// Until when a call that was dropped may still take effect.
    late: Option<Instant>,
    refused: Option<Refused>,
}

/// The last answer was a refusal.
struct Refused {
    target: Target,
    times: u32,
    pause_until: Instant,
}

/// Calls that lead to a target, under way.
pub(super) struct Call {
    pub(super) target: Target,
    /// The number of the request; `None` for a call that only makes sure.
    pub(super) seq: Option<u32>,
    /// The life of the plug-in that it is made to.
    pub(super) instance: u64,
    /// Until when the call that is under way now may be answered.
    pub(super) until: Arc<Mutex<Instant>>,
    pub(super) task: AbortOnDropHandle<Outcome>,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("channels", &self.channels.lock().len()).finish_non_exhaustive()
    }
}

impl Calls {
    /// No calls yet.
    pub fn new(times: Times) -> Self {
        Self { times, ..Self::default() }
    }

    pub(super) const fn times(&self) -> Times {
        self.times
    }

    /// Stores the job for a request, in the transaction in which it is decided. One that has the same target as the one that was
    /// refused last waits for a pause; any other one is carried out at once. Wake the job processor after the commit, and
    /// [notify](Self::changed) of the change.
    ///
    /// # Errors
    /// [`NodeError::Jobs`].
    pub async fn ask(&self, conn: &mut Conn, channel: ChannelId, target: Target) -> Result<(), NodeError> {
        let pause = self.pause(channel, target);
        let mut options = PushOptions::by("decision");
        if let Some(pause) = pause {
            options = options.not_before(after(SystemTime::now(), pause));
        }
        match privatix_jobs::push(conn, &Drive { channel }, options).await? {
            Pushed::Duplicate(waiting) if pause.is_none() => {
                hasten(conn, waiting).await?; // or it is running, and is notified
            }
            Pushed::Duplicate(_) | Pushed::New(_) => {}
        }
        Ok(())
    }

    /// What is wanted of a channel's service has changed, and is committed: whoever carries something out for it looks again.
    pub fn changed(&self, channel: ChannelId) {
        if let Some(known) = self.channels.lock().get(&channel) {
            known.changed.notify_waiters();
        }
    }

    /// For how long a request for this target waits, because the last one was refused.
    fn pause(&self, channel: ChannelId, target: Target) -> Option<Duration> {
        let channels = self.channels.lock();
        let refused = channels.get(&channel)?.refused.as_ref().filter(|refused| refused.target == target)?;
        let left = refused.pause_until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// A job's look at a channel: the next one of its subject begins after it has been dropped.
    pub(super) fn watch(&self, channel: ChannelId) -> Watch {
        let mut channels = self.channels.lock();
        let known = channels.entry(channel).or_default();
        let (changed, call) = (Arc::clone(&known.changed), known.under_way.take());
        Watch { calls: self.clone(), channel, changed, call }
    }
}

/// A job's look at a channel. The call that is under way when it ends is left to the next job.
pub(super) struct Watch {
    calls: Calls,
    pub(super) channel: ChannelId,
    pub(super) changed: Arc<Notify>,
    pub(super) call: Option<Call>,
}

impl Watch {
    fn with<T>(&self, change: impl FnOnce(&mut Channel) -> T) -> T {
        change(self.calls.channels.lock().entry(self.channel).or_default())
    }

    /// Drops the call under way if it is for more than `wanted`, was begun with what the plug-in is not to know any more, or was made to
    /// an earlier life of the plug-in.
    pub(super) fn drop_call_unless(&mut self, wanted: &Wanted, instance: u64) {
        let is_outdated = |call: &Call| wanted.asked.is_some_and(|request| !request.is_led_to_by(call.seq));
        let dropped = self
            .call
            .take_if(|call| call.target > wanted.target || is_outdated(call) || call.instance != instance);
        if let Some(call) = dropped.filter(|call| call.instance == instance) {
            self.dropped(*call.until.lock());
        }
    }

    /// Drops the call under way: nobody waits for it any more.
    pub(super) fn drop_call(&mut self) {
        if let Some(call) = self.call.take() {
            self.dropped(*call.until.lock());
        }
    }

    /// A call was dropped, and may take effect until then.
    pub(super) fn dropped(&self, until: Instant) {
        self.with(|known| known.late = known.late.max(Some(until)));
    }

    /// Until when a dropped call may take effect.
    pub(super) fn late(&self) -> Option<Instant> {
        self.with(|known| known.late)
    }

    /// The newest call was made after the time of all that were dropped.
    pub(super) fn made_sure(&self) {
        self.with(|known| known.late = None);
    }

    /// The next request for this target waits for a pause.
    pub(super) fn refused(&self, target: Target) {
        let Times { pause, longest_pause, .. } = self.calls.times;
        self.with(|known| {
            let earlier = known.refused.take().filter(|refused| refused.target == target);
            let times = earlier.map_or(0, |refused| refused.times.saturating_add(1));
            let pause = pause.saturating_mul(2_u32.saturating_pow(times)).min(longest_pause);
            let now = Instant::now();
            let pause_until = now.checked_add(pause).unwrap_or(now);
            known.refused = Some(Refused { target, times, pause_until });
        });
    }

    /// Nothing is refused any more.
    pub(super) fn accepted(&self) {
        self.with(|known| known.refused = None);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut channels = self.calls.channels.lock();
        let known = channels.entry(self.channel).or_default();
        known.under_way = self.call.take();
        if known.under_way.is_none() && known.late.is_none() && known.refused.is_none() {
            channels.remove(&self.channel);
        }
    }
}
