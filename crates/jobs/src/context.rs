use std::fmt;
use std::ops::{Deref, DerefMut};

use privatix_db::Conn;
use privatix_db::types::Micros;
use tokio_util::sync::CancellationToken;

use crate::claim::Lease;
use crate::lease;
use crate::processor::Clock;
use crate::rounds::{Rounds, SharedFailure, Turn};
use crate::{Job, JobId, JobsError, PushOptions, Pushed, queue};

/// What a handler knows about its run, and its way to finish it.
pub struct JobContext {
    pub(crate) lease: Lease,
    pub(crate) try_number: u32,
    pub(crate) cancelled: CancellationToken,
    pub(crate) rounds: Rounds,
    /// The place of the job's lane in the order of priority.
    pub(crate) lane: usize,
    /// Drops the handler that has its turn and does not use it.
    pub(crate) stalled: CancellationToken,
    pub(crate) failed: SharedFailure,
    pub(crate) clock: Clock,
}

impl JobContext {
    /// The job's id.
    pub fn id(&self) -> JobId {
        self.lease.id
    }

    /// 1 on the first try.
    pub fn try_number(&self) -> u32 {
        self.try_number
    }

    /// Cancelled when the job is cancelled or the processor shuts down: stop early if you can. An
    /// error that is returned after that is not a failed try. A handler that ignores it may still finish, except where
    /// the job is no longer its own: then [`finish`](Self::finish) refuses.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// Finishes a job that has no effects; returns when its end is on disk. Cheaper than [`finish`](Self::finish).
    ///
    /// # Errors
    /// [`JobsError::LeaseLost`], [`JobsError::Cancelled`]; [`JobsError::Db`]; nothing has happened then.
    pub async fn done(self) -> Result<Done, JobsError> {
        let done = Done { id: self.lease.id, token: self.lease.token };
        self.rounds.done(self.lease, &self.failed).await?;
        Ok(done)
    }

    /// Opens the write transaction in which the job is done.
    ///
    /// There is one writer: do slow things before, not between this and the [commit](Completion::commit), and begin no
    /// other write transaction meanwhile. A handler that has its turn and runs no statement for a second in all is dropped,
    /// and its job runs again later. Where a commit fails that it shares with others, through no statement of its own, its
    /// job runs again later as well, and no failed try is counted.
    ///
    /// # Errors
    /// [`JobsError::LeaseLost`], [`JobsError::Cancelled`]; [`JobsError::Db`].
    pub async fn finish(self) -> Result<Completion, JobsError> {
        let mut turn = self.rounds.turn(self.lane, self.lease.clone(), self.stalled, self.failed).await?;
        lease::complete(&mut turn, &self.lease, Micros::from((self.clock)())).await?;
        Ok(Completion { turn, done: Done { id: self.lease.id, token: self.lease.token } })
    }
}

impl fmt::Debug for JobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobContext")
            .field("lease", &self.lease)
            .field("try_number", &self.try_number)
            .finish_non_exhaustive()
    }
}

/// A write transaction in which the job is already done: a [`Conn`] to write its effects through.
///
/// Dropped without a [commit](Self::commit), nothing of it has happened and the job is not done.
#[must_use = "a completion that is not committed is rolled back"]
pub struct Completion {
    turn: Turn,
    done: Done,
}

impl Completion {
    /// Pushes a follow-up job, created by "job", into the same transaction.
    ///
    /// # Errors
    /// As [`push`](crate::push).
    pub async fn push<J: Job>(&mut self, job: &J) -> Result<Pushed, JobsError> {
        queue::push(&mut self.turn, job, PushOptions::by("job")).await
    }

    /// Commits; returns once the effects and the job's end are on disk.
    ///
    /// # Errors
    /// [`JobsError::Db`]; nothing has happened then.
    pub async fn commit(self) -> Result<Done, JobsError> {
        self.turn.commit().await?;
        Ok(self.done)
    }
}

impl Deref for Completion {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        &self.turn
    }
}

impl DerefMut for Completion {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.turn
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").field("done", &self.done).finish_non_exhaustive()
    }
}

/// Proof that a job's completion was committed.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "return it from the handler"]
pub struct Done {
    pub(crate) id: JobId,
    pub(crate) token: i64,
}
