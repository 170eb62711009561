use std::future::Future;

use privatix_agent::AgentHandle;
use privatix_billing::ClientPolicy;
use privatix_chain::TxId;
use privatix_channel::{AgentView, Amount, ChannelId, Usage};
use privatix_client::ClientHandle;
use privatix_db::Conn;
use privatix_jobs::{JobId, JobRecord};
use privatix_market::{AgentOrder, OrderId};
use privatix_node::{Given, Node, NodeError};
use privatix_store::orders::Order;
use std::sync::Arc;
use std::time::SystemTime;

/// What the API needs of a role's handle: all of it, but for what only one role can do.
pub trait Operator: Clone + Send + Sync + 'static {
    /// What both roles stand on.
    fn node(&self) -> &Arc<Node>;

    /// Where clients reach an agent's messaging server.
    fn addresses(&self) -> Vec<String> {
        Vec::new()
    }

    /// Takes an order about a channel, under the caller's key. Returns the number under which it is stored.
    fn order(
        &self,
        channel: ChannelId,
        order: ChannelCommand,
        key: Option<String>,
    ) -> impl Future<Output = Result<OrderId, NodeError>> + Send;

    /// The job that provides the tokens of an order. By default orders take none.
    fn job_of(&self, order: &Order) -> impl Future<Output = Result<Option<JobId>, NodeError>> + Send {
        let _ = order;
        async { Ok(None) }
    }

    /// Whether a transaction may be cancelled by hand.
    fn check_may_cancel(
        &self,
        conn: &mut Conn,
        transaction: TxId,
    ) -> impl Future<Output = Result<(), NodeError>> + Send {
        let _ = (conn, transaction);
        async { Ok(()) }
    }

    /// A job was cancelled by hand: what waited for it is given up. By default nothing waits.
    fn job_cancelled(&self, job: &JobRecord) -> impl Future<Output = Result<(), NodeError>> + Send {
        let _ = job;
        async { Ok(()) }
    }

    /// What an agent could still cash.
    fn claimable(
        &self,
        channel: ChannelId,
    ) -> impl Future<Output = Result<Option<Amount>, NodeError>> + Send {
        let _ = channel;
        async { Ok(None) }
    }

    /// When this side closes an ended channel, or asks to close it, at the latest; `None` where no time leads there.
    fn closes_at(
        &self,
        channel: ChannelId,
    ) -> impl Future<Output = Result<Option<SystemTime>, NodeError>> + Send;

    /// How a client pays and tops a channel up, and whether that is a policy of the channel's own; `None` for an agent.
    fn billing(
        &self,
        channel: ChannelId,
    ) -> impl Future<Output = Result<Option<(ClientPolicy, bool)>, NodeError>> + Send {
        let _ = channel;
        async { Ok(None) }
    }

    /// What a client was shown last by the channel's agent.
    fn agent_view(
        &self,
        channel: ChannelId,
    ) -> impl Future<Output = Result<Option<AgentView>, NodeError>> + Send {
        let _ = channel;
        async { Ok(None) }
    }

    /// The meter of an agent's client, as it said last.
    fn client_used(
        &self,
        channel: ChannelId,
    ) -> impl Future<Output = Result<Option<Usage>, NodeError>> + Send {
        let _ = channel;
        async { Ok(None) }
    }

    /// What the agent of a client's restored channel claims, until the user accepts it.
    fn claimed(&self, channel: ChannelId) -> impl Future<Output = Result<Option<Amount>, NodeError>> + Send {
        let _ = channel;
        async { Ok(None) }
    }
}

/// What both sides can order about a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelCommand {
    /// Pause its service.
    Pause,
    /// End a pause.
    Resume,
    /// End its service for good.
    Terminate,
    /// End its service and close it on chain.
    Close,
    /// Give up what it may hold for this side.
    Abandon,
}

impl Operator for AgentHandle {
    fn node(&self) -> &Arc<Node> {
        self.node()
    }

    fn addresses(&self) -> Vec<String> {
        self.addresses().iter().map(ToString::to_string).collect()
    }

    async fn order(
        &self,
        channel: ChannelId,
        order: ChannelCommand,
        key: Option<String>,
    ) -> Result<OrderId, NodeError> {
        let order = match order {
            ChannelCommand::Pause => AgentOrder::Hold,
            ChannelCommand::Resume => AgentOrder::Resume,
            ChannelCommand::Terminate => AgentOrder::End,
            ChannelCommand::Close => AgentOrder::Close,
            ChannelCommand::Abandon => AgentOrder::Abandon,
        };
        Ok(self.order_as(channel, order, Given::by_operator().under(key)).await?.order)
    }

    async fn closes_at(&self, channel: ChannelId) -> Result<Option<SystemTime>, NodeError> {
        self.closes_at(channel).await
    }

    async fn check_may_cancel(&self, conn: &mut Conn, transaction: TxId) -> Result<(), NodeError> {
        self.check_may_cancel(conn, transaction).await
    }

    async fn claimable(&self, channel: ChannelId) -> Result<Option<Amount>, NodeError> {
        self.claimable(channel).await.map(Some)
    }

    async fn client_used(&self, channel: ChannelId) -> Result<Option<Usage>, NodeError> {
        self.client_used(channel).await
    }
}

impl Operator for ClientHandle {
    fn node(&self) -> &Arc<Node> {
        self.node()
    }

    async fn job_cancelled(&self, job: &JobRecord) -> Result<(), NodeError> {
        self.job_cancelled(job).await
    }

    async fn claimed(&self, channel: ChannelId) -> Result<Option<Amount>, NodeError> {
        self.claimed(channel).await
    }

    async fn agent_view(&self, channel: ChannelId) -> Result<Option<AgentView>, NodeError> {
        self.agent_view(channel).await
    }

    async fn billing(&self, channel: ChannelId) -> Result<Option<(ClientPolicy, bool)>, NodeError> {
        self.orders().billing(channel).await.map(Some)
    }

    async fn closes_at(&self, channel: ChannelId) -> Result<Option<SystemTime>, NodeError> {
        self.orders().closes_at(channel).await
    }

    async fn job_of(&self, order: &Order) -> Result<Option<JobId>, NodeError> {
        self.orders().job_of(order).await
    }

    async fn order(
        &self,
        channel: ChannelId,
        order: ChannelCommand,
        key: Option<String>,
    ) -> Result<OrderId, NodeError> {
        let (orders, given) = (self.orders(), Given::by_user().under(key));
        let ordered = match order {
            ChannelCommand::Pause => orders.pause(channel, given).await?,
            ChannelCommand::Resume => orders.resume(channel, given).await?,
            ChannelCommand::Terminate => orders.end(channel, given).await?,
            ChannelCommand::Close => orders.close(channel, given).await?,
            ChannelCommand::Abandon => orders.abandon(channel, given).await?,
        };
        Ok(ordered.order)
    }
}
