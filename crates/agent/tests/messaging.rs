//! An agent with several addresses and listeners, and one that moves to another address.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use privatix_agent::{Agent, AgentHandle, Messaging, NodeError, NodeParts, OfferingDraft, OfferingOrder};
use privatix_billing::{Billing, Measure, TermsDraft, Unit};
use privatix_chain::StartFrom;
use privatix_channel::{Amount, OfferingHash, OfferingStatus, Period, Terms};
use privatix_offering::ExpectedKey;
use privatix_plugin_proxy::ProxyServer;
use privatix_somc::{
    BindingError, Client, ClientError, ClientLimits, DirectListener, DirectTransport, Expected, KeyBinding,
    Listener, Recognition, ServerLimits, SessionKey, SomcAddress, VersionRange,
};
use privatix_store::offerings::Offering;
use privatix_testkit::{Anvil, Contracts, TempDir, temp_dir, wait_for};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const AGENT: usize = 1;
/// Guards against hangs; nothing here takes long.
const LIMIT: Duration = Duration::from_secs(90);

/// A chain, and the agent's database.
struct Home {
    anvil: Anvil,
    contracts: Contracts,
    dir: TempDir,
}

impl Home {
    async fn new() -> Self {
        let anvil = Anvil::start().await.unwrap();
        let contracts = anvil.deploy().await.unwrap();
        contracts.deposit(&anvil, AGENT, Amount::new(100_000_000)).await.unwrap();
        Self { anvil, contracts, dir: temp_dir().unwrap() }
    }

    async fn agent(&self, messaging: Messaging, limits: ServerLimits) -> Running {
        let path = self.dir.path().join("agent.db");
        // The last run's tasks let go of it a moment after its end.
        let open = async || {
            let (key, proxy) = (self.anvil.key(AGENT), Arc::new(ProxyServer::new()));
            NodeParts::new(&path, self.anvil.url(), self.contracts.contract, key, proxy).await
        };
        let mut parts = wait_for("the database", LIMIT, open).await.unwrap();
        parts.adapter_settings = json!({ "listen": "127.0.0.1:0" });
        parts.chain.confirmations = Some(0); // a block is mined per transaction, and none after it
        parts.chain.poll_interval = Duration::from_millis(50);
        parts.chain.start = StartFrom::Block(0);
        let agent = Agent::new(parts, messaging).await.unwrap().limits(limits);
        let (handle, stop) = (agent.handle(), CancellationToken::new());
        let mut task = tokio::spawn(agent.run(stop.clone()));
        let node = Arc::clone(handle.node());
        let follows = async || node.processed_block().ok_or("nothing processed");
        tokio::select! {
            ended = &mut task => panic!("it ended: {:?}", ended.unwrap()),
            block = wait_for("the chain monitor", LIMIT, follows) => drop(block.unwrap()),
        }
        Running { handle, stop, task }
    }
}

struct Running {
    handle: AgentHandle,
    stop: CancellationToken,
    task: JoinHandle<Result<(), NodeError>>,
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// The agent's only offering, once it satisfies a condition.
    async fn offering(&self, what: &str, holds: impl Fn(&Offering) -> bool) -> Offering {
        wait_for(what.to_owned(), LIMIT, async || {
            let offering = self.handle.offerings(1).await.unwrap().remove(0);
            if holds(&offering) { Ok(offering) } else { Err(format!("{offering:?}")) }
        })
        .await
        .unwrap()
    }

    async fn publish(&self) -> OfferingHash {
        let offering = self.handle.create_offering(draft()).await.unwrap().hash();
        self.handle.change_offering(offering, OfferingOrder::Publish).await.unwrap();
        self.offering("the offering on the market", |offering| offering.status.is_on_market()).await;
        offering
    }
}

async fn listener() -> (SomcAddress, DirectListener) {
    let listener = DirectListener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    (listener.local_addr().into(), listener)
}

async fn connect(address: &SomcAddress) -> Result<Client, ClientError> {
    Client::connect(&DirectTransport::anywhere(), address, ClientLimits::default()).await
}

fn draft() -> OfferingDraft {
    let terms = TermsDraft {
        unit: Unit { name: "MiB".into(), measure: Measure::Bytes, size: 1 << 20 },
        billing: Billing::Postpaid,
        setup_price: Amount::ZERO,
        unit_price: Amount::new(10),
        free_units: 0,
        min_units: 100,
        max_units: None,
        billing_interval: 1,
        max_billing_unit_lag: 4,
        max_suspend: Duration::from_mins(10),
        max_inactive: Duration::from_mins(10),
        max_first_use: None,
    };
    let mut draft = OfferingDraft::new("Proxy", "DE".parse().unwrap(), 1, terms);
    draft.additional = json!({ "protocols": ["socks5", "http"] });
    draft
}

#[tokio::test(flavor = "multi_thread")]
async fn all_addresses_are_listed_the_first_is_announced_and_all_listeners_share_one_server() {
    let home = Home::new().await;
    let onion = SomcAddress::onion(&[7; 32], 80).unwrap();
    let ((one, at_one), (other, at_other)) = (listener().await, listener().await);
    let addresses = vec![onion.clone(), one.clone(), other.clone()];
    let listeners: Vec<Box<dyn Listener>> = vec![Box::new(at_one), Box::new(at_other)];
    let mut limits = ServerLimits::default();
    limits.max_connections_per_peer = 1;
    let agent = home.agent(Messaging::of(addresses.clone(), listeners).unwrap(), limits).await;
    assert_eq!((agent.handle.somc(), agent.handle.addresses()), (&onion, addresses.clone()));

    let offering = agent.publish().await;
    let announced = agent.offering("the announcement", |offering| offering.announced_at.is_some()).await;
    assert_eq!((announced.announcement.source_type, announced.announcement.source), (0, onion.source()));
    let message = agent.handle.node().offering(home.anvil.account(AGENT), offering).await.unwrap();
    assert_eq!(message.message().addresses, addresses);

    // Both listeners serve it, and one limit holds for both: the second connection ends the first one.
    let first = connect(&one).await.unwrap();
    assert_eq!(first.offering(offering).await.unwrap(), message.wire());
    let second = connect(&other).await.unwrap();
    assert_eq!(second.offering(offering).await.unwrap(), message.wire());
    wait_for("the first connection to end", LIMIT, async || first.is_closed().then_some(()).ok_or("open"))
        .await
        .unwrap();

    // A shutdown ends all of them.
    agent.stop().await;
    for address in [one, other] {
        let refused = connect(&address).await.map(drop).unwrap_err();
        assert!(matches!(refused, ClientError::Transport(_)), "{address}: {refused}");
    }
}

#[test]
fn messaging_needs_an_address_and_a_listener() {
    assert!(Messaging::of(vec![], vec![]).is_none());
    assert!(Messaging::of(vec![SomcAddress::onion(&[7; 32], 80).unwrap()], vec![]).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offering_is_announced_again_by_its_schedule_and_where_the_agent_moved_to() {
    let home = Home::new().await;
    let (before, old) = listener().await;
    let agent = home.agent(Messaging::new(before.clone(), old), ServerLimits::default()).await;
    let offering = agent.publish().await;
    let first = agent.offering("the announcement", |offering| offering.announced_at.is_some()).await;
    assert_eq!(first.announcement.source, before.source());

    // By its schedule: nobody orders it.
    let every = Period::new(3_600);
    let ordered =
        agent.handle.change_offering(offering, OfferingOrder::PopUpEvery(Some(every))).await.unwrap();
    let progress = ordered.progress;
    assert_eq!((progress.pending, progress.pop_up_every), (false, Some(every)));
    assert!(progress.waits_for.unwrap().contains("the chain's clock"));
    home.anvil.warp(every).await.unwrap();
    let again = agent.offering("the pop-up", |found| found.announced_at > first.announced_at).await;
    assert_eq!((again.status, again.announcement.source), (OfferingStatus::PoppedUp, before.source()));
    agent.handle.change_offering(offering, OfferingOrder::PopUpEvery(None)).await.unwrap();
    agent.stop().await;

    // Started elsewhere: as soon as the contract allows it.
    let (now, new) = listener().await;
    let agent = home.agent(Messaging::new(now.clone(), new), ServerLimits::default()).await;
    home.anvil.warp(Terms::TEST.pop_up).await.unwrap();
    let moved = agent.offering("the new address", |found| found.announcement.source == now.source()).await;
    assert!(moved.announced_at > again.announced_at, "{moved:?}");
    agent.stop().await;
}

/// Takes every key, and keeps what was shown.
#[derive(Default)]
struct Shown(parking_lot::Mutex<Vec<(SessionKey, KeyBinding)>>);

#[async_trait]
impl Recognition for Shown {
    async fn versions(&self) -> VersionRange {
        VersionRange::exactly(2)
    }

    async fn check(&self, key: &SessionKey, binding: &KeyBinding) -> Result<Duration, BindingError> {
        self.0.lock().push((*key, *binding));
        Ok(KeyBinding::VALIDITY)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_signs_a_key_for_many_sessions_and_another_one_half_a_day_later() {
    let home = Home::new().await;
    let (address, at) = listener().await;
    let agent = home.agent(Messaging::new(address.clone(), at), ServerLimits::default()).await;
    let node = agent.handle.node();
    let shown = Arc::new(Shown::default());
    let expected = Expected { agent: node.account(), recognition: shown.clone() };
    let transport = DirectTransport::anywhere();
    let begin = async || Client::connect_to(&expected, &transport, &address, ClientLimits::default()).await;
    drop((begin().await.unwrap(), begin().await.unwrap()));
    let before = node.time();
    home.anvil.warp(Period::new(13 * 3_600)).await.unwrap();
    let later = Duration::from_hours(12);
    wait_for("the chain's time", LIMIT, async || match node.time().duration_since(before) {
        Ok(passed) if passed > later => Ok(()),
        passed => Err(format!("{passed:?}")),
    })
    .await
    .unwrap();
    drop(begin().await.unwrap());
    let [(first, word), (second, again), (third, renewed)] = shown.0.lock()[..] else {
        panic!("three sessions")
    };
    assert_eq!((first, word), (second, again), "strangers make the account sign nothing");
    assert_ne!(third, first, "no key is signed twice");
    assert!(renewed.issued_at >= word.issued_at + 12 * 3_600);
    for (key, word) in [(first, word), (third, renewed)] {
        let now = if key == first { before } else { node.time() };
        let expected =
            ExpectedKey { agent: node.account(), operator: None, domain: *node.domain(), now, newest: None };
        assert_eq!(word.verify(&key, &expected), Ok(()));
    }
    agent.stop().await;
}
