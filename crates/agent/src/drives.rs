//! What the agent's services are sold with: [`Sales`].

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_adapter::{Credentials, Provision, Provisioned, Secret};
use privatix_channel::{ChannelDescriptor, ChannelId};
use privatix_db::{Conn, Database};
use privatix_market::{Agent, AgentState};
use privatix_node::drive::{Decided, Provisions};
use privatix_node::{Node, NodeError};
use privatix_store::channels::{self, StoredAccess};

/// What channels are sold under.
#[async_trait]
pub trait Sold: Send + Sync {
    /// The additional parameters of a channel's offering, for the plug-in.
    ///
    /// # Errors
    /// [`NodeError`]: the channel is not provisioned.
    async fn parameters(&self, descriptor: &ChannelDescriptor) -> Result<serde_json::Value, NodeError>;
}

#[async_trait]
impl Sold for Node {
    async fn parameters(&self, descriptor: &ChannelDescriptor) -> Result<serde_json::Value, NodeError> {
        let offering = self.offering(descriptor.agent, descriptor.offering).await?;
        Ok(offering.message().additional.clone())
    }
}

/// What is wanted of the agent's services, by the stored states of their channels, and where the plug-in's answers go.
pub type SoldServices = Decided<Agent, Sales>;

/// What the agent's services are sold with: the access that the client is given, and the parameters of the offering.
pub struct Sales {
    db: Database,
    sold: Arc<dyn Sold>,
    /// Access as the plug-in serves it now, which is stored once an answer shows the channel as known to it.
    prepared: Mutex<HashMap<ChannelId, StoredAccess>>,
}

impl std::fmt::Debug for Sales {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sales").field("prepared", &self.prepared.lock().len()).finish_non_exhaustive()
    }
}

impl Sales {
    /// Sales under the offerings of `sold`.
    pub fn new(db: Database, sold: Arc<dyn Sold>) -> Self {
        Self { db, sold, prepared: Mutex::default() }
    }
}

#[async_trait]
impl Provisions<Agent> for Sales {
    async fn provision(&self, state: &AgentState) -> Result<Provision, NodeError> {
        let channel = state.id;
        let access = channels::get(&mut *self.db.read().await?, channel).await?.access;
        let parameters = self.sold.parameters(&state.descriptor).await?;
        // The client may have what is stored. What was only prepared is used again, or the plug-in would be given another one each time.
        let access = access.or_else(|| self.prepared.lock().get(&channel).cloned());
        let (username, password) = access
            .map_or_else(|| (channel.to_string(), secret()), |access| (access.username, access.password));
        let used = state.meter.used;
        Ok(Provision::Sell {
            channel,
            credentials: Credentials { username, password: Secret::new(password) },
            parameters,
            used,
            up_to: state.bound().unwrap_or(used),
        })
    }

    async fn provisioned(&self, provision: &Provision, provisioned: &Provisioned) -> Result<(), NodeError> {
        if let Provision::Sell { channel, credentials, .. } = provision {
            let access = StoredAccess {
                username: credentials.username.clone(),
                password: credentials.password.expose().to_owned(),
                endpoint: provisioned.endpoint.clone(),
            };
            self.prepared.lock().insert(*channel, access);
        }
        Ok(())
    }

    async fn known(&self, conn: &mut Conn, state: &AgentState) -> Result<bool, NodeError> {
        let (channel, client) = (state.id, state.descriptor.client);
        let Some(access) = self.prepared.lock().get(&channel).cloned() else { return Ok(false) };
        let stored = channels::get(conn, channel).await?.access;
        if stored.as_ref() == Some(&access) {
            return Ok(false);
        }
        channels::set_access(conn, channel, &access).await?;
        let has_moved = stored.is_some();
        if has_moved {
            tracing::info!(%channel, %client, "the channel is served elsewhere now; its client is given that");
        } else {
            tracing::info!(%channel, %client, "channel provisioned");
        }
        Ok(has_moved)
    }

    fn committed(&self, state: &AgentState) {
        if state.own.service.asked.is_none() {
            self.prepared.lock().remove(&state.id); // stored, or not wanted any more
        }
    }
}

/// 256 random bits.
fn secret() -> String {
    let bytes: [u8; 32] = rand::random();
    alloy::primitives::hex::encode(bytes)
}
