//! Operators and nonces as folds of stored events.
#![allow(clippy::unwrap_used, reason = "tests")]
mod common;

use alloy::primitives::Address;
use common::*;
use privatix_channel::{AccountState, ChainEvent, ChainTime, ContractEvent};
use privatix_db::Database;
use privatix_store::{StoreError, contract, events};

const OPERATOR: Address = Address::repeat_byte(0x09);

fn t(seconds: u64) -> ChainTime {
    ChainTime::new(seconds)
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

async fn state(db: &Database, account: Address) -> AccountState {
    contract::account(&mut db.read().await.unwrap(), account).await.unwrap()
}

async fn undo(db: &Database, above: u64) {
    let mut tx = db.begin().await.unwrap();
    assert_eq!(events::undo_above(&mut tx, above).await.unwrap(), [], "nothing to fold again");
    tx.commit().await.unwrap();
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
