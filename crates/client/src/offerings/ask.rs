//! Asks agents for what they announced: [`AskOffering`].

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alloy::primitives::Address;
use async_trait::async_trait;
use privatix_channel::OfferingHash;
use privatix_db::{Conn, Database};
use privatix_jobs::{Backoff, Done, Handler, Job, JobContext, JobError, Lane, Policy};
use privatix_market::Uptime;
use privatix_market::offering::Answer;
use privatix_node::{NodeError, lanes};
use privatix_offering::SignedOffering;
use privatix_store::offering_states::Key;
use privatix_store::offerings;
use serde::{Deserialize, Serialize};

use super::decisions::{Answered, OfferingDecisions};
use super::{Announcers, LONGEST_TRY};

/// Job: ask an agent for the message of an offering that it announced. One try: the offering's state is what asks again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AskOffering {
    /// Who announced it.
    pub agent: Address,
    /// What its message must hash to.
    pub offering: OfferingHash,
    /// The number of the request.
    pub seq: u32,
    /// Until when the answer is waited for.
    pub until: Uptime,
}

impl AskOffering {
    const fn key(&self) -> Key {
        (self.agent, self.offering)
    }
}

impl Job for AskOffering {
    const KIND: &'static str = "ask_offering";
    const LANE: Lane = lanes::STRANGERS;

    fn subject(&self) -> String {
        format!("offering {} of {}", self.offering, self.agent)
    }

    fn policy() -> Policy {
        Policy::default()
            // No number of tries: the offering's state gives the request up at its time, and a run after that only ends the job.
            .tries_without_end()
            .backoff(Backoff::exponential(Duration::from_secs(1), Duration::from_secs(15)))
            .timeout(LONGEST_TRY.saturating_mul(2)) // each request has its own limit
    }
}

/// Carries out [`AskOffering`].
pub struct OfferingAsker {
    db: Database,
    decisions: Arc<OfferingDecisions>,
    announcers: Arc<dyn Announcers>,
}

impl std::fmt::Debug for OfferingAsker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfferingAsker").field("decisions", &self.decisions).finish_non_exhaustive()
    }
}

impl OfferingAsker {
    /// Asks for what these decisions want.
    pub fn new(db: Database, decisions: Arc<OfferingDecisions>, announcers: Arc<dyn Announcers>) -> Self {
        Self { db, decisions, announcers }
    }

    /// Stores what came with an answer.
    async fn store(
        conn: &mut Conn,
        (agent, offering): Key,
        answer: &Result<SignedOffering, NodeError>,
    ) -> Result<(), NodeError> {
        let has_message = offerings::get(&mut *conn, agent, offering).await?.message.is_some();
        match answer {
            _ if has_message => {}
            Ok(signed) => {
                let country = signed.message().country.code();
                offerings::set_message(conn, agent, offering, signed.wire().to_vec(), country).await?;
                tracing::info!(%offering, %agent, "offering fetched and checked");
            }
            Err(error) => offerings::set_problem(conn, agent, offering, &error.to_string()).await?,
        }
        Ok(())
    }

    async fn ask(&self, job: &AskOffering, cx: JobContext) -> Result<Done, NodeError> {
        let left = job.until.since(self.decisions.uptime());
        let announcement = {
            let mut conn = self.db.read().await?;
            if left.is_zero() || !self.decisions.waits(&mut conn, job.key(), job.seq).await? {
                None
            } else {
                Some(offerings::get(&mut conn, job.agent, job.offering).await?.announcement)
            }
        };
        let Some(announcement) = announcement else { return Ok(cx.done().await?) };
        let asking = tokio::time::timeout(left, self.announcers.offering(job.key(), &announcement));
        // A shutdown waits for nobody; the request goes on at the next start.
        let answer = match cx.cancelled().run_until_cancelled(asking).await {
            None => return Err(NodeError::NotRunning),
            Some(Ok(Err(error))) if is_of_this_side(&error) => return Err(error),
            Some(Ok(answer)) => answer,
            Some(Err(_)) => {
                let reason = "it did not answer in time".to_owned();
                Err(NodeError::Peer { address: announcement.source.clone(), reason })
            }
        };
        let answered = match &answer {
            Ok(_) => Answered { answer: Answer::Message, at: Some(SystemTime::now()), is_online: Some(true) },
            Err(NodeError::Offline { .. }) => {
                Answered { answer: Answer::GaveUp, at: None, is_online: Some(false) }
            }
            Err(NodeError::Peer { .. }) => {
                Answered { answer: Answer::GaveUp, at: None, is_online: Some(true) }
            }
            Err(_) => Answered { answer: Answer::Refused, at: None, is_online: None },
        };
        let mut completion = cx.finish().await?;
        if self.decisions.waits(&mut completion, job.key(), job.seq).await? {
            Self::store(&mut completion, job.key(), &answer).await?;
            self.decisions.answered(&mut completion, job.key(), job.seq, answered).await?;
        }
        let done = completion.commit().await?;
        self.decisions.committed();
        Ok(done)
    }
}

/// Whether an error is of this side, and shows nothing about the agent or its network: it is asked again while there is time.
fn is_of_this_side(error: &NodeError) -> bool {
    error.is_temporary() && !matches!(error, NodeError::Offline { .. } | NodeError::Peer { .. })
}

#[async_trait]
impl Handler<AskOffering> for OfferingAsker {
    async fn run(&self, job: &AskOffering, cx: JobContext) -> Result<Done, JobError> {
        self.ask(job, cx).await.map_err(NodeError::into_job_error)
    }
}
