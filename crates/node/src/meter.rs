//! The loop from usage to decisions: reports are stored, and billing is asked about the channels that changed or whose
//! deadline came. Nothing is ever scanned.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use privatix_adapter::{SessionReport, UsageReports};
use privatix_billing::Scheduler;
use privatix_channel::ChannelId;
use privatix_db::Database;
use privatix_market::Party;
use privatix_store::sessions;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{Decider, NodeError, PeerAddresses, after};

const RETRY: Duration = Duration::from_secs(1);
/// The pause before a question that will hardly be answered better.
const RETRY_LATER: Duration = Duration::from_secs(30);

/// Marks channels for the next look of billing. Cheap to clone; never blocks.
#[derive(Clone, Default)]
pub struct Marks(Arc<Inner>);

#[derive(Default)]
struct Inner {
    scheduler: Mutex<Scheduler<ChannelId>>,
    /// Marked since the last look at what all channels come to.
    for_tally: Mutex<HashSet<ChannelId>>,
    changed: Notify,
    /// Who waits until everything reported so far is stored.
    flushes: Mutex<Vec<oneshot::Sender<()>>>,
}

impl Marks {
    /// Something about the channel changed.
    pub fn mark(&self, channel: ChannelId) {
        self.mark_totals(channel);
        self.0.scheduler.lock().mark(channel);
        self.0.changed.notify_one();
    }

    /// Marks a channel whose totals have changed, and whose billing has not.
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

    /// Waits until the usage reported so far is stored. False when the meter does not run (any more).
    pub(crate) async fn flush(&self) -> bool {
        let (done, flushed) = oneshot::channel();
        self.0.flushes.lock().push(done);
        self.0.changed.notify_one();
        flushed.await.is_ok()
    }
}

impl std::fmt::Debug for Marks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Marks").finish_non_exhaustive()
    }
}

/// What the meter asks about a channel.
pub(crate) trait Assess: Send + Sync {
    /// Decides about one channel and sets going what follows. Returns when to ask again though nothing changes.
    fn assess(
        &self,
        channel: ChannelId,
        now: SystemTime,
    ) -> impl Future<Output = Result<Option<SystemTime>, NodeError>> + Send;
}

/// Runs until shutdown, then stores what was reported last: shut the adapter down before, so that its sessions have ended.
pub(crate) async fn run<P: Party>(
    log: &UsageLog<'_, P>,
    marks: &Marks,
    mut reports: UsageReports,
    role: &impl Assess,
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
                Some(batch) => drop(store_reports(log, marks, &mut reports, batch).await),
                None => reporting = false, // the adapter will tell nothing more; deadlines and ends go on
            },
            () = marks.0.changed.notified() => {}
            () = tokio::time::sleep(sleep.unwrap_or(Duration::MAX)), if sleep.is_some() => {}
            () = shutdown.cancelled() => break,
        }
        let flushes = std::mem::take(&mut *marks.0.flushes.lock());
        if !flushes.is_empty() {
            let batch = reports.take();
            if store_reports(log, marks, &mut reports, batch).await {
                for flush in flushes {
                    let _ = flush.send(()); // whoever waited may have gone
                }
            } else {
                marks.0.flushes.lock().extend(flushes);
            }
        }
        let now = SystemTime::now();
        let due = marks.0.scheduler.lock().pop_due(now);
        for channel in due {
            let next = match role.assess(channel, now).await {
                Ok(next) => next,
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
    marks.0.flushes.lock().clear(); // they wait no longer
    Ok(())
}

/// A batch that cannot be stored is given back, to be merged with what comes later: totals make that harmless.
async fn store_reports<P: Party>(
    log: &UsageLog<'_, P>,
    marks: &Marks,
    reports: &mut UsageReports,
    batch: Vec<SessionReport>,
) -> bool {
    match log.store(&batch).await {
        Ok(()) => {
            for report in &batch {
                match log.decider {
                    Some(_) => marks.mark_totals(report.channel), // it was decided with the report
                    None => marks.mark(report.channel),
                }
            }
            true
        }
        Err(error) => {
            tracing::error!(%error, "cannot store usage; trying again");
            reports.give_back(batch);
            tokio::time::sleep(RETRY).await;
            false
        }
    }
}

/// Where usage is stored.
pub(crate) struct UsageLog<'a, P: Party> {
    pub(crate) db: &'a Database,
    /// Who decides about the channels, if they have stored states.
    pub(crate) decider: Option<&'a Decider<P>>,
    pub(crate) peer_addresses: PeerAddresses,
}

impl<P: Party> UsageLog<'_, P> {
    async fn store(&self, batch: &[SessionReport]) -> Result<(), NodeError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        let before = match self.decider {
            Some(decider) => {
                let channels = batch.iter().map(|report| report.channel).collect();
                Some((decider, decider.inputs().before(&mut tx, &channels).await?))
            }
            None => None,
        };
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
        let decided = match before {
            Some((decider, before)) => Some((decider, decider.inputs().used(&mut tx, before).await?)),
            None => None,
        };
        tx.commit().await?;
        if let Some((decider, decided)) = decided {
            decider.all_committed(decided);
        }
        Ok(())
    }
}
