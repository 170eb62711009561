//! Vouchers out: whatever is signed and stored reaches the agent, whoever of the two is restarted meanwhile.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use privatix_channel::{Amount, ChannelId};
use privatix_node::{Node, NodeError, Order, ServiceOrder};
use privatix_offering::NotPermitted;
use privatix_somc::Refusal;
use privatix_store::{channels, offerings, vouchers};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::channels::end_service;
use crate::peers::{Peers, no_answer};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where to say that a channel has a voucher to send.
#[derive(Clone, Debug)]
pub(crate) struct Outbox(mpsc::UnboundedSender<ChannelId>);

impl Outbox {
    /// The channel's highest stored voucher is to be sent. Bounded by what the plug-in reports, so never many.
    pub(crate) fn send(&self, channel: ChannelId) {
        let _ = self.0.send(channel); // the sender is gone only at shutdown; what is stored is sent at the next start
    }
}

/// Sends stored vouchers, one at a time per channel, until each is acknowledged.
pub(crate) struct Sender {
    node: Arc<Node>,
    peers: Arc<Peers>,
    wanted: mpsc::UnboundedReceiver<ChannelId>,
}

pub(crate) fn outbox(node: Arc<Node>, peers: Arc<Peers>) -> (Outbox, Sender) {
    let (sender, wanted) = mpsc::unbounded_channel();
    (Outbox(sender), Sender { node, peers, wanted })
}

impl Sender {
    /// Runs until shutdown. Dropping a send under way is harmless: the voucher is stored and taken twice as once.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), NodeError> {
        let waiting = vouchers::unacknowledged(&mut *self.node.db().read().await?).await?;
        let mut sends = JoinSet::new();
        let mut under_way: HashMap<Id, ChannelId> = HashMap::new();
        let mut busy = HashSet::new();
        let mut again = HashSet::new();
        let mut next = waiting;
        loop {
            for channel in next.drain(..) {
                if busy.insert(channel) {
                    let (node, peers) = (Arc::clone(&self.node), Arc::clone(&self.peers));
                    let send = sends.spawn(async move { deliver(&node, &peers, channel).await });
                    under_way.insert(send.id(), channel);
                } else {
                    again.insert(channel);
                }
            }
            tokio::select! {
                channel = self.wanted.recv() => match channel {
                    Some(channel) => next.push(channel),
                    None => break,
                },
                Some(ended) = sends.join_next_with_id() => {
                    let id = match ended {
                        Ok((id, ())) => id,
                        Err(error) => {
                            tracing::error!(%error, "sending a voucher ended unexpectedly; it is sent with the next");
                            error.id()
                        }
                    };
                    if let Some(channel) = under_way.remove(&id) {
                        busy.remove(&channel);
                        next.extend(again.take(&channel));
                    }
                }
                () = shutdown.cancelled() => break,
            }
        }
        Ok(())
    }
}

/// Sends the channel's highest voucher, again and again, until the agent has acknowledged it or wants no more.
async fn deliver(node: &Node, peers: &Peers, channel: ChannelId) {
    let mut pause = FIRST_PAUSE;
    loop {
        match attempt(node, peers, channel).await {
            Ok(ControlFlow::Break(())) => return,
            Ok(ControlFlow::Continue(())) => pause = FIRST_PAUSE,
            Err(error) => {
                tracing::warn!(%channel, %error, "the voucher is not acknowledged yet");
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            }
        }
    }
}

async fn attempt(node: &Node, peers: &Peers, channel: ChannelId) -> Result<ControlFlow<()>, NodeError> {
    let (stored, voucher, said) = {
        let mut conn = node.db().read().await?;
        let stored = channels::get(&mut conn, channel).await?;
        let Some(voucher) = vouchers::get(&mut conn, channel).await? else {
            return Ok(ControlFlow::Break(()));
        };
        let descriptor = stored.descriptor;
        let offering = offerings::get(&mut conn, descriptor.agent, descriptor.offering).await?;
        (stored, voucher, offering.announcement)
    };
    let signed = voucher.signed.cumulative();
    if voucher.acknowledged >= signed || stored.status.is_closed() {
        return Ok(ControlFlow::Break(()));
    }
    let offering = node.offering(stored.descriptor.agent, stored.descriptor.offering).await?;
    let peer = match peers.keep(&said, &offering) {
        Ok(peer) => peer,
        // To wait would be in vain and without end. The close admits what the voucher promises.
        Err(NodeError::NotPermitted(refusal)) => {
            exclude(node, peers, channel, &refusal).await?;
            return Ok(ControlFlow::Break(()));
        }
        Err(error) => return Err(error),
    };
    let error = match peer.pay(voucher.signed).await {
        Ok(paid) => {
            acknowledged(node, channel, paid.cumulative.min(signed)).await?;
            tracing::debug!(%channel, cumulative = %paid.cumulative, "voucher acknowledged");
            return Ok(ControlFlow::Continue(())); // a higher one may be stored by now
        }
        Err(error) => error,
    };
    match error.refusal() {
        // An answer was lost, and the agent has it all.
        Some(Refusal::Stale { acknowledged: known } | Refusal::Equal { acknowledged: known })
            if *known <= signed =>
        {
            acknowledged(node, channel, *known).await?;
            if *known < signed {
                // It was just sent more than that: it is asked again, but not at once.
                let reason = format!("it calls a voucher over {signed} stale and knows {known}");
                return Err(NodeError::Peer { address: peer.address().to_string(), reason });
            }
            Ok(ControlFlow::Continue(()))
        }
        Some(Refusal::Stale { acknowledged: claimed } | Refusal::Equal { acknowledged: claimed }) => {
            tracing::error!(%channel, %claimed, %signed, "the agent claims more than was ever signed; ending the service");
            end(node, channel, "the agent claims more than was signed").await?;
            Ok(ControlFlow::Break(()))
        }
        // It was taken: it pays for what was used.
        Some(Refusal::ServiceTerminated) => {
            acknowledged(node, channel, signed).await?;
            end(node, channel, "the agent ended the service").await?;
            Ok(ControlFlow::Break(()))
        }
        Some(Refusal::ChannelClosing) => {
            end(node, channel, "the agent is closing the channel").await?;
            Ok(ControlFlow::Break(()))
        }
        Some(Refusal::NoSigner) => {
            end(node, channel, "the agent does not serve channels without a signer").await?;
            Ok(ControlFlow::Break(()))
        }
        _ => Err(no_answer(&peer)(error)),
    }
}

/// Ends the services of channels whose agents must not be contacted: they could not be paid.
pub(crate) async fn end_excluded(node: &Node, peers: &Peers) -> Result<(), NodeError> {
    let live = channels::live(&mut *node.db().read().await?).await?;
    for channel in live {
        let of = channel.descriptor;
        let permitted = async {
            let said =
                offerings::get(&mut *node.db().read().await?, of.agent, of.offering).await?.announcement;
            peers.permitted(&said, &*node.offering(of.agent, of.offering).await?)
        };
        match permitted.await {
            Ok(_) => {}
            Err(NodeError::NotPermitted(refusal)) => exclude(node, peers, channel.id, &refusal).await?,
            // Nothing is known of its agent's addresses, which is no reason not to start.
            Err(error) => {
                tracing::warn!(channel = %channel.id, %error, "a channel's agent cannot be looked up");
            }
        }
    }
    Ok(())
}

async fn exclude(
    node: &Node,
    peers: &Peers,
    channel: ChannelId,
    refusal: &NotPermitted,
) -> Result<(), NodeError> {
    if peers.excluded.add(channel, refusal.to_string()) {
        tracing::warn!(%channel, %refusal, "the agent cannot be contacted; ending the service");
    }
    let mut tx = node.db().begin().await?;
    end_service(&mut tx, channel, &format!("its agent cannot be contacted: {refusal}")).await?;
    tx.commit().await?;
    node.wake();
    Ok(())
}

async fn acknowledged(node: &Node, channel: ChannelId, cumulative: Amount) -> Result<(), NodeError> {
    let mut tx = node.db().begin().await?;
    vouchers::acknowledge(&mut tx, channel, cumulative).await?;
    Ok(tx.commit().await?)
}

async fn end(node: &Node, channel: ChannelId, reason: &str) -> Result<(), NodeError> {
    let order = ServiceOrder { channel, order: Order::Terminate, reason: reason.to_owned() };
    node.enqueue(&order, "outbox").await?;
    Ok(())
}
