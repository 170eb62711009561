//! One channel's billing state as either side sees it: the values that a decision is made from.

use std::time::{Duration, SystemTime};

use privatix_channel::{Amount, ServiceStatus, Usage};

use crate::{Measure, Terms};

/// One side's view of a channel's money, meter and service.
///
/// The agent and the client each keep their own: their meters need not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The channel's deposit, confirmed on chain.
    pub deposit: Amount,
    /// The best voucher: accepted and stored (agent), signed and stored (client).
    pub paid: Amount,
    /// This side's meter: the total over all sessions.
    pub used: Usage,
    /// What the service is doing.
    pub service: ServiceStatus,
    /// When `used` last grew; the opening of the channel before any use.
    pub last_usage: SystemTime,
    /// Since when `service` has its value.
    pub status_since: SystemTime,
    /// For services measured in seconds only: since when a session runs that `used` does not
    /// count yet. The use then grows with the clock and needs no reports. `None` when nothing
    /// runs; ignored for other measures and while the service is not active.
    pub running_since: Option<SystemTime>,
    /// Agent only: the operator paused this channel; nothing but the operator resumes it.
    pub held: bool,
    /// Client only: a top-up is on its way to the chain.
    pub top_up_pending: bool,
    /// Client only: the agent's total, as the agent shows it; `None` where it shows none.
    pub theirs: Option<Usage>,
    /// Client only: what has to be paid in all for the service to go on, as the agent shows it while it suspends the service as unpaid.
    pub resumes_at: Option<Amount>,
}

impl Account {
    /// A fresh channel: nothing used, nothing paid, in this state since `now`.
    pub fn new(deposit: Amount, service: ServiceStatus, now: SystemTime) -> Self {
        Self {
            deposit,
            paid: Amount::ZERO,
            used: Usage::ZERO,
            service,
            last_usage: now,
            status_since: now,
            running_since: None,
            held: false,
            top_up_pending: false,
            theirs: None,
            resumes_at: None,
        }
    }

    /// The meter at `now`: `used`, plus whole seconds of a running session of a timed service.
    pub fn used_at(&self, terms: &Terms, now: SystemTime) -> Usage {
        let running = self.clock(terms).and_then(|since| now.duration_since(since).ok());
        self.used.saturating_add(Usage::new(running.map_or(0, |time| time.as_secs())))
    }

    /// Since when the meter follows the clock, if it does.
    pub(crate) fn clock(&self, terms: &Terms) -> Option<SystemTime> {
        let timed = terms.unit().measure == Measure::Seconds && self.service == ServiceStatus::Active;
        self.running_since.filter(|_| timed)
    }

    /// When the clock alone brings the meter to `used`; `None` if it does not.
    pub(crate) fn reaches(&self, terms: &Terms, used: Usage) -> Option<SystemTime> {
        let more = used.saturating_sub(self.used).get();
        self.clock(terms)?.checked_add(Duration::from_secs(more))
    }

    /// When the channel will have been quiet (no use, no change of status) for `period`; `None`
    /// while a timed session runs.
    pub(crate) fn quiet_for(&self, terms: &Terms, period: Duration) -> Option<SystemTime> {
        match self.clock(terms) {
            Some(_) => None,
            None => self.last_usage.max(self.status_since).checked_add(period),
        }
    }
}
