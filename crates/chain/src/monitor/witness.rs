//! A second endpoint that is asked for what the first one gave.

use std::collections::BTreeSet;
use std::time::Instant;

use alloy::primitives::{B256, Bloom};
use alloy::rpc::types::{Filter, Log};

use super::compare::{Comparison, Dispute, Entry, Logs, Side, compare, half_shown, judge};
use super::cursor::Cursor;
use super::fetch::{Found, Headers, Wanted, headers_of};
use super::follow::CHECKED_RANGE;
use super::lag::Lag;
use super::{Inner, flood};
use crate::rpc::{BEHIND, Evidence, Rpc};
use crate::{ChainError, Inconsistency};

/// A second endpoint that can check the first.
#[derive(Clone)]
pub(super) struct Witness {
    pub(super) at: usize,
    pub(super) rpc: Rpc,
    /// Its newest block.
    pub(super) head: u64,
}

/// The logs of a range, with the headers of its last block and of those blocks whose logs do not all bear their time.
pub(super) type Testimony = (Found, Headers);

/// What came of a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// Both report the same.
    Agreed,
    /// The witness did not answer.
    Unanswered,
    /// One of them was found wrong and is left out: to be fetched again.
    Again,
}

/// Whether there is a second endpoint for the next blocks.
pub(super) enum Second {
    /// This one has at least the first of them.
    Checks(Witness),
    /// None has them yet; the newest block of the one that is waited for.
    Lags(u64),
    /// None is good, or those that are good are not waited for.
    None,
}

impl Inner {
    /// The first good endpoint besides the one at `at` that serves the chain and has confirmed block `next`. To be behind
    /// excludes none: else an endpoint would be rid of the others by claiming a higher head.
    pub(super) async fn second(
        &self,
        (checked, lags): (&mut [bool], &mut [Lag]),
        at: usize,
        next: u64,
        head: u64,
    ) -> Second {
        let mut waited_for = None;
        for other in self.endpoints.order() {
            if other == at || !self.endpoints.is_good(other) {
                continue;
            }
            let rpc = self.endpoints.rpc(other);
            if !checked[other] {
                if self.endpoints.check_one(other, self.chain_id, &self.contracts()).await.is_err() {
                    continue;
                }
                checked[other] = true;
            }
            match rpc.head().await {
                Ok(seen) if seen.saturating_sub(self.options.confirmations) >= next => {
                    lags[other].end();
                    self.endpoints.seen_at(other, seen.min(head.saturating_add(BEHIND)));
                    return Second::Checks(Witness { at: other, rpc, head: seen });
                }
                Ok(seen) => {
                    self.endpoints.seen_at(other, seen.min(head));
                    if lags[other].note_head(seen, Instant::now(), self.options.patience) {
                        waited_for = waited_for.max(Some(seen));
                    }
                }
                Err(error) => {
                    self.endpoints.failed(other, &error.into());
                }
            }
        }
        waited_for.map_or(Second::None, Second::Lags)
    }

    /// As much as may be believed of an endpoint's claim to be at head `claim` while another one is at `other`: to be far
    /// ahead only with headers that link to the newest processed block. A block that it does not have is no failure: the
    /// claim is not believed, and that is all.
    pub(super) async fn credible_head(
        &self,
        rpc: &Rpc,
        cursor: &Cursor,
        claim: u64,
        other: u64,
    ) -> Result<u64, ChainError> {
        let ahead = other.saturating_add(BEHIND).saturating_add(1);
        if claim < ahead {
            return Ok(claim);
        }
        if ahead.saturating_sub(cursor.last()) > CHECKED_RANGE {
            return Ok(other);
        }
        let mut last = cursor.hash;
        if rpc.find_header(cursor.last()).await?.is_none_or(|header| header.hash != last) {
            return Ok(other);
        }
        for number in cursor.next..=ahead {
            match rpc.find_header(number).await? {
                Some(header) if header.parent == last => last = header.hash,
                _ => return Ok(other),
            }
        }
        Ok(ahead)
    }

    /// What a witness gives for a range. Times are compared, too: where it does not put them into logs, they are those of its headers.
    pub(super) async fn testimony(
        &self,
        witness: &Witness,
        wanted: &Wanted,
    ) -> Result<Testimony, ChainError> {
        let width = self.endpoints.width(witness.at);
        let logs = self.logs(&witness.rpc, width, wanted).await?;
        let undated = logs.iter().flat_map(|(_, logs)| logs).filter(|log| time(log).is_none());
        let mut needed: BTreeSet<u64> = undated.filter_map(|log| log.block_number).collect();
        needed.insert(*wanted.range.end());
        Ok((logs, headers_of(&witness.rpc, width, needed).await?))
    }

    /// Adds to a testimony the headers of those blocks for which the first endpoint's header and log contradict each other and both
    /// endpoints give the log the same time. The first one is asked for more headers than a witness, and without them two honest
    /// endpoints whose software puts a wrong time into logs would seem to differ.
    pub(super) async fn completed(
        &self,
        witness: &Witness,
        (theirs, mut shown): Testimony,
        (logs, headers): (&Found, &Headers),
    ) -> Result<Testimony, ChainError> {
        let contradicts_header =
            |log: &Log| time(log).zip(of_header(log, headers)).is_some_and(|(bears, has)| bears != has);
        if logs.iter().flat_map(|(_, logs)| logs).any(contradicts_header) {
            let needed = half_shown(&placed(logs, headers), &placed(&theirs, &shown));
            shown.extend(headers_of(&witness.rpc, self.endpoints.width(witness.at), needed).await?);
        }
        Ok((theirs, shown))
    }

    /// Compares the logs of blocks `from` to `to`, whose last has hash `last`, with those of a witness. The headers are at least those of
    /// the blocks whose logs do not all bear their time.
    pub(super) async fn check(
        &self,
        (at, rpc): (usize, &Rpc),
        witness: &Witness,
        (from, to, last): (u64, u64, B256),
        (logs, headers): (&[(Filter, Vec<Log>)], &Headers),
        theirs: Result<Testimony, ChainError>,
    ) -> Result<Checked, ChainError> {
        let asked = theirs.and_then(|(logs, headers)| {
            let missing = ChainError::Inconsistent { from, to, what: Inconsistency::HeaderMissing(to) };
            let last = headers.get(&to).ok_or(missing)?.hash;
            Ok((last, placed(&logs, &headers)))
        });
        let (their_last, theirs) = match asked {
            Ok(theirs) => theirs,
            Err(error) => {
                tracing::debug!(%error, from, to, "second endpoint cannot check these blocks");
                self.endpoints.failed(witness.at, &error);
                return Ok(Checked::Unanswered);
            }
        };
        let mine = placed(logs, headers);
        match compare((last, &mine), (their_last, &theirs)) {
            Comparison::Same => {
                self.endpoints.answered(witness.at);
                Ok(Checked::Agreed)
            }
            Comparison::OtherBranch => self.follow_majority(at, witness, to, [last, their_last]).await,
            Comparison::OtherLogs(block) => {
                let filters: Vec<&Filter> = logs.iter().map(|(filter, _)| filter).collect();
                self.read_block_again((at, rpc), witness, block, &filters, [&mine, &theirs]).await
            }
        }
    }

    /// Two branches: a third endpoint decides which is followed. The other one rests; to be on another branch for a while is
    /// no fault.
    async fn follow_majority(
        &self,
        at: usize,
        witness: &Witness,
        block: u64,
        [first, second]: [B256; 2],
    ) -> Result<Checked, ChainError> {
        let disagreement = self.disagreement(at, witness, block);
        for third in self.others(at, witness.at) {
            let Ok(Some(header)) = self.endpoints.rpc(third).find_header(block).await else { continue };
            let outvoted = if header.hash == first {
                witness.at
            } else if header.hash == second {
                at
            } else {
                continue;
            };
            self.endpoints.failed(outvoted, &disagreement);
            return Ok(Checked::Again);
        }
        Err(disagreement)
    }

    /// Other logs in the same block: it is read again by its hash, from both and from a third.
    async fn read_block_again(
        &self,
        (at, rpc): (usize, &Rpc),
        witness: &Witness,
        block: u64,
        filters: &[&Filter],
        [mine, theirs]: [&Logs; 2],
    ) -> Result<Checked, ChainError> {
        let of_block = |logs: &Logs| -> Logs {
            let mut logs = logs.clone();
            logs.retain(|(number, ..), _| *number == block);
            logs
        };
        let header = rpc.header(block).await?;
        // Who accuses and does not stand by it is left out, and not the accused.
        let other = match witness.rpc.header(block).await {
            Ok(other) => other,
            Err(error) => return Ok(self.without(witness, &error)),
        };
        if header.hash != other.hash {
            return Err(self.disagreement(at, witness, block));
        }
        let again = async |rpc: &Rpc, width| {
            let ask = |filter: Filter| async move {
                let logs = flood::logs_of_block(rpc, width, &filter, header.hash).await?;
                Ok::<_, ChainError>((filter, logs))
            };
            let asked = filters.iter().map(|filter| ask((*filter).clone()));
            Ok::<_, ChainError>(placed(&futures::future::try_join_all(asked).await?, &Headers::new()))
        };
        let mine_again = again(rpc, self.endpoints.width(at)).await?;
        let theirs_again = match again(&witness.rpc, self.endpoints.width(witness.at)).await {
            Ok(logs) => logs,
            Err(error) => return Ok(self.without(witness, &error)),
        };
        let mut third = None;
        for other in self.others(at, witness.at) {
            if let Ok(logs) = again(&self.endpoints.rpc(other), self.endpoints.width(other)).await {
                third = Some(logs);
                break;
            }
        }
        let (mine, theirs) = (of_block(mine), of_block(theirs));
        let bloom = if header.bloom == other.bloom { header.bloom } else { Bloom::ZERO };
        let dispute = Dispute {
            ranged: [&mine, &theirs],
            again: [&mine_again, &theirs_again],
            third: third.as_ref(),
            bloom,
            time: (header.timestamp == other.timestamp).then_some(header.timestamp),
        };
        let guilty = match judge(&dispute) {
            Some(Side::First) => at,
            Some(Side::Second) => witness.at,
            None => return Err(self.disagreement(at, witness, block)),
        };
        self.endpoints.convict(guilty, Evidence::OtherLogs { block, hash: header.hash });
        Ok(Checked::Again)
    }

    /// Lets a witness rest that does not answer when it is asked about a difference.
    fn without(&self, witness: &Witness, error: &ChainError) -> Checked {
        self.endpoints.failed(witness.at, error);
        Checked::Again
    }

    /// Whether another good endpoint still has a block with this hash, so that one endpoint's word is not enough to undo it.
    pub(super) async fn is_kept_elsewhere(&self, at: usize, block: u64, hash: B256) -> bool {
        for other in self.endpoints.order() {
            if other == at || !self.endpoints.is_good(other) {
                continue;
            }
            match self.endpoints.rpc(other).find_header(block).await {
                Ok(Some(header)) => return header.hash == hash,
                Ok(None) => {}
                Err(error) => {
                    self.endpoints.failed(other, &error);
                }
            }
        }
        false
    }

    fn others(&self, first: usize, second: usize) -> impl Iterator<Item = usize> {
        let good: Vec<usize> =
            self.endpoints.order().into_iter().filter(|&at| self.endpoints.is_good(at)).collect();
        good.into_iter().filter(move |&at| at != first && at != second)
    }

    fn disagreement(&self, at: usize, witness: &Witness, block: u64) -> ChainError {
        let label = |at: usize| self.endpoints.all()[at].label().to_owned();
        ChainError::Disagreement { block, first: label(at), second: label(witness.at) }
    }
}

/// The time that a log bears. Some nodes give 0 where they do not know it.
fn time(log: &Log) -> Option<u64> {
    log.block_timestamp.filter(|time| *time != 0)
}

/// The time of a log's block by its header, where it is among these.
fn of_header(log: &Log, headers: &Headers) -> Option<u64> {
    let header = headers.get(&log.block_number?)?;
    (Some(header.hash) == log.block_hash).then_some(header.timestamp)
}

/// Logs by their places, with the times that they bear and those of their blocks' headers. One without a place is refused elsewhere.
fn placed(answers: &[(Filter, Vec<Log>)], headers: &Headers) -> Logs {
    let all = answers.iter().flat_map(|(_, logs)| logs);
    let entry =
        |log: &Log| Entry { log: log.inner.clone(), time: time(log), of_header: of_header(log, headers) };
    all.filter_map(|log| Some(((log.block_number?, log.log_index?, log.block_hash?), entry(log)))).collect()
}
