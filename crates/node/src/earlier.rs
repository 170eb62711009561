//! Channels of a database whose version stored no states: each gets one, from what was stored instead ([`Adoption`]).
//!
//! What both sides have is read here: the chain, the voucher, the usage, the terms, and the transactions that are open, or whose outcome may
//! be taken back, with the terms that they were submitted with. What the rest comes to, a side says: [`Retired`].
//!
//! Jobs of these channels end in the transaction that stores the state. All stopwatches begin at nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use privatix_billing::Terms;
use privatix_chain::{Ending, Intent, Transactor, TxId, TxRecord, TxStatus};
use privatix_channel::{ChainTime, ChannelDescriptor, ChannelId, Period, Phase};
use privatix_db::{Conn, Database, Savepoint};
use privatix_jobs::{Filter, JobId, JobRecord, JobStatus, JobsError};
use privatix_market::{
    AtStake, Bid, BlockRef, Book, Challenge, Deadline, Env, Flight, Meter, Party, Priority, Stage, State,
    Subject, Wake, Wei,
};
use privatix_store::channels::{self, Channel};
use privatix_store::purposes::{self, Recorded};
use privatix_store::recovery::Recovery;
use privatix_store::states::{self, Due, LifePart};
use privatix_store::{meters, vouchers};

use crate::cause::gone;
use crate::{Node, NodeError, fate};

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

/// What versions without states stored of one side's channels beside what both sides have.
#[async_trait]
pub trait Retired<P: Party>: Send + Sync {
    /// What a pending job asks for.
    type Orders: Clone + Send + Sync;

    /// The kinds of the jobs that states replace.
    const KINDS: &'static [&'static str];

    /// The channel of such a job, and what it asks for.
    ///
    /// # Errors
    /// Its payload cannot be read.
    fn orders(&self, job: &JobRecord) -> Result<(ChannelId, Self::Orders), serde_json::Error>;

    /// What this side did, and what it is to do. The effects of the state are numbered after [`Earlier::last`].
    fn own(&self, earlier: &Earlier<P::Purpose, Self::Orders>, state: &State<P>, env: &Env<'_, P>) -> P::Own;

    /// Carries out with what a first state begins, in the transaction that stores it, before it is stored. By default that is nothing.
    ///
    /// # Errors
    /// [`NodeError`]: nothing of it is kept. Where it [passes](NodeError::is_temporary), the adoption ends, and goes on at the next start;
    /// else the channel counts as damaged.
    async fn begins(&self, conn: &mut Conn, state: &mut State<P>) -> Result<(), NodeError> {
        let _ = (conn, state);
        Ok(())
    }
}

/// What was stored of a channel. `X` are the purposes of its side, and `J` is what a pending job asks for.
#[derive(Clone, Debug)]
pub struct Earlier<X, J> {
    /// Its row.
    pub channel: Channel,
    /// The last number of its effects.
    pub last: u32,
    /// Its transactions, the oldest first.
    pub sent: Vec<Sent<X>>,
    /// What its pending jobs ask for, the oldest first.
    pub orders: Vec<J>,
}

impl<X: Copy, J> Earlier<X, J> {
    /// The transactions that are under way.
    pub fn flights(&self) -> Vec<Flight<X>> {
        let flight = |sent: &Sent<X>| {
            let &Sent { seq, purpose, bid, stage, .. } = sent;
            Some(Flight { seq, purpose, bid, stage: stage? })
        };
        self.sent.iter().filter_map(flight).collect()
    }
}

/// A transaction about the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent<X> {
    /// Its number.
    pub seq: u32,
    /// What it is for.
    pub purpose: X,
    /// The terms that it was submitted with.
    pub bid: Bid,
    /// How far it is; `None` if it is over.
    pub stage: Option<Stage>,
    /// Whether the operator has cancelled it.
    pub is_withdrawn: bool,
}

/// Gives each kept channel without a state its first one, from which everything about it is decided. It runs at the start, before
/// anything else decides or works on jobs; a recovery begins before it. Repeating it finds nothing more to do, and whoever is
/// killed in the middle goes on at the next start.
#[derive(Clone, Copy)]
pub struct Adoption<'a, R> {
    db: &'a Database,
    transactor: &'a Transactor,
    terms: &'a dyn KnownTerms,
    recovery: Option<Recovery>,
    retired: R,
    page: u32,
}

impl<R> std::fmt::Debug for Adoption<'_, R> {
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

/// A pending job.
#[derive(Clone, Debug)]
struct Pending<J> {
    id: JobId,
    orders: J,
}

type Jobs<J> = BTreeMap<ChannelId, Vec<Pending<J>>>;

impl<'a, R> Adoption<'a, R> {
    /// Of this database. `recovery`: the one that runs, if it came back from a backup.
    pub const fn new(
        db: &'a Database,
        transactor: &'a Transactor,
        terms: &'a dyn KnownTerms,
        recovery: Option<Recovery>,
        retired: R,
    ) -> Self {
        Self { db, transactor, terms, recovery, retired, page: PAGE }
    }

    /// Sets how many channels share a transaction.
    #[must_use]
    pub fn in_pages_of(self, channels: u32) -> Self {
        Self { page: channels, ..self }
    }

    /// Adopts all channels. What depends on the surroundings in them is decided by the look at each channel that follows.
    ///
    /// # Errors
    /// [`NodeError`]: the pages so far are adopted.
    pub async fn run<P: Party>(&self, env: &Env<'_, P>) -> Result<Adopted, NodeError>
    where
        R: Retired<P>,
        P::Own: Default,
    {
        let mut adopted = Adopted::default();
        let mut after = None;
        let mut jobs = None;
        loop {
            let page = states::without(&mut *self.db.read().await?, after, self.page).await?;
            let Some(last) = page.last() else { break };
            after = Some(*last);
            let jobs = match &mut jobs {
                Some(jobs) => jobs,
                none => none.insert(self.jobs::<P>().await?),
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

    async fn adopt_page<P: Party>(
        &self,
        page: &[ChannelId],
        jobs: &mut Jobs<R::Orders>,
        env: &Env<'_, P>,
        adopted: &mut Adopted,
    ) -> Result<(), NodeError>
    where
        R: Retired<P>,
        P::Own: Default,
    {
        let mut tx = self.db.begin().await?;
        for channel in page {
            let jobs = jobs.remove(channel).unwrap_or_default();
            // Everything is read before anything is written.
            let mut state = match self.state(&mut tx, *channel, &jobs, env).await {
                Err(error) if error.is_damage() => {
                    adopted.damaged.push((*channel, left(&error, jobs.len())));
                    continue;
                }
                state => state?,
            };
            let part = Savepoint::begin(&mut tx).await?;
            match self.retired.begins(&mut tx, &mut state).await {
                Ok(()) => part.keep(&mut tx).await?,
                // It would be the same at each start, and one channel must not keep the others from it.
                Err(error) if error.is_damage() || !error.is_temporary() => {
                    part.undo(&mut tx).await?;
                    adopted.damaged.push((*channel, left(&error, jobs.len())));
                    continue;
                }
                Err(error) => return Err(error),
            }
            // What moves a state on shows once it was decided about; only where the channel is closed nothing is wanted any more.
            let due = match state.chain.phase() {
                Phase::Closed { .. } => Due::of(&state, env),
                Phase::Unopened | Phase::Open | Phase::Closing { .. } => Due::At(Wake::default()),
            };
            states::create(&mut tx, &state, &LifePart::all(), due).await?;
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

    /// The pending jobs of channels that states replace, the oldest first.
    async fn jobs<P: Party>(&self) -> Result<Jobs<R::Orders>, NodeError>
    where
        R: Retired<P>,
    {
        let mut conn = self.db.read().await?;
        let mut found: Jobs<R::Orders> = BTreeMap::new();
        for kind in R::KINDS {
            for status in [JobStatus::Waiting, JobStatus::Running] {
                let mut filter = Filter::new().kind(*kind).status(status).limit(1_000);
                loop {
                    let page = privatix_jobs::list(&mut conn, &filter).await?;
                    for job in &page.jobs {
                        match self.retired.orders(job) {
                            Ok((channel, orders)) => {
                                found.entry(channel).or_default().push(Pending { id: job.id, orders });
                            }
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
        for jobs in found.values_mut() {
            jobs.sort_by_key(|job| job.id);
        }
        Ok(found)
    }

    /// The first state of a channel.
    async fn state<P: Party>(
        &self,
        conn: &mut Conn,
        channel: ChannelId,
        jobs: &[Pending<R::Orders>],
        env: &Env<'_, P>,
    ) -> Result<State<P>, NodeError>
    where
        R: Retired<P>,
        P::Own: Default,
    {
        let stored = channels::get(conn, channel).await?;
        let mut state = State::<P>::new(channel, stored.descriptor);
        state.chain = channels::on_chain(conn, channel).await?;
        if let Some(amounts) = vouchers::amounts(conn, channel).await? {
            state.book = Book { best: amounts.cumulative, acknowledged: amounts.acknowledged };
        }
        let (used, _) = meters::used(conn, channel).await?;
        state.meter = Meter { used, last: env.uptime, running: None };
        let (mut sent, mut last) = (Vec::new(), 0);
        for recorded in purposes::of_subject(conn, Subject::Channel(channel)).await?.iter().rev() {
            last = recorded.effect.seq.max(last);
            let Some(purpose) = P::purpose(recorded.purpose) else { continue };
            let record = self.transactor.get(conn, TxId(recorded.tx.0)).await;
            let record = record.map_err(|error| gone(recorded.tx, error))?;
            sent.push(self.sent(recorded, purpose, &record, (&state, env)));
        }
        state.terms = self.terms.terms(&stored.descriptor).await?;
        let orders = jobs.iter().map(|job| job.orders.clone()).collect();
        let earlier = Earlier { channel: stored, last, sent, orders };
        state.own = self.retired.own(&earlier, &state, env);
        Ok(state)
    }

    fn sent<P: Party>(
        &self,
        recorded: &Recorded,
        purpose: P::Purpose,
        record: &TxRecord,
        (state, env): (&State<P>, &Env<'_, P>),
    ) -> Sent<P::Purpose> {
        let included = record.inclusion.as_ref().map(fate::block);
        let stage = stage(record.status, record.ending, record.watched, included, recorded.in_batch);
        // Relieved by a rescue that may still fail, it answers a close request with the terms that such an answer has.
        let bid = if recorded.in_batch {
            Bid::of_batch()
        } else if record.relieved {
            let challenge = state.chain.challenge_ends_at();
            let challenge = challenge.map(|ends_at| Challenge { ends_at, period: env.chain.challenge });
            let claimable = state.book.claimable(&state.chain);
            purpose.into().bid(&AtStake { challenge, claimable, rate: env.gas.rate })
        } else {
            bid(&record.intent)
        };
        let by_recovery = self.recovery.is_some_and(|recovery| record.created_at <= recovery.backed_up_at);
        let is_withdrawn = record.status == TxStatus::Cancelled && !by_recovery;
        Sent { seq: recorded.effect.seq, purpose, bid, stage, is_withdrawn }
    }
}

/// Why a channel is not adopted, with what that leaves.
fn left(error: &NodeError, jobs: usize) -> String {
    match jobs {
        0 => error.to_string(),
        jobs => format!(
            "{error}; its jobs of an earlier version ({jobs}) wait for its repair, and must not be cancelled"
        ),
    }
}

/// A recorded transaction as one that is under way, with the terms that it was submitted with. `None` if it is over and its outcome
/// cannot be taken back.
pub fn flight<X>(recorded: &Recorded, purpose: X, record: &TxRecord) -> Option<Flight<X>> {
    let included = record.inclusion.as_ref().map(fate::block);
    let stage = stage(record.status, record.ending, record.watched, included, recorded.in_batch)?;
    Some(Flight { seq: recorded.effect.seq, purpose, bid: bid(&record.intent), stage })
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
