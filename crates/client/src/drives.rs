//! What the client's services are bought with: [`Purchases`].

use std::sync::Arc;

use async_trait::async_trait;
use privatix_adapter::{Access, Credentials, LocalEndpoints, Provision, Provisioned, Secret};
use privatix_channel::ChannelId;
use privatix_db::Database;
use privatix_market::{Actual, Client, ClientState};
use privatix_node::NodeError;
use privatix_node::drive::{Decided, Provisions};
use privatix_store::channels;

/// What is wanted of the client's services, by the stored states of their channels, and where the plug-in's answers go.
pub type BoughtServices = Decided<Client, Purchases>;

/// Receives where this machine's programs find a channel's service; `None` once it is not served any more. It must not wait for
/// anything.
pub type Endpoints = dyn Fn(ChannelId, Option<&serde_json::Value>) + Send + Sync;

/// What the client's services are bought with: the access that the agent gave, and a local address that stays the same for the
/// channel's life, since programs on this machine are configured with it.
pub struct Purchases {
    db: Database,
    endpoints: Arc<Endpoints>,
}

impl std::fmt::Debug for Purchases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Purchases").finish_non_exhaustive()
    }
}

impl Purchases {
    /// Purchases whose local addresses are given to `endpoints`.
    pub fn new(db: Database, endpoints: Arc<Endpoints>) -> Self {
        Self { db, endpoints }
    }
}

#[async_trait]
impl Provisions<Client> for Purchases {
    async fn provision(&self, state: &ClientState) -> Result<Provision, NodeError> {
        let channel = state.id;
        let mut conn = self.db.read().await?;
        let Some(access) = channels::get(&mut conn, channel).await?.access else {
            return Err(NodeError::NoAccess(channel));
        };
        let channels::LocalEndpoints { own, in_use, freed } =
            channels::local_endpoints(&mut conn, channel).await?;
        let credentials = Credentials { username: access.username, password: Secret::new(access.password) };
        let access = Access { endpoint: access.endpoint, credentials };
        Ok(Provision::Buy { channel, access, local: LocalEndpoints { own, in_use, freed } })
    }

    async fn provisioned(&self, provision: &Provision, provisioned: &Provisioned) -> Result<(), NodeError> {
        let Provision::Buy { channel, local, .. } = provision else { return Ok(()) };
        if local.own.as_ref() != Some(&provisioned.endpoint) {
            let mut tx = self.db.begin().await?;
            channels::set_local_endpoint(&mut tx, *channel, &provisioned.endpoint).await?;
            tx.commit().await?;
        }
        (self.endpoints)(*channel, Some(&provisioned.endpoint));
        Ok(())
    }

    fn committed(&self, state: &ClientState) {
        if state.own.service.actual == Actual::Absent {
            (self.endpoints)(state.id, None);
        }
    }
}
