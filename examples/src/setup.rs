//! The command line's settings, and what both programs are made of.

use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use alloy::signers::local::PrivateKeySigner;
use privatix_adapter::Adapter;
use privatix_node::{NodeError, NodeParts};
use privatix_offering::Templates;
use tokio_util::sync::CancellationToken;

use crate::quotes;

/// Whatever went wrong, for a person to read.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Which chain and account to use.
#[derive(Clone, Debug, clap::Args)]
pub struct NodeArgs {
    /// The chain: address of an HTTP or WebSocket JSON-RPC endpoint.
    #[arg(long, env = "ENDPOINT")]
    pub endpoint: String,
    /// Address of the service contract.
    #[arg(long, env = "CONTRACT")]
    pub contract: Address,
    /// A file with the account's private key in hex. (The daemons keep theirs encrypted; an example need not.)
    #[arg(long, env = "KEY_FILE")]
    pub key_file: PathBuf,
    /// The database, made if it is missing.
    #[arg(long, env = "DATABASE")]
    pub database: PathBuf,
    /// Blocks on top of a block before its events count.
    #[arg(long, env = "CONFIRMATIONS", default_value_t = 2)]
    pub confirmations: u64,
    /// How often to look for new blocks, in milliseconds.
    #[arg(long, env = "POLL_MS", default_value_t = 4_000)]
    pub poll_ms: u64,
}

impl NodeArgs {
    /// What an agent or a client with this plug-in is made of.
    ///
    /// # Errors
    /// Names the setting that cannot be used.
    pub async fn parts(&self, adapter: Arc<dyn Adapter>) -> Result<NodeParts, Failure> {
        let unusable = |why: &dyn std::fmt::Display| format!("key file {}: {why}", self.key_file.display());
        let key = fs::read_to_string(&self.key_file).map_err(|error| unusable(&error))?;
        let signer: PrivateKeySigner =
            key.trim().parse().map_err(|_| unusable(&"not a private key in hex"))?;
        let mut parts =
            NodeParts::new(&self.database, &self.endpoint, self.contract, signer, adapter).await?;
        parts.templates = Templates::empty(); // only quotes are of interest
        for template in quotes::templates()? {
            parts.templates.insert(template);
        }
        parts.chain.confirmations = Some(self.confirmations);
        parts.chain.poll_interval = Duration::from_millis(self.poll_ms);
        Ok(parts)
    }
}

/// Sells quotes to whoever opens a channel.
#[derive(Debug, clap::Parser)]
pub struct SellerArgs {
    /// The seller's chain, account and database.
    #[command(flatten)]
    pub node: NodeArgs,
    /// Where the marketplace's messages come in; announced on chain, so buyers must reach it.
    #[arg(long, default_value = "127.0.0.1:9500")]
    pub listen: SocketAddr,
    /// Where the quotes are served.
    #[arg(long, default_value = "127.0.0.1:9501")]
    pub serve: SocketAddr,
}

/// Finds a seller of quotes, buys some and pays for them.
#[derive(Debug, clap::Parser)]
pub struct BuyerArgs {
    /// The buyer's chain, account and database.
    #[command(flatten)]
    pub node: NodeArgs,
    /// How many quotes to buy.
    #[arg(long, default_value_t = 10)]
    pub quotes: u32,
}

/// Looks again and again until `look` finds something. Whatever it waits for is durable: a restarted program may go on waiting.
///
/// # Errors
/// Those of `look`.
pub async fn until<T>(look: impl AsyncFn() -> Result<Option<T>, NodeError>) -> Result<T, NodeError> {
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A token that is cancelled by Ctrl-C or SIGTERM.
///
/// # Errors
/// Of the system, which lets no signal be listened to.
pub fn signalled() -> std::io::Result<CancellationToken> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let token = CancellationToken::new();
    let signalled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        signalled.cancel();
    });
    Ok(token)
}
