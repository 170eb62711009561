//! Why the next transaction waits: [`Blocked`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::flight::Reported;
use crate::{Fate, Owner, Stage, Uptime};

/// Why the next transaction waits. It counts for less while a close request is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blocked {
    /// The last one failed.
    Failing {
        /// When.
        since: Uptime,
        /// How many failed in a row.
        tries: u8,
        /// Whether it fails until somebody does something.
        lasting: bool,
    },
    /// The operator cancelled the last one.
    Parked {
        /// When.
        since: Uptime,
    },
    /// The outcome of the last one is final before its block was seen: the view of the chain lags, so the next one waits a little.
    /// It is no failure.
    Unseen {
        /// When.
        since: Uptime,
    },
}

/// How failures are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retries {
    /// The pause after the first one. It doubles with each one.
    pub(crate) first: Duration,
    /// The longest pause.
    pub(crate) longest: Duration,
    /// The pause after one that lasts until somebody does something.
    pub(crate) reminder: Duration,
}

impl Retries {
    /// The pause after this many failures in a row.
    pub(crate) fn pause(&self, tries: u8) -> Duration {
        let doublings = u32::from(tries.saturating_sub(1)).min(31);
        self.first.saturating_mul(1_u32.wrapping_shl(doublings)).min(self.longest)
    }
}

/// How many have failed in a row with one more.
pub(crate) fn tries(before: Option<Blocked>) -> u8 {
    match before {
        Some(Blocked::Failing { tries, .. }) => tries.saturating_add(1),
        _ => 1,
    }
}

/// Why the next one waits, after a report about a transaction.
pub(crate) fn after(before: Option<Blocked>, reported: Reported, now: Uptime) -> Option<Blocked> {
    let failing = |lasting| Some(Blocked::Failing { since: now, tries: tries(before), lasting });
    match (reported.fate, reported.before) {
        (Fate::Mined(_), _) => None,
        // Cancelled by us, it is not wanted any more, or another one takes its place.
        (Fate::Reverted | Fate::Failed { .. } | Fate::Cancelled, Some(Stage::Cancelling)) => before,
        // It was in a block, so we may have cancelled it because its effect was there. A reorganisation took that back.
        (Fate::Cancelled, Some(Stage::Mined { .. } | Stage::Unseen { .. })) => before,
        (Fate::Reverted, stage) if stage != Some(Stage::Reverted) => failing(false),
        (Fate::Failed { lasting }, _) => failing(lasting),
        (Fate::Cancelled, _) => Some(Blocked::Parked { since: now }),
        (Fate::Final, Some(Stage::Mined { seen: false, .. })) => {
            before.or(Some(Blocked::Unseen { since: now }))
        }
        _ => before,
    }
}

impl Blocked {
    /// Who must move on before the next try. `in_dispute`: the longest pause, if a close request is to be answered; nothing waits for
    /// people then. `reminder`: when health mentions next what was cancelled.
    pub(crate) fn waits_for(
        self,
        retries: &Retries,
        in_dispute: Option<Duration>,
        uptime: Uptime,
        reminder: Uptime,
    ) -> Option<Owner> {
        let waits = |at: Uptime, owner: Owner| (at > uptime).then_some(owner);
        match self {
            // It was cancelled before the close request was known.
            Self::Parked { .. } if in_dispute.is_some() => None,
            Self::Parked { .. } => Some(Owner::User { reminder }),
            Self::Unseen { since } => {
                let again = since.plus(retries.first);
                waits(again, Owner::Time(again))
            }
            Self::Failing { since, lasting: true, .. } if in_dispute.is_none() => {
                let reminder = since.plus(retries.reminder);
                waits(reminder, Owner::User { reminder })
            }
            Self::Failing { since, tries, .. } => {
                let again = since.plus(retries.pause(tries).min(in_dispute.unwrap_or(Duration::MAX)));
                waits(again, Owner::Time(again))
            }
        }
    }
}
