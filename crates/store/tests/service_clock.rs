//! For how long each process of a database has run.
#![allow(clippy::unwrap_used, reason = "tests")]
mod common;

use common::*;
use privatix_market::Uptime;
use privatix_store::service_clock::{self, Start};

#[tokio::test]
async fn each_process_goes_on_from_what_was_stored_and_counts_its_starts() {
    let (_dir, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    let start = |uptime, number| Start { uptime: Uptime::new(uptime), number };
    assert_eq!(service_clock::start(&mut tx, "agent").await.unwrap(), start(0, 1));
    service_clock::keep(&mut tx, "agent", Uptime::new(70_000)).await.unwrap();
    // It never goes back.
    service_clock::keep(&mut tx, "agent", Uptime::new(60_000)).await.unwrap();
    assert_eq!(service_clock::start(&mut tx, "client").await.unwrap(), start(0, 1));
    assert_eq!(service_clock::start(&mut tx, "agent").await.unwrap(), start(70_000, 2));
    assert_eq!(service_clock::start(&mut tx, "agent").await.unwrap(), start(70_000, 3), "after a crash");
}
