use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use alloy::network::Ethereum;
use alloy::providers::{DynProvider, Provider, ProviderBuilder, RootProvider, WsConnect};
use alloy::pubsub::{PubSubConnect, PubSubFrontend};
use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::{RequestPacket, ResponsePacket};
use alloy::transports::http::Http;
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use futures::StreamExt;
use reqwest::Url;
use tokio::sync::{Mutex, Notify};

use super::names::Names;
use crate::{Backoff, ChainError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the chain is reached: an HTTP or WebSocket JSON-RPC endpoint.
///
/// Making one never connects; connections are made, and made again after a loss, by the calls that need them. Over
/// WebSocket, new heads are also subscribed to, so that blocks are noticed at once; polling goes on as the fallback.
///
/// `Debug` and every error show the endpoint without its path, query and password, where providers put their keys.
#[derive(Clone)]
pub struct Endpoint {
    provider: DynProvider,
    label: Arc<str>,
    secrets: Arc<[(String, String)]>,
    timeout: Duration,
    heads: Heads,
}

#[derive(Clone)]
enum Heads {
    Ws(Arc<str>),
    Provider,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("at", &self.label)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// The time given to each request unless set otherwise.
    pub const TIMEOUT: Duration = Duration::from_secs(20);

    /// An endpoint at an `http`, `https`, `ws` or `wss` address.
    ///
    /// # Errors
    /// [`ChainError::BadUrl`].
    pub fn new(url: &str) -> Result<Self, ChainError> {
        let bad = |reason: String| ChainError::BadUrl { reason };
        let parsed = Url::parse(url).map_err(|e| bad(e.to_string()))?;
        let host = parsed.host_str().ok_or_else(|| bad("it names no host".to_owned()))?;
        let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
        let label = format!("{}://{host}{port}", parsed.scheme());
        let (provider, heads) = match parsed.scheme() {
            "http" | "https" => {
                let client = reqwest::Client::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .dns_resolver(Names::default())
                    .build()
                    .map_err(|e| bad(format!("no HTTP client can be made: {e}")))?;
                let client = RpcClient::new(Http::with_client(client, parsed.clone()), true);
                (erase(client), Heads::Provider)
            }
            "ws" | "wss" => {
                let client = RpcClient::new(LazyWs::new(url), true);
                (erase(client), Heads::Ws(Arc::from(url)))
            }
            other => return Err(bad(format!("{other} is not a scheme it can have"))),
        };
        let secrets = secrets(url, &parsed, &label).into();
        Ok(Self { provider, label: label.into(), secrets, timeout: Self::TIMEOUT, heads })
    }

    /// An endpoint behind a provider that is there already. If it can subscribe, it is subscribed to.
    pub fn from_provider(provider: DynProvider) -> Self {
        Self {
            provider,
            label: "provider".into(),
            secrets: Arc::default(),
            timeout: Self::TIMEOUT,
            heads: Heads::Provider,
        }
    }

    /// Limits each request to `timeout`.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The provider, for calls of your own. It has no timeouts.
    pub fn provider(&self) -> &DynProvider {
        &self.provider
    }

    /// The endpoint without credentials, for messages.
    pub fn label(&self) -> &str {
        &self.label
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        self.timeout
    }

    /// Removes the address and its parts, which may hold keys, from a message of a library.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, (secret, instead)| text.replace(secret, instead))
    }

    /// Wakes `wake` at each new head for as long as it is polled; returns only if heads cannot be subscribed to.
    ///
    /// Cancellation: dropping it unsubscribes.
    pub(crate) async fn wake_on_heads(&self, wake: &Notify, backoff: Backoff) {
        let mut failures = 0;
        loop {
            let ended = match &self.heads {
                Heads::Ws(url) => {
                    let connect = ProviderBuilder::default().connect_ws(ws(url));
                    match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
                        Ok(Ok(provider)) => {
                            forward_heads::<RootProvider>(&provider, wake, self.timeout).await
                        }
                        Ok(Err(error)) => Err(error),
                        Err(_) => Err(TransportErrorKind::custom_str("connecting took too long")),
                    }
                }
                Heads::Provider => forward_heads(&self.provider, wake, self.timeout).await,
            };
            match ended {
                Ok(()) => failures = 1,
                Err(error) if is_unsupported(&error) => return,
                Err(error) => {
                    failures += 1;
                    tracing::debug!(endpoint = %self.label, error = %self.redact(&error.to_string()), "no head subscription; polling");
                }
            }
            tokio::time::sleep(backoff.wait(failures, None)).await;
        }
    }
}

/// What must not be shown, with what is shown instead; the longest first. Libraries normalise addresses, and servers
/// repeat paths.
fn secrets(given: &str, parsed: &Url, label: &str) -> Vec<(String, String)> {
    let hidden = || "…".to_owned();
    let mut secrets = vec![
        (given.to_owned(), label.to_owned()),
        (parsed.to_string(), label.to_owned()),
        (given.trim_end_matches('/').to_owned(), label.to_owned()),
    ];
    secrets.extend(parsed.password().map(|password| (password.to_owned(), hidden())));
    secrets.extend(parsed.query().map(|query| (query.to_owned(), hidden())));
    secrets.extend(parsed.path().split('/').map(|part| (part.to_owned(), hidden())));
    // Short ones are words like `rpc` or `v2` rather than keys, and would make other text unreadable.
    secrets.retain(|(secret, instead)| secret.len() >= 6 && secret != instead);
    secrets
}

fn erase(client: RpcClient) -> DynProvider {
    RootProvider::<Ethereum>::new(client).erased()
}

fn ws(url: &str) -> WsConnect {
    // One try to connect anew inside alloy; the next ones are ours, so that the failure is seen and timed by us.
    WsConnect::new(url).with_max_retries(1).with_retry_interval(Duration::from_millis(100))
}

fn is_unsupported(error: &TransportError) -> bool {
    match error {
        TransportError::Transport(kind) => kind.is_pubsub_unavailable(),
        TransportError::ErrorResp(_) => true,
        _ => false,
    }
}

async fn forward_heads<P: Provider>(
    provider: &P,
    wake: &Notify,
    timeout: Duration,
) -> Result<(), TransportError> {
    let subscribe = async { provider.subscribe_blocks().await };
    let heads = tokio::time::timeout(timeout, subscribe)
        .await
        .map_err(|_| TransportErrorKind::custom_str("subscribing took too long"))??;
    // Blocks may have come while there was no subscription.
    wake.notify_one();
    let mut heads = heads.into_stream();
    while heads.next().await.is_some() {
        wake.notify_one();
    }
    Ok(())
}

/// A WebSocket transport that connects at the first request, and again at the first one after a loss.
#[derive(Clone)]
struct LazyWs {
    url: Arc<str>,
    frontend: Arc<Mutex<Option<PubSubFrontend>>>,
    /// A request was given up unanswered: the connection may be dead without knowing it.
    doubtful: Arc<AtomicBool>,
}

/// How long a request must have been under way for its end without an answer to say something of the connection.
const SILENCE: Duration = Duration::from_secs(3);

/// Lives as long as a request; tells of one that was given up.
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
    fn new(url: &str) -> Self {
        Self { url: url.into(), frontend: Arc::default(), doubtful: Arc::default() }
    }

    async fn send(self, request: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let frontend = {
            let mut slot = self.frontend.lock().await;
            if self.doubtful.swap(false, Ordering::Relaxed) {
                *slot = None;
            }
            if let Some(frontend) = &*slot {
                frontend.clone()
            } else {
                let connect = ws(&self.url).into_service();
                let frontend = tokio::time::timeout(CONNECT_TIMEOUT, connect)
                    .await
                    .map_err(|_| TransportErrorKind::custom_str("connecting took too long"))??;
                slot.insert(frontend).clone()
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

impl tower::Service<RequestPacket> for LazyWs {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_the_address_are_never_shown() {
        let endpoint = Endpoint::new("https://user:hunter2@rpc.example:8443/v2/sekret?key=sekret2").unwrap();
        assert_eq!(endpoint.label(), "https://rpc.example:8443");
        let shown = format!(
            "{endpoint:?} {}",
            endpoint.redact("error at https://user:hunter2@rpc.example:8443/v2/sekret?key=sekret2")
        );
        assert!(!shown.contains("sekret") && !shown.contains("hunter2"), "{shown}");
        // As the HTTP client writes it, and as a server may repeat it.
        let endpoint = Endpoint::new("https://RPC.example:443/v2/sekret/").unwrap();
        for told in ["for url (https://rpc.example/v2/sekret/)", "GET /v2/sekret/ not found", "no key sekret"]
        {
            let shown = endpoint.redact(told);
            assert!(!shown.contains("sekret"), "{shown}");
        }
    }

    #[test]
    fn an_unusable_address_is_refused_with_the_reason() {
        for bad in ["", "not a url", "ftp://host/x", "unix:/tmp/geth.ipc"] {
            let refusal = Endpoint::new(bad).unwrap_err();
            assert!(matches!(refusal, ChainError::BadUrl { .. }), "{bad}: {refusal}");
        }
    }
}
