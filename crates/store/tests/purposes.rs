//! What transactions are for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use alloy::primitives::{Address, B256};
use common::fresh;
use diesel_async::SimpleAsyncConnection;
use privatix_channel::{Amount, ChannelId, OfferingHash};
use privatix_db::{Conn, on};
use privatix_market::{EffectId, OrderId, Purpose, Subject};
use privatix_store::StoreError;
use privatix_store::purposes::{self, JobNumber, Outline, Recorded, TxNumber};

fn channel(n: u8) -> Subject {
    Subject::Channel(ChannelId::new(B256::repeat_byte(n)))
}

fn recorded(tx: i64, subject: Subject, seq: u32, purpose: Purpose) -> Recorded {
    Recorded {
        tx: TxNumber(tx),
        effect: EffectId { subject, seq },
        purpose,
        from_wallet: false,
        job: None,
        in_batch: false,
    }
}

async fn read(conn: &mut Conn, tx: i64) -> Vec<Recorded> {
    let rows = purposes::of_tx(conn, TxNumber(tx)).await.unwrap();
    rows.into_iter().map(Result::unwrap).collect()
}

async fn damage(conn: &mut Conn, what: &str) {
    on!(conn, |c| c.batch_execute(what).await).unwrap();
}

#[tokio::test]
async fn what_a_transaction_is_for_is_read_as_it_was_recorded() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    let agent = Address::repeat_byte(3);
    let offering = Subject::Offering(agent, OfferingHash::new(B256::repeat_byte(4)));
    let account = Subject::Account(agent);
    let all = [
        recorded(1, channel(1), 1, Purpose::Open { deposit: Amount::new(7) }),
        Recorded {
            from_wallet: true,
            job: Some(JobNumber(12)),
            ..recorded(2, channel(1), 2, Purpose::TopUp { order: OrderId(12), amount: Amount::new(8) })
        },
        recorded(3, offering, 1, Purpose::Publish),
        recorded(4, account, 1, Purpose::Withdraw { amount: Amount::new(9), to: agent }),
        recorded(5, account, 2, Purpose::Approve { effect: EffectId { subject: channel(1), seq: 2 } }),
    ];
    for recorded in &all {
        purposes::record(&mut tx, recorded).await.unwrap();
    }
    for recorded in all {
        assert_eq!(read(&mut tx, recorded.tx.0).await, [recorded]);
        assert_eq!(purposes::of_effect(&mut tx, recorded.effect).await.unwrap(), Some(recorded));
    }
    let unused = EffectId { subject: channel(1), seq: 3 };
    assert_eq!(purposes::of_effect(&mut tx, unused).await.unwrap(), None);
    assert_eq!(read(&mut tx, 6).await, []);
    // What was recorded of a transaction stays.
    purposes::record(&mut tx, &recorded(1, channel(1), 9, Purpose::FinalizeClose)).await.unwrap();
    assert_eq!(read(&mut tx, 1).await, [all[0]]);
    assert_eq!(purposes::of_subject(&mut tx, channel(1)).await.unwrap(), [all[1], all[0]]);
    assert_eq!(purposes::of_subject(&mut tx, channel(2)).await.unwrap(), []);
}

#[tokio::test]
async fn the_effects_of_a_subject_are_numbered_from_one_on_and_no_number_is_used_twice() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    for (number, subject, seq) in [(1, channel(1), 1), (2, channel(1), 2), (3, channel(2), 1)] {
        let effect = purposes::next_effect(&mut tx, subject).await.unwrap();
        assert_eq!(effect, EffectId { subject, seq });
        assert_eq!(purposes::last_number(&mut tx, subject).await.unwrap(), seq - 1);
        purposes::record(&mut tx, &recorded(number, subject, effect.seq, Purpose::FinalizeClose))
            .await
            .unwrap();
    }
    let taken = purposes::record(&mut tx, &recorded(4, channel(1), 2, Purpose::FinalizeClose)).await;
    assert!(matches!(taken, Err(StoreError::Db(_))), "{taken:?}");
}

#[tokio::test]
async fn a_job_shows_all_of_its_transactions_and_those_of_no_other() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    for number in 1..=4 {
        let job = (number != 2).then_some(JobNumber(number % 3));
        let made = Recorded {
            job,
            ..recorded(number, channel(1), u32::try_from(number).unwrap(), Purpose::Publish)
        };
        purposes::record(&mut tx, &made).await.unwrap();
    }
    assert_eq!(purposes::of_job(&mut tx, JobNumber(1)).await.unwrap(), [TxNumber(4), TxNumber(1)]);
    assert_eq!(purposes::of_job(&mut tx, JobNumber(0)).await.unwrap(), [TxNumber(3)]);
    assert_eq!(purposes::of_job(&mut tx, JobNumber(2)).await.unwrap(), []);
}

#[tokio::test]
async fn a_damaged_row_keeps_no_other_from_being_read() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    for number in 1..=600 {
        let seq = u32::try_from(number).unwrap();
        let subject = channel(u8::try_from(number % 3).unwrap());
        purposes::record(&mut tx, &recorded(number, subject, seq, Purpose::FinalizeClose)).await.unwrap();
    }
    damage(&mut tx, "UPDATE purposes SET purpose = '\"eat\"' WHERE tx = 1").await;
    damage(
        &mut tx,
        "PRAGMA ignore_check_constraints = ON; UPDATE purposes SET subject_kind = 'moon' WHERE tx = 2",
    )
    .await;
    for (number, subject) in [(1, Some(channel(1))), (2, None)] {
        let read = purposes::of_tx(&mut tx, TxNumber(number)).await.unwrap();
        let [Err(damaged)] = &read[..] else { panic!("{read:?}") };
        assert!(matches!(damaged.error, StoreError::Corrupt { .. }), "{damaged:?}");
        assert_eq!(damaged.subject, subject);
        let outlines = purposes::outlines(&mut tx, &[TxNumber(number)]).await.unwrap();
        assert_eq!(outlines, [Outline { tx: TxNumber(number), subject, from_wallet: false }]);
    }
    let of_damaged = purposes::of_subject(&mut tx, channel(1)).await;
    assert!(matches!(of_damaged, Err(StoreError::Corrupt { .. })));
    assert_eq!(purposes::of_subject(&mut tx, channel(0)).await.unwrap().len(), 200);
    let all: Vec<TxNumber> = (1..=601).map(TxNumber).collect();
    let outlines = purposes::outlines(&mut tx, &all).await.unwrap();
    assert_eq!(
        (outlines.len(), outlines.iter().filter(|outline| outline.subject.is_some()).count()),
        (600, 599)
    );
}

#[tokio::test]
async fn a_batch_has_a_purpose_for_each_of_its_channels() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    let row = |n, seq| Recorded { in_batch: true, ..recorded(7, channel(n), seq, Purpose::FinalizeClose) };
    let rows = [row(1, 1), row(2, 4), row(3, 1)];
    for row in rows.iter().chain(&rows) {
        purposes::record(&mut tx, row).await.unwrap();
    }
    assert_eq!(read(&mut tx, 7).await, rows);
    assert_eq!(purposes::of_subject(&mut tx, channel(2)).await.unwrap(), [rows[1]]);
    assert_eq!(purposes::next_effect(&mut tx, channel(2)).await.unwrap().seq, 5);
    // One that is damaged keeps the others from nothing.
    damage(&mut tx, "UPDATE purposes SET purpose = '\"eat\"' WHERE tx = 7 AND seq = 4").await;
    let found = purposes::of_tx(&mut tx, TxNumber(7)).await.unwrap();
    let damaged: Vec<_> = found.iter().map(|row| row.as_ref().err().map(|damaged| damaged.subject)).collect();
    assert_eq!(damaged, [None, Some(Some(channel(2))), None]);
    // Two channels of one batch, and what else one job has made.
    let job = Some(JobNumber(1));
    for row in [Recorded { job, ..row(4, 1) }, Recorded { job, ..row(5, 1) }] {
        purposes::record(&mut tx, &Recorded { tx: TxNumber(8), ..row }).await.unwrap();
    }
    assert_eq!(purposes::of_job(&mut tx, JobNumber(1)).await.unwrap(), [TxNumber(8)]);
}
