use std::time::Duration;

use privatix_db::Database;

use crate::ends::Ends;
use crate::queue::{self, PushOptions, Pushed};
use crate::rounds::Rounds;
use crate::{Job, JobId, JobRecord, JobStatus, JobsError, inspect};

// What other processors, and cancellations, do is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Pushes jobs outside of any transaction of the caller's, several callers to a commit, and waits for their ends. Cheap to
/// clone.
///
/// [`push`](crate::push) is for pushes that belong to a transaction. This one needs a processor that runs: it commits
/// what has been asked for meanwhile together with the ends of jobs, and claims it in the same commit.
#[derive(Clone, Debug)]
pub struct Queue {
    pub(crate) rounds: Rounds,
    pub(crate) ends: Ends,
    pub(crate) db: Database,
}

impl Queue {
    /// Pushes a job; returns when it is on disk. Needs no [`Wake`](crate::Wake).
    ///
    /// Cancelling the future does not cancel the push.
    ///
    /// # Errors
    /// [`JobsError::Encode`]; [`JobsError::InTurn`]; [`JobsError::Db`], with
    /// [`ShuttingDown`](privatix_db::DbError::ShuttingDown) if the processor has ended.
    pub async fn push<J: Job>(&self, job: &J, options: PushOptions) -> Result<Pushed, JobsError> {
        let pushed = self.push_all(std::slice::from_ref(job), options).await?;
        queue::only(pushed)
    }

    /// Pushes jobs in one commit, in their order; returns when they are on disk.
    ///
    /// # Errors
    /// As [`push`](Self::push); none is pushed then.
    pub async fn push_all<J: Job>(&self, jobs: &[J], options: PushOptions) -> Result<Vec<Pushed>, JobsError> {
        self.rounds.push(queue::new_jobs(jobs, &options)?).await
    }

    /// Waits until a job is done, failed for good or cancelled, and returns it then.
    ///
    /// Dropping the future has no effect on the job.
    ///
    /// # Errors
    /// [`JobsError::NotFound`] if there is no such job, or it was pruned; [`JobsError::Db`].
    pub async fn ended(&self, id: JobId) -> Result<JobRecord, JobsError> {
        let watched = self.ends.watch(id);
        loop {
            let notified = watched.notify.notified();
            tokio::pin!(notified);
            // Before the look, so that no end falls between.
            notified.as_mut().enable();
            let job = inspect::get(&mut *self.db.read().await?, id).await?;
            if !matches!(job.status, JobStatus::Waiting | JobStatus::Running) {
                return Ok(job);
            }
            let _ = tokio::time::timeout(LOOK, notified).await;
        }
    }
}
