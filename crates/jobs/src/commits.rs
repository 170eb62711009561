//! Many completions, one commit.
//!
//! A durable commit costs a disk flush. Those who want to write queue up at a lock; each does its writes inside a
//! savepoint of one open transaction and hands the lock on. The committer queues up at the same lock, so its turn comes
//! after all who were waiting when it was called: it commits for all of them. Nobody is told "done" before that commit
//! is on disk, and a savepoint that is not released is rolled back, so each member is as atomic as if it were alone.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use diesel_async::SimpleAsyncConnection;
use privatix_db::{Conn, Database, DbError, Tx, on};
use tokio::sync::{Mutex, Notify, OwnedMutexGuard, oneshot};
use tokio_util::sync::CancellationToken;

pub(crate) struct Commits {
    db: Database,
    group: Arc<Mutex<Group>>,
    // The open transaction needs the committer.
    called: Notify,
}

#[derive(Default)]
struct Group {
    tx: Option<Tx>,
    // A member's savepoint is open: its `Share` is alive, or was dropped before its commit.
    open: bool,
    waiting: Vec<oneshot::Sender<Result<(), DbError>>>,
}

impl Commits {
    pub(crate) fn new(db: Database) -> Arc<Self> {
        Arc::new(Self { db, group: Arc::default(), called: Notify::new() })
    }

    /// Waits for its turn and opens a savepoint. Needs [`run`](Self::run) to be running.
    pub(crate) async fn begin(self: &Arc<Self>) -> Result<Share, DbError> {
        let mut share =
            Share { group: Arc::clone(&self.group).lock_owned().await, commits: Arc::clone(self) };
        share.group.undo_dropped().await;
        if share.group.tx.is_none() {
            share.group.tx = Some(self.db.begin().await?);
        }
        share.group.open = true;
        on!(&mut *share, |c| c.batch_execute("SAVEPOINT share").await)?;
        Ok(share)
    }

    /// Commits whenever somebody waits for it, until `stop`, and once more then.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        loop {
            let last = tokio::select! {
                biased;
                () = self.called.notified() => false,
                () = stop.cancelled() => true,
            };
            self.group.lock().await.commit().await;
            if last {
                return;
            }
        }
    }
}

impl Group {
    /// Undoes what a dropped member left.
    async fn undo_dropped(&mut self) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        if let Some(tx) = &mut self.tx {
            let undone = on!(&mut **tx, |c| c.batch_execute("ROLLBACK TO share; RELEASE share").await);
            if let Err(error) = undone {
                // The savepoint may never have been opened, or the database has rolled the whole back: nobody's
                // writes are certain any more.
                self.fail(&error.into());
            }
        }
    }

    async fn commit(&mut self) {
        self.undo_dropped().await;
        let Some(tx) = self.tx.take() else { return };
        if self.waiting.is_empty() {
            return; // nothing but undone members: dropped, hence rolled back
        }
        match tx.commit().await {
            Ok(()) => {
                for member in self.waiting.drain(..) {
                    let _ = member.send(Ok(())); // the member may have been dropped meanwhile
                }
            }
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &DbError) {
        self.tx = None;
        if !self.waiting.is_empty() {
            tracing::error!(%error, members = self.waiting.len(), "a shared commit failed and was rolled back");
        }
        for member in self.waiting.drain(..) {
            let _ = member.send(Err(DbError::Batch(error.to_string())));
        }
    }
}

/// One member's turn in the shared transaction. Dropped without [`commit`](Self::commit), its writes are undone.
pub(crate) struct Share {
    group: OwnedMutexGuard<Group>,
    commits: Arc<Commits>,
}

impl Share {
    /// Ends the turn and returns once the writes are on disk.
    pub(crate) async fn commit(mut self) -> Result<(), DbError> {
        on!(&mut *self, |c| c.batch_execute("RELEASE share").await)?;
        self.group.open = false;
        let (outcome, committed) = oneshot::channel();
        self.group.waiting.push(outcome);
        drop(self);
        committed.await.map_err(|_| DbError::ShuttingDown)?
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.commits.called.notify_one();
    }
}

#[expect(clippy::expect_used, reason = "`begin` gives out a share only with its transaction open")]
mod share {
    use super::{Conn, Deref, DerefMut, Share};

    impl Deref for Share {
        type Target = Conn;
        fn deref(&self) -> &Conn {
            self.group.tx.as_deref().expect("open")
        }
    }

    impl DerefMut for Share {
        fn deref_mut(&mut self) -> &mut Conn {
            self.group.tx.as_deref_mut().expect("open")
        }
    }
}
