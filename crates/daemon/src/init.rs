//! `init`: a new folder with all that a daemon needs.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use alloy::primitives::Address;
use alloy::signers::local::PrivateKeySigner;
use clap::Args;
use privatix_adapter::Role;
use privatix_chain::EndpointUrl;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use crate::app::{App, default_folder};
use crate::keystore::directory::KeyDirectory;
use crate::keystore::import::ImportArgs;
use crate::output::Output;
use crate::{DaemonError, files, keystore};

/// What a new daemon is to be.
#[derive(Args, Debug)]
pub(crate) struct InitArgs<I: Args> {
    /// The folder to make; ~/.privatix/<program> when not given
    folder: Option<PathBuf>,
    /// The chain's JSON-RPC endpoint
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8545", value_parser = secret)]
    endpoint: SecretString,
    /// The service contract's address; to be filled in later when not given
    #[arg(long, value_name = "ADDRESS")]
    contract: Option<Address>,
    /// The chain's id, which the endpoint is then held to
    #[arg(long, value_name = "NUMBER")]
    chain_id: Option<u64>,
    /// A file whose first line is the keystore's password; asked for when not given
    #[arg(long, value_name = "FILE", conflicts_with = "generate_password")]
    password_file: Option<PathBuf>,
    /// Makes a random password and keeps it in a file beside the keystore: for machines that must start alone
    #[arg(long)]
    generate_password: bool,
    #[command(flatten)]
    import: ImportArgs,
    #[command(flatten)]
    own: I,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    account: Address,
    config: PathBuf,
    keystore: PathBuf,
    api_token: PathBuf,
    metrics_token: PathBuf,
    password: Option<PathBuf>,
}

/// Never an error: it would quote the argument.
#[expect(clippy::unnecessary_wraps, reason = "what the parser of arguments asks for")]
fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(text.into())
}

/// Makes the folder, or nothing at all.
pub(crate) fn init<A: App>(arguments: &InitArgs<A::Init>, output: Output) -> Result<(), DaemonError> {
    arguments.endpoint.expose_secret().parse::<EndpointUrl>()?;
    let own = A::config_sections(&arguments.own)?;
    let folder = arguments.folder.clone().unwrap_or_else(default_folder::<A>);
    let made = Made {
        account: Address::ZERO,
        config: folder.join(format!("{}.toml", A::NAME)),
        keystore: folder.join("keystore.json"),
        api_token: folder.join("api.token"),
        metrics_token: folder.join("metrics.token"),
        password: arguments.generate_password.then(|| folder.join("password")),
    };
    let all = [
        Some(&made.config),
        Some(&made.keystore),
        Some(&made.api_token),
        Some(&made.metrics_token),
        made.password.as_ref(),
    ];
    if let Some(there) = all.into_iter().flatten().find(|path| path.exists()) {
        return Err(DaemonError::Exists { path: there.clone() });
    }
    let choice = KeyDirectory::new(&folder, &made.keystore).choice_file();
    if choice.symlink_metadata().is_ok() {
        // The daemon would sign with another key than the one that is made here.
        return Err(DaemonError::Exists { path: choice });
    }
    let imported = arguments.import.key(arguments.password_file.as_deref())?;
    let key = imported.unwrap_or_else(PrivateKeySigner::random);
    let random = arguments.generate_password.then(files::random_secret);
    let password: SecretString = match (&random, &arguments.password_file) {
        (Some(random), _) => random.as_str().into(),
        (None, Some(file)) => files::read_secret(file)?,
        (None, None) => keystore::new_password(&format!("account {}", key.address()))?,
    };
    let password_file = match (&made.password, &arguments.password_file) {
        (Some(_), _) => Some(PathBuf::from("password")),
        (None, Some(file)) => Some(absolute(file)?),
        (None, None) => None,
    };

    files::create_folder(&folder)?;
    let write = || -> Result<(), DaemonError> {
        keystore::create(&made.keystore, &key, &password)?;
        if let (Some(path), Some(random)) = (&made.password, &random) {
            files::write_private(path, random.as_bytes())?;
        }
        files::write_private(&made.api_token, files::random_secret().as_bytes())?;
        files::write_private(&made.metrics_token, files::random_secret().as_bytes())?;
        let text = config_text::<A>(arguments, password_file.as_deref(), &own);
        files::write_private(&made.config, text.as_bytes())
    };
    write().inspect_err(|_| {
        // They were not there a moment ago, and without all of them none is of use.
        for path in all.into_iter().flatten() {
            let _ = std::fs::remove_file(path);
        }
    })?;
    let contract = arguments.contract.is_some();
    output.show(&Made { account: key.address(), ..made }, |made| {
        let next = if contract { "check it" } else { "fill in chain.contract, then check it" };
        format!(
            "account {}\nwrote {}, {}, {} and {}\nnow {next}: {} --config {} config check",
            made.account,
            made.config.display(),
            made.keystore.display(),
            made.api_token.display(),
            made.metrics_token.display(),
            A::NAME,
            made.config.display()
        )
    });
    Ok(())
}

fn absolute(path: &Path) -> Result<PathBuf, DaemonError> {
    std::path::absolute(path).map_err(|source| DaemonError::File {
        action: "find",
        path: path.to_owned(),
        source,
    })
}

/// An agent's, in the section `[chain]`.
const OF_AGENTS: &str = r#"# The highest network fee that this agent accepts. A channel with a higher fee is not served, and is closed within half an hour.
# Unless set, any fee is accepted.
# accept_fee = "10 %"
# The keystore of another account with ether, which settles in a dispute what an agent's own account cannot answer, and a file
# whose first line is its password. Without the file the password is asked for at the start.
# rescue_keystore = "rescue.json"
# rescue_password_file = "rescue.password"
"#;

/// A client's, in the same section.
const OF_CLIENTS: &str = r#"# The highest network fee with which a channel is opened. Unless set, any fee is accepted.
# accept_fee = "10 %"
"#;

fn config_text<A: App>(arguments: &InitArgs<A::Init>, password_file: Option<&Path>, own: &str) -> String {
    let contract = arguments
        .contract
        .map_or("# contract = \"0x...\"".to_owned(), |contract| format!("contract = \"{contract}\""));
    let chain_id =
        arguments.chain_id.map_or("# chain_id = 1".to_owned(), |chain_id| format!("chain_id = {chain_id}"));
    let password_file = match password_file {
        Some(file) => format!("password_file = {}", quoted(&file.to_string_lossy())),
        None => "# password_file = \"password\"".to_owned(),
    };
    let endpoint = quoted(arguments.endpoint.expose_secret());
    let (name, env) = (A::NAME, A::ENV_PREFIX);
    let socks = match A::ROLE {
        Role::Agent => "",
        Role::Client => "# A tor daemon's SOCKS port to use in place of it.\n# socks = \"127.0.0.1:9050\"\n",
    };
    let of_role = match A::ROLE {
        Role::Agent => OF_AGENTS,
        Role::Client => OF_CLIENTS,
    };
    let listen = A::DEFAULTS.iter().find(|(key, _)| *key == "api.listen").map_or("", |(_, value)| value);
    format!(
        r#"# Configuration of {name}. Settings in comments show their defaults.
#
# Each can be set in the environment too, e.g. {env}CHAIN__CONFIRMATIONS=5, or for one run with
# --set chain.confirmations=5. Durations are written like 500ms, 4s, 5m, 1h; amounts count the token's base units.

# Where the daemon keeps its files; relative to this file. Relative paths below begin there.
# data_dir = "."

[chain]
# JSON-RPC endpoint of a node: http, https, ws or wss.
endpoint = {endpoint}
# Further ones of the same chain, preferably of other operators: used when the first does not answer, and to check it.
# endpoints = []
# What the endpoint is reached through, so that it does not learn this machine's address: "tor" for the Tor in this
# process, or a SOCKS5 proxy that looks names up: "socks5h://user:password@127.0.0.1:9050". Directly when not set.
# proxy = "tor"
# The service contract (PSC).
{contract}
# What to do when its code is not the one that this version was made for: "refuse" to start, or "warn".
# unknown_contract = "refuse"
# The chain's id (EIP-155). The daemon refuses an endpoint that serves another chain.
{chain_id}
# Blocks on top of a block before its events count; what is usual on the chain unless set (2 where it is not known).
# confirmations = 2
# Which blocks count as final: a number of blocks on top, "safe" or "finalized", as the endpoint calls them. Usual on the
# chain unless set.
# final = "finalized"
# How often new blocks are looked for.
# poll_interval = "4s"
# For the endpoint to answer a request.
# request_timeout = "20s"
# The age from which on the view of the chain is stale, if the chain's own pace does not ask for more (at most a third of
# the challenge period). Then no voucher is taken, and nothing is opened or topped up. With "0s", only endpoints that
# contradict each other make it stale.
# max_view_age = "10m"
# How far this machine's clock and the chain's time may be apart. Beyond it nothing is opened, topped up or published. With
# "0s", they are not compared.
# max_clock_skew = "15m"
# Where a new database starts: this block, or this many blocks back from the head. Offerings are searched for from the
# newest on, `recent_blocks` back, but not below `start_block`.
# start_block = 0
# recent_blocks = 11520
# The most that a transaction offers per gas on an ordinary day; dearer ones wait.
# max_fee_gwei = 500
# What a token is worth in ether, roughly: as its deadline approaches, the answer to a dispute may cost what it defends.
# ether_per_token = "0.0005"
# The most gas that the chain lets a transaction have. Without it, what the endpoint reports, or else this (EIP-7825).
# tx_gas_cap = 16777216
{of_role}
[account]
# The encrypted key (Web3 secret storage).
# keystore = "keystore.json"
# A file whose first line is its password. Without it the password is asked for at the start.
{password_file}

[api]
# The control API, which this program's commands use. It takes its token in clear text: keep it on this machine.
# listen = "{listen}"
# token_file = "api.token"
# A token that opens GET /metrics and nothing else.
# metrics_token_file = "metrics.token"
# Names under which it may be reached, beside localhost and every address.
# allowed_hosts = []

[privacy]
# Keeps the network addresses of users, in the database with the sessions of their channels, and in the log. Without it
# none is stored, those that were stored are cleared at the start, and the log names peers at random for each run.
# keep_peer_addresses = false

[jobs]
# How long ended jobs can be looked up.
# keep_done = "7 days"
# keep_failed = "90 days"
# keep_cancelled = "30 days"

[log]
# error, warn, info, debug, trace, or a filter such as "info,privatix_chain=debug".
# level = "info"
# text or json.
# format = "text"

[tor]
# Tor in this process. Nothing has to be installed. It keeps its files in the folder `tor`.
# enabled = true
{socks}# Where Tor is blocked: bridge lines from the Tor project, and the programs for their protocols.
# bridges = ["Bridge obfs4 192.0.2.1:443 0123456789ABCDEF0123456789ABCDEF01234567 cert=... iat-mode=0"]
# transports = [{{ protocols = ["obfs4"], path = "/usr/bin/obfs4proxy" }}]
# Arti's own settings, e.g. for a proxy that connections to relays must take.
# arti = {{ channel = {{ outbound_proxy = "socks5://192.0.2.1:1080" }} }}

{own}"#
    )
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
