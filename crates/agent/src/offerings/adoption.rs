//! Own offerings of a database whose version stored no states of them: each gets one, from what was stored instead.
//!
//! | stored | state |
//! | --- | --- |
//! | a draft | nothing is wanted |
//! | registering, registered, popping up, popped up | wanted on the market |
//! | removing, removed | wanted off the market |
//! | popping up, with its transaction under way | to be announced again |
//! | registering or removing, with its transaction being cancelled | nothing is wanted: it stays as the chain shows it |
//! | transactions that are open, or whose outcome may be taken back | flights, with the terms that they were submitted with |
//! | a pending job `change_offering` | the order that it carries out; the job ends |

use std::collections::BTreeMap;

use alloy::primitives::Address;
use privatix_chain::{ChainError, Transactor, TxId};
use privatix_channel::{OfferingHash, OfferingStatus, OfferingUnderWay};
use privatix_db::{Conn, Database};
use privatix_jobs::{Filter, Job as _, JobId, JobStatus, JobsError};
use privatix_market::offering::{OfferingPurpose, OfferingState, Own, Ownership, Wanted};
use privatix_market::{Flight, Stage, Subject, Wake};
use privatix_node::{NodeError, earlier};
use privatix_store::offering_states::{self, Key};
use privatix_store::{StoreError, offerings, purposes};

use crate::earlier::{ChangeOffering, OfferingAction};

/// How many offerings share a transaction.
const PAGE: u32 = 200;

/// Gives each own offering without a state its first one. It runs at the start, before anything else decides or works on jobs.
/// Repeating it finds nothing more to do, and whoever is killed in the middle goes on at the next start.
#[derive(Clone, Copy)]
pub struct OfferingAdoption<'a> {
    /// The database.
    pub db: &'a Database,
    /// Where the transactions are.
    pub transactor: &'a Transactor,
    /// Whose offerings these are.
    pub agent: Address,
}

impl std::fmt::Debug for OfferingAdoption<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfferingAdoption").field("agent", &self.agent).finish_non_exhaustive()
    }
}

/// A pending job.
#[derive(Clone, Copy, Debug)]
struct Pending {
    id: JobId,
    action: OfferingAction,
}

type Jobs = BTreeMap<OfferingHash, Vec<Pending>>;

impl OfferingAdoption<'_> {
    /// Adopts all. Returns how many.
    ///
    /// # Errors
    /// [`NodeError`]: the pages so far are adopted.
    pub async fn run(&self) -> Result<usize, NodeError> {
        let mut jobs = self.jobs().await?;
        // In the order of their agents: those of others come after them.
        let (mut after, mut adopted) = (Some((self.agent, OfferingHash::default())), 0_usize);
        loop {
            let mut page = offering_states::without(&mut *self.db.read().await?, after, PAGE).await?;
            page.retain(|(agent, _)| *agent == self.agent);
            let Some(last) = page.last() else { break };
            after = Some(*last);
            let mut tx = self.db.begin().await?;
            for key in &page {
                let of_offering = jobs.get(&key.1).map(Vec::as_slice).unwrap_or_default();
                match self.adopt(&mut tx, *key, of_offering).await {
                    Ok(()) => {
                        jobs.remove(&key.1);
                        adopted = adopted.saturating_add(1);
                    }
                    // Everything is read before anything is written. It is tried again at the next start.
                    Err(error) if error.is_damage() => {
                        tracing::error!(offering = %key.1, %error, "something stored of the offering cannot be read; it is left as it is");
                        jobs.remove(&key.1);
                    }
                    Err(error) => return Err(error),
                }
            }
            tx.commit().await?;
        }
        self.end(jobs).await?;
        if adopted > 0 {
            tracing::info!(
                offerings = adopted,
                "offerings of an earlier version are decided from states from now on"
            );
        }
        Ok(adopted)
    }

    async fn adopt(&self, conn: &mut Conn, (agent, hash): Key, jobs: &[Pending]) -> Result<(), NodeError> {
        let row = offerings::get(conn, agent, hash).await?;
        let mut flights = Vec::new();
        let subject = Subject::Offering(agent, hash);
        for recorded in purposes::of_subject(conn, subject).await?.iter().rev() {
            let Some(purpose) = OfferingPurpose::of(recorded.purpose) else { continue };
            let record = match self.transactor.get(conn, TxId(recorded.tx.0)).await {
                Err(ChainError::UnknownTx { .. }) => {
                    let reason = format!("transaction {} is not stored any more", recorded.tx.0);
                    return Err(StoreError::Corrupt { what: "the purpose of a transaction", reason }.into());
                }
                record => record?,
            };
            flights.extend(earlier::flight(recorded, purpose, &record));
        }
        let orders: Vec<OfferingAction> = jobs.iter().map(|job| job.action).collect();
        let mut state = OfferingState::draft(agent, hash);
        let mut own = own(row.status, flights, &orders);
        own.seq = purposes::last_number(conn, subject).await?;
        state.ownership = Ownership::Own(own);
        // What is wanted shows at the look that each has at the start.
        offering_states::create(conn, &state, Wake::default(), None).await?;
        cancel(conn, jobs).await
    }

    /// Ends the jobs of offerings that have a state already, or are not stored at all: nothing carries them out any more.
    async fn end(&self, jobs: Jobs) -> Result<(), NodeError> {
        if jobs.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        for (offering, jobs) in jobs {
            tracing::warn!(%offering, "a job of an earlier version about the offering is cancelled: order it again");
            cancel(&mut tx, &jobs).await?;
        }
        Ok(tx.commit().await?)
    }

    /// The pending jobs that states replace, the oldest first.
    async fn jobs(&self) -> Result<Jobs, NodeError> {
        let mut conn = self.db.read().await?;
        let mut found = Jobs::new();
        for status in [JobStatus::Waiting, JobStatus::Running] {
            let mut filter = Filter::new().kind(ChangeOffering::KIND).status(status).limit(1_000);
            loop {
                let page = privatix_jobs::list(&mut conn, &filter).await?;
                for job in &page.jobs {
                    match serde_json::from_str(&job.payload) {
                        Ok(ChangeOffering { offering, action }) => {
                            found.entry(offering).or_default().push(Pending { id: job.id, action });
                        }
                        Err(error) => {
                            tracing::error!(job = %job.id, %error, "the job cannot be read, and ends nothing");
                        }
                    }
                }
                let Some(next) = page.next else { break };
                filter = filter.before(next);
            }
        }
        for jobs in found.values_mut() {
            jobs.sort_by_key(|job| job.id);
        }
        Ok(found)
    }
}

async fn cancel(conn: &mut Conn, jobs: &[Pending]) -> Result<(), NodeError> {
    for job in jobs {
        match privatix_jobs::cancel(conn, job.id).await {
            Err(JobsError::WrongStatus { .. }) => {}
            ended => ended?,
        }
    }
    Ok(())
}

/// What was done about an offering with this status, and is wanted of it. `orders`: those of its pending jobs, the oldest first.
pub fn own(status: OfferingStatus, flights: Vec<Flight<OfferingPurpose>>, orders: &[OfferingAction]) -> Own {
    let mut own = Own::default();
    own.flights = flights;
    let under_way = own.under_way();
    let is_cancelled =
        under_way.is_none() && own.flights.iter().any(|flight| flight.stage == Stage::Cancelling);
    own.wanted = match status {
        // Whether the cancellation comes in time is not known: there is no order any more.
        OfferingStatus::Registering | OfferingStatus::Removing if is_cancelled => Wanted::AsShown,
        OfferingStatus::Draft => Wanted::AsShown,
        OfferingStatus::Registering
        | OfferingStatus::Registered
        | OfferingStatus::PoppingUp
        | OfferingStatus::PoppedUp => Wanted::OnMarket,
        OfferingStatus::Removing | OfferingStatus::Removed => Wanted::Removed,
    };
    own.pop_up = status == OfferingStatus::PoppingUp && under_way == Some(OfferingUnderWay::PopUp);
    for order in orders {
        match order {
            OfferingAction::Publish => own.wanted = Wanted::OnMarket,
            OfferingAction::PopUp => own.pop_up |= own.wanted == Wanted::OnMarket,
            OfferingAction::Remove => (own.wanted, own.pop_up) = (Wanted::Removed, false),
        }
    }
    own
}
