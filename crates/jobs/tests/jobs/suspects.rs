//! A job that kills its process takes no other with it, and is not lost.
#![allow(clippy::unwrap_used, reason = "tests")]
use std::time::Duration;

use crate::common::*;
use privatix_db::Database;
use privatix_jobs::{FailureCause, Filter, Job, JobStatus, Lane};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// A processor whose clock is ahead, and whose handlers report the note of each job that starts. Those that `hang`
/// names run until they are dropped.
fn run(db: &Database, ahead_by: u64, hangs: fn(&str) -> bool) -> (Running, mpsc::UnboundedReceiver<String>) {
    let (started, starts) = mpsc::unbounded_channel();
    let running = start(db, |builder| {
        builder.clock(ahead(Duration::from_secs(ahead_by))).register::<Step, _>(Do::new(
            move |job: Step, cx| {
                let started = started.clone();
                async move {
                    let _ = started.send(job.note.clone());
                    if hangs(&job.note) {
                        return std::future::pending().await;
                    }
                    finish(cx, &job.subject, &job.note).await
                }
            },
        ))
    });
    (running, starts)
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_beside_the_one_that_kills_the_process_are_done_and_it_is_delayed() {
    let (_dir, db) = fresh().await;
    let mut poison = None;
    for note in ["1", "2", "poison", "4", "5"] {
        let id = push(&db, Step::new(format!("of {note}"), note)).await;
        if note == "poison" {
            poison = Some(id);
        }
    }
    let poison = poison.unwrap();
    // Two deaths under all five. The first costs nothing: all run again at once.
    for _ in 0..2 {
        let (running, mut starts) = run(&db, 0, |_| true);
        for _ in 0..5 {
            next(&mut starts).await;
        }
        running.crash().await;
    }
    // From then on they wait, and run alone: what dies under the poison now is the poison only.
    let (running, mut starts) = run(&db, 11, |note| note == "poison");
    for note in ["1", "2", "poison"] {
        assert_eq!(next(&mut starts).await, note);
    }
    running.crash().await;
    assert_eq!(notes(&db).await, ["1", "2"]);
    let (running, mut starts) = run(&db, 11, |note| note == "poison");
    for note in ["4", "5"] {
        assert_eq!(next(&mut starts).await, note);
    }
    while notes(&db).await.len() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.stop().await;
    let job = get(&db, poison).await;
    assert_eq!((job.status, job.tries, job.crashes), (JobStatus::Waiting, 0, 3));
    assert_eq!(job.failure.unwrap().cause, FailureCause::Crash);

    // It is not lost: when its time has come and it ends, it is done.
    push(&db, Signal("of poison".into())).await;
    let (mut running, _starts) = run(&db, 40, |_| false);
    running.signalled("of poison").await;
    running.stop().await;
    assert_eq!(notes(&db).await, ["1", "2", "4", "5", "poison"]);
    assert_eq!(list(&db, Filter::new().kind("step").status(JobStatus::Done)).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_only_waiting_counts_no_crash() {
    let (_dir, db) = fresh().await;
    let ran = push(&db, Step::new("a", "ran")).await;
    let behind = push(&db, Step::new("a", "behind it")).await;
    let (started, mut starts) = mpsc::unbounded_channel();
    let running = start(&db, |builder| {
        builder.workers(1).register::<Step, _>(Do::new(move |_: Step, _| {
            let _ = started.send(());
            std::future::pending()
        }))
    });
    let due = push(&db, Step::new("b", "due")).await;
    running.wake.wake();
    next(&mut starts).await;
    running.crash().await;
    push(&db, Signal("b".into())).await;
    let (mut running, _starts) = run(&db, 0, |_| false);
    running.signalled("b").await;
    running.stop().await;
    let crashes = [get(&db, ran).await.crashes, get(&db, behind).await.crashes, get(&db, due).await.crashes];
    assert_eq!(crashes, [1, 0, 0]);
}

/// In a lane above the default one.
#[derive(Clone, Serialize, Deserialize)]
struct Close(u32);

impl Job for Close {
    const KIND: &'static str = "close";
    const LANE: Lane = Lane::new("urgent", 2).priority(0);
    fn subject(&self) -> String {
        format!("close {}", self.0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_has_its_lane_alone_and_the_other_lanes_go_on() {
    let (_dir, db) = fresh().await;
    push(&db, Step::new("a", "suspect")).await;
    for _ in 0..2 {
        let (running, mut starts) = run(&db, 0, |_| true);
        next(&mut starts).await;
        running.crash().await;
    }
    let (started, mut starts) = mpsc::unbounded_channel();
    let (step, close) = (started.clone(), started);
    let running = start(&db, |builder| {
        builder
            .clock(ahead(Duration::from_secs(11)))
            .register::<Step, _>(Do::new(move |job: Step, _| {
                let _ = step.send(job.note);
                std::future::pending()
            }))
            .register::<Close, _>(Do::new(move |job: Close, cx: privatix_jobs::JobContext| {
                let _ = close.send(job.subject());
                async move { Ok(cx.finish().await?.commit().await?) }
            }))
    });
    assert_eq!(next(&mut starts).await, "suspect");
    let beside = push(&db, Step::new("b", "beside it")).await;
    for n in 0..3 {
        push(&db, Close(n)).await;
        running.wake.wake();
        assert_eq!(next(&mut starts).await, format!("close {n}"));
    }
    assert_eq!(get(&db, beside).await.status, JobStatus::Waiting);
    running.crash().await;
}
