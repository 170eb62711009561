//! Compares what two endpoints report about the same blocks. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{B256, Bloom, BloomInput, Log};

/// Logs by block, index and hash of the block. Two endpoints on one branch must give the same.
pub(super) type Logs = BTreeMap<(u64, u64, B256), Entry>;

/// A log as an endpoint gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) log: Log,
    /// The time of its block in seconds, where the endpoint puts it into the log.
    pub(super) time: Option<u64>,
    /// The same, where the endpoint has shown the block's header.
    pub(super) of_header: Option<u64>,
}

impl Entry {
    /// Whether both agree in all that they report: each time with each other one, since any of them may be what counts. Two that report
    /// the same agree, also where their software puts a wrong time into logs: that of the header counts.
    fn agrees(&self, other: &Self) -> bool {
        let mut times = self.times().chain(other.times());
        let first = times.next();
        self == other || (self.log == other.log && times.all(|time| Some(time) == first))
    }

    fn times(&self) -> impl Iterator<Item = u64> {
        self.time.into_iter().chain(self.of_header)
    }
}

/// Whether two answers agree.
fn agree(first: &Logs, second: &Logs) -> bool {
    first.len() == second.len() && lacking(first, second).next().is_none()
}

/// The entries with which another answer does not agree.
fn lacking<'a>(
    logs: &'a Logs,
    other: &'a Logs,
) -> impl Iterator<Item = (&'a (u64, u64, B256), &'a Entry)> + 'a {
    logs.iter().filter(|(place, entry)| other.get(*place).is_none_or(|other| !entry.agrees(other)))
}

/// The blocks whose headers the second endpoint still has to show: both give a log of the block the same time, the first one's header
/// has another time, and the second one's is not known. Two endpoints of one software may both be honest, so that it decides.
pub(super) fn half_shown(first: &Logs, second: &Logs) -> BTreeSet<u64> {
    let is_half_shown = |one: &Entry, other: &Entry| {
        let contradicts_itself =
            one.of_header.is_some_and(|time| one.time.is_some_and(|of_log| of_log != time));
        contradicts_itself && one.time == other.time && other.of_header.is_none()
    };
    let both = first.iter().filter_map(|(place, one)| Some((place.0, one, second.get(place)?)));
    both.filter(|(_, one, other)| is_half_shown(one, other)).map(|(block, ..)| block).collect()
}

/// One of two endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    First,
    Second,
}

/// How two answers about the same range differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Same,
    /// Another block at the end of the range.
    OtherBranch,
    /// The same branch, other logs in this block.
    OtherLogs(u64),
}

/// Compares the hash of a range's last block and the logs of the range.
pub(super) fn compare(first: (B256, &Logs), second: (B256, &Logs)) -> Comparison {
    if first.0 != second.0 {
        return Comparison::OtherBranch;
    }
    let only = |one: &Logs, other: &Logs| lacking(one, other).next().map(|((block, ..), _)| *block);
    let blocks = only(first.1, second.1).into_iter().chain(only(second.1, first.1));
    blocks.min().map_or(Comparison::Same, Comparison::OtherLogs)
}

/// What is known of a block whose logs two endpoints gave differently, although both show it with this bloom filter.
#[derive(Debug)]
pub(super) struct Dispute<'a> {
    /// As they were given with the range.
    pub(super) ranged: [&'a Logs; 2],
    /// As they were given when asked again, by the block's hash.
    pub(super) again: [&'a Logs; 2],
    /// What a third endpoint gives by the hash.
    pub(super) third: Option<&'a Logs>,
    /// The block's bloom filter, as both show it; zero if there is none.
    pub(super) bloom: Bloom,
    /// The block's time in seconds, if both show the same in its header.
    pub(super) time: Option<u64>,
}

/// Which endpoint is wrong; none if that cannot be known.
///
/// One that gives a log another time than its block has; one that contradicts itself about one block; one that gives a log
/// whose bits are not in the bloom filter; one that a third contradicts. That bits are set convicts nobody of omission: other logs may have set them.
pub(super) fn judge(dispute: &Dispute<'_>) -> Option<Side> {
    let [first, second] = dispute.again;
    let misdates = |logs: [&Logs; 2]| {
        let mut times = logs.into_iter().flat_map(|logs| logs.values()).flat_map(Entry::times);
        dispute.time.is_some_and(|of_block| times.any(|time| time != of_block))
    };
    match (misdates([dispute.ranged[0], first]), misdates([dispute.ranged[1], second])) {
        (true, false) => return Some(Side::First),
        (false, true) => return Some(Side::Second),
        _ => {}
    }
    if agree(first, second) {
        return match (agree(dispute.ranged[0], first), agree(dispute.ranged[1], second)) {
            (false, true) => Some(Side::First),
            (true, false) => Some(Side::Second),
            _ => None,
        };
    }
    let invents = |logs: &Logs, other: &Logs| {
        dispute.bloom != Bloom::ZERO
            && lacking(logs, other).any(|(_, entry)| !may_hold(&dispute.bloom, &entry.log))
    };
    match (invents(first, second), invents(second, first)) {
        (true, false) => return Some(Side::First),
        (false, true) => return Some(Side::Second),
        _ => {}
    }
    match dispute.third {
        Some(third) if agree(third, first) => Some(Side::Second),
        Some(third) if agree(third, second) => Some(Side::First),
        _ => None,
    }
}

fn may_hold(bloom: &Bloom, log: &Log) -> bool {
    let topics = log.topics().iter();
    bloom.contains_input(BloomInput::Raw(log.address.as_slice()))
        && topics.map(|topic| BloomInput::Raw(topic.as_slice())).all(|topic| bloom.contains_input(topic))
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, LogData};
    use proptest::prelude::*;

    use super::*;

    fn log(topic: u8) -> Log {
        let topics = vec![B256::repeat_byte(topic)];
        Log { address: Address::repeat_byte(1), data: LogData::new_unchecked(topics, Vec::new().into()) }
    }

    fn logs(entries: &[(u64, u64, u8)]) -> Logs {
        let entry = |topic| Entry { log: log(topic), time: None, of_header: None };
        entries.iter().map(|&(block, index, topic)| ((block, index, B256::ZERO), entry(topic))).collect()
    }

    /// The same, with a time in each.
    fn dated(logs: &Logs, time: u64) -> Logs {
        let mut logs = logs.clone();
        for entry in logs.values_mut() {
            entry.time = Some(time);
        }
        logs
    }

    /// One log, with this time in it and in its block's header.
    fn with(time: Option<u64>, of_header: Option<u64>) -> Logs {
        let mut logs = logs(&[(5, 0, 1)]);
        for entry in logs.values_mut() {
            (entry.time, entry.of_header) = (time, of_header);
        }
        logs
    }

    #[test]
    fn a_time_is_compared_with_that_of_a_header_where_a_log_bears_none() {
        let end = B256::ZERO;
        let (right, wrong) = (Some(60), Some(61));
        let undated = with(None, right);
        for (what, other, same) in [
            ("none", with(None, None), true),
            ("in the log", with(right, None), true),
            ("in both", with(right, right), true),
            ("another one in the log", with(wrong, None), false),
            ("another one in the header", with(right, wrong), false),
            ("another one in the log than in the header", with(wrong, right), false),
        ] {
            let expected = if same { Comparison::Same } else { Comparison::OtherLogs(5) };
            assert_eq!(compare((end, &undated), (end, &other)), expected, "{what}");
            let dispute = Dispute {
                ranged: [&undated, &other],
                again: [&with(None, None), &with(None, None)],
                third: None,
                bloom: Bloom::ZERO,
                time: right,
            };
            assert_eq!(judge(&dispute), (!same).then_some(Side::Second), "{what}");
        }
        let of_one_software = with(wrong, right);
        assert_eq!(compare((end, &of_one_software), (end, &of_one_software)), Comparison::Same);
    }

    #[test]
    fn a_header_is_still_to_be_shown_where_both_give_the_same_time_and_one_header_has_another() {
        let (right, wrong) = (Some(60), Some(61));
        for (what, first, second, expected) in [
            ("the same software", with(wrong, right), with(wrong, None), true),
            ("a header that is shifted", with(right, wrong), with(right, None), true),
            ("shown by both", with(wrong, right), with(wrong, right), false),
            ("another time", with(wrong, right), with(right, None), false),
            ("no time", with(wrong, right), with(None, None), false),
            ("that of the header", with(right, right), with(right, None), false),
            ("no header at all", with(wrong, None), with(wrong, None), false),
            ("no such log", with(wrong, right), Logs::new(), false),
        ] {
            assert_eq!(!half_shown(&first, &second).is_empty(), expected, "{what}");
        }
    }

    #[test]
    fn times_are_compared_where_both_give_them_and_the_header_decides() {
        let (end, undated) = (B256::ZERO, logs(&[(5, 0, 1), (6, 0, 2)]));
        let (right, wrong) = (dated(&undated, 60), dated(&undated, 61));
        assert_eq!(compare((end, &right), (end, &undated)), Comparison::Same);
        assert_eq!(compare((end, &right), (end, &right)), Comparison::Same);
        assert_eq!(compare((end, &right), (end, &wrong)), Comparison::OtherLogs(5));
        let bloom = Bloom::ZERO;
        for (what, again, third, time, guilty) in [
            ("the header shows it", [&right, &wrong], None, Some(60), Some(Side::Second)),
            ("it changed its mind", [&right, &right], None, Some(60), Some(Side::Second)),
            ("headers differ", [&right, &wrong], None, None, None),
            ("headers differ, a third knows", [&right, &wrong], Some(&right), None, Some(Side::Second)),
            ("both are wrong", [&right, &wrong], None, Some(70), None),
        ] {
            let dispute = Dispute { ranged: [&right, &wrong], again, third, bloom, time };
            assert_eq!(judge(&dispute), guilty, "{what}");
        }
    }

    #[test]
    fn the_first_block_that_differs_is_named() {
        let end = B256::ZERO;
        let full = logs(&[(5, 0, 1), (6, 0, 2), (8, 1, 3)]);
        for (what, other, expected) in [
            ("the same", full.clone(), Comparison::Same),
            ("one missing", logs(&[(5, 0, 1), (8, 1, 3)]), Comparison::OtherLogs(6)),
            ("one more", logs(&[(5, 0, 1), (5, 1, 9), (6, 0, 2), (8, 1, 3)]), Comparison::OtherLogs(5)),
            ("one changed", logs(&[(5, 0, 1), (6, 0, 2), (8, 1, 4)]), Comparison::OtherLogs(8)),
            ("none", Logs::new(), Comparison::OtherLogs(5)),
        ] {
            assert_eq!(compare((end, &full), (end, &other)), expected, "{what}");
            assert_eq!(compare((end, &other), (end, &full)), expected, "{what}, the other way round");
        }
        assert_eq!(compare((end, &full), (B256::repeat_byte(1), &full)), Comparison::OtherBranch);
    }

    #[test]
    fn who_is_wrong_follows_from_contradiction_invention_or_a_third_voice() {
        let (one, none, other) = (logs(&[(5, 0, 1)]), Logs::new(), logs(&[(5, 0, 2)]));
        let mut bloom = Bloom::ZERO;
        bloom.accrue_log(&log(1));
        let no_bloom = Bloom::ZERO;
        for (what, ranged, again, third, bloom, guilty) in [
            ("omitted in a range only", [&none, &one], [&one, &one], None, bloom, Some(Side::First)),
            ("invented in a range only", [&none, &one], [&none, &none], None, bloom, Some(Side::Second)),
            ("both changed their mind", [&none, &other], [&one, &one], None, bloom, None),
            ("omitted throughout", [&none, &one], [&none, &one], None, bloom, None),
            ("omitted, a third has it", [&none, &one], [&none, &one], Some(&one), bloom, Some(Side::First)),
            ("a third omits it, too", [&none, &one], [&none, &one], Some(&none), bloom, Some(Side::Second)),
            ("a third says something else", [&none, &one], [&none, &one], Some(&other), bloom, None),
            ("invented against the bloom", [&one, &other], [&one, &other], None, bloom, Some(Side::Second)),
            (
                "invented, liars agree",
                [&other, &none],
                [&other, &none],
                Some(&other),
                bloom,
                Some(Side::First),
            ),
            ("no bloom filter", [&one, &other], [&one, &other], None, no_bloom, None),
        ] {
            let dispute = Dispute { ranged, again, third, bloom, time: None };
            assert_eq!(judge(&dispute), guilty, "{what}");
            let turned = guilty.map(|side| if side == Side::First { Side::Second } else { Side::First });
            let ([a, b], [c, d]) = (ranged, again);
            let dispute = Dispute { ranged: [b, a], again: [d, c], third, bloom, time: None };
            assert_eq!(judge(&dispute), turned, "{what}, the other way round");
        }
    }

    proptest! {
        /// Whatever one liar says, in a range and by hash, an honest endpoint is never found wrong while the third is
        /// honest, or there is none.
        #[test]
        fn an_honest_endpoint_is_never_found_wrong_by_one_liar(
            truth in proptest::collection::btree_map(0..4u64, 0..3u8, 0..4),
            lie in proptest::collection::btree_map(0..4u64, 0..6u8, 0..4),
            again in proptest::collection::btree_map(0..4u64, 0..6u8, 0..4),
            with_third: bool,
        ) {
            let of = |entries: std::collections::BTreeMap<u64, u8>| {
                logs(&entries.into_iter().map(|(index, topic)| (5, index, topic)).collect::<Vec<_>>())
            };
            let (truth, lie, again) = (of(truth), of(lie), of(again));
            let mut bloom = Bloom::ZERO;
            for entry in truth.values() {
                bloom.accrue_log(&entry.log);
            }
            let third = with_third.then_some(&truth);
            let dispute = Dispute { ranged: [&truth, &lie], again: [&truth, &again], third, bloom, time: None };
            prop_assert_ne!(judge(&dispute), Some(Side::First));
        }
    }
}
