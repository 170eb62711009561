//! Offerings of a database whose version stored no states of them: each gets one, and the jobs that fetched their messages end.

use privatix_channel::OfferingHash;
use privatix_db::Database;
use privatix_jobs::{Filter, Job as _, JobStatus, JobsError};
use privatix_market::offering::{Foreign, MessageState, OfferingState, Ownership};
use privatix_market::{Uptime, Wake};
use privatix_node::NodeError;
use privatix_store::{offering_states, offerings};

use crate::earlier::FetchOffering;

/// How many offerings share a transaction.
const PAGE: u32 = 200;

/// Gives each offering a state that has none: its agent is asked as soon as there is room, and one whose message is here counts as
/// seen now. Returns how many there were.
///
/// # Errors
/// [`NodeError`] of the database: the pages so far are adopted.
pub async fn adopt(db: &Database, now: Uptime) -> Result<usize, NodeError> {
    let (mut after, mut adopted) = (None, 0_usize);
    loop {
        let mut tx = db.begin().await?;
        let page = offering_states::without(&mut tx, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(*last);
        for (agent, hash) in page {
            let has_message = has_message(&mut tx, agent, hash).await?;
            let mut foreign = Foreign::default();
            if has_message {
                foreign.message = MessageState::Here { seen: now };
            }
            let mut state = OfferingState::foreign(agent, hash);
            state.ownership = Ownership::Foreign(foreign);
            let due = Wake { uptime: Some(now), chain: None };
            offering_states::create(&mut tx, &state, due, None).await?;
            adopted = adopted.saturating_add(1);
        }
        tx.commit().await?;
    }
    end_jobs(db).await?;
    Ok(adopted)
}

async fn has_message(
    conn: &mut privatix_db::Conn,
    agent: alloy::primitives::Address,
    hash: OfferingHash,
) -> Result<bool, NodeError> {
    match offerings::get(conn, agent, hash).await {
        Ok(offering) => Ok(offering.message.is_some()),
        // One that cannot be read is asked for like one that is missing.
        Err(error) if error.is_damage() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Ends the pending jobs with which earlier versions fetched messages.
async fn end_jobs(db: &Database) -> Result<(), NodeError> {
    for status in [JobStatus::Waiting, JobStatus::Running] {
        let filter = Filter::new().kind(FetchOffering::KIND).status(status).limit(1_000);
        loop {
            let mut tx = db.begin().await?;
            let pending = privatix_jobs::list(&mut tx, &filter).await?.jobs;
            let mut ended = 0_usize;
            for job in pending {
                match privatix_jobs::cancel(&mut tx, job.id).await {
                    Err(JobsError::WrongStatus { .. }) => {}
                    cancelled => {
                        cancelled?;
                        ended = ended.saturating_add(1);
                    }
                }
            }
            tx.commit().await?;
            if ended == 0 {
                break;
            }
        }
    }
    Ok(())
}
