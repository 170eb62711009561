//! One claimed job, from its claim to its end.

use std::any::Any;
use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::SystemTime;

use futures::FutureExt as _;
use privatix_db::Presence;
use privatix_db::types::Micros;
use tokio_util::sync::CancellationToken;

use crate::claim::Claimed;
use crate::job::Then;
use crate::lease::{self, Ending};
use crate::processor::{AnyHandler, Settings, Unfinished};
use crate::rounds::{Rounds, SharedFailure, watching_turns};
use crate::stats::RunEnd;
use crate::{Effects, Failure, FailureCause, JobContext, JobError, JobsError, Policy};

// A handler may quote a whole page in its error.
const LONGEST_MESSAGE: usize = 2_000;

type Reason = Box<dyn Error + Send + Sync>;

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) rounds: Rounds,
    /// Holds this processor's jobs, until its last handler has ended or was dropped.
    pub(crate) life: Presence,
    /// Start nothing more, stop what runs. The parent of every job's token.
    pub(crate) closing: CancellationToken,
    /// Drop what still runs.
    pub(crate) abort: CancellationToken,
}

impl Shared {
    pub(crate) fn now(&self) -> SystemTime {
        (self.settings.clock)()
    }

    /// Runs a claimed job and writes how that ended; false if it could not be written. `cancelled` asks the handler to
    /// stop.
    pub(crate) async fn work(&self, lane: usize, job: Claimed, cancelled: CancellationToken) -> bool {
        let unfinished = self.unfinished(lane, &job, cancelled).await;
        let run_end = unfinished.as_ref().map_or(RunEnd::Done, |(ending, _)| RunEnd::from(ending));
        self.settings.stats.outcome(lane, run_end);
        let Some((ending, reason)) = unfinished else { return true };
        match &ending {
            Ending::Retry { failure, .. } => {
                tracing::warn!(job = %job.lease.id, kind = job.kind, cause = %failure.cause, error = failure.message, "job failed, will be retried");
            }
            Ending::Fail { failure } => {
                tracing::error!(job = %job.lease.id, kind = job.kind, cause = %failure.cause, error = failure.message, "job failed for good; reactivate it when the cause is gone");
            }
            Ending::Postpone { .. } | Ending::Release => {
                tracing::debug!(job = %job.lease.id, kind = job.kind, ?ending, "job put back");
            }
        }
        let written = match ending {
            Ending::Fail { failure } => self.fail(lane, &job, failure, reason.as_deref()).await,
            ending => self.rounds.end(job.lease.clone(), ending).await,
        };
        match written {
            Ok(true) => true,
            Ok(false) => {
                tracing::debug!(job = %job.lease.id, "the job had ended or was claimed again meanwhile");
                true
            }
            Err(error) => {
                tracing::error!(job = %job.lease.id, %error, "cannot write how a job's run ended; it will run again");
                false
            }
        }
    }

    /// Fails a job for good, together with what its handler does to make up for it; false if it was no longer the holder's.
    async fn fail(
        &self,
        lane: usize,
        job: &Claimed,
        failure: Failure,
        reason: Option<&(dyn Error + Send + Sync + 'static)>,
    ) -> Result<bool, JobsError> {
        let Some(handler) = self.settings.handlers.get(job.kind.as_str()) else {
            return self.rounds.end(job.lease.clone(), Ending::Fail { failure }).await;
        };
        let stalled = CancellationToken::new();
        let failed = SharedFailure::default(); // the job stays held, and is given back by the dispatcher
        let mut turn = self.rounds.turn(lane, job.lease.clone(), stalled.clone(), failed).await?;
        let now = Micros::from(self.now());
        let ending = Ending::Fail { failure: failure.clone() };
        if !lease::end(&mut turn, &job.lease, ending, now).await? {
            turn.commit().await?;
            return Ok(false);
        }
        let policy = handler.policy();
        let mut effects = Effects { turn: &mut turn, job: job.lease.id, reason };
        let run = handler.when_exhausted(&job.payload, &failure, &mut effects);
        let run = AssertUnwindSafe(watching_turns(true, run)).catch_unwind();
        let outcome = tokio::select! {
            biased;
            ended = tokio::time::timeout(policy.timeout, run) => match ended {
                Ok(Ok(Ok(()))) => Ok(()),
                Ok(Ok(Err(error))) => Err(error.to_string()),
                Ok(Err(panic)) => Err(panic_message(&*panic)),
                Err(_) => Err(format!("it did not end within {:?}", policy.timeout)),
            },
            () = stalled.cancelled() => Err("it held up all others".to_owned()),
            () = self.abort.cancelled() => Err("the processor shuts down".to_owned()),
        };
        match outcome {
            Ok(()) => {
                turn.commit().await?;
                Ok(true)
            }
            Err(reason) => {
                drop(turn); // undoes the failure too
                let message = shorten(format!("making up for the failure failed: {reason}"));
                tracing::error!(job = %job.lease.id, kind = job.kind, error = message, "job will be tried again");
                let failure = Failure { cause: FailureCause::Error, message };
                let at = now + policy.backoff.delay(job.tries.saturating_add(1), rand::random());
                self.rounds.end(job.lease.clone(), Ending::Retry { at, failure }).await
            }
        }
    }

    /// How a run ends, and what the handler returned; `None` if the job is done.
    async fn unfinished(
        &self,
        lane: usize,
        job: &Claimed,
        cancelled: CancellationToken,
    ) -> Option<(Ending, Option<Reason>)> {
        let fail = |cause, message: String| {
            Some((Ending::Fail { failure: Failure { cause, message: shorten(message) } }, None))
        };
        let Some(handler) = self.settings.handlers.get(job.kind.as_str()) else {
            // Only kinds with a handler are claimed.
            return Some((Ending::Release, None));
        };
        let policy = handler.policy();
        let (stalled, failed) = (CancellationToken::new(), SharedFailure::default());
        let cx = JobContext {
            lease: job.lease.clone(),
            try_number: job.tries.saturating_add(1),
            cancelled: cancelled.clone(),
            rounds: self.rounds.clone(),
            lane,
            stalled: stalled.clone(),
            failed: failed.clone(),
            clock: Arc::clone(&self.settings.clock),
        };
        let outcome = self.handle(&**handler, &job.payload, cx, &policy, &stalled).await;
        let (cause, error) = match outcome {
            Outcome::Returned(Ok(done)) if done.id == job.lease.id && done.token == job.lease.token => {
                return None;
            }
            Outcome::Returned(Ok(done)) => (
                FailureCause::Error,
                JobError::fail(format!("the handler returned the end of job {}", done.id)),
            ),
            Outcome::Returned(Err(Unfinished::Payload(error))) => {
                return fail(FailureCause::Payload, format!("the payload does not parse: {error}"));
            }
            Outcome::Returned(Err(Unfinished::Retired)) => {
                return fail(
                    FailureCause::UnknownKind,
                    format!("jobs of kind {:?} are no longer run", job.kind),
                );
            }
            Outcome::Aborted => return Some((Ending::Release, None)),
            Outcome::Stalled => {
                tracing::warn!(job = %job.lease.id, kind = job.kind, "the handler held up all others by its completion and was dropped; it runs again");
                return Some((self.later(&policy), None));
            }
            Outcome::Returned(Err(Unfinished::Handler(error)))
                if failed.has_happened() && matches!(error.then, Then::Retry | Then::RetryAt(_)) =>
            {
                tracing::debug!(job = %job.lease.id, kind = job.kind, %error, "the commit failed that the job shared with others; it runs again");
                return Some((self.later(&policy), None));
            }
            Outcome::Returned(Err(Unfinished::Handler(error))) => (FailureCause::Error, error),
            Outcome::Panicked(message) => (FailureCause::Panic, JobError::retry(message)),
            Outcome::TimedOut => (
                FailureCause::Timeout,
                JobError::retry(format!("the handler did not end within {:?}", policy.timeout)),
            ),
        };
        let ending = self.after(job, &policy, cause, &error, cancelled.is_cancelled());
        Some((ending, Some(error.reason)))
    }

    /// It was no failed try.
    fn later(&self, policy: &Policy) -> Ending {
        Ending::Postpone { until: Micros::from(self.now()) + policy.backoff.delay(1, rand::random()) }
    }

    async fn handle(
        &self,
        handler: &dyn AnyHandler,
        payload: &str,
        cx: JobContext,
        policy: &Policy,
        stalled: &CancellationToken,
    ) -> Outcome {
        let run = AssertUnwindSafe(watching_turns(false, handler.run(payload, cx))).catch_unwind();
        tokio::select! {
            biased;
            ended = tokio::time::timeout(policy.timeout, run) => match ended {
                Ok(Ok(result)) => Outcome::Returned(result),
                Ok(Err(panic)) => Outcome::Panicked(panic_message(&*panic)),
                Err(_) => Outcome::TimedOut,
            },
            () = self.abort.cancelled() => Outcome::Aborted,
            () = stalled.cancelled() => Outcome::Stalled,
        }
    }

    fn after(
        &self,
        job: &Claimed,
        policy: &Policy,
        cause: FailureCause,
        error: &JobError,
        interrupted: bool,
    ) -> Ending {
        if let Then::Postpone(until) = error.then {
            tracing::debug!(job = %job.lease.id, kind = job.kind, reason = %error, "job postponed");
            return Ending::Postpone { until: until.into() };
        }
        let failure = Failure { cause, message: shorten(error.to_string()) };
        let failed = job.tries.saturating_add(1);
        match error.then {
            Then::Fail => Ending::Fail { failure },
            _ if interrupted => Ending::Release,
            _ if !policy.allows_another_after(failed) => Ending::Fail { failure },
            Then::RetryAt(at) => Ending::Retry { at: at.into(), failure },
            _ => {
                let delay = policy.backoff.delay(failed, rand::random());
                let now = self.now();
                Ending::Retry { at: now.checked_add(delay).unwrap_or(now).into(), failure }
            }
        }
    }
}

impl From<&Ending> for RunEnd {
    fn from(ending: &Ending) -> Self {
        match ending {
            Ending::Retry { .. } => Self::Retried,
            Ending::Fail { .. } => Self::Failed,
            Ending::Postpone { .. } | Ending::Release => Self::PutBack,
        }
    }
}

enum Outcome {
    Returned(Result<crate::Done, Unfinished>),
    Panicked(String),
    TimedOut,
    Aborted,
    Stalled,
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panicked".to_owned())
}

fn shorten(mut message: String) -> String {
    if message.len() > LONGEST_MESSAGE {
        message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
        message.push('…');
    }
    message
}
