use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use parking_lot::Mutex;
use privatix_chain::{
    ConfirmedBatch, Endpoints, Interest, LogSink, Monitor, MonitorBuilder, MonitorState, MonitorStatus,
    SinkError, StartFrom,
};
use privatix_db::{Conn, Database, on};
use privatix_testkit::Anvil;
use tokio::sync::Notify;

use super::{BACKOFF, POLL, within};

diesel::table! {
    seen (id) { id -> BigInt, block -> BigInt, log_index -> BigInt, payload -> Binary, }
}

/// Block, index in the block, payload.
pub type SeenLog = (u64, u64, Vec<u8>);

/// Writes logs into a table, and deletes what a reorg takes back.
#[derive(Clone, Default)]
pub struct Seen(Arc<Inner>);

#[derive(Default)]
struct Inner {
    refuse_applies: Mutex<u32>,
    refuse_rollbacks: Mutex<u32>,
    /// Batches with logs to be taken before all are refused; counts down.
    taken_before: Mutex<Option<u32>>,
    refused: Notify,
    rollbacks: Mutex<Vec<u64>>,
    batches: Mutex<Vec<(u64, u64)>>,
    committed: Mutex<u32>,
    at_commit: Mutex<Option<Box<dyn Fn() + Send>>>,
}

#[derive(Debug, thiserror::Error)]
#[error("the test refuses")]
struct Refused;

impl Seen {
    /// Makes the next `n` batches with logs fail, after they have been written.
    pub fn refuse_applies(&self, n: u32) {
        *self.0.refuse_applies.lock() = n;
    }

    /// Makes all batches with logs fail after the next `n`.
    pub fn refuse_after(&self, n: u32) {
        *self.0.taken_before.lock() = Some(n);
    }

    /// Waits until a batch was refused after [`refuse_after`](Self::refuse_after).
    pub async fn refused(&self) {
        within("a refused batch", self.0.refused.notified()).await;
    }

    /// Makes the next `n` rollbacks fail, after they have been written.
    pub fn refuse_rollbacks(&self, n: u32) {
        *self.0.refuse_rollbacks.lock() = n;
    }

    /// The blocks that it was told to roll back to.
    pub fn rollbacks(&self) -> Vec<u64> {
        self.0.rollbacks.lock().clone()
    }

    /// First and last block of each batch that it was offered.
    pub fn batches(&self) -> Vec<(u64, u64)> {
        self.0.batches.lock().clone()
    }

    /// How often it was told of a commit.
    pub fn committed(&self) -> u32 {
        *self.0.committed.lock()
    }

    /// Has this called after each commit.
    pub fn at_each_commit(&self, call: impl Fn() + Send + 'static) {
        *self.0.at_commit.lock() = Some(Box::new(call));
    }

    /// All rows, in the order in which they were written.
    pub async fn rows(db: &Database) -> Vec<SeenLog> {
        let mut conn = db.read().await.unwrap();
        let rows: Vec<(i64, i64, Vec<u8>)> = on!(&mut *conn, |c| {
            seen::table.order(seen::id).select((seen::block, seen::log_index, seen::payload)).load(c).await
        })
        .unwrap();
        rows.into_iter().map(|(block, index, payload)| (block as u64, index as u64, payload)).collect()
    }

    /// The payloads alone, as text.
    pub async fn payloads(db: &Database) -> Vec<String> {
        Self::rows(db).await.into_iter().map(|(_, _, payload)| String::from_utf8(payload).unwrap()).collect()
    }
}

impl Seen {
    fn take_or_refuse(&self) -> Result<(), Refused> {
        match &mut *self.0.taken_before.lock() {
            None => Ok(()),
            Some(0) => {
                self.0.refused.notify_one();
                Err(Refused)
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

fn refuses(counter: &Mutex<u32>) -> Result<(), Refused> {
    let mut left = counter.lock();
    if *left == 0 {
        return Ok(());
    }
    *left -= 1;
    Err(Refused)
}

#[async_trait]
impl LogSink for Seen {
    type Applied = ();

    async fn apply(&self, conn: &mut Conn, batch: &ConfirmedBatch) -> Result<(), SinkError> {
        self.0.batches.lock().push((batch.from_block, batch.to_block));
        for log in &batch.logs {
            let row = (
                seen::block.eq(log.block as i64),
                seen::log_index.eq(log.index as i64),
                seen::payload.eq(log.log.data.data.to_vec()),
            );
            on!(&mut *conn, |c| diesel::insert_into(seen::table).values(row).execute(c).await)?;
        }
        if !batch.logs.is_empty() {
            refuses(&self.0.refuse_applies)?;
            self.take_or_refuse()?;
        }
        Ok(())
    }

    async fn rollback(&self, conn: &mut Conn, to_block: u64) -> Result<(), SinkError> {
        self.0.rollbacks.lock().push(to_block);
        let above = seen::table.filter(seen::block.gt(to_block as i64));
        on!(conn, |c| diesel::delete(above).execute(c).await)?;
        Ok(refuses(&self.0.refuse_rollbacks)?)
    }

    fn committed(&self, (): ()) {
        *self.0.committed.lock() += 1;
        if let Some(call) = &*self.0.at_commit.lock() {
            call();
        }
    }
}

/// A monitor of all logs of `contract` from block 1 on, without confirmations.
pub fn monitor(
    db: &Database,
    endpoints: impl Into<Endpoints>,
    anvil: &Anvil,
    contract: Address,
) -> MonitorBuilder {
    Monitor::builder(db.clone(), endpoints, anvil.chain_id(), [Interest::all_of(contract)])
        .start(StartFrom::Block(1))
        .confirmations(0)
        .poll_interval(POLL)
        .backoff(BACKOFF)
        .patience(PATIENCE_WITH_SECOND)
}

/// How long a second endpoint is waited for that stands still.
const PATIENCE_WITH_SECOND: Duration = Duration::from_secs(1);

/// Waits until the monitor's status is as wished.
pub async fn settled(
    monitor: &Monitor,
    what: &str,
    wish: impl FnMut(&MonitorStatus) -> bool,
) -> MonitorStatus {
    let mut status = monitor.status();
    within(what, status.wait_for(wish)).await.unwrap().clone()
}

/// Waits until the monitor has seen the node's head, and processed all that is confirmed below it.
pub async fn synced(monitor: &Monitor, anvil: &Anvil, confirmations: u64) {
    let head = anvil.block_number().await.unwrap();
    let processed = head.saturating_sub(confirmations);
    settled(monitor, "the monitor at the head", |status| {
        status.head == Some(head)
            && status.processed == Some(processed)
            && status.state == MonitorState::Following
    })
    .await;
}
