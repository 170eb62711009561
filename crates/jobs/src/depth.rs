//! How much work waits, at a cost that a flood does not raise.

use std::time::SystemTime;

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel_async::RunQueryDsl;
use privatix_db::types::Micros;
use privatix_db::{Conn, on};

use crate::statement::Statement;
use crate::{JobStatus, JobsError};

/// Counting a kind's jobs stops here; this number stands for 10,001 or more.
pub const MOST_COUNTED: u64 = 10_001;

/// How much work of a kind waits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Depth {
    /// The kind.
    pub kind: &'static str,
    /// Jobs that could start now; [`MOST_COUNTED`] stands for that many or more.
    pub due: u64,
    /// Since when the oldest of them could.
    pub oldest_due: Option<SystemTime>,
    /// Jobs that may be what kills the process, due or not; at most [`MOST_COUNTED`].
    pub suspects: u64,
}

/// How much work of each of `kinds` waits `now`, in their order.
///
/// # Errors
/// [`JobsError::Db`].
pub async fn depths(
    conn: &mut Conn,
    kinds: &[&'static str],
    now: SystemTime,
) -> Result<Vec<Depth>, JobsError> {
    type Found = (i64, i64, Option<i64>, i64);
    if kinds.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows: Vec<Found> = on!(conn, |c| depths_statement(kinds, now.into()).load(c).await)?;
    rows.sort_unstable_by_key(|(place, ..)| *place);
    let depths = kinds.iter().zip(rows).map(|(kind, (_, due, oldest, suspects))| Depth {
        kind,
        due: due.try_into().unwrap_or_default(), // a count is not negative
        oldest_due: oldest.map(|at| Micros(at).into()),
        suspects: suspects.try_into().unwrap_or_default(),
    });
    Ok(depths.collect())
}

/// The condition of the index `job_due`, word for word.
const CLAIMABLE: &str = "claim_at IS NOT NULL AND held_by IS NULL AND suspect < 2";

// The conditions are those of the indexes `job_due` and `job_suspect`, word for word.
pub(crate) fn depths_statement(
    kinds: &[&'static str],
    now: Micros,
) -> Statement<(BigInt, BigInt, Nullable<BigInt>, BigInt)> {
    const SUSPECTS: &str = "claim_at IS NOT NULL AND held_by IS NULL AND suspect >= 2";
    let of_kind = format!(
        "SELECT ? AS place, \
         (SELECT count(*) FROM (SELECT 1 FROM job WHERE kind = ? AND claim_at <= ? AND {CLAIMABLE} LIMIT {MOST_COUNTED})), \
         (SELECT claim_at FROM job WHERE kind = ? AND claim_at <= ? AND {CLAIMABLE} ORDER BY claim_at LIMIT 1), \
         (SELECT count(*) FROM (SELECT 1 FROM job WHERE kind = ? AND {SUSPECTS} LIMIT {MOST_COUNTED}))"
    );
    let statement = Statement::new(vec![of_kind; kinds.len()].join(" UNION ALL "));
    (0_i64..).zip(kinds).fold(statement, |statement, (place, kind)| {
        let statement = statement.number(place).text(*kind).number(now.0);
        statement.text(*kind).number(now.0).text(*kind)
    })
}

/// Jobs that wait, by kind, of other kinds than `known`, at most [`MOST_COUNTED`] of each: those that no handler here ever
/// takes.
///
/// # Errors
/// [`JobsError::Db`].
pub async fn unhandled(conn: &mut Conn, known: &[&'static str]) -> Result<Vec<(String, u64)>, JobsError> {
    let rows: Vec<(String, i64)> = on!(conn, |c| unhandled_statement(known).load(c).await)?;
    Ok(rows.into_iter().map(|(kind, count)| (kind, count.try_into().unwrap_or_default())).collect())
}

// Leaps from kind to kind in the index `job_due`, so that it costs the same however many jobs wait.
fn unhandled_statement(known: &[&'static str]) -> Statement<(Text, BigInt)> {
    let others = vec!["?"; known.len()].join(", ");
    let statement = Statement::new(format!(
        "WITH RECURSIVE kinds (kind) AS (SELECT min(kind) FROM job WHERE {CLAIMABLE} UNION ALL \
         SELECT (SELECT min(job.kind) FROM job WHERE job.kind > kinds.kind AND {CLAIMABLE}) FROM kinds WHERE kinds.kind IS NOT NULL) \
         SELECT kind, (SELECT count(*) FROM (SELECT 1 FROM job WHERE job.kind = kinds.kind AND {CLAIMABLE} LIMIT {MOST_COUNTED})) \
         FROM kinds WHERE kind IS NOT NULL AND kind NOT IN ({others})"
    ));
    known.iter().fold(statement, |statement, kind| statement.text(*kind))
}

/// How many jobs have failed for good and were not reactivated; at most [`MOST_COUNTED`].
///
/// # Errors
/// [`JobsError::Db`].
pub async fn failed_count(conn: &mut Conn) -> Result<u64, JobsError> {
    let found: i64 = on!(conn, |c| failed_statement().get_result(c).await)?;
    Ok(found.try_into().unwrap_or_default())
}

pub(crate) fn failed_statement() -> Statement<BigInt> {
    let failed = JobStatus::Failed.as_str();
    Statement::new(format!(
        "SELECT count(*) FROM (SELECT 1 FROM job WHERE status = '{failed}' AND ended_at IS NOT NULL LIMIT {MOST_COUNTED})"
    ))
}
