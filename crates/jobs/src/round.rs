//! One transaction for all that waits: turns, ends, pushes, and the claims for the workers that it frees.

use std::collections::BTreeSet;
use std::time::Duration;

use diesel_async::SimpleAsyncConnection;
use privatix_db::types::Micros;
use privatix_db::{Activity, Conn, Database, DbError, Tx, on};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::rounds::{Answer, Ended, Request, Returned, Turn, TurnRequest, Waiting};
use crate::{JobsError, lease, queue};

/// A round ends after this many turns or this time; the other turns are left to the next round.
const TURNS: usize = 64;
const LONGEST: Duration = Duration::from_millis(5);
/// How long all others wait for a handler that has its turn and runs no statement.
const STALL: Duration = Duration::from_secs(1);
/// How often a handler is looked at that has its turn.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) struct Round {
    tx: Tx,
    /// Jobs whose end is in this round.
    ended: Ended,
    /// Subjects whose next job may come forward.
    subjects: BTreeSet<String>,
    members: Members,
}

impl Round {
    pub(crate) async fn begin(db: &Database) -> Result<Self, JobsError> {
        let tx = db.begin().await?;
        Ok(Self { tx, ended: Ended::new(), subjects: BTreeSet::new(), members: Members::default() })
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
                        self.ended.insert(lease.id);
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
            self.ended.insert(lease.id);
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
        let Self { tx, mut ended, mut subjects, members } = self;
        let activity = tx.activity();
        let (turn, returned) = Turn::new(tx);
        // Refused by a handler that was dropped, the turn comes back at once.
        drop(grant.send(turn));
        let Some(Returned { tx, kept }) = take_back(returned, &activity, || stalled.cancel()).await else {
            // Only with the whole runtime: the transaction is gone.
            return Err(members.fail(DbError::ShuttingDown.into()));
        };
        let end = if kept.is_some() { "RELEASE turn" } else { "ROLLBACK TO turn; RELEASE turn" };
        let mut round = Self { tx, ended: Ended::new(), subjects: BTreeSet::new(), members };
        if let Some(answer) = kept {
            ended.insert(lease.id);
            subjects.insert(lease.subject);
            round.answer(answer, Ok(()));
        }
        round.ended = ended;
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
    pub(crate) fn ended(&self) -> &Ended {
        &self.ended
    }

    /// Commits and answers all; returns the jobs that have ended.
    pub(crate) async fn commit(self) -> Result<Ended, JobsError> {
        let Self { tx, ended, members, .. } = self;
        match tx.commit().await {
            Ok(()) => {
                members.answer(&Ok(()));
                Ok(ended)
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
    let mut idle = Idle::new(activity.statements());
    loop {
        if let Ok(returned) = tokio::time::timeout(LOOK, &mut returned).await {
            return returned.ok();
        }
        if idle.look(activity.statements(), activity.is_running())
            && let Some(drop_handler) = drop_handler.take()
        {
            drop_handler();
        }
    }
}

/// For how long a handler that has its turn has run no statement, in all.
struct Idle {
    time: Duration,
    statements: u64,
}

impl Idle {
    const fn new(statements: u64) -> Self {
        Self { time: Duration::ZERO, statements }
    }

    /// Notes one look, made every [`LOOK`], with the number of statements that were started. Returns whether the handler is
    /// stalled. Time in which a statement was started counts as used: many short ones are seldom caught while they run.
    fn look(&mut self, statements: u64, is_running: bool) -> bool {
        let was_used = is_running || statements != self.statements;
        self.statements = statements;
        if !was_used {
            self.time += LOOK;
        }
        self.time >= STALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_is_stalled_after_a_second_without_a_statement_and_never_while_it_runs_short_ones() {
        let mut idle = Idle::new(7);
        assert!((8..100).all(|started| !idle.look(started, false)), "one in each look");
        assert!((0..100).all(|_| !idle.look(100, true)), "a long one");
        let looks = (1..100).find(|_| idle.look(100, false));
        assert_eq!(looks, Some(10));
    }
}
