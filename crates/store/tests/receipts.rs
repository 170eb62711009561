//! Receipts of channels.
#![allow(clippy::unwrap_used, reason = "tests")]
mod common;

use alloy::primitives::B256;
use common::*;
use privatix_channel::{Amount, ChannelId};
use privatix_store::receipts;

#[tokio::test]
async fn the_receipt_over_the_most_is_kept_and_of_several_the_newest() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    let channel = |number| ChannelId::new(B256::repeat_byte(number));
    assert_eq!(receipts::get::<String>(&mut tx, channel(1)).await.unwrap(), None);
    for (cumulative, block, is_kept) in
        [(10, 5, true), (9, 9, false), (10, 4, false), (10, 6, true), (u128::MAX, 1, true), (11, 99, false)]
    {
        let text = format!("{cumulative} at {block}");
        let order = (Amount::new(cumulative), block);
        assert_eq!(receipts::keep(&mut tx, channel(1), order, &text).await.unwrap(), is_kept, "{text}");
    }
    assert!(receipts::keep(&mut tx, channel(2), (Amount::new(1), 1), &"another channel's").await.unwrap());
    let kept = receipts::get::<String>(&mut tx, channel(1)).await.unwrap();
    assert_eq!(kept, Some(format!("{} at 1", u128::MAX)));
    let too_far = receipts::keep(&mut tx, channel(3), (Amount::new(1), u64::MAX), &"").await;
    assert!(too_far.is_err(), "no block has this number");
}
