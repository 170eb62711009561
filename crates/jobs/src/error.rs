use privatix_db::DbError;

use crate::{JobId, JobStatus};

/// Why the job queue refused or could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobsError {
    /// There is no such job (or it was pruned).
    #[error("there is no job {0}; list the jobs to find its id")]
    NotFound(JobId),
    /// The job's status does not allow the operation.
    #[error("cannot {operation} job {id}: it is {status}; {remedy}")]
    WrongStatus {
        /// The job.
        id: JobId,
        /// What it is.
        status: JobStatus,
        /// What was asked for.
        operation: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// A pending job of the same kind, subject and key exists, and the kind refuses duplicates.
    #[error("job {id} duplicates pending job {pending}; let that one end, or cancel it first")]
    Duplicate {
        /// The job that was to be made pending.
        id: JobId,
        /// The one that already is.
        pending: JobId,
    },
    /// The job has ended or was claimed again since this run began: whatever it did must not count. Nothing was committed.
    #[error("job {0} has ended or was claimed again since this run began; this run must not commit, stop it")]
    LeaseLost(JobId),
    /// The job was cancelled while its handler ran. Nothing was committed.
    #[error("job {0} was cancelled while it ran; this run must not commit, stop it")]
    Cancelled(JobId),
    /// A job's payload could not be turned into JSON.
    #[error("cannot encode the payload of a {kind} job: {source}; its type must serialise to JSON")]
    Encode {
        /// The kind.
        kind: &'static str,
        /// What the encoder reported.
        source: serde_json::Error,
    },
    /// A handler pushed through a [`Queue`](crate::Queue) between its `finish` and its `commit`, which would wait for itself.
    #[error("a handler pushed through the queue inside of its completion; push by the completion instead")]
    InTurn,
    /// Two handlers were registered for one kind.
    #[error("two handlers are registered for jobs of kind {0}; register one")]
    KindTwice(&'static str),
    /// Two kinds name a lane of the same name with different workers or priorities.
    #[error("lane {0} is described in two ways; let its kinds name one constant")]
    LaneTwice(&'static str),
    /// Workers were set for a lane that no registered kind names.
    #[error("no registered kind names lane {0}; correct the name, or register a kind of it")]
    NoSuchLane(&'static str),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for JobsError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}
