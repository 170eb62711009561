//! Compensation, awaited ends, periodic jobs, retention.
#![allow(clippy::unwrap_used, reason = "tests")]
use std::sync::Arc;
use std::time::Duration;

use crate::common::*;
use async_trait::async_trait;
use privatix_jobs::{
    Done, Effects, Failure, FailureCause, Filter, Handler, Job, JobContext, JobError, JobStatus, JobsError,
    OrRetry as _, PushOptions, Retention,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Always fails; its compensation writes an effect, and fails as often as the note asks for.
struct Fails(std::sync::atomic::AtomicU32);

#[async_trait]
impl Handler<Step> for Fails {
    async fn run(&self, _: &Step, _: JobContext) -> Result<Done, JobError> {
        Err(JobError::retry("no luck"))
    }

    async fn when_exhausted(
        &self,
        job: &Step,
        failure: &Failure,
        effects: &mut Effects<'_>,
    ) -> Result<(), JobError> {
        let id = effects.id();
        effect(effects, id, &job.subject, &failure.message).await.or_retry()?;
        effects.push(&Step::new("follow-up", "of the compensation")).await?;
        if self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            return Err(JobError::retry("not yet"));
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compensation_commits_with_the_failure() {
    let (_dir, db) = fresh().await;
    let id = push(&db, Step::new("a", "x")).await;
    push(&db, Signal("a".into())).await;
    // The follow-up fails too, without an effect of its own run.
    let mut running = start(&db, |builder| builder.register::<Step, _>(Fails(0.into())));
    running.signalled("a").await;
    let job = running.queue.ended(id).await.unwrap();
    running.stop().await;
    assert_eq!(job.status, JobStatus::Failed);
    // The third try was the last one; the compensation failed then, which undid the failure and counted as a try.
    assert_eq!((job.tries, job.failure.unwrap().cause), (4, FailureCause::Error));
    let of_job: Vec<_> = effects(&db).await.into_iter().filter(|(job, ..)| *job == 1).collect();
    assert_eq!(of_job, [(1, "a".to_owned(), "no luck".to_owned())]);
    assert!(!list(&db, Filter::new().subject("follow-up")).await.is_empty());
}

/// An error with a meaning.
#[derive(Debug, thiserror::Error)]
#[error("code {0}")]
struct Coded(u32);

/// Fails as its note asks for, and writes which [`Coded`] its compensation was given.
struct Codes;

#[async_trait]
impl Handler<Step> for Codes {
    async fn run(&self, job: &Step, cx: JobContext) -> Result<Done, JobError> {
        match job.note.as_str() {
            "each try" => Err(JobError::retry(Coded(cx.try_number()))),
            "at once" => Err(JobError::fail(Coded(7))),
            "panics" => std::panic::resume_unwind(Box::new("code 7")), // a panic that prints nothing
            _ => Err(JobError::fail("code 7")),
        }
    }

    async fn when_exhausted(&self, job: &Step, _: &Failure, fx: &mut Effects<'_>) -> Result<(), JobError> {
        let (id, code) = (fx.id(), fx.reason::<Coded>().map(|coded| coded.0));
        effect(fx, id, &job.subject, &format!("{code:?}")).await.or_retry()?;
        fx.push(&Signal(job.subject.clone())).await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compensation_is_given_the_error_of_the_last_try() {
    let (_dir, db) = fresh().await;
    for (subject, note) in [("a", "each try"), ("b", "at once"), ("c", "panics"), ("d", "a message")] {
        push(&db, Step::new(subject, note)).await;
    }
    let mut running = start(&db, |builder| builder.register::<Step, _>(Codes));
    running.signalled_all(&["a", "b", "c", "d"]).await;
    running.stop().await;
    let mut given: Vec<_> =
        effects(&db).await.into_iter().map(|(_, subject, code)| (subject, code)).collect();
    given.sort();
    let expected = [("a", "Some(3)"), ("b", "Some(7)"), ("c", "None"), ("d", "None")];
    assert_eq!(given, expected.map(|(subject, code)| (subject.to_owned(), code.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn awaiting_a_job_misses_no_end() {
    let (_dir, db) = fresh().await;
    let running = start(&db, |builder| {
        builder.register::<Step, _>(Do::new(|job: Step, cx| async move {
            match job.note.as_str() {
                "fails" => Err(JobError::fail("no")),
                "hangs" => std::future::pending().await,
                _ => Ok(cx.done().await?),
            }
        }))
    });
    let queue = running.queue.clone();
    let by = || PushOptions::by("test");
    for n in 0..50 {
        let id = queue.push(&Step::new(format!("{n}"), ""), by()).await.unwrap().id();
        assert_eq!(queue.ended(id).await.unwrap().status, JobStatus::Done);
    }
    let failed = queue.push(&Step::new("a", "fails"), by()).await.unwrap().id();
    assert_eq!(queue.ended(failed).await.unwrap().status, JobStatus::Failed);
    assert_eq!(queue.ended(failed).await.unwrap().status, JobStatus::Failed, "an ended one at once");
    let later = queue.push(&Step::new("b", "hangs"), by()).await.unwrap().id();
    let ended = tokio::spawn(async move { queue.ended(later).await.unwrap().status });
    cancel(&db, later).await.unwrap();
    running.wake.wake();
    assert_eq!(tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap(), JobStatus::Cancelled);
    let missing = running.queue.ended("999".parse().unwrap()).await;
    assert!(matches!(missing, Err(JobsError::NotFound(_))));
    running.stop().await;
}

#[derive(Clone, Serialize, Deserialize)]
struct Tick;

impl Job for Tick {
    const KIND: &'static str = "tick";
    fn subject(&self) -> String {
        "every tick".into()
    }
}

/// A processor with a periodic job that reports its runs, and fails every other one.
fn ticking(
    db: &privatix_db::Database,
    clock: &Clock,
    period: Duration,
) -> (Running, mpsc::UnboundedReceiver<()>) {
    let (ran, runs) = mpsc::unbounded_channel();
    let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let running = start(db, |builder| {
        builder.clock(clock.read()).every(
            period,
            Tick,
            Do::new(move |_: Tick, cx: JobContext| {
                let (ran, n) = (ran.clone(), count.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
                async move {
                    let done =
                        if n % 2 == 0 { Ok(cx.done().await?) } else { Err(JobError::fail("every other")) };
                    let _ = ran.send(());
                    done
                }
            }),
        )
    });
    (running, runs)
}

async fn ticks(db: &privatix_db::Database) -> Vec<privatix_jobs::JobRecord> {
    list(db, Filter::new().kind("tick")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_periods_run_once() {
    let (_dir, db) = fresh().await;
    let clock = Clock::default();
    let hour = Duration::from_hours(1);
    let (running, mut runs) = ticking(&db, &clock, hour);
    next(&mut runs).await;
    running.stop().await;
    // Ten periods later.
    clock.set_ahead(36_010);
    let (running, mut runs) = ticking(&db, &clock, hour);
    next(&mut runs).await;
    while ticks(&db).await.len() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.stop().await;
    assert!(runs.try_recv().is_err(), "one run for all missed periods");
    let waiting = &ticks(&db).await[0];
    assert_eq!(waiting.status, JobStatus::Waiting);
    let wait = waiting.not_before.duration_since(std::time::SystemTime::now()).unwrap();
    assert!(wait > Duration::from_mins(650) && wait < Duration::from_mins(661), "{wait:?}");

    // A shorter period pulls the waiting one forward, and a cancelled one comes again.
    let id = waiting.id;
    let (running, _runs) = ticking(&db, &clock, Duration::from_mins(1));
    while get(&db, id).await.not_before > std::time::SystemTime::now() + Duration::from_secs(36_100) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cancel(&db, id).await.unwrap();
    running.wake.wake();
    while ticks(&db).await[0].id == id {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_periodic_job_runs_again_after_it_failed() {
    let (_dir, db) = fresh().await;
    let (running, mut runs) = ticking(&db, &Clock::default(), Duration::from_millis(50));
    for _ in 0..5 {
        next(&mut runs).await;
    }
    running.stop().await;
    let failed = list(&db, Filter::new().kind("tick").status(JobStatus::Failed)).await.len();
    assert!(failed >= 2, "{failed} failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_runs_by_itself_in_small_bites() {
    let (_dir, db) = fresh().await;
    tamper(
        &db,
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1750)
         INSERT INTO job (kind, subject, payload, created_by, created_at, status, run_at, ended_at)
         SELECT 'step', 'a', '{}', 'test', 0, CASE n % 2 WHEN 0 THEN 'done' ELSE 'cancelled' END, 0, n FROM n",
    )
    .await;
    let kept = push(&db, Step::new("b", "x")).await;
    cancel(&db, kept).await.unwrap();
    let day = Some(Duration::from_hours(24));
    let mut running =
        start(&db, |builder| builder.retention(Retention { done: day, failed: None, cancelled: day }));
    push(&db, Signal("a".into())).await;
    running.wake.wake();
    running.signalled("a").await;
    while list(&db, Filter::new().kind("step").limit(1000)).await.len() > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.stop().await;
    assert_eq!(get(&db, kept).await.status, JobStatus::Cancelled);
}
