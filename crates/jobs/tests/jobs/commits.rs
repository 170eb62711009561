//! Effects, follow-up jobs and the end of their job happen together, also where commits are shared.
#![allow(clippy::unwrap_used, reason = "tests")]
use std::collections::BTreeSet;

use crate::common::*;
use privatix_jobs::{Filter, JobError, JobStatus, OrRetry as _};

#[tokio::test(flavor = "multi_thread")]
async fn a_follow_up_runs_after_its_cause_and_is_there_only_with_its_effects() {
    let (_dir, db) = fresh().await;
    push(&db, Step::new("a", "3")).await;
    let mut running = start(&db, |builder| {
        builder.register::<Step, _>(Do::new(|job: Step, cx| async move {
            let id = cx.id();
            let mut completion = cx.finish().await?;
            effect(&mut completion, id, &job.subject, &job.note).await.or_retry()?;
            let left: u32 = job.note.parse().map_err(JobError::fail)?;
            if left > 0 {
                completion.push(&Step::new(&job.subject, (left - 1).to_string())).await?;
            } else {
                completion.push(&Signal("end".into())).await?;
            }
            Ok(completion.commit().await?)
        }))
    });
    running.signalled("end").await;
    running.stop().await;
    assert_eq!(notes(&db).await, ["3", "2", "1", "0"]);
    let jobs = list(&db, Filter::new().kind("step")).await;
    assert_eq!(jobs.len(), 4);
    assert!(jobs.iter().all(|job| job.status == JobStatus::Done));
    assert_eq!(jobs[0].created_by, "job");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_members_rollback_leaves_the_others_of_a_shared_commit_alone() {
    let (_dir, db) = fresh().await;
    let subjects: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let mut tx = db.begin().await.unwrap();
    for subject in &subjects {
        for _ in 0..2 {
            let options = privatix_jobs::PushOptions::by("test");
            privatix_jobs::push(&mut tx, &Step::new(subject, "x"), options).await.unwrap();
        }
        let options = privatix_jobs::PushOptions::by("test");
        privatix_jobs::push(&mut tx, &Signal(subject.clone()), options).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut running = start(&db, |builder| {
        builder.workers(16).register::<Step, _>(Do::new(|job: Step, cx| async move {
            let (id, try_number) = (cx.id(), cx.try_number());
            let n: u32 = job.subject.parse().or_retry()?;
            let mut completion = cx.finish().await?;
            effect(&mut completion, id, &job.subject, "effect").await.or_retry()?;
            match n % 4 {
                1 if try_number < 3 => Err(JobError::retry("undone")),
                2 if try_number < 3 => panic!("undone"),
                3 => Err(JobError::fail("undone")),
                _ => Ok(completion.commit().await?),
            }
        }))
    });
    running.signalled_all(&subjects.iter().map(String::as_str).collect::<Vec<_>>()).await;
    running.stop().await;

    let with_effect: Vec<i64> = effects(&db).await.into_iter().map(|(job, ..)| job).collect();
    let distinct: BTreeSet<i64> = with_effect.iter().copied().collect();
    assert_eq!(distinct.len(), with_effect.len(), "an effect happened twice");
    let done: BTreeSet<i64> = list(&db, Filter::new().kind("step").status(JobStatus::Done).limit(1000))
        .await
        .iter()
        .map(|job| job.id.to_string().parse().unwrap())
        .collect();
    assert_eq!(distinct, done);
    assert_eq!(done.len(), 300);
}
