//! `run`: from settings to a running daemon and back.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use alloy::signers::local::PrivateKeySigner;
use privatix_api::node::TorStatus;
use privatix_api::{ApiServer, ServeError, ServerSettings};
use privatix_chain::{EndpointUrl, Endpoints};
use privatix_db::Database;
use privatix_node::{NodeError, NodeParts, Notices, Part};
use privatix_offering::Templates;
use privatix_tor::{OnionKeys, Tor, TorError};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::check::{account_key, rescue_key};
use crate::config::{ChainProxy, Loaded, Settings};
use crate::tor::Background;
use crate::{
    Connections, DaemonError, DaemonTor, adapters, backup, connect, files, logging, open_files, reach,
    signals, tor,
};

/// What a role is made of, and the API to serve it on.
#[derive(Debug)]
#[non_exhaustive]
pub struct Parts {
    /// For the role.
    pub node: NodeParts,
    /// For its handle.
    pub api: ApiServer,
    /// How many connections its servers may have.
    pub connections: Connections,
    /// Tor in this process, where the settings ask for it.
    pub tor: Option<DaemonTor>,
}

/// Runs the daemon until a signal.
pub(crate) async fn run<A: App>(loaded: Loaded<A::Settings>) -> Result<(), DaemonError> {
    let settings = &loaded.settings;
    let lost_log_lines = logging::start(settings.log())?;
    if settings.privacy().keep_peer_addresses {
        privatix_net::show_peer_addresses();
    }
    A::check(settings)?;
    for doubt in A::doubts(settings) {
        tracing::warn!("{doubt}");
    }
    let notices = Notices::default();
    let plug_in = adapters::connections(settings.adapter(), A::ROLE)?;
    let connections = allowed(A::connections(settings, plug_in), &notices)?;
    let (adapter, adapter_settings) = adapters::make(settings.adapter(), A::ROLE, connections)?;
    files::create_folder(&loaded.data_dir)?;
    warn_of_surroundings(&loaded);

    let signer = account_key(&loaded).await?;
    let rescue = rescue_key(&loaded).await?;
    // Not earlier: an interrupt at the password prompt ends the program at once.
    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone())?;

    let database = backup::database::<A>(&loaded);
    // Its lock keeps a second process out, before that one could touch what the first one's Tor has on the disk.
    let db = Database::open(&database, &privatix_node::migrations()).await?;
    let background = Background::default();
    let (tor, tor_status) = start_tor::<A>(&loaded, &signer, &notices, &background)?;
    let endpoints = endpoints(&loaded, tor.as_ref()).await?;

    let api = settings.api();
    let (control, metrics) = tokens(&loaded.path(&api.token_file), &loaded.path(&api.metrics_token_file))?;
    let mut server = ServerSettings::new(control);
    server.metrics_token = Some(metrics);
    server.allowed_hosts.clone_from(&api.allowed_hosts);
    server.lost_log_lines = lost_log_lines;
    server.tor = tor_status;
    let server = ApiServer::bind(api.listen, server).await?;
    let address = server.local_addr();
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "the control API can be reached from other machines, with its token in clear text");
    }

    files::replace(&connect::address_file(&loaded), &address.to_string())?;
    let name = A::NAME;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        account = %signer.address(),
        api = %address,
        endpoint = endpoints.best().label(),
        database = %database.display(),
        "{name} starts"
    );
    let node = NodeParts {
        db,
        endpoints,
        signer,
        acts_for: A::acts_for(settings),
        rescue,
        adapter,
        adapter_settings,
        templates: Templates::builtin(),
        chain: settings.chain().settings(),
        notices,
        peer_addresses: settings.privacy().peer_addresses(),
        retention: settings.jobs().retention(),
    };
    let mut announced = A::announced(settings);
    announced.extend(adapters::announced(settings.adapter(), A::ROLE));
    // A name can take a while to be looked up, which nobody else waits for.
    let reach = shutdown.clone().run_until_cancelled_owned(async move {
        for trouble in reach::troubles(&announced).await {
            tracing::warn!("{trouble}");
        }
    });
    let parts = Parts { node, api: server, connections, tor };
    if settings.chain().proxy == Some(ChainProxy::Tor)
        && let Some(tor) = &parts.tor
        && !tor_ready(tor, &parts.api, &shutdown).await?
    {
        drop(parts);
        background.end().await;
        tracing::info!("{name} has ended");
        return Ok(());
    }
    if !chain_answers(&parts.node, &parts.api, &shutdown).await? {
        drop(parts);
        background.end().await;
        tracing::info!("{name} has ended");
        return Ok(());
    }
    let running = Box::pin(A::run(loaded.clone(), parts, shutdown));
    let ended = tokio::join!(running, reach).0;
    // What was still to be answered went over it.
    background.end().await;
    ended?;
    tracing::info!("{name} has ended");
    Ok(())
}

/// Waits for Tor, without which there is no way to the chain, while the API answers how far it is. Returns whether it is
/// ready: the daemon may be stopped before.
async fn tor_ready(
    tor: &DaemonTor,
    api: &ApiServer,
    shutdown: &CancellationToken,
) -> Result<bool, DaemonError> {
    tracing::info!("waiting for Tor, through which the chain endpoint is reached");
    let over = CancellationToken::new();
    let waiting = async {
        let ready = shutdown.run_until_cancelled(tor.ready()).await.is_some();
        over.cancel();
        Ok(ready)
    };
    let ((), ready) = tokio::try_join!(api.serve_starting(over.clone()), waiting)?;
    Ok(ready)
}

/// Between two looks for an endpoint that has never answered.
const NO_ENDPOINT: Duration = Duration::from_secs(5);

/// Waits until a node can be opened, while the API answers what is in the way: at the first start of all an endpoint has to
/// show the contract, later ones go on from what was stored. Returns whether it can be: the daemon may be stopped before.
async fn chain_answers(
    node: &NodeParts,
    api: &ApiServer,
    shutdown: &CancellationToken,
) -> Result<bool, DaemonError> {
    let NodeParts { db, endpoints, chain, .. } = node;
    if privatix_node::is_contract_stored(db, chain).await? {
        return Ok(true);
    }
    let ask = async || match privatix_node::store_contract(db, endpoints, chain).await {
        Ok(()) => Ok(None),
        Err(error) if error.is_unreachable() => Ok(Some(error.to_string())),
        Err(error) => Err(DaemonError::from(error)),
    };
    let Some(first) = shutdown.run_until_cancelled(ask()).await else { return Ok(false) };
    let Some(trouble) = first? else { return Ok(true) };
    tracing::warn!("no endpoint has shown the contract yet; waiting for one: {trouble}");
    let (trouble, shown) = watch::channel(trouble);
    let made = CancellationToken::new();
    let waiting = async {
        let answered = shutdown.run_until_cancelled(async {
            loop {
                tokio::time::sleep(NO_ENDPOINT).await;
                match ask().await? {
                    None => return Ok::<_, DaemonError>(()),
                    Some(reason) => drop(trouble.send_replace(reason)),
                }
            }
        });
        let answered = answered.await.transpose()?;
        made.cancel();
        Ok::<_, DaemonError>(answered.is_some())
    };
    let serving = async { Ok(api.serve_without_chain(shown, made.clone()).await?) };
    let ((), answers) = tokio::try_join!(serving, waiting)?;
    Ok(answers)
}

/// Whether the chain endpoint is reached through the Tor in this process.
pub(crate) fn reaches_chain_by_tor<C: Settings>(settings: &C) -> bool {
    settings.chain().proxy == Some(ChainProxy::Tor) && settings.tor().enabled
}

/// The Tor client, where the settings ask for one, and how it is. A Tor that cannot be used ends a daemon only where nothing
/// works without it.
fn start_tor<A: App>(
    loaded: &Loaded<A::Settings>,
    signer: &PrivateKeySigner,
    notices: &Notices,
    background: &Background,
) -> Result<(Option<DaemonTor>, Option<watch::Receiver<TorStatus>>), DaemonError> {
    let settings = &loaded.settings;
    let for_chain = reaches_chain_by_tor(settings);
    if !for_chain && !A::uses_tor(settings) {
        return Ok((None, None));
    }
    let error = match Tor::new(loaded.path(Path::new("tor")), &settings.tor().settings()) {
        Ok(tor) => {
            let keys = OnionKeys::of_account(signer.to_bytes().0);
            let (tor, status) = DaemonTor::start(tor, keys, notices, background);
            return Ok((Some(tor), Some(status)));
        }
        Err(error) => error,
    };
    let wrong_setting = matches!(error, TorError::Setting { .. });
    match A::without_tor(settings) {
        Some(remains) if !for_chain && !wrong_setting => {
            Ok((None, Some(tor::unusable(&error, remains, notices))))
        }
        _ => Err(DaemonError::of_tor("tor", error)),
    }
}

/// The chain endpoints, by the way that the settings ask for.
async fn endpoints<C: Settings>(
    loaded: &Loaded<C>,
    tor: Option<&DaemonTor>,
) -> Result<Endpoints, DaemonError> {
    let chain = loaded.settings.chain();
    let reach = async |url: &EndpointUrl| {
        let proxy = match (&chain.proxy, tor) {
            (Some(ChainProxy::Tor), Some(tor)) => Some(tor.proxy_to(url.host()).await?),
            _ => None,
        };
        chain.reach(url, proxy.as_ref())
    };
    let first = reach(&chain.endpoint).await?;
    let mut others = Vec::with_capacity(chain.endpoints.len());
    for url in &chain.endpoints {
        others.push(reach(url).await?);
    }
    Ok(Endpoints::new(first, others))
}

/// The connections that the limit of open files allows, once it is raised as far as it can be.
fn allowed(wanted: Connections, notices: &Notices) -> Result<Connections, DaemonError> {
    let limit = open_files::raise_limit();
    let allowed = wanted.within(limit)?;
    if let Some(lowered) = allowed.lowered_from(wanted, limit) {
        tracing::warn!("{lowered}");
        notices.set(Part::OpenFiles, Some(lowered));
    }
    Ok(allowed)
}

/// What the operator should know of where the daemon runs.
fn warn_of_surroundings<C: Settings>(loaded: &Loaded<C>) {
    if let Some(trouble) = files::folder_trouble(&loaded.data_dir) {
        tracing::warn!("{trouble}");
    }
    if let Some(trouble) = loaded.foreign_variables() {
        tracing::warn!("{trouble}");
    }
}

/// Runs a role and its API until shutdown, or until either ends; then both end.
///
/// # Errors
/// The role's, else the API's.
pub async fn together(
    role: impl Future<Output = Result<(), NodeError>> + Send + 'static,
    api: impl Future<Output = Result<(), ServeError>> + Send + 'static,
    shutdown: CancellationToken,
) -> Result<(), DaemonError> {
    // Whichever ends takes the other along: a daemon that cannot be asked, or that only answers, helps nobody.
    let ended = |shutdown: CancellationToken| shutdown.drop_guard();
    let (role_guard, api_guard) = (ended(shutdown.clone()), ended(shutdown));
    let role = tokio::spawn(async move {
        let _guard = role_guard;
        role.await
    });
    let api = tokio::spawn(async move {
        let _guard = api_guard;
        api.await
    });
    let (role, api) = tokio::join!(role, api);
    role.map_err(|error| DaemonError::Task { task: "daemon", reason: error.to_string() })??;
    api.map_err(|error| DaemonError::Task { task: "control API", reason: error.to_string() })??;
    Ok(())
}

/// The API's token, made at the first start if `init` did not.
/// The tokens of the control API and of the metrics page.
fn tokens(control: &Path, metrics: &Path) -> Result<(SecretString, SecretString), DaemonError> {
    let (everything, figures) = (token(control)?, token(metrics)?);
    if everything.expose_secret() == figures.expose_secret() {
        return Err(DaemonError::Malformed {
            path: metrics.to_owned(),
            expected: "a token for the metrics page alone",
            reason: "it is the token that opens the whole control API; remove it, and another is made at the start"
                .into(),
        });
    }
    Ok((everything, figures))
}

fn token(path: &Path) -> Result<SecretString, DaemonError> {
    if !path.exists() {
        files::write_private(path, files::random_secret().as_bytes())?;
    }
    let token = files::read_secret(path)?;
    if token.expose_secret().len() < 16 {
        return Err(DaemonError::Malformed {
            path: path.to_owned(),
            expected: "an API token",
            reason: "it has fewer than 16 characters; remove it, and a good one is made at the start".into(),
        });
    }
    Ok(token)
}
