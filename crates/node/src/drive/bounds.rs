//! The bounds of sold services at the plug-in: [`Bounds`].

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use privatix_adapter::{AdapterError, AdapterRefusal, Call, Host};
use privatix_channel::{ChannelId, Usage};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Bound, Driven, Times};

/// Sends to the plug-in how much each sold channel may use, as that changes: the newest bound wins, and nothing is stored. Cheap to
/// clone.
///
/// [`run`](Self::run) sends what changes while a service is known to the plug-in. A [`Driver`](super::Driver) sends the newest bound
/// before each start.
#[derive(Clone)]
pub struct Bounds(Arc<Shared>);

struct Shared {
    host: Arc<Host>,
    /// Counts the lives of the plug-in.
    instance: watch::Receiver<u64>,
    times: Times,
    state: Mutex<State>,
    due: Notify,
}

#[derive(Default)]
struct State {
    channels: HashMap<ChannelId, Known>,
    /// Channels whose bound is to be sent, and that nobody sends yet.
    due: HashSet<ChannelId>,
}

#[derive(Default)]
struct Known {
    /// The life of the plug-in that was given the channel.
    given_to: Option<u64>,
    newest: Option<Bound>,
    /// What the plug-in took last, in that life. `None` while that is not known.
    taken: Option<Usage>,
    /// The highest bound that the plug-in may hold the channel to.
    most: Usage,
    /// Since when the newest bound is below that.
    fell_at: Option<Instant>,
    /// Whether it was reported that this takes too long.
    is_reported: bool,
    /// Until when a call that was not answered may still take effect.
    late: Option<Instant>,
    is_being_kept: bool,
    /// Held while a bound is sent, so that no older one comes after a newer one.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Known {
    /// The bound that is to be sent now.
    fn unsent(&self, instance: u64) -> Option<Usage> {
        let newest = self.newest?.up_to;
        (self.given_to == Some(instance) && self.taken != Some(newest)).then_some(newest)
    }

    /// Notes that the newest bound is lower than what the plug-in may hold the channel to, or is not any more.
    fn compare(&mut self) {
        let is_lower = self.given_to.is_some() && self.newest.is_some_and(|newest| newest.up_to < self.most);
        if is_lower {
            self.fell_at.get_or_insert_with(Instant::now);
        } else {
            (self.fell_at, self.is_reported) = (None, false);
        }
    }
}

impl fmt::Debug for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channels = self.0.state.lock().channels.len();
        f.debug_struct("Bounds").field("channels", &channels).finish_non_exhaustive()
    }
}

impl Bounds {
    /// Bounds of the services of `host`. `instance` counts the lives of its adapter.
    pub fn new(host: Arc<Host>, instance: watch::Receiver<u64>, times: Times) -> Self {
        Self(Arc::new(Shared { host, instance, times, state: Mutex::default(), due: Notify::new() }))
    }

    /// The bound of a channel, as of a state that is committed. An earlier state's changes nothing. Of two of one revision the higher
    /// one counts: a voucher is stored beside the state, and raises the bound only.
    pub fn set(&self, channel: ChannelId, bound: Bound) {
        let order = |bound: Bound| (bound.revision, bound.up_to);
        self.change(channel, |known| {
            if known.newest.is_none_or(|newest| order(newest) < order(bound)) {
                known.newest = Some(bound);
            }
        });
    }

    /// The plug-in was given a channel, with a bound that it may have read or not.
    pub(super) fn given(&self, channel: ChannelId, instance: u64, up_to: Usage) {
        self.change(channel, |known| {
            known.given_to = Some(instance);
            (known.taken, known.most, known.late) = (None, up_to, None);
        });
    }

    /// Whether this life of the plug-in was given the channel.
    pub(super) fn is_given(&self, channel: ChannelId, instance: u64) -> bool {
        self.0.state.lock().channels.get(&channel).is_some_and(|known| known.given_to == Some(instance))
    }

    /// The plug-in does not know the channel any more.
    pub(super) fn forget(&self, channel: ChannelId) {
        let mut state = self.0.state.lock();
        if let Some(known) = state.channels.get_mut(&channel) {
            // Whoever sends for it notices.
            (known.given_to, known.newest) = (None, None);
            if !known.is_being_kept {
                state.channels.remove(&channel);
            }
        }
    }

    fn change(&self, channel: ChannelId, change: impl FnOnce(&mut Known)) {
        let instance = *self.0.instance.borrow();
        let mut state = self.0.state.lock();
        let known = state.channels.entry(channel).or_default();
        change(known);
        known.compare();
        if known.unsent(instance).is_some() && !known.is_being_kept && state.due.insert(channel) {
            self.0.due.notify_one();
        }
    }

    /// Sends the newest bound, unless the plug-in has taken it already, or was not given the channel.
    ///
    /// Dropped before its end, the plug-in may have taken it or not, and it is sent again.
    pub(super) async fn send(&self, channel: ChannelId) -> Result<(), AdapterError> {
        let turn = match self.0.state.lock().channels.get(&channel) {
            Some(known) => Arc::clone(&known.turn),
            None => return Ok(()),
        };
        let _turn = turn.lock().await;
        let Some((instance, up_to, before)) = self.begin(channel) else { return Ok(()) };
        let answer = self.0.host.allow(channel, up_to).await;
        let mut state = self.0.state.lock();
        let Some(known) = state.channels.get_mut(&channel).filter(|known| known.given_to == Some(instance))
        else {
            return answer.map(drop); // stopped, or given again to another life
        };
        match &answer {
            Ok(_) => {
                (known.taken, known.most, known.late) = (Some(up_to), up_to, before);
                known.compare();
            }
            Err(AdapterError::Refused { refusal, .. }) => {
                known.late = before;
                if matches!(refusal, AdapterRefusal::UnknownChannel { .. }) {
                    known.given_to = None;
                }
            }
            Err(_) => {}
        }
        answer.map(drop)
    }

    /// What is to be sent now: the life of the plug-in, the bound, and until when an earlier call may take effect. From now on this
    /// one may.
    fn begin(&self, channel: ChannelId) -> Option<(u64, Usage, Option<Instant>)> {
        let instance = *self.0.instance.borrow();
        let mut state = self.0.state.lock();
        let known = state.channels.get_mut(&channel)?;
        let up_to = known.unsent(instance)?;
        let before = known.late;
        known.taken = None;
        known.most = known.most.max(up_to);
        // Its own time, and as long again for what takes effect after it.
        let time = self.0.host.timeouts().of(Call::Allow);
        known.late = before.max(Instant::now().checked_add(time.saturating_mul(2)));
        Some((instance, up_to, before))
    }

    /// Sends bounds as they change, until `stop`: each channel's for itself, so that one whose calls hang keeps no other waiting. A
    /// lower bound that is not taken in time is [reported](Driven::unbounded).
    pub async fn run<D: Driven>(&self, driven: &D, stop: CancellationToken) {
        let mut kept = FuturesUnordered::new();
        loop {
            for channel in self.due() {
                kept.push(self.keep(channel, driven));
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.due.notified() => {}
                Some(()) = kept.next() => {}
            }
        }
    }

    /// Takes the channels whose bound is to be sent.
    fn due(&self) -> Vec<ChannelId> {
        let mut state = self.0.state.lock();
        let due: Vec<ChannelId> = state.due.drain().collect();
        for channel in &due {
            if let Some(known) = state.channels.get_mut(channel) {
                known.is_being_kept = true;
            }
        }
        due
    }

    /// Sends a channel's bound until the plug-in has taken the newest.
    async fn keep<D: Driven>(&self, channel: ChannelId, driven: &D) {
        let mut not_before = None;
        let mut is_reported = false;
        loop {
            let next = self.next(channel);
            if is_reported && !self.is_reported(channel) {
                is_reported = false;
                driven.bounded(channel).await;
            }
            let Some(Next { sends_at, too_long_at }) = next else { return };
            let sent = async {
                at(sends_at.max(not_before)).await;
                self.send(channel).await
            };
            tokio::select! {
                biased;
                () = at_or_never(too_long_at) => {
                    if let Some(known) = self.0.state.lock().channels.get_mut(&channel) {
                        known.is_reported = true;
                    }
                    tracing::error!(%channel, "the plug-in did not take a lower bound in time");
                    is_reported = true;
                    driven.unbounded(channel).await;
                }
                sent = sent => {
                    not_before = None;
                    if let Err(error) = sent {
                        tracing::warn!(%channel, %error, "the plug-in did not take a bound; it is sent again");
                        not_before = Instant::now().checked_add(self.0.times.pause);
                    }
                }
            }
        }
    }

    /// Whether it was reported that the plug-in does not hold the channel to its bound, and that is still so.
    fn is_reported(&self, channel: ChannelId) -> bool {
        self.0.state.lock().channels.get(&channel).is_some_and(|known| known.is_reported)
    }

    /// What is to be done next for a channel that is being kept; `None` if it is not kept any longer.
    fn next(&self, channel: ChannelId) -> Option<Next> {
        let instance = *self.0.instance.borrow();
        let mut state = self.0.state.lock();
        let known = state.channels.get_mut(&channel)?;
        if known.given_to.is_none() {
            state.channels.remove(&channel);
            return None;
        }
        let mut sends_at = None;
        if known.unsent(instance).is_none() {
            match known.late {
                // What was not answered may have taken effect after what was: the newest once more.
                Some(late) if known.given_to == Some(instance) && known.newest.is_some() => {
                    if late <= Instant::now() {
                        (known.late, known.taken) = (None, None);
                    } else {
                        sends_at = Some(late);
                    }
                }
                _ => {
                    known.is_being_kept = false;
                    return None;
                }
            }
        }
        let too_long_at = known.fell_at.filter(|_| !known.is_reported);
        let too_long_at = too_long_at.and_then(|fell| fell.checked_add(self.0.times.stop_within));
        Some(Next { sends_at, too_long_at })
    }
}

/// What is to be done next for a channel.
struct Next {
    /// When the bound is sent; at once without a time.
    sends_at: Option<Instant>,
    /// When a lower bound has not been taken for too long.
    too_long_at: Option<Instant>,
}

async fn at(time: Option<Instant>) {
    if let Some(time) = time {
        tokio::time::sleep_until(time).await;
    }
}

async fn at_or_never(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
