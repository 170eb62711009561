//! A channel's life on a node that runs, with everything about it decided from its state. The agent is a stand-in; chain, money, jobs
//! and plug-in are real.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::keccak256;
use async_trait::async_trait;
use privatix_adapter::Role as Side;
use privatix_billing::Terms;
use privatix_chain::StartFrom;
use privatix_channel::{Amount, ChannelDescriptor, ChannelStatus, Fee, ServiceStatus, SignedVoucher, Usage};
use privatix_client::{
    Agents, ClientRole, Decisions, DecisionsParts, Fund, Given, GivenAccess, Heard, Limits, Node, NodeParts,
    OfferingPolicy, Unheard,
};
use privatix_contracts::call;
use privatix_market::*;
use privatix_plugin_proxy::ProxyClient;
use privatix_store::channels::{self, StoredAccess};
use privatix_store::orders;
use privatix_store::states::{self, Due, LifePart};
use privatix_testkit::{Anvil, Contracts, TempDir, temp_dir, wait_for};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{a, terms};

const AGENT: usize = 1;
const CLIENT: usize = 2;
const LIMIT: Duration = Duration::from_secs(30);

/// Gives access at the second request, and takes vouchers.
#[derive(Default)]
struct Agent {
    asked: Mutex<u32>,
    paid: Mutex<Vec<Amount>>,
}

#[async_trait]
impl Agents for Agent {
    async fn access(&self, channel: &ChannelDescriptor) -> Result<GivenAccess, Unheard> {
        let mut asked = self.asked.lock().unwrap();
        *asked += 1;
        if *asked == 1 {
            return Err(Unheard::Silent("it is away".to_owned()));
        }
        let access = StoredAccess {
            username: channel.nonce.to_string(),
            password: "secret".to_owned(),
            endpoint: serde_json::json!({ "protocol": "socks5", "host": "203.0.113.7", "port": 9 }),
        };
        Ok(GivenAccess { access, number: None })
    }

    async fn terms(&self, _: &ChannelDescriptor) -> Result<Arc<Terms>, Unheard> {
        Ok(terms())
    }

    async fn pay(&self, _: &ChannelDescriptor, voucher: SignedVoucher, _: Usage) -> Result<Heard, Unheard> {
        self.paid.lock().unwrap().push(voucher.cumulative());
        Ok(Heard::Acknowledged(voucher.cumulative()))
    }

    async fn ping(&self, _: &ChannelDescriptor) -> Result<(), Unheard> {
        Ok(())
    }
}

/// A node that runs by decisions.
struct Running {
    node: Arc<Node>,
    decisions: Arc<Decisions>,
    stop: CancellationToken,
    tasks: [JoinHandle<()>; 2],
}

/// A node and its decisions, which do not run yet.
async fn open(
    anvil: &Anvil,
    contracts: &Contracts,
    dir: &TempDir,
    agent: &Arc<Agent>,
) -> (Arc<Node>, Arc<Decisions>) {
    let (key, proxy) = (anvil.key(CLIENT), Arc::new(ProxyClient::new()));
    let path = dir.path().join("client.db");
    let mut parts = NodeParts::new(&path, anvil.url(), contracts.contract, key, proxy).await.unwrap();
    parts.adapter_settings = serde_json::json!({ "port": 0 });
    parts.chain.confirmations = Some(0);
    parts.chain.poll_interval = Duration::from_millis(50);
    parts.chain.start = StartFrom::Block(0);
    let node = Node::open(parts, Side::Client).await.unwrap();
    let mut policy = ClientPolicy::default();
    (policy.ask_first, policy.answer_within) = (Duration::from_millis(50), Duration::from_secs(5));
    let parts = DecisionsParts {
        offerings: OfferingPolicy::default(),
        policy,
        limits: Limits::default(),
        agents: agent.clone(),
        views: Arc::new(|_, _| {}),
    };
    let decisions = Arc::new(Decisions::start(&node, parts).await.unwrap());
    (node, decisions)
}

async fn run(anvil: &Anvil, contracts: &Contracts, dir: &TempDir, agent: &Arc<Agent>) -> Running {
    let (node, decisions) = open(anvil, contracts, dir, agent).await;
    let role = Arc::new(ClientRole::new(node.clone(), decisions.clone()));
    let stop = CancellationToken::new();
    let runs = tokio::spawn({
        let (node, decisions, stop) = (node.clone(), decisions.clone(), stop.clone());
        async move {
            let registers = decisions.clone();
            node.run(role, move |processor| registers.register(processor), stop).await.unwrap();
        }
    });
    let decides = tokio::spawn({
        let (decisions, stop) = (decisions.clone(), stop.clone());
        async move { Box::pin(decisions.run(&stop)).await }
    });
    Running { node, decisions, stop, tasks: [runs, decides] }
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_lives_by_decisions_alone_and_a_restart_goes_on_with_it() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = anvil.deploy().await.unwrap();
    contracts.deposit(&anvil, CLIENT, a(1_500)).await.unwrap();
    contracts.deposit(&anvil, AGENT, a(100_000)).await.unwrap();
    let offering = keccak256("offering").into();
    let source = "agent.example:1".to_owned();
    let publish = call::register_offering(offering, a(1_000), 2, 1, source).unwrap();
    anvil.send(AGENT, contracts.contract, &publish).await.unwrap();
    let (dir, agent) = (temp_dir().unwrap(), Arc::<Agent>::default());
    let running = run(&anvil, &contracts, &dir, &agent).await;
    let client = anvil.account(CLIENT);
    let descriptor =
        ChannelDescriptor { client, agent: anvil.account(AGENT), offering, nonce: 0, signer: client };
    let fresh = wait_for("a view of the chain", LIMIT, async || {
        let chain = running.decisions.decider().outlook().chain();
        if chain.fresh { Ok(()) } else { Err(format!("{chain:?}")) }
    });
    fresh.await.unwrap();

    let opening = Opening { terms: terms(), deposit: a(1_000), fee: Fee::ZERO };
    let accepted = running.decisions.orders().accept(&descriptor, &opening, Given::by_user()).await.unwrap();
    let id = accepted.channel;
    let row = async |node: &Arc<Node>| channels::get(&mut node.db().read().await.unwrap(), id).await.unwrap();
    let served = wait_for("the service", LIMIT, async || {
        let row = row(&running.node).await;
        let shown = (row.status, row.service);
        if shown == (ChannelStatus::Active, ServiceStatus::Active) {
            Ok(())
        } else {
            Err(format!("{shown:?}"))
        }
    });
    served.await.unwrap();
    assert!(*agent.asked.lock().unwrap() >= 2, "asked again, as nobody answered");
    let order = async |node: &Arc<Node>, id| {
        orders::get(&mut node.db().read().await.unwrap(), id).await.unwrap().unwrap().ended.map(|(o, _)| o)
    };
    assert_eq!(order(&running.node, accepted.order).await, Some(Outcome::Done));
    assert!(running.node.services().endpoint(id).is_some(), "programs find it");

    let top_up = running.decisions.orders().top_up(id, a(200), Given::by_user()).await.unwrap();
    let topped_up = wait_for("the top-up", LIMIT, async || {
        let deposit = row(&running.node).await.deposit;
        if deposit == a(1_200) { Ok(()) } else { Err(deposit) }
    });
    topped_up.await.unwrap();
    running.decisions.orders().pause(id, Given::by_user()).await.unwrap();
    let paused = wait_for("the pause", LIMIT, async || {
        let service = row(&running.node).await.service;
        if service == ServiceStatus::Suspended { Ok(()) } else { Err(service) }
    });
    paused.await.unwrap();
    running.stop().await;

    // After the restart it is still paused, and goes on by order. Nothing is asked for twice.
    let asked = *agent.asked.lock().unwrap();
    let running = run(&anvil, &contracts, &dir, &agent).await;
    running.decisions.orders().resume(id, Given::by_user()).await.unwrap();
    let resumed = wait_for("the service again", LIMIT, async || {
        let service = row(&running.node).await.service;
        if service == ServiceStatus::Active { Ok(()) } else { Err(service) }
    });
    resumed.await.unwrap();
    assert_eq!(*agent.asked.lock().unwrap(), asked);
    running.decisions.orders().close(id, Given::by_user()).await.unwrap();
    let requested = wait_for("the close request", LIMIT, async || {
        let row = row(&running.node).await;
        let shown = (row.status, row.service);
        let expected = (ChannelStatus::InChallenge, ServiceStatus::Terminated);
        if shown == expected { Ok(()) } else { Err(format!("{shown:?}")) }
    });
    requested.await.unwrap();
    let spent = order(&running.node, top_up.order).await;
    assert!(matches!(spent, None | Some(Outcome::Done)), "{spent:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_writes_only_about_channels_whose_money_nobody_provides() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = anvil.deploy().await.unwrap();
    let (dir, agent) = (temp_dir().unwrap(), Arc::<Agent>::default());
    let (node, decisions) = open(&anvil, &contracts, &dir, &agent).await;
    // Two openings wait for their money. Of the second one somebody has cancelled the job.
    let (client, offering) = (anvil.account(CLIENT), keccak256("offering").into());
    let purpose = ClientPurpose::Open { deposit: a(1_000) };
    let mut ids = Vec::new();
    let mut tx = node.db().begin().await.unwrap();
    for nonce in 0..2 {
        let agent = anvil.account(AGENT);
        let descriptor = ChannelDescriptor { client, agent, offering, nonce, signer: client };
        let channel = descriptor.id(node.domain());
        channels::insert(&mut tx, channel, &descriptor, a(1_000)).await.unwrap();
        let mut state = ClientState::new(channel, descriptor);
        let bid = Purpose::from(purpose).bid(&AtStake::default());
        state.own.seq = 1;
        state.own.flights.push(Flight { seq: 1, purpose, bid, stage: Stage::Funding });
        assert!(states::create(&mut tx, &state, &LifePart::all(), Due::At(Wake::default())).await.unwrap());
        if nonce == 0 {
            let job = Fund { channel, seq: 1, purpose };
            privatix_node::push(&mut tx, &job, "test").await.unwrap();
        }
        ids.push(channel);
    }
    tx.commit().await.unwrap();
    decisions.settle().await.unwrap();
    let ending = async |channel| {
        let state =
            decisions.decider().load(&mut node.db().read().await.unwrap(), channel).await.unwrap().state;
        state.own.ending.map(|ending| ending.why)
    };
    assert_eq!(ending(ids[0]).await, None);
    assert_eq!(ending(ids[1]).await, Some(ClientEnd::NotOpened(Trouble::Cancelled)));

    // There is nothing more to write, so whoever writes meanwhile is not waited for.
    let writer = node.db().begin().await.unwrap();
    tokio::time::timeout(LIMIT, decisions.settle()).await.unwrap().unwrap();
    drop(writer);
}
