//! What a meter counts.

use std::{fmt, iter::Sum};

use serde::{Deserialize, Serialize};

/// Metered usage in the finest measure of its kind: bytes, seconds or requests.
///
/// A usage is always a total since the channel opened, never a difference, so that a report that is lost or repeated
/// changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usage(u64);

impl Usage {
    /// Nothing used yet.
    pub const ZERO: Self = Self(0);
    /// The largest usage that can be metered.
    pub const MAX: Self = Self(u64::MAX);

    /// A usage of `measure` bytes, seconds or requests.
    pub const fn new(measure: u64) -> Self {
        Self(measure)
    }

    /// The number of bytes, seconds or requests.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether nothing was used.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` when it does not fit.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The sum, or [`Usage::MAX`]: a meter that stands still at its end is dearer for nobody than one that wraps.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What `self` has more than `other`, or nothing.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl From<u64> for Usage {
    fn from(measure: u64) -> Self {
        Self(measure)
    }
}

impl From<Usage> for u64 {
    fn from(usage: Usage) -> Self {
        usage.0
    }
}

/// The sum of the totals of several sessions; stands still at [`Usage::MAX`].
impl Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Self::saturating_add)
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_stand_still_at_the_end_of_the_scale() {
        assert_eq!([Usage::new(2), Usage::new(3)].into_iter().sum::<Usage>(), Usage::new(5));
        assert_eq!([Usage::MAX, Usage::new(1)].into_iter().sum::<Usage>(), Usage::MAX);
        assert_eq!(Usage::MAX.checked_add(Usage::new(1)), None);
        assert_eq!(Usage::new(3).saturating_sub(Usage::new(5)), Usage::ZERO);
    }
}
