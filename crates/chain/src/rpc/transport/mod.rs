//! What carries requests to an endpoint: the one place that knows the whole address.
//!
//! Libraries log the addresses they talk to and quote them in errors. So nothing here goes through a layer that is given
//! the address as text: requests are made with the HTTP client itself, the WebSocket handshake too, and an error leaves
//! this module only after the address was taken out of it.

mod http;
mod ws;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use alloy::rpc::json_rpc::{ErrorPayload, RequestPacket, Response, ResponsePacket, ResponsePayload};
use alloy::transports::{RpcError as AlloyError, TransportError, TransportErrorKind, TransportFut};
use reqwest::redirect;
use serde_json::value::{RawValue, to_raw_value};

use super::names::Names;
use super::secrets::Secrets;
use super::{EndpointUrl, ProxyUrl};
use crate::ChainError;

pub(super) use ws::Connector;

/// For a connection to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The same through a proxy, which may have to build a way first, as Tor does.
const CONNECT_TIMEOUT_BY_PROXY: Duration = Duration::from_secs(30);
/// What a request is given beyond its timeout, so that whoever watches that timeout gives up first and names it.
const GRACE: Duration = Duration::from_secs(1);
/// What is kept of an answer that cannot be read, in bytes: enough to see what it is.
const LONGEST_QUOTE: usize = 4096;
/// Redirections followed, all within one host.
const REDIRECTS: usize = 3;

/// A transport of alloy's that logs what is asked of whom, but never where.
#[derive(Clone)]
pub(super) struct Transport {
    url: EndpointUrl,
    limit: Duration,
    carrier: Carrier,
}

#[derive(Clone)]
enum Carrier {
    Http(reqwest::Client),
    Ws(ws::LazyWs),
}

impl Transport {
    /// One that has not connected yet, and over WebSocket what makes connections for subscriptions.
    pub(super) fn new(
        url: &EndpointUrl,
        proxy: Option<&ProxyUrl>,
        timeout: Duration,
    ) -> Result<(Self, Option<Connector>), ChainError> {
        let client = client(url, proxy).map_err(|error| ChainError::BadUrl {
            reason: format!("no HTTP client can be made: {}", error.without_url()),
        })?;
        let (carrier, connector) = if url.exposed().scheme().starts_with("ws") {
            let connector = Connector::new(client, url.clone(), connect_timeout(proxy));
            (Carrier::Ws(ws::LazyWs::new(connector.clone())), Some(connector))
        } else {
            (Carrier::Http(client), None)
        };
        Ok((Self { url: url.clone(), limit: timeout + GRACE, carrier }, connector))
    }

    /// Gives each request this long, and a little longer than those who watch the time themselves.
    pub(super) fn limit(&mut self, timeout: Duration) {
        self.limit = timeout + GRACE;
    }

    async fn send(self, request: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let methods: Vec<String> = request.method_names().take(3).map(str::to_owned).collect();
        let methods = methods.join(", ");
        let begun = Instant::now();
        let ask = async {
            match self.carrier {
                Carrier::Http(client) => http::post(&client, &self.url, &request).await,
                Carrier::Ws(lazy) => lazy.send(request).await,
            }
        };
        let answer = match tokio::time::timeout(self.limit, ask).await {
            Ok(Ok(answer)) => Ok(clean_answer(&self.url, answer)),
            Ok(Err(error)) => Err(clean_error(&self.url, error)),
            Err(_) => Err(TransportErrorKind::custom_str(&format!("no answer within {:?}", self.limit))),
        };
        let took = begun.elapsed();
        match &answer {
            Ok(answer) => {
                tracing::debug!(
                    endpoint = self.url.label(),
                    method = methods,
                    ?took,
                    refused = answer.is_error(),
                    "answered"
                );
            }
            Err(error) => {
                tracing::debug!(endpoint = self.url.label(), method = methods, ?took, %error, "not answered");
            }
        }
        answer
    }
}

impl tower::Service<RequestPacket> for Transport {
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

const fn connect_timeout(proxy: Option<&ProxyUrl>) -> Duration {
    if proxy.is_some() { CONNECT_TIMEOUT_BY_PROXY } else { CONNECT_TIMEOUT }
}

/// The HTTP client for an endpoint.
fn client(url: &EndpointUrl, proxy: Option<&ProxyUrl>) -> Result<reqwest::Client, reqwest::Error> {
    let exposed = url.exposed();
    let host = exposed.host_str().map(str::to_owned);
    let secure = matches!(exposed.scheme(), "https" | "wss");
    let within_host = redirect::Policy::custom(move |attempt| {
        let to = attempt.url();
        // Another host must not get to see the key, nor anybody on the way to it.
        let same = to.host_str() == host.as_deref() && (!secure || to.scheme() == "https");
        if same && attempt.previous().len() <= REDIRECTS { attempt.follow() } else { attempt.stop() }
    });
    let client = reqwest::Client::builder()
        .connect_timeout(connect_timeout(proxy))
        .dns_resolver(Names::default())
        .redirect(within_host)
        // It would repeat the address to whom we are redirected to.
        .referer(false)
        .connection_verbose(false);
    if let Some(proxy) = proxy {
        // A tunnel for every scheme. Naming a proxy leaves out those of the environment.
        let client = client.proxy(reqwest::Proxy::all(proxy.exposed())?);
        return if exposed.scheme().starts_with("ws") { client.http1_only().build() } else { client.build() };
    }
    match exposed.scheme() {
        // Proxies of the environment pass on an upgrade only through a tunnel, which is made for TLS alone.
        "ws" => client.http1_only().no_proxy().build(),
        "wss" => client.http1_only().build(),
        _ => client.build(),
    }
}

/// What the client says of a failed request, with its causes and without the address.
fn failed(url: &EndpointUrl, error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    TransportErrorKind::custom_str(&url.secrets().hide(&with_causes(&error)))
}

/// Errors of the HTTP client say the cause only in their sources.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// Takes the address out of the refusals in an answer. Results are left as they are.
fn clean_answer(url: &EndpointUrl, answer: ResponsePacket) -> ResponsePacket {
    let clean = |mut response: Response| {
        if let ResponsePayload::Failure(refusal) = &mut response.payload {
            clean_refusal(url.secrets(), refusal);
        }
        response
    };
    match answer {
        ResponsePacket::Single(response) => ResponsePacket::Single(clean(response)),
        ResponsePacket::Batch(responses) => ResponsePacket::Batch(responses.into_iter().map(clean).collect()),
    }
}

/// Of a refusal's data only what a contract returned is kept: the rest is the endpoint's own, may quote the address, and is
/// appended to the message wherever the refusal is shown.
fn clean_refusal(secrets: &Secrets, refusal: &mut ErrorPayload) {
    refusal.message = secrets.hide(&refusal.message).into();
    let data = refusal.data.take().and_then(|data| RawValue::from_string(secrets.hide(data.get())).ok());
    refusal.data = data;
    refusal.data = refusal.as_revert_data().and_then(|reverted| to_raw_value(&reverted).ok());
}

fn clean_error(url: &EndpointUrl, error: TransportError) -> TransportError {
    use TransportErrorKind as Kind;
    let secrets: &Arc<_> = url.secrets();
    match error {
        AlloyError::Transport(Kind::HttpError(mut error)) => {
            error.body = secrets.hide(&error.body);
            AlloyError::Transport(Kind::HttpError(error))
        }
        AlloyError::Transport(Kind::HttpErrorWithRetryAfter { mut error, retry_after }) => {
            error.body = secrets.hide(&error.body);
            AlloyError::Transport(Kind::HttpErrorWithRetryAfter { error, retry_after })
        }
        AlloyError::Transport(Kind::Custom(error)) => {
            TransportErrorKind::custom_str(&secrets.hide(&with_causes(&*error)))
        }
        AlloyError::DeserError { err, text } => {
            let mut text = secrets.hide(&text);
            text.truncate(text.floor_char_boundary(LONGEST_QUOTE));
            AlloyError::DeserError { err, text }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(message: &str, data: &str) -> ErrorPayload {
        let url = "https://node.example/v3/PATHKEY0123456789".parse::<EndpointUrl>().unwrap();
        let mut refusal = ErrorPayload {
            code: -32_000,
            message: message.to_owned().into(),
            data: Some(RawValue::from_string(data.to_owned()).unwrap()),
        };
        clean_refusal(url.secrets(), &mut refusal);
        refusal
    }

    #[test]
    fn a_refusals_data_is_kept_only_where_a_contract_returned_it() {
        let reverted = cleaned("execution reverted", r#"{"result":"0x08c379a0"}"#);
        assert_eq!(reverted.as_revert_data().unwrap().to_string(), "0x08c379a0");
        for (message, data) in [
            ("no such method", r#"{"see":"https://node.example/v3/PATHKEY0123456789"}"#),
            ("reverted by PATHKEY0123456789", r#"["PATHKEY0123456789"]"#),
            ("internal error", r#""0x08c379a0""#),
        ] {
            let refusal = cleaned(message, data);
            assert!(refusal.data.is_none(), "{refusal}");
            assert!(!refusal.to_string().contains("PATHKEY"), "{refusal}");
        }
    }

    #[test]
    fn only_the_beginning_of_an_answer_that_cannot_be_read_is_kept() {
        let url = "https://node.example/v3/PATHKEY0123456789".parse::<EndpointUrl>().unwrap();
        let page = format!("<html>PATHKEY0123456789{}", "ä".repeat(LONGEST_QUOTE));
        let err = serde_json::from_str::<u8>(&page).unwrap_err();
        let shown = clean_error(&url, TransportError::deser_err(err, page)).to_string();
        assert!(shown.contains("<html>") && !shown.contains("PATHKEY"), "{shown}");
        assert!(shown.len() < LONGEST_QUOTE + 200, "{}", shown.len());
    }
}
