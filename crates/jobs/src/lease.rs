//! What holders of jobs write. Every write is fenced: it names the token of its claim, and does nothing once another
//! claim has been made.

use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use privatix_db::types::Micros;
use privatix_db::{Conn, on};

use crate::claim::Lease;
use crate::queue::promote;
use crate::schema::job;
use crate::statement::Statement;
use crate::{Failure, JobId, JobStatus, JobsError, queue};

/// Marks a job done. Its subject has no head then, until [`promote`].
pub(crate) async fn complete(conn: &mut Conn, lease: &Lease, now: Micros) -> Result<(), JobsError> {
    let mut outcomes = complete_all(conn, std::slice::from_ref(lease), now).await?;
    outcomes.pop().unwrap_or(Err(JobsError::LeaseLost(lease.id)))
}

/// The same for many in one statement, with an outcome for each.
pub(crate) async fn complete_all(
    conn: &mut Conn,
    leases: &[Lease],
    now: Micros,
) -> Result<Vec<Result<(), JobsError>>, JobsError> {
    if leases.is_empty() {
        return Ok(Vec::new());
    }
    let marked: Vec<i64> = on!(conn, |c| complete_statement(leases, now).load(c).await)?;
    let mut outcomes = Vec::with_capacity(leases.len());
    for lease in leases {
        let is_marked = marked.contains(&lease.id.0);
        outcomes.push(if is_marked { Ok(()) } else { Err(refusal(conn, lease).await?) });
    }
    Ok(outcomes)
}

pub(crate) fn complete_statement(leases: &[Lease], now: Micros) -> Statement<BigInt> {
    let ended: Vec<(i64, i64)> = leases.iter().map(|lease| (lease.id.0, lease.token)).collect();
    // By id: the index of held jobs would be searched for each.
    Statement::new(
        "UPDATE job SET status = 'done', ended_at = ?, claim_at = NULL, held_by = NULL, suspect = 0 \
         FROM (SELECT value ->> 0 AS id, value ->> 1 AS token FROM json_each(?)) AS done \
         WHERE job.id = done.id AND job.token = done.token AND +job.held_by IS NOT NULL AND job.ended_at IS NULL \
         RETURNING job.id",
    )
    .number(now.0)
    .text(serde_json::json!(ended).to_string())
}

/// Why a job cannot be completed under a lease.
async fn refusal(conn: &mut Conn, lease: &Lease) -> Result<JobsError, JobsError> {
    let row = queue::row(conn, lease.id).await?;
    let ours = row.token == lease.token && row.held_by.is_some();
    Ok(if ours { JobsError::Cancelled(lease.id) } else { JobsError::LeaseLost(lease.id) })
}

/// How a run that committed nothing ends.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// Failed; to be tried again.
    Retry { at: Micros, failure: Failure },
    /// Failed for good.
    Fail { failure: Failure },
    /// To be run again, as if this run had not been.
    Postpone { until: Micros },
    /// The same, at once.
    Release,
}

/// Writes how a run ended that committed nothing; false if the job was no longer the holder's.
pub(crate) async fn end(
    conn: &mut Conn,
    lease: &Lease,
    ending: Ending,
    now: Micros,
) -> Result<bool, JobsError> {
    let nobody = (job::held_by.eq(None::<String>), job::suspect.eq(0));
    let waits_until = |time: Micros| (job::claim_at.eq(Some(time)), job::set_at.eq(now));
    let written = match ending {
        Ending::Retry { at, failure } => on!(conn, |c| diesel::update(ours(lease))
            .set((
                nobody,
                job::run_at.eq(at),
                waits_until(at),
                job::tries.eq(job::tries + 1),
                job::error_cause.eq(Some(failure.cause.as_str())),
                job::error.eq(Some(failure.message)),
            ))
            .execute(c)
            .await)?,
        Ending::Fail { failure } => {
            let written = on!(conn, |c| diesel::update(ours(lease))
                .set((
                    nobody,
                    job::status.eq(JobStatus::Failed.as_str()),
                    job::ended_at.eq(Some(now)),
                    job::claim_at.eq(None::<Micros>),
                    job::tries.eq(job::tries + 1),
                    job::error_cause.eq(Some(failure.cause.as_str())),
                    job::error.eq(Some(failure.message)),
                ))
                .execute(c)
                .await)?;
            if written > 0 {
                promote(conn, [lease.subject.as_str()], now).await?;
            }
            written
        }
        Ending::Postpone { until } => on!(conn, |c| diesel::update(ours(lease))
            .set((nobody, job::run_at.eq(until), waits_until(until)))
            .execute(c)
            .await)?,
        // A shutdown shows nothing about the job: a suspect stays one.
        Ending::Release => on!(conn, |c| diesel::update(ours(lease))
            .set((job::held_by.eq(None::<String>), waits_until(now)))
            .execute(c)
            .await)?,
    };
    if written == 0 {
        give_up_cancelled(conn, lease, now).await?;
    }
    Ok(written > 0)
}

/// Gives up the subject of a job that was cancelled while it ran, so that the next comes forward.
pub(crate) async fn give_up_cancelled(conn: &mut Conn, lease: &Lease, now: Micros) -> Result<(), JobsError> {
    let given_up = on!(conn, |c| diesel::update(
        job::table
            .find(lease.id.0)
            .filter(job::token.eq(lease.token))
            .filter(job::held_by.is_not_null())
            .filter(job::ended_at.is_not_null())
    )
    .set((job::held_by.eq(None::<String>), job::claim_at.eq(None::<Micros>)))
    .execute(c)
    .await)?;
    if given_up > 0 {
        promote(conn, [lease.subject.as_str()], now).await?;
    }
    Ok(())
}

/// The job, if the lease is still good.
#[diesel::dsl::auto_type(no_type_alias)]
fn ours(lease: &Lease) -> _ {
    let id: i64 = lease.id.0;
    let token: i64 = lease.token;
    job::table
        .filter(job::id.eq(id))
        .filter(job::token.eq(token))
        .filter(job::held_by.is_not_null())
        .filter(job::ended_at.is_null())
}

/// A job that somebody holds.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = job)]
#[expect(clippy::struct_field_names, reason = "named as the columns are")]
pub(crate) struct Held {
    id: i64,
    token: i64,
    subject: String,
    pub(crate) kind: String,
    suspect: i32,
    ended_at: Option<Micros>,
    held_by: Option<String>,
}

impl Held {
    pub(crate) fn id(&self) -> JobId {
        JobId(self.id)
    }

    pub(crate) fn lease(&self) -> Lease {
        Lease { id: JobId(self.id), token: self.token, subject: self.subject.clone() }
    }

    pub(crate) fn holder(&self) -> &str {
        self.held_by.as_deref().unwrap_or_default()
    }

    /// How often in a row its process has crashed while it ran.
    pub(crate) fn crashes_in_row(&self) -> u32 {
        self.suspect.try_into().unwrap_or(0)
    }

    /// What has ended and is still held was cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.ended_at.is_some()
    }
}

/// All jobs that somebody holds: at most one for each worker. Uses `job_held`.
pub(crate) async fn held(conn: &mut Conn) -> Result<Vec<Held>, JobsError> {
    Ok(on!(conn, |c| held_by_anyone().select(Held::as_select()).load(c).await)?)
}

#[diesel::dsl::auto_type(no_type_alias)]
pub(crate) fn held_by_anyone() -> _ {
    job::table.filter(job::held_by.is_not_null())
}
