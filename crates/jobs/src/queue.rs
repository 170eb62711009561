use std::borrow::Cow;
use std::time::SystemTime;

use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use privatix_db::types::Micros;
use privatix_db::{Conn, DbError, on};

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
    only(push_all(conn, std::slice::from_ref(job), options).await?)
}

/// Pushes jobs inside the caller's write transaction, in their order. [Wake](crate::Wake) the processor after the commit.
///
/// # Errors
/// As [`push`].
pub async fn push_all<J: Job>(
    conn: &mut Conn,
    jobs: &[J],
    options: PushOptions,
) -> Result<Vec<Pushed>, JobsError> {
    let jobs = new_jobs(jobs, &options)?;
    let subjects: Vec<String> = jobs.iter().map(|job| job.subject.clone()).collect();
    let pushed = insert(conn, jobs).await?;
    promote(conn, subjects.iter().map(String::as_str), Micros::now()).await?;
    Ok(pushed)
}

/// What came of a single push.
pub(crate) fn only(pushed: Vec<Pushed>) -> Result<Pushed, JobsError> {
    let gone = DbError::Corrupt { what: "job", reason: "a pushed job was not returned".into() };
    pushed.into_iter().next().ok_or(gone.into())
}

/// A job that is not stored yet.
#[derive(Clone, Debug)]
pub(crate) struct NewJob {
    pub(crate) kind: &'static str,
    pub(crate) subject: String,
    payload: String,
    created_by: Cow<'static, str>,
    pub(crate) created_at: Micros,
    pub(crate) run_at: Micros,
    /// Set where duplicates are refused.
    unique_key: Option<String>,
    unique_waiting: bool,
}

pub(crate) fn new_jobs<J: Job>(jobs: &[J], options: &PushOptions) -> Result<Vec<NewJob>, JobsError> {
    let policy = J::policy();
    let now = SystemTime::now();
    let first = now.checked_add(policy.first_delay).unwrap_or(now);
    let run_at = options.not_before.map_or(first, |time| time.max(first));
    let new = |job: &J| {
        Ok(NewJob {
            kind: J::KIND,
            subject: job.subject(),
            payload: serde_json::to_string(job)
                .map_err(|source| JobsError::Encode { kind: J::KIND, source })?,
            created_by: options.created_by.clone(),
            created_at: now.into(),
            run_at: run_at.into(),
            unique_key: (policy.duplicates != Duplicates::Allowed).then(|| job.key()),
            unique_waiting: policy.duplicates == Duplicates::RefusedWhileWaiting,
        })
    };
    jobs.iter().map(new).collect()
}

/// Stores jobs in their order, with an outcome for each. They are no heads until [`promote`].
pub(crate) async fn insert(conn: &mut Conn, jobs: Vec<NewJob>) -> Result<Vec<Pushed>, JobsError> {
    if jobs.iter().all(|job| job.unique_key.is_none()) {
        return insert_all(conn, &jobs).await;
    }
    let mut pushed = Vec::with_capacity(jobs.len());
    for job in jobs {
        pushed.push(insert_unless_duplicate(conn, job).await?);
    }
    Ok(pushed)
}

async fn insert_all(conn: &mut Conn, jobs: &[NewJob]) -> Result<Vec<Pushed>, JobsError> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let mut ids: Vec<i64> = on!(conn, |c| insert_statement(jobs).load(c).await)?;
    ids.sort_unstable(); // they grow in the order of the insertion
    Ok(ids.into_iter().map(|id| Pushed::New(JobId(id))).collect())
}

pub(crate) fn insert_statement(jobs: &[NewJob]) -> Statement<BigInt> {
    let rows: Vec<_> = jobs
        .iter()
        .map(|job| (job.kind, &job.subject, &job.payload, &job.created_by, job.created_at.0, job.run_at.0))
        .collect();
    Statement::new(
        "INSERT INTO job (kind, subject, payload, created_by, created_at, status, run_at) \
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, 'pending', value ->> 5 \
         FROM json_each(?) ORDER BY key RETURNING id",
    )
    .text(serde_json::json!(rows).to_string())
}

async fn insert_unless_duplicate(conn: &mut Conn, new: NewJob) -> Result<Pushed, JobsError> {
    // One writer at a time, so what is read here still holds at the insert; the unique indexes guard it anyway.
    if let Some(key) = &new.unique_key {
        let query = || duplicate_of(new.kind, &new.subject, key);
        if let Some(pending) = on!(conn, |c| query().first(c).await.optional())? {
            return Ok(Pushed::Duplicate(JobId(pending)));
        }
    }
    let row = (
        job::kind.eq(new.kind),
        job::subject.eq(new.subject),
        job::payload.eq(new.payload),
        job::created_by.eq(new.created_by),
        job::created_at.eq(new.created_at),
        job::status.eq(PENDING),
        job::run_at.eq(new.run_at),
        job::unique_key.eq(new.unique_key),
        job::unique_waiting.eq(new.unique_waiting),
    );
    let id: i64 =
        on!(conn, |c| diesel::insert_into(job::table).values(row).returning(job::id).get_result(c).await)?;
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

/// Makes a job that waits for its time due now, inside the caller's write transaction, for a reason that its pause did not know of.
/// [Wake](crate::Wake) the processor after the commit. It still waits for the earlier jobs of its subject.
///
/// `false`, and nothing changes, if the job runs or has ended, or waits because its process crashed twice in a row.
///
/// # Errors
/// [`JobsError::Db`].
pub async fn hasten(conn: &mut Conn, id: JobId) -> Result<bool, JobsError> {
    let hastened = on!(conn, |c| hasten_statement(id, Micros::now()).execute(c).await)?;
    Ok(hastened > 0)
}

pub(crate) fn hasten_statement(id: JobId, now: Micros) -> Statement {
    Statement::new(
        "UPDATE job SET run_at = ?, claim_at = iif(claim_at IS NULL, NULL, ?), set_at = ? \
         WHERE id = ? AND status = 'pending' AND held_by IS NULL AND ended_at IS NULL AND suspect < 2",
    )
    .number(now.0)
    .number(now.0)
    .number(now.0)
    .number(id.0)
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

/// True if jobs ended in this status before then. Uses `job_ended`.
pub(crate) async fn is_any_ended(
    conn: &mut Conn,
    status: JobStatus,
    before: Micros,
) -> Result<bool, JobsError> {
    let query = || diesel::select(diesel::dsl::exists(ended(status, before)));
    Ok(on!(conn, |c| query().get_result(c).await)?)
}

/// The same as [`prune`] for one status. Uses `job_ended`.
pub(crate) async fn prune_status(
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
