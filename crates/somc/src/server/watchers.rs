//! Which connections are sent the notices of which channels.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use privatix_channel::ChannelId;

use crate::{Notice, notices::Waiting};

/// Connections of one channel that are sent its notices; of more, the newest.
const MOST: usize = 8;

/// The connections by the channels that are proved on them.
#[derive(Debug, Default)]
pub(super) struct Watchers(Mutex<HashMap<ChannelId, Vec<Arc<Waiting>>>>);

impl Watchers {
    pub(super) fn notify(&self, notice: Notice) {
        for waiting in self.0.lock().get(&notice.channel).into_iter().flatten() {
            waiting.put(notice);
        }
    }

    pub(super) fn has(&self, channel: ChannelId) -> bool {
        self.0.lock().contains_key(&channel)
    }

    /// The channel is not proved on any connection any more.
    pub(super) fn forget(&self, channel: ChannelId) {
        for waiting in self.0.lock().remove(&channel).into_iter().flatten() {
            waiting.unexpect(channel);
        }
    }

    fn add(&self, channel: ChannelId, waiting: &Arc<Waiting>) {
        let mut channels = self.0.lock();
        let of_channel = channels.entry(channel).or_default();
        of_channel.retain(|other| !Arc::ptr_eq(other, waiting));
        if of_channel.len() >= MOST {
            of_channel.remove(0);
        }
        of_channel.push(Arc::clone(waiting));
    }

    fn remove(&self, channel: ChannelId, waiting: &Arc<Waiting>) {
        let mut channels = self.0.lock();
        if let Some(of_channel) = channels.get_mut(&channel) {
            of_channel.retain(|other| !Arc::ptr_eq(other, waiting));
            if of_channel.is_empty() {
                channels.remove(&channel);
            }
        }
    }
}

/// The channels that are proved on one connection. Forgotten with it.
pub(super) struct Attached {
    shared: Arc<super::Shared>,
    waiting: Arc<Waiting>,
}

impl Attached {
    pub(super) fn new(shared: &Arc<super::Shared>) -> Self {
        Self { shared: Arc::clone(shared), waiting: Arc::default() }
    }

    /// What the connection is to be sent.
    pub(super) fn notices(&self) -> Arc<Waiting> {
        Arc::clone(&self.waiting)
    }

    /// The channel is proved here from now on, and its notices are sent. `false` where there is no room for it.
    pub(super) fn attach(&self, channel: ChannelId) -> bool {
        let has_room = self.waiting.expect(channel, self.shared.limits.max_attached);
        if has_room {
            self.shared.watchers.add(channel, &self.waiting);
        }
        has_room
    }

    /// The channel is not proved here any more.
    pub(super) fn detach(&self, channel: ChannelId) {
        self.waiting.unexpect(channel);
        self.shared.watchers.remove(channel, &self.waiting);
    }

    pub(super) fn has(&self, channel: ChannelId) -> bool {
        self.waiting.is_expected(channel)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        for channel in self.waiting.expected() {
            self.shared.watchers.remove(channel, &self.waiting);
        }
    }
}
