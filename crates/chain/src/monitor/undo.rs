//! Taking back what was applied of blocks that are not on the chain any more.

use std::time::Instant;

use alloy::primitives::B256;

use super::cursor::{self, Cursor};
use super::reorg::AncestorSearch;
use super::{Inner, Interest};
use crate::rpc::Rpc;
use crate::{ChainError, Inconsistency};

impl Inner {
    /// Whether the block that a part was applied of is still on the chain, if there is one.
    pub(super) async fn is_part_valid(
        &self,
        at: usize,
        rpc: &Rpc,
        cursor: &Cursor,
        head: u64,
    ) -> Result<bool, ChainError> {
        let Some(part) = cursor.part else { return Ok(true) };
        if part.block > head {
            let what = Inconsistency::HeaderMissing(part.block);
            return Err(ChainError::Inconsistent { from: cursor.next, to: part.block, what });
        }
        if rpc.header(part.block).await?.hash == part.hash {
            return Ok(true);
        }
        self.must_be_gone_elsewhere(at, (part.block, part.hash), (cursor.next, part.block)).await?;
        Ok(false)
    }

    /// Undoes what was applied above a block, whose hash is looked up if it is not known, to read it again.
    pub(super) async fn read_again(
        &self,
        rpc: &Rpc,
        cursor: &Cursor,
        (to, hash): (u64, Option<B256>),
        why: &str,
    ) -> Result<(), ChainError> {
        tracing::warn!(stream = %self.options.stream, to, why, "events above this block are read again");
        let hash = match hash {
            Some(hash) => hash,
            None => rpc.header(to).await?.hash,
        };
        self.rewind(cursor, (to, hash)).await
    }

    /// Compares the processed blocks with the endpoint's, and rolls back to the newest that both share.
    pub(super) async fn undo_reorg(
        &self,
        at: usize,
        rpc: &Rpc,
        cursor: &Cursor,
        head: u64,
    ) -> Result<bool, ChainError> {
        if cursor.last() <= head {
            match rpc.find_header(cursor.last()).await? {
                Some(header) if header.hash == cursor.hash => return Ok(false),
                Some(_) => {}
                None => {
                    let (from, to) = (cursor.last(), head);
                    let what = Inconsistency::HeaderMissing(from);
                    return Err(ChainError::Inconsistent { from, to, what });
                }
            }
        }
        let kept = cursor::kept(&mut *self.db.read().await?, &self.options.stream).await?;
        let mut search = AncestorSearch::new(&kept);
        while let Some(number) = search.probe() {
            let found = if number > head { None } else { rpc.find_header(number).await? };
            search.answer(found.map(|header| header.hash));
        }
        let Some((ancestor, hash)) = search.ancestor() else {
            return self.start_over(at, rpc, cursor, &kept).await;
        };
        // Blocks above the endpoint's head are not contradicted, only unknown to it.
        if kept.iter().all(|&(number, _)| number <= ancestor || number > head) {
            return Ok(false);
        }
        self.must_be_gone_elsewhere(at, (cursor.last(), cursor.hash), (cursor.last(), head)).await?;
        self.rewind(cursor, (ancestor, hash)).await?;
        Ok(true)
    }

    /// Refuses to undo a block that another good endpoint still has: the answers of one alone undo nothing.
    async fn must_be_gone_elsewhere(
        &self,
        at: usize,
        (block, hash): (u64, B256),
        (from, to): (u64, u64),
    ) -> Result<(), ChainError> {
        if self.is_kept_elsewhere(at, block, hash).await {
            return Err(ChainError::Inconsistent { from, to, what: Inconsistency::OtherBranch(block) });
        }
        Ok(())
    }

    /// No kept block is on the endpoint's chain. Safe only if the kept ones reach back to the stream's start.
    async fn start_over(
        &self,
        at: usize,
        rpc: &Rpc,
        cursor: &Cursor,
        kept: &[(u64, B256)],
    ) -> Result<bool, ChainError> {
        let anchor = cursor.start.saturating_sub(1);
        let (oldest, stored) = kept.first().copied().unwrap_or((cursor.last(), cursor.hash));
        let found = rpc.find_header(oldest).await?.map(|header| header.hash);
        if oldest != anchor || found.is_none() {
            return Err(ChainError::DeepReorg { oldest, stored, found });
        }
        self.must_be_gone_elsewhere(at, (cursor.last(), cursor.hash), (anchor, cursor.last())).await?;
        let header = rpc.header(anchor).await?;
        self.rewind(cursor, (anchor, header.hash)).await?;
        Ok(true)
    }

    pub(super) async fn rewind(&self, cursor: &Cursor, (to, hash): (u64, B256)) -> Result<(), ChainError> {
        let stream = &self.options.stream;
        let mut tx = self.db.begin().await?;
        cursor::rewind(&mut tx, stream, (cursor.next, cursor.part), to, hash).await?;
        cursor::set_interests(&mut tx, stream, &Interest::stored(&self.followed(cursor))).await?;
        cursor::set_back(&mut tx, stream, cursor.back, cursor.back.map(|back| back.rewound(to))).await?;
        let inform = self.sink.rollback(&mut tx, to).await.map_err(|e| ChainError::Sink {
            from: to + 1,
            to: cursor.last(),
            source: e.into_inner(),
        })?;
        tx.commit().await?;
        tracing::warn!(%stream, from = cursor.last(), to, "reorg: rolled back to the common block");
        self.status.send_modify(|status| {
            status.reach(None, to, Instant::now());
            status.reorgs += 1;
        });
        inform();
        Ok(())
    }
}
