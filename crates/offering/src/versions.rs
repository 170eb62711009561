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
    /// The versions that this library speaks.
    pub const SPOKEN: Self = Self { min: 1, max: 2 };

    /// The first version that is spoken in sessions, in which the agent proves a key.
    pub const IN_SESSIONS: u16 = 2;

    /// The versions that may be spoken with an agent: all that this library speaks, but none in clear with one that has proved a key
    /// here or whose signed offering names a version with sessions (`seen`: the highest version that it has said it speaks), nor where
    /// the user forbids it (`least`). Whoever is on the way could choose version 1 else, in which all can be forged.
    pub fn permitted(least: u16, seen: Option<u16>) -> Self {
        let Self { min, max } = Self::SPOKEN;
        let in_sessions =
            if seen.is_some_and(|seen| seen >= Self::IN_SESSIONS) { Self::IN_SESSIONS } else { min };
        Self { min: least.max(in_sessions).min(max), max }
    }

    /// Whether one of them is spoken in sessions.
    pub const fn in_sessions(self) -> bool {
        self.max >= Self::IN_SESSIONS
    }

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

    #[test]
    fn version_1_is_permitted_until_an_agent_has_proved_a_key() {
        let (both, sessions) = (VersionRange::SPOKEN, VersionRange::exactly(2));
        #[rustfmt::skip]
        let table = [
            // least, seen, permitted
            (1, None,    both),
            (0, None,    both),
            (1, Some(1), both),
            (1, Some(2), sessions),
            (1, Some(9), sessions),
            (2, None,    sessions),
            (9, None,    sessions),
        ];
        for (least, seen, permitted) in table {
            assert_eq!(VersionRange::permitted(least, seen), permitted, "{least}, {seen:?}");
        }
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
