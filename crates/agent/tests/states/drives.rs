//! Services of an agent come to what their channels' states want: a database, decisions, the job, and a plug-in.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::B256;
use async_trait::async_trait;
use privatix_adapter::{
    About, Adapter, AdapterRefusal, Allowance, Configuration, Health, Host, ProductId, Provision,
    Provisioned, Role, UsageReporter,
};
use privatix_agent::{
    AgentRunner, AgentRunnerParts, NoBatches, NodeError, Requests, Sales, Sold, SoldServices,
};
use privatix_billing::Measure;
use privatix_chain::{Endpoint, Keyring, NoTxSink, Transactor};
use privatix_channel::{
    Amount, ChainEvent, ChannelDescriptor, ChannelEvent, ChannelId, Fee, LogPosition, Usage, Voucher,
    VoucherVerifier, sign_voucher,
};
use privatix_db::Database;
use privatix_jobs::{JobsError, Processor};
use privatix_market::*;
use privatix_node::drive::{Bounds, Calls, Drive, DriveSlowly, Driver, Times};
use privatix_node::shell::Applied;
use privatix_node::{Damage, Decider, DeciderParts, Notices};
use privatix_store::channels;
use privatix_store::events::{self, Place};
use privatix_store::states::{self, Due, LifePart};
use privatix_testkit::{TempDir, temp_dir};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{CHAIN, Sky, channel, domain, key, terms};

/// Against hangs only.
const LONG: Duration = Duration::from_mins(1);

fn descriptor() -> ChannelDescriptor {
    channel(0).1
}

fn id() -> ChannelId {
    channel(0).0
}

/// A plug-in that keeps what it was asked for.
#[derive(Default)]
struct PlugIn {
    calls: Mutex<Vec<String>>,
    known: Mutex<HashMap<ChannelId, Provision>>,
    refuses: Mutex<HashSet<&'static str>>,
    called: watch::Sender<()>,
    /// By how much its port differs from the first one.
    moved: AtomicU16,
}

impl PlugIn {
    fn call(&self, call: &'static str, shown: String, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.calls.lock().unwrap().push(shown);
        let is_known = call == "stop" || self.known.lock().unwrap().contains_key(&channel);
        let refuses = self.refuses.lock().unwrap().contains(call);
        self.called.send_replace(());
        match (refuses, is_known) {
            (true, _) => {
                Err(AdapterRefusal::Unavailable { reason: "out of order".into(), remedy: "none".into() })
            }
            (false, true) => Ok(()),
            (false, false) => Err(AdapterRefusal::UnknownChannel { channel }),
        }
    }

    fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    async fn until_called(&self, call: &str) {
        let mut called = self.called.subscribe();
        while !self.calls.lock().unwrap().iter().any(|made| made == call) {
            tokio::time::timeout(LONG, called.changed()).await.unwrap().unwrap();
        }
    }

    fn password(&self) -> String {
        let known = self.known.lock().unwrap();
        let Some(Provision::Sell { credentials, .. }) = known.get(&id()) else { panic!("not provisioned") };
        credentials.password.expose().to_owned()
    }
}

#[async_trait]
impl Adapter for PlugIn {
    fn about(&self) -> About {
        let product = ProductId(uuid::Uuid::from_u128(5));
        About { product, name: "test".into(), version: "0".into(), roles: vec![Role::Agent] }
    }

    async fn configure(&self, _: Configuration, _: UsageReporter) -> Result<(), AdapterRefusal> {
        Ok(())
    }

    async fn provision(&self, provision: Provision) -> Result<Provisioned, AdapterRefusal> {
        let Provision::Sell { channel, parameters, up_to, .. } = &provision else { panic!("{provision:?}") };
        let shown = format!("provision {parameters} up to {up_to}");
        let channel = *channel;
        if self.refuses.lock().unwrap().contains("provision") {
            self.call("provision", shown, channel)?;
        } else {
            self.known.lock().unwrap().insert(channel, provision);
            self.call("provision", shown, channel)?;
        }
        Ok(Provisioned { endpoint: json!({ "port": 5 + self.moved.load(Ordering::Relaxed) }) })
    }

    async fn start(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.call("start", "start".to_owned(), channel)
    }

    async fn suspend(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.call("suspend", "suspend".to_owned(), channel)
    }

    async fn resume(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.call("resume", "resume".to_owned(), channel)
    }

    async fn stop(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.known.lock().unwrap().remove(&channel);
        self.call("stop", "stop".to_owned(), channel)
    }

    async fn allow(&self, channel: ChannelId, up_to: Usage) -> Result<Allowance, AdapterRefusal> {
        self.call("allow", format!("allow {up_to}"), channel)?;
        Ok(Allowance::Enforced)
    }

    async fn health(&self) -> Health {
        Health::Well
    }

    async fn shutdown(&self) -> Result<(), AdapterRefusal> {
        Ok(())
    }
}

struct Parameters;

#[async_trait]
impl Sold for Parameters {
    async fn parameters(&self, _: &ChannelDescriptor) -> Result<serde_json::Value, NodeError> {
        Ok(json!({ "speed": 9 }))
    }
}

/// An agent without a chain, with one channel that is open.
struct Side {
    db: Database,
    plug_in: Arc<PlugIn>,
    decider: Arc<Decider<Agent>>,
    runner: AgentRunner,
    sky: Arc<Sky>,
    instance: watch::Sender<u64>,
    states: mpsc::UnboundedReceiver<AgentState>,
    stop: CancellationToken,
    processor: JoinHandle<Result<(), JobsError>>,
    _bounds: AbortOnDropHandle<()>,
    _dir: TempDir,
}

impl Side {
    async fn open(plug_in: PlugIn) -> Self {
        let dir = temp_dir().unwrap();
        let db = Database::open(&dir.path().join("agent.db"), &privatix_node::migrations()).await.unwrap();
        let endpoint = Endpoint::new("http://127.0.0.1:1").unwrap();
        let transactor =
            Transactor::builder(db.clone(), endpoint, CHAIN, Keyring::new([key()])).build(NoTxSink);
        let plug_in = Arc::new(plug_in);
        let host = Arc::new(Host::new(plug_in.clone()).unwrap());
        let (instance, life) = watch::channel(1);
        let mut times = Times::default();
        times.pause = Duration::from_millis(20);
        let calls = Calls::new(times);
        let bounds = Bounds::new(host.clone(), life.clone(), times);
        let (sender, states) = mpsc::unbounded_channel();
        let runner = AgentRunner::new(AgentRunnerParts {
            sender: key().address(),
            contract: domain().contract(),
            drives: Arc::new(Requests::new(calls.clone(), bounds.clone())),
            collects: Arc::new(NoBatches),
            views: Arc::new(move |applied: &Applied<Agent>| drop(sender.send(applied.state.clone()))),
        });
        let sky = Arc::new(Sky::new(life.clone()));
        // Known once the processor is, which needs the decider.
        let wake = privatix_jobs::Wake::new();
        let decider = Arc::new(Decider::new(DeciderParts {
            db: db.clone(),
            domain: domain(),
            transactions: Arc::new(transactor),
            runner: Arc::new(runner.clone()),
            outlook: sky.clone(),
            policy: AgentPolicy::default(),
            jobs: wake.clone(),
            damage: Damage::new(Notices::default()),
            concerns: privatix_node::Concerns::default(),
        }));
        let services = Arc::new(SoldServices::new(
            db.clone(),
            decider.clone(),
            Sales::new(db.clone(), Arc::new(Parameters)),
        ));
        let driver = Driver::new(db.clone(), host, services.clone(), calls, bounds.clone(), life);
        let processor = Processor::builder(db.clone())
            .wake(wake)
            .register::<Drive, _>(driver.clone())
            .register::<DriveSlowly, _>(driver)
            .build()
            .unwrap();
        let stop = CancellationToken::new();
        let processor = tokio::spawn(processor.run(stop.clone()));
        let token = stop.clone();
        let bounds = tokio::spawn(async move { bounds.run(&*services, token).await });
        let bounds = AbortOnDropHandle::new(bounds);
        let side = Self {
            db,
            plug_in,
            decider,
            runner,
            sky,
            instance,
            states,
            stop,
            processor,
            _bounds: bounds,
            _dir: dir,
        };
        side.open_channel().await;
        side
    }

    async fn open_channel(&self) {
        let opened = ChannelEvent::Opened { deposit: Amount::new(1_000), fee: Fee::ZERO };
        let place = Place { at: LogPosition::new(1, 0), tx: B256::repeat_byte(1) };
        let event = ChainEvent::Opened { channel: id(), descriptor: descriptor(), event: opened };
        let mut tx = self.db.begin().await.unwrap();
        channels::insert(&mut tx, id(), &descriptor(), Amount::new(1_000)).await.unwrap();
        let mut state = State::<Agent>::with(id(), descriptor(), AgentOwn::default());
        state.terms = Some(terms(Measure::Requests));
        let parts = BTreeSet::from([LifePart::Service, LifePart::Settlement]);
        assert!(states::create(&mut tx, &state, &parts, Due::At(Wake::default())).await.unwrap());
        let before = self.decider.load(&mut tx, id()).await.unwrap();
        assert!(events::record(&mut tx, place, &event).await.unwrap());
        channels::advance(&mut tx, id(), place.at, opened).await.unwrap();
        let chain = channels::on_chain(&mut tx, id()).await.unwrap();
        let applied = self.decider.decide_in(&mut tx, &before, Input::Chain(chain)).await.unwrap();
        tx.commit().await.unwrap();
        self.decider.committed(&applied);
    }

    /// The first state that was committed since the last one, and that is as wanted.
    async fn until(&mut self, what: &str, holds: impl Fn(&AgentState) -> bool) -> AgentState {
        let found = async {
            loop {
                let state = self.states.recv().await.unwrap();
                if holds(&state) {
                    return state;
                }
            }
        };
        tokio::time::timeout(LONG, found).await.unwrap_or_else(|_| panic!("{what}: waited in vain"))
    }

    async fn until_it(&mut self, does: Actual) -> AgentState {
        let instance = *self.instance.borrow();
        self.until(&format!("{does:?}"), |state| {
            state.own.service.actual(instance) == does && state.own.service.asked.is_none()
        })
        .await
    }

    async fn order(&self, order: AgentOrder) {
        drop(self.decider.decide(id(), Input::Order(order)).await.unwrap());
    }

    async fn look(&self) {
        drop(self.decider.decide(id(), Input::Look).await.unwrap());
    }

    async fn pay(&self, cumulative: u128) {
        let voucher = Voucher { channel: id(), cumulative: Amount::new(cumulative) };
        let signed = sign_voucher(&key(), &domain(), voucher).unwrap();
        let verified = Verified::check(&VoucherVerifier::new(domain(), &descriptor()), &signed).unwrap();
        let input = Input::Peer(AgentMessage::Voucher { voucher: verified, used: None });
        drop(self.decider.decide_with(id(), input, &self.runner.paying(signed)).await.unwrap());
    }

    async fn access(&self) -> Option<channels::StoredAccess> {
        channels::get(&mut self.db.read().await.unwrap(), id()).await.unwrap().access
    }

    async fn stop(self) {
        self.stop.cancel();
        self.processor.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_opens_is_prepared_with_its_bound_and_served() {
    let mut side = Side::open(PlugIn::default()).await;
    side.until_it(Actual::Running).await;
    let provision = r#"provision {"speed":9} up to 41"#;
    let mut calls = side.plug_in.take_calls();
    assert_eq!((calls.first().unwrap().as_str(), calls.last().unwrap().as_str()), (provision, "start"));
    // The bound goes out beside the job, before the start in any case.
    calls[1..3].sort();
    assert_eq!(calls[1..3], ["allow 41", "suspend"]);
    let access = side.access().await.unwrap();
    assert_eq!(
        (access.username, access.password.as_str(), access.endpoint),
        (id().to_string(), side.plug_in.password().as_str(), json!({ "port": 5 }))
    );

    // A payment raises the bound, by no job.
    side.pay(100).await;
    side.plug_in.until_called("allow 141").await;
    assert_eq!(side.plug_in.take_calls(), ["allow 141"]);

    side.order(AgentOrder::Hold).await;
    side.until_it(Actual::Suspended).await;
    side.order(AgentOrder::Resume).await;
    side.until_it(Actual::Running).await;
    assert_eq!(side.plug_in.take_calls(), ["suspend", "start"]);

    // A new life of the plug-in is given what its client has.
    side.plug_in.known.lock().unwrap().clear();
    side.instance.send_replace(2);
    side.look().await;
    side.until_it(Actual::Running).await;
    let provision = r#"provision {"speed":9} up to 141"#;
    assert_eq!(side.plug_in.take_calls(), [provision, "allow 141", "start"]);
    assert_eq!(side.plug_in.password(), access.password);
    side.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_plug_in_serves_a_channel_now_is_handed_out_and_counted() {
    let mut side = Side::open(PlugIn::default()).await;
    let state = side.until_it(Actual::Running).await;
    let first = side.access().await.unwrap();
    assert_eq!(state.own.access, 0);
    // The next life of the plug-in: at the same place, then at another one, then there again with a service that is held.
    for (life, moved, held, access) in [(2, 0, false, 0), (3, 1, false, 1), (4, 1, true, 1), (5, 2, true, 2)]
    {
        side.plug_in.moved.store(moved, Ordering::Relaxed);
        side.plug_in.known.lock().unwrap().clear();
        side.instance.send_replace(life);
        side.order(if held { AgentOrder::Hold } else { AgentOrder::Resume }).await;
        let state = side.until_it(if held { Actual::Suspended } else { Actual::Running }).await;
        assert_eq!(state.own.access, access, "life {life}");
        let endpoint = json!({ "port": 5 + moved });
        assert_eq!(side.access().await.unwrap(), channels::StoredAccess { endpoint, ..first.clone() });
    }
    side.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plug_in_that_cannot_suspend_is_stopped_and_its_channel_closed() {
    let mut side = Side::open(PlugIn::default()).await;
    side.until_it(Actual::Running).await;
    side.pay(100).await;
    side.plug_in.refuses.lock().unwrap().insert("suspend");
    side.order(AgentOrder::Hold).await;
    let state = side.until_it(Actual::Absent).await;
    assert_eq!(state.own.ending.map(|end| end.why), Some(AgentEnd::AdapterStuck));
    assert_eq!(side.plug_in.calls.lock().unwrap().last().unwrap(), "stop");
    // The client's last voucher was waited for.
    side.sky.wait(Duration::from_mins(1));
    side.look().await;
    let state = side.until("a close", |state| !state.own.flights.is_empty()).await;
    assert_eq!(state.own.flights[0].purpose, AgentPurpose::Close { cumulative: Amount::new(100) });
    side.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_the_plug_in_refuses_is_asked_for_again_and_has_no_access_before() {
    let refusing = PlugIn { refuses: Mutex::new(HashSet::from(["provision"])), ..PlugIn::default() };
    let mut side = Side::open(refusing).await;
    side.until("a refusal", |state| state.own.refused).await;
    assert_eq!(side.access().await, None);
    side.plug_in.refuses.lock().unwrap().clear();
    side.until_it(Actual::Running).await;
    assert!(side.access().await.is_some());
    side.stop().await;
}
