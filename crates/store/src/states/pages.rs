//! Pages of the channels whose states are to be looked at.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary};
use diesel_async::RunQueryDsl;
use privatix_channel::{ChainTime, ChannelId};
use privatix_db::types::Bytes32;
use privatix_db::{Conn, on};
use privatix_market::{Uptime, Wake};

use super::due::{milliseconds, seconds};
use crate::StoreError;
use crate::columns::unsigned;
use crate::schema::channel_states;
use crate::statement::{Statement, Value};

/// How many channels a page has, at most.
pub const PAGE: usize = 200;

/// The next page of the channels whose states are not final, those after `after`, in the order of their ids. Fewer than
/// [`PAGE`] are the last ones. At a start each of them is looked at once.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn not_final(conn: &mut Conn, after: Option<ChannelId>) -> Result<Vec<ChannelId>, StoreError> {
    let after = after.map_or_else(Vec::new, |after| after.as_b256().to_vec());
    let sql = "SELECT channel FROM channel_states WHERE NOT final AND channel > ? ORDER BY channel LIMIT 200";
    let query = Statement::<Binary>::new(sql, vec![Value::Bytes(Some(after))]);
    let ids: Vec<Bytes32> = on!(conn, |c| query.load(c).await)?;
    Ok(ids.into_iter().map(channel).collect())
}

/// The next page of the channels that are kept and have no state, those after `after`, in the order of their ids, at most `limit`.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn without(
    conn: &mut Conn,
    after: Option<ChannelId>,
    limit: u32,
) -> Result<Vec<ChannelId>, StoreError> {
    let after = after.map_or_else(Vec::new, |after| after.as_b256().to_vec());
    let sql = "SELECT id FROM channels WHERE id > ? \
               AND NOT EXISTS (SELECT 1 FROM channel_states WHERE channel = channels.id) ORDER BY id LIMIT ?";
    let values = vec![Value::Bytes(Some(after)), Value::Number(limit.into())];
    let query = Statement::<Binary>::new(sql, values);
    let ids: Vec<Bytes32> = on!(conn, |c| query.load(c).await)?;
    Ok(ids.into_iter().map(channel).collect())
}

/// The next page of the channels whose time has come by the node's uptime, those after `after`, the longest due first, each with
/// its time. Fewer than [`PAGE`] are the last ones.
///
/// The time of a channel that is looked at moves on; that of one which cannot be decided about does not, so go on after the last
/// one.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn due_by_uptime(
    conn: &mut Conn,
    now: Uptime,
    after: Option<(Uptime, ChannelId)>,
) -> Result<Vec<(Uptime, ChannelId)>, StoreError> {
    let sql = "SELECT wake_at, channel FROM channel_states \
               WHERE wake_at <= ? AND (wake_at, channel) > (?, ?) ORDER BY wake_at, channel LIMIT 200";
    let page = page(conn, sql, milliseconds(now), after.map(|(at, channel)| (milliseconds(at), channel)));
    Ok(page.await?.into_iter().map(|(at, channel)| (Uptime::new(at), channel)).collect())
}

/// As [`due_by_uptime`], by the chain's clock.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn due_by_chain(
    conn: &mut Conn,
    now: ChainTime,
    after: Option<(ChainTime, ChannelId)>,
) -> Result<Vec<(ChainTime, ChannelId)>, StoreError> {
    let sql = "SELECT wake_chain, channel FROM channel_states \
               WHERE wake_chain <= ? AND (wake_chain, channel) > (?, ?) ORDER BY wake_chain, channel LIMIT 200";
    let page = page(conn, sql, seconds(now), after.map(|(at, channel)| (seconds(at), channel)));
    Ok(page.await?.into_iter().map(|(at, channel)| (ChainTime::new(at), channel)).collect())
}

async fn page(
    conn: &mut Conn,
    sql: &'static str,
    now: i64,
    after: Option<(i64, ChannelId)>,
) -> Result<Vec<(u64, ChannelId)>, StoreError> {
    let (at, last) = after.map_or((-1, Vec::new()), |(at, channel)| (at, channel.as_b256().to_vec()));
    let values = vec![Value::Number(now), Value::Number(at), Value::Bytes(Some(last))];
    let query = Statement::<(BigInt, Binary)>::new(sql, values);
    let rows: Vec<(i64, Bytes32)> = on!(conn, |c| query.load(c).await)?;
    rows.into_iter().map(|(at, id)| Ok((unsigned("wake time", at)?, channel(id)))).collect()
}

fn channel(id: Bytes32) -> ChannelId {
    ChannelId::new(id.bytes().into())
}

/// The earliest times after these at which a state is to be looked at. What is due by them already, [`due_by_uptime`] and
/// [`due_by_chain`] give.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn next(conn: &mut Conn, after: Wake) -> Result<Wake, StoreError> {
    let (at, chain) = (channel_states::wake_at, channel_states::wake_chain);
    let later = channel_states::table.filter(at.gt(after.uptime.map_or(-1, milliseconds)));
    let uptime = later.order(at).select(at.assume_not_null());
    let uptime: Option<i64> = on!(&mut *conn, |c| uptime.first(c).await.optional())?;
    let later = channel_states::table.filter(chain.gt(after.chain.map_or(-1, seconds)));
    let by_chain = later.order(chain).select(chain.assume_not_null());
    let by_chain: Option<i64> = on!(conn, |c| by_chain.first(c).await.optional())?;
    Ok(Wake {
        uptime: uptime.map(|at| unsigned("wake time", at).map(Uptime::new)).transpose()?,
        chain: by_chain.map(|at| unsigned("wake time", at).map(ChainTime::new)).transpose()?,
    })
}
