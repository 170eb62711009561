//! A client without a chain, without agents and without a service adapter, with as many channels as a test opens.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use async_trait::async_trait;
use privatix_billing::Terms;
use privatix_chain::{Endpoint, Keyring, NoTxSink, Transactor};
use privatix_channel::{ChannelEvent, ChannelId, Fee};
use privatix_client::{Asks, ClientRunner, ClientRunnerParts, Funds, Sending};
use privatix_db::{Conn, Database};
use privatix_jobs::Wake as JobWake;
use privatix_market::{Ask, Client, ClientPolicy, ClientState, Target, Uptime};
use privatix_node::drive::Drives;
use privatix_node::{Decider, NodeError};
use privatix_testkit::{TempDir, temp_dir};
use tokio::sync::mpsc;

use crate::support::{CHAIN, Calm, a, begin, channel, decider, domain, happens, key, terms};

pub(crate) const AGENT: Address = Address::repeat_byte(0xa9);
/// Longer than anything takes here.
pub(crate) const LONG: Duration = Duration::from_mins(1);

pub(crate) fn id(nonce: u64) -> ChannelId {
    channel(nonce).0
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
    pub(crate) runner: ClientRunner,
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
        let runner = ClientRunnerParts {
            domain: domain(),
            sender: key().address(),
            signer: Arc::new(key()),
            drives: Arc::new(Nobody),
            funds,
            asks,
            views: Arc::new(move |state, _| drop(sender.send(state.clone()))),
        };
        let jobs = JobWake::new();
        let decider = decider(&db, &transactor, &calm, &jobs, (runner.clone(), policy));
        let runner = ClientRunner::new(runner);
        Self { db, transactor, decider, runner, calm, states, jobs, _dir: dir }
    }

    /// A channel of 1,000 that is open.
    pub(crate) async fn open(&self, nonce: u64) {
        self.open_with(nonce, Some(terms())).await;
    }

    pub(crate) async fn open_with(&self, nonce: u64, terms: Option<Arc<Terms>>) {
        begin(&self.db, nonce, terms).await;
        self.happens(nonce, 1, ChannelEvent::Opened { deposit: a(1_000), fee: Fee::ZERO }).await;
    }

    pub(crate) async fn happens(&self, nonce: u64, block: u64, event: ChannelEvent) {
        drop(happens(&self.db, &self.decider, (nonce, block), event).await);
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
