//! For how long a process has run, and how often it was started: one row for each process of a database.

use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use privatix_db::{Conn, on};
use privatix_market::Uptime;

use crate::StoreError;
use crate::columns::{signed, unsigned};
use crate::schema::service_clock;

/// A start of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// For how long the process had run before, as far as that was stored.
    pub uptime: Uptime,
    /// The start's number, from 1 on.
    pub number: u64,
}

/// Counts a start of the process.
///
/// # Errors
/// [`StoreError::Db`], [`StoreError::Corrupt`].
pub async fn start(conn: &mut Conn, process: &str) -> Result<Start, StoreError> {
    let one_more = diesel::dsl::sql::<BigInt>("service_clock.starts + 1");
    let first =
        (service_clock::process.eq(process), service_clock::uptime.eq(0), service_clock::starts.eq(1));
    let count = diesel::insert_into(service_clock::table)
        .values(first)
        .on_conflict(service_clock::process)
        .do_update()
        .set(service_clock::starts.eq(one_more))
        .returning((service_clock::uptime, service_clock::starts));
    let (uptime, number): (i64, i64) = on!(conn, |c| count.get_result(c).await)?;
    Ok(Start {
        uptime: Uptime::new(unsigned("uptime", uptime)?),
        number: unsigned("number of a start", number)?,
    })
}

/// Stores for how long the process has run. A shorter time than what is stored changes nothing.
///
/// # Errors
/// [`StoreError::Db`]; [`StoreError::Corrupt`] for more than 2^63 - 1 ms.
pub async fn keep(conn: &mut Conn, process: &str, uptime: Uptime) -> Result<(), StoreError> {
    let uptime = signed("uptime", uptime.milliseconds())?;
    let before = service_clock::table.find(process).filter(service_clock::uptime.lt(uptime));
    let update = diesel::update(before).set(service_clock::uptime.eq(uptime));
    on!(conn, |c| update.execute(c).await)?;
    Ok(())
}
