//! What the agent does about news.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use privatix_billing::{
    Account, AgentAction, SuspendReason, TerminateReason, Terms, allowance, assess_agent,
};
use privatix_chain::{TxChange, TxRecord};
use privatix_channel::{ChainEvent, ChannelEvent, ChannelId, ServiceStatus};
use privatix_db::Conn;
use privatix_jobs::Job;
use privatix_node::{Decider, Node, NodeError, Order, Role, ServiceOrder, after};
use privatix_store::channels::{self, Channel};
use privatix_store::events::Place;
use privatix_store::purposes::Recorded;

use crate::channels::{CloseChannel, ProvisionChannel};
use crate::offerings::ChangeOffering;
use crate::operator::AppointOperator;
use crate::payments::Payments;

/// An order is given again when it has shown no effect for this long.
const REPEAT_ORDER: Duration = Duration::from_secs(30);

pub(crate) struct AgentRole {
    pub(crate) node: Arc<Node>,
    pub(crate) decider: Arc<Decider<privatix_market::Agent>>,
    pub(crate) payments: Arc<Payments>,
}

impl AgentRole {
    async fn order(&self, channel: ChannelId, order: Order, reason: &str) -> Result<(), NodeError> {
        let order = ServiceOrder { channel, order, reason: reason.to_owned() };
        self.node.enqueue(&order, "billing").await?;
        Ok(())
    }
}

#[async_trait]
impl Role for AgentRole {
    type Side = privatix_market::Agent;

    fn decider(&self) -> Option<&Decider<Self::Side>> {
        Some(&self.decider)
    }

    async fn on_event(&self, conn: &mut Conn, _: Place, event: &ChainEvent) -> Result<(), NodeError> {
        if let ChainEvent::Opened { channel, descriptor, event: ChannelEvent::Opened { deposit, .. } } = event
            && descriptor.agent == self.node.account()
        {
            if descriptor.id(self.node.domain()) != *channel {
                let reason = format!("channel {channel} is not the one that its event describes");
                return Err(NodeError::Contract { what: "an event", reason });
            }
            channels::insert(conn, *channel, descriptor, *deposit).await?;
        }
        Ok(())
    }

    async fn on_channel(
        &self,
        conn: &mut Conn,
        channel: &Channel,
        event: &ChainEvent,
    ) -> Result<(), NodeError> {
        let id = channel.id;
        crate::channels::set_ceiling(conn, &self.node, id).await?;
        let terminate =
            |reason: &str| ServiceOrder { channel: id, order: Order::Terminate, reason: reason.to_owned() };
        match event.channel_event() {
            // Code of the client's account could void every voucher of it, so it is not served. Nor is it closed at our cost:
            // its client took the place with a deposit, and would get that back at once, to do the same again.
            Some(ChannelEvent::Opened { .. }) if !channel.descriptor.names_signer() => {
                tracing::warn!(channel = %id, "the channel names no signer; it is not served");
                let reason = "the channel names no signer of its vouchers";
                privatix_node::push(conn, &terminate(reason), "monitor").await
            }
            // Its client gets the whole deposit back, and may open another one once the fee is lower. One that is served, and was
            // mined again after a reorganisation, goes on.
            Some(ChannelEvent::Opened { fee, .. })
                if channel.access.is_none() && self.node.refuses_fee(fee) =>
            {
                tracing::warn!(channel = %id, %fee, "the channel's network fee is above chain.accept_fee; it is not served");
                let reason = "the channel's network fee is above what the agent accepts";
                privatix_node::push(conn, &terminate(reason), "monitor").await?;
                let close = CloseChannel { channel: id, even_unpaid: true };
                privatix_node::push(conn, &close, "monitor").await
            }
            // Ended before a reorganisation, and open again: what was paid is still to be cashed.
            Some(ChannelEvent::Opened { .. }) if channel.service.is_ending() => {
                let close = CloseChannel { channel: id, even_unpaid: false };
                privatix_node::push(conn, &close, "monitor").await
            }
            Some(ChannelEvent::Opened { .. }) => {
                privatix_node::push(conn, &ProvisionChannel { channel: id }, "monitor").await
            }
            Some(ChannelEvent::CloseRequested { .. }) => {
                // First, as the answer may not be possible.
                let reason = "the client is closing the channel";
                privatix_node::push(conn, &terminate(reason), "monitor").await?;
                crate::channels::answer(conn, &self.node, channel).await
            }
            Some(ChannelEvent::Closed { .. }) => {
                privatix_node::push(conn, &terminate("the channel is closed"), "monitor").await
            }
            // The service ended with the close request that is now taken back, or a voucher above the deposit is worth more:
            // nobody else ends the channel, and its place and stake stay taken till then.
            Some(ChannelEvent::ToppedUp { .. } | ChannelEvent::CloseCancelled)
                if channel.service.is_ending() =>
            {
                let taken_back = channel.descriptor.names_signer()
                    && matches!(
                        event.channel_event(),
                        Some(
                            ChannelEvent::CloseCancelled
                                | ChannelEvent::ToppedUp { request_cancelled: true, .. }
                        )
                    );
                let close = CloseChannel { channel: id, even_unpaid: taken_back };
                privatix_node::push(conn, &close, "monitor").await
            }
            Some(
                ChannelEvent::ToppedUp { .. } | ChannelEvent::Settled { .. } | ChannelEvent::CloseCancelled,
            )
            | None => Ok(()),
        }
    }

    async fn on_undone(&self, conn: &mut Conn, channel: &Channel) -> Result<(), NodeError> {
        crate::channels::set_ceiling(conn, &self.node, channel.id).await?;
        crate::channels::answer(conn, &self.node, channel).await
    }

    async fn on_restored(&self, conn: &mut Conn) -> Result<(), NodeError> {
        crate::channels::answer_all(conn, &self.node).await
    }

    fn not_to_be_repeated(&self) -> &'static [&'static str] {
        &[<AppointOperator as Job>::KIND, <ChangeOffering as Job>::KIND]
    }

    fn put_off(&self) -> &'static [&'static str] {
        &[<CloseChannel as Job>::KIND]
    }

    async fn on_stopped(&self, _: ChannelId) -> Result<(), NodeError> {
        Ok(())
    }

    async fn on_service(
        &self,
        conn: &mut Conn,
        channel: &Channel,
        now: ServiceStatus,
    ) -> Result<(), NodeError> {
        if now == ServiceStatus::Terminated {
            // Whatever was paid is cashed; where nothing was, the gas would be a loss.
            privatix_node::push(conn, &CloseChannel { channel: channel.id, even_unpaid: false }, "job")
                .await?;
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
        crate::channels::transaction_changed(conn, &self.node, recorded).await?;
        // What a transaction has done shows as events, which the monitor takes back itself; and what can still be taken back is
        // repeatable, so that a retry does no harm.
        if matches!(change, TxChange::Reinstated | TxChange::Final) {
            return Ok(());
        }
        crate::offerings::finished(conn, &self.node, recorded, record).await?;
        crate::channels::finished(conn, &self.node, recorded, record).await
    }

    async fn on_committed(&self, channels: &[ChannelId]) {
        self.payments.refresh(channels).await;
    }

    async fn assess(
        &self,
        channel: &Channel,
        terms: &Terms,
        account: &Account,
        now: SystemTime,
    ) -> Result<Option<SystemTime>, NodeError> {
        if !channel.status.is_active() {
            return Ok(None); // an event ends the service, or starts it
        }
        let assessment = assess_agent(terms, account, now);
        // Before resuming, and after each payment: the bound moves first.
        let up_to = allowance(terms, account.paid, account.deposit);
        let allowed = self.node.services().allow(channel.id, up_to).await;
        match assessment.action {
            // A plug-in that does not know the bound is no reason to serve on, and one that does not know the channel has to be
            // given it: the order to resume does that, with the bound before it starts.
            Some(AgentAction::Suspend(_) | AgentAction::Terminate(_) | AgentAction::Resume) => {
                if let Err(error) = allowed {
                    tracing::warn!(channel = %channel.id, %error, "cannot tell the plug-in how far the channel is paid");
                }
            }
            _ => allowed?,
        }
        match assessment.action {
            Some(AgentAction::Suspend(reason)) => {
                self.order(channel.id, Order::Suspend, suspended(reason)).await?;
            }
            Some(AgentAction::Resume) => self.order(channel.id, Order::Activate, "paid as agreed").await?,
            Some(AgentAction::Terminate(reason)) => {
                self.order(channel.id, Order::Terminate, terminated(reason)).await?;
            }
            _ => return Ok(assessment.next),
        }
        let again = after(now, REPEAT_ORDER);
        Ok(Some(assessment.next.map_or(again, |next| next.min(again))))
    }
}

const fn suspended(reason: SuspendReason) -> &'static str {
    match reason {
        SuspendReason::Unpaid => "payment is behind by more than agreed",
        SuspendReason::DepositReached => "the deposit is used up",
        SuspendReason::MaxUnitsReached => "the usage limit is reached",
        SuspendReason::Held => "paused by a command",
        _ => "billing",
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
