use std::future::Future;

use privatix_agent::AgentHandle;
use privatix_billing::ClientPolicy;
use privatix_chain::TxId;
use privatix_channel::{Amount, ChannelId};
use privatix_client::ClientHandle;
use privatix_db::Conn;
use privatix_jobs::JobRecord;
use privatix_market::OrderId;
use privatix_node::{Node, NodeError};
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

    /// Takes an order about a channel. Returns the number under which it is stored, if this side stores orders.
    fn order(
        &self,
        channel: ChannelId,
        order: ChannelCommand,
    ) -> impl Future<Output = Result<Option<OrderId>, NodeError>> + Send;

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

    async fn order(&self, channel: ChannelId, order: ChannelCommand) -> Result<Option<OrderId>, NodeError> {
        match order {
            ChannelCommand::Pause => self.pause(channel).await?,
            ChannelCommand::Resume => self.resume(channel).await?,
            ChannelCommand::Terminate => self.terminate(channel).await.map(drop)?,
            ChannelCommand::Close => self.close(channel).await.map(drop)?,
            ChannelCommand::Abandon => self.abandon(channel).await.map(drop)?,
        }
        Ok(None)
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

    async fn billing(&self, channel: ChannelId) -> Result<Option<(ClientPolicy, bool)>, NodeError> {
        self.orders().billing(channel).await.map(Some)
    }

    async fn closes_at(&self, channel: ChannelId) -> Result<Option<SystemTime>, NodeError> {
        self.orders().closes_at(channel).await
    }

    async fn order(&self, channel: ChannelId, order: ChannelCommand) -> Result<Option<OrderId>, NodeError> {
        let ordered = match order {
            ChannelCommand::Pause => self.pause(channel).await?,
            ChannelCommand::Resume => self.resume(channel).await?,
            ChannelCommand::Terminate => self.terminate(channel).await?,
            ChannelCommand::Close => self.close(channel).await?,
            ChannelCommand::Abandon => self.abandon(channel).await?,
        };
        Ok(Some(ordered.order))
    }
}
