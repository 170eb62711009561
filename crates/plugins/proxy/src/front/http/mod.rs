//! HTTP/1.x proxy towards programs (RFC 9110, 9112): CONNECT, and requests in absolute form. A connection serves one request.
//!
//! A program should see through the proxy what it would see without: the same bytes and the same kind of end. So heads are
//! read as bytes and changed only where they concern the connection to the proxy ([`hop`]); bodies, informational responses,
//! expectations and upgrades pass as they are ([`exchange`](exchange::exchange)); and what is refused ([`request`]) is refused
//! with its reason.

mod answer;
mod body;
mod exchange;
mod head;
mod hop;
mod request;
mod response;
mod target;

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use self::answer::Status;
use self::body::Body;
use self::exchange::{Ended, Outgoing, exchange};
use self::head::Scan;
use self::request::{BadRequest, Request, RequestLine};
use self::target::Asked;
use super::farewell::farewell;
use super::{Backend, LoginRefused, connect};
use crate::channel::Channel;
use crate::metered::Metered;
use crate::relay::{guarded, relay};
use crate::settings::Limits;

/// Whether a program that begins with this byte may speak HTTP: a method is a token, and empty lines may precede it.
pub(super) const fn may_begin_with(byte: u8) -> bool {
    request::is_token(byte) || matches!(byte, b'\r' | b'\n')
}

pub(super) async fn serve<B: Backend>(backend: &B, mut stream: TcpStream, peer: SocketAddr) {
    let mut received = Vec::new();
    let head = match read_head(&mut stream, &mut received, backend.limits()).await {
        Ok(Some(head)) => head,
        Ok(None) => return tracing::debug!(%peer, "HTTP program gone before its request was whole"),
        Err(why) => return refuse(stream, peer, why.into()).await,
    };
    let beyond = received.split_off(head.end);
    let head = received.get(head).unwrap_or_default();
    let request = match Request::parse(head) {
        Ok(request) => request,
        Err(why) => return refuse(stream, peer, why.into()).await,
    };
    match open(backend, peer, &request).await {
        Ok(Opened::Tunnel(destination)) => {
            tunnel(stream, destination, answer::TUNNEL, &beyond, backend.limits().idle).await;
        }
        Ok(Opened::Forward(destination, outgoing)) => {
            let outgoing = Outgoing { received: beyond, ..outgoing };
            forward(stream, destination, outgoing, backend.limits()).await;
        }
        Err(refusal) => {
            refuse(stream, peer, Unserved { to_head: request.method == b"HEAD", ..refusal }).await;
        }
    }
}

/// Reads until a request's head is whole, and gives its place in `received`. `None` if the program ended before.
async fn read_head(
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
    limits: &Limits,
) -> Result<Option<Range<usize>>, BadRequest> {
    let mut scan = Scan::of_request();
    let mut line_checked = false;
    let reading = async {
        loop {
            let head = scan.find(received);
            if let (false, Some(line)) = (line_checked, scan.first_line()) {
                // Programs of other protocols wait for an answer to their first line.
                RequestLine::parse(received.get(line.clone()).unwrap_or_default())?;
                line_checked = true;
            }
            if head.as_ref().is_some_and(|head| head.end <= limits.header_bytes) {
                return Ok(head);
            }
            if received.len() >= limits.header_bytes {
                return Err(BadRequest::TooLong(limits.header_bytes));
            }
            received.reserve(1024);
            // A connection that breaks here has nobody left to answer to.
            if stream.read_buf(received).await.unwrap_or(0) == 0 {
                return Ok(None);
            }
        }
    };
    tokio::time::timeout(limits.handshake, reading).await.unwrap_or(Err(BadRequest::TooSlow))
}

/// What was opened for a request.
enum Opened {
    Tunnel(Metered<TcpStream>),
    Forward(Metered<TcpStream>, Outgoing),
}

/// Judges a request and connects to its destination.
async fn open<B: Backend>(backend: &B, peer: SocketAddr, request: &Request<'_>) -> Result<Opened, Unserved> {
    let channel = enter(backend, peer, request)?;
    let asked = Asked::by(request)?;
    let to = match &asked {
        Asked::Tunnel(to) | Asked::Forward { to, .. } => to,
    };
    let outgoing = match &asked {
        Asked::Tunnel(_) => None,
        Asked::Forward { host, origin_form, .. } => {
            let body = Body::of(request)?;
            let head = hop::request_head(request, origin_form, host, &body);
            let upgrade = hop::asks_for_upgrade(request);
            Some(Outgoing { head, body, upgrade, received: Vec::new() })
        }
    };
    let destination = connect(backend, &channel, peer, to).await.map_err(|refused| {
        tracing::debug!(channel = %channel.id(), %peer, target = %to, %refused, "HTTP request refused");
        Unserved::new((&refused).into(), refused.to_string())
    })?;
    Ok(match outgoing {
        None => Opened::Tunnel(destination),
        Some(outgoing) => Opened::Forward(destination, outgoing),
    })
}

fn enter<B: Backend>(
    backend: &B,
    peer: SocketAddr,
    request: &Request<'_>,
) -> Result<Arc<Channel>, LoginRefused> {
    if let Some(channel) = backend.open_to_all() {
        return Ok(channel);
    }
    let (username, password) = credentials(request).ok_or(LoginRefused::Wrong)?;
    backend.login(peer.ip(), &username, &password)
}

/// RFC 7617.
fn credentials(request: &Request<'_>) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let value = request.fields_of(b"proxy-authorization").next()?.value;
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = Zeroizing::new(BASE64.decode(encoded.trim_ascii()).ok()?);
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let (username, password) = (decoded.get(..colon)?, decoded.get(colon + 1..)?);
    Some((String::from_utf8(username.to_vec()).ok()?, Zeroizing::new(password.to_vec())))
}

/// A request that is not served, and why.
struct Unserved {
    status: Status,
    reason: String,
    /// Whether the request was HEAD, as far as it was read.
    to_head: bool,
}

impl Unserved {
    const fn new(status: Status, reason: String) -> Self {
        Self { status, reason, to_head: false }
    }
}

impl From<BadRequest> for Unserved {
    fn from(why: BadRequest) -> Self {
        Self::new(why.status(), why.to_string())
    }
}

impl From<LoginRefused> for Unserved {
    fn from(why: LoginRefused) -> Self {
        Self::new((&why).into(), why.to_string())
    }
}

async fn refuse(stream: TcpStream, peer: SocketAddr, refusal: Unserved) {
    let Unserved { status, reason, to_head } = refusal;
    tracing::debug!(%peer, ?status, reason, "HTTP request answered by the proxy");
    farewell(stream, &answer::refusal(status, &reason, to_head)).await;
}

/// Serves a request in absolute form.
async fn forward(
    mut program: TcpStream,
    mut destination: Metered<TcpStream>,
    outgoing: Outgoing,
    limits: &Limits,
) {
    let flow = destination.flow();
    let exchanged = exchange(&mut program, &mut destination, outgoing, limits.header_bytes);
    match guarded(&flow, limits.idle, exchanged).await.unwrap_or_else(|| Err(stopped_or_idle())) {
        Ok(Ended::Answered) => end(program, destination, Ok(())).await,
        Ok(Ended::Upgraded { beyond }) => tunnel(program, destination, b"", &beyond, limits.idle).await,
        Err(error) => end(program, destination, Err(error)).await,
    }
}

/// Past all heads, the two streams are one: of CONNECT, and after an upgrade. Each side first gets what is still due to it.
async fn tunnel(
    mut program: TcpStream,
    mut destination: Metered<TcpStream>,
    to_program: &[u8],
    to_destination: &[u8],
    idle: Duration,
) {
    let flow = destination.flow();
    let beginning = async {
        program.write_all(to_program).await?;
        destination.write_all(to_destination).await
    };
    match guarded(&flow, idle, beginning).await.unwrap_or_else(|| Err(stopped_or_idle())) {
        Ok(()) => {
            let (destination, flow) = destination.into_parts();
            relay(program, destination, &flow, idle).await;
        }
        Err(error) => end(program, destination, Err(error)).await,
    }
}

/// Ends a connection that was not handed over to [`relay`]: in order, or as `how` says.
async fn end(program: TcpStream, destination: Metered<TcpStream>, how: io::Result<()>) {
    let flow = destination.flow();
    let why = how.as_ref().map_or_else(ToString::to_string, |()| "answered".to_owned());
    tracing::debug!(channel = %flow.channel().id(), bytes = flow.moved(), why, "connection ended");
    drop((destination, flow)); // the place in the channel is free from here on
    if how.is_ok() {
        farewell(program, b"").await;
    }
}

fn stopped_or_idle() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "stopped or idle")
}
