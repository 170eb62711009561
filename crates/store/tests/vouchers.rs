//! One voucher per channel, which only ever grows, and is on disk before anybody is told.
#![allow(clippy::unwrap_used, reason = "tests")]
mod common;

use common::*;
use diesel_async::SimpleAsyncConnection as _;
use privatix_channel::{Amount, Closure};
use privatix_db::{Conn, Database, GroupCommit, on};
use privatix_store::vouchers::{self, Amounts, Payment, StoredVoucher, VoucherWriter, Written};
use privatix_store::{StoreError, ceilings, channels};
use proptest::prelude::*;

async fn store(db: &Database, voucher: &privatix_channel::SignedVoucher) -> bool {
    let mut tx = db.begin().await.unwrap();
    let stored = vouchers::store(&mut tx, voucher).await.unwrap();
    tx.commit().await.unwrap();
    stored
}

/// A voucher of which all is to be acknowledged.
fn payment(nonce: u64, cumulative: u128) -> Payment {
    Payment { signed: voucher(channel(nonce).0, cumulative), acknowledge: amount(cumulative) }
}

async fn get(db: &Database, nonce: u64) -> Option<StoredVoucher> {
    vouchers::get(&mut db.read().await.unwrap(), channel(nonce).0).await.unwrap()
}

async fn acknowledge(conn: &mut Conn, nonce: u64, cumulative: u128) -> Amount {
    vouchers::acknowledge(conn, channel(nonce).0, amount(cumulative)).await.unwrap();
    vouchers::get(conn, channel(nonce).0).await.unwrap().unwrap().acknowledged
}

#[tokio::test]
async fn a_voucher_is_kept_byte_for_byte_over_a_restart() {
    let (dir, db) = fresh().await;
    assert_eq!(get(&db, 0).await, None);
    // The highest that fits the chain, to see that nothing is cut.
    let best = voucher(channel(0).0, Amount::MAX_ON_CHAIN.get());
    assert!(store(&db, &best).await);
    drop(db);
    let db = open(&dir.path().join("market.db")).await;
    let StoredVoucher { signed, count, acknowledged, .. } = get(&db, 0).await.unwrap();
    assert_eq!((signed, count, acknowledged), (best, 1, Amount::ZERO));
}

#[tokio::test]
async fn a_lower_or_equal_voucher_changes_nothing() {
    let (_dir, db) = fresh().await;
    let best = voucher(channel(0).0, 256);
    assert!(store(&db, &best).await);
    // 255 and 256 differ in length: amounts compare as numbers, not as text.
    for late in [0, 1, 255, 256] {
        assert!(!store(&db, &voucher(channel(0).0, late)).await, "{late}");
    }
    let StoredVoucher { signed, count, acknowledged, .. } = get(&db, 0).await.unwrap();
    assert_eq!((signed, count, acknowledged), (best, 1, Amount::ZERO));
    assert!(store(&db, &voucher(channel(0).0, 257)).await);
    assert_eq!(get(&db, 0).await.unwrap().count, 2);
    assert!(store(&db, &voucher(channel(1).0, 1)).await);
}

#[tokio::test]
async fn a_voucher_waits_for_its_acknowledgement_until_its_channel_is_closed() {
    let (_dir, db) = fresh().await;
    let (id, descriptor) = channel(0);
    let waiting = async || vouchers::unacknowledged(&mut db.read().await.unwrap()).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    channels::insert(&mut tx, id, &descriptor, amount(500)).await.unwrap();
    vouchers::store(&mut tx, &voucher(id, 100)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(waiting().await, [id]);

    let mut tx = db.begin().await.unwrap();
    acknowledge(&mut tx, 0, 100).await;
    tx.commit().await.unwrap();
    assert_eq!(waiting().await, []);

    assert!(store(&db, &voucher(id, 101)).await);
    assert_eq!(waiting().await, [id]);
    taken(&db, 1, 0, &opened(descriptor, 500)).await;
    taken(&db, 2, 0, &closed(descriptor, 101, 399, Closure::ByAgent)).await;
    assert_eq!(waiting().await, []);
}

#[tokio::test]
async fn what_the_agent_acknowledged_only_grows_and_outlives_the_next_voucher() {
    let (_dir, db) = fresh().await;
    store(&db, &voucher(channel(0).0, 100)).await;
    let mut tx = db.begin().await.unwrap();
    assert_eq!(acknowledge(&mut tx, 0, 100).await, amount(100));
    assert_eq!(acknowledge(&mut tx, 0, 60).await, amount(100));
    assert!(vouchers::store(&mut tx, &voucher(channel(0).0, 180)).await.unwrap());
    assert_eq!(acknowledge(&mut tx, 0, 100).await, amount(100));
    // Of a channel without a voucher there is nothing to acknowledge.
    vouchers::acknowledge(&mut tx, channel(1).0, amount(5)).await.unwrap();
    assert_eq!(vouchers::get(&mut tx, channel(1).0).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channels_vouchers_in_one_commit_each_learn_whether_they_were_the_highest() {
    let (_dir, db) = fresh().await;
    let (writer, task) = GroupCommit::start(db.clone(), VoucherWriter, 64);
    let held = db.begin().await.unwrap(); // what is submitted meanwhile shares one commit
    let submit = |nonce, cumulative| {
        let writer = writer.clone();
        tokio::spawn(async move { writer.submit(payment(nonce, cumulative)).await.unwrap().stored })
    };
    let mut outcomes = Vec::new();
    for (nonce, cumulative) in [(0, 10), (0, 30), (1, 5), (0, 20), (0, 30)] {
        let outcome = submit(nonce, cumulative);
        // In the order of submission: each is in the queue before the next is made.
        tokio::task::yield_now().await;
        outcomes.push(outcome);
    }
    drop(held);
    let mut stored = 0;
    for outcome in outcomes {
        stored += u64::from(outcome.await.unwrap());
    }
    drop(writer);
    task.await.unwrap();
    assert_eq!(get(&db, 0).await.unwrap().signed, voucher(channel(0).0, 30));
    assert_eq!(get(&db, 1).await.unwrap().signed, voucher(channel(1).0, 5));
    // However they were ordered, as many were told "highest" as were counted.
    assert_eq!(get(&db, 0).await.unwrap().count + get(&db, 1).await.unwrap().count, stored);
}

#[tokio::test]
async fn the_amounts_of_a_damaged_voucher_can_still_be_read_and_a_better_one_replaces_it() {
    let (_dir, db) = fresh().await;
    let amounts = async || vouchers::amounts(&mut db.read().await.unwrap(), channel(0).0).await.unwrap();
    assert_eq!(amounts().await, None);
    store(&db, &voucher(channel(0).0, 100)).await;
    let mut tx = db.begin().await.unwrap();
    on!(&mut *tx, |c| c.batch_execute("UPDATE vouchers SET signature = zeroblob(65)").await).unwrap();
    tx.commit().await.unwrap();

    let damaged = vouchers::get(&mut db.read().await.unwrap(), channel(0).0).await;
    assert!(matches!(damaged, Err(StoreError::Corrupt { what: "voucher signature", .. })), "{damaged:?}");
    let known = Amounts { cumulative: amount(100), acknowledged: Amount::ZERO, count: 1 };
    assert_eq!(amounts().await, Some(known));
    assert!(!store(&db, &voucher(channel(0).0, 100)).await);
    // The same one, as it was signed, mends it, and is no other payment.
    let mend = async |voucher| {
        let mut tx = db.begin().await.unwrap();
        let is_there = vouchers::mend(&mut tx, &voucher).await.unwrap();
        tx.commit().await.unwrap();
        is_there
    };
    assert!(!mend(voucher(channel(0).0, 99)).await && !mend(voucher(channel(1).0, 100)).await);
    assert!(mend(voucher(channel(0).0, 100)).await);
    let mended = get(&db, 0).await.unwrap();
    assert_eq!((mended.signed, mended.count), (voucher(channel(0).0, 100), 1));
    assert!(store(&db, &voucher(channel(0).0, 101)).await);
    assert_eq!(get(&db, 0).await.unwrap().count, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voucher_that_is_stored_after_a_close_learns_its_ceiling() {
    let (_dir, db) = fresh().await;
    let (writer, task) = GroupCommit::start(db.clone(), VoucherWriter, 64);
    assert_eq!(writer.submit(payment(0, 100)).await.unwrap(), Written { stored: true, ceiling: None });
    assert_eq!(get(&db, 0).await.unwrap().acknowledged, amount(100));

    // The better one was judged before the close was stored, and waits for its turn.
    let mut close = db.begin().await.unwrap();
    let waiting = tokio::spawn({
        let writer = writer.clone();
        async move { writer.submit(payment(0, 150)).await.unwrap() }
    });
    tokio::task::yield_now().await;
    ceilings::set(&mut close, channel(0).0, Some(amount(120))).await.unwrap();
    close.commit().await.unwrap();
    assert_eq!(waiting.await.unwrap(), Written { stored: true, ceiling: Some(amount(120)) });
    let StoredVoucher { signed, acknowledged, .. } = get(&db, 0).await.unwrap();
    assert_eq!((signed.cumulative(), acknowledged), (amount(150), amount(120)));

    // What was acknowledged stays so under a lower ceiling; other channels have none.
    let set = async |ceiling| {
        let mut tx = db.begin().await.unwrap();
        ceilings::set(&mut tx, channel(0).0, ceiling).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(ceilings::get(&mut db.read().await.unwrap(), channel(0).0).await.unwrap(), ceiling);
    };
    set(Some(amount(20))).await;
    let outcome = writer.submit(payment(0, 160)).await.unwrap();
    assert_eq!(outcome, Written { stored: true, ceiling: Some(amount(20)) });
    assert_eq!(get(&db, 0).await.unwrap().acknowledged, amount(120));
    assert_eq!(writer.submit(payment(1, 7)).await.unwrap(), Written { stored: true, ceiling: None });

    // The close came to nothing.
    set(None).await;
    assert_eq!(writer.submit(payment(0, 170)).await.unwrap(), Written { stored: true, ceiling: None });
    assert_eq!(get(&db, 0).await.unwrap().acknowledged, amount(170));
    drop(writer);
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_voucher_of_a_full_batch_learns_the_ceiling_of_its_own_channel() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    for nonce in (0..600).step_by(7) {
        ceilings::set(&mut tx, channel(nonce).0, Some(amount(nonce.into()))).await.unwrap();
    }
    let items = (0..600).map(|nonce| payment(nonce, 1_000)).collect();
    let outcomes = privatix_db::BatchWrite::write(&mut VoucherWriter, &mut tx, items).await.unwrap();
    for (nonce, written) in (0..600_u64).zip(outcomes) {
        let ceiling = (nonce % 7 == 0).then(|| amount(nonce.into()));
        assert_eq!(written, Written { stored: true, ceiling });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_stored_voucher_is_the_highest_in_any_order_and_grouping(
        groups in prop::collection::vec(prop::collection::vec((0..3_u64, 1..600_u128), 1..6), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let (_dir, db) = fresh().await;
            let mut best = [0; 3];
            let mut count = [0; 3];
            for group in &groups {
                let mut tx = db.begin().await.unwrap();
                let items = group.iter().map(|&(nonce, cumulative)| payment(nonce, cumulative));
                let items: Vec<_> = items.collect();
                let outcomes = privatix_db::BatchWrite::write(&mut VoucherWriter, &mut tx, items).await.unwrap();
                tx.commit().await.unwrap();
                for (&(nonce, cumulative), Written { stored: highest, .. }) in group.iter().zip(outcomes) {
                    let nonce = usize::try_from(nonce).unwrap();
                    prop_assert_eq!(highest, cumulative > best[nonce]);
                    best[nonce] = best[nonce].max(cumulative);
                    count[nonce] += u64::from(highest);
                }
            }
            for (nonce, (best, count)) in (0..).zip(best.into_iter().zip(count)) {
                let stored = get(&db, nonce).await;
                prop_assert_eq!(stored.as_ref().map_or(0, |stored| stored.count), count);
                prop_assert_eq!(stored.map_or(0, |stored| stored.signed.cumulative().get()), best);
            }
            Ok(())
        })?;
    }
}
