//! What waits for a batch.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::*;
use diesel_async::SimpleAsyncConnection;
use privatix_channel::{Amount, ChannelDescriptor, ChannelEvent};
use privatix_db::on;
use privatix_market::batch::Row;
use privatix_market::{AgentPurpose, Uptime};
use privatix_store::{channels, collected};

const fn close(cumulative: u128) -> AgentPurpose {
    AgentPurpose::Close { cumulative: Amount::new(cumulative) }
}

#[tokio::test]
async fn what_waits_is_listed_with_what_it_brings_and_the_longest_waiting_first() {
    let (_dir, db) = fresh().await;
    let ids: Vec<_> = (0..3).map(channel).collect();
    for nonce in 0..2 {
        add_channel(&db, nonce).await;
    }
    let (settled, opened_at) = (ids[0], ids[1]);
    taken(&db, 1, 0, &opened(settled.1, 150)).await;
    taken(&db, 1, 1, &opened(opened_at.1, 150)).await;
    taken(&db, 2, 0, &changed(settled.0, ChannelEvent::Settled { paid: amount(40) })).await;
    // One whose client's account judges the signatures.
    let unsigned = ChannelDescriptor { signer: alloy::primitives::Address::ZERO, ..ids[2].1 };
    let mut tx = db.begin().await.unwrap();
    channels::insert(&mut tx, ids[2].0, &unsigned, amount(150)).await.unwrap();
    for (id, seq, cumulative, since) in
        [(settled.0, 1, 60, 30), (opened_at.0, 7, 900, 20), (ids[2].0, 2, 0, 40), (settled.0, 1, 70, 99)]
    {
        collected::offer(&mut tx, id, seq, close(cumulative), Uptime::new(since)).await.unwrap();
    }
    let row = |(channel, _), seq, cumulative, gain, since| Row {
        channel,
        seq,
        purpose: close(cumulative),
        gain: amount(gain),
        names_signer: true,
        since: Uptime::new(since),
    };
    let expected = [
        row(opened_at, 7, 900, 150, 20),
        row(settled, 1, 70, 30, 30),
        Row { names_signer: false, ..row(ids[2], 2, 0, 0, 40) },
    ];
    assert_eq!(collected::waiting(&mut tx).await.unwrap(), expected);

    assert!(collected::take_back(&mut tx, opened_at.0, 7).await.unwrap());
    assert!(!collected::take_back(&mut tx, opened_at.0, 7).await.unwrap());
    assert!(!collected::take_back(&mut tx, settled.0, 2).await.unwrap(), "another number");
    assert_eq!(collected::waiting(&mut tx).await.unwrap(), expected[1..]);
    // One that is damaged keeps no other from its batch.
    on!(&mut *tx, |c| c.batch_execute("UPDATE collected SET purpose = '\"eat\"' WHERE since = 30").await)
        .unwrap();
    assert_eq!(collected::waiting(&mut tx).await.unwrap(), expected[2..]);
}
