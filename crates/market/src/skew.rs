//! A wall clock and a chain's time that contradict each other: [`ClockSkew`].

use std::fmt;
use std::time::{Duration, SystemTime};

use privatix_channel::ChainTime;

/// This machine's wall clock and the chain's time, which contradict each other: one of them is wrong, and nobody here knows which. No
/// money is locked meanwhile, because what was locked comes back by the chain's time, and access is asked for by these two clocks.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use privatix_channel::ChainTime;
/// use privatix_market::ClockSkew;
///
/// let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
/// let found = |wall| ClockSkew::between(at(wall), ChainTime::new(10_000), true, ClockSkew::MOST);
/// assert_eq!(found(10_900), None);
/// assert_eq!(found(10_901), Some(ClockSkew { wall: at(10_901), chain: ChainTime::new(10_000) }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "two times, and nothing else")]
pub struct ClockSkew {
    /// What this machine's wall clock shows.
    pub wall: SystemTime,
    /// The chain's time now: that of its newest block, and what has passed since it was seen.
    pub chain: ChainTime,
}

impl ClockSkew {
    /// How far the two may be apart, unless set otherwise: block makers may shift the chain's time by a few minutes, and computers that
    /// set their clocks are wrong by seconds.
    pub const MOST: Duration = Duration::from_mins(15);

    /// What a wall clock and the chain's time now come to: `None` where they are at most `most` apart, or `most` is 0, which compares
    /// nothing.
    ///
    /// `has_pace` is whether blocks come at a pace of their own. Where they do not, as on a development chain, the newest one may be of
    /// yesterday and nothing is wrong, so only a chain that is ahead of the wall clock contradicts it.
    pub fn between(wall: SystemTime, chain: ChainTime, has_pace: bool, most: Duration) -> Option<Self> {
        if most.is_zero() {
            return None;
        }
        let found = Self { wall, chain };
        let since_1970 = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let chain = Duration::from_secs(chain.seconds());
        let (is_behind, apart) = (chain < since_1970, chain.abs_diff(since_1970));
        (apart > most && (has_pace || !is_behind)).then_some(found)
    }
}

/// Both times, in UTC.
impl fmt::Display for ClockSkew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wall, chain) = (utc(self.wall.into()), utc(self.chain));
        write!(f, "this machine's clock shows {wall}, and the chain's time is {chain}")
    }
}

/// For people. Only years that have four digits have a date.
fn utc(at: ChainTime) -> String {
    const END_OF_9999: u64 = 253_402_300_799;
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(at.seconds()));
    match time.filter(|_| at.seconds() <= END_OF_9999) {
        Some(time) => humantime::format_rfc3339_seconds(time).to_string(),
        None => format!("{at} s after 1970 began"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// Wall clock and chain in seconds, whether blocks have a pace, the limit in seconds, whether they contradict each other.
    #[test]
    fn clocks_contradict_each_other_beyond_the_limit() {
        let now = 1_700_000_000;
        let most = 15 * MINUTE;
        for (name, wall, chain, has_pace, most, contradict) in [
            ("the same", now, now, true, most, false),
            ("ahead by the limit", now + most, now, true, most, false),
            ("ahead by more", now + most + 1, now, true, most, true),
            ("behind by the limit", now, now + most, true, most, false),
            ("behind by more", now, now + most + 1, true, most, true),
            ("an old block of a chain without a pace", now + 1_000 * MINUTE, now, false, most, false),
            ("a block from the future of a chain without a pace", now, now + most + 1, false, most, true),
            ("another limit", now + 61, now, true, 60, true),
            ("no limit", now + 1_000 * MINUTE, now, true, 0, false),
            ("no limit, the other way", now, u64::MAX, true, 0, false),
            ("a wall clock at its beginning", 0, now, true, most, true),
            ("a chain at its end", now, u64::MAX, true, most, true),
        ] {
            let chain = ChainTime::new(chain);
            let found = ClockSkew::between(at(wall), chain, has_pace, Duration::from_secs(most));
            assert_eq!(found, contradict.then_some(ClockSkew { wall: at(wall), chain }), "{name}");
        }
        let before_1970 = SystemTime::UNIX_EPOCH - Duration::from_secs(5);
        assert!(ClockSkew::between(before_1970, ChainTime::new(now), true, ClockSkew::MOST).is_some());
    }

    #[test]
    fn a_contradiction_names_both_times_even_those_without_a_date() {
        let said = |chain| ClockSkew { wall: at(1_700_000_000), chain: ChainTime::new(chain) }.to_string();
        let wall = "this machine's clock shows 2023-11-14T22:13:20Z, and the chain's time is ";
        assert_eq!(said(1_700_003_600), format!("{wall}2023-11-14T23:13:20Z"));
        assert_eq!(said(253_402_300_799), format!("{wall}9999-12-31T23:59:59Z"));
        assert_eq!(said(253_402_300_800), format!("{wall}253402300800 s after 1970 began"));
        assert_eq!(said(u64::MAX), format!("{wall}{} s after 1970 began", u64::MAX));
    }
}
