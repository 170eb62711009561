//! What can go wrong for a client.

use std::{io, sync::Arc, time::Duration};

use privatix_net::SocksError;
use privatix_offering::BindingError;

use crate::{Method, Refusal, SomcAddress, TransportError, VersionRange};

/// Why a client has no answer, or has one that is a refusal.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no connection.
    #[error(transparent)]
    Transport(Arc<TransportError>),
    /// The server did not take the connection and say hello in time.
    #[error("{address} did not answer within {after:?}; the agent may be offline, try again later")]
    ConnectTimeout {
        /// Who was asked.
        address: SomcAddress,
        /// The time given.
        after: Duration,
    },
    /// None of the agent's addresses led to it.
    #[error("the agent is reached at none of its addresses: {}", joined(.0))]
    NoneReached(Arc<[ClientError]>),
    /// No version is spoken by both sides.
    #[error("the agent speaks protocol version {theirs}, this program {ours}; update the older one")]
    Version {
        /// What this crate speaks.
        ours: VersionRange,
        /// What the server speaks.
        theirs: VersionRange,
    },
    /// Whoever answers at the agent's address refused before it had proved to be the agent. It may be anybody on the way.
    #[error("whoever answers for the agent refused before it proved to be the agent: {refusal}")]
    Unauthenticated {
        /// The unproved word.
        refusal: Refusal,
    },
    /// Whoever answers at the agent's address began no session as the protocol has it. It may be anybody on the way.
    #[error("whoever answers for the agent began no session: {reason}")]
    Handshake {
        /// What it did.
        reason: String,
    },
    /// Whoever answers at the agent's address did not prove to be the agent.
    #[error("the agent is not reached: {0}")]
    Binding(#[source] BindingError),
    /// No version that may be spoken with the agent is one of this crate's. Nobody was asked.
    #[error("versions {permitted} are permitted with this agent, and this program speaks {spoken}")]
    NonePermitted {
        /// What may be spoken with it.
        permitted: VersionRange,
        /// What this crate speaks.
        spoken: VersionRange,
    },
    /// The server refused the request.
    #[error("the agent refused: {0}")]
    Refused(#[source] Refusal),
    /// The server ended the connection, or did not even open it, with this last word. It did not process the request.
    #[error("the agent ended the connection: {0}")]
    Bye(#[source] Refusal),
    /// The connection ended before the answer. Whether the request had its effect is unknown.
    #[error("the connection to the agent ended before the answer: {reason}")]
    Lost {
        /// What is known about the end.
        reason: String,
    },
    /// No answer in time. Whether the request had its effect is unknown.
    #[error("no answer to {method} within {after:?}")]
    Timeout {
        /// What was asked.
        method: Method,
        /// The time given.
        after: Duration,
    },
    /// The server does not keep to the protocol.
    #[error("the agent does not keep to the protocol: {reason}")]
    Protocol {
        /// What it did.
        reason: String,
    },
    /// The request is above its kind's limit and was not sent.
    #[error("a {method} request of {length} bytes is above the limit of {limit}")]
    TooLarge {
        /// What was to be asked.
        method: Method,
        /// Its length in bytes.
        length: usize,
        /// The most that may be sent.
        limit: usize,
    },
    /// The connection was closed from this side.
    #[error("this connection was closed; connect again")]
    Closed,
}

impl ClientError {
    /// What the server said, if it said anything.
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) | Self::Bye(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether the request certainly had no effect. When not, it may have had it, and only its answer was lost.
    pub fn is_unprocessed(&self) -> bool {
        match self {
            Self::Transport(_)
            | Self::ConnectTimeout { .. }
            | Self::NoneReached(_)
            | Self::Version { .. }
            | Self::NonePermitted { .. }
            | Self::Unauthenticated { .. }
            | Self::Handshake { .. }
            | Self::Binding(_)
            | Self::Bye(_)
            | Self::TooLarge { .. } => true,
            Self::Refused(refusal) => !matches!(refusal, Refusal::Timeout | Refusal::Internal),
            Self::Lost { .. } | Self::Timeout { .. } | Self::Protocol { .. } | Self::Closed => false,
        }
    }

    /// Whether the same request may well succeed when it is repeated, on a new connection where this one ended.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport(_)
            | Self::ConnectTimeout { .. }
            | Self::Unauthenticated { .. }
            | Self::Handshake { .. }
            | Self::Binding(_)
            | Self::Lost { .. }
            | Self::Timeout { .. } => true,
            Self::NoneReached(failures) => failures.iter().any(Self::is_transient),
            Self::Refused(refusal) | Self::Bye(refusal) => refusal.is_transient(),
            Self::Version { .. }
            | Self::NonePermitted { .. }
            | Self::Protocol { .. }
            | Self::TooLarge { .. }
            | Self::Closed => false,
        }
    }

    /// Whether it is this side that has no connection to the network that agents are reached over: nothing is known of the
    /// agent then.
    pub fn is_offline(&self) -> bool {
        match self {
            Self::Transport(error) => matches!(
                &**error,
                TransportError::Offline(_) | TransportError::Socks { source: SocksError::Unreachable(_), .. }
            ),
            Self::NoneReached(failures) => failures.iter().all(Self::is_offline),
            _ => false,
        }
    }

    /// Whether a dial failed with this because of the address: nobody answered there, or somebody who is not the agent.
    /// Another address of the agent may still work.
    pub(crate) const fn is_of_address(&self) -> bool {
        matches!(
            self,
            Self::Transport(_)
                | Self::ConnectTimeout { .. }
                | Self::Unauthenticated { .. }
                | Self::Handshake { .. }
                | Self::Binding(_)
                | Self::Lost { .. }
                | Self::Protocol { .. }
        )
    }

    pub(crate) fn protocol(reason: impl Into<String>) -> Self {
        Self::Protocol { reason: reason.into() }
    }

    pub(crate) fn handshake(reason: impl Into<String>) -> Self {
        Self::Handshake { reason: reason.into() }
    }

    pub(crate) fn lost(error: &io::Error) -> Self {
        Self::Lost { reason: error.to_string() }
    }
}

impl From<TransportError> for ClientError {
    fn from(error: TransportError) -> Self {
        Self::Transport(Arc::new(error))
    }
}

fn joined(failures: &[ClientError]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
