use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::Script;
use super::act::{Kept, Node, Reply, Request, act};
use super::script::Armed;
use super::serve;
use crate::TestkitError;

/// What happens to one request, as decided by a test's closure.
#[non_exhaustive]
pub enum Verdict {
    /// The script decides; without one the node answers.
    Forward,
    /// The node answers, once the test notifies.
    ForwardAfter(Arc<Notify>),
    /// The node answers, and its result is changed on the way back.
    Change(Box<dyn FnOnce(Value) -> Value + Send>),
    /// The node does what it is asked to, but this JSON-RPC error is answered.
    ForwardThenError(i64, &'static str),
    /// The node does what it is asked to, but its answer never comes.
    ForwardThenSilence,
    /// Nothing is passed on, nothing ever answered.
    Silence,
    /// A JSON-RPC error.
    Error(i64, &'static str),
    /// A plain HTTP answer: status, headers, body.
    Http(u16, Vec<(&'static str, String)>, &'static str),
    /// The connection is lost in the middle of the answer.
    Cut,
}

impl Verdict {
    /// A plain HTTP answer without headers.
    pub const fn http(status: u16, body: &'static str) -> Self {
        Self::Http(status, Vec::new(), body)
    }
}

type Decide = dyn FnMut(&str, &Value) -> Verdict + Send;

/// A JSON-RPC endpoint in front of a real node, for the faults that a real node rarely shows. Stopped when dropped.
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

pub(super) struct Shared {
    pub(super) node: Node,
    pub(super) kept: Kept,
    rule: Mutex<Box<Decide>>,
    script: Mutex<Arc<Vec<Armed>>>,
    /// The methods asked for, in order, each noted after the rule has decided.
    asked: watch::Sender<Vec<String>>,
    /// Requests that will never be answered.
    silenced: watch::Sender<usize>,
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl FaultProxy {
    /// An honest proxy in front of the node at `node`, an `http` URL; the node must serve WebSocket at the same port if
    /// clients are to subscribe.
    ///
    /// # Errors
    /// If no socket can be opened.
    pub async fn start(node: &str) -> Result<Self, TestkitError> {
        let shared = Arc::new(Shared {
            node: Node::new(node)?,
            kept: Kept::default(),
            rule: Mutex::new(Box::new(|_, _| Verdict::Forward)),
            script: Mutex::default(),
            asked: watch::Sender::default(),
            silenced: watch::Sender::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(TestkitError::Listen)?;
        let address = listener.local_addr().map_err(TestkitError::Listen)?;
        let app = Router::new().fallback(serve::answer).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { drop(axum::serve(listener, app).await) });
        Ok(Self { address, shared, task })
    }

    /// As [`start`](Self::start), with a script from the first request on.
    ///
    /// # Errors
    /// If no socket can be opened.
    pub async fn scripted(node: &str, script: Script) -> Result<Self, TestkitError> {
        let proxy = Self::start(node).await?;
        proxy.script(script);
        Ok(proxy)
    }

    /// Its address for HTTP.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address for WebSocket.
    pub fn ws_url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Follows this script from now on, with its counts at 0.
    pub fn script(&self, script: Script) {
        *lock(&self.shared.script) = Arc::new(Armed::script(script));
    }

    /// Decides by method and parameters from now on, before the script.
    pub fn rule(&self, rule: impl FnMut(&str, &Value) -> Verdict + Send + 'static) {
        *lock(&self.shared.rule) = Box::new(rule);
    }

    /// Passes on everything from now on.
    pub fn honest(&self) {
        self.rule(|_, _| Verdict::Forward);
        self.script(Script::default());
    }

    /// Sends the transactions that were kept back, in the order in which they came. Returns how many the node accepted.
    pub async fn release(&self) -> usize {
        let mut accepted = 0;
        for raw in self.shared.kept.take() {
            let sent = self.shared.node.ask("eth_sendRawTransaction", Value::Array(vec![raw])).await;
            accepted += usize::from(matches!(sent, Reply::Result(_)));
        }
        accepted
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
    ///
    /// # Panics
    /// If that takes longer than a test may wait.
    pub async fn silenced_more(&self, n: usize) {
        let mut silenced = self.shared.silenced.subscribe();
        within("silence", silenced.wait_for(|silenced| *silenced > n)).await;
    }

    /// Waits until the list of methods asked for is as wished.
    ///
    /// # Panics
    /// If that takes longer than a test may wait.
    pub async fn asked(&self, what: &str, wish: impl FnMut(&Vec<String>) -> bool) {
        let mut asked = self.shared.asked.subscribe();
        within(what, asked.wait_for(wish)).await;
    }

    /// Waits until `method` was asked for `n` times more.
    ///
    /// # Panics
    /// If that takes longer than a test may wait.
    pub async fn asked_again(&self, method: &str, n: usize) {
        let before = self.count(method);
        self.asked(method, |asked| asked.iter().filter(|m| *m == method).count() >= before + n).await;
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a test may wait for, at most: a guard against hangs.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);

async fn within<T, E>(what: &str, awaited: impl Future<Output = Result<T, E>>) {
    // The sender lives as long as the proxy, so the inner result is never an error.
    assert!(tokio::time::timeout(PATIENCE, awaited).await.is_ok(), "{what}: not in time");
}

pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) async fn reply(&self, request: Request) -> Reply {
        let verdict = (lock(&self.rule))(&request.method, &request.params);
        self.asked.send_modify(|asked| asked.push(request.method.clone()));
        let reply = match verdict {
            Verdict::Forward => self.scripted(request).await,
            Verdict::ForwardAfter(go) => {
                go.notified().await;
                self.scripted(request).await
            }
            Verdict::Change(change) => match self.scripted(request).await {
                Reply::Result(result) => Reply::Result(change(result)),
                other => other,
            },
            Verdict::ForwardThenError(code, message) => {
                self.scripted(request).await;
                Reply::error(code, message)
            }
            Verdict::ForwardThenSilence => {
                self.scripted(request).await;
                Reply::Silence
            }
            Verdict::Silence => Reply::Silence,
            Verdict::Error(code, message) => Reply::error(code, message),
            Verdict::Http(status, headers, body) => {
                Reply::Http { status, headers, body: Cow::Borrowed(body) }
            }
            Verdict::Cut => Reply::Cut,
        };
        if matches!(reply, Reply::Silence) {
            self.silenced.send_modify(|silenced| *silenced += 1);
        }
        reply
    }

    async fn scripted(&self, request: Request) -> Reply {
        let script = Arc::clone(&lock(&self.script));
        act(self, &script, request).await
    }
}
