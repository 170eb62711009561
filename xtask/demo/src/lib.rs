//! Two real daemons and a local chain, driven as their operators would: what `cargo xtask demo` shows, and what end-to-end
//! tests do worse things to.
//!
//! - [`market::Chain`]: a node with the contracts; [`daemon::Daemon`]: `init`, configuration, `run`, control API;
//! - [`market`]: publish, discover, buy, settle, close, each awaited until the daemons say that it is done;
//! - [`download`]: traffic through the bought proxy, every byte checked;
//! - [`tor`]: what is different when all messages go over Tor;
//! - [`statement`]: what it all came to, checked against the chain.

#![allow(clippy::print_stdout, reason = "the demo is to be watched")]

use std::time::Duration;

pub mod daemon;
pub mod download;
pub mod market;
pub mod statement;
pub mod tor;

/// Whatever went wrong, for a person to read.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// For one step; a guard against hangs.
pub const LIMIT: Duration = Duration::from_mins(3);
