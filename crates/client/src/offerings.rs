//! Announced offerings: their messages are fetched from the agents and checked before anybody sees them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alloy::primitives::Address;
use async_trait::async_trait;
use privatix_channel::{Announcement, OfferingHash};
use privatix_jobs::{Backoff, Done, Duplicates, Handler, Job, JobContext, JobError, Lane, Policy};
use privatix_node::{Node, NodeError, after, lanes};
use privatix_offering::{Announced, OfferingError, SignatureProblem, SignedOffering};
use privatix_somc::SourceType;
use privatix_store::offerings;
use serde::{Deserialize, Serialize};

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
    const LANE: Lane = lanes::STRANGERS;

    fn subject(&self) -> String {
        format!("offering {} of {}", self.offering, self.agent)
    }

    fn policy() -> Policy {
        Policy::default()
            .tries(10)
            .backoff(Backoff::exponential(Duration::from_secs(1), Duration::from_mins(5)))
            .timeout(LONGEST_TRY)
            .duplicates(Duplicates::RefusedWhileWaiting)
    }
}

/// At most this many offerings are asked for again when the client starts.
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

/// A whole try over Tor. Whoever answers later is asked again, and keeps no worker from others.
const LONGEST_TRY: Duration = Duration::from_secs(45);
/// A whole try without Tor.
const LONGEST_DIRECT_TRY: Duration = Duration::from_secs(20);

/// How long a whole try takes at most, by the announced kind of address.
const fn longest_try(source: u8) -> Duration {
    if source == SourceType::Direct.number() { LONGEST_DIRECT_TRY } else { LONGEST_TRY }
}

pub(crate) struct Offerings {
    node: Arc<Node>,
    dialler: Dialler,
}

#[async_trait]
impl Handler<FetchOffering> for Offerings {
    async fn run(&self, job: &FetchOffering, cx: JobContext) -> Result<Done, JobError> {
        self.fetch(job, cx).await.map_err(|error| match error {
            // Not counted as a try: it says nothing of the agent.
            NodeError::Offline { .. } => JobError::postpone(after(SystemTime::now(), OFFLINE), error),
            error => error.into_job_error(),
        })
    }
}

impl Offerings {
    /// Fetches with `dialler`, which connects once: the job is what tries again.
    pub(crate) fn new(node: Arc<Node>, mut dialler: Dialler) -> Self {
        dialler.retry.attempts = 1;
        Self { node, dialler }
    }

    /// The chain is asked for the agent's operator only where the agent itself did not sign.
    async fn check(
        &self,
        (agent, hash): (Address, OfferingHash),
        wire: &[u8],
    ) -> Result<SignedOffering, NodeError> {
        let node = &self.node;
        let mut announced = Announced { hash, agent, operator: None, domain: *node.domain() };
        let mut checked = SignedOffering::verify(wire, &announced, node.templates());
        if let Err(OfferingError::Signature(SignatureProblem::WrongSigner { .. })) = checked {
            announced.operator = node.operator_of(agent).await?;
            checked = SignedOffering::verify(wire, &announced, node.templates());
        }
        Ok(checked?)
    }

    /// Asks the agent for the message of an offering that it announced, and checks it.
    ///
    /// # Errors
    /// [`NodeError::Peer`], [`NodeError::Offline`], [`NodeError::NotPermitted`]; [`NodeError::Offering`] for a message that is none;
    /// [`NodeError::Refused`] for an address that is none.
    pub(crate) async fn obtain(
        &self,
        of: (Address, OfferingHash),
        said: &Announcement,
    ) -> Result<SignedOffering, NodeError> {
        let peer = self.dialler.announcer(said)?;
        let limit = longest_try(said.source_type);
        let Ok(answered) = tokio::time::timeout(limit, peer.offering(of.1)).await else {
            let reason = format!("it did not send the offering within {limit:?}");
            return Err(NodeError::Peer { address: peer.address().to_string(), reason });
        };
        self.check(of, &answered.map_err(no_answer(&peer))?).await
    }

    async fn fetch(&self, job: &FetchOffering, cx: JobContext) -> Result<Done, NodeError> {
        let node = &self.node;
        let stored = offerings::get(&mut *node.db().read().await?, job.agent, job.offering).await?;
        if stored.message.is_some() || !stored.status.is_on_market() {
            return Ok(cx.finish().await?.commit().await?);
        }
        match self.obtain((job.agent, job.offering), &stored.announcement).await {
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
    fn a_stranger_keeps_a_worker_for_as_long_as_its_network_needs_and_no_longer() {
        assert_eq!(longest_try(SourceType::Direct.number()), Duration::from_secs(20));
        assert_eq!(longest_try(SourceType::Tor.number()), Duration::from_secs(45));
        // Of an unknown kind: refused before it is dialled.
        assert_eq!(longest_try(9), LONGEST_TRY);
        assert_eq!(FetchOffering::policy(), FetchOffering::policy().timeout(LONGEST_TRY));
    }
}
