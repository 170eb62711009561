//! Which stored transaction an effect became: [`Transactions`].

use async_trait::async_trait;
use privatix_chain::{Cancelled, ChainError, Intent, Transactor};
use privatix_db::Conn;
use privatix_market::{EffectId, Purpose};

use crate::NodeError;

/// Stores and cancels transactions by the effects that they carry out: one effect, one transaction, for ever.
#[async_trait]
pub trait Transactions: Send + Sync {
    /// Stores the transaction of an effect. One that is stored already stays as it is.
    ///
    /// # Errors
    /// [`NodeError::Chain`].
    async fn submit(
        &self,
        conn: &mut Conn,
        effect: EffectId,
        purpose: Purpose,
        intent: Intent,
    ) -> Result<(), NodeError>;

    /// Cancels the transaction of an effect.
    ///
    /// # Errors
    /// [`NodeError::Chain`].
    async fn cancel(&self, conn: &mut Conn, effect: EffectId) -> Result<Cancellation, NodeError>;
}

/// What came of cancelling the transaction of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancellation {
    /// It was never sent, and never will be.
    Done,
    /// It was sent, and may be in a block: the chain decides, and its fate follows. If a reorganisation removes it, it is not sent
    /// again.
    Requested,
    /// Its outcome is final: nothing is cancelled.
    NotOpen,
    /// The effect is no transaction.
    Unknown,
}

tokio::task_local! {
    static CANCELLING: ();
}

/// Whether the calling task is cancelling a transaction for a decision that is being made.
///
/// A transactor reports a cancellation to its sink at once. The decision learns of it by itself, so the sink must not decide it,
/// too: that would store another decision in the middle of this one.
pub fn is_cancelling() -> bool {
    CANCELLING.try_with(|()| ()).is_ok()
}

#[async_trait]
impl Transactions for Transactor {
    /// The key of the intent is that of the effect.
    async fn submit(
        &self,
        conn: &mut Conn,
        _: EffectId,
        _: Purpose,
        intent: Intent,
    ) -> Result<(), NodeError> {
        Self::submit(self, conn, intent).await?;
        Ok(())
    }

    async fn cancel(&self, conn: &mut Conn, effect: EffectId) -> Result<Cancellation, NodeError> {
        let Some(record) = self.find(conn, &effect.to_string()).await? else {
            return Ok(Cancellation::Unknown);
        };
        match CANCELLING.scope((), Self::cancel(self, conn, record.id)).await {
            Ok(Cancelled::Done) => Ok(Cancellation::Done),
            Ok(_) => Ok(Cancellation::Requested),
            Err(ChainError::NotOpen { .. }) => Ok(Cancellation::NotOpen),
            Err(error) => Err(error.into()),
        }
    }
}
