//! The client's decisions about its channels, and what runs beside them: [`Decisions`].

use std::sync::Arc;

use privatix_market::{Client, ClientPolicy};
use privatix_node::drive::{Bounds, Calls, Driver, Requests, Times};
use privatix_node::{Decider, DeciderParts, GasReserve, Node, NodeError, NodeOutlook, Outlook, UptimeClock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::drives::{BoughtServices, Purchases};
use crate::runner::{Asks, ClientRunner, ClientRunnerParts, Funds, Views};

/// The name of this process, under which its uptime is stored.
const PROCESS: &str = "client";

/// Who decides about channels that have a stored state, by which clock, and what carries it out.
pub struct Decisions {
    node: Arc<Node>,
    clock: UptimeClock,
    decider: Arc<Decider<Client>>,
    driver: Driver<BoughtServices>,
    /// The life of the plug-in: one for each run of the client.
    _life: watch::Sender<u64>,
}

impl std::fmt::Debug for Decisions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decisions").field("decider", &self.decider).finish_non_exhaustive()
    }
}

impl Decisions {
    /// Begins another run of the client. `views` receives each state that is committed.
    ///
    /// # Errors
    /// [`NodeError`] of the database.
    pub async fn start(
        node: &Arc<Node>,
        policy: ClientPolicy,
        views: Arc<Views>,
        funds: Arc<dyn Funds>,
        asks: Arc<dyn Asks>,
    ) -> Result<Self, NodeError> {
        let mut tx = node.db().begin().await?;
        let clock = UptimeClock::start(&mut tx, PROCESS).await?;
        tx.commit().await?;
        // A buyer's closes wait for no price of gas, so nothing is reserved for them.
        let reserve = Arc::new(GasReserve::new(Arc::clone(node)));
        let outlook: Arc<dyn Outlook> = Arc::new(NodeOutlook::new(Arc::clone(node), clock.clone(), reserve));

        let (life, instance) = watch::channel(clock.start_number());
        let (host, times) = (Arc::clone(node.services().host()), Times::default());
        let calls = Calls::new(times);
        // What a buyer uses is bounded by what it signs: none is ever sent.
        let bounds = Bounds::new(Arc::clone(&host), instance.clone(), times);
        let requests = Arc::new(Requests::new(calls.clone(), bounds.clone()));
        let carries_out = ClientRunner::new(ClientRunnerParts {
            views,
            ..ClientRunnerParts::of(node, requests, funds, asks)
        });
        let decider = Arc::new(Decider::new(DeciderParts::of(node, Arc::new(carries_out), outlook, policy)));

        let endpoints = {
            let node = Arc::clone(node);
            Arc::new(move |channel, endpoint: Option<&serde_json::Value>| {
                node.services().served_at(channel, endpoint);
            })
        };
        let purchases = Purchases::new(node.db().clone(), endpoints);
        let services = Arc::new(BoughtServices::new(node.db().clone(), Arc::clone(&decider), purchases));
        let driver = Driver::new(node.db().clone(), host, services, calls, bounds, instance);
        Ok(Self { node: Arc::clone(node), clock, decider, driver, _life: life })
    }

    /// Decides about the channels.
    pub const fn decider(&self) -> &Arc<Decider<Client>> {
        &self.decider
    }

    /// Carries out the jobs that bring services to their targets.
    pub const fn driver(&self) -> &Driver<BoughtServices> {
        &self.driver
    }

    /// Counts the uptime, and looks at channels whose time has come, until `stop`.
    pub async fn run(&self, stop: &CancellationToken) {
        tokio::join!(self.clock.keep(self.node.db(), stop), self.decider.run(stop));
    }
}
