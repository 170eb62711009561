use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use alloy::pubsub::{ConnectionHandle, ConnectionInterface, PubSubConnect, PubSubFrontend};
use alloy::rpc::json_rpc::{RequestPacket, ResponsePacket};
use alloy::transports::{TransportError, TransportErrorKind};
use futures::{SinkExt, StreamExt};
use reqwest::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use reqwest::{Client, StatusCode, Upgraded};
use tokio::sync::Mutex;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{clean_error, failed, http};
use crate::rpc::EndpointUrl;

/// How long a request must have been under way for its end without an answer to say something of the connection.
const SILENCE: Duration = Duration::from_secs(3);
/// How often a quiet connection is asked whether it lives.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Makes WebSocket connections.
///
/// The handshake (RFC 6455, section 4.1) is made with the HTTP client: the WebSocket library would log the request line
/// with the key, and the authorisation in clear text.
#[derive(Clone)]
pub(in crate::rpc) struct Connector {
    client: Client,
    url: EndpointUrl,
    /// For a connection to be there.
    patience: Duration,
}

impl Connector {
    pub(super) fn new(client: Client, url: EndpointUrl, patience: Duration) -> Self {
        Self { client, url, patience }
    }

    async fn open(&self) -> Result<WebSocketStream<Upgraded>, TransportError> {
        let mut address = self.url.exposed().clone();
        let scheme = if address.scheme() == "wss" { "https" } else { "http" };
        address
            .set_scheme(scheme)
            .map_err(|()| TransportErrorKind::custom_str("the address cannot be asked by HTTP"))?;
        let key = generate_key();
        let ask = self
            .client
            .get(address)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, &key);
        let answer = ask.send().await.map_err(|error| failed(&self.url, error))?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = answer.status().as_u16();
            http::refused(&self.url, answer).await?;
            return Err(TransportErrorKind::http_error(status, "no WebSocket is served there".to_owned()));
        }
        let accepted = answer.headers().get(SEC_WEBSOCKET_ACCEPT).map(reqwest::header::HeaderValue::as_bytes);
        if accepted != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
            return Err(TransportErrorKind::custom_str("the endpoint's WebSocket handshake is wrong"));
        }
        let connection = answer.upgrade().await.map_err(|error| failed(&self.url, error))?;
        Ok(WebSocketStream::from_raw_socket(connection, Role::Client, None).await)
    }
}

impl PubSubConnect for Connector {
    fn is_local(&self) -> bool {
        true
    }

    async fn connect(&self) -> Result<ConnectionHandle, TransportError> {
        let socket = tokio::time::timeout(self.patience, self.open())
            .await
            .map_err(|_| TransportErrorKind::custom_str("connecting took too long"))?
            .map_err(|error| clean_error(&self.url, error))?;
        let (handle, interface) = ConnectionHandle::new();
        // Ends by itself when the handle is dropped, or with the connection.
        tokio::spawn(carry(socket, interface, self.url.clone()));
        // One try to connect again inside alloy; the next ones are ours, so that the failure is seen and timed by us.
        Ok(handle.with_max_retries(1).with_retry_interval(Duration::from_millis(100)))
    }
}

/// Carries messages between a connection and alloy, for as long as both are there.
async fn carry(mut socket: WebSocketStream<Upgraded>, mut interface: ConnectionInterface, url: EndpointUrl) {
    let mut keepalive = tokio::time::interval_at(tokio::time::Instant::now() + KEEPALIVE, KEEPALIVE);
    let mut answer_due = false;
    let end = loop {
        tokio::select! {
            biased;
            request = interface.recv_from_frontend() => {
                let Some(request) = request else {
                    // Nobody needs it any more. The endpoint may be gone already.
                    let _ = socket.close(None).await;
                    return;
                };
                if let Err(error) = socket.send(Message::text(request.get().to_owned())).await {
                    break error.to_string();
                }
            }
            _ = keepalive.tick() => {
                if answer_due {
                    break "the endpoint does not answer any more".to_owned();
                }
                if let Err(error) = socket.send(Message::Ping(Vec::new().into())).await {
                    break error.to_string();
                }
                answer_due = true;
            }
            message = socket.next() => match message {
                Some(Ok(message)) => {
                    answer_due = false;
                    match message {
                        Message::Text(text) => match serde_json::from_str(&text) {
                            Ok(item) => {
                                if interface.send_to_frontend(item).is_err() {
                                    return;
                                }
                            }
                            Err(_) => break "the endpoint sent what is no JSON-RPC".to_owned(),
                        },
                        Message::Binary(_) => break "the endpoint sent what is no JSON-RPC".to_owned(),
                        Message::Close(_) => break "the endpoint closed it".to_owned(),
                        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                    }
                }
                Some(Err(error)) => break error.to_string(),
                None => break "the endpoint closed it".to_owned(),
            },
        }
    };
    tracing::debug!(endpoint = url.label(), reason = url.secrets().hide(&end), "WebSocket connection ended");
    interface.close_with_error();
}

/// A WebSocket that connects at the first request, and again at the first one after a loss.
#[derive(Clone)]
pub(super) struct LazyWs {
    connector: Connector,
    frontend: Arc<Mutex<Option<PubSubFrontend>>>,
    /// A request was given up unanswered: the connection may be dead without knowing it.
    doubtful: Arc<AtomicBool>,
}

/// Lives as long as a request; reports one that was given up.
struct Unanswered<'a> {
    since: Instant,
    answered: bool,
    doubtful: &'a AtomicBool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.answered && self.since.elapsed() >= SILENCE {
            self.doubtful.store(true, Ordering::Relaxed);
        }
    }
}

impl LazyWs {
    pub(super) fn new(connector: Connector) -> Self {
        Self { connector, frontend: Arc::default(), doubtful: Arc::default() }
    }

    pub(super) async fn send(self, request: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let frontend = {
            let mut slot = self.frontend.lock().await;
            if self.doubtful.swap(false, Ordering::Relaxed) {
                *slot = None;
            }
            if let Some(frontend) = &*slot {
                frontend.clone()
            } else {
                slot.insert(self.connector.clone().into_service().await?).clone()
            }
        };
        let mut waiting = Unanswered { since: Instant::now(), answered: false, doubtful: &self.doubtful };
        let answer = frontend.send_packet(request).await;
        waiting.answered = true;
        if matches!(&answer, Err(TransportError::Transport(kind)) if kind.is_backend_gone()) {
            *self.frontend.lock().await = None;
        }
        answer
    }
}
