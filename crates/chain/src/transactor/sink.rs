//! Where outcomes go.

use std::sync::Arc;

use async_trait::async_trait;
use privatix_db::Conn;

use super::{TxChange, TxRecord};
use crate::SinkError;
use crate::inform::Inform;

/// Where outcomes go.
///
/// What others are to learn of a change is returned, and comes back to [`committed`](Self::committed) once it is stored.
#[async_trait]
pub trait TxSink: Send + Sync {
    /// What a commit informs of. It is dropped where the transaction is rolled back.
    type Applied: Send;

    /// Called with each change, inside the transaction that stores it: exactly one call of each is committed. An error rolls
    /// the change back; the call is repeated later.
    async fn changed(
        &self,
        conn: &mut Conn,
        record: &TxRecord,
        change: TxChange,
    ) -> Result<Self::Applied, SinkError>;

    /// Called with the changes of intents that the transactor makes by itself: those that use up a nonce, and rescues, whose
    /// outcome concerns nobody else. For counting what they cost.
    fn changed_own(&self, _record: &TxRecord, _change: TxChange) -> Option<Self::Applied> {
        None
    }

    /// Called after the commit with what each change has returned, in their order, e.g. to wake those who wait for it. May be
    /// missed in a crash.
    fn committed(&self, _applied: Self::Applied) {}
}

#[async_trait]
impl<S: TxSink + ?Sized> TxSink for Arc<S> {
    type Applied = S::Applied;

    async fn changed(
        &self,
        conn: &mut Conn,
        record: &TxRecord,
        change: TxChange,
    ) -> Result<S::Applied, SinkError> {
        (**self).changed(conn, record, change).await
    }
    fn changed_own(&self, record: &TxRecord, change: TxChange) -> Option<S::Applied> {
        (**self).changed_own(record, change)
    }
    fn committed(&self, applied: S::Applied) {
        (**self).committed(applied);
    }
}

/// A sink for those who only look at the records.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTxSink;

#[async_trait]
impl TxSink for NoTxSink {
    type Applied = ();

    async fn changed(&self, _: &mut Conn, _: &TxRecord, _: TxChange) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A [`TxSink`], whatever it informs of.
#[async_trait]
pub(super) trait AnyTxSink: Send + Sync {
    async fn changed(
        &self,
        conn: &mut Conn,
        record: &TxRecord,
        change: TxChange,
    ) -> Result<Inform, SinkError>;
    fn changed_own(&self, record: &TxRecord, change: TxChange) -> Option<Inform>;
}

#[async_trait]
impl<S: TxSink + 'static> AnyTxSink for Arc<S> {
    async fn changed(
        &self,
        conn: &mut Conn,
        record: &TxRecord,
        change: TxChange,
    ) -> Result<Inform, SinkError> {
        Ok(inform(self, TxSink::changed(&**self, conn, record, change).await?))
    }
    fn changed_own(&self, record: &TxRecord, change: TxChange) -> Option<Inform> {
        Some(inform(self, TxSink::changed_own(&**self, record, change)?))
    }
}

fn inform<S: TxSink + 'static>(sink: &Arc<S>, applied: S::Applied) -> Inform {
    let sink = Arc::clone(sink);
    Box::new(move || sink.committed(applied))
}
