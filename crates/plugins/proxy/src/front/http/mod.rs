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
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use privatix_net::PeerAddress;
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
use super::{Backend, LoginRefused, MeterAt, connect, meter};
use crate::channel::{Channel, Flow};
use crate::metered::{Counting, Metered};
use crate::relay::{finish, give_up, guarded, relay};
use crate::settings::Limits;

/// Whether a program that begins with this byte may speak HTTP: a method is a token, and empty lines may precede it.
pub(super) const fn may_begin_with(byte: u8) -> bool {
    request::is_token(byte) || matches!(byte, b'\r' | b'\n')
}

pub(super) async fn serve<B: Backend>(backend: &B, mut stream: TcpStream, peer: PeerAddress) {
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
        Ok(Opened::Tunnel(destination, flow)) => tunnel(backend, stream, destination, flow, &beyond).await,
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
    Tunnel(TcpStream, Flow),
    Forward(Metered, Outgoing),
}

/// Judges a request and connects to its destination.
async fn open<B: Backend>(backend: &B, peer: PeerAddress, request: &Request<'_>) -> Result<Opened, Unserved> {
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
    let (destination, flow) = connect(backend, &channel, peer, to).await.map_err(|refused| {
        tracing::debug!(channel = %channel.id(), %peer, target = %to, %refused, "HTTP request refused");
        Unserved::new((&refused).into(), refused.to_string())
    })?;
    Ok(match outgoing {
        None => Opened::Tunnel(destination, flow),
        Some(outgoing) => {
            // Heads differ at the two sides of the seller, so there the side of the destination is what counts.
            let counting = match backend.meter() {
                MeterAt::Program => Counting::WhenRead,
                MeterAt::Destination => Counting::WhenArrived,
            };
            Opened::Forward(Metered::new(destination, flow, counting), outgoing)
        }
    })
}

fn enter<B: Backend>(
    backend: &B,
    peer: PeerAddress,
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

async fn refuse(stream: TcpStream, peer: PeerAddress, refusal: Unserved) {
    let Unserved { status, reason, to_head } = refusal;
    tracing::debug!(%peer, ?status, reason, "HTTP request answered by the proxy");
    farewell(stream, &answer::refusal(status, &reason, to_head)).await;
}

/// Serves a request in absolute form.
async fn forward(mut program: TcpStream, destination: Metered, outgoing: Outgoing, limits: &Limits) {
    let flow = Arc::clone(destination.flow());
    let exchanged = async {
        // The program may pause; what arrives for it meanwhile is looked for.
        let _stalled = destination.stall();
        let mut shared = &destination;
        tokio::select! {
            ended = exchange(&mut program, &mut shared, outgoing, limits.header_bytes) => ended,
            never = destination.watch() => match never {},
        }
    };
    match guarded(&flow, limits.idle, exchanged).await.unwrap_or_else(|| Err(stopped_or_idle())) {
        Ok(Ended::Answered) => {
            let program = finish(program, destination, limits.idle).await;
            tracing::debug!(channel = %flow.channel().id(), bytes = flow.moved(), "request answered");
            drop(flow); // the place in the channel is free from here on
            if let Some(program) = program {
                farewell(program, b"").await;
            }
        }
        Ok(Ended::Upgraded { beyond }) => {
            let written = guarded(&flow, limits.idle, (&destination).write_all(&beyond)).await;
            match written.unwrap_or_else(|| Err(stopped_or_idle())) {
                Ok(()) => relay(program, destination, limits.idle).await,
                Err(error) => broke(program, destination, &error).await,
            }
        }
        Err(error) => broke(program, destination, &error).await,
    }
}

/// Grants CONNECT: from here on the two streams are one. `beyond` is what the program sent together with its request.
async fn tunnel<B: Backend>(
    backend: &B,
    mut program: TcpStream,
    mut destination: TcpStream,
    flow: Flow,
    beyond: &[u8],
) {
    let mut passed = 0;
    let beginning = async {
        program.write_all(answer::TUNNEL).await?;
        while let Some(rest @ [_, ..]) = beyond.get(passed..) {
            match destination.write(rest).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => passed += written,
            }
        }
        Ok(())
    };
    let idle = backend.limits().idle;
    let begun = guarded(&flow, idle, beginning).await.unwrap_or_else(|| Err(stopped_or_idle()));
    let (plain, metered) = meter(backend, program, destination, flow);
    metered.passed_before(passed);
    match begun {
        Ok(()) => relay(plain, metered, idle).await,
        Err(error) => broke(plain, metered, &error).await,
    }
}

/// Ends two connections of which one broke.
async fn broke(plain: TcpStream, metered: Metered, why: &io::Error) {
    let flow = metered.flow();
    tracing::debug!(channel = %flow.channel().id(), bytes = flow.moved(), %why, "connection ended");
    give_up(plain, metered).await;
}

fn stopped_or_idle() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "stopped or idle")
}
