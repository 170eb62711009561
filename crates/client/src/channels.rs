//! A client's own transactions about its channels: open, top up, close alone.

use alloy::sol_types::SolCall;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use privatix_chain::{TxRecord, TxStatus};
use privatix_channel::{
    Amount, ChannelId, ClientChannel, Finalize, OwnStep, Period, ServiceStatus, client_finalize,
    next_block_time,
};
use privatix_contracts::call;
use privatix_db::Conn;
use privatix_jobs::{
    Backoff, Done, Duplicates, Handler, Job, JobContext, JobError, Lane, Policy, PushOptions,
};
use privatix_market::{OrderId, Purpose, Subject};
use privatix_node::{Cause, Node, NodeError, Order, ServiceOrder, WalletTurn, after, channel_subject, lanes};
use privatix_store::channels::{self, Channel};
use privatix_store::purposes::Recorded;
use privatix_store::vouchers;
use serde::{Deserialize, Serialize};

/// Job: open a channel on chain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenChannel {
    /// The channel, stored with its descriptor and its deposit.
    pub channel: ChannelId,
}

/// Job: raise a channel's deposit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TopUp {
    /// The channel.
    pub channel: ChannelId,
    /// By how much.
    pub amount: Amount,
}

/// Job: ask on chain to close a channel, admitting what was signed; the agent then has a challenge period to claim it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RequestClose {
    /// The channel.
    pub channel: ChannelId,
    /// Nobody asked for it: the agent was given time to close first. It waits apart from the channel's other jobs, so that a
    /// request of the user need not wait for it.
    #[serde(default)]
    pub unprompted: bool,
}

/// Job: take the rest of the deposit back after the challenge.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FinalizeClose {
    /// The channel.
    pub channel: ChannelId,
}

/// How often an opening or a top-up is tried before the user is informed that it did not work.
const TRIES: u32 = 20;

fn policy() -> Policy {
    Policy::default()
        .tries_without_end() // a deposit waits for it
        .backoff(Backoff::exponential(Duration::from_secs(2), Duration::from_mins(2)))
        .duplicates(Duplicates::RefusedWhileWaiting)
}

macro_rules! channel_job {
    ($job:ty, $kind:literal, $subject:expr) => {
        impl Job for $job {
            const KIND: &'static str = $kind;
            const LANE: Lane = lanes::MONEY;

            fn subject(&self) -> String {
                $subject(self)
            }

            fn policy() -> Policy {
                policy()
            }
        }

        #[async_trait]
        impl Handler<$job> for Channels {
            async fn run(&self, job: &$job, cx: JobContext) -> Result<Done, JobError> {
                self.carry_out(job, cx).await
            }
        }
    };
}

channel_job!(OpenChannel, "open_channel", |job: &Self| channel_subject(job.channel));
channel_job!(TopUp, "top_up", |job: &Self| channel_subject(job.channel));
channel_job!(RequestClose, "request_close", |job: &Self| {
    if job.unprompted { format!("unprompted close {}", job.channel) } else { channel_subject(job.channel) }
});
channel_job!(FinalizeClose, "finalize_close", |job: &Self| channel_subject(job.channel));

/// Whether an opening or a top-up is given up: nobody wants it hours later.
fn is_over(error: &NodeError, try_number: u32) -> bool {
    !error.is_temporary() || (try_number >= TRIES && !matches!(error, NodeError::WalletBusy))
}

/// The pause after a transaction that failed, before the same is tried again.
const AGAIN: Duration = Duration::from_secs(15);
/// The longest pause between two looks at a challenge.
const LOOK: Duration = Duration::from_mins(1);
/// A challenge is looked at again after this many polls of the chain, or sooner.
const POLLS: u32 = 20;

/// The pause until the next look at a challenge with this much left: the chain's clock need not run as ours does, and a
/// sequencer may move it on.
fn look_again(left: Period, poll_interval: Duration) -> Duration {
    Duration::from(left).min(poll_interval.saturating_mul(POLLS)).min(LOOK)
}

pub(crate) struct Channels {
    pub(crate) node: Arc<Node>,
}

/// What a job about a channel does.
trait CarryOut<J> {
    async fn carry_out(&self, job: &J, cx: JobContext) -> Result<Done, JobError>;
}

/// Where the money of an opening or a top-up comes from.
enum Funds {
    Contract,
    Wallet(WalletTurn),
}

impl Channels {
    /// What is in the contract is used first; the wallet pays the whole where that is not enough.
    async fn funds(&self, what: &'static str, needed: Amount) -> Result<Funds, NodeError> {
        let has = self.node.balances().await?;
        if has.contract >= needed {
            return Ok(Funds::Contract);
        }
        if has.wallet >= needed {
            return Ok(Funds::Wallet(self.node.wallet_turn(needed).await?));
        }
        Err(NodeError::Insufficient {
            what,
            needed,
            available: has.contract.max(has.wallet),
            remedy: "send tokens to the account or `deposit` what is in the wallet",
        })
    }

    async fn stored(&self, channel: ChannelId) -> Result<(Channel, ClientChannel), NodeError> {
        load(&mut *self.node.db().read().await?, &self.node, channel).await
    }
}

impl CarryOut<OpenChannel> for Channels {
    async fn carry_out(&self, job: &OpenChannel, cx: JobContext) -> Result<Done, JobError> {
        let node = &self.node;
        let (channel, view) = self.stored(job.channel).await.map_err(NodeError::into_job_error)?;
        if view.on_chain().opened_at.is_some() || channel.service.is_ending() {
            return Ok(cx.finish().await?.commit().await?);
        }
        let funds = match self.funds("the channel's deposit", channel.deposit).await {
            Ok(funds) => funds,
            Err(error) if !is_over(&error, cx.try_number()) => return Err(error.into_job_error()),
            Err(error) => {
                tracing::error!(channel = %job.channel, %error, "the channel is not opened");
                let mut completion = cx.finish().await?;
                end_service(&mut completion, job.channel, &format!("not opened: {error}"))
                    .await
                    .map_err(NodeError::into_job_error)?;
                return Ok(completion.commit().await?);
            }
        };
        // One opening per channel, whatever else happens: the key is the channel.
        let key = format!("{} {}", OpenChannel::KIND, job.channel);
        let purpose = Purpose::Open { deposit: channel.deposit };
        let cause = Cause::new(Subject::Channel(job.channel), purpose).by(cx.id());
        let mut completion = cx.finish().await?;
        match &funds {
            Funds::Contract => {
                let call = call::open(&channel.descriptor, channel.deposit).map_err(JobError::fail)?;
                node.submit(&mut completion, &cause, key, &call).await
            }
            Funds::Wallet(turn) => {
                let permit = turn.permit_or_void();
                let call = call::open_with_permit(&channel.descriptor, channel.deposit, permit)
                    .map_err(JobError::fail)?;
                node.submit_from_wallet(&mut completion, turn, &cause, key, &call).await
            }
        }
        .map_err(NodeError::into_job_error)?;
        let done = completion.commit().await?;
        drop(funds);
        node.wake_transactor();
        Ok(done)
    }
}

impl CarryOut<TopUp> for Channels {
    async fn carry_out(&self, job: &TopUp, cx: JobContext) -> Result<Done, JobError> {
        let node = &self.node;
        let (channel, view) = self.stored(job.channel).await.map_err(NodeError::into_job_error)?;
        let total = view.on_chain().deposit.checked_add(job.amount);
        let funds = if !view.on_chain().phase().is_open() {
            Err(NodeError::Refused(format!("channel {} is not open", job.channel)))
        } else if total.is_none_or(|total| total > Amount::MAX_ON_CHAIN) {
            Err(NodeError::Refused(format!("a channel holds at most {}", Amount::MAX_ON_CHAIN)))
        } else {
            self.funds("the top-up", job.amount).await
        };
        let funds = match funds {
            Ok(funds) => funds,
            Err(error) if !is_over(&error, cx.try_number()) => return Err(error.into_job_error()),
            Err(error) => {
                let mut tx = node.db().begin().await?;
                channels::set_top_up_pending(&mut tx, job.channel, false).await?;
                tx.commit().await?;
                node.marks().mark(job.channel);
                return Err(JobError::fail(error));
            }
        };
        let key = format!("{} {} {}", TopUp::KIND, job.channel, cx.id());
        // Until orders are stored, a top-up's order is its job.
        let order = OrderId(cx.id().number().unsigned_abs());
        let purpose = Purpose::TopUp { order, amount: job.amount };
        let cause = Cause::new(Subject::Channel(job.channel), purpose).by(cx.id());
        let mut completion = cx.finish().await?;
        match &funds {
            Funds::Contract => {
                let call = call::top_up(&channel.descriptor, job.amount).map_err(JobError::fail)?;
                node.submit(&mut completion, &cause, key, &call).await
            }
            Funds::Wallet(turn) => {
                let permit = turn.permit_or_void();
                let call = call::top_up_with_permit(&channel.descriptor, job.amount, permit)
                    .map_err(JobError::fail)?;
                node.submit_from_wallet(&mut completion, turn, &cause, key, &call).await
            }
        }
        .map_err(NodeError::into_job_error)?;
        channels::set_top_up_pending(&mut completion, job.channel, true).await?;
        let done = completion.commit().await?;
        drop(funds);
        node.wake_transactor();
        Ok(done)
    }
}

impl CarryOut<RequestClose> for Channels {
    async fn carry_out(&self, job: &RequestClose, cx: JobContext) -> Result<Done, JobError> {
        let node = &self.node;
        let (channel, view) = self.stored(job.channel).await.map_err(NodeError::into_job_error)?;
        let Ok(status) = channel.status.step(OwnStep::CloseRequestSent) else {
            // Closing or closed already. A request that stands is to be finalized, whoever has forgotten it.
            let mut completion = cx.finish().await?;
            if view.on_chain().challenge_ends_at().is_some() {
                completion.push(&FinalizeClose { channel: job.channel }).await?;
            }
            return Ok(completion.commit().await?);
        };
        if job.unprompted {
            // The agent may have closed the channel, unseen.
            node.require_view().map_err(NodeError::into_job_error)?;
        }
        let newest = vouchers::get(&mut *node.db().read().await.map_err(NodeError::from)?, job.channel)
            .await
            .map_err(NodeError::from)
            .map_err(NodeError::into_job_error)?
            .map(|stored| stored.stored_at);
        if let Some(until) = node.open_until(newest) {
            return Err(NodeError::KeptOpen { until }.into_job_error());
        }
        // All that was ever signed is admitted: less would only invite a challenge.
        let call = call::request_close(&channel.descriptor, view.promised());
        let key = format!("{} {} {}", RequestClose::KIND, job.channel, cx.id());
        let purpose = Purpose::RequestClose { admitted: view.promised() };
        let cause = Cause::new(Subject::Channel(job.channel), purpose).by(cx.id());
        let mut completion = cx.finish().await?;
        node.submit(&mut completion, &cause, key, &call).await.map_err(NodeError::into_job_error)?;
        channels::set_status(&mut completion, job.channel, status).await?;
        let done = completion.commit().await?;
        node.marks().mark_totals(job.channel);
        node.wake_transactor();
        Ok(done)
    }
}

impl CarryOut<FinalizeClose> for Channels {
    async fn carry_out(&self, job: &FinalizeClose, cx: JobContext) -> Result<Done, JobError> {
        let node = &self.node;
        let (channel, view) = self.stored(job.channel).await.map_err(NodeError::into_job_error)?;
        let newest = node.chain_time().await.map_err(NodeError::into_job_error)?;
        let now = next_block_time(newest, SystemTime::now().into());
        match client_finalize(view.on_chain(), now) {
            Finalize::Now => {}
            Finalize::NotBefore { ends_at } => {
                let left = ends_at.since(now);
                return Err(JobError::postpone(
                    after(SystemTime::now(), look_again(left, node.poll_interval())),
                    format!(
                        "the challenge runs for another {left} of the chain's clock, until second {ends_at}"
                    ),
                ));
            }
            Finalize::NotRequested => return Ok(cx.finish().await?.commit().await?), // closed, or the request was taken back
        }
        let Ok(status) = channel.status.step(OwnStep::FinalizeSent) else {
            return Ok(cx.finish().await?.commit().await?);
        };
        let call = call::finalize_close(&channel.descriptor);
        let key = format!("{} {} {}", FinalizeClose::KIND, job.channel, cx.id());
        let cause = Cause::new(Subject::Channel(job.channel), Purpose::FinalizeClose).by(cx.id());
        let mut completion = cx.finish().await?;
        // A channel closes once only.
        let intent = node.intent(key, call.abi_encode()).repeatable();
        node.submit_intent(&mut completion, &cause, intent).await.map_err(NodeError::into_job_error)?;
        channels::set_status(&mut completion, job.channel, status).await?;
        let done = completion.commit().await?;
        node.marks().mark_totals(job.channel);
        node.wake_transactor();
        Ok(done)
    }
}

/// A transaction of ours is over. Success shows as an event; only failure needs an answer.
pub(crate) async fn finished(
    conn: &mut Conn,
    node: &Node,
    recorded: &Recorded,
    record: &TxRecord,
) -> Result<(), NodeError> {
    let is_ours = matches!(
        recorded.purpose,
        Purpose::Open { .. } | Purpose::TopUp { .. } | Purpose::RequestClose { .. } | Purpose::FinalizeClose
    );
    if record.status == TxStatus::Mined || !is_ours {
        return Ok(());
    }
    let Subject::Channel(id) = recorded.effect.subject else { return Ok(()) };
    let purpose = recorded.purpose.name();
    let channel = channels::get(conn, id).await?;
    let reason = record.failure.clone().unwrap_or_else(|| record.status.to_string());
    let is_withdrawn = node.is_withdrawn(record);
    if is_withdrawn {
        tracing::warn!(channel = %id, "{purpose} was cancelled by the operator and is not sent again; `channels close` does");
    } else {
        tracing::error!(channel = %id, reason, "{purpose} failed");
    }
    let again = || PushOptions::by("transactor").not_before(after(SystemTime::now(), AGAIN));
    let failed = match recorded.purpose {
        Purpose::Open { .. } => return end_service(conn, id, &format!("not opened: {reason}")).await,
        Purpose::TopUp { .. } => return Ok(channels::set_top_up_pending(conn, id, false).await?),
        Purpose::RequestClose { .. } => {
            if !is_withdrawn {
                let request = RequestClose { channel: id, unprompted: false };
                privatix_jobs::push(conn, &request, again()).await?;
            }
            OwnStep::CloseRequestFailed
        }
        Purpose::FinalizeClose => {
            if !is_withdrawn {
                privatix_jobs::push(conn, &FinalizeClose { channel: id }, again()).await?;
            }
            OwnStep::FinalizeFailed
        }
        _ => return Ok(()),
    };
    // Refused where the chain has gone on meanwhile; then what the chain says stands.
    if let Ok(status) = channel.status.step(failed) {
        channels::set_status(conn, id, status).await?;
    }
    Ok(())
}

/// Orders the end of a service.
pub(crate) async fn end_service(conn: &mut Conn, channel: ChannelId, reason: &str) -> Result<(), NodeError> {
    let stored = channels::get(conn, channel).await?;
    if stored.service == ServiceStatus::Terminated {
        return Ok(());
    }
    let order = ServiceOrder { channel, order: Order::Terminate, reason: reason.to_owned() };
    privatix_node::push(conn, &order, "client").await
}

/// A channel and the client's view of it.
pub(crate) async fn load(
    conn: &mut Conn,
    node: &Node,
    id: ChannelId,
) -> Result<(Channel, ClientChannel), NodeError> {
    let channel = channels::get(conn, id).await?;
    let on_chain = channels::on_chain(conn, id).await?;
    let highest = vouchers::get(conn, id).await?.map(|stored| stored.signed);
    let view = ClientChannel::restore(*node.domain(), channel.descriptor, on_chain, highest)?;
    Ok((channel, view))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_looked_at_again_at_its_end_or_sooner_and_at_least_once_a_minute() {
        let poll = Duration::from_secs(2);
        assert_eq!(look_again(Period::new(7), poll), Duration::from_secs(7));
        assert_eq!(look_again(Period::hours(24), poll), Duration::from_secs(40));
        assert_eq!(look_again(Period::hours(24), Duration::from_mins(5)), LOOK);
    }
}
