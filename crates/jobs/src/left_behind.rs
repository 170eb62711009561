//! Jobs that are held by nobody who still works: their process died, their processor was dropped, or the end of their
//! run could not be written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_db::types::Micros;
use privatix_db::{Conn, on};

use crate::lease::{self, Ending, Held};
use crate::processor::Settings;
use crate::schema::job;
use crate::suspect::{self, SUSPECTED};
use crate::{FailureCause, JobsError};

/// Frees what is held by holders that are not present, and counts a crash for each such job. Uses `job_held`.
pub(crate) async fn free_crashed(
    conn: &mut Conn,
    present: &BTreeSet<String>,
    settings: &Settings,
    now: Micros,
) -> Result<usize, JobsError> {
    let mut left: BTreeMap<String, Vec<Held>> = BTreeMap::new();
    for held in lease::held(conn).await? {
        if !present.contains(held.holder()) {
            left.entry(held.holder().to_owned()).or_default().push(held);
        }
    }
    let mut freed = 0;
    for of_one in left.into_values() {
        let suspects = of_one.iter().filter(|held| held.crashes_in_row() >= SUSPECTED);
        let known = suspects.filter_map(|held| settings.lanes.of_kind(&held.kind)).min();
        for held in of_one {
            if held.is_cancelled() {
                lease::give_up_cancelled(conn, &held.lease(), now).await?;
            } else {
                let lane = settings.lanes.of_kind(&held.kind);
                let crashes_in_row = suspect::after_crash(held.crashes_in_row(), lane, known);
                free(conn, &held, crashes_in_row, now + delay(settings, &held.kind, crashes_in_row), now)
                    .await?;
            }
            freed += 1;
        }
    }
    Ok(freed)
}

/// How long a job waits after that many crashes in a row. A kind without a handler here has the default policy.
fn delay(settings: &Settings, kind: &str, crashes_in_row: u32) -> Duration {
    if crashes_in_row < SUSPECTED {
        return Duration::ZERO;
    }
    let policy = settings.handlers.get(kind).map(|handler| handler.policy()).unwrap_or_default();
    policy.suspect_delay.delay(crashes_in_row - 1, 0)
}

async fn free(
    conn: &mut Conn,
    held: &Held,
    crashes_in_row: u32,
    until: Micros,
    now: Micros,
) -> Result<(), JobsError> {
    if crashes_in_row >= SUSPECTED {
        tracing::warn!(job = %held.id(), kind = held.kind, crashes_in_row, "the process crashed repeatedly while this job ran; it waits, and runs alone");
    }
    on!(conn, |c| diesel::update(job::table.find(held.id().0))
        .set((
            job::held_by.eq(None::<String>),
            job::run_at.eq(until),
            job::claim_at.eq(Some(until)),
            job::set_at.eq(now),
            job::crashes.eq(job::crashes + 1),
            job::suspect.eq(i32::try_from(crashes_in_row).unwrap_or(i32::MAX)),
            job::error_cause.eq(Some(FailureCause::Crash.as_str())),
            job::error.eq(Some("the process died while this job ran")),
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
