//! What the chain says of the contract itself and of its accounts: the network fee, operators and nonces.
//!
//! As for channels, confirmed events are stored and everything else is a fold over them, so undoing blocks is deleting rows.

use alloy::primitives::Address;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_channel::{AccountState, ChainTime, ContractEvent, FeeSchedule};
use privatix_db::types::{Addr, Bytes32};
use privatix_db::{Conn, on};

use crate::StoreError;
use crate::columns::{from_json, signed, to_json, unsigned};
use crate::events::Place;
use crate::schema::contract_events;

/// Stores an event of a block with the time `block_time`. Returns false, and changes nothing, when it is already there.
///
/// # Errors
/// [`StoreError::OtherEvent`] if its place is taken by another one.
pub(crate) async fn record(
    conn: &mut Conn,
    place: Place,
    block_time: ChainTime,
    event: &ContractEvent,
) -> Result<bool, StoreError> {
    let key = (signed("block", place.at.block)?, signed("log index", place.at.index)?);
    let row = (
        contract_events::block.eq(key.0),
        contract_events::log_index.eq(key.1),
        contract_events::tx.eq(Bytes32::from(place.tx)),
        contract_events::block_time.eq(signed("block time", block_time.seconds())?),
        contract_events::account.eq(event.account().map(Addr::from)),
        contract_events::event.eq(to_json("contract event", event)?),
    );
    let insert = diesel::insert_into(contract_events::table).values(row).on_conflict_do_nothing();
    if on!(&mut *conn, |c| insert.execute(c).await)? > 0 {
        return Ok(true);
    }
    let stored = contract_events::table.find(key).select((contract_events::tx, contract_events::event));
    let (tx, stored): (Bytes32, String) = on!(conn, |c| stored.first(c).await)?;
    if tx == place.tx.into() && from_json::<ContractEvent>("contract event", &stored)? == *event {
        Ok(false)
    } else {
        Err(StoreError::OtherEvent { block: place.at.block, index: place.at.index })
    }
}

/// Deletes every event above `block`.
pub(crate) async fn undo_above(conn: &mut Conn, block: u64) -> Result<(), StoreError> {
    let above = contract_events::block.gt(signed("block", block)?);
    on!(conn, |c| diesel::delete(contract_events::table.filter(above)).execute(c).await)?;
    Ok(())
}

/// The network fee, as far as it was followed: zero before its first event.
pub async fn fee_schedule(conn: &mut Conn) -> Result<FeeSchedule, StoreError> {
    let query = contract_events::table
        .filter(contract_events::account.is_null())
        .order((contract_events::block, contract_events::log_index))
        .select((contract_events::block_time, contract_events::event));
    let rows: Vec<(i64, String)> = on!(conn, |c| query.load(c).await)?;
    let mut schedule = FeeSchedule::default();
    for (time, event) in rows {
        let time = ChainTime::new(unsigned("block time", time)?);
        schedule.apply(time, &from_json("contract event", &event)?);
    }
    Ok(schedule)
}

/// An account's operator and nonce, as far as they were followed: none and zero before its first event.
pub async fn account(conn: &mut Conn, account: Address) -> Result<AccountState, StoreError> {
    let query = contract_events::table
        .filter(contract_events::account.eq(Addr::from(account)))
        .order((contract_events::block, contract_events::log_index))
        .select(contract_events::event);
    let rows: Vec<String> = on!(conn, |c| query.load(c).await)?;
    let mut state = AccountState::default();
    for event in rows {
        state.apply(&from_json("contract event", &event)?);
    }
    Ok(state)
}
