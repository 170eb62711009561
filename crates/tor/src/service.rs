//! The agent's onion service: launched, looked at, launched again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arti_client::config::ConfigBuildError;
use arti_client::config::onion_service::OnionServiceConfigBuilder;
use futures::{Stream, StreamExt as _};
use privatix_somc::{Client, ClientError, ClientLimits, SomcAddress};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tor_hscrypto::pk::HsClientDescEncKey;
use tor_hsservice::config::restricted_discovery::MAX_RESTRICTED_DISCOVERY_CLIENTS;
use tor_hsservice::config::{OnionServiceConfig, TokenBucketConfig};
use tor_hsservice::{HsNickname, RendRequest, RunningOnionService};

use crate::circuits::{self, Arrival};
use crate::watchdog::{Next, Watchdog};
use crate::{OnionKeys, OnionListener, Tor, TorError, TorTransport};

/// How an onion service is run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OnionSettings {
    /// The port that clients ask for; 80 by default.
    pub port: u16,
    /// Introductions per second that each introduction point passes on, and how many at once. The defaults, 25 and 200,
    /// are those of the tor daemon (tor manual, `HiddenServiceEnableIntroDoSRatePerSec`, `...BurstPerSec`).
    pub introductions: (u32, u32),
    /// Streams that one circuit may have at once; a circuit that asks for more is closed.
    pub streams_per_circuit: u32,
    /// Keys of the only clients that may find the service (`descriptor:x25519:...`); all may when there are none. At most
    /// [`MOST_CLIENTS`](Self::MOST_CLIENTS).
    pub authorized_clients: Vec<String>,
}

impl Default for OnionSettings {
    fn default() -> Self {
        Self {
            port: SomcAddress::DEFAULT_ONION_PORT,
            introductions: (25, 200),
            streams_per_circuit: 16,
            authorized_clients: Vec::new(),
        }
    }
}

/// The field's name, for errors.
const AUTHORIZED_CLIENTS: &str = "authorized_clients";

impl OnionSettings {
    /// Clients whose keys have room in a descriptor, beside our own: we look at ourselves, too.
    pub const MOST_CLIENTS: usize = MAX_RESTRICTED_DISCOVERY_CLIENTS - 1;

    /// Checks the settings without starting anything.
    ///
    /// # Errors
    /// [`TorError::Setting`].
    pub fn check(&self) -> Result<(), TorError> {
        self.clients().map(drop)
    }

    fn clients(&self) -> Result<Vec<HsClientDescEncKey>, TorError> {
        let wrong = |reason| TorError::Setting { setting: AUTHORIZED_CLIENTS.to_owned(), reason };
        let given = self.authorized_clients.len();
        if given > Self::MOST_CLIENTS {
            return Err(wrong(format!(
                "there are {given} keys, and a descriptor has room for {}; leave out those of clients that have gone",
                Self::MOST_CLIENTS
            )));
        }
        let read = |(number, key): (usize, &String)| {
            key.parse().map_err(|_| {
                wrong(format!(
                    "number {number}, {key:?}, is no key of a client: those have the form descriptor:x25519:<52 characters>"
                ))
            })
        };
        (1..).zip(&self.authorized_clients).map(read).collect()
    }
}

/// How an onion service is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnionStatus {
    /// Its address.
    pub address: SomcAddress,
    /// Whether the last look reached it, as a client would.
    pub reachable: bool,
    /// When it was last reached so.
    pub last_reached: Option<SystemTime>,
    /// Why it is not reachable, with the remedy.
    pub problem: Option<String>,
    /// How often it was started again because it could not be reached.
    pub restarts: u32,
}

/// An onion service that [`run`](Self::run) runs.
#[derive(Debug)]
pub struct OnionService {
    tor: Tor,
    keys: OnionKeys,
    config: OnionServiceConfig,
    port: u16,
    address: SomcAddress,
    streams: mpsc::Sender<Arrival>,
    status: watch::Sender<OnionStatus>,
}

/// Streams that wait to be taken from the listener.
const WAITING_STREAMS: usize = 64;
/// Launches that may fail in a row before that is a problem to show.
const TRANSIENT: u32 = 4;
/// For one look at ourselves: a descriptor, two circuits and a handshake.
const LOOK: Duration = Duration::from_secs(90);

impl Tor {
    /// The onion service of the account that `keys` are of, and what accepts its connections. Neither does anything before
    /// [`OnionService::run`].
    ///
    /// # Errors
    /// [`TorError::Setting`].
    pub fn onion_service(
        &self,
        keys: &OnionKeys,
        settings: &OnionSettings,
    ) -> Result<(OnionService, OnionListener), TorError> {
        let wrong = |setting: &str, reason: String| TorError::Setting { setting: setting.to_owned(), reason };
        let address = keys.address(settings.port).map_err(|error| wrong("port", error.to_string()))?;
        let config = config(keys, &address, settings)?;
        if !settings.authorized_clients.is_empty() {
            // We look at ourselves as a client would.
            self.prove_to(&address, keys)?;
        }
        let (streams, waiting) = mpsc::channel(WAITING_STREAMS);
        let status = OnionStatus {
            address: address.clone(),
            reachable: false,
            last_reached: None,
            problem: None,
            restarts: 0,
        };
        let service = OnionService {
            tor: self.clone(),
            keys: keys.clone(),
            config,
            port: settings.port,
            address,
            streams,
            status: watch::Sender::new(status),
        };
        Ok((service, OnionListener::new(waiting)))
    }
}

fn config(
    keys: &OnionKeys,
    address: &SomcAddress,
    settings: &OnionSettings,
) -> Result<OnionServiceConfig, TorError> {
    let wrong = |setting: &str, reason: String| TorError::Setting { setting: setting.to_owned(), reason };
    let built = |error: ConfigBuildError| wrong("onion service", error.to_string());
    // Each account's service has its own, as arti keeps keys by it. An onion name is made of allowed characters.
    let nickname = address.host().trim_end_matches(".onion");
    let nickname: HsNickname =
        nickname.parse().map_err(|_| wrong("onion service", "its name cannot be used".into()))?;
    let (rate, burst) = settings.introductions;
    let mut builder = OnionServiceConfigBuilder::default();
    builder
        .nickname(nickname)
        .rate_limit_at_intro(Some(TokenBucketConfig::new(rate, burst)))
        .max_concurrent_streams_per_circuit(settings.streams_per_circuit);
    if !settings.authorized_clients.is_empty() {
        let own = HsClientDescEncKey::from(&keys.discovery(address));
        let restricted = builder.restricted_discovery();
        restricted.enabled(true);
        for (number, key) in settings.clients()?.into_iter().chain([own]).enumerate() {
            let name = format!("client{number}")
                .parse()
                .map_err(|_| wrong(AUTHORIZED_CLIENTS, format!("arti takes no client of number {number}")))?;
            restricted.static_keys().access().push((name, key));
        }
    }
    builder.build().map_err(built)
}

impl OnionService {
    /// Its address. It is known before the service runs.
    pub const fn address(&self) -> &SomcAddress {
        &self.address
    }

    /// How it is, now and after each change.
    pub fn status(&self) -> watch::Receiver<OnionStatus> {
        self.status.subscribe()
    }

    /// Runs the service until shutdown: launches it, takes its streams to the listener, looks whether it can be reached
    /// as a client would, and launches it again when it cannot.
    pub async fn run(self, shutdown: CancellationToken) {
        // The streams that were taken go on; what ends here is the taking.
        let _ = shutdown.run_until_cancelled(self.keep_running(Watchdog::default())).await;
    }

    pub(crate) async fn keep_running(&self, mut watchdog: Watchdog) {
        loop {
            let ran = match self.launch() {
                Ok((running, requests)) => {
                    let since = Instant::now();
                    tracing::debug!(address = %self.address, "onion service launched");
                    tokio::select! {
                        () = circuits::serve(requests, self.port, &self.streams) => {
                            self.trouble("arti ended it; it is started again");
                        }
                        () = self.watch(&mut watchdog) => {}
                    }
                    drop(running);
                    self.status.send_modify(|status| status.restarts = status.restarts.saturating_add(1));
                    since.elapsed()
                }
                Err(error) => {
                    tracing::debug!(%error, "onion service cannot be launched yet");
                    // For a moment after an end, arti still has its state.
                    if watchdog.launches() >= TRANSIENT {
                        self.trouble(&error.to_string());
                    }
                    Duration::ZERO
                }
            };
            tokio::time::sleep(watchdog.ended(ran)).await;
        }
    }

    fn launch(
        &self,
    ) -> Result<(Arc<RunningOnionService>, impl Stream<Item = RendRequest> + use<>), TorError> {
        let client = self.tor.client();
        let failed = |error| TorError::starting(self.tor.folder(), error);
        let has_key =
            || TorError::Setting { setting: "onion service".into(), reason: "arti runs no service".into() };
        // Given once, arti keeps the key for later launches.
        let launched = match client.launch_onion_service_with_hsid(self.config.clone(), self.keys.identity())
        {
            Ok(launched) => launched.map(|(running, requests)| (running, requests.boxed())),
            Err(_) => client
                .launch_onion_service(self.config.clone())
                .map_err(failed)?
                .map(|(running, requests)| (running, requests.boxed())),
        };
        launched.ok_or_else(has_key)
    }

    /// Looks at the service as a client would, until it must be started again.
    async fn watch(&self, watchdog: &mut Watchdog) {
        let transport = self.tor.transport().unlinked();
        let mut tor = self.tor.status();
        loop {
            // Without a network nothing can be known of the service.
            if tor.wait_for(|status| status.ready).await.is_err() {
                return;
            }
            let reached = self.look(&transport).await;
            match &reached {
                Ok(()) => {
                    let mut before = true;
                    self.status.send_modify(|status| {
                        before = std::mem::replace(&mut status.reachable, true);
                        status.last_reached = Some(SystemTime::now());
                        status.problem = None;
                    });
                    if !before {
                        tracing::info!(address = %self.address, "onion service can be reached");
                    }
                }
                Err(why) => self.trouble(why),
            }
            match watchdog.looked(reached.is_ok()) {
                Next::LookIn(pause) => tokio::time::sleep(pause).await,
                Next::Restart => {
                    let failures = watchdog.failures();
                    tracing::warn!(address = %self.address, failures, "onion service cannot be reached; it is started again");
                    return;
                }
            }
        }
    }

    async fn look(&self, transport: &TorTransport) -> Result<(), String> {
        let look = async {
            let client = Client::connect(transport, &self.address, ClientLimits::default()).await?;
            client.ping().await
        };
        match tokio::time::timeout(LOOK, look).await {
            // Whoever says no was reached: starting a busy service again would help nobody.
            Ok(Ok(_) | Err(ClientError::Bye(_) | ClientError::Refused(_) | ClientError::Version { .. })) => {
                Ok(())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("it did not answer within {LOOK:?}")),
        }
    }

    fn trouble(&self, why: &str) {
        tracing::debug!(address = %self.address, why, "onion service was not reached");
        self.status.send_modify(|status| {
            status.reachable = false;
            status.problem = Some(why.to_owned());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(clients: Vec<String>) -> Result<(), String> {
        let settings = OnionSettings { authorized_clients: clients, ..OnionSettings::default() };
        let keys = OnionKeys::of_account([7; 32]);
        let address = keys.address(80).unwrap();
        let checked = settings.check().map_err(|error| error.to_string());
        let made = config(&keys, &address, &settings).map(drop).map_err(|error| error.to_string());
        assert_eq!(checked, made, "the check decides as the start does");
        checked
    }

    #[test]
    fn keys_of_clients_are_checked_by_number_and_form() {
        let keys = |number: usize| -> Vec<String> {
            let address = OnionKeys::of_account([7; 32]).address(80).unwrap();
            let account = |byte: usize| OnionKeys::of_account([u8::try_from(byte).unwrap(); 32]);
            (1..=number).map(|byte| account(byte).discovery_key(&address)).collect()
        };
        with(Vec::new()).unwrap();
        with(keys(OnionSettings::MOST_CLIENTS)).unwrap();
        let error = with(keys(OnionSettings::MOST_CLIENTS + 1)).unwrap_err();
        assert!(error.contains("160 keys") && error.contains("room for 159"), "{error}");
        let mut wrong = keys(2);
        wrong[1].pop();
        let error = with(wrong).unwrap_err();
        assert!(error.contains("authorized_clients") && error.contains("number 2"), "{error}");
    }
}
