mod connections;
mod convert;
mod disk;
mod failure;
mod guard;
mod health;
mod methods;
mod metrics;
mod money;
mod operator;
mod outlook;
mod starting;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use jsonrpsee::RpcModule;
use jsonrpsee::server::{BatchRequestConfig, Methods, ServerConfig};
use privatix_agent::AgentHandle;
use privatix_client::ClientHandle;
use privatix_node::Node;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::node::{Balances, Health, TorStatus};
use guard::{Pages, Rules};
use methods::About;
use money::Disk;
pub use operator::Operator;
use outlook::Outlook;
use starting::Starting;

/// How the API is served.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerSettings {
    /// The token that every request but `GET /health` must carry.
    pub token: SecretString,
    /// A token that opens `GET /metrics` and nothing else, for the machine that collects the figures.
    pub metrics_token: Option<SecretString>,
    /// Names under which the API may be reached, beside `localhost` and every address. Others are refused, so that no
    /// web page can have its own name point here.
    pub allowed_hosts: Vec<String>,
    /// Most bytes of a request; 1 MiB by default.
    pub max_request_bytes: u32,
    /// Most connections at once that have shown the token; 64 by default. Others have a few places of their own.
    pub max_connections: u32,
    /// Counts the lines that could not be written to the log, for the metrics page.
    pub lost_log_lines: Arc<AtomicU64>,
    /// How far this process's Tor client is, where there is one.
    pub tor: Option<watch::Receiver<TorStatus>>,
}

impl ServerSettings {
    /// The usual settings.
    pub fn new(token: SecretString) -> Self {
        Self {
            token,
            metrics_token: None,
            allowed_hosts: Vec::new(),
            max_request_bytes: 1024 * 1024,
            max_connections: 64,
            lost_log_lines: Arc::default(),
            tor: None,
        }
    }

    fn about(&self, looks: Looks) -> About {
        About { started_at: SystemTime::now(), tor: self.tor.clone(), looks }
    }
}

/// What the last looks have shown; None before the first.
#[derive(Clone)]
struct Looks {
    disk: watch::Receiver<Option<Disk>>,
    outlook: watch::Receiver<Option<Outlook>>,
}

/// Where looks are noted.
#[derive(Default)]
struct Seen {
    disk: watch::Sender<Option<Disk>>,
    outlook: watch::Sender<Option<Outlook>>,
}

impl Seen {
    fn looks(&self) -> Looks {
        Looks { disk: self.disk.subscribe(), outlook: self.outlook.subscribe() }
    }
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address} for the control API: {source}; stop what uses it, or set api.listen to another"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

const LONGEST_ANSWER: u32 = 16 * 1024 * 1024;
const MOST_IN_BATCH: u32 = 32;
/// For the requests under way at a shutdown.
const GRACE: Duration = Duration::from_secs(5);
const HEALTH_EVERY: Duration = Duration::from_secs(2);
const BALANCES_EVERY: Duration = Duration::from_mins(1);

/// The API's socket. Bound before a role is made, so that a port in use is reported before anything has begun.
#[derive(Debug)]
pub struct ApiServer {
    listener: TcpListener,
    address: SocketAddr,
    settings: ServerSettings,
}

impl ApiServer {
    /// Listens on `address`, as [`privatix_net::listen`] does; port 0 takes any free one.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub async fn bind(address: SocketAddr, settings: ServerSettings) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen { address, source };
        let listener = privatix_net::listen(address).await.map_err(failed)?.into_std().map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, settings })
    }

    /// The address it listens on, with the port really taken.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves an agent's API until shutdown.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub async fn serve_agent(
        self,
        agent: AgentHandle,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let node = Arc::clone(agent.node());
        let seen = Seen::default();
        let module = methods::agent(agent, self.settings.about(seen.looks())).into_module();
        self.serve(node, module, seen, shutdown).await
    }

    /// Serves a client's API until shutdown.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub async fn serve_client(
        self,
        client: ClientHandle,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let node = Arc::clone(client.node());
        let seen = Seen::default();
        let module = methods::client(client, self.settings.about(seen.looks())).into_module();
        self.serve(node, module, seen, shutdown).await
    }

    /// Answers, until `made`, how far this process's Tor is, while the daemon waits for it and has no role yet: the health
    /// page is not ready, and every method is refused as [unavailable](crate::ErrorCode::Unavailable). Connections that
    /// arrive after it wait for the role. Without [`ServerSettings::tor`] there is nothing to answer.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub async fn serve_starting(&self, made: CancellationToken) -> Result<(), ServeError> {
        if self.settings.tor.is_none() {
            made.cancelled().await;
            return Ok(());
        }
        self.serve_unmade(None, made).await
    }

    /// Answers, until `made`, that a chain endpoint is waited for and what is in its way, as
    /// [`serve_starting`](Self::serve_starting) does for Tor.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub async fn serve_without_chain(
        &self,
        trouble: watch::Receiver<String>,
        made: CancellationToken,
    ) -> Result<(), ServeError> {
        self.serve_unmade(Some(trouble), made).await
    }

    async fn serve_unmade(
        &self,
        endpoint: Option<watch::Receiver<String>>,
        made: CancellationToken,
    ) -> Result<(), ServeError> {
        let (address, tor) = (self.address, self.settings.tor.clone());
        let listener = self.listener.try_clone().map_err(|source| ServeError::Listen { address, source })?;
        let starting = Starting { tor, endpoint, lost_log_lines: Arc::clone(&self.settings.lost_log_lines) };
        let shared = Self { listener, address, settings: self.settings.clone() };
        shared.accept(Arc::new(starting.clone()), starting.into_module().into(), made).await
    }

    async fn serve<O: Operator>(
        self,
        node: Arc<Node>,
        module: RpcModule<O>,
        seen: Seen,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let (balances_seen, balances) = watch::channel(None);
        let pages = Arc::new(NodePages {
            node: Arc::clone(&node),
            balances,
            looks: seen.looks(),
            tor: self.settings.tor.clone(),
            lost_log_lines: Arc::clone(&self.settings.lost_log_lines),
        });
        let looking = async {
            tokio::join!(
                node.services().host().poll_health(HEALTH_EVERY, shutdown.clone()),
                look_at_balances(&node, &balances_seen, &shutdown),
                disk::watch(node.db(), &seen.disk, &shutdown),
                outlook::watch(&node, &seen.outlook, &shutdown),
            );
            Ok(())
        };
        tokio::try_join!(self.accept(pages, module.into(), shutdown.clone()), looking)?;
        Ok(())
    }

    /// Serves connections until shutdown.
    async fn accept(
        self,
        pages: Arc<dyn Pages>,
        methods: Methods,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let Self { listener, address, settings } = self;
        let rules = Rules {
            token: settings.token,
            metrics_token: settings.metrics_token,
            hosts: settings.allowed_hosts,
            pages,
        };
        let config = ServerConfig::builder()
            .http_only()
            .max_request_body_size(settings.max_request_bytes)
            .max_response_body_size(LONGEST_ANSWER)
            .max_connections(settings.max_connections.saturating_add(connections::STRANGERS)) // counts requests under way
            .set_batch_request_config(BatchRequestConfig::Limit(MOST_IN_BATCH))
            .build();
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|source| ServeError::Listen { address, source })?;
        let most = usize::try_from(settings.max_connections).unwrap_or(usize::MAX);
        connections::serve(listener, config, most, Arc::new(rules), methods, shutdown).await;
        Ok(())
    }
}

/// For the metrics page, which must not ask the chain itself.
async fn look_at_balances(node: &Node, seen: &watch::Sender<Option<Balances>>, shutdown: &CancellationToken) {
    let mut ticks = tokio::time::interval(BALANCES_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        match shutdown.run_until_cancelled(methods::balances(node)).await {
            Some(Ok(balances)) => {
                seen.send_replace(Some(balances));
            }
            Some(Err(error)) => tracing::debug!(%error, "cannot look at the balances"),
            None => break,
        }
    }
}

struct NodePages {
    node: Arc<Node>,
    balances: watch::Receiver<Option<Balances>>,
    looks: Looks,
    tor: Option<watch::Receiver<TorStatus>>,
    lost_log_lines: Arc<AtomicU64>,
}

impl Pages for NodePages {
    fn health(&self) -> Health {
        health::health(&self.node, &self.looks)
    }

    fn metrics(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(async {
            let balances = self.balances.borrow().clone();
            let lost_log_lines = self.lost_log_lines.load(Ordering::Relaxed);
            let tor = self.tor.as_ref().map(|tor| tor.borrow().clone());
            let figures = metrics::Figures {
                health: self.health(),
                balances: balances.as_ref(),
                tor: tor.as_ref(),
                lost_log_lines,
                outlook: self.looks.outlook.borrow().clone(),
            };
            metrics::page(&self.node, &figures).await
        })
    }
}
