use std::{io, path::PathBuf, time::Duration};

/// Why a part that a test needs could not be had, or did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestkitError {
    /// `node` or `npm` is not installed.
    #[error("`{tool}` cannot be run: install node 20 or newer with npm and put both on PATH")]
    MissingTool {
        /// The program that is missing.
        tool: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// `npm ci` ran and failed.
    #[error("`npm ci` failed in {} ({status}): {output}", dir.display())]
    NpmFailed {
        /// Where it ran.
        dir: PathBuf,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// The end of what it printed.
        output: String,
    },
    /// There is no lock file to install from.
    #[error("no package-lock.json in {}: the contracts folder is incomplete", dir.display())]
    NoLockFile {
        /// Where it was sought.
        dir: PathBuf,
    },
    /// npm has no binary for this platform, or installed none.
    #[error(
        "no {tool} binary at {}: install Foundry and set {env} to the path of `{tool}`", path.display()
    )]
    NoBinary {
        /// Name of the Foundry tool.
        tool: &'static str,
        /// Where it was expected.
        path: PathBuf,
        /// The variable that overrides the path.
        env: &'static str,
    },
    /// A file or directory could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A program could not be started.
    #[error("cannot start {name} ({})", program.display())]
    Spawn {
        /// What the test calls the process.
        name: String,
        /// The program's path.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A process ended although it was still needed.
    #[error("{name} ended ({status}) while waiting for {awaited}; its log ends:\n{log}")]
    Exited {
        /// What the test calls the process.
        name: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What was awaited.
        awaited: String,
        /// The end of its log.
        log: String,
    },
    /// A process did not do something in time.
    #[error("{name} gave no {awaited} within {limit:?}; its log ends:\n{log}")]
    NotInTime {
        /// What the test calls the process.
        name: String,
        /// What was awaited.
        awaited: String,
        /// How long.
        limit: Duration,
        /// The end of its log.
        log: String,
    },
    /// A process could not be signalled or awaited.
    #[error("cannot {action} {name}")]
    Signal {
        /// What was tried.
        action: &'static str,
        /// What the test calls the process.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A workspace binary did not build.
    #[error("`cargo build` of {name} failed ({status}): see its output above")]
    Build {
        /// The binary.
        name: String,
        /// Cargo's exit status.
        status: std::process::ExitStatus,
    },
    /// `tor` or `tor-gencert` is not installed.
    #[error(
        "`tor` cannot be run: install Debian's package `tor` (apt-get install --no-install-recommends tor)"
    )]
    NoTor(#[source] io::Error),
    /// A program of the package `tor` did not do its work.
    #[error("`{program}` made no keys: {output}")]
    TorTool {
        /// The program.
        program: String,
        /// The end of what it printed.
        output: String,
    },
    /// A Tor network did not come up.
    #[error("the Tor network is not usable after {limit:?}: {missing}; the logs of its nodes end:\n{logs}")]
    TorNotReady {
        /// How long it was awaited.
        limit: Duration,
        /// What was missing at the end.
        missing: String,
        /// The ends of the logs.
        logs: String,
    },
    /// No HTTP client could be made.
    #[cfg(feature = "full")]
    #[error("cannot set up an HTTP client")]
    Http(#[source] Box<reqwest::Error>),
    /// The sockets of a process could not be listed.
    #[error("cannot list the sockets of process {pid}: it has ended, or belongs to another user")]
    Sockets {
        /// The process.
        pid: u32,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The node refused a request or could not be reached.
    #[cfg(feature = "full")]
    #[error("the node refused {method}")]
    Rpc {
        /// The JSON-RPC method.
        method: String,
        /// What came back.
        #[source]
        source: Box<alloy::transports::TransportError>,
    },
    /// A transaction was mined and failed.
    #[cfg(feature = "full")]
    #[error("transaction {tx} to {to} was reverted")]
    Reverted {
        /// Its hash.
        tx: alloy::primitives::B256,
        /// The contract called.
        to: alloy::primitives::Address,
    },
    /// A transaction's receipt did not come.
    #[cfg(feature = "full")]
    #[error("no receipt of a transaction to {to}: is automining on?")]
    NoReceipt {
        /// The contract called.
        to: alloy::primitives::Address,
        /// Why.
        #[source]
        source: Box<alloy::providers::PendingTransactionError>,
    },
    /// The contracts could not be deployed.
    #[cfg(feature = "full")]
    #[error("the contracts were not deployed")]
    Deploy(#[source] Box<privatix_contracts::deploy::DeployError>),
    /// A test token was not deployed.
    #[cfg(feature = "full")]
    #[error("cannot deploy the test token {token}: {reason}")]
    Token {
        /// The token's name.
        token: String,
        /// Why.
        reason: String,
    },
    /// A socket could not be opened.
    #[error("cannot listen on 127.0.0.1")]
    Listen(#[source] io::Error),
}
