use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_db::{Conn, on};

use crate::record::{PENDING, Row};
use crate::schema::job;
use crate::{JobId, JobRecord, JobStatus, JobsError, queue};

const PAGE: u32 = 50;
const LONGEST_PAGE: u32 = 1_000;

/// Which jobs to list. By default: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Of this subject.
    pub subject: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// In this status.
    pub status: Option<JobStatus>,
    /// Older than this job: the [`Page::next`] of the page before.
    pub before: Option<JobId>,
    /// At most this many on a page; by default 50, and never more than 1,000.
    pub limit: Option<u32>,
}

impl Filter {
    /// All jobs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of this subject.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Of this kind.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// In this status.
    #[must_use]
    pub fn status(mut self, status: JobStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// Older than this job.
    #[must_use]
    pub fn before(mut self, id: JobId) -> Self {
        self.before = Some(id);
        self
    }

    /// At most this many on a page.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// Some jobs, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<JobRecord>,
    /// Where the next page begins ([`Filter::before`]), if there are more.
    pub next: Option<JobId>,
}

/// One job.
///
/// # Errors
/// [`JobsError::NotFound`], [`JobsError::Db`].
pub async fn get(conn: &mut Conn, id: JobId) -> Result<JobRecord, JobsError> {
    Ok(queue::row(conn, id).await?.try_into()?)
}

/// The jobs that match a filter, newest first, a page at a time.
///
/// # Errors
/// [`JobsError::Db`].
pub async fn list(conn: &mut Conn, filter: &Filter) -> Result<Page, JobsError> {
    let limit = filter.limit.unwrap_or(PAGE).clamp(1, LONGEST_PAGE);
    let rows: Vec<Row> = on!(conn, |c| {
        let mut query = job::table
            .select(Row::as_select())
            .order(job::id.desc())
            .limit(i64::from(limit) + 1)
            .into_boxed();
        if let Some(subject) = &filter.subject {
            query = query.filter(job::subject.eq(subject));
        }
        if let Some(kind) = &filter.kind {
            query = query.filter(job::kind.eq(kind));
        }
        query = match filter.status {
            None => query,
            Some(JobStatus::Waiting) => query.filter(job::status.eq(PENDING).and(job::held_by.is_null())),
            Some(JobStatus::Running) => query.filter(job::status.eq(PENDING).and(job::held_by.is_not_null())),
            Some(ended) => query.filter(job::status.eq(ended.as_str())),
        };
        // Also where none is given, so that the newest page is a search too.
        query = query.filter(job::id.lt(filter.before.map_or(i64::MAX, |before| before.0)));
        query.load(c).await
    })?;
    let more = rows.len() > limit as usize;
    let jobs: Vec<JobRecord> =
        rows.into_iter().take(limit as usize).map(TryInto::try_into).collect::<Result<_, _>>()?;
    let next = if more { jobs.last().map(|job| job.id) } else { None };
    Ok(Page { jobs, next })
}
