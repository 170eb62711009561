//! Which agents a client contacts, and where.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use std::{future, mem};

use async_trait::async_trait;
use privatix_chain::TxFilter;
use privatix_channel::{Amount, OfferingHash};
use privatix_client::{AT_ONCE, ClientHandle, ClientSettings, ContactPolicy, Filter};
use privatix_contracts::call;
use privatix_jobs::JobStatus;
use privatix_node::NodeError;
use privatix_offering::{SignedOffering, Templates};
use privatix_somc::{
    BoxStream, DirectListener, DirectTransport, Refusal, SomcAddress, Transport, TransportError,
};
use privatix_testkit::wait_for;

use crate::hostile::{LIAR, Liar, announce_at, message, problem};
use crate::market::{LIMIT, Market, available, by_the_kib, channel, direct, publish, service};

/// Dials directly and remembers what was dialled.
#[derive(Default)]
struct Dials(Mutex<Vec<SomcAddress>>);

impl Dials {
    /// What was dialled since the last question.
    fn take(&self) -> Vec<SomcAddress> {
        mem::take(&mut self.0.lock().unwrap())
    }
}

#[async_trait]
impl Transport for Dials {
    async fn connect(&self, address: &SomcAddress) -> Result<BoxStream, TransportError> {
        self.0.lock().unwrap().push(address.clone());
        DirectTransport::anywhere().connect(address).await
    }
}

/// Never gets a connection, as to an address that swallows what is sent to it; counts who waits.
#[derive(Default)]
struct Swallowed {
    waiting: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl Transport for Swallowed {
    async fn connect(&self, _: &SomcAddress) -> Result<BoxStream, TransportError> {
        struct Waits<'a>(&'a AtomicUsize);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, SeqCst);
            }
        }
        self.most.fetch_max(self.waiting.fetch_add(1, SeqCst) + 1, SeqCst);
        let _waits = Waits(&self.waiting);
        future::pending().await
    }
}

/// How many agents are asked at once.
const STRANGERS: usize = AT_ONCE as usize;

/// Has no network, as a Tor that is blocked.
struct Offline;

#[async_trait]
impl Transport for Offline {
    async fn connect(&self, _: &SomcAddress) -> Result<BoxStream, TransportError> {
        Err(TransportError::Offline("your own Tor is not connected: it is blocked".into()))
    }
}

fn contact(policy: ContactPolicy) -> ClientSettings {
    let mut settings = direct();
    settings.contact = policy;
    settings
}

/// How many offerings the client could accept.
async fn acceptable(client: &ClientHandle) -> usize {
    client.browse(&Filter { available: true, ..Filter::default() }, 10).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_decides_whether_an_agent_is_contacted_and_a_restart_is_enough_to_change_it() {
    let market = Market::new().await;
    let agent = market.agent().await;
    let offering = publish(&market, &agent.handle, by_the_kib()).await;

    // By default, an agent that has no onion service is not dialled at all.
    let dials = Arc::new(Dials::default());
    let client = market.client_over(dials.clone(), dials.clone(), ClientSettings::default()).await;
    let complaint = problem(&client.handle, offering).await;
    let somc = agent.handle.somc();
    assert!(
        complaint.contains(&format!("the agent is reached only at {somc}, and `somc.contact`")),
        "{complaint}"
    );
    let filter = privatix_jobs::Filter::new().kind("ask_offering");
    let jobs = {
        let mut conn = client.handle.node().db().read().await.unwrap();
        privatix_jobs::list(&mut conn, &filter).await.unwrap().jobs
    };
    assert!(jobs.len() == 1 && jobs[0].status == JobStatus::Done, "{jobs:?}");
    let refused = client.handle.accept(None, offering, None).await.unwrap_err();
    assert!(refused.to_string().contains("`somc.contact` is \"tor-only\""), "{refused}");
    assert_eq!(acceptable(&client.handle).await, 0);
    client.stop().await;
    assert!(dials.take().is_empty());

    // With another setting, the message is fetched after a restart without a new announcement.
    let client = market.client_over(dials.clone(), dials.clone(), contact(ContactPolicy::TorPreferred)).await;
    available(&client.handle, offering).await;
    client.stop().await;
    assert_eq!(dials.take(), std::slice::from_ref(somc));

    // Back again: the message is here and shown, and no channel is opened under it.
    let client = market.client_over(dials.clone(), dials.clone(), ClientSettings::default()).await;
    let listing = client.handle.browse(&Filter::default(), 10).await.unwrap().pop().unwrap();
    assert!(listing.message.is_some());
    assert!(listing.offering.problem.unwrap().contains("`somc.contact`"));
    assert_eq!(acceptable(&client.handle).await, 0);
    let before = client.handle.node().balances().await.unwrap();
    let refused = client.handle.accept(None, offering, None).await.unwrap_err();
    assert!(matches!(refused, NodeError::NotPermitted(_)), "{refused}");
    assert!(client.handle.node().channels(10).await.unwrap().is_empty());
    let after = client.handle.node().balances().await.unwrap();
    assert_eq!(before, after);
    client.stop().await;
    assert!(dials.take().is_empty());
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_sought_at_all_its_permitted_addresses_and_its_message_only_at_the_announced_one() {
    let market = Market::new().await;
    let listener = DirectListener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let (announced, onion) =
        (SomcAddress::from(listener.local_addr()), SomcAddress::onion(&[7; 32], 80).unwrap());
    let mut message = message(&market, LIAR);
    message.addresses = vec![announced.clone(), onion.clone()];
    let offering = SignedOffering::sign(&message, &Templates::builtin(), &market.anvil.key(LIAR)).unwrap();
    let later = |_: &_| Err(Refusal::not_ready(Duration::from_secs(1)));
    let _server = announce_at(&market, offering.hash(), Liar::new(offering.wire(), later), listener).await;

    let (dials, fetches) = (Arc::new(Dials::default()), Arc::new(Dials::default()));
    let settings = contact(ContactPolicy::TorPreferred);
    let client = market.client_over(dials.clone(), fetches.clone(), settings).await;
    available(&client.handle, offering.hash()).await;
    assert_eq!((fetches.take(), dials.take()), (vec![announced.clone()], vec![]));

    // The onion service first; this transport cannot reach it. The agent knows no sessions, so it is dialled once more, to talk in clear.
    client.handle.accept(None, offering.hash(), None).await.unwrap();
    assert_eq!((fetches.take(), dials.take()), (vec![], vec![onion, announced.clone(), announced]));
    client.stop().await;
}

/// Announces offerings of the liar's at an address where nobody answers.
async fn announce_dead(market: &Market, count: u16) {
    let dead = SomcAddress::direct("127.0.0.1", 9).unwrap();
    market.contracts.deposit(&market.anvil, LIAR, Amount::new(100_000_000)).await.unwrap();
    for number in 1..=count {
        let hash = dead_offering(number);
        let (kind, source) = (dead.kind().number(), dead.source());
        let register = call::register_offering(hash, Amount::new(10_740), 1, kind, source).unwrap();
        market.anvil.send(LIAR, market.contracts.contract, &register).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offerings_at_dead_addresses_keep_no_channel_waiting() {
    let market = Market::new().await;
    let agent = market.agent().await;
    let client = market.client().await;
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    client.stop().await;

    let swallowed = Arc::new(Swallowed::default());
    let agents = Arc::new(DirectTransport::anywhere());
    let client = market.client_over(agents, swallowed.clone(), direct()).await;
    announce_dead(&market, 20).await;
    // Fewer than the lane for strangers has workers.
    wait_for("offerings to be asked for", LIMIT, async || match swallowed.waiting.load(SeqCst) {
        STRANGERS => Ok(()),
        other => Err(other),
    })
    .await
    .unwrap();
    market.buy(&agent.handle, &client.handle, offering, None).await;
    assert_eq!((swallowed.waiting.load(SeqCst), swallowed.most.load(SeqCst)), (STRANGERS, STRANGERS));
    client.stop().await;
    agent.stop().await;
}

fn dead_offering(number: u16) -> OfferingHash {
    let mut hash = [0xde; 32];
    hash[..2].copy_from_slice(&number.to_be_bytes());
    OfferingHash::new(hash.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn clientd_closes_while_a_thousand_offerings_hang() {
    let market = Market::new().await;
    let (agent, client) = (market.agent().await, market.client().await);
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    client.stop().await;
    announce_dead(&market, 1_000).await;

    let swallowed = Arc::new(Swallowed::default());
    let agents = Arc::new(DirectTransport::anywhere());
    let client = market.client_over(agents, swallowed.clone(), direct()).await;
    let node = client.handle.node();
    wait_for("as many to be asked as are at once", LIMIT, async || {
        let known = client.handle.browse(&Filter::default(), 1_000).await.unwrap().len();
        let waiting = swallowed.waiting.load(SeqCst);
        // Each keeps a worker for 20 s; those that wait for one of them have no job yet.
        if waiting == STRANGERS && known > 900 {
            Ok(())
        } else {
            Err(format!("{waiting} of {known} are asked"))
        }
    })
    .await
    .unwrap();
    let depths = {
        let mut conn = node.db().read().await.unwrap();
        privatix_jobs::depths(&mut conn, &["ask_offering"], SystemTime::now()).await.unwrap()
    };
    assert!(depths.iter().all(|depth| depth.due < 13), "{depths:?}");
    let asked = Instant::now();
    client.handle.close(id).await.unwrap();
    wait_for("the close request to be submitted", LIMIT, async || {
        let filter = TxFilter { kind: Some("request_close".into()), ..TxFilter::default() };
        let mut conn = node.db().read().await.unwrap();
        let sent = node.transactor().unwrap().list(&mut conn, &filter).await.unwrap();
        if sent.is_empty() { Err("not yet") } else { Ok(()) }
    })
    .await
    .unwrap();
    assert!(asked.elapsed() < Duration::from_secs(10), "after {:?}", asked.elapsed());
    client.stop().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_the_client_is_not_on_is_the_reason_shown() {
    let market = Market::new().await;
    announce_dead(&market, 1).await;
    let client = market.client_over(Arc::new(Offline), Arc::new(Offline), direct()).await;
    let complaint = problem(&client.handle, dead_offering(1)).await;
    assert_eq!(complaint, "your own Tor is not connected: it is blocked");
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_whose_agent_a_narrower_policy_excludes_is_ended_and_closed_with_all_that_is_owed() {
    let market = Market::new().await;
    let agent = market.agent().await;
    let client = market.client_with(contact(ContactPolicy::TorPreferred)).await;
    let mut draft = by_the_kib();
    draft.terms.setup_price = Amount::new(500);
    let offering = market.offer(&agent.handle, &client.handle, draft).await;
    let (id, _) = market.buy(&agent.handle, &client.handle, offering, None).await;
    client.stop().await;

    let dials = Arc::new(Dials::default());
    let client = market.client_over(dials.clone(), dials.clone(), ClientSettings::default()).await;
    let notices = client.handle.node().notices().all();
    let (_, notice) = notices.iter().find(|(part, _)| *part == "contact").expect("a notice");
    assert!(
        notice.contains(&id.to_string()) && notice.contains("`somc.contact` is \"tor-only\""),
        "{notice}"
    );
    let ended = service(client.handle.node(), id, "terminated").await;
    assert!(format!("{ended:?}").contains("its agent cannot be contacted"), "{ended:?}");
    channel(client.handle.node(), "the close to be asked for", id, |view| !view.channel.status.is_active())
        .await;
    assert!(dials.take().is_empty());
    client.stop().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn excluded_offerings_take_no_room_in_a_page() {
    let market = Market::new().await;
    let sign = |addresses: Vec<SomcAddress>, name: &str| {
        let mut message = message(&market, LIAR);
        (message.addresses, message.service_name) = (addresses, name.into());
        SignedOffering::sign(&message, &Templates::builtin(), &market.anvil.key(LIAR)).unwrap()
    };
    let mut servers = Vec::new();
    let mut hashes = Vec::new();
    let later = |_: &_| Err(Refusal::not_ready(Duration::from_secs(1)));
    // The oldest alone has an onion service.
    for name in ["oldest", "newer", "newest"] {
        let listener = DirectListener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let mut addresses = vec![SomcAddress::from(listener.local_addr())];
        addresses.extend((name == "oldest").then(|| SomcAddress::onion(&[7; 32], 80).unwrap()));
        let offering = sign(addresses, name);
        hashes.push(offering.hash());
        let liar = Liar::new(offering.wire(), later);
        servers.push(announce_at(&market, offering.hash(), liar, listener).await);
    }
    let client = market.client_with(contact(ContactPolicy::TorPreferred)).await;
    for hash in &hashes {
        available(&client.handle, *hash).await;
    }
    client.stop().await;

    let client = market.client_with(ClientSettings::default()).await;
    let filter = Filter { available: true, ..Filter::default() };
    let found = client.handle.browse(&filter, 1).await.unwrap();
    assert_eq!(found.iter().map(|listing| listing.offering.hash).collect::<Vec<_>>(), [hashes[0]]);
    assert_eq!(client.handle.browse(&Filter::default(), 2).await.unwrap().len(), 2);
    client.stop().await;
}
