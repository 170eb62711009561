use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Done, Effects, Failure, JobContext, JobsError, Lane, Policy};

/// A kind of job: its payload type, and the rules for its jobs.
///
/// The payload is stored as JSON. Jobs outlive program versions: give new fields a serde default.
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name under which jobs of this kind are stored. Never change it while there are such jobs.
    const KIND: &'static str;

    /// Which kinds it shares workers with.
    const LANE: Lane = Lane::DEFAULT;

    /// What the job is about. Jobs of one subject, of whatever kind, run one after another.
    fn subject(&self) -> String;

    /// What distinguishes jobs of one kind and subject where duplicates are refused.
    fn key(&self) -> String {
        String::new()
    }

    /// Tries, delays and duplicates.
    fn policy() -> Policy {
        Policy::default()
    }
}

/// Runs the jobs of one kind.
#[async_trait]
pub trait Handler<J: Job>: Send + Sync + 'static {
    /// Does the job. Success needs a [`Done`], which only a committed [`JobContext::finish`] gives.
    ///
    /// May run more than once for one job, never twice at the same time, and commits at most once. The future is
    /// dropped when the policy's time is over, and when a shutdown's grace is.
    async fn run(&self, job: &J, cx: JobContext) -> Result<Done, JobError>;

    /// Makes up for a job that has failed for good, in the transaction in which it fails. What the last try returned is
    /// [`Effects::reason`].
    ///
    /// An error undoes both: the job is tried again after its backoff. Not called for jobs that were cancelled, nor for
    /// payloads that do not parse. Do nothing slow here: the writer waits.
    async fn when_exhausted(
        &self,
        _job: &J,
        _failure: &Failure,
        _effects: &mut Effects<'_>,
    ) -> Result<(), JobError> {
        Ok(())
    }
}

#[async_trait]
impl<J: Job, H: Handler<J>> Handler<J> for Arc<H> {
    async fn run(&self, job: &J, cx: JobContext) -> Result<Done, JobError> {
        H::run(self, job, cx).await
    }

    async fn when_exhausted(
        &self,
        job: &J,
        failure: &Failure,
        effects: &mut Effects<'_>,
    ) -> Result<(), JobError> {
        H::when_exhausted(self, job, failure, effects).await
    }
}

/// Why a try did not get the job done, and what is to become of the job.
///
/// A handler says by name what its own errors mean: [`or_retry`](OrRetry::or_retry) or [`or_fail`](OrRetry::or_fail) on a result, or one
/// of the functions below. Only the queue's own failure ([`JobsError`]) becomes one by `?`: it says nothing of the job, and the
/// try is repeated as the policy says.
pub struct JobError {
    pub(crate) then: Then,
    pub(crate) reason: Box<dyn Error + Send + Sync>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Retry,
    RetryAt(SystemTime),
    Postpone(SystemTime),
    Fail,
}

impl JobError {
    /// The try failed: try again after the policy's backoff, if it allows another.
    pub fn retry(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { then: Then::Retry, reason: reason.into() }
    }

    /// The try failed: try again at `at`, if the policy allows another.
    pub fn retry_at(at: SystemTime, reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { then: Then::RetryAt(at), reason: reason.into() }
    }

    /// It is too early: come back at `until`. Not a failed try, and without end; `reason` is logged only.
    pub fn postpone(until: SystemTime, reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { then: Then::Postpone(until), reason: reason.into() }
    }

    /// Whether the run counts as a try of its job: not if it is [postponed](Self::postpone).
    pub fn is_try(&self) -> bool {
        !matches!(self.then, Then::Postpone(_))
    }

    /// The job can never succeed: fail it for good.
    pub fn fail(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { then: Then::Fail, reason: reason.into() }
    }
}

impl From<JobsError> for JobError {
    fn from(error: JobsError) -> Self {
        Self::retry(error)
    }
}

/// Says what an error means for the job.
pub trait OrRetry<T> {
    /// The error ends this try: another one may succeed. See [`JobError::retry`].
    ///
    /// # Errors
    /// The error, as that of a try.
    fn or_retry(self) -> Result<T, JobError>;

    /// The error ends the job: another try would not help. See [`JobError::fail`].
    ///
    /// # Errors
    /// The error, as that of the job.
    fn or_fail(self) -> Result<T, JobError>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> OrRetry<T> for Result<T, E> {
    fn or_retry(self) -> Result<T, JobError> {
        self.map_err(JobError::retry)
    }

    fn or_fail(self) -> Result<T, JobError> {
        self.map_err(JobError::fail)
    }
}

impl fmt::Display for JobError {
    /// The reason and its sources.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        let mut said = self.reason.to_string();
        let mut source = self.reason.source();
        while let Some(error) = source {
            let text = error.to_string();
            // Transparent errors, and those that quote their source, have said it already.
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            said = text;
            source = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobError").field("then", &self.then).field("reason", &self.reason).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error(transparent)]
    struct Transparent(#[from] Outer);

    #[test]
    fn an_error_means_what_the_handler_says_and_its_message_names_the_sources_once() {
        let failed = || Err::<(), _>(Transparent(Outer(std::io::Error::other("inner"))));
        for (error, then) in [(failed().or_retry(), Then::Retry), (failed().or_fail(), Then::Fail)] {
            let error = error.unwrap_err();
            assert_eq!((error.then, error.to_string().as_str()), (then, "outer: inner"));
        }
    }
}
