use std::sync::Arc;
use std::time::Duration;

use alloy::network::Ethereum;
use alloy::providers::{DynProvider, Provider, RootProvider};
use alloy::rpc::client::{ClientBuilder, RpcClient};
use alloy::transports::{TransportError, TransportErrorKind};
use futures::StreamExt;
use tokio::sync::Notify;

use super::pending::PendingTag;
use super::secrets::Secrets;
use super::transport::{Connector, Transport};
use super::{EndpointUrl, Fault, ProxyUrl};
use crate::{Backoff, ChainError};

/// Where the chain is reached: an HTTP or WebSocket JSON-RPC endpoint.
///
/// Making one never connects; connections are made, and made again after a loss, by the calls that need them. Over
/// WebSocket, new heads are also subscribed to, so that blocks are noticed at once; polling goes on as the fallback.
///
/// `Debug`, every error and every line of the log show the endpoint without user, password, path and query, where
/// providers put their keys. Redirections are followed within the endpoint's host alone.
#[derive(Clone)]
pub struct Endpoint {
    provider: DynProvider,
    transport: Option<Transport>,
    label: Arc<str>,
    secrets: Arc<Secrets>,
    timeout: Duration,
    heads: Heads,
    pending: PendingTag,
}

#[derive(Clone)]
enum Heads {
    Ws(Connector),
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
        Self::at(&url.parse()?)
    }

    /// An endpoint at an address that has been read already.
    ///
    /// # Errors
    /// [`ChainError::BadUrl`] if no client can be made for it.
    pub fn at(url: &EndpointUrl) -> Result<Self, ChainError> {
        Self::reached(url, None)
    }

    /// An endpoint that is reached through a SOCKS5 proxy alone. The proxy looks its name up, and proxies of the
    /// environment do not count.
    ///
    /// # Errors
    /// [`ChainError::BadUrl`] if no client can be made for it.
    pub fn through(url: &EndpointUrl, proxy: &ProxyUrl) -> Result<Self, ChainError> {
        Self::reached(&url.through(proxy), Some(proxy))
    }

    fn reached(url: &EndpointUrl, proxy: Option<&ProxyUrl>) -> Result<Self, ChainError> {
        let (transport, connector) = Transport::new(url, proxy, Self::TIMEOUT)?;
        Ok(Self {
            provider: erase(transport.clone()),
            transport: Some(transport),
            label: Arc::clone(url.shared_label()),
            secrets: Arc::clone(url.secrets()),
            timeout: Self::TIMEOUT,
            heads: connector.map_or(Heads::Provider, Heads::Ws),
            pending: PendingTag::default(),
        })
    }

    /// An endpoint behind a provider that is there already. If it can subscribe, it is subscribed to.
    pub fn from_provider(provider: DynProvider) -> Self {
        Self {
            provider,
            transport: None,
            label: "provider".into(),
            secrets: Arc::default(),
            timeout: Self::TIMEOUT,
            heads: Heads::Provider,
            pending: PendingTag::default(),
        }
    }

    /// Limits each request to `timeout`.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        if let Some(transport) = &mut self.transport {
            transport.limit(timeout);
            self.provider = erase(transport.clone());
        }
        self
    }

    /// The provider, for calls of your own. They, too, are given up soon after the endpoint's timeout; a provider that was
    /// there already has none.
    pub fn provider(&self) -> &DynProvider {
        &self.provider
    }

    /// The endpoint without credentials, for messages.
    pub fn label(&self) -> &str {
        &self.label
    }

    pub(super) fn pending_tag(&self) -> &PendingTag {
        &self.pending
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        self.timeout
    }

    /// What an error of the [`provider`](Self::provider) means, without the endpoint's secrets: to be asked for every
    /// such error that is shown or stored.
    pub fn fault(&self, error: &TransportError) -> Fault {
        Fault::of(error, &self.secrets)
    }

    /// Wakes `wake` at each new head for as long as it is polled; returns only if heads cannot be subscribed to.
    ///
    /// Cancellation: dropping it unsubscribes.
    pub(crate) async fn wake_on_heads(&self, wake: &Notify, backoff: Backoff) {
        let mut failures = 0;
        loop {
            let ended = match &self.heads {
                Heads::Ws(connector) => match ClientBuilder::default().pubsub(connector.clone()).await {
                    Ok(client) => {
                        let provider = RootProvider::<Ethereum>::new(client);
                        forward_heads(&provider, wake, self.timeout).await
                    }
                    Err(error) => Err(error),
                },
                Heads::Provider => forward_heads(&self.provider, wake, self.timeout).await,
            };
            match ended {
                Ok(()) => failures = 1,
                Err(error) if is_unsupported(&error) => return,
                Err(error) => {
                    failures += 1;
                    let error = self.fault(&error);
                    tracing::debug!(endpoint = %self.label, %error, "no head subscription; polling");
                }
            }
            tokio::time::sleep(backoff.wait(failures, None)).await;
        }
    }
}

fn erase(transport: Transport) -> DynProvider {
    RootProvider::<Ethereum>::new(RpcClient::new(transport, true)).erased()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fault;

    #[test]
    fn keys_in_the_address_are_never_shown() {
        let url = "https://user:hunter2@rpc.example:8443/v2/sekret?key=sekret2";
        let endpoint = Endpoint::new(url).unwrap();
        assert_eq!(endpoint.label(), "https://rpc.example:8443");
        let told = [
            TransportErrorKind::custom_str(&format!("error at {url}")),
            TransportErrorKind::http_error(502, format!("{}GET /v2/sekret", "x".repeat(190))),
            TransportError::deser_err(serde::de::Error::custom("no key sekret2"), "\"sekret2\""),
        ];
        for error in told {
            let fault: Fault = endpoint.fault(&error);
            let shown = format!("{endpoint:?} {fault} {fault:?}");
            assert!(!shown.contains("sekret") && !shown.contains("hunter2"), "{shown}");
            assert!(!shown.contains("/v2/sek"), "half a key is a secret, too: {shown}");
        }
    }
}
