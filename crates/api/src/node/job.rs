//! Jobs.

use std::time::SystemTime;

use privatix_jobs::{FailureCause, JobId, JobStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Transaction;

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// Where it is in its life.
    pub status: JobStatus,
    /// Who pushed it.
    pub created_by: String,
    /// When.
    #[serde(with = "humantime_serde")]
    pub created_at: SystemTime,
    /// It is not started before this.
    #[serde(with = "humantime_serde")]
    pub not_before: SystemTime,
    /// When it was done, failed or cancelled.
    #[serde(with = "humantime_serde")]
    pub ended_at: Option<SystemTime>,
    /// Tries that failed.
    pub tries: u32,
    /// How often its process died under it.
    pub crashes: u32,
    /// Why the last failed try failed.
    pub failure: Option<JobFailure>,
}

/// Why a try of a job failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobFailure {
    /// The kind of failure.
    pub cause: FailureCause,
    /// What was said.
    pub message: String,
}

/// Some jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobsPage {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Where the next page begins, if there is one.
    pub next: Option<JobId>,
}

/// A job with its payload and transactions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobDetails {
    /// The job.
    pub job: Job,
    /// What it was given; its text if that is no JSON.
    pub payload: Value,
    /// All transactions that it submitted, the newest first.
    pub transactions: Vec<Transaction>,
}
