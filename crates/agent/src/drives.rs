//! Brings the agent's services to what its channels' states want: [`Requests`] on the way to the plug-in, [`SoldServices`] on the
//! way back.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_adapter::{Credentials, Provision, Provisioned, Role, Secret};
use privatix_channel::{ChannelDescriptor, ChannelId};
use privatix_db::{Conn, Database};
use privatix_market::{Actual, Agent, AgentState, Answered, Input, Target};
use privatix_node::drive::{Bound, Bounds, Calls, Driven, Request, Wanted};
use privatix_node::shell::{Applied, NotApplied};
use privatix_node::{Decider, Node, NodeError};
use privatix_store::channels::{self, Access};
use privatix_store::states::Stored;

use crate::channels::secret;
use crate::runner::Drives;

/// Carries what is decided to the job that asks the plug-in, and bounds to the task that sends them.
#[derive(Clone, Debug)]
pub struct Requests {
    calls: Calls,
    bounds: Bounds,
}

impl Requests {
    /// Requests on their way to a driver of these calls and bounds.
    pub const fn new(calls: Calls, bounds: Bounds) -> Self {
        Self { calls, bounds }
    }
}

#[async_trait]
impl Drives for Requests {
    async fn drive(
        &self,
        conn: &mut Conn,
        channel: ChannelId,
        _: u32,
        target: Target,
    ) -> Result<(), NodeError> {
        self.calls.ask(conn, channel, target).await // the request of this number is stored with the state
    }

    fn committed(&self, state: &AgentState, revision: u64) {
        if let Some(up_to) = state.bound() {
            self.bounds.set(state.id, Bound { revision, up_to });
        }
        self.calls.changed(state.id);
    }
}

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
pub struct SoldServices {
    db: Database,
    decider: Arc<Decider<Agent>>,
    sold: Arc<dyn Sold>,
    /// Access that the plug-in was given, and that is stored once an answer shows the channel as known to it.
    prepared: Mutex<HashMap<ChannelId, Access>>,
}

impl std::fmt::Debug for SoldServices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SoldServices").field("decider", &self.decider).finish_non_exhaustive()
    }
}

impl SoldServices {
    /// The services of channels that this decider decides about.
    pub fn new(db: Database, decider: Arc<Decider<Agent>>, sold: Arc<dyn Sold>) -> Self {
        Self { db, decider, sold, prepared: Mutex::default() }
    }

    /// The state of a channel; `None` where nothing can be decided about it. A channel of which something cannot be read is named by
    /// its looks, and asks again once it was repaired.
    async fn load(&self, conn: &mut Conn, channel: ChannelId) -> Result<Option<Stored<Agent>>, NodeError> {
        match self.decider.load(conn, channel).await {
            Ok(stored) => Ok(Some(stored)),
            Err(NotApplied::NoState(_) | NotApplied::Damaged { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Has decided whether the plug-in holds a service to its bound.
    async fn bound(&self, channel: ChannelId, holds: bool) {
        match self.decider.decide(channel, Input::Bounded(holds)).await {
            Ok(_) | Err(NotApplied::NoState(_)) => {}
            Err(error) => tracing::error!(%channel, %error, "a bound that is not held could not be decided"),
        }
    }

    /// The access that the plug-in was given, if none is stored.
    async fn unstored_access(
        &self,
        conn: &mut Conn,
        channel: ChannelId,
    ) -> Result<Option<Access>, NodeError> {
        let Some(access) = self.prepared.lock().get(&channel).cloned() else { return Ok(None) };
        let is_stored = channels::get(conn, channel).await?.access.is_some();
        Ok((!is_stored).then_some(access))
    }
}

#[async_trait]
impl Driven for SoldServices {
    type Applied = Option<Applied<Agent>>;

    fn side(&self) -> Role {
        Role::Agent
    }

    async fn wanted(&self, conn: &mut Conn, channel: ChannelId) -> Result<Option<Wanted>, NodeError> {
        let Some(Stored { state, revision, .. }) = self.load(conn, channel).await? else { return Ok(None) };
        let (service, outlook) = (&state.own.service, self.decider.outlook());
        let now = outlook.uptime();
        Ok(Some(Wanted {
            target: service.target,
            actual: service.actual(outlook.instance()),
            asked: service.asked.map(|asked| Request { seq: asked.seq, left: asked.until.since(now) }),
            bound: state.bound().map(|up_to| Bound { revision, up_to }),
        }))
    }

    async fn provision(&self, channel: ChannelId) -> Result<Provision, NodeError> {
        let (stored, access) = {
            let mut conn = self.db.read().await?;
            let stored = self.decider.load(&mut conn, channel).await?;
            (stored, channels::get(&mut conn, channel).await?.access)
        };
        let state = stored.state;
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
            let access = Access {
                username: credentials.username.clone(),
                password: credentials.password.expose().to_owned(),
                endpoint: provisioned.endpoint.clone(),
            };
            self.prepared.lock().insert(*channel, access);
        }
        Ok(())
    }

    async fn report(
        &self,
        conn: &mut Conn,
        channel: ChannelId,
        seq: u32,
        answer: Answered,
    ) -> Result<Self::Applied, NodeError> {
        let Some(before) = self.load(conn, channel).await? else { return Ok(None) };
        if let Answered::Did(Actual::Suspended | Actual::Running) = answer
            && let Some(access) = self.unstored_access(conn, channel).await?
        {
            channels::set_access(conn, channel, &access).await?;
            tracing::info!(%channel, client = %before.state.descriptor.client, "channel provisioned");
        }
        match self.decider.decide_in(conn, &before, Input::Adapter { seq, answer }).await {
            Ok(applied) => Ok(Some(applied)),
            Err(NotApplied::Refused(refused)) => {
                tracing::error!(%channel, %refused, "an answer of the plug-in is refused; report this as an error of the program");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn committed(&self, applied: Self::Applied) {
        if let Some(applied) = applied {
            if applied.state.own.service.asked.is_none() {
                self.prepared.lock().remove(&applied.state.id); // stored, or not wanted any more
            }
            self.decider.committed(&applied);
        }
    }

    fn exhausted(&self, channel: ChannelId) {
        self.decider.mark(channel); // a look writes, so it waits for that commit
    }

    async fn unbounded(&self, channel: ChannelId) {
        tracing::error!(%channel, "the plug-in does not take a lower bound: what it serves beyond is not paid");
        self.bound(channel, false).await;
    }

    async fn bounded(&self, channel: ChannelId) {
        tracing::info!(%channel, "the plug-in holds the service to its bound again");
        self.bound(channel, true).await;
    }
}
