//! A node's tasks: started together, stopped in the order that loses nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use privatix_adapter::{self as adapter, Configuration, UsageReporter, usage_reports};
use privatix_chain::{Finality, Keyring, Monitor, RevertDecoder, Transactor, usual_confirmations};
use privatix_channel::ChannelId;
use privatix_contracts::PscError;
use privatix_jobs::{Processor, ProcessorBuilder};
use privatix_store::sessions;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::drive::follow_reach;
use crate::facts;
use crate::interests::interests;
use crate::meter::{self, UsageLog};
use crate::node::Engine;
use crate::reconcile::Reconciler;
use crate::sink::Sink;
use crate::transfers::{Deposit, Transfers, Withdraw};
use crate::{Node, NodeError, RoleRules};

/// How often the plug-in of a client is asked which agents it does not reach: in memory.
const LOOK_AT_REACH_EVERY: Duration = Duration::from_secs(2);

/// What follows the chain.
type Following<R> = (Monitor, Transactor, Reconciler<R>, mpsc::UnboundedReceiver<Vec<ChannelId>>);

impl Node {
    /// Runs until shutdown, or until something that only an operator can mend.
    ///
    /// Shutdown loses nothing: jobs end or go back to the queue, the plug-in's sessions end, and their last usage is
    /// stored before this returns.
    pub async fn run<R: RoleRules>(
        self: &Arc<Self>,
        role: Arc<R>,
        register: impl FnOnce(ProcessorBuilder) -> ProcessorBuilder,
        shutdown: CancellationToken,
    ) -> Result<(), NodeError> {
        let (committed, changes) = mpsc::unbounded_channel();
        let sink = Arc::new(Sink {
            node: Arc::clone(self),
            role: Arc::clone(&role),
            wake: self.wake.clone(),
            marks: self.marks.clone(),
            spent: Arc::clone(&self.spent),
            damage: self.damage().clone(),
            committed,
        });
        let chain_id = self.domain.chain_id();
        let confirmations = self.settings.confirmations.unwrap_or_else(|| usual_confirmations(chain_id));
        let finality = self.settings.finality.unwrap_or_else(|| Finality::of_chain(chain_id));
        tracing::info!(confirmations, ?finality, "following chain {chain_id}");
        let followed = interests(self.side, self.domain.contract(), self.account());
        let mut monitor = Monitor::builder(self.db.clone(), self.endpoints.clone(), chain_id, followed.own)
            .confirmations(confirmations)
            .poll_interval(self.settings.poll_interval)
            .start(self.settings.start);
        if !followed.market.is_empty() {
            monitor = monitor.recent(followed.market, self.settings.recent_blocks);
        }
        let monitor = monitor.build(Arc::clone(&sink));
        let keys = Keyring::new([self.signer.clone()].into_iter().chain(self.rescue.clone()));
        let mut transactor = Transactor::builder(self.db.clone(), self.endpoints.clone(), chain_id, keys)
            .confirmations(confirmations)
            .poll_interval(self.settings.poll_interval)
            .finality(finality)
            .fees(self.settings.fees)
            .errors(RevertDecoder::new(|data| Some(PscError::decode(data).to_string())));
        if let Some(account) = self.rescue_account() {
            tracing::info!(%account, "a rescue account stands in for ours in disputes");
            transactor = transactor.rescue(account);
        }
        let transactor = transactor.build(Arc::clone(&sink));
        let reconciler = Reconciler { node: Arc::clone(self), sink, monitor: monitor.status() };
        let engine = Engine { transactor: transactor.clone(), monitor: monitor.status(), jobs: None };
        {
            let mut running = self.engine.write();
            if running.is_some() {
                return Err(NodeError::Refused("the node runs already".into()));
            }
            *running = Some(engine);
        }
        let _engine = Stopped(self);
        self.adopt_transactions().await?;
        Box::pin(self.begin_recovery(&*role)).await?; // large, and over in a moment
        role.on_start().await?;
        self.run_tasks(role, register, (monitor, transactor, reconciler, changes), shutdown).await
    }

    async fn run_tasks<R: RoleRules>(
        self: &Arc<Self>,
        role: Arc<R>,
        register: impl FnOnce(ProcessorBuilder) -> ProcessorBuilder,
        (monitor, transactor, reconciler, mut changes): Following<R>,
        shutdown: CancellationToken,
    ) -> Result<(), NodeError> {
        let (reporter, reports) = usage_reports();
        // A restored database may know sessions that have ended, and lacks payments: its services wait.
        let recovering = self.recovery().is_some_and(|recovery| recovery.caught_up_at.is_none());

        let processor = Processor::builder(self.db.clone())
            .wake(self.wake.clone())
            .retention(self.retention)
            .register::<Deposit, _>(Transfers(Arc::clone(self)))
            .register::<Withdraw, _>(Transfers(Arc::clone(self)));
        let processor = register(processor).build()?;
        if let Some(engine) = self.engine.write().as_mut() {
            engine.jobs = Some(processor.stats());
        }

        let stop = CancellationToken::new();
        let mut tasks: JoinSet<(&'static str, Result<(), NodeError>)> = JoinSet::new();
        let token = stop.clone();
        tasks.spawn(async move { ("chain monitor", monitor.run(token).await.map_err(Into::into)) });
        let token = stop.clone();
        tasks.spawn(async move {
            reconciler.run(token).await;
            ("reconciliation", Ok(()))
        });
        let token = stop.clone();
        tasks.spawn(async move { ("transactor", Box::pin(transactor.run(token)).await.map_err(Into::into)) });
        let (node, token) = (Arc::clone(self), stop.clone());
        tasks.spawn(async move { ("job processor", node.run_jobs(processor, recovering, token).await) });
        let (node, token) = (Arc::clone(self), stop.clone());
        tasks.spawn(async move {
            let recovered = node.wait_for_end_of_recovery();
            ("recovery", until_stopped(token, recovered).await)
        });
        // After what answers disputes, and beside it: an adapter may hang.
        let (node, token) = (Arc::clone(self), stop.clone());
        tasks.spawn(async move {
            let started = node.start_adapter(&reporter, recovering);
            ("start of the service adapter", until_stopped(token, started).await)
        });
        let (node, token) = (Arc::clone(self), stop.clone());
        tasks.spawn(async move {
            let checked = node.check_contract();
            ("check of the contract", until_stopped(token, checked).await)
        });
        let (node, token) = (Arc::clone(self), stop.clone());
        tasks.spawn(async move {
            node.keep_tally(&token).await;
            ("totals of the channels", Ok(()))
        });
        if self.side == adapter::Role::Client {
            let (node, role, token) = (Arc::clone(self), Arc::clone(&role), stop.clone());
            tasks.spawn(async move {
                let host = node.services().host();
                follow_reach(host, role.decider(), LOOK_AT_REACH_EVERY, token).await;
                ("agents that are not reached", Ok(()))
            });
        }
        let (token, listener) = (stop.clone(), Arc::clone(&role));
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    channels = changes.recv() => match channels {
                        Some(channels) => listener.on_committed(&channels).await,
                        None => break,
                    },
                    () = token.cancelled() => break,
                }
            }
            ("changes on the chain", Ok(()))
        });
        let (node, token) = (Arc::clone(self), CancellationToken::new());
        let meter_stop = token.clone();
        let mut meter = tokio::spawn(async move {
            let (db, peer_addresses) = (&node.db, node.peer_addresses);
            let log = UsageLog { db, decider: role.decider(), peer_addresses };
            meter::run(&log, &node.marks, reports, token).await
        });

        let mut outcome = Ok(());
        let mut metered = None;
        tokio::select! {
            () = shutdown.cancelled() => {}
            Some(ended) = tasks.join_next() => outcome = Err(unexpected(ended)),
            ended = &mut meter => metered = Some(ended), // nothing is sold unmetered
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
        let metered = match metered {
            Some(ended) => Err(unexpected(ended.map(|ended| ("meter", ended)))),
            None => meter.await.unwrap_or_else(|e| Err(unexpected(Err(e)))),
        };
        outcome.and(metered)
    }

    /// Runs jobs: in a recovery only once the chain was caught up with.
    async fn run_jobs(
        &self,
        processor: Processor,
        recovering: bool,
        token: CancellationToken,
    ) -> Result<(), NodeError> {
        if recovering {
            match token.run_until_cancelled(self.caught_up()).await {
                Some(caught_up) => caught_up?,
                None => return Ok(()),
            }
        }
        Ok(processor.run(token).await?)
    }

    /// Configures the adapter; in a recovery it is given no channels before the chain was caught up with. Decisions drive the services.
    async fn start_adapter(&self, reporter: &UsageReporter, recovering: bool) -> Result<(), NodeError> {
        // Before the adapter can begin new ones.
        self.end_sessions().await?;
        let configuration = Configuration { role: self.side, settings: self.adapter_settings.clone() };
        self.services.configure(&configuration, reporter, self.notices()).await?;
        if recovering {
            self.caught_up().await?;
        }
        self.services.set_ready();
        Ok(())
    }

    /// Ends the sessions that a run which crashed left open: a new life of the adapter begins with new ones.
    async fn end_sessions(&self) -> Result<(), NodeError> {
        let mut tx = self.db.begin().await?;
        let running = sessions::running(&mut tx).await?;
        sessions::stop_all(&mut tx, SystemTime::now()).await?;
        tx.commit().await?;
        for channel in running {
            self.marks.mark(channel); // what it used is counted by its sessions from now on
        }
        Ok(())
    }

    /// Has the endpoints confirm the contract, if it was read from the database at the start.
    async fn check_contract(&self) -> Result<(), NodeError> {
        let Some(opened) = &self.unchecked else { return Ok(()) };
        facts::confirm(&self.db, &self.endpoints, &self.settings, opened, self.notices()).await
    }
}

/// Does something once, and then waits until the node stops: a task that ends is otherwise taken for one that failed.
async fn until_stopped(
    token: CancellationToken,
    once: impl Future<Output = Result<(), NodeError>>,
) -> Result<(), NodeError> {
    let ended = token.run_until_cancelled(once).await;
    if !matches!(ended, Some(Err(_))) {
        token.cancelled().await;
    }
    ended.unwrap_or(Ok(()))
}

/// Takes the engine away when a run ends or its future is dropped: it holds the role, which holds the node, and so the
/// database would stay open for ever.
struct Stopped<'a>(&'a Node);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        *self.0.engine.write() = None;
    }
}

fn unexpected(ended: Result<(&'static str, Result<(), NodeError>), tokio::task::JoinError>) -> NodeError {
    match ended {
        Ok((_, Err(error))) => error,
        Ok((task, Ok(()))) => NodeError::TaskEnded { task, reason: "it returned".into() },
        Err(error) => NodeError::TaskEnded { task: "background task", reason: error.to_string() },
    }
}
