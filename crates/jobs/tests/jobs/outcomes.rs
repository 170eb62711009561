//! What becomes of a job whose run does not succeed.
#![allow(clippy::unwrap_used, reason = "tests")]
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crate::common::*;
use privatix_jobs::{
    Done, Failure, FailureCause, JobContext, JobError, JobRecord, JobStatus, JobsError, OrRetry as _,
};
use tokio::sync::mpsc;

#[expect(clippy::unnecessary_wraps, reason = "compared with a record's field")]
fn failure(cause: FailureCause, message: &str) -> Option<Failure> {
    Some(Failure { cause, message: message.to_owned() })
}

/// Runs one job and the signal behind it, and gives the job as it is stored afterwards.
async fn outcome<R>(body: impl Fn(Step, JobContext) -> R + Send + Sync + 'static) -> (JobRecord, Vec<String>)
where
    R: Future<Output = Result<Done, JobError>> + Send + 'static,
{
    let (_dir, db) = fresh().await;
    let id = push(&db, Step::new("a", "x")).await;
    push(&db, Signal("a".into())).await;
    let mut running = start(&db, |builder| builder.register::<Step, _>(Do::new(body)));
    running.signalled("a").await;
    running.stop().await;
    (get(&db, id).await, notes(&db).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_tried_again_until_a_try_succeeds() {
    let (job, notes) = outcome(|job, cx| async move {
        if cx.try_number() < 3 {
            return Err(JobError::retry(format!("try {}", cx.try_number())));
        }
        finish(cx, "a", &job.note).await
    })
    .await;
    assert_eq!((job.status, job.tries), (JobStatus::Done, 2));
    assert_eq!(job.failure, failure(FailureCause::Error, "try 2"));
    assert_eq!(notes, ["x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_fails_for_good_when_its_tries_are_used_up() {
    let (tried, mut tries) = mpsc::unbounded_channel();
    let (job, _) = outcome(move |_, cx| {
        let _ = tried.send(cx.try_number());
        async { Err(std::io::Error::other("disk on fire")).or_retry()? }
    })
    .await;
    assert_eq!((job.status, job.tries), (JobStatus::Failed, 3));
    assert_eq!(job.failure, failure(FailureCause::Error, "disk on fire"));
    assert!(job.ended_at.is_some());
    assert_eq!([tries.recv().await, tries.recv().await, tries.recv().await], [Some(1), Some(2), Some(3)]);
    assert!(tries.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permanent_error_is_not_tried_again() {
    let (job, _) = outcome(|_, _| async { Err(JobError::fail("wrong address")) }).await;
    assert_eq!((job.status, job.tries), (JobStatus::Failed, 1));
    assert_eq!(job.failure, failure(FailureCause::Error, "wrong address"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_failed_try_and_the_processor_stays_up() {
    let (job, _) = outcome(|_, _| async { panic!("boom") }).await;
    assert_eq!((job.status, job.tries), (JobStatus::Failed, 3));
    assert_eq!(job.failure, failure(FailureCause::Panic, "boom"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_inside_the_completion_undoes_its_writes() {
    let (job, notes) = outcome(|_, cx| async {
        let (id, first) = (cx.id(), cx.try_number() == 1);
        let mut completion = cx.finish().await?;
        effect(&mut completion, id, "a", if first { "undone" } else { "kept" }).await.or_retry()?;
        assert!(!first, "boom");
        Ok(completion.commit().await?)
    })
    .await;
    assert_eq!((job.status, job.tries), (JobStatus::Done, 1));
    assert_eq!(notes, ["kept"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_inside_the_completion_undoes_its_writes_and_follow_ups() {
    let (job, notes) = outcome(|_, cx| async {
        let (id, first) = (cx.id(), cx.try_number() == 1);
        let mut completion = cx.finish().await?;
        effect(&mut completion, id, "a", if first { "undone" } else { "kept" }).await.or_retry()?;
        if first {
            completion.push(&Step::new("follow-up", "never")).await?;
            return Err(JobError::retry("thought better of it"));
        }
        Ok(completion.commit().await?)
    })
    .await;
    assert_eq!((job.status, job.tries), (JobStatus::Done, 1));
    assert_eq!(notes, ["kept"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_after_the_commit_changes_nothing() {
    let (job, notes) = outcome(|job, cx| async move {
        let _ = finish(cx, "a", &job.note).await?;
        Err(JobError::fail("too late"))
    })
    .await;
    assert_eq!((job.status, job.tries, job.failure), (JobStatus::Done, 0, None));
    assert_eq!(notes, ["x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_one_job_is_not_accepted_for_another() {
    let (_dir, db) = fresh().await;
    let kept: Arc<Mutex<Option<Done>>> = Arc::default();
    let first = push(&db, Step::new("a", "honest")).await;
    let second = push(&db, Step::new("a", "cheat")).await;
    push(&db, Signal("a".into())).await;
    let is_kept = Arc::new(tokio::sync::Notify::new());
    let mut running = start(&db, |builder| {
        builder.register::<Step, _>(Do::new(move |job: Step, cx| {
            let (kept, is_kept) = (Arc::clone(&kept), Arc::clone(&is_kept));
            async move {
                if job.note == "cheat" {
                    is_kept.notified().await;
                    return kept.lock().unwrap().take().ok_or_else(|| JobError::fail("nothing kept"));
                }
                let done = finish(cx, "a", &job.note).await?;
                *kept.lock().unwrap() = Some(done);
                is_kept.notify_one();
                Err(JobError::fail("kept it"))
            }
        }))
    });
    running.signalled("a").await;
    running.stop().await;
    assert_eq!(get(&db, first).await.status, JobStatus::Done);
    let message = format!("the handler returned the end of job {first}");
    assert_eq!(get(&db, second).await.failure, failure(FailureCause::Error, &message));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_takes_too_long_is_dropped_with_its_writes() {
    let (_dir, db) = fresh().await;
    let id = push(&db, Hasty::new("a", "x")).await;
    push(&db, Signal("a".into())).await;
    let mut running = start(&db, |builder| {
        builder.register::<Hasty, _>(Do::new(|job: Hasty, cx| async move {
            let id = cx.id();
            let mut completion = cx.finish().await?;
            effect(&mut completion, id, "a", &job.note).await.or_retry()?;
            std::future::pending().await
        }))
    });
    running.signalled("a").await;
    running.stop().await;
    let job = get(&db, id).await;
    assert_eq!(job.status, JobStatus::Failed);
    assert_eq!(job.failure, failure(FailureCause::Timeout, "the handler did not end within 20ms"));
    assert_eq!(notes(&db).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_no_longer_parses_fails_its_job_with_the_reason_and_no_other() {
    let (_dir, db) = fresh().await;
    let old = push(&db, OldStep { subject: "a".into() }).await;
    let behind = push(&db, Step::new("a", "behind it")).await;
    let garbled = push(&db, Step::new("b", "x")).await;
    scribble(&db, garbled, "{\"subject\": \"b\", \"no").await;
    for subject in ["a", "b"] {
        push(&db, Signal(subject.into())).await;
    }
    let mut running = start(&db, |builder| builder.register::<Step, _>(write::<Step>()));
    running.signalled_all(&["a", "b"]).await;
    running.stop().await;

    // It can be looked at, with its payload as it is stored, and is not tried again and again.
    let job = get(&db, old).await;
    assert_eq!((job.status, job.tries), (JobStatus::Failed, 1));
    assert_eq!(job.payload, r#"{"subject":"a"}"#);
    let message = "the payload does not parse: missing field `note` at line 1 column 15";
    assert_eq!(job.failure, failure(FailureCause::Payload, message));
    let job = get(&db, garbled).await;
    assert_eq!((job.status, job.failure.map(|f| f.cause)), (JobStatus::Failed, Some(FailureCause::Payload)));
    // The others went on.
    assert_eq!(get(&db, behind).await.status, JobStatus::Done);
    assert_eq!(notes(&db).await, ["behind it"]);

    // Once the payload is right again, or the program that reads it, the job can be had again.
    scribble(&db, old, r#"{"subject":"a","note":"mended"}"#).await;
    reactivate(&db, old).await.unwrap();
    push(&db, Signal("a".into())).await;
    let mut running = start(&db, |builder| builder.register::<Step, _>(write::<Step>()));
    running.signalled("a").await;
    running.stop().await;
    assert_eq!(notes(&db).await, ["behind it", "mended"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_without_a_handler_waits_for_a_process_that_has_one() {
    let (_dir, db) = fresh().await;
    let id = push(&db, Step::new("a", "x")).await;
    for subject in ["a", "b"] {
        push(&db, Signal(subject.into())).await;
    }
    let mut running = start(&db, |builder| builder);
    running.signalled("b").await;
    running.stop().await;
    let job = get(&db, id).await;
    assert_eq!((job.status, job.tries, job.failure), (JobStatus::Waiting, 0, None));

    let mut running = start(&db, |builder| builder.register::<Step, _>(write::<Step>()));
    running.signalled("a").await;
    running.stop().await;
    assert_eq!(notes(&db).await, ["x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_retired_kind_fail_and_hold_up_nothing() {
    let (_dir, db) = fresh().await;
    let id = push(&db, Step::new("a", "x")).await;
    push(&db, Signal("a".into())).await;
    let mut running = start(&db, |builder| builder.retired("step"));
    running.signalled("a").await;
    running.stop().await;
    let job = get(&db, id).await;
    assert_eq!(job.status, JobStatus::Failed);
    assert_eq!(job.failure, failure(FailureCause::UnknownKind, "jobs of kind \"step\" are no longer run"));
}

/// Runs a job of a kind with long delays once.
async fn once(error: impl Fn() -> JobError + Send + Sync + 'static) -> JobRecord {
    let (_dir, db) = fresh().await;
    let id = push(&db, Slow::new("a", "x")).await;
    let (tried, mut tries) = mpsc::unbounded_channel();
    let running = start(&db, |builder| {
        builder.register::<Slow, _>(Do::new(move |_, _| {
            let _ = tried.send(());
            let error = error();
            async { Err(error) }
        }))
    });
    next(&mut tries).await;
    // Until it is written how the try ended: what a shutdown interrupts is not a failed try.
    while get(&db, id).await.status == JobStatus::Running {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.stop().await;
    get(&db, id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_waits_as_long_as_the_policy_says() {
    let before = SystemTime::now();
    let job = once(|| JobError::retry("not yet")).await;
    let wait = job.not_before.duration_since(before).unwrap();
    assert!((Duration::from_secs(799)..Duration::from_secs(1030)).contains(&wait), "{wait:?}");
    assert_eq!((job.status, job.tries), (JobStatus::Waiting, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_may_choose_when_to_be_tried_again() {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let job = once(move || JobError::retry_at(at, "at noon")).await;
    assert_eq!((job.status, job.tries, job.not_before), (JobStatus::Waiting, 1, at));
    assert_eq!(job.failure, failure(FailureCause::Error, "at noon"));
}

#[tokio::test(flavor = "multi_thread")]
async fn postponing_is_not_a_failed_try() {
    let until = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let job = once(move || JobError::postpone(until, "challenge period")).await;
    assert_eq!((job.status, job.tries, job.not_before), (JobStatus::Waiting, 0, until));
    assert_eq!(job.failure, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_very_long_error_is_stored_shortened() {
    let (job, _) = outcome(|_, _| async { Err(JobError::fail("ü".repeat(100_000))) }).await;
    assert_eq!(job.failure.unwrap().message.len(), 2_000 + '…'.len_utf8());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_handlers_for_one_kind_are_refused() {
    let (_dir, db) = fresh().await;
    let builder = privatix_jobs::Processor::builder(db)
        .register::<Step, _>(write::<Step>())
        .register::<Step, _>(write::<Step>());
    assert!(matches!(builder.build(), Err(JobsError::KindTwice("step"))));
}
