//! The proxy's own answers: short texts that name what is wrong. Each ends its connection.

use crate::channel::NotAdmitted;
use crate::front::{DialError, LoginRefused, Refused};

/// The statuses that the proxy itself answers with (RFC 9110 §15, RFC 6585).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    BadRequest,
    Forbidden,
    LoginRequired,
    RequestTimeout,
    TooManyRequests,
    HeadTooLarge,
    BadGateway,
    Unavailable,
    GatewayTimeout,
    VersionNotSupported,
}

impl Status {
    const fn line(self) -> &'static str {
        match self {
            Self::BadRequest => "400 Bad Request",
            Self::Forbidden => "403 Forbidden",
            Self::LoginRequired => "407 Proxy Authentication Required",
            Self::RequestTimeout => "408 Request Timeout",
            Self::TooManyRequests => "429 Too Many Requests",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::BadGateway => "502 Bad Gateway",
            Self::Unavailable => "503 Service Unavailable",
            Self::GatewayTimeout => "504 Gateway Timeout",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

impl From<&LoginRefused> for Status {
    fn from(refused: &LoginRefused) -> Self {
        match refused {
            LoginRefused::Wrong => Self::LoginRequired,
            LoginRefused::Throttled => Self::TooManyRequests,
            LoginRefused::Full => Self::Unavailable,
        }
    }
}

impl From<&Refused> for Status {
    fn from(refused: &Refused) -> Self {
        match refused {
            Refused::NotAdmitted(NotAdmitted::TooMany(_)) => Self::TooManyRequests,
            Refused::NotAdmitted(NotAdmitted::Stopped(_)) => Self::Forbidden,
            Refused::Suspended => Self::Unavailable,
            Refused::Dial(error) => match error {
                DialError::NotAllowed(_) | DialError::OwnMachine | DialError::RefusedByAgent => {
                    Self::Forbidden
                }
                DialError::TimedOut => Self::GatewayTimeout,
                DialError::TooManyLookups => Self::Unavailable,
                DialError::Unresolved(_)
                | DialError::Refused
                | DialError::Unreachable(_)
                | DialError::Agent(_)
                | DialError::AgentLogin
                | DialError::AgentFailed => Self::BadGateway,
            },
        }
    }
}

/// An answer that refuses, with its reason as text. The answer to HEAD has none (RFC 9110 §9.3.2).
pub(super) fn refusal(status: Status, reason: &str, to_head: bool) -> Vec<u8> {
    let line = status.line();
    let login = match status {
        Status::LoginRequired => "Proxy-Authenticate: Basic realm=\"channel\", charset=\"UTF-8\"\r\n",
        _ => "",
    };
    let (length, text) = (reason.len() + 1, if to_head { String::new() } else { format!("{reason}\n") });
    format!(
        "HTTP/1.1 {line}\r\n{login}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{text}"
    )
    .into_bytes()
}

/// The answer to CONNECT: what follows its head is the tunnel, so it has no length (RFC 9110 §9.3.6).
pub(super) const TUNNEL: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
