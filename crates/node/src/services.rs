//! Orders to the service adapter, as durable jobs: the last one counts, none is lost, none overtakes another of its channel.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::StreamExt as _;
use parking_lot::Mutex;
use privatix_adapter as adapter;
use privatix_adapter::{AdapterError, Configuration, Host, Provision, Refusal, UsageReporter};
use privatix_channel::{ChannelId, ServiceEvent, ServiceStatus};
use privatix_db::Database;
use privatix_jobs::{Backoff, Done, Duplicates, Handler, Job, JobContext, JobError, Lane, Policy};
use privatix_store::channels::{self, Channel};
use privatix_store::sessions;
use serde::{Deserialize, Serialize};

use crate::{Damage, Marks, NodeError, Notices, Role, lanes};

/// What a service is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Running.
    Activate,
    /// Suspended until it is resumed.
    Suspend,
    /// Stopped for good.
    Terminate,
}

impl Order {
    const fn events(self) -> (ServiceEvent, ServiceEvent) {
        match self {
            Self::Activate => (ServiceEvent::Activate, ServiceEvent::Activated),
            Self::Suspend => (ServiceEvent::Suspend, ServiceEvent::Suspended),
            Self::Terminate => (ServiceEvent::Terminate, ServiceEvent::Terminated),
        }
    }
}

/// Job: have the adapter bring a channel's service into a state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceOrder {
    /// The channel.
    pub channel: ChannelId,
    /// What its service is to be.
    pub order: Order,
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
        Policy::default()
            .tries_without_end() // see `ServiceOrders`: an end must come, the other orders are given up
            .backoff(Backoff::exponential(Duration::from_millis(500), Duration::from_secs(20)))
            .duplicates(Duplicates::RefusedWhileWaiting)
    }
}

/// The subject of every job about a channel: they run one after another.
pub fn channel_subject(channel: ChannelId) -> String {
    format!("channel {channel}")
}

/// The adapter's side of every channel that is not decided from a stored state.
pub struct Services {
    db: Database,
    host: Arc<Host>,
    marks: Marks,
    damage: Damage,
    /// Where each provisioned channel is served, as the adapter said.
    endpoints: Mutex<HashMap<ChannelId, serde_json::Value>>,
    provisioning: tokio::sync::Mutex<()>,
    readiness: Mutex<Readiness>,
}

/// What can be asked of the adapter after a start.
#[derive(Debug)]
enum Readiness {
    /// It is not configured, so it serves nothing.
    Starting,
    /// It is, but it does not know these channels of an earlier run yet. Whoever brings them back decides alone about them until
    /// then, so that no order is undone by what was read before it.
    Reinstating(HashSet<ChannelId>),
}

impl Services {
    pub(crate) fn new(db: Database, host: Host, marks: Marks, damage: Damage) -> Self {
        Self {
            db,
            host: Arc::new(host),
            marks,
            damage,
            endpoints: Mutex::default(),
            provisioning: tokio::sync::Mutex::default(),
            readiness: Mutex::new(Readiness::Starting),
        }
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
        !matches!(*self.readiness.lock(), Readiness::Starting)
    }

    /// The adapter is ready: nothing of an earlier run has to be brought back before it.
    pub(crate) fn set_ready(&self) {
        *self.readiness.lock() = Readiness::Reinstating(HashSet::new());
    }

    /// Whether the adapter is ready for a channel.
    fn require(&self, channel: ChannelId) -> Result<(), NodeError> {
        match &*self.readiness.lock() {
            Readiness::Reinstating(waiting) if !waiting.contains(&channel) => Ok(()),
            Readiness::Starting | Readiness::Reinstating(_) => Err(NodeError::AdapterStarting),
        }
    }

    /// Makes a channel known to the adapter. A bought one keeps its local address, with which programs on this
    /// machine are configured.
    ///
    /// # Errors
    /// [`NodeError::AdapterStarting`], [`NodeError::Adapter`], [`NodeError::Store`].
    pub async fn provision(&self, provision: Provision) -> Result<serde_json::Value, NodeError> {
        self.require(provision.channel())?;
        self.provision_now(provision).await
    }

    async fn provision_now(&self, mut provision: Provision) -> Result<serde_json::Value, NodeError> {
        let channel = provision.channel();
        let endpoint = match &mut provision {
            Provision::Sell { .. } => self.host.provision(provision).await?.endpoint,
            Provision::Buy { local, .. } => {
                // One at a time: each must see what the others got.
                let _one_at_a_time = self.provisioning.lock().await;
                let stored = channels::local_endpoints(&mut *self.db.read().await?, channel).await?;
                let own = stored.own.clone();
                *local =
                    adapter::LocalEndpoints { own: stored.own, in_use: stored.in_use, freed: stored.freed };
                let endpoint = self.host.provision(provision).await?.endpoint;
                if own.as_ref() != Some(&endpoint) {
                    let mut tx = self.db.begin().await?;
                    channels::set_local_endpoint(&mut tx, channel, &endpoint).await?;
                    tx.commit().await?;
                }
                endpoint
            }
        };
        self.endpoints.lock().insert(channel, endpoint.clone());
        Ok(endpoint)
    }

    /// Has the adapter forget a channel.
    ///
    /// # Errors
    /// [`NodeError::AdapterStarting`] while the channel is being brought back, [`NodeError::Adapter`].
    pub async fn stop(&self, channel: ChannelId) -> Result<(), NodeError> {
        let knows_none = matches!(*self.readiness.lock(), Readiness::Starting);
        if !knows_none {
            self.require(channel)?;
            self.host.stop(channel).await?;
        }
        self.endpoints.lock().remove(&channel);
        Ok(())
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

    /// Makes every live channel known to a freshly configured adapter, several at a time, and starts those that were running. One
    /// that the adapter refuses is tried again by a job; the others must not suffer for it.
    ///
    /// # Errors
    /// [`NodeError::Store`] when the channels cannot be read.
    pub(crate) async fn restore(&self) -> Result<(), NodeError> {
        let mut tx = self.db.begin().await?;
        // A run that crashed left sessions open; a new instance begins with new ones.
        sessions::stop_all(&mut tx, SystemTime::now()).await?;
        let known = channels::live_ids(&mut tx).await?;
        tx.commit().await?;
        *self.readiness.lock() = Readiness::Reinstating(known.iter().copied().collect());
        let reinstated = futures::stream::iter(known).for_each_concurrent(AT_ONCE, |channel| async move {
            if let Err(error) = self.reinstate(channel).await {
                tracing::error!(%channel, %error, "cannot restore the service after the restart");
                if error.is_damage() {
                    self.damage.found(channel, error.to_string());
                } else {
                    self.try_again(channel).await;
                }
            }
            if let Readiness::Reinstating(waiting) = &mut *self.readiness.lock() {
                waiting.remove(&channel);
            }
            self.marks.mark(channel);
        });
        reinstated.await;
        Ok(())
    }

    async fn reinstate(&self, channel: ChannelId) -> Result<(), NodeError> {
        // As it is now: orders that came meanwhile have changed what it is to be, and wait.
        let channel = channels::get(&mut *self.db.read().await?, channel).await?;
        match channel.service {
            _ if channel.access.is_none() => Ok(()), // a job gives it its access
            ServiceStatus::Active | ServiceStatus::Activating => self.start_afresh(&channel).await,
            _ if channel.service.is_ending() => Ok(()), // or it would be served again after its end
            _ => self.reprovision(&channel).await,
        }
    }

    /// Leaves to a job what did not work at the start.
    async fn try_again(&self, channel: ChannelId) {
        let pushed = async {
            let mut tx = self.db.begin().await?;
            let service = channels::get(&mut tx, channel).await?.service;
            if matches!(service, ServiceStatus::Active | ServiceStatus::Activating) {
                let reason = "restored after a restart".to_owned();
                crate::push(&mut tx, &ServiceOrder { channel, order: Order::Activate, reason }, "restart")
                    .await?;
            }
            Ok::<(), NodeError>(tx.commit().await?)
        };
        if let Err(error) = pushed.await {
            tracing::error!(%channel, %error, "the service will not be restored before an order to resume it");
        }
    }

    /// Starts a channel that the adapter does not know.
    async fn start_afresh(&self, channel: &Channel) -> Result<(), NodeError> {
        self.reprovision(channel).await?;
        Ok(self.host.start(channel.id).await?)
    }

    async fn reprovision(&self, channel: &Channel) -> Result<(), NodeError> {
        let Some(access) = &channel.access else { return Err(NodeError::NoAccess(channel.id)) };
        let credentials = adapter::Credentials {
            username: access.username.clone(),
            password: adapter::Secret::new(access.password.clone()),
        };
        let access = adapter::Access { endpoint: access.endpoint.clone(), credentials };
        self.provision_now(Provision::buy(channel.id, access)).await?;
        Ok(())
    }

    async fn carry_out(&self, channel: &Channel, order: Order) -> Result<(), NodeError> {
        if order != Order::Terminate {
            self.require(channel.id)?;
        }
        match order {
            Order::Activate => match self.host.resume(channel.id).await {
                // A restarted adapter, or one that never knew the channel.
                Err(AdapterError::Refused { refusal: Refusal::UnknownChannel { .. }, .. }) => {
                    self.start_afresh(channel).await
                }
                done => Ok(done?),
            },
            Order::Suspend => match self.host.suspend(channel.id).await {
                Err(AdapterError::Refused { refusal: Refusal::UnknownChannel { .. }, .. }) => Ok(()), // it is not served
                done => Ok(done?),
            },
            Order::Terminate => self.stop(channel.id).await,
        }
    }
}

/// The part of the notices about an adapter that does not answer at the start.
const NOTICE: &str = "service adapter";
/// The pause before an adapter that did not answer is configured again.
const CONFIGURE_AGAIN: Duration = Duration::from_secs(10);
/// How many channels are brought back at a time after a start.
const AT_ONCE: usize = 16;
/// How often an adapter is asked before an order to start or to suspend is given up.
const TRIES: u32 = 10;
/// How often an adapter is asked to stop a service before the service counts as stopped.
const TRIES_TO_STOP: u32 = 6;
/// How long the meter may take to store the last usage.
const FLUSH: Duration = Duration::from_secs(30);

/// Carries out [`ServiceOrder`]s.
pub(crate) struct ServiceOrders<R> {
    pub(crate) services: Arc<Services>,
    pub(crate) role: Arc<R>,
}

#[async_trait]
impl<R: Role> Handler<ServiceOrder> for ServiceOrders<R> {
    async fn run(&self, job: &ServiceOrder, cx: JobContext) -> Result<Done, JobError> {
        let given_up = job.order != Order::Terminate && cx.try_number() >= TRIES;
        self.carry_out(job, cx).await.map_err(|error| match error {
            NodeError::AdapterStarting => error.into_job_error(), // it was not asked
            error if given_up => JobError::fail(error),
            error => error.into_job_error(),
        })
    }
}

impl<R: Role> ServiceOrders<R> {
    async fn carry_out(&self, job: &ServiceOrder, cx: JobContext) -> Result<Done, NodeError> {
        let (asked, done) = job.order.events();
        let mut tx = self.services.db.begin().await?;
        let channel = channels::get(&mut tx, job.channel).await?;
        let Ok(waiting) = channel.service.apply(asked) else {
            // E.g. an order to resume that was overtaken by the termination.
            tracing::debug!(channel = %job.channel, order = ?job.order, service = %channel.service, "order is obsolete");
            drop(tx);
            return Ok(cx.finish().await?.commit().await?);
        };
        channels::set_service(&mut tx, job.channel, waiting, Some(&job.reason)).await?;
        tx.commit().await?;
        self.services.marks.mark_totals(job.channel);

        if job.order == Order::Terminate {
            let last = cx.try_number() >= TRIES_TO_STOP;
            match self.end(&channel).await {
                Err(error @ NodeError::AdapterStarting) => return Err(error), // it was not asked
                // What was paid is cashed, and a deposit comes back, whatever the adapter does.
                Err(error) if last || !error.is_temporary() => {
                    tracing::error!(channel = %job.channel, %error, "the service did not stop as it should; it is taken as stopped");
                }
                ended => ended?,
            }
        } else {
            self.services.carry_out(&channel, job.order).await?;
        }

        let mut completion = cx.finish().await?;
        let channel = channels::get(&mut completion, job.channel).await?;
        if let Ok(now) = channel.service.apply(done) {
            channels::set_service(&mut completion, job.channel, now, Some(&job.reason)).await?;
            tracing::info!(channel = %job.channel, service = %now, reason = job.reason, "service changed");
            self.role.on_service(&mut completion, &channel, now).await?;
        }
        let done = completion.commit().await?;
        self.role.on_committed(&[job.channel]).await;
        self.services.marks.mark(job.channel);
        Ok(done)
    }

    /// Stops a service, stores its last usage, settles. Each step is taken though one before it failed; the first failure is
    /// returned.
    async fn end(&self, channel: &Channel) -> Result<(), NodeError> {
        let stopped = self.services.stop(channel.id).await;
        let flushed = if let Ok(true) = tokio::time::timeout(FLUSH, self.services.marks.flush()).await {
            Ok(())
        } else {
            let reason = "it did not store the last usage".to_owned();
            Err(NodeError::TaskEnded { task: "meter", reason })
        };
        let settled = self.role.on_stopped(channel.id).await;
        stopped.and(flushed).and(settled)
    }
}
