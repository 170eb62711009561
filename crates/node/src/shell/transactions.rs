//! Which stored transaction an effect became: [`Transactions`].

use std::sync::Arc;

use async_trait::async_trait;
use privatix_chain::{Cancelled, ChainError, Intent, Transactor, TxId, TxStatus};
use privatix_contracts::call;
use privatix_db::Conn;
use privatix_jobs::JobId;
use privatix_market::{EffectId, Purpose};
use privatix_store::purposes::{self, Recorded, TxNumber};

use crate::cause::{Numbered, kind, submit_numbered};
use crate::{ACCOUNT, Cause, Node, NodeError};

/// Stores and cancels transactions by the effects that they carry out: one effect, one transaction, for ever.
#[async_trait]
pub trait Transactions: Send + Sync {
    /// Stores the transaction of an effect, with what it is for. Of an effect that has one already, for the same purpose and without
    /// an outcome, it stays as it is.
    ///
    /// # Errors
    /// [`NodeError::NumberUsed`]; [`NodeError::Chain`]; [`NodeError::NotRunning`] while there is no transactor.
    async fn submit(
        &self,
        conn: &mut Conn,
        effect: EffectId,
        purpose: Purpose,
        intent: Intent,
    ) -> Result<(), NodeError>;

    /// Stores the transaction of several effects, with what each is for. Of none, nothing happens.
    ///
    /// # Errors
    /// [`NodeError::Store`] where one of them has a transaction already; else as [`submit`](Self::submit).
    async fn submit_batch(
        &self,
        conn: &mut Conn,
        effects: &[(EffectId, Purpose)],
        intent: Intent,
    ) -> Result<(), NodeError>;

    /// Cancels the transaction of an effect.
    ///
    /// # Errors
    /// [`NodeError::Chain`]; [`NodeError::NotRunning`] while there is no transactor.
    async fn cancel(&self, conn: &mut Conn, effect: EffectId) -> Result<Cancellation, NodeError>;

    /// Looks for transactions to send now. Called after a commit that stored or cancelled one.
    fn wake(&self);
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
    /// It has an outcome: nothing is cancelled.
    Over {
        /// The outcome.
        status: TxStatus,
    },
    /// The effect is no transaction.
    Unknown,
}

/// Why the transaction of an effect is not stored: its number was used before. A decision that gives a number twice has lost what it
/// did before, so what it wants now is not certain to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NumberUsed {
    /// For something else.
    #[error(
        "number {effect} is that of a transaction for {found:?}, and cannot be one for {wanted:?}; restore the database from a backup"
    )]
    ForAnother {
        /// The effect.
        effect: EffectId,
        /// What the stored transaction is for; `None` if that is not recorded.
        found: Option<Purpose>,
        /// What the new one is for.
        wanted: Purpose,
    },
    /// For the same, and that has an outcome.
    #[error(
        "number {effect} is that of a transaction that is {status}, and cannot be sent again; restore the database from a backup"
    )]
    Over {
        /// The effect.
        effect: EffectId,
        /// What became of its transaction.
        status: TxStatus,
    },
}

tokio::task_local! {
    static CANCELLING: EffectId;
    static JOB: JobId;
}

/// Makes decisions on behalf of a job: it is recorded with the transactions that they submit.
pub async fn by_job<T>(job: JobId, decisions: impl Future<Output = T>) -> T {
    JOB.scope(job, decisions).await
}

/// Whether the calling task is cancelling the transaction of this effect for a decision that is being made.
///
/// A transactor reports a cancellation to its sink at once. The decision learns of it by itself, so the sink must not decide it,
/// too: that would store another decision in the middle of this one. The other effects of a batch it must decide, since nobody else
/// does.
pub fn is_cancelling(effect: EffectId) -> bool {
    CANCELLING.try_with(|cancelling| *cancelling == effect).unwrap_or_default()
}

#[async_trait]
impl Transactions for Transactor {
    /// The key of the intent is that of the effect, and its kind and subject, for people, are those of the purpose.
    async fn submit(
        &self,
        conn: &mut Conn,
        effect: EffectId,
        purpose: Purpose,
        intent: Intent,
    ) -> Result<(), NodeError> {
        if let Some(recorded) = purposes::of_effect(conn, effect).await? {
            let record = self.get(conn, TxId(recorded.tx.0)).await;
            let record = record.map_err(|error| crate::cause::gone(recorded.tx, error))?;
            if recorded.purpose != purpose {
                let found = Some(recorded.purpose);
                return Err(NumberUsed::ForAnother { effect, found, wanted: purpose }.into());
            }
            return match record.status {
                status if status.is_open() => Ok(()),
                status => Err(NumberUsed::Over { effect, status }.into()),
            };
        }
        if let Some(record) = self.find(conn, &intent.key).await? {
            let found = purposes::of_tx(conn, TxNumber(record.id.0)).await?;
            let found = found.into_iter().flatten().map(|recorded| recorded.purpose).next();
            return Err(NumberUsed::ForAnother { effect, found, wanted: purpose }.into());
        }
        let mut cause = Cause::new(effect.subject, purpose);
        cause.job = JOB.try_with(|job| *job).ok();
        // Two at a time would take each other's permit or allowance.
        let from_wallet = call::takes_from_wallet(&intent.input);
        let numbered = Numbered { cause: &cause, effect, from_wallet };
        submit_numbered(self, conn, numbered, intent.kind(kind(&purpose))).await?;
        Ok(())
    }

    /// The key of the intent is made of the first effect: each has one transaction, for ever.
    async fn submit_batch(
        &self,
        conn: &mut Conn,
        effects: &[(EffectId, Purpose)],
        intent: Intent,
    ) -> Result<(), NodeError> {
        let Some((first, purpose)) = effects.first() else { return Ok(()) };
        let mut intent = intent.kind(kind(purpose)).subject(ACCOUNT);
        intent.key = format!("batch of {first}");
        let tx = TxNumber(Self::submit(self, conn, intent).await?.0);
        for (effect, purpose) in effects {
            let (effect, purpose) = (*effect, *purpose);
            let row = Recorded { tx, effect, purpose, from_wallet: false, job: None, in_batch: true };
            purposes::record(conn, &row).await?;
        }
        Ok(())
    }

    /// By what is recorded of the effect, so also one that was stored under another key.
    async fn cancel(&self, conn: &mut Conn, effect: EffectId) -> Result<Cancellation, NodeError> {
        let Some(recorded) = purposes::of_effect(conn, effect).await? else {
            return Ok(Cancellation::Unknown);
        };
        // The sink is informed of nothing about this effect: the decision learns of it by itself.
        let cancelled = CANCELLING.scope(effect, Self::cancel(self, conn, TxId(recorded.tx.0))).await;
        match cancelled.map(|cancelling| cancelling.what()) {
            Ok(Cancelled::Done) => Ok(Cancellation::Done),
            Ok(_) => Ok(Cancellation::Requested),
            Err(ChainError::NotOpen { status, .. }) => Ok(Cancellation::Over { status }),
            Err(error) => Err(crate::cause::gone(recorded.tx, error)),
        }
    }

    fn wake(&self) {
        Self::wake(self);
    }
}

/// Those of its transactor, which there is while it runs.
#[async_trait]
impl Transactions for Node {
    async fn submit(
        &self,
        conn: &mut Conn,
        effect: EffectId,
        purpose: Purpose,
        intent: Intent,
    ) -> Result<(), NodeError> {
        Transactions::submit(&self.transactor()?, conn, effect, purpose, intent).await
    }

    async fn submit_batch(
        &self,
        conn: &mut Conn,
        effects: &[(EffectId, Purpose)],
        intent: Intent,
    ) -> Result<(), NodeError> {
        self.transactor()?.submit_batch(conn, effects, intent).await
    }

    async fn cancel(&self, conn: &mut Conn, effect: EffectId) -> Result<Cancellation, NodeError> {
        Transactions::cancel(&self.transactor()?, conn, effect).await
    }

    fn wake(&self) {
        self.wake_transactor();
    }
}

#[async_trait]
impl<T: Transactions + ?Sized> Transactions for Arc<T> {
    async fn submit(
        &self,
        conn: &mut Conn,
        effect: EffectId,
        purpose: Purpose,
        intent: Intent,
    ) -> Result<(), NodeError> {
        (**self).submit(conn, effect, purpose, intent).await
    }

    async fn submit_batch(
        &self,
        conn: &mut Conn,
        effects: &[(EffectId, Purpose)],
        intent: Intent,
    ) -> Result<(), NodeError> {
        (**self).submit_batch(conn, effects, intent).await
    }

    async fn cancel(&self, conn: &mut Conn, effect: EffectId) -> Result<Cancellation, NodeError> {
        (**self).cancel(conn, effect).await
    }

    fn wake(&self) {
        (**self).wake();
    }
}
