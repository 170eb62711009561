//! The agents of a node's channels, over the network: [`NodeAgents`].

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use alloy::primitives::Bytes;
use async_trait::async_trait;
use parking_lot::RwLock;
use privatix_billing::Terms;
use privatix_channel::{ChannelDescriptor, ChannelId, SignedVoucher, Usage};
use privatix_market::Client;
use privatix_node::{Decider, Node, NodeError, Notices, Part, after};
use privatix_offering::{
    AccessKey, AccessRequest, DescribedAccessRequest, RequestError, SignedOffering, SignedReceipt,
};
use privatix_somc::{ClientError, NumberedAccess, Peer, Refusal, Transport};
use privatix_store::offerings;
use tokio_util::sync::DropGuard;

use crate::answers::{Heard, Stands, Unheard};
use crate::asks::{Agents, GivenAccess};
use crate::client::ClientSettings;
use crate::offerings::{Announcers as _, Offerings};
use crate::peers::{Dialler, Peers, no_answer};
use crate::sessions::Sessions;

/// Reaches agents at the addresses that they announced, as far as the user permits that.
pub struct NodeAgents {
    node: Arc<Node>,
    peers: Arc<Peers>,
    sessions: Arc<Sessions>,
    /// The tasks of the sessions end with this at the latest.
    _ends_sessions: DropGuard,
    /// How what anybody may have announced is fetched.
    fetching: RwLock<Arc<Offerings>>,
    settings: ClientSettings,
}

impl std::fmt::Debug for NodeAgents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeAgents").field("peers", &self.peers).finish_non_exhaustive()
    }
}

impl NodeAgents {
    /// Agents over this transport. What anybody may have announced is fetched over `fetching`, which may be the same.
    pub fn new(
        node: &Arc<Node>,
        transport: Arc<dyn Transport>,
        fetching: Arc<dyn Transport>,
        settings: &ClientSettings,
    ) -> Self {
        let peers = Peers::new(Arc::clone(node), dialler(transport, settings), settings.least_version);
        let fetching = Offerings::new(Arc::clone(node), dialler(fetching, settings));
        let sessions = Sessions::new(node);
        Self {
            node: Arc::clone(node),
            peers: Arc::new(peers),
            _ends_sessions: sessions.stop().clone().drop_guard(),
            sessions,
            fetching: RwLock::new(Arc::new(fetching)),
            settings: settings.clone(),
        }
    }

    /// Has decided what agents send unasked, and what this decider's channels need of their connections.
    pub fn listen(&self, decider: &Arc<Decider<Client>>) {
        self.sessions.start(decider);
    }

    /// Listens to no agent any more.
    pub(crate) fn stop(&self) {
        self.sessions.stop().cancel();
    }

    /// Fetches what anybody may have announced over this transport from now on.
    pub fn fetch_over(&self, transport: Arc<dyn Transport>) {
        let fetching = Offerings::new(Arc::clone(&self.node), dialler(transport, &self.settings));
        *self.fetching.write() = Arc::new(fetching);
    }

    /// Asks for the receipt of a channel, and keeps it. `None` where the agent cannot sign one that it proved, as it talks in clear.
    pub(crate) async fn receipt(
        &self,
        channel: &ChannelDescriptor,
    ) -> Result<Option<SignedReceipt>, Unheard> {
        let (peer, _) = self.agent(channel).await?;
        let once = peer.tried_once(RECEIPT_WITHIN);
        match tokio::time::timeout(RECEIPT_WITHIN, self.sessions.receipt(&once, channel)).await {
            Ok(receipt) => receipt,
            Err(_) => Err(Unheard::Silent(format!("it did not answer within {RECEIPT_WITHIN:?}"))),
        }
    }

    /// The connections to agents.
    pub(crate) const fn peers(&self) -> &Arc<Peers> {
        &self.peers
    }

    /// What fetches the messages of offerings.
    pub(crate) fn offerings(&self) -> Arc<Offerings> {
        Arc::clone(&self.fetching.read())
    }

    /// A channel is closed: that its agent cannot be contacted is not shown any more.
    pub fn closed(&self, channel: ChannelId) {
        self.peers.excluded.remove(channel);
    }

    /// The agent of a channel whose offering's message is here.
    async fn agent(&self, channel: &ChannelDescriptor) -> Result<(Peer, Arc<SignedOffering>), Unheard> {
        let (agent, hash) = (channel.agent, channel.offering);
        let announcement = {
            let mut conn = self.node.db().read().await.map_err(NodeError::from)?;
            offerings::get(&mut conn, agent, hash).await.map_err(NodeError::from)?.announcement
        };
        let offering = self.node.offering(agent, hash).await?;
        match self.peers.keep(&announcement, &offering) {
            Ok(peer) => Ok((peer, offering)),
            Err(NodeError::NotPermitted(refusal)) => {
                let id = channel.id(self.node.domain());
                if self.peers.excluded.add(id, refusal.to_string()) {
                    tracing::warn!(channel = %id, %refusal, "the agent cannot be contacted; ending the service");
                }
                Err(NodeError::NotPermitted(refusal).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks by this machine's clock, and where the agent finds that wrong, by the chain's time, which it sees, too: no time that somebody
    /// else names is ever signed.
    async fn ask_for_access(&self, channel: &ChannelDescriptor) -> Result<GivenAccess, Unheard> {
        let ours = SystemTime::now();
        let answer = self.ask_for_access_at(channel, ours).await;
        let chain = self.node.chain_now().filter(|_| self.node.require_view().is_ok());
        let (answer, asked_by) = match (answer, chain) {
            (Err(Unheard::Refused(Refusal::Expired { .. })), Some(chain)) => {
                (self.ask_for_access_at(channel, chain).await, Clock::Chain { away: apart(ours, chain) })
            }
            (answer, _) => (answer, Clock::Ours),
        };
        note_clock(self.node.notices(), asked_by, &answer);
        answer
    }

    async fn ask_for_access_at(
        &self,
        channel: &ChannelDescriptor,
        now: SystemTime,
    ) -> Result<GivenAccess, Unheard> {
        let (peer, offering) = self.agent(channel).await?;
        let node = &self.node;
        // A key for this one answer: nobody can open it later.
        let key = AccessKey::generate();
        let (domain, signer, recipient) = (node.domain(), node.signer(), key.public());
        let begun = Instant::now();
        let ask = |client: privatix_somc::Client| async move {
            let now = after(now, begun.elapsed()); // an agent takes each moment once
            if client.session().is_none() {
                return match AccessRequest::sign(channel, domain, recipient, now, signer) {
                    Ok(request) => Ok(Ok((client.access(request).await?, None))),
                    Err(error) => Ok(Err(unsigned(&error))),
                };
            }
            // No plug-in has anything to give yet.
            match DescribedAccessRequest::sign(channel, domain, recipient, Bytes::new(), now, signer) {
                Ok(request) => {
                    let NumberedAccess { sealed, access } = client.access_described(request).await?;
                    Ok(Ok((sealed, Some(access))))
                }
                Err(error) => Ok(Err(unsigned(&error))),
            }
        };
        let (sealed, number) = peer.on_connection(ask).await.map_err(|error| heard(&peer, error))??;
        let opened = crate::access::open(node, channel, offering.message().template, &sealed, &key).await?;
        let access = opened.map_err(|error| Unheard::Unusable(error.to_string()))?;
        self.sessions.spawn(Arc::clone(&self.sessions).hear(peer, *channel));
        Ok(GivenAccess { access, number })
    }
}

/// For a receipt for which somebody waits.
const RECEIPT_WITHIN: Duration = Duration::from_secs(20);

/// The part of a node whose notice shows that a clock is wrong.
const CLOCK: Part = Part::Clock;

/// The clock by which access was asked for last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    /// This machine's.
    Ours,
    /// The chain's, from which this machine's differs by so much.
    Chain { away: Duration },
}

fn unsigned(error: &RequestError) -> Unheard {
    let reason = error.to_string();
    Unheard::Ours(NodeError::Signing { what: "a request for access", reason })
}

fn apart(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|error| error.duration())
}

/// Shows that a clock is wrong: that of this machine, if only the chain's time brought access; else that of an agent, or of both. Access is
/// refused then, and the channel given up if that lasts, and the user would not know why.
fn note_clock(notices: &Notices, asked_by: Clock, answer: &Result<GivenAccess, Unheard>) {
    match (answer, asked_by) {
        (Ok(_), Clock::Ours) => notices.set(CLOCK, None),
        (Ok(_), Clock::Chain { away }) => {
            let seconds = away.as_secs();
            let notice = format!(
                "this machine's clock is {seconds} s away from the chain's time, so access is asked for by the chain's: set the clock"
            );
            notices.set(CLOCK, Some(notice));
        }
        (Err(Unheard::Refused(refusal @ Refusal::Expired { .. })), _) => {
            let notice = format!(
                "the clock of an agent is wrong, or this machine's is and no recent block is seen, so there is no access: {refusal}"
            );
            notices.set(CLOCK, Some(notice));
        }
        (Err(_), _) => {}
    }
}

fn dialler(transport: Arc<dyn Transport>, settings: &ClientSettings) -> Dialler {
    Dialler {
        transport,
        contact: settings.contact,
        limits: settings.limits.clone(),
        retry: settings.retry.clone(),
    }
}

pub(crate) fn heard(peer: &Peer, error: ClientError) -> Unheard {
    match error.refusal() {
        Some(refusal) => Unheard::Refused(refusal.clone()),
        None => no_answer(peer)(error).into(),
    }
}

#[async_trait]
impl Agents for NodeAgents {
    async fn access(&self, channel: &ChannelDescriptor) -> Result<GivenAccess, Unheard> {
        self.ask_for_access(channel).await
    }

    async fn terms(&self, channel: &ChannelDescriptor) -> Result<Arc<Terms>, Unheard> {
        let (agent, hash) = (channel.agent, channel.offering);
        let terms = |offering: &SignedOffering| Arc::new(offering.terms().clone());
        let db = self.node.db();
        let stored = {
            let mut conn = db.read().await.map_err(NodeError::from)?;
            offerings::get(&mut conn, agent, hash).await.map_err(NodeError::from)?
        };
        if stored.message.is_some() {
            return Ok(terms(&*self.node.offering(agent, hash).await?));
        }
        let offering = self.offerings().offering((agent, hash), &stored.announcement).await?;
        let (country, wire) = (offering.message().country.code(), offering.wire().to_vec());
        let stored: Result<(), NodeError> = async {
            let mut tx = db.begin().await?;
            offerings::set_message(&mut tx, agent, hash, wire, country).await?;
            Ok(tx.commit().await?)
        }
        .await;
        stored?;
        tracing::info!(offering = %hash, %agent, "offering fetched and checked");
        Ok(terms(&offering))
    }

    async fn attach(&self, channel: &ChannelDescriptor) -> Result<Option<Stands>, Unheard> {
        let (peer, _) = self.agent(channel).await?;
        self.sessions.attach(&peer, channel).await
    }

    async fn pay(
        &self,
        channel: &ChannelDescriptor,
        voucher: SignedVoucher,
        used: Usage,
    ) -> Result<Heard, Unheard> {
        let (peer, _) = self.agent(channel).await?;
        self.sessions.pay(&peer, channel, voucher, used).await
    }

    async fn permits(&self, channel: &ChannelDescriptor) -> Result<(), Unheard> {
        self.agent(channel).await.map(drop)
    }

    async fn ping(&self, channel: &ChannelDescriptor) -> Result<(), Unheard> {
        let (peer, _) = self.agent(channel).await?;
        peer.ping().await.map(drop).map_err(|error| heard(&peer, error))
    }
}

#[cfg(test)]
mod tests {
    use privatix_store::channels::StoredAccess;

    use super::*;

    #[test]
    fn a_wrong_clock_is_shown_until_access_comes() {
        let notices = Notices::default();
        let away = Duration::from_mins(7);
        let shown = |says: &str| {
            let all = notices.all();
            let [(part, notice)] = &all[..] else { panic!("not one notice") };
            assert!(*part == CLOCK.as_str() && notice.contains(says), "{notice}");
        };
        let access = || {
            let (username, password) = (String::new(), String::new());
            let access = StoredAccess { username, password, endpoint: serde_json::Value::Null };
            Ok(GivenAccess { access, number: None })
        };
        note_clock(&notices, Clock::Ours, &Err(Unheard::Refused(Refusal::Expired { away })));
        for other in [Refusal::Internal, Refusal::not_ready(away)] {
            note_clock(&notices, Clock::Ours, &Err(Unheard::Refused(other)));
        }
        shown("set the clock");
        // The chain's time was right, so this machine's is not.
        note_clock(&notices, Clock::Chain { away }, &access());
        shown("this machine's clock is 420 s away");
        note_clock(&notices, Clock::Chain { away }, &Err(Unheard::Refused(Refusal::Expired { away })));
        shown("the clock of an agent is wrong");
        note_clock(&notices, Clock::Ours, &access());
        assert_eq!(notices.all(), []);
    }
}
