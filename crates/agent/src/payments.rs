//! Vouchers in: verified, decided, stored durably, then acknowledged.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use privatix_channel::{Amount, ChannelId, SignedVoucher};
use privatix_db::{DbError, GroupCommit};
use privatix_market::{Agent, AgentMessage, Input, Party as _, Reply, Taken, Verified};
use privatix_node::shell::NotApplied;
use privatix_node::{Decider, Node, NodeError};
use privatix_somc::Refusal;
use privatix_store::channels;
use privatix_store::vouchers::{Payment, VoucherWriter};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::runner::{AgentRunner, reply};
use crate::views::{Slot, View, Views};

/// Vouchers that may share one commit.
const BATCH: usize = 512;
/// When a voucher may be taken again that came before anything could be decided about its channel.
const UNTIL_DECIDED: Duration = Duration::from_secs(5);

/// The agent's views of its channels, and the writer of accepted vouchers.
///
/// A view is loaded at a channel's first voucher and kept, so that a payment costs one signature check and one row. All
/// payments of one channel go through its lock, in turn; different channels share commits.
pub struct Payments {
    node: Arc<Node>,
    decider: Arc<Decider<Agent>>,
    runner: AgentRunner,
    views: Arc<Views>,
    writer: GroupCommit<VoucherWriter>,
}

impl Payments {
    /// Starts the writer, whose task is returned. It ends when the value is dropped, with nothing left to write: whoever
    /// submitted waited. `views` are given each state that `decider` commits, and `runner` carries out what it decides.
    pub(crate) fn start(
        node: Arc<Node>,
        decider: Arc<Decider<Agent>>,
        runner: AgentRunner,
        views: Arc<Views>,
    ) -> (Self, JoinHandle<()>) {
        let (writer, task) = GroupCommit::start(node.db().clone(), VoucherWriter, BATCH);
        (Self { node, decider, runner, views, writer }, task)
    }

    /// Takes a voucher and gives the answer to it. Returns once everything that the answer acknowledges is on disk.
    ///
    /// A voucher for a service that has ended is taken too, since it pays for what was used; the answer then informs the client
    /// that the service has ended. A voucher above the deposit is kept, and pays up to the deposit. One that comes while a close
    /// is on its way, or in a challenge, is kept and cashed if that is still possible, but not acknowledged: see [`Reply::Kept`].
    ///
    /// Cancellation: dropped before its end, the voucher may have been stored or not. Present it again.
    ///
    /// # Errors
    /// [`Refusal::UnknownChannel`], [`Refusal::WrongSigner`], [`Refusal::NotReady`] before anything is decided about the channel in
    /// this run, and [`Refusal::Internal`] when something stored cannot be read or written. Nothing was acknowledged.
    pub async fn pay(&self, voucher: &SignedVoucher) -> Result<Reply, Refusal> {
        let id = voucher.channel();
        let slot = self.slot(id).await?;
        let mut held = slot.view.lock().await;
        // Once more where the view was behind: a payment that nobody waited for was stored after it was loaded.
        for _ in 0..2 {
            let view = self.view(&slot, &mut held, id).await?;
            if let Some(reply) = self.decide(view, voucher).await? {
                return Ok(reply);
            }
            *held = None;
        }
        tracing::error!(channel = %id, cumulative = %voucher.cumulative(), "another voucher of at least this amount is stored; this one is not acknowledged");
        Err(Refusal::Internal)
    }

    /// The answer; `None` where the view does not know the voucher that is stored.
    async fn decide(&self, view: &mut View, voucher: &SignedVoucher) -> Result<Option<Reply>, Refusal> {
        let stored = &view.stored;
        let id = stored.state.id;
        let Ok(verified) = Verified::check(&view.verifier, voucher) else {
            tracing::debug!(channel = %id, "voucher refused: it is not signed by the channel's signer");
            // Code of the account decides then, and may decide otherwise at the close.
            return if stored.state.descriptor.names_signer() {
                Err(Refusal::WrongSigner)
            } else {
                Ok(Some(Reply::NoSigner))
            };
        };
        let input = Input::Peer(AgentMessage::Voucher { voucher: verified, used: None });
        let decided = Agent::decide(&stored.state, &input, &self.decider.env_of(stored));
        let decided = decided.map_err(|error| undecided(id, &error.into()))?;
        let taken = match Taken::of(&stored.state, voucher.cumulative(), &decided) {
            // It takes the place of a row that the writer would leave as it is.
            Taken::Entered(_) if stored.damaged_voucher.is_some() => Taken::WithEffects,
            taken => taken,
        };
        match taken {
            Taken::Answered(reply) => Ok(Some(reply)),
            Taken::Entered(entry) => {
                let payment = Payment { signed: *voucher, acknowledge: entry.acknowledge() };
                let written = self.writer.submit(payment).await.map_err(|error| not_stored(id, &error))?;
                if !written.stored {
                    // Stored before, perhaps by a payment that ended between its commit and the next lines.
                    self.marks(id);
                    return Ok(None);
                }
                let (book, reply) = entry.stored(written.ceiling);
                view.stored.state.book = book;
                view.stored.newest_voucher = Some(SystemTime::now());
                tracing::debug!(channel = %id, cumulative = %voucher.cumulative(), "voucher accepted");
                self.marks(id);
                Ok(Some(reply))
            }
            Taken::WithEffects => {
                let runner = self.runner.paying(*voucher);
                let applied = self.decider.decide_with(id, input, &runner).await;
                let applied = applied.map_err(|error| undecided(id, &error))?;
                view.stored.damaged_voucher = view.stored.damaged_voucher.filter(|_| applied.damaged_voucher);
                let reply = reply(&applied).ok_or(Refusal::Internal)?;
                tracing::debug!(channel = %id, cumulative = %voucher.cumulative(), ?reply, "voucher accepted, and more followed from it");
                Ok(Some(reply))
            }
        }
    }

    /// What follows from a payment is decided from what is stored now.
    fn marks(&self, channel: ChannelId) {
        self.node.marks().mark_totals(channel);
        self.decider.mark(channel);
    }

    /// What the best voucher of a channel would still bring, for the operator.
    ///
    /// # Errors
    /// [`NodeError::DamagedVoucher`] where it cannot be read; [`NodeError`] where nothing is stored of the channel.
    pub(crate) async fn claimable(&self, channel: ChannelId) -> Result<Amount, NodeError> {
        let mut conn = self.node.db().read().await?;
        channels::get(&mut conn, channel).await?;
        let stored = self.decider.load(&mut conn, channel).await?;
        match stored.damaged_voucher {
            None => Ok(stored.state.book.claimable(&stored.state.chain)),
            Some(amount) => {
                let reason =
                    format!("the signature of the one over {amount} is not one of the channel's signer");
                Err(NodeError::DamagedVoucher { channel, reason })
            }
        }
    }

    /// What is stored of these channels has changed: their views are loaded again when next needed.
    pub(crate) fn outdated(&self, channels: &[ChannelId]) {
        self.views.outdated(channels);
    }

    /// The view of a channel, with all that was committed of it.
    async fn view<'a>(
        &self,
        slot: &Slot,
        held: &'a mut Option<View>,
        id: ChannelId,
    ) -> Result<&'a mut View, Refusal> {
        if slot.take_outdated() {
            *held = None;
        }
        if held.is_none() {
            *held = self.load(id).await?;
        }
        let Some(view) = held else { return Err(Refusal::UnknownChannel { channel: id }) };
        slot.bring_up(view);
        Ok(view)
    }

    async fn slot(&self, id: ChannelId) -> Result<Arc<Slot>, Refusal> {
        if let Some(known) = self.views.slot(id) {
            return Ok(known);
        }
        match self.load(id).await? {
            None => Err(Refusal::UnknownChannel { channel: id }),
            Some(closed) if closed.is_closed() => Ok(Arc::new(Slot::with(closed))), // refuses whatever comes
            // What was just read may be old by now: it is read again in its place.
            Some(_) => Ok(self.views.make_slot(id)),
        }
    }

    async fn load(&self, id: ChannelId) -> Result<Option<View>, Refusal> {
        let failed = |error: NodeError| undecided(id, &error.into());
        let mut conn = self.node.db().read().await.map_err(|error| failed(error.into()))?;
        match self.decider.load(&mut conn, id).await {
            Ok(stored) => Ok(Some(View::new(stored, *self.node.domain()))),
            Err(NotApplied::NoState(_)) => {
                // An earlier version's is adopted at the start.
                let is_known = channels::find(&mut conn, id).await.map_err(|error| failed(error.into()))?;
                is_known.map_or(Ok(None), |_| Err(Refusal::not_ready(UNTIL_DECIDED)))
            }
            Err(error) => Err(undecided(id, &error)),
        }
    }
}

/// Watches the writer's task until shutdown. Without it every payment would be refused, so that its end is the agent's.
pub(crate) async fn watch_writer(writer: JoinHandle<()>, stop: CancellationToken) -> Result<(), NodeError> {
    let Some(ended) = stop.run_until_cancelled(writer).await else { return Ok(()) };
    stop.cancel();
    let reason = ended.err().map_or_else(|| "it returned".to_owned(), |error| error.to_string());
    Err(NodeError::TaskEnded { task: "voucher writer", reason })
}

impl std::fmt::Debug for Payments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payments").field("views", &self.views.len()).finish_non_exhaustive()
    }
}

fn undecided(channel: ChannelId, error: &NotApplied) -> Refusal {
    tracing::error!(%channel, %error, "nothing can be decided about a voucher, so it is not acknowledged");
    Refusal::Internal
}

fn not_stored(channel: ChannelId, error: &DbError) -> Refusal {
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
