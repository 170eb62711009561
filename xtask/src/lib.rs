//! Developer commands, run as `cargo xtask <command>`.
//!
//! - [`mod@test`]: everything that must be green before a commit, step by step;
//! - [`mod@bench`]: the benchmarks, and `docs/benchmarks.md` made of them;
//! - [`demo`]: the whole path to watch, on a local chain;
//! - [`contracts`]: compile the contracts, compare the committed artifacts, measure gas, try mutants;
//! - [`sim`]: the simulator that tries to break what agents and clients decide, and mutants that it must find;
//! - [`torture`]: kills, reorganisations and faulty endpoints under both daemons;
//! - [`deploy`]: place the contracts on a chain;
//! - [`package`]: crates that other projects may use alone, packed;
//! - [`packages`]: programs that tests need from the system's package manager;
//! - [`layers`]: the rule that no crate depends on one above it, checked by `tests/layers.rs`;
//! - [`threats`]: the rule that each attack of `docs/threat-model.md` names its test, checked by `tests/threat_model.rs`.
//!
//! The binary stays small: `cargo xtask` compiles it quietly before it can show any progress.

#![allow(clippy::print_stdout, reason = "a command line tool")]

pub mod bench;
pub mod command;
pub mod contracts;
pub mod demo;
pub mod deploy;
pub mod layers;
pub mod metadata;
pub mod package;
pub mod packages;
pub mod sim;
pub mod table;
pub mod test;
pub mod threats;
pub mod torture;

/// Whatever went wrong, for a person to read.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// A command's result.
pub type Result<T> = std::result::Result<T, Error>;
