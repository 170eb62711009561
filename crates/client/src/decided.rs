//! What a client does about news where everything about its channels is decided from their states: [`DecidedRole`].

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use privatix_billing::{Account, Terms};
use privatix_chain::{TxChange, TxRecord};
use privatix_channel::{ChainEvent, ChannelEvent, ChannelId, OfferingEvent, ServiceStatus};
use privatix_db::Conn;
use privatix_jobs::Job;
use privatix_market::Client;
use privatix_node::inputs::{Before, Opening};
use privatix_node::{Decider, Node, NodeError, Role};
use privatix_store::channels::Channel;
use privatix_store::events::Place;
use privatix_store::purposes::Recorded;

use crate::adoption::{Adoption, Jobs, KnownTerms as _};
use crate::decisions::Decisions;
use crate::fund::Fund;
use crate::offerings::FetchOffering;

/// What a client does about news. The running [`Client`](crate::Client) does not use it yet.
#[derive(Clone, Debug)]
pub struct DecidedRole {
    node: Arc<Node>,
    decisions: Arc<Decisions>,
}

impl DecidedRole {
    /// Of this node, by these decisions.
    pub const fn new(node: Arc<Node>, decisions: Arc<Decisions>) -> Self {
        Self { node, decisions }
    }
}

/// All that is about channels is decided from their states.
#[async_trait]
impl Role for DecidedRole {
    type Side = Client;

    fn decider(&self) -> Option<&Decider<Client>> {
        Some(self.decisions.decider())
    }

    async fn on_start(&self) -> Result<(), NodeError> {
        let (node, transactor) = (&self.node, self.node.transactor()?);
        let jobs = Jobs::new(Arc::new(self.decisions.funding().clone()));
        let adoption = Adoption::new(node.db(), &transactor, &**node, node.recovery(), jobs);
        let adopted = adoption.run(&self.decisions.decider().surroundings()).await?;
        for (channel, what) in adopted.damaged {
            node.damage().found(channel, what);
        }
        self.decisions.settle_cancelled().await?;
        self.decisions.end_excluded().await
    }

    async fn on_event(
        &self,
        conn: &mut Conn,
        before: Option<&mut Before<Client>>,
        _: Place,
        event: &ChainEvent,
    ) -> Result<(), NodeError> {
        match event {
            ChainEvent::Offering {
                agent,
                offering,
                event: OfferingEvent::Registered(_) | OfferingEvent::PoppedUp(_),
            } => {
                let fetch = FetchOffering { agent: *agent, offering: *offering };
                privatix_node::push(conn, &fetch, "monitor").await
            }
            // Known since it was accepted; found again if this database is younger than the channel.
            ChainEvent::Opened { channel, descriptor, event: ChannelEvent::Opened { deposit, .. } } => {
                let is_ours = descriptor.client == self.node.account();
                let Some(before) = before.filter(|_| is_ours) else { return Ok(()) };
                if descriptor.id(self.node.domain()) != *channel {
                    let reason = format!("channel {channel} is not the one that its event describes");
                    return Err(NodeError::Contract { what: "an event", reason });
                }
                let terms = self.node.terms(descriptor).await?;
                let opening = Opening { channel: *channel, descriptor, deposit: *deposit, terms };
                self.decisions.decider().inputs().begin(conn, before, opening).await
            }
            _ => Ok(()),
        }
    }

    async fn on_channel(&self, _: &mut Conn, _: &Channel, _: &ChainEvent) -> Result<(), NodeError> {
        Ok(())
    }

    async fn on_undone(&self, _: &mut Conn, _: &Channel) -> Result<(), NodeError> {
        Ok(())
    }

    async fn on_restored(&self, _: &mut Conn) -> Result<(), NodeError> {
        Ok(()) // every channel is looked at when the run begins
    }

    /// What came back with a backup was paid for already, or is not wanted any more: it is given up.
    fn not_to_be_repeated(&self) -> &'static [&'static str] {
        &[<Fund as Job>::KIND, <crate::TopUp as Job>::KIND]
    }

    fn put_off(&self) -> &'static [&'static str] {
        &[]
    }

    async fn on_stopped(&self, _: ChannelId) -> Result<(), NodeError> {
        Ok(())
    }

    async fn on_service(&self, _: &mut Conn, _: &Channel, _: ServiceStatus) -> Result<(), NodeError> {
        Ok(())
    }

    async fn on_transaction(
        &self,
        _: &mut Conn,
        _: &Recorded,
        _: &TxRecord,
        _: TxChange,
    ) -> Result<(), NodeError> {
        Ok(())
    }

    async fn on_committed(&self, _: &[ChannelId]) {}

    async fn assess(
        &self,
        _: &Channel,
        _: &Terms,
        _: &Account,
        _: SystemTime,
    ) -> Result<Option<SystemTime>, NodeError> {
        Ok(None)
    }
}
