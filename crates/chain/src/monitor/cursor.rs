//! The monitor's tables.

use alloy::primitives::B256;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_db::types::Bytes32;
use privatix_db::{Conn, DbError, on};

use crate::schema::{chain_blocks, chain_cursors};
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
}

impl Cursor {
    pub(super) fn last(&self) -> u64 {
        self.next.saturating_sub(1)
    }
}

pub(super) async fn load(conn: &mut Conn, stream: &str) -> Result<Option<Cursor>, DbError> {
    let row: Option<(i64, String, i64, i64)> = on!(&mut *conn, |c| {
        chain_cursors::table
            .find(stream)
            .select((
                chain_cursors::chain_id,
                chain_cursors::contracts,
                chain_cursors::start_block,
                chain_cursors::next_block,
            ))
            .first(c)
            .await
            .optional()
    })?;
    let Some((chain_id, contracts, start, next)) = row else { return Ok(None) };
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
    );
    on!(&mut *conn, |c| diesel::insert_into(chain_cursors::table).values(row).execute(c).await)?;
    keep(conn, stream, std::iter::once((cursor.last(), cursor.hash))).await
}

/// Moves the cursor from where the caller saw it; refuses if it is elsewhere by now.
pub(super) async fn advance(conn: &mut Conn, stream: &str, from: u64, to: u64) -> Result<(), ChainError> {
    let (from, to) = (sql::integer(from), sql::integer(to));
    let moved = on!(conn, |c| {
        diesel::update(chain_cursors::table.find(stream).filter(chain_cursors::next_block.eq(from)))
            .set(chain_cursors::next_block.eq(to))
            .execute(c)
            .await
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
    from: u64,
    to: u64,
    hash: B256,
) -> Result<(), ChainError> {
    advance(conn, stream, from, to + 1).await?;
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
