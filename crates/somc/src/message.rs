//! Messages: what the frames hold, decoded and encoded. Nothing here does I/O.

use std::{borrow::Cow, fmt};

use alloy::hex;
use bytes::BytesMut;
use privatix_channel::{
    AgentView, Amount, ChannelId, OfferingHash, SignedVoucher, Usage, Voucher, VoucherSignature,
};
use privatix_offering::{
    AccessRequest, ChannelProof, DescribedAccessRequest, KeyBinding, MAX_ACCESS_SIZE, MAX_OFFERING_SIZE,
    SealedAccess, SignedReceipt, VersionRange,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    Notice, NumberedAccess, Paid, Refusal, Standing,
    frame::{self, Oversized},
    refusal::{WireRefusal, printable},
    service::Payment,
};

/// What a hello calls the protocol, so that a stray client of another one learns what is wrong.
pub(crate) const PROTOCOL: &str = "privatix-somc";
/// The versions that are spoken in clear.
pub(crate) const VERSIONS: VersionRange = VersionRange::exactly(1);
/// The longest hello in bytes, either way.
pub(crate) const MAX_HELLO: usize = 1024;
/// The longest refusal in bytes, with or without a request's id.
pub(crate) const MAX_REFUSAL: usize = 8 * 1024;
/// How deep arrays and objects may nest in a message.
pub(crate) const MAX_DEPTH: usize = 16;

/// What a client can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Method {
    /// Whether the agent answers.
    Ping,
    /// An offering message by its hash.
    Offering,
    /// The sealed access of a channel.
    Access,
    /// To take a voucher.
    Pay,
    /// Where a channel stands, for whoever proves that it is his. In sessions only.
    Attach,
    /// The same, signed, of a channel that is proved on the connection. In sessions only.
    Receipt,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Ping, Self::Offering, Self::Access, Self::Pay, Self::Attach, Self::Receipt];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Offering => "offering",
            Self::Access => "access",
            Self::Pay => "pay",
            Self::Attach => "attach",
            Self::Receipt => "receipt",
        }
    }

    /// The first version of the protocol that has it.
    pub const fn since(self) -> u16 {
        match self {
            Self::Ping | Self::Offering | Self::Access | Self::Pay => 1,
            Self::Attach | Self::Receipt => 2,
        }
    }

    fn named(name: &str, version: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name && method.since() <= version)
    }

    /// What a request counts for in the limits on rates and on requests in flight: by the size of the answer and the
    /// work for it.
    pub const fn cost(self) -> u32 {
        match self {
            Self::Ping | Self::Pay => 1,
            Self::Offering | Self::Access | Self::Attach | Self::Receipt => 16,
        }
    }

    /// The longest request in bytes, its envelope included.
    pub const fn max_request(self) -> usize {
        match self {
            Self::Ping | Self::Receipt => 256,
            Self::Offering | Self::Attach => 512,
            Self::Access => 10_240,
            Self::Pay => 1024,
        }
    }

    /// The longest request in bytes in this version: in clear, access is asked for without a descriptor and data.
    const fn max_request_of(self, version: u16) -> usize {
        match self {
            Self::Access if version < DESCRIBED_SINCE => 2048,
            method => method.max_request(),
        }
    }

    /// The longest answer in bytes, its envelope included. A refusal can always be of 8,192 bytes.
    pub const fn max_answer(self) -> usize {
        match self {
            Self::Ping => 256,
            Self::Offering => 2 * MAX_OFFERING_SIZE + 512,
            // The ciphertext is 16 bytes longer than the message.
            Self::Access => 2 * (MAX_ACCESS_SIZE + 16) + 2048,
            Self::Pay | Self::Attach | Self::Receipt => 1024,
        }
    }
}

/// The first version in which access is asked for with the channel's descriptor.
const DESCRIBED_SINCE: u16 = 2;

/// The longest notice in bytes.
pub(crate) const MAX_NOTICE: usize = 1024;

/// The longest request of any method of this version.
pub(crate) fn max_request(version: u16) -> usize {
    let methods = Method::ALL.into_iter().filter(|method| method.since() <= version);
    methods.map(|method| method.max_request_of(version)).max().unwrap_or_default()
}

/// The longest frame that a server sends.
pub(crate) fn max_server_frame() -> usize {
    Method::ALL.into_iter().map(Method::max_answer).max().unwrap_or_default().max(MAX_REFUSAL)
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What names a request within its connection; the answer repeats it.
pub(crate) type RequestId = u64;

/// A request with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Ping,
    Offering(OfferingHash),
    /// In clear.
    Access(Box<AccessRequest>),
    /// In a session.
    DescribedAccess(Box<DescribedAccessRequest>),
    Pay(Payment),
    Attach(ChannelProof),
    Receipt(ChannelId),
}

impl Request {
    pub(crate) const fn method(&self) -> Method {
        match self {
            Self::Ping => Method::Ping,
            Self::Offering(_) => Method::Offering,
            Self::Access(_) | Self::DescribedAccess(_) => Method::Access,
            Self::Pay(_) => Method::Pay,
            Self::Attach(_) => Method::Attach,
            Self::Receipt(_) => Method::Receipt,
        }
    }
}

/// An answer with its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Pong,
    Offering(Vec<u8>),
    Access(Box<SealedAccess>),
    /// To a request in a session.
    NumberedAccess(Box<NumberedAccess>),
    Paid(Paid),
    /// To a payment for a channel that is proved.
    PaidAttached(Box<Standing>),
    Attached(Box<Standing>),
    Receipt(Box<SignedReceipt>),
}

impl Answer {
    const fn method(&self) -> Method {
        match self {
            Self::Pong => Method::Ping,
            Self::Offering(_) => Method::Offering,
            Self::Access(_) | Self::NumberedAccess(_) => Method::Access,
            Self::Paid(_) | Self::PaidAttached(_) => Method::Pay,
            Self::Attached(_) => Method::Attach,
            Self::Receipt(_) => Method::Receipt,
        }
    }
}

// ---------------------------------------------------------------- the forms on the wire

#[derive(Serialize, Deserialize)]
pub(crate) struct ClientHello<'a> {
    #[serde(borrow)]
    pub(crate) protocol: Cow<'a, str>,
    pub(crate) versions: VersionRange,
}

/// The server's half of the handshake: the version chosen, and what the client should know of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServerHello {
    pub(crate) version: u16,
    pub(crate) max_in_flight: u32,
    pub(crate) idle_timeout_ms: u64,
}

/// The server's half of a handshake that begins a session: the same, and its agent's word about the key of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionHello {
    #[serde(flatten)]
    pub(crate) server: ServerHello,
    pub(crate) key: KeyBinding,
}

#[derive(Serialize, Deserialize)]
struct HelloFrame<T> {
    hello: T,
}

#[derive(Serialize)]
struct RequestFrame<'a, P> {
    id: RequestId,
    method: Method,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a P>,
}

#[derive(Deserialize)]
struct RawRequest<'a> {
    id: RequestId,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Serialize, Deserialize)]
struct Empty {}

#[derive(Serialize, Deserialize)]
struct OfferingParams {
    hash: OfferingHash,
}

#[derive(Serialize, Deserialize)]
struct OfferingResult<'a> {
    /// `0x` and hexadecimal digits.
    #[serde(borrow)]
    bytes: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct PayParams {
    channel: ChannelId,
    cumulative: Amount,
    signature: VoucherSignature,
    /// In sessions only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used: Option<Usage>,
}

#[derive(Serialize, Deserialize)]
struct ReceiptParams {
    channel: ChannelId,
}

/// What an agent acknowledges; the rest only of a channel that is proved.
#[derive(Serialize, Deserialize)]
struct StandingResult {
    cumulative: Amount,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    view: Option<AgentView>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    voucher: Option<WireVoucher>,
}

#[derive(Serialize, Deserialize)]
struct WireVoucher {
    cumulative: Amount,
    signature: VoucherSignature,
}

impl From<&Standing> for StandingResult {
    fn from(standing: &Standing) -> Self {
        let Standing { cumulative, view, voucher } = *standing;
        let voucher = voucher.map(|(cumulative, signature)| WireVoucher { cumulative, signature });
        Self { cumulative, view: Some(view), voucher }
    }
}

impl StandingResult {
    fn standing(self) -> Option<Standing> {
        let voucher = self.voucher.map(|voucher| (voucher.cumulative, voucher.signature));
        self.view.map(|view| Standing { cumulative: self.cumulative, view, voucher })
    }
}

#[derive(Serialize)]
struct NoticeFrame<'a> {
    notice: &'a Notice,
}

#[derive(Serialize)]
struct AnswerFrame<'a, R> {
    id: RequestId,
    ok: &'a R,
}

#[derive(Serialize)]
struct RefusalFrame<'a> {
    id: RequestId,
    error: WireRefusal<'a>,
}

#[derive(Serialize)]
struct ByeFrame<'a> {
    bye: WireRefusal<'a>,
}

#[derive(Deserialize)]
struct RawServerFrame<'a> {
    id: Option<RequestId>,
    #[serde(borrow)]
    ok: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<WireRefusal<'a>>,
    #[serde(borrow)]
    bye: Option<WireRefusal<'a>>,
    hello: Option<ServerHello>,
    notice: Option<Notice>,
}

// ---------------------------------------------------------------- decoding

/// Reads JSON that a stranger wrote.
fn read<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, String> {
    if too_deep(body) {
        return Err(format!("it nests deeper than {MAX_DEPTH} levels"));
    }
    serde_json::from_slice(body).map_err(|error| printable(&error.to_string()))
}

/// Whether arrays and objects nest too deep. Checked in one pass before parsing, which could recurse.
fn too_deep(body: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in body {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// The client's hello, or what to refuse the connection with.
pub(crate) fn decode_client_hello(body: &[u8]) -> Result<VersionRange, Refusal> {
    let frame: HelloFrame<ClientHello<'_>> = read(body)
        .map_err(|error| Refusal::malformed(format!("the first message must be a hello: {error}")))?;
    if frame.hello.protocol != PROTOCOL {
        return Err(Refusal::malformed(format!("the hello is not for protocol {PROTOCOL}")));
    }
    Ok(frame.hello.versions)
}

/// A request of this version, or what to answer instead. `Err` when there is not even an id to answer to: the connection must end.
pub(crate) fn decode_request(
    body: &[u8],
    version: u16,
) -> Result<(RequestId, Result<Request, Refusal>), Refusal> {
    let raw: RawRequest<'_> =
        read(body).map_err(|error| Refusal::malformed(format!("it is not a request: {error}")))?;
    Ok((raw.id, decode_params(&raw, body.len(), version)))
}

fn decode_params(raw: &RawRequest<'_>, length: usize, version: u16) -> Result<Request, Refusal> {
    let Some(method) = Method::named(&raw.method, version) else {
        return Err(Refusal::UnknownMethod { method: printable(&raw.method) });
    };
    let limit = method.max_request_of(version);
    if length > limit {
        return Err(Refusal::too_large(length, limit));
    }
    match method {
        Method::Ping => Ok(Request::Ping),
        Method::Offering => params::<OfferingParams>(raw).map(|params| Request::Offering(params.hash)),
        Method::Access if version < DESCRIBED_SINCE => {
            params(raw).map(|request| Request::Access(Box::new(request)))
        }
        Method::Access => params(raw).map(|request| Request::DescribedAccess(Box::new(request))),
        Method::Pay => params::<PayParams>(raw).map(|PayParams { channel, cumulative, signature, used }| {
            let voucher = SignedVoucher { voucher: Voucher { channel, cumulative }, signature };
            Request::Pay(Payment { voucher, used: used.filter(|_| version >= Method::Attach.since()) })
        }),
        Method::Attach => params(raw).map(Request::Attach),
        Method::Receipt => params::<ReceiptParams>(raw).map(|params| Request::Receipt(params.channel)),
    }
}

fn params<T: DeserializeOwned>(raw: &RawRequest<'_>) -> Result<T, Refusal> {
    let text = raw.params.map_or("null", RawValue::get);
    serde_json::from_str(text).map_err(|error| {
        Refusal::malformed(format!("params of {}: {}", raw.method, printable(&error.to_string())))
    })
}

/// What a server sent.
#[derive(Debug)]
pub(crate) enum ServerFrame {
    Hello(ServerHello),
    Answer { id: RequestId, answer: Result<Box<RawValue>, Refusal> },
    Bye(Refusal),
    Notice(Notice),
}

/// What a server sent, or what is wrong with it.
pub(crate) fn decode_server_frame(body: &[u8]) -> Result<ServerFrame, String> {
    let raw: RawServerFrame<'_> = read(body)?;
    match raw {
        RawServerFrame { id: Some(id), ok: Some(ok), error: None, bye: None, hello: None, notice: None } => {
            Ok(ServerFrame::Answer { id, answer: Ok(ok.to_owned()) })
        }
        RawServerFrame {
            id: Some(id),
            ok: None,
            error: Some(error),
            bye: None,
            hello: None,
            notice: None,
        } => Ok(ServerFrame::Answer { id, answer: Err(error.into()) }),
        RawServerFrame { id: None, ok: None, error: None, bye: Some(bye), hello: None, notice: None } => {
            Ok(ServerFrame::Bye(bye.into()))
        }
        RawServerFrame { id: None, ok: None, error: None, bye: None, hello: Some(hello), notice: None } => {
            Ok(ServerFrame::Hello(hello))
        }
        RawServerFrame { id: None, ok: None, error: None, bye: None, hello: None, notice: Some(notice) } => {
            Ok(ServerFrame::Notice(notice))
        }
        _ => Err("it is neither a hello, an answer, a notice nor a bye".to_owned()),
    }
}

/// The result of an answer to a request of `method`.
pub(crate) fn decode_answer(method: Method, result: &RawValue) -> Result<Answer, String> {
    fn result_of<'de, T: Deserialize<'de>>(result: &'de RawValue) -> Result<T, String> {
        serde_json::from_str(result.get()).map_err(|error| printable(&error.to_string()))
    }
    if result.get().len() > method.max_answer() {
        return Err(format!(
            "an answer of {} bytes is above the limit of {}",
            result.get().len(),
            method.max_answer()
        ));
    }
    Ok(match method {
        Method::Ping => result_of::<Empty>(result).map(|Empty {}| Answer::Pong)?,
        Method::Offering => {
            let OfferingResult { bytes } = result_of(result)?;
            let digits = bytes.strip_prefix("0x").ok_or("bytes do not start with 0x")?;
            Answer::Offering(hex::decode(digits).map_err(|error| format!("bytes: {error}"))?)
        }
        Method::Access => match serde_json::from_str(result.get()) {
            Ok(numbered) => Answer::NumberedAccess(Box::new(numbered)),
            Err(_) => Answer::Access(result_of(result)?), // of version 1, or what is wrong with it
        },
        Method::Pay => {
            let paid: StandingResult = result_of(result)?;
            let cumulative = paid.cumulative;
            paid.standing().map_or(Answer::Paid(Paid { cumulative }), |standing| {
                Answer::PaidAttached(Box::new(standing))
            })
        }
        Method::Attach => {
            let attached = result_of::<StandingResult>(result)?.standing();
            Answer::Attached(Box::new(attached.ok_or("it has no view")?))
        }
        Method::Receipt => Answer::Receipt(result_of(result)?),
    })
}

// ---------------------------------------------------------------- encoding

pub(crate) fn put_client_hello(out: &mut BytesMut, versions: VersionRange) -> Result<(), Oversized> {
    let hello = ClientHello { protocol: Cow::Borrowed(PROTOCOL), versions };
    frame::put(out, &HelloFrame { hello }, MAX_HELLO)
}

pub(crate) fn put_server_hello(out: &mut BytesMut, hello: ServerHello) -> Result<(), Oversized> {
    frame::put(out, &HelloFrame { hello }, MAX_HELLO)
}

/// What a server's half of a handshake carries.
pub(crate) fn session_hello(hello: SessionHello) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&HelloFrame { hello })
}

/// What a server's half of a handshake carries, or what is wrong with it.
pub(crate) fn decode_session_hello(payload: &[u8]) -> Result<SessionHello, String> {
    read::<HelloFrame<SessionHello>>(payload).map(|frame| frame.hello)
}

pub(crate) fn put_request(out: &mut BytesMut, id: RequestId, request: &Request) -> Result<(), Oversized> {
    fn put<P: Serialize>(
        out: &mut BytesMut,
        id: RequestId,
        method: Method,
        params: Option<&P>,
    ) -> Result<(), Oversized> {
        frame::put(out, &RequestFrame { id, method, params }, method.max_request())
    }
    let method = request.method();
    match request {
        Request::Ping => put::<Empty>(out, id, method, None),
        Request::Offering(hash) => put(out, id, method, Some(&OfferingParams { hash: *hash })),
        Request::Access(request) => put(out, id, method, Some(request)),
        Request::DescribedAccess(request) => put(out, id, method, Some(request)),
        Request::Pay(Payment { voucher: signed, used }) => {
            let Voucher { channel, cumulative } = signed.voucher;
            let params = PayParams { channel, cumulative, signature: signed.signature, used: *used };
            put(out, id, method, Some(&params))
        }
        Request::Attach(proof) => put(out, id, method, Some(proof)),
        Request::Receipt(channel) => put(out, id, method, Some(&ReceiptParams { channel: *channel })),
    }
}

pub(crate) fn put_answer(out: &mut BytesMut, id: RequestId, answer: &Answer) -> Result<(), Oversized> {
    fn put<R: Serialize>(out: &mut BytesMut, id: RequestId, method: Method, ok: &R) -> Result<(), Oversized> {
        frame::put(out, &AnswerFrame { id, ok }, method.max_answer())
    }
    let method = answer.method();
    match answer {
        Answer::Pong => put(out, id, method, &Empty {}),
        Answer::Offering(bytes) => {
            put(out, id, method, &OfferingResult { bytes: Cow::Owned(hex::encode_prefixed(bytes)) })
        }
        Answer::Access(sealed) => put(out, id, method, sealed),
        Answer::NumberedAccess(numbered) => put(out, id, method, numbered),
        Answer::Paid(paid) => put(out, id, method, paid),
        Answer::PaidAttached(standing) | Answer::Attached(standing) => {
            put(out, id, method, &StandingResult::from(&**standing))
        }
        Answer::Receipt(receipt) => put(out, id, method, receipt),
    }
}

pub(crate) fn put_notice(out: &mut BytesMut, notice: &Notice) -> Result<(), Oversized> {
    frame::put(out, &NoticeFrame { notice }, MAX_NOTICE)
}

pub(crate) fn put_refusal(out: &mut BytesMut, id: RequestId, refusal: &Refusal) -> Result<(), Oversized> {
    frame::put(out, &RefusalFrame { id, error: refusal.into() }, MAX_REFUSAL)
}

pub(crate) fn put_bye(out: &mut BytesMut, refusal: &Refusal) -> Result<(), Oversized> {
    frame::put(out, &ByeFrame { bye: refusal.into() }, MAX_REFUSAL)
}

#[cfg(test)]
mod tests;
