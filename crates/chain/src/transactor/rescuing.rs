//! Makes rescues, and keeps them and their parents in step. What is to be done is decided in [`rescue`](super::rescue).

use std::time::{Duration, Instant};

use privatix_db::Conn;

use super::changes::{self, Origin};
use super::memory::{Memory, Now};
use super::rescue::{self, OnCounterpart};
use super::{Cancelled, Cancelling, Ending, Inner, TxChange, TxRecord, TxStatus, table};
use crate::ChainError;
use crate::inform::Inform;

impl Inner {
    /// Has the rescue account send the fallbacks of those that need it.
    pub(super) async fn rescue(
        &self,
        memory: &mut Memory,
        now: Now,
        open: &[TxRecord],
    ) -> Result<(), ChainError> {
        let Some(rescuer) = self.options.rescue else { return Ok(()) };
        let waiting: Vec<_> = open.iter().filter(|r| rescue::is_unsigned(r)).map(|r| r.id).collect();
        memory.unsigned.retain(|id, _| waiting.contains(id));
        for id in waiting {
            memory.unsigned.entry(id).or_insert_with(Instant::now);
        }
        for record in open {
            let unsigned_for = memory.unsigned.get(&record.id).map_or(Duration::ZERO, Instant::elapsed);
            let cause = |record: &TxRecord| rescue::cause(record, rescuer, now.time, unsigned_for);
            if cause(record).is_none()
                || table::child(&mut *self.db.read().await?, record.id).await?.is_some()
            {
                continue;
            }
            let mut tx = self.db.begin().await?;
            // As it is now: it may have been cancelled.
            let Some(parent) = table::get(&mut tx, record.id).await? else { continue };
            let (Some(cause), Some(child)) = (cause(&parent), rescue::child(&parent.intent, rescuer)) else {
                continue;
            };
            let id = changes::submit(&mut tx, self.chain_id, &child, Origin::RescueOf(parent.id)).await?;
            tx.commit().await?;
            tracing::warn!(tx = %parent.id, kind = %parent.intent.kind, rescue = %id, account = %rescuer, %cause, "the rescue account does what the transaction is for");
            self.announce(&self.reload(id).await?);
            self.wake.notify_one();
        }
        Ok(())
    }

    /// What a change of an intent means for its counterpart, in the transaction that stores the change. The counterpart if it has
    /// ended by that, and what the sink is to be informed of.
    pub(super) async fn affect_counterpart(
        &self,
        conn: &mut Conn,
        record: &TxRecord,
        change: TxChange,
    ) -> Result<(Option<TxRecord>, Vec<Inform>), ChainError> {
        let nothing = || Ok((None, Vec::new()));
        let effect = rescue::on_counterpart(record.parent.is_some(), record.status, change);
        if effect == OnCounterpart::Nothing {
            return nothing();
        }
        let Some(other) = table::counterpart(conn, record).await? else { return nothing() };
        match effect {
            OnCounterpart::Nothing => {}
            OnCounterpart::Relieved => changes::set_relieved(conn, other.id, true).await?,
            OnCounterpart::Restored => changes::set_relieved(conn, other.id, false).await?,
            OnCounterpart::Cancelled => {
                let Cancelling { what, informs } = self.cancel_one(conn, &other).await?;
                if what == Cancelled::Done {
                    return Ok((table::get(conn, other.id).await?, informs));
                }
            }
        }
        nothing()
    }

    /// Cancels an intent. One that is in a block ends so only if a reorg takes that back, which none does with a final one.
    pub(super) async fn cancel_one(
        &self,
        conn: &mut Conn,
        record: &TxRecord,
    ) -> Result<Cancelling, ChainError> {
        if record.status == TxStatus::Unsent && table::attempts(conn, record.id).await?.is_empty() {
            changes::end(conn, record.id, TxStatus::Cancelled, None, false).await?;
            // Boxed, because the report of a parent cancels its child.
            let reported = Box::pin(self.report(conn, record.id, &[TxChange::Cancelled])).await?;
            return Ok(Cancelling { what: Cancelled::Done, informs: reported.informs });
        }
        if record.status.is_open() || record.watched {
            changes::set_ending(conn, record.id, Ending::Cancelled, None).await?;
        }
        let is_in_block = !record.status.is_open() || record.inclusion.is_some();
        let what = if is_in_block { Cancelled::IfTakenBack } else { Cancelled::Requested };
        Ok(Cancelling { what, informs: Vec::new() })
    }
}
