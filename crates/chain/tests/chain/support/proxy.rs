use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::{NEVER, PATIENCE};

/// What the proxy does with a request.
pub enum Verdict {
    /// The node answers.
    Forward,
    /// The node answers, once the test says so.
    ForwardAfter(Arc<Notify>),
    /// The node answers, and its result is changed on the way back.
    Change(Box<dyn FnOnce(Value) -> Value + Send>),
    /// The node acts, but what is said is this JSON-RPC error.
    ForwardThenError(i64, &'static str),
    /// The node acts, but its answer never comes.
    ForwardThenSilence,
    /// Nothing is forwarded, nothing ever answered.
    Silence,
    /// A JSON-RPC error.
    Error(i64, &'static str),
    /// A plain HTTP answer.
    Http(StatusCode, HeaderMap, &'static str),
    /// The connection is lost in the middle of the answer.
    Cut,
}

impl Verdict {
    pub fn http(status: u16, body: &'static str) -> Self {
        Self::Http(StatusCode::from_u16(status).unwrap(), HeaderMap::new(), body)
    }
}

type Rule = dyn FnMut(&str, &Value) -> Verdict + Send;

/// A JSON-RPC endpoint before a real node, for the faults that a real node shows rarely.
pub struct Proxy {
    url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    node: String,
    client: reqwest::Client,
    rule: Mutex<Box<Rule>>,
    /// The methods asked for, in order, each noted after the rule was asked.
    asked: watch::Sender<Vec<String>>,
    /// Requests that will never be answered.
    silenced: watch::Sender<usize>,
}

impl Proxy {
    pub async fn start(node: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let shared = Arc::new(Shared {
            node: node.to_owned(),
            client,
            rule: Mutex::new(Box::new(|_, _| Verdict::Forward)),
            asked: watch::Sender::default(),
            silenced: watch::Sender::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let task = tokio::spawn(axum::serve(listener, app).into_future().map(drop));
        Self { url, shared, task }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Decides by method and parameters from now on.
    pub fn rule(&self, rule: impl FnMut(&str, &Value) -> Verdict + Send + 'static) {
        *self.shared.rule.lock() = Box::new(rule);
    }

    /// Forwards everything from now on.
    pub fn honest(&self) {
        self.rule(|_, _| Verdict::Forward);
    }

    /// How often `method` was asked for.
    pub fn count(&self, method: &str) -> usize {
        self.shared.asked.borrow().iter().filter(|asked| *asked == method).count()
    }

    /// How many requests will never be answered.
    pub fn silenced(&self) -> usize {
        *self.shared.silenced.borrow()
    }

    /// Waits until more than `n` requests will never be answered, and what is to happen before that has happened.
    pub async fn silenced_more(&self, n: usize) {
        let mut silenced = self.shared.silenced.subscribe();
        drop(super::within("silence", silenced.wait_for(|silenced| *silenced > n)).await.unwrap());
    }

    /// Waits until what was asked is as wished.
    pub async fn asked(&self, what: &str, wish: impl FnMut(&Vec<String>) -> bool) {
        let mut asked = self.shared.asked.subscribe();
        drop(super::within(what, asked.wait_for(wish)).await.unwrap());
    }

    /// Waits until `method` was asked for `n` times more.
    pub async fn asked_again(&self, method: &'static str, n: usize) {
        let before = self.count(method);
        self.asked(method, |asked| asked.iter().filter(|m| *m == method).count() >= before + n).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    // What is no JSON-RPC is a WebSocket handshake, which is never forwarded.
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let method = request["method"].as_str().unwrap_or("handshake").to_owned();
    let verdict = (shared.rule.lock())(&method, &request["params"]);
    shared.asked.send_modify(|asked| asked.push(method));
    let error = |code: i64, message: &str| {
        let error = json!({"code": code, "message": message});
        json!({"jsonrpc": "2.0", "id": request["id"], "error": error}).to_string().into_response()
    };
    match verdict {
        Verdict::Forward => shared.forward(body).await.into_response(),
        Verdict::ForwardAfter(go) => {
            go.notified().await;
            shared.forward(body).await.into_response()
        }
        Verdict::Change(change) => {
            let mut answer: Value = serde_json::from_str(&shared.forward(body).await).unwrap_or_default();
            answer["result"] = change(answer["result"].take());
            answer.to_string().into_response()
        }
        Verdict::ForwardThenError(code, message) => {
            shared.forward(body).await;
            error(code, message)
        }
        Verdict::ForwardThenSilence => {
            shared.forward(body).await;
            shared.silence().await
        }
        Verdict::Silence => shared.silence().await,
        Verdict::Error(code, message) => error(code, message),
        Verdict::Http(status, headers, body) => (status, headers, body).into_response(),
        Verdict::Cut => {
            let pieces = [Ok("{\"jsonrpc\":"), Err(std::io::Error::other("cut"))];
            Body::from_stream(futures::stream::iter(pieces)).into_response()
        }
    }
}

impl Shared {
    async fn silence(&self) -> Response {
        self.silenced.send_modify(|silenced| *silenced += 1);
        tokio::time::sleep(NEVER).await;
        StatusCode::GATEWAY_TIMEOUT.into_response()
    }

    async fn forward(&self, body: Bytes) -> String {
        let request = self.client.post(&self.node).header("content-type", "application/json").body(body);
        match request.send().await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => error.to_string(), // what is no JSON is an error to the client
        }
    }
}
