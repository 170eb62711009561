//! The agent's operator: appointed by the agent's own key, and what it means to be one.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use async_trait::async_trait;
use privatix_contracts::call;
use privatix_jobs::{Backoff, Done, Handler, Job, JobContext, JobError, Lane, Policy};
use privatix_market::{Purpose, Subject};
use privatix_node::{ACCOUNT, Cause, Node, NodeError, Part, lanes};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// The part of the notices that speaks of the operator.
const PART: Part = Part::Operator;
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Job: appoint another operator, or none. Sent by the agent's own key; it voids the consents that were signed so far.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AppointOperator {
    /// Who may act for the agent from then on.
    pub operator: Option<Address>,
}

impl Job for AppointOperator {
    const KIND: &'static str = "appoint_operator";
    const LANE: Lane = lanes::MONEY;

    fn subject(&self) -> String {
        ACCOUNT.to_owned()
    }

    fn policy() -> Policy {
        Policy::default()
            .tries(10)
            .backoff(Backoff::exponential(Duration::from_secs(2), Duration::from_mins(1)))
    }
}

pub(crate) struct Operators {
    pub(crate) node: Arc<Node>,
}

#[async_trait]
impl Handler<AppointOperator> for Operators {
    async fn run(&self, job: &AppointOperator, cx: JobContext) -> Result<Done, JobError> {
        self.appoint(job, cx).await.map_err(NodeError::into_job_error)
    }
}

impl Operators {
    async fn appoint(&self, job: &AppointOperator, cx: JobContext) -> Result<Done, NodeError> {
        let node = &self.node;
        check_may_appoint(node, job.operator)?;
        let key = format!("{} {}", AppointOperator::KIND, cx.id());
        let purpose = Purpose::Appoint { operator: job.operator };
        let cause = Cause::new(Subject::Account(node.account()), purpose).by(cx.id());
        let mut completion = cx.finish().await?;
        let call = call::set_operator(job.operator);
        node.submit(&mut completion, &cause, key, &call).await?;
        let done = completion.commit().await?;
        node.wake_transactor();
        Ok(done)
    }
}

/// Checks that this key may appoint `operator`.
pub(crate) fn check_may_appoint(node: &Node, operator: Option<Address>) -> Result<(), NodeError> {
    node.check_own_account("appoint operators for")?;
    if operator == Some(node.account()) {
        return Err(NodeError::Refused(format!(
            "{} is the agent itself, which needs no operator; give the address of another key",
            node.account()
        )));
    }
    Ok(())
}

/// What an operator should know when the chain names another one, or none.
fn trouble(agent: Address, ours: Address, shown: Option<Address>) -> Option<String> {
    if shown == Some(ours) {
        return None;
    }
    let shown = shown.map_or_else(|| "none".to_owned(), |other| other.to_string());
    Some(format!(
        "the chain shows {shown} as the operator of {agent}, not {ours}, whose key is used here: nothing can be published or \
         closed, and clients refuse what is signed here; have the agent's key appoint it (`agentd operator appoint {ours}`)"
    ))
}

/// Keeps in the node's notices, until `stop`, whether the chain shows us as the operator of our agent.
pub(crate) async fn watch_appointment(node: Arc<Node>, stop: CancellationToken) {
    let Some(ours) = node.as_operator() else { return };
    let agent = node.account();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before = None;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match node.operator_of(agent).await {
            Ok(shown) => {
                let trouble = trouble(agent, ours, shown);
                if let Some(trouble) = trouble.as_ref().filter(|_| before != Some(shown)) {
                    tracing::warn!("{trouble}");
                }
                before = Some(shown);
                node.notices().set(PART, trouble);
            }
            // Problems of the endpoint are reported elsewhere; the last known operator is kept.
            Err(error) => tracing::debug!(%error, "cannot ask for the agent's operator"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_operator_that_the_chain_shows_has_no_trouble() {
        let [agent, ours, other] = [1, 2, 3].map(Address::repeat_byte);
        assert_eq!(trouble(agent, ours, Some(ours)), None);
        for (shown, named) in [(None, "none".to_owned()), (Some(other), other.to_string())] {
            let said = trouble(agent, ours, shown).unwrap();
            for part in [format!("shows {named} as"), format!("operator appoint {ours}"), agent.to_string()] {
                assert!(said.contains(&part), "{part:?} is not in {said}");
            }
        }
    }
}
