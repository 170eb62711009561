//! Announced offerings: their messages are fetched from the agents and checked before anybody sees them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alloy::primitives::Address;
use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_channel::OfferingHash;
use privatix_jobs::{Backoff, Done, Duplicates, Handler, Job, JobContext, JobError, Policy};
use privatix_node::{Node, NodeError, after};
use privatix_offering::{Announced, OfferingError, SignatureProblem, SignedOffering};
use privatix_store::offerings;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::peers::{Dialler, OFFLINE, no_answer};

/// Job: fetch an announced offering's message from its agent and check it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FetchOffering {
    /// Who announced it.
    pub agent: Address,
    /// What its message must hash to.
    pub offering: OfferingHash,
}

impl Job for FetchOffering {
    const KIND: &'static str = "fetch_offering";

    fn subject(&self) -> String {
        format!("offering {} of {}", self.offering, self.agent)
    }

    fn policy() -> Policy {
        Policy::default()
            .tries(10)
            .backoff(Backoff::exponential(Duration::from_secs(1), Duration::from_mins(5)))
            .duplicates(Duplicates::RefusedWhileWaiting)
    }
}

/// At most as many offerings are asked for again when the client starts.
const ASKED_AGAIN: u32 = 1_000;

/// Asks again for what is on the market and could not be had: the settings, or the agents, may have changed meanwhile.
pub(crate) async fn ask_again(node: &Node) -> Result<(), NodeError> {
    let missing = offerings::without_message(&mut *node.db().read().await?, ASKED_AGAIN).await?;
    let mut tx = node.db().begin().await?;
    for (agent, offering) in missing {
        privatix_node::push(&mut tx, &FetchOffering { agent, offering }, "start").await?;
    }
    Ok(tx.commit().await?)
}

/// Messages that are fetched at the same time: half of the job processor's workers, as anybody can announce offerings at
/// addresses that keep a connection waiting, and payments, openings and closes need workers too.
const AT_ONCE: usize = 4;
/// Between the turns of offerings that found all places taken. So thousands of them cost the database ten writes a second.
const TURNS: Duration = Duration::from_millis(100);

pub(crate) struct Offerings {
    node: Arc<Node>,
    dialler: Dialler,
    places: Semaphore,
    /// When the offering whose turn is last comes.
    last_turn: Mutex<SystemTime>,
}

#[async_trait]
impl Handler<FetchOffering> for Offerings {
    async fn run(&self, job: &FetchOffering, cx: JobContext) -> Result<Done, JobError> {
        let Ok(_place) = self.places.try_acquire() else {
            let mut last = self.last_turn.lock();
            *last = next_turn(*last, SystemTime::now());
            return Err(JobError::postpone(*last, "other offerings are being fetched"));
        };
        self.fetch(job, cx).await.map_err(|error| match error {
            // Not counted as a try: it says nothing of the agent.
            NodeError::Offline { .. } => JobError::postpone(after(SystemTime::now(), OFFLINE), error),
            error => error.into_job_error(),
        })
    }
}

/// One turn after `last`, and not before `now`.
fn next_turn(last: SystemTime, now: SystemTime) -> SystemTime {
    after(last.max(now), TURNS)
}

impl Offerings {
    /// Fetches with `dialler`, which connects once: the job is what tries again.
    pub(crate) fn new(node: Arc<Node>, mut dialler: Dialler) -> Self {
        dialler.retry.attempts = 1;
        let last_turn = Mutex::new(SystemTime::UNIX_EPOCH);
        Self { node, dialler, places: Semaphore::new(AT_ONCE), last_turn }
    }

    /// The chain is asked for the agent's operator only where the agent itself did not sign.
    async fn check(&self, job: &FetchOffering, wire: &[u8]) -> Result<SignedOffering, NodeError> {
        let node = &self.node;
        let (agent, domain) = (job.agent, *node.domain());
        let mut announced = Announced { hash: job.offering, agent, operator: None, domain };
        let mut checked = SignedOffering::verify(wire, &announced, node.templates());
        if let Err(OfferingError::Signature(SignatureProblem::WrongSigner { .. })) = checked {
            announced.operator = node.operator_of(agent).await?;
            checked = SignedOffering::verify(wire, &announced, node.templates());
        }
        Ok(checked?)
    }

    async fn fetch(&self, job: &FetchOffering, cx: JobContext) -> Result<Done, NodeError> {
        let node = &self.node;
        let stored = offerings::get(&mut *node.db().read().await?, job.agent, job.offering).await?;
        if stored.message.is_some() || !stored.status.is_on_market() {
            return Ok(cx.finish().await?.commit().await?);
        }
        let fetched = match self.dialler.announcer(&stored.announcement) {
            Ok(peer) => peer.offering(job.offering).await.map_err(no_answer(&peer)),
            Err(error) => Err(error),
        };
        let checked = match fetched {
            Ok(wire) => self.check(job, &wire).await,
            Err(error) => Err(error),
        };
        match checked {
            Ok(offering) => {
                let country = offering.message().country.code();
                let wire = offering.wire().to_vec();
                let mut completion = cx.finish().await?;
                offerings::set_message(&mut completion, job.agent, job.offering, wire, country).await?;
                tracing::info!(offering = %job.offering, agent = %job.agent, "offering fetched and checked");
                Ok(completion.commit().await?)
            }
            Err(error) => {
                let mut tx = node.db().begin().await?;
                offerings::set_problem(&mut tx, job.agent, job.offering, &error.to_string()).await?;
                tx.commit().await?;
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_spread_evenly_from_now_on() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let first = next_turn(SystemTime::UNIX_EPOCH, now);
        assert_eq!(first, now + TURNS);
        assert_eq!(next_turn(first, now), first + TURNS);
        let later = now + Duration::from_secs(5);
        assert_eq!(next_turn(first, later), later + TURNS, "none is in the past");
    }
}
