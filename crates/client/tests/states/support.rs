//! A client without a chain and without agents, with one channel.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use alloy::primitives::{Address, B256, keccak256};
use alloy::signers::local::PrivateKeySigner;
use async_trait::async_trait;
use privatix_billing::{Billing, Measure, Terms, TermsDraft, Unit};
use privatix_chain::{Endpoint, Keyring, NoTxSink, Transactor, TxFilter, TxId, TxRecord};
use privatix_channel::{
    Amount, ChainEvent, ChainTime, ChannelDescriptor, ChannelEvent, ChannelId, Domain, Fee, LogPosition,
    Usage,
};
use privatix_client::{Asks, ClientRunner, ClientRunnerParts, Funds, Payment, Sending};
use privatix_contracts::IPSC;
use privatix_db::{Conn, Database};
use privatix_jobs::Wake as JobWake;
use privatix_market::*;
use privatix_node::drive::Drives;
use privatix_node::shell::{Applied, NotApplied};
use privatix_node::{Damage, Decider, DeciderParts, NodeError, Notices, Outlook};
use privatix_store::channels::{self, Channel};
use privatix_store::events::{self, Place};
use privatix_store::sessions::{self, Report};
use privatix_store::states::{self, Due, LifePart};
use privatix_testkit::{TempDir, temp_dir};
use tokio::sync::watch;

pub(crate) const CHAIN: u64 = 31_337;

pub(crate) const fn a(units: u128) -> Amount {
    Amount::new(units)
}

pub(crate) fn key() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256("client")).unwrap()
}

pub(crate) fn domain() -> Domain {
    Domain::new(CHAIN, Address::repeat_byte(0xc0), Address::repeat_byte(0x70))
}

/// The channel of this number.
pub(crate) fn channel(nonce: u64) -> (ChannelId, ChannelDescriptor) {
    let descriptor = ChannelDescriptor {
        client: key().address(),
        agent: Address::repeat_byte(0xa9),
        offering: B256::repeat_byte(3).into(),
        nonce,
        signer: key().address(),
    };
    (descriptor.id(&domain()), descriptor)
}

pub(crate) fn descriptor() -> ChannelDescriptor {
    channel(0).1
}

pub(crate) fn id() -> ChannelId {
    channel(0).0
}

/// A base unit for each request.
pub(crate) fn terms() -> Arc<Terms> {
    let draft = TermsDraft {
        unit: Unit { name: "request".into(), measure: Measure::Requests, size: 1 },
        billing: Billing::Postpaid,
        setup_price: Amount::ZERO,
        unit_price: a(1),
        free_units: 0,
        min_units: 1,
        max_units: None,
        billing_interval: 1,
        max_billing_unit_lag: 40,
        max_suspend: Duration::from_hours(10),
        max_inactive: Duration::from_hours(10),
        max_first_use: None,
    };
    Arc::new(draft.validate().unwrap())
}

/// Surroundings in which nothing is wrong.
pub(crate) struct Calm {
    uptime: Mutex<u64>,
    pub(crate) now: Mutex<ChainTime>,
    /// Until when channels are kept open after a restore.
    pub(crate) kept_open: Mutex<Option<Uptime>>,
    instance: watch::Receiver<u64>,
}

impl Default for Calm {
    /// With one life of the plug-in.
    fn default() -> Self {
        Self::new(watch::channel(1).1)
    }
}

impl Calm {
    pub(crate) fn new(instance: watch::Receiver<u64>) -> Self {
        let now = Mutex::new(ChainTime::new(1_000));
        Self { uptime: Mutex::new(1_000), now, kept_open: Mutex::default(), instance }
    }

    pub(crate) fn wait(&self, pause: Duration) {
        *self.uptime.lock().unwrap() += u64::try_from(pause.as_millis()).unwrap();
    }
}

impl Outlook for Calm {
    fn uptime(&self) -> Uptime {
        Uptime::new(*self.uptime.lock().unwrap())
    }

    fn chain(&self) -> ChainView {
        let mut chain = ChainView::default();
        chain.now = Some(*self.now.lock().unwrap());
        chain
    }

    fn unexplained(&self) -> BTreeSet<ChannelId> {
        BTreeSet::new()
    }

    fn gas(&self) -> Gas {
        Gas::default()
    }

    fn kept_open(&self, _: Option<SystemTime>) -> Option<Uptime> {
        *self.kept_open.lock().unwrap()
    }

    fn recovery(&self) -> Option<RecoveryId> {
        self.kept_open.lock().unwrap().map(|_| RecoveryId::new(1))
    }

    fn run(&self) -> u64 {
        1
    }

    fn instance(&self) -> u64 {
        *self.instance.borrow()
    }

    fn is_reachable(&self) -> bool {
        true
    }
}

/// What something fails with.
pub(crate) type Failure = fn() -> NodeError;

/// What was asked of the adapter, of the money and of the agent.
#[derive(Default)]
pub(crate) struct Others {
    pub(crate) driven: Mutex<Vec<(u32, Target)>>,
    pub(crate) funded: Mutex<Vec<(u32, ClientPurpose)>>,
    pub(crate) taken_back: Mutex<Vec<u32>>,
    /// Orders of top-ups: the number, the amount, and whether the policy gave it.
    pub(crate) taken: Mutex<Vec<(OrderId, Amount, bool)>>,
    pub(crate) ended: Mutex<Vec<(OrderId, Outcome)>>,
    pub(crate) openings: Mutex<Vec<Option<Outcome>>>,
    pub(crate) questions: Mutex<Vec<(u32, Ask)>>,
    pub(crate) sent: Mutex<Vec<Sending>>,
    /// How often a budget was asked for.
    pub(crate) budgets: Mutex<u32>,
    /// What may be spent.
    pub(crate) left: Mutex<Option<Amount>>,
    /// Whether the wallet pays.
    pub(crate) wallet: Mutex<bool>,
    /// What fails after it has written something: what an earlier version ordered about this channel.
    pub(crate) fails: Mutex<Option<(ChannelId, Failure)>>,
}

#[async_trait]
impl Drives<Client> for Others {
    async fn drive(&self, _: &mut Conn, _: ChannelId, seq: u32, target: Target) -> Result<(), NodeError> {
        self.driven.lock().unwrap().push((seq, target));
        Ok(())
    }
}

#[async_trait]
impl Funds for Others {
    async fn budget(&self, _: &mut Conn, _: Address) -> Result<Budget, NodeError> {
        *self.budgets.lock().unwrap() += 1;
        let mut budget = Budget::default();
        budget.overall = *self.left.lock().unwrap();
        Ok(budget)
    }

    async fn next_order(&self, _: &mut Conn) -> Result<OrderId, NodeError> {
        Ok(OrderId(1))
    }

    async fn take_order(
        &self,
        _: &mut Conn,
        _: &ClientState,
        order: OrderId,
        (amount, automatic): (Amount, bool),
    ) -> Result<(), NodeError> {
        self.taken.lock().unwrap().push((order, amount, automatic));
        Ok(())
    }

    async fn adopt(&self, conn: &mut Conn, state: &mut ClientState) -> Result<(), NodeError> {
        let fails = *self.fails.lock().unwrap();
        if let Some((_, error)) = fails.filter(|(channel, _)| *channel == state.id) {
            channels::set_top_up_pending(conn, state.id, true).await?;
            return Err(error());
        }
        let top_ups = state.own.top_ups.iter();
        let taken = top_ups.map(|top_up| (top_up.order, top_up.amount, top_up.automatic));
        self.taken.lock().unwrap().extend(taken);
        Ok(())
    }

    async fn fund(&self, _: &mut Conn, effect: EffectId, purpose: ClientPurpose) -> Result<(), NodeError> {
        self.funded.lock().unwrap().push((effect.seq, purpose));
        Ok(())
    }

    async fn payment(&self, _: &mut Conn, _: &ClientState, _: ClientPurpose) -> Result<Payment, NodeError> {
        let wallet = Payment::Wallet { permit: IPSC::Permit::default(), after: Some(TxId(7)) };
        Ok(if *self.wallet.lock().unwrap() { wallet } else { Payment::Contract })
    }

    async fn take_back(&self, _: &mut Conn, effect: EffectId) -> Result<(), NodeError> {
        self.taken_back.lock().unwrap().push(effect.seq);
        Ok(())
    }

    async fn end_order(
        &self,
        _: &mut Conn,
        _: ChannelId,
        order: OrderId,
        outcome: Outcome,
    ) -> Result<(), NodeError> {
        self.ended.lock().unwrap().push((order, outcome));
        Ok(())
    }

    async fn opened(&self, _: &mut Conn, _: ChannelId, outcome: Option<Outcome>) -> Result<(), NodeError> {
        self.openings.lock().unwrap().push(outcome);
        Ok(())
    }
}

#[async_trait]
impl Asks for Others {
    async fn ask(
        &self,
        _: &mut Conn,
        _: &ClientState,
        seq: u32,
        what: Ask,
        _: Uptime,
    ) -> Result<(), NodeError> {
        self.questions.lock().unwrap().push((seq, what));
        Ok(())
    }

    fn send(&self, _: ChannelId, sending: Sending) {
        self.sent.lock().unwrap().push(sending);
    }
}

/// What was decided and committed, with all that follows.
#[derive(Debug)]
pub(crate) struct Decided(Applied<Client>);

impl Deref for Decided {
    type Target = Applied<Client>;

    fn deref(&self) -> &Applied<Client> {
        &self.0
    }
}

/// A client that decides about its channel.
pub(crate) struct Scene {
    pub(crate) db: Database,
    pub(crate) transactor: Transactor,
    pub(crate) decider: Arc<Decider<Client>>,
    pub(crate) calm: Arc<Calm>,
    pub(crate) asked: Arc<Others>,
    pub(crate) instance: watch::Sender<u64>,
    pub(crate) jobs: JobWake,
    runner: ClientRunnerParts,
    pub(crate) _dir: TempDir,
}

/// What is replaced in a [`Scene`].
pub(crate) struct Parts {
    pub(crate) signer: PrivateKeySigner,
    pub(crate) drives: Option<Arc<dyn Drives<Client>>>,
    pub(crate) views: Arc<privatix_client::Views>,
    pub(crate) life: (watch::Sender<u64>, watch::Receiver<u64>),
}

impl Default for Parts {
    fn default() -> Self {
        Self { signer: key(), drives: None, views: Arc::new(|_, _| {}), life: watch::channel(1) }
    }
}

pub(crate) fn decider(
    db: &Database,
    transactor: &Transactor,
    calm: &Arc<Calm>,
    jobs: &JobWake,
    (runner, policy): (ClientRunnerParts, ClientPolicy),
) -> Arc<Decider<Client>> {
    Arc::new(Decider::new(DeciderParts {
        db: db.clone(),
        domain: domain(),
        transactions: Arc::new(transactor.clone()),
        runner: Arc::new(ClientRunner::new(runner)),
        outlook: calm.clone(),
        policy,
        jobs: jobs.clone(),
        damage: Damage::new(Notices::default()),
        concerns: privatix_node::Concerns::default(),
    }))
}

/// Stores a channel of 1,000 that is not on chain yet.
pub(crate) async fn begin(db: &Database, nonce: u64, terms: Option<Arc<Terms>>) {
    let (id, descriptor) = channel(nonce);
    let mut tx = db.begin().await.unwrap();
    channels::insert(&mut tx, id, &descriptor, a(1_000)).await.unwrap();
    let mut state = ClientState::new(id, descriptor);
    state.terms = terms;
    state.own.proven_in_run = Some(1);
    assert!(states::create(&mut tx, &state, &LifePart::all(), Due::At(Wake::default())).await.unwrap());
    tx.commit().await.unwrap();
}

/// Something about a channel is seen on chain.
pub(crate) async fn happens(
    db: &Database,
    decider: &Decider<Client>,
    (nonce, block): (u64, u64),
    event: ChannelEvent,
) -> Applied<Client> {
    let (channel, descriptor) = channel(nonce);
    let place = Place { at: LogPosition::new(block, nonce), tx: B256::repeat_byte(1) };
    let shown = match event {
        ChannelEvent::Opened { .. } => ChainEvent::Opened { channel, descriptor, event },
        _ => ChainEvent::Changed { channel, agent: descriptor.agent, event },
    };
    let mut tx = db.begin().await.unwrap();
    let before = decider.load(&mut tx, channel).await.unwrap();
    assert!(events::record(&mut tx, place, &shown).await.unwrap());
    channels::advance(&mut tx, channel, place.at, event).await.unwrap();
    let chain = channels::on_chain(&mut tx, channel).await.unwrap();
    let applied = decider.decide_in(&mut tx, &before, Input::Chain(chain)).await.unwrap();
    tx.commit().await.unwrap();
    decider.committed(&applied);
    applied
}

impl Scene {
    /// Decides with other money.
    pub(crate) fn deciding_with(&self, funds: Arc<dyn Funds>) -> Arc<Decider<Client>> {
        self.deciding_by(ClientPolicy::default(), funds)
    }

    /// Decides by another policy, with other money.
    pub(crate) fn deciding_by(&self, policy: ClientPolicy, funds: Arc<dyn Funds>) -> Arc<Decider<Client>> {
        let runner = ClientRunnerParts { funds, ..self.runner.clone() };
        decider(&self.db, &self.transactor, &self.calm, &self.jobs, (runner, policy))
    }

    /// Without a channel.
    pub(crate) async fn empty(parts: Parts) -> Self {
        let Parts { signer, drives, views, life: (instance, life) } = parts;
        let dir = temp_dir().unwrap();
        let db = Database::open(&dir.path().join("client.db"), &privatix_client::migrations()).await.unwrap();
        let endpoint = Endpoint::new("http://127.0.0.1:1").unwrap();
        let transactor =
            Transactor::builder(db.clone(), endpoint, CHAIN, Keyring::new([key()])).build(NoTxSink);
        let (asked, calm) = (Arc::<Others>::default(), Arc::new(Calm::new(life)));
        let runner = ClientRunnerParts {
            domain: domain(),
            sender: key().address(),
            signer: Arc::new(signer),
            drives: drives.unwrap_or_else(|| asked.clone()),
            funds: asked.clone(),
            asks: asked.clone(),
            views,
        };
        let jobs = JobWake::new();
        let decider = decider(&db, &transactor, &calm, &jobs, (runner.clone(), ClientPolicy::default()));
        Self { db, transactor, decider, calm, asked, instance, jobs, runner, _dir: dir }
    }

    /// With a channel of 1,000 that is open.
    pub(crate) async fn open(parts: Parts) -> Self {
        let scene = Self::empty(parts).await;
        begin(&scene.db, 0, Some(terms())).await;
        scene.happens(1, ChannelEvent::Opened { deposit: a(1_000), fee: Fee::ZERO }).await;
        scene
    }

    /// The same, with access to the service, which runs.
    pub(crate) async fn served() -> Self {
        Self::served_with(Parts::default()).await
    }

    pub(crate) async fn served_with(parts: Parts) -> Self {
        let scene = Self::open(parts).await;
        let applied = scene.give(Input::Peer(ClientMessage::Access(Fetched::default()))).await;
        let seq = applied.state.own.service.asked.unwrap().seq;
        scene.give(Input::Adapter { seq, answer: Answered::Did(Actual::Running) }).await;
        scene
    }

    /// Something about the channel is seen on chain.
    pub(crate) async fn happens(&self, block: u64, event: ChannelEvent) -> Decided {
        Decided(happens(&self.db, &self.decider, (0, block), event).await)
    }

    pub(crate) async fn give(&self, input: Input<Client>) -> Decided {
        Decided(self.decider.decide(id(), input).await.unwrap())
    }

    pub(crate) async fn order(&self, order: ClientOrder) -> Result<Decided, NotApplied> {
        self.decider.decide(id(), Input::Order(order)).await.map(Decided)
    }

    /// The plug-in reports how much was used so far.
    pub(crate) async fn uses(&self, used: u64) -> Decided {
        let report = Report {
            session: uuid::Uuid::from_u128(1),
            channel: id(),
            used: Usage::new(used),
            peer: None,
            started_at: SystemTime::now(),
            last_usage: SystemTime::now(),
            stopped_at: None,
        };
        let mut tx = self.db.begin().await.unwrap();
        assert!(sessions::record(&mut tx, &report).await.unwrap());
        tx.commit().await.unwrap();
        self.give(Input::Used { used: Usage::new(used), running: true }).await
    }

    pub(crate) async fn state(&self) -> ClientState {
        self.decider.load(&mut self.db.read().await.unwrap(), id()).await.unwrap().state
    }

    pub(crate) async fn row(&self) -> Channel {
        channels::get(&mut self.db.read().await.unwrap(), id()).await.unwrap()
    }

    /// All transactions, the newest first.
    pub(crate) async fn transactions(&self) -> Vec<TxRecord> {
        let mut conn = self.db.read().await.unwrap();
        self.transactor.list(&mut conn, &TxFilter::default()).await.unwrap()
    }
}
