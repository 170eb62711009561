//! How urgent an intent is: generic words, to which the submitter gives meaning.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which of an account's intents go first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Priority {
    /// Goes after everything else.
    Background,
    /// The usual one.
    #[default]
    Normal,
    /// Goes first, waits for nothing that is cheaper, and takes the nonce of what is in its way.
    Urgent,
}

impl Priority {
    fn as_str(self) -> &'static str {
        match self {
            Self::Background => "background",
            Self::Normal => "normal",
            Self::Urgent => "urgent",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Background, Self::Normal, Self::Urgent]
            .into_iter()
            .find(|priority| priority.as_str() == text)
            .ok_or_else(|| format!("no priority is called {text:?}"))
    }
}

/// When an intent should be mined at the latest, by the **chain's** clock, which is what contracts compare with.
///
/// It fails nothing: what is late is still tried. The nearer it comes, the more of the stake may be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Deadline {
    /// Seconds since the Unix epoch.
    pub at: u64,
    /// For how many seconds before `at` it could be done, such as the length of a challenge period.
    pub window: u32,
}

impl Deadline {
    /// The whole of [`pressure`](Self::pressure).
    pub(super) const FULL: u128 = 1_000_000;

    /// A deadline at this time, for something that could be done during the `window` seconds before it.
    pub fn new(at: u64, window: u32) -> Self {
        Self { at, window }
    }

    /// Seconds left at the chain's time `now`.
    pub fn left(self, now: u64) -> u64 {
        self.at.saturating_sub(now)
    }

    /// From 0, while a quarter of the window is not gone, to [`FULL`](Self::FULL), once three quarters are.
    pub(super) fn pressure(self, now: u64) -> u128 {
        let window = u128::from(self.window);
        let left = u128::from(self.left(now)).min(window);
        // In quarters of the window, so that nothing is rounded.
        let gone = (4 * (window - left)).saturating_sub(window);
        match window {
            0 if left == 0 && self.at <= now => Self::FULL,
            0 => 0,
            _ => (gone * Self::FULL / (2 * window)).min(Self::FULL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_rises_between_a_quarter_and_three_quarters_of_the_window() {
        let deadline = Deadline::new(1_000, 400);
        for (now, percent) in
            [(0, 0), (600, 0), (700, 0), (750, 25), (800, 50), (850, 75), (900, 100), (2_000, 100)]
        {
            assert_eq!(deadline.pressure(now), percent * Deadline::FULL / 100, "at {now}");
        }
        let at_once = Deadline::new(1_000, 0);
        assert_eq!((at_once.pressure(999), at_once.pressure(1_000)), (0, Deadline::FULL));
    }
}
