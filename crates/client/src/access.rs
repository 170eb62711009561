//! Access in: asked for with a fresh key, opened, checked, handed to the plug-in.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alloy::primitives::B256;
use async_trait::async_trait;
use privatix_adapter::{self as adapter, Credentials, Provision, Secret};
use privatix_channel::{ChannelDescriptor, ChannelId, ServiceEvent};
use privatix_jobs::{Backoff, Done, Duplicates, Handler, Job, JobContext, JobError, Lane, Policy};
use privatix_node::{Node, NodeError, Order, ServiceOrder, after, lanes};
use privatix_offering::{
    AccessContext, AccessError, AccessKey, AccessRequest, SealedAccess, SignatureProblem,
};
use privatix_somc::Refusal;
use privatix_store::channels::{self, Access};
use privatix_store::offerings;
use serde::{Deserialize, Serialize};

use crate::channels::end_service;
use crate::peers::{OFFLINE, Peers, no_answer};

/// Job: fetch the access of a freshly opened channel and start its service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FetchAccess {
    /// The channel.
    pub channel: ChannelId,
}

impl Job for FetchAccess {
    const KIND: &'static str = "fetch_access";
    const LANE: Lane = lanes::PEERS;

    /// Not the channel's: whoever waits for access must still be able to end the channel.
    fn subject(&self) -> String {
        format!("access {}", self.channel)
    }

    fn policy() -> Policy {
        Policy::default()
            .tries_without_end() // the time is what ends it
            .backoff(Backoff::exponential(Duration::from_secs(1), Duration::from_mins(1)))
            .duplicates(Duplicates::RefusedWhilePending)
    }
}

pub(crate) struct AccessFetcher {
    pub(crate) node: Arc<Node>,
    pub(crate) peers: Arc<Peers>,
    /// How long an agent may take, from the opening on.
    pub(crate) within: Duration,
}

/// How often an agent is asked at the least: we may have been away ourselves for most of the time.
const TRIES: u32 = 10;
/// For one question, so that the job is never cut off before it has looked whether to give up.
const ASK: Duration = Duration::from_secs(90);
/// The longest pause that an agent may ask for.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

#[async_trait]
impl Handler<FetchAccess> for AccessFetcher {
    async fn run(&self, job: &FetchAccess, cx: JobContext) -> Result<Done, JobError> {
        let asked_at = privatix_jobs::get(&mut *self.node.db().read().await?, cx.id()).await?.created_at;
        let tries = cx.try_number();
        match self.fetch(job, cx).await {
            Err(error) if is_in_vain(&error, tries, asked_at.elapsed().unwrap_or_default(), self.within) => {
                Err(self.give_up(job.channel, &error).await)
            }
            fetched => fetched,
        }
    }
}

/// Whether the agent was asked for long enough, and often enough, to be given up. What says nothing of the agent never ends a
/// channel: that our own network or plug-in is not ready.
fn is_in_vain(error: &JobError, tries: u32, waited: Duration, within: Duration) -> bool {
    error.is_try() && tries >= TRIES && waited >= within
}

impl AccessFetcher {
    async fn fetch(&self, job: &FetchAccess, cx: JobContext) -> Result<Done, JobError> {
        let node = &self.node;
        let channel = channels::get(&mut *node.db().read().await?, job.channel).await?;
        let Ok(prepared) = channel.service.apply(ServiceEvent::Prepared) else {
            return Ok(cx.finish().await?.commit().await?); // terminated meanwhile
        };
        let descriptor = channel.descriptor;
        let found =
            offerings::get(&mut *node.db().read().await?, descriptor.agent, descriptor.offering).await?;
        let offering = node.offering(descriptor.agent, descriptor.offering).await?;
        let peer = self.peers.keep(&found.announcement, &offering)?;

        // A key for this one answer: nobody can open it later.
        let key = AccessKey::generate();
        let now = SystemTime::now();
        let request = AccessRequest::sign(&descriptor, node.domain(), key.public(), now, node.signer())?;
        let asked = tokio::time::timeout(ASK, peer.access(request)).await;
        let Ok(asked) = asked else {
            let (address, reason) = (peer.address().to_string(), format!("it did not answer within {ASK:?}"));
            return Err(JobError::retry(NodeError::Peer { address, reason }));
        };
        let sealed = match asked {
            Ok(sealed) => sealed,
            Err(error) => {
                // The agent has yet to see the channel confirmed, or to prepare its access.
                let early = match error.refusal() {
                    Some(Refusal::NotReady { retry_after }) => Some(*retry_after),
                    Some(Refusal::UnknownChannel { .. }) => Some(Duration::from_secs(1)),
                    Some(Refusal::ServiceTerminated | Refusal::NoSigner) => {
                        return Err(self.give_up(job.channel, &error).await);
                    }
                    _ => None,
                };
                return Err(match early {
                    Some(wait) => {
                        let wait = wait.clamp(Duration::from_millis(200), LONGEST_WAIT);
                        JobError::retry_at(after(now, wait), error)
                    }
                    None => match no_answer(&peer)(error) {
                        // Not counted as a try: it says nothing of the agent.
                        offline @ NodeError::Offline { .. } => {
                            JobError::postpone(after(now, OFFLINE), offline)
                        }
                        error => JobError::retry(error),
                    },
                });
            }
        };
        let access = open(node, &descriptor, offering.message().template, &sealed, &key).await??;
        let credentials =
            Credentials { username: access.username.clone(), password: Secret::new(access.password.clone()) };
        let access_for_plug_in = adapter::Access { endpoint: access.endpoint.clone(), credentials };
        let bought = Provision::buy(job.channel, access_for_plug_in);
        node.services().provision(bought).await.map_err(NodeError::into_job_error)?;

        let start = ServiceOrder {
            channel: job.channel,
            order: Order::Activate,
            reason: "access is here".to_owned(),
        };
        let mut completion = cx.finish().await?;
        if channels::get(&mut completion, job.channel).await?.service.is_ending() {
            let done = completion.commit().await?; // while we asked
            node.services().stop(job.channel).await?;
            return Ok(done);
        }
        channels::set_access(&mut completion, job.channel, &access).await?;
        channels::set_service(&mut completion, job.channel, prepared, Some("access is here")).await?;
        completion.push(&start).await?;
        let done = completion.commit().await?;
        tracing::info!(channel = %job.channel, agent = %descriptor.agent, "access received");
        node.marks().mark(job.channel);
        Ok(done)
    }

    /// The deposit must not stay locked for an agent that gives no access: ends the service, and with it the channel.
    async fn give_up(&self, channel: ChannelId, error: &impl fmt::Display) -> JobError {
        let ended: Result<(), NodeError> = async {
            let mut tx = self.node.db().begin().await?;
            end_service(&mut tx, channel, &format!("the agent gave no access: {error}")).await?;
            Ok(tx.commit().await?)
        }
        .await;
        match ended {
            Ok(()) => {
                self.node.wake();
                JobError::fail(format!("no access was given, the service is ended: {error}"))
            }
            Err(error) => JobError::retry(error),
        }
    }
}

/// Opens sealed access that came for this key, and checks who signed it.
///
/// # Errors
/// [`NodeError`] where the agent's operator cannot be asked for, and within it [`AccessError`] for access that is none.
pub(crate) async fn open(
    node: &Node,
    descriptor: &ChannelDescriptor,
    offering_template: B256,
    sealed: &SealedAccess,
    key: &AccessKey,
) -> Result<Result<Access, AccessError>, NodeError> {
    let domain = *node.domain();
    let context = AccessContext { descriptor: *descriptor, domain, offering_template, operator: None };
    let opened = match sealed.open(key, &context, node.templates()) {
        // Not the agent itself: the chain is asked for its operator.
        Err(AccessError::Signature(SignatureProblem::WrongSigner { .. })) => {
            let operator = node.operator_of(descriptor.agent).await?;
            sealed.open(key, &AccessContext { operator, ..context }, node.templates())
        }
        opened => opened,
    };
    Ok(opened.map(|message| Access {
        username: message.username.clone(),
        password: message.password.expose().to_owned(),
        endpoint: message.endpoint.expose().clone(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_given_up_for_its_own_silence_only() {
        const HOUR: Duration = Duration::from_hours(1);
        let silent = JobError::retry("no answer");
        assert!(is_in_vain(&silent, TRIES, HOUR, HOUR));
        assert!(!is_in_vain(&silent, TRIES - 1, HOUR, HOUR), "we may have been away for most of the time");
        assert!(!is_in_vain(&silent, TRIES, Duration::from_secs(3_599), HOUR));
        // The access is here, and the plug-in that it is for is not ready.
        let starting = NodeError::AdapterStarting.into_job_error();
        assert!(!is_in_vain(&starting, 100, 10 * HOUR, HOUR));
    }
}
