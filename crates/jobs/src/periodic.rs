//! Jobs that run again and again.
//!
//! A periodic job is an ordinary one. The dispatcher makes sure that one of it is pending: at its start, when one has
//! ended in whatever way, and once a minute.

use std::time::Duration;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_db::types::Micros;
use privatix_db::{Conn, on};

use crate::JobsError;
use crate::queue::{self, NewJob};
use crate::record::PENDING;
use crate::schema::job;
use crate::statement::Statement;

/// A job, and how often it is to run.
#[derive(Debug)]
pub(crate) struct Periodic {
    pub(crate) period: Duration,
    pub(crate) job: NewJob,
}

/// When the last run of a job was due, and when it ended.
#[derive(Clone, Copy, Debug, Queryable)]
pub(crate) struct LastRun {
    due: Micros,
    ended: Option<Micros>,
}

/// When a job is to run next: in step with the last run, unless that came a period late or more. So periods that were missed
/// are made up for by one run.
pub(crate) fn next_run(last: Option<LastRun>, period: Duration, now: Micros) -> Micros {
    let Some(LastRun { due, ended }) = last else { return now };
    let in_step = due + period;
    let next = match ended {
        Some(ended) if ended >= in_step => ended + period,
        _ => in_step,
    };
    next.min(now + period) // the clock may have gone back
}

/// When the pending job of this kind and subject is to run, and the last one. Uses `job_next` and
/// `job_by_subject`.
async fn runs(conn: &mut Conn, new: &NewJob) -> Result<(Option<(i64, Micros)>, Option<LastRun>), JobsError> {
    let of = || job::table.filter(job::subject.eq(&new.subject)).filter(job::kind.eq(new.kind));
    let pending = || of().filter(job::status.eq(PENDING)).filter(job::ended_at.is_null());
    let last = || {
        of().filter(job::ended_at.is_not_null()).order(job::id.desc()).select((job::run_at, job::ended_at))
    };
    Ok((
        on!(&mut *conn, |c| pending().select((job::id, job::run_at)).first(c).await.optional())?,
        on!(conn, |c| last().first(c).await.optional())?,
    ))
}

impl Periodic {
    /// True if [`ensure`](Self::ensure) has something to write.
    pub(crate) async fn is_missing(&self, conn: &mut Conn, now: Micros) -> Result<bool, JobsError> {
        let (pending, _) = runs(conn, &self.job).await?;
        Ok(pending.is_none_or(|(_, run_at)| run_at > now + self.period))
    }

    /// Pushes the next run if none is pending; makes one earlier that waits longer than the period, which was longer then.
    pub(crate) async fn ensure(&self, conn: &mut Conn, now: Micros) -> Result<(), JobsError> {
        let (pending, last) = runs(conn, &self.job).await?;
        let latest = now + self.period;
        match pending {
            Some((id, run_at)) if run_at > latest => {
                on!(conn, |c| earlier_statement(id, latest, now).execute(c).await)?;
            }
            Some(_) => {}
            None => {
                let mut next = self.job.clone();
                next.created_at = now;
                next.run_at = next_run(last, self.period, now);
                let subject = next.subject.clone();
                queue::insert(conn, vec![next]).await?;
                queue::promote(conn, [subject.as_str()], now).await?;
            }
        }
        Ok(())
    }
}

fn earlier_statement(id: i64, run_at: Micros, now: Micros) -> Statement {
    Statement::new(
        "UPDATE job SET run_at = ?, set_at = ?, claim_at = CASE WHEN claim_at IS NOT NULL THEN ? END \
         WHERE id = ? AND held_by IS NULL",
    )
    .number(run_at.0)
    .number(now.0)
    .number(run_at.0)
    .number(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_periods_are_made_up_for_by_one_run() {
        let period = Duration::from_micros(10);
        let next = |due, ended, now| {
            let last = LastRun { due: Micros(due), ended: Some(Micros(ended)) };
            next_run(Some(last), period, Micros(now)).0
        };
        assert_eq!(next_run(None, period, Micros(100)).0, 100, "the first run");
        assert_eq!(next(95, 97, 100), 105, "in step with the last");
        assert_eq!(next(40, 42, 100), 50, "nothing ran since: at once");
        assert_eq!(next(50, 100, 100), 110, "the run that made up for the missed ones");
        assert_eq!(next(5_000, 5_001, 100), 110, "the clock went back");
    }
}
