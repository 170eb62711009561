//! A plug-in in a process of its own: this test binary, started again. It answers one JSON object a line, each request by a thread of
//! its own, and finishes what it has begun whether or not anybody still waits for it.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_adapter::{
    About, Adapter, AdapterRefusal, Allowance, Configuration, Health, ProductId, Provision, Provisioned,
    Role, UsageReporter,
};
use privatix_channel::{ChannelId, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use super::desk::soon;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    Provision(Box<Provision>),
    Allow {
        channel: ChannelId,
        up_to: Usage,
    },
    Start {
        channel: ChannelId,
    },
    Suspend {
        channel: ChannelId,
    },
    Stop {
        channel: ChannelId,
    },
    /// Whether it serves the channel.
    Serves {
        channel: ChannelId,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Event(String),
    Answer { id: u64, answer: Result<Value, AdapterRefusal> },
}

const ADDRESS: &str = "PLUG_IN_CONNECTS_TO";
const SLOW: &str = "PLUG_IN_STARTS_FOR_MS";

/// The process itself; nothing where no test started it.
#[test]
fn the_plug_in_of_these_tests() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let slow = Duration::from_millis(std::env::var(SLOW).unwrap().parse().unwrap());
    let stream = TcpStream::connect(address).unwrap();
    let writer = Arc::new(Mutex::new(stream.try_clone().unwrap()));
    let serves: Arc<Mutex<HashMap<ChannelId, bool>>> = Arc::default();
    for line in BufReader::new(stream).lines() {
        let (id, request): (u64, Request) = serde_json::from_str(&line.unwrap()).unwrap();
        let (writer, serves) = (Arc::clone(&writer), Arc::clone(&serves));
        std::thread::spawn(move || {
            let send = |line: &Line| {
                let line = serde_json::to_string(line).unwrap() + "\n";
                writer.lock().write_all(line.as_bytes()).unwrap();
            };
            let event = |what: String| send(&Line::Event(what));
            let answer = carry_out(request, &serves, slow, event);
            send(&Line::Answer { id, answer });
        });
    }
}

fn carry_out(
    request: Request,
    serves: &Mutex<HashMap<ChannelId, bool>>,
    slow: Duration,
    event: impl Fn(String),
) -> Result<Value, AdapterRefusal> {
    let set = |channel: ChannelId, serving: bool, what: &str| {
        let mut serves = serves.lock();
        *serves.get_mut(&channel).ok_or(AdapterRefusal::UnknownChannel { channel })? = serving;
        event(what.to_owned());
        Ok(Value::Null)
    };
    match request {
        Request::Provision(provision) => {
            serves.lock().entry(provision.channel()).or_insert(false);
            if let Provision::Sell { up_to, .. } = *provision {
                event(format!("provisioned up to {up_to}"));
            }
            Ok(json!({}))
        }
        Request::Allow { channel, up_to } => {
            if !serves.lock().contains_key(&channel) {
                return Err(AdapterRefusal::UnknownChannel { channel });
            }
            event(format!("allowed {up_to}"));
            Ok(Value::Null)
        }
        Request::Start { channel } => {
            if !serves.lock().contains_key(&channel) {
                return Err(AdapterRefusal::UnknownChannel { channel });
            }
            event("starting".to_owned());
            std::thread::sleep(slow);
            set(channel, true, "started")
        }
        Request::Suspend { channel } => set(channel, false, "suspended"),
        Request::Stop { channel } => {
            serves.lock().remove(&channel);
            Ok(Value::Null)
        }
        Request::Serves { channel } => Ok(json!(serves.lock().get(&channel).copied().unwrap_or(false))),
    }
}

type Pending = HashMap<u64, oneshot::Sender<Result<Value, AdapterRefusal>>>;

/// One life of the process.
struct Life {
    process: Child,
    requests: mpsc::UnboundedSender<String>,
    /// Never answered once the process has ended, as nobody knows what it has done.
    pending: Arc<Mutex<Pending>>,
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The adapter that speaks to the process.
pub struct PlugIn {
    slow: Duration,
    lives: Mutex<Vec<Life>>,
    events: mpsc::UnboundedSender<String>,
    next: AtomicU64,
}

/// What the process does, as it does it.
pub struct Events(mpsc::UnboundedReceiver<String>);

impl Events {
    pub async fn next(&mut self) -> String {
        soon("an event of the plug-in", self.0.recv()).await.unwrap()
    }
}

impl PlugIn {
    /// Starts the process; each `start` takes that long.
    pub async fn start(slow: Duration) -> (Arc<Self>, Events) {
        let (events, received) = mpsc::unbounded_channel();
        let plug_in = Self { slow, lives: Mutex::default(), events, next: AtomicU64::new(1) };
        plug_in.begin().await;
        (Arc::new(plug_in), Events(received))
    }

    /// Kills the process, and starts another one.
    pub async fn restart(&self, instance: &watch::Sender<u64>) {
        {
            let mut lives = self.lives.lock();
            let life = lives.last_mut().unwrap();
            life.process.kill().unwrap();
            life.process.wait().unwrap();
        }
        self.begin().await;
        instance.send_modify(|instance| *instance += 1);
    }

    async fn begin(&self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["process::the_plug_in_of_these_tests", "--exact", "--nocapture"])
            .env(ADDRESS, listener.local_addr().unwrap().to_string())
            .env(SLOW, self.slow.as_millis().to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (stream, _) = soon("the process", listener.accept()).await.unwrap();
        let (from, mut to) = stream.into_split();
        let (requests, mut waiting) = mpsc::unbounded_channel::<String>();
        tokio::spawn(async move {
            while let Some(line) = waiting.recv().await {
                if to.write_all(line.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        let life = Life { process, requests, pending: Arc::default() };
        let (pending, events) = (Arc::clone(&life.pending), self.events.clone());
        tokio::spawn(async move {
            let mut lines = tokio::io::BufReader::new(from).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str(&line).unwrap() {
                    Line::Event(what) => drop(events.send(what)),
                    Line::Answer { id, answer } => {
                        if let Some(waiting) = pending.lock().remove(&id) {
                            let _ = waiting.send(answer);
                        }
                    }
                }
            }
        });
        self.lives.lock().push(life);
    }

    async fn ask(&self, request: Request) -> Result<Value, AdapterRefusal> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let answer = {
            let lives = self.lives.lock();
            let life = lives.last().unwrap();
            let (send, answer) = oneshot::channel();
            life.pending.lock().insert(id, send);
            let _ = life.requests.send(serde_json::to_string(&(id, request)).unwrap() + "\n");
            answer
        };
        match answer.await {
            Ok(answer) => answer,
            Err(_) => std::future::pending().await,
        }
    }

    pub async fn serves(&self, channel: ChannelId) -> bool {
        soon("an answer", self.ask(Request::Serves { channel })).await.unwrap() == json!(true)
    }
}

#[async_trait]
impl Adapter for PlugIn {
    fn about(&self) -> About {
        let product = ProductId(uuid::Uuid::from_u128(4));
        About { product, name: "process".into(), version: "0".into(), roles: vec![Role::Agent] }
    }

    async fn configure(&self, _: Configuration, _: UsageReporter) -> Result<(), AdapterRefusal> {
        Ok(())
    }

    async fn provision(&self, provision: Provision) -> Result<Provisioned, AdapterRefusal> {
        let endpoint = self.ask(Request::Provision(Box::new(provision))).await?;
        Ok(Provisioned { endpoint })
    }

    async fn start(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.ask(Request::Start { channel }).await.map(drop)
    }

    async fn suspend(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.ask(Request::Suspend { channel }).await.map(drop)
    }

    async fn resume(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.start(channel).await
    }

    async fn stop(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.ask(Request::Stop { channel }).await.map(drop)
    }

    async fn allow(&self, channel: ChannelId, up_to: Usage) -> Result<Allowance, AdapterRefusal> {
        self.ask(Request::Allow { channel, up_to }).await?;
        Ok(Allowance::Enforced)
    }

    async fn health(&self) -> Health {
        Health::Well
    }

    async fn shutdown(&self) -> Result<(), AdapterRefusal> {
        Ok(())
    }
}
