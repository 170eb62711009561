//! What goes wrong on Tor, and what to do about it.

use std::path::PathBuf;

use arti_client::{ErrorKind, HasKind as _};
use privatix_somc::SomcAddress;

use crate::TorStatus;

/// What goes wrong on Tor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TorError {
    /// A setting that cannot be used.
    #[error("{setting} cannot be used: {reason}")]
    Setting {
        /// The field of [`TorSettings`](crate::TorSettings) or [`OnionSettings`](crate::OnionSettings), with the path of
        /// what is below it, or the address of a service.
        setting: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder is not ours alone, or cannot be used.
    #[error(
        "the folder {folder} cannot be used for Tor: {source}; make it a folder of this user, to which, as to those above it, nobody else may write (chown, chmod go-w)"
    )]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What arti found.
        source: Box<arti_client::Error>,
    },
    /// Another process uses the folder.
    #[error("the folder {folder} is used by another process; stop it, or give this one a folder of its own")]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// What arti found.
        source: Box<arti_client::Error>,
    },
    /// Tor could not be started for another reason.
    #[error("Tor cannot be started: {0}")]
    Start(#[source] Box<arti_client::Error>),
    /// The loopback port for the chain endpoint cannot be opened.
    #[error("no local port can be opened for what goes through Tor: {0}")]
    Listen(#[source] std::io::Error),
    /// This process's Tor is not on the network, so nothing is known of whom it was to reach.
    #[error("your own Tor is not connected: {}", why_not_ready(.0))]
    NotReady(TorStatus),
    /// A service or host was not reached.
    #[error("cannot reach {address} over Tor: {why}")]
    Connect {
        /// Who was to be reached.
        address: SomcAddress,
        /// Why not, with the remedy.
        why: Unreached,
        /// What arti found.
        source: Box<arti_client::Error>,
    },
}

impl TorError {
    /// Sorts what arti says about a start.
    pub(crate) fn starting(folder: &std::path::Path, error: arti_client::Error) -> Self {
        let (folder, source) = (folder.to_owned(), Box::new(error));
        match source.kind() {
            ErrorKind::FsPermissions
            | ErrorKind::PersistentStateAccessFailed
            | ErrorKind::PersistentStateCorrupted
            | ErrorKind::CacheAccessFailed
            | ErrorKind::CacheCorrupted
            | ErrorKind::KeystoreAccessFailed => Self::Folder { folder, source },
            ErrorKind::LocalResourceAlreadyInUse => Self::InUse { folder, source },
            _ => Self::Start(source),
        }
    }

    /// Sorts what arti says about a connection.
    pub(crate) fn connecting(address: &SomcAddress, error: arti_client::Error) -> Self {
        Self::Connect { address: address.clone(), why: Unreached::of(error.kind()), source: Box::new(error) }
    }
}

fn why_not_ready(status: &TorStatus) -> String {
    match &status.problem {
        Some(problem) => problem.to_string(),
        None => format!("it is still starting ({}); try again in a moment", status.stage),
    }
}

/// Why somebody was not reached over Tor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreached {
    /// There is no connection to the network's relays.
    #[error(
        "the Tor network cannot be reached; check this machine's network, or use bridges where Tor is blocked"
    )]
    NoNetwork,
    /// The clock is wrong.
    #[error("this machine's clock is wrong; set it")]
    ClockSkew,
    /// The directory of relays is missing or too old.
    #[error(
        "the directory of relays is missing or too old; wait until it is loaded, and check this machine's network and clock"
    )]
    Directory,
    /// No relay knows the service.
    #[error(
        "its descriptor was not found; the service is off, has just started, or the address is no longer in use"
    )]
    NoDescriptor,
    /// The service takes only clients that it knows.
    #[error(
        "it is private: its operator must list this client's key for it, and this client must prove itself by that key"
    )]
    NotAuthorized,
    /// The service was found, but does not answer.
    #[error("the service is down or overloaded; try again later")]
    ServiceDown,
    /// The service answered that nothing listens there.
    #[error("nothing listens at this port")]
    Refused,
    /// Something took too long.
    #[error("it took too long; try again")]
    Timeout,
    /// Not an address that can be reached.
    #[error("the address is invalid or leads into a private network")]
    BadAddress,
    /// Another reason.
    #[error("the connection failed; try again")]
    Other,
}

impl Unreached {
    fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::TorAccessFailed | ErrorKind::LocalNetworkError | ErrorKind::BootstrapRequired => {
                Self::NoNetwork
            }
            ErrorKind::ClockSkew => Self::ClockSkew,
            ErrorKind::DirectoryExpired
            | ErrorKind::TorDirectoryError
            | ErrorKind::TorDirectoryUnusable
            | ErrorKind::NoPath
            | ErrorKind::NoExit => Self::Directory,
            ErrorKind::OnionServiceNotFound => Self::NoDescriptor,
            ErrorKind::OnionServiceMissingClientAuth | ErrorKind::OnionServiceWrongClientAuth => {
                Self::NotAuthorized
            }
            ErrorKind::OnionServiceNotRunning
            | ErrorKind::OnionServiceConnectionFailed
            | ErrorKind::OnionServiceProtocolViolation => Self::ServiceDown,
            ErrorKind::RemoteConnectionRefused
            | ErrorKind::RemoteStreamClosed
            | ErrorKind::RemoteStreamReset => Self::Refused,
            ErrorKind::TorNetworkTimeout | ErrorKind::RemoteNetworkTimeout | ErrorKind::ExitTimeout => {
                Self::Timeout
            }
            ErrorKind::OnionServiceAddressInvalid
            | ErrorKind::InvalidStreamTarget
            | ErrorKind::ForbiddenStreamTarget => Self::BadAddress,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_remedied_has_a_name() {
        for (kind, why) in [
            (ErrorKind::TorAccessFailed, Unreached::NoNetwork),
            (ErrorKind::ClockSkew, Unreached::ClockSkew),
            (ErrorKind::DirectoryExpired, Unreached::Directory),
            (ErrorKind::OnionServiceNotFound, Unreached::NoDescriptor),
            (ErrorKind::OnionServiceMissingClientAuth, Unreached::NotAuthorized),
            (ErrorKind::OnionServiceNotRunning, Unreached::ServiceDown),
            (ErrorKind::Internal, Unreached::Other),
        ] {
            assert_eq!(Unreached::of(kind), why);
        }
    }
}
