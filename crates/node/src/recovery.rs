//! A database that came back from a backup: what is held until what happened since is known.
//!
//! Two things are lost with the time between the backup and now. Vouchers that an agent accepted: a close below a lost one is
//! final, so channels stay open until their clients have paid again, or for [`GRACE`]. And the knowledge of what was sent: an
//! order that was waiting in the backup may have been carried out since, so what would move money a second time is cancelled,
//! for the operator to repeat.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use privatix_chain::{Cancelling, Freshness, MonitorState, TxRecord, TxStatus};
use privatix_channel::ChannelId;
use privatix_db::Conn;
use privatix_jobs::{Filter, Job, JobStatus};
use privatix_market::offering::OfferingPurpose;
use privatix_market::{AfterRestore, Input, Party, Subject};
use privatix_store::purposes::{self, Damaged, Recorded, TxNumber};
use privatix_store::recovery::{self, Recovery};
use tokio::time::Instant;

use crate::shell::NotApplied;
use crate::transfers::{Deposit, Withdraw};
use crate::{Node, NodeError, Part, RoleRules, after};

/// For how long channels are not ended after the chain was caught up with.
pub const GRACE: Duration = Duration::from_hours(24);
/// How often a wait looks whether the operator has ended the recovery, or a clock was set.
const LOOK: Duration = Duration::from_mins(10);
/// How far the newest block's time may lag behind the true time on a healthy chain.
const BETWEEN_BLOCKS: Duration = Duration::from_mins(5);

/// After an error.
const PAUSE: Duration = Duration::from_secs(5);

/// The part of the health page that shows a recovery.
const PART: Part = Part::Recovery;

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

/// What a grace is judged by. This machine's clock can be wrong in either direction, and so can the newest block's time,
/// which an endpoint claims: neither of them alone ends a grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// By this machine's clock.
    pub now: SystemTime,
    /// The newest block's own time, once one was seen.
    pub newest_block: Option<SystemTime>,
}

impl Times {
    /// The later of the two clocks: not before the true time, unless both lag.
    fn latest(self) -> SystemTime {
        self.newest_block.map_or(self.now, |block| block.max(self.now))
    }

    /// The earlier of the two clocks: not after the true time, unless both are ahead. `None` until a block was seen.
    fn earliest(self) -> Option<SystemTime> {
        self.newest_block.map(|block| self.now.min(after(block, BETWEEN_BLOCKS)))
    }
}

/// How far a recovery is.
pub fn phase(recovery: &Recovery, times: Times) -> RecoveryPhase {
    let Some(noted) = recovery.caught_up_at else { return RecoveryPhase::CatchingUp };
    let until = after(corrected(noted, times), GRACE);
    if times.earliest().is_some_and(|now| now >= until) {
        RecoveryPhase::Over
    } else {
        RecoveryPhase::Grace { until }
    }
}

/// For how long this process was in the grace, by the monotonic clock: it may end a grace that a wall clock which was set back would make
/// longer by as much.
#[derive(Clone, Copy, Debug, Default)]
struct InGrace {
    since: Option<Instant>,
}

impl InGrace {
    /// How far a recovery is, if the clocks show this phase of it.
    fn bound(&mut self, phase: RecoveryPhase, now: Instant) -> RecoveryPhase {
        let RecoveryPhase::Grace { .. } = phase else {
            self.since = None;
            return phase;
        };
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= GRACE { RecoveryPhase::Over } else { phase }
    }
}

/// When the chain was caught up with. A `noted` time in the future came from a clock that was ahead, and would keep channels
/// open for that much longer: the later of the two present clocks replaces it.
fn corrected(noted: SystemTime, times: Times) -> SystemTime {
    if times.newest_block.is_some() { noted.min(times.latest()) } else { noted }
}

/// Until when a channel must not be ended by us, for better vouchers may have been lost. `newest_voucher` is when the best
/// known one was stored.
pub fn open_until(
    recovery: Option<&Recovery>,
    newest_voucher: Option<SystemTime>,
    times: Times,
) -> Option<SystemTime> {
    let recovery = recovery?;
    if newest_voucher.is_some_and(|at| at > recovery.backed_up_at && at <= times.now) {
        return None; // vouchers are cumulative: one that came since is worth all before it
    }
    match phase(recovery, times) {
        RecoveryPhase::CatchingUp => Some(after(times.now, GRACE)),
        RecoveryPhase::Grace { until } => Some(until),
        RecoveryPhase::Over => None,
    }
}

impl Node {
    /// The recovery, as it is stored, while there is one.
    pub fn recovery(&self) -> Option<Recovery> {
        *self.recovery.borrow()
    }

    /// How far the recovery is, while there is one.
    pub fn recovery_phase(&self) -> Option<RecoveryPhase> {
        self.recovery().map(|recovery| phase(&recovery, self.times()))
    }

    /// Until when we must not end a channel whose best voucher was stored at this time.
    pub fn open_until(&self, newest_voucher: Option<SystemTime>) -> Option<SystemTime> {
        open_until(self.recovery().as_ref(), newest_voucher, self.times())
    }

    /// Whether the operator has cancelled a transaction: then what it was for is not tried again.
    pub fn is_withdrawn(&self, record: &TxRecord) -> bool {
        is_withdrawn(record.status, record.created_at, self.recovery().as_ref())
    }

    fn times(&self) -> Times {
        let newest = self.monitor().and_then(|status| status.newest);
        Times { now: SystemTime::now(), newest_block: newest.map(|head| head.time) }
    }

    /// Ends the recovery before its time, by the operator's order. Returns whether there was one.
    ///
    /// # Errors
    /// [`NodeError::Refused`] until the chain was caught up with.
    pub async fn end_recovery(&self) -> Result<bool, NodeError> {
        match self.recovery_phase() {
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
        tx.commit().await?;
        self.recovery.send_replace(None);
        self.notices().set(PART, None);
        self.wake();
        tracing::info!("the recovery is over");
        Ok(ended)
    }

    /// Cancels what may have been carried out since the backup. Repeating it finds nothing more to do.
    pub(crate) async fn begin_recovery<R: RoleRules>(&self, role: &R) -> Result<(), NodeError> {
        let Some(recovery) = self.recovery() else { return Ok(()) };
        let mut tx = self.db.begin().await?;
        let jobs = self.cancel_uncertain_jobs(&mut tx, role, recovery.backed_up_at).await?;
        let (cancelled, decided) = self.cancel_transactions(&mut tx, role, recovery.backed_up_at).await?;
        tx.commit().await?;
        let mut transactions = cancelled.len();
        for cancelled in cancelled {
            cancelled.committed();
        }
        for channel in decided {
            // It must be kept open, so a look cancels what would close it, and what may have been done since and is not to be repeated.
            let looked = role.decider().decide(channel, Input::Look).await?;
            transactions = transactions.saturating_add(usize::from(looked.wakes_transactor));
        }
        tracing::warn!(
            backed_up_at = %humantime::format_rfc3339_seconds(recovery.backed_up_at),
            jobs,
            transactions,
            "this database came back from a backup; what happened since is unknown to it"
        );
        self.show(&recovery);
        Ok(())
    }

    async fn cancel_uncertain_jobs<R: RoleRules>(
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

    /// Cancels the transactions from before the backup that were not mined, except those that
    /// [`after_restore`](privatix_market::Purpose::after_restore) repeats. Signed ones are cancelled, too: they may have been sent
    /// since at another price or nonce, and a close among them would be final below lost vouchers. One that was mined is still
    /// reported as mined. A cancelled close is ordered again once channels may be closed; of everything else the user sees that
    /// it was not done.
    ///
    /// Those that a decider made are left to it: it would take a cancellation for the operator's, and it knows the orders for which
    /// there is no transaction yet. Their channels are returned, to be looked at; the role informs its own offerings of the recovery.
    async fn cancel_transactions<R: RoleRules>(
        &self,
        conn: &mut Conn,
        role: &R,
        backed_up_at: SystemTime,
    ) -> Result<(Vec<Cancelling>, BTreeSet<ChannelId>), NodeError> {
        let transactor = self.transactor()?;
        let (mut cancelled, mut decided) = (Vec::new(), BTreeSet::new());
        let open = transactor.open_intents(conn).await?;
        let uncertain = |record: &&TxRecord| {
            // Fillers and rescues end with the intents that they are for.
            record.created_at <= backed_up_at && record.inclusion.is_none() && !record.is_internal()
        };
        for record in open.iter().filter(uncertain) {
            if is_repeated(conn, record).await? {
                continue;
            }
            if !is_decided(conn, role, record, &mut decided).await? {
                cancelled.push(transactor.cancel(conn, record.id).await?);
            }
        }
        Ok((cancelled, decided))
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
            // One whose clock differs is `Late`, and has shown all that it has nevertheless.
            if self
                .chain_view()
                .is_some_and(|view| matches!(view.freshness, Freshness::Fresh | Freshness::Late))
            {
                break;
            }
            let _ = tokio::time::timeout(PAUSE, monitor.changed()).await; // looked at again in any case
        }
        let at = self.times().latest();
        let mut tx = self.db.begin().await?;
        recovery::caught_up(&mut tx, at).await?;
        tx.commit().await?;
        recovery.caught_up_at = Some(at);
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
        let mut in_grace = InGrace::default();
        loop {
            let Some(recovery) = *seen.borrow_and_update() else { return Ok(()) };
            let times = self.times();
            let pause = match in_grace.bound(phase(&recovery, times), Instant::now()) {
                RecoveryPhase::Over => match self.end_recovery().await {
                    Ok(_) => return Ok(()),
                    Err(error) => {
                        tracing::error!(%error, "the end of the recovery cannot be noted; trying again");
                        Some(PAUSE)
                    }
                },
                RecoveryPhase::CatchingUp => None,
                RecoveryPhase::Grace { until } => {
                    if let Err(error) = self.correct(recovery, times).await {
                        tracing::error!(%error, "the time of the recovery cannot be corrected; trying again");
                    }
                    // The newest block's time lags behind the clock.
                    Some(until.duration_since(times.now).unwrap_or_default().clamp(PAUSE, LOOK))
                }
            };
            let paused = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = seen.changed() => if changed.is_err() { return Ok(()) },
                () = paused => {}
            }
        }
    }

    /// Notes a time that has come in place of one that was noted by a clock that was ahead.
    async fn correct(&self, recovery: Recovery, times: Times) -> Result<(), NodeError> {
        let Some(noted) = recovery.caught_up_at else { return Ok(()) };
        let at = corrected(noted, times);
        if at == noted {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        recovery::correct(&mut tx, at).await?;
        tx.commit().await?;
        let recovery = Recovery { caught_up_at: Some(at), ..recovery };
        self.recovery.send_replace(Some(recovery));
        self.show(&recovery);
        tracing::warn!(
            "a clock was ahead when the chain was caught up with; the grace of the recovery runs from now on"
        );
        Ok(())
    }

    /// For the operator, on the health page.
    fn show(&self, recovery: &Recovery) {
        let at = humantime::format_rfc3339_seconds(recovery.backed_up_at);
        let message = match phase(recovery, self.times()) {
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

/// Whether a transaction from before a backup is sent as if there had been none.
async fn is_repeated(conn: &mut Conn, record: &TxRecord) -> Result<bool, NodeError> {
    let recorded = purposes::of_tx(conn, TxNumber(record.id.0)).await?;
    let is_repeated = |recorded: &Result<Recorded, Damaged>| match recorded {
        Ok(recorded) if recorded.in_batch => false, // a channel of it may be worth more than is known
        Ok(recorded) => match recorded.purpose.after_restore() {
            AfterRestore::Repeat => true,
            AfterRestore::Hold | AfterRestore::Drop | AfterRestore::AskUser => false,
        },
        Err(Damaged { error, .. }) => {
            tracing::error!(tx = record.id.0, %error, "what a transaction from before the backup is for cannot be read");
            false
        }
    };
    Ok(!recorded.is_empty() && recorded.iter().all(is_repeated))
}

/// Whether a transaction is one of the decisions about channels and own offerings whose states can be read; adds these channels.
async fn is_decided<R: RoleRules>(
    conn: &mut Conn,
    role: &R,
    record: &TxRecord,
    channels: &mut BTreeSet<ChannelId>,
) -> Result<bool, NodeError> {
    let (mut about, mut is_decided) = (BTreeSet::new(), false);
    for recorded in purposes::of_tx(conn, TxNumber(record.id.0)).await? {
        let Ok(Recorded { effect, purpose, .. }) = recorded else { return Ok(false) };
        is_decided = match (effect.subject, role.own_offerings()) {
            (Subject::Channel(channel), _) if <R::Side as Party>::purpose(purpose).is_some() => {
                about.insert(channel);
                match role.decider().load(conn, channel).await {
                    Ok(_) => true,
                    Err(error) if error.is_damage() || matches!(error, NotApplied::NoState(_)) => false,
                    Err(error) => return Err(error.into()),
                }
            }
            (Subject::Offering(agent, offering), Some(offerings))
                if OfferingPurpose::of(purpose).is_some() =>
            {
                offerings.decides(conn, (agent, offering)).await?
            }
            _ => false,
        };
        if !is_decided {
            return Ok(false);
        }
    }
    channels.append(&mut about);
    Ok(is_decided)
}

/// Whether the operator has cancelled a transaction. A recovery cancels those from before the backup, whose purpose remains.
fn is_withdrawn(status: TxStatus, created_at: SystemTime, recovery: Option<&Recovery>) -> bool {
    let by_recovery = recovery.is_some_and(|recovery| created_at <= recovery.backed_up_at);
    status == TxStatus::Cancelled && !by_recovery
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(1_000 + hours)
    }

    fn both(hours: u64) -> Times {
        Times { now: at(hours), newest_block: Some(at(hours)) }
    }

    #[test]
    fn a_channel_is_open_until_it_is_paid_on_or_the_grace_is_over() {
        let catching_up = Recovery { backed_up_at: at(0), caught_up_at: None };
        let caught_up = Recovery { backed_up_at: at(0), caught_up_at: Some(at(10)) };
        for (case, recovery, voucher, now, expected) in [
            ("no recovery", None, None, 5, None),
            ("no voucher", Some(&catching_up), None, 5, Some(at(29))),
            ("a voucher from before", Some(&catching_up), Some(at(0)), 5, Some(at(29))),
            ("a voucher since", Some(&catching_up), Some(at(1)), 5, None),
            ("in the grace", Some(&caught_up), Some(at(0)), 11, Some(at(34))),
            ("in the grace, paid", Some(&caught_up), Some(at(11)), 11, None),
            ("at its end", Some(&caught_up), None, 34, None),
            (
                "a voucher of the future, by a clock that was wrong",
                Some(&caught_up),
                Some(at(99)),
                11,
                Some(at(34)),
            ),
        ] {
            assert_eq!(open_until(recovery, voucher, both(now)), expected, "{case}");
        }
    }

    #[test]
    fn a_recovery_catches_up_and_ends_after_its_grace() {
        let recovery = |caught_up_at| Recovery { backed_up_at: at(0), caught_up_at };
        assert_eq!(phase(&recovery(None), both(5_000)), RecoveryPhase::CatchingUp);
        assert_eq!(phase(&recovery(Some(at(1))), both(2)), RecoveryPhase::Grace { until: at(25) });
        assert_eq!(phase(&recovery(Some(at(1))), both(25)), RecoveryPhase::Over);
    }

    #[test]
    fn neither_clock_ends_a_grace_alone_nor_makes_it_longer_than_a_day() {
        let recovery = Recovery { backed_up_at: at(0), caught_up_at: Some(at(10)) };
        let grace = RecoveryPhase::Grace { until: at(34) };
        let times =
            |now, newest_block: Option<u64>| Times { now: at(now), newest_block: newest_block.map(at) };
        for (case, times, expected) in [
            ("the clock jumps two days ahead", times(60, Some(12)), grace),
            ("the endpoint claims a block of tomorrow", times(12, Some(60)), grace),
            ("no block was seen since the start", times(60, None), grace),
            ("the clock went back", times(2, Some(12)), grace),
            ("both are past it", times(34, Some(34)), RecoveryPhase::Over),
        ] {
            assert_eq!(phase(&recovery, times), expected, "{case}");
        }
        // Noted by a clock that was a year ahead: written again once, and over a day after that.
        let (noted, now) = (at(9_000), both(12));
        assert_eq!(corrected(noted, now), at(12));
        assert_eq!(
            corrected(noted, Times { newest_block: None, ..now }),
            noted,
            "one clock alone proves nothing"
        );
        assert_eq!(corrected(at(12), both(30)), at(12));
        // Noted while the clock was behind: by the chain's time.
        assert_eq!(Times { now: at(0), newest_block: Some(at(10)) }.latest(), at(10));
    }

    #[test]
    fn a_grace_ends_after_a_day_of_this_process_whatever_the_clocks_show() {
        use RecoveryPhase::{CatchingUp, Over};
        let recovery = Recovery { backed_up_at: at(8_999), caught_up_at: Some(at(9_000)) };
        // The machine's clock was set back by a year after that.
        let back = Times { now: at(240), newest_block: Some(at(9_100)) };
        let grace = phase(&recovery, back);
        assert_eq!(grace, RecoveryPhase::Grace { until: at(9_024) });
        let (mut in_grace, start) = (InGrace::default(), Instant::now());
        for (hours, shown, expected) in [
            (0, CatchingUp, CatchingUp),
            (30, CatchingUp, CatchingUp),
            (31, grace, grace),
            (54, grace, grace),
            (55, grace, Over),
            (56, grace, Over),
            (57, CatchingUp, CatchingUp), // another recovery
            (58, grace, grace),
            (59, Over, Over),
        ] {
            let now = start + Duration::from_hours(hours);
            assert_eq!(in_grace.bound(shown, now), expected, "after {hours} h");
        }
    }

    #[test]
    fn only_what_the_operator_has_cancelled_is_withdrawn() {
        let recovery = Recovery { backed_up_at: at(5), caught_up_at: None };
        for (status, created, recovery, expected) in [
            (TxStatus::Cancelled, 9, None, true),
            (TxStatus::Cancelled, 9, Some(&recovery), true),
            (TxStatus::Cancelled, 5, Some(&recovery), false),
            (TxStatus::Failed, 9, None, false),
        ] {
            assert_eq!(is_withdrawn(status, at(created), recovery), expected, "{status} at {created}");
        }
    }
}
