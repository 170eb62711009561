//! Vouchers in: verified, decided, stored durably, then acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use privatix_chain::{Monitor, Processed, processed};
use privatix_channel::{AgentView, Amount, ChannelId, SignedVoucher, Usage};
use privatix_db::{DbError, GroupCommit};
use privatix_market::{Agent, AgentMessage, AgentState, Input, Party as _, Reply, Taken, Verified};
use privatix_node::shell::NotApplied;
use privatix_node::{Decider, Node, NodeError};
use privatix_offering::{ChannelProof, Receipt, SignedReceipt};
use privatix_somc::{CallerSession, Refusal, Standing};
use privatix_store::channels::{self, Channel};
use privatix_store::states::Stored;
use privatix_store::vouchers::{self, Payment, VoucherWriter};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::messaging::acknowledged;
use crate::runner::{AgentRunner, answer_of, reply};
use crate::showing::Showing;
use crate::views::{Slot, View, Views};

/// Vouchers that may share one commit.
const BATCH: usize = 512;
/// How often a receipt for a channel is signed, unless its service changes.
const RECEIPT_EVERY: Duration = Duration::from_mins(1);
/// When a receipt may be asked for again that cannot be signed yet.
const UNTIL_CERTAIN: Duration = Duration::from_mins(1);
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
    showing: Arc<Showing>,
    writer: GroupCommit<VoucherWriter>,
}

/// What [`Payments`] are made of.
pub(crate) struct PaymentsParts {
    pub(crate) node: Arc<Node>,
    pub(crate) decider: Arc<Decider<Agent>>,
    /// Carries out what the decider decides.
    pub(crate) runner: AgentRunner,
    /// They are given each state that the decider commits.
    pub(crate) views: Arc<Views>,
    /// Numbers what clients are shown.
    pub(crate) showing: Arc<Showing>,
}

impl Payments {
    /// Starts the writer, whose task is returned. It ends when the value is dropped, with nothing left to write: whoever
    /// submitted waited.
    pub(crate) fn start(parts: PaymentsParts) -> (Self, JoinHandle<()>) {
        let PaymentsParts { node, decider, runner, views, showing } = parts;
        let (writer, task) = GroupCommit::start(node.db().clone(), VoucherWriter, BATCH);
        (Self { node, decider, runner, views, showing, writer }, task)
    }

    pub(crate) const fn showing(&self) -> &Arc<Showing> {
        &self.showing
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
        let (reply, ()) = self.take(voucher, None, |_, _| ()).await?;
        Ok(reply)
    }

    /// The same for a channel whose client has proved it on the connection, and named its own meter if it did; gives where the channel
    /// stands.
    pub(crate) async fn pay_attached(
        &self,
        voucher: &SignedVoucher,
        used: Option<Usage>,
    ) -> Result<Standing, Refusal> {
        let id = voucher.channel();
        let number = self.showing.number();
        let sent = voucher.cumulative();
        let (reply, (view, carried)) =
            self.take(voucher, used, |stored, reply| self.shown(stored, reply, Some(sent), number)).await?;
        self.stands(id, reply, view, carried).await
    }

    /// Checks a client's proof of a channel for a session.
    ///
    /// # Errors
    /// [`Refusal::UnknownChannel`] for one that is not of the session's agent, and [`Refusal::WrongSigner`].
    pub(crate) async fn attach(&self, session: CallerSession, proof: &ChannelProof) -> Result<(), Refusal> {
        let id = proof.channel;
        let known =
            async { Ok::<_, NodeError>(channels::find(&mut *self.node.db().read().await?, id).await?) };
        let known = known.await.map_err(|error| undecided(id, &error.into()))?;
        let known = known.filter(|known| known.descriptor.agent == session.agent);
        let Some(Channel { descriptor, .. }) = known else {
            return Err(Refusal::UnknownChannel { channel: id });
        };
        proof.verify(&descriptor, self.node.domain(), session.id).map_err(|error| {
            tracing::debug!(channel = %id, %error, "a proof of the channel is refused");
            Refusal::WrongSigner
        })
    }

    /// Where a channel stands, for its client.
    pub(crate) async fn standing(&self, id: ChannelId) -> Result<Standing, Refusal> {
        let number = self.showing.number();
        let slot = self.slot(id).await?;
        let mut held = slot.view.lock().await;
        let view = self.view(&slot, &mut held, id).await?;
        let input = Input::Peer(AgentMessage::Attach);
        let decided = Agent::decide(&view.stored.state, &input, &self.decider.env_of(&view.stored));
        let reply = decided.map_err(|error| undecided(id, &error.into()))?.effects.iter().find_map(answer_of);
        let reply = reply.ok_or(Refusal::Internal)?;
        let (view, carried) = self.shown(&view.stored, reply, None, number);
        drop(held);
        self.stands(id, reply, view, carried).await
    }

    /// A receipt for a channel: the last one, unless a minute has passed or the service does something else.
    pub(crate) async fn receipt(&self, id: ChannelId) -> Result<SignedReceipt, Refusal> {
        let slot = self.slot(id).await?;
        let mut held = slot.view.lock().await;
        let stored = &self.view(&slot, &mut held, id).await?.stored;
        let env = self.decider.env_of(stored);
        if !AgentState::may_certify(&env) {
            return Err(Refusal::not_ready(UNTIL_CERTAIN));
        }
        let (view, agent) = (stored.state.view(&env), stored.state.descriptor.agent);
        let input = Input::Peer(AgentMessage::Attach);
        let decided = Agent::decide(&stored.state, &input, &env);
        let reply = decided.map_err(|error| undecided(id, &error.into()))?.effects.iter().find_map(answer_of);
        drop(held);
        let last = slot.receipt.lock().clone();
        if let Some((at, receipt)) = last
            && at.elapsed() < RECEIPT_EVERY
            && receipt.unverified().service == view.service
        {
            return Ok(receipt);
        }
        let cumulative = acknowledged(id, reply.ok_or(Refusal::Internal)?)?;
        let seen = async {
            let mut conn = self.node.db().read().await?;
            Ok::<_, NodeError>(processed(&mut conn, Monitor::STREAM).await?)
        };
        let seen = seen.await.map_err(|error| undecided(id, &error.into()))?;
        let Some(Processed { block, hash, .. }) = seen else { return Err(Refusal::not_ready(UNTIL_CERTAIN)) };
        let AgentView { used, service, reason, .. } = view;
        let receipt =
            Receipt { channel: id, agent, cumulative, used, service, reason, block, block_hash: hash };
        let node = &self.node;
        let signed = SignedReceipt::sign(receipt, node.domain(), node.as_operator(), node.signer());
        let signed = signed.map_err(|error| {
            tracing::error!(channel = %id, %error, "a receipt could not be signed");
            Refusal::Internal
        })?;
        *slot.receipt.lock() = Some((Instant::now(), signed.clone()));
        Ok(signed)
    }

    /// What the client is shown of a state, and the amount of the voucher that goes with it.
    fn shown(
        &self,
        stored: &Stored<Agent>,
        reply: Reply,
        sent: Option<Amount>,
        number: u64,
    ) -> (AgentView, Option<Amount>) {
        let view = AgentView { number, ..stored.state.view(&self.decider.env_of(stored)) };
        let carried = reply.carries(sent, &stored.state.book).filter(|_| stored.damaged_voucher.is_none());
        (view, carried)
    }

    /// The answer to a client that has proved its channel. It carries the stored voucher where that is over at least `carried`.
    async fn stands(
        &self,
        id: ChannelId,
        reply: Reply,
        view: AgentView,
        carried: Option<Amount>,
    ) -> Result<Standing, Refusal> {
        let cumulative = acknowledged(id, reply)?;
        let voucher = match carried {
            None => None,
            Some(least) => {
                let stored = async {
                    Ok::<_, NodeError>(vouchers::get(&mut *self.node.db().read().await?, id).await?)
                };
                let stored = stored.await.map_err(|error| undecided(id, &error.into()))?;
                let signed = stored.map(|stored| stored.signed).filter(|signed| signed.cumulative() >= least);
                signed.map(|signed| (signed.cumulative(), signed.signature))
            }
        };
        Ok(Standing { cumulative, view, voucher })
    }

    /// Takes a voucher, and gives the answer with what `look` finds in the state then.
    async fn take<T>(
        &self,
        voucher: &SignedVoucher,
        used: Option<Usage>,
        look: impl Fn(&Stored<Agent>, Reply) -> T,
    ) -> Result<(Reply, T), Refusal> {
        let id = voucher.channel();
        let slot = self.slot(id).await?;
        let mut held = slot.view.lock().await;
        // Once more where the view was behind: a payment that nobody waited for was stored after it was loaded.
        for _ in 0..2 {
            let view = self.view(&slot, &mut held, id).await?;
            if let Some(reply) = self.decide(view, voucher, used).await? {
                slot.note_client_used(used);
                slot.bring_up(view);
                return Ok((reply, look(&view.stored, reply)));
            }
            *held = None;
        }
        tracing::error!(channel = %id, cumulative = %voucher.cumulative(), "another voucher of at least this amount is stored; this one is not acknowledged");
        Err(Refusal::Internal)
    }

    /// The answer; `None` where the view does not know the voucher that is stored.
    async fn decide(
        &self,
        view: &mut View,
        voucher: &SignedVoucher,
        used: Option<Usage>,
    ) -> Result<Option<Reply>, Refusal> {
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
        let input = Input::Peer(AgentMessage::Voucher { voucher: verified, used });
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
                if applied.state.book.best > view.stored.state.book.best {
                    view.stored.newest_voucher = Some(SystemTime::now());
                }
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

    /// The client's meter, as it said last: in this run, or as far as it was stored.
    pub(crate) async fn client_used(&self, channel: ChannelId) -> Result<Option<Usage>, NodeError> {
        let said = self.views.slot(channel).and_then(|slot| slot.client_used());
        if said.is_some() {
            return Ok(said);
        }
        let mut conn = self.node.db().read().await?;
        match self.decider.load(&mut conn, channel).await {
            // What cannot be read is shown by health.
            Err(NotApplied::NoState(_) | NotApplied::Damaged { .. }) => Ok(None),
            loaded => Ok(loaded?.state.own.reported),
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
