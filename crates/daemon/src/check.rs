//! `config check`: everything that can be known before the daemon runs.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use alloy::signers::local::PrivateKeySigner;
use clap::Args;
use privatix_adapter::Role;
use privatix_channel::{Domain, Terms};
use privatix_node::NodeError;
use privatix_somc::SomcAddress;
use privatix_tor::OnionKeys;
use serde::Serialize;
use serde_json::Value;

use crate::app::App;
use crate::config::{Loaded, Settings};
use crate::keystore::directory::KeyDirectory;
use crate::output::Output;
use crate::{DaemonError, KeystoreError, adapters, files, keystore, reach, run};

/// How much to check.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Ask neither the chain endpoint (nor its proxy) nor name servers
    #[arg(long)]
    offline: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    file: String,
    data_dir: String,
    settings: Value,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    /// It works, but probably not as meant.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    warning: bool,
    message: String,
}

impl Check {
    const fn verdict(&self) -> &'static str {
        match (self.ok, self.warning) {
            (false, _) => "WRONG",
            (true, true) => "WARN",
            (true, false) => "ok",
        }
    }
}

/// Checks a configuration that has been read, prints what is found, and fails with the first thing that is wrong.
pub(crate) async fn check<A: App>(
    loaded: &Loaded<A::Settings>,
    arguments: &CheckArgs,
    output: Output,
) -> Result<(), DaemonError> {
    let settings = &loaded.settings;
    let mut checks = Checks::default();
    checks.add("settings", A::check(settings).map(|()| "well-formed".to_owned()));
    for doubt in A::doubts(settings) {
        checks.warn("settings", doubt);
    }
    // The Tor of the process runs with the daemon alone.
    let after_start = run::reaches_chain_by_tor(settings);
    checks.add(
        "endpoint",
        if after_start {
            Ok(format!("{} through Tor; checked at the start only", settings.chain().endpoint.label()))
        } else {
            settings.chain().endpoint(None).map(|at| at.label().to_owned())
        },
    );
    checks.add(
        "adapter",
        adapters::connections(settings.adapter(), A::ROLE).map(|_| "settings accepted".to_owned()),
    );
    if after_start || A::uses_tor(settings) {
        let tor = settings.tor().settings();
        checks.add(
            "tor",
            tor.check()
                .map(|()| "settings accepted".to_owned())
                .map_err(|error| DaemonError::of_tor("tor", error)),
        );
    }
    let filter = tracing_subscriber::EnvFilter::try_new(&settings.log().level);
    checks.add(
        "log",
        filter
            .map(|_| "filter accepted".to_owned())
            .map_err(|error| DaemonError::Usage { what: "log.level".into(), reason: error.to_string() }),
    );
    checks.add("keystore", open_keystore::<A>(loaded).await);
    match KeyDirectory::of(loaded).list() {
        Ok(listing) => {
            for damaged in listing.damaged {
                checks.warn("accounts", format!("{}: {}", damaged.file.display(), damaged.reason));
            }
        }
        Err(error) => checks.add("accounts", Err(error)),
    }
    if let Some(outcome) = open_rescue_keystore(loaded).await {
        checks.add("rescue keystore", outcome);
    }
    let api = settings.api();
    for (name, file) in [("api token", &api.token_file), ("metrics token", &api.metrics_token_file)] {
        let file = loaded.path(file);
        let found = if file.exists() {
            files::read_secret(&file).map(|_| "there".to_owned())
        } else {
            Ok("not there yet; made at the start".to_owned())
        };
        checks.add(name, found);
    }
    if let Some(trouble) = files::folder_trouble(&loaded.data_dir) {
        checks.warn("data folder", trouble);
    }
    if let Some(trouble) = loaded.foreign_variables() {
        checks.warn("environment", trouble);
    }
    let mut announced = A::announced(settings);
    announced.extend(adapters::announced(settings.adapter(), A::ROLE));
    if arguments.offline {
        announced.retain(|one| one.host.parse::<IpAddr>().is_ok()); // names are looked up
    }
    for trouble in reach::troubles(&announced).await {
        checks.warn("reach", trouble);
    }
    if !arguments.offline && !after_start {
        let domain = ask_chain(settings).await;
        let asked = domain.as_ref().ok().copied();
        checks.add("chain", domain.map(|domain| described(&domain)));
        if let Some(domain) = asked {
            match ask_code(settings).await {
                // Otherwise the check of the chain has refused it.
                Err(error @ DaemonError::Node(NodeError::UnknownContract { .. })) => {
                    checks.warn("contract", error.to_string());
                }
                code => checks.add("contract", code),
            }
            checks.add("token", ask_token(settings, &domain).await);
        }
    }
    let report = Report {
        file: loaded.file.display().to_string(),
        data_dir: std::path::absolute(&loaded.data_dir)
            .unwrap_or_else(|_| loaded.data_dir.clone())
            .display()
            .to_string(),
        settings: serde_json::to_value(settings).unwrap_or_default(),
        checks: checks.made,
    };
    output.show(&report, |report| {
        let effective = toml::to_string(settings).unwrap_or_else(|error| error.to_string());
        let checks = report
            .checks
            .iter()
            .map(|check| format!("{:<5} {}: {}", check.verdict(), check.name, check.message));
        let checks: Vec<String> = checks.collect();
        format!("# {}, files in {}\n{effective}\n{}", report.file, report.data_dir, checks.join("\n"))
    });
    checks.first_error.map_or(Ok(()), Err)
}

#[derive(Default)]
struct Checks {
    made: Vec<Check>,
    first_error: Option<DaemonError>,
}

impl Checks {
    fn add(&mut self, name: &'static str, outcome: Result<String, DaemonError>) {
        let (ok, message) = match &outcome {
            Ok(message) => (true, message.clone()),
            Err(error) => (false, crate::error::with_causes(error)),
        };
        self.made.push(Check { name, ok, warning: false, message });
        if let Err(error) = outcome {
            self.first_error.get_or_insert(error);
        }
    }

    fn warn(&mut self, name: &'static str, message: String) {
        self.made.push(Check { name, ok: true, warning: true, message });
    }
}

/// Opens the keystore where its password can be had without asking.
async fn open_keystore<A: App>(loaded: &Loaded<A::Settings>) -> Result<String, DaemonError> {
    let path = KeyDirectory::of(loaded).default_keystore()?;
    let Some(password_file) = &loaded.settings.account().password_file else {
        if !path.exists() {
            return Err(KeystoreError::Missing { path }.into());
        }
        return Ok("there; not opened, its password is asked for at the start".to_owned());
    };
    files::read_secret(&loaded.path(password_file))?;
    let key = account_key(loaded).await?;
    let opens = format!("opens, account {}", key.address());
    if A::ROLE != Role::Agent || !A::uses_tor(&loaded.settings) {
        return Ok(opens);
    }
    let onion = OnionKeys::of_account(key.to_bytes().0).address(SomcAddress::DEFAULT_ONION_PORT);
    Ok(onion.map_or(opens.clone(), |onion| format!("{opens}, onion service {onion}")))
}

/// The same of the rescue account's keystore, if there is one.
async fn open_rescue_keystore<C: Settings>(loaded: &Loaded<C>) -> Option<Result<String, DaemonError>> {
    let chain = loaded.settings.chain();
    let path = loaded.path(chain.rescue_keystore.as_ref()?);
    if chain.rescue_password_file.is_none() {
        let there = "there; not opened, its password is asked for at the start".to_owned();
        return Some(if path.exists() { Ok(there) } else { Err(KeystoreError::Missing { path }.into()) });
    }
    let key = rescue_key(loaded).await.transpose()?;
    Some(key.map(|key| format!("opens, account {}", key.address())))
}

/// The default account's key. Its password is asked for where no file has it.
pub(crate) async fn account_key<C: Settings>(loaded: &Loaded<C>) -> Result<PrivateKeySigner, DaemonError> {
    let account = loaded.settings.account();
    let keystore = KeyDirectory::of(loaded).default_keystore()?;
    key(loaded, "keystore", &keystore, account.password_file.as_deref()).await
}

/// The rescue account's key, if there is such an account. Its password is asked for where no file has it.
pub(crate) async fn rescue_key<C: Settings>(
    loaded: &Loaded<C>,
) -> Result<Option<PrivateKeySigner>, DaemonError> {
    let chain = loaded.settings.chain();
    let Some(keystore) = &chain.rescue_keystore else { return Ok(None) };
    let password_file = chain.rescue_password_file.as_deref();
    key(loaded, "the rescue account's keystore", keystore, password_file).await.map(Some)
}

async fn key<C: Settings>(
    loaded: &Loaded<C>,
    what: &'static str,
    keystore: &Path,
    password_file: Option<&Path>,
) -> Result<PrivateKeySigner, DaemonError> {
    let path = loaded.path(keystore);
    let password_file = password_file.map(|file| loaded.path(file));
    in_background(move || {
        let what = format!("{what} {}", path.display());
        if !path.exists() {
            return Err(KeystoreError::Missing { path }.into());
        }
        let password = keystore::password(password_file.as_deref(), &what)?;
        keystore::open(&path, &password)
    })
    .await
}

pub(crate) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DaemonError> + Send + 'static,
) -> Result<T, DaemonError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| DaemonError::Task { task: "keystore", reason: error.to_string() })?
}

async fn ask_chain<C: Settings>(settings: &C) -> Result<Domain, DaemonError> {
    let chain = settings.chain();
    Ok(privatix_node::contract_domain(&chain.endpoint(None)?, &chain.settings()).await?)
}

fn described(domain: &Domain) -> String {
    let (chain, contract, token) = (domain.chain_id(), domain.contract(), domain.token());
    format!("chain {chain}, contract {contract}, token {token}")
}

/// Whether the contract's code is known, and whether its address shows where its storage comes from.
async fn ask_code<C: Settings>(settings: &C) -> Result<String, DaemonError> {
    let chain = settings.chain();
    let endpoint = chain.endpoint(None)?;
    let known = privatix_node::contract_code(&endpoint, chain.contract).await?;
    let deployed = if privatix_node::has_known_origin(&endpoint, &known).await? {
        "at the address that follows from its terms"
    } else {
        "deployed in a way of its own, or with another fee address than today's: its storage may not be what our \
         constructor makes, so trust whoever deployed it"
    };
    let Terms { challenge, min_stake, .. } = known.terms;
    let challenge = humantime::format_duration(Duration::from_secs(challenge.seconds().into()));
    Ok(format!("known code, challenge {challenge}, least stake {min_stake}; {deployed}"))
}

/// What the contract's token is, and how it can be deposited.
async fn ask_token<C: Settings>(settings: &C, domain: &Domain) -> Result<String, DaemonError> {
    let token = privatix_node::contract_token(&settings.chain().endpoint(None)?, domain).await?;
    let name = token.name.as_deref().unwrap_or("without a name");
    let symbol = token.symbol.as_deref().unwrap_or("without a symbol");
    let decimals = match token.decimals {
        Some(decimals) => format!("{decimals} decimals"),
        None => "decimals not known".to_owned(),
    };
    Ok(format!("{name} ({symbol}), {decimals}; deposits {}", token.way))
}
