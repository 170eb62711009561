//! What was used on channels: one total for each, over all its sessions.

use std::time::SystemTime;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_channel::{ChannelId, Usage};
use privatix_db::types::Micros;
use privatix_db::{Conn, on};

use crate::StoreError;
use crate::columns::{id, unsigned};
use crate::schema::meters;

/// What has been used on a channel over all its sessions, in the finest measure of its unit, and when that last grew.
///
/// # Errors
/// [`StoreError::Db`]; [`StoreError::Corrupt`] for a negative total.
pub async fn used(conn: &mut Conn, channel: ChannelId) -> Result<(Usage, Option<SystemTime>), StoreError> {
    let query = meters::table.find(id(channel)).select((meters::used, meters::last_usage));
    let row: Option<(i64, Option<Micros>)> = on!(conn, |c| query.first(c).await.optional())?;
    let Some((used, last)) = row else { return Ok((Usage::ZERO, None)) };
    Ok((Usage::new(unsigned("usage", used)?), last.map(SystemTime::from)))
}

/// Adds what a session grew by, in the transaction that stores its total.
///
/// # Errors
/// [`StoreError::Db`].
pub(crate) async fn grow(
    conn: &mut Conn,
    channel: ChannelId,
    by: i64,
    at: SystemTime,
) -> Result<(), StoreError> {
    let query = meters::table.find(id(channel)).select((meters::used, meters::last_usage));
    let row: Option<(i64, Option<Micros>)> = on!(&mut *conn, |c| query.first(c).await.optional())?;
    let at = Micros::from(at);
    if let Some((used, last)) = row {
        let grown = (meters::used.eq(used.saturating_add(by)), meters::last_usage.eq(last.max(Some(at))));
        let update = diesel::update(meters::table.find(id(channel))).set(grown);
        on!(conn, |c| update.execute(c).await)?;
    } else {
        let row = (meters::channel.eq(id(channel)), meters::used.eq(by), meters::last_usage.eq(at));
        on!(conn, |c| diesel::insert_into(meters::table).values(row).execute(c).await)?;
    }
    Ok(())
}
