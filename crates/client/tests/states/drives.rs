//! Services of a client come to what their channels' states want: a database, decisions, the job, and a plug-in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use privatix_adapter::{
    About, Adapter, AdapterRefusal, Allowance, Configuration, Health, Host, ProductId, Provision,
    Provisioned, Role, UsageReporter,
};
use privatix_channel::{ChannelId, Usage};
use privatix_client::{BoughtServices, Purchases};
use privatix_jobs::{JobsError, Processor};
use privatix_market::*;
use privatix_node::drive::{Bounds, Calls, Drive, DriveSlowly, Driver, Requests, Times, follow_reach};
use privatix_store::channels::{self, StoredAccess};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Parts, Scene, id};

/// Against hangs only.
const LONG: Duration = Duration::from_mins(1);

/// A plug-in that keeps what it was asked for.
#[derive(Default)]
struct PlugIn {
    calls: Mutex<Vec<String>>,
    known: Mutex<HashMap<ChannelId, Provision>>,
    unreached: Mutex<Vec<ChannelId>>,
}

impl PlugIn {
    fn call(&self, call: &str, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.calls.lock().unwrap().push(call.to_owned());
        let is_known = call == "stop" || self.known.lock().unwrap().contains_key(&channel);
        if is_known { Ok(()) } else { Err(AdapterRefusal::UnknownChannel { channel }) }
    }

    fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

#[async_trait]
impl Adapter for PlugIn {
    fn about(&self) -> About {
        let product = ProductId(uuid::Uuid::from_u128(5));
        About { product, name: "test".into(), version: "0".into(), roles: vec![Role::Client] }
    }

    async fn configure(&self, _: Configuration, _: UsageReporter) -> Result<(), AdapterRefusal> {
        Ok(())
    }

    async fn provision(&self, provision: Provision) -> Result<Provisioned, AdapterRefusal> {
        let Provision::Buy { channel, access, local } = &provision else { panic!("{provision:?}") };
        let (user, own) = (&access.credentials.username, &local.own);
        let shown = format!("provision {user} at {}, before {own:?}", access.endpoint);
        let endpoint = local.own.clone().unwrap_or_else(|| json!({ "port": 9 }));
        self.known.lock().unwrap().insert(*channel, provision.clone());
        self.calls.lock().unwrap().push(shown);
        Ok(Provisioned { endpoint })
    }

    async fn start(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.call("start", channel)
    }

    async fn suspend(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.call("suspend", channel)
    }

    async fn resume(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.call("resume", channel)
    }

    async fn stop(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.known.lock().unwrap().remove(&channel);
        self.call("stop", channel)
    }

    async fn allow(&self, _: ChannelId, up_to: Usage) -> Result<Allowance, AdapterRefusal> {
        panic!("a bought service is bounded by what is signed, and not to {up_to}")
    }

    async fn unreached(&self) -> Vec<ChannelId> {
        self.unreached.lock().unwrap().clone()
    }

    async fn health(&self) -> Health {
        Health::Well
    }

    async fn shutdown(&self) -> Result<(), AdapterRefusal> {
        Ok(())
    }
}

/// A client whose decisions reach the plug-in.
struct Side {
    scene: Scene,
    plug_in: Arc<PlugIn>,
    host: Arc<Host>,
    states: mpsc::UnboundedReceiver<ClientState>,
    /// Where the service is found, as it was given to views.
    places: Arc<Mutex<Vec<Option<Value>>>>,
    stop: CancellationToken,
    processor: JoinHandle<Result<(), JobsError>>,
}

impl Side {
    async fn open() -> Self {
        let plug_in = Arc::<PlugIn>::default();
        let host = Arc::new(Host::new(plug_in.clone()).unwrap());
        let (life, instance) = watch::channel(1);
        let mut times = Times::default();
        times.pause = Duration::from_millis(20);
        let calls = Calls::new(times);
        let bounds = Bounds::new(host.clone(), instance.clone(), times);
        let (sender, states) = mpsc::unbounded_channel();
        let scene = Scene::open(Parts {
            drives: Some(Arc::new(Requests::new(calls.clone(), bounds.clone()))),
            views: Arc::new(move |state, _| drop(sender.send(state.clone()))),
            life: (life, instance.clone()),
            ..Parts::default()
        })
        .await;
        let places = Arc::<Mutex<Vec<Option<Value>>>>::default();
        let endpoints = {
            let places = places.clone();
            Arc::new(move |_, endpoint: Option<&Value>| places.lock().unwrap().push(endpoint.cloned()))
        };
        let purchases = Purchases::new(scene.db.clone(), endpoints);
        let services = Arc::new(BoughtServices::new(scene.db.clone(), scene.decider.clone(), purchases));
        let driver = Driver::new(scene.db.clone(), host.clone(), services, calls, bounds, instance);
        let processor = Processor::builder(scene.db.clone())
            .wake(scene.jobs.clone())
            .register::<Drive, _>(driver.clone())
            .register::<DriveSlowly, _>(driver)
            .build()
            .unwrap();
        let stop = CancellationToken::new();
        let processor = tokio::spawn(processor.run(stop.clone()));
        Self { scene, plug_in, host, states, places, stop, processor }
    }

    /// The agent's access is stored, and reported.
    async fn receive_access(&self) {
        self.receive_access_to("agent.example").await;
    }

    async fn receive_access_to(&self, host: &str) {
        let access = StoredAccess {
            username: "user".to_owned(),
            password: "secret".to_owned(),
            endpoint: json!({ "host": host }),
        };
        let mut tx = self.scene.db.begin().await.unwrap();
        let before = self.scene.decider.load(&mut tx, id()).await.unwrap();
        channels::set_access(&mut tx, id(), &access).await.unwrap();
        let input = Input::Peer(ClientMessage::Access(Fetched::default()));
        let applied = self.scene.decider.decide_in(&mut tx, &before, input).await.unwrap();
        tx.commit().await.unwrap();
        self.scene.decider.committed(&applied);
    }

    async fn until(&mut self, what: &str, holds: impl Fn(&ClientState) -> bool) {
        let found = async { while !holds(&self.states.recv().await.unwrap()) {} };
        tokio::time::timeout(LONG, found).await.unwrap_or_else(|_| panic!("{what}: waited in vain"));
    }

    async fn until_it(&mut self, does: Actual) {
        let instance = *self.scene.instance.borrow();
        let found = async {
            loop {
                let service = self.states.recv().await.unwrap().own.service;
                if service.actual(instance) == does && service.asked.is_none() {
                    return;
                }
            }
        };
        tokio::time::timeout(LONG, found).await.unwrap_or_else(|_| panic!("{does:?}: waited in vain"));
    }

    async fn order(&self, order: ClientOrder) {
        self.scene.order(order).await.unwrap();
    }

    async fn stop(self) {
        self.stop.cancel();
        self.processor.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_bought_with_its_access_and_keeps_its_local_address() {
    let mut side = Side::open().await;
    assert_eq!(side.plug_in.take_calls(), Vec::<String>::new(), "there is no access yet");
    side.receive_access().await;
    side.until_it(Actual::Running).await;
    let place = json!({ "port": 9 });
    let provision = r#"provision user at {"host":"agent.example"}, before "#;
    let calls = side.plug_in.take_calls();
    assert_eq!(calls.first().unwrap(), &format!("{provision}None"));
    assert_eq!(calls.last().unwrap(), "start");
    assert_eq!(*side.places.lock().unwrap(), [Some(place.clone())]);
    let mut conn = side.scene.db.read().await.unwrap();
    assert_eq!(channels::local_endpoints(&mut conn, id()).await.unwrap().own, Some(place.clone()));
    drop(conn);

    side.order(ClientOrder::Pause).await;
    side.until_it(Actual::Suspended).await;
    side.order(ClientOrder::Resume).await;
    side.until_it(Actual::Running).await;
    assert_eq!(side.plug_in.take_calls().len(), 2);

    // A new life of the plug-in is given the same.
    side.plug_in.known.lock().unwrap().clear();
    side.scene.instance.send_replace(2);
    side.scene.give(Input::Look).await;
    side.until_it(Actual::Running).await;
    assert_eq!(side.plug_in.take_calls().first().unwrap(), &format!("{provision}Some({place:?})"));

    side.order(ClientOrder::End).await;
    side.until_it(Actual::Absent).await;
    assert_eq!(side.plug_in.take_calls().last().unwrap(), "stop");
    assert_eq!(side.places.lock().unwrap().last().unwrap(), &None);
    side.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_elsewhere_is_given_to_the_plug_in_while_the_service_runs() {
    let mut side = Side::open().await;
    side.receive_access().await;
    side.until_it(Actual::Running).await;
    side.plug_in.take_calls();

    let (host, decider) = (side.host.clone(), side.scene.decider.clone());
    let (every, stop) = (Duration::from_millis(5), side.stop.clone());
    let following = tokio::spawn(async move { follow_reach(&host, &decider, every, stop).await });
    side.plug_in.unreached.lock().unwrap().push(id());
    side.until("a request", |state| {
        state.own.requests.iter().any(|request| request.what == Ask::Access && request.until.is_some())
    })
    .await;
    side.receive_access_to("other.example").await;
    side.until("the other access", |state| !state.own.service.afresh && state.own.refetch.tries == 1).await;
    let place = Some(json!({ "port": 9 }));
    let provision = format!(r#"provision user at {{"host":"other.example"}}, before {place:?}"#);
    assert_eq!(side.plug_in.take_calls(), [provision.as_str(), "start"]);
    side.plug_in.unreached.lock().unwrap().clear();
    side.until("its end", |state| state.own.unreached.is_none()).await;

    // A new life begins with nothing, and what it reports counts.
    side.plug_in.unreached.lock().unwrap().push(id());
    side.until("a report", |state| state.own.unreached == Some(1)).await;
    side.scene.instance.send_replace(2);
    side.until("a report", |state| state.own.unreached == Some(2)).await;
    side.stop.cancel();
    following.await.unwrap();
    side.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_resume_pause_ends_paused() {
    let mut side = Side::open().await;
    side.receive_access().await;
    side.until_it(Actual::Running).await;
    for order in [ClientOrder::Pause, ClientOrder::Resume, ClientOrder::Pause] {
        side.order(order).await;
    }
    // The states tell of the first pause, too, where it was carried out before the others were ordered.
    loop {
        side.until_it(Actual::Suspended).await;
        let service = side.scene.state().await.own.service;
        if service.actual(1) == Actual::Suspended && service.asked.is_none() {
            break;
        }
    }
    assert_eq!(side.plug_in.take_calls().last().unwrap(), "suspend");
    assert_eq!(side.scene.state().await.own.service.actual(1), Actual::Suspended);
    side.stop().await;
}
