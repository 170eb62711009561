//! Channels in sessions with their agents: proved on each connection, and heard of while it lasts.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use privatix_channel::{
    ChannelDescriptor, ChannelId, Phase, ServiceState, SignedVoucher, Usage, Voucher, VoucherVerifier,
};
use privatix_market::{Carried, Client, ClientMessage, Input, Shown, Uptime, Verified};
use privatix_node::shell::NotApplied;
use privatix_node::{Decider, Node, NodeError};
use privatix_offering::{ChannelProof, SignatureProblem, SignedReceipt};
use privatix_somc::{ClientError, Notice, Notices, Peer, Refusal, SessionId, Standing};
use privatix_store::receipts;
use privatix_store::states::Stored;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::agents::heard;
use crate::answers::{Heard, Stands, Unheard};

/// The sessions with agents on which channels are proved.
pub(crate) struct Sessions {
    node: Arc<Node>,
    /// Who decides about the channels, once it is there. It holds whatever holds this.
    decider: OnceLock<Weak<Decider<Client>>>,
    /// Those that are listened to.
    open: Mutex<HashMap<SessionId, Open>>,
    /// The channels whose receipts are being fetched unasked.
    fetching: Mutex<BTreeSet<ChannelId>>,
    /// Ends all that is done here unasked. Such a task holds the node, and its connection.
    stop: CancellationToken,
}

/// How often a session is listened to at most.
const PACE: Duration = Duration::from_millis(50);
/// For a receipt that nobody waits for.
const RECEIPT_WITHIN: Duration = Duration::from_secs(20);

/// A session that is listened to.
struct Open {
    /// When it began: the same for all that comes on it.
    since: Uptime,
    /// The channels that were proved on it.
    channels: BTreeSet<ChannelId>,
}

/// After which idleness a connection is used, at least and at most, whatever its server permits.
const KEPT: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(10));

impl Sessions {
    pub(crate) fn new(node: &Arc<Node>) -> Arc<Self> {
        Arc::new(Self {
            node: Arc::clone(node),
            decider: OnceLock::new(),
            open: Mutex::default(),
            fetching: Mutex::default(),
            stop: CancellationToken::new(),
        })
    }

    /// What agents send unasked is decided by this decider from now on.
    pub(crate) fn start(&self, decider: &Arc<Decider<Client>>) {
        let _ = self.decider.set(Arc::downgrade(decider)); // a client runs once
    }

    /// What ends the tasks of these sessions: they are not to outlive the client.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Does something beside what was asked for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            let _ = stop.run_until_cancelled(task).await; // `None` at the end
        });
    }

    fn decider(&self) -> Option<Arc<Decider<Client>>> {
        self.decider.get().and_then(Weak::upgrade)
    }

    /// Where the channel stands by its agent's books; `None` where the agent talks in clear.
    pub(crate) async fn attach(
        self: &Arc<Self>,
        peer: &Peer,
        channel: &ChannelDescriptor,
    ) -> Result<Option<Stands>, Unheard> {
        let ask = |client| async move { self.prove(peer, channel, &client).await };
        let attached = peer.on_connection(ask).await.map_err(|error| heard(peer, error))??;
        Ok(attached.map(|(standing, since)| self.stands(channel, &standing, since)))
    }

    /// Hears of a channel from now on to which the agent has just given access, though nothing is paid yet.
    pub(crate) async fn hear(self: Arc<Self>, peer: Peer, channel: ChannelDescriptor) {
        match self.attach(&peer, &channel).await {
            // A voucher that comes with it is adopted where the channel's state asks for it.
            Ok(Some(Stands { acknowledged, carried, signed: None })) => {
                let id = channel.id(self.node.domain());
                self.decide(id, ClientMessage::Known { acknowledged, carried }).await;
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the agent does not show yet where the channel stands"),
        }
    }

    /// The agent's receipt for a channel, which is checked and kept; `None` where the agent talks in clear.
    pub(crate) async fn receipt(
        self: &Arc<Self>,
        peer: &Peer,
        channel: &ChannelDescriptor,
    ) -> Result<Option<SignedReceipt>, Unheard> {
        let id = channel.id(self.node.domain());
        let ask = |client: privatix_somc::Client| async move {
            if !client.is_attached(id) {
                match self.prove(peer, channel, &client).await? {
                    Ok(Some(_)) => {}
                    Ok(None) => return Ok(Ok(None)),
                    Err(unheard) => return Ok(Err(unheard)),
                }
            }
            client.receipt(id).await.map(|receipt| Ok(Some(receipt)))
        };
        let Some(receipt) = peer.on_connection(ask).await.map_err(|error| heard(peer, error))?? else {
            return Ok(None);
        };
        self.check(channel, &receipt).await?;
        let kept = async {
            let mut tx = self.node.db().begin().await?;
            let said = receipt.unverified();
            receipts::keep(&mut tx, said.channel, (said.cumulative, said.block), &receipt).await?;
            Ok::<_, NodeError>(tx.commit().await?)
        };
        kept.await?;
        Ok(Some(receipt))
    }

    /// Checks that a receipt is about this channel, and by its agent or by the operator that the chain shows now.
    async fn check(&self, channel: &ChannelDescriptor, receipt: &SignedReceipt) -> Result<(), Unheard> {
        let (domain, agent) = (self.node.domain(), channel.agent);
        if receipt.unverified().channel != channel.id(domain) {
            return Err(Unheard::Unusable("its receipt is for another channel".to_owned()));
        }
        let mut verified = receipt.verify(domain, agent, None);
        if let Err(SignatureProblem::WrongSigner { .. }) = verified {
            // Not the agent itself: the chain is asked for its operator.
            let operator = self.node.operator_of(agent).await?;
            verified = receipt.verify(domain, agent, operator);
        }
        verified.map(drop).map_err(|error| Unheard::Unusable(format!("its receipt: {error}")))
    }

    /// Keeps a receipt of a service that does not run: it is there when somebody asks why.
    fn keep_receipt(self: Arc<Self>, peer: Peer, id: ChannelId) -> BoxFuture<'static, ()> {
        // Boxed, because it may begin a session, which is listened to, which leads here.
        async move {
            let Some(decider) = self.decider() else { return };
            let descriptor = async {
                let mut conn = self.node.db().read().await.ok()?;
                decider.load(&mut conn, id).await.ok().map(|stored| stored.state.descriptor)
            };
            let Some(descriptor) = descriptor.await else { return };
            // One at a time, however many notices there are.
            if !self.fetching.lock().insert(id) {
                return;
            }
            match self.receipt(&peer.tried_once(RECEIPT_WITHIN), &descriptor).await {
                Ok(_) => tracing::debug!(channel = %id, "the agent's receipt is kept"),
                Err(error) => tracing::debug!(channel = %id, %error, "no receipt of the agent"),
            }
            self.fetching.lock().remove(&id);
        }
        .boxed()
    }

    /// Sends a voucher, after the channel is proved on the connection, if it is one on which that can be done.
    pub(crate) async fn pay(
        self: &Arc<Self>,
        peer: &Peer,
        channel: &ChannelDescriptor,
        voucher: SignedVoucher,
        used: Usage,
    ) -> Result<Heard, Unheard> {
        let id = channel.id(self.node.domain());
        let ask = |client: privatix_somc::Client| async move {
            let since = match client.session() {
                Some(session) if client.is_attached(id) => {
                    self.open.lock().get(&session).map(|open| open.since)
                }
                _ => match self.prove(peer, channel, &client).await {
                    Ok(Ok(attached)) => attached.map(|(_, since)| since),
                    Ok(Err(unheard)) => return Ok(Err(unheard)),
                    // It takes no more proofs on this connection, and vouchers all the same.
                    Err(ClientError::Refused(Refusal::Busy { .. })) => None,
                    Err(error) => return Err(error),
                },
            };
            let Some(since) = since else {
                return client.pay(voucher).await.map(|paid| Ok(Heard::Acknowledged(paid.cumulative)));
            };
            let standing = client.pay_attached(voucher, used).await?;
            Ok(Ok(Heard::Stands(Box::new(self.stands(channel, &standing, since)))))
        };
        peer.on_connection(ask).await.map_err(|error| heard(peer, error))?
    }

    /// Proves a channel on a connection, and listens to it from then on. Gives where the channel stands, and when the session began.
    async fn prove(
        self: &Arc<Self>,
        peer: &Peer,
        channel: &ChannelDescriptor,
        client: &privatix_somc::Client,
    ) -> Result<Result<Option<(Standing, Uptime)>, Unheard>, ClientError> {
        let Some(session) = client.session() else { return Ok(Ok(None)) };
        let proof = ChannelProof::sign(channel, self.node.domain(), session, self.node.signer());
        let proof = match proof {
            Ok(proof) => proof,
            Err(error) => {
                let reason = error.to_string();
                return Ok(Err(Unheard::Ours(NodeError::Signing { what: "a proof of a channel", reason })));
            }
        };
        let now = self.decider().map_or_else(Uptime::default, |decider| decider.outlook().uptime());
        let (is_new, since) = {
            let mut all = self.open.lock();
            let is_new = !all.contains_key(&session);
            let open = all.entry(session).or_insert_with(|| Open { since: now, channels: BTreeSet::new() });
            open.channels.insert(proof.channel);
            (is_new, open.since)
        };
        if is_new {
            // Before the answer: what it shows may change at once.
            let (notices, idle) = (client.notices(), client.idle_timeout());
            self.spawn(Arc::clone(self).listen(peer.clone(), notices, (session, since), idle));
        }
        client.attach(proof).await.map(|standing| Ok(Some((standing, since))))
    }

    /// Has what the agent sends decided until the connection ends, and keeps it while a channel is served.
    async fn listen(
        self: Arc<Self>,
        peer: Peer,
        mut notices: Notices,
        (session, since): (SessionId, Uptime),
        idle_timeout: Duration,
    ) {
        let half = idle_timeout.checked_div(2).unwrap_or(idle_timeout);
        let mut keep = tokio::time::interval(half.clamp(KEPT.0, KEPT.1));
        keep.reset(); // it was used just now
        // Each may be a commit. Of those that wait the newest of each channel is taken.
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                notice = async { pace.tick().await; notices.next().await } => {
                    let Some(Notice { channel, view }) = notice else { break };
                    self.decide(channel, ClientMessage::View(Shown { connected: since, view })).await;
                    if matches!(view.service, ServiceState::Suspended | ServiceState::Ended) {
                        self.spawn(Arc::clone(&self).keep_receipt(peer.clone(), channel));
                    }
                }
                _ = keep.tick() => {
                    if self.is_needed(&self.channels(session)).await {
                        let _ = peer.ping().await; // a failure ends the connection
                    }
                }
            }
        }
        let open = self.open.lock().remove(&session);
        for channel in open.into_iter().flat_map(|open| open.channels) {
            self.decide(channel, ClientMessage::Disconnected { connected: since }).await;
        }
    }

    fn channels(&self, session: SessionId) -> BTreeSet<ChannelId> {
        self.open.lock().get(&session).map(|open| open.channels.clone()).unwrap_or_default()
    }

    /// Whether one of these channels is served still.
    async fn is_needed(&self, channels: &BTreeSet<ChannelId>) -> bool {
        let Some(decider) = self.decider() else { return false };
        for channel in channels {
            let Ok(mut conn) = self.node.db().read().await else { return true };
            match decider.load(&mut conn, *channel).await {
                Ok(Stored { state, .. })
                    if state.chain.phase() == Phase::Open && state.own.ending.is_none() =>
                {
                    return true;
                }
                _ => {}
            }
        }
        false
    }

    async fn decide(&self, channel: ChannelId, message: ClientMessage) {
        let Some(decider) = self.decider() else { return };
        match decider.decide(channel, Input::Peer(message)).await {
            Ok(_) | Err(NotApplied::NoState(_)) => {}
            Err(error) => {
                tracing::error!(%channel, %error, "what the agent shows of a channel is not taken in; the next answer shows it again");
            }
        }
    }

    /// An agent's answer, with its voucher if that is this side's signature.
    fn stands(&self, channel: &ChannelDescriptor, standing: &Standing, since: Uptime) -> Stands {
        let domain = self.node.domain();
        let id = channel.id(domain);
        let signed = standing.voucher.map(|(cumulative, signature)| SignedVoucher {
            voucher: Voucher { channel: id, cumulative },
            signature,
        });
        let verifier = VoucherVerifier::new(*domain, channel);
        let best = signed.and_then(|signed| match Verified::check(&verifier, &signed) {
            Ok(verified) => Some((verified, signed)),
            Err(error) => {
                tracing::warn!(channel = %id, cumulative = %signed.cumulative(), %error, "the agent's answer carries a voucher that this side has not signed");
                None
            }
        });
        let view = Some(Shown { connected: since, view: standing.view });
        Stands {
            acknowledged: standing.cumulative,
            carried: Carried { view, best: best.map(|(verified, _)| verified) },
            signed: best.map(|(_, signed)| signed),
        }
    }
}
