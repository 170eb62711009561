//! HTTP and WebSocket around a proxy's answers.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest as _, State};
use axum::http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use axum::http::{HeaderName, HeaderValue, Request as HttpRequest, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::stream::FuturesUnordered;
use futures::{SinkExt as _, StreamExt as _};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::act::{Reply, Request};
use super::proxy::Shared;

/// What a connection sends.
enum Sent {
    Json(Value),
    Http(Response),
    Cut,
}

pub(super) async fn answer(State(shared): State<Arc<Shared>>, request: HttpRequest<Body>) -> Response {
    if request.headers().contains_key(UPGRADE) {
        return upgrade(shared, request).await;
    }
    let Ok(body) = Bytes::from_request(request, &()).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    match reply(&shared, serde_json::from_slice(&body).unwrap_or_default()).await {
        Sent::Json(value) => value.to_string().into_response(),
        Sent::Http(response) => response,
        Sent::Cut => {
            let pieces = [Ok("{\"jsonrpc\":"), Err(std::io::Error::other("cut"))];
            Body::from_stream(futures::stream::iter(pieces)).into_response()
        }
    }
}

/// The answer to a request or to a batch of them. Anything but JSON in a batch is the answer to all of it.
async fn reply(shared: &Shared, body: Value) -> Sent {
    let Value::Array(batch) = body else { return single(shared, body).await };
    let mut answers = Vec::with_capacity(batch.len());
    for request in batch {
        match single(shared, request).await {
            Sent::Json(value) => answers.push(value),
            other => return other,
        }
    }
    Sent::Json(answers.into())
}

async fn single(shared: &Shared, mut request: Value) -> Sent {
    let id = request["id"].take();
    let method = request["method"].as_str().unwrap_or("handshake").to_owned();
    let reply = shared.reply(Request { method, params: request["params"].take() }).await;
    sent(&id, reply).await
}

async fn sent(id: &Value, reply: Reply) -> Sent {
    match reply {
        Reply::Result(result) => Sent::Json(json!({"jsonrpc": "2.0", "id": id, "result": result})),
        Reply::Error(error) => Sent::Json(json!({"jsonrpc": "2.0", "id": id, "error": error})),
        Reply::Http { status, headers, body } => {
            let mut response = body.into_owned().into_response();
            *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            for (name, value) in headers {
                if let Ok(value) = HeaderValue::from_str(&value) {
                    response.headers_mut().insert(HeaderName::from_static(name), value);
                }
            }
            Sent::Http(response)
        }
        Reply::Cut => Sent::Cut,
        Reply::Silence => std::future::pending().await,
    }
}

/// A WebSocket (RFC 6455). The handshake goes through the rules like a request.
async fn upgrade(shared: Arc<Shared>, mut request: HttpRequest<Body>) -> Response {
    let handshake = Request { method: "handshake".to_owned(), params: Value::Null };
    match sent(&Value::Null, shared.reply(handshake).await).await {
        Sent::Json(_) => {}
        Sent::Http(response) => return response,
        Sent::Cut => {
            let pieces = [Ok(""), Err(std::io::Error::other("cut"))];
            return Body::from_stream(futures::stream::iter(pieces)).into_response();
        }
    }
    let key = request.headers().get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let Some(accept) = key.and_then(|key| HeaderValue::from_str(&key).ok()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let upgraded = hyper::upgrade::on(&mut request);
    // Ends with the connection, or with the test's runtime.
    tokio::spawn(async move {
        if let Ok(connection) = upgraded.await {
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, None).await;
            carry(&shared, socket).await;
        }
    });
    let headers = [
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Answers requests as they come, each at its own time; passes subscriptions and what they bring on to the node's own
/// WebSocket. A notification goes through the rules as method `eth_subscription`.
async fn carry(shared: &Shared, mut client: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>) {
    let Some(mut node) = connect(&shared.node.ws_url()).await else { return };
    let mut answers = FuturesUnordered::new();
    loop {
        let sent = tokio::select! {
            message = client.next() => {
                let Some(Ok(message)) = message else { return };
                let Message::Text(text) = message else { continue };
                let request: Value = serde_json::from_str(&text).unwrap_or_default();
                let method = request["method"].as_str().unwrap_or_default();
                if method == "eth_subscribe" || method == "eth_unsubscribe" {
                    if node.send(Message::Text(text)).await.is_err() {
                        return;
                    }
                } else {
                    answers.push(reply(shared, request));
                }
                continue;
            }
            message = node.next() => {
                let Some(Ok(message)) = message else { return };
                let Message::Text(text) = message else { continue };
                let value: Value = serde_json::from_str(&text).unwrap_or_default();
                if value["method"] == "eth_subscription" {
                    let notice = Request { method: "eth_subscription".to_owned(), params: Value::Null };
                    match shared.reply(notice).await {
                        Reply::Silence => continue,
                        Reply::Cut => return,
                        _ => {}
                    }
                }
                Sent::Json(value)
            }
            Some(sent) = answers.next() => sent,
        };
        let Sent::Json(value) = sent else { return };
        if client.send(Message::text(value.to_string())).await.is_err() {
            return;
        }
    }
}

async fn connect(url: &str) -> Option<WebSocketStream<TcpStream>> {
    let stream = TcpStream::connect(url.strip_prefix("ws://")?.trim_end_matches('/')).await.ok()?;
    Some(tokio_tungstenite::client_async(url, stream).await.ok()?.0)
}
