//! What clients are shown of their channels: each view has a number, and is sent once it differs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use privatix_channel::{AgentView, ChannelId, Phase};
use privatix_market::Agent;
use privatix_node::Decider;
use privatix_node::shell::Applied;
use privatix_somc::{Notice, Notifier};

/// Numbers views, and sends those that changed to the clients that proved their channels.
///
/// Of two views the one with the higher number must be no older. So whoever answers takes a number before it reads the state, and
/// whoever sends one unasked takes it after the state can be read.
#[derive(Debug, Default)]
pub(crate) struct Showing {
    numbers: AtomicU64,
    /// From the start of the server on.
    sends: OnceLock<Sends>,
    /// What was sent last of the channels that somebody watches.
    sent: Mutex<HashMap<ChannelId, Sent>>,
}

#[derive(Debug)]
struct Sends {
    notifier: Notifier,
    /// It holds whatever holds this.
    decider: Weak<Decider<Agent>>,
}

#[derive(Debug)]
struct Sent {
    revision: u64,
    view: AgentView,
}

impl Showing {
    /// Sends by this notifier from now on what is decided by this decider.
    pub(crate) fn start(&self, notifier: Notifier, decider: &Arc<Decider<Agent>>) {
        let _ = self.sends.set(Sends { notifier, decider: Arc::downgrade(decider) }); // an agent runs once
    }

    /// The number of a view of a state that is read after this call.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::AcqRel).saturating_add(1)
    }

    /// A decision was committed, and can be read by whoever answers. It waits for nothing.
    pub(crate) fn committed(&self, applied: &Applied<Agent>) {
        let Some(Sends { notifier, decider }) = self.sends.get() else { return };
        let channel = applied.state.id;
        if !notifier.is_watched(channel) {
            self.sent.lock().remove(&channel);
            return;
        }
        let Some(decider) = decider.upgrade() else { return };
        let view = applied.state.view(&decider.env_about(channel));
        // Until it is on its way, so that two decisions about a channel are sent in their order.
        let mut all = self.sent.lock();
        let last = all.get(&channel);
        if last.is_some_and(|last| last.revision > applied.revision) {
            return;
        }
        let is_news = last.is_none_or(|last| is_news(&last.view, &view));
        let is_closed = matches!(applied.state.chain.phase(), Phase::Closed { .. });
        if is_closed {
            all.remove(&channel); // nothing more comes of it
        } else {
            all.insert(channel, Sent { revision: applied.revision, view });
        }
        if is_news {
            notifier.notify(Notice { channel, view: AgentView { number: self.number(), ..view } });
        }
        if is_closed {
            notifier.forget(channel);
        }
    }
}

/// Whether a client learns more from the second view than that its meter went on, which the next payment shows it.
fn is_news(before: &AgentView, now: &AgentView) -> bool {
    let AgentView { number: _, used: _, service, reason, resumes_at, access } = *now;
    (before.service, before.reason, before.resumes_at, before.access) != (service, reason, resumes_at, access)
}

#[cfg(test)]
mod tests {
    use privatix_channel::{Amount, ServiceState, Usage};

    use super::*;

    #[test]
    fn a_meter_that_goes_on_is_no_news() {
        let before = AgentView {
            number: 1,
            used: Usage::new(5),
            service: ServiceState::Running,
            reason: None,
            resumes_at: None,
            access: 1,
        };
        assert!(!is_news(&before, &AgentView { number: 2, used: Usage::new(9), ..before }));
        let suspended =
            AgentView { service: ServiceState::Suspended, reason: "unpaid".parse().ok(), ..before };
        let news = [
            suspended,
            AgentView { resumes_at: Some(Amount::new(7)), ..before },
            AgentView { access: 2, ..before },
        ];
        for now in news {
            assert!(is_news(&before, &now), "{now:?}");
            assert!(is_news(&now, &before), "{now:?}");
        }
        assert!(is_news(&suspended, &AgentView { reason: "held".parse().ok(), ..suspended }));
    }
}
