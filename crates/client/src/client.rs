//! The buyer and what a user can do with it: [`Client`], [`ClientHandle`].

mod browse;
mod shown;

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use privatix_adapter as adapter;
use privatix_billing::{ClientPolicy, min_deposit};
use privatix_channel::{Amount, ChannelDescriptor, ChannelId, OfferingHash, Phase};
use privatix_jobs::JobRecord;
use privatix_market::offering::OfferingPolicy;
use privatix_market::{ClientState, Opening};
use privatix_node::{Given, Node, NodeError, NodeParts};
use privatix_offering::{ContactPolicy, SignedOffering, VersionRange};
use privatix_somc::{ClientLimits, Peer, RetryPolicy, Transport};
use privatix_store::agents_seen;
use privatix_store::offerings::{self, Offering};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use self::browse::Listing;
use crate::agents::NodeAgents;
use crate::budget::Limits;
use crate::decisions::{Decisions, DecisionsParts};
use crate::offerings::{AskOffering, OfferingAsker, OfferingDecisions};
use crate::orders::{ChannelOrders, Ordered, opening_nonce};
use crate::peers::{Peers, no_answer};
use crate::role::ClientRole;

/// How a client behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientSettings {
    /// When to pay and to top up.
    pub policy: ClientPolicy,
    /// What may be spent on channels. What was locked in a channel counts in full, also once a part of it came back.
    pub budget: Limits,
    /// The only agents with which channels are opened; `None` for all. Channels that are open with others go on.
    pub allowed_agents: Option<Vec<Address>>,
    /// Ask on chain to close a channel whose service has ended when its agent has not closed it within this time (default:
    /// one hour). `None`: only by command.
    pub request_close_after: Option<Duration>,
    /// How long an agent may take to hand over access to a channel that is open (default one hour). Its service is ended
    /// then.
    pub access_within: Duration,
    /// Which of their addresses agents may be reached at, and in which order (default: onion services only).
    pub contact: ContactPolicy,
    /// The lowest version of the messaging protocol that is spoken with agents (default 1). With 2, agents that prove no key are not
    /// talked to; with 1, only such as never proved one here are talked to in clear.
    pub least_version: u16,
    /// How long to wait for agents.
    pub limits: ClientLimits,
    /// How often to ask agents again.
    pub retry: RetryPolicy,
    /// How often agents are asked for their offerings, and which of these are shown.
    pub offerings: OfferingPolicy,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            policy: ClientPolicy::default(),
            budget: Limits::default(),
            allowed_agents: None,
            request_close_after: Some(Duration::from_hours(1)),
            access_within: Duration::from_hours(1),
            contact: ContactPolicy::default(),
            least_version: VersionRange::SPOKEN.min(),
            limits: ClientLimits::default(),
            retry: RetryPolicy::default(),
            offerings: OfferingPolicy::default(),
        }
    }
}

impl ClientSettings {
    /// What decisions follow.
    fn decisions(&self) -> privatix_market::ClientPolicy {
        let mut policy = privatix_market::ClientPolicy::default();
        policy.billing = self.policy;
        policy.allowed.clone_from(&self.allowed_agents);
        policy.access_within = self.access_within;
        policy.agent_closes_within = self.request_close_after.unwrap_or(Duration::MAX);
        policy
    }
}

/// A buyer: see the [crate's example](crate).
pub struct Client {
    handle: ClientHandle,
    decisions: Arc<Decisions>,
    agents: Arc<NodeAgents>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client that reaches agents over `transport`, as far as
    /// [`settings.contact`](ClientSettings::contact) permits.
    ///
    /// # Errors
    /// As [`Node::open`].
    pub async fn new(
        parts: NodeParts,
        transport: Arc<dyn Transport>,
        settings: ClientSettings,
    ) -> Result<Self, NodeError> {
        let node = Node::open(parts, adapter::Role::Client).await?;
        let agents = Arc::new(NodeAgents::new(&node, Arc::clone(&transport), transport, &settings));
        let views = {
            let (marks, agents) = (node.marks().clone(), Arc::clone(&agents));
            move |state: &ClientState, _: u64| {
                marks.mark_totals(state.id);
                if matches!(state.chain.phase(), Phase::Closed { .. }) {
                    agents.closed(state.id);
                }
            }
        };
        let mut policy = settings.decisions();
        policy.accept_fee = node.accepted_fee().unwrap_or(policy.accept_fee);
        let parts = DecisionsParts {
            policy,
            offerings: settings.offerings,
            limits: settings.budget,
            agents: agents.clone(),
            views: Arc::new(views),
        };
        let decisions = Arc::new(Decisions::start(&node, parts).await?);
        agents.listen(decisions.decider());
        let (peers, orders) = (Arc::clone(agents.peers()), decisions.orders());
        let offerings = Arc::clone(decisions.offerings());
        Ok(Self {
            handle: ClientHandle { node, peers, agents: Arc::clone(&agents), orders, offerings },
            decisions,
            agents,
        })
    }

    /// Fetches the messages of offerings over a transport of their own, such as one that hides the client's address from
    /// all the agents that it only looks at.
    #[must_use]
    pub fn fetch_over(self, transport: Arc<dyn Transport>) -> Self {
        self.agents.fetch_over(transport);
        self
    }

    /// What a user can do with it, while it runs.
    pub fn handle(&self) -> ClientHandle {
        self.handle.clone()
    }

    /// Buys until shutdown.
    ///
    /// # Errors
    /// What only an operator can mend. Trouble that passes is retried and logged.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), NodeError> {
        let Self { handle: ClientHandle { node, .. }, decisions, agents } = self;
        let role = Arc::new(ClientRole::new(Arc::clone(&node), Arc::clone(&decisions)));
        let stop = shutdown.child_token();
        let deciding = tokio::spawn({
            let (decisions, stop) = (Arc::clone(&decisions), stop.clone());
            async move {
                let _stop_if_it_ends = stop.clone().drop_guard(); // no channel would end then
                Box::pin(decisions.run(&stop)).await; // large, and runs for long
            }
        });
        let db = node.db().clone();
        let fetching = agents.offerings();
        let register = move |processor: privatix_jobs::ProcessorBuilder| {
            let asker = OfferingAsker::new(db, Arc::clone(decisions.offerings()), fetching);
            decisions.register(processor.register::<AskOffering, _>(asker))
        };
        let outcome = Box::pin(node.run(role, register, stop.clone())).await;
        stop.cancel();
        agents.stop();
        let decided = deciding.await;
        outcome?;
        decided.map_err(|error| NodeError::TaskEnded {
            task: "decisions about channels",
            reason: error.to_string(),
        })
    }
}

/// For an agent to show that it is there, before a deposit is locked for it. The user waits meanwhile, and the control API
/// gives a request a minute.
const PRESENT_WITHIN: Duration = Duration::from_secs(45);
/// For a connection to it at each kind of address.
const CONNECTED_WITHIN: Duration = Duration::from_secs(20);

async fn ask_whether_there(peer: &Peer) -> Result<(), NodeError> {
    let once = peer.tried_once(CONNECTED_WITHIN);
    match timeout(PRESENT_WITHIN, once.ping()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(no_answer(peer)(error)),
        Err(_) => Err(NodeError::Peer {
            address: peer.address().to_string(),
            reason: format!(
                "it did not answer within {PRESENT_WITHIN:?}, so no channel is opened; try again later"
            ),
        }),
    }
}

/// What a user can do with a client. Cheap to clone.
#[derive(Clone)]
pub struct ClientHandle {
    node: Arc<Node>,
    peers: Arc<Peers>,
    agents: Arc<NodeAgents>,
    orders: ChannelOrders,
    offerings: Arc<OfferingDecisions>,
}

impl std::fmt::Debug for ClientHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientHandle").field("node", &self.node).finish_non_exhaustive()
    }
}

impl ClientHandle {
    /// What the client shares with agents: balances, deposits, channels, jobs, transactions.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Opens a channel under an offering, with the least deposit unless another is given; goes on in the background. `deposit` is in
    /// base units of the token.
    ///
    /// The contract is asked about the offering first, because an endpoint may have left out its events; and the agent whether it
    /// is there: a deposit that is locked for an agent that has gone takes a challenge
    /// period to come back.
    ///
    /// # Errors
    /// [`NodeError::Refused`] for an offering that cannot be accepted as asked; [`NodeError::Limited`] for what
    /// [`budget`](ClientSettings::budget), [`allowed_agents`](ClientSettings::allowed_agents) or the accepted network fee do not allow;
    /// [`NodeError::NotPermitted`] when its agent
    /// has no address that may be used; [`NodeError::Peer`] when the agent does not answer within 45 seconds;
    /// [`NodeError::Offline`] when this side has no connection to the network; [`NodeError::Insufficient`];
    /// [`NodeError::StaleView`]; [`NodeError::Clock`] while this machine's clock contradicts the chain's time.
    pub async fn accept(
        &self,
        agent: Option<Address>,
        offering: OfferingHash,
        deposit: Option<Amount>,
    ) -> Result<Ordered, NodeError> {
        self.accept_as((agent, offering), deposit, Given::by_user()).await
    }

    /// [`accept`](Self::accept) by an order that may have a key: given again under it, for the same deposit or none, it is the order that
    /// was taken before.
    ///
    /// # Errors
    /// As [`accept`](Self::accept); [`NodeError::Store`] where the key was used for something else.
    pub async fn accept_as(
        &self,
        (agent, offering): (Option<Address>, OfferingHash),
        deposit: Option<Amount>,
        given: Given,
    ) -> Result<Ordered, NodeError> {
        if let Some(before) = self.given_before((agent, offering), deposit, &given).await? {
            return Ok(before);
        }
        self.node.require_view()?;
        let (found, message) = self.choose(agent, offering).await?;
        let peer = self.peers.keep(&found.announcement, &message)?;
        let least = min_deposit(message.terms()).max(found.announcement.min_deposit);
        let deposit = deposit.unwrap_or(least);
        if deposit < least {
            return Err(NodeError::Refused(format!(
                "offering {offering} takes a deposit of at least {least} base units, not {deposit}: deposit at least that"
            )));
        }
        if deposit > Amount::MAX_ON_CHAIN {
            return Err(NodeError::Refused(format!(
                "a channel holds at most {} base units: deposit less",
                Amount::MAX_ON_CHAIN
            )));
        }
        let has = self.node.balances().await?;
        let available = has.contract.max(has.wallet);
        if available < deposit {
            return Err(NodeError::Insufficient {
                what: "the channel's deposit",
                needed: deposit,
                available,
                remedy: "send tokens to the account or `deposit` what is in the wallet",
            });
        }
        let on_contract = self.node.offering_on_contract(found.agent, offering).await?;
        if let Some(reason) = on_contract.refuses(deposit) {
            return Err(NodeError::Refused(format!(
                "the contract would refuse this channel: offering {offering} {reason}"
            )));
        }
        let descriptor = self.descriptor(found.agent, offering, given.key.as_deref());
        let id = descriptor.id(self.node.domain());
        if given.key.is_some() && self.node.was_opened(id).await? {
            return Err(NodeError::Refused(format!(
                "the contract holds channel {id}, which an order with this key has opened, and this database does not know it yet: try again \
                 in a moment; where it was closed long ago, give another key"
            )));
        }
        let terms = Arc::new(message.terms().clone());
        // The contract takes any fee: a single endpoint that shows a low one must not hide what its events come to.
        let fee = on_contract.fee.max(found.announcement.fee);
        let opening = Opening { terms, deposit, fee };
        self.orders.may_accept(&descriptor, &opening).await?;
        ask_whether_there(&peer).await?;

        let ordered = self.orders.accept(&descriptor, &opening, given).await?;
        let channel = ordered.channel;
        self.node.marks().mark_totals(channel);
        self.node.wake();
        tracing::info!(%channel, agent = %found.agent, %offering, %deposit, "opening a channel");
        Ok(ordered)
    }

    /// The opening that was given before under the order's key: as this database has it, or, where that is lost, as the chain shows the
    /// channel.
    async fn given_before(
        &self,
        (agent, offering): (Option<Address>, OfferingHash),
        deposit: Option<Amount>,
        given: &Given,
    ) -> Result<Option<Ordered>, NodeError> {
        let Some(key) = given.key.as_deref() else { return Ok(None) };
        if let Some(before) = self.orders.opened_as(key, (agent, offering), deposit).await? {
            return Ok(Some(before));
        }
        let agents = if let Some(agent) = agent {
            vec![agent]
        } else {
            let announced = offerings::by_hash(&mut *self.node.db().read().await?, offering).await?;
            announced.into_iter().map(|offering| offering.agent).collect()
        };
        for agent in agents {
            let descriptor = self.descriptor(agent, offering, Some(key));
            if let Some(found) = self.orders.found_as(&descriptor, deposit, given).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A channel with this agent. Of an order with a key it is always the same one, also where the database that knew the order is lost:
    /// the contract opens no channel twice.
    fn descriptor(&self, agent: Address, offering: OfferingHash, key: Option<&str>) -> ChannelDescriptor {
        let client = self.node.account();
        let nonce = key.map(|key| opening_nonce(self.node.domain(), client, (agent, offering), key));
        ChannelDescriptor {
            client,
            agent,
            offering,
            // Without a key at random, so that not even a lost database makes us use one twice.
            nonce: nonce.unwrap_or_else(rand::random),
            // Our key and no code that the account may get decides about vouchers.
            signer: client,
        }
    }

    async fn choose(
        &self,
        agent: Option<Address>,
        hash: OfferingHash,
    ) -> Result<(Offering, Arc<SignedOffering>), NodeError> {
        let announced = offerings::by_hash(&mut *self.node.db().read().await?, hash).await?;
        // Anybody may announce a hash; only its author's message passes the checks.
        let found = announced
            .into_iter()
            .filter(|offering| agent.is_none_or(|agent| offering.agent == agent))
            .max_by_key(|offering| offering.message.is_some());
        let Some(found) = found else {
            return Err(NodeError::Refused(format!("offering {hash} is not known; `browse` shows what is")));
        };
        let message = self.node.offering(found.agent, hash).await?;
        if !found.status.is_on_market() {
            return Err(NodeError::Refused(format!(
                "offering {hash} is {}; `browse` shows those that can be accepted",
                found.status.as_str()
            )));
        }
        if found.free_supply == 0 {
            return Err(NodeError::Refused(format!("offering {hash} has no free place now; try later")));
        }
        let product = self.node.services().host().about().product.0;
        let template = self.node.templates().get(&message.message().template);
        if template.is_none_or(|template| template.product() != product) {
            let name = &self.node.services().host().about().name;
            return Err(NodeError::Refused(format!(
                "offering {hash} is not one for the plug-in `{name}`: accept it with a client whose `adapter.kind` serves its product, or choose another one"
            )));
        }
        Ok((found, message))
    }

    /// A job was cancelled by hand: what waited for it is given up.
    ///
    /// # Errors
    /// [`NodeError`]: it is given up a moment later.
    pub async fn job_cancelled(&self, job: &JobRecord) -> Result<(), NodeError> {
        self.orders.job_cancelled(job).await
    }

    /// Stops using a channel until [`resume`](Self::resume).
    ///
    /// # Errors
    /// [`NodeError::Store`] for a channel that is not known; [`NodeError::Refused`] for one that is closed.
    pub async fn pause(&self, channel: ChannelId) -> Result<Ordered, NodeError> {
        self.orders.pause(channel, Given::by_user()).await
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// [`NodeError::Store`] for a channel that is not known; [`NodeError::Refused`] for one that is closed.
    pub async fn resume(&self, channel: ChannelId) -> Result<Ordered, NodeError> {
        self.orders.resume(channel, Given::by_user()).await
    }

    /// Pays and tops up a channel by a policy of its own from now on, in place of [`policy`](ClientSettings::policy); `None` ends that. A
    /// top-up that is under way goes on.
    ///
    /// # Errors
    /// [`NodeError::Refused`] for a policy that could never top the channel up, and after the end of its service;
    /// [`NodeError::Store`] for a channel that is not known.
    pub async fn set_billing(
        &self,
        channel: ChannelId,
        policy: Option<ClientPolicy>,
    ) -> Result<Ordered, NodeError> {
        self.orders.set_billing(channel, policy, Given::by_user()).await
    }

    /// What the agent of a restored channel claims beyond what this database shows as signed, in base units in all, until that is
    /// [accepted](Self::accept_claim).
    ///
    /// # Errors
    /// [`NodeError::Store`] for a channel that is not known.
    pub async fn claimed(&self, channel: ChannelId) -> Result<Option<Amount>, NodeError> {
        self.orders.claimed(channel).await
    }

    /// Believes that the agent of a restored channel [claims](Self::claimed) this amount rightly: the service goes on, and is paid for
    /// above it.
    ///
    /// # Errors
    /// [`NodeError::Refused`] where the agent claims nothing, or another amount by now.
    pub async fn accept_claim(&self, channel: ChannelId, amount: Amount) -> Result<Ordered, NodeError> {
        self.orders.accept_claim(channel, amount, Given::by_user()).await
    }

    /// Forgets that an agent has proved a key here, so that it may be talked to in clear again where
    /// [`least_version`](ClientSettings::least_version) permits that. Gives whether it had proved one.
    ///
    /// # Errors
    /// [`NodeError::Store`].
    pub async fn forget_agent(&self, agent: Address) -> Result<bool, NodeError> {
        let mut tx = self.node.db().begin().await?;
        let was_known = agents_seen::forget(&mut tx, agent).await?;
        tx.commit().await?;
        Ok(was_known)
    }

    /// Ends a channel's service for good and pays what is owed. The agent closes the channel; if it does not, we ask for the close after
    /// [`request_close_after`](ClientSettings::request_close_after). [`close`](Self::close) does so at once.
    ///
    /// # Errors
    /// [`NodeError::Store`] for a channel that is not known; [`NodeError::Refused`] for one that is closed.
    pub async fn terminate(&self, channel: ChannelId) -> Result<Ordered, NodeError> {
        self.orders.end(channel, Given::by_user()).await
    }

    /// Raises a channel's deposit by `amount`, in base units of the token; goes on in the background.
    ///
    /// # Errors
    /// [`NodeError::StaleView`] while what happens on the chain is not seen; [`NodeError::Clock`] while this machine's clock contradicts
    /// the chain's time; [`NodeError::Limited`] for more than
    /// [`budget`](ClientSettings::budget) allows; [`NodeError::Insufficient`]; [`NodeError::Refused`].
    pub async fn top_up(&self, channel: ChannelId, amount: Amount) -> Result<Ordered, NodeError> {
        self.top_up_as(channel, amount, Given::by_user()).await
    }

    /// [`top_up`](Self::top_up) by an order that may have a key.
    ///
    /// # Errors
    /// As [`top_up`](Self::top_up); [`NodeError::Store`] where the key was used for something else.
    pub async fn top_up_as(
        &self,
        channel: ChannelId,
        amount: Amount,
        given: Given,
    ) -> Result<Ordered, NodeError> {
        self.node.require_view()?;
        self.orders.top_up(channel, amount, given).await
    }

    /// The orders of the channels.
    pub const fn orders(&self) -> &ChannelOrders {
        &self.orders
    }

    /// Ends a channel's service, pays what is owed, and asks on chain to close it without waiting for the agent. What is
    /// left of the deposit comes back after the challenge period.
    ///
    /// # Errors
    /// [`NodeError::Store`] for a channel that is not known; [`NodeError::Refused`] for one that is closed.
    pub async fn close(&self, channel: ChannelId) -> Result<Ordered, NodeError> {
        self.orders.close(channel, Given::by_user()).await
    }

    /// [`close`](Self::close)s a channel whose best voucher cannot be read: what it promised is given up, and what is known to be paid is
    /// admitted. The agent can still claim more.
    ///
    /// # Errors
    /// As [`close`](Self::close); [`NodeError::Refused`] also where the voucher can be read.
    pub async fn abandon(&self, channel: ChannelId) -> Result<Ordered, NodeError> {
        self.orders.abandon(channel, Given::by_user()).await
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use privatix_offering::Addresses;
    use privatix_somc::{BoxStream, SomcAddress, TransportError};
    use tokio::time::Instant;

    use super::*;

    /// Never connects.
    struct Away;

    #[async_trait]
    impl Transport for Away {
        async fn connect(&self, _: &SomcAddress) -> Result<BoxStream, TransportError> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_is_away_is_known_before_the_control_api_gives_up() {
        let onion = SomcAddress::onion(&[1; 32], 80).unwrap();
        let direct = SomcAddress::direct("agent.example", 9500).unwrap();
        let addresses = Addresses::new([onion, direct]).unwrap();
        let settings = ClientSettings::default();
        let peer = Peer::new(Arc::new(Away), addresses, settings.limits, settings.retry);
        let begun = Instant::now();
        let error = ask_whether_there(&peer).await.unwrap_err();
        assert!(matches!(error, NodeError::Peer { .. }), "{error}");
        assert!(begun.elapsed() <= PRESENT_WITHIN, "{:?}", begun.elapsed());
        assert!(error.to_string().contains("direct:agent.example:9500 did not answer within 20s"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_that_we_are_not_on_ourselves_is_not_taken_for_an_agent_that_is_away() {
        struct Offline;
        #[async_trait]
        impl Transport for Offline {
            async fn connect(&self, _: &SomcAddress) -> Result<BoxStream, TransportError> {
                Err(TransportError::Offline("your own Tor is not connected: no network".into()))
            }
        }
        let settings = ClientSettings::default();
        let onion = SomcAddress::onion(&[1; 32], 80).unwrap();
        let peer = Peer::new(Arc::new(Offline), onion, settings.limits, settings.retry);
        let error = ask_whether_there(&peer).await.unwrap_err();
        assert!(matches!(error, NodeError::Offline { .. }), "{error:?}");
        assert_eq!(error.to_string(), "your own Tor is not connected: no network");
    }
}
