//! One transaction for all that waits: turns, ends, pushes, and the claims for the workers that it frees.

use std::collections::BTreeSet;
use std::time::Duration;

use diesel_async::SimpleAsyncConnection;
use privatix_db::types::Micros;
use privatix_db::{Activity, Conn, Database, DbError, Tx, on};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::rounds::{Answer, Freed, Request, Returned, Turn, TurnRequest, Waiting};
use crate::{JobsError, lease, queue};

/// A round that has had as many turns, or has taken as long, gives the others to the next one.
const TURNS: usize = 64;
const LONGEST: Duration = Duration::from_millis(5);
/// How long all others wait for a handler that has its turn and runs no statement.
const STALL: Duration = Duration::from_secs(1);
/// How often a handler is looked at that has its turn.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) struct Round {
    tx: Tx,
    /// Jobs that end in this round.
    freed: Freed,
    /// Subjects whose next job may come forward.
    subjects: BTreeSet<String>,
    members: Members,
}

impl Round {
    pub(crate) async fn begin(db: &Database) -> Result<Self, JobsError> {
        let tx = db.begin().await?;
        Ok(Self { tx, freed: Freed::new(), subjects: BTreeSet::new(), members: Members::default() })
    }

    /// Gives turns to those who wait, then writes what they left in lists, and makes heads. An error leaves nothing of
    /// the round; `failed` answers its members.
    pub(crate) async fn write(
        mut self,
        waiting: &mut Waiting,
        requests: &mut mpsc::Receiver<Request>,
        now: impl Fn() -> Micros,
    ) -> Result<Self, JobsError> {
        let started = Instant::now();
        for _ in 0..TURNS {
            let Some(turn) = waiting.next_turn() else { break };
            self = self.give(turn).await?;
            while let Ok(request) = requests.try_recv() {
                waiting.add(request);
            }
            if started.elapsed() >= LONGEST {
                break;
            }
        }
        let now = now();
        match self.write_lists(waiting, now).await {
            Ok(()) if !self.tx.is_broken() => Ok(self),
            Ok(()) => Err(self.failed(DbError::Broken.into())),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn write_lists(&mut self, waiting: &mut Waiting, now: Micros) -> Result<(), JobsError> {
        let done = std::mem::take(&mut waiting.done);
        let ends = std::mem::take(&mut waiting.ends);
        let pushes = std::mem::take(&mut waiting.pushes);
        // When one fails, so does the round, and what is answered here is never sent: all get the reason.
        let mut failed = Ok(());
        let leases: Vec<_> = done.iter().map(|(lease, _)| lease.clone()).collect();
        match lease::complete_all(&mut self.tx, &leases, now).await {
            Ok(outcomes) => {
                for ((lease, answer), outcome) in done.into_iter().zip(outcomes) {
                    if outcome.is_ok() {
                        self.freed.insert(lease.id);
                        self.subjects.insert(lease.subject);
                    }
                    self.answer(answer, outcome);
                }
            }
            Err(error) => {
                failed = Err(error);
                for (_, answer) in done {
                    self.answer(answer, Ok(()));
                }
            }
        }
        for (lease, ending, answer) in ends {
            let written = match &failed {
                Ok(()) => lease::end(&mut self.tx, &lease, ending, now).await,
                Err(_) => Ok(false),
            };
            self.freed.insert(lease.id);
            self.subjects.insert(lease.subject);
            match written {
                Ok(written) => self.answer(answer, Ok(written)),
                Err(error) => {
                    failed = Err(error);
                    self.answer(answer, Ok(false));
                }
            }
        }
        for (jobs, answer) in pushes {
            let subjects: Vec<String> = jobs.iter().map(|job| job.subject.clone()).collect();
            let pushed = match &failed {
                Ok(()) => queue::insert(&mut self.tx, jobs).await,
                Err(_) => Ok(Vec::new()),
            };
            self.subjects.extend(subjects);
            match pushed {
                Ok(pushed) => self.answer(answer, Ok(pushed)),
                Err(error) => {
                    failed = Err(error);
                    self.answer(answer, Ok(Vec::new()));
                }
            }
        }
        failed?;
        queue::promote(&mut self.tx, self.subjects.iter().map(String::as_str), now).await
    }

    /// Keeps an answer until the round is on disk.
    fn answer<T: Send + 'static>(&mut self, to: Answer<T>, outcome: Result<T, JobsError>) {
        self.members.0.push(Box::new(move |committed| {
            // Whoever asked may have been dropped.
            let _ = to.send(match committed {
                Ok(()) => outcome,
                Err(reason) => Err(DbError::Batch(reason).into()),
            });
        }));
    }

    /// Lends the transaction to a handler, in a savepoint that is kept or undone.
    async fn give(mut self, request: TurnRequest) -> Result<Self, JobsError> {
        let TurnRequest { lease, stalled, grant, .. } = request;
        if let Err(error) = execute(&mut self.tx, "SAVEPOINT turn").await {
            return Err(self.failed(error));
        }
        let Self { tx, mut freed, mut subjects, members } = self;
        let activity = tx.activity();
        let (turn, returned) = Turn::new(tx);
        // Refused by a handler that was dropped, the turn comes back at once.
        drop(grant.send(turn));
        let Some(Returned { tx, kept }) = take_back(returned, &activity, || stalled.cancel()).await else {
            // Only with the whole runtime: the transaction is gone.
            return Err(members.fail(DbError::ShuttingDown.into()));
        };
        let end = if kept.is_some() { "RELEASE turn" } else { "ROLLBACK TO turn; RELEASE turn" };
        let mut round = Self { tx, freed: Freed::new(), subjects: BTreeSet::new(), members };
        if let Some(answer) = kept {
            freed.insert(lease.id);
            subjects.insert(lease.subject);
            round.answer(answer, Ok(()));
        }
        round.freed = freed;
        round.subjects = subjects;
        match execute(&mut round.tx, end).await {
            Ok(()) if !round.tx.is_broken() => Ok(round),
            Ok(()) => Err(round.failed(DbError::Broken.into())),
            Err(error) => Err(round.failed(error)),
        }
    }

    /// The transaction, to claim in.
    pub(crate) fn conn(&mut self) -> &mut Conn {
        &mut self.tx
    }

    /// The jobs whose workers are free when the round is on disk.
    pub(crate) fn freed(&self) -> &Freed {
        &self.freed
    }

    /// Commits and answers all; returns the jobs that have ended.
    pub(crate) async fn commit(self) -> Result<Freed, JobsError> {
        let Self { tx, freed, members, .. } = self;
        match tx.commit().await {
            Ok(()) => {
                members.answer(&Ok(()));
                Ok(freed)
            }
            Err(error) => Err(members.fail(error.into())),
        }
    }

    /// Rolls back, and answers all with the reason.
    pub(crate) fn failed(self, error: JobsError) -> JobsError {
        self.members.fail(error)
    }
}

/// Those who wait for the round to be on disk.
#[derive(Default)]
struct Members(Vec<Member>);

type Member = Box<dyn FnOnce(Result<(), String>) + Send>;

impl Members {
    fn answer(self, committed: &Result<(), String>) {
        for member in self.0 {
            member(committed.clone());
        }
    }

    fn fail(self, error: JobsError) -> JobsError {
        tracing::error!(%error, members = self.0.len(), "a shared commit failed and was rolled back");
        self.answer(&Err(error.to_string()));
        error
    }
}

async fn execute(conn: &mut Conn, sql: &str) -> Result<(), JobsError> {
    Ok(on!(conn, |c| c.batch_execute(sql).await)?)
}

/// Waits for the transaction. A handler that runs no statement for [`STALL`] in all is stalled, and dropped.
async fn take_back(
    mut returned: oneshot::Receiver<Returned>,
    activity: &Activity,
    drop_handler: impl FnOnce(),
) -> Option<Returned> {
    let mut drop_handler = Some(drop_handler);
    let mut idle = Duration::ZERO;
    loop {
        match tokio::time::timeout(LOOK, &mut returned).await {
            Ok(returned) => return returned.ok(),
            Err(_) if activity.is_running() => {}
            Err(_) => idle += LOOK,
        }
        if idle >= STALL
            && let Some(drop_handler) = drop_handler.take()
        {
            drop_handler();
        }
    }
}
