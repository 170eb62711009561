//! What a client's user sets about its channels.

use std::time::Duration;

use alloy::primitives::Address;
use privatix_channel::Fee;

use crate::blocked::Retries;

/// How a client opens, tops up and closes its channels. Durations are of the node's uptime.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientPolicy {
    /// How channels are paid and topped up, where a channel has nothing of its own for that.
    pub billing: privatix_billing::ClientPolicy,
    /// The only agents with which channels are opened; `None` for all.
    pub allowed: Option<Vec<Address>>,
    /// The highest network fee with which a channel is opened.
    pub accept_fee: Fee,
    /// How many top-ups of a channel may be under way.
    pub top_ups: usize,
    /// The pause after the first automatic top-up that failed. It doubles with each one.
    pub top_up_first: Duration,
    /// The longest pause after automatic top-ups that failed.
    pub top_up_longest: Duration,
    /// With which failure in a row an automatic top-up is shown to the user.
    pub top_up_notice: u8,
    /// For how long a channel whose deposit is used and paid waits for an automatic top-up that is tried again.
    pub top_up_grace: Duration,
    /// For how long a session of a service that is measured in seconds is paid for by the clock, without another report of it: an
    /// adapter that hangs reports nothing, whatever is served. Longer than the pause between two reports of any adapter.
    pub report_within: Duration,
    /// For how long the adapter may refuse to prepare or to run a service.
    pub start_within: Duration,
    /// For how long the adapter may answer nothing to that.
    pub outage: Duration,
    /// How long the adapter has for one request: to prepare, to run, to suspend or to stop a service. One that is not suspended in
    /// time is stopped, one that is not stopped in time is lost; the others are tried again.
    pub stop_within: Duration,
    /// How long an agent's answer is waited for.
    pub answer_within: Duration,
    /// The pause after the first request without an answer. It doubles with each one.
    pub ask_first: Duration,
    /// The longest pause between two requests.
    pub ask_longest: Duration,
    /// The longest pause before an agent that is not ready to give access is asked again: that mostly takes it some seconds.
    pub ask_not_ready: Duration,
    /// After how long without an answer, or without taking a payment, an agent is given up.
    pub abandon_after: Duration,
    /// After how long of that the user is shown it.
    pub unreachable_notice: Duration,
    /// How often a key that fails is waited for before a close request goes out without its last voucher.
    pub sign_tries: u8,
    /// How long an agent has to give access to its service.
    pub access_within: Duration,
    /// For how long an agent that can be reached is waited for to close an ended channel, before the client asks for it. Longer than
    /// the agent's [`max_delay`](crate::AgentPolicy::max_delay) and [`free_after`](crate::AgentPolicy::free_after): an honest pair
    /// needs no challenge.
    pub agent_closes_within: Duration,
    /// How long after its end a service that has not stopped yet is paid for the last time.
    pub last_voucher: Duration,
    /// After how long without opening on chain a channel is given up.
    pub vanish_after: Duration,
    /// The pause after the first close request that failed. It doubles with each one.
    pub retry_first: Duration,
    /// The longest pause after a failure.
    pub retry_longest: Duration,
    /// How often health mentions what waits for the user.
    pub reminder: Duration,
}

impl Default for ClientPolicy {
    fn default() -> Self {
        Self {
            billing: privatix_billing::ClientPolicy::default(),
            allowed: None,
            accept_fee: Fee::MAX,
            top_ups: 8,
            top_up_first: Duration::from_mins(1),
            top_up_longest: Duration::from_hours(6),
            top_up_notice: 3,
            top_up_grace: Duration::from_mins(10),
            report_within: Duration::from_secs(30),
            start_within: Duration::from_mins(10),
            outage: Duration::from_hours(24),
            stop_within: Duration::from_mins(1),
            answer_within: Duration::from_mins(1),
            ask_first: Duration::from_secs(1),
            ask_longest: Duration::from_mins(1),
            ask_not_ready: Duration::from_secs(5),
            abandon_after: Duration::from_hours(7 * 24),
            unreachable_notice: Duration::from_hours(1),
            sign_tries: 3,
            access_within: Duration::from_hours(1),
            agent_closes_within: Duration::from_hours(2),
            last_voucher: Duration::from_secs(10),
            vanish_after: Duration::from_hours(24),
            retry_first: Duration::from_secs(15),
            retry_longest: Duration::from_hours(1),
            reminder: Duration::from_hours(24),
        }
    }
}

impl ClientPolicy {
    /// How close requests that fail are repeated.
    pub(super) fn retries(&self) -> Retries {
        Retries { first: self.retry_first, longest: self.retry_longest, reminder: self.reminder }
    }
}
