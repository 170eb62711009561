//! Kill -9 at random moments: every effect happens exactly once, in the order of its subject.
#![allow(clippy::unwrap_used, reason = "tests")]
use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Duration;

use crate::common::*;
use privatix_jobs::{
    Backoff, Filter, Job, JobError, JobStatus, OrRetry as _, Policy, ProcessorBuilder, PushOptions,
};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

const DATABASE: &str = "PRIVATIX_JOBS_CRASH_TEST_DATABASE";
const READY: &str = "processor is running";
const SUBJECTS: u64 = 40;
const LINKS: u32 = 60;
const KILLS: u32 = 25;

/// One link of a chain of jobs: writes its number and pushes the next link.
#[derive(Clone, Serialize, Deserialize)]
struct Link {
    chain: u64,
    number: u32,
}

impl Job for Link {
    const KIND: &'static str = "link";
    fn subject(&self) -> String {
        self.chain.to_string()
    }
    fn policy() -> Policy {
        Policy::default()
            .tries_without_end()
            .backoff(Backoff::fixed(Duration::ZERO))
            .suspect_delay(Backoff::fixed(Duration::ZERO))
    }
}

fn links(builder: ProcessorBuilder) -> ProcessorBuilder {
    builder.workers(8).register::<Link, _>(Do::new(|job: Link, cx| async move {
        let (id, dice) = (cx.id(), rand::rng().random_range(0..20));
        if dice == 0 {
            return Err(JobError::retry("unlucky"));
        }
        let mut completion = cx.finish().await?;
        effect(&mut completion, id, &job.subject(), &job.number.to_string()).await.or_retry()?;
        if dice == 1 {
            std::panic::resume_unwind(Box::new("unlucky")); // a panic that prints nothing
        }
        if job.number < LINKS {
            completion.push(&Link { number: job.number + 1, ..job }).await?;
        } else {
            completion.push(&Signal(job.subject())).await?;
        }
        if dice == 2 {
            return Err(JobError::retry("unlucky"));
        }
        Ok(completion.commit().await?)
    }))
}

fn chains() -> Vec<String> {
    (0..SUBJECTS).map(|chain| chain.to_string()).collect()
}

/// The process that is killed: does nothing unless the test below has started it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_child_process() {
    let Ok(path) = std::env::var(DATABASE) else { return };
    let db = open(path.as_ref()).await;
    let mut running = start(&db, links);
    println!("{READY}");
    running.signalled_missing(&db, &chains()).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_every_effect_happens_exactly_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jobs.db");
    let db = open(&path).await;
    for chain in 0..SUBJECTS {
        try_push(&db, &Link { chain, number: 1 }, PushOptions::by("test")).await;
    }
    drop(db);

    let mut at_work = 0;
    for _ in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::as_a_child_process", "--nocapture"])
            .env(DATABASE, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains(READY) {
                    return;
                }
            }
            panic!("the child ended early");
        };
        tokio::time::timeout(PATIENCE, ready).await.unwrap();
        let life = Duration::from_micros(rand::rng().random_range(0..120_000));
        tokio::time::sleep(life).await; // the moment must be random: there is no event to wait for
        child.kill().await.unwrap();

        let db = open(&path).await;
        at_work += list(&db, Filter::new().status(JobStatus::Running).limit(1000)).await.len();
    }

    let db = open(&path).await;
    let before_the_end = effects(&db).await.len();
    let mut running = start(&db, links);
    running.signalled_missing(&db, &chains()).await;
    running.stop().await;

    let mut found: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let mut by_job = BTreeSet::new();
    for (job, chain, number) in effects(&db).await {
        assert!(by_job.insert(job), "job {job} had its effect twice");
        found.entry(chain).or_default().push(number.parse().unwrap());
    }
    assert_eq!(found.len(), chains().len());
    for (chain, numbers) in found {
        assert_eq!(numbers, (1..=LINKS).collect::<Vec<_>>(), "chain {chain}");
    }
    for status in [JobStatus::Waiting, JobStatus::Running, JobStatus::Failed, JobStatus::Cancelled] {
        assert_eq!(list(&db, Filter::new().status(status)).await, [], "{status}");
    }
    println!("{KILLS} kills hit {at_work} running jobs; {before_the_end} effects before the last run");
    assert!(at_work > 0, "no kill hit a running job: the test shows nothing");
}
