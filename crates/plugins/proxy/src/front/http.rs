//! HTTP/1.1 proxy towards programs (RFC 9110, 9112): CONNECT, and requests in absolute form.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use super::{Backend, DialError, LoginRefused, Refused, connect};
use crate::channel::{Channel, NotAdmitted};
use crate::destination::Target;
use crate::metered::Metered;
use crate::relay::{guarded, relay};

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

/// A CONNECT that was granted: relayed once the answer is written.
type Tunnel = (hyper::upgrade::OnUpgrade, Metered<TcpStream>);

pub(super) async fn serve<B: Backend>(backend: &B, stream: TcpStream, peer: SocketAddr) {
    let granted = Granted::default();
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(backend.limits().handshake)
        .max_buf_size(backend.limits().header_bytes)
        .preserve_header_case(true)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(async |request| Ok::<_, Infallible>(answer(backend, peer, request, &granted).await)),
        )
        .with_upgrades();
    // A program that does not read its answer must not hold up the stop of its channel.
    let served = tokio::select! {
        served = serving => served,
        () = granted.stopped() => return,
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "HTTP connection ended");
    }
    let Some((upgrade, destination)) = granted.tunnel.lock().take() else { return };
    match upgrade.await {
        Ok(upgraded) => tunnel(upgraded, destination, backend.limits().idle).await,
        Err(error) => tracing::debug!(%peer, %error, "program gone before its request was answered"),
    }
}

/// What a program was granted by CONNECT, if it was.
#[derive(Default)]
struct Granted {
    tunnel: Mutex<Option<Tunnel>>,
    made: Notify,
}

impl Granted {
    fn put(&self, tunnel: Tunnel) {
        *self.tunnel.lock() = Some(tunnel);
        self.made.notify_one();
    }

    /// Completes when the channel of the tunnel granted is stopped.
    async fn stopped(&self) {
        loop {
            self.made.notified().await;
            let flow =
                self.tunnel.lock().as_ref().map(|(_, destination)| Arc::clone(destination.flow().channel()));
            if let Some(channel) = flow {
                channel.stopped().await;
                return;
            }
        }
    }
}

/// Relays over the program's bare connection, past all layers of HTTP.
async fn tunnel(upgraded: Upgraded, mut destination: Metered<TcpStream>, idle: Duration) {
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
        return tracing::error!("not the connection that was upgraded"); // it is the one given to hyper in `serve`
    };
    // What the program sent together with its request.
    let flow = destination.flow();
    if let Some(Ok(())) = guarded(&flow, idle, destination.write_all(&parts.read_buf)).await {
        let (destination, flow) = destination.into_parts();
        relay(parts.io.into_inner(), destination, &flow, idle).await;
    }
}

async fn answer<B: Backend>(
    backend: &B,
    peer: SocketAddr,
    mut request: Request<Incoming>,
    granted: &Granted,
) -> Answer {
    let channel = match enter(backend, peer, request.headers()) {
        Ok(channel) => channel,
        Err(challenge) => return *challenge,
    };
    let Some(target) = target_of(&request) else {
        return say(
            StatusCode::BAD_REQUEST,
            "this is a proxy: send CONNECT host:port, or a request for a whole http:// address",
        );
    };
    let destination = match connect(backend, &channel, peer, &target).await {
        Ok(destination) => destination,
        Err(refused) => {
            tracing::debug!(channel = %channel.id(), %peer, %target, %refused, "HTTP request refused");
            return say(status_for(&refused), &refused.to_string());
        }
    };
    if request.method() == Method::CONNECT {
        granted.put((hyper::upgrade::on(&mut request), destination));
        // An empty answer without length: what follows is the tunnel (RFC 9110 §9.3.6).
        return Response::new(Full::default().map_err(|never| match never {}).boxed());
    }
    forward(request, destination, backend.limits().idle).await.unwrap_or_else(|error| {
        tracing::debug!(channel = %channel.id(), %peer, %target, %error, "destination did not answer");
        say(StatusCode::BAD_GATEWAY, "the destination did not answer in HTTP")
    })
}

fn enter<B: Backend>(
    backend: &B,
    peer: SocketAddr,
    headers: &HeaderMap,
) -> Result<Arc<Channel>, Box<Answer>> {
    if let Some(channel) = backend.open_to_all() {
        return Ok(channel);
    }
    let refuse = |why: LoginRefused| {
        let status = match why {
            LoginRefused::Wrong => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            LoginRefused::Throttled => StatusCode::TOO_MANY_REQUESTS,
            LoginRefused::Full => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut answer = say(status, &why.to_string());
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            let challenge = HeaderValue::from_static("Basic realm=\"channel\", charset=\"UTF-8\"");
            answer.headers_mut().insert(header::PROXY_AUTHENTICATE, challenge);
        }
        Box::new(answer)
    };
    let (username, password) = credentials(headers).ok_or_else(|| refuse(LoginRefused::Wrong))?;
    backend.login(peer.ip(), &username, &password).map_err(|why| {
        tracing::debug!(%peer, %why, "login refused");
        refuse(why)
    })
}

/// RFC 7617.
fn credentials(headers: &HeaderMap) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let value = headers.get(header::PROXY_AUTHORIZATION)?.as_bytes();
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = Zeroizing::new(BASE64.decode(encoded.trim_ascii()).ok()?);
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let (username, password) = (decoded.get(..colon)?, decoded.get(colon + 1..)?);
    Some((String::from_utf8(username.to_vec()).ok()?, Zeroizing::new(password.to_vec())))
}

fn target_of(request: &Request<Incoming>) -> Option<Target> {
    let uri = request.uri();
    let port = match (request.method() == Method::CONNECT, uri.scheme_str()) {
        (true, None) => uri.port_u16()?, // RFC 9110 §9.3.6: a port is required
        (false, Some("http")) => uri.port_u16().unwrap_or(80),
        _ => return None,
    };
    uri.host().map(|host| Target::from_host(host, port)).filter(Target::is_sound)
}

/// Sends a request in absolute form on to its destination, in origin form, over a connection of its own.
async fn forward(
    mut request: Request<Incoming>,
    destination: Metered<TcpStream>,
    idle: Duration,
) -> Result<Answer, hyper::Error> {
    strip_hop_by_hop(request.headers_mut());
    // RFC 9112 §3.2.2: the target's host, whatever the program wrote.
    if let Some(authority) = request.uri().authority() {
        let host = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host);
        if let Ok(host) = HeaderValue::from_str(host) {
            request.headers_mut().insert(header::HOST, host);
        }
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    *request.version_mut() = Version::HTTP_11;
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));

    let flow = destination.flow();
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(destination))
        .await?;
    let driver = AbortOnDropHandle::new(tokio::spawn(async move {
        if let Some(Err(error)) = guarded(&flow, idle, connection).await {
            tracing::debug!(channel = %flow.channel().id(), %error, "connection to the destination ended");
        }
    }));
    let mut response = sender.send_request(request).await?;
    strip_hop_by_hop(response.headers_mut());
    Ok(response.map(|body| Driven { body, _driver: driver }.boxed()))
}

/// A body, and the task that brings it: they end together.
struct Driven {
    body: Incoming,
    _driver: AbortOnDropHandle<()>,
}

impl Body for Driven {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// RFC 9110 §7.6.1: these concern one connection only; the two of proxy authentication are secrets between us and the program.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

fn say(status: StatusCode, text: &str) -> Answer {
    let body = Full::from(format!("{text}\n")).map_err(|never| match never {}).boxed();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

fn status_for(refused: &Refused) -> StatusCode {
    match refused {
        Refused::NotAdmitted(NotAdmitted::TooMany(_)) => StatusCode::TOO_MANY_REQUESTS,
        Refused::NotAdmitted(NotAdmitted::Stopped(_)) => StatusCode::FORBIDDEN,
        Refused::Suspended => StatusCode::SERVICE_UNAVAILABLE,
        Refused::Dial(error) => match error {
            DialError::NotAllowed(_) | DialError::OwnMachine | DialError::RefusedByAgent => {
                StatusCode::FORBIDDEN
            }
            DialError::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            DialError::TooManyLookups => StatusCode::SERVICE_UNAVAILABLE,
            DialError::Unresolved(_)
            | DialError::Refused
            | DialError::Unreachable(_)
            | DialError::Agent(_)
            | DialError::AgentLogin
            | DialError::AgentFailed => StatusCode::BAD_GATEWAY,
        },
    }
}
