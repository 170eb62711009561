//! How folds stood after some of their events: where folding begins again after later events were undone.

use alloy::primitives::Address;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;
use privatix_channel::{ChannelId, LogPosition, OfferingHash};
use privatix_db::{Conn, on};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StoreError;
use crate::columns::{from_json, signed, to_json};
use crate::events::{self, position};
use crate::schema::fold_snapshots;
use crate::statement::{Statement, Value};

/// What is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Channel(ChannelId),
    Offering(Address, OfferingHash),
}

impl Subject {
    fn key(self) -> Vec<u8> {
        match self {
            Self::Channel(id) => id.as_b256().to_vec(),
            Self::Offering(agent, hash) => [agent.as_slice(), hash.as_b256().as_slice()].concat(),
        }
    }
}

/// The last snapshot, with the place of the last event in it; none if it cannot be read.
pub(crate) async fn newest<S: DeserializeOwned>(
    conn: &mut Conn,
    subject: Subject,
) -> Result<Option<(LogPosition, S)>, StoreError> {
    let query = fold_snapshots::table
        .filter(fold_snapshots::subject.eq(subject.key()))
        .order((fold_snapshots::block.desc(), fold_snapshots::log_index.desc()))
        .select((fold_snapshots::block, fold_snapshots::log_index, fold_snapshots::state));
    let row: Option<(i64, i64, String)> = on!(conn, |c| query.first(c).await.optional())?;
    let Some((block, index, state)) = row else { return Ok(None) };
    match from_json("snapshot", &state) {
        Ok(state) => Ok(Some((position(block, index)?, state))),
        Err(error) => {
            tracing::error!(%error, "folding the stored events from the first one on");
            Ok(None)
        }
    }
}

/// Stores how a fold stands after the event of this place.
pub(crate) async fn keep<S: Serialize>(
    conn: &mut Conn,
    subject: Subject,
    at: LogPosition,
    state: &S,
) -> Result<(), StoreError> {
    let row = (
        fold_snapshots::subject.eq(subject.key()),
        fold_snapshots::block.eq(signed("block", at.block)?),
        fold_snapshots::log_index.eq(signed("log index", at.index)?),
        fold_snapshots::state.eq(to_json("snapshot", state)?),
    );
    // In place of one that cannot be read.
    let insert = diesel::insert_into(fold_snapshots::table)
        .values(row)
        .on_conflict((fold_snapshots::subject, fold_snapshots::block, fold_snapshots::log_index))
        .do_update()
        .set(fold_snapshots::state.eq(excluded(fold_snapshots::state)));
    on!(conn, |c| insert.execute(c).await)?;
    Ok(())
}

/// Deletes the snapshots from this position on, which lack an event that is found late; all of them without a position.
pub(crate) async fn forget_from(
    conn: &mut Conn,
    subject: Subject,
    at: Option<LogPosition>,
) -> Result<(), StoreError> {
    let (block, index) = events::columns_of(at)?;
    let from = diesel::dsl::sql::<Bool>("(block, log_index) >= (")
        .bind::<diesel::sql_types::BigInt, _>(block)
        .sql(", ")
        .bind::<diesel::sql_types::BigInt, _>(index)
        .sql(")");
    let late = fold_snapshots::table.filter(fold_snapshots::subject.eq(subject.key())).filter(from);
    on!(conn, |c| diesel::delete(late).execute(c).await)?;
    Ok(())
}

/// Deletes all snapshots of these subjects, which lack events that are older than those in them.
pub(crate) async fn forget(conn: &mut Conn, subjects: &[Subject]) -> Result<(), StoreError> {
    for some in subjects.chunks(AT_ONCE) {
        // Always as many, so that the statement is prepared once.
        let padded = some.iter().chain(some.iter().cycle()).take(AT_ONCE);
        let values = padded.map(|subject| Value::Bytes(Some(subject.key()))).collect();
        let sql = format!("DELETE FROM fold_snapshots WHERE subject IN ({})", vec!["?"; AT_ONCE].join(", "));
        let delete = Statement::<()>::new(sql, values);
        on!(&mut *conn, |c| delete.execute(c).await)?;
    }
    Ok(())
}

/// How many subjects a statement names.
const AT_ONCE: usize = 100;

/// Deletes the snapshots above a block, of everything.
pub(crate) async fn forget_above(conn: &mut Conn, block: u64) -> Result<(), StoreError> {
    let above = fold_snapshots::table.filter(fold_snapshots::block.gt(signed("block", block)?));
    on!(conn, |c| diesel::delete(above).execute(c).await)?;
    Ok(())
}
