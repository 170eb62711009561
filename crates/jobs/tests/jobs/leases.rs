//! No job runs twice at once: clocks, dropped processors, crashes and shutdown.
#![allow(clippy::unwrap_used, reason = "tests")]
use std::sync::Arc;
use std::time::Duration;

use crate::common::*;
use privatix_jobs::{Filter, JobError, JobStatus, JobsError, OrRetry as _, ProcessorBuilder};
use tokio::sync::{Notify, mpsc};

type Events = mpsc::UnboundedReceiver<String>;

/// A handler that reports that it has started, waits for the gate, and reports what came of its commit.
fn gated(gate: &Arc<Notify>) -> (Do<Step>, Events) {
    let (report, events) = mpsc::unbounded_channel();
    let gate = Arc::clone(gate);
    let handler = Do::new(move |job: Step, cx| {
        let (gate, report) = (Arc::clone(&gate), report.clone());
        async move {
            let _ = report.send("started".to_owned());
            gate.notified().await;
            let done = finish(cx, &job.subject, &job.note).await;
            let _ = report.send(done.as_ref().map_or_else(ToString::to_string, |_| "committed".to_owned()));
            done
        }
    });
    (handler, events)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_once_at_a_time_when_the_wall_clock_jumps() {
    let (_dir, db) = fresh().await;
    let id = push(&db, Step::new("a", "once")).await;
    let gate = Arc::new(Notify::new());
    let (handler, mut a) = gated(&gate);
    let clock = Clock::default();
    let first = start(&db, |builder| builder.clock(clock.read()).register::<Step, _>(handler));
    assert_eq!(next(&mut a).await, "started");
    for (ahead, subject) in [(86_400, "forwards"), (-86_400, "backwards"), (0, "and again")] {
        clock.set_ahead(ahead);
        // Both the processor that runs the job and another one claim what is due by the new time.
        for _ in 0..2 {
            push(&db, Signal(subject.into())).await;
        }
        let mut second =
            start(&db, |builder| builder.clock(clock.read()).register::<Step, _>(write::<Step>()));
        first.wake.wake();
        while list(&db, Filter::new().subject(subject).status(JobStatus::Done)).await.len() < 2 {
            // Signals that the first one runs are not seen here.
            let seen = second.signalled(subject);
            let _ = tokio::time::timeout(Duration::from_millis(100), seen).await;
            if ahead < 0 {
                clock.set_ahead(0); // what was pushed by the system's time is not due before it
            }
        }
        second.stop().await;
        assert_eq!(notes(&db).await, [""; 0]);
    }
    gate.notify_one();
    assert_eq!(next(&mut a).await, "committed");
    first.stop().await;
    assert_eq!(notes(&db).await, ["once"]);
    let job = get(&db, id).await;
    assert_eq!((job.status, job.tries, job.crashes), (JobStatus::Done, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_job_was_claimed_again_cannot_commit() {
    let (_dir, db) = fresh().await;
    let id = push(&db, Step::new("a", "never")).await;
    let gate = Arc::new(Notify::new());
    let (handler, mut events) = gated(&gate);
    let running = start(&db, |builder| builder.register::<Step, _>(handler));
    assert_eq!(next(&mut events).await, "started");
    tamper(&db, "UPDATE job SET token = token + 1").await;
    gate.notify_one();
    assert_eq!(next(&mut events).await, JobsError::LeaseLost(id).to_string());
    running.stop().await;
    assert_eq!(notes(&db).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_of_a_dropped_processor_go_to_the_one_beside_it() {
    let (_dir, db) = fresh().await;
    let id = push(&db, Fragile::new("a", "once")).await;
    push(&db, Signal("a".into())).await;
    let (began, mut begun) = mpsc::unbounded_channel();
    let first = start(&db, stuck(began));
    next(&mut begun).await;
    // Of a kind that the first one does not handle.
    push(&db, Step::new("b", "beside")).await;
    let (ended, mut has_ended) = mpsc::unbounded_channel();
    let beside = Do::new(move |job: Step, cx| {
        let ended = ended.clone();
        async move {
            let done = finish(cx, &job.subject, &job.note).await;
            let _ = ended.send(());
            done
        }
    });
    let mut second =
        start(&db, |builder| builder.register::<Fragile, _>(write::<Fragile>()).register::<Step, _>(beside));
    next(&mut has_ended).await;
    assert_eq!(get(&db, id).await.status, JobStatus::Running);
    first.crash().await;
    second.signalled("a").await;
    second.stop().await;
    assert_eq!(notes(&db).await, ["beside", "once"]);
    assert_eq!(get(&db, id).await.crashes, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_jobs_of_a_dropped_processor_wait_until_its_handlers_have_ended() {
    let (_dir, db) = fresh().await;
    let id = push(&db, Step::new("a", "once")).await;
    push(&db, Signal("a".into())).await;
    push(&db, Signal("b".into())).await;
    let (began, mut begun) = mpsc::unbounded_channel();
    let (go_on, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = std::sync::Mutex::new(blocked);
    let first = start(&db, |builder| {
        builder.workers(1).register::<Step, _>(Do::new(move |_: Step, _| {
            let _ = began.send(());
            // Blocks its thread, so that it cannot be dropped.
            let _ = blocked.lock().unwrap().recv();
            std::future::pending()
        }))
    });
    next(&mut begun).await;
    first.crash().await;
    let mut second = start(&db, |builder| builder.register::<Step, _>(write::<Step>()));
    second.signalled("b").await;
    assert_eq!(get(&db, id).await.status, JobStatus::Running);
    go_on.send(()).unwrap();
    second.signalled("a").await;
    second.stop().await;
    assert_eq!(notes(&db).await, ["once"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_end_could_not_be_written_runs_again() {
    let (_dir, db) = fresh().await;
    let subjects: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    for subject in &subjects {
        push(&db, Step::new(subject, "once")).await;
        push(&db, Signal(subject.clone())).await;
    }
    tamper(
        &db,
        "CREATE TRIGGER full BEFORE UPDATE ON job WHEN OLD.held_by IS NOT NULL AND NEW.held_by IS NULL \
         BEGIN SELECT RAISE(ABORT, 'the disk is full'); END",
    )
    .await;
    let (tried, mut tries) = mpsc::unbounded_channel();
    let mut running = start(&db, |builder| {
        builder.register::<Step, _>(Do::new(move |job: Step, cx| {
            let tried = tried.clone();
            async move {
                let done = finish(cx, &job.subject, &job.note).await;
                let _ = tried.send(());
                done
            }
        }))
    });
    for _ in 0..8 {
        next(&mut tries).await;
    }
    assert_eq!(notes(&db).await, [""; 0]);
    tamper(&db, "DROP TRIGGER full").await;
    running.signalled_all(&subjects.iter().map(String::as_str).collect::<Vec<_>>()).await;
    running.stop().await;
    assert_eq!(notes(&db).await, ["once"; 12]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_does_not_grow_when_the_clock_goes_back() {
    let (_dir, db) = fresh().await;
    let year = 365 * 86_400;
    let waits = push(&db, Slow::new("a", "once")).await;
    let behind = push(&db, Step::new("a", "behind it")).await;
    tamper(
        &db,
        &format!("UPDATE job SET created_at = created_at + {year}000000, run_at = run_at + {year}000000"),
    )
    .await;
    push(&db, Signal("a".into())).await;
    let clock = Clock::default();
    clock.set_ahead(year);
    let (tried, mut tries) = mpsc::unbounded_channel();
    let running = start(&db, |builder| {
        builder.clock(clock.read()).register::<Slow, _>(Do::new(move |_, _| {
            let _ = tried.send(());
            async { Err(JobError::retry("not yet")) }
        }))
    });
    next(&mut tries).await;
    while get(&db, waits).await.status == JobStatus::Running {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.stop().await;

    // The clock is right again, and the wait over that was 1,000 seconds.
    let mut running = start(&db, |builder| {
        builder.register::<Slow, _>(write::<Slow>()).register::<Step, _>(write::<Step>())
    });
    push(&db, Signal("b".into())).await;
    running.wake.wake();
    running.signalled("b").await;
    running.stop().await;
    let due = get(&db, waits).await.not_before.duration_since(std::time::SystemTime::now()).unwrap();
    assert!(due < Duration::from_secs(1001), "{due:?}");
    let mut running = start(&db, |builder| {
        builder
            .clock(ahead(Duration::from_secs(1001)))
            .register::<Slow, _>(write::<Slow>())
            .register::<Step, _>(write::<Step>())
    });
    running.signalled("a").await;
    running.stop().await;
    assert_eq!(notes(&db).await, ["once", "behind it"]);
    assert_eq!(get(&db, behind).await.status, JobStatus::Done);
}

fn stuck(begun: mpsc::UnboundedSender<()>) -> impl FnOnce(ProcessorBuilder) -> ProcessorBuilder {
    move |builder| {
        let stuck = Do::new(move |_: Fragile, _| {
            let _ = begun.send(());
            std::future::pending()
        });
        builder.register::<Fragile, _>(stuck)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_the_next_processor_takes_its_jobs_up_at_once() {
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
    running.signalled("a").await;
    running.stop().await;
    let job = get(&db, id).await;
    assert_eq!((job.status, job.tries, job.crashes), (JobStatus::Done, 0, 1));
    assert_eq!(notes(&db).await, ["once"]);
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
                cx.cancelled().cancelled().await; // asked to stop, but decides to finish
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
                        effect(&mut completion, id, "b", "undone").await.or_retry()?;
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
