//! What the agent does about news.

use std::sync::Arc;

use async_trait::async_trait;
use privatix_chain::{TxChange, TxRecord};
use privatix_channel::{ChainEvent, ChannelEvent, ChannelId};
use privatix_db::Conn;
use privatix_jobs::Job;
use privatix_market::Agent;
use privatix_node::inputs::{Before, Opening};
use privatix_node::{Decider, Node, NodeError, Role};
use privatix_store::events::Place;
use privatix_store::purposes::Recorded;

use crate::adoption::{Adoption, Jobs, KnownTerms as _};
use crate::offerings::ChangeOffering;
use crate::operator::AppointOperator;
use crate::payments::Payments;

pub(crate) struct AgentRole {
    pub(crate) node: Arc<Node>,
    pub(crate) decider: Arc<Decider<Agent>>,
    pub(crate) payments: Arc<Payments>,
}

#[async_trait]
impl Role for AgentRole {
    type Side = Agent;

    fn decider(&self) -> &Decider<Agent> {
        &self.decider
    }

    async fn on_start(&self) -> Result<(), NodeError> {
        let (node, transactor) = (&self.node, self.node.transactor()?);
        let adoption = Adoption::new(node.db(), &transactor, &**node, node.recovery(), Jobs);
        let adopted = adoption.run(&self.decider.surroundings()).await?;
        for (channel, what) in adopted.damaged {
            node.damage().found(channel, what);
        }
        Ok(())
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

    async fn on_transaction(
        &self,
        conn: &mut Conn,
        recorded: &Recorded,
        record: &TxRecord,
        change: TxChange,
    ) -> Result<(), NodeError> {
        // What a transaction has done shows as events, which the monitor takes back itself; and what can still be taken back is
        // repeatable, so that a retry does no harm.
        if matches!(change, TxChange::Reinstated | TxChange::Final) {
            return Ok(());
        }
        crate::offerings::finished(conn, &self.node, recorded, record).await
    }

    async fn on_committed(&self, channels: &[ChannelId]) {
        self.payments.outdated(channels);
    }
}
