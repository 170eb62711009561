//! Leases, fencing, crashes and shutdown.
#![allow(clippy::unwrap_used, reason = "tests")]
mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use privatix_jobs::{FailureCause, JobError, JobStatus, JobsError, ProcessorBuilder};
use tokio::sync::{Notify, mpsc};

type Events = mpsc::UnboundedReceiver<String>;

/// A handler that says it has started, waits for the gate, and says what came of its commit.
fn gated(gate: &Arc<Notify>) -> (Do<Step>, Events) {
    let (tell, events) = mpsc::unbounded_channel();
    let gate = Arc::clone(gate);
    let handler = Do::new(move |job: Step, cx| {
        let (gate, tell) = (Arc::clone(&gate), tell.clone());
        async move {
            let _ = tell.send("started".to_owned());
            gate.notified().await;
            let done = finish(cx, &job.subject, &job.note).await;
            let _ = tell.send(done.as_ref().map_or_else(ToString::to_string, |_| "committed".to_owned()));
            done
        }
    });
    (handler, events)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_comes_back_after_its_lease_was_taken_over_cannot_commit() {
    let (_dir, db) = fresh().await;
    let id = push(&db, Step::new("a", "once")).await;
    let (gate_a, gate_b) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (handler, mut a) = gated(&gate_a);
    let first = start(&db, |builder| builder.identity("a").register::<Step, _>(handler));
    assert_eq!(next(&mut a).await, "started");

    // To B, the lease of A ended long ago: as if A had been frozen.
    let (handler, mut b) = gated(&gate_b);
    let second = start(&db, |builder| {
        builder.identity("b").clock(ahead(Duration::from_hours(1))).register::<Step, _>(handler)
    });
    assert_eq!(next(&mut b).await, "started");
    gate_a.notify_one();
    let refusal = JobsError::LeaseLost(id).to_string();
    assert_eq!(next(&mut a).await, refusal);
    assert_eq!(notes(&db).await, [""; 0]);
    gate_b.notify_one();
    assert_eq!(next(&mut b).await, "committed");
    first.stop().await;
    second.stop().await;

    assert_eq!(notes(&db).await, ["once"]);
    let job = get(&db, id).await;
    assert_eq!((job.status, job.tries, job.crashes), (JobStatus::Done, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_over_job_that_is_done_stays_so_when_the_first_worker_fails_it() {
    let (_dir, db) = fresh().await;
    let id = push(&db, Step::new("a", "once")).await;
    let gate = Arc::new(Notify::new());
    let (began, mut begun) = mpsc::unbounded_channel();
    let wait = Arc::clone(&gate);
    let first = start(&db, |builder| {
        builder.identity("a").register::<Step, _>(Do::new(move |_, _| {
            let (wait, began) = (Arc::clone(&wait), began.clone());
            async move {
                let _ = began.send(());
                wait.notified().await;
                Err(JobError::fail("late"))
            }
        }))
    });
    next(&mut begun).await;
    push(&db, Signal("a".into())).await;
    let mut second = start(&db, |builder| {
        builder.identity("b").clock(ahead(Duration::from_hours(1))).register::<Step, _>(write::<Step>())
    });
    second.signalled("a").await;
    gate.notify_one();
    first.stop().await;
    second.stop().await;
    let job = get(&db, id).await;
    assert_eq!((job.status, job.failure), (JobStatus::Done, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_while_its_handler_runs() {
    let (_dir, db) = fresh().await;
    let id = push(&db, Step::new("a", "once")).await;
    let gate = Arc::new(Notify::new());
    let (handler, mut a) = gated(&gate);
    let lease = Duration::from_millis(1500);
    // With one worker and nothing claimed ahead, A has its hands full and leaves the signal to B.
    let first = start(&db, |builder| {
        builder.identity("a").workers(1).prefetch(0).lease(lease).register::<Step, _>(handler)
    });
    assert_eq!(next(&mut a).await, "started");
    let first_end = lease_end(&db, id).await;
    while lease_end(&db, id).await == first_end {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // To B it is just after the end that the lease had at first, and stays so.
    let now = first_end + Duration::from_micros(1);
    push(&db, Signal("b".into())).await;
    let mut second =
        start(&db, |builder| builder.identity("b").clock(move || now).register::<Step, _>(write::<Step>()));
    second.signalled("b").await;
    second.stop().await;
    assert_eq!(notes(&db).await, [""; 0]);
    gate.notify_one();
    assert_eq!(next(&mut a).await, "committed");
    first.stop().await;
    assert_eq!(get(&db, id).await.crashes, 0);
    assert_eq!(notes(&db).await, ["once"]);
}

fn stuck(begun: mpsc::UnboundedSender<()>) -> impl FnOnce(ProcessorBuilder) -> ProcessorBuilder {
    move |builder| {
        let stuck = Do::new(move |_: Fragile, _| {
            let _ = begun.send(());
            std::future::pending()
        });
        builder.lease(Duration::from_hours(1)).register::<Fragile, _>(stuck)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_the_same_process_takes_its_jobs_up_at_once() {
    let (_dir, db) = fresh().await;
    let id = push(&db, Fragile::new("a", "once")).await;
    let (began, mut begun) = mpsc::unbounded_channel();
    let running = start(&db, stuck(began));
    next(&mut begun).await;
    assert_eq!(get(&db, id).await.status, JobStatus::Running);
    running.crash().await;
    assert_eq!(get(&db, id).await.status, JobStatus::Running);

    push(&db, Signal("a".into())).await;
    let mut running = start(&db, |builder| builder.register::<Fragile, _>(write::<Fragile>()));
    running.signalled("a").await; // the lease would have lasted an hour
    running.stop().await;
    let job = get(&db, id).await;
    assert_eq!((job.status, job.tries, job.crashes), (JobStatus::Done, 0, 1));
    assert_eq!(notes(&db).await, ["once"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_waits_for_the_lease_to_end() {
    let (_dir, db) = fresh().await;
    push(&db, Fragile::new("a", "once")).await;
    let (began, mut begun) = mpsc::unbounded_channel();
    let running = start(&db, stuck(began));
    next(&mut begun).await;
    running.crash().await;
    push(&db, Signal("a".into())).await;
    push(&db, Signal("b".into())).await;
    let other = |builder: ProcessorBuilder| builder.identity("other").register::<Fragile, _>(write());
    let mut running = start(&db, other);
    running.signalled("b").await;
    running.stop().await;
    assert_eq!(notes(&db).await, [""; 0]);

    let mut running = start(&db, |builder| other(builder).clock(ahead(Duration::from_mins(61))));
    running.signalled("a").await;
    running.stop().await;
    assert_eq!(notes(&db).await, ["once"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_keeps_killing_its_process_is_failed() {
    let (_dir, db) = fresh().await;
    let id = push(&db, Fragile::new("a", "once")).await;
    for _ in 0..2 {
        let (began, mut begun) = mpsc::unbounded_channel();
        let running = start(&db, stuck(began));
        next(&mut begun).await;
        running.crash().await;
    }
    push(&db, Signal("a".into())).await;
    let mut running = start(&db, |builder| builder.register::<Fragile, _>(write::<Fragile>()));
    running.signalled("a").await;
    running.stop().await;
    let failure = get(&db, id).await.failure.unwrap();
    assert_eq!(failure.cause, FailureCause::Crash);
    assert_eq!(failure.message, "the process died 2 times while this job ran");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_lets_a_running_handler_finish() {
    let (_dir, db) = fresh().await;
    let id = push(&db, Step::new("a", "once")).await;
    let (began, mut begun) = mpsc::unbounded_channel();
    let running = start(&db, |builder| {
        builder.register::<Step, _>(Do::new(move |job: Step, cx| {
            let began = began.clone();
            async move {
                let _ = began.send(());
                cx.cancelled().cancelled().await; // told, but decides to finish
                finish(cx, &job.subject, &job.note).await
            }
        }))
    });
    next(&mut begun).await;
    running.stop().await;
    assert_eq!(get(&db, id).await.status, JobStatus::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shutdown_interrupts_is_given_back_with_all_its_tries() {
    let (_dir, db) = fresh().await;
    let gives_up = push(&db, Step::new("a", "gives up")).await;
    let ignores = push(&db, Step::new("b", "ignores")).await;
    let queued = push(&db, Step::new("c", "queued")).await;
    let (began, mut begun) = mpsc::unbounded_channel();
    let running = start(&db, |builder| {
        builder.workers(2).grace(Duration::from_millis(50)).register::<Step, _>(Do::new(
            move |job: Step, cx| {
                let began = began.clone();
                async move {
                    let _ = began.send(());
                    if job.note == "ignores" {
                        // In the middle of its completion.
                        let id = cx.id();
                        let mut completion = cx.finish().await?;
                        effect(&mut completion, id, "b", "undone").await?;
                        return std::future::pending().await;
                    }
                    cx.cancelled().cancelled().await;
                    Err(JobError::retry("interrupted"))
                }
            },
        ))
    });
    next(&mut begun).await;
    next(&mut begun).await;
    running.stop().await;
    for id in [gives_up, ignores, queued] {
        let job = get(&db, id).await;
        assert_eq!((job.status, job.tries, job.crashes), (JobStatus::Waiting, 0, 0), "job {id}");
    }
    assert_eq!(notes(&db).await, [""; 0]);
}
