//! Batches in parts, so that a block with many logs does not hold the database's writer for long. No I/O.

use alloy::primitives::B256;

use super::ConfirmedBatch;

/// The most logs that one commit applies.
pub(super) const MOST: usize = 2_000;

/// How far a batch is applied: all logs before index `index` of block `block`, on the branch of `hash`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AppliedUpTo {
    pub(super) block: u64,
    pub(super) index: u64,
    pub(super) hash: B256,
}

/// Some consecutive logs of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) batch: ConfirmedBatch,
    /// How far logs are applied with it that are in the blocks of the batch, or, after its end, in blocks above it.
    pub(super) part: Option<AppliedUpTo>,
    /// Whether the batch is applied with it.
    pub(super) is_last: bool,
}

/// The slices of `batch` that are still to be applied after `applied`, each with at most `most` logs; at least one, because
/// an empty batch moves the cursor, too.
pub(super) fn slices(batch: ConfirmedBatch, applied: Option<AppliedUpTo>, most: usize) -> Vec<Slice> {
    let ConfirmedBatch { direction, from_block, to_block, logs } = batch;
    let rest: Vec<_> = logs
        .into_iter()
        .filter(|log| applied.is_none_or(|part| (log.block, log.index) >= (part.block, part.index)))
        .collect();
    let count = rest.len().div_ceil(most.max(1)).max(1);
    let mut rest = rest.into_iter();
    let mut from = from_block;
    (1..=count)
        .map(|n| {
            let logs: Vec<_> = rest.by_ref().take(most.max(1)).collect();
            let last = logs.last().map(|log| (log.block, log.index, log.block_hash));
            let is_last = n == count;
            let reached =
                last.map(|(block, index, hash)| AppliedUpTo { block, index: index.saturating_add(1), hash });
            // A part that was applied of a longer range than this batch stays applied.
            let part = if is_last { applied.filter(|part| part.block > to_block) } else { reached };
            let to = if is_last { to_block } else { reached.map_or(to_block, |part| part.block) };
            let from_block = std::mem::replace(&mut from, to);
            let batch = ConfirmedBatch { direction, from_block, to_block: to, logs };
            Slice { batch, part, is_last }
        })
        .collect()
}

/// A batch of the past in slices of whole blocks, the newest first, each with at most `most` logs unless a block has more.
/// So a position between two blocks is all that must be known of how far it is applied.
pub(super) fn past_slices(batch: ConfirmedBatch, most: usize) -> Vec<ConfirmedBatch> {
    let ConfirmedBatch { direction, from_block, to_block: mut to, mut logs } = batch;
    let mut slices = Vec::new();
    while let Some(left_out) = logs.len().checked_sub(most.max(1) + 1) {
        // The first log that fits in by number, in whose block there may be some that do not.
        let (Some(last_out), Some(first_in), Some(newest)) =
            (logs.get(left_out), logs.get(left_out + 1), logs.last())
        else {
            break;
        };
        let from = if last_out.block == first_in.block { first_in.block + 1 } else { first_in.block };
        let from = from.min(newest.block);
        let fitting = logs.split_off(logs.partition_point(|log| log.block < from));
        slices.push(ConfirmedBatch { direction, from_block: from, to_block: to, logs: fitting });
        to = from.saturating_sub(1);
    }
    if to >= from_block {
        slices.push(ConfirmedBatch { direction, from_block, to_block: to, logs });
    }
    slices
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use alloy::primitives::{Address, Log, LogData};
    use proptest::prelude::*;

    use super::*;
    use crate::{ConfirmedLog, Direction};

    fn log(block: u64, index: u64) -> ConfirmedLog {
        let log = Log { address: Address::ZERO, data: LogData::default() };
        let block_hash = B256::with_last_byte(u8::try_from(block).unwrap());
        ConfirmedLog { log, block, block_hash, block_time: SystemTime::UNIX_EPOCH, tx: B256::ZERO, index }
    }

    proptest! {
        /// Wherever it is interrupted, each log is applied once, in order, and only the last slice ends the batch.
        #[test]
        fn each_log_is_in_one_slice_wherever_it_stops(
            counts in proptest::collection::vec(0..7u64, 1..8),
            most in 1..6usize,
            stop in 0..60usize,
        ) {
            let logs: Vec<_> =
                (0u64..).zip(&counts).flat_map(|(n, &count)| (0..count).map(move |i| log(10 + n, 2 * i))).collect();
            let to_block = 9 + counts.len() as u64;
            let batch =
                ConfirmedBatch { direction: Direction::Forward, from_block: 10, to_block, logs: logs.clone() };
            let mut applied = Vec::new();
            let mut part = None;
            let first = slices(batch.clone(), None, most);
            for slice in first.into_iter().take(stop) {
                prop_assert!(slice.batch.logs.len() <= most);
                prop_assert!(slice.batch.from_block <= slice.batch.to_block);
                applied.extend(slice.batch.logs);
                part = slice.part;
                if slice.is_last {
                    prop_assert_eq!(part, None);
                    prop_assert_eq!(slice.batch.to_block, to_block);
                    prop_assert_eq!(&applied, &logs);
                }
            }
            if part.is_some() || applied.is_empty() {
                let rest = slices(batch, part, most);
                prop_assert!(rest.last().unwrap().is_last);
                applied.extend(rest.into_iter().flat_map(|slice| slice.batch.logs));
            }
            prop_assert_eq!(applied, logs);
        }

        /// Each block of the past is in one slice with all its logs, and slices follow each other downwards without gap.
        #[test]
        fn slices_of_the_past_are_whole_blocks_from_the_newest_on(
            counts in proptest::collection::vec(0..7u64, 1..12),
            most in 1..6usize,
        ) {
            let logs: Vec<_> =
                (0u64..).zip(&counts).flat_map(|(n, &count)| (0..count).map(move |i| log(10 + n, i))).collect();
            let to_block = 9 + counts.len() as u64;
            let batch =
                ConfirmedBatch { direction: Direction::Past, from_block: 10, to_block, logs: logs.clone() };
            let mut next = to_block;
            let mut applied = Vec::new();
            for slice in past_slices(batch, most) {
                prop_assert_eq!(slice.to_block, next);
                prop_assert!(slice.from_block <= slice.to_block);
                let mut blocks: Vec<u64> = slice.logs.iter().map(|log| log.block).collect();
                prop_assert!(blocks.iter().all(|block| (slice.from_block..=slice.to_block).contains(block)));
                blocks.dedup();
                prop_assert!(slice.logs.len() <= most || blocks.len() == 1);
                applied = [slice.logs, applied].concat();
                next = slice.from_block - 1;
            }
            prop_assert_eq!(next, 9);
            prop_assert_eq!(applied, logs);
        }

        /// The range that is asked for after an interruption may be shorter or longer than the one that was interrupted.
        #[test]
        fn a_part_is_not_applied_twice_whatever_the_next_ranges(
            counts in proptest::collection::vec(0..5u64, 1..8),
            most in 1..4usize,
            done in 1..4usize,
            ranges in proptest::collection::vec(1..4u64, 1..10),
        ) {
            let logs: Vec<_> =
                (0u64..).zip(&counts).flat_map(|(n, &count)| (0..count).map(move |i| log(10 + n, i))).collect();
            let last = 9 + counts.len() as u64;
            let within = |from: u64, to: u64| ConfirmedBatch {
                direction: Direction::Forward,
                from_block: from,
                to_block: to,
                logs: logs.iter().filter(|log| (from..=to).contains(&log.block)).cloned().collect(),
            };
            let mut applied = Vec::new();
            let (mut next, mut part) = (10, None);
            for slice in slices(within(10, last), None, most).into_iter().take(done) {
                applied.extend(slice.batch.logs);
                part = slice.part;
                next = if slice.is_last { last + 1 } else { next };
            }
            for width in ranges.into_iter().cycle() {
                if next > last {
                    break;
                }
                let to = last.min(next + width - 1);
                for slice in slices(within(next, to), part, most) {
                    applied.extend(slice.batch.logs);
                    part = slice.part;
                }
                next = to + 1;
            }
            prop_assert_eq!(applied, logs);
            prop_assert_eq!(part, None);
        }
    }
}
