//! Waiting for what was ordered: `--wait`.

use std::time::Duration;

use clap::Args;
use privatix_api::ApiClient;
use privatix_api::node::{Channel, ChannelOrder, GetChannel, GetJob, JobDetails, JobOrder, Transaction};
use privatix_chain::TxStatus;
use privatix_channel::{ChannelId, ServiceStatus};
use privatix_jobs::{JobId, JobStatus};
use tokio::time::Instant;

use crate::DaemonError;
use crate::output::{Output, Progress};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Whether to wait, and how long.
#[derive(Args, Clone, Debug)]
pub struct WaitArgs {
    /// Wait until it is done and confirmed on chain
    #[arg(long)]
    pub wait: bool,
    /// How long to wait at most; the daemon goes on after it
    #[arg(long, value_name = "DURATION", default_value = "15m", requires = "wait", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// Follows one order to its end.
#[derive(Debug)]
pub struct Follow<'a> {
    api: &'a ApiClient,
    what: String,
    look: String,
    progress: Progress,
    timeout: Duration,
    deadline: Instant,
    pause: Duration,
}

impl<'a> Follow<'a> {
    /// Starts to wait for `what`; `look` is the command that shows how far it is.
    pub fn new(
        api: &'a ApiClient,
        output: Output,
        wait: &WaitArgs,
        what: impl Into<String>,
        look: impl Into<String>,
    ) -> Self {
        Self {
            api,
            what: what.into(),
            look: look.into(),
            progress: output.progress(),
            timeout: wait.timeout,
            deadline: Instant::now() + wait.timeout,
            pause: FIRST_PAUSE,
        }
    }

    /// Waits until `look` gives a value; its `Err` says what is still missing.
    ///
    /// # Errors
    /// Those of `look`; [`DaemonError::StillRunning`] when the time is up.
    pub async fn until<T>(
        &mut self,
        mut look: impl AsyncFnMut(&ApiClient) -> Result<Result<T, String>, DaemonError>,
    ) -> Result<T, DaemonError> {
        loop {
            match look(self.api).await? {
                Ok(value) => return Ok(value),
                Err(missing) => self.progress.say(format!("{}: {missing}", self.what)),
            }
            if Instant::now() + self.pause > self.deadline {
                return Err(DaemonError::StillRunning {
                    what: self.what.clone(),
                    waited: humantime::format_duration(self.timeout),
                    state: self.progress.last().to_owned(),
                    look: self.look.clone(),
                });
            }
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits until a job is done and its transactions are confirmed.
    ///
    /// # Errors
    /// [`DaemonError::OrderFailed`] for a job that gave up or a transaction that failed.
    pub async fn job(&mut self, job: JobId) -> Result<JobDetails, DaemonError> {
        let what = self.what.clone();
        self.until(async |api| {
            let details = api.call(&GetJob { job }).await?;
            job_state(&what, details)
        })
        .await
    }
}

/// How far a job with its transactions is: over, or what is missing.
fn job_state(what: &str, details: JobDetails) -> Result<Result<JobDetails, String>, DaemonError> {
    let failed = |reason: String| Err(DaemonError::OrderFailed { what: what.to_owned(), reason });
    let job = &details.job;
    let said = job.failure.as_ref().map(|failure| failure.message.clone());
    match job.status {
        JobStatus::Failed => {
            let said = said.unwrap_or_else(|| "it gave no reason".to_owned());
            return failed(format!("{said} (job {}; `jobs reactivate` tries again)", job.id));
        }
        JobStatus::Cancelled => return failed(format!("job {} was cancelled", job.id)),
        JobStatus::Done => {}
        status => {
            let why = said.map_or_else(String::new, |said| format!(", tried {} times: {said}", job.tries));
            return Ok(Err(format!("job {} is {status}{why}", job.id)));
        }
    }
    // The oldest first: it is what the others wait for, and why they fail.
    // A rescue stands in for one of them, whose outcome alone decides.
    for transaction in details.transactions.iter().rev().filter(|transaction| transaction.parent.is_none()) {
        match transaction.status {
            TxStatus::Mined => {}
            TxStatus::Failed | TxStatus::Dropped | TxStatus::Cancelled => {
                let reason = transaction.failure.clone().unwrap_or_else(|| transaction.status.to_string());
                return failed(format!("transaction {}: {reason}", transaction.id));
            }
            _ => return Ok(Err(transaction_state(transaction))),
        }
    }
    Ok(Ok(details))
}

fn transaction_state(transaction: &Transaction) -> String {
    let id = transaction.id;
    match (&transaction.obstacle, &transaction.inclusion, transaction.status) {
        (Some(obstacle), _, _) => format!("transaction {id} waits: {obstacle}"),
        (None, Some(mined), _) => {
            format!("transaction {id} is in block {}, waiting for confirmations", mined.block)
        }
        (None, None, TxStatus::Unsent) => format!("transaction {id} is being signed"),
        (None, None, _) => format!("transaction {id} is sent, waiting for a block"),
    }
}

/// Follows an order if that is wished for, then says how it stands.
///
/// # Errors
/// As [`Follow::job`].
pub async fn order(
    api: &ApiClient,
    output: Output,
    wait: &WaitArgs,
    what: &str,
    order: JobOrder,
) -> Result<(), DaemonError> {
    if let Some(warning) = &order.warning {
        output.note(format!("{what}: {warning}"));
    }
    let look = format!("jobs show {}", order.job);
    if !wait.wait {
        output.show(&order, |order| format!("{what} is under way; follow it with `jobs show {}`", order.job));
        return Ok(());
    }
    let details = Follow::new(api, output, wait, what, look).job(order.job).await?;
    output.show(&details, |details| done(what, details));
    Ok(())
}

fn done(what: &str, details: &JobDetails) -> String {
    let mut lines = vec![format!("{what} is done")];
    for transaction in details.transactions.iter().rev() {
        if let Some(mined) = &transaction.inclusion {
            lines.push(format!("  {} in block {}, gas {}", mined.hash, mined.block, mined.gas_used));
        }
    }
    lines.join("\n")
}

/// What an order about a channel leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Its service has ended.
    ServiceEnded,
    /// It is closed on chain.
    Closed,
}

impl Goal {
    const fn what(self) -> &'static str {
        match self {
            Self::ServiceEnded => "the end of the service",
            Self::Closed => "the close of the channel",
        }
    }

    fn is_reached(self, channel: &Channel) -> bool {
        match self {
            Self::ServiceEnded => channel.service == ServiceStatus::Terminated,
            Self::Closed => channel.status.is_closed(),
        }
    }
}

/// Follows an order about a channel if that is wished for, by the channel itself, then shows how it stands.
///
/// # Errors
/// As [`Follow::job`].
pub(crate) async fn channel(
    api: &ApiClient,
    output: Output,
    wait: &WaitArgs,
    (goal, channel): (Goal, ChannelId),
    order: ChannelOrder,
) -> Result<(), DaemonError> {
    let what = goal.what();
    if let Some(warning) = &order.warning {
        output.note(format!("{what}: {warning}"));
    }
    let look = format!("channels show {channel}");
    if !wait.wait {
        output.show(&order, |_| {
            format!("{what} is under way; follow it with `{look}` or `orders show {}`", order.order)
        });
        return Ok(());
    }
    let mut follow = Follow::new(api, output, wait, what, look);
    let details = follow.until(async |api| {
        let details = api.call(&GetChannel { channel }).await?;
        if goal.is_reached(&details.channel) {
            return Ok(Ok(details));
        }
        let Channel { status, service, reason, .. } = &details.channel;
        let because = reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
        Ok(Err(format!("the channel is {status}, its service {service}{because}")))
    });
    output.show(&details.await?, |_| format!("{what} is done"));
    Ok(())
}
