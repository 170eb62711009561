use std::borrow::Cow;
use std::time::SystemTime;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_db::types::Micros;
use privatix_db::{Conn, on};

use crate::record::{PENDING, Row};
use crate::schema::job;
use crate::{Duplicates, Job, JobId, JobStatus, JobsError};

/// Who pushes a job, and when it may start.
#[derive(Clone, Debug)]
#[must_use]
pub struct PushOptions {
    created_by: Cow<'static, str>,
    not_before: Option<SystemTime>,
}

impl PushOptions {
    /// Pushed by `creator`: "user", "monitor", "billing"...
    pub fn by(creator: impl Into<Cow<'static, str>>) -> Self {
        Self { created_by: creator.into(), not_before: None }
    }

    /// Not to be started before `time`. The policy's first delay holds too: the later of both counts.
    pub fn not_before(mut self, time: SystemTime) -> Self {
        self.not_before = Some(time);
        self
    }
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// A job was made.
    New(JobId),
    /// None was made: this pending one is like it, and its kind refuses duplicates.
    Duplicate(JobId),
}

impl Pushed {
    /// The job that was made, or the one that makes it needless.
    pub fn id(self) -> JobId {
        match self {
            Self::New(id) | Self::Duplicate(id) => id,
        }
    }
}

/// Pushes a job inside the caller's write transaction. [Wake](crate::Wake) the processor after the commit.
///
/// # Errors
/// [`JobsError::Encode`], [`JobsError::Db`].
pub async fn push<J: Job>(conn: &mut Conn, job: &J, options: PushOptions) -> Result<Pushed, JobsError> {
    let policy = J::policy();
    let payload = serde_json::to_string(job).map_err(|source| JobsError::Encode { kind: J::KIND, source })?;
    let subject = job.subject();
    let now = SystemTime::now();
    let run_at = now.checked_add(policy.first_delay).unwrap_or(now);
    let run_at = Micros::from(options.not_before.map_or(run_at, |time| time.max(run_at)));
    let unique_key = (policy.duplicates != Duplicates::Allowed).then(|| job.key());

    // One writer at a time, so what is read here still holds at the insert; the unique indexes guard it anyway.
    if let Some(key) = &unique_key {
        let pending = on!(conn, |c| duplicate_of(J::KIND, &subject, key).first(c).await.optional())?;
        if let Some(pending) = pending {
            return Ok(Pushed::Duplicate(JobId(pending)));
        }
    }
    let headless = head(conn, &subject).await?.is_none();
    let row = (
        job::kind.eq(J::KIND),
        job::subject.eq(&subject),
        job::payload.eq(payload),
        job::created_by.eq(options.created_by),
        job::created_at.eq(Micros::from(now)),
        job::status.eq(PENDING),
        job::run_at.eq(run_at),
        job::claim_at.eq(headless.then_some(run_at)),
        job::unique_key.eq(&unique_key),
        job::unique_waiting.eq(policy.duplicates == Duplicates::RefusedWhileWaiting),
    );
    let id: i64 =
        on!(conn, |c| diesel::insert_into(job::table).values(row).returning(job::id).get_result(c).await)?;
    tracing::debug!(job = id, kind = J::KIND, subject, "job pushed");
    Ok(Pushed::New(JobId(id)))
}

#[diesel::dsl::auto_type(no_type_alias)]
pub(crate) fn duplicate_of<'a>(kind: &'a str, subject: &'a str, key: &'a str) -> _ {
    job::table
        .filter(job::kind.eq(kind))
        .filter(job::subject.eq(subject))
        .filter(job::unique_key.eq(key))
        .filter(job::ended_at.is_null())
        .select(job::id)
}

/// Cancels a pending job inside the caller's write transaction. [Wake](crate::Wake) the processor after the commit.
///
/// A running handler is told by its [token](crate::JobContext::cancelled) and can no longer commit; the next job of the
/// subject waits until that handler has ended.
///
/// # Errors
/// [`JobsError::NotFound`]; [`JobsError::WrongStatus`] if it has ended.
pub async fn cancel(conn: &mut Conn, id: JobId) -> Result<(), JobsError> {
    let row = row(conn, id).await?;
    match row.status()? {
        JobStatus::Waiting | JobStatus::Running => {}
        status => {
            let remedy = "only a waiting or running job can be cancelled";
            return Err(JobsError::WrongStatus { id, status, operation: "cancel", remedy });
        }
    }
    let held = row.held_by.is_some();
    let claim_at = if held { row.claim_at } else { None };
    on!(conn, |c| diesel::update(job::table.find(id.0))
        .set((
            job::status.eq(JobStatus::Cancelled.as_str()),
            job::ended_at.eq(Some(Micros::now())),
            job::claim_at.eq(claim_at),
        ))
        .execute(c)
        .await)?;
    if row.claim_at.is_some() && !held {
        promote(conn, &row.subject).await?;
    }
    tracing::info!(job = %id, kind = row.kind, "job cancelled");
    Ok(())
}

/// Makes a failed or cancelled job pending again, with all its tries and in its old place of the order, inside the
/// caller's write transaction. [Wake](crate::Wake) the processor after the commit.
///
/// # Errors
/// [`JobsError::NotFound`]; [`JobsError::WrongStatus`] if it is pending or done, or cancelled with its handler still at
/// work; [`JobsError::Duplicate`].
pub async fn reactivate(conn: &mut Conn, id: JobId) -> Result<(), JobsError> {
    let row = row(conn, id).await?;
    let wrong = |status, remedy| JobsError::WrongStatus { id, status, operation: "reactivate", remedy };
    match row.status()? {
        JobStatus::Failed | JobStatus::Cancelled if row.held_by.is_none() => {}
        status @ (JobStatus::Failed | JobStatus::Cancelled) => {
            return Err(wrong(status, "its handler is still ending, repeat this in a moment"));
        }
        status => return Err(wrong(status, "only a failed or cancelled job can be reactivated")),
    }
    if let Some(key) = &row.unique_key {
        let pending = on!(conn, |c| duplicate_of(&row.kind, &row.subject, key).first(c).await.optional())?;
        if let Some(pending) = pending {
            return Err(JobsError::Duplicate { id, pending: JobId(pending) });
        }
    }
    let now = Micros::now();
    let claim_at = match head(conn, &row.subject).await? {
        None => Some(now),
        // A younger head that nobody runs yet goes back in the line.
        Some((younger, None)) if younger > id.0 => {
            on!(conn, |c| diesel::update(job::table.find(younger))
                .set(job::claim_at.eq(None::<Micros>))
                .execute(c)
                .await)?;
            Some(now)
        }
        Some(_) => None,
    };
    on!(conn, |c| diesel::update(job::table.find(id.0))
        .set((
            job::status.eq(PENDING),
            job::ended_at.eq(None::<Micros>),
            job::run_at.eq(now),
            job::claim_at.eq(claim_at),
            job::tries.eq(0),
            job::crashes.eq(0),
        ))
        .execute(c)
        .await)?;
    tracing::info!(job = %id, kind = row.kind, "job reactivated");
    Ok(())
}

/// Deletes at most `limit` jobs that ended before `ended_before` and tells how many it deleted. Call it in small bites:
/// it holds the writer.
///
/// # Errors
/// [`JobsError::Db`].
pub async fn prune(conn: &mut Conn, ended_before: SystemTime, limit: u32) -> Result<usize, JobsError> {
    let before = Micros::from(ended_before);
    let old: Vec<i64> = on!(conn, |c| job::table
        .filter(job::ended_at.lt(before))
        .filter(job::claim_at.is_null())
        .order(job::ended_at)
        .limit(limit.into())
        .select(job::id)
        .load(c)
        .await)?;
    Ok(on!(conn, |c| diesel::delete(job::table.filter(job::id.eq_any(old))).execute(c).await)?)
}

/// Makes the oldest pending job of a subject without a head its head.
pub(crate) async fn promote(conn: &mut Conn, subject: &str) -> Result<(), JobsError> {
    let next: Option<(i64, Micros)> =
        on!(conn, |c| next_of(subject).select((job::id, job::run_at)).first(c).await.optional())?;
    if let Some((next, run_at)) = next {
        on!(conn, |c| diesel::update(job::table.find(next))
            .set(job::claim_at.eq(Some(run_at)))
            .execute(c)
            .await)?;
    }
    Ok(())
}

/// The oldest pending job of a subject. Uses `job_next`, so that it does not matter how many have ended.
#[diesel::dsl::auto_type(no_type_alias)]
pub(crate) fn next_of<'a>(subject: &'a str) -> _ {
    let pending: &'a str = PENDING;
    job::table
        .filter(job::subject.eq(subject))
        .filter(job::status.eq(pending))
        .filter(job::ended_at.is_null())
        .order(job::id)
}

/// A subject's head and its holder.
async fn head(conn: &mut Conn, subject: &str) -> Result<Option<(i64, Option<String>)>, JobsError> {
    let query = || head_of(subject).select((job::id, job::held_by));
    Ok(on!(conn, |c| query().first(c).await.optional())?)
}

#[diesel::dsl::auto_type(no_type_alias)]
pub(crate) fn head_of<'a>(subject: &'a str) -> _ {
    job::table.filter(job::subject.eq(subject)).filter(job::claim_at.is_not_null())
}

pub(crate) async fn row(conn: &mut Conn, id: JobId) -> Result<Row, JobsError> {
    on!(conn, |c| job::table.find(id.0).select(Row::as_select()).first(c).await.optional())?
        .ok_or(JobsError::NotFound(id))
}
