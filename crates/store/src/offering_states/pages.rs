//! Pages of the offerings whose states are to be looked at.

use alloy::primitives::Address;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary};
use diesel_async::RunQueryDsl;
use privatix_channel::{ChainTime, OfferingHash};
use privatix_db::types::{Addr, Bytes32};
use privatix_db::{Conn, on};
use privatix_market::{Uptime, Wake};

use super::Key;
use crate::StoreError;
use crate::columns::{narrow, unsigned};
use crate::schema::offering_states;
use crate::statement::{Statement, Value};
use crate::states::{milliseconds, seconds};

/// How many offerings a page has, at most.
pub const PAGE: usize = 200;

/// What an offering waits for until its time comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// For the answer to a request.
    ForAnswer,
    /// For nothing but the time.
    ForTime,
}

/// The next page of the offerings that have no state, those after `after`, in the order of their keys, at most `limit`.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn without(conn: &mut Conn, after: Option<Key>, limit: u32) -> Result<Vec<Key>, StoreError> {
    let sql = "SELECT agent, hash FROM offerings WHERE (agent, hash) > (?, ?) AND NOT EXISTS \
               (SELECT 1 FROM offering_states AS s WHERE s.agent = offerings.agent AND s.hash = offerings.hash) \
               ORDER BY agent, hash LIMIT ?";
    let [agent, hash] = bytes(after);
    let query = Statement::<(Binary, Binary)>::new(sql, vec![agent, hash, Value::Number(limit.into())]);
    let keys: Vec<(Addr, Bytes32)> = on!(conn, |c| query.load(c).await)?;
    Ok(keys.into_iter().map(key).collect())
}

/// The offerings of an agent that have a state, in the order of their hashes.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn of_agent(conn: &mut Conn, agent: Address) -> Result<Vec<OfferingHash>, StoreError> {
    let query = offering_states::table
        .filter(offering_states::agent.eq(Addr::from(agent)))
        .order(offering_states::hash)
        .select(offering_states::hash);
    let hashes: Vec<Bytes32> = on!(conn, |c| query.load(c).await)?;
    Ok(hashes.into_iter().map(|hash| OfferingHash::new(hash.bytes().into())).collect())
}

/// How many requests to agents are under way.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn under_way(conn: &mut Conn) -> Result<u32, StoreError> {
    // Each has a time at which it is given up.
    let query = offering_states::table
        .filter(offering_states::asked.eq(true))
        .filter(offering_states::wake_at.is_not_null())
        .count();
    let count: i64 = on!(conn, |c| query.get_result(c).await)?;
    narrow("requests under way", count)
}

/// The next page of the offerings whose time has come by the node's uptime, those after `after`, the longest due first, each with its
/// time. Fewer than [`PAGE`] are the last ones.
///
/// The time of an offering that is looked at moves on; that of one which cannot be decided about does not, so go on after the last one.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn due_by_uptime(
    conn: &mut Conn,
    waits: Waits,
    now: Uptime,
    after: Option<(Uptime, Key)>,
) -> Result<Vec<(Uptime, Key)>, StoreError> {
    let sql = match waits {
        Waits::ForAnswer => {
            "SELECT wake_at, agent, hash FROM offering_states WHERE asked = TRUE AND wake_at <= ? \
             AND (wake_at, agent, hash) > (?, ?, ?) ORDER BY wake_at, agent, hash LIMIT 200"
        }
        Waits::ForTime => {
            "SELECT wake_at, agent, hash FROM offering_states WHERE asked = FALSE AND wake_at <= ? \
             AND (wake_at, agent, hash) > (?, ?, ?) ORDER BY wake_at, agent, hash LIMIT 200"
        }
    };
    let due = page(conn, sql, milliseconds(now), after.map(|(at, key)| (milliseconds(at), key))).await?;
    Ok(due.into_iter().map(|(at, key)| (Uptime::new(at), key)).collect())
}

/// As [`due_by_uptime`], by the chain's clock.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn due_by_chain(
    conn: &mut Conn,
    now: ChainTime,
    after: Option<(ChainTime, Key)>,
) -> Result<Vec<(ChainTime, Key)>, StoreError> {
    let sql = "SELECT wake_chain, agent, hash FROM offering_states WHERE wake_chain <= ? \
               AND (wake_chain, agent, hash) > (?, ?, ?) ORDER BY wake_chain, agent, hash LIMIT 200";
    let due = page(conn, sql, seconds(now), after.map(|(at, key)| (seconds(at), key))).await?;
    Ok(due.into_iter().map(|(at, key)| (ChainTime::new(at), key)).collect())
}

async fn page(
    conn: &mut Conn,
    sql: &'static str,
    now: i64,
    after: Option<(i64, Key)>,
) -> Result<Vec<(u64, Key)>, StoreError> {
    let (at, last) = after.map_or((-1, None), |(at, key)| (at, Some(key)));
    let [agent, hash] = bytes(last);
    let values = vec![Value::Number(now), Value::Number(at), agent, hash];
    let query = Statement::<(BigInt, Binary, Binary)>::new(sql, values);
    let rows: Vec<(i64, Addr, Bytes32)> = on!(conn, |c| query.load(c).await)?;
    rows.into_iter().map(|(at, agent, hash)| Ok((unsigned("wake time", at)?, key((agent, hash))))).collect()
}

/// The earliest times after these at which an offering is to be looked at that waits for this; the chain's clock counts for all. What
/// is due by them already, [`due_by_uptime`] and [`due_by_chain`] give.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn next(conn: &mut Conn, waits: Waits, after: Wake) -> Result<Wake, StoreError> {
    let (at, chain) = (offering_states::wake_at, offering_states::wake_chain);
    let later = offering_states::table
        .filter(offering_states::asked.eq(waits == Waits::ForAnswer))
        .filter(at.gt(after.uptime.map_or(-1, milliseconds)));
    let uptime = later.order(at).select(at.assume_not_null());
    let uptime: Option<i64> = on!(&mut *conn, |c| uptime.first(c).await.optional())?;
    let later = offering_states::table.filter(chain.gt(after.chain.map_or(-1, seconds)));
    let by_chain = later.order(chain).select(chain.assume_not_null());
    let by_chain: Option<i64> = on!(conn, |c| by_chain.first(c).await.optional())?;
    Ok(Wake {
        uptime: uptime.map(|at| unsigned("wake time", at).map(Uptime::new)).transpose()?,
        chain: by_chain.map(|at| unsigned("wake time", at).map(ChainTime::new)).transpose()?,
    })
}

/// The values that a key is compared with; those of no key are below all others.
fn bytes(key: Option<Key>) -> [Value; 2] {
    let (agent, hash) =
        key.map_or_else(Default::default, |(agent, hash)| (agent.to_vec(), hash.as_b256().to_vec()));
    [Value::Bytes(Some(agent)), Value::Bytes(Some(hash))]
}

fn key((agent, hash): (Addr, Bytes32)) -> Key {
    (agent.bytes().into(), OfferingHash::new(hash.bytes().into()))
}
