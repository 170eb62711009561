//! Logs and headers, as endpoints give them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use alloy::primitives::B256;
use alloy::rpc::types::{Filter, Log};
use futures::{StreamExt, TryStreamExt};

use super::batch::{self, Answer, ConfirmedBatch};
use super::follow::CHECKED_RANGE;
use super::witness::{Checked, Testimony, Witness};
use super::{Direction, Inner, Interest, RangePlanner, flood};
use crate::rpc::{BlockHeader, Fault, Rpc, RpcError};
use crate::{ChainError, Inconsistency};

/// What came back for each filter.
pub(super) type Found = Vec<(Filter, Vec<Log>)>;

/// Headers by height.
pub(super) type Headers = BTreeMap<u64, BlockHeader>;

/// Asks for headers, `width` at once.
pub(super) async fn headers_of(
    rpc: &Rpc,
    width: usize,
    blocks: BTreeSet<u64>,
) -> Result<Headers, ChainError> {
    futures::stream::iter(blocks)
        .map(|number| async move { Ok((number, rpc.header(number).await?)) })
        .buffer_unordered(width)
        .try_collect()
        .await
}

/// What to ask for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) direction: Direction,
    pub(super) range: RangeInclusive<u64>,
    /// Hash of the block before the range, as processed; none if that block is not.
    pub(super) parent: Option<B256>,
    pub(super) interests: Vec<Interest>,
    /// The newest confirmed block.
    pub(super) confirmed: u64,
}

/// What came back for it: from one endpoint checked by itself, and from a second one if there is one.
pub(super) struct Fetched {
    pub(super) wanted: Wanted,
    pub(super) took: Duration,
    pub(super) mine: Result<(Found, ConfirmedBatch, Headers), ChainError>,
    pub(super) theirs: Option<(Witness, Result<Testimony, ChainError>)>,
}

/// What one endpoint, and maybe a second one, gave before it was wanted.
pub(super) struct Ahead {
    pub(super) at: usize,
    pub(super) fetched: Fetched,
}

impl Ahead {
    /// Whether it is what is wanted now of the same endpoints: the range begins there, and is confirmed.
    pub(super) fn is(&self, at: usize, wanted: &Wanted, witness: Option<&Witness>) -> bool {
        let before = &self.fetched.wanted;
        let checked_by = self.fetched.theirs.as_ref().map(|(witness, _)| witness.at);
        self.at == at
            && before.range.start() == wanted.range.start()
            && *before.range.end() <= wanted.confirmed
            && before.parent == wanted.parent
            && before.interests == wanted.interests
            && checked_by == witness.map(|witness| witness.at)
    }
}

/// Whether the logs of `next` blocks may be fetched while those of `blocks` blocks, which take `bytes`, are applied, so that `most` bytes
/// are held. They are expected to be as large, and each of the endpoints that are `asked` gives them once; of the first one they are held
/// twice, as they came and as a batch.
pub(super) fn may_fetch_ahead(bytes: u64, blocks: u64, next: u64, asked: u64, most: u64) -> bool {
    let expected = bytes.saturating_mul(next) / blocks.max(1);
    bytes.saturating_add(expected.saturating_mul(asked.saturating_add(1))) <= most
}

/// What to do about it.
pub(super) enum Judged {
    /// It is to be applied.
    Apply {
        batch: ConfirmedBatch,
        headers: Headers,
        /// Whether a second endpoint has given the same.
        is_checked: bool,
    },
    /// Fewer blocks are to be asked for.
    Smaller,
    /// One of the endpoints is left out from now on: it is to be fetched again.
    Again,
}

impl Wanted {
    /// How many blocks it asks for.
    pub(super) fn blocks(&self) -> u64 {
        self.range.end().saturating_sub(*self.range.start()).saturating_add(1)
    }
}

impl Inner {
    /// Asks an endpoint, and at the same time a second one.
    pub(super) async fn fetch(
        &self,
        (at, rpc): (usize, &Rpc),
        wanted: Wanted,
        witness: Option<Witness>,
    ) -> Fetched {
        let started = Instant::now();
        let width = self.endpoints.width(at);
        let mine = self.limited((at, rpc), &wanted, async {
            let logs = self.logs(rpc, width, &wanted).await?;
            let (batch, headers) = self.assemble(rpc, width, &wanted, &logs).await?;
            Ok((logs, batch, headers))
        });
        let theirs = async {
            let witness = witness.as_ref()?;
            let testimony = self.testimony(witness, &wanted);
            Some(self.limited((witness.at, &witness.rpc), &wanted, testimony).await)
        };
        let (mine, theirs) = tokio::join!(mine, theirs);
        Fetched { took: started.elapsed(), mine, theirs: witness.zip(theirs), wanted }
    }

    /// Ends what takes longer than a range may, as a request without an answer: each of many requests may be answered in time,
    /// and all of them together for hours. Not where neither fewer blocks nor another endpoint can be asked instead.
    async fn limited<T>(
        &self,
        (at, rpc): (usize, &Rpc),
        wanted: &Wanted,
        fetch: impl Future<Output = Result<T, ChainError>>,
    ) -> Result<T, ChainError> {
        let is_good = |other: &usize| *other != at && self.endpoints.is_good(*other);
        if wanted.blocks() == 1 && !self.endpoints.order().iter().any(is_good) {
            return fetch.await;
        }
        let limit = self.options.range_limit;
        tokio::time::timeout(limit, fetch).await.unwrap_or_else(|_| {
            let (method, endpoint) = ("the logs of a range", rpc.label().to_owned());
            Err(RpcError { method, endpoint, fault: Fault::Timeout(limit) }.into())
        })
    }

    /// Compares what two endpoints gave, and learns how much may be asked of each.
    pub(super) async fn judge(
        &self,
        planners: &mut [RangePlanner],
        (at, rpc): (usize, &Rpc),
        fetched: Fetched,
    ) -> Result<Judged, ChainError> {
        let Fetched { wanted, took, mine, theirs } = fetched;
        let asked = wanted.blocks();
        let (logs, batch, headers) = match mine {
            Ok(mine) => mine,
            Err(error) => {
                self.shrink(&mut planners[at], asked, error)?;
                return Ok(Judged::Smaller);
            }
        };
        let mut is_checked = false;
        if let Some((witness, theirs)) = theirs {
            let theirs = match theirs {
                Ok(theirs) => {
                    let completed = self.completed(&witness, theirs, (&logs, &headers));
                    self.limited((witness.at, &witness.rpc), &wanted, completed).await
                }
                failed => failed,
            };
            // Where nothing smaller can be asked of it, it rests, and holds nothing up.
            if let Err(ChainError::Rpc(RpcError { fault, .. })) = &theirs
                && matches!(fault, Fault::TooLarge(_) | Fault::Timeout(_))
                && planners[witness.at].too_large(asked)
                && matches!(fault, Fault::TooLarge(_))
            {
                return Ok(Judged::Smaller);
            }
            let (from, to) = wanted.range.into_inner();
            let Some(last) = headers.get(&to) else { return Ok(Judged::Again) };
            let checked = self.check((at, rpc), &witness, (from, to, last.hash), (&logs, &headers), theirs);
            match checked.await? {
                Checked::Agreed => is_checked = true,
                Checked::Unanswered => {}
                Checked::Again => return Ok(Judged::Again),
            }
            planners[witness.at].succeeded(asked, batch.logs.len(), took);
        }
        planners[at].succeeded(asked, batch.logs.len(), took);
        Ok(Judged::Apply { batch, headers, is_checked })
    }

    /// Reacts to a failed fetch: plans to ask for less where that may help. Returns the error unless that is to be tried at once.
    fn shrink(&self, planner: &mut RangePlanner, asked: u64, error: ChainError) -> Result<(), ChainError> {
        let ChainError::Rpc(RpcError { method, fault, .. }) = &error else { return Err(error) };
        // One request for logs is one request, however many blocks it spans; but it brings as many for headers along.
        let fewer_help = match fault {
            Fault::Unauthorised(_) => false,
            Fault::RateLimited { .. } => *method != "eth_getLogs",
            _ => true,
        };
        if !fewer_help {
            return Err(error);
        }
        let smaller = planner.too_large(asked);
        tracing::debug!(asked, now = planner.blocks(), %error, "asking for fewer blocks");
        self.status.send_modify(|status| status.range = planner.blocks());
        // Only a plain refusal of the size is worth an immediate try; else the endpoint may just be in trouble.
        if smaller && matches!(fault, Fault::TooLarge(_)) { Ok(()) } else { Err(error) }
    }

    /// The logs of a range, for each interest.
    pub(super) async fn logs(&self, rpc: &Rpc, width: usize, wanted: &Wanted) -> Result<Found, ChainError> {
        let (from, to) = (*wanted.range.start(), *wanted.range.end());
        let ask = |filter: Filter| async move {
            let ranged = filter.clone().from_block(from).to_block(to);
            let logs = match rpc.logs(&ranged).await {
                // The range cannot be made smaller.
                Err(RpcError { fault: Fault::TooLarge(_), .. }) if from == to => {
                    flood::logs_of_block(rpc, width, &filter, rpc.header(from).await?.hash).await?
                }
                answer => answer?,
            };
            Ok::<_, ChainError>((filter, logs))
        };
        futures::future::try_join_all(wanted.interests.iter().map(|interest| ask(interest.filter()))).await
    }

    /// Logs of a range with their headers, checked against each other and what was processed.
    async fn assemble(
        &self,
        rpc: &Rpc,
        width: usize,
        wanted: &Wanted,
        logs: &Found,
    ) -> Result<(ConfirmedBatch, Headers), ChainError> {
        let (from, to) = (*wanted.range.start(), *wanted.range.end());
        let wrong = |what| ChainError::Inconsistent { from, to, what };
        let mut with_logs = BTreeSet::new();
        for (filter, found) in logs {
            with_logs.extend(batch::blocks_with_logs(from, to, filter, found).map_err(wrong)?);
        }
        // Near the head, a node that lags behind the one that reported the head may silently leave out what it lacks.
        let near_head = wanted.confirmed.saturating_sub(CHECKED_RANGE - 1);
        let all_from = if self.options.check_every_block { from } else { from.max(near_head) };
        let times = batch::times(logs);
        let mut needed = BTreeSet::from([from, to]);
        needed.extend(all_from..=to);
        needed.extend(with_logs.iter().filter(|block| !times.contains_key(block)));
        let mut headers = headers_of(rpc, width, needed).await?;
        if !batch::are_consistent(&times, &headers) {
            tracing::debug!(from, to, "the times of logs are not those of blocks; asking for all headers");
            headers.extend(headers_of(rpc, width, with_logs).await?);
        }

        for (filter, found) in logs {
            for header in batch::suspiciously_empty(filter, found, &headers) {
                let of_block = flood::logs_of_block(rpc, width, filter, header.hash).await?;
                if !of_block.is_empty() {
                    return Err(wrong(Inconsistency::LogsMissing(header.number)));
                }
            }
        }
        let Wanted { direction, parent, .. } = *wanted;
        let answer = Answer { direction, from, to, parent, logs, headers: &headers, times: &times };
        Ok((batch::assemble(&answer).map_err(wrong)?, headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_fetched_ahead_than_may_be_held() {
        for (bytes, blocks, next, asked, expected) in [
            (0, 10, 10, 1, true),
            (30, 10, 10, 1, true),
            (31, 10, 10, 2, false), // three times as much more
            (34, 10, 10, 1, false),
            (34, 10, 5, 1, true), // a smaller range
            (30, 10, 20, 1, false),
            (u64::MAX, 1, u64::MAX, 2, false),
        ] {
            let found = may_fetch_ahead(bytes, blocks, next, asked, 100);
            assert_eq!(found, expected, "{bytes} of {blocks}, then {next} of {asked}");
        }
    }
}
