use std::sync::Arc;
use std::time::SystemTime;

use alloy::primitives::Address;
use futures::future::join_all;
use privatix_adapter as adapter;
use privatix_chain::TxId;
use privatix_channel::{Amount, ChannelId, ChannelStatus, OfferingHash, Period, ServiceStatus, Usage};
use privatix_db::Conn;
use privatix_jobs::Pushed;
use privatix_market::batch::BatchPolicy;
use privatix_market::offering::{OfferingInput, OfferingOrder, OfferingPolicy, Source};
use privatix_market::{AgentOrder, AgentPolicy, AgentState, EffectId, Input, OrderId, Subject};
use privatix_node::drive::{Drive, DriveSlowly};
use privatix_node::shell::{Applied, NotApplied};
use privatix_node::{Decider, Given, Node, NodeError, NodeParts, OfferingDecider, RecoveryPhase, after};
use privatix_offering::{Addresses, SignedOffering};
use privatix_somc::{Listener, Server, ServerLimits, SomcAddress};
use privatix_store::orders::{self as stored, Order};
use privatix_store::purposes::{self, TxNumber};
use privatix_store::{StoreError, channels, offerings};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::access::AccessResponder;
use crate::decisions::Decisions;
use crate::identity::OwnIdentity;
use crate::messaging::Messaging;
use crate::offerings::{
    self as own_offerings, OfferingDraft, OfferingProgress, OwnOfferings, OwnOfferingsParts,
};
use crate::operator::{AppointOperator, Operators, check_may_appoint, watch_appointment};
use crate::orders;
use crate::payments::{Payments, PaymentsParts, watch_writer};
use crate::places::{Places, watch_places};
use crate::role::AgentRole;
use crate::showing::Showing;
use crate::views::Views;
use crate::waiting::Waiting;

/// A seller: see the [crate's example](crate).
pub struct Agent {
    handle: AgentHandle,
    listeners: Vec<Box<dyn Listener>>,
    limits: ServerLimits,
    /// Writes the vouchers.
    writer: JoinHandle<()>,
    decisions: Decisions,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl Agent {
    /// Makes an agent that serves messages as `messaging` has it.
    ///
    /// # Errors
    /// As [`Node::open`].
    pub async fn new(parts: NodeParts, messaging: Messaging) -> Result<Self, NodeError> {
        Self::with_policy(parts, messaging, AgentPolicy::default()).await
    }

    /// The same, with other rules about serving and closing channels than the default ones. The highest network fee is that of the
    /// chain's settings, if they have one.
    ///
    /// # Errors
    /// As [`Node::open`].
    pub async fn with_policy(
        parts: NodeParts,
        messaging: Messaging,
        policy: AgentPolicy,
    ) -> Result<Self, NodeError> {
        let node = Node::open(parts, adapter::Role::Agent).await?;
        let (addresses, listeners) = messaging.into_parts();
        let (views, showing) = (Arc::new(Views::default()), Arc::new(Showing::default()));
        let waiting = Arc::<Waiting>::default();
        let committed = {
            let (views, marks, showing) = (Arc::clone(&views), node.marks().clone(), Arc::clone(&showing));
            let waiting = Arc::clone(&waiting);
            move |applied: &Applied<privatix_market::Agent>| {
                marks.mark_totals(applied.state.id);
                views.committed(applied);
                waiting.committed(applied.state.id);
                showing.committed(applied); // after whoever answers can read it
            }
        };
        let decisions = Decisions::start(&node, policy, Arc::new(committed)).await?;
        let decider = Arc::clone(&decisions.decider);
        let runner = decisions.runner.clone();
        let parts =
            PaymentsParts { node: Arc::clone(&node), decider: Arc::clone(&decider), runner, views, showing };
        let (payments, writer) = Payments::start(parts);
        let payments = Arc::new(payments);
        let access = Arc::new(AccessResponder::new(Arc::clone(&node), Arc::clone(&decider), waiting));
        let own = Arc::new(OwnOfferings::new(OwnOfferingsParts {
            agent: node.account(),
            sender: node.sender(),
            contract: node.domain().contract(),
            source: Source { kind: addresses.first().kind().number(), address: addresses.first().source() },
            signatures: Arc::<Node>::clone(&node),
            caught_up: Arc::new({
                let node = Arc::clone(&node);
                move || node.recovery_phase() != Some(RecoveryPhase::CatchingUp)
            }),
            notices: node.notices().clone(),
        }));
        let offerings = Arc::new(OfferingDecider::of(
            &node,
            Arc::<OwnOfferings>::clone(&own),
            Arc::clone(&decisions.outlook),
            OfferingPolicy::default(),
        ));
        let (addresses, pop_up_every) = (Arc::new(addresses), None);
        let handle = AgentHandle { node, payments, access, decider, own, offerings, pop_up_every, addresses };
        Ok(Self { handle, listeners, limits: ServerLimits::default(), writer, decisions })
    }

    /// Other limits for the messaging server than the default ones.
    #[must_use]
    pub fn limits(mut self, limits: ServerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Other rules about closes and settlements that are sent together than [those](BatchPolicy::for_channels) that follow from the
    /// rules about channels. A wait that is not shorter than that of a channel has no effect: the channel then sends its close alone.
    #[must_use]
    pub fn batches(mut self, policy: BatchPolicy) -> Self {
        self.decisions.set_batches(policy);
        self
    }

    /// How old the announcement of an offering may become before it is announced again, for those that are made from now on: `None`,
    /// the default, for never. [`OfferingOrder::PopUpEvery`] sets it for one. Call it before [`handle`](Self::handle).
    #[must_use]
    pub fn pop_up_every(mut self, every: Option<Period>) -> Self {
        self.handle.pop_up_every = every;
        self
    }

    /// What an operator can do with it, while it runs.
    pub fn handle(&self) -> AgentHandle {
        self.handle.clone()
    }

    /// Sells until shutdown.
    ///
    /// # Errors
    /// What only an operator can mend. Trouble that passes is retried and logged.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), NodeError> {
        let Self { handle, listeners, limits, writer, decisions } = self;
        let node = Arc::clone(&handle.node);
        let role = Arc::new(AgentRole {
            node: Arc::clone(&node),
            decider: Arc::clone(&decisions.decider),
            offerings: Arc::clone(&handle.offerings),
            payments: Arc::clone(&handle.payments),
        });
        let stop = shutdown.child_token();
        let most = limits.max_connections;
        let identity = Arc::new(OwnIdentity::new(Arc::clone(&node)));
        let server = Server::with_identities(handle.clone(), limits, identity);
        handle.payments.showing().start(server.notifier(), &decisions.decider);
        let server_stats = {
            let server = server.clone();
            move || Places { stats: server.stats(), most }
        };
        let serving = tokio::spawn({
            let stop = stop.clone();
            async move {
                let _stop_if_it_ends = stop.clone().drop_guard(); // nobody can pay then
                // They share the server's limits.
                join_all(listeners.into_iter().map(|listener| server.serve(listener, stop.clone()))).await;
            }
        });
        let writing = tokio::spawn(watch_writer(writer, stop.clone()));
        let watching = tokio::spawn(watch_places(server_stats, node.notices().clone(), stop.clone()));
        let appointed = tokio::spawn(watch_appointment(Arc::clone(&node), stop.clone()));
        let reserve = Arc::clone(&decisions.reserve);
        let reserving = tokio::spawn({
            let stop = stop.clone();
            async move { reserve.watch(stop).await }
        });
        let offering = tokio::spawn({
            let (handle, stop) = (handle.clone(), stop.clone());
            async move {
                let _stop_if_it_ends = stop.clone().drop_guard(); // no order would be carried out then
                handle.keep_offerings(stop).await;
            }
        });
        let driver = decisions.driver.clone();
        let deciding = tokio::spawn({
            let stop = stop.clone();
            async move {
                let _stop_if_it_ends = stop.clone().drop_guard(); // no channel would end then
                Box::pin(decisions.run(&stop)).await; // large, and runs for long
            }
        });
        let register = {
            let node = Arc::clone(&node);
            move |processor: privatix_jobs::ProcessorBuilder| {
                processor
                    .register::<Drive, _>(driver.clone())
                    .register::<DriveSlowly, _>(driver)
                    .register(Operators { node })
            }
        };
        let outcome = node.run(role, register, stop.clone()).await;
        stop.cancel();
        // The server ends when the requests in its hands are answered: every acknowledged voucher is on disk then.
        let served = serving.await;
        let watched = watching.await.and(appointed.await).and(reserving.await);
        let offered = offering.await;
        let decided = deciding.await;
        let wrote = writing.await;
        outcome?;
        wrote.map_err(|error| NodeError::TaskEnded {
            task: "watch on the voucher writer",
            reason: error.to_string(),
        })??;
        watched.map_err(|error| NodeError::TaskEnded {
            task: "watch on the messaging server, the operator or the ether",
            reason: error.to_string(),
        })?;
        decided.map_err(|error| NodeError::TaskEnded {
            task: "decisions about channels",
            reason: error.to_string(),
        })?;
        offered.map_err(|error| NodeError::TaskEnded {
            task: "decisions about offerings",
            reason: error.to_string(),
        })?;
        served.map_err(|error| NodeError::TaskEnded { task: "messaging server", reason: error.to_string() })
    }
}

/// What an operator can do with an agent. Cheap to clone.
#[derive(Clone)]
pub struct AgentHandle {
    pub(crate) node: Arc<Node>,
    pub(crate) payments: Arc<Payments>,
    pub(crate) access: Arc<AccessResponder>,
    decider: Arc<Decider<privatix_market::Agent>>,
    own: Arc<OwnOfferings>,
    offerings: Arc<OfferingDecider>,
    /// For offerings that are made.
    pop_up_every: Option<Period>,
    addresses: Arc<Addresses>,
}

impl std::fmt::Debug for AgentHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentHandle")
            .field("node", &self.node)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl AgentHandle {
    /// What the agent shares with clients: balances, deposits, jobs, transactions.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Where clients reach our messaging server: the address that offerings announce on chain.
    pub fn somc(&self) -> &SomcAddress {
        self.addresses.first()
    }

    /// All addresses of our messaging server, the announced one first.
    pub fn addresses(&self) -> Vec<SomcAddress> {
        self.addresses.to_vec()
    }

    /// The vouchers' way in, for embedding an agent behind another protocol.
    pub fn payments(&self) -> &Payments {
        &self.payments
    }

    /// Signs an offering and keeps it as a draft.
    pub async fn create_offering(&self, draft: OfferingDraft) -> Result<SignedOffering, NodeError> {
        own_offerings::create(&self.node, &self.offerings, &self.addresses, draft, self.pop_up_every).await
    }

    /// Publishes, pops up or removes an offering, or sets how often it is popped up. Returns once that is decided and stored; it goes
    /// on in the background, also where something is missing for it yet, and its [outcome](Self::get_order) is stored.
    ///
    /// # Errors
    /// [`NodeError::Store`] for an offering that is not one of ours; [`NodeError::Refused`] for an order that cannot be carried out.
    /// [`NodeError::Clock`] for a publication while this machine's clock contradicts the chain's time.
    pub async fn change_offering(
        &self,
        offering: OfferingHash,
        order: OfferingOrder,
    ) -> Result<OfferingOrdered, NodeError> {
        self.change_offering_as(offering, order, Given::by_operator()).await
    }

    /// The same, by whoever gives it, and under a key: given again under it, it is the same order.
    ///
    /// # Errors
    /// As [`change_offering`](Self::change_offering); [`NodeError::Store`] where the key is another order's.
    pub async fn change_offering_as(
        &self,
        offering: OfferingHash,
        order: OfferingOrder,
        given: Given,
    ) -> Result<OfferingOrdered, NodeError> {
        let Some(what) = orders::about_offering(order) else { return Err(not_stored()) };
        self.own.refresh(&self.node).await;
        let subject = Subject::Offering(self.node.account(), offering);
        let mut tx = self.node.db().begin().await?;
        let before = self.offerings.load(&mut tx, offering).await?;
        if let Some(order) = repeated(&mut tx, &given, subject, what).await? {
            let progress = own_offerings::progress_of(&mut tx, &self.offerings, &before.state).await?;
            return Ok(OfferingOrdered { order, is_repeated: true, progress });
        }
        let input = OfferingInput::Order(order);
        let state = self.offerings.decide_in(&mut tx, &before, input, None).await?;
        let id = orders::place(&mut tx, subject, what, given).await?;
        orders::of_offering(&mut tx, (id, order), &state).await?;
        let progress = own_offerings::progress_of(&mut tx, &self.offerings, &state).await?;
        tx.commit().await?;
        self.offerings.committed();
        Ok(OfferingOrdered { order: id, is_repeated: false, progress })
    }

    /// An order, by its number, with what became of it.
    ///
    /// # Errors
    /// [`NodeError`] of the database.
    pub async fn get_order(&self, order: OrderId) -> Result<Option<Order>, NodeError> {
        Ok(stored::get(&mut *self.node.db().read().await?, order).await?)
    }

    /// What is done about one of our offerings.
    ///
    /// # Errors
    /// [`NodeError::Store`] for an offering that is not one of ours.
    pub async fn offering_progress(&self, offering: OfferingHash) -> Result<OfferingProgress, NodeError> {
        own_offerings::progress(&mut *self.node.db().read().await?, &self.offerings, offering).await
    }

    /// Decides about our offerings as time goes by, until `stop`.
    async fn keep_offerings(&self, stop: CancellationToken) {
        tokio::join!(self.own.watch(&self.node, stop.clone()), self.offerings.run(&stop));
    }

    /// Our offerings, the newest first.
    pub async fn offerings(&self, limit: u32) -> Result<Vec<offerings::Offering>, NodeError> {
        let filter = offerings::Filter { agent: Some(self.node.account()), ..Default::default() };
        Ok(offerings::list(&mut *self.node.db().read().await?, &filter, 0, limit).await?)
    }

    /// Appoints who may act for our account, in place of the one before; goes on in the background.
    ///
    /// # Errors
    /// [`NodeError::NotForOperators`] unless the node has the account's own key.
    pub async fn appoint_operator(&self, operator: Option<Address>) -> Result<Pushed, NodeError> {
        check_may_appoint(&self.node, operator)?;
        self.node.enqueue(&AppointOperator { operator }, "operator").await
    }

    /// Pauses a channel's service until [`resume`](Self::resume).
    ///
    /// # Errors
    /// As [`terminate`](Self::terminate).
    pub async fn pause(&self, channel: ChannelId) -> Result<ChannelOrdered, NodeError> {
        self.order(channel, AgentOrder::Hold).await
    }

    /// Ends a pause. The service goes on as billing allows.
    ///
    /// # Errors
    /// As [`terminate`](Self::terminate).
    pub async fn resume(&self, channel: ChannelId) -> Result<ChannelOrdered, NodeError> {
        self.order(channel, AgentOrder::Resume).await
    }

    /// Ends a channel's service for good; what was paid is then cashed. Returns once that is decided and stored; it goes on in the
    /// background.
    ///
    /// # Errors
    /// [`NodeError::Store`] for an unknown channel, and for one of which something stored cannot be read; [`NodeError::Refused`] for
    /// one that is closed.
    pub async fn terminate(&self, channel: ChannelId) -> Result<ChannelOrdered, NodeError> {
        self.order(channel, AgentOrder::End).await
    }

    /// Ends a channel's service and closes it on chain with the best voucher, or without one if nothing was paid. Returns once that is
    /// decided and stored; the channel's status shows how far it is.
    ///
    /// # Errors
    /// As [`terminate`](Self::terminate).
    pub async fn close(&self, channel: ChannelId) -> Result<ChannelOrdered, NodeError> {
        self.order(channel, AgentOrder::Close).await
    }

    /// Leaves what a channel would still bring to its client: its close requests are not answered, and what answers one may be
    /// cancelled. [`close`](Self::close) takes it back. Returns once that is decided and stored.
    ///
    /// # Errors
    /// As [`terminate`](Self::terminate).
    pub async fn abandon(&self, channel: ChannelId) -> Result<ChannelOrdered, NodeError> {
        self.order(channel, AgentOrder::Abandon).await
    }

    /// Whether a transaction may be cancelled by hand, as far as the channels decide that it is for. A rescue is for what the transaction
    /// is for that it stands in for.
    ///
    /// # Errors
    /// [`NodeError::Refused`] where it answers a client's close request: what it claims would be lost at the end of the challenge.
    /// [`NodeError::Store`]; [`NodeError::Chain`] for one that is not known; [`NodeError::NotRunning`].
    pub async fn check_may_cancel(&self, conn: &mut Conn, transaction: TxId) -> Result<(), NodeError> {
        let parent = self.node.transactor()?.get(conn, transaction).await?.parent;
        let is_for = parent.unwrap_or(transaction);
        for recorded in purposes::of_tx(conn, TxNumber(is_for.0)).await? {
            // A row that cannot be read, and a channel of which something cannot be, is mended by hand, for which it may be needed.
            let Ok(EffectId { subject: Subject::Channel(channel), seq }) = recorded.map(|it| it.effect)
            else {
                continue;
            };
            if let Ok(stored) = self.decider.load(conn, channel).await {
                let may = stored.state.may_cancel(seq, self.decider.policy());
                may.map_err(|refused| {
                    NodeError::Refused(match parent {
                        Some(parent) => format!(
                            "channel {channel}: it is the rescue of transaction {parent}, and {refused}"
                        ),
                        None => format!("channel {channel}: {refused}"),
                    })
                })?;
            }
        }
        Ok(())
    }

    async fn order(&self, channel: ChannelId, order: AgentOrder) -> Result<ChannelOrdered, NodeError> {
        self.order_as(channel, order, Given::by_operator()).await
    }

    /// Gives an order about a channel, by whoever gives it, and under a key: given again under it, it is the same order. It is decided
    /// and stored in one transaction.
    ///
    /// # Errors
    /// As [`terminate`](Self::terminate); [`NodeError::Store`] where the key is another order's.
    pub async fn order_as(
        &self,
        channel: ChannelId,
        order: AgentOrder,
        given: Given,
    ) -> Result<ChannelOrdered, NodeError> {
        let Some(what) = orders::about_channel(order) else { return Err(not_stored()) };
        let subject = Subject::Channel(channel);
        let mut tx = self.node.db().begin().await?;
        let repeated = repeated(&mut tx, &given, subject, what).await?;
        let before = match self.decider.load(&mut tx, channel).await {
            Err(NotApplied::NoState(_)) => {
                channels::get(&mut tx, channel).await?; // an unknown channel is refused as that
                let reason = "something of it could not be read at the start".to_owned();
                return Err(StoreError::Corrupt { what: "state of a channel", reason }.into());
            }
            loaded => loaded?,
        };
        if let Some(id) = repeated {
            return Ok(self.ordered(id, true, &before.state));
        }
        let applied = self.decider.decide_in(&mut tx, &before, Input::Order(order)).await?;
        let id = orders::place(&mut tx, subject, what, given).await?;
        orders::of_channel(&mut tx, (id, order), &applied.state, &self.decider.env_of(&before)).await?;
        self.decider.commit(&applied, tx.commit()).await?;
        Ok(self.ordered(id, false, &applied.state))
    }

    fn ordered(&self, order: OrderId, is_repeated: bool, state: &AgentState) -> ChannelOrdered {
        let service = state.service_status(self.decider.outlook().instance());
        ChannelOrdered { order, is_repeated, status: state.status(), service }
    }

    /// When a channel whose service has ended is closed, at the latest, if nothing changes meanwhile. `None` where no time leads there, and
    /// once a close is under way.
    ///
    /// # Errors
    /// [`NodeError::Store`] for a channel that is not known.
    pub async fn closes_at(&self, channel: ChannelId) -> Result<Option<SystemTime>, NodeError> {
        let loaded = self.decider.load(&mut *self.node.db().read().await?, channel).await;
        let stored = match loaded {
            // What cannot be read is shown by health.
            Err(NotApplied::NoState(_) | NotApplied::Damaged { .. }) => return Ok(None),
            loaded => loaded?,
        };
        let env = self.decider.env_of(&stored);
        Ok(stored.state.closes_at(&env).map(|at| after(SystemTime::now(), at.since(env.uptime))))
    }

    /// What a channel's best voucher would still bring.
    pub async fn claimable(&self, channel: ChannelId) -> Result<Amount, NodeError> {
        self.payments.claimable(channel).await
    }

    /// The meter of a channel's client, as it said last, if it speaks version 2: in base units of the measure. It decides nothing.
    ///
    /// # Errors
    /// [`NodeError`] of the database.
    pub async fn client_used(&self, channel: ChannelId) -> Result<Option<Usage>, NodeError> {
        self.payments.client_used(channel).await
    }
}

/// The order that was given before under the same key.
async fn repeated(
    conn: &mut Conn,
    given: &Given,
    about: Subject,
    what: stored::What,
) -> Result<Option<OrderId>, NodeError> {
    let Some(key) = &given.key else { return Ok(None) };
    Ok(stored::repeated(conn, key, about, what).await?.map(|before| before.id))
}

fn not_stored() -> NodeError {
    NodeError::Refused("this version stores no such order".to_owned())
}

/// An order about an offering that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OfferingOrdered {
    /// Its number: how it ends is stored under it.
    pub order: OrderId,
    /// Whether it was given before, under the same key: nothing was done now.
    pub is_repeated: bool,
    /// What is done about the offering.
    pub progress: OfferingProgress,
}

/// An order about a channel that is stored, and where the channel stands after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelOrdered {
    /// Its number: how it ends is stored under it.
    pub order: OrderId,
    /// Whether it was given before, under the same key: nothing was done now.
    pub is_repeated: bool,
    /// Where it is on chain.
    pub status: ChannelStatus,
    /// Where its service is.
    pub service: ServiceStatus,
}
