//! The network fee, operators and nonces as folds of stored events.
#![allow(clippy::unwrap_used, reason = "tests")]
mod common;

use alloy::primitives::Address;
use common::*;
use privatix_channel::{ChainEvent, ChainTime, ContractEvent, Fee};
use privatix_db::Database;
use privatix_store::contract::{self, AccountState, FeeSchedule};
use privatix_store::{StoreError, events};

const OPERATOR: Address = Address::repeat_byte(0x09);

fn t(seconds: u64) -> ChainTime {
    ChainTime::new(seconds)
}

fn fee(of: u16) -> Fee {
    Fee::new(of).unwrap()
}

/// An event of block `block`, whose time is ten seconds for each block.
fn at(block: u64, event: ContractEvent) -> ChainEvent {
    ChainEvent::Contract { block_time: t(block * 10), event }
}

async fn happened(db: &Database, block: u64, event: ContractEvent) {
    let mut tx = db.begin().await.unwrap();
    assert!(events::record(&mut tx, place(block, 0), &at(block, event)).await.unwrap());
    tx.commit().await.unwrap();
}

async fn schedule(db: &Database) -> FeeSchedule {
    contract::fee_schedule(&mut db.read().await.unwrap()).await.unwrap()
}

async fn state(db: &Database, account: Address) -> AccountState {
    contract::account(&mut db.read().await.unwrap(), account).await.unwrap()
}

async fn undo(db: &Database, above: u64) {
    let mut tx = db.begin().await.unwrap();
    assert_eq!(events::undo_above(&mut tx, above).await.unwrap(), [], "nothing to fold again");
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_fee_that_falls_counts_at_once_and_one_that_rises_from_its_announced_time() {
    let (_dir, db) = fresh().await;
    assert_eq!(schedule(&db).await.at(ChainTime::MAX), Fee::ZERO);
    happened(&db, 1, ContractEvent::FeeChanged { fee: fee(500), effective_at: t(10) }).await;
    happened(&db, 2, ContractEvent::FeeChanged { fee: fee(900), effective_at: t(120) }).await;
    let fees = schedule(&db).await;
    assert_eq!((fees.at(t(119)), fees.at(t(120))), (fee(500), fee(900)));
    assert_eq!((fees.announced(t(119)), fees.announced(t(120))), (Some((fee(900), t(120))), None));
}

#[tokio::test]
async fn an_announced_fee_is_withdrawn_before_its_time_and_stays_after_it() {
    let (_dir, db) = fresh().await;
    happened(&db, 1, ContractEvent::FeeChanged { fee: fee(900), effective_at: t(50) }).await;
    happened(&db, 4, ContractEvent::FeeChanged { fee: fee(100), effective_at: t(140) }).await;
    assert_eq!(schedule(&db).await.at(t(100)), Fee::ZERO);
    happened(&db, 15, ContractEvent::FeeChanged { fee: fee(300), effective_at: t(250) }).await;
    let fees = schedule(&db).await;
    assert_eq!((fees.at(t(249)), fees.at(t(250))), (fee(100), fee(300)));
}

#[tokio::test]
async fn an_accounts_operator_and_nonce_follow_its_own_events_and_go_back_with_undone_blocks() {
    let (_dir, db) = fresh().await;
    let appoint = |agent, operator, nonce| ContractEvent::OperatorChanged { agent, operator, nonce };
    happened(&db, 1, appoint(AGENT, Some(OPERATOR), 1)).await;
    happened(&db, 2, ContractEvent::ConsentsRevoked { account: AGENT, nonce: 2 }).await;
    happened(&db, 3, appoint(STRANGER, Some(AGENT), 1)).await;
    assert_eq!(state(&db, AGENT).await, AccountState { operator: Some(OPERATOR), nonce: 2 });
    happened(&db, 4, appoint(AGENT, None, 3)).await;
    assert_eq!(state(&db, AGENT).await, AccountState { operator: None, nonce: 3 });
    undo(&db, 1).await;
    assert_eq!(state(&db, AGENT).await, AccountState { operator: Some(OPERATOR), nonce: 1 });
    assert_eq!(state(&db, STRANGER).await, AccountState::default());
}

#[tokio::test]
async fn an_event_of_the_contract_is_stored_once_and_another_in_its_place_is_refused() {
    let (_dir, db) = fresh().await;
    let event = ContractEvent::ConsentsRevoked { account: AGENT, nonce: 1 };
    happened(&db, 1, event).await;
    let mut tx = db.begin().await.unwrap();
    assert!(!events::record(&mut tx, place(1, 0), &at(1, event)).await.unwrap());
    let other = ContractEvent::ConsentsRevoked { account: AGENT, nonce: 2 };
    let refusal = events::record(&mut tx, place(1, 0), &at(1, other)).await.unwrap_err();
    assert!(matches!(refusal, StoreError::OtherEvent { block: 1, index: 0 }), "{refusal}");
}
