//! Jobs that are held by nobody who still works: their process died, their processor was dropped, or the end of their
//! run could not be written.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_db::types::Micros;
use privatix_db::{Conn, on};

use crate::lease::{self, Ending, Held};
use crate::schema::job;
use crate::{FailureCause, JobsError};

/// Frees what is held by holders that are not present, and counts a crash for each such job. Uses `job_held`.
pub(crate) async fn free_crashed(
    conn: &mut Conn,
    present: &BTreeSet<String>,
    now: Micros,
) -> Result<usize, JobsError> {
    let mut freed = 0;
    for held in lease::held(conn).await?.iter().filter(|held| !present.contains(held.holder())) {
        if held.is_cancelled() {
            lease::give_up_cancelled(conn, &held.lease(), now).await?;
        } else {
            count_crash(conn, held, now).await?;
        }
        freed += 1;
    }
    Ok(freed)
}

async fn count_crash(conn: &mut Conn, held: &Held, now: Micros) -> Result<(), JobsError> {
    on!(conn, |c| diesel::update(job::table.find(held.id().0))
        .set((
            job::held_by.eq(None::<String>),
            job::claim_at.eq(Some(now)),
            job::set_at.eq(now),
            job::crashes.eq(job::crashes + 1),
            job::error_cause.eq(Some(FailureCause::Crash.as_str())),
            job::error.eq(Some("the process ended while this job ran")),
        ))
        .execute(c)
        .await)?;
    Ok(())
}

/// Gives back what `holder` holds and does not run: the end of its run could not be written. Uses `job_held`.
pub(crate) async fn release_unwritten(
    conn: &mut Conn,
    holder: &str,
    is_running: impl Fn(&Held) -> bool,
    now: Micros,
) -> Result<usize, JobsError> {
    let mut released = 0;
    for held in lease::held(conn).await?.iter().filter(|held| held.holder() == holder && !is_running(held)) {
        lease::end(conn, &held.lease(), Ending::Release, now).await?;
        released += 1;
    }
    Ok(released)
}
