//! Vouchers on their way to agents: [`Deliveries`].

use std::collections::HashMap;
use std::sync::Arc;

use privatix_channel::ChannelId;
use privatix_db::Database;
use privatix_market::{Client, Input};
use privatix_node::shell::NotApplied;
use privatix_node::{Decider, NodeError};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::answers::to_voucher;
use crate::asks::{Agents, MARGIN, too_late};
use crate::runner::{ClientRunner, Sending};

/// The way to [`Deliveries`].
#[derive(Clone, Debug)]
pub struct Outgoing(mpsc::UnboundedSender<(ChannelId, Sending)>);

impl Outgoing {
    /// The channel's best stored voucher is to be sent. Bounded by what is decided, one for each voucher.
    pub(crate) fn send(&self, channel: ChannelId, sending: Sending) {
        let _ = self.0.send((channel, sending)); // nobody takes it at a shutdown only; it is asked for again after the next start
    }
}

/// What is to be sent.
#[derive(Debug)]
pub struct Wanted(mpsc::UnboundedReceiver<(ChannelId, Sending)>);

/// A way for vouchers, and its end.
pub fn outgoing() -> (Outgoing, Wanted) {
    let (sender, wanted) = mpsc::unbounded_channel();
    (Outgoing(sender), Wanted(wanted))
}

/// Sends stored vouchers, one at a time for each channel, and has the answers decided. It repeats nothing: what is not acknowledged is
/// decided to be sent again.
pub struct Deliveries {
    parts: Arc<Parts>,
    wanted: Wanted,
}

struct Parts {
    db: Database,
    decider: Arc<Decider<Client>>,
    runner: ClientRunner,
    agents: Arc<dyn Agents>,
}

impl std::fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deliveries").field("decider", &self.parts.decider).finish_non_exhaustive()
    }
}

impl Deliveries {
    /// Sends what this decider decides. `runner` carries out what follows from an answer that carries a voucher.
    pub fn new(
        db: Database,
        decider: Arc<Decider<Client>>,
        runner: ClientRunner,
        agents: Arc<dyn Agents>,
        wanted: Wanted,
    ) -> Self {
        Self { parts: Arc::new(Parts { db, decider, runner, agents }), wanted }
    }

    /// Runs until shutdown. Dropping a voucher under way is harmless: it is stored, and taken twice as once.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut sends = JoinSet::new();
        let mut under_way: HashMap<Id, ChannelId> = HashMap::new();
        // The newest for each channel of which one is under way. That one is not dropped: where vouchers come faster than answers,
        // none would ever be acknowledged.
        let mut next: HashMap<ChannelId, Option<Sending>> = HashMap::new();
        loop {
            let (channel, sending) = tokio::select! {
                wanted = self.wanted.0.recv() => match wanted {
                    Some(wanted) => wanted,
                    None => break,
                },
                Some(ended) = sends.join_next_with_id() => {
                    let id = match ended {
                        Ok((id, ())) => id,
                        Err(error) => {
                            tracing::error!(%error, "sending a voucher ended unexpectedly; it is sent again once its time is over");
                            error.id()
                        }
                    };
                    let Some(channel) = under_way.remove(&id) else { continue };
                    match next.remove(&channel).flatten() {
                        Some(sending) => (channel, sending),
                        None => continue,
                    }
                }
                () = shutdown.cancelled() => break,
            };
            if let Some(waiting) = next.get_mut(&channel) {
                *waiting = Some(sending);
                continue;
            }
            next.insert(channel, None);
            let parts = Arc::clone(&self.parts);
            let send = sends.spawn(async move {
                if let Err(error) = parts.deliver(channel, sending).await {
                    tracing::error!(%channel, %error, "a voucher is not sent; it is sent again once its time is over");
                }
            });
            under_way.insert(send.id(), channel);
        }
    }
}

impl Parts {
    /// Sends the channel's best stored voucher once, and has the answer decided.
    async fn deliver(&self, channel: ChannelId, sending: Sending) -> Result<(), NodeError> {
        let stored = self.decider.load(&mut *self.db.read().await?, channel).await?;
        let left = sending.until.since(self.decider.outlook().uptime());
        let Some(voucher) = stored.voucher.filter(|voucher| voucher.cumulative() >= sending.cumulative)
        else {
            let reason = format!("none over {} is stored", sending.cumulative);
            return Err(NodeError::DamagedVoucher { channel, reason });
        };
        // What is sent too late is not sent: it shows nothing about the agent.
        let patience = left.saturating_sub(MARGIN);
        if patience.is_zero() {
            return Ok(());
        }
        let (sent, used) = (voucher.cumulative(), stored.state.counted());
        let paying = self.agents.pay(&stored.state.descriptor, voucher, used);
        let asked = tokio::time::timeout(patience, paying).await;
        let answer = asked.unwrap_or_else(|_| Err(too_late()));
        match &answer {
            Ok(heard) => tracing::debug!(%channel, cumulative = %heard.acknowledged(), "voucher answered"),
            Err(error) => tracing::warn!(%channel, %error, "the voucher is not acknowledged yet"),
        }
        let Some(message) = to_voucher(&answer, sent, sending.seq) else { return Ok(()) };
        let input = Input::Peer(message);
        let decided = match answer.ok().and_then(|heard| heard.signed()) {
            Some(signed) => {
                let decided = self.decider.decide_with(channel, input, &self.runner.adopting(signed)).await;
                self.decider.mark(channel); // what depends on the stored voucher may be another
                decided
            }
            None => self.decider.decide(channel, input).await,
        };
        match decided {
            Ok(_) | Err(NotApplied::NoState(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
