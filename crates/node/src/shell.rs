//! The loop between decisions about a channel and the database: [`Shell`].
//!
//! An input is decided in one transaction: the state is loaded once, the effects of the database are carried out, what they
//! report is decided, and the state is stored once. What is to be done after the commit comes back in [`Applied`].

mod intent;
mod runner;
mod transactions;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use privatix_chain::{Monitor, TxStatus, is_processed};
use privatix_channel::{Amount, ChannelId, Domain, VoucherVerifier};
use privatix_db::{Conn, Database, DbError};
use privatix_market::{
    BlockRef, Concern, Decision, Effect, EffectId, Env, Fate, Input, Party, Refused, State, Subject, Turn,
};
use privatix_store::StoreError;
use privatix_store::states::{self, Due, LifePart, Loaded, Saved, Stored, Unreadable};

pub(crate) use intent::intent as effect_intent;
pub use intent::on_terms;
pub use runner::{Ran, Runner, keep};
pub use transactions::{Cancellation, NumberUsed, Transactions, by_job, is_cancelling};

use crate::NodeError;

/// How many inputs one turn may have: what is reported of effects, and of the effects of these.
const MOST_INPUTS: usize = 64;

/// How often an input is decided again because other decisions were stored meanwhile.
const TRIES: usize = 8;

/// Decides about channels of one side, each from its stored state.
///
/// `T` stores and cancels transactions: the [`Node`](crate::Node), or its [`Transactor`](privatix_chain::Transactor).
#[derive(Clone, Debug)]
pub struct Shell<T> {
    transactions: T,
    domain: Domain,
    /// The vouchers whose signatures were checked, by their amounts.
    verified: Arc<Mutex<HashMap<ChannelId, Amount>>>,
}

/// An input that was decided, with all that its effects reported. It is stored once the transaction is committed.
#[derive(Clone, Debug)]
#[must_use = "some effects are to be carried out after the commit"]
pub struct Applied<P: Party> {
    /// The state from now on.
    pub state: State<P>,
    /// Its revision. A view in memory takes a state with a higher one only.
    pub revision: u64,
    /// When it is to be looked at next.
    pub due: Due,
    /// Whether the channel's voucher cannot be read.
    pub damaged_voucher: bool,
    /// What endangers the channel's money.
    pub concerns: Vec<Concern>,
    /// What is to be done once this is committed, in this order.
    pub effects: Vec<Effect<P>>,
    /// Whether transactions were stored or cancelled: the transactor is to be woken after the commit.
    pub wakes_transactor: bool,
    /// Whether jobs were stored: the job processor is to be woken after the commit.
    pub wakes_jobs: bool,
}

/// The surroundings of a decision about a state that was loaded.
pub type EnvOf<'a, 'e, P> = &'a (dyn Fn(&Stored<P>) -> Env<'e, P> + Send + Sync);

/// Why an input was not decided. The transaction must not be committed, unless the variant says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotApplied {
    /// The channel is not decided from a stored state. Nothing was written.
    #[error("nothing is stored from which channel {0} could be decided")]
    NoState(ChannelId),
    /// Something stored of the channel cannot be read. Nothing was written.
    #[error("channel {channel} is left as it is: {what}; {}", what.remedy())]
    Damaged {
        /// The channel.
        channel: ChannelId,
        /// What cannot be read.
        what: Unreadable,
    },
    /// The input is refused. Nothing was written.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Another decision about the channel was stored meanwhile. The transaction is to be rolled back, and the input decided again.
    #[error("another decision about channel {0} was stored meanwhile; decide this input again")]
    Moved(ChannelId),
    /// The effects report without end, each time for the same effect.
    #[error(
        "the effects of an input of channel {0} report without end; report this as an error of the program"
    )]
    Endless(ChannelId),
    /// An effect could not be carried out, or the database failed.
    #[error(transparent)]
    Node(#[from] NodeError),
}

impl NotApplied {
    /// Whether something stored of the channel cannot be read. It is the same at each repetition, and concerns no other.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Node(error) => error.is_damage(),
            Self::NoState(_) | Self::Refused(_) | Self::Moved(_) | Self::Endless(_) => false,
        }
    }
}

impl From<StoreError> for NotApplied {
    fn from(error: StoreError) -> Self {
        Self::Node(error.into())
    }
}

impl From<DbError> for NotApplied {
    fn from(error: DbError) -> Self {
        Self::Node(error.into())
    }
}

/// Finds those of the blocks that the monitor has processed. Returns whether that is new of one.
async fn see(
    conn: &mut Conn,
    blocks: impl Iterator<Item = (BlockRef, &mut bool)> + Send,
) -> Result<bool, NodeError> {
    let mut is_new = false;
    for (block, seen) in blocks {
        if !*seen && is_processed(conn, Monitor::STREAM, block.number, block.hash).await? {
            (*seen, is_new) = (true, true);
        }
    }
    Ok(is_new)
}

impl<T: Transactions> Shell<T> {
    /// A shell for channels of this contract, whose transactions go there.
    pub fn new(transactions: T, domain: Domain) -> Self {
        Self { transactions, domain, verified: Arc::default() }
    }

    /// Where its transactions go.
    pub const fn transactions(&self) -> &T {
        &self.transactions
    }

    /// The state of a channel, with the blocks of its transactions that the monitor has processed. A voucher that its signer did not
    /// sign counts as one that cannot be read: the contract would refuse it, and better ones may exist.
    ///
    /// # Errors
    /// [`NotApplied::NoState`], [`NotApplied::Damaged`], [`NotApplied::Node`].
    pub async fn load<P: Party>(&self, conn: &mut Conn, channel: ChannelId) -> Result<Stored<P>, NotApplied> {
        let mut stored = match states::load(conn, channel).await? {
            None => return Err(NotApplied::NoState(channel)),
            Some(Loaded::Damaged(what)) => return Err(NotApplied::Damaged { channel, what }),
            Some(Loaded::Whole(stored)) => *stored,
        };
        see(conn, stored.state.mined()).await?;
        if !self.is_verified(&stored) {
            let found = std::mem::take(&mut stored.state.book.best);
            stored.damaged_voucher = Some(found);
        }
        Ok(stored)
    }

    /// Whether the channel's voucher is signed by its signer. Each one is checked once in a run.
    fn is_verified<P: Party>(&self, stored: &Stored<P>) -> bool {
        let Some(voucher) = &stored.voucher else { return true };
        let (channel, cumulative) = (voucher.channel(), voucher.cumulative());
        if self.verified.lock().get(&channel) == Some(&cumulative) {
            return true;
        }
        let is_verified = VoucherVerifier::new(self.domain, &stored.state.descriptor).verify(voucher).is_ok();
        if is_verified {
            self.verified.lock().insert(channel, cumulative);
        }
        is_verified
    }

    /// Decides an input in the caller's transaction: loads the state, and [decides](Self::decide).
    ///
    /// What the chain shows is loaded as it is stored. So of an [`Input::Chain`] whose events are stored already, the decision
    /// does not see what changed, and shows nobody that a client asked to close: [`load`](Self::load) before the events are
    /// stored, and [`decide`](Self::decide) after it.
    ///
    /// # Errors
    /// [`NotApplied`].
    pub async fn apply<P: Party>(
        &self,
        conn: &mut Conn,
        channel: ChannelId,
        input: Input<P>,
        env: EnvOf<'_, '_, P>,
        runner: &dyn Runner<P>,
    ) -> Result<Applied<P>, NotApplied> {
        let before = self.load(conn, channel).await?;
        self.decide(conn, &before, input, &env(&before), runner).await
    }

    /// Decides an input of a state that was loaded, and all that its effects report, and stores the state.
    ///
    /// Whether the channel's voucher can be read is taken from what was loaded, and not from `env`.
    ///
    /// # Errors
    /// [`NotApplied`].
    pub async fn decide<P: Party>(
        &self,
        conn: &mut Conn,
        before: &Stored<P>,
        input: Input<P>,
        env: &Env<'_, P>,
        runner: &dyn Runner<P>,
    ) -> Result<Applied<P>, NotApplied> {
        let channel = before.state.id;
        let mut env = *env;
        env.damaged_voucher = before.damaged_voucher;
        runner.fill(conn, &before.state, &mut env).await?;
        let mut turn = Turn::new(before.state.clone());
        let mut effects = Vec::new();
        let (mut wakes_transactor, mut wakes_jobs) = (false, false);
        turn.push(input);
        let mut inputs = 0_usize;
        while let Some(decided) = turn.next(&env) {
            inputs = inputs.saturating_add(1);
            let decided = match decided {
                Ok(decided) => decided,
                Err(refused) if inputs == 1 => return Err(refused.into()),
                Err(refused) => {
                    // Nothing changed, and the effect that reported it is done.
                    tracing::error!(%channel, %refused, "what an effect reported is refused");
                    continue;
                }
            };
            if inputs > MOST_INPUTS {
                return Err(NotApplied::Endless(channel));
            }
            for effect in decided {
                wakes_transactor |= matches!(effect, Effect::Submit { .. } | Effect::Cancel { .. });
                match self.run(conn, turn.state(), &effect, runner).await? {
                    Ran::Done => {}
                    Ran::Queued => wakes_jobs = true,
                    Ran::Reports(input) => turn.push(input),
                    Ran::AfterCommit => effects.push(effect),
                }
            }
            if see(conn, turn.mined()).await? {
                turn.push(Input::Look);
            }
            // A better voucher takes the place of one that cannot be read, and is newer than any backup. One over the same amount
            // only mends what was in the backup.
            let best = turn.state().book.best;
            if best > before.state.book.best {
                env.damaged_voucher = None;
            }
            if best > before.damaged_voucher.unwrap_or(before.state.book.best) {
                env.kept_open = None;
            }
        }
        let state = turn.into_state();
        let due = Due::of(&state, &env);
        match states::save(conn, before, &state, due).await? {
            Saved::Revision(revision) => {
                runner.show(conn, &before.state, &state, &env).await?;
                let damaged_voucher = env.damaged_voucher.is_some();
                let concerns = P::concerns(&state, &env);
                Ok(Applied {
                    state,
                    revision,
                    due,
                    damaged_voucher,
                    concerns,
                    effects,
                    wakes_transactor,
                    wakes_jobs,
                })
            }
            Saved::Moved => Err(NotApplied::Moved(channel)),
        }
    }

    /// Stores the first state of a channel, which is in the database already, and carries out the effects with which it begins, in the
    /// caller's transaction.
    ///
    /// # Errors
    /// [`NotApplied`]; [`NotApplied::Moved`] where the channel has a state.
    pub async fn begin<P: Party>(
        &self,
        conn: &mut Conn,
        begins: Decision<P>,
        env: &Env<'_, P>,
        runner: &dyn Runner<P>,
    ) -> Result<Applied<P>, NotApplied> {
        let Decision { state, effects: first, .. } = begins;
        let due = Due::of(&state, env);
        if !states::create(conn, &state, &LifePart::all(), due).await? {
            return Err(NotApplied::Moved(state.id));
        }
        let mut effects = Vec::new();
        let (mut wakes_transactor, mut wakes_jobs) = (false, false);
        for effect in first {
            wakes_transactor |= matches!(effect, Effect::Submit { .. } | Effect::Cancel { .. });
            match self.run(conn, &state, &effect, runner).await? {
                Ran::Done => {}
                Ran::Queued => wakes_jobs = true,
                // The next look at the state finds the effect undone.
                Ran::Reports(_) => {
                    tracing::error!(channel = %state.id, ?effect, "what a first effect reports is not decided");
                }
                Ran::AfterCommit => effects.push(effect),
            }
        }
        runner.show(conn, &state, &state, env).await?;
        let concerns = P::concerns(&state, env);
        Ok(Applied {
            state,
            revision: 1,
            due,
            damaged_voucher: false,
            concerns,
            effects,
            wakes_transactor,
            wakes_jobs,
        })
    }

    /// Decides an input in a transaction of its own, and commits it. Where another decision is stored meanwhile, the input is
    /// decided again.
    ///
    /// Cancellation: dropped before its end, it may have been committed or not.
    ///
    /// # Errors
    /// [`NotApplied`]: nothing was stored.
    pub async fn commit<P: Party>(
        &self,
        db: &Database,
        channel: ChannelId,
        input: Input<P>,
        env: EnvOf<'_, '_, P>,
        runner: &dyn Runner<P>,
    ) -> Result<Applied<P>, NotApplied> {
        for _ in 0..TRIES {
            let mut tx = db.begin().await?;
            match self.apply(&mut tx, channel, input.clone(), env, runner).await {
                Err(NotApplied::Moved(_)) => tracing::debug!(%channel, "deciding an input again"),
                Err(error) => return Err(error),
                Ok(applied) => {
                    tx.commit().await?;
                    return Ok(applied);
                }
            }
        }
        Err(NotApplied::Moved(channel))
    }

    /// Carries an effect out, as far as it is one of the database.
    async fn run<P: Party>(
        &self,
        conn: &mut Conn,
        state: &State<P>,
        effect: &Effect<P>,
        runner: &dyn Runner<P>,
    ) -> Result<Ran<P>, NodeError> {
        let id = |seq| EffectId { subject: Subject::Channel(state.id), seq };
        match *effect {
            Effect::Submit { seq, purpose, bid } => {
                runner.take_back(conn, id(seq)).await?;
                match runner.call(conn, state, purpose).await? {
                    Ok(call) => {
                        let intent = intent::intent(id(seq), call, &bid);
                        self.transactions.submit(conn, id(seq), purpose.into(), intent).await?;
                        Ok(Ran::Done)
                    }
                    Err(fate) => Ok(Ran::Reports(Input::Tx { seq, purpose, fate })),
                }
            }
            Effect::Cancel { seq } => match self.transactions.cancel(conn, id(seq)).await? {
                Cancellation::Done => Ok(reported(state, seq, Fate::Cancelled)),
                // Another decision has cancelled the batch that it is in, or its outcome is not taken in yet.
                Cancellation::Over { status: TxStatus::Cancelled } => {
                    Ok(reported(state, seq, Fate::Cancelled))
                }
                Cancellation::Over { status: TxStatus::Failed | TxStatus::Dropped } => {
                    Ok(reported(state, seq, Fate::Failed { lasting: false }))
                }
                Cancellation::Unknown => {
                    runner.take_back(conn, id(seq)).await?;
                    Ok(Ran::Done)
                }
                // The chain decides, and its fate follows.
                Cancellation::Requested | Cancellation::Over { .. } => Ok(Ran::Done),
            },
            Effect::Notify(_) => Ok(Ran::AfterCommit),
            _ => runner.run(conn, state, effect).await,
        }
    }
}

/// What became of a transaction, as the decision about its cancellation learns of it. What was never submitted is no flight any more,
/// and has nothing to report.
fn reported<P: Party>(state: &State<P>, seq: u32, fate: Fate) -> Ran<P> {
    let flight = P::flights(&state.own).iter().find(|flight| flight.seq == seq);
    flight.map_or(Ran::Done, |flight| Ran::Reports(Input::Tx { seq, purpose: flight.purpose, fate }))
}
