//! How urgent a transaction is, and what is at stake: a table over purposes.

use privatix_channel::{Amount, ChainTime, Period};
use serde::{Deserialize, Serialize};

use crate::{Purpose, Rate, Wei};

/// Which of an account's transactions go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Priority {
    /// After everything else.
    Background,
    /// The usual one.
    #[default]
    Normal,
    /// First.
    Urgent,
}

/// When a transaction should be mined at the latest, by the chain's clock. It fails nothing: what is late is still tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Deadline {
    /// The first second that is too late.
    pub at: ChainTime,
    /// For how long before `at` it could be done.
    pub window: Period,
}

/// A challenge that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Challenge {
    /// Its end: the first second in which the client can take the rest back.
    pub ends_at: ChainTime,
    /// Its length, as the deployment of the contract fixes it.
    pub period: Period,
}

/// What a bid depends on beside the purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtStake {
    /// The challenge that runs, if the client asked to close.
    pub challenge: Option<Challenge>,
    /// What a close would bring the agent beyond what is paid, in base units, fee included.
    pub claimable: Amount,
    /// What a token is worth, if it is configured.
    pub rate: Option<Rate>,
}

/// On which terms a transaction competes for its place in a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bid {
    /// How it competes with the account's other transactions.
    pub priority: Priority,
    /// When it should be mined at the latest.
    #[serde(default)]
    pub deadline: Option<Deadline>,
    /// What is lost if it is not mined. At most this much is paid for it, all fees included. `None` where it is unknown: then the
    /// everyday limit of gas prices holds.
    #[serde(default)]
    pub stake: Option<Wei>,
    /// Whether the contract refuses a second effect by itself.
    pub repeatable: bool,
}

impl Bid {
    /// Whether a transaction with these terms does what one with `wanted` would: at least as urgent, for the same deadline, and
    /// with a stake where one is wanted. How large a stake is does not count: it grows with the voucher, which is another
    /// transaction then. Nor does a stake where none is wanted: what answers a challenge is not replaced after it.
    pub fn covers(&self, wanted: &Self) -> bool {
        self.priority >= wanted.priority
            && (wanted.deadline.is_none() || self.deadline == wanted.deadline)
            && (wanted.stake.is_none() || self.stake.is_some())
    }
}

impl Purpose {
    /// On which terms a transaction for this purpose is submitted.
    ///
    /// | purpose | priority | deadline | stake |
    /// | --- | --- | --- | --- |
    /// | `Close`, `Settle` in a challenge, something claimable | urgent | the challenge's end | worth of the claimable |
    /// | everything else | normal | none | none |
    ///
    /// A close with nothing to gain has no stake, also in a challenge: a stake of zero would mean that it may cost nothing, so
    /// that it is never sent. What is submitted by a batch has the terms of [`Bid::of_batch`].
    pub fn bid(&self, at_stake: &AtStake) -> Bid {
        let usual = Bid { repeatable: self.is_repeatable(), ..Bid::default() };
        match (self, at_stake.challenge) {
            (Self::Close { .. } | Self::Settle { .. }, Some(challenge)) if !at_stake.claimable.is_zero() => {
                Bid {
                    priority: Priority::Urgent,
                    deadline: Some(Deadline { at: challenge.ends_at, window: challenge.period }),
                    stake: at_stake.rate.map(|rate| rate.wei(at_stake.claimable)),
                    ..usual
                }
            }
            _ => usual,
        }
    }
}

impl Bid {
    /// The terms of a batch of closes: it goes after everything else.
    pub fn of_batch() -> Self {
        Self { priority: Priority::Background, deadline: None, stake: None, repeatable: true }
    }
}
