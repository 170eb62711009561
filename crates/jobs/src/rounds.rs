//! Many writes of jobs, one commit: how handlers and pushers ask for their part in it.
//!
//! A durable commit costs a disk flush. The dispatcher gathers what is asked for meanwhile and writes it in one
//! transaction, a [`round`](crate::round). Nobody gets an answer before that transaction is on disk.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use privatix_db::{Conn, DbError, Tx};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::claim::Lease;
use crate::lease::Ending;
use crate::queue::NewJob;
use crate::{JobId, JobsError, Pushed};

/// Requests that may wait to be looked at; more make their senders wait.
const REQUESTS: usize = 256;

tokio::task_local! {
    /// Whether the handler of this task has a turn.
    static HAS_TURN: Cell<bool>;
}

/// Runs a handler so that its turns are known; `has_turn` if it begins with one.
pub(crate) async fn watching_turns<F: Future>(has_turn: bool, handler: F) -> F::Output {
    HAS_TURN.scope(Cell::new(has_turn), handler).await
}

/// Asks for parts in rounds. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Rounds(mpsc::Sender<Request>);

#[derive(Debug)]
pub(crate) enum Request {
    Turn(TurnRequest),
    Done { lease: Lease, answer: Answer<()> },
    End { lease: Lease, ending: Ending, answer: Answer<bool> },
    Push { jobs: Vec<NewJob>, answer: Answer<Vec<Pushed>> },
}

/// What comes of a request when its round is on disk, or has failed.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, JobsError>>;

/// A handler waits to write the effects of its job.
#[derive(Debug)]
pub(crate) struct TurnRequest {
    /// The place of the job's lane in the order of priority.
    pub(crate) lane: usize,
    pub(crate) lease: Lease,
    /// Drops the handler.
    pub(crate) stalled: CancellationToken,
    pub(crate) grant: oneshot::Sender<Turn>,
}

impl Rounds {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, waiting) = mpsc::channel(REQUESTS);
        (Self(requests), waiting)
    }

    /// Waits for a turn at the round's transaction, in a savepoint of its own. `failed` notes whether the round fails by no
    /// fault of this member.
    pub(crate) async fn turn(
        &self,
        lane: usize,
        lease: Lease,
        stalled: CancellationToken,
        failed: SharedFailure,
    ) -> Result<Turn, JobsError> {
        let (grant, turn) = oneshot::channel();
        self.send(Request::Turn(TurnRequest { lane, lease, stalled, grant })).await?;
        let mut turn = turn.await.map_err(|_| DbError::ShuttingDown)?;
        turn.failed = failed;
        let _ = HAS_TURN.try_with(|has_turn| has_turn.set(true));
        Ok(turn)
    }

    /// Marks a job done that has no effects.
    pub(crate) async fn done(&self, lease: Lease, failed: &SharedFailure) -> Result<(), JobsError> {
        let outcome = self.ask(|answer| Request::Done { lease, answer }).await;
        failed.note(&outcome);
        outcome
    }

    /// Writes how a run ended that committed nothing; false if the job was no longer the holder's.
    pub(crate) async fn end(&self, lease: Lease, ending: Ending) -> Result<bool, JobsError> {
        self.ask(|answer| Request::End { lease, ending, answer }).await
    }

    pub(crate) async fn push(&self, jobs: Vec<NewJob>) -> Result<Vec<Pushed>, JobsError> {
        if HAS_TURN.try_with(Cell::get).unwrap_or(false) {
            // The round waits for this handler.
            return Err(JobsError::InTurn);
        }
        self.ask(|answer| Request::Push { jobs, answer }).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, JobsError> {
        let (answer, answered) = oneshot::channel();
        self.send(request(answer)).await?;
        answered.await.map_err(|_| DbError::ShuttingDown)?
    }

    async fn send(&self, request: Request) -> Result<(), JobsError> {
        Ok(self.0.send(request).await.map_err(|_| DbError::ShuttingDown)?)
    }
}

/// Whether a round failed that a handler was a member of, by no fault of its own: that is no failed try of its job.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedFailure(Arc<AtomicBool>);

impl SharedFailure {
    fn note<T>(&self, outcome: &Result<T, JobsError>) {
        if let Err(JobsError::Db(DbError::Batch(_))) = outcome {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    pub(crate) fn has_happened(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// One member's part of the transaction. Dropped without [`commit`](Self::commit), its writes are undone.
#[derive(Debug)]
pub(crate) struct Turn {
    // Taken when the turn ends.
    lent: Option<Lent>,
    failed: SharedFailure,
}

struct Lent {
    tx: Tx,
    back: oneshot::Sender<Returned>,
}

/// The transaction, back from a turn.
pub(crate) struct Returned {
    pub(crate) tx: Tx,
    /// Who waits for the commit; `None` if the turn's writes are to be undone.
    pub(crate) kept: Option<Answer<()>>,
}

impl Turn {
    pub(crate) fn new(tx: Tx) -> (Self, oneshot::Receiver<Returned>) {
        let (back, returned) = oneshot::channel();
        (Self { lent: Some(Lent { tx, back }), failed: SharedFailure::default() }, returned)
    }

    /// Ends the turn and returns once its writes are on disk.
    pub(crate) async fn commit(mut self) -> Result<(), JobsError> {
        let (answer, committed) = oneshot::channel();
        // Then the round fails by a statement of this member.
        let is_broken = self.lent.as_ref().is_some_and(|lent| lent.tx.is_broken());
        let failed = self.failed.clone();
        self.give_back(Some(answer));
        drop(self);
        let outcome = committed.await.map_err(|_| DbError::ShuttingDown)?;
        if !is_broken {
            failed.note(&outcome);
        }
        outcome
    }

    fn give_back(&mut self, kept: Option<Answer<()>>) {
        if let Some(Lent { tx, back }) = self.lent.take() {
            let _ = HAS_TURN.try_with(|has_turn| has_turn.set(false));
            // A processor that was dropped takes nothing back: then the whole transaction is rolled back.
            let _ = back.send(Returned { tx, kept });
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.give_back(None);
    }
}

impl std::fmt::Debug for Lent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tx")
    }
}

#[expect(clippy::expect_used, reason = "`lent` is taken by `commit` and `drop` alone")]
mod turn {
    use super::{Conn, Deref, DerefMut, Turn};

    impl Deref for Turn {
        type Target = Conn;
        fn deref(&self) -> &Conn {
            &self.lent.as_ref().expect("present until the turn ends").tx
        }
    }

    impl DerefMut for Turn {
        fn deref_mut(&mut self) -> &mut Conn {
            &mut self.lent.as_mut().expect("present until the turn ends").tx
        }
    }
}

/// What has been asked for and is in no round yet.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    turns: Vec<TurnRequest>,
    pub(crate) done: Vec<(Lease, Answer<()>)>,
    pub(crate) ends: Vec<(Lease, Ending, Answer<bool>)>,
    pub(crate) pushes: Vec<(Vec<NewJob>, Answer<Vec<Pushed>>)>,
}

impl Waiting {
    pub(crate) fn add(&mut self, request: Request) {
        match request {
            Request::Turn(turn) => self.turns.push(turn),
            Request::Done { lease, answer } => self.done.push((lease, answer)),
            Request::End { lease, ending, answer } => self.ends.push((lease, ending, answer)),
            Request::Push { jobs, answer } => self.pushes.push((jobs, answer)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty() && self.done.is_empty() && self.ends.is_empty() && self.pushes.is_empty()
    }

    /// The turn of the lane of highest priority, of these the one that has waited longest.
    pub(crate) fn next_turn(&mut self) -> Option<TurnRequest> {
        let lanes = self.turns.iter().enumerate().map(|(place, turn)| (turn.lane, place));
        let (_, place) = lanes.min()?;
        Some(self.turns.remove(place))
    }
}

/// Jobs whose end is in a round.
pub(crate) type Ended = std::collections::BTreeSet<JobId>;

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(lane: usize, id: i64) -> Request {
        let lease = Lease { id: JobId(id), token: 1, subject: String::new() };
        let stalled = CancellationToken::new();
        Request::Turn(TurnRequest { lane, lease, stalled, grant: oneshot::channel().0 })
    }

    #[test]
    fn turns_go_to_the_highest_lane_first_and_within_it_in_order_of_arrival() {
        let mut waiting = Waiting::default();
        for (lane, id) in [(2, 1), (1, 2), (2, 3), (0, 4), (1, 5)] {
            waiting.add(turn(lane, id));
        }
        let order: Vec<i64> =
            std::iter::from_fn(|| waiting.next_turn()).map(|turn| turn.lease.id.0).collect();
        assert_eq!(order, [4, 2, 5, 1, 3]);
    }
}
