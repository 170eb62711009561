//! Versions of the messaging protocol.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A range of versions of the messaging protocol, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawRange")]
pub struct VersionRange {
    min: u16,
    max: u16,
}

#[derive(Deserialize)]
struct RawRange {
    min: u16,
    max: u16,
}

impl TryFrom<RawRange> for VersionRange {
    type Error = &'static str;

    fn try_from(raw: RawRange) -> Result<Self, Self::Error> {
        Self::new(raw.min, raw.max).ok_or("a version range is empty")
    }
}

impl VersionRange {
    /// From `min` to `max`, both included, or `None` when that is empty.
    pub const fn new(min: u16, max: u16) -> Option<Self> {
        if min <= max { Some(Self { min, max }) } else { None }
    }

    /// This version and no other.
    pub const fn exactly(version: u16) -> Self {
        Self { min: version, max: version }
    }

    /// The lowest version.
    pub const fn min(self) -> u16 {
        self.min
    }

    /// The highest version.
    pub const fn max(self) -> u16 {
        self.max
    }

    /// Whether this version is one of them.
    pub const fn contains(self, version: u16) -> bool {
        self.min <= version && version <= self.max
    }

    /// The highest version in both ranges.
    pub fn highest_common(self, other: Self) -> Option<u16> {
        let highest = self.max.min(other.max);
        (highest >= self.min.max(other.min)).then_some(highest)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{} to {}", self.min, self.max)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_is_never_empty() {
        assert_eq!(VersionRange::new(2, 1), None);
        assert!(serde_json::from_str::<VersionRange>(r#"{"min":2,"max":1}"#).is_err());
        assert_eq!(VersionRange::new(2, 2), Some(VersionRange::exactly(2)));
    }

    proptest! {
        #[test]
        fn the_highest_common_version_is_in_both_ranges(a: u16, b: u16, c: u16, d: u16) {
            let range = |a: u16, b: u16| VersionRange::new(a.min(b), a.max(b)).unwrap();
            let (one, other) = (range(a, b), range(c, d));
            let common = one.highest_common(other);
            prop_assert_eq!(common, other.highest_common(one));
            match common {
                Some(version) => {
                    prop_assert!(one.contains(version) && other.contains(version));
                    prop_assert!(version == one.max() || version == other.max());
                }
                None => prop_assert!(one.max() < other.min() || other.max() < one.min()),
            }
        }
    }
}
