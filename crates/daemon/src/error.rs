use std::path::PathBuf;
use std::process::ExitCode;

use privatix_api::{ApiError, ErrorCode, ServeError};
use privatix_chain::ChainError;
use privatix_db::DbError;
use privatix_db::backup::BackupError;
use privatix_node::NodeError;
use privatix_somc::{AddressError, TransportError};
use privatix_tor::TorError;

use crate::{AccountError, ConfigError, KeystoreError, TooFewFiles, logging};

/// What the exit codes of both programs mean, for their help.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it failed: the chain, the database, a port in use, too few open files, a job that gave up, not well
  2  the command line, the configuration, a key or a password is wrong
  3  no daemon answers, or it does not accept the token
  4  the daemon refused; the message says why
  5  it is not over yet: the time for --wait is up, the daemon goes on";

/// What ends a program that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The account's key.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// A command about the accounts.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// A file.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that must not be overwritten.
    #[error(
        "{path} is there already; nothing was changed: choose another folder, or remove it if it is of no use any more"
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file given on the command line is not what was expected.
    #[error("{path} is not {expected}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A value that cannot be used.
    #[error("{what}: {reason}")]
    Usage {
        /// The argument or setting.
        what: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A copy of the database.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The chain endpoint.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The messaging address.
    #[error("{setting}: {source}")]
    Address {
        /// The setting.
        setting: &'static str,
        /// What is wrong with it.
        source: AddressError,
    },
    /// The messaging server's socket.
    #[error(transparent)]
    Listen(#[from] TransportError),
    /// Tor in this process.
    #[error(transparent)]
    Tor(TorError),
    /// The control API's socket.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The limit of open files.
    #[error(transparent)]
    OpenFiles(#[from] TooFewFiles),
    /// The role.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The control API, asked from a command.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A job or transaction that was waited for failed.
    #[error("{what} failed: {reason}")]
    OrderFailed {
        /// What was ordered.
        what: String,
        /// Why it failed.
        reason: String,
    },
    /// The time to wait is up.
    #[error("{what} is not over after {waited}: {state}; it goes on in the daemon, look again with `{look}`")]
    StillRunning {
        /// What was ordered.
        what: String,
        /// The time given.
        waited: humantime::FormattedDuration,
        /// How far it has come.
        state: String,
        /// The command that shows it.
        look: String,
    },
    /// The daemon is not well, by the answer that was asked for.
    #[error("{what}: {why}")]
    NotWell {
        /// Which answer.
        what: &'static str,
        /// What is in the way.
        why: String,
    },
    /// A task ended unexpectedly.
    #[error("the {task} ended unexpectedly: {reason}; see the log")]
    Task {
        /// The task's name.
        task: &'static str,
        /// What it left behind.
        reason: String,
    },
}

impl DaemonError {
    /// What goes wrong on Tor. A field of the library's settings is named as the setting of `section` that it comes from.
    #[must_use]
    pub fn of_tor(section: &str, error: TorError) -> Self {
        match error {
            TorError::Setting { setting, reason } => {
                Self::Usage { what: format!("{section}.{setting}"), reason }
            }
            error => Self::Tor(error),
        }
    }

    /// The code to exit with; see [`EXIT_CODES`].
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Keystore(_)
            | Self::Account(_)
            | Self::Exists { .. }
            | Self::Malformed { .. }
            | Self::Usage { .. }
            | Self::Address { .. } => 2,
            Self::Backup(BackupError::Missing { .. } | BackupError::Exists { .. }) => 2,
            Self::Chain(ChainError::BadUrl { .. } | ChainError::BadProxy { .. }) => 2,
            Self::Api(ApiError::BadUrl { .. }) => 2,
            Self::Api(ApiError::Refused(failure)) => match failure.code {
                ErrorCode::Internal => 1,
                _ => 4,
            },
            Self::Api(_) => 3,
            Self::StillRunning { .. } => 5,
            _ => 1,
        }
    }

    /// What kind of trouble it is, for programs: the daemon's own [`ErrorCode`] where it refused.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config(_) => "configuration",
            Self::Keystore(_) => "keystore",
            Self::Account(_) => "account",
            Self::Exists { .. } | Self::Malformed { .. } | Self::Usage { .. } | Self::Address { .. } => {
                "usage"
            }
            Self::File { .. } => "file",
            Self::Backup(BackupError::Missing { .. } | BackupError::Exists { .. }) => "usage",
            Self::Db(_) | Self::Backup(_) => "database",
            Self::Chain(_) => "chain",
            Self::Listen(_) | Self::Serve(_) => "listen",
            Self::Tor(_) => "tor",
            Self::Api(ApiError::Refused(failure)) => failure.code.as_str(),
            Self::Api(ApiError::Unauthorized { .. }) => "unauthorized",
            Self::Api(ApiError::BadUrl { .. }) => "usage",
            Self::Api(_) => "unreachable",
            Self::OpenFiles(_) => "open_files",
            Self::OrderFailed { .. } => "order_failed",
            Self::StillRunning { .. } => "still_running",
            Self::NotWell { .. } => "not_well",
            Self::Node(_) | Self::Task { .. } => "failed",
        }
    }

    /// Prints the error with its causes, as JSON if that is wished for, and gives the code to exit with.
    pub fn report(&self, json: bool) -> ExitCode {
        let message = with_causes(self);
        if json {
            let error = serde_json::json!({ "error": { "code": self.code(), "message": message } });
            logging::stderr_line(&error.to_string());
        } else {
            logging::stderr_line(&format!("error: {message}"));
        }
        ExitCode::from(self.exit_code())
    }
}

/// An error and its causes in one line. Many errors quote their cause already; it is not repeated.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_field_of_the_library_is_named_as_the_setting_that_it_comes_from() {
        let field = TorError::Setting { setting: "bridges".into(), reason: "line 2: wrong".into() };
        let error = DaemonError::of_tor("tor", field);
        assert_eq!(error.to_string(), "tor.bridges: line 2: wrong");
        assert_eq!((error.exit_code(), error.code()), (2, "usage"));
        let other = DaemonError::of_tor("tor", TorError::Listen(io::ErrorKind::AddrInUse.into()));
        assert_eq!((other.exit_code(), other.code()), (1, "tor"));
    }
}
