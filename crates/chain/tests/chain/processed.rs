//! Which blocks are known to be processed, by number and hash.

use alloy::primitives::{Address, B256};
use alloy::providers::Provider;
use privatix_chain::{Finality, Intent, Monitor, is_processed};
use privatix_db::Database;
use privatix_testkit::Anvil;

use crate::support::{
    Outcomes, Running, Seen, emission, emit, emitter, ended, fresh, http, monitor, settled, submit, synced,
    transactor, until,
};

async fn hash(anvil: &Anvil, number: u64) -> B256 {
    anvil.provider().get_block_by_number(number.into()).await.unwrap().unwrap().header.hash
}

async fn is_known(db: &Database, number: u64, hash: B256) -> bool {
    is_processed(&mut db.read().await.unwrap(), Monitor::STREAM, number, hash).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_block_with_a_log_that_was_applied_is_known_by_its_hash() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    anvil.mine(20).await.unwrap();
    let far = emit(&anvil, contract, b"of a range whose headers nobody fetches").await;
    anvil.mine(200).await.unwrap();
    let (common, orphaned) =
        (emit(&anvil, contract, b"common").await, emit(&anvil, contract, b"orphaned").await);
    let (far_hash, common_hash, orphan) =
        (hash(&anvil, far).await, hash(&anvil, common).await, hash(&anvil, orphaned).await);

    let (_dir, db) = fresh().await;
    let monitor = monitor(&db, http(anvil.url()), &anvil, contract).build(Seen::default());
    assert!(!is_known(&db, far, far_hash).await, "not reached yet");
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    for (block, hash) in [(far, far_hash), (common, common_hash), (orphaned, orphan)] {
        assert!(is_known(&db, block, hash).await, "{block}");
        assert!(!is_known(&db, block, B256::repeat_byte(7)).await, "another block of number {block}");
        assert!(!is_known(&db, block + 1_000, hash).await, "another number");
    }

    anvil.reorg_with(1, &[(emission(&anvil, contract, b"on the new branch"), 0)]).await.unwrap();
    settled(&monitor, "the reorg to be noticed", |status| status.reorgs == 1).await;
    synced(&monitor, &anvil, 0).await;
    assert!(!is_known(&db, orphaned, orphan).await, "undone");
    assert!(is_known(&db, orphaned, hash(&anvil, orphaned).await).await);
    assert!(is_known(&db, common, common_hash).await);
    running.stop().await.unwrap();
}

/// An intent of account 1 to emit a log.
fn emission_of(anvil: &Anvil, contract: Address, key: &str) -> Intent {
    Intent::new(key, anvil.account(1), contract, key.as_bytes().to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_stays_known_while_a_transaction_in_it_is_not_final() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let (_dir, db) = fresh().await;
    let monitor = monitor(&db, http(anvil.url()), &anvil, contract).history(4).build(Seen::default());
    let transactor =
        transactor(&db, http(anvil.url()), &anvil).finality(Finality::Depth(40)).build(Outcomes::default());
    let running = [Running::monitor(&monitor), Running::transactor(&transactor)];
    let id = submit(&db, &transactor, emission_of(&anvil, contract, "ours")).await;
    let mined = ended(&db, &transactor, id).await.inclusion.unwrap();
    let before = emit(&anvil, contract, b"of others").await;
    let other = hash(&anvil, before).await;
    for _ in 0..4 {
        anvil.mine(5).await.unwrap();
        emit(&anvil, contract, b"later").await;
        synced(&monitor, &anvil, 0).await;
        assert!(is_known(&db, mined.block, mined.block_hash).await);
        assert!(is_known(&db, before, other).await, "above one that is not final");
    }
    anvil.mine(40).await.unwrap();
    until(&db, &transactor, id, "the final block", |record| !record.watched).await;
    emit(&anvil, contract, b"the last").await;
    synced(&monitor, &anvil, 0).await;
    assert!(!is_known(&db, mined.block, mined.block_hash).await, "forgotten");
    assert!(!is_known(&db, before, other).await);
    for running in running {
        running.stop().await.unwrap();
    }
}
