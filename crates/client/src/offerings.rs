//! Announced offerings: their messages are fetched from the agents and checked before anybody sees them.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use async_trait::async_trait;
use privatix_channel::OfferingHash;
use privatix_jobs::{Backoff, Done, Duplicates, Handler, Job, JobContext, JobError, Policy};
use privatix_node::{Node, NodeError};
use privatix_offering::{Announced, SignedOffering};
use privatix_store::offerings;
use serde::{Deserialize, Serialize};

use crate::peers::{Dialler, no_answer};

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

pub(crate) struct Offerings {
    pub(crate) node: Arc<Node>,
    pub(crate) dialler: Dialler,
}

#[async_trait]
impl Handler<FetchOffering> for Offerings {
    async fn run(&self, job: &FetchOffering, cx: JobContext) -> Result<Done, JobError> {
        self.fetch(job, cx).await.map_err(NodeError::into_job_error)
    }
}

impl Offerings {
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
        let announced = Announced { hash: job.offering, agent: job.agent, domain: *node.domain() };
        let checked =
            fetched.and_then(|wire| Ok(SignedOffering::verify(&wire, &announced, node.templates())?));
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
