//! Logs and headers, as one endpoint gives them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use alloy::primitives::B256;
use alloy::rpc::types::{Filter, Log};
use futures::{StreamExt, TryStreamExt};

use super::batch::{self, Answer, ConfirmedBatch};
use super::cursor::Cursor;
use super::follow::CHECKED_RANGE;
use super::{Inner, flood};
use crate::rpc::{BlockHeader, Fault, Rpc, RpcError};
use crate::{ChainError, Inconsistency};

/// What came back for each filter.
pub(super) type Found = Vec<(Filter, Vec<Log>)>;

impl Inner {
    /// The logs of a range, for each interest.
    pub(super) async fn logs(
        &self,
        rpc: &Rpc,
        width: usize,
        range: &RangeInclusive<u64>,
    ) -> Result<Found, ChainError> {
        let (from, to) = (*range.start(), *range.end());
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
        futures::future::try_join_all(self.interests.iter().map(|interest| ask(interest.filter()))).await
    }

    /// The logs of one block, for each interest.
    pub(super) async fn logs_of_block(
        &self,
        rpc: &Rpc,
        width: usize,
        hash: B256,
    ) -> Result<Found, ChainError> {
        let ask = |filter: Filter| async move {
            let logs = flood::logs_of_block(rpc, width, &filter, hash).await?;
            Ok::<_, ChainError>((filter, logs))
        };
        futures::future::try_join_all(self.interests.iter().map(|interest| ask(interest.filter()))).await
    }

    /// Logs of a range with their headers, checked against each other and what was processed.
    pub(super) async fn assemble(
        &self,
        rpc: &Rpc,
        width: usize,
        cursor: &Cursor,
        range: &RangeInclusive<u64>,
        confirmed: u64,
        logs: &Found,
    ) -> Result<(ConfirmedBatch, BTreeMap<u64, BlockHeader>), ChainError> {
        let (from, to) = (*range.start(), *range.end());
        let wrong = |what| ChainError::Inconsistent { from, to, what };
        let mut needed = BTreeSet::from([from, to]);
        for (filter, found) in logs {
            needed.extend(batch::blocks_with_logs(from, to, filter, found).map_err(wrong)?);
        }
        // Near the head, a node that lags behind the one that reported the head may silently leave out what it lacks.
        let near_head = confirmed.saturating_sub(CHECKED_RANGE - 1);
        let all_from = if self.options.check_every_block { from } else { from.max(near_head) };
        needed.extend(all_from..=to);
        let headers: BTreeMap<u64, BlockHeader> = futures::stream::iter(needed)
            .map(|number| async move { Ok::<_, ChainError>((number, rpc.header(number).await?)) })
            .buffer_unordered(width)
            .try_collect()
            .await?;

        for (filter, found) in logs {
            for header in batch::suspiciously_empty(filter, found, &headers) {
                let of_block = flood::logs_of_block(rpc, width, filter, header.hash).await?;
                if !of_block.is_empty() {
                    return Err(wrong(Inconsistency::LogsMissing(header.number)));
                }
            }
        }
        let answer = Answer { from, to, parent: cursor.hash, logs, headers: &headers };
        Ok((batch::assemble(&answer).map_err(wrong)?, headers))
    }
}
