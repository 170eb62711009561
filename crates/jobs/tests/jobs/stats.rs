//! What a processor shows of its work, and what that costs.
#![allow(clippy::unwrap_used, reason = "tests")]
use std::time::{Duration, SystemTime};

use crate::common::*;
use diesel_async::SimpleAsyncConnection as _;
use privatix_db::on;
use privatix_jobs::{JobError, MOST_COUNTED, depths, unhandled};

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_due_jobs_is_counted_up_to_the_bound() {
    let (_dir, db) = fresh().await;
    push(&db, Step::new("first", "oldest")).await;
    let mut tx = db.begin().await.unwrap();
    // Due heads of one kind, as strangers could cause them.
    let flood = "INSERT INTO job (kind, subject, payload, unique_key, unique_waiting, status, created_by, created_at, run_at, \
                 claim_at, set_at, tries, crashes, suspect, token) \
                 WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 30000) \
                 SELECT kind, 'flood ' || n, payload, NULL, unique_waiting, status, created_by, created_at, run_at, \
                 claim_at + n, set_at, tries, crashes, suspect, token FROM job, n WHERE subject = 'first'";
    on!(&mut *tx, |c| c.batch_execute(flood).await).unwrap();
    tx.commit().await.unwrap();
    let now = SystemTime::now() + Duration::from_secs(10);
    let mut conn = db.read().await.unwrap();
    let found = depths(&mut conn, &["step", "signal"], now).await.unwrap();
    // The plan test shows that only these rows are read.
    assert_eq!((found[0].kind, found[0].due, found[0].suspects), ("step", MOST_COUNTED, 0));
    assert!(found[0].oldest_due.is_some_and(|due| due < now));
    assert_eq!((found[1].kind, found[1].due, found[1].oldest_due), ("signal", 0, None));
    assert_eq!(privatix_jobs::failed_count(&mut conn).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_kinds_without_a_handler_are_counted_by_kind() {
    let (_dir, db) = fresh().await;
    let mut conn = db.read().await.unwrap();
    assert_eq!(unhandled(&mut conn, &[]).await.unwrap(), []);
    for note in ["one", "two"] {
        push(&db, Step::new(note, note)).await;
    }
    push(&db, Signal("three".into())).await;
    let mut conn = db.read().await.unwrap();
    let of = |kind: &str, count| (kind.to_owned(), count);
    assert_eq!(unhandled(&mut conn, &[]).await.unwrap(), [of("signal", 1), of("step", 2)]);
    assert_eq!(unhandled(&mut conn, &["signal", "other"]).await.unwrap(), [of("step", 2)]);
    assert_eq!(unhandled(&mut conn, &["signal", "step"]).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_counts_what_it_starts_and_how_that_ends() {
    let (_dir, db) = fresh().await;
    let fails = push(&db, Step::new("a", "fails")).await;
    push(&db, Step::new("b", "is done")).await;
    for subject in ["a", "b"] {
        push(&db, Signal(subject.into())).await;
    }
    let mut running = start(&db, |builder| {
        builder.register::<Step, _>(Do::new(|job: Step, cx: privatix_jobs::JobContext| async move {
            if job.note == "fails" { Err(JobError::fail("it cannot")) } else { Ok(cx.done().await?) }
        }))
    });
    running.signalled_all(&["a", "b"]).await;
    let stats = running.stats.clone();
    running.stop().await;
    let lanes = stats.lanes();
    let [lane] = lanes.as_slice() else { panic!("{lanes:?}") };
    assert_eq!((lane.lane, lane.workers, lane.running), ("default", 8, 0));
    assert_eq!((lane.started, lane.done, lane.retried, lane.failed), (4, 3, 0, 1));
    assert_eq!((lane.wait.total(), lane.run.total()), (4, 4));
    assert_eq!(lane.kinds, ["signal", "step"]);
    assert_eq!(privatix_jobs::failed_count(&mut db.read().await.unwrap()).await.unwrap(), 1);
    assert_eq!(get(&db, fails).await.tries, 1);
}
