//! What stands before every request: who may ask, and the pages that are no JSON-RPC.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode, header};
use jsonrpsee::core::BoxError;
use jsonrpsee::server::{HttpBody, HttpRequest, HttpResponse};
use privatix_node::Part;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use subtle::ConstantTimeEq;
use tower::{Layer, Service};

use super::connections::Place;
use crate::node::{Health, Reason};

/// The pages beside the methods.
pub(crate) trait Pages: Send + Sync + 'static {
    /// The health page.
    fn health(&self) -> Health;
    /// The metrics page, in Prometheus' text format.
    fn metrics(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>>;
}

/// What the token of a request opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    Everything,
    Metrics,
}

/// The longest that a request may take, its arrival included.
const REQUEST_TIME: Duration = Duration::from_mins(1);

pub(crate) struct Rules {
    pub(crate) token: SecretString,
    /// Opens the metrics page and nothing else.
    pub(crate) metrics_token: Option<SecretString>,
    /// Host names under which the API may be reached, beside `localhost` and every address.
    pub(crate) hosts: Vec<String>,
    pub(crate) pages: Arc<dyn Pages>,
}

#[derive(Clone)]
pub(crate) struct GuardLayer {
    pub(crate) rules: Arc<Rules>,
    /// The connection's.
    pub(crate) place: Arc<Place>,
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { rules: Arc::clone(&self.rules), place: Arc::clone(&self.place), inner }
    }
}

#[derive(Clone)]
pub(crate) struct Guard<S> {
    rules: Arc<Rules>,
    place: Arc<Place>,
    inner: S,
}

impl<S> Service<HttpRequest> for Guard<S>
where
    S: Service<HttpRequest, Response = HttpResponse, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = HttpResponse;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        let (rules, place) = (Arc::clone(&self.rules), Arc::clone(&self.place));
        let next = self.inner.clone();
        // The service that was polled ready is the one to call.
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let _serving = place.serve();
            let (head, body) = request.into_parts();
            // Whatever kept it out: as a stranger it could be dismissed in the middle of what it ordered.
            if rules.right(&head) == Some(Right::Everything) && place.identify(()).is_err() {
                return Ok(refusal(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "busy",
                    "all connections of the control API are taken; close some, or try again",
                ));
            }
            if let Some(answer) = rules.answer(&head).await {
                return Ok(answer);
            }
            let request = HttpRequest::from_parts(head, body);
            match tokio::time::timeout(REQUEST_TIME, inner.call(request)).await {
                Ok(answer) => answer,
                Err(_) => Ok(refusal(
                    StatusCode::GATEWAY_TIMEOUT,
                    "timeout",
                    "the request took longer than a minute and was given up; jobs that it had ordered before go on (`jobs list`)",
                )),
            }
        })
    }
}

impl Rules {
    /// The answer to all but an authorised call of a method.
    async fn answer(&self, request: &Parts) -> Option<HttpResponse> {
        let host = host_of(request);
        if !host.is_some_and(|host| self.knows(host)) {
            return Some(refusal(
                StatusCode::FORBIDDEN,
                "host_not_allowed",
                "the Host header names a host that this API does not answer for; use its address, or add the name to \
                 api.allowed_hosts",
            ));
        }
        let get = request.method == Method::GET || request.method == Method::HEAD;
        let path = request.uri.path();
        if get && let Some(question) = question(path) {
            let health = self.health(request);
            let status = if question(&health) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let body = serde_json::to_string(&health).unwrap_or_else(|error| error.to_string());
            return Some(response(status, "application/json", body));
        }
        let right = self.right(request);
        if right.is_some() && get && path == "/metrics" {
            return Some(response(StatusCode::OK, "text/plain; version=0.0.4", self.pages.metrics().await));
        }
        if right != Some(Right::Everything) {
            let mut answer = refusal(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "this needs the header `Authorization: Bearer <token>` with the token in the daemon's API token file; \
                 GET /metrics takes the one in the metrics token file, too",
            );
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            return Some(answer);
        }
        match path {
            "/" if request.method == Method::POST => None,
            _ => Some(refusal(
                StatusCode::NOT_FOUND,
                "no_such_page",
                "there are POST / for JSON-RPC, GET /health, /health/live, /health/ready, /health/money and /metrics",
            )),
        }
    }

    /// How the daemon is. Who shows no token does not see what names channels, transactions or amounts.
    fn health(&self, request: &Parts) -> Health {
        let mut health = self.pages.health();
        if self.right(request).is_none() {
            health.checks.iter_mut().for_each(|check| check.message = None);
            let is_private = |reason: &&mut Reason| {
                [Part::Damage, Part::Reconciliation, Part::Reserve].iter().any(|p| p.as_str() == reason.part)
            };
            let said = health.reasons.iter_mut().chain(&mut health.warnings);
            said.filter(is_private).for_each(|reason| reason.message.clear());
        }
        health
    }

    /// A page of another site whose name was made to point here (DNS rebinding) still sends that name. An address cannot
    /// be rebound.
    fn knows(&self, host: &str) -> bool {
        let name = host.trim_start_matches('[').trim_end_matches(']');
        name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    fn right(&self, request: &Parts) -> Option<Right> {
        let given = request.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = given.split_once(' ')?;
        let is = |expected: &SecretString| {
            scheme.eq_ignore_ascii_case("bearer")
                && bool::from(token.trim().as_bytes().ct_eq(expected.expose_secret().as_bytes()))
        };
        if is(&self.token) {
            Some(Right::Everything)
        } else {
            self.metrics_token.as_ref().is_some_and(is).then_some(Right::Metrics)
        }
    }
}

/// What a health page asks.
fn question(path: &str) -> Option<fn(&Health) -> bool> {
    match path {
        "/health" | "/health/ready" => Some(|health| health.ready),
        "/health/live" => Some(|health| health.live),
        "/health/money" => Some(|health| health.money_safe),
        _ => None,
    }
}

/// The host of a request, without its port.
fn host_of(request: &Parts) -> Option<&str> {
    let named = match request.headers.get(header::HOST) {
        Some(host) => host.to_str().ok()?,
        None => request.uri.authority()?.as_str(), // HTTP/2
    };
    match named.rsplit_once(':') {
        // A bare address of version 6 has colons and no port.
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.is_empty() => {
            Some(if named.ends_with(']') { named } else { host })
        }
        _ => Some(named),
    }
}

fn refusal(status: StatusCode, code: &str, message: &str) -> HttpResponse {
    response(status, "application/json", json!({ "code": code, "message": message }).to_string())
}

fn response(status: StatusCode, kind: &'static str, body: String) -> HttpResponse {
    let mut response = HttpResponse::new(HttpBody::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use privatix_net::{Network, VisitorLimits};

    use super::*;
    use crate::node::{Check, CheckState};

    type Places = privatix_net::Places<Network, ()>;

    fn endangered() -> Check {
        let message = Some("channel 0x01: 1200".to_owned());
        Check { name: "channels".into(), state: CheckState::Bad, message }
    }

    struct NoPages;
    impl Pages for NoPages {
        fn health(&self) -> Health {
            let warning = Reason { part: "damaged channels".into(), message: "channel 0x01: 1200".into() };
            let (checks, warnings) = (vec![endangered()], vec![warning]);
            Health { live: true, ready: true, checks, warnings, ..Health::default() }
        }
        fn metrics(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
            Box::pin(async { String::new() })
        }
    }

    fn rules() -> Rules {
        Rules {
            token: "secret".into(),
            metrics_token: Some("figures".into()),
            hosts: vec!["node.example".into()],
            pages: Arc::new(NoPages),
        }
    }

    async fn status(request: http::request::Builder) -> Option<StatusCode> {
        rules().answer(&request.body(()).unwrap().into_parts().0).await.map(|answer| answer.status())
    }

    #[tokio::test]
    async fn only_addresses_localhost_and_configured_names_are_answered_for() {
        for host in
            ["127.0.0.1:9", "127.0.0.1", "[::1]:9", "[::1]", "localhost", "LOCALHOST:80", "node.example:1"]
        {
            let request = http::Request::get("/health").header("host", host);
            assert_eq!(status(request).await, Some(StatusCode::OK), "{host}");
        }
        for host in
            ["evil.example", "evil.example:9520", "localhost.evil.example", "127.0.0.1.evil.example", ""]
        {
            let request = http::Request::get("/health").header("host", host);
            assert_eq!(status(request).await, Some(StatusCode::FORBIDDEN), "{host}");
        }
        assert_eq!(status(http::Request::get("/health")).await, Some(StatusCode::FORBIDDEN));
    }

    #[tokio::test]
    async fn all_but_health_needs_the_token() {
        let post = || http::Request::post("/").header("host", "localhost");
        for wrong in ["Bearer wrong!", "Bearer", "Bearer ", "Basic secret", "secret", "Bearer secretsecret"] {
            let request = post().header("authorization", wrong);
            assert_eq!(status(request).await, Some(StatusCode::UNAUTHORIZED), "{wrong}");
        }
        assert_eq!(status(post()).await, Some(StatusCode::UNAUTHORIZED));
        let metrics = http::Request::get("/metrics").header("host", "localhost");
        assert_eq!(status(metrics).await, Some(StatusCode::UNAUTHORIZED));
        // None: passed on to the methods.
        assert_eq!(status(post().header("authorization", "Bearer secret")).await, None);
        assert_eq!(status(post().header("authorization", "bearer secret")).await, None);
    }

    #[tokio::test]
    async fn the_metrics_token_opens_the_metrics_page_only() {
        let with = |request: http::request::Builder, token: &str| {
            status(request.header("host", "localhost").header("authorization", format!("Bearer {token}")))
        };
        assert_eq!(with(http::Request::get("/metrics"), "figures").await, Some(StatusCode::OK));
        assert_eq!(with(http::Request::get("/metrics"), "secret").await, Some(StatusCode::OK));
        assert_eq!(with(http::Request::get("/metrics"), "figure").await, Some(StatusCode::UNAUTHORIZED));
        for other in [http::Request::post("/"), http::Request::post("/metrics"), http::Request::get("/rpc")] {
            assert_eq!(with(other, "figures").await, Some(StatusCode::UNAUTHORIZED));
        }
        let mut rules = rules();
        rules.metrics_token = None;
        let request = http::Request::get("/metrics").header("host", "localhost");
        let request = request.header("authorization", "Bearer figures").body(()).unwrap();
        assert_eq!(rules.right(&request.into_parts().0), None, "none is configured");
    }

    #[tokio::test]
    async fn who_shows_the_token_gets_a_place_of_the_authorised_or_learns_that_all_are_taken() {
        let limits = VisitorLimits { strangers: 3, strangers_per_group: 3, known: 1, known_per_owner: 1 };
        let places = Places::new(limits);
        let rules = Arc::new(rules());
        let ask = |place: &Arc<Place>, token: &str| {
            let layer = GuardLayer { rules: Arc::clone(&rules), place: Arc::clone(place) };
            let methods = |_| async { Ok::<_, BoxError>(HttpResponse::new(HttpBody::empty())) };
            let request = http::Request::post("/").header("host", "localhost");
            let request = request.header("authorization", token).body(HttpBody::empty()).unwrap();
            let answer = layer.layer(tower::service_fn(methods)).call(request);
            async { answer.await.unwrap().status() }
        };
        let (first, second) = (Arc::new(places.admit(None).unwrap()), Arc::new(places.admit(None).unwrap()));
        assert_eq!(ask(&first, "Bearer secret").await, StatusCode::OK);
        assert_eq!(ask(&first, "Bearer secret").await, StatusCode::OK);
        assert_eq!(ask(&second, "Bearer secret").await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask(&second, "Bearer wrong").await, StatusCode::UNAUTHORIZED);
        drop(first);
        assert_eq!(ask(&second, "Bearer secret").await, StatusCode::OK);
    }

    #[tokio::test]
    async fn each_health_page_answers_its_question() {
        for (page, expected) in [
            ("/health", StatusCode::OK),
            ("/health/ready", StatusCode::OK),
            ("/health/live", StatusCode::OK),
            ("/health/money", StatusCode::SERVICE_UNAVAILABLE),
            ("/health/other", StatusCode::UNAUTHORIZED),
        ] {
            let request = http::Request::get(page).header("host", "localhost");
            assert_eq!(status(request).await, Some(expected), "{page}");
        }
    }

    #[test]
    fn what_checks_name_is_shown_with_a_token_only() {
        for (token, expected) in [("secret", true), ("figures", true), ("wrong", false), ("", false)] {
            let request = http::Request::get("/health/money").header("host", "localhost");
            let request = request.header("authorization", format!("Bearer {token}")).body(()).unwrap();
            let health = rules().health(&request.into_parts().0);
            let message = expected.then(|| "channel 0x01: 1200".to_owned());
            assert_eq!(health.checks, [Check { message: message.clone(), ..endangered() }], "{token}");
            assert_eq!(health.warnings[0].message, message.unwrap_or_default(), "{token}");
        }
    }

    #[tokio::test]
    async fn there_are_no_other_pages() {
        for request in [http::Request::get("/"), http::Request::post("/rpc"), http::Request::options("/")] {
            let request = request.header("host", "localhost").header("authorization", "Bearer secret");
            assert_eq!(status(request).await, Some(StatusCode::NOT_FOUND));
        }
    }
}
