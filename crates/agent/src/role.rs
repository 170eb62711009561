//! What the agent does about news.

use std::sync::Arc;

use async_trait::async_trait;
use privatix_channel::{ChainEvent, ChannelEvent, ChannelId};
use privatix_db::Conn;
use privatix_jobs::Job;
use privatix_market::Agent;
use privatix_market::offering::OfferingInput;
use privatix_node::inputs::{Before, Opening};
use privatix_node::{Decider, Node, NodeError, OfferingDecider, RoleRules, Stood};
use privatix_store::events::Place;
use privatix_store::offering_states;

use crate::adoption::{Adoption, Jobs, KnownTerms as _};
use crate::earlier::ChangeOffering;
use crate::offerings::OfferingAdoption;
use crate::operator::AppointOperator;
use crate::payments::Payments;

pub(crate) struct AgentRole {
    pub(crate) node: Arc<Node>,
    pub(crate) decider: Arc<Decider<Agent>>,
    pub(crate) offerings: Arc<OfferingDecider>,
    /// For offerings of an earlier version.
    pub(crate) payments: Arc<Payments>,
}

#[async_trait]
impl RoleRules for AgentRole {
    type Side = Agent;

    fn decider(&self) -> &Decider<Agent> {
        &self.decider
    }

    fn own_offerings(&self) -> Option<&OfferingDecider> {
        Some(&self.offerings)
    }

    async fn on_offerings(&self, conn: &mut Conn, stood: Stood) -> Result<(), NodeError> {
        self.offerings.chain(conn, stood).await
    }

    fn offerings_committed(&self) {
        self.offerings.committed();
    }

    async fn on_start(&self) -> Result<(), NodeError> {
        let (node, transactor) = (&self.node, self.node.transactor()?);
        let adoption = Adoption::new(node.db(), &transactor, &**node, node.recovery(), Jobs);
        let adopted = adoption.run(&self.decider.surroundings()).await?;
        for (channel, what) in adopted.damaged {
            node.damage().found(channel, what);
        }
        OfferingAdoption { db: node.db(), transactor: &transactor, agent: node.account() }.run().await?;
        self.restore_offerings().await
    }

    async fn on_event(
        &self,
        conn: &mut Conn,
        before: &mut Before<Agent>,
        _: Place,
        event: &ChainEvent,
    ) -> Result<(), NodeError> {
        let ChainEvent::Opened { channel, descriptor, event: ChannelEvent::Opened { deposit, .. } } = event
        else {
            return Ok(());
        };
        if descriptor.agent != self.node.account() {
            return Ok(());
        }
        if descriptor.id(self.node.domain()) != *channel {
            let reason = format!("channel {channel} is not the one that its event describes");
            return Err(NodeError::Contract { what: "an event", reason });
        }
        let terms = self.node.terms(descriptor).await?;
        let opening = Opening { channel: *channel, descriptor, deposit: *deposit, terms };
        self.decider.inputs().begin(conn, before, opening).await
    }

    fn not_to_be_repeated(&self) -> &'static [&'static str] {
        &[<AppointOperator as Job>::KIND, <ChangeOffering as Job>::KIND]
    }

    async fn on_committed(&self, channels: &[ChannelId]) {
        self.payments.outdated(channels);
    }
}

impl AgentRole {
    /// Informs the offerings of a database that came back from a backup: what was ordered since is not known. Each takes a recovery in
    /// once.
    async fn restore_offerings(&self) -> Result<(), NodeError> {
        let Some(recovery) = self.node.recovery() else { return Ok(()) };
        let ours = offering_states::of_agent(&mut *self.node.db().read().await?, self.node.account()).await?;
        for offering in ours {
            let restored = OfferingInput::Restored(recovery.backed_up_at.into());
            match self.offerings.decide(offering, restored).await {
                Err(error) if error.is_damage() => {
                    tracing::error!(%offering, %error, "something stored of the offering cannot be read; it is left as it is");
                }
                decided => drop(decided?),
            }
        }
        Ok(())
    }
}
