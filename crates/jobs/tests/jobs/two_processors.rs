//! Whatever happens to two processors of one database, no job runs twice at once, none is lost, order holds.
#![allow(clippy::unwrap_used, reason = "tests")]
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use crate::common::*;
use privatix_db::Database;
use privatix_jobs::{JobError, JobStatus, OrRetry as _};
use proptest::prelude::*;

const SUBJECTS: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Debug)]
enum Event {
    /// A processor starts, if it does not run.
    Start(usize),
    /// A processor is dropped in the middle of its work.
    Drop(usize),
    /// A processor shuts down.
    Stop(usize),
    /// The processors' clock jumps: seconds ahead of the one that pushes.
    Clock(i64),
    /// Jobs of all subjects are pushed.
    Push,
    /// Some jobs may run meanwhile.
    Pause(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..2usize).prop_map(Event::Start),
        (0..2usize).prop_map(Event::Drop),
        (0..2usize).prop_map(Event::Stop),
        (-100_000..100_000i64).prop_map(Event::Clock),
        Just(Event::Push),
        (0..30u64).prop_map(Event::Pause),
    ]
}

/// What runs now, and every breach of "never twice at once".
#[derive(Clone, Default)]
struct Watch(Arc<Mutex<(BTreeSet<String>, Vec<String>)>>);

struct Entry(Watch, String);

impl Watch {
    fn enter(&self, subject: &str) -> Entry {
        let mut watched = self.0.lock().unwrap();
        if !watched.0.insert(subject.to_owned()) {
            watched.1.push(subject.to_owned());
        }
        Entry(self.clone(), subject.to_owned())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().0.remove(&self.1);
    }
}

fn run(db: &Database, clock: &Clock, watch: &Watch) -> Running {
    let watch = watch.clone();
    start(db, |builder| {
        builder.workers(3).clock(clock.read()).register::<Step, _>(Do::new(move |job: Step, cx| {
            let watch = watch.clone();
            async move {
                let entry = watch.enter(&job.subject);
                let (pauses, is_unlucky) =
                    (rand::rng().random_range(0..4), rand::rng().random_range(0..10) == 0);
                for _ in 0..pauses {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
                if is_unlucky && cx.try_number() < 3 {
                    return Err(JobError::retry("unlucky"));
                }
                let id = cx.id();
                let mut completion = cx.finish().await?;
                effect(&mut completion, id, &job.subject, &job.note).await.or_retry()?;
                // The next of the subject may start when this one is committed.
                drop(entry);
                Ok(completion.commit().await?)
            }
        }))
    })
}

async fn history(events: Vec<Event>) {
    let (_dir, db) = fresh().await;
    let (clock, watch) = (Clock::default(), Watch::default());
    let mut processors: [Option<Running>; 2] = [None, None];
    let mut pushed = 0;
    for event in events {
        match event {
            Event::Start(n) => {
                if processors[n].is_none() {
                    processors[n] = Some(run(&db, &clock, &watch));
                }
            }
            Event::Drop(n) => {
                if let Some(running) = processors[n].take() {
                    running.crash().await;
                }
            }
            Event::Stop(n) => {
                if let Some(running) = processors[n].take() {
                    running.stop().await;
                }
            }
            Event::Clock(ahead) => clock.set_ahead(ahead),
            Event::Push => {
                for subject in SUBJECTS {
                    push(&db, Step::new(subject, format!("{pushed:03}"))).await;
                }
                pushed += 1;
            }
            Event::Pause(millis) => tokio::time::sleep(std::time::Duration::from_millis(millis)).await,
        }
        for running in processors.iter().flatten() {
            running.wake.wake();
        }
    }
    for running in processors.into_iter().flatten() {
        running.stop().await;
    }
    // Later than any suspect waits.
    clock.set_ahead(10_000);
    for subject in SUBJECTS {
        push(&db, Signal(subject.into())).await;
    }
    let mut last = run(&db, &clock, &watch);
    last.signalled_all(&SUBJECTS).await;
    last.stop().await;

    assert_eq!(watch.0.lock().unwrap().1, [""; 0], "ran twice at once");
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (_, subject, note) in effects(&db).await {
        found.entry(subject).or_default().push(note);
    }
    let expected: Vec<String> = (0..pushed).map(|n| format!("{n:03}")).collect();
    for subject in SUBJECTS {
        assert_eq!(found.remove(subject).unwrap_or_default(), expected, "subject {subject}");
    }
    for status in [JobStatus::Waiting, JobStatus::Running, JobStatus::Failed] {
        assert_eq!(list(&db, privatix_jobs::Filter::new().status(status)).await, [], "{status}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 64, ..ProptestConfig::default() })]
    #[test]
    fn no_job_runs_twice_at_once_and_none_is_lost(events in proptest::collection::vec(event(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
        runtime.block_on(history(events));
    }
}
