use std::future::Future;

use privatix_agent::AgentHandle;
use privatix_chain::TxId;
use privatix_channel::{Amount, ChannelId};
use privatix_client::ClientHandle;
use privatix_db::Conn;
use privatix_jobs::{JobRecord, Pushed};
use privatix_node::{Node, NodeError};
use std::sync::Arc;

/// What the API needs of a role's handle: all of it, but for what only one role can do.
pub trait Operator: Clone + Send + Sync + 'static {
    /// What both roles stand on.
    fn node(&self) -> &Arc<Node>;

    /// Where clients reach an agent's messaging server.
    fn addresses(&self) -> Vec<String> {
        Vec::new()
    }

    /// Pauses a channel's service.
    fn pause(&self, channel: ChannelId) -> impl Future<Output = Result<(), NodeError>> + Send;

    /// Ends a pause.
    fn resume(&self, channel: ChannelId) -> impl Future<Output = Result<(), NodeError>> + Send;

    /// Ends a channel's service for good. Returns the job that does it, if one does.
    fn terminate(&self, channel: ChannelId)
    -> impl Future<Output = Result<Option<Pushed>, NodeError>> + Send;

    /// Ends a channel's service and closes the channel on chain. Returns the job of the close, if one does it.
    fn close(&self, channel: ChannelId) -> impl Future<Output = Result<Option<Pushed>, NodeError>> + Send;

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

    /// What the agent of a client's restored channel claims, until the user accepts it.
    fn claimed(&self, channel: ChannelId) -> impl Future<Output = Result<Option<Amount>, NodeError>> + Send {
        let _ = channel;
        async { Ok(None) }
    }
}

impl Operator for AgentHandle {
    fn node(&self) -> &Arc<Node> {
        self.node()
    }

    fn addresses(&self) -> Vec<String> {
        self.addresses().iter().map(ToString::to_string).collect()
    }

    async fn pause(&self, channel: ChannelId) -> Result<(), NodeError> {
        self.pause(channel).await
    }

    async fn resume(&self, channel: ChannelId) -> Result<(), NodeError> {
        self.resume(channel).await
    }

    async fn terminate(&self, channel: ChannelId) -> Result<Option<Pushed>, NodeError> {
        self.terminate(channel).await.map(|_| None)
    }

    async fn close(&self, channel: ChannelId) -> Result<Option<Pushed>, NodeError> {
        self.close(channel).await.map(|_| None)
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

    async fn pause(&self, channel: ChannelId) -> Result<(), NodeError> {
        self.pause(channel).await.map(drop)
    }

    async fn resume(&self, channel: ChannelId) -> Result<(), NodeError> {
        self.resume(channel).await.map(drop)
    }

    async fn terminate(&self, channel: ChannelId) -> Result<Option<Pushed>, NodeError> {
        self.terminate(channel).await.map(|_| None)
    }

    async fn close(&self, channel: ChannelId) -> Result<Option<Pushed>, NodeError> {
        self.close(channel).await.map(|_| None)
    }
}
