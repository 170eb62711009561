//! Where logs go.

use std::sync::Arc;

use async_trait::async_trait;
use privatix_db::Conn;

use super::ConfirmedBatch;
use crate::SinkError;
use crate::inform::Inform;

/// Where the effects of logs go.
///
/// [`apply`](Self::apply) and [`rollback`](Self::rollback) write through the connection they are given and nowhere else: it
/// is inside the transaction that moves the monitor's cursor, so each log has its effects exactly once, whatever is killed
/// when. They may be called again with the same blocks after an error or a crash; then nothing of the earlier call was kept.
/// What others are to learn of the effects is returned, and comes back to [`committed`](Self::committed) once it is stored.
#[async_trait]
pub trait LogSink: Send + Sync {
    /// What a commit informs of. It is dropped where the transaction is rolled back.
    type Applied: Send;

    /// Applies the logs of a batch, in order: at most 2,000, so that a block with more comes in several batches; of the
    /// [past](crate::Direction::Past), always whole blocks. An error rolls all of it back; the batch is offered again.
    async fn apply(&self, conn: &mut Conn, batch: &ConfirmedBatch) -> Result<Self::Applied, SinkError>;

    /// Undoes all effects of blocks above `to_block`: a reorg has orphaned them. Their replacements follow as batches.
    async fn rollback(&self, conn: &mut Conn, to_block: u64) -> Result<Self::Applied, SinkError>;

    /// Called after each commit with what was applied in it, e.g. to wake those who wait for the effects. May be missed in a
    /// crash.
    fn committed(&self, _applied: Self::Applied) {}
}

#[async_trait]
impl<S: LogSink + ?Sized> LogSink for Arc<S> {
    type Applied = S::Applied;

    async fn apply(&self, conn: &mut Conn, batch: &ConfirmedBatch) -> Result<S::Applied, SinkError> {
        (**self).apply(conn, batch).await
    }
    async fn rollback(&self, conn: &mut Conn, to_block: u64) -> Result<S::Applied, SinkError> {
        (**self).rollback(conn, to_block).await
    }
    fn committed(&self, applied: S::Applied) {
        (**self).committed(applied);
    }
}

/// A [`LogSink`], whatever it informs of.
#[async_trait]
pub(super) trait AnySink: Send + Sync {
    async fn apply(&self, conn: &mut Conn, batch: &ConfirmedBatch) -> Result<Inform, SinkError>;
    async fn rollback(&self, conn: &mut Conn, to_block: u64) -> Result<Inform, SinkError>;
}

#[async_trait]
impl<S: LogSink + 'static> AnySink for Arc<S> {
    async fn apply(&self, conn: &mut Conn, batch: &ConfirmedBatch) -> Result<Inform, SinkError> {
        Ok(inform(self, LogSink::apply(&**self, conn, batch).await?))
    }
    async fn rollback(&self, conn: &mut Conn, to_block: u64) -> Result<Inform, SinkError> {
        Ok(inform(self, LogSink::rollback(&**self, conn, to_block).await?))
    }
}

fn inform<S: LogSink + 'static>(sink: &Arc<S>, applied: S::Applied) -> Inform {
    let sink = Arc::clone(sink);
    Box::new(move || sink.committed(applied))
}
