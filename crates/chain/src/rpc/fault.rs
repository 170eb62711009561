use std::time::Duration;

use alloy::primitives::Bytes;
use alloy::transports::{RpcError as AlloyError, TransportError, TransportErrorKind};

use super::secrets::Secrets;
use super::transport::with_causes;

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{method} at {endpoint}: {fault}")]
pub struct RpcError {
    /// The JSON-RPC method.
    pub method: &'static str,
    /// The endpoint, without credentials.
    pub endpoint: String,
    /// What went wrong.
    pub fault: Fault,
}

/// What a failed request means for what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No answer at all: connection refused, reset, name unknown, server error.
    #[error("endpoint is unreachable: {0}; check that it runs and that the address is right")]
    Unreachable(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The endpoint wants fewer requests.
    #[error("endpoint limits our request rate; use a plan or a node that allows more")]
    RateLimited {
        /// When it will serve us again, if it says so.
        retry_after: Option<Duration>,
    },
    /// The endpoint wants smaller requests: fewer blocks, fewer logs, less data.
    #[error("endpoint refuses a request of this size: {0}")]
    TooLarge(String),
    /// The endpoint wants other credentials.
    #[error("endpoint refuses our credentials (HTTP {0}); check the key in its address")]
    Unauthorised(u16),
    /// The endpoint sends us to another host, which must not get to see the key in the address.
    #[error(
        "endpoint redirects to {to} (HTTP {status}), which is not followed; if that is right, configure the address it redirects to"
    )]
    Redirected {
        /// The HTTP status.
        status: u16,
        /// Scheme and host of where to.
        to: String,
    },
    /// An answer that is not one.
    #[error("endpoint's answer cannot be read: {0}")]
    Garbage(String),
    /// A well-formed refusal.
    #[error("endpoint refused: {message} (code {code})")]
    Refused {
        /// The JSON-RPC error code.
        code: i64,
        /// Its message.
        message: String,
        /// Revert data, if any.
        data: Option<Bytes>,
    },
}

impl Fault {
    /// Reads an error of alloy's. What the endpoint said is quoted without `secrets`.
    pub(super) fn of(error: &TransportError, secrets: &Secrets) -> Self {
        match error {
            AlloyError::ErrorResp(payload) => {
                Self::of_response(payload.code, &secrets.hide(&payload.message), payload.as_revert_data())
            }
            AlloyError::Transport(kind) => Self::of_transport(kind, secrets),
            AlloyError::DeserError { err, text } => {
                let (err, text) = (secrets.hide(&err.to_string()), &secrets.hide(text));
                // Some gateways answer 200 with a page; some wrap a JSON-RPC error oddly.
                if says_too_large(text) {
                    Self::TooLarge(shorten(text))
                } else {
                    Self::Garbage(shorten(&format!("{err}: {text}")))
                }
            }
            AlloyError::NullResp => Self::Garbage("null where a value was due".to_owned()),
            other => Self::Garbage(shorten(&secrets.hide(&other.to_string()))),
        }
    }

    /// Whether it is an answer about the call that was to be run or estimated: it reverts, or the account cannot pay.
    pub(crate) fn is_about_the_call(&self) -> bool {
        let Self::Refused { message, .. } = self else { return false };
        self.is_revert()
            || says_insufficient_funds(message)
            || contains_any(message, &["exceeds allowance", "intrinsic gas"])
    }

    /// Whether the call reverts.
    pub(crate) fn is_revert(&self) -> bool {
        let Self::Refused { code, message, data } = self else { return false };
        *code == 3 || data.is_some() || contains_any(message, &["revert"])
    }

    /// What a failed call of the endpoint's [`provider`](crate::Endpoint::provider) means, for those who do not have the
    /// endpoint at hand: an answer that cannot be read is not quoted.
    pub fn of_call(error: &TransportError) -> Self {
        match error {
            AlloyError::DeserError { .. } => Self::Garbage("it is of another form than expected".to_owned()),
            other => Self::of(other, &Secrets::default()),
        }
    }

    fn of_transport(kind: &TransportErrorKind, secrets: &Secrets) -> Self {
        let (error, retry_after) = match kind {
            TransportErrorKind::HttpError(error) => (error, None),
            TransportErrorKind::HttpErrorWithRetryAfter { error, retry_after } => (error, Some(*retry_after)),
            TransportErrorKind::BackendGone => return Self::Unreachable("connection lost".to_owned()),
            other => return Self::Unreachable(shorten(&secrets.hide(&with_causes(other)))),
        };
        let body = secrets.hide(&error.body);
        match error.status {
            300..=399 => Self::Redirected { status: error.status, to: shorten(&body) },
            429 => Self::RateLimited { retry_after },
            413 => Self::TooLarge(shorten(&body)),
            401 | 403 => Self::Unauthorised(error.status),
            _ if says_too_large(&body) => Self::TooLarge(shorten(&body)),
            status => Self::Unreachable(format!("HTTP {status}: {}", shorten(&body))),
        }
    }

    /// Reads a JSON-RPC error. Providers agree on nothing here, so the words count more than the code.
    pub(crate) fn of_response(code: i64, message: &str, data: Option<Bytes>) -> Self {
        // What a contract says is not what the endpoint says.
        let reverted = code == 3 || data.is_some() || message.starts_with("execution reverted");
        if reverted {
            Self::Refused { code, message: shorten(message), data }
        } else if says_rate_limited(message) || code == 429 {
            Self::RateLimited { retry_after: None }
        } else if says_too_large(message) {
            Self::TooLarge(shorten(message))
        } else {
            Self::Refused { code, message: shorten(message), data }
        }
    }
}

fn contains_any(text: &str, words: &[&str]) -> bool {
    let text = text.to_ascii_lowercase();
    words.iter().any(|word| text.contains(word))
}

/// How nodes say that an account cannot pay.
pub(crate) const INSUFFICIENT_FUNDS: &[&str] = &[
    "insufficient funds",
    "insufficient balance",
    "overdraws from account",
    "upfront cost",
    "not enough funds",
    "have enough funds",
    "lack of funds",
    "outoffund",
    "out of funds",
];

fn says_insufficient_funds(message: &str) -> bool {
    contains_any(message, INSUFFICIENT_FUNDS)
}

fn says_rate_limited(message: &str) -> bool {
    contains_any(
        message,
        &[
            "rate limit",
            "ratelimit",
            "too many requests",
            "request rate",
            "compute unit",
            "quota",
            "capacity exceeded",
            "requests per second",
        ],
    )
}

fn says_too_large(message: &str) -> bool {
    contains_any(
        message,
        &[
            "block range",
            "blocks range",
            "range is too",
            "range too",
            "range limit",
            "range exceed",
            "exceed maximum block",
            "max range",
            "maximum range",
            "query returned more than",
            "more than 10000 results",
            "too many results",
            "too many logs",
            "max results",
            "response size",
            "response is too big",
            "response too large",
            "query timeout",
            "query exceeds",
            "limit exceeded",
            "limited to",
            "please limit",
            "smaller range",
            "too many blocks",
        ],
    )
}

fn shorten(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_well_known_providers_are_understood() {
        let too_large = [
            (-32602, "eth_getLogs is limited to a 10,000 range"),
            (-32005, "query returned more than 10000 results"),
            (-32000, "exceed maximum block range: 5000"),
            (
                -32600,
                "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range",
            ),
            (-32614, "eth_getLogs and eth_newFilter are limited to a 10,000 blocks range"),
            (-32000, "block range is too wide"),
            (-32005, "limit exceeded"),
            (-32603, "query timeout exceeded"),
        ];
        for (code, message) in too_large {
            assert!(matches!(Fault::of_response(code, message, None), Fault::TooLarge(_)), "{message}");
        }
        let limited = [
            (-32005, "daily request count exceeded, request rate limited"),
            (429, "Your app has exceeded its compute units per second capacity"),
            (-32005, "compute unit quota exceeded"),
            (-32001, "Exceeded the quota usage"),
            (-32017, "sender is over rate limit"),
            (
                -32007,
                "50/second request limit reached - reduce calls per second or upgrade: too many requests",
            ),
        ];
        for (code, message) in limited {
            assert!(
                matches!(Fault::of_response(code, message, None), Fault::RateLimited { .. }),
                "{message}"
            );
        }
    }

    #[test]
    fn a_contracts_words_are_not_taken_for_the_endpoints() {
        for (code, message) in [
            (3, "execution reverted"),
            (3, "rate limit of the vault"),
            (-32000, "execution reverted: supply limit exceeded"),
        ] {
            let fault = Fault::of_response(code, message, None);
            assert!(matches!(fault, Fault::Refused { .. }), "{message}: {fault}");
        }
        let with_data = Fault::of_response(-32015, "too many requests for a refund", Some(Bytes::new()));
        assert!(matches!(with_data, Fault::Refused { .. }), "{with_data}");
    }

    #[test]
    fn long_answers_are_cut_at_a_character_boundary() {
        let long = "ä".repeat(1_000);
        assert_eq!(shorten(&long).chars().count(), 201);
    }
}
