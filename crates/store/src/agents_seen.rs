//! The agents that proved a key of a messaging session to this client.

use alloy::primitives::Address;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_db::types::Addr;
use privatix_db::{Conn, on};

use crate::StoreError;
use crate::columns::{narrow, signed, unsigned};
use crate::schema::agents_seen;

/// What is remembered of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The highest version of the messaging protocol that it has said it speaks: 2 or a later one.
    pub version: u16,
    /// When the newest of its words about its keys was given, in seconds since the Unix epoch.
    pub issued_at: u64,
}

/// What is remembered of this agent, if it proved a key here.
///
/// # Errors
/// [`StoreError::Db`], [`StoreError::Corrupt`].
pub async fn get(conn: &mut Conn, agent: Address) -> Result<Option<Seen>, StoreError> {
    let query =
        agents_seen::table.find(Addr::from(agent)).select((agents_seen::version, agents_seen::issued_at));
    let row: Option<(i32, i64)> = on!(conn, |c| query.first(c).await.optional())?;
    row.map(read).transpose()
}

fn read((version, issued_at): (i32, i64)) -> Result<Seen, StoreError> {
    let version = narrow("version of an agent", version.into())?;
    Ok(Seen { version, issued_at: unsigned("time of an agent's word", issued_at)? })
}

/// Remembers what an agent proved. Neither a lower version nor an earlier word than what is remembered changes anything.
///
/// # Errors
/// [`StoreError::Db`]; [`StoreError::Corrupt`] for a time of more than 2^63 - 1 s.
pub async fn note(conn: &mut Conn, agent: Address, seen: Seen) -> Result<(), StoreError> {
    let before = get(conn, agent).await?;
    let Seen { version, issued_at } = before.map_or(seen, |before| Seen {
        version: before.version.max(seen.version),
        issued_at: before.issued_at.max(seen.issued_at),
    });
    let values = (
        agents_seen::version.eq(i32::from(version)),
        agents_seen::issued_at.eq(signed("time of an agent's word", issued_at)?),
    );
    let agent = Addr::from(agent);
    if before.is_some() {
        let update = diesel::update(agents_seen::table.find(agent)).set(values);
        on!(conn, |c| update.execute(c).await)?;
    } else {
        let insert = diesel::insert_into(agents_seen::table).values((agents_seen::agent.eq(agent), values));
        on!(conn, |c| insert.execute(c).await)?;
    }
    Ok(())
}

/// Forgets an agent, so that version 1 may be spoken with it again. Gives whether anything was remembered of it.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn forget(conn: &mut Conn, agent: Address) -> Result<bool, StoreError> {
    let delete = diesel::delete(agents_seen::table.find(Addr::from(agent)));
    Ok(on!(conn, |c| delete.execute(c).await)? > 0)
}
