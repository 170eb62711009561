//! Who runs when.
#![allow(clippy::unwrap_used, reason = "tests")]
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::*;
use privatix_jobs::{JobContext, JobError, JobStatus, PushOptions};
use tokio::sync::{Barrier, mpsc};

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_one_subject_run_one_after_another_in_the_order_of_their_creation() {
    let (_dir, db) = fresh().await;
    let mut expected: HashMap<String, Vec<String>> = HashMap::new();
    for n in 0..60 {
        let subject = ["a", "b", "c"][n % 3];
        push(&db, Step::new(subject, n.to_string())).await;
        expected.entry(subject.to_owned()).or_default().push(n.to_string());
    }
    let busy: Arc<Mutex<HashMap<String, bool>>> = Arc::default();
    let mut running = start(&db, |builder| {
        builder.workers(8).register::<Step, _>(Do::new(move |job: Step, cx: JobContext| {
            let busy = Arc::clone(&busy);
            async move {
                let before = busy.lock().unwrap().insert(job.subject.clone(), true);
                assert_ne!(before, Some(true), "two jobs of {} at the same time", job.subject);
                tokio::task::yield_now().await;
                busy.lock().unwrap().insert(job.subject.clone(), false);
                finish(cx, &job.subject, &job.note).await
            }
        }))
    });
    for subject in ["a", "b", "c"] {
        push(&db, Signal(subject.into())).await;
    }
    running.wake.wake();
    running.signalled_all(&["a", "b", "c"]).await;
    running.stop().await;

    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    for (_, subject, note) in effects(&db).await {
        found.entry(subject).or_default().push(note);
    }
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn different_subjects_run_side_by_side() {
    let (_dir, db) = fresh().await;
    // Nobody passes until all four are there.
    let all_there = Arc::new(Barrier::new(4));
    for subject in ["a", "b", "c", "d"] {
        push(&db, Step::new(subject, "met")).await;
        push(&db, Signal(subject.into())).await;
    }
    let mut running = start(&db, |builder| {
        builder.workers(4).register::<Step, _>(Do::new(move |job: Step, cx| {
            let all_there = Arc::clone(&all_there);
            async move {
                all_there.wait().await;
                finish(cx, &job.subject, &job.note).await
            }
        }))
    });
    running.signalled_all(&["a", "b", "c", "d"]).await;
    running.stop().await;
    assert_eq!(notes(&db).await, ["met"; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_handlers_than_workers_run_at_a_time() {
    let (_dir, db) = fresh().await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let subjects: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    for subject in &subjects {
        push(&db, Step::new(subject, "")).await;
        push(&db, Signal(subject.clone())).await;
    }
    let counted = Arc::clone(&most);
    let mut running = start(&db, |builder| {
        builder.workers(3).register::<Step, _>(Do::new(move |job: Step, cx| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&counted));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                // The worker is free when the end of the job is on disk.
                now.fetch_sub(1, Ordering::SeqCst);
                finish(cx, &job.subject, &job.note).await
            }
        }))
    });
    running.signalled_all(&subjects.iter().map(String::as_str).collect::<Vec<_>>()).await;
    running.stop().await;
    let most = AtomicUsize::load(&most, Ordering::SeqCst);
    assert!((2..=3).contains(&most), "{most} at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_job_holds_up_the_later_ones_of_its_subject_and_no_others() {
    let (_dir, db) = fresh().await;
    let later = push(&db, Later::new("a", "first")).await;
    push(&db, Step::new("a", "second")).await;
    push(&db, Step::new("b", "other")).await;
    push(&db, Signal("b".into())).await;
    let handlers = |builder: privatix_jobs::ProcessorBuilder| {
        builder.register::<Later, _>(write::<Later>()).register::<Step, _>(write::<Step>())
    };
    let mut running = start(&db, handlers);
    running.signalled("b").await;
    running.stop().await;
    assert_eq!(notes(&db).await, ["other"]);
    let record = get(&db, later).await;
    assert_eq!(record.not_before.duration_since(record.created_at).unwrap(), Duration::from_hours(1));

    push(&db, Signal("a".into())).await;
    let mut running = start(&db, |builder| handlers(builder).clock(ahead(Duration::from_hours(2))));
    running.signalled("a").await;
    running.stop().await;
    assert_eq!(notes(&db).await, ["other", "first", "second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_waits_for_its_own_time_without_being_woken_again() {
    let (_dir, db) = fresh().await;
    let start_at = std::time::SystemTime::now() + Duration::from_millis(200);
    let job = Signal("a".into());
    try_push(&db, &job, PushOptions::by("test").not_before(start_at)).await;
    let mut running = start(&db, |builder| builder);
    running.signalled("a").await;
    assert!(std::time::SystemTime::now() >= start_at);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_retried_holds_up_the_later_ones_of_its_subject() {
    let (_dir, db) = fresh().await;
    let first = push(&db, Slow::new("a", "first")).await;
    push(&db, Step::new("a", "second")).await;
    let (tried, mut tries) = mpsc::unbounded_channel();
    let running = start(&db, |builder| {
        builder
            .register::<Slow, _>(Do::new(move |_, cx| {
                let _ = tried.send(cx.try_number());
                async { Err(JobError::retry("not yet")) }
            }))
            .register::<Step, _>(write::<Step>())
    });
    assert_eq!(next(&mut tries).await, 1);
    running.stop().await;
    assert_eq!(get(&db, first).await.status, JobStatus::Waiting);
    assert_eq!(notes(&db).await, [""; 0]);

    push(&db, Signal("a".into())).await;
    let mut running = start(&db, |builder| {
        builder
            .clock(ahead(Duration::from_secs(1001)))
            .register::<Slow, _>(write::<Slow>())
            .register::<Step, _>(write::<Step>())
    });
    running.signalled("a").await;
    running.stop().await;
    assert_eq!(notes(&db).await, ["first", "second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_holds_up_nothing() {
    let (_dir, db) = fresh().await;
    let failed = push(&db, Step::new("a", "first")).await;
    push(&db, Signal("a".into())).await;
    let mut running = start(&db, |builder| {
        builder.register::<Step, _>(Do::new(|_, _| async { Err(JobError::fail("never")) }))
    });
    running.signalled("a").await;
    running.stop().await;
    assert_eq!(get(&db, failed).await.status, JobStatus::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_processor_starts_a_new_job_when_woken() {
    let (_dir, db) = fresh().await;
    let mut running = start(&db, |builder| builder);
    for subject in ["a", "b", "c"] {
        push(&db, Signal(subject.into())).await;
        running.wake.wake();
        // Asleep, it would look again after a minute: longer than the test's patience.
        running.signalled(subject).await;
    }
    running.stop().await;
}
