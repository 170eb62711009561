//! The agent's decisions about its channels, and what runs beside them: [`Decisions`].

use std::sync::Arc;

use privatix_market::batch::BatchPolicy;
use privatix_market::{Agent, AgentPolicy};
use privatix_node::drive::{Bounds, Calls, Driver, Requests, Times};
use privatix_node::{Decider, DeciderParts, GasReserve, Node, NodeError, NodeOutlook, Outlook, UptimeClock};
use privatix_store::channels;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::batches::{Batches, BatchesParts, Offers};
use crate::drives::{Sales, SoldServices};
use crate::runner::{AgentRunner, AgentRunnerParts, Views};

/// The name of this process, under which its uptime is stored.
const PROCESS: &str = "agent";

/// Who decides about channels that have a stored state, by which clock, and what carries it out.
pub(crate) struct Decisions {
    node: Arc<Node>,
    clock: UptimeClock,
    pub(crate) reserve: Arc<GasReserve>,
    pub(crate) decider: Arc<Decider<Agent>>,
    /// Carries out what the decider decides.
    pub(crate) runner: AgentRunner,
    pub(crate) outlook: Arc<dyn Outlook>,
    batches: Batches,
    services: Arc<SoldServices>,
    bounds: Bounds,
    /// Carries out the jobs that bring services to their targets.
    pub(crate) driver: Driver<SoldServices>,
    /// The life of the plug-in: one for each run of the agent.
    _life: watch::Sender<u64>,
}

impl Decisions {
    /// Begins another run of the agent. `views` receives each decision that is committed.
    ///
    /// # Errors
    /// [`NodeError`] of the database.
    pub(crate) async fn start(
        node: &Arc<Node>,
        policy: AgentPolicy,
        views: Arc<Views>,
    ) -> Result<Self, NodeError> {
        let mut tx = node.db().begin().await?;
        let clock = UptimeClock::start(&mut tx, PROCESS).await?;
        channels::show_none_running(&mut tx).await?;
        tx.commit().await?;
        let reserve = Arc::new(GasReserve::new(Arc::clone(node)));
        let outlook: Arc<dyn Outlook> =
            Arc::new(NodeOutlook::new(Arc::clone(node), clock.clone(), Arc::clone(&reserve)));

        let (life, instance) = watch::channel(clock.start_number());
        let (host, times) = (Arc::clone(node.services().host()), Times::default());
        let calls = Calls::new(times);
        let bounds = Bounds::new(Arc::clone(&host), instance.clone(), times);
        let requests = Requests::new(calls.clone(), bounds.clone());
        let offers = Offers::new(Arc::clone(&outlook));
        let runner = AgentRunner::new(AgentRunnerParts {
            collects: Arc::new(offers.clone()),
            views,
            ..AgentRunnerParts::of(node, Arc::new(requests))
        });
        let batch_policy = BatchPolicy::for_channels(&policy);
        let decider = Arc::new(Decider::new(DeciderParts::of(
            node,
            Arc::new(runner.clone()),
            Arc::clone(&outlook),
            crate::runner::policy(node, policy),
        )));

        let sales = Sales::new(node.db().clone(), Arc::<Node>::clone(node));
        let services = Arc::new(SoldServices::new(node.db().clone(), Arc::clone(&decider), sales));
        let driver =
            Driver::new(node.db().clone(), host, Arc::clone(&services), calls, bounds.clone(), instance);
        let parts = BatchesParts::of(node, Arc::clone(&decider), offers);
        let batches = Batches::new(BatchesParts { policy: batch_policy, ..parts });
        let node = Arc::clone(node);
        Ok(Self {
            node,
            clock,
            reserve,
            decider,
            runner,
            outlook,
            batches,
            services,
            bounds,
            driver,
            _life: life,
        })
    }

    /// Sets when batches of closes and settlements go out.
    pub(crate) fn set_batches(&mut self, policy: BatchPolicy) {
        self.batches.set_policy(policy);
    }

    /// Counts the uptime, looks at channels whose time has come, submits batches, and sends bounds to the plug-in, until `stop`.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        tokio::join!(
            self.clock.keep(self.node.db(), stop),
            self.decider.run(stop),
            self.batches.run(stop.clone()),
            self.bounds.run(&*self.services, stop.clone()),
        );
    }
}
