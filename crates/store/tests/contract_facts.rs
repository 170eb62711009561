//! What was found at the last check of the contract.
#![allow(clippy::unwrap_used, reason = "tests")]
mod common;

use std::time::{Duration, SystemTime};

use alloy::primitives::{Address, B256};
use common::*;
use privatix_channel::{Domain, Period};
use privatix_store::contract_facts::{self, ContractFacts, Verdict};

#[tokio::test]
async fn what_was_found_last_is_kept_and_nothing_before_it() {
    let (_dir, db) = fresh().await;
    assert_eq!(contract_facts::get(&mut db.read().await.unwrap()).await.unwrap(), None);
    let domain = Domain::new(1, Address::repeat_byte(1), Address::repeat_byte(2)).on_chain(5);
    let first = ContractFacts {
        domain,
        code_hash: B256::repeat_byte(3),
        verdict: Verdict::Accepted,
        challenge_period: Period::new(900),
        token_name: None,
        token_symbol: Some("PRIX".into()),
        token_decimals: Some(8),
        deposits: "by permit".into(),
        checked_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
    };
    let second = ContractFacts { verdict: Verdict::Known, token_decimals: None, ..first.clone() };
    for found in [first, second] {
        let mut tx = db.begin().await.unwrap();
        contract_facts::put(&mut tx, &found).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(contract_facts::get(&mut db.read().await.unwrap()).await.unwrap(), Some(found));
    }
}
