//! The transactor: intents in, final outcomes out.

mod account;
mod advance;
mod changes;
mod counts;
mod fees;
mod finality;
mod intent;
mod keyring;
mod market;
mod memory;
mod model;
mod outcome;
mod phase;
mod price;
mod rank;
mod recheck;
mod record;
mod refusal;
mod rescue;
mod rescuing;
mod revert;
mod rows;
mod send;
mod settle;
mod signer;
mod signing;
mod sink;
mod slots;
mod table;
mod terms;
mod urgency;
mod work;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use alloy::primitives::Address;
use privatix_db::{Conn, Database};
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;

pub use fees::{FeePolicy, Fees, Raise, TooMuchGas};
pub use finality::Finality;
pub use intent::{Fallback, Intent, TxId, Wei};
pub use keyring::Keyring;
pub use record::{Attempt, Ending, Fate, Inclusion, Obstacle, TxFilter, TxRecord, TxStatus};
pub use revert::RevertDecoder;
pub use signer::{Signer, SignerError};
pub use sink::{NoTxSink, TxSink};
pub use urgency::{Deadline, Priority};

use self::changes::Origin;
use self::sink::AnyTxSink;
use crate::inform::Inform;
use crate::step::{OnAnswer, StepClock};
use crate::{Backoff, ChainError, Endpoints};

/// What has changed in an intent's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TxChange {
    /// It was mined with success, and has its confirmations.
    Mined,
    /// It was mined and reverted. Of an intent that is not [repeatable](Intent::repeatable), this is reported once it is
    /// final: what was signed for it cannot succeed any more, so that it may be submitted again.
    Reverted,
    /// It was given up before it cost anything.
    Failed,
    /// A transaction of the account that is not ours has its nonce for good.
    Dropped,
    /// It was cancelled, and cannot be mined any more.
    Cancelled,
    /// A reorg took back the block of a reported outcome: it is under way again, and another outcome will follow.
    Reinstated,
    /// The reported block is final.
    Final,
}

/// What became of a [`cancel`](Transactor::cancel).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cancelled {
    /// It was never signed, and never will be.
    Done,
    /// It was signed: the chain decides whether it or the transaction in its place is mined.
    Requested,
    /// It is in a block. Should a reorganisation take that back, it is not sent again, and another transaction takes its nonce.
    IfTakenBack,
}

/// A cancellation in a transaction that is not committed yet.
#[must_use = "the sink is to be informed after the commit"]
pub struct Cancelling {
    what: Cancelled,
    informs: Vec<Inform>,
}

impl Cancelling {
    /// What becomes of the intent once this is committed.
    pub const fn what(&self) -> Cancelled {
        self.what
    }

    /// Informs the sink, after the commit, of what was reported to it. Where the transaction is rolled back, this is dropped.
    pub fn committed(self) -> Cancelled {
        for inform in self.informs {
            inform();
        }
        self.what
    }
}

impl fmt::Debug for Cancelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancelling").field("what", &self.what).finish_non_exhaustive()
    }
}

/// Something of an intent changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TxUpdate {
    /// The intent.
    pub id: TxId,
    /// How far it has come.
    pub status: TxStatus,
    /// Whether a receipt is known, confirmed or not.
    pub included: bool,
    /// Why it does not advance, if it does not.
    pub obstacle: Option<Obstacle>,
}

/// What a transactor is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransactorStatus {
    /// What it is doing.
    pub state: TransactorState,
    /// Intents without an outcome.
    pub open: usize,
    /// The endpoint's newest block, when last heard of.
    pub head: Option<u64>,
    /// The most urgent intent that does not advance, and why.
    pub waiting: Option<TxWaiting>,
    /// Since when the pass under way has waited for one answer of an endpoint; none between passes. A change of this field alone does not notify watchers.
    pub pass_since: Option<Instant>,
}

/// An intent that does not advance.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TxWaiting {
    /// The intent.
    pub id: TxId,
    /// What it is.
    pub kind: String,
    /// What is in its way.
    pub obstacle: Obstacle,
}

/// What a transactor is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransactorState {
    /// Nothing is to be done, or it is not running.
    Idle,
    /// It sees intents through.
    Working,
    /// Something failed; it tries again.
    Stalled {
        /// What failed, and the remedy.
        reason: String,
        /// Tries that failed in a row.
        failures: u32,
        /// When the first of them failed.
        since: SystemTime,
    },
}

/// Sees intents through. A handle: cheap to clone; [`run`](Self::run) one of the clones in a task that you own.
#[derive(Clone)]
pub struct Transactor {
    inner: Arc<Inner>,
}

struct Inner {
    db: Database,
    /// Their requests restart the clock.
    rpc: Endpoints,
    chain_id: u64,
    keys: Keyring,
    sink: Box<dyn AnyTxSink>,
    options: Options,
    status: watch::Sender<TransactorStatus>,
    clock: Arc<StepClock<TransactorStatus>>,
    updates: broadcast::Sender<TxUpdate>,
    wake: Arc<Notify>,
    running: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct Options {
    confirmations: u64,
    poll_interval: Duration,
    backoff: Backoff,
    fees: FeePolicy,
    finality: Finality,
    reverts: RevertPatience,
    second: Duration,
    phase: Duration,
    rescue: Option<Address>,
    decode: Option<RevertDecoder>,
}

/// How long a call must revert until its intent fails.
#[derive(Debug, Clone, Copy)]
struct RevertPatience {
    heads: u32,
    time: Duration,
}

impl std::fmt::Debug for Transactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transactor")
            .field("endpoints", &self.inner.rpc)
            .field("chain_id", &self.inner.chain_id)
            .field("accounts", &self.inner.keys)
            .finish_non_exhaustive()
    }
}

impl Transactor {
    /// A transactor on chain `chain_id` for the accounts of `keys`.
    ///
    /// An account must have one transactor only. Wallets may use it beside, at the price of dropped transactions when
    /// both take one nonce.
    pub fn builder(
        db: Database,
        endpoints: impl Into<Endpoints>,
        chain_id: u64,
        keys: Keyring,
    ) -> TransactorBuilder {
        TransactorBuilder {
            db,
            endpoints: endpoints.into(),
            chain_id,
            keys,
            options: Options {
                confirmations: 2,
                poll_interval: Duration::from_secs(4),
                backoff: Backoff::default(),
                fees: FeePolicy::default(),
                finality: Finality::of_chain(chain_id),
                reverts: RevertPatience { heads: 3, time: Duration::from_secs(5) },
                second: Duration::from_mins(1),
                phase: Duration::from_secs(15),
                rescue: None,
                decode: None,
            },
        }
    }

    /// Stores an intent inside the caller's transaction; it is acted on after the commit and a [`wake`](Self::wake).
    ///
    /// A key that was submitted before gives that intent's id and stores nothing, whatever else the new one says.
    ///
    /// # Errors
    /// [`ChainError::Db`].
    pub async fn submit(&self, conn: &mut Conn, intent: Intent) -> Result<TxId, ChainError> {
        Ok(changes::submit(conn, self.inner.chain_id, &intent, Origin::Submitted).await?)
    }

    /// Looks for work now. Call it after the transaction of a [`submit`](Self::submit) is committed; if the call is
    /// lost in a crash, the next start finds the intent.
    pub fn wake(&self) {
        self.inner.wake.notify_one();
    }

    /// An intent by id.
    ///
    /// # Errors
    /// [`ChainError::UnknownTx`], [`ChainError::Db`].
    pub async fn get(&self, conn: &mut Conn, id: TxId) -> Result<TxRecord, ChainError> {
        table::get(conn, id).await?.ok_or(ChainError::UnknownTx { tx: id })
    }

    /// An intent by its idempotency key.
    ///
    /// # Errors
    /// [`ChainError::Db`].
    pub async fn find(&self, conn: &mut Conn, key: &str) -> Result<Option<TxRecord>, ChainError> {
        Ok(table::find(conn, key).await?)
    }

    /// Intents that match, newest first.
    ///
    /// # Errors
    /// [`ChainError::Db`].
    pub async fn list(&self, conn: &mut Conn, filter: &TxFilter) -> Result<Vec<TxRecord>, ChainError> {
        Ok(table::list(conn, filter).await?)
    }

    /// All intents without an outcome, oldest first.
    ///
    /// # Errors
    /// [`ChainError::Db`].
    pub async fn open_intents(&self, conn: &mut Conn) -> Result<Vec<TxRecord>, ChainError> {
        let mut watched = self.watched_intents(conn).await?;
        watched.retain(|record| record.status.is_open());
        Ok(watched)
    }

    /// All intents whose outcome can still change, oldest first: those without one, and those whose block is not final.
    ///
    /// # Errors
    /// [`ChainError::Db`].
    pub async fn watched_intents(&self, conn: &mut Conn) -> Result<Vec<TxRecord>, ChainError> {
        Ok(table::watched(conn, self.inner.chain_id).await?)
    }

    /// The rescue of an intent, if one was needed: what the [rescue account](TransactorBuilder::rescue) sends in its stead.
    ///
    /// # Errors
    /// [`ChainError::Db`].
    pub async fn rescue_of(&self, conn: &mut Conn, id: TxId) -> Result<Option<TxRecord>, ChainError> {
        Ok(table::child(conn, id).await?)
    }

    /// All transactions ever signed for an intent, newest first.
    ///
    /// # Errors
    /// [`ChainError::Db`].
    pub async fn attempts(&self, conn: &mut Conn, id: TxId) -> Result<Vec<Attempt>, ChainError> {
        Ok(table::attempts(conn, id).await?)
    }

    /// Asks for a sent transaction's fee to be raised now, without waiting until it counts as stuck. Durable with the
    /// caller's transaction; followed by a [`wake`](Self::wake).
    ///
    /// # Errors
    /// [`ChainError::UnknownTx`]; [`ChainError::NotSent`]; [`ChainError::PriceTooLow`] for a price that pools would not
    /// take in place of what is offered now; [`ChainError::Db`].
    pub async fn bump(&self, conn: &mut Conn, id: TxId, raise: Raise) -> Result<(), ChainError> {
        let record = self.get(conn, id).await?;
        if record.status != TxStatus::Sent || record.inclusion.is_some() {
            return Err(ChainError::NotSent { tx: id, status: record.status });
        }
        if let Raise::To { max_fee, priority_fee } = raise {
            let asked = Fees::new(max_fee.0, priority_fee.0);
            let offered = table::attempts(conn, id).await?.into_iter().map(|attempt| attempt.fees);
            let least = offered.reduce(Fees::join).map_or(Fees::new(0, 0), Fees::replacement);
            if !asked.covers(least) || asked.priority_fee > asked.max_fee {
                return Err(ChainError::PriceTooLow { tx: id, least });
            }
        }
        Ok(changes::set_raise(conn, id, Some(raise)).await?)
    }

    /// Cancels an intent, in the caller's transaction; followed by a [`wake`](Self::wake).
    ///
    /// What was never signed is cancelled at once, and reported to the sink here, which is [informed](Cancelling::committed) of the
    /// commit by the caller. Else it is not sent again, its nonce goes to
    /// another transaction that outbids it, and `cancelled` is reported when that is final; unless the original wins, which is
    /// then reported as ever. With it goes its rescue, if there is one. What is in a block that is not final stays there, and is
    /// cancelled in case that a reorganisation takes it back.
    ///
    /// # Errors
    /// [`ChainError::UnknownTx`]; [`ChainError::NotOpen`] for one that is over for good; [`ChainError::TxSink`];
    /// [`ChainError::Db`].
    pub async fn cancel(&self, conn: &mut Conn, id: TxId) -> Result<Cancelling, ChainError> {
        let record = self.get(conn, id).await?;
        if !record.status.is_open() && !record.watched {
            return Err(ChainError::NotOpen { tx: id, status: record.status });
        }
        let mut informs = Vec::new();
        if let Some(rescue) = table::child(conn, id).await? {
            informs.extend(self.inner.cancel_one(conn, &rescue).await?.informs);
        }
        let Cancelling { what, informs: of_record } = self.inner.cancel_one(conn, &record).await?;
        informs.extend(of_record);
        Ok(Cancelling { what, informs })
    }

    /// The accounts it signs for.
    pub fn accounts(&self) -> Vec<Address> {
        self.inner.keys.accounts()
    }

    /// What it is doing, now and from now on.
    pub fn status(&self) -> watch::Receiver<TransactorStatus> {
        self.inner.status.subscribe()
    }

    /// Changes of intents from now on. A reader that is too slow misses some and gets an error that says so; the records have it all.
    pub fn updates(&self) -> broadcast::Receiver<TxUpdate> {
        self.inner.updates.subscribe()
    }

    /// One bounded try: the endpoint answers and serves the right chain.
    ///
    /// # Errors
    /// [`ChainError::Rpc`], [`ChainError::WrongChain`].
    pub async fn check(&self) -> Result<(), ChainError> {
        self.inner.rpc.reporting(None).check(self.inner.chain_id, &[]).await
    }

    /// Sees intents through until `shutdown`. Trouble that passes is retried for ever and shown in the status. A second
    /// concurrent call waits for the first to end.
    ///
    /// Cancellation: may be dropped anywhere; the next run continues from what is stored.
    ///
    /// # Errors
    /// [`ChainError::WrongChain`] at the start of the run.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), ChainError> {
        // Not part of a pass, so that they do not hide that one hangs.
        let endpoints = self.inner.rpc.reporting(None);
        let heads = async {
            endpoints.wake_on_heads(&self.inner.wake, self.inner.options.backoff).await;
            std::future::pending::<()>().await;
        };
        // Boxed, because it is large and runs for long.
        let work = Box::pin(async {
            let _one_at_a_time = self.inner.running.lock().await;
            self.inner.work().await
        });
        let outcome = tokio::select! {
            biased;
            () = shutdown.cancelled() => Ok(()),
            outcome = work => outcome,
            () = heads => Ok(()),
            () = endpoints.try_rested(self.inner.chain_id) => Ok(()),
        };
        self.inner.status.send_modify(|status| status.state = TransactorState::Idle);
        outcome
    }
}

/// Sets up a [`Transactor`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until built"]
pub struct TransactorBuilder {
    db: Database,
    endpoints: Endpoints,
    chain_id: u64,
    keys: Keyring,
    options: Options,
}

impl TransactorBuilder {
    /// Blocks that must be on top of a receipt's block before the outcome counts (default 2).
    pub fn confirmations(mut self, blocks: u64) -> Self {
        self.options.confirmations = blocks;
        self
    }

    /// Which blocks no reorg takes back (default: as is usual on the chain). Outcomes are watched until their block is final.
    pub fn finality(mut self, finality: Finality) -> Self {
        self.options.finality = finality;
        self
    }

    /// For how many heads in a row, and for how long, a call must revert before its intent fails (default: 3 heads, 5 s). Where
    /// no new heads come, twelve times as long is enough.
    pub fn revert_patience(mut self, heads: u32, time: Duration) -> Self {
        self.options.reverts = RevertPatience { heads, time };
        self
    }

    /// For how long no other endpoint needs to have answered, where several are configured, until one of them is believed alone: that a
    /// transaction is mined, that a call reverts or needs too much gas (default 1 min).
    pub fn second_endpoint_within(mut self, time: Duration) -> Self {
        self.options.second = time;
        self
    }

    /// For how long a pass begins new work of one kind: looks at outcomes, urgent intents, all others (default 15 s each). What it did
    /// not reach by then, because endpoints are slow, comes first in the next pass.
    pub fn phase_limit(mut self, time: Duration) -> Self {
        self.options.phase = time;
        self
    }

    /// How often open intents are looked at without a subscription's news (default 4 s).
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.options.poll_interval = interval;
        self
    }

    /// Waits between failed tries.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.options.backoff = backoff;
        self
    }

    /// What gas may cost, and when to offer more.
    pub fn fees(mut self, policy: FeePolicy) -> Self {
        self.options.fees = policy;
        self
    }

    /// The account that sends [fallbacks](Intent::fallback) (default: none does). The keyring should have its signer.
    ///
    /// It stands in for an urgent intent whose account cannot pay, whose signer fails, or that is not mined although half of the
    /// time is gone in which its price rises: once for each intent, with the same deadline, and so that both together cost at most
    /// what is at stake.
    pub fn rescue(mut self, account: Address) -> Self {
        self.options.rescue = Some(account);
        self
    }

    /// Puts the contracts' custom errors in words.
    pub fn errors(mut self, decode: RevertDecoder) -> Self {
        self.options.decode = Some(decode);
        self
    }

    /// The transactor, reporting to `sink`.
    pub fn build(self, sink: impl TxSink + 'static) -> Transactor {
        let status = TransactorStatus {
            state: TransactorState::Idle,
            open: 0,
            head: None,
            waiting: None,
            pass_since: None,
        };
        let status = watch::Sender::new(status);
        let clock = Arc::new(StepClock::new(status.clone(), |status| &mut status.pass_since));
        Transactor {
            inner: Arc::new(Inner {
                db: self.db,
                rpc: self.endpoints.reporting(Some(OnAnswer::restart(&clock))),
                chain_id: self.chain_id,
                keys: self.keys,
                sink: Box::new(Arc::new(sink)),
                options: self.options,
                status,
                clock,
                updates: broadcast::Sender::new(256),
                wake: Arc::new(Notify::new()),
                running: tokio::sync::Mutex::new(()),
            }),
        }
    }
}
