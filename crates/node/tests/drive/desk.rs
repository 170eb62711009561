//! What is wanted of services, kept in memory, with a job processor that brings them there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_adapter::{Configuration, Credentials, Host, Provision, Provisioned, Role, usage_reports};
use privatix_channel::{ChannelId, Usage};
use privatix_db::{Conn, Database};
use privatix_jobs::{JobsError, Processor, Wake};
use privatix_market::{Actual, Answered, Target};
use privatix_node::NodeError;
use privatix_node::drive::{
    Bound, Bounds, Calls, Drive, DriveSlowly, Driven, Driver, Request, Times, Wanted,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::LONG;

pub fn channel(number: u64) -> ChannelId {
    format!("0x{number:064x}").parse().unwrap()
}

pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(LONG, future).await.unwrap_or_else(|_| panic!("{what}: waited in vain"))
}

/// A service, as `market` keeps it.
struct Service {
    target: Target,
    actual: Actual,
    instance: u64,
    asked: Option<(u32, Instant)>,
}

pub type Answer = (ChannelId, u32, Answered);

pub struct States {
    services: Mutex<(u32, HashMap<ChannelId, Service>)>,
    instance: watch::Receiver<u64>,
    /// What was asked of the states, in this order.
    pub asked: Mutex<Vec<&'static str>>,
    /// Answers of the plug-in cannot be stored.
    pub is_broken: AtomicBool,
    answers: mpsc::UnboundedSender<Answer>,
    unbounded: mpsc::UnboundedSender<ChannelId>,
}

impl States {
    fn actual(&self, id: ChannelId) -> Actual {
        let services = self.services.lock();
        match services.1.get(&id) {
            None => Actual::Absent,
            Some(service) if service.actual == Actual::Absent => Actual::Absent,
            Some(service) if service.instance == *self.instance.borrow() => service.actual,
            Some(_) => Actual::Unknown,
        }
    }
}

#[async_trait]
impl Driven for States {
    type Stored = ChannelId;
    type Applied = Answer;

    fn side(&self) -> Role {
        Role::Agent
    }

    async fn load(&self, _: &mut Conn, id: ChannelId) -> Result<Option<ChannelId>, NodeError> {
        self.asked.lock().push("load");
        Ok(self.services.lock().1.contains_key(&id).then_some(id))
    }

    fn wanted(&self, id: &ChannelId) -> Wanted {
        let actual = self.actual(*id);
        let services = self.services.lock();
        let service = &services.1[id];
        let request = |(seq, until): (u32, Instant)| Request {
            seq,
            left: until.saturating_duration_since(Instant::now()),
            afresh: false,
        };
        Wanted {
            target: service.target,
            actual,
            asked: service.asked.map(request),
            bound: Some(Bound { revision: 1, up_to: Usage::new(7) }),
        }
    }

    async fn provision(&self, channel: ChannelId) -> Result<Provision, NodeError> {
        let credentials = Credentials { username: channel.to_string(), password: "secret".into() };
        let (parameters, used, up_to) = (serde_json::json!({}), Usage::ZERO, Usage::new(7));
        Ok(Provision::Sell { channel, credentials, parameters, used, up_to })
    }

    async fn provisioned(&self, _: &Provision, _: &Provisioned) -> Result<(), NodeError> {
        Ok(())
    }

    async fn report(
        &self,
        _: &mut Conn,
        &id: &ChannelId,
        seq: u32,
        answer: Answered,
    ) -> Result<(Answer, Wanted), NodeError> {
        self.asked.lock().push("report");
        if answer != Answered::GaveUp && self.is_broken.load(Ordering::Relaxed) {
            return Err(NodeError::NotRunning);
        }
        let mut services = self.services.lock();
        let service = services.1.get_mut(&id).unwrap();
        if service.asked.is_some_and(|(asked, _)| asked == seq) {
            service.asked = None;
            if let Answered::Did(actual) = answer {
                (service.actual, service.instance) = (actual, *self.instance.borrow());
            }
        }
        drop(services);
        Ok(((id, seq, answer), self.wanted(&id)))
    }

    async fn committed(&self, answer: Answer) {
        let _ = self.answers.send(answer);
    }

    fn exhausted(&self, _: ChannelId) {}

    async fn bounded(&self, _: ChannelId) {}

    async fn unbounded(&self, channel: ChannelId) {
        let _ = self.unbounded.send(channel);
    }
}

pub struct Desk {
    db: Database,
    pub driven: Arc<States>,
    pub bounds: Bounds,
    /// Counts the lives of the plug-in.
    pub instance: watch::Sender<u64>,
    calls: Calls,
    wake: Wake,
    answers: mpsc::UnboundedReceiver<Answer>,
    unbounded: mpsc::UnboundedReceiver<ChannelId>,
    shutdown: CancellationToken,
    processor: JoinHandle<Result<(), JobsError>>,
    _dir: tempfile::TempDir,
}

impl Desk {
    /// Over an adapter, with this number of places in the lane of services.
    pub async fn open(host: Host, times: Times, places: usize) -> Self {
        Self::with_clock(host, times, places, SystemTime::now).await
    }

    /// With another clock for what is due.
    pub async fn with_clock(
        host: Host,
        times: Times,
        places: usize,
        clock: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        let configuration = Configuration { role: Role::Agent, settings: serde_json::json!({}) };
        host.configure(configuration, usage_reports().0).await.unwrap();
        let host = Arc::new(host);
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(&dir.path().join("jobs.db"), &privatix_node::migrations()).await.unwrap();
        let (instance, life) = watch::channel(1);
        let (to_answers, answers) = mpsc::unbounded_channel();
        let (to_unbounded, unbounded) = mpsc::unbounded_channel();
        let driven = Arc::new(States {
            services: Mutex::default(),
            asked: Mutex::default(),
            instance: life.clone(),
            is_broken: AtomicBool::new(false),
            answers: to_answers,
            unbounded: to_unbounded,
        });
        let calls = Calls::new(times);
        let bounds = Bounds::new(Arc::clone(&host), life.clone(), times);
        let driver = Driver::new(db.clone(), host, Arc::clone(&driven), calls.clone(), bounds.clone(), life);
        let processor = Processor::builder(db.clone())
            .register::<Drive, _>(driver.clone())
            .register::<DriveSlowly, _>(driver)
            .lane("service", places)
            .clock(clock)
            .build()
            .unwrap();
        let (wake, shutdown) = (processor.wake(), CancellationToken::new());
        let processor = tokio::spawn(processor.run(shutdown.clone()));
        Self { db, driven, bounds, instance, calls, wake, answers, unbounded, shutdown, processor, _dir: dir }
    }

    /// Asks for a target, and gives the number of the request.
    pub async fn want(&self, id: ChannelId, target: Target) -> u32 {
        self.want_within(id, target, LONG).await
    }

    pub async fn want_within(&self, id: ChannelId, target: Target, time: Duration) -> u32 {
        let mut tx = self.db.begin().await.unwrap();
        self.calls.ask(&mut tx, id, target).await.unwrap();
        let seq = {
            let mut services = self.driven.services.lock();
            services.0 += 1;
            let seq = services.0;
            let new = Service { target, actual: Actual::Absent, instance: 0, asked: None };
            let service = services.1.entry(id).or_insert(new);
            // As a decision does: whether a request that is dropped was carried out is not known.
            if service.target != target && service.asked.is_some() {
                (service.actual, service.instance) = (Actual::Unknown, *self.instance.borrow());
            }
            service.target = target;
            service.asked = Some((seq, Instant::now() + time));
            seq
        };
        tx.commit().await.unwrap();
        self.wake.wake();
        self.calls.changed(id);
        seq
    }

    /// The next answer that was committed.
    pub async fn answer(&mut self) -> Answer {
        soon("an answer", self.answers.recv()).await.unwrap()
    }

    /// Has the jobs looked for that are due, until one has ended whose request was given up.
    pub async fn until_given_up(&mut self, id: ChannelId, seq: u32) {
        let is_asked = || self.driven.services.lock().1[&id].asked.is_some_and(|(asked, _)| asked == seq);
        soon("the end", async {
            while is_asked() {
                self.wake.wake();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// The next channel that has not taken a lower bound.
    pub async fn unbounded(&mut self) -> ChannelId {
        soon("a report", self.unbounded.recv()).await.unwrap()
    }

    /// Whether nothing else is reported about bounds.
    pub fn is_quiet(&mut self) -> bool {
        self.unbounded.try_recv().is_err()
    }

    pub fn actual(&self, id: ChannelId) -> Actual {
        self.driven.actual(id)
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.processor.await.unwrap().unwrap();
    }
}
