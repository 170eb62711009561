//! What is decided about an agent's channel is carried out: with the stored voucher, on a real chain.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use alloy::primitives::keccak256;
use alloy::rpc::types::TransactionReceipt;
use alloy::sol_types::SolCall as _;
use async_trait::async_trait;
use privatix_agent::{AgentRunner, AgentRunnerParts, Collects, Drives, Messaging, NodeParts, reply};
use privatix_billing::Measure;
use privatix_chain::{Endpoint, Keyring, NoTxSink, StartFrom, Transactor, TxFilter, TxRecord, TxStatus};
use privatix_channel::{
    Amount, ChainEvent, ChainTime, ChannelDescriptor, ChannelEvent, ChannelId, Fee, LogPosition,
    SignedVoucher, Usage, Voucher, VoucherVerifier, sign_voucher,
};
use privatix_contracts::{PscEvent, call};
use privatix_db::{Conn, Database};
use privatix_jobs::Wake as JobWake;
use privatix_market::*;
use privatix_node::shell::Applied;
use privatix_node::{
    Concerns, Damage, Decider, DeciderParts, GasReserve, NodeError, NodeOutlook, Notices, Outlook,
    UptimeClock,
};
use privatix_plugin_proxy::ProxyServer;
use privatix_somc::{DirectListener, SomcAddress};
use privatix_store::events::Place;
use privatix_store::sessions::Report;
use privatix_store::states::{self, Due, LifePart};
use privatix_store::{channels, events, purposes, sessions};
use privatix_testkit::{Anvil, Contracts, TempDir, temp_dir, wait_for};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{Sky, a, terms};

const AGENT: usize = 1;
const CLIENT: usize = 2;
const LIMIT: Duration = Duration::from_secs(30);

/// What was asked of the adapter and offered to batches.
#[derive(Default)]
struct Asked {
    driven: Mutex<Vec<u32>>,
    offered: Mutex<Vec<(u32, AgentPurpose)>>,
}

#[async_trait]
impl Drives<Agent> for Asked {
    async fn drive(&self, _: &mut Conn, _: ChannelId, seq: u32, _: Target) -> Result<(), NodeError> {
        self.driven.lock().unwrap().push(seq);
        Ok(())
    }
}

#[async_trait]
impl Collects for Asked {
    async fn collect(&self, _: &mut Conn, effect: EffectId, purpose: AgentPurpose) -> Result<(), NodeError> {
        self.offered.lock().unwrap().push((effect.seq, purpose));
        Ok(())
    }

    async fn take_back(&self, _: &mut Conn, effect: EffectId) -> Result<(), NodeError> {
        self.offered.lock().unwrap().retain(|(seq, _)| *seq != effect.seq);
        Ok(())
    }
}

/// An agent with a channel of 1,000 that is open on chain.
struct Scene {
    anvil: Anvil,
    contracts: Contracts,
    descriptor: ChannelDescriptor,
    id: ChannelId,
    db: Database,
    transactor: Transactor,
    runner: AgentRunner,
    decider: Decider<Agent>,
    sky: Arc<Sky>,
    asked: Arc<Asked>,
    seen: Arc<Mutex<Vec<u64>>>,
    concerns: Concerns,
    _dir: TempDir,
}

impl Scene {
    async fn new(policy: AgentPolicy) -> Self {
        let anvil = Anvil::start().await.unwrap();
        let contracts = anvil.deploy().await.unwrap();
        let contract = contracts.contract;
        contracts.deposit(&anvil, AGENT, a(100_000)).await.unwrap();
        contracts.deposit(&anvil, CLIENT, a(100_000)).await.unwrap();
        let offering = keccak256("offering").into();
        let publish =
            call::register_offering(offering, a(1_000), 2, 1, "agent.example:1".to_owned()).unwrap();
        anvil.send(AGENT, contract, &publish).await.unwrap();
        let (agent, client) = (anvil.account(AGENT), anvil.account(CLIENT));
        let descriptor = ChannelDescriptor { client, agent, offering, nonce: 0, signer: client };
        let id = descriptor.id(&contracts.domain);
        let opened = anvil.send(CLIENT, contract, &call::open(&descriptor, a(1_000)).unwrap()).await.unwrap();

        let dir = temp_dir().unwrap();
        let db = Database::open(&dir.path().join("agent.db"), &privatix_node::migrations()).await.unwrap();
        let endpoint = Endpoint::new(anvil.url()).unwrap();
        let keys = Keyring::new([anvil.key(AGENT)]);
        let transactor = Transactor::builder(db.clone(), endpoint, anvil.chain_id(), keys)
            .confirmations(0)
            .poll_interval(Duration::from_millis(50))
            .build(NoTxSink);
        let (asked, sky) = (Arc::<Asked>::default(), Arc::<Sky>::default());
        sky.at(0);
        *sky.now.lock().unwrap() = ChainTime::from(SystemTime::now());
        let seen = Arc::<Mutex<Vec<u64>>>::default();
        let damage = Damage::new(Notices::default());
        let runner = AgentRunner::new(AgentRunnerParts {
            sender: agent,
            contract,
            drives: Arc::clone(&asked) as Arc<dyn Drives<Agent>>,
            collects: Arc::clone(&asked) as Arc<dyn Collects>,
            views: {
                let seen = Arc::clone(&seen);
                Arc::new(move |applied: &Applied<Agent>| seen.lock().unwrap().push(applied.revision))
            },
        });
        let concerns = Concerns::default();
        let decider = Decider::new(DeciderParts {
            db: db.clone(),
            domain: contracts.domain,
            transactions: Arc::new(transactor.clone()),
            runner: Arc::new(runner.clone()),
            outlook: Arc::clone(&sky) as Arc<dyn Outlook>,
            policy,
            jobs: JobWake::new(),
            damage,
            concerns: concerns.clone(),
        });
        let mut tx = db.begin().await.unwrap();
        channels::insert(&mut tx, id, &descriptor, a(1_000)).await.unwrap();
        let mut state = AgentState::new(id, descriptor);
        state.terms = Some(terms(Measure::Seconds));
        let parts = BTreeSet::from([LifePart::Service, LifePart::Settlement]);
        assert!(states::create(&mut tx, &state, &parts, Due::At(Wake::default())).await.unwrap());
        tx.commit().await.unwrap();
        let scene = Self {
            anvil,
            contracts,
            descriptor,
            id,
            db,
            transactor,
            runner,
            decider,
            sky,
            asked,
            seen,
            concerns,
            _dir: dir,
        };
        let _ = scene.take(&opened).await;
        scene
    }

    /// Stores the events of a transaction, and decides what they lead to.
    async fn take(&self, receipt: &TransactionReceipt) -> Applied<Agent> {
        let mut tx = self.db.begin().await.unwrap();
        let before = self.decider.load(&mut tx, self.id).await.unwrap();
        for log in receipt.logs().iter().filter(|log| log.address() == self.contracts.contract) {
            let Some(event) = PscEvent::decode(log.data()).unwrap().chain_event(ChainTime::default()) else {
                continue;
            };
            let at = LogPosition::new(log.block_number.unwrap(), log.log_index.unwrap());
            let place = Place { at, tx: receipt.transaction_hash };
            assert!(events::record(&mut tx, place, &event).await.unwrap());
            if let Some(change) = event.channel_event() {
                channels::advance(&mut tx, self.id, at, change).await.unwrap();
            }
        }
        let chain = channels::on_chain(&mut tx, self.id).await.unwrap();
        let applied = self.decider.decide_in(&mut tx, &before, Input::Chain(chain)).await.unwrap();
        tx.commit().await.unwrap();
        self.decider.committed(&applied);
        applied
    }

    fn voucher(&self, cumulative: u128) -> SignedVoucher {
        let voucher = Voucher { channel: self.id, cumulative: a(cumulative) };
        sign_voucher(&self.anvil.key(CLIENT), &self.contracts.domain, voucher).unwrap()
    }

    async fn pay(&self, cumulative: u128) -> Option<Reply> {
        let signed = self.voucher(cumulative);
        let verifier = VoucherVerifier::new(self.contracts.domain, &self.descriptor);
        let verified = Verified::check(&verifier, &signed).unwrap();
        let input = Input::Peer(AgentMessage::Voucher { voucher: verified, used: None });
        let paid = self.decider.decide_with(self.id, input, &self.runner.paying(signed)).await.unwrap();
        reply(&paid)
    }

    /// All transactions, the newest first.
    async fn transactions(&self) -> Vec<TxRecord> {
        let mut conn = self.db.read().await.unwrap();
        self.transactor.list(&mut conn, &TxFilter::default()).await.unwrap()
    }

    async fn balance(&self) -> Amount {
        let agent = self.anvil.account(AGENT);
        self.contracts.internal_balance(&self.anvil, agent).await.unwrap()
    }

    fn wait(&self, pause: Duration) {
        self.sky.wait(pause);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_request_is_answered_on_chain_with_the_stored_voucher() {
    let scene = Scene::new(AgentPolicy::default()).await;
    let stored = scene.decider.load(&mut scene.db.read().await.unwrap(), scene.id).await.unwrap();
    let asked = stored.state.own.service.asked.unwrap();
    assert_eq!(*scene.asked.driven.lock().unwrap(), [asked.seq], "its service is prepared");
    assert_eq!(scene.pay(60).await, Some(Reply::Paid { acknowledged: a(60), ended: false }));
    assert_eq!(scene.pay(50).await, Some(Reply::Stale { acknowledged: a(60) }));
    let revisions = scene.seen.lock().unwrap().clone();
    assert!(revisions.is_sorted() && revisions.len() == 3, "{revisions:?}");

    let before = scene.balance().await;
    let request = call::request_close(&scene.descriptor, a(20));
    let receipt = scene.anvil.send(CLIENT, scene.contracts.contract, &request).await.unwrap();
    let applied = scene.take(&receipt).await;
    assert!(applied.wakes_transactor);
    let [answer] = &scene.transactions().await[..] else { panic!("no answer") };
    // The voucher is lost if nobody cashes it in time: another account could settle it.
    let settle = call::settle(&scene.descriptor, &scene.voucher(60)).abi_encode();
    let fallback = answer.intent.fallback.as_ref().unwrap();
    assert_eq!((fallback.to, fallback.input.to_vec()), (scene.contracts.contract, settle));
    assert_eq!(answer.intent.priority, privatix_chain::Priority::Urgent);

    let stop = CancellationToken::new();
    let sending = tokio::spawn({
        let (transactor, stop) = (scene.transactor.clone(), stop.clone());
        async move { transactor.run(stop).await }
    });
    let mined = wait_for("the answer is mined", LIMIT, async || {
        let [answer] = &scene.transactions().await[..] else { panic!("another one") };
        if answer.status == TxStatus::Mined { Ok(()) } else { Err(answer.status) }
    });
    mined.await.unwrap();
    stop.cancel();
    sending.await.unwrap().unwrap();
    assert_eq!(scene.balance().await, before.checked_add(a(60)).unwrap());
}

/// What health shows as the check `channels`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_decision_finds_that_endangers_money_is_kept_until_it_is_over() {
    let scene = Scene::new(AgentPolicy::default()).await;
    let answer = async |answer| {
        let stored = scene.decider.load(&mut scene.db.read().await.unwrap(), scene.id).await.unwrap();
        let seq = stored.state.own.service.asked.unwrap().seq;
        let _ = scene.decider.decide(scene.id, Input::Adapter { seq, answer }).await.unwrap();
    };
    answer(Answered::Did(Actual::Suspended)).await;
    scene.pay(60).await.unwrap();
    answer(Answered::Did(Actual::Running)).await;
    assert_eq!(scene.concerns.all(), []);

    let request = call::request_close(&scene.descriptor, a(20));
    let receipt = scene.anvil.send(CLIENT, scene.contracts.contract, &request).await.unwrap();
    let applied = scene.take(&receipt).await;
    let ends_at = applied.state.chain.challenge_ends_at().unwrap();
    let answered = (scene.id, Concern::Answered { claimable: a(40), ends_at });
    assert_eq!(scene.concerns.all(), [answered]);

    // The plug-in does not suspend the service, and does not stop it, either.
    answer(Answered::GaveUp).await;
    answer(Answered::GaveUp).await;
    let lost = (scene.id, Concern::Unstopped { side: Side::Agent });
    assert_eq!(scene.concerns.all(), [answered, lost]);

    // The close brings the claim, and the plug-in stops the service after all.
    let close = call::close(&scene.descriptor, Some(&scene.voucher(60)));
    let receipt = scene.anvil.send(AGENT, scene.contracts.contract, &close).await.unwrap();
    let _ = scene.take(&receipt).await;
    assert_eq!(scene.concerns.all(), [lost]);
    let stopped = Input::Adapter { seq: 0, answer: Answered::Did(Actual::Absent) };
    let _ = scene.decider.decide(scene.id, stopped).await.unwrap();
    assert_eq!(scene.concerns.all(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_without_a_challenge_cashes_the_best_voucher_and_nobody_settles_it_instead() {
    let scene = Scene::new(AgentPolicy::default()).await;
    scene.pay(60).await.unwrap();
    scene.pay(70).await.unwrap();
    let applied = scene.decider.decide(scene.id, Input::Order(AgentOrder::Close)).await.unwrap();
    assert!(applied.wakes_jobs, "the service is stopped");
    scene.wait(Duration::from_mins(5));
    let applied = scene.decider.decide(scene.id, Input::Look).await.unwrap();
    let purposes: Vec<AgentPurpose> = applied.state.own.flights.iter().map(|flight| flight.purpose).collect();
    assert_eq!(purposes, [AgentPurpose::Close { cumulative: a(70) }]);
    let [close] = &scene.transactions().await[..] else { panic!("no close") };
    let expected = call::close(&scene.descriptor, Some(&scene.voucher(70))).abi_encode();
    assert_eq!((close.intent.input.to_vec(), &close.intent.fallback), (expected, &None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_report_of_use_is_seen_as_growth() {
    let scene = Scene::new(AgentPolicy::default()).await;
    let mut report = Report {
        session: uuid::Uuid::from_u128(1),
        channel: scene.id,
        used: Usage::ZERO,
        peer: None,
        started_at: SystemTime::now(),
        last_usage: SystemTime::now(),
        stopped_at: None,
    };
    for used in [10, 30] {
        scene.wait(Duration::from_mins(1));
        report.used = Usage::new(used);
        let inputs = scene.decider.inputs();
        let mut tx = scene.db.begin().await.unwrap();
        let before = inputs.before(&mut tx, &BTreeSet::from([scene.id])).await.unwrap();
        assert!(sessions::record(&mut tx, &report).await.unwrap());
        let decided = inputs.used(&mut tx, before).await.unwrap();
        tx.commit().await.unwrap();
        let [applied] = &decided.applied[..] else { panic!("{:?}", decided.damaged) };
        let meter = applied.state.meter;
        assert_eq!((meter.used, meter.last), (report.used, scene.sky.uptime()));
        scene.decider.all_committed(decided);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_with_nothing_to_gain_carries_no_voucher() {
    let scene = Scene::new(AgentPolicy::default()).await;
    let _ = scene.decider.decide(scene.id, Input::Order(AgentOrder::Close)).await.unwrap();
    scene.wait(Duration::from_mins(5));
    let _ = scene.decider.decide(scene.id, Input::Look).await.unwrap();
    let [close] = &scene.transactions().await[..] else { panic!("no close") };
    assert_eq!(close.intent.input.to_vec(), call::close(&scene.descriptor, None).abi_encode());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_offered_to_a_batch_is_taken_back_when_it_goes_alone() {
    let mut policy = AgentPolicy::default();
    policy.at_risk = Some(a(10));
    let scene = Scene::new(policy).await;
    scene.pay(60).await.unwrap();
    let settle = AgentPurpose::Settle { cumulative: a(60) };
    let offered = scene.asked.offered.lock().unwrap().clone();
    assert!(matches!(offered[..], [(_, purpose)] if purpose == settle), "{offered:?}");
    let _ = scene.decider.decide(scene.id, Input::Order(AgentOrder::Close)).await.unwrap();
    scene.wait(Duration::from_mins(5));
    let applied = scene.decider.decide(scene.id, Input::Look).await.unwrap();
    assert_eq!(*scene.asked.offered.lock().unwrap(), []);
    let purposes: Vec<AgentPurpose> = applied.state.own.flights.iter().map(|flight| flight.purpose).collect();
    assert_eq!(purposes, [AgentPurpose::Close { cumulative: a(60) }]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_decisions_depend_on_is_what_the_running_node_knows() {
    let anvil = Anvil::start().await.unwrap();
    let contracts = anvil.deploy().await.unwrap();
    let dir = temp_dir().unwrap();
    let path = dir.path().join("agent.db");
    let (key, proxy) = (anvil.key(AGENT), Arc::new(ProxyServer::new()));
    let mut parts = NodeParts::new(&path, anvil.url(), contracts.contract, key, proxy).await.unwrap();
    parts.adapter_settings = serde_json::json!({ "listen": "127.0.0.1:0" });
    parts.chain.confirmations = Some(0);
    parts.chain.poll_interval = Duration::from_millis(50);
    parts.chain.start = StartFrom::Block(0);
    parts.chain.ether_per_token = Some("0.0005".parse().unwrap());
    parts.chain.accept_fee = Some(Fee::ZERO);
    let listener = DirectListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let messaging = Messaging::new(SomcAddress::direct("agent.example", 9_500).unwrap(), listener);
    let running = privatix_agent::Agent::new(parts, messaging).await.unwrap();
    let node = Arc::clone(running.handle().node());

    let mut tx = node.db().begin().await.unwrap();
    let clock = UptimeClock::start(&mut tx, "test").await.unwrap();
    tx.commit().await.unwrap();
    let reserve = Arc::new(GasReserve::new(Arc::clone(&node)));
    let outlook = Arc::new(NodeOutlook::new(Arc::clone(&node), clock.clone(), Arc::clone(&reserve)));
    assert!(!outlook.chain().fresh, "it does not run yet");
    assert_eq!(outlook.gas().close_cost, None);
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn({
        let stop = stop.clone();
        async move { reserve.watch(stop).await }
    });
    let agent = tokio::spawn(running.run(stop.clone()));
    let newest = Some(anvil.time().await.unwrap());
    let known = wait_for("the newest block's time and the price of gas", LIMIT, async || {
        let (chain, gas) = (outlook.chain(), outlook.gas());
        let is_known = chain.fresh && chain.now == newest && gas.close_cost.is_some();
        if is_known { Ok((chain, gas)) } else { Err(format!("{chain:?}, {gas:?}")) }
    });
    let (chain, gas) = known.await.unwrap();
    assert_eq!(chain.challenge, node.challenge_period());
    assert!(gas.affords_new && gas.rate == node.rate() && gas.rate.is_some(), "{gas:?}");
    assert_eq!((outlook.unexplained(), outlook.kept_open(None)), (BTreeSet::new(), None));
    assert_eq!(outlook.instance(), 1);
    assert_eq!(privatix_agent::policy(&node, AgentPolicy::default()).accept_fee, Fee::ZERO);

    // It sends its transactions, and wakes its jobs.
    let mut policy = AgentPolicy::default();
    policy.last_voucher = Duration::from_millis(1);
    let asked = Arc::<Asked>::default();
    let runner = Arc::new(AgentRunner::new(AgentRunnerParts::of(&node, asked)));
    let decider =
        Decider::new(DeciderParts::of(&node, runner, Arc::clone(&outlook) as Arc<dyn Outlook>, policy));
    let client = anvil.account(CLIENT);
    let descriptor = ChannelDescriptor {
        client,
        agent: anvil.account(AGENT),
        offering: keccak256("offering").into(),
        nonce: 0,
        signer: client,
    };
    let id = descriptor.id(node.domain());
    let mut tx = node.db().begin().await.unwrap();
    channels::insert(&mut tx, id, &descriptor, a(1_000)).await.unwrap();
    let opened = ChannelEvent::Opened { deposit: a(1_000), fee: Fee::ZERO };
    let place = Place { at: LogPosition::new(1, 0), tx: keccak256("tx") };
    let event = ChainEvent::Opened { channel: id, descriptor, event: opened };
    assert!(events::record(&mut tx, place, &event).await.unwrap());
    channels::advance(&mut tx, id, place.at, opened).await.unwrap();
    let mut state = AgentState::new(id, descriptor);
    state.own.seq = purposes::last_number(&mut tx, Subject::Channel(id)).await.unwrap();
    assert!(
        states::create(&mut tx, &state, &BTreeSet::from([LifePart::Settlement]), Due::At(Wake::default()))
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
    let _ = decider.decide(id, Input::Order(AgentOrder::Close)).await.unwrap();
    // The client's last voucher is waited for, by the uptime.
    tasks.spawn({
        let (clock, db, stop) = (clock.clone(), node.db().clone(), stop.clone());
        async move { clock.keep(&db, &stop).await }
    });
    let tried = wait_for("its close, which the contract refuses", LIMIT, async || {
        let _ = decider.decide(id, Input::Look).await.unwrap();
        let recorded =
            purposes::of_subject(&mut node.db().read().await.unwrap(), Subject::Channel(id)).await.unwrap();
        recorded.first().copied().ok_or("no transaction")
    });
    let close = Purpose::Close { cumulative: Amount::ZERO };
    assert_eq!(tried.await.unwrap().purpose, close);

    stop.cancel();
    agent.await.unwrap().unwrap();
    while tasks.join_next().await.is_some() {}
    assert!(!outlook.chain().fresh, "it does not run any more");
}
