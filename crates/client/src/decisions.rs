//! The client's decisions about its channels and about offerings, and what runs beside them: [`Decisions`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use privatix_channel::{ChannelId, Phase};
use privatix_jobs::{Filter, Job as _, JobStatus, ProcessorBuilder};
use privatix_market::offering::OfferingPolicy;
use privatix_market::{Client, ClientMessage, ClientPolicy, Input};
use privatix_node::drive::{Bounds, Calls, Drive, DriveSlowly, Driver, Requests, Times};
use privatix_node::{Decider, DeciderParts, GasReserve, Node, NodeError, NodeOutlook, Outlook, UptimeClock};
use privatix_store::channels;
use privatix_store::states::{self, Stored};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::answers::Unheard;
use crate::asks::{Agents, AskPeer, AskStranger, Asker, Asking};
use crate::budget::Limits;
use crate::deliveries::{Deliveries, outgoing};
use crate::drives::{BoughtServices, Purchases};
use crate::fund::{Fund, Funder};
use crate::funding::Funding;
use crate::network::{Network, Noted};
use crate::offerings::{OfferingDecisions, OfferingDecisionsParts};
use crate::orders::ChannelOrders;
use crate::outlook::ClientOutlook;
use crate::runner::{ClientRunner, ClientRunnerParts, Views};

/// The name of this process, under which its uptime is stored.
const PROCESS: &str = "client";
/// How often the account's balance is read, so that what came to it can be spent by automatic top-ups.
const READ_EVERY: Duration = Duration::from_mins(1);

/// What a client's decisions depend on beside its node.
#[derive(Clone)]
pub struct DecisionsParts {
    /// How channels are opened, paid, topped up and closed.
    pub policy: ClientPolicy,
    /// How often agents are asked for their offerings, and which of these are shown.
    pub offerings: OfferingPolicy,
    /// What may be spent.
    pub limits: Limits,
    /// The agents of channels.
    pub agents: Arc<dyn Agents>,
    /// Receives each state that is committed.
    pub views: Arc<Views>,
}

impl std::fmt::Debug for DecisionsParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecisionsParts").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// Who decides about channels that have a stored state, by which clock, and what carries it out.
pub struct Decisions {
    node: Arc<Node>,
    clock: UptimeClock,
    decider: Arc<Decider<Client>>,
    offerings: Arc<OfferingDecisions>,
    driver: Driver<BoughtServices>,
    funding: Funding,
    funder: Arc<Funder>,
    asker: Arc<Asker>,
    agents: Arc<dyn Agents>,
    /// Until they run.
    deliveries: Mutex<Option<Deliveries>>,
    /// The life of the plug-in: one for each run of the client.
    _life: watch::Sender<u64>,
}

impl std::fmt::Debug for Decisions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decisions").field("decider", &self.decider).finish_non_exhaustive()
    }
}

impl Decisions {
    /// Begins another run of the client.
    ///
    /// # Errors
    /// [`NodeError`] of the database.
    pub async fn start(node: &Arc<Node>, parts: DecisionsParts) -> Result<Self, NodeError> {
        let DecisionsParts { policy, offerings, limits, agents, views } = parts;
        let db = node.db();
        let mut tx = db.begin().await?;
        let clock = UptimeClock::start(&mut tx, PROCESS).await?;
        channels::show_none_running(&mut tx).await?;
        tx.commit().await?;
        // A buyer's closes wait for no price of gas, so nothing is reserved for them.
        let reserve = Arc::new(GasReserve::new(Arc::clone(node)));
        let network = Network::default();
        let agents: Arc<dyn Agents> = Arc::new(Noted { agents, network: network.clone() });
        let known = NodeOutlook::new(Arc::clone(node), clock.clone(), reserve);
        let outlook: Arc<dyn Outlook> = Arc::new(ClientOutlook { node: known, network });

        let jobs_run = {
            let node = Arc::clone(node);
            move || node.recovery().is_none_or(|recovery| recovery.caught_up_at.is_some())
        };
        let offerings = Arc::new(OfferingDecisions::new(OfferingDecisionsParts {
            db: db.clone(),
            outlook: Arc::clone(&outlook),
            policy: offerings,
            jobs: node.jobs_wake(),
            jobs_run: Arc::new(jobs_run),
        }));

        let (life, instance) = watch::channel(clock.start_number());
        let (host, times) = (Arc::clone(node.services().host()), Times::default());
        let calls = Calls::new(times);
        // What a buyer uses is bounded by what it signs: none is ever sent.
        let bounds = Bounds::new(Arc::clone(&host), instance.clone(), times);
        let requests = Arc::new(Requests::new(calls.clone(), bounds.clone()));
        let funding = Funding::new(limits, Arc::clone(&outlook));
        let (outgoing, wanted) = outgoing();
        let (funds, asks) = (Arc::new(funding.clone()), Arc::new(Asking::new(outgoing)));
        let carries_out = ClientRunner::new(ClientRunnerParts {
            views,
            ..ClientRunnerParts::of(node, requests, funds, asks)
        });
        let runner = carries_out.clone();
        let decider = Arc::new(Decider::new(DeciderParts::of(node, Arc::new(carries_out), outlook, policy)));

        let endpoints = {
            let node = Arc::clone(node);
            Arc::new(move |channel, endpoint: Option<&serde_json::Value>| {
                node.services().served_at(channel, endpoint);
            })
        };
        let purchases = Purchases::new(db.clone(), endpoints);
        let services = Arc::new(BoughtServices::new(db.clone(), Arc::clone(&decider), purchases));
        let driver = Driver::new(db.clone(), host, services, calls, bounds, instance);
        let purse = Arc::new(Arc::clone(node));
        let funder = Arc::new(Funder::new(db.clone(), Arc::clone(&decider), funding.clone(), purse));
        let asker =
            Arc::new(Asker::new(db.clone(), Arc::clone(&decider), runner.clone(), Arc::clone(&agents)));
        let deliveries =
            Deliveries::new(db.clone(), Arc::clone(&decider), runner, Arc::clone(&agents), wanted);
        let deliveries = Mutex::new(Some(deliveries));
        let node = Arc::clone(node);
        Ok(Self {
            node,
            clock,
            decider,
            offerings,
            driver,
            funding,
            funder,
            asker,
            agents,
            deliveries,
            _life: life,
        })
    }

    /// Decides about the offerings that agents announce.
    pub const fn offerings(&self) -> &Arc<OfferingDecisions> {
        &self.offerings
    }

    /// Decides about the channels.
    pub const fn decider(&self) -> &Arc<Decider<Client>> {
        &self.decider
    }

    /// Keeps the orders of the channels.
    pub const fn funding(&self) -> &Funding {
        &self.funding
    }

    /// Takes the user's orders.
    pub fn orders(&self) -> ChannelOrders {
        let (db, domain) = (self.node.db().clone(), *self.node.domain());
        ChannelOrders::new(
            db,
            domain,
            Arc::clone(&self.decider),
            self.funding.clone(),
            Arc::clone(&self.funder),
        )
    }

    /// Adds what carries out the jobs of the decisions.
    pub fn register(&self, processor: ProcessorBuilder) -> ProcessorBuilder {
        processor
            .register::<Drive, _>(self.driver.clone())
            .register::<DriveSlowly, _>(self.driver.clone())
            .register::<Fund, _>(Arc::clone(&self.funder))
            .register::<AskPeer, _>(Arc::clone(&self.asker))
            .register::<AskStranger, _>(Arc::clone(&self.asker))
    }

    /// Settles what nothing else moves on, before jobs run: gives up transactions whose money was being provided by a job that was
    /// cancelled, by hand or by a recovery, and ends the services of channels whose agents the user does not permit to contact, as they
    /// could not be paid.
    ///
    /// # Errors
    /// [`NodeError`] of the database.
    pub async fn settle(&self) -> Result<(), NodeError> {
        let mut after = None;
        loop {
            let page = states::not_final(&mut *self.node.db().read().await?, after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            for channel in page {
                let stored = self.decider.load(&mut *self.node.db().read().await?, channel).await;
                let Ok(Stored { state, .. }) = stored else { continue }; // it is named by its looks
                if self.funder.lacks_job(&state).await? {
                    self.settle_cancelled(channel).await?;
                }
                let is_live = state.own.ending.is_none() && state.chain.phase() == Phase::Open;
                let permits = self.agents.permits(&state.descriptor);
                if is_live && matches!(permits.await, Err(Unheard::NotPermitted(_))) {
                    let input = Input::Peer(ClientMessage::NotPermitted);
                    let _ = self.decider.decide(channel, input).await?; // what follows is done
                }
            }
        }
    }

    async fn settle_cancelled(&self, channel: ChannelId) -> Result<(), NodeError> {
        match self.funder.settle_cancelled(channel).await {
            Err(error) if error.is_damage() => {
                tracing::error!(%channel, %error, "it is left as it is");
                Ok(())
            }
            settled => settled,
        }
    }

    /// Gives up transactions whose jobs were cancelled meanwhile, also where whoever cancelled them did not say so. The newest ones are
    /// enough: it is called each minute.
    async fn settle_newly_cancelled(&self) -> Result<(), NodeError> {
        const NEWEST: u32 = 100;
        let filter = Filter::new().kind(Fund::KIND).status(JobStatus::Cancelled).limit(NEWEST);
        let cancelled = privatix_jobs::list(&mut *self.node.db().read().await?, &filter).await?.jobs;
        let channels: BTreeSet<ChannelId> = cancelled.iter().filter_map(Fund::channel_of).collect();
        for channel in channels {
            let stored = self.decider.load(&mut *self.node.db().read().await?, channel).await;
            let Ok(Stored { state, .. }) = stored else { continue };
            if self.funder.lacks_job(&state).await? {
                self.settle_cancelled(channel).await?;
            }
        }
        Ok(())
    }

    /// Counts the uptime, looks at channels whose time has come, sends vouchers, and reads the account's balance, until `stop`. It is
    /// called once: a second call sends no vouchers.
    pub async fn run(&self, stop: &CancellationToken) {
        let deliveries = self.deliveries.lock().take();
        tokio::join!(
            self.clock.keep(self.node.db(), stop),
            self.decider.run(stop),
            self.offerings.run(stop),
            async {
                if let Some(deliveries) = deliveries {
                    deliveries.run(stop.clone()).await;
                }
            },
            self.keep_money(stop),
        );
    }

    /// Has each channel looked at soon whose decisions are not over.
    async fn look_at_all(&self) -> Result<(), NodeError> {
        let mut after = None;
        loop {
            let page = states::not_final(&mut *self.node.db().read().await?, after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            for channel in page {
                self.decider.mark(channel);
            }
        }
    }

    /// Reads the account's balance from time to time, and settles what was cancelled.
    async fn keep_money(&self, stop: &CancellationToken) {
        let mut waits = true;
        loop {
            match stop.run_until_cancelled(self.funder.read_balance()).await {
                // The policy has waited for it.
                Some(Ok(())) if waits => match self.look_at_all().await {
                    Ok(()) => waits = false,
                    Err(error) => {
                        tracing::error!(%error, "automatic top-ups go on with the next look at their channels");
                    }
                },
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::warn!(%error, "the account's balance is not known; budgets count with what was known before");
                }
                None => return,
            }
            if let Err(error) = self.settle_newly_cancelled().await {
                tracing::error!(%error, "what was cancelled is not settled yet; trying again");
            }
            if stop.run_until_cancelled(tokio::time::sleep(READ_EVERY)).await.is_none() {
                return;
            }
        }
    }
}
