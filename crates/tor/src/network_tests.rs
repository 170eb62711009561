//! Everything against a real network of tor relays on loopback.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::time::{Duration, Instant};

use crate::watchdog::Watchdog;
use crate::{
    OnionKeys, OnionListener, OnionSettings, OnionStatus, Tor, TorError, TorSettings, TorTransport, Unreached,
};
use arti_client::DataStream;
use async_trait::async_trait;
use privatix_channel::{OfferingHash, SignedVoucher};
use privatix_offering::{AccessRequest, SealedAccess};
use privatix_somc::{
    BoxStream, Client, ClientError, ClientLimits, Listener, Paid, Peer, PeerId, Refusal, RetryPolicy, Server,
    ServerLimits, Service, SomcAddress, Transport, TransportError,
};
use privatix_testkit::TorNetwork;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tor_proto::client::stream::ClientStreamCtrl as _;

const PATIENCE: Duration = Duration::from_secs(90);

/// Sells nothing, but answers.
struct Nothing;

#[async_trait]
impl Service for Nothing {
    async fn offering(&self, offering: OfferingHash) -> Result<Vec<u8>, Refusal> {
        Err(Refusal::UnknownOffering { offering })
    }
    async fn access(&self, request: AccessRequest) -> Result<SealedAccess, Refusal> {
        Err(Refusal::UnknownChannel { channel: request.channel })
    }
    async fn pay(&self, voucher: SignedVoucher) -> Result<Paid, Refusal> {
        Err(Refusal::UnknownChannel { channel: voucher.channel() })
    }
}

fn settings(arti: &str) -> TorSettings {
    TorSettings { arti: arti.parse().unwrap(), ..TorSettings::default() }
}

/// Something that runs until it is stopped.
struct Running {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    fn new() -> Self {
        Self { stop: CancellationToken::new(), tasks: Vec::new() }
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push(tokio::spawn(task));
    }

    async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// A client on the network.
fn client(arti: &str, folder: &Path) -> (Tor, Running) {
    let tor = Tor::new(folder, &settings(arti)).unwrap();
    let mut running = Running::new();
    let (task, stop) = (tor.clone(), running.stop.clone());
    running.spawn(async move { task.run(stop).await });
    (tor, running)
}

struct Agent {
    address: SomcAddress,
    status: watch::Receiver<OnionStatus>,
    running: Running,
}

/// An agent with an onion service.
fn agent(arti: &str, folder: &Path, keys: &OnionKeys, settings: &OnionSettings) -> Agent {
    let (tor, mut running) = client(arti, folder);
    let (service, listener) = tor.onion_service(keys, settings).unwrap();
    let (address, status) = (service.address().clone(), service.status());
    let stop = running.stop.clone();
    running.spawn(service.run(stop.clone()));
    running.spawn(async move { Server::new(Nothing, ServerLimits::default()).serve(listener, stop).await });
    Agent { address, status, running }
}

impl Agent {
    async fn reachable(&mut self) {
        tokio::time::timeout(PATIENCE, self.status.wait_for(|status| status.reachable))
            .await
            .unwrap()
            .unwrap();
    }
}

fn peer(tor: &Tor, address: &SomcAddress) -> Peer {
    Peer::new(Arc::new(tor.transport()), address.clone(), ClientLimits::default(), RetryPolicy::default())
}

/// Why `address` cannot be dialled.
async fn unreached(tor: &Tor, address: &SomcAddress) -> Unreached {
    match tor.transport().unlinked().dial(address).await {
        Err(TorError::Connect { why, .. }) => why,
        other => panic!("{:?}", other.map(|_| "a stream")),
    }
}

/// One network for all of them: it takes half a minute to form.
#[tokio::test(flavor = "multi_thread")]
async fn onion_services_private_ones_and_exits_work_on_a_real_network() {
    let dir = privatix_testkit::temp_dir().unwrap();
    let network = TorNetwork::start(dir.path()).await.unwrap();
    an_onion_service_is_reached_and_comes_back_under_its_address(network.arti_toml()).await;
    a_private_service_lets_in_only_the_clients_that_it_knows(network.arti_toml()).await;
    direct_addresses_and_the_chain_endpoint_are_reached_through_exits(network.arti_toml()).await;
    two_agents_share_no_circuit(network.arti_toml()).await;
    a_service_that_is_reached_no_more_is_launched_again(network.arti_toml()).await;
}

async fn an_onion_service_is_reached_and_comes_back_under_its_address(arti: &str) {
    let dir = tempfile::tempdir().unwrap();
    let keys = OnionKeys::of_account([1; 32]);
    let begun = Instant::now();
    let mut first = agent(arti, &dir.path().join("agent"), &keys, &OnionSettings::default());
    first.reachable().await;
    println!("published and reached by itself {:?} after its start", begun.elapsed());

    let (tor, running) = client(arti, &dir.path().join("client"));
    let agent_of = peer(&tor, &first.address);
    let asked = Instant::now();
    agent_of.ping().await.unwrap();
    println!("reached by a client after {:?}, client's start included", asked.elapsed());
    let hash = OfferingHash::default();
    let missing = agent_of.offering(hash).await;
    assert!(matches!(missing, Err(ClientError::Refused(Refusal::UnknownOffering { .. }))), "{missing:?}");

    // Why somebody is not reached, met for real.
    let nowhere = OnionKeys::of_account([9; 32]).address(80).unwrap();
    assert_eq!(unreached(&tor, &nowhere).await, Unreached::NoDescriptor);
    let closed = keys.address(81).unwrap();
    assert_eq!(unreached(&tor, &closed).await, Unreached::Refused);

    // With the account restored elsewhere: same address, nothing but the key carried over.
    let address = first.address.clone();
    first.running.stop().await;
    let begun = Instant::now();
    let mut second = agent(arti, &dir.path().join("elsewhere"), &keys, &OnionSettings::default());
    assert_eq!(second.address, address);
    second.reachable().await;
    println!("reached by itself {:?} after its second start", begun.elapsed());
    // The same peer, whose circuit led to a service that is no more.
    let asked = Instant::now();
    tokio::time::timeout(PATIENCE, async { while agent_of.ping().await.is_err() {} }).await.unwrap();
    println!("reached again by the old client after {:?}", asked.elapsed());

    running.stop().await;
    second.running.stop().await;
}

async fn a_private_service_lets_in_only_the_clients_that_it_knows(arti: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (agents, clients) = (OnionKeys::of_account([2; 32]), OnionKeys::of_account([3; 32]));
    let address = agents.address(9500).unwrap();
    let authorized_clients = vec![clients.discovery_key(&address)];
    let private = OnionSettings { port: 9500, authorized_clients, ..OnionSettings::default() };
    let mut seller = agent(arti, &dir.path().join("agent"), &agents, &private);
    seller.reachable().await;

    let (stranger, stranger_runs) = client(arti, &dir.path().join("stranger"));
    // Before, the dial may fail because its own Tor still starts.
    let mut status = stranger.status();
    tokio::time::timeout(PATIENCE, status.wait_for(|status| status.ready)).await.unwrap().unwrap();
    let refused =
        Client::connect(&stranger.transport(), &address, ClientLimits::default()).await.unwrap_err();
    assert!(refused.to_string().contains("it is private"), "{refused}");

    let (known, known_runs) = client(arti, &dir.path().join("known"));
    known.prove_to(&address, &clients).unwrap();
    peer(&known, &address).ping().await.unwrap();

    stranger_runs.stop().await;
    known_runs.stop().await;
    seller.running.stop().await;
}

async fn direct_addresses_and_the_chain_endpoint_are_reached_through_exits(arti: &str) {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let there = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
    let mut running = Running::new();
    running.spawn({
        let stop = running.stop.clone();
        async move {
            while let Some(Ok((mut stream, _))) = stop.run_until_cancelled(listener.accept()).await {
                stream.write_all(b"here").await.unwrap();
            }
        }
    });
    let (tor, tor_runs) = client(arti, &dir.path().join("client"));
    let address = SomcAddress::from(there);
    assert!(tor.transport().connect(&address).await.is_err(), "only with exits");
    let mut said = String::new();
    let mut stream =
        tor.transport().with_exits().connect(&address).await.unwrap_or_else(|error| panic!("{error}"));
    stream.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "here");

    let proxy = tor.proxy_to("127.0.0.1").await.unwrap();
    let port = proxy.address();
    running.spawn(proxy.run(running.stop.clone()));
    for (host, allowed) in [("127.0.0.1", true), ("127.0.0.2", false)] {
        let target = fast_socks5::client::Socks5Stream::connect(
            port,
            host.to_owned(),
            there.port(),
            fast_socks5::client::Config::default(),
        )
        .await;
        assert_eq!(target.is_ok(), allowed, "{host}");
        if let Ok(mut stream) = target {
            let mut said = String::new();
            stream.read_to_string(&mut said).await.unwrap();
            assert_eq!(said, "here");
        }
    }
    tor_runs.stop().await;
    running.stop().await;
}

/// The circuit of a stream to `address`.
async fn circuit(transport: &TorTransport, address: SocketAddr) -> (DataStream, String) {
    let stream = transport.dial(&address.into()).await.unwrap();
    let circuit = stream.client_stream_ctrl().unwrap().tunnel().unwrap().unique_id().to_string();
    (stream, circuit)
}

/// Through exits, where nothing but isolation keeps them apart: each onion service has circuits of its own anyway.
async fn two_agents_share_no_circuit(arti: &str) {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let [first, second] = [[127, 0, 0, 1], [127, 0, 0, 2]].map(|host| SocketAddr::from((host, port)));
    let (tor, running) = client(arti, &dir.path().join("client"));
    let transport = tor.transport().with_exits();
    // A second circuit may come to stand while the first one is slow; from then on, both serve.
    let (mut streams, mut payments) = (Vec::new(), BTreeSet::new());
    for _ in 0..6 {
        let (stream, circuit) = circuit(&transport, first).await;
        streams.push(stream);
        payments.insert(circuit);
    }
    assert!(payments.len() < streams.len() / 2, "one agent's streams share circuits: {payments:?}");
    let (_c, other_agent) = circuit(&transport, second).await;
    assert!(!payments.contains(&other_agent));

    // Looking around is linked to nothing, not even to itself.
    let looking = transport.unlinked();
    let (_d, look) = circuit(&looking, first).await;
    let (_e, further_look) = circuit(&looking, first).await;
    assert_ne!(look, further_look);
    assert!([look, further_look].iter().all(|look| !payments.contains(look) && *look != other_agent));
    running.stop().await;
}

/// Takes connections only to end them, while it is out of order.
struct Fragile {
    listener: OnionListener,
    out_of_order: Arc<AtomicBool>,
}

#[async_trait]
impl Listener for Fragile {
    async fn accept(&mut self) -> Result<(BoxStream, PeerId), TransportError> {
        loop {
            let arrived = self.listener.accept().await?;
            if !self.out_of_order.load(Ordering::Relaxed) {
                return Ok(arrived);
            }
        }
    }
}

async fn a_service_that_is_reached_no_more_is_launched_again(arti: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (tor, mut running) = client(arti, dir.path());
    let keys = OnionKeys::of_account([4; 32]);
    let (service, listener) = tor.onion_service(&keys, &OnionSettings::default()).unwrap();
    let (address, mut status, stop) = (service.address().clone(), service.status(), running.stop.clone());
    let out_of_order = Arc::new(AtomicBool::new(false));
    let listener = Fragile { listener, out_of_order: Arc::clone(&out_of_order) };
    running.spawn({
        let stop = stop.clone();
        async move {
            let _ = stop.run_until_cancelled(service.keep_running(Watchdog::hurried(1_000))).await;
        }
    });
    running.spawn(async move { Server::new(Nothing, ServerLimits::default()).serve(listener, stop).await });
    let mut wait = async |what: fn(&OnionStatus) -> bool| {
        tokio::time::timeout(PATIENCE, status.wait_for(what)).await.unwrap().unwrap().clone()
    };
    wait(|status| status.reachable && status.restarts == 0).await;

    out_of_order.store(true, Ordering::Relaxed);
    let again = wait(|status| status.restarts > 0).await;
    assert!(!again.reachable && again.problem.is_some(), "{again:?}");

    out_of_order.store(false, Ordering::Relaxed);
    let well = wait(|status| status.reachable).await;
    assert_eq!((well.address, well.problem), (address.clone(), None));
    let (other, other_runs) = client(arti, &dir.path().join("client"));
    peer(&other, &address).ping().await.unwrap();
    other_runs.stop().await;
    running.stop().await;
}
