//! The mark of a database that came back from a backup.

mod common;

use std::time::{Duration, SystemTime};

use common::fresh;
use diesel_async::SimpleAsyncConnection;
use privatix_db::on;
use privatix_store::recovery::{self, Recovery};

#[tokio::test]
async fn a_mark_stands_until_it_is_ended_and_a_wrong_time_is_replaced() {
    let (_dir, db) = fresh().await;
    // Microseconds are stored.
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let mut tx = db.begin().await.unwrap();
    recovery::correct(&mut tx, at(3)).await.unwrap();
    assert_eq!(recovery::get(&mut tx).await.unwrap(), None, "nothing is marked");
    on!(&mut *tx, |c| c.batch_execute(&recovery::mark(at(1))).await).unwrap();
    recovery::correct(&mut tx, at(3)).await.unwrap();
    let mut expected = Recovery { backed_up_at: at(1), caught_up_at: None };
    assert_eq!(recovery::get(&mut tx).await.unwrap(), Some(expected), "nothing was caught up with yet");
    recovery::caught_up(&mut tx, at(9)).await.unwrap();
    recovery::caught_up(&mut tx, at(10)).await.unwrap();
    expected.caught_up_at = Some(at(9));
    assert_eq!(recovery::get(&mut tx).await.unwrap(), Some(expected), "the first time counts");
    recovery::correct(&mut tx, at(3)).await.unwrap();
    expected.caught_up_at = Some(at(3));
    assert_eq!(recovery::get(&mut tx).await.unwrap(), Some(expected));
    assert!(recovery::end(&mut tx).await.unwrap());
    assert!(!recovery::end(&mut tx).await.unwrap());
}
