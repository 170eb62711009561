use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use alloy::eips::BlockNumberOrTag;
use alloy::primitives::Address;
use alloy::providers::{DynProvider, Provider};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use parking_lot::RwLock;
use privatix_adapter::{self as adapter, Adapter, Host};
use privatix_chain::{Endpoint, Endpoints, Freshness, Intent, MonitorStatus, Transactor, TxId, View};
use privatix_channel::{Amount, ChainTime, ChannelId, Domain, Fee, OfferingHash, Period};
use privatix_db::{Conn, Database};
use privatix_jobs::{Job, PushOptions, Pushed, Retention, Wake};
use privatix_market::{ClockSkew, Rate};
use privatix_offering::{SignedOffering, Templates};
use privatix_store::contract_facts::ContractFacts;
use privatix_store::identity::{self, Identity};
use privatix_store::recovery::{self, Recovery};
use privatix_store::sessions;
use tokio::sync::watch;

use crate::facts::{self, Found};
use crate::messages::Messages;
use crate::services::Services;
use crate::spent::Spent;
use crate::token::Token;
use crate::{
    Cause, ChainSettings, Concerns, ContractEntry, Damage, Marks, Money, NodeError, Notices, PeerAddresses,
    ReserveStanding,
};

/// How long jobs that are done can be looked up, unless [`NodeParts::retention`] says otherwise.
pub const KEEP_DONE: Duration = Duration::from_hours(7 * 24);
/// How long jobs that failed can be looked up.
pub const KEEP_FAILED: Duration = Duration::from_hours(90 * 24);
/// How long cancelled jobs can be looked up.
pub const KEEP_CANCELLED: Duration = Duration::from_hours(30 * 24);
/// For as long as these.
pub const DEFAULT_RETENTION: Retention =
    Retention { done: Some(KEEP_DONE), failed: Some(KEEP_FAILED), cancelled: Some(KEEP_CANCELLED) };

/// What a role is made of.
pub struct NodeParts {
    /// The database, opened with [`migrations`](crate::migrations).
    pub db: Database,
    /// The chain endpoints.
    pub endpoints: Endpoints,
    /// The account's key, or that of its operator.
    pub signer: PrivateKeySigner,
    /// The agent that the signer is the operator of; `None` where the signer is the account itself. An operator acts for the
    /// agent's offerings and channels, pays the gas, and cannot move the agent's money.
    pub acts_for: Option<Address>,
    /// The key of another account with ether, which settles in a dispute what our own account cannot answer: see
    /// [`TransactorBuilder::rescue`](privatix_chain::TransactorBuilder::rescue).
    pub rescue: Option<PrivateKeySigner>,
    /// The plug-in.
    pub adapter: Arc<dyn Adapter>,
    /// The plug-in's settings.
    pub adapter_settings: serde_json::Value,
    /// Offering and access templates that we understand.
    pub templates: Templates,
    /// How to follow the chain.
    pub chain: ChainSettings,
    /// What there is to warn of already.
    pub notices: Notices,
    /// Whether the network addresses of users are stored.
    pub peer_addresses: PeerAddresses,
    /// How long ended jobs can be looked up.
    pub retention: Retention,
}

impl NodeParts {
    /// The usual parts: the SQLite database at `db` (made if it is missing), the chain at `endpoint` (`http` or `ws`), a
    /// plug-in without settings, the built-in templates, [`ChainSettings::new`]. Every field can be set afterwards.
    ///
    /// # Errors
    /// [`NodeError::Db`] for a database that cannot be opened; [`NodeError::Chain`] for an endpoint that is not an address.
    pub async fn new(
        db: &Path,
        endpoint: &str,
        contract: Address,
        signer: PrivateKeySigner,
        adapter: Arc<dyn Adapter>,
    ) -> Result<Self, NodeError> {
        Ok(Self {
            db: Database::open(db, &crate::migrations()).await?,
            endpoints: Endpoint::new(endpoint)?.into(),
            signer,
            acts_for: None,
            rescue: None,
            adapter,
            adapter_settings: serde_json::json!({}),
            templates: Templates::builtin(),
            chain: ChainSettings::new(contract),
            notices: Notices::default(),
            peer_addresses: PeerAddresses::default(),
            retention: DEFAULT_RETENTION,
        })
    }
}

impl std::fmt::Debug for NodeParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeParts").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// What both roles stand on: an account at a contract, its database, its plug-in, its jobs and transactions.
pub struct Node {
    pub(crate) db: Database,
    pub(crate) endpoints: Endpoints,
    pub(crate) signer: PrivateKeySigner,
    pub(crate) rescue: Option<PrivateKeySigner>,
    account: Address,
    pub(crate) domain: Domain,
    challenge_period: Period,
    pub(crate) settings: ChainSettings,
    pub(crate) services: Arc<Services>,
    pub(crate) adapter_settings: serde_json::Value,
    pub(crate) peer_addresses: PeerAddresses,
    pub(crate) retention: Retention,
    pub(crate) side: adapter::Role,
    pub(crate) marks: Marks,
    pub(crate) wake: Wake,
    token: Token,
    /// What the contract was at its last check, if no endpoint has shown it since.
    pub(crate) unchecked: Option<ContractFacts>,
    /// Payments out of the wallet are prepared one at a time.
    pub(crate) payments: Arc<tokio::sync::Mutex<()>>,
    messages: Arc<Messages>,
    notices: Notices,
    damage: Damage,
    concerns: Concerns,
    /// How the account's ether stood at the last look; `None` before the first.
    pub(crate) reserve: watch::Sender<Option<ReserveStanding>>,
    pub(crate) recovery: watch::Sender<Option<Recovery>>,
    /// What all channels come to.
    pub(crate) money: watch::Sender<Option<Money>>,
    pub(crate) spent: Arc<Spent>,
    // There while it runs: it holds the role, which holds the node.
    pub(crate) engine: RwLock<Option<Engine>>,
    /// Entries for which the contract holds something that no event explains.
    pub(crate) unreconciled: RwLock<BTreeMap<ContractEntry, String>>,
}

pub(crate) struct Engine {
    pub(crate) transactor: Transactor,
    pub(crate) monitor: watch::Receiver<MonitorStatus>,
    /// What the job processor does, once it is made.
    pub(crate) jobs: Option<privatix_jobs::Stats>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("account", &self.account())
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// Checks the endpoint and the contract, and that the database is this account's. If no endpoint answers within ten
    /// seconds, it opens with what the contract was at its last check, if there was one; [`run`](Self::run) then checks again,
    /// and ends if the contract is another one.
    ///
    /// # Errors
    /// [`NodeError::Chain`] for an unreachable or wrong endpoint or contract; [`NodeError::Store`] for another's database;
    /// [`NodeError::Refused`] for a client with an operator, which the contract does not know.
    pub async fn open(parts: NodeParts, side: adapter::Role) -> Result<Arc<Self>, NodeError> {
        let NodeParts {
            db,
            endpoints,
            signer,
            acts_for,
            rescue,
            adapter,
            adapter_settings,
            templates,
            chain,
            notices,
            peer_addresses,
            retention,
        } = parts;
        if acts_for.is_some() && side == adapter::Role::Client {
            return Err(NodeError::Refused(
                "only an agent can have an operator; a client needs the key of its own account".into(),
            ));
        }
        let account = acts_for.unwrap_or_else(|| signer.address());
        if let Some(rescue) = rescue.as_ref().map(PrivateKeySigner::address)
            && (rescue == account || rescue == signer.address())
        {
            return Err(NodeError::Refused(format!(
                "the rescue account {rescue} is the account that it should stand in for; set chain.rescue_keystore to the \
                 keystore of another account"
            )));
        }
        let Found { facts: contract, doubt } = facts::find(&db, &endpoints, &chain).await?;
        notices.set(facts::NOTICE, doubt.as_ref().map(ToString::to_string));
        let (domain, challenge_period) = (contract.domain, contract.challenge_period);
        let token = facts::token(&contract);
        let longest = longest_view_age(chain.max_view_age, challenge_period);
        if longest < chain.max_view_age {
            tracing::info!(
                "a view of the chain is stale after {} s, a third of the contract's challenge period, and not after \
                 chain.max_view_age",
                longest.as_secs()
            );
        }
        tracing::info!(
            token = %token.address,
            name = token.name,
            symbol = token.symbol,
            decimals = token.decimals,
            "tokens are deposited {}",
            token.way
        );

        let role = match side {
            adapter::Role::Agent => identity::Role::Agent,
            adapter::Role::Client => identity::Role::Client,
        };
        if side == adapter::Role::Agent && chain.ether_per_token.is_none() {
            tracing::warn!(
                "chain.ether_per_token is not set: answers to disputes wait while gas is dearer than chain.max_fee_gwei, \
                 whatever they defend"
            );
        }

        let mut tx = db.begin().await?;
        identity::claim(&mut tx, &Identity { role, domain, account }).await?;
        if peer_addresses == PeerAddresses::Dropped {
            let cleared = sessions::forget_peers(&mut tx).await?;
            if cleared > 0 {
                tracing::info!(sessions = cleared, "network addresses of users are cleared");
            }
        }
        let recovery = recovery::get(&mut tx).await?;
        tx.commit().await?;

        let marks = Marks::default();
        let messages = Arc::new(Messages::new(db.clone(), domain, templates));
        let host = Host::new(adapter)?;
        let damage = Damage::new(notices.clone());
        let services = Services::new(db.clone(), host);
        Ok(Arc::new(Self {
            db,
            endpoints,
            signer,
            rescue,
            account,
            domain,
            challenge_period,
            settings: chain,
            services: Arc::new(services),
            adapter_settings,
            peer_addresses,
            retention,
            side,
            marks,
            wake: Wake::new(),
            token,
            unchecked: doubt.is_some().then_some(contract),
            payments: Arc::default(),
            messages,
            notices,
            damage,
            concerns: Concerns::default(),
            reserve: watch::Sender::new(None),
            recovery: watch::Sender::new(recovery),
            money: watch::Sender::new(None),
            spent: Arc::default(),
            engine: RwLock::default(),
            unreconciled: RwLock::default(),
        }))
    }

    /// Our address: whose offerings, channels and money it is about.
    pub fn account(&self) -> Address {
        self.account
    }

    /// Who signs messages, sends transactions and pays their gas: the account, or its operator.
    pub fn sender(&self) -> Address {
        self.signer.address()
    }

    /// Whether we are the account's operator, who cannot move its money.
    pub fn is_operator(&self) -> bool {
        self.sender() != self.account
    }

    /// Ours as an operator, to make known to whoever checks our signatures: `None` where we are the account.
    pub fn as_operator(&self) -> Option<Address> {
        self.is_operator().then(|| self.sender())
    }

    /// The account that settles in a dispute what our own account cannot answer, if there is one.
    pub fn rescue_account(&self) -> Option<Address> {
        self.rescue.as_ref().map(PrivateKeySigner::address)
    }

    /// Which side of its channels we are on.
    pub fn side(&self) -> adapter::Role {
        self.side
    }

    /// Our key: the [`sender`](Self::sender)'s.
    pub fn signer(&self) -> &PrivateKeySigner {
        &self.signer
    }

    /// Chain, contract, token.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The token, as it described itself at the start.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// How long a client's close request can be answered, on the chain's clock.
    pub fn challenge_period(&self) -> Period {
        self.challenge_period
    }

    /// How often the chain is looked at.
    pub fn poll_interval(&self) -> Duration {
        self.settings.poll_interval
    }

    /// Channels of which something stored cannot be read.
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    /// Channels whose money is endangered.
    pub fn concerns(&self) -> &Concerns {
        &self.concerns
    }

    /// Whether the account's ether sufficed for the closes of its channels at the last look; `None` before the first.
    pub fn reserve(&self) -> Option<ReserveStanding> {
        self.reserve.borrow().clone()
    }

    /// The database.
    pub fn db(&self) -> &Database {
        &self.db
    }

    /// The chain, to ask it.
    pub fn provider(&self) -> &DynProvider {
        self.endpoints.best().provider()
    }

    /// The chain endpoints, and what each is good for now.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The time of the chain's newest block, asked from the endpoint: what the contract's deadlines are compared with. The
    /// clock of this machine may differ.
    ///
    /// # Errors
    /// [`NodeError::Contract`].
    pub async fn chain_time(&self) -> Result<ChainTime, NodeError> {
        let failed = |reason| NodeError::Contract { what: "the newest block", reason };
        let endpoint = self.endpoints.best();
        let asked = endpoint.provider().get_block_by_number(BlockNumberOrTag::Latest).await;
        let block = asked.map_err(|error| failed(endpoint.fault(&error).to_string()))?;
        let block = block.ok_or_else(|| failed("the endpoint has none".to_owned()))?;
        Ok(ChainTime::new(block.header.timestamp))
    }

    /// The templates that we understand.
    pub fn templates(&self) -> &Templates {
        self.messages.templates()
    }

    /// The plug-in's side of every channel.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Channels whose use or totals changed.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// What the operator should know although everything works.
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// Wakes the job processor; call it after a commit that pushed jobs.
    pub fn wake(&self) {
        self.wake.wake();
    }

    /// What wakes the job processor.
    pub fn jobs_wake(&self) -> Wake {
        self.wake.clone()
    }

    /// What the chain monitor is doing; None outside of [`run`](Self::run).
    pub fn monitor(&self) -> Option<MonitorStatus> {
        self.engine.read().as_ref().map(|engine| engine.monitor.borrow().clone())
    }

    /// How much of the chain is seen, and how old that is; None outside of [`run`](Self::run).
    pub fn chain_view(&self) -> Option<View> {
        Some(self.view_by(&self.monitor()?))
    }

    /// The chain's time now, as far as its newest blocks show it; `None` before one was seen. Everybody who follows the chain sees about the
    /// same, whatever the clocks of their machines show.
    pub fn chain_now(&self) -> Option<SystemTime> {
        self.chain_view()?.chain_now
    }

    /// The time by which the words of others expire: the chain's while our view of it is fresh, else this machine's. One of them decides
    /// and not either, or whoever serves a false time could bring back what has expired.
    pub fn time(&self) -> SystemTime {
        self.chain_now().filter(|_| self.require_view().is_ok()).unwrap_or_else(SystemTime::now)
    }

    /// How much of the chain is seen, by what the monitor shows.
    pub(crate) fn view_by(&self, monitor: &MonitorStatus) -> View {
        let max_age = longest_view_age(self.settings.max_view_age, self.challenge_period);
        monitor.view(SystemTime::now(), Instant::now(), max_age)
    }

    /// This machine's clock and the chain's time, where they contradict each other by more than
    /// [`max_clock_skew`](ChainSettings::max_clock_skew): no money is locked meanwhile. `None` also while the view is stale, which shows
    /// no time.
    pub fn clock_skew(&self) -> Option<ClockSkew> {
        self.skew_by(&self.chain_view()?)
    }

    /// The same, by how much of the chain is seen.
    pub(crate) fn skew_by(&self, view: &View) -> Option<ClockSkew> {
        let now = view.chain_now.filter(|_| !view.freshness.is_stale())?;
        let has_pace = view.head.is_some_and(|head| head.pace.is_some());
        ClockSkew::between(SystemTime::now(), now.into(), has_pace, self.settings.max_clock_skew)
    }

    /// Refuses what would rely on a view of the chain that is stale.
    ///
    /// # Errors
    /// [`NodeError::StaleView`]; [`NodeError::NotRunning`] outside of [`run`](Self::run).
    pub fn require_view(&self) -> Result<(), NodeError> {
        let view = self.chain_view().ok_or(NodeError::NotRunning)?;
        match view.freshness {
            Freshness::Stale(_) => Err(NodeError::StaleView(view.complaint().unwrap_or_default())),
            _ => Ok(()),
        }
    }

    /// Refuses what would rely on a view of a channel that is stale, or of which the contract holds what no event explains.
    ///
    /// # Errors
    /// As [`require_view`](Self::require_view); [`NodeError::Unreconciled`].
    pub fn require_view_of(&self, channel: ChannelId) -> Result<(), NodeError> {
        self.require_view()?;
        match self.unreconciled.read().get(&channel.into()) {
            Some(what) => Err(NodeError::Unreconciled { channel, what: what.clone() }),
            None => Ok(()),
        }
    }

    /// Channels, and an agent's own offerings, of which the contract holds what no event explains, with what that is: endpoints
    /// leave out logs of them.
    pub fn unreconciled(&self) -> BTreeMap<ContractEntry, String> {
        self.unreconciled.read().clone()
    }

    /// The newest block whose events are stored.
    pub fn processed_block(&self) -> Option<u64> {
        self.monitor().and_then(|status| status.processed)
    }

    /// What the job processor does; None outside of [`run`](Self::run).
    pub fn jobs(&self) -> Option<privatix_jobs::Stats> {
        self.engine.read().as_ref().and_then(|engine| engine.jobs.clone())
    }

    /// The transactor.
    ///
    /// # Errors
    /// [`NodeError::NotRunning`] outside of [`run`](Self::run).
    pub fn transactor(&self) -> Result<Transactor, NodeError> {
        let engine = self.engine.read();
        Ok(engine.as_ref().ok_or(NodeError::NotRunning)?.transactor.clone())
    }

    /// Stores a call of the service contract to be sent, in the caller's transaction. The key makes it happen once.
    ///
    /// # Errors
    /// As [`submit_intent`](Self::submit_intent).
    pub async fn submit(
        &self,
        conn: &mut Conn,
        cause: &Cause,
        key: String,
        call: &impl SolCall,
    ) -> Result<TxId, NodeError> {
        self.submit_intent(conn, cause, self.intent(key, call.abi_encode())).await
    }

    /// A call of the service contract, to be [submitted](Self::submit_intent) with terms of its own.
    pub fn intent(&self, key: String, calldata: Vec<u8>) -> Intent {
        Intent::new(key, self.sender(), self.domain.contract(), calldata)
    }

    /// What an amount of tokens is worth in wei, if the operator has said what a token is worth.
    pub fn worth(&self, amount: Amount) -> Option<u128> {
        let decimals = self.token.decimals?;
        self.settings.ether_per_token.map(|rate| rate.wei(amount, decimals))
    }

    /// What a token is worth, for decisions, if it is configured.
    pub fn rate(&self) -> Option<Rate> {
        Some(self.settings.ether_per_token?.rate(self.token.decimals?))
    }

    /// The highest network fee of a channel that is served or opened, if one is set.
    pub fn accepted_fee(&self) -> Option<Fee> {
        self.settings.accept_fee
    }

    /// Looks for transactions to send now.
    pub fn wake_transactor(&self) {
        if let Ok(transactor) = self.transactor() {
            transactor.wake();
        }
    }

    /// Pushes a job in a transaction of its own.
    pub async fn enqueue<J: Job>(&self, job: &J, by: &'static str) -> Result<Pushed, NodeError> {
        let mut tx = self.db.begin().await?;
        let pushed = privatix_jobs::push(&mut tx, job, PushOptions::by(by)).await?;
        tx.commit().await?;
        self.wake();
        Ok(pushed)
    }

    /// A stored offering's message, checked again and kept in memory.
    ///
    /// # Errors
    /// [`NodeError::Refused`] while we do not have the message.
    pub async fn offering(
        &self,
        agent: Address,
        hash: OfferingHash,
    ) -> Result<Arc<SignedOffering>, NodeError> {
        self.messages.get(agent, hash).await
    }
}

/// The age from which on a view is stale: at most a third of the challenge period, so that there is time to answer what was
/// not seen.
fn longest_view_age(setting: Duration, challenge: Period) -> Duration {
    // Not 0, which would judge nothing.
    setting.min(Duration::from_secs((challenge.seconds() / 3).max(1).into()))
}
