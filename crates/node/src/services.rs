//! The service adapter: its configuration, and where it serves channels. How services come to what is wanted of them: [`drive`](crate::drive).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use privatix_adapter::{AdapterError, Configuration, Host, UsageReporter};
use privatix_channel::ChannelId;
use privatix_db::Database;
use privatix_jobs::{Duplicates, Job, Lane, Policy};
use privatix_store::channels;
use serde::{Deserialize, Serialize};

use crate::{NodeError, Notices, Part, lanes};

/// What a service is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceAction {
    /// Running.
    Activate,
    /// Suspended until it is resumed.
    Suspend,
    /// Stopped for good.
    Terminate,
}

/// Job of earlier versions: have the adapter bring a channel's service into a state. Nothing carries it out any more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceOrder {
    /// The channel.
    pub channel: ChannelId,
    /// What its service is to be.
    pub order: ServiceAction,
    /// Why, for the operator.
    pub reason: String,
}

impl Job for ServiceOrder {
    const KIND: &'static str = "service_order";
    const LANE: Lane = lanes::SERVICE;

    fn subject(&self) -> String {
        channel_subject(self.channel)
    }

    fn key(&self) -> String {
        format!("{:?}", self.order)
    }

    fn policy() -> Policy {
        Policy::default().duplicates(Duplicates::RefusedWhileWaiting)
    }
}

/// The subject of every job about a channel: they run one after another.
pub fn channel_subject(channel: ChannelId) -> String {
    format!("channel {channel}")
}

/// The service adapter, and where it serves channels.
pub struct Services {
    db: Database,
    host: Arc<Host>,
    /// Where each provisioned channel is served, as the adapter said.
    endpoints: Mutex<HashMap<ChannelId, serde_json::Value>>,
    is_ready: AtomicBool,
}

impl Services {
    pub(crate) fn new(db: Database, host: Host) -> Self {
        Self { db, host: Arc::new(host), endpoints: Mutex::default(), is_ready: AtomicBool::new(false) }
    }

    /// Where the adapter serves a channel: on the agent's side what clients connect to, on the client's side what the
    /// user connects to. None before it is provisioned.
    pub fn endpoint(&self, channel: ChannelId) -> Option<serde_json::Value> {
        self.endpoints.lock().get(&channel).cloned()
    }

    /// A channel is served there from now on; `None` if it is not any more.
    pub fn served_at(&self, channel: ChannelId, endpoint: Option<&serde_json::Value>) {
        let mut endpoints = self.endpoints.lock();
        match endpoint {
            Some(endpoint) => drop(endpoints.insert(channel, endpoint.clone())),
            None => drop(endpoints.remove(&channel)),
        }
    }

    /// Whether the adapter is ready for channels.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    /// The adapter is ready for channels.
    pub(crate) fn set_ready(&self) {
        self.is_ready.store(true, Ordering::Relaxed);
    }

    /// The hosted adapter.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Configures a freshly started adapter. One that does not answer is asked again without end, as the rest of the node does not
    /// depend on it.
    ///
    /// # Errors
    /// [`NodeError::Adapter`] when it refuses, and no channel is kept yet that the rest of the node has to look after: the operator
    /// has to change something first. With channels, it is asked again, too.
    pub(crate) async fn configure(
        &self,
        configuration: &Configuration,
        reporter: &UsageReporter,
        notices: &Notices,
    ) -> Result<(), NodeError> {
        loop {
            match self.host.configure(configuration.clone(), reporter.clone()).await {
                Ok(()) => break,
                Err(error @ AdapterError::Refused { .. }) if !self.has_channels().await => {
                    return Err(error.into());
                }
                Err(error) => {
                    tracing::error!(%error, "no service can be provided; trying again");
                    notices.set(NOTICE, Some(format!("no service can be provided: {error}")));
                }
            }
            tokio::time::sleep(CONFIGURE_AGAIN).await;
        }
        notices.set(NOTICE, None);
        Ok(())
    }

    /// Whether there may be a channel that is not closed.
    async fn has_channels(&self) -> bool {
        let unclosed = async { channels::unclosed(&mut *self.db.read().await?).await };
        !unclosed.await.is_ok_and(|channels| channels.is_empty())
    }
}

/// The part of the notices about an adapter that does not answer at the start.
const NOTICE: Part = Part::ServiceAdapter;
/// The pause before an adapter that did not answer is configured again.
const CONFIGURE_AGAIN: Duration = Duration::from_secs(10);
