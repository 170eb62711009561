use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_chain::{ConfirmedBatch, LogSink, SinkError, TxChange, TxRecord, TxSink};
use privatix_channel::{ChannelId, LogPosition};
use privatix_contracts::PscEvent;
use privatix_db::Conn;
use privatix_jobs::Wake;
use privatix_store::events::Place;
use privatix_store::{channels, contract, events, offerings};
use tokio::sync::mpsc;

use crate::translate::{contract_event, market_event};
use crate::{Marks, NodeError, Order, Role, ServiceOrder};

/// Where confirmed events and finished transactions go: the store, the role, and then whoever waits for them.
pub(crate) struct Sink<R> {
    pub(crate) role: Arc<R>,
    pub(crate) wake: Wake,
    pub(crate) marks: Marks,
    /// Channels touched by the batch under way.
    pub(crate) touched: Mutex<BTreeSet<ChannelId>>,
    pub(crate) committed: mpsc::UnboundedSender<Vec<ChannelId>>,
}

impl<R: Role> Sink<R> {
    async fn apply_batch(&self, conn: &mut Conn, batch: &ConfirmedBatch) -> Result<(), NodeError> {
        self.touched.lock().clear(); // a batch that was rolled back may have left some
        for log in &batch.logs {
            let event = PscEvent::decode(&log.log.data)
                .map_err(|e| NodeError::Contract { what: "an event", reason: e.to_string() })?;
            let place = Place { at: LogPosition::new(log.block, log.index), tx: log.tx };
            if let Some(event) = contract_event(&event) {
                contract::record(conn, place, log.block_time.into(), &event).await?;
                continue;
            }
            let Some(event) = market_event(event) else { continue };
            if !events::record(conn, place, &event).await? {
                continue;
            }
            self.role.on_event(conn, place, &event).await?;
            if let Some(offering) = event.offering() {
                offerings::refold(conn, event.agent(), offering).await?;
            }
            if let (Some(channel), Some(change)) = (event.channel(), event.channel_event())
                && let Some(channel) = channels::advance(conn, channel, change).await?
            {
                self.touched.lock().insert(channel.id);
                tracing::info!(channel = %channel.id, event = change.name(), status = %channel.status, block = log.block, "channel changed on chain");
                self.role.on_channel(conn, &channel, &event).await?;
            }
        }
        Ok(())
    }

    async fn undo(&self, conn: &mut Conn, to_block: u64) -> Result<(), NodeError> {
        self.touched.lock().clear();
        contract::undo_above(conn, to_block).await?;
        let undone = events::undo_above(conn, to_block).await?;
        tracing::warn!(to_block, events = undone.len(), "the chain was reorganised; events are undone");
        for (_, event) in undone {
            if let Some(offering) = event.offering() {
                offerings::refold(conn, event.agent(), offering).await?;
            }
            if let Some(channel) = event.channel()
                && let Some(channel) = channels::refold(conn, channel).await?
            {
                self.touched.lock().insert(channel.id);
                if channel.opened_at.is_none() {
                    // No deposit stands behind it until its opening is mined again.
                    let reason = "its opening was undone by a reorganisation".to_owned();
                    let order = ServiceOrder { channel: channel.id, order: Order::Suspend, reason };
                    crate::push(conn, &order, "monitor").await?;
                }
                self.role.on_undone(conn, &channel).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl<R: Role> LogSink for Sink<R> {
    async fn apply(&self, conn: &mut Conn, batch: &ConfirmedBatch) -> Result<(), SinkError> {
        self.apply_batch(conn, batch).await.map_err(SinkError::new)
    }

    async fn rollback(&self, conn: &mut Conn, to_block: u64) -> Result<(), SinkError> {
        self.undo(conn, to_block).await.map_err(SinkError::new)
    }

    fn committed(&self) {
        self.wake.wake();
        let touched: Vec<ChannelId> = std::mem::take(&mut *self.touched.lock()).into_iter().collect();
        for channel in &touched {
            self.marks.mark(*channel);
        }
        if !touched.is_empty() {
            let _ = self.committed.send(touched); // the receiver is gone only at shutdown
        }
    }
}

#[async_trait]
impl<R: Role> TxSink for Sink<R> {
    async fn changed(&self, conn: &mut Conn, record: &TxRecord, change: TxChange) -> Result<(), SinkError> {
        match change {
            // What the step has done shows as events, which the monitor takes back itself; and what can still be taken back
            // is repeatable, so that a retry does no harm.
            TxChange::Reinstated | TxChange::Final => Ok(()),
            _ => self.role.on_transaction(conn, record).await.map_err(SinkError::new),
        }
    }

    fn committed(&self) {
        self.wake.wake();
    }
}
