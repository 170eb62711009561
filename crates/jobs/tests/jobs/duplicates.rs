//! De-duplication.
#![allow(clippy::unwrap_used, reason = "tests")]
use std::sync::Arc;

use crate::common::*;
use privatix_jobs::{Filter, JobError, JobStatus, JobsError, OrRetry as _, PushOptions, Pushed};
use tokio::sync::{Notify, mpsc};

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_of_a_waiting_job_is_refused_and_names_it() {
    let (_dir, db) = fresh().await;
    let id = push(&db, Once::new("a", "k")).await;
    assert_eq!(try_push(&db, &Once::new("a", "k"), PushOptions::by("test")).await, Pushed::Duplicate(id));
    // Another key, subject or kind is no duplicate.
    push(&db, Once::new("a", "other")).await;
    push(&db, Once::new("b", "k")).await;
    push(&db, Refresh::new("a", "k")).await;
    // Kinds that allow duplicates have them.
    push(&db, Step::new("a", "k")).await;
    push(&db, Step::new("a", "k")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_concurrent_pushes_make_one_job() {
    let (_dir, db) = fresh().await;
    let pushes = (0..50).map(|_| {
        let db = db.clone();
        tokio::spawn(async move { try_push(&db, &Once::new("a", "k"), PushOptions::by("test")).await })
    });
    let pushed = futures::future::try_join_all(pushes).await.unwrap();
    assert_eq!(pushed.iter().filter(|pushed| matches!(pushed, Pushed::New(_))).count(), 1);
    assert!(pushed.iter().all(|one| one.id() == pushed[0].id()));
    assert_eq!(list(&db, Filter::new()).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_pushes_while_the_jobs_run_never_overlap_and_lose_nothing() {
    let (_dir, db) = fresh().await;
    let mut running = start(&db, |builder| builder.register::<Once, _>(write::<Once>()));
    let pushes = (0..8).map(|_| {
        let (db, wake) = (db.clone(), running.wake.clone());
        tokio::spawn(async move {
            let mut made = 0;
            for _ in 0..25 {
                let pushed = try_push(&db, &Once::new("a", "k"), PushOptions::by("test")).await;
                made += usize::from(matches!(pushed, Pushed::New(_)));
                wake.wake();
            }
            made
        })
    });
    let made: usize = futures::future::try_join_all(pushes).await.unwrap().iter().sum();
    push(&db, Signal("a".into())).await;
    running.wake.wake();
    running.signalled("a").await;
    running.stop().await;
    assert_eq!(notes(&db).await.len(), made);
}

/// Pushes `job` while another like it runs.
async fn push_while_running<J>(first: J, second: J) -> Pushed
where
    J: privatix_jobs::Job + Clone,
{
    let (_dir, db) = fresh().await;
    push(&db, first).await;
    let (began, mut begun) = mpsc::unbounded_channel();
    let go_on = Arc::new(Notify::new());
    let gate = Arc::clone(&go_on);
    let running = start(&db, |builder| {
        builder.register::<J, _>(Do::new(move |_, cx| {
            let _ = began.send(());
            let gate = Arc::clone(&gate);
            async move {
                gate.notified().await;
                Ok(cx.finish().await?.commit().await?)
            }
        }))
    });
    next(&mut begun).await;
    let pushed = try_push(&db, &second, PushOptions::by("test")).await;
    go_on.notify_one();
    running.stop().await;
    pushed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_pending_but_no_longer_waiting() {
    let pushed = push_while_running(Once::new("a", "k"), Once::new("a", "k")).await;
    assert!(matches!(pushed, Pushed::Duplicate(_)));
    let pushed = push_while_running(Refresh::new("a", "k"), Refresh::new("a", "k")).await;
    assert!(matches!(pushed, Pushed::New(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_push_its_own_successor_and_an_ended_one_is_no_obstacle() {
    let (_dir, db) = fresh().await;
    push(&db, Once::new("a", "k")).await;
    let mut running = start(&db, |builder| {
        builder.register::<Once, _>(Do::new(|job: Once, cx| async move {
            let id = cx.id();
            let mut completion = cx.finish().await?;
            effect(&mut completion, id, "a", "x").await.or_retry()?;
            let next = if id.to_string() == "1" {
                completion.push(&job).await?
            } else {
                completion.push(&Signal("end".into())).await?
            };
            assert!(matches!(next, Pushed::New(_)));
            Ok(completion.commit().await?)
        }))
    });
    running.signalled("end").await;
    running.stop().await;
    assert_eq!(notes(&db).await, ["x", "x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_is_not_reactivated_beside_its_duplicate() {
    let (_dir, db) = fresh().await;
    let failed = push(&db, Once::new("a", "k")).await;
    push(&db, Signal("a".into())).await;
    let mut running = start(&db, |builder| {
        builder.register::<Once, _>(Do::new(|_, _| async { Err(JobError::fail("no")) }))
    });
    running.signalled("a").await;
    running.stop().await;
    let pending = push(&db, Once::new("a", "k")).await;
    let refused = reactivate(&db, failed).await.unwrap_err();
    assert!(matches!(refused, JobsError::Duplicate { id, pending: p } if (id, p) == (failed, pending)));

    cancel(&db, pending).await.unwrap();
    reactivate(&db, failed).await.unwrap();
    assert_eq!(get(&db, failed).await.status, JobStatus::Waiting);
}
