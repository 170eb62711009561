use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use alloy::primitives::{Address, U256};
use alloy::providers::{DynProvider, Provider};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use parking_lot::Mutex;
use privatix_adapter::{self as adapter, Adapter, Configuration, Host, usage_reports};
use privatix_chain::{
    Endpoint, Intent, Interest, Keyring, Monitor, MonitorStatus, RevertDecoder, Transactor, TxId,
};
use privatix_channel::{Amount, Domain, OfferingHash};
use privatix_contracts::{PSC, PTC, PscError};
use privatix_db::{Conn, Database};
use privatix_jobs::{Job, Processor, ProcessorBuilder, PushOptions, Pushed, Wake};
use privatix_offering::{Announced, SignedOffering, Templates};
use privatix_store::identity::{self, Identity};
use privatix_store::{channels, offerings};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::account::billing_account;
use crate::meter::{self, Assess};
use crate::services::{ServiceOrders, Services};
use crate::sink::Sink;
use crate::transfers::{Deposit, Transfers, Withdraw};
use crate::{ChainSettings, Marks, NodeError, Role};

/// What a role is made of.
pub struct NodeParts {
    /// The database, opened with [`migrations`](crate::migrations).
    pub db: Database,
    /// The chain endpoint.
    pub endpoint: Endpoint,
    /// The account's key.
    pub signer: PrivateKeySigner,
    /// The plug-in.
    pub adapter: Arc<dyn Adapter>,
    /// The plug-in's settings.
    pub adapter_settings: serde_json::Value,
    /// Offering and access templates that we understand.
    pub templates: Templates,
    /// How to follow the chain.
    pub chain: ChainSettings,
}

impl std::fmt::Debug for NodeParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeParts").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// What both roles stand on: an account at a contract, its database, its plug-in, its jobs and transactions.
pub struct Node {
    db: Database,
    endpoint: Endpoint,
    signer: PrivateKeySigner,
    domain: Domain,
    challenge_period: u64,
    settings: ChainSettings,
    templates: Templates,
    services: Arc<Services>,
    adapter_settings: serde_json::Value,
    side: adapter::Role,
    marks: Marks,
    wake: Wake,
    /// Permits are signed one at a time.
    pub(crate) permits: Arc<tokio::sync::Mutex<()>>,
    messages: Mutex<HashMap<(Address, OfferingHash), Arc<SignedOffering>>>,
    // Made with the role, which needs the node.
    engine: OnceLock<Engine>,
}

struct Engine {
    transactor: Transactor,
    monitor: watch::Receiver<MonitorStatus>,
}

/// What an account has, in base units of the token, and wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balances {
    /// Ether for gas, in wei.
    pub ether: U256,
    /// Tokens in the wallet.
    pub wallet: Amount,
    /// Tokens in the service contract, free to use.
    pub contract: Amount,
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
    /// Checks the endpoint and the contract, and that the database is this account's.
    ///
    /// # Errors
    /// [`NodeError::Chain`] for an unreachable or wrong endpoint or contract; [`NodeError::Store`] for another's database.
    pub async fn open(parts: NodeParts, side: adapter::Role) -> Result<Arc<Self>, NodeError> {
        let NodeParts { db, endpoint, signer, adapter, adapter_settings, templates, chain } = parts;
        let domain = contract_domain(&endpoint, &chain).await?;
        let psc = PSC::new(chain.contract, endpoint.provider());
        let period = psc.challengePeriod().call().await.map_err(unreadable("the challenge period"))?;

        let role = match side {
            adapter::Role::Agent => identity::Role::Agent,
            adapter::Role::Client => identity::Role::Client,
        };
        let mut tx = db.begin().await?;
        identity::claim(&mut tx, &Identity { role, domain, account: signer.address() }).await?;
        tx.commit().await?;

        let marks = Marks::default();
        let services = Services::new(db.clone(), Host::new(adapter)?, side, marks.clone());
        Ok(Arc::new(Self {
            db,
            endpoint,
            signer,
            domain,
            challenge_period: period.to::<u64>(),
            settings: chain,
            templates,
            services: Arc::new(services),
            adapter_settings,
            side,
            marks,
            wake: Wake::new(),
            permits: Arc::default(),
            messages: Mutex::default(),
            engine: OnceLock::new(),
        }))
    }

    /// Our address.
    pub fn account(&self) -> Address {
        self.signer.address()
    }

    /// Which side of its channels we are on.
    pub fn side(&self) -> adapter::Role {
        self.side
    }

    /// Our key.
    pub fn signer(&self) -> &PrivateKeySigner {
        &self.signer
    }

    /// Chain, contract, token.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Blocks that a client's close request can be answered in.
    pub fn challenge_period(&self) -> u64 {
        self.challenge_period
    }

    /// How often the chain is looked at.
    pub fn poll_interval(&self) -> Duration {
        self.settings.poll_interval
    }

    /// The database.
    pub fn db(&self) -> &Database {
        &self.db
    }

    /// The chain, to ask it.
    pub fn provider(&self) -> &DynProvider {
        self.endpoint.provider()
    }

    /// The templates that we understand.
    pub fn templates(&self) -> &Templates {
        &self.templates
    }

    /// The plug-in's side of every channel.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Marks channels for billing's next look.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Wakes the job processor; call it after a commit that pushed jobs.
    pub fn wake(&self) {
        self.wake.wake();
    }

    /// What the chain monitor is doing; None before [`run`](Self::run).
    pub fn monitor(&self) -> Option<MonitorStatus> {
        self.engine.get().map(|engine| engine.monitor.borrow().clone())
    }

    /// The newest block whose events are stored.
    pub fn processed_block(&self) -> Option<u64> {
        self.monitor().and_then(|status| status.processed)
    }

    /// The transactor.
    ///
    /// # Errors
    /// [`NodeError::Refused`] before [`run`](Self::run).
    pub fn transactor(&self) -> Result<&Transactor, NodeError> {
        let engine = self.engine.get();
        Ok(&engine
            .ok_or_else(|| NodeError::Refused("the node is not running yet; try again".into()))?
            .transactor)
    }

    /// Stores a call of the service contract to be sent, in the caller's transaction. The key makes it happen once.
    pub async fn submit(
        &self,
        conn: &mut Conn,
        kind: &str,
        subject: &str,
        key: String,
        call: &impl SolCall,
    ) -> Result<TxId, NodeError> {
        let intent = Intent::new(key, self.account(), self.domain.contract(), call.abi_encode())
            .kind(kind)
            .subject(subject);
        Ok(self.transactor()?.submit(conn, intent).await?)
    }

    /// Looks for transactions to send now.
    pub fn wake_transactor(&self) {
        if let Some(engine) = self.engine.get() {
            engine.transactor.wake();
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
        if let Some(known) = self.messages.lock().get(&(agent, hash)) {
            return Ok(Arc::clone(known));
        }
        let stored = offerings::get(&mut *self.db.read().await?, agent, hash).await?;
        let Some(wire) = stored.message else {
            let why = stored.problem.unwrap_or_else(|| "it was not fetched yet".into());
            return Err(NodeError::Refused(format!("the message of offering {hash} is not here: {why}")));
        };
        let announced = Announced { hash, agent, domain: self.domain };
        let offering = Arc::new(SignedOffering::verify(&wire, &announced, &self.templates)?);
        self.messages.lock().insert((agent, hash), Arc::clone(&offering));
        Ok(offering)
    }

    /// What the account has now, asked from the chain.
    pub async fn balances(&self) -> Result<Balances, NodeError> {
        let provider = self.provider();
        let ether = provider
            .get_balance(self.account())
            .await
            .map_err(|e| NodeError::Contract { what: "the ether balance", reason: e.to_string() })?;
        let token = PTC::new(self.domain.token(), provider);
        let psc = PSC::new(self.domain.contract(), provider);
        let wallet = token.balanceOf(self.account()).call().await.map_err(unreadable("the token balance"))?;
        let contract =
            psc.balanceOf(self.account()).call().await.map_err(unreadable("the contract balance"))?;
        Ok(Balances { ether, wallet: to_amount(wallet), contract: to_amount(contract) })
    }

    /// Runs until shutdown, or until something that only an operator can mend.
    ///
    /// Shutdown loses nothing: jobs end or go back to the queue, the plug-in's sessions end, and their last usage is
    /// stored before this returns.
    pub async fn run<R: Role>(
        self: &Arc<Self>,
        role: Arc<R>,
        register: impl FnOnce(ProcessorBuilder) -> ProcessorBuilder,
        shutdown: CancellationToken,
    ) -> Result<(), NodeError> {
        let (committed, mut news) = mpsc::unbounded_channel();
        let sink = Arc::new(Sink {
            role: Arc::clone(&role),
            wake: self.wake.clone(),
            marks: self.marks.clone(),
            touched: Mutex::default(),
            committed,
        });
        let chain_id = self.domain.chain_id();
        let interest = Interest::all_of(self.domain.contract());
        let monitor = Monitor::builder(self.db.clone(), self.endpoint.clone(), chain_id, [interest])
            .confirmations(self.settings.confirmations)
            .poll_interval(self.settings.poll_interval)
            .start(self.settings.start)
            .build(Arc::clone(&sink));
        let keys = Keyring::new([self.signer.clone()]);
        let transactor = Transactor::builder(self.db.clone(), self.endpoint.clone(), chain_id, keys)
            .confirmations(self.settings.confirmations)
            .poll_interval(self.settings.poll_interval)
            .fees(self.settings.fees)
            .errors(RevertDecoder::new(|data| Some(PscError::decode(data).to_string())))
            .build(sink);
        let engine = Engine { transactor: transactor.clone(), monitor: monitor.status() };
        if self.engine.set(engine).is_err() {
            return Err(NodeError::Refused("the node runs already".into()));
        }

        let (reporter, reports) = usage_reports();
        let configuration = Configuration { role: self.side, settings: self.adapter_settings.clone() };
        self.services.host().configure(configuration, reporter).await?;
        self.services.restore().await?;

        let processor = register(
            Processor::builder(self.db.clone())
                .wake(self.wake.clone())
                .register(ServiceOrders { services: Arc::clone(&self.services), role: Arc::clone(&role) })
                .register::<Deposit, _>(Transfers(Arc::clone(self)))
                .register::<Withdraw, _>(Transfers(Arc::clone(self))),
        )
        .build()?;

        let stop = CancellationToken::new();
        let mut tasks: JoinSet<(&'static str, Result<(), NodeError>)> = JoinSet::new();
        let token = stop.clone();
        tasks.spawn(async move { ("chain monitor", monitor.run(token).await.map_err(Into::into)) });
        let token = stop.clone();
        tasks.spawn(async move { ("transactor", Box::pin(transactor.run(token)).await.map_err(Into::into)) });
        let token = stop.clone();
        tasks.spawn(async move { ("job processor", processor.run(token).await.map_err(Into::into)) });
        let (token, listener) = (stop.clone(), Arc::clone(&role));
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    channels = news.recv() => match channels {
                        Some(channels) => listener.on_committed(&channels).await,
                        None => break,
                    },
                    () = token.cancelled() => break,
                }
            }
            ("news of the chain", Ok(()))
        });
        let (node, token) = (Arc::clone(self), CancellationToken::new());
        let meter_stop = token.clone();
        let meter = tokio::spawn(async move {
            meter::run(&node.db, &node.marks, reports, &Assessor { node: &node, role: &*role }, token).await
        });

        let mut outcome = Ok(());
        tokio::select! {
            () = shutdown.cancelled() => {}
            Some(ended) = tasks.join_next() => outcome = Err(unexpected(ended)),
        }
        stop.cancel();
        while let Some(ended) = tasks.join_next().await {
            if let Ok((task, Err(error))) = ended {
                tracing::error!(task, %error, "ended with an error");
            }
        }
        if let Err(error) = self.services.host().shutdown().await {
            tracing::error!(%error, "the service adapter did not shut down cleanly");
        }
        meter_stop.cancel();
        let metered =
            meter.await.map_err(|e| NodeError::TaskEnded { task: "meter", reason: e.to_string() })?;
        outcome.and(metered)
    }
}

fn unexpected(ended: Result<(&'static str, Result<(), NodeError>), tokio::task::JoinError>) -> NodeError {
    match ended {
        Ok((_, Err(error))) => error,
        Ok((task, Ok(()))) => NodeError::TaskEnded { task, reason: "it returned".into() },
        Err(error) => NodeError::TaskEnded { task: "background task", reason: error.to_string() },
    }
}

/// Billing's question, with everything it needs loaded.
struct Assessor<'a, R> {
    node: &'a Node,
    role: &'a R,
}

impl<R: Role> Assess for Assessor<'_, R> {
    async fn assess(
        &self,
        channel: privatix_channel::ChannelId,
        now: SystemTime,
    ) -> Result<Option<SystemTime>, NodeError> {
        let (channel, account) = {
            let mut conn = self.node.db.read().await?;
            let Some(channel) = channels::find(&mut conn, channel).await? else { return Ok(None) };
            let account = billing_account(&mut conn, &channel).await?;
            (channel, account)
        };
        if channel.service.is_ending() || channel.access.is_none() {
            return Ok(None);
        }
        let offering = self.node.offering(channel.descriptor.agent, channel.descriptor.offering).await?;
        self.role.assess(&channel, offering.terms(), &account, now).await
    }
}

/// Asks the endpoint what the configured contract is: refuses a wrong chain, an address without code, a contract of
/// another kind.
///
/// # Errors
/// [`NodeError::Chain`], [`NodeError::Contract`].
pub async fn contract_domain(endpoint: &Endpoint, settings: &ChainSettings) -> Result<Domain, NodeError> {
    let provider = endpoint.provider();
    let chain_id = match settings.chain_id {
        Some(chain_id) => chain_id,
        None => privatix_chain::chain_id(endpoint).await?,
    };
    privatix_chain::check(endpoint, chain_id, &[settings.contract]).await?;
    let psc = PSC::new(settings.contract, provider);
    let token = psc.token().call().await.map_err(unreadable("the contract's token"))?;
    let domain = Domain::new(chain_id, settings.contract, token);
    let separator = psc.domainSeparator().call().await.map_err(unreadable("the contract's domain"))?;
    if separator != domain.separator() {
        return Err(NodeError::Contract {
            what: "the contract's domain",
            reason: format!("{} signs for another domain than ours", settings.contract),
        });
    }
    Ok(domain)
}

pub(crate) fn unreadable(what: &'static str) -> impl Fn(alloy::contract::Error) -> NodeError {
    move |error| NodeError::Contract { what, reason: error.to_string() }
}

/// A token's supply fits an amount; a balance that does not is a broken contract's, and counts as the most there can be.
fn to_amount(value: U256) -> Amount {
    u128::try_from(value).map_or(Amount::MAX, Amount::new)
}
