//! A database that came back from a backup: what is held until what happened since is known.
//!
//! Two things are lost with the time between the backup and now. Vouchers that an agent accepted: a close below a lost one is
//! final, so channels stay open until their clients have paid again, or for [`GRACE`]. And the knowledge of what was sent: an
//! order that was waiting in the backup may have been carried out since, so what would move money a second time is cancelled,
//! for the operator to repeat.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use privatix_chain::{Freshness, MonitorState, TxFilter, TxRecord, TxStatus};
use privatix_db::Conn;
use privatix_jobs::{Filter, Job, JobStatus};
use privatix_store::recovery::{self, Recovery};

use crate::transfers::{Deposit, Withdraw};
use crate::{Node, NodeError, Role, after};

/// For how long channels are not ended after the chain was caught up with.
pub const GRACE: Duration = Duration::from_hours(24);
/// How often a wait looks whether the operator has ended the recovery, or the clock was set.
const LOOK: Duration = Duration::from_mins(10);

/// After an error.
const PAUSE: Duration = Duration::from_secs(5);

/// The kinds of jobs that [`NodeError::Held`] puts off: an agent's closes and a client's close requests.
const PUT_OFF: [&str; 2] = ["close_channel", "request_close"];

/// The part of the health page that shows a recovery.
const PART: &str = "recovery";

/// How far a recovery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryPhase {
    /// The chain has not been caught up with: no job runs, no service is resumed.
    CatchingUp,
    /// Services run; channels that have not been paid on since the restore stay open.
    Grace {
        /// When it ends.
        until: SystemTime,
    },
    /// Nothing is held any more.
    Over,
}

/// How far a recovery is `now`.
pub fn phase(recovery: &Recovery, now: SystemTime) -> RecoveryPhase {
    match recovery.caught_up_at {
        None => RecoveryPhase::CatchingUp,
        Some(at) => {
            // While the noted time lies ahead, by a clock that was wrong, the grace has not begun.
            let until = after(at.min(now), GRACE);
            if at <= now && until <= now { RecoveryPhase::Over } else { RecoveryPhase::Grace { until } }
        }
    }
}

/// Until when a channel must not be ended by us, for better vouchers may have been lost. `newest_voucher` is when the best
/// known one was stored.
pub fn held_until(
    recovery: Option<&Recovery>,
    newest_voucher: Option<SystemTime>,
    now: SystemTime,
) -> Option<SystemTime> {
    let recovery = recovery?;
    if newest_voucher.is_some_and(|at| at > recovery.backed_up_at && at <= now) {
        return None; // vouchers are cumulative: one that came since is worth all before it
    }
    match phase(recovery, now) {
        RecoveryPhase::CatchingUp => Some(after(now, GRACE)),
        RecoveryPhase::Grace { until } => Some(until),
        RecoveryPhase::Over => None,
    }
}

impl Node {
    /// The recovery, as it is stored, while there is one.
    pub fn recovery(&self) -> Option<Recovery> {
        *self.recovery.borrow()
    }

    /// Until when we must not end a channel whose best voucher was stored at this time.
    pub fn held_until(&self, newest_voucher: Option<SystemTime>) -> Option<SystemTime> {
        held_until(self.recovery().as_ref(), newest_voucher, SystemTime::now())
    }

    /// Ends the recovery before its time, by the operator's order. Returns whether there was one.
    ///
    /// # Errors
    /// [`NodeError::Refused`] until the chain was caught up with.
    pub async fn end_recovery(&self) -> Result<bool, NodeError> {
        match self.recovery().map(|recovery| phase(&recovery, SystemTime::now())) {
            None => return Ok(false),
            Some(RecoveryPhase::CatchingUp) => {
                return Err(NodeError::Refused(
                    "the chain has not been caught up with since the restore; wait, or mend what `health` names"
                        .into(),
                ));
            }
            Some(_) => {}
        }
        let mut tx = self.db.begin().await?;
        let ended = recovery::end(&mut tx).await?;
        start_held_jobs(&mut tx).await?;
        tx.commit().await?;
        self.recovery.send_replace(None);
        self.notices().set(PART, None);
        self.wake();
        tracing::info!("the recovery is over");
        Ok(ended)
    }

    /// Cancels what may have been carried out since the backup, and lets the role answer what cannot wait. Repeating it finds
    /// nothing more to do.
    pub(crate) async fn begin_recovery<R: Role>(&self, role: &R) -> Result<(), NodeError> {
        let Some(recovery) = self.recovery() else { return Ok(()) };
        let mut tx = self.db.begin().await?;
        let jobs = self.cancel_uncertain_jobs(&mut tx, role, recovery.backed_up_at).await?;
        let transactions = self.cancel_transactions(&mut tx, recovery.backed_up_at).await?;
        role.on_restored(&mut tx).await?;
        tx.commit().await?;
        tracing::warn!(
            backed_up_at = %humantime::format_rfc3339_seconds(recovery.backed_up_at),
            jobs,
            transactions,
            "this database came back from a backup; what happened since is unknown to it"
        );
        self.show(&recovery);
        Ok(())
    }

    async fn cancel_uncertain_jobs<R: Role>(
        &self,
        conn: &mut Conn,
        role: &R,
        backed_up_at: SystemTime,
    ) -> Result<usize, NodeError> {
        let mut cancelled = 0_usize;
        for kind in [Deposit::KIND, Withdraw::KIND].iter().chain(role.not_to_be_repeated()) {
            for status in [JobStatus::Waiting, JobStatus::Running] {
                let mut filter = Filter::new().kind(*kind).status(status);
                loop {
                    let page = privatix_jobs::list(conn, &filter).await?;
                    for job in page.jobs.iter().filter(|job| job.created_at <= backed_up_at) {
                        privatix_jobs::cancel(conn, job.id).await?;
                        cancelled = cancelled.saturating_add(1);
                    }
                    let Some(next) = page.next else { break };
                    filter = filter.before(next);
                }
            }
        }
        Ok(cancelled)
    }

    /// Also those that were signed: they may have been sent since at another price or nonce, and a close among them would be
    /// final below lost vouchers. One that was mined is still reported as mined.
    async fn cancel_transactions(
        &self,
        conn: &mut Conn,
        backed_up_at: SystemTime,
    ) -> Result<usize, NodeError> {
        let transactor = self.transactor()?;
        let mut cancelled = 0_usize;
        for status in [TxStatus::Unsent, TxStatus::Sent] {
            let mut filter = TxFilter { status: Some(status), ..TxFilter::default() };
            loop {
                let found = transactor.list(conn, &filter).await?;
                let Some(last) = found.last() else { break };
                filter.before = Some(last.id);
                let uncertain = |record: &&TxRecord| {
                    record.created_at <= backed_up_at && record.inclusion.is_none() && !record.filler
                };
                for record in found.iter().filter(uncertain) {
                    transactor.cancel(conn, record.id).await?;
                    cancelled = cancelled.saturating_add(1);
                }
            }
        }
        Ok(cancelled)
    }

    /// [`catch_up`](Self::catch_up), again after errors of the database, which pass.
    pub(crate) async fn caught_up(&self) -> Result<(), NodeError> {
        loop {
            match self.catch_up().await {
                Err(error) if !matches!(error, NodeError::NotRunning) => {
                    tracing::error!(%error, "the recovery cannot be noted; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
                ended => return ended,
            }
        }
    }

    /// Waits until all that the chain had confirmed is stored, and notes it. Returns at once where there is no recovery.
    async fn catch_up(&self) -> Result<(), NodeError> {
        let Some(mut recovery) = self.recovery() else { return Ok(()) };
        if recovery.caught_up_at.is_some() {
            return Ok(());
        }
        let mut monitor = {
            let engine = self.engine.read();
            engine.as_ref().ok_or(NodeError::NotRunning)?.monitor.clone()
        };
        let ended = |_| NodeError::NotRunning;
        loop {
            monitor.wait_for(|status| status.state == MonitorState::Following).await.map_err(ended)?;
            // An endpoint that is itself behind has nothing new to show.
            if self.head_age().is_some_and(|age| age.freshness == Freshness::Fresh) {
                break;
            }
            let _ = tokio::time::timeout(PAUSE, monitor.changed()).await; // looked at again in any case
        }
        let now = SystemTime::now();
        let mut tx = self.db.begin().await?;
        recovery::caught_up(&mut tx, now).await?;
        tx.commit().await?;
        recovery.caught_up_at = Some(now);
        self.recovery.send_replace(Some(recovery));
        self.show(&recovery);
        tracing::info!(
            "the chain was caught up with since the restore; channels stay open until they are paid on"
        );
        Ok(())
    }

    /// Ends the recovery when its time is over. Never returns before.
    pub(crate) async fn wait_for_end_of_recovery(self: &Arc<Self>) -> Result<(), NodeError> {
        let mut seen = self.recovery.subscribe();
        loop {
            let Some(recovery) = *seen.borrow_and_update() else { return Ok(()) };
            let now = SystemTime::now();
            let pause: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = match phase(&recovery, now) {
                RecoveryPhase::Over => match self.end_recovery().await {
                    Ok(_) => return Ok(()),
                    Err(error) => {
                        tracing::error!(%error, "the end of the recovery cannot be noted; trying again");
                        Box::pin(tokio::time::sleep(PAUSE))
                    }
                },
                RecoveryPhase::CatchingUp => Box::pin(std::future::pending()),
                RecoveryPhase::Grace { until } => {
                    let left = until.duration_since(now).unwrap_or_default().min(LOOK);
                    Box::pin(tokio::time::sleep(left))
                }
            };
            tokio::select! {
                changed = seen.changed() => if changed.is_err() { return Ok(()) },
                () = pause => {}
            }
        }
    }

    /// For the operator, on the health page.
    fn show(&self, recovery: &Recovery) {
        let at = humantime::format_rfc3339_seconds(recovery.backed_up_at);
        let message = match phase(recovery, SystemTime::now()) {
            RecoveryPhase::CatchingUp => format!(
                "this database is a copy of {at}; no job runs and no service is resumed until the chain was caught up with"
            ),
            RecoveryPhase::Grace { until } => format!(
                "this database is a copy of {at}; channels that were not paid on since stay open until {}, or until `recovery end`",
                humantime::format_rfc3339_seconds(until)
            ),
            RecoveryPhase::Over => return self.notices().set(PART, None),
        };
        self.notices().set(PART, Some(message));
    }
}

/// Lets the jobs start that were put off, each in its old place among those of its channel.
async fn start_held_jobs(conn: &mut Conn) -> Result<(), NodeError> {
    let now = SystemTime::now();
    for kind in PUT_OFF {
        let mut filter = Filter::new().kind(kind).status(JobStatus::Waiting);
        loop {
            let page = privatix_jobs::list(conn, &filter).await?;
            for job in page.jobs.iter().filter(|job| job.not_before > now) {
                privatix_jobs::cancel(conn, job.id).await?;
                privatix_jobs::reactivate(conn, job.id).await?;
            }
            let Some(next) = page.next else { break };
            filter = filter.before(next);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(1_000 + hours)
    }

    #[test]
    fn a_channel_is_held_until_it_is_paid_on_or_the_grace_is_over() {
        let catching_up = Recovery { backed_up_at: at(0), caught_up_at: None };
        let caught_up = Recovery { backed_up_at: at(0), caught_up_at: Some(at(10)) };
        for (case, recovery, voucher, now, expected) in [
            ("no recovery", None, None, at(5), None),
            ("no voucher", Some(&catching_up), None, at(5), Some(at(29))),
            ("a voucher from before", Some(&catching_up), Some(at(0)), at(5), Some(at(29))),
            ("a voucher since", Some(&catching_up), Some(at(1)), at(5), None),
            ("in the grace", Some(&caught_up), Some(at(0)), at(11), Some(at(34))),
            ("in the grace, paid", Some(&caught_up), Some(at(11)), at(11), None),
            ("at its end", Some(&caught_up), None, at(34), None),
            ("the clock went back", Some(&caught_up), None, at(9), Some(at(33))),
            (
                "a voucher of the future, by a clock that was wrong",
                Some(&caught_up),
                Some(at(99)),
                at(11),
                Some(at(34)),
            ),
        ] {
            assert_eq!(held_until(recovery, voucher, now), expected, "{case}");
        }
    }

    #[test]
    fn a_recovery_catches_up_and_ends_after_its_grace() {
        let recovery = |caught_up_at| Recovery { backed_up_at: at(0), caught_up_at };
        assert_eq!(phase(&recovery(None), at(5_000)), RecoveryPhase::CatchingUp);
        assert_eq!(phase(&recovery(Some(at(1))), at(2)), RecoveryPhase::Grace { until: at(25) });
        assert_eq!(phase(&recovery(Some(at(1))), at(25)), RecoveryPhase::Over);
        // While the noted time lies ahead, by a clock that was wrong, the grace has not begun.
        assert_eq!(phase(&recovery(Some(at(900))), at(2)), RecoveryPhase::Grace { until: at(26) });
    }
}
