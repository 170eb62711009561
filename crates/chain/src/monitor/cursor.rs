//! The monitor's tables.

use alloy::primitives::B256;
use diesel::SqliteExpressionMethods as _;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_db::types::Bytes32;
use privatix_db::{Conn, DbError, on};

use super::backward::Unsearched;
use super::part::AppliedUpTo;
use crate::schema::{chain_blocks, chain_cursors, chain_txs};
use crate::{ChainError, sql};

/// Where a stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) chain_id: u64,
    pub(super) contracts: String,
    pub(super) start: u64,
    pub(super) next: u64,
    /// Hash of the newest processed block, `next - 1`.
    pub(super) hash: B256,
    /// Its own time, in seconds since the Unix epoch; after a reorg that of a later one.
    pub(super) time: Option<u64>,
    /// What it follows, as [`follow`](super::interest) stores it; empty if that is not known.
    pub(super) interests: String,
    /// How far the batch from `next` on is applied, if a part of it is.
    pub(super) part: Option<AppliedUpTo>,
    /// What is still to be searched for the recent interests; none while they are not followed.
    pub(super) back: Option<Unsearched>,
}

impl Cursor {
    pub(super) fn last(&self) -> u64 {
        self.next.saturating_sub(1)
    }
}

/// How far a stream's logs are applied: all of them up to a block, and none of later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Processed {
    /// The stream's first block.
    pub start: u64,
    /// The last block.
    pub block: u64,
    /// Its hash.
    pub hash: B256,
}

/// How far the stream of this name is; none before its first block, and while a part of a large block is applied.
///
/// # Errors
/// [`DbError::Query`].
pub async fn processed(conn: &mut Conn, stream: &str) -> Result<Option<Processed>, DbError> {
    let cursor =
        load(conn, stream).await?.filter(|cursor| cursor.part.is_none() && cursor.next > cursor.start);
    Ok(cursor.map(|cursor| Processed { start: cursor.start, block: cursor.last(), hash: cursor.hash }))
}

/// Whether the logs of the block with this number and this hash are applied, and were not undone.
///
/// The answer is certain for the newest processed block. It is certain for every other block with a log while it is among the
/// last blocks that the stream [keeps](super::MonitorBuilder::history), and for longer while a transaction of this node is in
/// it or below it whose outcome is not final. Of any other block it is `false`, too: nothing is known of it.
///
/// # Errors
/// [`DbError::Query`].
pub async fn is_processed(conn: &mut Conn, stream: &str, block: u64, hash: B256) -> Result<bool, DbError> {
    let query = chain_blocks::table.find((stream, sql::integer(block))).select(chain_blocks::hash);
    let found: Option<Bytes32> = on!(conn, |c| query.first(c).await.optional())?;
    Ok(found.is_some_and(|found| found == hash.into()))
}

/// The lowest block with a transaction of this node whose outcome is not final yet; none if there is no such transaction.
pub(super) async fn lowest_not_final(conn: &mut Conn, chain_id: u64) -> Result<Option<u64>, DbError> {
    // Written out, so that SQLite finds the index of the transactor's working set.
    let watched = diesel::dsl::sql::<diesel::sql_types::Bool>("watched = 1");
    let query = chain_txs::table
        .filter(chain_txs::chain_id.eq(sql::integer(chain_id)))
        .filter(watched)
        .select(diesel::dsl::min(chain_txs::block));
    let lowest: Option<i64> = on!(conn, |c| query.first(c).await)?;
    lowest.map(|block| sql::number("block of a transaction", block)).transpose()
}

type Row = (
    (i64, String, i64, i64, String),
    (Option<i64>, Option<i64>, Option<Bytes32>),
    Option<i64>,
    (Option<i64>, Option<i64>),
);

pub(super) async fn load(conn: &mut Conn, stream: &str) -> Result<Option<Cursor>, DbError> {
    let row: Option<Row> = on!(&mut *conn, |c| {
        chain_cursors::table
            .find(stream)
            .select((
                (
                    chain_cursors::chain_id,
                    chain_cursors::contracts,
                    chain_cursors::start_block,
                    chain_cursors::next_block,
                    chain_cursors::interests,
                ),
                (chain_cursors::part_block, chain_cursors::part_index, chain_cursors::part_hash),
                chain_cursors::block_time,
                (chain_cursors::back_next, chain_cursors::back_until),
            ))
            .first(c)
            .await
            .optional()
    })?;
    let Some(((chain_id, contracts, start, next, interests), part, time, back)) = row else {
        return Ok(None);
    };
    let next = sql::number("next block", next)?;
    let last = sql::integer(next.saturating_sub(1));
    let hash: Bytes32 = on!(conn, |c| {
        chain_blocks::table.find((stream, last)).select(chain_blocks::hash).first(c).await
    })?;
    Ok(Some(Cursor {
        chain_id: sql::number("chain id", chain_id)?,
        contracts,
        start: sql::number("start block", start)?,
        next,
        hash: hash.bytes().into(),
        time: time.map(|time| sql::number("block time", time)).transpose()?,
        interests,
        part: match part {
            (Some(block), Some(index), Some(hash)) => Some(AppliedUpTo {
                block: sql::number("block of a part", block)?,
                index: sql::number("index of a part", index)?,
                hash: hash.bytes().into(),
            }),
            _ => None,
        },
        back: match back {
            (Some(next), Some(until)) => Some(Unsearched {
                next: sql::number("next block of the past", next)?,
                until: sql::number("last block of the past", until)?,
            }),
            _ => None,
        },
    }))
}

/// Creates the cursor, with the block before the first as the anchor.
pub(super) async fn create(conn: &mut Conn, stream: &str, cursor: &Cursor) -> Result<(), DbError> {
    let row = (
        chain_cursors::stream.eq(stream),
        chain_cursors::chain_id.eq(sql::integer(cursor.chain_id)),
        chain_cursors::contracts.eq(&cursor.contracts),
        chain_cursors::start_block.eq(sql::integer(cursor.start)),
        chain_cursors::next_block.eq(sql::integer(cursor.next)),
        chain_cursors::interests.eq(&cursor.interests),
        chain_cursors::block_time.eq(cursor.time.map(sql::integer)),
    );
    on!(&mut *conn, |c| diesel::insert_into(chain_cursors::table).values(row).execute(c).await)?;
    keep(conn, stream, std::iter::once((cursor.last(), cursor.hash))).await
}

/// Moves the cursor to block `to`, or to a part of the batch that begins there, from where the caller saw it; refuses if it
/// is elsewhere by now.
pub(super) async fn advance(
    conn: &mut Conn,
    stream: &str,
    (from, from_part): (u64, Option<AppliedUpTo>),
    (to, part): (u64, Option<AppliedUpTo>),
) -> Result<(), ChainError> {
    let (from, to) = (sql::integer(from), sql::integer(to));
    let (block, index) =
        (from_part.map(|part| sql::integer(part.block)), from_part.map(|part| sql::integer(part.index)));
    let seen = chain_cursors::next_block
        .eq(from)
        .and(chain_cursors::part_block.is(block))
        .and(chain_cursors::part_index.is(index));
    let change = (
        chain_cursors::next_block.eq(to),
        chain_cursors::part_block.eq(part.map(|part| sql::integer(part.block))),
        chain_cursors::part_index.eq(part.map(|part| sql::integer(part.index))),
        chain_cursors::part_hash.eq(part.map(|part| Bytes32::from(part.hash))),
    );
    let moved = on!(conn, |c| {
        diesel::update(chain_cursors::table.find(stream).filter(seen)).set(change).execute(c).await
    })?;
    if moved == 1 { Ok(()) } else { Err(ChainError::CursorMoved { stream: stream.to_owned() }) }
}

/// Stores the own time of the newest processed block.
pub(super) async fn set_time(conn: &mut Conn, stream: &str, time: u64) -> Result<(), DbError> {
    on!(conn, |c| {
        diesel::update(chain_cursors::table.find(stream))
            .set(chain_cursors::block_time.eq(sql::integer(time)))
            .execute(c)
            .await
    })?;
    Ok(())
}

/// Stores what the stream follows.
pub(super) async fn set_interests(conn: &mut Conn, stream: &str, interests: &str) -> Result<(), DbError> {
    on!(conn, |c| {
        diesel::update(chain_cursors::table.find(stream))
            .set(chain_cursors::interests.eq(interests))
            .execute(c)
            .await
    })?;
    Ok(())
}

/// Stores what is still to be searched, where the caller saw `seen`; refuses if it is something else by now.
pub(super) async fn set_back(
    conn: &mut Conn,
    stream: &str,
    seen: Option<Unsearched>,
    back: Option<Unsearched>,
) -> Result<(), ChainError> {
    let next = |back: Option<Unsearched>| back.map(|back| sql::integer(back.next));
    let until = |back: Option<Unsearched>| back.map(|back| sql::integer(back.until));
    let before = chain_cursors::back_next.is(next(seen)).and(chain_cursors::back_until.is(until(seen)));
    let change = (chain_cursors::back_next.eq(next(back)), chain_cursors::back_until.eq(until(back)));
    let moved = on!(conn, |c| {
        diesel::update(chain_cursors::table.find(stream).filter(before)).set(change).execute(c).await
    })?;
    if moved == 1 { Ok(()) } else { Err(ChainError::CursorMoved { stream: stream.to_owned() }) }
}

/// Remembers hashes of processed blocks.
pub(super) async fn keep(
    conn: &mut Conn,
    stream: &str,
    blocks: impl Iterator<Item = (u64, B256)>,
) -> Result<(), DbError> {
    let rows: Vec<_> = blocks
        .map(|(number, hash)| {
            (
                chain_blocks::stream.eq(stream.to_owned()),
                chain_blocks::number.eq(sql::integer(number)),
                chain_blocks::hash.eq(Bytes32::from(hash)),
            )
        })
        .collect();
    for row in rows {
        on!(&mut *conn, |c| diesel::insert_into(chain_blocks::table).values(row).execute(c).await)?;
    }
    Ok(())
}

/// Moves the cursor back behind block `to`, whose hash on the new branch is `hash`, and forgets the hashes above it.
pub(super) async fn rewind(
    conn: &mut Conn,
    stream: &str,
    from: (u64, Option<AppliedUpTo>),
    to: u64,
    hash: B256,
) -> Result<(), ChainError> {
    advance(conn, stream, from, (to + 1, None)).await?;
    let number = sql::integer(to);
    on!(&mut *conn, |c| {
        diesel::delete(chain_blocks::table)
            .filter(chain_blocks::stream.eq(stream).and(chain_blocks::number.ge(number)))
            .execute(c)
            .await
    })?;
    keep(conn, stream, std::iter::once((to, hash))).await?;
    Ok(())
}

/// Forgets the hashes below a block, but never the newest of them: some hash at or below `number` always stays.
pub(super) async fn forget_below(conn: &mut Conn, stream: &str, number: u64) -> Result<(), DbError> {
    let number = sql::integer(number);
    let anchor: Option<i64> = on!(&mut *conn, |c| {
        chain_blocks::table
            .filter(chain_blocks::stream.eq(stream).and(chain_blocks::number.le(number)))
            .select(diesel::dsl::max(chain_blocks::number))
            .first(c)
            .await
    })?;
    let Some(anchor) = anchor else { return Ok(()) };
    on!(conn, |c| {
        diesel::delete(chain_blocks::table)
            .filter(chain_blocks::stream.eq(stream).and(chain_blocks::number.lt(anchor)))
            .execute(c)
            .await
    })?;
    Ok(())
}

/// All kept hashes, ascending.
pub(super) async fn kept(conn: &mut Conn, stream: &str) -> Result<Vec<(u64, B256)>, DbError> {
    let rows: Vec<(i64, Bytes32)> = on!(conn, |c| {
        chain_blocks::table
            .filter(chain_blocks::stream.eq(stream))
            .order(chain_blocks::number)
            .select((chain_blocks::number, chain_blocks::hash))
            .load(c)
            .await
    })?;
    rows.into_iter()
        .map(|(number, hash)| Ok((sql::number("block number", number)?, hash.bytes().into())))
        .collect()
}
