//! A marketplace to test in: a node, the contracts, an agent and a client with their databases and plug-ins.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alloy::signers::local::PrivateKeySigner;
use privatix_adapter::Adapter;
use privatix_agent::{Agent, AgentHandle, AgentPolicy, BatchPolicy, Messaging, OfferingDraft, OfferingOrder};
use privatix_billing::{Billing, Measure, TermsDraft, Unit};
use privatix_chain::{Endpoint, Endpoints, StartFrom};
use privatix_channel::{Amount, ChannelId, Fee, OfferingHash, Terms};
use privatix_client::{Client, ClientHandle, ClientSettings, ContactPolicy, Filter, Ordered};
use privatix_db::Database;
use privatix_market::Subject;
use privatix_node::{
    ChainSettings, ChannelView, EtherPerToken, Node, NodeError, NodeParts, Notices, PeerAddresses,
};
use privatix_offering::Templates;
use privatix_plugin_proxy::{ProxyClient, ProxyServer};
use privatix_somc::{DirectListener, DirectTransport, SomcAddress, Transport};
use privatix_testkit::{Anvil, AnvilBuilder, Contracts, TempDir, TestToken, free_port, temp_dir, wait_for};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Guards against hangs; nothing here takes long.
pub const LIMIT: Duration = Duration::from_secs(90);
pub const AGENT: usize = 1;
pub const CLIENT: usize = 2;

pub struct Market {
    pub anvil: Anvil,
    pub contracts: Contracts,
    dir: TempDir,
    /// Announced to clients, so they stay over a restart.
    somc_port: u16,
    proxy_port: u16,
    /// Whether those that start from now on store the network addresses of users.
    pub peer_addresses: PeerAddresses,
    /// The rules of agents that start from now on: what is worth a close is closed at once, whatever gas costs.
    pub policy: AgentPolicy,
    /// When their batches go out, if not as follows from that.
    pub batches: Option<BatchPolicy>,
    /// What a token is worth to those that start from now on, if they know it.
    pub ether_per_token: Option<EtherPerToken>,
    /// How far apart clock and chain may be for those that start from now on. They are not compared unless a test is about that: the
    /// others move the chain's time.
    pub max_clock_skew: Duration,
}

/// Settings of a client that dials the agents of this machine.
pub fn direct() -> ClientSettings {
    let mut settings = ClientSettings::default();
    settings.contact = ContactPolicy::DirectAllowed;
    settings
}

/// A role that runs.
pub struct Running<H> {
    pub handle: H,
    stop: CancellationToken,
    task: JoinHandle<Result<(), NodeError>>,
}

impl<H> Running<H> {
    /// Waits until it follows the chain. Shows why, if it ends instead.
    async fn wait(&mut self, node: Arc<Node>) {
        let processed = async || node.processed_block().ok_or("nothing processed");
        tokio::select! {
            ended = &mut self.task => panic!("it ended: {:?}", ended.unwrap()),
            processed = wait_for("the chain monitor", LIMIT, processed) => drop(processed.unwrap()),
        }
    }

    /// A clean shutdown.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

impl Market {
    pub async fn new() -> Self {
        Self::with(Anvil::builder(), async |anvil| anvil.deploy().await.unwrap()).await
    }

    /// A market over another token.
    pub async fn over(token: TestToken) -> Self {
        Self::with(Anvil::builder(), async |anvil| anvil.deploy_over(token).await.unwrap()).await
    }

    /// A market on a chain whose time is this much behind this machine's clock, and which makes blocks at a pace of its own, as far as its
    /// newest ones show. Views of it are old, so the roles are those of [`agent_over`](Self::agent_over) and
    /// [`client_at`](Self::client_at).
    pub async fn behind(by: Duration) -> Self {
        let begin = (SystemTime::now() - by).duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let chain = Anvil::builder().arg("--timestamp").arg(begin.to_string());
        let market = Self::with(chain, async |anvil| anvil.deploy().await.unwrap()).await;
        market.anvil.mine(40).await.unwrap();
        market
    }

    async fn with(chain: AnvilBuilder, deploy: impl AsyncFnOnce(&Anvil) -> Contracts) -> Self {
        // Shown for a test that fails; TEST_LOG=debug shows more.
        let filter = EnvFilter::try_from_env("TEST_LOG").unwrap_or_else(|_| "info".into());
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let anvil = chain.start().await.unwrap();
        let contracts = deploy(&anvil).await;
        let (somc_port, proxy_port) = (free_port().unwrap(), free_port().unwrap());
        let peer_addresses = PeerAddresses::default();
        let mut policy = AgentPolicy::default();
        (policy.last_voucher, policy.max_delay) = (Duration::from_millis(500), Duration::ZERO);
        let dir = temp_dir().unwrap();
        let (batches, ether_per_token) = (None, None);
        Self {
            anvil,
            contracts,
            dir,
            somc_port,
            proxy_port,
            peer_addresses,
            policy,
            batches,
            ether_per_token,
            max_clock_skew: Duration::ZERO,
        }
    }

    /// Lets the challenge of a close request that was just made pass.
    pub async fn pass_the_challenge(&self) {
        self.anvil.warp(Terms::TEST.challenge).await.unwrap();
    }

    /// The files of a role's database.
    pub fn files(&self, name: &str) -> Vec<PathBuf> {
        let of_role = |path: &PathBuf| path.to_string_lossy().contains(&format!("/{name}.db"));
        std::fs::read_dir(self.dir.path()).unwrap().map(|file| file.unwrap().path()).filter(of_role).collect()
    }

    /// Waits until a role that was stopped has let go of its database, so that all of it is in its file.
    pub async fn closed(&self, name: &str) {
        let path = self.database(name);
        let open = async || Database::open(&path, &privatix_node::migrations()).await;
        drop(wait_for("the database", LIMIT, open).await.unwrap());
    }

    pub fn database(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.db"))
    }

    async fn parts(
        &self,
        name: &str,
        signer: PrivateKeySigner,
        adapter: Arc<dyn Adapter>,
        adapter_settings: Value,
    ) -> NodeParts {
        let mut chain = ChainSettings::new(self.contracts.contract);
        chain.confirmations = Some(0); // a block is mined per transaction, and none after it
        chain.poll_interval = Duration::from_millis(50);
        chain.start = StartFrom::Block(0);
        chain.ether_per_token = self.ether_per_token;
        chain.max_clock_skew = self.max_clock_skew;
        // The last run's tasks let go of it a moment after its end.
        let path = self.database(name);
        let open = async || Database::open(&path, &privatix_node::migrations()).await;
        let db = wait_for("the database", LIMIT, open).await.unwrap();
        NodeParts {
            db,
            endpoints: Endpoint::new(self.anvil.url()).unwrap().into(),
            signer,
            acts_for: None,
            rescue: None,
            adapter,
            adapter_settings,
            templates: Templates::builtin(),
            chain,
            notices: Notices::default(),
            peer_addresses: self.peer_addresses,
            retention: privatix_node::DEFAULT_RETENTION,
        }
    }

    /// Starts the agent, with a proxy that may reach this machine.
    pub async fn agent(&self) -> Running<AgentHandle> {
        let settings = json!({
            "listen": format!("127.0.0.1:{}", self.proxy_port),
            "destinations": { "allow": ["127.0.0.0/8"] },
        });
        self.agent_with(Arc::new(ProxyServer::new()), settings).await
    }

    /// Starts the agent with the key of an operator.
    pub async fn operator(&self, operator: usize) -> Running<AgentHandle> {
        let settings = json!({ "listen": format!("127.0.0.1:{}", self.proxy_port) });
        let adapter = Arc::new(ProxyServer::new());
        let mut parts = self.parts("agent", self.anvil.key(operator), adapter, settings).await;
        parts.acts_for = Some(self.anvil.account(AGENT));
        self.agent_of(parts).await
    }

    /// Starts the agent with a rescue account.
    pub async fn agent_with_rescue(&self, rescue: usize) -> Running<AgentHandle> {
        let settings = json!({ "listen": format!("127.0.0.1:{}", self.proxy_port) });
        let adapter = Arc::new(ProxyServer::new());
        let mut parts = self.parts("agent", self.anvil.key(AGENT), adapter, settings).await;
        parts.rescue = Some(self.anvil.key(rescue));
        self.agent_of(parts).await
    }

    /// Starts an agent that serves channels up to this network fee.
    pub async fn agent_that_accepts(&self, fee: Fee) -> Running<AgentHandle> {
        let settings = json!({ "listen": format!("127.0.0.1:{}", self.proxy_port) });
        let adapter = Arc::new(ProxyServer::new());
        let mut parts = self.parts("agent", self.anvil.key(AGENT), adapter, settings).await;
        parts.chain.accept_fee = Some(fee);
        self.agent_of(parts).await
    }

    /// Starts an agent for which a token is worth this much ether, so that it knows what is worth its gas.
    pub async fn agent_that_values(&self, token: &str) -> Running<AgentHandle> {
        let settings = json!({ "listen": format!("127.0.0.1:{}", self.proxy_port) });
        let adapter = Arc::new(ProxyServer::new());
        let mut parts = self.parts("agent", self.anvil.key(AGENT), adapter, settings).await;
        parts.chain.ether_per_token = Some(token.parse().unwrap());
        self.agent_of(parts).await
    }

    /// Tries to open a client with another key than its account's.
    pub async fn client_as_operator_of(&self, client: usize, operator: usize) -> Result<(), NodeError> {
        let adapter = Arc::new(ProxyClient::new());
        let mut parts = self.parts("client", self.anvil.key(operator), adapter, json!({ "port": 0 })).await;
        parts.acts_for = Some(self.anvil.account(client));
        Client::new(parts, Arc::new(DirectTransport::anywhere()), direct()).await.map(drop)
    }

    pub async fn agent_with(&self, adapter: Arc<dyn Adapter>, settings: Value) -> Running<AgentHandle> {
        self.agent_of(self.parts("agent", self.anvil.key(AGENT), adapter, settings).await).await
    }

    async fn agent_of(&self, parts: NodeParts) -> Running<AgentHandle> {
        let mut running = self.start(parts).await;
        running.wait(running.handle.node().clone()).await;
        running
    }

    /// Starts the agent over another endpoint of the chain, and does not wait until it follows that.
    pub async fn agent_over(&self, endpoint: &str) -> Running<AgentHandle> {
        // Blocks come on demand here, and tests move the clock: a few of them missing look like hours.
        self.agent_with_view(endpoint, Duration::ZERO).await
    }

    /// The same, with another age from which on its view of the chain is stale.
    pub async fn agent_with_view(&self, endpoint: &str, max_age: Duration) -> Running<AgentHandle> {
        self.agent_over_several(Endpoint::new(endpoint).unwrap().into(), max_age).await
    }

    /// The same, over several endpoints.
    pub async fn agent_over_several(&self, endpoints: Endpoints, max_age: Duration) -> Running<AgentHandle> {
        let settings = json!({ "listen": format!("127.0.0.1:{}", self.proxy_port) });
        let adapter = Arc::new(ProxyServer::new());
        let mut parts = self.parts("agent", self.anvil.key(AGENT), adapter, settings).await;
        parts.endpoints = endpoints;
        parts.chain.max_view_age = max_age;
        self.start(parts).await
    }

    async fn start(&self, parts: NodeParts) -> Running<AgentHandle> {
        let listener = DirectListener::bind(([127, 0, 0, 1], self.somc_port).into()).await.unwrap();
        let somc = SomcAddress::direct("127.0.0.1", self.somc_port).unwrap();
        let messaging = Messaging::new(somc, listener);
        let mut agent = Agent::with_policy(parts, messaging, self.policy.clone()).await.unwrap();
        if let Some(batches) = &self.batches {
            agent = agent.batches(batches.clone());
        }
        let (handle, stop) = (agent.handle(), CancellationToken::new());
        let task = tokio::spawn(agent.run(stop.clone()));
        Running { handle, stop, task }
    }

    /// Starts the client, with a local port for each channel.
    pub async fn client(&self) -> Running<ClientHandle> {
        self.client_with(direct()).await
    }

    pub async fn client_with(&self, settings: ClientSettings) -> Running<ClientHandle> {
        let transport = Arc::new(DirectTransport::anywhere());
        self.client_over(transport.clone(), transport, settings).await
    }

    /// Starts the client over a transport for its agents and one for the messages of offerings.
    pub async fn client_over(
        &self,
        transport: Arc<dyn Transport>,
        fetching: Arc<dyn Transport>,
        settings: ClientSettings,
    ) -> Running<ClientHandle> {
        let parts = self.client_parts().await;
        self.client_of(parts, transport, fetching, settings).await
    }

    /// Starts the client with another plug-in.
    pub async fn client_with_adapter(&self, adapter: Arc<dyn Adapter>) -> Running<ClientHandle> {
        let mut parts = self.client_parts().await;
        parts.adapter = adapter;
        let transport = Arc::new(DirectTransport::anywhere());
        self.client_of(parts, transport.clone(), transport, direct()).await
    }

    /// Starts the client over another endpoint of the chain.
    pub async fn client_at(&self, endpoint: &str) -> Running<ClientHandle> {
        let mut parts = self.client_parts().await;
        parts.endpoints = Endpoint::new(endpoint).unwrap().into();
        parts.chain.max_view_age = Duration::ZERO; // as of `agent_over`
        let transport = Arc::new(DirectTransport::anywhere());
        self.client_of(parts, transport.clone(), transport, direct()).await
    }

    /// What a client is made of, with a local port for each channel.
    pub async fn client_parts(&self) -> NodeParts {
        let adapter_settings = json!({ "port": 0, "allow_private_agents": true });
        let adapter = Arc::new(ProxyClient::new());
        self.parts("client", self.anvil.key(CLIENT), adapter, adapter_settings).await
    }

    async fn client_of(
        &self,
        parts: NodeParts,
        transport: Arc<dyn Transport>,
        fetching: Arc<dyn Transport>,
        settings: ClientSettings,
    ) -> Running<ClientHandle> {
        let client = Client::new(parts, transport, settings).await.unwrap().fetch_over(fetching);
        let (handle, stop) = (client.handle(), CancellationToken::new());
        let task = tokio::spawn(client.run(stop.clone()));
        let mut running = Running { handle, stop, task };
        running.wait(running.handle.node().clone()).await;
        running
    }

    /// Publishes an offering and waits until the client can accept it.
    pub async fn offer(
        &self,
        agent: &AgentHandle,
        client: &ClientHandle,
        draft: OfferingDraft,
    ) -> OfferingHash {
        let offering = publish(self, agent, draft).await;
        available(client, offering).await;
        offering
    }

    /// Opens a channel and waits until its service runs on both sides, and the first payment is acknowledged where there is a price for
    /// the setup: a test may stop a daemon next. Gives it with its local proxy port.
    pub async fn buy(
        &self,
        agent: &AgentHandle,
        client: &ClientHandle,
        offering: OfferingHash,
        deposit: Option<Amount>,
    ) -> (ChannelId, u16) {
        let Ordered { order, channel, .. } = client.accept(None, offering, deposit).await.unwrap();
        let order = client.orders().get(order).await.unwrap().expect("the order is stored under its number");
        assert_eq!(order.subject, Subject::Channel(channel));
        service(client.node(), channel, "active").await;
        service(agent.node(), channel, "active").await;
        let known = client.browse(&Filter::default(), 100).await.unwrap();
        let bought = known.iter().find(|listing| listing.offering.hash == offering);
        let setup = bought.unwrap().message.as_ref().unwrap().terms().setup_price();
        self::channel(client.node(), "the setup to be paid", channel, |view| view.acknowledged >= setup)
            .await;
        let endpoint = client.node().services().endpoint(channel).unwrap();
        (channel, endpoint["port"].as_u64().unwrap().try_into().unwrap())
    }
}

/// Deposits the stake, publishes, waits until it is on chain.
pub async fn publish(market: &Market, agent: &AgentHandle, draft: OfferingDraft) -> OfferingHash {
    market.contracts.deposit(&market.anvil, AGENT, Amount::new(100_000_000)).await.unwrap();
    let offering = agent.create_offering(draft).await.unwrap().hash();
    agent.change_offering(offering, OfferingOrder::Publish).await.unwrap();
    wait_for("the offering to be registered", LIMIT, async || {
        let ours = agent.offerings(100).await.unwrap();
        let ours = ours.iter().find(|ours| ours.hash == offering).unwrap();
        if ours.status.is_on_market() { Ok(()) } else { Err(format!("{ours:?}")) }
    })
    .await
    .unwrap();
    offering
}

/// Waits until the client has the checked message of an offering.
pub async fn available(client: &ClientHandle, offering: OfferingHash) {
    let filter = Filter { available: true, ..Filter::default() };
    wait_for("the offering to be known", LIMIT, async || {
        let found = client.browse(&filter, 100).await.unwrap();
        if found.iter().any(|listing| listing.offering.hash == offering) { Ok(()) } else { Err(found.len()) }
    })
    .await
    .unwrap();
}

/// Waits until a channel satisfies a condition.
pub async fn channel(
    node: &Node,
    what: &str,
    channel: ChannelId,
    holds: impl Fn(&ChannelView) -> bool,
) -> ChannelView {
    wait_for(format!("{what} ({:?})", node.side()), LIMIT, async || match node.channel(channel).await {
        Ok(view) if holds(&view) => Ok(view),
        Ok(view) => Err(format!("{view:?}")),
        Err(error) => Err(error.to_string()),
    })
    .await
    .unwrap()
}

pub async fn service(node: &Node, id: ChannelId, status: &str) -> ChannelView {
    channel(node, &format!("service to be {status}"), id, |view| view.channel.service.as_str() == status)
        .await
}

/// A proxy offering by the KiB: 10 base units for each, paid every 64 KiB, at most 256 KiB behind.
pub fn by_the_kib() -> OfferingDraft {
    let terms = TermsDraft {
        unit: Unit { name: "KiB".into(), measure: Measure::Bytes, size: 1024 },
        billing: Billing::Postpaid,
        setup_price: Amount::new(500),
        unit_price: Amount::new(10),
        free_units: 16,
        min_units: 1024,
        max_units: None,
        billing_interval: 64,
        max_billing_unit_lag: 256,
        max_suspend: Duration::from_mins(10),
        max_inactive: Duration::from_mins(10),
        max_first_use: None,
    };
    let mut draft = OfferingDraft::new("Test proxy", "DE".parse().unwrap(), 3, terms);
    draft.additional = json!({ "protocols": ["socks5", "http"] });
    draft
}
