//! Vouchers in: verified, stored durably, then acknowledged.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use privatix_channel::{Accepted, AgentChannel, ChannelId, Phase, Receipt, SignedVoucher, VoucherError};
use privatix_db::{DbError, GroupCommit};
use privatix_node::{Node, NodeError};
use privatix_somc::{Paid, Refusal};
use privatix_store::vouchers::VoucherWriter;
use privatix_store::{channels, vouchers};

use crate::channels::CloseChannel;

/// Vouchers that may share one commit.
const BATCH: usize = 512;

/// The agent's views of its channels, and the writer of accepted vouchers.
///
/// A view is loaded at a channel's first voucher and kept, so that a payment costs one signature check and one row. All
/// payments of one channel go through its lock, in turn; different channels share commits.
pub struct Payments {
    node: Arc<Node>,
    views: Mutex<HashMap<ChannelId, Arc<tokio::sync::Mutex<View>>>>,
    writer: GroupCommit<VoucherWriter>,
}

struct View {
    channel: AgentChannel,
    service_ended: bool,
}

impl Payments {
    /// Starts the writer. Its task ends when the value is dropped, with nothing left to write: whoever submitted waited.
    pub(crate) fn start(node: Arc<Node>) -> Self {
        let (writer, _task) = GroupCommit::start(node.db().clone(), VoucherWriter, BATCH);
        Self { node, views: Mutex::default(), writer }
    }

    /// Takes a voucher. Returns once it is on disk.
    ///
    /// A voucher for a service that has ended is taken too, since it pays for what was used; the answer then tells the client
    /// that the service has ended.
    ///
    /// # Errors
    /// A refusal; nothing was changed, except for [`Refusal::ServiceTerminated`] as said.
    pub async fn pay(&self, voucher: &SignedVoucher) -> Result<Paid, Refusal> {
        let id = voucher.channel();
        let view = self.view(id).await?;
        let mut view = view.lock().await;
        let receipt = match view.channel.accept(voucher).map_err(|error| refusal(id, error))? {
            Accepted::Same(receipt) => receipt,
            Accepted::New(new) => {
                self.writer.submit(*new.voucher()).await.map_err(|error| storage_failed(id, &error))?;
                let receipt = view.channel.commit(new).map_err(|error| refusal(id, error))?;
                tracing::debug!(channel = %id, cumulative = %receipt.cumulative(), "voucher accepted");
                self.node.marks().mark(id);
                if view.service_ended {
                    self.cash(id).await; // what was paid till then is being cashed without it
                }
                receipt
            }
        };
        if view.service_ended { Err(Refusal::ServiceTerminated) } else { Ok(paid(receipt)) }
    }

    async fn cash(&self, channel: ChannelId) {
        if let Err(error) = self.node.enqueue(&CloseChannel { channel, even_unpaid: false }, "payments").await
        {
            tracing::error!(%channel, %error, "cannot cash the late voucher now; closing the channel will");
        }
    }

    /// What the chain or the service says of these channels has changed: load their views anew when next needed.
    pub(crate) async fn refresh(&self, channels: &[ChannelId]) {
        for id in channels {
            let view = self.views.lock().get(id).cloned();
            let Some(view) = view else { continue };
            // Under the view's own lock, so that a payment under way is judged by what it saw and stored before.
            let mut view = view.lock().await;
            match self.load(*id).await {
                Ok(Some(fresh)) => *view = fresh,
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(channel = %id, %error, "cannot refresh the view of the channel");
                }
            }
            if matches!(view.channel.on_chain().phase(), Phase::Closed { .. }) {
                self.views.lock().remove(id);
            }
        }
    }

    async fn view(&self, id: ChannelId) -> Result<Arc<tokio::sync::Mutex<View>>, Refusal> {
        if let Some(known) = self.views.lock().get(&id) {
            return Ok(Arc::clone(known));
        }
        let view = self.load(id).await.map_err(|error| {
            tracing::error!(channel = %id, %error, "cannot load the channel");
            Refusal::Internal
        })?;
        let Some(view) = view else { return Err(Refusal::UnknownChannel { channel: id }) };
        let closed = matches!(view.channel.on_chain().phase(), Phase::Closed { .. });
        let view = Arc::new(tokio::sync::Mutex::new(view));
        if closed {
            return Ok(view); // refuses whatever comes; not worth remembering
        }
        // Two payments may load a channel at once; both must end up with the same view.
        Ok(Arc::clone(self.views.lock().entry(id).or_insert(view)))
    }

    async fn load(&self, id: ChannelId) -> Result<Option<View>, NodeError> {
        let mut conn = self.node.db().read().await?;
        let Some(stored) = channels::find(&mut conn, id).await? else { return Ok(None) };
        let on_chain = channels::on_chain(&mut conn, id).await?;
        let best = vouchers::get(&mut conn, id).await?.map(|voucher| voucher.signed);
        let channel = AgentChannel::restore(*self.node.domain(), stored.descriptor, on_chain, best)?;
        Ok(Some(View { channel, service_ended: stored.service.is_ending() }))
    }
}

impl std::fmt::Debug for Payments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payments").field("views", &self.views.lock().len()).finish_non_exhaustive()
    }
}

fn paid(receipt: Receipt) -> Paid {
    Paid { cumulative: receipt.cumulative() }
}

fn refusal(channel: ChannelId, error: VoucherError) -> Refusal {
    tracing::debug!(%channel, %error, "voucher refused");
    match error {
        VoucherError::WrongSigner { .. } => Refusal::WrongSigner,
        VoucherError::AboveDeposit { deposit, .. } => Refusal::AboveDeposit { deposit },
        VoucherError::Stale { best, .. } => Refusal::Stale { acknowledged: best },
        VoucherError::NotOpen { phase: Phase::Closed { .. } } => Refusal::ChannelClosing,
        _ => Refusal::UnknownChannel { channel },
    }
}

fn storage_failed(channel: ChannelId, error: &DbError) -> Refusal {
    tracing::error!(%channel, %error, "voucher could not be stored and is not acknowledged");
    Refusal::Internal
}
