//! This process's Tor client: one for everything that goes over Tor.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arti_client::{BootstrapBehavior, TorClient};
use futures::StreamExt as _;
use privatix_somc::SomcAddress;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tor_hscrypto::pk::HsId;
use tor_keymgr::KeystoreSelector;
use tor_rtcompat::PreferredRuntime;

use crate::{OnionKeys, TorError, TorProblem, TorSettings, TorStatus, TorTransport};

/// The pauses between attempts to get onto the network; arti makes several in each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Without news for this time, a start counts as stalled.
const STALLED: Duration = Duration::from_secs(10);
/// How many percent more are worth a line in the log.
const LOG_EVERY: u8 = 20;

/// A Tor client in this process. Clones are the same client.
#[derive(Clone)]
pub struct Tor {
    inner: Arc<Inner>,
}

struct Inner {
    client: Arc<TorClient<PreferredRuntime>>,
    folder: PathBuf,
    status: watch::Sender<TorStatus>,
}

impl Tor {
    /// Makes a client that keeps its files in `folder`. It connects to nothing yet; [`run`](Self::run) does, or the first
    /// connection.
    ///
    /// # Errors
    /// [`TorError::Setting`], and what is wrong with the folder.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(folder: impl Into<PathBuf>, settings: &TorSettings) -> Result<Self, TorError> {
        // Arti takes the process's. It fails where one was chosen before, which is then the right one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = folder.into();
        let config = settings.config(&folder)?;
        // Introduction points cannot outlive their keys, which are in memory: without this, arti would miss them.
        match std::fs::remove_dir_all(TorSettings::services(&folder)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "what earlier onion services left behind cannot be removed");
            }
            _ => {}
        }
        let client = TorClient::builder()
            .config(config)
            .bootstrap_behavior(BootstrapBehavior::OnDemand)
            .create_unbootstrapped()
            .map_err(|error| TorError::starting(&folder, error))?;
        Ok(Self { inner: Arc::new(Inner { client, folder, status: watch::Sender::default() }) })
    }

    /// How far it is, now and after each change. It changes only while [`run`](Self::run) runs.
    pub fn status(&self) -> watch::Receiver<TorStatus> {
        self.inner.status.subscribe()
    }

    /// Gets onto the network, however long that takes, and watches it until shutdown.
    pub async fn run(&self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = async { tokio::join!(self.watch(), self.bootstrap()); } => {}
        }
    }

    async fn bootstrap(&self) {
        let mut pause = FIRST_PAUSE;
        while let Err(error) = self.inner.client.bootstrap().await {
            let error = TorError::starting(&self.inner.folder, error);
            tracing::warn!(%error, retry_in = ?pause, "no way onto the Tor network yet");
            self.inner.status.send_if_modified(|status| {
                let problem =
                    status.problem.get_or_insert_with(|| TorProblem::Unreachable(error.to_string()));
                tracing::debug!(%problem, "Tor waits");
                true
            });
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn watch(&self) {
        let mut events = self.inner.client.bootstrap_events();
        let mut logged = TorStatus::default();
        self.note(&mut logged, TorStatus::of(&self.inner.client.bootstrap_status()));
        loop {
            match tokio::time::timeout(STALLED, events.next()).await {
                Ok(Some(event)) => self.note(&mut logged, TorStatus::of(&event)),
                Ok(None) => return,
                // Arti takes a minute to be sure of a cause. Whoever waits wants to know what to look at before.
                Err(_) => {
                    let mut now = TorStatus::of(&self.inner.client.bootstrap_status());
                    if !now.ready && now.problem.is_none() {
                        now.problem = Some(TorProblem::Stalled(now.stage.clone()));
                    }
                    self.note(&mut logged, now);
                }
            }
        }
    }

    fn note(&self, logged: &mut TorStatus, now: TorStatus) {
        let changed = now.ready != logged.ready
            || now.problem.is_some() && now.problem != logged.problem
            || now.percent >= logged.percent.saturating_add(LOG_EVERY);
        if changed {
            match &now.problem {
                Some(problem) => tracing::warn!(percent = now.percent, "Tor: {problem}"),
                None if now.ready => tracing::info!("Tor is ready"),
                None => tracing::info!(percent = now.percent, stage = now.stage, "Tor is starting"),
            }
            *logged = now.clone();
        }
        self.inner.status.send_if_modified(|status| {
            let different = *status != now;
            *status = now;
            different
        });
    }

    /// Reaches agents, each on circuits of its own.
    pub fn transport(&self) -> TorTransport {
        TorTransport::new(self.clone())
    }

    /// Proves to the private service at `service` that the account may find it.
    ///
    /// # Errors
    /// [`TorError::Setting`] when it is no onion address.
    pub fn prove_to(&self, service: &SomcAddress, keys: &OnionKeys) -> Result<(), TorError> {
        let wrong = |reason: String| TorError::Setting { setting: service.to_string(), reason };
        let id: HsId = service
            .host()
            .parse()
            .map_err(|error: tor_hscrypto::pk::HsIdParseError| wrong(error.to_string()))?;
        let there = self.client().get_service_discovery_key(id).map_err(|error| wrong(error.to_string()))?;
        if there.is_none() {
            self.client()
                .insert_service_discovery_key(KeystoreSelector::Primary, id, keys.discovery(service))
                .map_err(|error| wrong(error.to_string()))?;
        }
        Ok(())
    }

    /// How it is at this moment, with the last known problem while it is not ready.
    pub(crate) fn now(&self) -> TorStatus {
        let mut now = TorStatus::of(&self.inner.client.bootstrap_status());
        if !now.ready && now.problem.is_none() {
            now.problem.clone_from(&self.inner.status.borrow().problem);
        }
        now
    }

    pub(crate) fn client(&self) -> &TorClient<PreferredRuntime> {
        &self.inner.client
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        &self.inner.folder
    }
}

impl fmt::Debug for Tor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tor").field("folder", &self.inner.folder).finish_non_exhaustive()
    }
}
