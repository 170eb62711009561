//! The API's client, for command lines and programs.

use std::time::Duration;

use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::node::Health;
use crate::{ErrorCode, Failure, Request};

/// Asks a daemon.
///
/// ```no_run
/// # async fn example() -> Result<(), privatix_api::ApiError> {
/// use privatix_api::{ApiClient, node};
///
/// let api = ApiClient::new("http://127.0.0.1:9520", "the token".into())?;
/// let order = api.call(&node::Deposit { amount: 100_u128.into() }).await?;
/// println!("follow job {}", order.job);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ApiClient {
    http: reqwest::Client,
    url: Url,
    token: SecretString,
}

impl std::fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiClient").field("url", &self.shown()).finish_non_exhaustive()
    }
}

/// Why a daemon was not asked, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The address is none. It is not quoted: it may hold the password of a proxy before the API.
    #[error("what was given is no address of a control API: {reason}; give one like http://127.0.0.1:9520")]
    BadUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answers.
    #[error("no daemon answers at {url}: {reason}; start it, or correct the address of its control API")]
    Unreachable {
        /// The address.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The daemon does not accept the token.
    #[error("the daemon at {url} does not accept the API token; use the token file that it was started with")]
    Unauthorized {
        /// The address.
        url: String,
    },
    /// The daemon refused.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// What answers is no control API, or one of another version.
    #[error(
        "what answers at {url} is not understood: {reason}; check the address, and that both are of one version"
    )]
    Protocol {
        /// The address.
        url: String,
        /// What came back.
        reason: String,
    },
}

impl ApiError {
    /// The daemon's own word, if it said one.
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(failure) => Some(failure.code),
            _ => None,
        }
    }
}

/// Somewhat longer than the daemon gives itself.
const TIMEOUT: Duration = Duration::from_secs(70);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Call<'a, P> {
    jsonrpc: &'static str,
    id: u32,
    method: &'static str,
    params: &'a P,
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<ErrorObject>,
}

#[derive(Deserialize)]
struct ErrorObject {
    code: i64,
    message: String,
    #[serde(default)]
    data: Option<Value>,
}

impl ErrorObject {
    fn into_failure(self) -> Failure {
        let named = self.data.as_ref().and_then(|data| data.get("code")?.as_str().map(str::to_owned));
        let code = match named {
            Some(name) => serde_json::from_value(Value::String(name)).unwrap_or(ErrorCode::Unknown),
            None => ErrorCode::of_number(self.code),
        };
        let message = if code == ErrorCode::MethodNotFound {
            "the daemon has no such method: it is of the other role, or of another version".to_owned()
        } else {
            self.message
        };
        Failure { code, message }
    }
}

impl ApiClient {
    /// A client of the daemon whose API is at `url`. Does not connect yet.
    ///
    /// # Errors
    /// [`ApiError::BadUrl`].
    pub fn new(url: &str, token: SecretString) -> Result<Self, ApiError> {
        let bad = |reason: String| ApiError::BadUrl { reason };
        let parsed = Url::parse(url).map_err(|error| bad(error.to_string()))?;
        if parsed.scheme() != "http" && parsed.scheme() != "https" {
            return Err(bad("its scheme is neither http nor https".to_owned()));
        }
        let http = reqwest::Client::builder()
            .no_proxy() // what the environment says of the web is not meant for the daemon next door
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| bad(error.without_url().to_string()))?;
        Ok(Self { http, url: parsed, token })
    }

    /// The daemon's address for messages: scheme, host and port.
    fn shown(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}", self.url.scheme(), self.url.host_str().unwrap_or_default())
    }

    /// The daemon's address.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Asks.
    ///
    /// # Errors
    /// All of [`ApiError`] but `BadUrl`.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Answer, ApiError> {
        let call = Call { jsonrpc: "2.0", id: 1, method: R::METHOD, params: request };
        let body = serde_json::to_vec(&call).map_err(|error| self.protocol(&error))?;
        let request = self.http.post(self.url.clone()).header("content-type", "application/json").body(body);
        let (_, body) = self.send(request).await?;
        let reply: Reply = serde_json::from_slice(&body).map_err(|error| self.protocol(&error))?;
        if let Some(error) = reply.error {
            return Err(error.into_failure().into());
        }
        let result = reply.result.as_deref().map_or("null", RawValue::get);
        serde_json::from_str(result).map_err(|error| self.protocol(&error))
    }

    /// How the daemon is. Without the right token, the checks have no messages.
    ///
    /// # Errors
    /// [`ApiError::Unreachable`], [`ApiError::Protocol`].
    pub async fn health(&self) -> Result<Health, ApiError> {
        let (_, body) = self.send(self.http.get(self.page("health"))).await?;
        serde_json::from_slice(&body).map_err(|error| self.protocol(&error))
    }

    /// The metrics page.
    ///
    /// # Errors
    /// All of [`ApiError`] but `BadUrl` and `Refused`.
    pub async fn metrics(&self) -> Result<String, ApiError> {
        let (status, body) = self.send(self.http.get(self.page("metrics"))).await?;
        if !status.is_success() {
            return Err(self.protocol(&format!("HTTP status {status}")));
        }
        String::from_utf8(body).map_err(|error| self.protocol(&error))
    }

    fn page(&self, name: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(name);
        url
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<(StatusCode, Vec<u8>), ApiError> {
        let unreachable = |error: reqwest::Error| ApiError::Unreachable {
            url: self.shown(),
            reason: innermost(&error.without_url()),
        };
        let request = request.bearer_auth(self.token.expose_secret());
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(unreachable)?.to_vec();
        match status {
            StatusCode::UNAUTHORIZED => Err(ApiError::Unauthorized { url: self.shown() }),
            // The health page says why it is not ready.
            status if status.is_success() || status == StatusCode::SERVICE_UNAVAILABLE => Ok((status, body)),
            status => Err(self.protocol(&match serde_json::from_slice::<Value>(&body) {
                Ok(said) => format!("HTTP status {status}: {}", said["message"].as_str().unwrap_or_default()),
                Err(_) => format!("HTTP status {status}"),
            })),
        }
    }

    fn protocol(&self, reason: &dyn std::fmt::Display) -> ApiError {
        ApiError::Protocol { url: self.shown(), reason: reason.to_string() }
    }
}

/// What lies at the bottom of an HTTP client's error: "connection refused", not "error sending request".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
