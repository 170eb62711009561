//! `run`: from settings to a running daemon and back.

use std::future::Future;
use std::path::Path;

use privatix_api::{ApiServer, ServeError, ServerSettings};
use privatix_db::Database;
use privatix_node::{NodeError, NodeParts, Notices};
use privatix_offering::Templates;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::check::in_background;
use crate::config::{Loaded, Settings};
use crate::{
    Connections, DaemonError, adapters, connect, files, keystore, logging, open_files, reach, signals,
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
}

/// Runs the daemon until a signal.
pub(crate) async fn run<A: App>(loaded: Loaded<A::Settings>) -> Result<(), DaemonError> {
    let settings = &loaded.settings;
    let lost_log_lines = logging::start(settings.log())?;
    if settings.privacy().keep_peer_addresses {
        privatix_net::show_peer_addresses();
    }
    A::check(settings)?;
    let notices = Notices::default();
    let plug_in = adapters::connections(settings.adapter(), A::ROLE)?;
    let connections = allowed(A::connections(settings, plug_in), &notices)?;
    let (adapter, adapter_settings) = adapters::make(settings.adapter(), A::ROLE, connections)?;
    let endpoint = settings.chain().endpoint(None)?;
    files::create_folder(&loaded.data_dir)?;
    warn_of_surroundings(&loaded);

    let account = settings.account();
    let path = loaded.path(&account.keystore);
    let password_file = account.password_file.as_ref().map(|file| loaded.path(file));
    let signer = in_background(move || {
        let what = format!("keystore {}", path.display());
        if !path.exists() {
            return Err(keystore::KeystoreError::Missing { path }.into());
        }
        let password = keystore::password(password_file.as_deref(), &what)?;
        keystore::open(&path, &password)
    })
    .await?;
    // Not earlier: an interrupt at the password prompt ends the program at once.
    let shutdown = CancellationToken::new();
    signals::listen(shutdown.clone())?;

    let api = settings.api();
    let mut server = ServerSettings::new(token(&loaded.path(&api.token_file))?);
    server.allowed_hosts.clone_from(&api.allowed_hosts);
    server.lost_log_lines = lost_log_lines;
    let server = ApiServer::bind(api.listen, server).await?;
    let address = server.local_addr();
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "the control API can be reached from other machines, with its token in clear text");
    }

    let database = loaded.path(Path::new(&format!("{}.db", A::NAME)));
    let db = Database::open(&database, &privatix_node::migrations()).await?;
    files::replace(&connect::address_file(&loaded), &address.to_string())?;
    let name = A::NAME;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        account = %signer.address(),
        api = %address,
        endpoint = endpoint.label(),
        database = %database.display(),
        "{name} starts"
    );
    let node = NodeParts {
        db,
        endpoint,
        signer,
        adapter,
        adapter_settings,
        templates: Templates::builtin(),
        chain: settings.chain().settings(),
        notices,
        peer_addresses: settings.privacy().peer_addresses(),
    };
    let mut announced = A::announced(settings);
    announced.extend(adapters::announced(settings.adapter(), A::ROLE));
    // A name can take a while to be looked up, which nobody else waits for.
    let reach = shutdown.clone().run_until_cancelled_owned(async move {
        for trouble in reach::troubles(&announced).await {
            tracing::warn!("{trouble}");
        }
    });
    let running = Box::pin(A::run(loaded.clone(), Parts { node, api: server, connections }, shutdown));
    tokio::join!(running, reach).0?;
    tracing::info!("{name} has ended");
    Ok(())
}

/// The connections that the limit of open files allows, once it is raised as far as it can be.
fn allowed(wanted: Connections, notices: &Notices) -> Result<Connections, DaemonError> {
    let limit = open_files::raise_limit();
    let allowed = wanted.within(limit)?;
    if let Some(lowered) = allowed.lowered_from(wanted, limit) {
        tracing::warn!("{lowered}");
        notices.set("open_files", Some(lowered));
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
fn token(path: &Path) -> Result<SecretString, DaemonError> {
    if !path.exists() {
        files::write_private(path, files::random_secret().as_bytes())?;
    }
    let token = files::read_secret(path)?;
    if secrecy::ExposeSecret::expose_secret(&token).len() < 16 {
        return Err(DaemonError::Malformed {
            path: path.to_owned(),
            expected: "an API token",
            reason: "it has fewer than 16 characters; remove it, and a good one is made at the start".into(),
        });
    }
    Ok(token)
}
