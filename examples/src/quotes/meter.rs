//! What the adapters of both sides know of their channels: who may pass, and how much did.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use privatix_adapter::{AdapterRefusal, Session, UsageReporter};
use privatix_channel::{ChannelId, Usage};

/// The channels of an adapter; `T` is what one side needs of each.
pub(super) struct Meter<T>(Mutex<State<T>>);

struct State<T> {
    reporter: Option<UsageReporter>,
    shut_down: bool,
    channels: HashMap<ChannelId, Channel<T>>,
}

struct Channel<T> {
    details: Arc<T>,
    passing: bool,
    /// Used in all, from before this session on.
    used: u64,
    allowed: u64,
    /// Opened at the first use; ends when it is dropped.
    session: Option<(Session, u64)>,
}

impl<T> Channel<T> {
    const fn passes(&self) -> bool {
        self.passing && self.used < self.allowed
    }
}

impl<T> Default for Meter<T> {
    fn default() -> Self {
        Self(Mutex::new(State { reporter: None, shut_down: false, channels: HashMap::new() }))
    }
}

impl<T> Meter<T> {
    pub(super) fn configure(&self, reporter: UsageReporter) {
        self.0.lock().reporter.get_or_insert(reporter);
    }

    /// Makes a channel known, with a bound of what is used in all. Again with other details and another bound, these count from
    /// then on.
    pub(super) fn provision(
        &self,
        channel: ChannelId,
        details: T,
        used: Usage,
        up_to: Usage,
    ) -> Result<(), AdapterRefusal> {
        let mut state = self.0.lock();
        if state.shut_down {
            return Err(AdapterRefusal::ShutDown);
        }
        let details = Arc::new(details);
        let known = state.channels.entry(channel).or_insert_with(|| Channel {
            details: Arc::clone(&details),
            passing: false,
            used: used.get(),
            allowed: up_to.get(),
            session: None,
        });
        known.details = details;
        known.allowed = up_to.get();
        Ok(())
    }

    pub(super) fn set_passing(&self, channel: ChannelId, passing: bool) -> Result<(), AdapterRefusal> {
        self.change(channel, |known| known.passing = passing)
    }

    pub(super) fn allow(&self, channel: ChannelId, up_to: Usage) -> Result<(), AdapterRefusal> {
        self.change(channel, |known| known.allowed = up_to.get())
    }

    fn change(&self, channel: ChannelId, change: impl FnOnce(&mut Channel<T>)) -> Result<(), AdapterRefusal> {
        let mut state = self.0.lock();
        if state.shut_down {
            return Err(AdapterRefusal::ShutDown);
        }
        let known = state.channels.get_mut(&channel).ok_or(AdapterRefusal::UnknownChannel { channel })?;
        change(known);
        Ok(())
    }

    pub(super) fn details(&self, channel: ChannelId) -> Option<Arc<T>> {
        Some(Arc::clone(&self.0.lock().channels.get(&channel)?.details))
    }

    /// Whether the channel may be used now.
    pub(super) fn passes(&self, channel: ChannelId) -> bool {
        self.0.lock().channels.get(&channel).is_some_and(Channel::passes)
    }

    /// Counts one use, reports it, and gives the number of uses in this session. None when the channel is held.
    pub(super) fn pass_one(&self, channel: ChannelId) -> Option<u64> {
        let mut state = self.0.lock();
        let reporter = state.reporter.clone()?;
        let known = state.channels.get_mut(&channel).filter(|known| known.passes())?;
        known.used += 1;
        let (session, total) = known.session.get_or_insert_with(|| (reporter.open(channel, None), 0));
        *total += 1;
        session.report(Usage::new(*total));
        Some(*total)
    }

    pub(super) fn forget(&self, channel: ChannelId) {
        self.0.lock().channels.remove(&channel);
    }

    pub(super) fn shut_down(&self) {
        let mut state = self.0.lock();
        state.shut_down = true;
        state.channels.clear();
    }
}
