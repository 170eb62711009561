use std::collections::BTreeMap;
use std::time::SystemTime;

use alloy::primitives::{Address, B256};
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolEvent;

use crate::Inconsistency;
use crate::rpc::{BlockHeader, block_time};

/// A log in a block that has the configured confirmations.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfirmedLog {
    /// Contract, topics and data.
    pub log: alloy::primitives::Log,
    /// Height of its block.
    pub block: u64,
    /// Hash of its block.
    pub block_hash: B256,
    /// Time of its block.
    pub block_time: SystemTime,
    /// The transaction that emitted it.
    pub tx: B256,
    /// Its index in the block: with `block`, its identity on this chain.
    pub index: u64,
}

impl ConfirmedLog {
    /// The contract that emitted it.
    pub fn contract(&self) -> Address {
        self.log.address
    }

    /// The event's signature hash; none for an anonymous event without topics.
    pub fn event(&self) -> Option<B256> {
        self.log.topics().first().copied()
    }

    /// Reads it as `E`; `None` if it is another event.
    ///
    /// # Errors
    /// If it claims to be `E` but does not have its form.
    pub fn decode<E: SolEvent>(&self) -> Option<Result<E, alloy::sol_types::Error>> {
        (self.event() == Some(E::SIGNATURE_HASH)).then(|| E::decode_log(&self.log).map(|log| log.data))
    }
}

/// Where a batch lies among those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Direction {
    /// Right above them: what happened next.
    Forward,
    /// Below them: what the backward search for [recent logs](super::MonitorBuilder::recent) found.
    Past,
}

/// The matching logs of consecutive confirmed blocks. The batches of each direction follow each other without a gap; only a
/// block with too many logs for one forward batch is in several, each log in one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfirmedBatch {
    /// Whether it continues the batches before it, or comes from further back.
    pub direction: Direction,
    /// First block.
    pub from_block: u64,
    /// Last block.
    pub to_block: u64,
    /// All the matching logs of these blocks, in the chain's order; often none.
    pub logs: Vec<ConfirmedLog>,
}

impl ConfirmedBatch {
    /// About how many bytes its logs take in memory.
    pub(super) fn bytes(&self) -> u64 {
        let of_log = |log: &ConfirmedLog| {
            let data = &log.log.data;
            size_of::<ConfirmedLog>() + size_of_val(data.topics()) + data.data.len()
        };
        self.logs.iter().map(of_log).map(|bytes| bytes as u64).fold(0, u64::saturating_add)
    }
}

/// The parts of an answer that must fit together to become a batch.
pub(super) struct Answer<'a> {
    pub(super) direction: Direction,
    pub(super) from: u64,
    pub(super) to: u64,
    /// Hash of the block before `from`, as processed; none where the blocks before are not.
    pub(super) parent: Option<B256>,
    /// Each filter with what came back for it.
    pub(super) logs: &'a [(Filter, Vec<Log>)],
    /// Headers of `from`, of `to`, of all blocks with logs that are not in `times`, and maybe of more.
    pub(super) headers: &'a BTreeMap<u64, BlockHeader>,
    /// The [times of blocks](times) by their logs.
    pub(super) times: &'a BTreeMap<u64, u64>,
}

/// Checks logs by themselves: all are what was asked for. Gives the blocks whose headers are needed to go on.
pub(super) fn blocks_with_logs(
    from: u64,
    to: u64,
    filter: &Filter,
    logs: &[Log],
) -> Result<Vec<u64>, Inconsistency> {
    let mut blocks = Vec::new();
    for log in logs {
        let (Some(block), Some(index), Some(_), Some(_)) =
            (log.block_number, log.log_index, log.block_hash, log.transaction_hash)
        else {
            return Err(Inconsistency::LogWithoutPosition(log.address()));
        };
        if log.removed {
            return Err(Inconsistency::LogRemoved { block, index });
        }
        if block < from || block > to {
            return Err(Inconsistency::LogOutOfRange(block));
        }
        if !filter.matches_address(log.address()) || !filter.matches_topics(log.topics()) {
            return Err(Inconsistency::LogNotAskedFor(log.address()));
        }
        blocks.push(block);
    }
    Ok(blocks)
}

/// The times of blocks in seconds, as their logs give them: of each block whose logs all bear the same time and the same hash.
/// Newer nodes put the time into each log, so that no header is needed for it.
pub(super) fn times(answers: &[(Filter, Vec<Log>)]) -> BTreeMap<u64, u64> {
    let mut seen: BTreeMap<u64, Option<(u64, B256)>> = BTreeMap::new();
    for log in answers.iter().flat_map(|(_, logs)| logs) {
        let Some(block) = log.block_number else { continue };
        let bears = log.block_timestamp.zip(log.block_hash);
        seen.entry(block)
            .and_modify(|known| *known = known.filter(|known| bears == Some(*known)))
            .or_insert(bears);
    }
    seen.into_iter().filter_map(|(block, bears)| Some((block, bears?.0))).collect()
}

/// Whether the times of logs agree with those of headers: no block is older than the one before it.
pub(super) fn are_consistent(times: &BTreeMap<u64, u64>, headers: &BTreeMap<u64, BlockHeader>) -> bool {
    let of_headers = headers.values().map(|header| (header.number, header.timestamp));
    let mut all: Vec<(u64, u64)> =
        times.iter().map(|(block, time)| (*block, *time)).chain(of_headers).collect();
    all.sort_unstable();
    all.is_sorted_by(
        |(earlier, before), (later, after)| if earlier == later { before == after } else { before <= after },
    )
}

/// Blocks that by their bloom filter may hold matching logs, of which the answer has none. Bloom filters err only on
/// the side of "may", so each must be asked for by its hash before it is believed to be empty.
pub(super) fn suspiciously_empty(
    filter: &Filter,
    logs: &[Log],
    headers: &BTreeMap<u64, BlockHeader>,
) -> Vec<BlockHeader> {
    let answered: std::collections::BTreeSet<u64> = logs.iter().filter_map(|log| log.block_number).collect();
    headers
        .values()
        .filter(|header| !answered.contains(&header.number) && filter.matches_bloom(header.bloom))
        .copied()
        .collect()
}

/// Puts an answer together, or returns how it contradicts itself.
pub(super) fn assemble(answer: &Answer<'_>) -> Result<ConfirmedBatch, Inconsistency> {
    check_links(answer)?;
    let mut logs: BTreeMap<(u64, u64), ConfirmedLog> = BTreeMap::new();
    for (filter, found) in answer.logs {
        blocks_with_logs(answer.from, answer.to, filter, found)?;
        for log in found {
            let log = place(log, answer)?;
            let position = (log.block, log.index);
            match logs.get(&position) {
                // Two filters may match one log.
                Some(other) if *other == log => {}
                Some(_) => return Err(Inconsistency::LogsCollide { block: log.block, index: log.index }),
                None => drop(logs.insert(position, log)),
            }
        }
    }
    Ok(ConfirmedBatch {
        direction: answer.direction,
        from_block: answer.from,
        to_block: answer.to,
        logs: logs.into_values().collect(),
    })
}

fn place(log: &Log, answer: &Answer<'_>) -> Result<ConfirmedLog, Inconsistency> {
    let (Some(block), Some(index), Some(block_hash), Some(tx)) =
        (log.block_number, log.log_index, log.block_hash, log.transaction_hash)
    else {
        return Err(Inconsistency::LogWithoutPosition(log.address()));
    };
    let time = match answer.headers.get(&block) {
        Some(header) if header.hash != block_hash => {
            return Err(Inconsistency::LogOfOtherBlock {
                block,
                index,
                log: block_hash,
                header: header.hash,
            });
        }
        Some(header) => header.timestamp,
        None => *answer.times.get(&block).ok_or(Inconsistency::HeaderMissing(block))?,
    };
    let block_time = block_time(time);
    Ok(ConfirmedLog { log: log.inner.clone(), block, block_hash, block_time, tx, index })
}

/// Neighbouring headers must be linked, and the first to the last block processed.
fn check_links(answer: &Answer<'_>) -> Result<(), Inconsistency> {
    for edge in [answer.from, answer.to] {
        if !answer.headers.contains_key(&edge) {
            return Err(Inconsistency::HeaderMissing(edge));
        }
    }
    let mut before = answer.parent.map(|parent| (answer.from.saturating_sub(1), parent));
    for header in answer.headers.values() {
        if before.is_some_and(|(number, hash)| number + 1 == header.number && hash != header.parent) {
            return Err(Inconsistency::BrokenChain(header.number));
        }
        before = Some((header.number, header.hash));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Bloom, LogData};

    use super::*;

    const CONTRACT: Address = Address::repeat_byte(0xcc);

    fn hash(number: u64) -> B256 {
        B256::with_last_byte(u8::try_from(number).unwrap() + 1)
    }

    fn header(number: u64) -> BlockHeader {
        BlockHeader {
            number,
            hash: hash(number),
            parent: hash(number - 1),
            timestamp: number * 12,
            base_fee: Some(1),
            bloom: Bloom::ZERO,
            is_empty: true,
        }
    }

    fn log(block: u64, index: u64) -> Log {
        Log {
            inner: alloy::primitives::Log {
                address: CONTRACT,
                data: LogData::new_unchecked(vec![B256::ZERO], vec![7].into()),
            },
            block_hash: Some(hash(block)),
            block_number: Some(block),
            transaction_hash: Some(B256::repeat_byte(9)),
            transaction_index: Some(0),
            log_index: Some(index),
            ..Default::default()
        }
    }

    fn batch_of(logs: Vec<Log>) -> Result<ConfirmedBatch, Inconsistency> {
        let headers = (10..=14).map(|number| (number, header(number))).collect();
        assemble(&Answer {
            direction: Direction::Forward,
            from: 10,
            to: 14,
            parent: Some(hash(9)),
            logs: &[(Filter::new().address(CONTRACT), logs)],
            headers: &headers,
            times: &BTreeMap::new(),
        })
    }

    #[test]
    fn logs_come_in_the_chains_order_whatever_the_answers_order() {
        let batch = batch_of(vec![log(13, 0), log(10, 2), log(13, 1), log(10, 0)]).unwrap();
        let order: Vec<_> = batch.logs.iter().map(|log| (log.block, log.index)).collect();
        assert_eq!(order, [(10, 0), (10, 2), (13, 0), (13, 1)]);
    }

    #[test]
    fn a_log_named_twice_is_one_log_and_two_logs_in_one_place_are_none() {
        assert_eq!(batch_of(vec![log(10, 0), log(10, 0)]).unwrap().logs.len(), 1);
        let mut other = log(10, 0);
        other.inner.data = LogData::new_unchecked(vec![], vec![8].into());
        let collision = batch_of(vec![log(10, 0), other]).unwrap_err();
        assert_eq!(collision, Inconsistency::LogsCollide { block: 10, index: 0 });
    }

    #[test]
    fn logs_that_were_not_asked_for_are_refused() {
        assert_eq!(batch_of(vec![log(15, 0)]).unwrap_err(), Inconsistency::LogOutOfRange(15));
        assert_eq!(batch_of(vec![log(9, 0)]).unwrap_err(), Inconsistency::LogOutOfRange(9));
        let mut foreign = log(10, 0);
        foreign.inner.address = Address::repeat_byte(0xdd);
        assert_eq!(
            batch_of(vec![foreign]).unwrap_err(),
            Inconsistency::LogNotAskedFor(Address::repeat_byte(0xdd))
        );
        let mut removed = log(10, 4);
        removed.removed = true;
        assert_eq!(batch_of(vec![removed]).unwrap_err(), Inconsistency::LogRemoved { block: 10, index: 4 });
        let mut pending = log(10, 0);
        pending.block_hash = None;
        assert_eq!(batch_of(vec![pending]).unwrap_err(), Inconsistency::LogWithoutPosition(CONTRACT));
    }

    #[test]
    fn a_log_of_an_orphaned_block_is_refused() {
        let mut orphan = log(10, 0);
        orphan.block_hash = Some(B256::repeat_byte(0xee));
        assert!(matches!(
            batch_of(vec![orphan]).unwrap_err(),
            Inconsistency::LogOfOtherBlock { block: 10, .. }
        ));
    }

    #[test]
    fn headers_must_be_linked_to_each_other_and_to_what_was_processed() {
        let mut headers: BTreeMap<u64, BlockHeader> = (10..=14).map(|n| (n, header(n))).collect();
        let check = |headers: &BTreeMap<u64, BlockHeader>, parent: Option<B256>| {
            let (direction, times) = (Direction::Forward, &BTreeMap::new());
            check_links(&Answer { direction, from: 10, to: 14, parent, logs: &[], headers, times })
        };
        assert_eq!(check(&headers, Some(hash(9))), Ok(()));
        assert_eq!(check(&headers, Some(hash(8))), Err(Inconsistency::BrokenChain(10)));
        assert_eq!(check(&headers, None), Ok(()), "nothing is known of the blocks before");
        headers.get_mut(&12).unwrap().parent = hash(3);
        assert_eq!(check(&headers, Some(hash(9))), Err(Inconsistency::BrokenChain(12)));
        assert_eq!(check(&headers, None), Err(Inconsistency::BrokenChain(12)));
        headers.remove(&12); // a gap proves nothing, so it breaks nothing
        assert_eq!(check(&headers, Some(hash(9))), Ok(()));
        headers.remove(&14);
        assert_eq!(check(&headers, Some(hash(9))), Err(Inconsistency::HeaderMissing(14)));
    }

    #[test]
    fn logs_give_the_time_of_their_block_if_they_agree_with_each_other_and_with_headers() {
        let timed = |block, index, time| Log { block_timestamp: time, ..log(block, index) };
        let other_hash = Log { block_hash: Some(B256::ZERO), ..timed(13, 1, Some(156)) };
        let answers = [
            (Filter::new(), vec![timed(11, 0, Some(132)), timed(12, 0, Some(144)), timed(12, 1, Some(145))]),
            (
                Filter::new(),
                vec![timed(11, 0, Some(132)), timed(13, 0, Some(156)), other_hash, timed(14, 0, None)],
            ),
        ];
        let known = times(&answers);
        assert_eq!(known, BTreeMap::from([(11, 132)]));

        let headers: BTreeMap<u64, BlockHeader> = [10, 14].map(|number| (number, header(number))).into();
        for (time, expected) in [(119, false), (120, true), (132, true), (168, true), (169, false)] {
            assert_eq!(are_consistent(&BTreeMap::from([(11, time)]), &headers), expected, "{time}");
        }
        assert!(!are_consistent(&BTreeMap::from([(11, 150), (12, 149)]), &headers));
        assert!(!are_consistent(&BTreeMap::from([(10, 121)]), &headers), "its own header");

        let logs = [(Filter::new().address(CONTRACT), vec![log(11, 0)])];
        let answer = |times| Answer {
            direction: Direction::Past,
            from: 10,
            to: 14,
            parent: Some(hash(9)),
            logs: &logs,
            headers: &headers,
            times,
        };
        let batch = assemble(&answer(&known)).unwrap();
        assert_eq!(batch.direction, Direction::Past, "whatever is known of the block before");
        assert_eq!(batch.logs[0].block_time, block_time(132));
        assert_eq!(assemble(&answer(&BTreeMap::new())).unwrap_err(), Inconsistency::HeaderMissing(11));
    }

    #[test]
    fn a_bloom_filter_shows_that_logs_are_missing() {
        let filter = Filter::new().address(CONTRACT);
        let mut headers: BTreeMap<u64, BlockHeader> = (10..=14).map(|n| (n, header(n))).collect();
        assert!(suspiciously_empty(&filter, &[], &headers).is_empty());
        for number in [11, 13] {
            headers.get_mut(&number).unwrap().bloom.accrue_raw_log(CONTRACT, &[B256::ZERO]);
        }
        let suspects: Vec<u64> =
            suspiciously_empty(&filter, &[log(11, 0)], &headers).iter().map(|header| header.number).collect();
        assert_eq!(suspects, [13]);
    }
}
