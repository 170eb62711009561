//! What the client does about news.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_billing::{Account, ClientAction, ClientPolicy, TerminateReason, Terms, assess_client};
use privatix_chain::{TxChange, TxRecord};
use privatix_channel::{
    Amount, ChainEvent, ChannelEvent, ChannelId, OfferingEvent, ServiceStatus, SignRefused,
};
use privatix_db::Conn;
use privatix_jobs::{Job, PushOptions};
use privatix_node::inputs::Before;
use privatix_node::{Decider, Node, NodeError, Order, Role, ServiceOrder, after, billing_account};
use privatix_store::channels::{self, Channel};
use privatix_store::events::Place;
use privatix_store::purposes::Recorded;
use privatix_store::vouchers;

use crate::access::FetchAccess;
use crate::channels::{FinalizeClose, RequestClose, TopUp, end_service, load};
use crate::offerings::FetchOffering;
use crate::outbox::Outbox;
use crate::peers::Peers;

/// A decision is asked for again when it has shown no effect for this long.
const REPEAT: Duration = Duration::from_secs(30);
/// The pause after a top-up that was not possible.
const TOP_UP_AGAIN: Duration = Duration::from_mins(1);

pub(crate) struct ClientRole {
    pub(crate) node: Arc<Node>,
    pub(crate) outbox: Outbox,
    pub(crate) policy: ClientPolicy,
    pub(crate) request_close_after: Option<Duration>,
    /// When each channel's last top-up was decided.
    pub(crate) topped_up: Mutex<HashMap<ChannelId, SystemTime>>,
    pub(crate) peers: Arc<Peers>,
}

impl ClientRole {
    /// Signs a voucher over what is due, stores it, and has it sent.
    async fn pay(&self, channel: ChannelId, due: Amount) -> Result<(), NodeError> {
        let (_, mut view) = load(&mut *self.node.db().read().await?, &self.node, channel).await?;
        let proposal = match view.propose(due) {
            Ok(Some(proposal)) => proposal,
            Ok(None) => return Ok(()),
            Err(SignRefused::NotOpen { phase }) => {
                tracing::debug!(%channel, %phase, "nothing is signed for a channel that is not open");
                return Ok(());
            }
            Err(refused) => return Err(refused.into()),
        };
        let signed = proposal.sign(self.node.signer())?;
        let mut tx = self.node.db().begin().await?;
        vouchers::store(&mut tx, signed.voucher()).await?;
        tx.commit().await?;
        self.node.marks().mark_totals(channel);
        let voucher = view.commit(signed)?;
        tracing::debug!(%channel, cumulative = %voucher.cumulative(), "voucher signed");
        self.outbox.send(channel);
        Ok(())
    }

    /// The policy as far as it may be followed now: a top-up is not decided again right after one, nor while the view of the
    /// chain is stale.
    fn policy(&self, channel: ChannelId, now: SystemTime) -> ClientPolicy {
        let mut policy = self.policy.clone();
        let last = self.topped_up.lock().get(&channel).copied();
        if last.is_some_and(|last| now < after(last, TOP_UP_AGAIN)) || self.node.require_view().is_err() {
            policy.top_up = None;
        }
        policy
    }

    async fn top_up(&self, channel: ChannelId, amount: Amount, now: SystemTime) -> Result<(), NodeError> {
        self.topped_up.lock().insert(channel, now);
        let mut tx = self.node.db().begin().await?;
        channels::set_top_up_pending(&mut tx, channel, true).await?;
        privatix_node::push(&mut tx, &TopUp { channel, amount }, "billing").await?;
        tx.commit().await?;
        tracing::info!(%channel, %amount, "topping the channel up");
        self.node.wake();
        Ok(())
    }
}

#[async_trait]
impl Role for ClientRole {
    type Side = privatix_market::Client;

    fn decider(&self) -> Option<&Decider<Self::Side>> {
        None
    }

    async fn on_start(&self) -> Result<(), NodeError> {
        Ok(())
    }

    async fn on_event(
        &self,
        conn: &mut Conn,
        _: Option<&mut Before<Self::Side>>,
        _: Place,
        event: &ChainEvent,
    ) -> Result<(), NodeError> {
        match event {
            ChainEvent::Offering {
                agent,
                offering,
                event: OfferingEvent::Registered(_) | OfferingEvent::PoppedUp(_),
            } => {
                let fetch = FetchOffering { agent: *agent, offering: *offering };
                privatix_node::push(conn, &fetch, "monitor").await
            }
            // Known since it was accepted; found again if this database is younger than the channel.
            ChainEvent::Opened { channel, descriptor, event: ChannelEvent::Opened { deposit, .. } }
                if descriptor.client == self.node.account() =>
            {
                if descriptor.id(self.node.domain()) != *channel {
                    let reason = format!("channel {channel} is not the one that its event describes");
                    return Err(NodeError::Contract { what: "an event", reason });
                }
                channels::insert(conn, *channel, descriptor, *deposit).await?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn on_channel(
        &self,
        conn: &mut Conn,
        channel: &Channel,
        event: &ChainEvent,
    ) -> Result<(), NodeError> {
        let id = channel.id;
        match event.channel_event() {
            // Ended before it was open: the agent has nothing to gain from closing it, and nobody else will.
            Some(ChannelEvent::Opened { .. }) if channel.service.is_ending() => {
                privatix_node::push(conn, &RequestClose { channel: id, unprompted: false }, "monitor").await
            }
            Some(ChannelEvent::Opened { .. }) if channel.access.is_some() => {
                // Opened again after a reorganisation.
                let reason = "the channel is open".to_owned();
                privatix_node::push(
                    conn,
                    &ServiceOrder { channel: id, order: Order::Activate, reason },
                    "monitor",
                )
                .await
            }
            Some(ChannelEvent::Opened { .. }) => {
                privatix_node::push(conn, &FetchAccess { channel: id }, "monitor").await
            }
            Some(ChannelEvent::ToppedUp { .. }) => Ok(channels::set_top_up_pending(conn, id, false).await?),
            Some(ChannelEvent::CloseRequested { .. }) => {
                end_service(conn, id, "the channel is being closed").await?;
                privatix_node::push(conn, &FinalizeClose { channel: id }, "monitor").await
            }
            Some(ChannelEvent::Closed { .. }) => {
                self.peers.excluded.remove(id);
                end_service(conn, id, "the channel is closed").await
            }
            Some(ChannelEvent::Settled { .. } | ChannelEvent::CloseCancelled) | None => Ok(()),
        }
    }

    async fn on_undone(&self, conn: &mut Conn, channel: &Channel) -> Result<(), NodeError> {
        if channel.challenge_ends_at.is_some() && channel.closure.is_none() {
            return privatix_node::push(conn, &FinalizeClose { channel: channel.id }, "monitor").await;
        }
        Ok(())
    }

    async fn on_restored(&self, _: &mut Conn) -> Result<(), NodeError> {
        Ok(())
    }

    fn not_to_be_repeated(&self) -> &'static [&'static str] {
        &[<TopUp as Job>::KIND]
    }

    fn put_off(&self) -> &'static [&'static str] {
        &[<RequestClose as Job>::KIND]
    }

    async fn on_stopped(&self, channel: ChannelId) -> Result<(), NodeError> {
        let (stored, account) = {
            let mut conn = self.node.db().read().await?;
            let stored = channels::get(&mut conn, channel).await?;
            let account = billing_account(&mut conn, &stored).await?;
            (stored, account)
        };
        if stored.access.is_none() {
            return Ok(()); // never served
        }
        let offering = self.node.offering(stored.descriptor.agent, stored.descriptor.offering).await?;
        let account = Account { service: ServiceStatus::Terminating, ..account };
        let assessment = assess_client(offering.terms(), &account, &self.policy, SystemTime::now());
        match assessment.pay_to {
            Some(due) => self.pay(channel, due).await,
            None => Ok(()),
        }
    }

    async fn on_service(
        &self,
        conn: &mut Conn,
        channel: &Channel,
        now: ServiceStatus,
    ) -> Result<(), NodeError> {
        if now != ServiceStatus::Terminated {
            return Ok(());
        }
        self.topped_up.lock().remove(&channel.id);
        // The agent has every reason to close first. If it does not, the deposit comes back this way.
        let closes = channel.status.is_active() && self.request_close_after.is_some();
        if let Some(pause) = self.request_close_after.filter(|_| closes) {
            // Where no voucher can be sent, the agent gets what is owed by the close alone.
            let pause = if self.peers.excluded.contains(channel.id) { Duration::ZERO } else { pause };
            let later = PushOptions::by("client").not_before(after(SystemTime::now(), pause));
            let request = RequestClose { channel: channel.id, unprompted: true };
            privatix_jobs::push(conn, &request, later).await?;
        }
        Ok(())
    }

    async fn on_transaction(
        &self,
        conn: &mut Conn,
        recorded: &Recorded,
        record: &TxRecord,
        change: TxChange,
    ) -> Result<(), NodeError> {
        // What a transaction has done shows as events, which the monitor takes back itself; and what can still be taken back is
        // repeatable, so that a retry does no harm.
        if matches!(change, TxChange::Reinstated | TxChange::Final) {
            return Ok(());
        }
        crate::channels::finished(conn, &self.node, recorded, record).await
    }

    async fn on_committed(&self, _: &[ChannelId]) {} // nothing is kept in memory

    async fn assess(
        &self,
        channel: &Channel,
        terms: &Terms,
        account: &Account,
        now: SystemTime,
    ) -> Result<Option<SystemTime>, NodeError> {
        if !channel.status.is_active() {
            return Ok(None); // an event ends the service
        }
        let assessment = assess_client(terms, account, &self.policy(channel.id, now), now);
        if let Some(due) = assessment.pay_to {
            self.pay(channel.id, due).await?;
        }
        match assessment.action {
            Some(ClientAction::TopUp(amount)) => self.top_up(channel.id, amount, now).await?,
            Some(ClientAction::Terminate(reason)) => {
                let order = ServiceOrder {
                    channel: channel.id,
                    order: Order::Terminate,
                    reason: terminated(reason).to_owned(),
                };
                self.node.enqueue(&order, "billing").await?;
            }
            _ if assessment.pay_to.is_none() => return Ok(assessment.next),
            _ => {}
        }
        let again = after(now, REPEAT);
        Ok(Some(assessment.next.map_or(again, |next| next.min(again))))
    }
}

const fn terminated(reason: TerminateReason) -> &'static str {
    match reason {
        TerminateReason::DepositSpent => "the deposit is spent",
        TerminateReason::MaxUnits => "the usage limit is reached",
        TerminateReason::Inactive => "not used for too long",
        TerminateReason::SuspendedTooLong => "suspended for too long",
        _ => "billing",
    }
}
