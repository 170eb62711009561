//! What may be claimed, and claiming it.
//!
//! Only kinds that are asked for are read: jobs of other kinds wait for a processor that has a handler for them, and
//! however many there are, they cost nothing.

use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel_async::RunQueryDsl;
use privatix_db::types::Micros;
use privatix_db::{Conn, on};

use crate::statement::Statement;
use crate::{JobId, JobsError};

/// The right to run one job, until another claim of it.
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
    /// Since when it could be claimed.
    pub(crate) due: Micros,
    pub(crate) is_suspect: bool,
}

/// Which of the due jobs to claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Among {
    Jobs,
    Suspects,
}

impl Among {
    // Word for word the conditions of `job_due` and `job_suspect`, or the indexes are not used.
    fn condition(self) -> &'static str {
        match self {
            Self::Jobs => "claim_at IS NOT NULL AND held_by IS NULL AND suspect < 2",
            Self::Suspects => "claim_at IS NOT NULL AND held_by IS NULL AND suspect >= 2",
        }
    }
}

/// The kinds of a lane, and how many of their jobs to claim.
pub(crate) type Wanted<'a> = (&'a [&'static str], usize);

/// Claims due jobs for `holder`, in each lane those that have been due longest. Uses `job_due` or `job_suspect`: the work
/// is as many rows for each kind as are wanted in its lane.
///
/// SQLite has one writer, so that reading and then updating is safe; a backend with many adds `FOR UPDATE SKIP LOCKED`
/// to the inner selects.
pub(crate) async fn claim(
    conn: &mut Conn,
    holder: &str,
    lanes: &[Wanted<'_>],
    among: Among,
    now: Micros,
) -> Result<Vec<Claimed>, JobsError> {
    type Row = (i64, i64, String, String, String, i32, i64);
    if lanes.iter().all(|(kinds, limit)| kinds.is_empty() || *limit == 0) {
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = on!(conn, |c| claim_statement(holder, lanes, among, now).load(c).await)?;
    let claimed = rows.into_iter().map(|(id, token, subject, kind, payload, tries, due)| Claimed {
        lease: Lease { id: JobId(id), token, subject },
        kind,
        payload,
        tries: tries.try_into().unwrap_or(0), // a constraint keeps it from being negative
        due: Micros(due),
        is_suspect: among == Among::Suspects,
    });
    let mut claimed: Vec<Claimed> = claimed.collect();
    claimed.sort_by_key(|job| job.lease.id);
    Ok(claimed)
}

/// The text is the same however many are wanted, so that it is prepared once.
pub(crate) fn claim_statement(
    holder: &str,
    lanes: &[Wanted<'_>],
    among: Among,
    now: Micros,
) -> Statement<(BigInt, BigInt, Text, Text, Text, Integer, BigInt)> {
    let of_kind = format!(
        "SELECT * FROM (SELECT id, claim_at FROM job WHERE kind = ? AND claim_at <= ? AND {} \
         ORDER BY claim_at, id LIMIT ?)",
        among.condition()
    );
    let of_lane = |kinds: &[&str]| {
        let of_all = vec![of_kind.as_str(); kinds.len()].join(" UNION ALL ");
        format!("SELECT id FROM (SELECT id FROM ({of_all}) ORDER BY claim_at, id LIMIT ?)")
    };
    let lanes = || lanes.iter().filter(|(kinds, _)| !kinds.is_empty());
    let of_lanes = lanes().map(|(kinds, _)| of_lane(kinds)).collect::<Vec<_>>().join(" UNION ALL ");
    let mut statement = Statement::new(format!(
        "UPDATE job SET held_by = ?, token = token + 1, \
         unique_key = CASE WHEN unique_waiting THEN NULL ELSE unique_key END \
         WHERE id IN ({of_lanes}) RETURNING id, token, subject, kind, payload, tries, claim_at"
    ))
    .text(holder);
    for (kinds, limit) in lanes() {
        let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
        for kind in *kinds {
            statement = statement.text(*kind).number(now.0).number(limit);
        }
        statement = statement.number(limit);
    }
    statement
}

/// When a job of `kinds` that is no suspect may be claimed next. Uses `job_due`: one look for each kind.
pub(crate) async fn next_due(conn: &mut Conn, kinds: &[&'static str]) -> Result<Option<Micros>, JobsError> {
    if kinds.is_empty() {
        return Ok(None);
    }
    let due: Option<i64> = on!(conn, |c| next_due_statement(kinds).get_result(c).await)?;
    Ok(due.map(Micros))
}

pub(crate) fn next_due_statement(kinds: &[&'static str]) -> Statement<Nullable<BigInt>> {
    let of_kind = format!(
        "SELECT (SELECT claim_at FROM job WHERE kind = ? AND {} ORDER BY claim_at LIMIT 1) AS due",
        Among::Jobs.condition()
    );
    let of_all = vec![of_kind; kinds.len()].join(" UNION ALL ");
    let statement = Statement::new(format!("SELECT min(due) FROM ({of_all})"));
    kinds.iter().fold(statement, |statement, kind| statement.text(*kind))
}
