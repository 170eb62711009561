//! What is decided about an offering, own or another agent's: the [`OfferingState`], loaded and saved as one value.
//!
//! As for channels (see [`states`](crate::states)): [`save`] adds one to the row's revision, and stores nothing where another decision
//! came first. What the chain shows is the fold of [`crate::offerings`], and is not copied here.

mod pages;

use std::collections::BTreeMap;
use std::time::SystemTime;

use alloy::primitives::Address;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
use diesel_async::RunQueryDsl;
use privatix_channel::{ChainTime, OfferingHash};
use privatix_db::types::{Addr, Bytes32, Micros};
use privatix_db::{Conn, on};
use privatix_market::offering::{OfferingState, Ownership, Shown};
use privatix_market::{Uptime, Wake};

pub use self::pages::{PAGE, Waits, due_by_chain, due_by_uptime, next, of_agent, under_way, without};
use crate::columns::{from_json, hash, signed, to_json, unsigned};
use crate::schema::offering_states;
use crate::statement::{Statement, Value};
use crate::states::{Saved, Unreadable, milliseconds, seconds, unless_damaged};
use crate::{StoreError, fold, offerings};

/// The form of what is stored as JSON. A field more, with a default, is the same form.
const SCHEMA: i32 = 1;

/// An offering: its agent and its hash.
pub type Key = (Address, OfferingHash);

/// The state of an offering with what its row says beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// The state.
    pub state: OfferingState,
    /// How often it was stored. A later one has a higher revision.
    pub revision: u64,
    /// When it is to be looked at.
    pub wake: Wake,
    /// When its agent last sent its message, by this machine's clock.
    pub seen_at: Option<SystemTime>,
}

/// What is stored of an offering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// All of it can be read.
    Whole(Box<Stored>),
    /// Something cannot be read. Nothing is decided about the offering until it was repaired.
    Damaged(Unreadable),
}

/// The state of an offering; `None` where there is none yet, or no offering.
///
/// # Errors
/// [`StoreError::Db`]. What cannot be read of the offering is no error, as it must not stop what is done about others.
pub async fn load(conn: &mut Conn, offering: Key) -> Result<Option<Loaded>, StoreError> {
    Ok(load_all(conn, &[offering]).await?.remove(&offering))
}

/// The states of these offerings, of those that have one.
///
/// # Errors
/// As [`load`].
pub async fn load_all(conn: &mut Conn, offerings: &[Key]) -> Result<BTreeMap<Key, Loaded>, StoreError> {
    let mut found = BTreeMap::new();
    for some in offerings.chunks(AT_ONCE) {
        let query = with_keys(some);
        let rows: Vec<Row> = on!(&mut *conn, |c| query.load(c).await)?;
        for row in rows {
            let key = (row.0.bytes().into(), OfferingHash::new(row.1.bytes().into()));
            let loaded = match read(conn, key, row).await? {
                Ok(stored) => Loaded::Whole(Box::new(stored)),
                Err(unreadable) => Loaded::Damaged(unreadable),
            };
            found.insert(key, loaded);
        }
    }
    Ok(found)
}

/// How many offerings a statement looks up.
const AT_ONCE: usize = 100;

type Columns = (
    Binary,
    Binary,
    (Integer, BigInt, Text),
    (Nullable<BigInt>, Nullable<BigInt>, Nullable<BigInt>),
    (Nullable<Integer>, Nullable<Text>, Nullable<BigInt>),
);
type Row = (Addr, Bytes32, Own, Times, OnChain);
type Own = (i32, i64, String);
type Times = (Option<i64>, Option<i64>, Option<Micros>);
type OnChain = (Option<i32>, Option<String>, Option<Micros>);

/// The states of at most [`AT_ONCE`] offerings: in a statement of the same text, so that it is prepared once.
fn with_keys(keys: &[Key]) -> Statement<Columns> {
    let some = if keys.len() == 1 { 1 } else { AT_ONCE };
    let mut values: Vec<Value> = keys
        .iter()
        .flat_map(|(agent, hash)| [agent.as_slice().into(), hash.as_b256().as_slice().into()])
        .collect();
    values.resize_with(some.saturating_mul(2), || Value::Bytes(None)); // no offering
    // A cross join keeps the order: each offering is looked up by its key.
    let sql = format!(
        "SELECT s.agent, s.hash, s.schema, s.revision, s.ownership, s.wake_at, s.wake_chain, s.seen_at, \
         o.fold_version, o.fold, o.created_at \
         FROM (VALUES {}) CROSS JOIN offering_states AS s ON s.agent = column1 AND s.hash = column2 \
         LEFT JOIN offerings AS o ON o.agent = s.agent AND o.hash = s.hash",
        vec!["(?, ?)"; some].join(", ")
    );
    Statement::new(sql, values)
}

async fn read(
    conn: &mut Conn,
    (agent, offering): Key,
    (_, _, own, times, on_chain): Row,
) -> Result<Result<Stored, Unreadable>, StoreError> {
    let (schema, revision, ownership) = own;
    if schema != SCHEMA {
        return Ok(Err(Unreadable::Schema { found: schema, known: SCHEMA }));
    }
    let reason = |error: StoreError| error.to_string();
    let ownership = match from_json::<Ownership>("ownership", &ownership).map_err(reason) {
        Ok(ownership) => ownership,
        Err(reason) => return Ok(Err(Unreadable::Own { reason })),
    };
    let (wake_at, wake_chain, seen_at) = times;
    let row = || -> Result<_, StoreError> {
        let wake = Wake {
            uptime: wake_at.map(|at| unsigned("wake time", at).map(Uptime::new)).transpose()?,
            chain: wake_chain.map(|at| unsigned("wake time", at).map(ChainTime::new)).transpose()?,
        };
        Ok((unsigned("revision", revision)?, wake))
    };
    let (revision, wake) = match row().map_err(reason) {
        Ok(row) => row,
        Err(reason) => return Ok(Err(Unreadable::Row { reason })),
    };
    let chain = match on_chain {
        (Some(version), text, Some(created_at)) => {
            let fold = fold::stored(version, text.as_deref());
            let shown = offerings::shown(conn, (agent, offering), fold, created_at.into()).await;
            match unless_damaged(shown)? {
                Ok(shown) => shown,
                Err(reason) => return Ok(Err(Unreadable::Events { reason })),
            }
        }
        // The chain shows it no more, and it was not made here.
        _ => Shown::default(),
    };
    let mut state = OfferingState::foreign(agent, offering);
    (state.chain, state.ownership) = (chain, ownership);
    Ok(Ok(Stored { state, revision, wake, seen_at: seen_at.map(Into::into) }))
}

/// Stores the first state of an offering. Returns whether there was none before; otherwise nothing changes.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn create(
    conn: &mut Conn,
    state: &OfferingState,
    wake: Wake,
    seen_at: Option<SystemTime>,
) -> Result<bool, StoreError> {
    let row = (
        offering_states::agent.eq(Addr::from(state.agent)),
        offering_states::hash.eq(hash(state.hash)),
        offering_states::revision.eq(1),
        decided(&state.ownership, wake, seen_at)?,
    );
    let insert = diesel::insert_into(offering_states::table).values(row).on_conflict_do_nothing();
    Ok(on!(conn, |c| insert.execute(c).await)? > 0)
}

/// Stores what a decision came to: if anything differs from what was loaded, and nobody stored another decision meanwhile. What the
/// chain shows is stored by those who take its events in.
///
/// # Errors
/// [`StoreError::Db`].
pub async fn save(
    conn: &mut Conn,
    before: &Stored,
    after: &OfferingState,
    wake: Wake,
    seen_at: Option<SystemTime>,
) -> Result<Saved, StoreError> {
    let same = (wake.uptime.map(milliseconds), wake.chain.map(seconds))
        == (before.wake.uptime.map(milliseconds), before.wake.chain.map(seconds))
        && before.seen_at == seen_at
        && before.state.ownership == after.ownership;
    if same {
        return Ok(Saved::Revision(before.revision));
    }
    let next = before.revision.saturating_add(1);
    let mine = offering_states::table.find((Addr::from(after.agent), hash(after.hash)));
    let update = diesel::update(
        mine.filter(offering_states::revision.eq(signed("revision", before.revision)?)),
    )
    .set((
        offering_states::revision.eq(signed("revision", next)?),
        decided(&after.ownership, wake, seen_at)?,
    ));
    Ok(match on!(conn, |c| update.execute(c).await)? {
        0 => Saved::Moved,
        _ => Saved::Revision(next),
    })
}

/// The columns that a decision changes.
#[derive(AsChangeset, Insertable)]
#[diesel(table_name = offering_states, treat_none_as_null = true)]
struct Decided {
    schema: i32,
    ownership: String,
    asked: bool,
    wake_at: Option<i64>,
    wake_chain: Option<i64>,
    seen_at: Option<Micros>,
}

fn decided(ownership: &Ownership, wake: Wake, seen_at: Option<SystemTime>) -> Result<Decided, StoreError> {
    let asked = match ownership {
        Ownership::Own(_) => false,
        Ownership::Foreign(foreign) => foreign.asked.is_some(),
    };
    Ok(Decided {
        schema: SCHEMA,
        ownership: to_json("ownership", ownership)?,
        asked,
        wake_at: wake.uptime.map(milliseconds),
        wake_chain: wake.chain.map(seconds),
        seen_at: seen_at.map(Into::into),
    })
}
