//! What both daemons do alike, so that each program holds only what makes it differ.
//!
//! What it owns: [configuration](config) in layers, the [keystore], logs, signals, exit codes, `init`, `run` and
//! `config check`, and the commands that ask a running daemon over its control API. A program is an [`App`]:
//! its settings, its own commands, and how its role is made.
//!
//! ```no_run
//! # use privatix_daemon::App;
//! # fn program<Agentd: App>() -> std::process::ExitCode {
//! // The whole of a program's main function:
//! privatix_daemon::main::<Agentd>()
//! # }
//! ```
//!
//! Secrets come from files, from a terminal or from standard input, never from arguments, and are in no log.

mod accounts;
mod adapters;
mod app;
mod backup;
mod check;
mod commands;
pub mod config;
mod connect;
mod error;
mod files;
mod follow;
mod init;
pub mod keystore;
mod log_queue;
mod logging;
mod open_files;
pub mod output;
mod quiet;
mod reach;
mod run;
mod secret_text;
mod signals;
mod tor;

pub use app::{App, Context, Global, main};
pub use commands::{endpoint_text, token_unit};
pub use config::ConfigError;
pub use error::{DaemonError, EXIT_CODES};
pub use follow::{Follow, WaitArgs, order};
pub use keystore::{AccountError, KeystoreError};
pub use open_files::{Connections, TooFewFiles};
pub use reach::Announced;
pub use run::{Parts, together};
pub use tor::DaemonTor;
