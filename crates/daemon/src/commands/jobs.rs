use clap::Subcommand;
use privatix_api::ApiClient;
use privatix_api::node::{CancelJob, GetJob, Job, JobDetails, JobsPage, ListJobs, ReactivateJob};
use privatix_jobs::{JobId, JobStatus};

use super::transactions;
use crate::DaemonError;
use crate::output::{Output, ago, or_dash, pairs, table, time};

/// `jobs`
#[derive(Subcommand, Debug)]
pub(crate) enum JobsCommand {
    /// Lists jobs, newest first
    List {
        /// In this status: waiting, running, done, failed, cancelled
        #[arg(long)]
        status: Option<JobStatus>,
        /// Of this kind
        #[arg(long)]
        kind: Option<String>,
        /// About this
        #[arg(long)]
        subject: Option<String>,
        /// Older than this one
        #[arg(long, value_name = "JOB")]
        before: Option<JobId>,
        /// At most this many
        #[arg(long, value_name = "NUMBER")]
        limit: Option<u32>,
    },
    /// Shows a job with its payload and transactions
    Show {
        /// The job
        job: JobId,
    },
    /// Cancels a waiting or running job
    Cancel {
        /// The job
        job: JobId,
    },
    /// Tries a failed or cancelled job again
    Reactivate {
        /// The job
        job: JobId,
    },
}

impl JobsCommand {
    pub(crate) async fn carry_out(self, api: &ApiClient, output: Output) -> Result<(), DaemonError> {
        match self {
            Self::List { status, kind, subject, before, limit } => {
                let page = api.call(&ListJobs { subject, kind, status, before, limit }).await?;
                output.show(&page, list);
            }
            Self::Show { job } => output.show(&api.call(&GetJob { job }).await?, details),
            Self::Cancel { job } => {
                output.show(&api.call(&CancelJob { job }).await?, |_| format!("job {job} is cancelled"));
            }
            Self::Reactivate { job } => {
                output
                    .show(&api.call(&ReactivateJob { job }).await?, |_| format!("job {job} is tried again"));
            }
        }
        Ok(())
    }
}

fn list(page: &JobsPage) -> String {
    let rows = page.jobs.iter().map(|job| {
        [
            job.id.to_string(),
            job.kind.clone(),
            job.subject.clone(),
            job.status.to_string(),
            job.tries.to_string(),
            ago(job.created_at),
            or_dash(job.failure.as_ref().map(|failure| &failure.message)),
        ]
    });
    let rows = table(["job", "kind", "subject", "status", "tries", "pushed", "last failure"], rows);
    match page.next {
        Some(next) => format!("{rows}\n\nthere are more: --before {next}"),
        None => rows,
    }
}

fn details(details: &JobDetails) -> String {
    let JobDetails { job, payload, transactions, .. } = details;
    let Job {
        id, kind, subject, status, created_by, created_at, not_before, ended_at, tries, crashes, ..
    } = job;
    let failure = job.failure.as_ref().map(|failure| format!("{:?}: {}", failure.cause, failure.message));
    let rows = pairs([
        ("job", id.to_string()),
        ("kind", kind.clone()),
        ("subject", subject.clone()),
        ("status", status.to_string()),
        ("pushed", format!("{} by {created_by}", time(*created_at))),
        ("not before", time(*not_before)),
        ("ended", or_dash(ended_at.map(time))),
        ("failed tries", format!("{tries}, and {crashes} crashes")),
        ("last failure", or_dash(failure)),
        ("payload", payload.to_string()),
    ]);
    if transactions.is_empty() { rows } else { format!("{rows}\n\n{}", transactions::list(transactions)) }
}
