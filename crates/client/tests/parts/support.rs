//! A client without a chain and without agents.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use alloy::primitives::{Address, B256, keccak256};
use alloy::signers::local::PrivateKeySigner;
use async_trait::async_trait;
use privatix_billing::{Billing, Measure, Terms, TermsDraft, Unit};
use privatix_chain::{Endpoint, Keyring, NoTxSink, Transactor};
use privatix_channel::{
    Amount, ChainEvent, ChannelDescriptor, ChannelEvent, ChannelId, Domain, Fee, LogPosition,
};
use privatix_client::{Asks, ClientRunner, ClientRunnerParts, Funds, Sending};
use privatix_db::{Conn, Database};
use privatix_jobs::Wake as JobWake;
use privatix_market::{
    Ask, ChainView, Client, ClientPolicy, ClientState, Gas, Input, RecoveryId, Target, Uptime, Wake,
};
use privatix_node::drive::Drives;
use privatix_node::{Damage, Decider, DeciderParts, NodeError, Notices, Outlook};
use privatix_store::channels;
use privatix_store::events::{self, Place};
use privatix_store::states::{self, Due, Part};
use privatix_testkit::{TempDir, temp_dir};
use tokio::sync::mpsc;

pub(crate) const CHAIN: u64 = 31_337;
pub(crate) const AGENT: Address = Address::repeat_byte(0xa9);
/// Longer than anything takes here.
pub(crate) const LONG: Duration = Duration::from_mins(1);

pub(crate) fn a(base_units: u128) -> Amount {
    Amount::new(base_units)
}

pub(crate) fn key() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256("client")).unwrap()
}

pub(crate) fn domain() -> Domain {
    Domain::new(CHAIN, Address::repeat_byte(0xc0), Address::repeat_byte(0x70))
}

pub(crate) fn channel(nonce: u64) -> (ChannelId, ChannelDescriptor) {
    let offering = B256::repeat_byte(3).into();
    let client = key().address();
    let descriptor = ChannelDescriptor { client, agent: AGENT, offering, nonce, signer: client };
    (descriptor.id(&domain()), descriptor)
}

pub(crate) fn id(nonce: u64) -> ChannelId {
    channel(nonce).0
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
    };
    Arc::new(draft.validate().unwrap())
}

/// Surroundings in which nothing is wrong.
pub(crate) struct Calm(AtomicU64);

impl Default for Calm {
    fn default() -> Self {
        Self(AtomicU64::new(1_000))
    }
}

impl Calm {
    /// Time passes.
    pub(crate) fn wait(&self, pause: Duration) {
        self.0.fetch_add(pause.as_millis().try_into().unwrap(), SeqCst);
    }
}

impl Outlook for Calm {
    fn uptime(&self) -> Uptime {
        Uptime::new(self.0.load(SeqCst))
    }
    fn chain(&self) -> ChainView {
        ChainView::default()
    }
    fn unexplained(&self) -> BTreeSet<ChannelId> {
        BTreeSet::new()
    }
    fn gas(&self) -> Gas {
        Gas::default()
    }
    fn kept_open(&self, _: Option<SystemTime>) -> Option<Uptime> {
        None
    }
    fn recovery(&self) -> Option<RecoveryId> {
        None
    }
    fn instance(&self) -> u64 {
        1
    }
    fn is_reachable(&self) -> bool {
        true
    }
}

/// No service adapter and no agent.
pub(crate) struct Nobody;

#[async_trait]
impl Drives<Client> for Nobody {
    async fn drive(&self, _: &mut Conn, _: ChannelId, _: u32, _: Target) -> Result<(), NodeError> {
        Ok(())
    }
}

#[async_trait]
impl Asks for Nobody {
    async fn ask(&self, _: &mut Conn, _: &ClientState, _: u32, _: Ask, _: Uptime) -> Result<(), NodeError> {
        Ok(())
    }
    fn send(&self, _: ChannelId, _: Sending) {}
}

/// What decides about channels.
pub(crate) struct Base {
    pub(crate) db: Database,
    pub(crate) transactor: Transactor,
    pub(crate) decider: Arc<Decider<Client>>,
    pub(crate) calm: Arc<Calm>,
    pub(crate) states: mpsc::UnboundedReceiver<ClientState>,
    pub(crate) jobs: JobWake,
    _dir: TempDir,
}

/// The database of a client.
pub(crate) async fn database() -> (TempDir, Database) {
    let dir = temp_dir().unwrap();
    let db = Database::open(&dir.path().join("client.db"), &privatix_client::migrations()).await.unwrap();
    (dir, db)
}

impl Base {
    pub(crate) fn new(
        (dir, db): (TempDir, Database),
        policy: ClientPolicy,
        calm: Arc<Calm>,
        funds: Arc<dyn Funds>,
        asks: Arc<dyn Asks>,
    ) -> Self {
        let endpoint = Endpoint::new("http://127.0.0.1:1").unwrap();
        let transactor =
            Transactor::builder(db.clone(), endpoint, CHAIN, Keyring::new([key()])).build(NoTxSink);
        let (sender, states) = mpsc::unbounded_channel();
        let runner = ClientRunner::new(ClientRunnerParts {
            domain: domain(),
            sender: key().address(),
            signer: Arc::new(key()),
            drives: Arc::new(Nobody),
            funds,
            asks,
            views: Arc::new(move |state, _| drop(sender.send(state.clone()))),
        });
        let jobs = JobWake::new();
        let decider = Arc::new(Decider::new(DeciderParts {
            db: db.clone(),
            domain: domain(),
            transactions: Arc::new(transactor.clone()),
            runner: Arc::new(runner),
            outlook: calm.clone(),
            policy,
            jobs: jobs.clone(),
            damage: Damage::new(Notices::default()),
        }));
        Self { db, transactor, decider, calm, states, jobs, _dir: dir }
    }

    /// A channel of 1,000 that is open.
    pub(crate) async fn open(&self, nonce: u64) {
        self.open_with(nonce, Some(terms())).await;
    }

    pub(crate) async fn open_with(&self, nonce: u64, terms: Option<Arc<Terms>>) {
        let (id, descriptor) = channel(nonce);
        let mut tx = self.db.begin().await.unwrap();
        channels::insert(&mut tx, id, &descriptor, a(1_000)).await.unwrap();
        let mut state = ClientState::new(id, descriptor);
        state.terms = terms;
        assert!(states::create(&mut tx, &state, &Part::all(), Due::At(Wake::default())).await.unwrap());
        tx.commit().await.unwrap();
        self.happens(nonce, 1, ChannelEvent::Opened { deposit: a(1_000), fee: Fee::ZERO }).await;
    }

    pub(crate) async fn happens(&self, nonce: u64, block: u64, event: ChannelEvent) {
        let (channel, descriptor) = channel(nonce);
        let place = Place { at: LogPosition::new(block, nonce), tx: B256::repeat_byte(1) };
        let shown = match event {
            ChannelEvent::Opened { .. } => ChainEvent::Opened { channel, descriptor, event },
            _ => ChainEvent::Changed { channel, agent: AGENT, event },
        };
        let mut tx = self.db.begin().await.unwrap();
        let before = self.decider.load(&mut tx, channel).await.unwrap();
        assert!(events::record(&mut tx, place, &shown).await.unwrap());
        channels::advance(&mut tx, channel, place.at, event).await.unwrap();
        let chain = channels::on_chain(&mut tx, channel).await.unwrap();
        let applied = self.decider.decide_in(&mut tx, &before, Input::Chain(chain)).await.unwrap();
        tx.commit().await.unwrap();
        self.decider.committed(&applied);
    }

    /// The first state that was committed since the last one, and that is as wanted.
    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn(&ClientState) -> bool) -> ClientState {
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

    pub(crate) async fn state(&self, nonce: u64) -> ClientState {
        self.decider.load(&mut self.db.read().await.unwrap(), id(nonce)).await.unwrap().state
    }
}
