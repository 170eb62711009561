//! Test support for the workspace: real parts, started quickly and always cleaned up.
//!
//! - [`Anvil`]: a local EVM node of one's own, on its own port, with funded accounts, control over blocks and reorgs,
//!   and [`Anvil::deploy`] for the token and service contracts;
//! - [`Process`]: a daemon under test: its log in a file that a failure shows, waiting for a line or a health endpoint,
//!   SIGTERM with a time limit, SIGKILL, and never left behind, whatever happens to the test;
//! - [`wait_for`] and [`wait_until`]: polling with a deadline and a message that names what was awaited;
//! - [`FileServer`]: a web server of deterministic bytes to download and check;
//! - [`FaultProxy`]: a JSON-RPC endpoint with faults, by a stored [`Script`] or a closure, in front of a real node;
//! - [`SocksServer`]: a SOCKS5 proxy that writes down what it is asked for;
//! - [`free_port`], [`TempDir`] and [`temp_dir`];
//! - [`TorNetwork`]: authorities and relays on loopback, from Debian's `tor`;
//! - [`sockets`]: what a process listens on and is connected to;
//! - [`toolchain`]: the Foundry binaries that npm brings, installed on first need.
//!
//! ```no_run
//! # async fn demo() -> Result<(), privatix_testkit::TestkitError> {
//! use privatix_testkit::Anvil;
//!
//! let anvil = Anvil::start().await?;
//! let contracts = anvil.deploy().await?; // accounts 1 to 9 hold a million tokens each
//! contracts.deposit(&anvil, 1, 500_u128.into()).await?;
//!
//! let before = anvil.block_number().await?;
//! anvil.mine(3).await?;
//! assert_eq!(anvil.block_number().await?, before + 3);
//! # Ok(()) }
//! ```
//!
//! Everything runs inside any Tokio runtime and keeps no task in it, so that a node may be shared between tests that
//! each have their own runtime. Unix only.

mod error;
pub mod toolchain;

#[cfg(feature = "full")]
mod anvil;
#[cfg(feature = "full")]
mod contracts;
#[cfg(feature = "full")]
mod fault;
#[cfg(feature = "full")]
mod files;
#[cfg(feature = "full")]
mod net;
#[cfg(feature = "full")]
mod process;
#[cfg(feature = "full")]
pub mod sockets;
#[cfg(feature = "full")]
mod socks;
#[cfg(feature = "full")]
mod tokens;
#[cfg(feature = "full")]
mod tor;
#[cfg(feature = "full")]
mod wait;
#[cfg(feature = "full")]
mod watchdog;

pub use error::TestkitError;

#[cfg(feature = "full")]
pub use self::{
    anvil::{Anvil, AnvilBuilder, SnapshotId},
    contracts::Contracts,
    fault::{Fault, FaultProxy, Overlay, Rule, Script, Verdict},
    files::{FileServer, Pattern, PatternCheck, PatternMismatch},
    net::{free_port, temp_dir},
    process::{Process, ProcessBuilder, workspace_bin},
    socks::{SocksRequest, SocksServer},
    tokens::TestToken,
    tor::{Relay, TorDaemon, TorNetwork},
    wait::{WaitTimeout, wait_for, wait_until},
};
#[cfg(feature = "full")]
pub use tempfile::TempDir;
