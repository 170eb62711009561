//! The monitor: a confirmed, reorg-safe, resumable stream of logs.

mod backward;
mod batch;
mod compare;
mod confirmations;
mod cursor;
mod fetch;
mod flood;
mod follow;
mod head;
mod interest;
mod lag;
mod part;
mod range;
mod reorg;
mod sink;
mod status;
mod undo;
mod view;
mod witness;

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use privatix_db::Database;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub use batch::{ConfirmedBatch, ConfirmedLog, Direction};
pub use confirmations::usual_confirmations;
pub use cursor::{Processed, is_processed, processed};
pub use head::Head;
pub use interest::Interest;
pub use range::RangePlanner;
pub use sink::LogSink;
pub use status::{MonitorState, MonitorStatus};
pub use view::{Freshness, View, Why};

use crate::step::{OnAnswer, StepClock};
use crate::{Backoff, ChainError, Endpoints};
use sink::AnySink;

/// The first block that a new stream looks at. Without meaning once the stream's cursor is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartFrom {
    /// This block, e.g. the one in which the contract was deployed.
    Block(u64),
    /// This many confirmed blocks back from the head at the first start: enough for logs that matter for a limited time only.
    Recent(u64),
}

/// Follows the logs of some contracts into a [`LogSink`].
///
/// [`run`](Self::run) it in a task that you own; everything it knows is in the database, so it can be stopped, killed
/// or dropped at any point and started again.
#[derive(Clone)]
pub struct Monitor {
    inner: Arc<Inner>,
}

struct Inner {
    db: Database,
    /// Their requests restart the clock.
    endpoints: Endpoints,
    chain_id: u64,
    interests: Vec<Interest>,
    recent: Option<RecentInterests>,
    sink: Arc<dyn AnySink>,
    options: Options,
    status: watch::Sender<MonitorStatus>,
    clock: Arc<StepClock<MonitorStatus>>,
    wake: Notify,
}

/// What is followed from the head on, and how many blocks it is searched for backwards.
#[derive(Debug, Clone)]
struct RecentInterests {
    interests: Vec<Interest>,
    blocks: u64,
}

#[derive(Debug, Clone)]
struct Options {
    stream: String,
    start: StartFrom,
    confirmations: u64,
    first_range: u64,
    max_range: u64,
    poll_interval: Duration,
    backoff: Backoff,
    history: u64,
    patience: Duration,
    range_limit: Duration,
    check_every_block: bool,
    most_held: u64,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor")
            .field("endpoints", &self.inner.endpoints)
            .field("chain_id", &self.inner.chain_id)
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

impl Monitor {
    /// The stream's name unless [`stream`](MonitorBuilder::stream) gives another one.
    pub const STREAM: &str = "main";

    /// A monitor of the logs that match any of `interests` on chain `chain_id`.
    pub fn builder(
        db: Database,
        endpoints: impl Into<Endpoints>,
        chain_id: u64,
        interests: impl IntoIterator<Item = Interest>,
    ) -> MonitorBuilder {
        MonitorBuilder {
            db,
            endpoints: endpoints.into(),
            chain_id,
            interests: interests.into_iter().collect(),
            recent: None,
            options: Options {
                stream: Self::STREAM.to_owned(),
                start: StartFrom::Recent(0),
                confirmations: usual_confirmations(chain_id),
                first_range: 500,
                max_range: 10_000,
                poll_interval: Duration::from_secs(4),
                backoff: Backoff::default(),
                history: 1_024,
                patience: Duration::from_secs(30),
                range_limit: Duration::from_mins(2),
                check_every_block: false,
                most_held: 32 << 20,
            },
        }
    }

    /// One bounded try: the endpoint answers, serves the right chain, and the contracts are there.
    ///
    /// # Errors
    /// [`ChainError::Rpc`], [`ChainError::WrongChain`], [`ChainError::NoContract`].
    pub async fn check(&self) -> Result<(), ChainError> {
        self.inner.unwatched().check(self.inner.chain_id, &self.inner.contracts()).await
    }

    /// What it is doing, now and from now on.
    pub fn status(&self) -> watch::Receiver<MonitorStatus> {
        self.inner.status.subscribe()
    }

    /// Looks for new blocks now instead of at the next poll.
    pub fn wake(&self) {
        self.inner.wake.notify_one();
    }

    /// Follows the chain until `shutdown`. Trouble that passes is retried for ever and shown in the status.
    ///
    /// Cancellation: may be dropped anywhere; what was not committed is done again by the next run.
    ///
    /// # Errors
    /// Only what an operator must mend: [`ChainError::WrongChain`], [`ChainError::NoContract`],
    /// [`ChainError::OtherStream`], each found at the start of the run.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), ChainError> {
        let endpoints = self.inner.unwatched();
        let heads = async {
            endpoints.wake_on_heads(&self.inner.wake, self.inner.options.backoff).await;
            std::future::pending::<()>().await;
        };
        let outcome = tokio::select! {
            biased;
            () = shutdown.cancelled() => Ok(()),
            outcome = Box::pin(self.inner.follow()) => outcome,
            () = heads => Ok(()),
            () = endpoints.try_rested(self.inner.chain_id) => Ok(()),
        };
        self.inner.status.send_modify(|status| status.state = MonitorState::Idle);
        outcome
    }
}

impl Inner {
    /// The endpoints for requests that are not part of a step, and must not hide that one hangs.
    fn unwatched(&self) -> Endpoints {
        self.endpoints.reporting(None)
    }

    /// The contracts, sorted, each once.
    fn contracts(&self) -> Vec<Address> {
        let mut contracts: Vec<Address> = self.all_interests().iter().map(Interest::contract).collect();
        contracts.sort_unstable();
        contracts.dedup();
        contracts
    }
}

/// Sets up a [`Monitor`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until built"]
pub struct MonitorBuilder {
    db: Database,
    endpoints: Endpoints,
    chain_id: u64,
    interests: Vec<Interest>,
    recent: Option<RecentInterests>,
    options: Options,
}

impl MonitorBuilder {
    /// Names the stream, which owns the cursor. Several monitors of one database need several names.
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.options.stream = name.into();
        self
    }

    /// Blocks that must be on top of a block before its logs count (default [`usual_confirmations`]). 0 takes the head itself.
    pub fn confirmations(mut self, blocks: u64) -> Self {
        self.options.confirmations = blocks;
        self
    }

    /// Where a new stream starts (default: at the head). Block 0 counts as block 1: it has no transactions.
    pub fn start(mut self, from: StartFrom) -> Self {
        self.options.start = from;
        self
    }

    /// Further interests of which only recent logs matter. They come newest first, the others in the chain's order.
    ///
    /// They are followed once all confirmed blocks are processed, from the next block on; and whenever no block is left to be
    /// processed, some blocks before that are searched for them, from the newest on, `blocks` in all and never below the
    /// stream's first block. What is found comes in batches of [`Direction::Past`]. All share the cursor, so that a reorg is
    /// undone once, for all of them. A stream that follows them all already, because it was made before or without this,
    /// goes on without a search.
    pub fn recent(mut self, interests: impl IntoIterator<Item = Interest>, blocks: u64) -> Self {
        self.recent = Some(RecentInterests { interests: interests.into_iter().collect(), blocks });
        self
    }

    /// The most blocks that one request may span (default 10,000); what the endpoint allows is found out below it.
    pub fn max_block_range(mut self, blocks: u64) -> Self {
        self.options.max_range = blocks.max(1);
        self
    }

    /// How often the head is looked up where no subscription reports it (default 4 s).
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.options.poll_interval = interval;
        self
    }

    /// Waits between failed tries.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.options.backoff = backoff;
        self
    }

    /// How many blocks back the hashes of blocks with logs are kept (default 1,024), with those of the blocks whose headers were
    /// fetched: the deepest reorg that can be undone. They are kept for longer above a block with a transaction of the
    /// [`Transactor`](crate::Transactor) whose outcome is not final, see [`is_processed`].
    pub fn history(mut self, blocks: u64) -> Self {
        self.options.history = blocks.max(1);
        self
    }

    /// How long the next blocks wait for a second endpoint that stands still and does not have them yet (default 30 s), so
    /// that none goes unchecked; for one that goes on, but stays behind, four times as long. Without meaning with one
    /// endpoint.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.options.patience = patience;
        self
    }

    /// How long it may take to fetch the logs of a range, with the headers that belong to them (default 2 min). After that the
    /// endpoint counts as failed and is asked for fewer blocks. Of the past at most 30 s, because what is new waits. A single block may take longer if there is no other endpoint to
    /// ask.
    pub fn range_limit(mut self, limit: Duration) -> Self {
        self.options.range_limit = limit;
        self
    }

    /// Whether catching up fetches the header of every block, too (default: no: of the first and the last block of each range,
    /// of those near the head, and of those with logs that do not bear the time of their block).
    ///
    /// Then each block is proved to follow the one before it, and logs that an endpoint leaves out of an answer are
    /// noticed by the bloom filters, in the far past as they always are near the head. Costs a request per block.
    pub fn check_every_block(mut self, yes: bool) -> Self {
        self.options.check_every_block = yes;
        self
    }

    /// How many bytes logs may take in memory, by what the last ones took, so that the next range is fetched while one is applied
    /// (default 32 MiB). Beyond that, one is fetched after the other.
    pub fn max_bytes_held(mut self, bytes: u64) -> Self {
        self.options.most_held = bytes;
        self
    }

    /// The monitor, delivering to `sink`.
    pub fn build(self, sink: impl LogSink + 'static) -> Monitor {
        let first = self.options.first_range.min(self.options.max_range);
        let status = watch::Sender::new(MonitorStatus::new(first));
        let clock = Arc::new(StepClock::new(status.clone(), |status| &mut status.step_since));
        Monitor {
            inner: Arc::new(Inner {
                db: self.db,
                endpoints: self.endpoints.reporting(Some(OnAnswer::restart(&clock))),
                chain_id: self.chain_id,
                interests: self.interests,
                recent: self.recent,
                sink: Arc::new(Arc::new(sink)),
                options: self.options,
                status,
                clock,
                wake: Notify::new(),
            }),
        }
    }
}
