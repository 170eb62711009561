//! The command line.

use std::convert::Infallible;
use std::path::PathBuf;

use alloy::primitives::Address;
use clap::Parser;
use privatix_channel::Amount;
use secrecy::SecretString;

use crate::error::EXIT_CODES;
use crate::plan::{Choices, Network};

/// Places the service contract (PSC) on a chain, for test networks the token (PTC) before it, and prints what to put into the
/// configuration of agentd and clientd.
///
/// The addresses follow from token, fee address and terms. Run again with the same choices, it finds what is there, checks it,
/// and sends nothing.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask deploy", bin_name = "cargo xtask deploy", after_help = EXIT_CODES)]
pub struct Args {
    /// The terms, and what must be given
    #[arg(value_enum)]
    pub network: Network,
    /// JSON-RPC endpoint of a node: http, https, ws or wss; may be in the environment, as it may hold a key. For `local` it is
    /// anvil's usual address unless given
    #[arg(long, value_name = "URL", env = "PRIVATIX_DEPLOY_RPC", hide_env_values = true, value_parser = secret)]
    pub rpc: Option<SecretString>,
    /// The chain's id (EIP-155): refuses an endpoint that serves another chain
    #[arg(long, value_name = "ID")]
    pub chain_id: Option<u64>,
    /// The encrypted key (Web3 secret storage) of the account that pays. For `local` it is the node's first unlocked account
    /// unless given
    #[arg(long, value_name = "FILE")]
    pub keystore: Option<PathBuf>,
    /// A file whose first line is the keystore's password; asked for when not given
    #[arg(long, value_name = "FILE", requires = "keystore")]
    pub password_file: Option<PathBuf>,
    /// The token that everything is paid in. For `local` and `test` a token (PTC) is placed unless given
    #[arg(long, value_name = "ADDRESS")]
    pub token: Option<Address>,
    /// Receives and sets the network fee. For `local` and `test` it is the account that pays unless given
    #[arg(long, value_name = "ADDRESS")]
    pub fee_address: Option<Address>,
    /// The least stake behind each place of an offering, in base units of the token
    #[arg(long, value_name = "AMOUNT")]
    pub min_stake: Option<Amount>,
    /// Sends nothing: shows the addresses and what is there, and tries the constructors
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl Args {
    /// What was chosen about the contracts.
    pub fn choices(&self) -> Choices {
        Choices { token: self.token, fee_address: self.fee_address, min_stake: self.min_stake }
    }
}

/// Never an error: it would quote the argument.
#[expect(clippy::unnecessary_wraps, reason = "what the parser of arguments asks for")]
fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(text.into())
}
