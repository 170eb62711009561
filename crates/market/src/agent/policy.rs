//! What an agent's operator sets about its channels.

use std::time::Duration;

use privatix_channel::{Amount, Fee, Period};

use crate::blocked::Retries;

/// How an agent serves and closes its channels. Durations are of the node's uptime, unless they say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentPolicy {
    /// The highest network fee with which a channel is served.
    pub accept_fee: Fee,
    /// For how long the terms of an open channel may stay unknown.
    pub terms_within: Duration,
    /// For how long a channel whose deposit is used and paid waits for a top-up.
    pub top_up_grace: Duration,
    /// For how long the adapter may refuse to prepare or to run a service.
    pub start_within: Duration,
    /// For how long the adapter may answer nothing to that.
    pub outage: Duration,
    /// The least gain, in base units, for which one transaction is sent alone. What is worth less waits for a batch.
    pub min_gain: Amount,
    /// From which claim on, in base units, a voucher of a channel that is served is offered to a batch of settlements. `None`:
    /// vouchers are cashed by the close only.
    pub at_risk: Option<Amount>,
    /// The least amount, in base units, for which a close request is answered. What is claimed below it is left to the client.
    /// `None`: the price of one unit of the service.
    pub dispute_min: Option<Amount>,
    /// How long a gain below [`min_gain`](Self::min_gain) waits, at most.
    pub max_delay: Duration,
    /// After how long an ended channel with nothing to gain is closed alone, which frees its place and stake. `None`: only in a
    /// batch, or by order.
    pub free_after: Option<Duration>,
    /// Whether [`free_after`](Self::free_after) holds for channels, too, that an earlier version ended and left open because nothing
    /// was to gain. Otherwise they wait for an order: nobody is to pay for all of them at once after an upgrade.
    pub free_adopted: bool,
    /// How long the client has for its last voucher: after the service's end, and after an order to close.
    pub last_voucher: Duration,
    /// How long the adapter has for one request: to prepare, to run, to suspend or to stop a service. One that is not suspended in
    /// time is stopped, one that is not stopped in time is lost; the others are tried again.
    pub stop_within: Duration,
    /// Whether a channel is offered to a batch as soon as a close request admits everything, or left to the client to
    /// finalize.
    pub free_at_once: bool,
    /// How long after a challenge, by the chain's clock, the agent closes what the client did not finalize.
    pub close_after: Period,
    /// The pause after the first failure. It doubles with each one.
    pub retry_first: Duration,
    /// The longest pause after a failure.
    pub retry_longest: Duration,
    /// How often a close may be replaced by a better one while none answers a close request.
    pub replacements: u8,
    /// How often the answer to one close request may be replaced by a better one.
    pub replacements_of_answers: u8,
    /// The pause between two replacements.
    pub between_replacements: Duration,
    /// After how long without opening on chain a channel is given up.
    pub vanish_after: Duration,
    /// How often health mentions what waits for the user.
    pub reminder: Duration,
}

impl Default for AgentPolicy {
    fn default() -> Self {
        Self {
            accept_fee: Fee::MAX,
            terms_within: Duration::from_hours(1),
            top_up_grace: Duration::from_mins(10),
            start_within: Duration::from_mins(10),
            outage: Duration::from_hours(24),
            min_gain: Amount::new(1),
            at_risk: None,
            dispute_min: None,
            // Both are below the hour after which a client asks for the close itself, so that an honest pair needs no challenge.
            max_delay: Duration::from_mins(30),
            free_after: Some(Duration::from_mins(30)),
            free_adopted: false,
            last_voucher: Duration::from_secs(10),
            stop_within: Duration::from_mins(1),
            free_at_once: true,
            close_after: Period::hours(1),
            retry_first: Duration::from_secs(15),
            retry_longest: Duration::from_hours(1),
            replacements: 2,
            replacements_of_answers: 4,
            between_replacements: Duration::from_secs(30),
            vanish_after: Duration::from_hours(24),
            reminder: Duration::from_hours(24),
        }
    }
}

impl AgentPolicy {
    /// How closes and settlements that fail are repeated.
    pub(super) fn retries(&self) -> Retries {
        Retries { first: self.retry_first, longest: self.retry_longest, reminder: self.reminder }
    }
}
