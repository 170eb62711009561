//! What transactions are submitted for.

use privatix_chain::{ChainError, Intent, Transactor, TxId, TxRecord};
use privatix_db::Conn;
use privatix_jobs::JobId;
use privatix_market::{EffectId, Purpose, Subject};
use privatix_store::StoreError;
use privatix_store::purposes::{self, JobNumber, Recorded, TxNumber};

use crate::{ACCOUNT, Node, NodeError};

/// Why a transaction is submitted: nothing is without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What it is about.
    pub subject: Subject,
    /// What it is for, with the amounts that its call carries.
    pub purpose: Purpose,
    /// The job that makes it.
    pub job: Option<JobId>,
}

impl Cause {
    /// The cause of a transaction that no job submits.
    pub const fn new(subject: Subject, purpose: Purpose) -> Self {
        Self { subject, purpose, job: None }
    }

    /// The same cause, with the job that submits the transaction.
    #[must_use]
    pub const fn by(mut self, job: JobId) -> Self {
        self.job = Some(job);
        self
    }
}

/// An effect with all that is recorded of it.
pub(crate) struct Numbered<'a> {
    pub(crate) cause: &'a Cause,
    pub(crate) effect: EffectId,
    pub(crate) from_wallet: bool,
}

impl Node {
    /// Stores what the chain should do and what for, in the caller's transaction. Its kind and its subject, for people, are
    /// those of the cause.
    ///
    /// # Errors
    /// [`NodeError::NotRunning`] outside of [`run`](Self::run); errors of the database.
    pub async fn submit_intent(
        &self,
        conn: &mut Conn,
        cause: &Cause,
        intent: Intent,
    ) -> Result<TxId, NodeError> {
        let effect = purposes::next_effect(conn, cause.subject).await?;
        let numbered = Numbered { cause, effect, from_wallet: false };
        self.submit_numbered(conn, numbered, intent.kind(kind(&cause.purpose))).await
    }

    /// The transactions about a subject for such purposes, the newest first.
    ///
    /// # Errors
    /// As [`submit_intent`](Self::submit_intent); [`NodeError::is_damage`] where one of those about the subject cannot be read.
    pub async fn transactions_about(
        &self,
        conn: &mut Conn,
        subject: Subject,
        such: impl Fn(&Purpose) -> bool,
    ) -> Result<Vec<(Recorded, TxRecord)>, NodeError> {
        let transactor = self.transactor()?;
        let mut found = Vec::new();
        for recorded in purposes::of_subject(conn, subject).await? {
            if such(&recorded.purpose) {
                let record = transactor.get(conn, TxId(recorded.tx.0)).await;
                found.push((recorded, record.map_err(|error| gone(recorded.tx, error))?));
            }
        }
        Ok(found)
    }

    /// The transactions that a job made, the newest first.
    ///
    /// # Errors
    /// As [`submit_intent`](Self::submit_intent).
    pub async fn transactions_of_job(&self, conn: &mut Conn, job: JobId) -> Result<Vec<TxRecord>, NodeError> {
        let transactor = self.transactor()?;
        let mut found = Vec::new();
        for tx in purposes::of_job(conn, JobNumber(job.number())).await? {
            found.push(transactor.get(conn, TxId(tx.0)).await?);
        }
        Ok(found)
    }

    /// [`submit_intent`](Self::submit_intent) of an effect that has its number and its kind.
    pub(crate) async fn submit_numbered(
        &self,
        conn: &mut Conn,
        numbered: Numbered<'_>,
        intent: Intent,
    ) -> Result<TxId, NodeError> {
        submit_numbered(&self.transactor()?, conn, numbered, intent).await
    }
}

/// Stores an intent, and what it is for.
pub(crate) async fn submit_numbered(
    transactor: &Transactor,
    conn: &mut Conn,
    numbered: Numbered<'_>,
    intent: Intent,
) -> Result<TxId, NodeError> {
    let Numbered { cause, effect, from_wallet } = numbered;
    let id = transactor.submit(conn, intent.subject(text(&cause.subject))).await?;
    let recorded = Recorded {
        tx: TxNumber(id.0),
        effect,
        purpose: cause.purpose,
        from_wallet,
        job: cause.job.map(|job| JobNumber(job.number())),
        in_batch: false,
    };
    purposes::record(conn, &recorded).await?;
    Ok(id)
}

/// A purpose whose transaction is not stored any more is damage, of its subject alone.
pub(crate) fn gone(tx: TxNumber, error: ChainError) -> NodeError {
    match error {
        ChainError::UnknownTx { .. } => {
            let reason = format!("transaction {} is not stored any more", tx.0);
            StoreError::Corrupt { what: "the purpose of a transaction", reason }.into()
        }
        error => error.into(),
    }
}

/// The kind by which people find transactions with this purpose.
pub(crate) const fn kind(purpose: &Purpose) -> &'static str {
    match purpose {
        Purpose::Open { .. } => "open_channel",
        Purpose::Close { .. } => "close_channel",
        Purpose::Settle { .. } => "settle_channel",
        Purpose::Publish => "register_offering",
        Purpose::PopUp => "pop_up_offering",
        Purpose::Remove => "remove_offering",
        Purpose::Appoint { .. } => "appoint_operator",
        purpose => purpose.name(),
    }
}

/// The subject by which people find transactions.
fn text(subject: &Subject) -> String {
    match subject {
        Subject::Channel(id) => id.to_string(),
        Subject::Offering(_, hash) => hash.to_string(),
        Subject::Account(_) => ACCOUNT.to_owned(),
        subject => subject.to_string(),
    }
}
