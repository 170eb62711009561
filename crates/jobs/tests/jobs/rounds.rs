//! Shared commits: what one member does to others, and what order holds.
#![allow(clippy::unwrap_used, reason = "tests")]
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::*;
use privatix_jobs::{
    Filter, Job, JobContext, JobError, JobStatus, JobsError, Lane, OrRetry as _, PushOptions,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// In a lane above the default one.
#[derive(Clone, Serialize, Deserialize)]
struct Urgent(u32);

impl Job for Urgent {
    const KIND: &'static str = "urgent";
    const LANE: Lane = Lane::new("urgent", 2).priority(0);
    fn subject(&self) -> String {
        format!("urgent {}", self.0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_completion_in_one_lane_delays_no_other() {
    let (_dir, db) = fresh().await;
    let sleeps: Vec<_> =
        futures::future::join_all((0..8).map(|n| push(&db, Step::new(format!("{n}"), "sleeps")))).await;
    let (events, mut seen) = mpsc::unbounded_channel();
    let urgent = events.clone();
    let running = start(&db, |builder| {
        builder
            .register::<Step, _>(Do::new(move |job: Step, cx: JobContext| {
                let events = events.clone();
                async move {
                    let id = cx.id();
                    let mut completion = cx.finish().await?;
                    effect(&mut completion, id, &job.subject, "undone").await.or_retry()?;
                    let _ = events.send("has its turn");
                    std::future::pending::<()>().await;
                    Ok(completion.commit().await?)
                }
            }))
            .register::<Urgent, _>(Do::new(move |_, cx: JobContext| {
                let urgent = urgent.clone();
                async move {
                    let done = cx.done().await?;
                    let _ = urgent.send("urgent");
                    Ok(done)
                }
            }))
    });
    assert_eq!(next(&mut seen).await, "has its turn");
    let pushed = Instant::now();
    push(&db, Urgent(0)).await;
    running.wake.wake();
    while next(&mut seen).await != "urgent" {}
    // The one that had its turn is dropped after a second, and seven more wait for theirs.
    assert!(pushed.elapsed() < Duration::from_secs(5), "after {:?}", pushed.elapsed());
    running.stop().await;
    assert_eq!(notes(&db).await, [""; 0]);
    for id in sleeps {
        let job = get(&db, id).await;
        assert_eq!((job.status, job.tries), (JobStatus::Waiting, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_pushes_through_the_queue_in_its_turn_is_refused() {
    let (_dir, db) = fresh().await;
    push(&db, Step::new("a", "x")).await;
    push(&db, Signal("a".into())).await;
    let handle: Arc<std::sync::OnceLock<privatix_jobs::Queue>> = Arc::default();
    let queue = Arc::clone(&handle);
    let mut running = start(&db, |builder| {
        builder.register::<Step, _>(Do::new(move |job: Step, cx| {
            let queue = queue.get().cloned();
            async move {
                let queue = queue.ok_or_else(|| JobError::retry("not yet"))?;
                queue.push(&Step::new("b", "before it"), PushOptions::by("test")).await.ok();
                if job.subject == "b" {
                    return Ok(cx.done().await?);
                }
                let id = cx.id();
                let mut completion = cx.finish().await?;
                let refused = queue.push(&Step::new("b", "in it"), PushOptions::by("test")).await;
                assert!(matches!(refused, Err(JobsError::InTurn)), "{refused:?}");
                effect(&mut completion, id, "a", "x").await.or_retry()?;
                Ok(completion.commit().await?)
            }
        }))
    });
    handle.set(running.queue.clone()).unwrap();
    running.signalled("a").await;
    running.stop().await;
    assert_eq!(notes(&db).await, ["x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_pushed_through_the_queue_are_on_disk_in_their_order_and_start_by_themselves() {
    let (_dir, db) = fresh().await;
    let mut running = start(&db, |builder| builder.register::<Step, _>(write::<Step>()));
    let queue = running.queue.clone();
    let notes_of =
        |subject: &str| -> Vec<Step> { (0..50).map(|n| Step::new(subject, format!("{n:02}"))).collect() };
    let (a, b) = (notes_of("a"), notes_of("b"));
    let by = || PushOptions::by("test");
    let (a, b) = tokio::join!(queue.push_all(&a, by()), queue.push_all(&b, by()));
    for pushed in [a.unwrap(), b.unwrap()] {
        assert!(pushed.is_sorted_by_key(|one| one.id()));
        assert!(pushed.iter().all(|one| matches!(one, privatix_jobs::Pushed::New(_))));
    }
    for subject in ["a", "b"] {
        queue.push(&Signal(subject.into()), by()).await.unwrap();
    }
    running.signalled_all(&["a", "b"]).await;
    running.stop().await;
    let refused = queue.push(&Signal("a".into()), by()).await;
    assert!(matches!(refused, Err(JobsError::Db(privatix_db::DbError::ShuttingDown))), "{refused:?}");
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (_, subject, note) in effects(&db).await {
        found.entry(subject).or_default().push(note);
    }
    for subject in ["a", "b"] {
        assert!(found[subject].is_sorted() && found[subject].len() == 50, "{subject}: {:?}", found[subject]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_in_one_turn_keeps_nothing_of_the_round_and_loses_no_job() {
    let (_dir, db) = fresh().await;
    let subjects: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let mut steps = Vec::new();
    for subject in &subjects {
        steps.push(push(&db, Step::new(subject, "kept")).await);
        push(&db, Signal(subject.clone())).await;
    }
    // Others have had their turns in its round.
    let breaks = steps[5];
    let full = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_full = Arc::clone(&full);
    let (failed, mut failures) = mpsc::unbounded_channel();
    let mut running = start(&db, |builder| {
        builder.register::<Step, _>(Do::new(move |job: Step, cx| {
            let (is_full, failed) = (Arc::clone(&is_full), failed.clone());
            async move {
                let id = cx.id();
                let mut completion = cx.finish().await?;
                effect(&mut completion, id, &job.subject, &job.note).await.or_retry()?;
                if id == breaks && is_full.load(std::sync::atomic::Ordering::SeqCst) {
                    // Larger than all that a database of this limit can hold.
                    limit_pages(&mut completion, 1).await;
                    let swallowed = effect(&mut completion, id, &job.subject, &"x".repeat(100_000)).await;
                    assert!(swallowed.is_err());
                    let _ = effect(&mut completion, id, &job.subject, "alone").await;
                    let done = completion.commit().await;
                    let _ = failed.send(done.is_err());
                    return Ok(done?);
                }
                Ok(completion.commit().await?)
            }
        }))
    });
    assert!(next(&mut failures).await);
    full.store(false, std::sync::atomic::Ordering::SeqCst);
    let mut tx = db.begin().await.unwrap();
    limit_pages(&mut tx, 1_000_000).await;
    tx.commit().await.unwrap();
    running.signalled_all(&subjects.iter().map(String::as_str).collect::<Vec<_>>()).await;
    running.stop().await;
    assert_eq!(notes(&db).await, ["kept"; 20]);
    // Only whose statement failed has failed a try.
    for id in steps {
        assert_eq!(get(&db, id).await.tries, u32::from(id == breaks), "{id}");
    }
}

/// What a handler of the property does: how many follow-ups it pushes, and how it ends.
#[derive(Clone, Debug)]
enum End {
    Done,
    Effect,
    Undo,
    Fail,
}

fn ends() -> impl Strategy<Value = Vec<(u8, End)>> {
    let end = prop_oneof![Just(End::Done), Just(End::Effect), Just(End::Undo), Just(End::Fail)];
    proptest::collection::vec((0..3u8, end), 8..40)
}

async fn interleave(plan: Vec<(u8, End)>) {
    let (_dir, db) = fresh().await;
    let (order, mut ran) = mpsc::unbounded_channel();
    let plan = Arc::new(plan);
    let total = plan.len();
    let script = Arc::clone(&plan);
    let mut running = start(&db, |builder| {
        builder.register::<Step, _>(Do::new(move |job: Step, cx: JobContext| {
            let (script, order) = (Arc::clone(&script), order.clone());
            async move {
                let n: usize = job.note.parse().or_retry()?;
                let (follow_ups, end) = script.get(n).cloned().unwrap_or((0, End::Done));
                let id = cx.id();
                let try_number = cx.try_number();
                let _ = order.send((job.subject.clone(), id));
                if matches!(end, End::Done) {
                    return Ok(cx.done().await?);
                }
                let mut completion = cx.finish().await?;
                for _ in 0..follow_ups {
                    // Behind what waits already, though this job's end has left the subject without a head.
                    completion.push(&Step::new(&job.subject, "1000")).await?;
                }
                match end {
                    End::Undo if try_number == 1 => Err(JobError::retry("undone")),
                    End::Fail => Err(JobError::fail("failed")),
                    _ => Ok(completion.commit().await?),
                }
            }
        }))
    });
    let queue = running.queue.clone();
    for n in 0..total {
        let job = Step::new(["a", "b"][n % 2], n.to_string());
        if n % 3 == 0 {
            queue.push(&job, PushOptions::by("test")).await.unwrap();
        } else {
            push(&db, job).await;
            running.wake.wake();
        }
    }
    // Until nothing is left, follow-ups included.
    loop {
        let waiting = list(&db, Filter::new().kind("step").status(JobStatus::Waiting)).await;
        let now = list(&db, Filter::new().kind("step").status(JobStatus::Running)).await;
        if waiting.is_empty() && now.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for subject in ["a", "b"] {
        push(&db, Signal(subject.into())).await;
    }
    running.wake.wake();
    running.signalled_all(&["a", "b"]).await;
    running.stop().await;
    let mut last: BTreeMap<String, privatix_jobs::JobId> = BTreeMap::new();
    while let Ok((subject, id)) = ran.try_recv() {
        if let Some(before) = last.insert(subject.clone(), id) {
            assert!(before <= id, "{id} of {subject} ran after {before}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 32, ..ProptestConfig::default() })]
    #[test]
    fn order_holds_when_ends_and_pushes_share_a_commit(plan in ends()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
        runtime.block_on(interleave(plan));
    }
}
