//! Cancel, reactivate, inspect, prune.
#![allow(clippy::unwrap_used, reason = "tests")]
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::common::*;
use privatix_jobs::{Filter, JobError, JobStatus, JobsError, PushOptions, hasten};
use tokio::sync::{Notify, mpsc};

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_never_runs_and_the_next_of_its_subject_does() {
    let (_dir, db) = fresh().await;
    let first = push(&db, Step::new("a", "first")).await;
    let second = push(&db, Step::new("a", "second")).await;
    push(&db, Step::new("a", "third")).await;
    push(&db, Signal("a".into())).await;
    cancel(&db, first).await.unwrap();
    cancel(&db, second).await.unwrap();
    let mut running = start(&db, |builder| builder.register::<Step, _>(write::<Step>()));
    running.signalled("a").await;
    running.stop().await;
    assert_eq!(notes(&db).await, ["third"]);
    assert_eq!(get(&db, first).await.status, JobStatus::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_told_cannot_commit_and_keeps_its_subject_until_it_ends() {
    let (_dir, db) = fresh().await;
    let first = push(&db, Step::new("a", "first")).await;
    push(&db, Step::new("a", "second")).await;
    push(&db, Signal("a".into())).await;
    let ended = Arc::new(AtomicBool::new(false));
    let go_on = Arc::new(Notify::new());
    let (told, mut events) = mpsc::unbounded_channel();
    let gate = Arc::clone(&go_on);
    let mut running = start(&db, |builder| {
        builder.register::<Step, _>(Do::new(move |job: Step, cx| {
            let (ended, gate, told) = (Arc::clone(&ended), Arc::clone(&gate), told.clone());
            async move {
                if job.note == "second" {
                    assert!(AtomicBool::load(&ended, Ordering::SeqCst), "started before the first had ended");
                    return finish(cx, "a", "second").await;
                }
                let _ = told.send("started");
                cx.cancelled().cancelled().await;
                let _ = told.send("told");
                gate.notified().await;
                let refusal = cx.finish().await.unwrap_err();
                assert!(matches!(refusal, JobsError::Cancelled(_)), "{refusal}");
                let _ = told.send("refused");
                ended.store(true, Ordering::SeqCst);
                Err(refusal.into())
            }
        }))
    });
    assert_eq!(next(&mut events).await, "started");
    cancel(&db, first).await.unwrap();
    running.wake.wake();
    assert_eq!(next(&mut events).await, "told");
    let refused = reactivate(&db, first).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        format!(
            "cannot reactivate job {first}: it is cancelled; its handler is still ending, repeat this in a moment"
        )
    );
    go_on.notify_one();
    assert_eq!(next(&mut events).await, "refused");
    running.signalled("a").await;
    running.stop().await;
    assert_eq!(notes(&db).await, ["second"]);
    let first = get(&db, first).await;
    assert_eq!((first.status, first.tries), (JobStatus::Cancelled, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_cancelled_under_a_dead_process_frees_its_subject_after_the_restart() {
    let (_dir, db) = fresh().await;
    let first = push(&db, Step::new("a", "first")).await;
    let (began, mut begun) = mpsc::unbounded_channel();
    let running = start(&db, |builder| {
        builder.register::<Step, _>(Do::new(move |_, _| {
            let _ = began.send(());
            std::future::pending()
        }))
    });
    next(&mut begun).await;
    running.crash().await;
    cancel(&db, first).await.unwrap();
    push(&db, Signal("a".into())).await;
    let mut running = start(&db, |builder| builder.register::<Step, _>(write::<Step>()));
    running.signalled("a").await;
    running.stop().await;
    assert_eq!(notes(&db).await, [""; 0]);
    assert_eq!(get(&db, first).await.status, JobStatus::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reactivated_job_has_all_its_tries_again_and_runs_before_younger_ones() {
    let (_dir, db) = fresh().await;
    let failed = push(&db, Step::new("a", "old")).await;
    push(&db, Signal("a".into())).await;
    let (tried, mut tries) = mpsc::unbounded_channel();
    let fails = Do::new(move |_: Step, cx: privatix_jobs::JobContext| {
        let _ = tried.send(cx.try_number());
        async { Err(JobError::retry("no")) }
    });
    let mut running = start(&db, |builder| builder.register::<Step, _>(fails));
    running.signalled("a").await;
    running.stop().await;
    assert_eq!(get(&db, failed).await.status, JobStatus::Failed);

    push(&db, Step::new("a", "young")).await;
    reactivate(&db, failed).await.unwrap();
    push(&db, Signal("a".into())).await;
    let mut running = start(&db, |builder| {
        builder.register::<Step, _>(Do::new(|job: Step, cx| async move {
            if job.note == "old" && cx.try_number() < 3 {
                return Err(JobError::retry("again"));
            }
            finish(cx, "a", &job.note).await
        }))
    });
    running.signalled("a").await;
    running.stop().await;
    assert_eq!(notes(&db).await, ["old", "young"]);
    assert_eq!([next(&mut tries).await, next(&mut tries).await, next(&mut tries).await], [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_status_does_not_allow_is_refused_with_the_reason() {
    let (_dir, db) = fresh().await;
    let id = push(&db, Step::new("a", "x")).await;
    push(&db, Signal("a".into())).await;
    let refusal = reactivate(&db, id).await.unwrap_err().to_string();
    assert_eq!(
        refusal,
        "cannot reactivate job 1: it is waiting; only a failed or cancelled job can be reactivated"
    );
    let mut running = start(&db, |builder| builder.register::<Step, _>(write::<Step>()));
    running.signalled("a").await;
    running.stop().await;
    let refusal = cancel(&db, id).await.unwrap_err().to_string();
    assert_eq!(refusal, "cannot cancel job 1: it is done; only a waiting or running job can be cancelled");
    assert!(matches!(reactivate(&db, id).await, Err(JobsError::WrongStatus { status: JobStatus::Done, .. })));
    let missing = "99".parse().unwrap();
    assert!(matches!(cancel(&db, missing).await, Err(JobsError::NotFound(id)) if id == missing));
    assert!(matches!(reactivate(&db, missing).await, Err(JobsError::NotFound(_))));
    let missing = privatix_jobs::get(&mut db.read().await.unwrap(), missing).await;
    assert!(matches!(missing, Err(JobsError::NotFound(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_listed_by_subject_kind_and_status_newest_first_a_page_at_a_time() {
    let (_dir, db) = fresh().await;
    for n in 0..7 {
        push(&db, Step::new("a", n.to_string())).await;
        push(&db, Slow::new("b", n.to_string())).await;
    }
    cancel(&db, "1".parse().unwrap()).await.unwrap();

    let ids = |jobs: Vec<privatix_jobs::JobRecord>| -> Vec<String> {
        jobs.into_iter().map(|job| job.id.to_string()).collect()
    };
    assert_eq!(list(&db, Filter::new()).await.len(), 14);
    assert_eq!(ids(list(&db, Filter::new().subject("a")).await), ["13", "11", "9", "7", "5", "3", "1"]);
    assert_eq!(ids(list(&db, Filter::new().kind("slow").limit(2)).await), ["14", "12"]);
    assert_eq!(ids(list(&db, Filter::new().status(JobStatus::Cancelled)).await), ["1"]);
    let waiting =
        Filter::new().subject("a").kind("step").status(JobStatus::Waiting).before("9".parse().unwrap());
    assert_eq!(ids(list(&db, waiting).await), ["7", "5", "3"]);
    assert_eq!(list(&db, Filter::new().status(JobStatus::Running)).await.len(), 0);

    let mut filter = Filter::new().limit(5);
    let (mut seen, mut pages) = (Vec::new(), 0);
    loop {
        let page = privatix_jobs::list(&mut db.read().await.unwrap(), &filter).await.unwrap();
        seen.extend(ids(page.jobs));
        pages += 1;
        let Some(next) = page.next else { break };
        filter = filter.before(next);
    }
    assert_eq!(pages, 3);
    assert_eq!(seen, (1..=14).rev().map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_deletes_what_ended_long_ago_and_nothing_else() {
    let (_dir, db) = fresh().await;
    for n in 0..5 {
        push(&db, Step::new("a", n.to_string())).await;
    }
    for id in ["1", "2", "3"] {
        cancel(&db, id.parse().unwrap()).await.unwrap();
    }
    let prune = async |before, limit| {
        let mut tx = db.begin().await.unwrap();
        let pruned = privatix_jobs::prune(&mut tx, before, limit).await.unwrap();
        tx.commit().await.unwrap();
        pruned
    };
    assert_eq!(prune(SystemTime::now() - Duration::from_hours(1), 10).await, 0);
    assert_eq!(prune(SystemTime::now(), 2).await, 2);
    assert_eq!(prune(SystemTime::now(), 10).await, 1);
    assert_eq!(list(&db, Filter::new()).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hastened_job_runs_without_its_pause_and_after_the_earlier_ones_of_its_subject() {
    let (_dir, db) = fresh().await;
    let in_an_hour = || PushOptions::by("test").not_before(SystemTime::now() + Duration::from_hours(1));
    let first = try_push(&db, &Step::new("a", "first"), in_an_hour()).await.id();
    let second = try_push(&db, &Step::new("a", "second"), in_an_hour()).await.id();
    push(&db, Signal("a".into())).await;
    let mut running = start(&db, |builder| builder.register::<Step, _>(write::<Step>()));
    // The later one first: it still waits for the earlier one.
    for id in [second, first] {
        let mut tx = db.begin().await.unwrap();
        assert!(hasten(&mut tx, id).await.unwrap());
        tx.commit().await.unwrap();
    }
    running.wake.wake();
    running.signalled("a").await;
    running.stop().await;
    assert_eq!(notes(&db).await, ["first", "second"]);
    let mut tx = db.begin().await.unwrap();
    assert!(!hasten(&mut tx, first).await.unwrap(), "it has ended");
    tx.commit().await.unwrap();
    assert_eq!(get(&db, first).await.status, JobStatus::Done);
}
