//! What holders of jobs write. Every write is fenced: it names the token of its claim, and does nothing once another
//! claim has been made.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_db::types::Micros;
use privatix_db::{Conn, on};

use crate::queue::promote;
use crate::record::{PENDING, Row};
use crate::schema::job;
use crate::{Failure, JobId, JobStatus, JobsError, queue};

/// The right to run one job, until somebody else claims it.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) id: JobId,
    pub(crate) token: i64,
    pub(crate) subject: String,
}

/// A claimed job.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) lease: Lease,
    pub(crate) kind: String,
    pub(crate) payload: String,
    pub(crate) tries: u32,
    pub(crate) crashes: u32,
}

/// The next time at which any job may be claimed or any lease ends. Uses `job_claim`.
pub(crate) async fn next_due(conn: &mut Conn) -> Result<Option<Micros>, JobsError> {
    let query = || soonest().select(job::claim_at.assume_not_null());
    Ok(on!(conn, |c| query().first(c).await.optional())?)
}

#[diesel::dsl::auto_type(no_type_alias)]
pub(crate) fn soonest() -> _ {
    job::table.filter(job::claim_at.is_not_null()).order(job::claim_at)
}

#[diesel::dsl::auto_type(no_type_alias)]
pub(crate) fn due_at(now: Micros) -> _ {
    job::table.filter(job::claim_at.le(now)).order((job::claim_at, job::id))
}

/// Makes what `holder` held in an earlier life claimable at once. Uses `job_held`.
pub(crate) async fn take_over(conn: &mut Conn, holder: &str) -> Result<usize, JobsError> {
    Ok(on!(conn, |c| diesel::update(job::table.filter(job::held_by.eq(holder)))
        .set(job::claim_at.eq(job::run_at.nullable()))
        .execute(c)
        .await)?)
}

/// Claims at most `limit` due jobs for `holder` until `until`. Those whose lease has lapsed count a crash.
///
/// SQLite has one writer, so reading and then updating is safe; a backend with many adds `FOR UPDATE SKIP LOCKED` to
/// the first query.
pub(crate) async fn claim(
    conn: &mut Conn,
    holder: &str,
    limit: usize,
    now: Micros,
    until: Micros,
) -> Result<Vec<Claimed>, JobsError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let due: Vec<Row> = on!(conn, |c| due_at(now).limit(limit).select(Row::as_select()).load(c).await)?;
    let mut claimed = Vec::with_capacity(due.len());
    let (mut fresh, mut lapsed, mut keyless) = (Vec::new(), Vec::new(), Vec::new());
    for row in due {
        if row.status != PENDING {
            // Cancelled, and its handler's process is gone.
            let_go(conn, &Lease { id: JobId(row.id), token: row.token, subject: row.subject }).await?;
            continue;
        }
        let lapse = u32::from(row.held_by.is_some());
        if lapse == 0 { &mut fresh } else { &mut lapsed }.push(row.id);
        if row.unique_waiting && row.unique_key.is_some() {
            keyless.push(row.id);
        }
        claimed.push(Claimed {
            tries: row.tries(),
            crashes: row.crashes() + lapse,
            lease: Lease { id: JobId(row.id), token: row.token + 1, subject: row.subject },
            kind: row.kind,
            payload: row.payload,
        });
    }
    for (ids, crashes) in [(fresh, 0), (lapsed, 1)] {
        if !ids.is_empty() {
            on!(conn, |c| diesel::update(job::table.filter(job::id.eq_any(ids)))
                .set((
                    job::held_by.eq(Some(holder)),
                    job::token.eq(job::token + 1),
                    job::claim_at.eq(Some(until)),
                    job::crashes.eq(job::crashes + crashes),
                ))
                .execute(c)
                .await)?;
        }
    }
    if !keyless.is_empty() {
        on!(conn, |c| diesel::update(job::table.filter(job::id.eq_any(keyless)))
            .set(job::unique_key.eq(None::<String>))
            .execute(c)
            .await)?;
    }
    Ok(claimed)
}

/// Renews the leases of `jobs` and tells which of them may still run: id and token of those pending under `holder`.
pub(crate) async fn renew(
    conn: &mut Conn,
    holder: &str,
    jobs: Vec<i64>,
    until: Micros,
) -> Result<Vec<(i64, i64)>, JobsError> {
    // A cancelled job is renewed too: it keeps its subject until its handler has ended.
    let held: Vec<(i64, i64, String)> = on!(conn, |c| diesel::update(
        job::table.filter(job::id.eq_any(jobs)).filter(job::held_by.eq(holder))
    )
    .set(job::claim_at.eq(Some(until)))
    .returning((job::id, job::token, job::status))
    .get_results(c)
    .await)?;
    Ok(held.into_iter().filter(|(.., status)| status == PENDING).map(|(id, token, _)| (id, token)).collect())
}

/// Which of `holder`'s jobs have been cancelled under it. Uses `job_held`.
pub(crate) async fn cancelled(conn: &mut Conn, holder: &str) -> Result<Vec<i64>, JobsError> {
    Ok(on!(conn, |c| cancelled_of(holder).select(job::id).load(c).await)?)
}

// What has ended and is still held was cancelled.
#[diesel::dsl::auto_type(no_type_alias)]
pub(crate) fn cancelled_of<'a>(holder: &'a str) -> _ {
    job::table.filter(job::held_by.eq(holder)).filter(job::ended_at.is_not_null())
}

/// Marks the job done and lets the next of its subject come forward.
pub(crate) async fn complete(conn: &mut Conn, lease: &Lease, now: Micros) -> Result<(), JobsError> {
    let marked = on!(conn, |c| diesel::update(ours(lease))
        .set((
            job::status.eq(JobStatus::Done.as_str()),
            job::ended_at.eq(Some(now)),
            job::claim_at.eq(None::<Micros>),
            job::held_by.eq(None::<String>),
        ))
        .execute(c)
        .await)?;
    if marked == 0 {
        let row = queue::row(conn, lease.id).await?;
        let ours = row.token == lease.token && row.held_by.is_some();
        return Err(if ours { JobsError::Cancelled(lease.id) } else { JobsError::LeaseLost(lease.id) });
    }
    promote(conn, &lease.subject).await
}

/// How a run that committed nothing ends.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Failed; to be tried again.
    Retry { at: Micros, failure: Failure },
    /// Failed for good.
    Fail { failure: Failure },
    /// To be run again, as if this run had not been.
    Postpone { until: Micros },
    /// The same, whenever it could be run before.
    Release,
}

/// Writes how a run ended that committed nothing; false if the job was no longer the holder's.
pub(crate) async fn end(
    conn: &mut Conn,
    lease: &Lease,
    ending: Ending,
    now: Micros,
) -> Result<bool, JobsError> {
    let nobody = job::held_by.eq(None::<String>);
    let written = match ending {
        Ending::Retry { at, failure } => on!(conn, |c| diesel::update(ours(lease))
            .set((
                nobody,
                job::run_at.eq(at),
                job::claim_at.eq(Some(at)),
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
                promote(conn, &lease.subject).await?;
            }
            written
        }
        Ending::Postpone { until } => on!(conn, |c| diesel::update(ours(lease))
            .set((nobody, job::run_at.eq(until), job::claim_at.eq(Some(until))))
            .execute(c)
            .await)?,
        Ending::Release => on!(conn, |c| diesel::update(ours(lease))
            .set((nobody, job::claim_at.eq(job::run_at.nullable())))
            .execute(c)
            .await)?,
    };
    if written == 0 {
        let_go(conn, lease).await?;
    }
    Ok(written > 0)
}

/// Gives up the subject of a job that was cancelled while it ran, and lets the next come forward.
async fn let_go(conn: &mut Conn, lease: &Lease) -> Result<(), JobsError> {
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
        promote(conn, &lease.subject).await?;
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
