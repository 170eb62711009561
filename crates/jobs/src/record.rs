use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use diesel::prelude::*;
use privatix_db::DbError;
use privatix_db::types::Micros;
use serde::{Deserialize, Serialize};

use crate::schema::job;

/// A job's id. Ids grow in the order of creation and are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub(crate) i64);

impl JobId {
    /// The number that it is stored as; above 0.
    pub const fn number(self) -> i64 {
        self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// The name that is stored and shown.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;
            fn from_str(text: &str) -> Result<Self, UnknownName> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(UnknownName { what: $what, name: text.to_owned(), known: &[$($text),+] }),
                }
            }
        }
    };
}

named! {
    /// Where a job is in its life.
    JobStatus, "job status" {
        /// Waits for its time, for its turn behind older jobs of its subject, or for a worker.
        Waiting = "waiting",
        /// A worker has it.
        Running = "running",
        /// Done; its effects are committed.
        Done = "done",
        /// Failed for good; can be [reactivated](crate::reactivate).
        Failed = "failed",
        /// Cancelled; can be [reactivated](crate::reactivate).
        Cancelled = "cancelled",
    }
}

named! {
    /// What made a try fail.
    FailureCause, "failure cause" {
        /// The handler returned an error.
        Error = "error",
        /// The handler panicked.
        Panic = "panic",
        /// The handler took longer than its policy allows.
        Timeout = "timeout",
        /// The stored payload does not parse as the kind's type.
        Payload = "payload",
        /// Its kind is [retired](crate::ProcessorBuilder::retired).
        UnknownKind = "unknown_kind",
        /// The process died while it ran. It runs again.
        Crash = "crash",
    }
}

/// A name that stands for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {name:?}; known are {}", known.join(", "))]
pub struct UnknownName {
    what: &'static str,
    name: String,
    known: &'static [&'static str],
}

/// Why the last try of a job failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of failure.
    pub cause: FailureCause,
    /// What the handler, or the processor, reported.
    pub message: String,
}

/// A job as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// Its [kind](crate::Job::KIND).
    pub kind: String,
    /// What it is about; jobs of one subject run one after another.
    pub subject: String,
    /// Its payload: JSON.
    pub payload: String,
    /// Who pushed it.
    pub created_by: String,
    /// When it was pushed.
    pub created_at: SystemTime,
    /// Where it is in its life.
    pub status: JobStatus,
    /// When it was done, failed or cancelled.
    pub ended_at: Option<SystemTime>,
    /// It is not started before this.
    pub not_before: SystemTime,
    /// Tries that ended in an error, a panic or a timeout, since it was created or reactivated.
    pub tries: u32,
    /// How often its process died under it, since it was created or reactivated.
    pub crashes: u32,
    /// Why the last failed try failed; kept when a later try succeeds.
    pub failure: Option<Failure>,
}

pub(crate) const PENDING: &str = "pending";

#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = job)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) kind: String,
    pub(crate) subject: String,
    pub(crate) payload: String,
    pub(crate) created_by: String,
    pub(crate) created_at: Micros,
    pub(crate) status: String,
    pub(crate) ended_at: Option<Micros>,
    pub(crate) run_at: Micros,
    pub(crate) claim_at: Option<Micros>,
    pub(crate) held_by: Option<String>,
    pub(crate) token: i64,
    pub(crate) tries: i32,
    pub(crate) crashes: i32,
    pub(crate) error_cause: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) unique_key: Option<String>,
}

impl Row {
    pub(crate) fn status(&self) -> Result<JobStatus, DbError> {
        match (self.status.as_str(), &self.held_by) {
            (PENDING, None) => Ok(JobStatus::Waiting),
            (PENDING, Some(_)) => Ok(JobStatus::Running),
            (other, _) => other.parse().map_err(|e| corrupt("job status", &e)),
        }
    }

    fn tries(&self) -> u32 {
        u32::try_from(self.tries).unwrap_or(0) // a constraint keeps it from being negative
    }

    fn crashes(&self) -> u32 {
        u32::try_from(self.crashes).unwrap_or(0)
    }
}

fn corrupt(what: &'static str, reason: &UnknownName) -> DbError {
    DbError::Corrupt { what, reason: reason.to_string() }
}

impl TryFrom<Row> for JobRecord {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let status = row.status()?;
        let (tries, crashes) = (row.tries(), row.crashes());
        let failure = match (row.error_cause, row.error) {
            (Some(cause), Some(message)) => {
                let cause = cause.parse().map_err(|e| corrupt("failure cause of a job", &e))?;
                Some(Failure { cause, message })
            }
            _ => None,
        };
        Ok(Self {
            id: JobId(row.id),
            kind: row.kind,
            subject: row.subject,
            payload: row.payload,
            created_by: row.created_by,
            created_at: row.created_at.into(),
            status,
            ended_at: row.ended_at.map(Into::into),
            not_before: row.run_at.into(),
            tries,
            crashes,
            failure,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_statuses_and_causes_read_back() {
        for status in
            [JobStatus::Waiting, JobStatus::Running, JobStatus::Done, JobStatus::Failed, JobStatus::Cancelled]
        {
            assert_eq!(status.as_str().parse(), Ok(status));
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{status}\""));
        }
        assert_eq!("unknown_kind".parse(), Ok(FailureCause::UnknownKind));
        assert_eq!(serde_json::to_string(&FailureCause::UnknownKind).unwrap(), "\"unknown_kind\"");
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let error = "pendng".parse::<JobStatus>().unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown job status \"pendng\"; known are waiting, running, done, failed, cancelled"
        );
    }
}
