//! The chain's clock: [`ChainTime`] and [`Period`], in whole seconds.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

/// A moment on the chain's clock: seconds since 1970, as block timestamps count them.
///
/// The contract's deadlines are such times, and so have a type of their own: a block's number, which is also 64 bits, never
/// compares with one. Whoever orders blocks can shift the chain's clock against real time, on some rollups by an hour.
///
/// ```
/// use privatix_channel::{ChainTime, Period};
///
/// let request = ChainTime::new(1_700_000_000);
/// let ends_at = request.plus(Period::hours(24));
/// assert_eq!(ends_at, ChainTime::new(1_700_086_400));
/// assert_eq!(ends_at.since(request), Period::hours(24));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainTime(u64);

impl ChainTime {
    /// The latest time there is, for a deadline that never comes.
    pub const MAX: Self = Self(u64::MAX);

    /// The time `seconds` after the beginning of 1970 (UTC).
    pub const fn new(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since the beginning of 1970 (UTC).
    pub const fn seconds(self) -> u64 {
        self.0
    }

    /// The time `period` later; [`ChainTime::MAX`] when that does not fit.
    #[must_use]
    pub const fn plus(self, period: Period) -> Self {
        // A period has 32 bits.
        Self(self.0.saturating_add(period.0 as u64))
    }

    /// How long after `earlier` this is: zero when it is before, and the longest period when it is more than that.
    pub const fn since(self, earlier: Self) -> Period {
        let seconds = self.0.saturating_sub(earlier.0);
        if seconds > u32::MAX as u64 {
            return Period(u32::MAX);
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it was just compared with the largest of 32 bits"
        )]
        Period(seconds as u32)
    }
}

/// The whole seconds since 1970; the beginning of 1970 for times before it.
impl From<SystemTime> for ChainTime {
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
    }
}

/// The number of seconds.
impl fmt::Display for ChainTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A length of time on the chain's clock, in whole seconds: the contract's periods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Period(u32);

impl Period {
    /// A period of `count` seconds.
    pub const fn new(count: u32) -> Self {
        Self(count)
    }

    /// A period of `count` minutes; the longest period when that does not fit.
    pub const fn minutes(count: u32) -> Self {
        Self(count.saturating_mul(60))
    }

    /// A period of `count` hours; the longest period when that does not fit.
    pub const fn hours(count: u32) -> Self {
        Self(count.saturating_mul(60 * 60))
    }

    /// A period of `count` days; the longest period when that does not fit.
    pub const fn days(count: u32) -> Self {
        Self(count.saturating_mul(24 * 60 * 60))
    }

    /// Its seconds.
    pub const fn seconds(self) -> u32 {
        self.0
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        Self::from_secs(period.0.into())
    }
}

/// `"900 s"`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_periods_saturate_and_never_wrap() {
        assert_eq!(ChainTime::MAX.plus(Period::days(90)), ChainTime::MAX);
        assert_eq!(ChainTime::new(5).since(ChainTime::new(7)), Period::new(0));
        assert_eq!(ChainTime::MAX.since(ChainTime::new(0)), Period::new(u32::MAX));
        assert_eq!(ChainTime::new(1 << 32).since(ChainTime::new(1)), Period::new(u32::MAX));
        assert_eq!(Period::days(u32::MAX), Period::new(u32::MAX));
        assert_eq!(Period::days(90), Period::new(7_776_000));
    }
}
