//! Confirmed chain events, the ground truth that everything on-chain is folded from.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Text};
use diesel_async::RunQueryDsl;
use privatix_channel::{ChainEvent, ChannelId, LogPosition, OfferingHash};
use privatix_db::types::{Addr, Bytes32};
use privatix_db::{Conn, on};

use crate::columns::{from_json, hash, id, signed, to_json, unsigned};
use crate::schema::chain_events;
use crate::snapshots::{self, Subject};
use crate::statement::{Statement, Value, inserts};
use crate::{StoreError, contract, fold, identity};

/// Where an event stands on the chain: this identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Block and index of the log.
    pub at: LogPosition,
    /// The transaction that made it.
    pub tx: B256,
}

/// Stores events, which must be in chain order. Returns for each whether it is new; one that is already there stays as it is.
///
/// They are found by their offering, and those of channels with our account also by their channel. Those of the contract make
/// what [`contract`] returns.
///
/// # Errors
/// [`StoreError::OtherEvent`] if the place of one is taken by another one.
pub async fn record_all(conn: &mut Conn, events: &[(Place, ChainEvent)]) -> Result<Vec<bool>, StoreError> {
    let Some((first, _)) = events.first() else { return Ok(Vec::new()) };
    let known = if newest(conn).await? < Some(first.at) { BTreeMap::new() } else { at(conn, events).await? };
    let us = identity::get(conn).await?.map(|us| us.account);
    let mut new = Vec::with_capacity(events.len());
    let mut rows = Vec::with_capacity(events.len());
    for one in events {
        if let ChainEvent::Contract { block_time, event } = &one.1 {
            new.push(contract::record(conn, one.0, *block_time, event).await?);
            continue;
        }
        match known.get(&one.0.at) {
            Some((place, known)) if *place == one.0 && one.1.is_stored_as(known) => new.push(false),
            Some(_) => {
                return Err(StoreError::OtherEvent { block: one.0.at.block, index: one.0.at.index });
            }
            None => {
                new.push(true);
                rows.push(row(one, us)?);
            }
        }
    }
    let head = "INSERT INTO chain_events (block, log_index, tx, agent, channel, offering, event) VALUES";
    for insert in inserts(head, rows, "") {
        on!(&mut *conn, |c| insert.execute(c).await)?;
    }
    Ok(new)
}

fn row((place, event): &(Place, ChainEvent), us: Option<Address>) -> Result<Vec<Value>, StoreError> {
    // The ids of channels are random, so that each in the index costs a page of its own; strangers' are never asked for.
    let channel = event.channel().filter(|_| us.is_none_or(|us| event.may_concern(us)));
    Ok(vec![
        signed("block", place.at.block)?.into(),
        signed("log index", place.at.index)?.into(),
        place.tx.as_slice().into(),
        Value::Bytes(event.agent().map(|agent| agent.to_vec())),
        Value::Bytes(channel.map(|channel| channel.as_b256().to_vec())),
        Value::Bytes(event.offering().map(|(_, offering)| offering.as_b256().to_vec())),
        Value::Text(to_json("chain event", event)?),
    ])
}

/// The events that are stored at the places of these.
async fn at(
    conn: &mut Conn,
    events: &[(Place, ChainEvent)],
) -> Result<BTreeMap<LogPosition, (Place, ChainEvent)>, StoreError> {
    let places: Vec<(u64, u64)> = events.iter().map(|(place, _)| (place.at.block, place.at.index)).collect();
    // A cross join keeps the order: each place is looked up by the key. Between two of them there may be any number of others.
    let sql = "SELECT e.block, e.log_index, e.tx, e.event FROM json_each(?) AS place \
               CROSS JOIN chain_events AS e ON e.block = place.value ->> 0 AND e.log_index = place.value ->> 1";
    let known = Statement::<RowTypes>::new(sql, vec![Value::Text(to_json("places", &places)?)]);
    let known: Vec<Row> = on!(conn, |c| known.load(c).await)?;
    known.into_iter().map(|row| event(row).map(|known| (known.0.at, known))).collect()
}

/// Stores an event. Returns false, and changes nothing, when it is already there.
///
/// # Errors
/// [`StoreError::OtherEvent`] if its place is taken by another one.
pub async fn record(conn: &mut Conn, place: Place, event: &ChainEvent) -> Result<bool, StoreError> {
    Ok(record_all(conn, &[(place, event.clone())]).await? == [true])
}

/// Where the last event of all stands.
pub(crate) async fn newest(conn: &mut Conn) -> Result<Option<LogPosition>, StoreError> {
    let query = chain_events::table
        .order((chain_events::block.desc(), chain_events::log_index.desc()))
        .select((chain_events::block, chain_events::log_index));
    let last: Option<(i64, i64)> = on!(conn, |c| query.first(c).await.optional())?;
    last.map(|(block, index)| position(block, index)).transpose()
}

/// The channel's events in chain order.
pub async fn of_channel(conn: &mut Conn, channel: ChannelId) -> Result<Vec<(Place, ChainEvent)>, StoreError> {
    let query = chain_events::table
        .filter(chain_events::channel.eq(id(channel)))
        .order((chain_events::block, chain_events::log_index))
        .select((chain_events::block, chain_events::log_index, chain_events::tx, chain_events::event));
    let rows: Vec<Row> = on!(conn, |c| query.load(c).await)?;
    rows.into_iter().map(event).collect()
}

/// The events that make an offering's state and supply, in chain order.
pub async fn of_offering(
    conn: &mut Conn,
    agent: Address,
    offering: OfferingHash,
) -> Result<Vec<(Place, ChainEvent)>, StoreError> {
    let query = chain_events::table
        .filter(chain_events::agent.eq(Addr::from(agent)))
        .filter(chain_events::offering.eq(hash(offering)))
        .order((chain_events::block, chain_events::log_index))
        .select((chain_events::block, chain_events::log_index, chain_events::tx, chain_events::event));
    let rows: Vec<Row> = on!(conn, |c| query.load(c).await)?;
    rows.into_iter().map(event).collect()
}

/// The next events of a channel or an offering after one of its events, up to one, in chain order; at most [`fold::PAGE`].
pub(crate) async fn page(
    conn: &mut Conn,
    of: Subject,
    after: Option<LogPosition>,
    to: Option<LogPosition>,
) -> Result<Vec<(Place, ChainEvent)>, StoreError> {
    let query = page_of(of, after, to)?;
    let rows: Vec<Row> = on!(conn, |c| query.load(c).await)?;
    rows.into_iter().map(event).collect()
}

fn page_of(
    of: Subject,
    after: Option<LogPosition>,
    to: Option<LogPosition>,
) -> Result<Statement<RowTypes>, StoreError> {
    let (condition, mut values): (_, Vec<Value>) = match of {
        Subject::Channel(channel) => ("channel = ?", vec![channel.as_b256().as_slice().into()]),
        Subject::Offering(agent, offering) => (
            "agent = ? AND offering = ?",
            vec![agent.as_slice().into(), offering.as_b256().as_slice().into()],
        ),
    };
    let end = match to {
        Some(to) => (signed("block", to.block)?, signed("log index", to.index)?),
        None => (i64::MAX, i64::MAX),
    };
    for number in <[_; 2]>::from(columns_of(after)?).into_iter().chain(<[_; 2]>::from(end)) {
        values.push(number.into());
    }
    values.push(i64::try_from(fold::PAGE).unwrap_or(i64::MAX).into());
    let sql = format!(
        "SELECT block, log_index, tx, event FROM chain_events WHERE {condition} \
         AND (block, log_index) > (?, ?) AND (block, log_index) <= (?, ?) ORDER BY block, log_index LIMIT ?"
    );
    Ok(Statement::new(sql, values))
}

/// A place as columns; before all events without one.
pub(crate) fn columns_of(at: Option<LogPosition>) -> Result<(i64, i64), StoreError> {
    match at {
        Some(at) => Ok((signed("block", at.block)?, signed("log index", at.index)?)),
        None => Ok((-1, -1)),
    }
}

/// Deletes every event above `block`. Returns those of offerings and channels in chain order: the caller folds what they
/// touched again.
pub async fn undo_above(conn: &mut Conn, block: u64) -> Result<Vec<(Place, ChainEvent)>, StoreError> {
    let above = chain_events::block.gt(signed("block", block)?);
    let query = chain_events::table
        .filter(above)
        .order((chain_events::block, chain_events::log_index))
        .select((chain_events::block, chain_events::log_index, chain_events::tx, chain_events::event));
    let rows: Vec<Row> = on!(&mut *conn, |c| query.load(c).await)?;
    on!(&mut *conn, |c| diesel::delete(chain_events::table.filter(above)).execute(c).await)?;
    snapshots::forget_above(conn, block).await?;
    contract::undo_above(conn, block).await?;
    rows.into_iter().map(event).collect()
}

type Row = (i64, i64, Bytes32, String);
type RowTypes = (BigInt, BigInt, Binary, Text);

fn event((block, log_index, tx, event): Row) -> Result<(Place, ChainEvent), StoreError> {
    let place = Place { at: position(block, log_index)?, tx: tx.bytes().into() };
    Ok((place, from_json("chain event", &event)?))
}

pub(crate) fn position(block: i64, log_index: i64) -> Result<LogPosition, StoreError> {
    Ok(LogPosition::new(unsigned("block", block)?, unsigned("log index", log_index)?))
}
