//! Notices that wait: of each channel the newest only, so that a slow reader costs a bounded amount of memory.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use privatix_channel::{AgentView, ChannelId};
use tokio::sync::Notify;

use crate::Notice;

/// The notices of one connection, of the channels that are expected on it.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    state: Mutex<State>,
    /// Woken when there is something to take, or when it ends.
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    expected: HashSet<ChannelId>,
    newest: HashMap<ChannelId, AgentView>,
    has_ended: bool,
}

impl Waiting {
    /// Takes notices of this channel from now on. `false` where as many channels as `most` have that already.
    pub(crate) fn expect(&self, channel: ChannelId, most: usize) -> bool {
        let mut state = self.state.lock();
        let has_room = state.expected.len() < most || state.expected.contains(&channel);
        if has_room {
            state.expected.insert(channel);
        }
        has_room
    }

    /// Takes no more notices of this channel; one that waits is still to be taken.
    pub(crate) fn unexpect(&self, channel: ChannelId) {
        self.state.lock().expected.remove(&channel);
    }

    pub(crate) fn is_expected(&self, channel: ChannelId) -> bool {
        self.state.lock().expected.contains(&channel)
    }

    /// The channels of which notices are taken.
    pub(crate) fn expected(&self) -> Vec<ChannelId> {
        self.state.lock().expected.iter().copied().collect()
    }

    /// Takes a notice in, unless a newer one of its channel waits, or none of it is expected.
    pub(crate) fn put(&self, Notice { channel, view }: Notice) {
        let mut state = self.state.lock();
        if !state.expected.contains(&channel) {
            return;
        }
        let newest = state.newest.entry(channel).or_insert(view);
        if view.number >= newest.number {
            *newest = view;
        }
        drop(state);
        self.news.notify_one();
    }

    /// What waits, now.
    pub(crate) fn take(&self) -> Vec<Notice> {
        let taken = std::mem::take(&mut self.state.lock().newest);
        taken.into_iter().map(|(channel, view)| Notice { channel, view }).collect()
    }

    /// Waits until something can be taken, or it has ended. One waits at a time.
    pub(crate) async fn wait(&self) {
        loop {
            {
                let state = self.state.lock();
                if state.has_ended || !state.newest.is_empty() {
                    return;
                }
            }
            self.news.notified().await;
        }
    }

    /// One after the other; `None` once it has ended and none is left.
    pub(crate) async fn next(&self) -> Option<Notice> {
        loop {
            self.wait().await;
            let mut state = self.state.lock();
            if let Some(channel) = state.newest.keys().next().copied() {
                let view = state.newest.remove(&channel);
                return view.map(|view| Notice { channel, view });
            }
            if state.has_ended {
                return None;
            }
        }
    }

    /// Nothing comes any more.
    pub(crate) fn end(&self) {
        self.state.lock().has_ended = true;
        self.news.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use privatix_channel::{ServiceState, Usage};

    use super::*;

    fn notice(channel: u8, number: u64) -> Notice {
        let view = AgentView {
            number,
            used: Usage::ZERO,
            service: ServiceState::Running,
            reason: None,
            resumes_at: None,
            access: 0,
        };
        Notice { channel: ChannelId::new([channel; 32].into()), view }
    }

    #[tokio::test]
    async fn of_many_notices_only_the_newest_of_a_channel_waits() {
        let waiting = Waiting::default();
        assert!(waiting.expect(notice(1, 0).channel, 2) && waiting.expect(notice(2, 0).channel, 2));
        for number in [1, 3, 2] {
            waiting.put(notice(1, number));
        }
        waiting.put(notice(2, 1));
        let mut taken = waiting.take();
        taken.sort_by_key(|notice| notice.channel);
        assert_eq!(taken, [notice(1, 3), notice(2, 1)]);
        assert_eq!(waiting.take(), []);
        waiting.put(notice(1, 4));
        waiting.end();
        assert_eq!(waiting.next().await, Some(notice(1, 4)));
        assert_eq!(waiting.next().await, None);
    }

    #[test]
    fn nothing_is_kept_of_a_channel_that_is_not_expected() {
        let waiting = Waiting::default();
        assert!(waiting.expect(notice(1, 0).channel, 1));
        assert!(!waiting.expect(notice(2, 0).channel, 1), "there is no room for it");
        assert!(waiting.expect(notice(1, 0).channel, 1), "it has its room");
        waiting.put(notice(2, 1));
        assert_eq!(waiting.take(), []);
    }
}
