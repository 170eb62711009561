//! Job: provide the money for an opening or a top-up, and report it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use privatix_channel::{Amount, ChannelId};
use privatix_db::{Conn, Database};
use privatix_jobs::{
    Backoff, Done, Effects, Failure, Filter, Handler, Job, JobContext, JobError, JobRecord, JobStatus, Lane,
    OrRetry as _, Policy,
};
use privatix_market::{Client, ClientPurpose, ClientState, EffectId, Fate, Input, Stage, Trouble};
use privatix_node::shell::{NotApplied, by_job};
use privatix_node::{Balances, Decider, Node, NodeError, WalletTurn, lanes};
use privatix_store::orders::{self, Pot};
use privatix_store::states::Stored;
use serde::{Deserialize, Serialize};

use crate::budget::{Balance, Promises};
use crate::funding::{Funding, order_of};
use crate::runner::Payment;

/// Job: provide the money for the transaction of this number. It ends in the transaction in which what it found is decided, also where
/// it fails: when its tries are over, the channel's transaction does not take place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fund {
    /// The channel.
    pub channel: ChannelId,
    /// The transaction's number among the channel's effects.
    pub seq: u32,
    /// What it is for.
    pub purpose: ClientPurpose,
}

impl Fund {
    /// Such a job, as it is stored; `None` for one that is none, or cannot be read.
    pub fn of(job: &JobRecord) -> Option<Self> {
        (job.kind == Self::KIND).then(|| serde_json::from_str(&job.payload).ok()).flatten()
    }

    /// The channel of such a job; `None` for one that is none, or cannot be read.
    pub fn channel_of(job: &JobRecord) -> Option<ChannelId> {
        Self::of(job).map(|fund| fund.channel)
    }
}

/// What the jobs of a channel are about. It is not the channel itself: whoever waits for money must still be able to end it.
pub fn fund_subject(channel: ChannelId) -> String {
    format!("fund {channel}")
}

impl Job for Fund {
    const KIND: &'static str = "fund";
    const LANE: Lane = lanes::MONEY;

    fn subject(&self) -> String {
        fund_subject(self.channel)
    }

    fn policy() -> Policy {
        Policy::default()
            .tries(TRIES)
            .backoff(Backoff::exponential(Duration::from_secs(2), Duration::from_mins(2)))
    }
}

/// How often the account and the chain are asked before a transaction is given up: nobody wants it hours later.
const TRIES: u32 = 20;

/// The account's money.
#[async_trait]
pub trait Purse: Send + Sync {
    /// What the account has now.
    ///
    /// # Errors
    /// [`NodeError`]: it is asked again.
    async fn balances(&self) -> Result<Balances, NodeError>;

    /// Prepares a payment out of the wallet, which holds that much. There is no other one before the value is dropped.
    ///
    /// # Errors
    /// [`NodeError::WalletBusy`] while another payment is on its way; others as [`Node::wallet_turn`].
    async fn turn(&self, amount: Amount) -> Result<Arc<dyn Turn>, NodeError>;
}

/// The turn to pay out of the wallet.
#[async_trait]
pub trait Turn: Send + Sync {
    /// How the wallet pays for an effect. What must be mined before its transaction is stored here, in the same transaction of the
    /// database.
    ///
    /// # Errors
    /// [`NodeError`] rolls the decision back.
    async fn payment(&self, conn: &mut Conn, effect: EffectId) -> Result<Payment, NodeError>;
}

#[async_trait]
impl Purse for Arc<Node> {
    async fn balances(&self) -> Result<Balances, NodeError> {
        Node::balances(self).await
    }

    async fn turn(&self, amount: Amount) -> Result<Arc<dyn Turn>, NodeError> {
        let turn = self.wallet_turn(amount).await?;
        Ok(Arc::new(NodeTurn { node: Self::clone(self), turn }))
    }
}

struct NodeTurn {
    node: Arc<Node>,
    turn: WalletTurn,
}

#[async_trait]
impl Turn for NodeTurn {
    async fn payment(&self, conn: &mut Conn, effect: EffectId) -> Result<Payment, NodeError> {
        let after = self.node.approve(conn, &self.turn, effect).await?;
        Ok(Payment::Wallet { permit: self.turn.permit_or_void(), after })
    }
}

/// Where the money of a transaction comes from.
#[derive(Clone)]
pub(crate) enum Source {
    Contract,
    Wallet(Arc<dyn Turn>),
}

impl Source {
    const fn pot(&self) -> Pot {
        match self {
            Self::Contract => Pot::Contract,
            Self::Wallet(_) => Pot::Wallet,
        }
    }
}

/// Carries out the jobs that provide money.
pub struct Funder {
    db: Database,
    decider: Arc<Decider<Client>>,
    funding: Funding,
    purse: Arc<dyn Purse>,
}

impl std::fmt::Debug for Funder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Funder").field("funding", &self.funding).finish_non_exhaustive()
    }
}

impl Funder {
    /// Provides money for what this decider decides: `funding` is what its runner has.
    pub fn new(db: Database, decider: Arc<Decider<Client>>, funding: Funding, purse: Arc<dyn Purse>) -> Self {
        Self { db, decider, funding, purse }
    }

    /// Asks what the account has, for the budgets of the next decisions.
    ///
    /// # Errors
    /// [`NodeError`]: they go on with what was known before.
    pub async fn read_balance(&self) -> Result<(), NodeError> {
        self.balance().await.map(drop)
    }

    /// The account's balance, and what orders come to now.
    async fn balance(&self) -> Result<(Balance, Balances), NodeError> {
        let before = Promises::of(&mut *self.db.read().await?).await?;
        let balances = self.purse.balances().await?;
        Ok((self.funding.budgets().read(before, &balances), balances))
    }

    /// Decides about transactions of a channel that wait for money and have no job any more, since somebody cancelled it: they do
    /// not take place. To be called after such a cancellation, and for each channel at a start.
    ///
    /// # Errors
    /// [`NodeError`]: nothing was decided.
    pub async fn settle_cancelled(&self, channel: ChannelId) -> Result<(), NodeError> {
        let mut tx = self.db.begin().await?;
        let mut decided = Vec::new();
        while let Some(before) = self.load(&mut tx, channel).await? {
            let pending = pending(&mut tx, channel).await?;
            let flights = before.state.own.flights.iter();
            let mut waiting = flights.filter(|flight| flight.stage == Stage::Funding);
            let Some(flight) = waiting.find(|flight| !pending.contains(&flight.seq)) else { break };
            let fate = Fate::Unfunded(Trouble::Cancelled);
            let input = Input::Tx { seq: flight.seq, purpose: flight.purpose, fate };
            decided.push(self.decider.decide_in(&mut tx, &before, input).await?);
        }
        Ok(self.decider.commit_all(&decided, tx.commit()).await?)
    }

    /// Whether a transaction waits for money that no job provides. It may be that one has provided it meanwhile:
    /// [`settle_cancelled`](Self::settle_cancelled) looks again.
    ///
    /// # Errors
    /// [`NodeError`] of the database.
    pub async fn lacks_job(&self, state: &ClientState) -> Result<bool, NodeError> {
        let waiting = state.own.flights.iter().filter(|flight| flight.stage == Stage::Funding);
        let waiting: Vec<u32> = waiting.map(|flight| flight.seq).collect();
        if waiting.is_empty() {
            return Ok(false);
        }
        let pending = pending(&mut *self.db.read().await?, state.id).await?;
        Ok(waiting.iter().any(|seq| !pending.contains(seq)))
    }

    async fn load(&self, conn: &mut Conn, channel: ChannelId) -> Result<Option<Stored<Client>>, NodeError> {
        match self.decider.load(conn, channel).await {
            Ok(stored) => Ok(Some(stored)),
            Err(NotApplied::NoState(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The state of a job's channel, if its transaction waits for money.
    async fn waiting(&self, conn: &mut Conn, job: &Fund) -> Result<Option<Stored<Client>>, NodeError> {
        let waits = |stored: &Stored<Client>| {
            let mut flights = stored.state.own.flights.iter();
            flights.any(|flight| {
                (flight.seq, flight.purpose, flight.stage) == (job.seq, job.purpose, Stage::Funding)
            })
        };
        Ok(self.load(conn, job.channel).await?.filter(waits))
    }

    /// Where the money comes from, and the balance that shows it.
    async fn source(&self, amount: Amount) -> Result<(Source, Balance), Lack> {
        let (balance, balances) = self.balance().await?;
        let now = Promises::of(&mut *self.db.read().await.map_err(NodeError::from)?).await?;
        match balance.pays(amount, &now) {
            Some(Pot::Contract) => Ok((Source::Contract, balance)),
            Some(Pot::Wallet) => Ok((Source::Wallet(self.purse.turn(amount).await?), balance)),
            None => {
                let available = balances.contract.max(balances.wallet);
                let has = balance.has(Pot::Contract, &now).max(balance.has(Pot::Wallet, &now));
                // What was promised to others may come back, and a balance may be one of before.
                let again = available >= amount;
                Err(Lack { error: lacks(amount, has), again })
            }
        }
    }

    async fn provide(&self, job: &Fund, cx: JobContext) -> Result<Done, JobError> {
        let is_waiting = {
            let mut conn = self.db.read().await.or_retry()?;
            self.waiting(&mut conn, job).await.map_err(again)?.is_some()
        };
        if !is_waiting {
            return Ok(cx.done().await?);
        }
        let amount = amount_of(job.purpose);
        match self.source(amount).await {
            Ok(found) => self.report(job, cx, Fate::Funded, Some(found)).await,
            Err(Lack { error, again: true }) => Err(JobError::retry(error)),
            Err(Lack { error, .. }) if passes(&error) => Err(again(error)),
            Err(Lack { error, .. }) => {
                tracing::error!(channel = %job.channel, %error, "no transaction is made: its money cannot be provided");
                self.report(job, cx, Fate::Unfunded(trouble(&error)), None).await
            }
        }
    }

    /// The tries are over: decides that the transaction does not take place, with what the last of them ran into.
    async fn give_up(&self, job: &Fund, fx: &mut Effects<'_>) -> Result<(), JobError> {
        let trouble = fx.reason::<NodeError>().map_or(Trouble::Unpaid, trouble);
        // A state that cannot be read has it tried again: what waits must get its answer once it was repaired.
        let Some(before) = self.waiting(fx, job).await.or_retry()? else { return Ok(()) };
        let fate = Fate::Unfunded(trouble);
        let input = Input::Tx { seq: job.seq, purpose: job.purpose, fate };
        drop(self.decider.decide_in(fx, &before, input).await.map_err(NodeError::from).or_retry()?);
        self.decider.mark(job.channel); // a look writes, so it waits for this commit
        tracing::error!(channel = %job.channel, ?trouble, "no transaction is made: its money was not provided in {TRIES} tries");
        Ok(())
    }

    /// Decides what was found, in the transaction in which the job ends.
    async fn report(
        &self,
        job: &Fund,
        cx: JobContext,
        fate: Fate,
        found: Option<(Source, Balance)>,
    ) -> Result<Done, JobError> {
        let id = cx.id();
        let mut completion = cx.finish().await?;
        let Some(before) = self.waiting(&mut completion, job).await.map_err(again)? else {
            return Ok(completion.commit().await?); // it is not wanted any more
        };
        let mut kept = None;
        if let Some((source, balance)) = found {
            let promises = Promises::of(&mut completion).await.or_retry()?;
            let order = order_of(&mut completion, job.channel, job.purpose).await.or_retry()?;
            let (pot, amount) = (source.pot(), amount_of(job.purpose));
            if balance.has(pot, &promises) < amount {
                return Err(JobError::retry(lacks(amount, balance.has(pot, &promises)))); // another order has taken it
            }
            if let Some(order) = order {
                orders::fund_from(&mut completion, order.id, pot).await.or_retry()?;
            }
            kept = Some(self.funding.keep(job, source));
        }
        let input = Input::Tx { seq: job.seq, purpose: job.purpose, fate };
        // So that whoever follows the job finds the transaction.
        let decided = by_job(id, self.decider.decide_in(&mut completion, &before, input)).await;
        let applied = decided.map_err(|error| again(error.into()))?;
        let done = self.decider.commit(&applied, completion.commit()).await?;
        drop(kept); // the wallet's turn lasts until the payment is committed
        Ok(done)
    }
}

/// Why money is not provided now, and whether it may be in a moment although the error is a lasting one.
struct Lack {
    error: NodeError,
    again: bool,
}

impl<E: Into<NodeError>> From<E> for Lack {
    fn from(error: E) -> Self {
        Self { error: error.into(), again: false }
    }
}

/// The tokens that a transaction takes.
const fn amount_of(purpose: ClientPurpose) -> Amount {
    match purpose {
        ClientPurpose::Open { deposit } => deposit,
        ClientPurpose::TopUp { amount, .. } => amount,
        ClientPurpose::RequestClose { .. } | ClientPurpose::FinalizeClose => Amount::ZERO,
    }
}

/// Whether another try may find what this one did not.
fn passes(error: &NodeError) -> bool {
    error.postponed().is_some() || error.is_temporary()
}

fn lacks(amount: Amount, has: Amount) -> NodeError {
    NodeError::Insufficient {
        what: "the deposit of a channel",
        needed: amount,
        available: has,
        remedy: "send tokens to the account or `deposit` what is in the wallet",
    }
}

fn trouble(error: &NodeError) -> Trouble {
    match error {
        NodeError::Insufficient { .. } => Trouble::Funds,
        NodeError::Signing { .. } | NodeError::Sign(_) | NodeError::NotForOperators { .. } => Trouble::Key,
        _ => Trouble::Unpaid,
    }
}

/// Has a try repeated. What passes by itself counts as none.
fn again(error: NodeError) -> JobError {
    match error.postponed() {
        Some(until) => JobError::postpone(until, error),
        None => JobError::retry(error),
    }
}

/// The numbers of a channel's transactions for which a job waits or runs.
async fn pending(conn: &mut Conn, channel: ChannelId) -> Result<Vec<u32>, NodeError> {
    let mut numbers = Vec::new();
    for status in [JobStatus::Waiting, JobStatus::Running] {
        let filter = Filter::new().subject(fund_subject(channel)).status(status);
        let jobs = privatix_jobs::list(conn, &filter).await?.jobs;
        numbers
            .extend(jobs.iter().filter_map(|job| Some(serde_json::from_str::<Fund>(&job.payload).ok()?.seq)));
    }
    Ok(numbers)
}

#[async_trait]
impl Handler<Fund> for Funder {
    async fn run(&self, job: &Fund, cx: JobContext) -> Result<Done, JobError> {
        self.provide(job, cx).await
    }

    async fn when_exhausted(&self, job: &Fund, _: &Failure, fx: &mut Effects<'_>) -> Result<(), JobError> {
        self.give_up(job, fx).await
    }
}
