//! What an agent shows and signs of a channel.

use privatix_channel::{AgentView, ChannelId};
use privatix_node::NodeError;
use privatix_offering::SignedReceipt;
use privatix_store::{channels, receipts};

use super::ClientHandle;
use crate::answers::Unheard;

impl ClientHandle {
    /// What the channel's agent showed last of its side, if it speaks version 2: its meter, and what its service does.
    ///
    /// # Errors
    /// [`NodeError::Store`] for a channel that is not known.
    pub async fn agent_view(&self, channel: ChannelId) -> Result<Option<AgentView>, NodeError> {
        self.orders.agent_view(channel).await
    }

    /// What the channel's agent has signed of where the channel stands: the newest receipt that is kept here, after the agent was asked for
    /// another one; and why it gave none. It is proof to others, and decides nothing.
    ///
    /// # Errors
    /// [`NodeError::Store`] for a channel that is not known; [`NodeError::Refused`] where there is no receipt.
    pub async fn receipt(&self, channel: ChannelId) -> Result<(SignedReceipt, Option<Unheard>), NodeError> {
        let known = channels::get(&mut *self.node.db().read().await?, channel).await?;
        let problem = match self.agents.receipt(&known.descriptor).await {
            Ok(Some(_)) => None,
            Ok(None) => Some(Unheard::Unusable("it speaks version 1, in which nothing is signed".to_owned())),
            Err(problem) => Some(problem),
        };
        let kept = receipts::get(&mut *self.node.db().read().await?, channel).await?;
        let Some(kept) = kept else {
            let because = problem.map(|problem| format!(": {problem}")).unwrap_or_default();
            return Err(NodeError::Refused(format!("there is no receipt of channel {channel}{because}")));
        };
        Ok((kept, problem))
    }
}
