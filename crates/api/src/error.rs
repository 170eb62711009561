use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of trouble a request met. The names are part of the API: programs may match on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The request is no JSON-RPC 2.0 request.
    InvalidRequest,
    /// The daemon has no such method; the other role's daemon may have it.
    MethodNotFound,
    /// A parameter is missing, unknown or malformed; the message names it.
    InvalidParams,
    /// What the request is about does not exist.
    NotFound,
    /// As things stand the request makes no sense; the message says why and what to do.
    Refused,
    /// The account has not enough money for it.
    InsufficientFunds,
    /// The chain endpoint does not answer, or answers nonsense.
    ChainUnavailable,
    /// The agent at the other end does not answer, or not as it should.
    PeerUnavailable,
    /// The daemon cannot at present, e.g. while it starts; the same request may succeed later.
    Unavailable,
    /// The daemon failed; its log has more.
    Internal,
    /// A code of a newer daemon.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// The name, as in the error object's `data.code`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::MethodNotFound => "method_not_found",
            Self::InvalidParams => "invalid_params",
            Self::NotFound => "not_found",
            Self::Refused => "refused",
            Self::InsufficientFunds => "insufficient_funds",
            Self::ChainUnavailable => "chain_unavailable",
            Self::PeerUnavailable => "peer_unavailable",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
            Self::Unknown => "unknown",
        }
    }

    /// The number that JSON-RPC asks for beside it.
    pub const fn number(self) -> i32 {
        match self {
            Self::InvalidRequest => -32600,
            Self::MethodNotFound => -32601,
            Self::InvalidParams => -32602,
            Self::Internal | Self::Unknown => -32603,
            Self::NotFound => -32001,
            Self::Refused => -32002,
            Self::InsufficientFunds => -32003,
            Self::ChainUnavailable => -32004,
            Self::Unavailable => -32005,
            Self::PeerUnavailable => -32006,
        }
    }

    /// The code of a JSON-RPC number that comes without a name.
    pub(crate) const fn of_number(number: i64) -> Self {
        match number {
            -32700 | -32600 => Self::InvalidRequest,
            -32601 => Self::MethodNotFound,
            -32602 => Self::InvalidParams,
            -32603 => Self::Internal,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a daemon did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The kind of trouble, for programs.
    pub code: ErrorCode,
    /// Cause and remedy, for people.
    pub message: String,
}

impl Failure {
    /// A failure.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
