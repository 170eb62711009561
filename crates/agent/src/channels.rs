//! An agent's channels: provisioned when opened, closed with the best voucher.

use alloy::sol_types::SolCall;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use privatix_adapter::{Credentials, Provision, Secret};
use privatix_chain::{Deadline, Intent, Priority, TxRecord, TxStatus};
use privatix_channel::{
    AgentChannel, Amount, Answer, ChainTime, ChannelId, ChannelStatus, Consents, OwnStep, Phase,
    ServiceEvent, SignedVoucher, Usage, answer_close_request,
};
use privatix_contracts::call;
use privatix_db::Conn;
use privatix_jobs::{
    Backoff, Done, Duplicates, Handler, Job, JobContext, JobError, JobId, Lane, Policy, PushOptions,
};
use privatix_market::{Purpose, Subject, ceiling};
use privatix_node::{Cause, GasReserve, Node, NodeError, Order, ServiceOrder, after, channel_subject, lanes};
use privatix_store::channels::{self, Access, Channel};
use privatix_store::purposes::{self, Recorded};
use privatix_store::{StoreError, ceilings, vouchers};
use serde::{Deserialize, Serialize};

use crate::payments::Payments;

/// Job: make a freshly opened channel known to the plug-in and prepare its access.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProvisionChannel {
    /// The channel.
    pub channel: ChannelId,
}

impl Job for ProvisionChannel {
    const KIND: &'static str = "provision_channel";
    const LANE: Lane = lanes::SERVICE;

    fn subject(&self) -> String {
        channel_subject(self.channel)
    }

    fn policy() -> Policy {
        Policy::default()
            .tries_without_end() // its handler counts them
            .backoff(Backoff::exponential(Duration::from_secs(1), Duration::from_mins(1)))
            .duplicates(Duplicates::RefusedWhilePending)
    }
}

/// Job: close a channel on chain, cashing the best voucher.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CloseChannel {
    /// The channel.
    pub channel: ChannelId,
    /// Close although there is nothing to gain: gives the client its deposit back, and frees the place and its stake.
    pub even_unpaid: bool,
}

impl Job for CloseChannel {
    const KIND: &'static str = "close_channel";
    const LANE: Lane = lanes::MONEY;

    /// Apart from the channel's other jobs: what a challenge would void does not wait for the plug-in.
    fn subject(&self) -> String {
        format!("close {}", self.channel)
    }

    /// Or one that closes only for money would stand for one that closes anyhow.
    fn key(&self) -> String {
        if self.even_unpaid { "even unpaid".to_owned() } else { String::new() }
    }

    fn policy() -> Policy {
        Policy::default()
            .tries_without_end() // an unanswered close request loses money
            .backoff(Backoff::exponential(Duration::from_secs(1), Duration::from_secs(30)))
            .duplicates(Duplicates::RefusedWhileWaiting)
    }
}

/// What the keys of closing transactions begin with.
const CLOSE: &str = "close_channel";
/// What the keys of settlements begin with.
const SETTLE: &str = "settle_channel";
/// The pause after a close that failed.
const CLOSE_AGAIN: Duration = Duration::from_secs(15);
/// How long a close by command waits for the service's end, and for the client's last voucher.
pub(crate) const LAST_VOUCHER: Duration = Duration::from_secs(2);
/// How often the plug-in is asked to serve a channel.
const TRIES: u32 = 20;

pub(crate) struct Channels {
    pub(crate) node: Arc<Node>,
    pub(crate) payments: Arc<Payments>,
    pub(crate) reserve: Arc<GasReserve>,
}

#[async_trait]
impl Handler<ProvisionChannel> for Channels {
    async fn run(&self, job: &ProvisionChannel, cx: JobContext) -> Result<Done, JobError> {
        let last = cx.try_number() >= TRIES;
        match self.provision(job, cx).await {
            // Not the plug-in's fault, and no try of it.
            Err(error) if error.postponed().is_some() => Err(error.into_job_error()),
            Err(error) if last || !error.is_temporary() => Err(self.cannot_serve(job.channel, error).await),
            provisioned => provisioned.map_err(NodeError::into_job_error),
        }
    }
}

#[async_trait]
impl Handler<CloseChannel> for Channels {
    async fn run(&self, job: &CloseChannel, cx: JobContext) -> Result<Done, JobError> {
        self.close(job, cx).await.map_err(NodeError::into_job_error)
    }
}

impl Channels {
    async fn provision(&self, job: &ProvisionChannel, cx: JobContext) -> Result<Done, NodeError> {
        let node = &self.node;
        let channel = channels::get(&mut *node.db().read().await?, job.channel).await?;
        let Ok(prepared) = channel.service.apply(ServiceEvent::Prepared) else {
            return Ok(cx.finish().await?.commit().await?); // terminated meanwhile
        };
        if channel.access.is_some() {
            // Opened again after a reorganisation: the client has the access, and the plug-in goes on counting.
            return Ok(cx.finish().await?.commit().await?);
        }
        node.require_view_of(job.channel)?;
        let chain = channels::on_chain(&mut *node.db().read().await?, job.channel).await?;
        if matches!(chain.phase(), Phase::Closing { .. } | Phase::Closed { .. }) {
            // Its end is next, and must not wait until there is ether. A request that is taken back closes it.
            return Ok(cx.finish().await?.commit().await?);
        }
        self.reserve.require().await?;
        let offering = node.offering(channel.descriptor.agent, channel.descriptor.offering).await?;
        let (username, password) = (job.channel.to_string(), secret());
        let up_to = privatix_node::bound(&mut *node.db().read().await?, &channel, offering.terms()).await?;
        let endpoint = node
            .services()
            .provision(Provision::Sell {
                channel: job.channel,
                credentials: Credentials {
                    username: username.clone(),
                    password: Secret::new(password.clone()),
                },
                parameters: offering.message().additional.clone(),
                used: Usage::ZERO,
                up_to,
            })
            .await?;

        let mut completion = cx.finish().await?;
        let access = Access { username, password, endpoint };
        channels::set_access(&mut completion, job.channel, &access).await?;
        channels::set_service(&mut completion, job.channel, prepared, Some("access is prepared")).await?;
        let done = completion.commit().await?;
        tracing::info!(channel = %job.channel, client = %channel.descriptor.client, "channel provisioned");
        node.marks().mark(job.channel); // billing lets it start when its terms are met
        Ok(done)
    }

    /// The client is informed when it asks for access, and takes its deposit back.
    async fn cannot_serve(&self, channel: ChannelId, error: NodeError) -> JobError {
        let reason = format!("cannot be provisioned: {error}");
        let order = ServiceOrder { channel, order: Order::Terminate, reason };
        match self.node.enqueue(&order, "job").await {
            Ok(_) => JobError::fail(error),
            Err(error) => JobError::retry(error),
        }
    }

    /// The close that is on its way was sent before the client asked to close, and may wait for cheaper gas until the challenge
    /// is over: another one goes beside it, unless the one on its way is this very answer.
    async fn hurry(
        &self,
        channel: &Channel,
        view: &AgentChannel,
        ends_at: ChainTime,
        cx: JobContext,
    ) -> Result<Done, NodeError> {
        let voucher = view.best().filter(|best| best.cumulative() > view.on_chain().paid);
        let call = call::close(&channel.descriptor, voucher);
        let cumulative = voucher.map_or(view.on_chain().paid, SignedVoucher::cumulative);
        let cause = Cause::new(Subject::Channel(channel.id), close_with(voucher)).by(cx.id());
        let job = cx.id();
        let mut completion = cx.finish().await?;
        // A better voucher is another answer, and so is one after an answer that was cancelled.
        let mut key = format!("{CLOSE} {} before {ends_at} with {cumulative}", channel.id);
        let sent = match self.node.transactions_about(&mut completion, cause.subject, is_close).await {
            Err(error) if error.is_damage() => {
                // What else was sent is not known. This answer goes out: its key makes it one for each amount.
                self.node.damage().found(channel.id, error.to_string());
                Vec::new()
            }
            sent => {
                key = format!("{key} by job {job}");
                sent?
            }
        };
        let close = self.node.intent(key, call.abi_encode());
        let answers = |(_, sent): &&(Recorded, TxRecord)| {
            // One that a rescue has relieved has no deadline any more.
            let at = sent.intent.deadline.map(|deadline| deadline.at);
            let goes_on = sent.status.is_open() && sent.ending.is_none();
            goes_on && (sent.relieved || at == Some(ends_at.seconds()))
        };
        let is_there = sent.iter().filter(answers).any(|(sent, _)| sent.purpose == cause.purpose);
        // A client may raise by a unit as often as it likes; what is at stake bounds what all of them can cost.
        if is_there || sent.iter().filter(answers).count() >= MOST_ANSWERS {
            tracing::debug!(channel = %channel.id, "an answer to the close request is on its way already");
            return Ok(completion.commit().await?);
        }
        self.node.submit_intent(&mut completion, &cause, urgency(&self.node, channel, view, close)).await?;
        set_ceiling(&mut completion, &self.node, channel.id).await?;
        let done = completion.commit().await?;
        tracing::warn!(channel = %channel.id, "answering the close request beside a close that is on its way");
        self.node.wake_transactor();
        Ok(done)
    }

    /// Leaves a channel open that may be worth more than is known here; what a challenge would void is settled.
    async fn hold(
        &self,
        channel: &Channel,
        view: &AgentChannel,
        until: SystemTime,
        cx: JobContext,
    ) -> Result<Done, NodeError> {
        if view.on_chain().challenge_ends_at().is_some() {
            let job = cx.id();
            let mut completion = cx.finish().await?;
            settle(&mut completion, &self.node, channel, view, Some(job)).await?;
            return Ok(completion.commit().await?);
        }
        Err(NodeError::KeptOpen { until })
    }

    async fn close(&self, job: &CloseChannel, cx: JobContext) -> Result<Done, NodeError> {
        let node = &self.node;
        let loaded = load(&mut *node.db().read().await?, node, job.channel).await?;
        let (channel, view) = if loaded.view.on_chain().phase().is_open() {
            loaded.whole()?
        } else {
            (loaded.channel, loaded.view) // no voucher counts any more
        };
        let worth_it = !view.claimable().is_zero() || job.even_unpaid;
        if let Some(until) = open_until(&mut *node.db().read().await?, node, job.channel).await?
            && view.on_chain().phase().is_open()
        {
            return self.hold(&channel, &view, until, cx).await;
        }
        let status = channel.status.step(OwnStep::CloseSent);
        let (Ok(status), true) = (status, worth_it && view.on_chain().phase().is_open()) else {
            if let Some(ends_at) = view.on_chain().challenge_ends_at()
                && channel.status == ChannelStatus::WaitCoop
                && !view.claimable().is_zero()
            {
                return self.hurry(&channel, &view, ends_at, cx).await;
            }
            tracing::debug!(channel = %job.channel, status = %channel.status, "nothing to close");
            return Ok(cx.finish().await?.commit().await?);
        };
        let key = format!("{CLOSE} {} {}", job.channel, cx.id());
        let made_by = cx.id();
        let mut completion = cx.finish().await?;
        // Again, as vouchers may have been stored since.
        let (_, view) = load(&mut completion, node, job.channel).await?.whole()?;
        if !view.on_chain().phase().is_open() {
            return Ok(completion.commit().await?); // closed, or to be closed, meanwhile: its event leads on
        }
        let voucher = view.best().filter(|best| best.cumulative() > view.on_chain().paid);
        let call = call::close(&channel.descriptor, voucher);
        let close = node.intent(key, call.abi_encode());
        let cause = Cause::new(Subject::Channel(job.channel), close_with(voucher)).by(made_by);
        node.submit_intent(&mut completion, &cause, urgency(node, &channel, &view, close)).await?;
        channels::set_status(&mut completion, job.channel, status).await?;
        set_ceiling(&mut completion, node, job.channel).await?;
        let done = completion.commit().await?;
        tracing::info!(channel = %job.channel, cumulative = %view.proven(), "closing the channel");
        node.marks().mark_totals(job.channel);
        node.wake_transactor();
        self.payments.refresh(&[job.channel]).await;
        Ok(done)
    }
}

const fn is_close(purpose: &Purpose) -> bool {
    matches!(purpose, Purpose::Close { .. })
}

/// What a close is for that cashes this voucher.
fn close_with(voucher: Option<&SignedVoucher>) -> Purpose {
    Purpose::Close { cumulative: voucher.map_or(Amount::ZERO, SignedVoucher::cumulative) }
}

/// How urgent a close or a settlement is. While a challenge runs, what is claimable, if anything, is lost at its end; the
/// contract pays each of them once only. Anybody may settle, so that a rescue account can save what the account itself cannot close in time.
fn urgency(node: &Node, channel: &Channel, view: &AgentChannel, close: Intent) -> Intent {
    let close = close.repeatable();
    let Some(ends_at) = view.on_chain().challenge_ends_at() else { return close };
    let deadline = Deadline::new(ends_at.seconds(), node.challenge_period().seconds());
    // Without a voucher of more than what is paid, nothing is lost.
    let Some(voucher) = view.best().filter(|_| !view.claimable().is_zero()) else { return close };
    let settle = call::settle(&channel.descriptor, voucher).abi_encode();
    let close =
        close.priority(Priority::Urgent).deadline(deadline).fallback(node.domain().contract(), settle);
    match node.worth(view.claimable()) {
        Some(wei) => close.stake(wei),
        None => close,
    }
}

/// Stores the channel's [`ceiling`]. Part of each transaction that stores a close, the outcome of one, or an event.
pub(crate) async fn set_ceiling(conn: &mut Conn, node: &Node, id: ChannelId) -> Result<(), NodeError> {
    let chain = channels::on_chain(conn, id).await?;
    let sent = match node.transactions_about(conn, Subject::Channel(id), is_close).await {
        Err(error) if error.is_damage() => {
            // What was sent is not known: only what is paid is certain. All else that follows from the event goes on.
            node.damage().found(id, error.to_string());
            return Ok(ceilings::set(conn, id, Some(chain.paid)).await?);
        }
        sent => sent?,
    };
    // One that is mined counts until its event is seen, and after a reorganisation that took only the event back.
    let may_count = |record: &TxRecord| record.status.is_open() || record.status == TxStatus::Mined;
    let amounts = sent.iter().filter(|(_, record)| may_count(record)).filter_map(|(recorded, _)| {
        match recorded.purpose {
            Purpose::Close { cumulative } => Some(cumulative),
            _ => None,
        }
    });
    Ok(ceilings::set(conn, id, ceiling(&chain, amounts)).await?)
}

/// A transaction has come to an outcome, or an outcome was taken back: a close that cannot be mined any more bounds nothing.
pub(crate) async fn transaction_changed(
    conn: &mut Conn,
    node: &Node,
    recorded: &Recorded,
) -> Result<(), NodeError> {
    match (recorded.effect.subject, recorded.purpose) {
        (Subject::Channel(id), Purpose::Close { .. }) => set_ceiling(conn, node, id).await,
        _ => Ok(()),
    }
}

/// What a close request of the client leads to.
pub(crate) async fn answer(conn: &mut Conn, node: &Node, channel: &Channel) -> Result<(), NodeError> {
    let Loaded { view, damage, .. } = load(conn, node, channel.id).await?;
    if damage.is_some() {
        // It waits for a better voucher, which may still come before the challenge ends.
        if view.on_chain().challenge_ends_at().is_some() {
            let close = CloseChannel { channel: channel.id, even_unpaid: false };
            privatix_node::push(conn, &close, "monitor").await?;
        }
        return Ok(());
    }
    match answer_close_request(&view) {
        Answer::CloseWith { gain, deadline, .. } => {
            // A close would be final below vouchers that were lost, and no job runs until the chain was caught up with.
            if let Some(recovery) = node.recovery()
                && (recovery.caught_up_at.is_none() || open_until(conn, node, channel.id).await?.is_some())
            {
                settle(conn, node, channel, &view, None).await?;
            }
            tracing::warn!(channel = %channel.id, %gain, challenge_ends_at = %deadline, "the client asked to close below what is proven; answering");
            privatix_node::push(conn, &CloseChannel { channel: channel.id, even_unpaid: false }, "monitor")
                .await
        }
        Answer::Agreed { .. } | Answer::NotAsked => Ok(()),
    }
}

/// Until when the channel must not be closed, as it may be worth more than is known here.
async fn open_until(
    conn: &mut Conn,
    node: &Node,
    channel: ChannelId,
) -> Result<Option<SystemTime>, NodeError> {
    if node.recovery().is_none() {
        return Ok(None);
    }
    let newest = vouchers::get(conn, channel).await?.map(|stored| stored.stored_at);
    Ok(node.open_until(newest))
}

/// Takes what the best known voucher is worth, and leaves the channel open.
async fn settle(
    conn: &mut Conn,
    node: &Node,
    channel: &Channel,
    view: &AgentChannel,
    job: Option<JobId>,
) -> Result<(), NodeError> {
    let Some(voucher) = view.best().filter(|_| !view.claimable().is_zero()) else { return Ok(()) };
    let subject = Subject::Channel(channel.id);
    let is_settlement = |purpose: &Purpose| matches!(purpose, Purpose::Settle { .. });
    let ends_at = view.on_chain().challenge_ends_at().unwrap_or_default();
    let key = match node.transactions_about(conn, subject, is_settlement).await {
        Err(error) if error.is_damage() => {
            // What else was sent is not known. The key makes this one for each amount.
            node.damage().found(channel.id, error.to_string());
            format!("{SETTLE} {} before {ends_at} with {}", channel.id, voucher.cumulative())
        }
        earlier => {
            if earlier?.iter().any(|(_, record)| record.status.is_open()) {
                return Ok(()); // what came since is taken once that is over
            }
            format!("{SETTLE} {} before {ends_at}", purposes::next_effect(conn, subject).await?)
        }
    };
    let call = call::settle(&channel.descriptor, voucher);
    let settle = node.intent(key, call.abi_encode());
    let purpose = Purpose::Settle { cumulative: voucher.cumulative() };
    let cause = Cause { subject, purpose, job };
    node.submit_intent(conn, &cause, urgency(node, channel, view, settle)).await?;
    tracing::warn!(channel = %channel.id, cumulative = %voucher.cumulative(), "settling what is known to be paid; the channel stays open, as vouchers may be missing");
    node.wake_transactor();
    Ok(())
}

/// The database came back from a backup: challenges that run go on.
pub(crate) async fn answer_all(conn: &mut Conn, node: &Node) -> Result<(), NodeError> {
    for id in channels::live_ids(conn).await? {
        let answered = async {
            let channel = channels::get(conn, id).await?;
            answer(conn, node, &channel).await
        };
        match answered.await {
            Err(error) if error.is_damage() => node.damage().found(id, error.to_string()),
            answered => answered?,
        }
    }
    Ok(())
}

/// The most answers to one close request that are on their way at a time, each with a better voucher than the one before it.
const MOST_ANSWERS: usize = 4;

/// A closing transaction is over. Success shows as an event; only failure needs an answer.
pub(crate) async fn finished(
    conn: &mut Conn,
    node: &Node,
    recorded: &Recorded,
    record: &TxRecord,
) -> Result<(), NodeError> {
    let Subject::Channel(id) = recorded.effect.subject else { return Ok(()) };
    let is_close = match recorded.purpose {
        Purpose::Close { .. } => true,
        Purpose::Settle { .. } => false,
        _ => return Ok(()),
    };
    if record.status == TxStatus::Mined {
        return Ok(());
    }
    let purpose = recorded.purpose.name();
    let Loaded { channel, view, damage, .. } = load(conn, node, id).await?;
    let in_challenge = view.on_chain().challenge_ends_at().is_some();
    let is_withdrawn = node.is_withdrawn(record);
    let reason = record.failure.clone().unwrap_or_else(|| record.status.to_string());
    if is_withdrawn {
        tracing::warn!(channel = %id, purpose, "cancelled by the operator and not sent again; `channels close` does");
    } else if record.relieved {
        tracing::info!(channel = %id, purpose, reason, "the transaction came to nothing, after the rescue account had settled the channel");
    } else {
        tracing::error!(channel = %id, purpose, reason, "the transaction failed");
    }
    let stands = if !is_close {
        in_challenge
    } else if let Ok(status) = channel.status.step(OwnStep::CloseFailed { in_challenge }) {
        channels::set_status(conn, id, status).await?;
        true
    } else {
        false // what the chain shows has overtaken it
    };
    // What is earned must not wait for an operator, least of all while a challenge runs.
    if stands && !is_withdrawn {
        let again = PushOptions::by("transactor").not_before(after(SystemTime::now(), CLOSE_AGAIN));
        // A close that had nothing to gain was sent because the operator wanted it.
        let even_unpaid = is_close && view.claimable().is_zero() && damage.is_none();
        privatix_jobs::push(conn, &CloseChannel { channel: id, even_unpaid }, again).await?;
    }
    Ok(())
}

/// A channel and the agent's view of it.
pub(crate) struct Loaded {
    pub(crate) channel: Channel,
    /// Without a voucher where the stored one is damaged.
    pub(crate) view: AgentChannel,
    /// What answers have acknowledged.
    pub(crate) acknowledged: Amount,
    /// [`NodeError::DamagedVoucher`], if it is.
    pub(crate) damage: Option<NodeError>,
}

impl Loaded {
    /// For what must not be done without the best voucher.
    fn whole(self) -> Result<(Channel, AgentChannel), NodeError> {
        match self.damage {
            Some(damage) => Err(damage),
            None => Ok((self.channel, self.view)),
        }
    }
}

pub(crate) async fn load(conn: &mut Conn, node: &Node, id: ChannelId) -> Result<Loaded, NodeError> {
    let channel = channels::get(conn, id).await?;
    let on_chain = channels::on_chain(conn, id).await?;
    let acknowledged = vouchers::amounts(conn, id).await?.map_or(Amount::ZERO, |row| row.acknowledged);
    let restore =
        |best| AgentChannel::restore(*node.domain(), channel.descriptor, on_chain, best, Consents::default());
    let best = match vouchers::get(conn, id).await {
        Ok(stored) => restore(stored.map(|stored| stored.signed)).map_err(|error| error.to_string()),
        Err(error @ StoreError::Corrupt { .. }) => Err(error.to_string()),
        Err(error) => return Err(error.into()),
    };
    let (view, damage) = match best {
        Ok(view) => {
            node.damage().healed(id);
            (view, None)
        }
        Err(reason) => {
            let damage = NodeError::DamagedVoucher { channel: id, reason };
            node.damage().found(id, damage.to_string());
            (restore(None)?, Some(damage))
        }
    };
    Ok(Loaded { channel, view, acknowledged, damage })
}

/// What the agent could still earn by closing, for the operator.
pub(crate) async fn claimable(conn: &mut Conn, node: &Node, id: ChannelId) -> Result<Amount, NodeError> {
    Ok(load(conn, node, id).await?.whole()?.1.claimable())
}

/// 256 random bits.
pub(crate) fn secret() -> String {
    let bytes: [u8; 32] = rand::random();
    alloy::primitives::hex::encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_waits_for_no_order_to_the_plug_in() {
        let channel = ChannelId::new([7; 32].into());
        let close = CloseChannel { channel, even_unpaid: true };
        let order = ServiceOrder { channel, order: Order::Terminate, reason: String::new() };
        assert_ne!(close.subject(), order.subject());
        assert_ne!(close.subject(), ProvisionChannel { channel }.subject());
        // Closes of one channel wait for each other.
        assert_eq!(close.subject(), CloseChannel { channel, even_unpaid: false }.subject());
    }
}
