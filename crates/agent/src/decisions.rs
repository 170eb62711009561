//! The agent's decisions about its channels, and what runs beside them: [`Decisions`].

use std::sync::Arc;

use privatix_market::Agent;
use privatix_node::{Decider, DeciderParts, GasReserve, Node, NodeError, NodeOutlook, Outlook, UptimeClock};
use tokio_util::sync::CancellationToken;

use crate::batches::{Batches, BatchesParts, Offers};
use crate::runner::{AgentRunner, AgentRunnerParts, Drives, policy};

/// The name of this process, under which its uptime is stored.
const PROCESS: &str = "agent";

/// Who decides about channels that have a stored state, by which clock, and the batches that follow from it.
pub(crate) struct Decisions {
    node: Arc<Node>,
    clock: UptimeClock,
    pub(crate) reserve: Arc<GasReserve>,
    pub(crate) decider: Arc<Decider<Agent>>,
    batches: Batches,
}

impl Decisions {
    /// Begins another run of the agent.
    ///
    /// # Errors
    /// [`NodeError`] of the database.
    pub(crate) async fn start(node: &Arc<Node>, drives: Arc<dyn Drives>) -> Result<Self, NodeError> {
        let mut tx = node.db().begin().await?;
        let clock = UptimeClock::start(&mut tx, PROCESS).await?;
        tx.commit().await?;
        let reserve = Arc::new(GasReserve::new(Arc::clone(node)));
        let outlook: Arc<dyn Outlook> =
            Arc::new(NodeOutlook::new(Arc::clone(node), clock.clone(), Arc::clone(&reserve)));
        let offers = Offers::new(Arc::clone(&outlook));
        let runner = AgentRunner::new(AgentRunnerParts {
            collects: Arc::new(offers.clone()),
            ..AgentRunnerParts::of(node, drives)
        });
        let parts = DeciderParts::of(node, Arc::new(runner), outlook, policy(node));
        let decider = Arc::new(Decider::new(parts));
        let batches = Batches::new(BatchesParts::of(node, Arc::clone(&decider), offers));
        Ok(Self { node: Arc::clone(node), clock, reserve, decider, batches })
    }

    /// Counts the uptime, looks at channels whose time has come, and submits batches, until `stop`.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        tokio::join!(
            self.clock.keep(self.node.db(), stop),
            self.decider.run(stop),
            self.batches.run(stop.clone()),
        );
    }
}
