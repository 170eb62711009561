//! Channels of a database whose version stored no states: each gets one, from what was stored instead.
//!
//! | stored | state |
//! | --- | --- |
//! | a close that is ordered also with nothing to gain, or on its way with nothing to gain | [`AgentEnd::CloseByOrder`] |
//! | else a service that has ended or ends, or the order to end it | [`AgentEnd::Adopted`]: why is not known, and not guessed |
//! | transactions that are open, or whose outcome may be taken back | flights, with the terms that they were submitted with |
//! | the last close cancelled by the operator, and no order since | waits for an order, or for a close request |
//! | access | was ready; what the adapter does is not known after a restart |
//! | access, and usage or a voucher | access was handed out |
//! | held | held |
//! | orders to start, to suspend, to provision | nothing: what is wanted follows from the state |
//!
//! Jobs of these channels end in the transaction that stores the state. All stopwatches begin at nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use privatix_billing::Terms;
use privatix_chain::{ChainError, Ending, Intent, Transactor, TxId, TxRecord, TxStatus};
use privatix_channel::{
    Amount, ChainTime, ChannelDescriptor, ChannelId, ChannelStatus, Period, Phase, ServiceStatus,
};
use privatix_db::{Conn, Database};
use privatix_jobs::{Filter, Job, JobId, JobRecord, JobStatus, JobsError};
use privatix_market::{
    Actual, Agent, AgentEnd, AgentOwn, AgentPurpose, AgentState, AtStake, Bid, BlockRef, Blocked, Book,
    Challenge, Deadline, Ended, Env, Flight, Meter, Priority, Purpose, Stage, Subject, Wake, Wei,
};
use privatix_node::{Node, NodeError, Order, ServiceOrder, fate};
use privatix_store::purposes::{self, Recorded, TxNumber};
use privatix_store::recovery::Recovery;
use privatix_store::states::{self, Due, Part};
use privatix_store::{StoreError, channels, sessions, vouchers};

use crate::{CloseChannel, ProvisionChannel};

/// How many channels share a transaction.
const PAGE: u32 = 200;

/// Knows the terms of offerings.
#[async_trait]
pub trait KnownTerms: Send + Sync {
    /// The terms of a channel; `None` where its offering's message is not here, or cannot be read.
    ///
    /// # Errors
    /// [`NodeError`] where asking again may help.
    async fn terms(&self, descriptor: &ChannelDescriptor) -> Result<Option<Arc<Terms>>, NodeError>;
}

#[async_trait]
impl KnownTerms for Node {
    async fn terms(&self, descriptor: &ChannelDescriptor) -> Result<Option<Arc<Terms>>, NodeError> {
        match self.offering(descriptor.agent, descriptor.offering).await {
            Ok(offering) => Ok(Some(Arc::new(offering.terms().clone()))),
            Err(error) if error.is_temporary() => Err(error),
            Err(error) => {
                tracing::warn!(offering = %descriptor.offering, %error, "the terms of channels under the offering are not known");
                Ok(None)
            }
        }
    }
}

/// Gives each kept channel without a state its first one, from which everything about it is decided. It runs at the start, before
/// anything else decides or works on jobs; a recovery begins before it. Repeating it finds nothing more to do, and whoever is
/// killed in the middle goes on at the next start.
#[derive(Clone, Copy)]
pub struct Adoption<'a> {
    db: &'a Database,
    transactor: &'a Transactor,
    terms: &'a dyn KnownTerms,
    recovery: Option<Recovery>,
    page: u32,
}

impl std::fmt::Debug for Adoption<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Adoption").field("recovery", &self.recovery).finish_non_exhaustive()
    }
}

/// What was adopted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Adopted {
    /// How many channels have a state now that had none.
    pub channels: usize,
    /// How many jobs ended with that.
    pub jobs: usize,
    /// Channels that have none, since something stored of them cannot be read, with what that is. They are tried again at the next
    /// start.
    pub damaged: Vec<(ChannelId, String)>,
}

impl<'a> Adoption<'a> {
    /// Of this database. `recovery`: the one that runs, if it came back from a backup.
    pub const fn new(
        db: &'a Database,
        transactor: &'a Transactor,
        terms: &'a dyn KnownTerms,
        recovery: Option<Recovery>,
    ) -> Self {
        Self { db, transactor, terms, recovery, page: PAGE }
    }

    /// Sets how many channels share a transaction.
    #[must_use]
    pub const fn in_pages_of(mut self, channels: u32) -> Self {
        self.page = channels;
        self
    }

    /// Adopts all channels. What depends on the surroundings in them is decided by the look at each channel that follows.
    ///
    /// # Errors
    /// [`NodeError`]: the pages so far are adopted.
    pub async fn run(&self, env: &Env<'_, Agent>) -> Result<Adopted, NodeError> {
        let mut adopted = Adopted::default();
        let mut after = None;
        let mut jobs = None;
        loop {
            let page = states::without(&mut *self.db.read().await?, after, self.page).await?;
            let Some(last) = page.last() else { break };
            after = Some(*last);
            let jobs = match &mut jobs {
                Some(jobs) => jobs,
                none => none.insert(self.jobs().await?),
            };
            self.adopt_page(&page, jobs, env, &mut adopted).await?;
        }
        if adopted.channels > 0 {
            tracing::info!(
                channels = adopted.channels,
                jobs = adopted.jobs,
                "channels of an earlier version are decided from states from now on"
            );
        }
        Ok(adopted)
    }

    async fn adopt_page(
        &self,
        page: &[ChannelId],
        jobs: &mut BTreeMap<ChannelId, Vec<Pending>>,
        env: &Env<'_, Agent>,
        adopted: &mut Adopted,
    ) -> Result<(), NodeError> {
        let mut tx = self.db.begin().await?;
        for channel in page {
            let jobs = jobs.remove(channel).unwrap_or_default();
            // Everything is read before anything is written.
            let state = match self.state(&mut tx, *channel, &jobs, env).await {
                Err(error) if error.is_damage() => {
                    adopted.damaged.push((*channel, error.to_string()));
                    continue;
                }
                state => state?,
            };
            // What moves a state on shows once it was decided about; only where the channel is closed nothing is wanted any more.
            let due = match state.chain.phase() {
                Phase::Closed { .. } => Due::of(&state, env),
                Phase::Unopened | Phase::Open | Phase::Closing { .. } => Due::At(Wake::default()),
            };
            states::create(&mut tx, &state, &Part::all(), due).await?;
            for job in &jobs {
                match privatix_jobs::cancel(&mut tx, job.id).await {
                    Err(JobsError::WrongStatus { .. }) => {}
                    ended => ended?,
                }
            }
            adopted.channels = adopted.channels.saturating_add(1);
            adopted.jobs = adopted.jobs.saturating_add(jobs.len());
        }
        Ok(tx.commit().await?)
    }

    /// The pending jobs of channels that states replace.
    async fn jobs(&self) -> Result<BTreeMap<ChannelId, Vec<Pending>>, NodeError> {
        let mut conn = self.db.read().await?;
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for kind in [ServiceOrder::KIND, ProvisionChannel::KIND, CloseChannel::KIND] {
            for status in [JobStatus::Waiting, JobStatus::Running] {
                let mut filter = Filter::new().kind(kind).status(status).limit(1_000);
                loop {
                    let page = privatix_jobs::list(&mut conn, &filter).await?;
                    for job in &page.jobs {
                        match Pending::of(job) {
                            Ok((channel, pending)) => found.entry(channel).or_default().push(pending),
                            Err(error) => {
                                tracing::error!(job = %job.id, kind, %error, "the job cannot be read, and ends nothing");
                            }
                        }
                    }
                    let Some(next) = page.next else { break };
                    filter = filter.before(next);
                }
            }
        }
        Ok(found)
    }

    /// The first state of a channel.
    async fn state(
        &self,
        conn: &mut Conn,
        channel: ChannelId,
        jobs: &[Pending],
        env: &Env<'_, Agent>,
    ) -> Result<AgentState, NodeError> {
        let stored = channels::get(conn, channel).await?;
        let mut state = AgentState::new(channel, stored.descriptor);
        state.chain = channels::on_chain(conn, channel).await?;
        if let Some(amounts) = vouchers::amounts(conn, channel).await? {
            state.book = Book { best: amounts.cumulative, acknowledged: amounts.acknowledged };
        }
        let (used, _) = sessions::used(conn, channel).await?;
        state.meter = Meter { used, last: env.uptime, running: None };
        let (mut sent, mut last) = (Vec::new(), 0);
        for recorded in purposes::of_subject(conn, Subject::Channel(channel)).await?.iter().rev() {
            last = recorded.effect.seq.max(last);
            let Some(purpose) = AgentPurpose::of(recorded.purpose) else { continue };
            let record = self.transactor.get(conn, TxId(recorded.tx.0)).await;
            let record = record.map_err(|error| gone(recorded.tx, error))?;
            sent.push(self.sent(recorded, purpose, &record, (&state, env)));
        }
        state.terms = self.terms.terms(&stored.descriptor).await?;
        let earlier = Earlier {
            status: stored.status,
            service: stored.service,
            held: stored.held,
            has_access: stored.access.is_some(),
            last,
            sent,
            orders: jobs.iter().map(|job| job.orders).collect(),
        };
        state.own = earlier.own(&state, env);
        Ok(state)
    }

    fn sent(
        &self,
        recorded: &Recorded,
        purpose: AgentPurpose,
        record: &TxRecord,
        (state, env): (&AgentState, &Env<'_, Agent>),
    ) -> Sent {
        let included = record.inclusion.as_ref().map(fate::block);
        let stage = stage(record.status, record.ending, record.watched, included, recorded.in_batch);
        // Relieved by a rescue that may still fail, it answers a close request with the terms that such an answer has.
        let bid = if recorded.in_batch {
            Bid::of_batch()
        } else if record.relieved {
            let challenge = state.chain.challenge_ends_at();
            let challenge = challenge.map(|ends_at| Challenge { ends_at, period: env.chain.challenge });
            let claimable = state.book.claimable(&state.chain);
            Purpose::from(purpose).bid(&AtStake { challenge, claimable, rate: env.gas.rate })
        } else {
            bid(&record.intent)
        };
        let by_recovery = self.recovery.is_some_and(|recovery| record.created_at <= recovery.backed_up_at);
        let is_withdrawn = record.status == TxStatus::Cancelled && !by_recovery;
        Sent { seq: recorded.effect.seq, purpose, bid, stage, is_withdrawn }
    }
}

/// A purpose whose transaction is not stored any more is damage, of its channel alone.
fn gone(tx: TxNumber, error: ChainError) -> NodeError {
    match error {
        ChainError::UnknownTx { .. } => {
            let reason = format!("transaction {} is not stored any more", tx.0);
            StoreError::Corrupt { what: "the purpose of a transaction", reason }.into()
        }
        error => error.into(),
    }
}

/// What a pending job of an earlier version asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Orders {
    /// To end the service.
    End,
    /// To close the channel, also with nothing to gain.
    Close,
    /// To close the channel if that brings something.
    CloseForMoney,
    /// What follows from the state.
    Nothing,
}

/// A pending job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    id: JobId,
    orders: Orders,
}

impl Pending {
    fn of(job: &JobRecord) -> Result<(ChannelId, Self), serde_json::Error> {
        let (channel, orders) = match job.kind.as_str() {
            ServiceOrder::KIND => {
                let ServiceOrder { channel, order, .. } = serde_json::from_str(&job.payload)?;
                (channel, if order == Order::Terminate { Orders::End } else { Orders::Nothing })
            }
            CloseChannel::KIND => {
                let CloseChannel { channel, even_unpaid } = serde_json::from_str(&job.payload)?;
                (channel, if even_unpaid { Orders::Close } else { Orders::CloseForMoney })
            }
            _ => {
                let ProvisionChannel { channel } = serde_json::from_str(&job.payload)?;
                (channel, Orders::Nothing)
            }
        };
        Ok((channel, Self { id: job.id, orders }))
    }
}

/// A transaction about the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    seq: u32,
    purpose: AgentPurpose,
    bid: Bid,
    /// How far it is; `None` if it is over.
    stage: Option<Stage>,
    /// Whether the operator has cancelled it.
    is_withdrawn: bool,
}

/// How far a transaction is; `None` if it is over and its outcome cannot be taken back.
fn stage(
    status: TxStatus,
    ending: Option<Ending>,
    watched: bool,
    included: Option<BlockRef>,
    in_batch: bool,
) -> Option<Stage> {
    match status {
        TxStatus::Unsent | TxStatus::Sent if ending == Some(Ending::Cancelled) => Some(Stage::Cancelling),
        TxStatus::Unsent | TxStatus::Sent => Some(Stage::Sent { batch: in_batch }),
        TxStatus::Mined if watched => included.map(|block| Stage::Mined { block, seen: false }),
        TxStatus::Failed if watched => Some(Stage::Reverted),
        _ => None,
    }
}

/// The terms that a transaction was submitted with.
fn bid(intent: &Intent) -> Bid {
    Bid {
        priority: match intent.priority {
            privatix_chain::Priority::Background => Priority::Background,
            privatix_chain::Priority::Urgent => Priority::Urgent,
            _ => Priority::Normal,
        },
        deadline: intent.deadline.map(|deadline| Deadline {
            at: ChainTime::new(deadline.at),
            window: Period::new(deadline.window),
        }),
        stake: intent.stake.map(|stake| Wei::new(stake.0)),
        repeatable: intent.repeatable,
    }
}

/// What an earlier version stored of a channel beside the chain, the vouchers and the usage.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Earlier {
    status: ChannelStatus,
    service: ServiceStatus,
    held: bool,
    has_access: bool,
    /// The last number of its effects.
    last: u32,
    /// The oldest first.
    sent: Vec<Sent>,
    orders: Vec<Orders>,
}

impl Earlier {
    fn own(&self, state: &AgentState, env: &Env<'_, Agent>) -> AgentOwn {
        let now = env.uptime;
        let mut own = AgentOwn::default();
        own.seq = self.last;
        own.held = self.held;
        own.ready = self.has_access.then_some(now);
        let has_come = !state.meter.used.is_zero() || !state.book.best.is_zero();
        own.handed_out = (self.has_access && has_come).then_some(now);
        // A service that was being stopped may have been known to the adapter without access.
        let is_gone = match self.service {
            ServiceStatus::Terminated => true,
            ServiceStatus::Terminating => false,
            ServiceStatus::Pending
            | ServiceStatus::Activating
            | ServiceStatus::Active
            | ServiceStatus::Suspending
            | ServiceStatus::Suspended => !self.has_access,
        };
        own.service.actual = if is_gone { Actual::Absent } else { Actual::Unknown };
        own.service.since = now;
        let flight = |sent: &Sent| {
            let &Sent { seq, purpose, bid, stage, .. } = sent;
            Some(Flight { seq, purpose, bid, stage: stage? })
        };
        own.flights = self.sent.iter().filter_map(flight).collect();
        own.ending = self.ending(state).map(|why| Ended { why, since: now });
        let is_parked = own.ending.is_some() && own.flights.is_empty() && self.is_withdrawn();
        own.blocked = is_parked.then_some(Blocked::Parked { since: now });
        own
    }

    fn ending(&self, state: &AgentState) -> Option<AgentEnd> {
        let ends = self.service.is_ending() || self.orders.contains(&Orders::End);
        if self.orders.contains(&Orders::Close) || self.is_closed_for_nothing(state) {
            return Some(AgentEnd::CloseByOrder);
        }
        ends.then_some(AgentEnd::Adopted { status: self.status, service: self.service })
    }

    /// Whether a close is on its way that brings nothing: only an order leads to one.
    fn is_closed_for_nothing(&self, state: &AgentState) -> bool {
        let chain = &state.chain;
        let brings_nothing = |cumulative: Amount| cumulative.min(chain.deposit) <= chain.paid;
        chain.phase() == Phase::Open
            && self.sent.iter().any(|sent| {
                let goes_on = matches!(sent.stage, Some(Stage::Sent { .. } | Stage::Mined { .. }));
                goes_on && sent.purpose.is_close() && brings_nothing(sent.purpose.cumulative())
            })
    }

    /// Whether the operator cancelled the last close, and none was ordered since.
    fn is_withdrawn(&self) -> bool {
        let is_ordered =
            self.orders.iter().any(|orders| matches!(orders, Orders::Close | Orders::CloseForMoney));
        let last = self.sent.iter().rfind(|sent| sent.purpose.is_close());
        !is_ordered && last.is_some_and(|sent| sent.is_withdrawn)
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256};
    use privatix_chain::{Deadline as ChainDeadline, Priority as ChainPriority};

    use super::*;

    #[test]
    fn a_transaction_of_every_status_has_the_stage_of_the_table() {
        use TxStatus::{Cancelled, Dropped, Failed, Mined, Sent, Unsent};
        let block = BlockRef { number: 3, hash: B256::repeat_byte(3) };
        let sent = Some(Stage::Sent { batch: false });
        let cancelling = Some(Stage::Cancelling);
        let mined = Some(Stage::Mined { block, seen: false });
        // Status, then: open or final, watched, being cancelled, being cancelled and watched.
        let rows = [
            (Unsent, [sent, sent, cancelling, cancelling]),
            (Sent, [sent, sent, cancelling, cancelling]),
            // What is in a block stays there, cancelled or not.
            (Mined, [None, mined, None, mined]),
            (Failed, [None, Some(Stage::Reverted), None, Some(Stage::Reverted)]),
            (Dropped, [None; 4]),
            (Cancelled, [None; 4]),
        ];
        for (status, expected) in rows {
            let cases = [
                (None, false),
                (None, true),
                (Some(Ending::Cancelled), false),
                (Some(Ending::Cancelled), true),
            ];
            for ((ending, watched), expected) in cases.into_iter().zip(expected) {
                let found = stage(status, ending, watched, Some(block), false);
                assert_eq!(found, expected, "{status} {ending:?} {watched}");
            }
        }
        assert_eq!(stage(Sent, None, true, None, true), Some(Stage::Sent { batch: true }));
        // One that is ended because it would fail is reported as failed, and not by us.
        assert_eq!(stage(Sent, Some(Ending::Failed), true, None, false), sent);
    }

    #[test]
    fn a_transaction_keeps_its_terms() {
        let intent = Intent::new("key", Address::ZERO, Address::ZERO, Vec::new());
        assert_eq!(bid(&intent), Bid::default());
        let urgent = intent.priority(ChainPriority::Urgent).deadline(ChainDeadline::new(90, 50)).stake(7);
        let deadline = Some(Deadline { at: ChainTime::new(90), window: Period::new(50) });
        let expected =
            Bid { priority: Priority::Urgent, deadline, stake: Some(Wei::new(7)), repeatable: true };
        assert_eq!(bid(&urgent.repeatable()), expected);
    }
}
