//! Vouchers in: verified, stored durably, then acknowledged.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use privatix_channel::{
    Accepted, AgentChannel, Amount, ChannelId, ChannelStatus, LONGEST_CONSENT, Phase, SignedVoucher,
    VoucherError,
};
use privatix_db::{DbError, GroupCommit};
use privatix_market::{Agent, Book, NotNow, Reply};
use privatix_node::{Decider, Node, NodeError};
use privatix_somc::Refusal;
use privatix_store::vouchers::{Payment, VoucherWriter};
use privatix_store::{ceilings, channels, vouchers};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::channels::Loaded;

/// Vouchers that may share one commit.
const BATCH: usize = 512;

/// The agent's views of its channels, and the writer of accepted vouchers.
///
/// A view is loaded at a channel's first voucher and kept, so that a payment costs one signature check and one row. All
/// payments of one channel go through its lock, in turn; different channels share commits.
pub struct Payments {
    node: Arc<Node>,
    decider: Arc<Decider<Agent>>,
    views: Mutex<HashMap<ChannelId, Slot>>,
    writer: GroupCommit<VoucherWriter>,
}

/// A view, or where it is to be loaded: a change that is committed while it loads finds the slot, and waits for its lock.
type Slot = Arc<tokio::sync::Mutex<Option<View>>>;

struct View {
    channel: AgentChannel,
    /// What answers have acknowledged, at least.
    acknowledged: Amount,
    /// Above it nothing may be acknowledged. The writer knows better: see [`Written`].
    ceiling: Option<Amount>,
    service_ended: bool,
}

impl Payments {
    /// Starts the writer, whose task is returned. It ends when the value is dropped, with nothing left to write: whoever
    /// submitted waited.
    pub(crate) fn start(node: Arc<Node>, decider: Arc<Decider<Agent>>) -> (Self, JoinHandle<()>) {
        let (writer, task) = GroupCommit::start(node.db().clone(), VoucherWriter, BATCH);
        (Self { node, decider, views: Mutex::default(), writer }, task)
    }

    /// Takes a voucher and gives the answer to it. Returns once everything that the answer acknowledges is on disk.
    ///
    /// A voucher for a service that has ended is taken too, since it pays for what was used; the answer then informs the client
    /// that the service has ended. A voucher above the deposit is kept, and pays up to the deposit. One that comes while a close
    /// is on its way, or in a challenge, is kept and cashed if that is still possible, but not acknowledged: see [`Reply::Kept`].
    ///
    /// # Errors
    /// [`Refusal::UnknownChannel`], [`Refusal::WrongSigner`], and [`Refusal::Internal`] when the database fails. Nothing was
    /// acknowledged.
    pub async fn pay(&self, voucher: &SignedVoucher) -> Result<Reply, Refusal> {
        let id = voucher.channel();
        let slot = self.slot(id).await?;
        let mut slot = slot.lock().await;
        if slot.is_none() {
            *slot = self.load(id).await.map_err(|error| unreadable(id, &error))?;
        }
        let Some(view) = slot.as_mut() else { return Err(Refusal::UnknownChannel { channel: id }) };
        if !view.channel.descriptor().names_signer() {
            return Ok(Reply::NoSigner);
        }
        match view.channel.accept(voucher) {
            Ok(Accepted::New(new)) => {
                if let Err(error) = self.node.require_view_of(id) {
                    // The client may have asked to close the channel meanwhile, and what is paid now be void.
                    tracing::debug!(channel = %id, %error, "no voucher is taken");
                    return Ok(Reply::NotNow(not_now(&error)));
                }
                let acknowledge = voucher.cumulative().min(view.channel.on_chain().deposit);
                let written = self.writer.submit(Payment { signed: *new.voucher(), acknowledge }).await;
                let written = written.map_err(|error| storage_failed(id, &error))?;
                if !written.stored {
                    // Another one of at least its amount is stored, which is damaged, or is in no view yet.
                    tracing::warn!(channel = %id, cumulative = %voucher.cumulative(), "the voucher is not better than the stored one, and is not acknowledged");
                    *slot = None;
                    return Err(Refusal::Internal);
                }
                self.node.damage().healed(id);
                view.channel.commit(new).map_err(|error| refusal(id, &error))?;
                view.acknowledge(acknowledge, written.ceiling);
                tracing::debug!(channel = %id, cumulative = %voucher.cumulative(), "voucher accepted");
                self.node.marks().mark_totals(id);
                self.decider.mark(id); // what it pays for, and whether it is cashed, is decided from what is stored now
            }
            Ok(Accepted::Same(_)) | Err(VoucherError::Stale { .. }) => {
                // A voucher that was kept may be acknowledged by now, unless another ceiling was set this moment.
                let safe = view.book().safe(view.channel.on_chain(), view.ceiling);
                if safe > view.acknowledged {
                    // Nothing more is promised on such a view, also not of what was kept before.
                    if let Err(error) = self.node.require_view_of(id) {
                        return Ok(Reply::NotNow(not_now(&error)));
                    }
                    let ceiling = self.acknowledge(id, safe).await.map_err(|error| unreadable(id, &error))?;
                    view.acknowledge(safe, ceiling);
                }
            }
            Err(VoucherError::NotOpen { phase }) => {
                return Ok(Reply::NotOpen { closed: matches!(phase, Phase::Closed { .. }) });
            }
            Err(error) => return Err(refusal(id, &error)),
        }
        let (chain, ended) = (view.channel.on_chain(), view.service_ended);
        Ok(view.book().reply(chain, view.ceiling, voucher.cumulative(), ended))
    }

    /// Stores that everything up to `cumulative` is acknowledged, as far as the ceiling permits, which is returned.
    async fn acknowledge(&self, id: ChannelId, cumulative: Amount) -> Result<Option<Amount>, NodeError> {
        let mut tx = self.node.db().begin().await?;
        let ceiling = ceilings::get(&mut tx, id).await?;
        vouchers::acknowledge(&mut tx, id, cumulative.min(ceiling.unwrap_or(Amount::MAX))).await?;
        tx.commit().await?;
        Ok(ceiling)
    }

    /// Loads views again whose channels' states were committed, until the sender of their ids is gone or `stop`.
    pub(crate) async fn follow(
        &self,
        mut changes: mpsc::UnboundedReceiver<ChannelId>,
        stop: CancellationToken,
    ) {
        let mut changed = Vec::new();
        while let Some(1..) = stop.run_until_cancelled(changes.recv_many(&mut changed, BATCH)).await {
            changed.sort_unstable();
            changed.dedup();
            self.refresh(&changed).await;
            changed.clear();
        }
    }

    /// What the chain or the service says of these channels has changed: load their views again when next needed.
    pub(crate) async fn refresh(&self, channels: &[ChannelId]) {
        for id in channels {
            let slot = self.views.lock().get(id).cloned();
            let Some(slot) = slot else { continue };
            // Under the view's own lock, so that a payment under way is judged by what it saw and stored before.
            let mut slot = slot.lock().await;
            *slot = self.load(*id).await.unwrap_or_else(|error| {
                tracing::error!(channel = %id, %error, "cannot refresh the view of the channel; the next payment tries again");
                None
            });
            if slot.as_ref().is_some_and(View::is_closed) {
                self.views.lock().remove(id);
            }
        }
    }

    async fn slot(&self, id: ChannelId) -> Result<Slot, Refusal> {
        if let Some(known) = self.views.lock().get(&id) {
            return Ok(Arc::clone(known));
        }
        // Only for channels that there are, or strangers could fill the memory.
        match self.load(id).await.map_err(|error| unreadable(id, &error))? {
            None => Err(Refusal::UnknownChannel { channel: id }),
            Some(closed) if closed.is_closed() => Ok(Arc::new(tokio::sync::Mutex::new(Some(closed)))), // refuses whatever comes
            // What was just read may be old by now: it is read again in its place.
            Some(_) => Ok(Arc::clone(self.views.lock().entry(id).or_default())),
        }
    }

    async fn load(&self, id: ChannelId) -> Result<Option<View>, NodeError> {
        let mut conn = self.node.db().read().await?;
        if channels::find(&mut conn, id).await?.is_none() {
            return Ok(None);
        }
        // Where the stored voucher is damaged, a better one takes its place.
        let Loaded { channel: stored, view: channel, acknowledged, .. } =
            crate::channels::load(&mut conn, &self.node, id).await?;
        let ceiling = ceilings::get(&mut conn, id).await?;
        // Both are written with each state. What comes once the close was submitted is not in it.
        let service_ended = stored.service.is_ending() || stored.status == ChannelStatus::WaitCoop;
        Ok(Some(View { channel, acknowledged, ceiling, service_ended }))
    }
}

/// Watches the writer's task until shutdown. Without it every payment would be refused, so that its end is the agent's.
pub(crate) async fn watch_writer(writer: JoinHandle<()>, stop: CancellationToken) -> Result<(), NodeError> {
    let Some(ended) = stop.run_until_cancelled(writer).await else { return Ok(()) };
    stop.cancel();
    let reason = ended.err().map_or_else(|| "it returned".to_owned(), |error| error.to_string());
    Err(NodeError::TaskEnded { task: "voucher writer", reason })
}

impl View {
    fn book(&self) -> Book {
        let best = self.channel.best().map_or(Amount::ZERO, SignedVoucher::cumulative);
        Book { best, acknowledged: self.acknowledged }
    }

    /// Takes in what was stored: `cumulative` is acknowledged as far as this ceiling permits.
    fn acknowledge(&mut self, cumulative: Amount, ceiling: Option<Amount>) {
        self.ceiling = ceiling;
        self.acknowledged = self.acknowledged.max(cumulative.min(ceiling.unwrap_or(Amount::MAX)));
    }

    fn is_closed(&self) -> bool {
        matches!(self.channel.on_chain().phase(), Phase::Closed { .. })
    }
}

impl std::fmt::Debug for Payments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payments").field("views", &self.views.lock().len()).finish_non_exhaustive()
    }
}

fn not_now(error: &NodeError) -> NotNow {
    match error {
        NodeError::Unreconciled { .. } => NotNow::Unexplained,
        _ => NotNow::StaleView,
    }
}

fn refusal(channel: ChannelId, error: &VoucherError) -> Refusal {
    tracing::debug!(%channel, %error, "voucher refused");
    match error {
        VoucherError::WrongSigner { .. } => Refusal::WrongSigner,
        // It counts again when the consent is void: in a quarter of an hour at the latest.
        VoucherError::AboveConsent { .. } => Refusal::NotReady { retry_after: LONGEST_CONSENT.into() },
        _ => Refusal::UnknownChannel { channel },
    }
}

fn unreadable(channel: ChannelId, error: &NodeError) -> Refusal {
    tracing::error!(%channel, %error, "cannot load the channel");
    Refusal::Internal
}

fn storage_failed(channel: ChannelId, error: &DbError) -> Refusal {
    tracing::error!(%channel, %error, "voucher could not be stored and is not acknowledged");
    Refusal::Internal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_the_voucher_writer_ends_the_agent() {
        let stop = CancellationToken::new();
        let writer = tokio::spawn(async { panic!("out of memory") });
        let error = watch_writer(writer, stop.clone()).await.unwrap_err();
        assert!(matches!(error, NodeError::TaskEnded { task: "voucher writer", .. }), "{error}");
        assert!(stop.is_cancelled());
        // A shutdown leaves it to write what is submitted.
        watch_writer(tokio::spawn(std::future::pending()), stop).await.unwrap();
    }
}
