//! What is tried again after a pause: [`Again`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Uptime;
use crate::blocked::Retries;

/// When something is tried again, and how often it has failed in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Again {
    /// The first moment of the next try.
    pub at: Uptime,
    /// How many tries failed in a row.
    pub tries: u8,
}

impl Again {
    /// One more failure: the next pause is twice as long, up to the longest.
    pub(crate) fn failed(&mut self, first: Duration, longest: Duration, now: Uptime) {
        self.tries = self.tries.saturating_add(1);
        self.at = now.plus(Retries { first, longest, reminder: longest }.pause(self.tries));
    }

    /// Whether the pause is over.
    pub(crate) fn is_over(&self, now: Uptime) -> bool {
        self.at <= now
    }
}
