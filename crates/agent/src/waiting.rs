//! Requests that wait for a channel to change: [`Waiting`].

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use privatix_channel::ChannelId;
use tokio::sync::Notify;

/// How many requests wait at most, of all channels.
const MOST: usize = 1_024;
/// How many of them wait for channels whose opening is not seen yet: anybody can describe such a channel.
const MOST_UNSEEN: usize = MOST / 4;
/// How many requests of one channel wait at most.
const MOST_OF_CHANNEL: usize = 8;

/// Requests that wait for a committed decision about their channel.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<HashMap<ChannelId, Waiters>>);

/// Those of one channel.
#[derive(Debug, Default)]
struct Waiters {
    changed: Arc<Notify>,
    count: usize,
    /// Of these, those that came before the channel's opening was seen.
    unseen: usize,
}

impl Waiting {
    /// A place to wait in; `None` where all are taken. Only for requests that were checked, or strangers could take them.
    pub(crate) fn enter(self: &Arc<Self>, channel: ChannelId, is_seen: bool) -> Option<Place> {
        let mut channels = self.0.lock();
        let all: usize = channels.values().map(|waiters| waiters.count).sum();
        let of_channel = channels.get(&channel).map_or(0, |waiters| waiters.count);
        let unseen: usize = channels.values().map(|waiters| waiters.unseen).sum();
        if all >= MOST || of_channel >= MOST_OF_CHANNEL || (!is_seen && unseen >= MOST_UNSEEN) {
            return None;
        }
        let waiters = channels.entry(channel).or_default();
        waiters.count = of_channel.saturating_add(1);
        waiters.unseen = waiters.unseen.saturating_add(usize::from(!is_seen));
        Some(Place { waiting: Arc::clone(self), channel, is_seen, changed: Arc::clone(&waiters.changed) })
    }

    /// A decision about the channel was committed. It waits for nothing.
    pub(crate) fn committed(&self, channel: ChannelId) {
        if let Some(waiters) = self.0.lock().get(&channel) {
            waiters.changed.notify_waiters();
        }
    }
}

/// A request's place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    waiting: Arc<Waiting>,
    channel: ChannelId,
    is_seen: bool,
    changed: Arc<Notify>,
}

impl Place {
    /// Completes at the next decision that is committed after this call, or, once it is enabled, after that.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut channels = self.waiting.0.lock();
        if let Some(waiters) = channels.get_mut(&self.channel) {
            waiters.count = waiters.count.saturating_sub(1);
            waiters.unseen = waiters.unseen.saturating_sub(usize::from(!self.is_seen));
            if waiters.count == 0 {
                channels.remove(&self.channel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn channel(number: usize) -> ChannelId {
        format!("0x{number:064x}").parse().unwrap()
    }

    #[test]
    fn a_channel_takes_few_places_and_all_together_no_more_than_there_are() {
        let waiting = Arc::<Waiting>::default();
        let mut places: Vec<Place> =
            (0..MOST_OF_CHANNEL).map(|_| waiting.enter(channel(0), true).unwrap()).collect();
        assert!(waiting.enter(channel(0), true).is_none());
        places.extend((MOST_OF_CHANNEL..MOST).map(|number| waiting.enter(channel(number), true).unwrap()));
        assert!(waiting.enter(channel(MOST), true).is_none());
        drop(places.pop());
        assert!(waiting.enter(channel(0), true).is_none(), "its own are taken");
        assert!(waiting.enter(channel(MOST), true).is_some());
        places.clear();
        assert!(waiting.0.lock().is_empty());
    }

    #[test]
    fn requests_for_channels_that_nobody_has_seen_leave_places_for_others() {
        let waiting = Arc::<Waiting>::default();
        let mut places: Vec<Place> =
            (0..MOST_UNSEEN).map(|number| waiting.enter(channel(number), false).unwrap()).collect();
        assert!(waiting.enter(channel(MOST), false).is_none());
        assert!(waiting.enter(channel(MOST), true).is_some());
        places.pop();
        assert!(waiting.enter(channel(MOST), false).is_some());
    }

    #[test]
    fn a_decision_wakes_all_that_wait_for_its_channel() {
        let waiting = Arc::<Waiting>::default();
        let places = [0, 0, 1].map(|number| waiting.enter(channel(number), true).unwrap());
        let mut changes = places.each_ref().map(|place| Box::pin(place.changed()));
        for change in &mut changes {
            change.as_mut().enable();
        }
        waiting.committed(channel(0));
        waiting.committed(channel(2));
        assert_eq!(changes.map(|change| change.now_or_never().is_some()), [true, true, false]);
    }
}
