//! Every way to ask for jobs.
#![allow(clippy::unwrap_used, reason = "tests")]
use crate::common::*;
use privatix_jobs::{Filter, Job, JobError, JobId, JobRecord, JobStatus};

#[tokio::test(flavor = "multi_thread")]
async fn every_combination_of_filters_lists_what_matches_all_of_them() {
    let (_dir, db) = fresh().await;
    push(&db, Step::new("a", "fails")).await;
    for subject in ["a", "b"] {
        push(&db, Step::new(subject, "is done")).await;
        push(&db, Signal(subject.into())).await;
    }
    let mut running = start(&db, |builder| {
        builder.register::<Step, _>(Do::new(|job: Step, cx: privatix_jobs::JobContext| async move {
            if job.note == "fails" { Err(JobError::fail("it cannot")) } else { Ok(cx.done().await?) }
        }))
    });
    running.signalled_all(&["a", "b"]).await;
    running.stop().await;
    let cancelled = push(&db, Step::new("a", "cancelled")).await;
    cancel(&db, cancelled).await.unwrap();
    push(&db, Step::new("a", "waits")).await;
    push(&db, Signal("b".into())).await;

    let all = list(&db, Filter::new()).await;
    assert_eq!(all.len(), 8);
    let middle = all[4].id;
    let statuses =
        [JobStatus::Waiting, JobStatus::Running, JobStatus::Done, JobStatus::Failed, JobStatus::Cancelled];
    for subject in [None, Some("a")] {
        for kind in [None, Some(Step::KIND)] {
            for status in std::iter::once(None).chain(statuses.map(Some)) {
                for before in [None, Some(middle)] {
                    let mut filter = Filter::new();
                    filter.subject = subject.map(str::to_owned);
                    filter.kind = kind.map(str::to_owned);
                    (filter.status, filter.before) = (status, before);
                    let matches = |job: &&JobRecord| {
                        subject.is_none_or(|subject| job.subject == subject)
                            && kind.is_none_or(|kind| job.kind == kind)
                            && status.is_none_or(|status| job.status == status)
                            && before.is_none_or(|before| job.id < before)
                    };
                    let expected: Vec<JobId> = all.iter().filter(matches).map(|job| job.id).collect();
                    let found: Vec<JobId> =
                        list(&db, filter.clone()).await.into_iter().map(|job| job.id).collect();
                    assert_eq!(found, expected, "{filter:?}");
                }
            }
        }
    }
}
