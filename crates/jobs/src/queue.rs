use std::borrow::Cow;
use std::time::SystemTime;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_db::types::Micros;
use privatix_db::{Conn, on};

use crate::record::{PENDING, Row};
use crate::schema::job;
use crate::statement::Statement;
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
    let row = (
        job::kind.eq(J::KIND),
        job::subject.eq(&subject),
        job::payload.eq(payload),
        job::created_by.eq(options.created_by),
        job::created_at.eq(Micros::from(now)),
        job::status.eq(PENDING),
        job::run_at.eq(run_at),
        job::unique_key.eq(&unique_key),
        job::unique_waiting.eq(policy.duplicates == Duplicates::RefusedWhileWaiting),
    );
    let id: i64 =
        on!(conn, |c| diesel::insert_into(job::table).values(row).returning(job::id).get_result(c).await)?;
    promote(conn, [subject.as_str()], now.into()).await?;
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
/// A running handler is informed by its [token](crate::JobContext::cancelled) and can no longer commit; the next job of the
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
    let now = Micros::now();
    // While its handler runs, the job stays the head of its subject.
    let claim_at = row.held_by.as_ref().and(row.claim_at);
    on!(conn, |c| diesel::update(job::table.find(id.0))
        .set((
            job::status.eq(JobStatus::Cancelled.as_str()),
            job::ended_at.eq(Some(now)),
            job::claim_at.eq(claim_at),
        ))
        .execute(c)
        .await)?;
    promote(conn, [row.subject.as_str()], now).await?;
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
    // A younger head that nobody runs yet waits behind the job again.
    let younger = head_of(&row.subject).filter(job::held_by.is_null()).filter(job::id.gt(id.0));
    on!(conn, |c| diesel::update(younger).set(job::claim_at.eq(None::<Micros>)).execute(c).await)?;
    on!(conn, |c| diesel::update(job::table.find(id.0))
        .set((
            job::status.eq(PENDING),
            job::ended_at.eq(None::<Micros>),
            job::run_at.eq(now),
            job::tries.eq(0),
            job::crashes.eq(0),
            job::suspect.eq(0),
        ))
        .execute(c)
        .await)?;
    promote(conn, [row.subject.as_str()], now).await?;
    tracing::info!(job = %id, kind = row.kind, "job reactivated");
    Ok(())
}

/// Deletes at most `limit` jobs that ended before `ended_before` and returns how many it deleted. Call it with a small
/// limit, repeatedly: it holds the writer.
///
/// # Errors
/// [`JobsError::Db`].
pub async fn prune(conn: &mut Conn, ended_before: SystemTime, limit: u32) -> Result<usize, JobsError> {
    let mut pruned = 0;
    for status in [JobStatus::Done, JobStatus::Failed, JobStatus::Cancelled] {
        let left = i64::from(limit).saturating_sub_unsigned(pruned as u64);
        pruned += prune_status(conn, status, ended_before, left).await?;
    }
    Ok(pruned)
}

/// The same for one status. Uses `job_ended`.
async fn prune_status(
    conn: &mut Conn,
    status: JobStatus,
    ended_before: SystemTime,
    limit: i64,
) -> Result<usize, JobsError> {
    let before = Micros::from(ended_before);
    let query = || ended(status, before).filter(job::claim_at.is_null()).limit(limit).select(job::id);
    let old: Vec<i64> = on!(conn, |c| query().load(c).await)?;
    if old.is_empty() {
        return Ok(0);
    }
    Ok(on!(conn, |c| diesel::delete(job::table.filter(job::id.eq_any(old))).execute(c).await)?)
}

#[diesel::dsl::auto_type(no_type_alias)]
pub(crate) fn ended(status: JobStatus, before: Micros) -> _ {
    let status: &'static str = status.as_str();
    job::table.filter(job::status.eq(status)).filter(job::ended_at.lt(before)).order(job::ended_at)
}

/// Makes the oldest pending job of each subject that has no head its head. Nothing else makes heads, so that no job
/// overtakes an older one of its subject. Uses `job_head` and `job_next`, so that it does not matter how many have ended.
pub(crate) async fn promote<'a>(
    conn: &mut Conn,
    subjects: impl IntoIterator<Item = &'a str>,
    now: Micros,
) -> Result<(), JobsError> {
    let subjects: Vec<&str> = subjects.into_iter().collect();
    if subjects.is_empty() {
        return Ok(());
    }
    on!(conn, |c| promote_statement(&subjects, now).execute(c).await)?;
    Ok(())
}

/// A wait that was meant when the job was pushed is not made longer by a clock that has been set back since.
pub(crate) fn promote_statement(subjects: &[&str], now: Micros) -> Statement {
    Statement::new(
        "UPDATE job SET claim_at = min(run_at, ? + max(0, run_at - created_at)), set_at = ? WHERE id IN (\
           SELECT (SELECT next.id FROM job AS next \
                   WHERE next.subject = wanted.value AND next.status = 'pending' AND next.ended_at IS NULL \
                   ORDER BY next.id LIMIT 1) \
           FROM json_each(?) AS wanted \
           WHERE NOT EXISTS (SELECT 1 FROM job AS head WHERE head.subject = wanted.value AND head.claim_at IS NOT NULL))",
    )
    .number(now.0)
    .number(now.0)
    .text(serde_json::json!(subjects).to_string())
}

#[diesel::dsl::auto_type(no_type_alias)]
pub(crate) fn head_of<'a>(subject: &'a str) -> _ {
    job::table.filter(job::subject.eq(subject)).filter(job::claim_at.is_not_null())
}

pub(crate) async fn row(conn: &mut Conn, id: JobId) -> Result<Row, JobsError> {
    on!(conn, |c| job::table.find(id.0).select(Row::as_select()).first(c).await.optional())?
        .ok_or(JobsError::NotFound(id))
}
