//! Fees rise until a transaction is mined, and never above the cap.

use alloy::eips::BlockNumberOrTag;
use alloy::primitives::{Address, B256, U256};
use alloy::providers::Provider;
use privatix_chain::{
    ChainError, Deadline, FeePolicy, Intent, Obstacle, Priority, Raise, Transactor, TxId, TxRecord, TxStatus,
    Wei,
};
use privatix_db::Database;
use privatix_testkit::Anvil;

use crate::support::{Outcomes, Running, ended, fresh, http, submit, transactor, until, within};

const TARGET: Address = Address::repeat_byte(0xfe);
const GWEI: u128 = 1_000_000_000;

fn gift(anvil: &Anvil) -> Intent {
    Intent::new("gift", anvil.account(1), TARGET, Vec::new()).value(1)
}

/// Waits until the node has it, since it counts as sent before: what no pool has taken is not outbid, but priced afresh.
async fn sent(anvil: &Anvil, db: &Database, transactor: &Transactor, id: TxId) -> TxRecord {
    let record = until(db, transactor, id, "its broadcast", |record| record.status == TxStatus::Sent).await;
    let attempts = transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap();
    in_pool(anvil, attempts[0].hash).await;
    record
}

/// Waits until the node has a transaction, which is signed and stored before.
async fn in_pool(anvil: &Anvil, hash: B256) {
    privatix_testkit::wait_until("the transaction in the pool", crate::support::PATIENCE, async || {
        anvil.provider().get_transaction_by_hash(hash).await.unwrap().is_some()
    })
    .await
    .unwrap();
}

/// Mines a block whose gas costs `base_fee`, and waits until the transactor has seen it.
async fn mine_at(anvil: &Anvil, transactor: &Transactor, base_fee: u128) {
    anvil.set_next_base_fee(base_fee).await.unwrap();
    anvil.mine(1).await.unwrap();
    let head = anvil.block_number().await.unwrap();
    let mut status = transactor.status();
    let seen = status.wait_for(|status| status.head == Some(head) || status.open == 0);
    drop(within("the head", seen).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_transaction_is_replaced_by_dearer_ones_until_one_is_mined() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let mut fees = FeePolicy::default();
    fees.stuck_after_blocks = 2;
    fees.stuck_after_seconds = 0;
    let transactor = transactor(&db, http(anvil.url()), &anvil).fees(fees).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    anvil.set_automine(false).await.unwrap();
    let id = submit(&db, &transactor, gift(&anvil)).await;
    sent(&anvil, &db, &transactor, id).await;
    let first = transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap().remove(0);

    // Gas gets dearer than the first offer, and stays so.
    let price = first.fees.max_fee * 3 / 2;
    for _ in 0..20 {
        mine_at(&anvil, &transactor, price).await;
        let record = transactor.get(&mut db.read().await.unwrap(), id).await.unwrap();
        if record.inclusion.is_some() {
            break;
        }
    }
    let record = ended(&db, &transactor, id).await;
    assert_eq!((record.status, record.nonce), (TxStatus::Mined, Some(0)));
    let attempts = transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap();
    assert!(attempts.len() >= 2, "{attempts:?}");
    assert_eq!(record.inclusion.unwrap().tx_hash, attempts[0].hash);
    for pair in attempts.windows(2) {
        assert_eq!(pair[0].nonce, pair[1].nonce);
        assert!(pair[0].fees.max_fee * 1_000 >= pair[1].fees.max_fee * 1_125);
        assert!(pair[0].fees.priority_fee * 1_000 >= pair[1].fees.priority_fee * 1_125);
    }
    let first = anvil.provider().get_transaction_receipt(first.hash).await.unwrap();
    assert!(first.is_none(), "both were mined");
    assert_eq!(anvil.balance(TARGET).await.unwrap(), U256::from(1));
    assert_eq!(Outcomes::rows(&db).await, [(id, TxStatus::Mined, None)]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_can_have_a_fee_raised_at_once() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let transactor = transactor(&db, http(anvil.url()), &anvil).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    anvil.set_automine(false).await.unwrap();
    let id = submit(&db, &transactor, gift(&anvil)).await;
    sent(&anvil, &db, &transactor, id).await;

    let mut tx = db.begin().await.unwrap();
    transactor.bump(&mut tx, id, Raise::Market).await.unwrap();
    tx.commit().await.unwrap();
    transactor.wake();
    until(&db, &transactor, id, "the replacement", |record| record.raise.is_none()).await;
    let attempts = transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap();
    assert_eq!(attempts.len(), 2);
    in_pool(&anvil, attempts[0].hash).await;
    anvil.mine(1).await.unwrap();
    let record = ended(&db, &transactor, id).await;
    assert_eq!(record.inclusion.unwrap().tx_hash, attempts[0].hash);
    assert_eq!(record.raise, None);
    assert_eq!(anvil.balance(TARGET).await.unwrap(), U256::from(1));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn above_the_cap_nothing_is_sent_until_gas_gets_cheaper() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let mut fees = FeePolicy::default();
    fees.max_fee_cap = 5 * GWEI;
    let transactor = transactor(&db, http(anvil.url()), &anvil).fees(fees).build(Outcomes::default());
    anvil.set_automine(false).await.unwrap();
    anvil.set_next_base_fee(50 * GWEI).await.unwrap();
    anvil.mine(1).await.unwrap();
    let running = Running::transactor(&transactor);
    let id = submit(&db, &transactor, gift(&anvil)).await;
    let record = until(&db, &transactor, id, "an obstacle", |record| record.obstacle.is_some()).await;
    let Some(Obstacle::FeeCap { needed, cap }) = record.obstacle else { panic!("{record:?}") };
    assert!(needed > Wei(50 * GWEI) && cap == Wei(5 * GWEI), "{needed} {cap}");
    assert_eq!(record.status, TxStatus::Unsent);

    mine_at(&anvil, &transactor, GWEI).await;
    let record = sent(&anvil, &db, &transactor, id).await;
    assert_eq!(record.obstacle, None);
    let attempts = transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap();
    assert!(attempts[0].fees.max_fee <= 5 * GWEI);
    mine_at(&anvil, &transactor, GWEI).await;
    assert_eq!(ended(&db, &transactor, id).await.status, TxStatus::Mined);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_price_counts_above_the_cap_and_is_refused_below_what_pools_take() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let mut fees = FeePolicy::default();
    fees.max_fee_cap = 5 * GWEI;
    let transactor = transactor(&db, http(anvil.url()), &anvil).fees(fees).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    anvil.set_automine(false).await.unwrap();
    let id = submit(&db, &transactor, gift(&anvil)).await;
    sent(&anvil, &db, &transactor, id).await;
    let offered = transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap()[0].fees;

    let mut tx = db.begin().await.unwrap();
    let to = |max_fee, tip| Raise::To { max_fee: Wei(max_fee), priority_fee: Wei(tip) };
    for refused in [to(offered.max_fee + 1, offered.priority_fee * 2), to(50 * GWEI, 51 * GWEI)] {
        let refusal = transactor.bump(&mut tx, id, refused).await.unwrap_err();
        assert!(matches!(refusal, ChainError::PriceTooLow { .. }), "{refusal}");
    }
    transactor.bump(&mut tx, id, to(50 * GWEI, 20 * GWEI)).await.unwrap();
    tx.commit().await.unwrap();
    transactor.wake();
    until(&db, &transactor, id, "the replacement", |record| record.raise.is_none()).await;
    let attempts = transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap();
    assert_eq!(attempts[0].fees, privatix_chain::Fees::new(50 * GWEI, 20 * GWEI));
    in_pool(&anvil, attempts[0].hash).await;
    mine_at(&anvil, &transactor, 20 * GWEI).await;
    let record = ended(&db, &transactor, id).await;
    assert_eq!(record.inclusion.unwrap().tx_hash, attempts[0].hash);
    running.stop().await.unwrap();
}

/// What is at stake, in wei.
const STAKE: u128 = 5_000_000_000_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispute_near_its_deadline_pays_above_the_everyday_cap() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let mut fees = FeePolicy::default();
    fees.max_fee_cap = 5 * GWEI;
    let transactor = transactor(&db, http(anvil.url()), &anvil).fees(fees).build(Outcomes::default());
    anvil.set_automine(false).await.unwrap();
    anvil.set_next_base_fee(50 * GWEI).await.unwrap();
    anvil.mine(1).await.unwrap();
    let head = anvil.provider().get_block_by_number(BlockNumberOrTag::Latest).await.unwrap().unwrap();
    let now = head.header.timestamp;
    let running = Running::transactor(&transactor);
    // One that has its whole window before it, and one at the end of it.
    let dispute = |key: &str, left: u64| {
        Intent::new(key, anvil.account(1), TARGET, Vec::new())
            .value(1)
            .priority(Priority::Urgent)
            .deadline(Deadline::new(now + left, 3_600_000))
            .stake(STAKE)
    };
    let early = submit(&db, &transactor, dispute("early", 3_600_000)).await;
    let late = submit(&db, &transactor, dispute("late", 600)).await;
    sent(&anvil, &db, &transactor, late).await;
    let record = until(&db, &transactor, early, "an obstacle", |record| record.obstacle.is_some()).await;
    assert!(matches!(record.obstacle, Some(Obstacle::FeeCap { .. })), "{record:?}");
    mine_at(&anvil, &transactor, 50 * GWEI).await;
    let record = ended(&db, &transactor, late).await;
    let paid = record.inclusion.unwrap();
    assert!(paid.gas_price >= 50 * GWEI && paid.cost() <= STAKE, "{paid:?}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_at_the_cap_that_is_lost_from_the_pool_is_sent_again() {
    let anvil = Anvil::start().await.unwrap();
    let (_dir, db) = fresh().await;
    let mut fees = FeePolicy::default();
    fees.stuck_after_blocks = 1;
    fees.stuck_after_seconds = 0;
    fees.max_fee_cap = 3 * GWEI;
    let transactor = transactor(&db, http(anvil.url()), &anvil).fees(fees).build(Outcomes::default());
    let running = Running::transactor(&transactor);
    anvil.set_automine(false).await.unwrap();
    anvil.set_next_base_fee(2 * GWEI).await.unwrap();
    anvil.mine(1).await.unwrap();
    let id = submit(&db, &transactor, gift(&anvil)).await;
    sent(&anvil, &db, &transactor, id).await;
    let hash = transactor.attempts(&mut db.read().await.unwrap(), id).await.unwrap()[0].hash;
    for _ in 0..3 {
        mine_at(&anvil, &transactor, 20 * GWEI).await;
    }
    let record = until(&db, &transactor, id, "the cap", |record| record.obstacle.is_some()).await;
    assert!(matches!(record.obstacle, Some(Obstacle::FeeCap { .. })), "{record:?}");

    // Lost at a price that it could pay: not refused for its fee, and not replaced by a dearer one either.
    anvil.drop_transaction(hash).await.unwrap();
    mine_at(&anvil, &transactor, 5 * GWEI / 2).await;
    in_pool(&anvil, hash).await;
    mine_at(&anvil, &transactor, GWEI).await;
    let record = ended(&db, &transactor, id).await;
    assert_eq!((record.status, record.inclusion.unwrap().tx_hash), (TxStatus::Mined, hash));
    running.stop().await.unwrap();
}
