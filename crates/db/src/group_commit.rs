use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::{Conn, Database, DbError};

/// Writes a batch of items inside one transaction.
pub trait BatchWrite: Send + 'static {
    /// One write.
    type Item: Send + 'static;
    /// What became of it.
    type Outcome: Send + 'static;

    /// Writes the items in order and answers one outcome for each, in the same order. An error rolls back all.
    fn write(
        &mut self,
        conn: &mut Conn,
        items: Vec<Self::Item>,
    ) -> impl Future<Output = Result<Vec<Self::Outcome>, DbError>> + Send;
}

/// Many small durable writes, one commit: whatever arrives while a commit is on its way to the disk forms the next.
///
/// A single durable commit costs a disk flush; sharing it is what makes thousands of acknowledged payments a second
/// possible without weakening "persist, then acknowledge". Cheap to clone; the writing task ends when the last clone
/// is dropped, after writing what was submitted.
#[derive(Debug)]
pub struct GroupCommit<W: BatchWrite> {
    queue: mpsc::Sender<Pending<W>>,
}

type Pending<W> = (<W as BatchWrite>::Item, oneshot::Sender<Result<<W as BatchWrite>::Outcome, DbError>>);

impl<W: BatchWrite> Clone for GroupCommit<W> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<W: BatchWrite> GroupCommit<W> {
    /// Starts the writing task, with at most `max_batch` items in a commit. The task must be awaited by its owner
    /// after the last handle is gone.
    pub fn start(db: Database, writer: W, max_batch: usize) -> (Self, JoinHandle<()>) {
        let max_batch = max_batch.max(1);
        let (queue, pending) = mpsc::channel(max_batch * 2);
        (Self { queue }, tokio::spawn(write_batches(db, writer, pending, max_batch)))
    }

    /// Writes one item; returns when it is on disk. Cancelling the future does not cancel the write.
    ///
    /// # Errors
    /// [`DbError::Batch`] when the batch was rolled back; [`DbError::ShuttingDown`] when the task has ended.
    pub async fn submit(&self, item: W::Item) -> Result<W::Outcome, DbError> {
        let (answer, outcome) = oneshot::channel();
        self.queue.send((item, answer)).await.map_err(|_| DbError::ShuttingDown)?;
        outcome.await.map_err(|_| DbError::ShuttingDown)?
    }
}

async fn write_batches<W: BatchWrite>(
    db: Database,
    mut writer: W,
    mut pending: mpsc::Receiver<Pending<W>>,
    max_batch: usize,
) {
    let mut batch = Vec::with_capacity(max_batch);
    while pending.recv_many(&mut batch, max_batch).await > 0 {
        let (items, answers): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        match commit(&db, &mut writer, items).await {
            Ok(outcomes) => {
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    let _ = answer.send(Ok(outcome)); // the submitter may have gone
                }
            }
            Err(error) => {
                tracing::error!(%error, writes = answers.len(), "batch of writes rolled back");
                for answer in answers {
                    let _ = answer.send(Err(DbError::Batch(error.to_string())));
                }
            }
        }
    }
}

async fn commit<W: BatchWrite>(
    db: &Database,
    writer: &mut W,
    items: Vec<W::Item>,
) -> Result<Vec<W::Outcome>, DbError> {
    let mut tx = db.begin().await?;
    let outcomes = writer.write(&mut tx, items).await?;
    tx.commit().await?;
    Ok(outcomes)
}
