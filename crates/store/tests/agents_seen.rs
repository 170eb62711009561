//! The agents that proved a key.
#![allow(clippy::unwrap_used, reason = "tests")]
mod common;

use alloy::primitives::Address;
use common::*;
use privatix_store::agents_seen::{self, Seen};

#[tokio::test]
async fn what_an_agent_proved_is_never_taken_back_but_by_the_users_word() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    let (agent, other) = (Address::repeat_byte(1), Address::repeat_byte(2));
    assert_eq!(agents_seen::get(&mut tx, agent).await.unwrap(), None);
    for (version, issued_at, remembered) in
        [(2, 100, (2, 100)), (3, 50, (3, 100)), (2, 200, (3, 200)), (2, 150, (3, 200))]
    {
        agents_seen::note(&mut tx, agent, Seen { version, issued_at }).await.unwrap();
        let (version, issued_at) = remembered;
        assert_eq!(agents_seen::get(&mut tx, agent).await.unwrap(), Some(Seen { version, issued_at }));
    }
    let most = Seen { version: u16::MAX, issued_at: i64::MAX.unsigned_abs() };
    agents_seen::note(&mut tx, other, most).await.unwrap();
    assert_eq!(agents_seen::get(&mut tx, other).await.unwrap(), Some(most));
    assert!(agents_seen::forget(&mut tx, agent).await.unwrap());
    assert!(!agents_seen::forget(&mut tx, agent).await.unwrap());
    assert_eq!(agents_seen::get(&mut tx, agent).await.unwrap(), None);
    assert_eq!(agents_seen::get(&mut tx, other).await.unwrap(), Some(most), "others stay");
}
