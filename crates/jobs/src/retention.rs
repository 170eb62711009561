//! How long ended jobs are kept.

use std::time::{Duration, SystemTime};

use privatix_db::Database;
use tokio::time::Instant;

use crate::{JobStatus, JobsError, queue};

/// Rows that one commit deletes.
const BITE: u32 = 500;
/// Between looks when nothing is left to delete.
const PAUSE: Duration = Duration::from_mins(10);

/// How long jobs are kept after their end. `None`, the default, keeps them for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Those that are done.
    pub done: Option<Duration>,
    /// Those that failed for good.
    pub failed: Option<Duration>,
    /// Those that were cancelled.
    pub cancelled: Option<Duration>,
}

impl Retention {
    fn each(self) -> [(JobStatus, Option<Duration>); 3] {
        [
            (JobStatus::Done, self.done),
            (JobStatus::Failed, self.failed),
            (JobStatus::Cancelled, self.cancelled),
        ]
    }

    /// Deletes a bite of what is older; returns when to do so again. While there is more, the writer has four times as long
    /// for others as for this.
    pub(crate) async fn prune(self, db: &Database, now: SystemTime) -> Result<Instant, JobsError> {
        let started = Instant::now();
        let mut left = BITE;
        for (status, keep) in self.each() {
            let Some(before) = keep.and_then(|keep| now.checked_sub(keep)) else { continue };
            if queue::is_any_ended(&mut *db.read().await?, status, before.into()).await? {
                let mut tx = db.begin().await?;
                let pruned = queue::prune_status(&mut tx, status, before, left.into()).await?;
                tx.commit().await?;
                left = left.saturating_sub(u32::try_from(pruned).unwrap_or(u32::MAX));
            }
        }
        let pause = if left == 0 { started.elapsed() * 4 } else { PAUSE };
        Ok(Instant::now() + pause)
    }
}
