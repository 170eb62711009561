//! Whether this database came back from a backup, and has not caught up yet with what happened since.
//!
//! The mark is written into each copy when it is made, not when it comes back: a copy that somebody puts in place by hand is
//! recognised as well.

use std::time::SystemTime;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_db::types::Micros;
use privatix_db::{Conn, on};

use crate::StoreError;
use crate::schema::recovery;

/// What is unknown to a database that came back from a backup: everything between the backup and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// When the copy was made. Vouchers accepted and transactions sent after it are not known here.
    pub backed_up_at: SystemTime,
    /// When the chain had been caught up with. Vouchers can still be missing.
    pub caught_up_at: Option<SystemTime>,
}

/// The SQL that marks a copy made at `at`. In place of an older mark, as the copy is the newer one, and its recovery begins
/// from the start.
pub fn mark(at: SystemTime) -> String {
    let Micros(at) = at.into();
    format!(
        "INSERT INTO recovery (id, backed_up_at) VALUES (1, {at}) \
         ON CONFLICT (id) DO UPDATE SET backed_up_at = excluded.backed_up_at, caught_up_at = NULL"
    )
}

/// The SQL that marks a file of this time that may have come without a mark. One that it has stays.
pub fn mark_if_unmarked(at: SystemTime) -> String {
    let Micros(at) = at.into();
    format!("INSERT OR IGNORE INTO recovery (id, backed_up_at) VALUES (1, {at})")
}

/// The mark, while it stands.
pub async fn get(conn: &mut Conn) -> Result<Option<Recovery>, StoreError> {
    let query = recovery::table.filter(recovery::id.eq(1));
    let query = query.select((recovery::backed_up_at, recovery::caught_up_at));
    let row: Option<(Micros, Option<Micros>)> = on!(conn, |c| query.first(c).await.optional())?;
    Ok(row.map(|(backed_up_at, caught_up_at)| Recovery {
        backed_up_at: backed_up_at.into(),
        caught_up_at: caught_up_at.map(Into::into),
    }))
}

/// Notes when the chain had been caught up with; a second call changes nothing.
pub async fn caught_up(conn: &mut Conn, at: SystemTime) -> Result<(), StoreError> {
    let unset = recovery::table.filter(recovery::caught_up_at.is_null());
    let query = diesel::update(unset).set(recovery::caught_up_at.eq(Micros::from(at)));
    on!(conn, |c| query.execute(c).await)?;
    Ok(())
}

/// Replaces the time at which the chain had been caught up with, which was noted by a clock that was wrong.
pub async fn correct(conn: &mut Conn, at: SystemTime) -> Result<(), StoreError> {
    let set = recovery::table.filter(recovery::caught_up_at.is_not_null());
    let query = diesel::update(set).set(recovery::caught_up_at.eq(Micros::from(at)));
    on!(conn, |c| query.execute(c).await)?;
    Ok(())
}

/// Removes the mark. Returns whether there was one.
pub async fn end(conn: &mut Conn) -> Result<bool, StoreError> {
    Ok(on!(conn, |c| diesel::delete(recovery::table).execute(c).await)? > 0)
}
