//! Waits do not grow when the wall clock goes back.
//!
//! A head stores the wall time at which its wait was written (`set_at`). One that lies in the future shows that the clock
//! was set back since: then what counts is how long the wait was to be. Jobs that are not heads get their wait when they
//! become one.

use diesel::dsl::exists;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_db::types::Micros;
use privatix_db::{Conn, on};

use crate::JobsError;
use crate::schema::job;
use crate::statement::Statement;

/// True if a wait was written at a time that has not come yet. Uses `job_set`.
pub(crate) async fn was_set_back(conn: &mut Conn, now: Micros) -> Result<bool, JobsError> {
    let query = || diesel::select(exists(set_after(now)));
    Ok(on!(conn, |c| query().get_result(c).await)?)
}

#[diesel::dsl::auto_type(no_type_alias)]
pub(crate) fn set_after(now: Micros) -> _ {
    job::table.filter(job::set_at.gt(now)).filter(job::claim_at.is_not_null()).filter(job::held_by.is_null())
}

/// Writes such waits again, as long as they were. Uses `job_set`.
pub(crate) async fn write_waits_again(conn: &mut Conn, now: Micros) -> Result<usize, JobsError> {
    Ok(on!(conn, |c| waits_statement(now).execute(c).await)?)
}

pub(crate) fn waits_statement(now: Micros) -> Statement {
    Statement::new(
        "UPDATE job SET claim_at = ? + max(0, claim_at - set_at), run_at = ? + max(0, claim_at - set_at), set_at = ? \
         WHERE set_at > ? AND claim_at IS NOT NULL AND held_by IS NULL",
    )
    .number(now.0)
    .number(now.0)
    .number(now.0)
    .number(now.0)
}
