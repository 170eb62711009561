//! What the client does about news: [`ClientRole`].

use std::sync::Arc;

use async_trait::async_trait;
use privatix_channel::{ChainEvent, ChannelEvent};
use privatix_db::Conn;
use privatix_jobs::Job;
use privatix_market::Client;
use privatix_node::inputs::{Before, Opening};
use privatix_node::{Decider, Node, NodeError, RoleRules, Stood};
use privatix_store::events::Place;

use crate::adoption::{Adoption, Jobs, KnownTerms as _};
use crate::decisions::Decisions;
use crate::fund::Fund;
use crate::offerings;

/// What a client does about news.
#[derive(Clone, Debug)]
pub struct ClientRole {
    node: Arc<Node>,
    decisions: Arc<Decisions>,
}

impl ClientRole {
    /// Of this node, by these decisions.
    pub const fn new(node: Arc<Node>, decisions: Arc<Decisions>) -> Self {
        Self { node, decisions }
    }
}

#[async_trait]
impl RoleRules for ClientRole {
    type Side = Client;

    fn decider(&self) -> &Decider<Client> {
        self.decisions.decider()
    }

    async fn on_start(&self) -> Result<(), NodeError> {
        let (node, transactor) = (&self.node, self.node.transactor()?);
        let jobs = Jobs::new(Arc::new(self.decisions.funding().clone()));
        let adoption = Adoption::new(node.db(), &transactor, &**node, node.recovery(), jobs);
        let adopted = adoption.run(&self.decisions.decider().surroundings()).await?;
        for (channel, what) in adopted.damaged {
            node.damage().found(channel, what);
        }
        let adopted = offerings::adopt(node.db(), self.decisions.decider().outlook().uptime()).await?;
        if adopted > 0 {
            tracing::info!(
                offerings = adopted,
                "offerings of an earlier version are followed from stored states"
            );
        }
        self.decisions.settle().await
    }

    async fn on_event(
        &self,
        conn: &mut Conn,
        before: &mut Before<Client>,
        _: Place,
        event: &ChainEvent,
    ) -> Result<(), NodeError> {
        // Known since it was accepted; found again if this database is younger than the channel.
        let ChainEvent::Opened { channel, descriptor, event: ChannelEvent::Opened { deposit, .. } } = event
        else {
            return Ok(());
        };
        if descriptor.client != self.node.account() {
            return Ok(());
        }
        if descriptor.id(self.node.domain()) != *channel {
            let reason = format!("channel {channel} is not the one that its event describes");
            return Err(NodeError::Contract { what: "an event", reason });
        }
        let terms = self.node.terms(descriptor).await?;
        let opening = Opening { channel: *channel, descriptor, deposit: *deposit, terms };
        self.decisions.decider().inputs().begin(conn, before, opening).await?;
        let found = (*channel, descriptor.agent);
        Ok(self.decisions.funding().take_found(conn, found, *deposit).await?)
    }

    async fn on_offerings(&self, conn: &mut Conn, stood: Stood) -> Result<(), NodeError> {
        self.decisions.offerings().on_chain(conn, stood).await
    }

    fn offerings_committed(&self) {
        self.decisions.offerings().committed();
    }

    /// What came back with a backup was paid for already, or is not wanted any more: it is given up.
    fn not_to_be_repeated(&self) -> &'static [&'static str] {
        &[<Fund as Job>::KIND, <crate::TopUp as Job>::KIND, <crate::OpenChannel as Job>::KIND]
    }
}
