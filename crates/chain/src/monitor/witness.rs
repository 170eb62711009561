//! A second endpoint that is asked for what the first one gave.

use std::ops::RangeInclusive;

use alloy::primitives::{B256, Bloom};
use alloy::rpc::types::{Filter, Log};

use super::Inner;
use super::compare::{Comparison, Dispute, Logs, Side, compare, judge};
use super::fetch::Found;
use crate::ChainError;
use crate::rpc::{Evidence, Rpc};

/// A second endpoint that can check the first.
pub(super) struct Witness {
    pub(super) at: usize,
    pub(super) rpc: Rpc,
    /// Its newest block.
    pub(super) head: u64,
}

/// The hash of a range's last block, and the logs of the range.
type Testimony = (B256, Found);

/// What came of a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// Both say the same, or the witness did not answer.
    Apply,
    /// One of them was found wrong and is left out: to be fetched again.
    Again,
}

/// How far a witness may be behind the first endpoint, so that what it does not have yet is waited for.
const WAITED_FOR: u64 = 3;

impl Inner {
    /// The next good endpoint after the one at `at`, if it serves the chain and is not behind.
    pub(super) async fn witness(&self, checked: &mut [bool], at: usize, head: u64) -> Option<Witness> {
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
                Ok(seen) if seen.saturating_add(WAITED_FOR) >= head => {
                    return Some(Witness { at: other, rpc, head: seen });
                }
                Ok(seen) => self.endpoints.seen_at(other, seen.min(head)),
                Err(error) => {
                    self.endpoints.failed(other, &error.into());
                }
            }
        }
        None
    }

    /// What a witness gives for a range: the hash of the last block, and the logs.
    pub(super) async fn testimony(
        &self,
        witness: &Witness,
        range: &RangeInclusive<u64>,
    ) -> Result<Testimony, ChainError> {
        let logs = self.logs(&witness.rpc, self.endpoints.width(witness.at), range).await?;
        Ok((witness.rpc.header(*range.end()).await?.hash, logs))
    }

    /// Compares the logs of blocks `from` to `to`, whose last has hash `last`, with those of a witness.
    pub(super) async fn check(
        &self,
        (at, rpc): (usize, &Rpc),
        witness: &Witness,
        (from, to, last): (u64, u64, B256),
        logs: &[(Filter, Vec<Log>)],
        theirs: Result<Testimony, ChainError>,
    ) -> Result<Checked, ChainError> {
        let (their_last, their_logs) = match theirs {
            Ok(theirs) => theirs,
            Err(error) => {
                tracing::debug!(%error, from, to, "second endpoint cannot check these blocks");
                self.endpoints.failed(witness.at, &error);
                return Ok(Checked::Apply);
            }
        };
        let (mine, theirs) = (placed(logs), placed(&their_logs));
        match compare((last, &mine), (their_last, &theirs)) {
            Comparison::Same => {
                self.endpoints.answered(witness.at);
                self.endpoints.seen_at(witness.at, witness.head);
                Ok(Checked::Apply)
            }
            Comparison::OtherBranch => self.follow_majority(at, witness, to, [last, their_last]).await,
            Comparison::OtherLogs(block) => self.settle(at, rpc, witness, block, [&mine, &theirs]).await,
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
    async fn settle(
        &self,
        at: usize,
        rpc: &Rpc,
        witness: &Witness,
        block: u64,
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
            Ok::<_, ChainError>(placed(&self.logs_of_block(rpc, width, header.hash).await?))
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
                Ok(header) => return header.is_some_and(|header| header.hash == hash),
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

/// Logs by their places. One without a place is refused elsewhere.
fn placed(answers: &[(Filter, Vec<Log>)]) -> Logs {
    let all = answers.iter().flat_map(|(_, logs)| logs);
    all.filter_map(|log| Some(((log.block_number?, log.log_index?, log.block_hash?), log.inner.clone())))
        .collect()
}
