//! Rows of events as databases hold them: each kind is read, and written in the same form.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]
mod common;

use alloy::hex;
use common::*;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use privatix_channel::{ChainEvent, ChainTime, ChannelEvent, Closure, ContractEvent, Fee, OfferingEvent};
use privatix_db::{Conn, on};
use privatix_store::{contract, events};

/// Each event in the block of its place in the list, and as version 0.1 stored it.
fn of_the_market() -> Vec<(ChainEvent, &'static str)> {
    let (id, descriptor) = channel(0);
    let of = |event| offered(AGENT, offering(1), event);
    let fee = Fee::new(7).unwrap();
    vec![
        (
            of(OfferingEvent::Registered(announcement(5))),
            r#"{"about":"offering","agent":"0xa9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9","offering":"0x0101010101010101010101010101010101010101010101010101010101010101","event":{"event":"registered","min_deposit":"10","supply":5,"fee":1000,"source_type":1,"source":"127.0.0.1:4000"}}"#,
        ),
        (
            opened(descriptor, 1_000),
            r#"{"about":"opened","channel":"0x1a25f2485ae2ef2094ea2cea85107784953a39b8ad1d62bae74585dcbb86e20d","descriptor":{"client":"0xd5e069bc58dedb2a3a348995ee753eef0274004f","agent":"0xa9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9","offering":"0x0101010101010101010101010101010101010101010101010101010101010101","nonce":0,"signer":"0xd5e069bc58dedb2a3a348995ee753eef0274004f"},"event":{"opened":{"deposit":"1000","fee":1000}}}"#,
        ),
        (
            changed(id, ChannelEvent::ToppedUp { deposit: amount(1_500), request_cancelled: false }),
            r#"{"about":"changed","channel":"0x1a25f2485ae2ef2094ea2cea85107784953a39b8ad1d62bae74585dcbb86e20d","agent":"0xa9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9","event":{"topped_up":{"deposit":"1500","request_cancelled":false}}}"#,
        ),
        (
            changed(id, ChannelEvent::Settled { paid: amount(u128::MAX / 3) }),
            r#"{"about":"changed","channel":"0x1a25f2485ae2ef2094ea2cea85107784953a39b8ad1d62bae74585dcbb86e20d","agent":"0xa9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9","event":{"settled":{"paid":"113427455640312821154458202477256070485"}}}"#,
        ),
        (
            changed(id, ChannelEvent::CloseRequested { paid: amount(20), ends_at: ChainTime::new(900) }),
            r#"{"about":"changed","channel":"0x1a25f2485ae2ef2094ea2cea85107784953a39b8ad1d62bae74585dcbb86e20d","agent":"0xa9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9","event":{"close_requested":{"paid":"20","ends_at":900}}}"#,
        ),
        (
            changed(id, ChannelEvent::CloseCancelled),
            r#"{"about":"changed","channel":"0x1a25f2485ae2ef2094ea2cea85107784953a39b8ad1d62bae74585dcbb86e20d","agent":"0xa9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9","event":"close_cancelled"}"#,
        ),
        (
            of(OfferingEvent::PoppedUp(announcement(4))),
            r#"{"about":"offering","agent":"0xa9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9","offering":"0x0101010101010101010101010101010101010101010101010101010101010101","event":{"event":"popped_up","min_deposit":"10","supply":4,"fee":1000,"source_type":1,"source":"127.0.0.1:4000"}}"#,
        ),
        (
            of(OfferingEvent::FeeRefreshed { fee }),
            r#"{"about":"offering","agent":"0xa9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9","offering":"0x0101010101010101010101010101010101010101010101010101010101010101","event":{"event":"fee_refreshed","fee":7}}"#,
        ),
        (
            closed(descriptor, 30, 1_470, Closure::ByClientDisputed),
            r#"{"about":"closed","channel":"0x1a25f2485ae2ef2094ea2cea85107784953a39b8ad1d62bae74585dcbb86e20d","agent":"0xa9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9","client":"0xd5e069bc58dedb2a3a348995ee753eef0274004f","offering":"0x0101010101010101010101010101010101010101010101010101010101010101","event":{"closed":{"paid":"30","refund":"1470","closure":"by_client_disputed"}}}"#,
        ),
        (
            of(OfferingEvent::Removed),
            r#"{"about":"offering","agent":"0xa9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9","offering":"0x0101010101010101010101010101010101010101010101010101010101010101","event":{"event":"removed"}}"#,
        ),
    ]
}

/// The same of the contract and its accounts. Blocks are ten seconds apart.
fn of_the_contract() -> Vec<(ContractEvent, &'static str)> {
    let fee = Fee::new(7).unwrap();
    let appoint = |operator, nonce| ContractEvent::OperatorChanged { agent: AGENT, operator, nonce };
    vec![
        (
            ContractEvent::FeeChanged { fee, effective_at: ChainTime::new(60) },
            r#"{"event":"fee_changed","fee":7,"effective_at":60}"#,
        ),
        (
            appoint(Some(STRANGER), 1),
            r#"{"event":"operator_changed","agent":"0xa9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9","operator":"0x5757575757575757575757575757575757575757","nonce":1}"#,
        ),
        (
            appoint(None, 2),
            r#"{"event":"operator_changed","agent":"0xa9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9","operator":null,"nonce":2}"#,
        ),
        (
            ContractEvent::ConsentsRevoked { account: AGENT, nonce: 3 },
            r#"{"event":"consents_revoked","account":"0xa9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9","nonce":3}"#,
        ),
    ]
}

/// All of them with their places.
fn all() -> Vec<(events::Place, ChainEvent)> {
    let market = (1..).zip(of_the_market()).map(|(block, (event, _))| (place(block, 0), event));
    let contract = (1..).zip(of_the_contract()).map(|(block, (event, _))| {
        (place(block, 9), ChainEvent::Contract { block_time: ChainTime::new(10 * block), event })
    });
    let mut all: Vec<_> = market.chain(contract).collect();
    all.sort_by_key(|(place, _)| *place);
    all
}

fn blob(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "NULL".to_owned(), |bytes| format!("X'{}'", hex::encode(bytes)))
}

async fn insert_rows(conn: &mut Conn) {
    let mut rows = Vec::new();
    for (block, (event, text)) in (1..).zip(of_the_market()) {
        let agent = blob(event.agent().as_ref().map(|agent| agent.as_slice()));
        let channel = blob(event.channel().as_ref().map(|channel| channel.as_b256().as_slice()));
        let offering = blob(event.offering().as_ref().map(|(_, offering)| offering.as_b256().as_slice()));
        let tx = blob(Some(place(block, 0).tx.as_slice()));
        rows.push(format!(
            "INSERT INTO chain_events (block, log_index, tx, agent, channel, offering, event) \
             VALUES ({block}, 0, {tx}, {agent}, {channel}, {offering}, '{text}')"
        ));
    }
    for (block, (event, text)) in (1..).zip(of_the_contract()) {
        let account = blob(event.account().as_ref().map(|account| account.as_slice()));
        let (tx, time) = (blob(Some(place(block, 9).tx.as_slice())), 10 * block);
        rows.push(format!(
            "INSERT INTO contract_events (block, log_index, tx, block_time, account, event) \
             VALUES ({block}, 9, {tx}, {time}, {account}, '{text}')"
        ));
    }
    on!(conn, |c| c.batch_execute(&rows.join(";")).await).unwrap();
}

#[tokio::test]
async fn stored_rows_of_each_kind_are_read() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    insert_rows(&mut tx).await;
    let (id, _) = channel(0);
    let expected = |is_wanted: fn(&ChainEvent) -> bool| -> Vec<_> {
        all().into_iter().filter(|(_, event)| is_wanted(event)).collect()
    };
    let read = events::of_channel(&mut tx, id).await.unwrap();
    assert_eq!(read, expected(|event| event.channel().is_some()));
    let read = events::of_offering(&mut tx, AGENT, offering(1)).await.unwrap();
    assert_eq!(read, expected(|event| event.offering().is_some()));
    let account = contract::account(&mut tx, AGENT).await.unwrap();
    assert_eq!((account.operator, account.nonce), (None, 3));
    let fees = contract::fee_schedule(&mut tx).await.unwrap();
    let at = |seconds| fees.at(ChainTime::new(seconds)).get();
    assert_eq!((at(59), at(60)), (0, 7));
    assert_eq!(events::record_all(&mut tx, &all()).await.unwrap(), [false; 14], "they are all known");
}

#[derive(diesel::QueryableByName)]
struct Text {
    #[diesel(sql_type = diesel::sql_types::Text)]
    event: String,
}

#[tokio::test]
async fn events_of_each_kind_are_stored_in_the_same_form() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    assert_eq!(events::record_all(&mut tx, &all()).await.unwrap(), [true; 14]);
    let texts = async |conn: &mut Conn, table: &str| -> Vec<String> {
        let sql = format!("SELECT event FROM {table} ORDER BY block");
        let rows: Vec<Text> = on!(conn, |c| diesel::sql_query(sql).load(c).await).unwrap();
        rows.into_iter().map(|row| row.event).collect()
    };
    let expected: Vec<&str> = of_the_market().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts(&mut tx, "chain_events").await, expected);
    let expected: Vec<&str> = of_the_contract().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts(&mut tx, "contract_events").await, expected);
}
