//! Refusals: the protocol's typed errors, the same enum on both sides of the wire.

use std::{borrow::Cow, time::Duration};

use alloy::primitives::Address;
use privatix_channel::{Amount, ChannelId, OfferingHash};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::VersionRange;

/// The longest human text taken from a stranger.
const MAX_TEXT: usize = 256;
/// The longest code taken from a stranger.
const MAX_CODE: usize = 64;

/// Why the other side refused a request or ended the connection.
///
/// On the wire it is a stable [code](Self::code), a message for humans and details for programs. A code that this version
/// does not know is kept as [`Refusal::Other`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// `unknown_channel`: no such channel, or its opening is not confirmed yet.
    #[error("channel {channel} is unknown here; if it was opened just now, wait for its confirmations")]
    UnknownChannel {
        /// The channel asked for.
        channel: ChannelId,
    },
    /// `unknown_offering`: no such offering.
    #[error("offering {offering} is unknown here")]
    UnknownOffering {
        /// The offering asked for.
        offering: OfferingHash,
    },
    /// `wrong_signer`: the signature is not by whom it must be: the channel's signer for a voucher, its client for access.
    #[error(
        "the signature is not by the channel's signer; check the key, the chain and the contract address"
    )]
    WrongSigner,
    /// `stale`: a higher voucher was acknowledged before. Answered only to who presents a valid signature.
    ///
    /// A client that lost an answer learns here what was acknowledged. It must compare this with the highest voucher that
    /// it signed: an agent that claims more is lying.
    #[error("a higher voucher was acknowledged before: {acknowledged}; send one above it")]
    Stale {
        /// The highest cumulative amount acknowledged.
        acknowledged: Amount,
    },
    /// `equal`: this amount was acknowledged before, with another signature. Nothing is lost and nothing was added.
    #[error("a voucher over the same amount was acknowledged before: {acknowledged}")]
    Equal {
        /// The highest cumulative amount acknowledged.
        acknowledged: Amount,
    },
    /// `above_deposit`: the voucher promises more than the channel holds, as far as the agent's chain view goes. The
    /// agent may have kept it: then it pays up to the deposit, and after a top-up the same voucher is acknowledged.
    #[error(
        "the voucher is above the channel's deposit of {deposit}; top up, or wait until the top-up is confirmed"
    )]
    AboveDeposit {
        /// The deposit that the agent knows.
        deposit: Amount,
    },
    /// `expired`: the access request is too old, or the two clocks differ too much. Sign a new one.
    #[error(
        "the access request is {away:?} away from the agent's clock; set the clock and sign a new request"
    )]
    Expired {
        /// How far its time is from the agent's.
        away: Duration,
    },
    /// `replayed`: this access request was answered before. Sign a new one.
    #[error("this access request was answered before; sign a new one")]
    Replayed,
    /// `no_signer`: the channel names no signer, so code of the client's account could void its vouchers. It is not served.
    #[error("channels without a named signer are not served; open one that names the signer of its vouchers")]
    NoSigner,
    /// `channel_closing`: the channel is being closed or is closed.
    #[error("the channel is closing or closed; open another one")]
    ChannelClosing,
    /// `service_terminated`: the service ended; the client should end its side too.
    #[error("the service of this channel has ended")]
    ServiceTerminated,
    /// `not_ready`: what was asked for is still being prepared, or cannot be done now.
    #[error("not ready yet{}; ask again in {retry_after:?}", Unready::because(*.reason))]
    NotReady {
        /// When asking again makes sense.
        retry_after: Duration,
        /// Why, if the other side gave a reason that this version knows.
        reason: Option<Unready>,
    },
    /// `rate_limited`: too many requests. Nothing of this one was processed.
    #[error("too many requests; go on in {retry_after:?}")]
    RateLimited {
        /// When the next request of this kind will be let through.
        retry_after: Duration,
    },
    /// `busy`: the server is at its limit. Nothing of this request was processed.
    #[error("the server is at its limit; try again in {retry_after:?}")]
    Busy {
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// `timeout`: the service did not answer in time. Whether the request had its effect is unknown; repeat it.
    #[error("the service did not answer in time; repeat the request")]
    Timeout,
    /// `too_large`: a message above its kind's limit.
    #[error("a message of {size} bytes is above the limit of {limit}")]
    TooLarge {
        /// Its length in bytes, as announced.
        size: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// `malformed`: not a message of this protocol.
    #[error("malformed message: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// `unknown_method`: a request that this version does not know.
    #[error("method {method:?} is unknown in this version")]
    UnknownMethod {
        /// The method asked for.
        method: String,
    },
    /// `unsupported_version`: no version is spoken by both sides.
    #[error(
        "no common protocol version: the client speaks {client}, the server {server}; update the older one"
    )]
    UnsupportedVersion {
        /// What the client offered.
        client: VersionRange,
        /// What the server speaks.
        server: VersionRange,
    },
    /// `unknown_agent`: the server does not speak for the agent that the client wants.
    #[error("agent {agent} does not answer here")]
    UnknownAgent {
        /// The agent asked for.
        agent: Address,
    },
    /// `not_proved`: the channel is not proved on this connection.
    #[error("the channel is not proved on this connection; prove it with attach first")]
    NotProved,
    /// `session_over`: the key of the session has expired. Connect again.
    #[error("the key of this session has expired; connect again")]
    SessionOver,
    /// `too_slow`: the handshake or a frame was not complete in time.
    #[error("the handshake or a frame was not complete in time")]
    TooSlow,
    /// `idle_timeout`: nothing was asked for a while. Connect again when needed.
    #[error("the connection was idle for too long")]
    IdleTimeout,
    /// `shutting_down`: the server is stopping. What was not answered before was not processed.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// `internal`: the server failed; its log says why. Whether the request had its effect is unknown; repeat it.
    #[error("the server failed; repeat the request later")]
    Internal,
    /// A code from a later version or another implementation, with its message made printable.
    #[error("refused ({code}): {message}")]
    Other {
        /// The code, in `[a-z0-9_]`.
        code: String,
        /// What it says.
        message: String,
    },
}

/// Why something is [not ready](Refusal::NotReady).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unready {
    /// `stale_view`: the server's view of the chain is out of date.
    StaleView,
    /// `unexplained`: the contract holds something of the channel that the events which the server saw do not explain.
    Unexplained,
}

impl Unready {
    /// The reason in words, for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::StaleView => "its view of the chain is out of date",
            Self::Unexplained => "its view of the chain does not explain what the contract holds",
        }
    }

    fn because(reason: Option<Self>) -> String {
        reason.map(|reason| format!(": {}", reason.text())).unwrap_or_default()
    }
}

impl Refusal {
    /// [`NotReady`](Self::NotReady) without a reason.
    pub const fn not_ready(retry_after: Duration) -> Self {
        Self::NotReady { retry_after, reason: None }
    }

    /// The stable code on the wire.
    pub fn code(&self) -> &str {
        match self {
            Self::UnknownChannel { .. } => "unknown_channel",
            Self::UnknownOffering { .. } => "unknown_offering",
            Self::WrongSigner => "wrong_signer",
            Self::Stale { .. } => "stale",
            Self::Equal { .. } => "equal",
            Self::AboveDeposit { .. } => "above_deposit",
            Self::Expired { .. } => "expired",
            Self::Replayed => "replayed",
            Self::NoSigner => "no_signer",
            Self::ChannelClosing => "channel_closing",
            Self::ServiceTerminated => "service_terminated",
            Self::NotReady { .. } => "not_ready",
            Self::RateLimited { .. } => "rate_limited",
            Self::Busy { .. } => "busy",
            Self::Timeout => "timeout",
            Self::TooLarge { .. } => "too_large",
            Self::Malformed { .. } => "malformed",
            Self::UnknownMethod { .. } => "unknown_method",
            Self::UnsupportedVersion { .. } => "unsupported_version",
            Self::UnknownAgent { .. } => "unknown_agent",
            Self::NotProved => "not_proved",
            Self::SessionOver => "session_over",
            Self::TooSlow => "too_slow",
            Self::IdleTimeout => "idle_timeout",
            Self::ShuttingDown => "shutting_down",
            Self::Internal => "internal",
            Self::Other { code, .. } => code,
        }
    }

    /// When trying again makes sense, where the other side said so.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotReady { retry_after, .. }
            | Self::RateLimited { retry_after }
            | Self::Busy { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether the same request may well succeed when it is repeated a little later, with nothing else changed.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::NotReady { .. }
                | Self::RateLimited { .. }
                | Self::Busy { .. }
                | Self::Timeout
                | Self::TooSlow
                | Self::IdleTimeout
                | Self::SessionOver
                | Self::ShuttingDown
                | Self::Internal
        )
    }

    /// Whether it says nothing about this one voucher, so that every lower voucher of the channel would be refused alike.
    pub(crate) const fn holds_for_lower_vouchers(&self) -> bool {
        self.is_transient()
            || matches!(
                self,
                Self::UnknownChannel { .. }
                    | Self::NoSigner
                    | Self::ChannelClosing
                    | Self::ServiceTerminated
                    | Self::Stale { .. }
            )
    }

    pub(crate) fn malformed(reason: impl Into<String>) -> Self {
        Self::Malformed { reason: reason.into() }
    }

    pub(crate) fn too_large(size: usize, limit: usize) -> Self {
        let bytes = |count| u64::try_from(count).unwrap_or(u64::MAX);
        Self::TooLarge { size: bytes(size), limit: bytes(limit) }
    }

    fn details(&self) -> Map<String, Value> {
        let value = match self {
            Self::UnknownChannel { channel } => json!({ "channel": channel }),
            Self::UnknownOffering { offering } => json!({ "offering": offering }),
            Self::Stale { acknowledged } | Self::Equal { acknowledged } => {
                json!({ "acknowledged": acknowledged })
            }
            Self::AboveDeposit { deposit } => json!({ "deposit": deposit }),
            Self::Expired { away } => json!({ "awayMs": millis(*away) }),
            Self::NotReady { retry_after, reason: Some(reason) } => {
                json!({ "retryAfterMs": millis(*retry_after), "reason": reason })
            }
            Self::NotReady { retry_after, reason: None }
            | Self::RateLimited { retry_after }
            | Self::Busy { retry_after } => {
                json!({ "retryAfterMs": millis(*retry_after) })
            }
            Self::TooLarge { size, limit } => json!({ "size": size, "limit": limit }),
            Self::Malformed { reason } => json!({ "reason": printable(reason) }),
            Self::UnknownMethod { method } => json!({ "method": printable(method) }),
            Self::UnsupportedVersion { client, server } => json!({ "client": client, "server": server }),
            Self::UnknownAgent { agent } => json!({ "agent": agent }),
            _ => Value::Null,
        };
        match value {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}

/// Rounded up: one who waits exactly this long must be let through.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// A refusal as it stands on the wire.
#[derive(Serialize, Deserialize)]
pub(crate) struct WireRefusal<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    details: Map<String, Value>,
}

impl<'a> From<&'a Refusal> for WireRefusal<'a> {
    fn from(refusal: &'a Refusal) -> Self {
        let (code, message) = match refusal {
            Refusal::Other { code, message } => (Cow::Owned(identifier(code)), printable(message)),
            refusal => (Cow::Borrowed(refusal.code()), printable(&refusal.to_string())),
        };
        Self { code, message: Cow::Owned(message), details: refusal.details() }
    }
}

/// Everything here was written by a stranger: texts are made printable, and details that do not fit their code make it
/// an [`Refusal::Other`] rather than an error, so that a refusal is never lost over its form.
impl From<WireRefusal<'_>> for Refusal {
    fn from(wire: WireRefusal<'_>) -> Self {
        known(&wire.code, &wire.details).unwrap_or_else(|| Self::Other {
            code: identifier(&wire.code),
            message: printable(&wire.message),
        })
    }
}

fn known(code: &str, details: &Map<String, Value>) -> Option<Refusal> {
    fn field<T: serde::de::DeserializeOwned>(details: &Map<String, Value>, name: &str) -> Option<T> {
        details.get(name).and_then(|value| T::deserialize(value).ok())
    }
    let retry_after = || field(details, "retryAfterMs").map(Duration::from_millis);
    let text = |name| field::<String>(details, name).map(|text| printable(&text));
    Some(match code {
        "unknown_channel" => Refusal::UnknownChannel { channel: field(details, "channel")? },
        "unknown_offering" => Refusal::UnknownOffering { offering: field(details, "offering")? },
        "wrong_signer" => Refusal::WrongSigner,
        "stale" => Refusal::Stale { acknowledged: field(details, "acknowledged")? },
        "equal" => Refusal::Equal { acknowledged: field(details, "acknowledged")? },
        "above_deposit" => Refusal::AboveDeposit { deposit: field(details, "deposit")? },
        "expired" => Refusal::Expired { away: field(details, "awayMs").map(Duration::from_millis)? },
        "replayed" => Refusal::Replayed,
        "no_signer" => Refusal::NoSigner,
        "channel_closing" => Refusal::ChannelClosing,
        "service_terminated" => Refusal::ServiceTerminated,
        "not_ready" => Refusal::NotReady { retry_after: retry_after()?, reason: field(details, "reason") },
        "rate_limited" => Refusal::RateLimited { retry_after: retry_after()? },
        "busy" => Refusal::Busy { retry_after: retry_after()? },
        "timeout" => Refusal::Timeout,
        "too_large" => Refusal::TooLarge { size: field(details, "size")?, limit: field(details, "limit")? },
        "malformed" => Refusal::Malformed { reason: text("reason")? },
        "unknown_method" => Refusal::UnknownMethod { method: text("method")? },
        "unsupported_version" => Refusal::UnsupportedVersion {
            client: field(details, "client")?,
            server: field(details, "server")?,
        },
        "unknown_agent" => Refusal::UnknownAgent { agent: field(details, "agent")? },
        "not_proved" => Refusal::NotProved,
        "session_over" => Refusal::SessionOver,
        "too_slow" => Refusal::TooSlow,
        "idle_timeout" => Refusal::IdleTimeout,
        "shutting_down" => Refusal::ShuttingDown,
        "internal" => Refusal::Internal,
        _ => return None,
    })
}

/// A stranger's text, safe to show: short, on one line, nothing that a terminal obeys or that reorders what is read.
pub(crate) fn printable(text: &str) -> String {
    let visible = |c: char| {
        let reorders = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if c.is_control() || reorders { '\u{fffd}' } else { c }
    };
    text.chars().take(MAX_TEXT).map(visible).collect()
}

fn identifier(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.chars().take(MAX_CODE).map(|c| if allowed(c) { c } else { '_' }).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use alloy::primitives::B256;
    use proptest::prelude::*;

    use super::*;

    fn wire(refusal: &Refusal) -> String {
        serde_json::to_string(&WireRefusal::from(refusal)).unwrap()
    }

    fn read(text: &str) -> Refusal {
        serde_json::from_str::<WireRefusal<'_>>(text).unwrap().into()
    }

    /// One of each.
    pub(crate) fn every_refusal() -> Vec<Refusal> {
        let retry_after = Duration::from_millis(250);
        let acknowledged = Amount::new(u128::MAX);
        vec![
            Refusal::UnknownChannel { channel: ChannelId::new(B256::repeat_byte(1)) },
            Refusal::UnknownOffering { offering: OfferingHash::new(B256::repeat_byte(2)) },
            Refusal::WrongSigner,
            Refusal::Stale { acknowledged },
            Refusal::Equal { acknowledged },
            Refusal::AboveDeposit { deposit: Amount::new(5) },
            Refusal::Expired { away: Duration::from_secs(90) },
            Refusal::Replayed,
            Refusal::NoSigner,
            Refusal::ChannelClosing,
            Refusal::ServiceTerminated,
            Refusal::NotReady { retry_after, reason: Some(Unready::StaleView) },
            Refusal::RateLimited { retry_after },
            Refusal::Busy { retry_after },
            Refusal::Timeout,
            Refusal::too_large(5000, 4096),
            Refusal::malformed("it is not JSON"),
            Refusal::UnknownMethod { method: "steal".into() },
            Refusal::UnsupportedVersion {
                client: VersionRange::new(7, 9).unwrap(),
                server: VersionRange::new(1, 1).unwrap(),
            },
            Refusal::UnknownAgent { agent: Address::repeat_byte(3) },
            Refusal::NotProved,
            Refusal::SessionOver,
            Refusal::TooSlow,
            Refusal::IdleTimeout,
            Refusal::ShuttingDown,
            Refusal::Internal,
            Refusal::Other { code: "moved".into(), message: "look elsewhere".into() },
        ]
    }

    #[test]
    fn every_refusal_reads_back_what_it_writes_and_has_its_own_code() {
        let mut codes = std::collections::BTreeSet::new();
        for refusal in every_refusal() {
            assert_eq!(read(&wire(&refusal)), refusal);
            assert!(codes.insert(refusal.code().to_owned()), "{refusal}");
        }
    }

    #[test]
    fn a_reason_that_is_not_known_is_none() {
        let retry_after = Duration::from_secs(30);
        for (written, reason) in [
            (json!("stale_view"), Some(Unready::StaleView)),
            (json!("unexplained"), Some(Unready::Unexplained)),
            (json!("out_of_coffee"), None),
            (json!(5), None),
            (Value::Null, None),
        ] {
            let details = json!({ "retryAfterMs": 30_000, "reason": written });
            let refusal = read(&json!({ "code": "not_ready", "details": details }).to_string());
            assert_eq!(refusal, Refusal::NotReady { retry_after, reason });
            assert_eq!(read(&wire(&refusal)), refusal);
        }
        assert_eq!(wire(&Refusal::not_ready(retry_after)).matches("reason").count(), 0);
    }

    #[test]
    fn a_wait_is_rounded_up() {
        let text = wire(&Refusal::Busy { retry_after: Duration::from_nanos(1_000_001) });
        assert_eq!(read(&text), Refusal::Busy { retry_after: Duration::from_millis(2) });
    }

    #[test]
    fn a_refusal_is_never_lost_over_its_form() {
        let other = |code: &str, message: &str| Refusal::Other { code: code.into(), message: message.into() };
        assert_eq!(
            read(r#"{"code":"stale","message":"m","details":{"acknowledged":-5}}"#),
            other("stale", "m")
        );
        assert_eq!(read(r#"{"code":"stale"}"#), other("stale", ""));
        assert_eq!(read(r#"{"code":"Odd Code\n","future":[1]}"#), other("_dd__ode_", ""));
    }

    #[test]
    fn a_strangers_text_cannot_command_a_terminal() {
        let text = r#"{"code":"x","message":"\u001b[2Jgone\r\nlevel=info \u202etxt.exe"}"#;
        let Refusal::Other { message, .. } = read(text) else { panic!("not other") };
        assert_eq!(message, "\u{fffd}[2Jgone\u{fffd}\u{fffd}level=info \u{fffd}txt.exe");
        let reason = format!(r#"{{"code":"malformed","details":{{"reason":"{}"}}}}"#, "x".repeat(5_000));
        assert_eq!(read(&reason), Refusal::malformed("x".repeat(MAX_TEXT)));
    }

    proptest! {
        #[test]
        fn any_code_message_and_details_give_a_refusal(
            code in ".*", message in ".*", name in "[a-z_]{0,16}", value in ".*",
        ) {
            let text = json!({ "code": code, "message": message, "details": { name: value } }).to_string();
            let refusal = read(&text);
            prop_assert!(!refusal.to_string().chars().any(char::is_control));
        }
    }
}
