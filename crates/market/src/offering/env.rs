//! What a decision about an offering depends on beside the state and the input.

use std::time::Duration;

use privatix_channel::{Amount, ChainTime, Period};

use super::Source;
use crate::blocked::Retries;
use crate::{ClockSkew, Uptime};

/// The surroundings of a decision, as of now.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
#[non_exhaustive]
pub struct OfferingEnv<'a> {
    /// For how long the node has run.
    pub uptime: Uptime,
    /// The chain's time now, if any block was seen.
    pub now: Option<ChainTime>,
    /// Whether what is known of the chain is recent enough to rely on it: it was caught up with.
    pub fresh: bool,
    /// This machine's clock and the chain's time, where they contradict each other; `None`: they agree, or the view is stale, which shows no time.
    pub skew: Option<ClockSkew>,
    /// Whether this node's own network works.
    pub reachable: bool,
    /// Whether another agent may be asked now: few requests are under way, so that strangers who do not answer keep nobody else
    /// waiting.
    pub may_ask: bool,
    /// What the account has in the contract, in base units.
    pub balance: Amount,
    /// What the offering locks when it is published.
    pub stake: Amount,
    /// Whether clients accept the offering's signature: the account's own, or that of the operator whom the chain shows.
    pub signature_counts: bool,
    /// Where clients reach this agent now.
    pub source: &'a Source,
    /// How long after an announcement the contract refuses a pop-up.
    pub pop_up_period: Period,
    /// How long after an announcement the contract refuses a removal.
    pub remove_period: Period,
    /// What the operator set.
    pub policy: &'a OfferingPolicy,
}

impl<'a> OfferingEnv<'a> {
    /// Surroundings in which nothing is wrong, and the contract asks for no stake and refuses nothing as too early.
    pub fn new(uptime: Uptime, source: &'a Source, policy: &'a OfferingPolicy) -> Self {
        Self {
            uptime,
            now: None,
            fresh: true,
            skew: None,
            reachable: true,
            may_ask: true,
            balance: Amount::ZERO,
            stake: Amount::ZERO,
            signature_counts: true,
            source,
            pop_up_period: Period::new(0),
            remove_period: Period::new(0),
            policy,
        }
    }
}

/// How a node treats offerings. Durations are of the node's uptime, periods of the chain's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OfferingPolicy {
    /// After how many failures in a row an order about an own offering is given up.
    pub tries: u8,
    /// The pause after the first failure. It doubles with each one.
    pub retry_first: Duration,
    /// The longest pause after a failure.
    pub retry_longest: Duration,
    /// How long another agent has to send its offering.
    pub answer_within: Duration,
    /// The pause after the first time that it did not. It doubles with each one.
    pub ask_first: Duration,
    /// The longest pause after that.
    pub ask_longest: Duration,
    /// How often an agent whose offering is here is asked again, to learn whether it still answers.
    pub refresh_every: Duration,
    /// The age of an announcement from which on it is not shown any more.
    pub expires_after: Period,
    /// How long an agent may not have answered before its offering is not shown any more.
    pub unseen_for: Duration,
    /// How often health mentions what waits for the operator.
    pub reminder: Duration,
}

impl Default for OfferingPolicy {
    fn default() -> Self {
        Self {
            tries: 5,
            retry_first: Duration::from_secs(15),
            retry_longest: Duration::from_hours(1),
            answer_within: Duration::from_mins(1),
            ask_first: Duration::from_mins(1),
            ask_longest: Duration::from_hours(24),
            refresh_every: Duration::from_hours(24),
            expires_after: Period::days(30),
            unseen_for: Duration::from_hours(72),
            reminder: Duration::from_hours(24),
        }
    }
}

impl OfferingPolicy {
    /// How transactions that fail are repeated.
    pub(super) fn retries(&self) -> Retries {
        Retries { first: self.retry_first, longest: self.retry_longest, reminder: self.reminder }
    }
}

impl OfferingEnv<'_> {
    /// When health mentions next what waits for somebody.
    pub(super) fn reminder(&self) -> Uptime {
        self.uptime.next_multiple(self.policy.reminder)
    }
}
