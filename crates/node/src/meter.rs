//! Usage: reports are stored, and decided about in the same transaction. Nothing is ever scanned.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use privatix_adapter::{SessionReport, UsageReports};
use privatix_billing::Scheduler;
use privatix_channel::ChannelId;
use privatix_db::Database;
use privatix_market::{Input, Party};
use privatix_store::{meters, sessions};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{Decider, NodeError, PeerAddresses, after};

const RETRY: Duration = Duration::from_secs(1);
/// The pause before a question that will hardly be answered better.
const RETRY_LATER: Duration = Duration::from_secs(30);

/// Channels whose use or totals changed otherwise than by a report. Cheap to clone; never blocks.
#[derive(Clone, Default)]
pub struct Marks(Arc<Inner>);

#[derive(Default)]
struct Inner {
    scheduler: Mutex<Scheduler<ChannelId>>,
    /// Marked since the last look at what all channels come to.
    for_tally: Mutex<HashSet<ChannelId>>,
    changed: Notify,
}

impl Marks {
    /// Marks a channel whose use and totals may have changed: its use is decided about again.
    pub fn mark(&self, channel: ChannelId) {
        self.mark_totals(channel);
        self.0.scheduler.lock().mark(channel);
        self.0.changed.notify_one();
    }

    /// Marks a channel whose totals have changed: its use is not decided about again.
    pub fn mark_totals(&self, channel: ChannelId) {
        self.0.for_tally.lock().insert(channel);
    }

    /// The channels that were marked in either way since the last call.
    pub(crate) fn take_changed(&self) -> HashSet<ChannelId> {
        std::mem::take(&mut self.0.for_tally.lock())
    }

    /// Puts back channels that could not be read.
    pub(crate) fn give_back(&self, channels: impl IntoIterator<Item = ChannelId>) {
        self.0.for_tally.lock().extend(channels);
    }
}

impl std::fmt::Debug for Marks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Marks").finish_non_exhaustive()
    }
}

/// Runs until shutdown, then stores what was reported last: shut the adapter down before, so that its sessions have ended.
pub(crate) async fn run<P: Party>(
    log: &UsageLog<'_, P>,
    marks: &Marks,
    mut reports: UsageReports,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    let mut reporting = true;
    loop {
        let sleep =
            marks.0.scheduler.lock().next_deadline().map(|at| {
                at.duration_since(SystemTime::now()).unwrap_or_default().max(Duration::from_millis(1))
            });
        tokio::select! {
            batch = reports.recv(), if reporting => match batch {
                Some(batch) => store_reports(log, marks, &mut reports, batch).await,
                None => reporting = false, // the adapter reports nothing more; deadlines and ends go on
            },
            () = marks.0.changed.notified() => {}
            () = tokio::time::sleep(sleep.unwrap_or(Duration::MAX)), if sleep.is_some() => {}
            () = shutdown.cancelled() => break,
        }
        let now = SystemTime::now();
        let due = marks.0.scheduler.lock().pop_due(now);
        for channel in due {
            let next = match log.assess(channel).await {
                Ok(()) => None, // it is looked at when its time comes
                Err(error) => {
                    tracing::warn!(%channel, %error, "cannot assess the channel yet");
                    Some(after(now, if error.is_temporary() { RETRY } else { RETRY_LATER }))
                }
            };
            marks.0.scheduler.lock().set_deadline(channel, next);
        }
    }
    let last = reports.take();
    log.store(&last).await?;
    Ok(())
}

/// A batch that cannot be stored is given back, to be merged with what comes later: totals make that harmless.
async fn store_reports<P: Party>(
    log: &UsageLog<'_, P>,
    marks: &Marks,
    reports: &mut UsageReports,
    batch: Vec<SessionReport>,
) {
    match log.store(&batch).await {
        Ok(()) => {
            for report in &batch {
                marks.mark_totals(report.channel); // it was decided with the report
            }
        }
        Err(error) => {
            tracing::error!(%error, "cannot store usage; trying again");
            reports.give_back(batch);
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Where usage is stored.
pub(crate) struct UsageLog<'a, P: Party> {
    pub(crate) db: &'a Database,
    /// Who decides about the channels.
    pub(crate) decider: &'a Decider<P>,
    pub(crate) peer_addresses: PeerAddresses,
}

impl<P: Party> UsageLog<'_, P> {
    /// Decides about the use of a channel that changed otherwise than by a report.
    async fn assess(&self, channel: ChannelId) -> Result<(), NodeError> {
        if !self.decider.decides(channel).await? {
            return Ok(()); // nothing can be decided about it
        }
        let (used, running) = {
            let mut conn = self.db.read().await?;
            (meters::used(&mut conn, channel).await?.0, sessions::is_running(&mut conn, channel).await?)
        };
        let _ = self.decider.decide(channel, Input::Used { used, running }).await?; // what follows is done
        Ok(())
    }

    async fn store(&self, batch: &[SessionReport]) -> Result<(), NodeError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        let inputs = self.decider.inputs();
        let channels = batch.iter().map(|report| report.channel).collect();
        let before = inputs.before(&mut tx, &channels).await?;
        for report in batch {
            let peer = match self.peer_addresses {
                PeerAddresses::Dropped => None,
                PeerAddresses::Kept => report.peer.map(|peer| peer.to_string()),
            };
            let stored = sessions::Report {
                session: report.session.0,
                channel: report.channel,
                used: report.total,
                peer,
                started_at: report.started_at,
                last_usage: report.last_usage,
                stopped_at: report.ended_at,
            };
            if !sessions::record(&mut tx, &stored).await? {
                tracing::warn!(channel = %report.channel, "usage of a channel that is not ours ignored");
            }
        }
        let decided = inputs.used(&mut tx, before).await?;
        tx.commit().await?;
        self.decider.all_committed(decided);
        Ok(())
    }
}
