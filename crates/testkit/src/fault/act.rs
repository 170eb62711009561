//! What a fault does to a request and its answer.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use alloy::primitives::{Bytes, keccak256};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::proxy::{PATIENCE, Shared, lock};
use super::script::Armed;
use super::view::{self, hex, number};
use super::{Fault, overlay};
use crate::TestkitError;

/// A JSON-RPC request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) params: Value,
}

impl Request {
    pub(super) fn is(&self, methods: &[&str]) -> bool {
        methods.contains(&self.method.as_str())
    }
}

/// What is answered.
#[derive(Debug)]
pub(super) enum Reply {
    Result(Value),
    /// A JSON-RPC error object.
    Error(Value),
    Http {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Cow<'static, str>,
    },
    Cut,
    Silence,
}

impl Reply {
    pub(super) fn error(code: i64, message: &str) -> Self {
        Self::Error(json!({"code": code, "message": message}))
    }

    pub(super) fn map(self, change: impl FnOnce(Value) -> Value) -> Self {
        match self {
            Self::Result(result) => Self::Result(change(result)),
            other => other,
        }
    }
}

/// The node behind the proxy.
pub(super) struct Node {
    url: String,
    client: reqwest::Client,
}

impl Node {
    pub(super) fn new(url: &str) -> Result<Self, TestkitError> {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
        let client = client.map_err(|error| TestkitError::Http(Box::new(error)))?;
        Ok(Self { url: url.to_owned(), client })
    }

    pub(super) fn ws_url(&self) -> String {
        self.url.replacen("http", "ws", 1)
    }

    pub(super) async fn ask(&self, method: &str, params: Value) -> Reply {
        let params = if params.is_null() { json!([]) } else { params };
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let request = self.client.post(&self.url).header("content-type", "application/json").body(body);
        let text = async { request.send().await?.text().await }.await;
        let answer = text.map(|text| serde_json::from_str::<Value>(&text));
        match answer {
            Ok(Ok(mut answer)) if answer.get("error").is_some() => Reply::Error(answer["error"].take()),
            Ok(Ok(mut answer)) => Reply::Result(answer["result"].take()),
            _ => Reply::Http { status: 502, headers: Vec::new(), body: Cow::Borrowed("the node is away") },
        }
    }

    /// The height of the node's newest block; 0 if it is away.
    pub(super) async fn head(&self) -> u64 {
        match self.ask("eth_blockNumber", Value::Null).await {
            Reply::Result(head) => number(&head).unwrap_or_default(),
            _ => 0,
        }
    }
}

/// Raw transactions that were kept back.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Vec<Value>>);

impl Kept {
    pub(super) fn take(&self) -> Vec<Value> {
        std::mem::take(&mut lock(&self.0))
    }
}

/// What a rule remembers between requests.
#[derive(Debug, Default)]
pub(super) struct State {
    frozen: OnceLock<u64>,
    heads: Mutex<BTreeSet<u64>>,
    served: Mutex<VecDeque<Instant>>,
}

/// Takes a request through the rules, and then to the node.
pub(super) fn act<'a>(shared: &'a Shared, rules: &'a [Armed], request: Request) -> BoxFuture<'a, Reply> {
    Box::pin(async move {
        let acting = rules.iter().position(|rule| rule.acts(&request.method, &request.params));
        match acting {
            // A handshake has no other answer than being accepted.
            None if request.method == "handshake" => Reply::Result(Value::Null),
            None if request.method == "eth_subscription" => Reply::Result(Value::Null),
            None => shared.node.ask(&request.method, request.params).await,
            Some(at) => apply(shared, &rules[at], &rules[at + 1..], request).await,
        }
    })
}

async fn apply(shared: &Shared, rule: &Armed, rest: &[Armed], request: Request) -> Reply {
    let state = &rule.state;
    let go = |request| act(shared, rest, request);
    match &rule.rule.fault {
        Fault::Delay { ms } => {
            tokio::time::sleep(Duration::from_millis(*ms)).await;
            go(request).await
        }
        Fault::Silence => Reply::Silence,
        Fault::Cut => Reply::Cut,
        Fault::Http { status, retry_after, body } => http(*status, *retry_after, body),
        Fault::Error { code, message, data } => {
            let mut error = json!({"code": code, "message": message});
            if let Some(data) = data {
                error["data"] = data.clone();
            }
            Reply::Error(error)
        }
        Fault::ActThenError { code, message } => {
            go(request).await;
            Reply::error(*code, message)
        }
        Fault::ActThenSilence => {
            go(request).await;
            Reply::Silence
        }
        Fault::Result(result) => Reply::Result(result.clone()),
        Fault::Merge(patch) => go(request).await.map(|result| view::merged(result, patch)),

        Fault::WrongChain { id } => match request.method.as_str() {
            "eth_chainId" => Reply::Result(hex(*id)),
            "net_version" => Reply::Result(id.to_string().into()),
            _ => go(request).await,
        },
        Fault::FrozenHead => {
            let head = if let Some(head) = state.frozen.get() {
                *head
            } else {
                let head = shared.node.head().await;
                *state.frozen.get_or_init(|| head)
            };
            seen_up_to(head, request, go).await
        }
        Fault::Lag { blocks } => {
            let head = shared.node.head().await.saturating_sub(*blocks);
            seen_up_to(head, request, go).await
        }
        Fault::OtherFork { from } => on_other_fork(*from, request, go).await,

        Fault::OmitLogs { from, to, topic, receipts, bloom } => {
            let omitted = view::Omitted { blocks: *from..=to.unwrap_or(u64::MAX), topic: topic.as_deref() };
            let is_receipt = request.is(&["eth_getTransactionReceipt", "eth_getBlockReceipts"]);
            let is_block = request.is(&["eth_getBlockByNumber", "eth_getBlockByHash"]);
            let is_logs = request.is(&["eth_getLogs"]);
            go(request).await.map(|result| match () {
                () if is_logs => omitted.left_of_logs(result),
                () if is_receipt && *receipts => omitted.left_of_receipts(result),
                () if is_block && *bloom => omitted.left_of_header(result),
                () => result,
            })
        }
        Fault::InventLog { block, address, topics, data } if request.is(&["eth_getLogs"]) => {
            let at = json!([hex(*block), false]);
            let Reply::Result(header) = shared.node.ask("eth_getBlockByNumber", at).await else {
                return go(request).await;
            };
            let invented = view::invented(&header, address, topics, data);
            let covered = view::covers(&request.params, *block, &header["hash"], address, topics);
            go(request).await.map(|logs| if covered { view::with_log(logs, invented) } else { logs })
        }
        Fault::DuplicateLogs if request.is(&["eth_getLogs"]) => go(request).await.map(view::doubled),
        Fault::InventLog { .. } | Fault::DuplicateLogs => go(request).await,

        Fault::AtMostLogs { logs } => {
            let reply = go(request).await;
            match &reply {
                Reply::Result(Value::Array(found)) if found.len() > *logs => {
                    Reply::error(-32_005, &format!("query returned more than {logs} results"))
                }
                _ => reply,
            }
        }
        Fault::AtMostBlocks { blocks } => match view::span(&request.params) {
            Some(span) if span > *blocks => {
                Reply::error(-32_602, &format!("eth_getLogs is limited to a {blocks} block range"))
            }
            _ => go(request).await,
        },
        Fault::AtMostBytes { bytes } => {
            let reply = go(request).await;
            match &reply {
                Reply::Result(result) if result.to_string().len() > *bytes => {
                    Reply::error(-32_008, &format!("response size should not be greater than {bytes} bytes"))
                }
                _ => reply,
            }
        }
        Fault::AtMostRequests { per_second, retry_after } => {
            if is_within(&mut lock(&state.served), *per_second, Instant::now()) {
                go(request).await
            } else {
                http(429, *retry_after, "too many requests")
            }
        }

        Fault::KeepBack { after_ms, refusal } => {
            keep_back(shared, &request, *after_ms);
            match refusal {
                Some(refusal) => Reply::error(-32_000, refusal),
                None => Reply::Result(hash_of(&request.params[0])),
            }
        }
        Fault::Revert { heads, message } => {
            let head = shared.node.head().await;
            let known = {
                let mut seen = lock(&state.heads);
                seen.insert(head);
                seen.len() as u64
            };
            if known <= *heads {
                Reply::Error(json!({"code": 3, "message": format!("execution reverted: {message}")}))
            } else {
                go(request).await
            }
        }
        Fault::Overlay(overlay) => overlay::act(*overlay, &shared.node, request, go).await,
    }
}

fn http(status: u16, retry_after: Option<u64>, body: &str) -> Reply {
    let headers = retry_after.map(|seconds| ("retry-after", seconds.to_string())).into_iter().collect();
    Reply::Http { status, headers, body: Cow::Owned(body.to_owned()) }
}

/// Counts a request at `now`, unless as many were served within the last second.
fn is_within(served: &mut VecDeque<Instant>, per_second: u32, now: Instant) -> bool {
    while served.front().is_some_and(|first| now.duration_since(*first) >= Duration::from_secs(1)) {
        served.pop_front();
    }
    let within = served.len() < per_second as usize;
    if within {
        served.push_back(now);
    }
    within
}

async fn seen_up_to<'a>(head: u64, request: Request, go: impl Fn(Request) -> BoxFuture<'a, Reply>) -> Reply {
    match view::up_to(head, request) {
        view::Seen::Known(result) => Reply::Result(result),
        view::Seen::Ask(request) => {
            let is_receipt = request.is(&["eth_getTransactionReceipt", "eth_getTransactionByHash"]);
            go(request).await.map(|result| {
                let above = number(&result["blockNumber"]).is_some_and(|block| block > head);
                if is_receipt && above { Value::Null } else { result }
            })
        }
    }
}

async fn on_other_fork<'a>(
    from: u64,
    request: Request,
    go: impl Fn(Request) -> BoxFuture<'a, Reply>,
) -> Reply {
    // A hash may be one of the branch, or of a block below it.
    let reply = go(view::from_fork(request.clone())).await;
    let unknown = matches!(reply, Reply::Error(_) | Reply::Result(Value::Null));
    let reply = if unknown { go(request).await } else { reply };
    reply.map(|result| view::to_fork(result, from))
}

fn keep_back(shared: &Shared, request: &Request, after_ms: Option<u64>) {
    let raw = request.params[0].clone();
    let Some(ms) = after_ms else {
        lock(&shared.kept.0).push(raw);
        return;
    };
    let node = Node { url: shared.node.url.clone(), client: shared.node.client.clone() };
    // Ends by itself, or with the test's runtime.
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        node.ask("eth_sendRawTransaction", json!([raw])).await;
    });
}

/// The hash of a raw transaction, as a node returns it.
fn hash_of(raw: &Value) -> Value {
    let raw: Option<Bytes> = raw.as_str().and_then(|raw| raw.parse().ok());
    raw.map_or(Value::Null, |raw| keccak256(raw).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_counted_within_each_second() {
        let mut served = VecDeque::new();
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let within = [0, 10, 20, 999, 1_000, 1_005, 1_010].map(|ms| is_within(&mut served, 2, at(ms)));
        assert_eq!(within, [true, true, false, false, true, false, true]);
    }
}
