//! Drives an adapter that lives in the same process.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use privatix_channel::{ChannelId, Usage};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::{
    About, Adapter, AdapterError, AdapterRefusal, Allowance, Call, Configuration, Health, Provision,
    Provisioned, UsageReporter,
};

/// How long the host waits for each kind of call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Timeouts {
    /// For `configure`, `provision` and `shutdown`, which may start and end programs.
    pub setup: Duration,
    /// For `start`, `suspend`, `resume`, `stop` and `allow`.
    pub channel: Duration,
    /// For `health` and `unreached`.
    pub health: Duration,
}

impl Timeouts {
    /// The same time for every call.
    pub const fn all(time: Duration) -> Self {
        Self { setup: time, channel: time, health: time }
    }

    /// The time of this kind of call.
    pub const fn of(&self, call: Call) -> Duration {
        match call {
            Call::About | Call::Configure | Call::Provision | Call::Shutdown => self.setup,
            Call::Start | Call::Suspend | Call::Resume | Call::Stop | Call::Allow => self.channel,
            Call::Unreached | Call::Health => self.health,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            setup: Duration::from_secs(30),
            channel: Duration::from_secs(10),
            health: Duration::from_secs(5),
        }
    }
}

/// Drives one adapter: bounds each call in time, turns its panics and refusals into [`AdapterError`]s, follows its health.
///
/// Each call runs as a task of its own, so an adapter that panics or blocks its thread cannot take the role with it
/// (on a multi-threaded runtime). A call whose future is dropped is aborted.
///
/// The adapter must be configured before it is used and [shut down](Self::shutdown) at the end.
#[derive(Debug)]
pub struct Host {
    adapter: Arc<dyn Adapter>,
    about: About,
    timeouts: Timeouts,
    shut_down: AtomicBool,
    health: watch::Sender<Option<Health>>,
}

impl std::fmt::Debug for dyn Adapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dyn Adapter")
    }
}

impl Host {
    /// Hosts `adapter`, with the usual [`Timeouts`].
    ///
    /// # Errors
    /// [`AdapterError::Panicked`] if the adapter cannot even say what it is.
    pub fn new(adapter: Arc<dyn Adapter>) -> Result<Self, AdapterError> {
        Self::with_timeouts(adapter, Timeouts::default())
    }

    /// Hosts `adapter`, and waits at most this long for its answers.
    ///
    /// # Errors
    /// [`AdapterError::Panicked`] if the adapter cannot even say what it is.
    pub fn with_timeouts(adapter: Arc<dyn Adapter>, timeouts: Timeouts) -> Result<Self, AdapterError> {
        let about =
            catch_unwind(AssertUnwindSafe(|| adapter.about())).map_err(|panic| AdapterError::Panicked {
                adapter: "unknown".to_owned(),
                call: Call::About,
                channel: None,
                message: message_of(panic.as_ref()),
            })?;
        Ok(Self {
            adapter,
            about,
            timeouts,
            shut_down: AtomicBool::new(false),
            health: watch::Sender::new(None),
        })
    }

    /// What the adapter is.
    pub const fn about(&self) -> &About {
        &self.about
    }

    /// How long it waits for answers.
    pub const fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// See [`Adapter::configure`].
    pub async fn configure(
        &self,
        configuration: Configuration,
        reporter: UsageReporter,
    ) -> Result<(), AdapterError> {
        if !self.about.roles.contains(&configuration.role) {
            let refusal = AdapterRefusal::WrongRole { role: configuration.role };
            return Err(self.refused(Call::Configure, None, refusal));
        }
        self.call(Call::Configure, None, move |adapter| async move {
            adapter.configure(configuration, reporter).await
        })
        .await
    }

    /// See [`Adapter::provision`].
    pub async fn provision(&self, provision: Provision) -> Result<Provisioned, AdapterError> {
        let channel = Some(provision.channel());
        self.call(Call::Provision, channel, move |adapter| async move { adapter.provision(provision).await })
            .await
    }

    /// See [`Adapter::start`].
    pub async fn start(&self, channel: ChannelId) -> Result<(), AdapterError> {
        self.call(Call::Start, Some(channel), move |adapter| async move { adapter.start(channel).await })
            .await
    }

    /// See [`Adapter::suspend`].
    pub async fn suspend(&self, channel: ChannelId) -> Result<(), AdapterError> {
        self.call(Call::Suspend, Some(channel), move |adapter| async move { adapter.suspend(channel).await })
            .await
    }

    /// See [`Adapter::resume`].
    pub async fn resume(&self, channel: ChannelId) -> Result<(), AdapterError> {
        self.call(Call::Resume, Some(channel), move |adapter| async move { adapter.resume(channel).await })
            .await
    }

    /// See [`Adapter::stop`].
    pub async fn stop(&self, channel: ChannelId) -> Result<(), AdapterError> {
        self.call(Call::Stop, Some(channel), move |adapter| async move { adapter.stop(channel).await }).await
    }

    /// See [`Adapter::allow`].
    pub async fn allow(&self, channel: ChannelId, up_to: Usage) -> Result<Allowance, AdapterError> {
        self.call(
            Call::Allow,
            Some(channel),
            move |adapter| async move { adapter.allow(channel, up_to).await },
        )
        .await
    }

    /// See [`Adapter::unreached`].
    pub async fn unreached(&self) -> Result<Vec<ChannelId>, AdapterError> {
        self.call(Call::Unreached, None, |adapter| async move { Ok(adapter.unreached().await) }).await
    }

    /// Asks the adapter how it is. One that does not answer, or panics, has failed.
    pub async fn health(&self) -> Health {
        let health = self
            .call(Call::Health, None, move |adapter| async move { Ok(adapter.health().await) })
            .await
            .unwrap_or_else(|error| Health::Failed { reason: error.to_string() });
        self.health.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&health);
            if changed {
                tracing::info!(adapter = %self.about.name, ?health, "adapter's health changed");
                *known = Some(health.clone());
            }
            changed
        });
        health
    }

    /// Follows the adapter's health: the answers of [`health`](Self::health), `None` before the first.
    pub fn health_changes(&self) -> watch::Receiver<Option<Health>> {
        self.health.subscribe()
    }

    /// Asks for the adapter's health every so often until `shutdown`. The caller owns and awaits this future.
    pub async fn poll_health(&self, every: Duration, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            shutdown.run_until_cancelled(self.health()).await;
        }
    }

    /// Shuts the adapter down: its sessions end, with a last report. Other calls are refused from now on, this one succeeds
    /// again; it may be repeated if it failed.
    pub async fn shutdown(&self) -> Result<(), AdapterError> {
        self.shut_down.store(true, Ordering::Release);
        self.call(Call::Shutdown, None, |adapter| async move { adapter.shutdown().await }).await
    }

    async fn call<T, F>(
        &self,
        call: Call,
        channel: Option<ChannelId>,
        make: impl FnOnce(Arc<dyn Adapter>) -> F + Send + 'static,
    ) -> Result<T, AdapterError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, AdapterRefusal>> + Send + 'static,
    {
        let adapter = || self.about.name.clone();
        if self.shut_down.load(Ordering::Acquire) && call != Call::Shutdown {
            return Err(AdapterError::ShutDown { adapter: adapter(), call, channel });
        }
        let future = make(Arc::clone(&self.adapter)).in_current_span();
        let after = self.timeouts.of(call);
        // On timeout the handle is dropped, which aborts the call.
        match tokio::time::timeout(after, AbortOnDropHandle::new(tokio::spawn(future))).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(refusal))) => Err(self.refused(call, channel, refusal)),
            Ok(Err(failed)) => {
                let message = failed
                    .try_into_panic()
                    .map_or_else(|_| "the call was cancelled".to_owned(), |panic| message_of(panic.as_ref()));
                tracing::error!(adapter = %self.about.name, %call, message, "adapter panicked");
                Err(AdapterError::Panicked { adapter: adapter(), call, channel, message })
            }
            Err(_) => Err(AdapterError::TimedOut { adapter: adapter(), call, channel, after }),
        }
    }

    fn refused(&self, call: Call, channel: Option<ChannelId>, refusal: AdapterRefusal) -> AdapterError {
        AdapterError::Refused { adapter: self.about.name.clone(), call, channel, refusal }
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
