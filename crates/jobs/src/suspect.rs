//! Jobs that may be what kills the process.
//!
//! A process that crashes leaves behind whatever ran in it, and nobody knows which of these jobs was to blame. A job that ran
//! at two crashes in a row is a suspect: it waits, longer after each crash, and runs alone in its lane, so that the next crash
//! is not blamed on others. It is never failed for that, as it may be innocent and worth money. One crash in a row costs
//! nothing: it may have been a power cut.

use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use privatix_db::types::Micros;
use privatix_db::{Conn, on};

use crate::JobsError;
use crate::statement::Statement;

/// This many crashes in a row make a suspect. The indexes `job_due` and `job_suspect` repeat the number.
pub(crate) const SUSPECTED: u32 = 2;

/// The crashes in a row of a job that ran at a crash of its process, and had `before` until then.
///
/// `lane` is its place in the order of priority, and `known` that of the highest lane in which a known suspect ran: jobs of
/// higher lanes, which go on beside it, are not blamed.
pub(crate) fn after_crash(before: u32, lane: Option<usize>, known: Option<usize>) -> u32 {
    let is_blamed = match (lane, known) {
        (Some(lane), Some(known)) => lane >= known,
        _ => true,
    };
    before.saturating_add(u32::from(is_blamed))
}

/// What a lane may claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// At most this many jobs that are no suspects.
    Jobs(usize),
    /// One suspect.
    Suspect,
}

/// What a lane may claim that has `workers`, of which `running` are at work.
pub(crate) fn room(workers: usize, running: usize, runs_suspect: bool, suspect_is_due: bool) -> Room {
    match (runs_suspect, suspect_is_due) {
        (true, _) => Room::Jobs(0),
        (false, true) if running == 0 => Room::Suspect,
        (false, true) => Room::Jobs(0), // until what runs has ended: policies limit its time
        (false, false) => Room::Jobs(workers.saturating_sub(running)),
    }
}

/// Kinds and times of the suspects that wait. Uses `job_suspect`, which has few rows.
pub(crate) async fn waiting(conn: &mut Conn) -> Result<Vec<(String, Micros)>, JobsError> {
    let rows: Vec<(String, i64)> = on!(conn, |c| waiting_statement().load(c).await)?;
    Ok(rows.into_iter().map(|(kind, due)| (kind, Micros(due))).collect())
}

pub(crate) fn waiting_statement() -> Statement<(Text, BigInt)> {
    Statement::new(
        // In the order of the index, so that it is taken.
        "SELECT kind, claim_at FROM job WHERE claim_at IS NOT NULL AND held_by IS NULL AND suspect >= 2 \
         ORDER BY kind, claim_at LIMIT 1000",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_is_blamed_on_the_lane_of_a_known_suspect_and_on_lower_ones() {
        assert_eq!(after_crash(0, Some(2), None), 1);
        assert_eq!(after_crash(1, Some(0), None), 2);
        assert_eq!(after_crash(2, Some(3), Some(3)), 3);
        assert_eq!(after_crash(1, Some(4), Some(3)), 2);
        assert_eq!(after_crash(1, Some(0), Some(3)), 1);
        assert_eq!(after_crash(0, None, Some(3)), 1);
    }

    #[test]
    fn a_suspect_waits_until_its_lane_is_empty_and_then_has_it_alone() {
        assert_eq!(room(8, 3, false, false), Room::Jobs(5));
        assert_eq!(room(8, 3, false, true), Room::Jobs(0));
        assert_eq!(room(8, 0, false, true), Room::Suspect);
        assert_eq!(room(8, 1, true, true), Room::Jobs(0));
        assert_eq!(room(8, 1, true, false), Room::Jobs(0));
    }
}
