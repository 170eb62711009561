//! Who decides about the offerings of an agent, each from its stored state: [`OfferingDecider`].
//!
//! As for channels: an input is decided in one transaction, with all that its effects report, and the state is stored once.

mod inputs;
mod schedule;

use std::collections::VecDeque;
use std::sync::Arc;

use alloy::primitives::Address;
use async_trait::async_trait;
use privatix_chain::{Intent, Monitor, TxStatus, is_processed};
use privatix_channel::{Amount, OfferingHash, Period};
use privatix_db::{Conn, Database};
use privatix_market::offering::{
    OfferingEffect, OfferingEnv, OfferingInput, OfferingNotice, OfferingPolicy, OfferingPurpose,
    OfferingRefused, OfferingState, Presence, Source, decide, owners, wake,
};
use privatix_market::{EffectId, Fate, Owner, Subject, Wake};
use privatix_store::StoreError;
use privatix_store::offering_states::{self, Key, Loaded, Stored};
use privatix_store::states::{Saved, Unreadable};
use tokio::sync::Notify;

use crate::outlook::Outlook;
use crate::shell::{Cancellation, Transactions, effect_intent};
use crate::{Node, NodeError};

/// How many inputs one turn may have: what is reported of effects, and of the effects of these.
const MOST_INPUTS: usize = 64;
/// How often an input is decided again because other decisions were stored meanwhile.
const TRIES: usize = 8;

/// What a decision about an own offering depends on beside the state, the input and the clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferingFacts {
    /// Whether what is known of the chain can be relied on, as far as it is not [`ChainView::fresh`](privatix_market::ChainView).
    pub fresh: bool,
    /// What the account has in the contract, in base units.
    pub balance: Amount,
    /// What the offering locks when it is published, in base units.
    pub stake: Amount,
    /// Whether clients accept its signature.
    pub signature_counts: bool,
    /// How long after an announcement the contract refuses a pop-up.
    pub pop_up_period: Period,
    /// How long after an announcement the contract refuses a removal.
    pub remove_period: Period,
}

/// What an agent supplies for the decisions about its offerings. What gets a connection runs in the transaction that stores the
/// decision.
#[async_trait]
pub trait OfferingRunner: Send + Sync {
    /// Whose offerings these are.
    fn agent(&self) -> Address;

    /// Where clients reach this agent now.
    fn source(&self) -> &Source;

    /// What a decision about an offering depends on.
    ///
    /// # Errors
    /// [`NodeError`]: nothing is decided.
    async fn facts(&self, conn: &mut Conn, state: &OfferingState) -> Result<OfferingFacts, NodeError>;

    /// The call of a transaction for this purpose. `Ok(Err(..))` where no such transaction can be made: it is reported as that.
    ///
    /// # Errors
    /// [`NodeError`] rolls everything back.
    async fn call(
        &self,
        conn: &mut Conn,
        state: &OfferingState,
        purpose: OfferingPurpose,
    ) -> Result<Result<Intent, Fate>, NodeError>;

    /// Shows people what a state comes to. `before` is what was loaded; `failure`: why the transaction failed that the input is about;
    /// `notices`: what the operator is shown of the decision.
    ///
    /// # Errors
    /// [`NodeError`] rolls everything back.
    async fn show(
        &self,
        conn: &mut Conn,
        before: &OfferingState,
        state: &OfferingState,
        (notices, failure): (&[OfferingNotice], Option<&str>),
    ) -> Result<(), NodeError>;

    /// Changes whenever [`facts`](Self::facts) may come to something else for every offering.
    fn version(&self) -> u64;
}

/// Decides about an agent's own offerings, and looks at those whose time has come.
pub struct OfferingDecider {
    db: Database,
    transactions: Arc<dyn Transactions>,
    runner: Arc<dyn OfferingRunner>,
    outlook: Arc<dyn Outlook>,
    policy: OfferingPolicy,
    /// Something earlier is to be looked at.
    changed: Notify,
}

impl std::fmt::Debug for OfferingDecider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfferingDecider").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// Why an input was not decided.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfferingNotApplied {
    /// There is no such offering of this account, or nothing is stored from which it could be decided.
    #[error(transparent)]
    Unknown(StoreError),
    /// Something stored of the offering cannot be read. Nothing was written.
    #[error("offering {offering} is left as it is: {what}; {}", what.remedy())]
    Damaged {
        /// The offering.
        offering: OfferingHash,
        /// What cannot be read.
        what: Unreadable,
    },
    /// The input is refused. Nothing was written.
    #[error("offering {offering}: {refused}")]
    Refused {
        /// The offering.
        offering: OfferingHash,
        /// Why.
        refused: OfferingRefused,
    },
    /// Another decision was stored meanwhile. The transaction is to be rolled back, and the input decided again.
    #[error("another decision about offering {0} was stored meanwhile; decide this input again")]
    Moved(OfferingHash),
    /// The effects report without end.
    #[error(
        "the effects of an input of offering {0} report without end; report this as an error of the program"
    )]
    Endless(OfferingHash),
    /// An effect could not be carried out, or the database failed.
    #[error(transparent)]
    Node(#[from] NodeError),
}

impl From<StoreError> for OfferingNotApplied {
    fn from(error: StoreError) -> Self {
        Self::Node(error.into())
    }
}

impl From<privatix_db::DbError> for OfferingNotApplied {
    fn from(error: privatix_db::DbError) -> Self {
        Self::Node(error.into())
    }
}

impl From<OfferingNotApplied> for NodeError {
    fn from(error: OfferingNotApplied) -> Self {
        match error {
            OfferingNotApplied::Node(error) => error,
            OfferingNotApplied::Unknown(error) => error.into(),
            OfferingNotApplied::Damaged { .. } => {
                StoreError::Corrupt { what: "state of an offering", reason: error.to_string() }.into()
            }
            OfferingNotApplied::Refused { refused: OfferingRefused::Clock(skew), .. } => Self::Clock(skew),
            error => Self::Refused(error.to_string()),
        }
    }
}

impl OfferingNotApplied {
    /// Whether something stored of the offering cannot be read. It is the same at each repetition, and concerns no other.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Node(error) => error.is_damage(),
            Self::Unknown(_) | Self::Refused { .. } | Self::Moved(_) | Self::Endless(_) => false,
        }
    }
}

/// Finds those of the blocks of an offering's transactions that the monitor has processed. Returns whether that is new of one.
async fn see(conn: &mut Conn, state: &mut OfferingState) -> Result<bool, NodeError> {
    let mut is_new = false;
    for (block, seen) in state.mined() {
        let now = is_processed(conn, Monitor::STREAM, block.number, block.hash).await?;
        is_new |= now && !*seen;
        *seen = now;
    }
    Ok(is_new)
}

impl OfferingDecider {
    /// Of a node's database, transactions and clocks.
    pub fn of(
        node: &Arc<Node>,
        runner: Arc<dyn OfferingRunner>,
        outlook: Arc<dyn Outlook>,
        policy: OfferingPolicy,
    ) -> Self {
        Self::new(node.db().clone(), Arc::<Node>::clone(node), runner, outlook, policy)
    }

    /// Of these parts.
    pub fn new(
        db: Database,
        transactions: Arc<dyn Transactions>,
        runner: Arc<dyn OfferingRunner>,
        outlook: Arc<dyn Outlook>,
        policy: OfferingPolicy,
    ) -> Self {
        Self { db, transactions, runner, outlook, policy, changed: Notify::new() }
    }

    /// Stores the first state of an offering, in the caller's transaction. It is looked at soon. Where it has one, nothing changes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn begin(&self, conn: &mut Conn, state: &OfferingState) -> Result<bool, StoreError> {
        offering_states::create(conn, state, Wake { uptime: Some(self.outlook.uptime()), chain: None }, None)
            .await
    }

    /// The state of an offering, with the blocks of its transactions that the monitor has processed.
    ///
    /// # Errors
    /// [`OfferingNotApplied::Unknown`], [`OfferingNotApplied::Damaged`], [`OfferingNotApplied::Node`].
    pub async fn load(&self, conn: &mut Conn, offering: OfferingHash) -> Result<Stored, OfferingNotApplied> {
        match offering_states::load(conn, self.key(offering)).await? {
            None => Err(OfferingNotApplied::Unknown(StoreError::NoSuchOffering(offering))),
            Some(Loaded::Damaged(what)) => Err(OfferingNotApplied::Damaged { offering, what }),
            Some(Loaded::Whole(mut stored)) => {
                see(conn, &mut stored.state).await?;
                Ok(*stored)
            }
        }
    }

    /// Whether an offering is decided from a stored state that can be read.
    ///
    /// # Errors
    /// [`NodeError`] of the database.
    pub async fn decides(&self, conn: &mut Conn, (agent, offering): Key) -> Result<bool, NodeError> {
        if agent != self.runner.agent() {
            return Ok(false);
        }
        match self.load(conn, offering).await {
            Ok(_) => Ok(true),
            Err(OfferingNotApplied::Node(error)) if !error.is_damage() => Err(error),
            Err(_) => Ok(false),
        }
    }

    fn key(&self, offering: OfferingHash) -> Key {
        (self.runner.agent(), offering)
    }

    /// Decides an input in a transaction of its own, and carries out what follows. Where another decision is stored meanwhile, the
    /// input is decided again.
    ///
    /// Cancellation: dropped before its end, it may have been committed or not. What follows a commit is done by the next look.
    ///
    /// # Errors
    /// [`OfferingNotApplied`]: nothing was stored.
    pub async fn decide(
        &self,
        offering: OfferingHash,
        input: OfferingInput,
    ) -> Result<OfferingState, OfferingNotApplied> {
        for _ in 0..TRIES {
            let mut tx = self.db.begin().await?;
            let before = self.load(&mut tx, offering).await?;
            match self.decide_in(&mut tx, &before, input.clone(), None).await {
                Err(OfferingNotApplied::Moved(_)) => tracing::debug!(%offering, "deciding an input again"),
                Err(error) => return Err(error),
                Ok(state) => {
                    tx.commit().await?;
                    self.committed();
                    return Ok(state);
                }
            }
        }
        Err(OfferingNotApplied::Moved(offering))
    }

    /// Decides an input in the caller's transaction, of a state that was [loaded](Self::load) before anything of the offering was
    /// written. [`committed`](Self::committed) is to follow the commit.
    ///
    /// # Errors
    /// [`OfferingNotApplied`].
    pub async fn decide_in(
        &self,
        conn: &mut Conn,
        before: &Stored,
        input: OfferingInput,
        failure: Option<&str>,
    ) -> Result<OfferingState, OfferingNotApplied> {
        let offering = before.state.hash;
        let facts = self.runner.facts(conn, &before.state).await?;
        let (mut state, mut notices) = (before.state.clone(), Vec::new());
        let mut inputs = VecDeque::from([input]);
        let mut count = 0_usize;
        while let Some(input) = inputs.pop_front() {
            count = count.saturating_add(1);
            if count > MOST_INPUTS {
                return Err(OfferingNotApplied::Endless(offering));
            }
            let decision = match decide(&state, &input, &self.env(&facts)) {
                Ok(decision) => decision,
                Err(refused) if count == 1 => return Err(OfferingNotApplied::Refused { offering, refused }),
                Err(refused) => {
                    // Nothing changed, and the effect that reported it is done.
                    tracing::error!(%offering, %refused, "what an effect reported is refused");
                    continue;
                }
            };
            state = decision.state;
            for effect in decision.effects {
                match effect {
                    OfferingEffect::Notify(notice) => notices.push(notice),
                    effect => inputs.extend(self.carry_out(conn, &state, effect).await?),
                }
            }
            if see(conn, &mut state).await? {
                inputs.push_back(OfferingInput::Look);
            }
        }
        let wake = wake(&state, &self.env(&facts));
        match offering_states::save(conn, before, &state, wake, before.seen_at).await? {
            Saved::Revision(_) => {
                self.runner.show(conn, &before.state, &state, (&notices, failure)).await?;
                Ok(state)
            }
            Saved::Moved => Err(OfferingNotApplied::Moved(offering)),
        }
    }

    /// Carries an effect out. Returns what it reports.
    async fn carry_out(
        &self,
        conn: &mut Conn,
        state: &OfferingState,
        effect: OfferingEffect,
    ) -> Result<Option<OfferingInput>, NodeError> {
        let id = |seq| EffectId { subject: Subject::Offering(state.agent, state.hash), seq };
        match effect {
            OfferingEffect::Submit { seq, purpose, bid } => {
                match self.runner.call(conn, state, purpose).await? {
                    Ok(call) => {
                        let intent = effect_intent(id(seq), call, &bid);
                        self.transactions.submit(conn, id(seq), purpose.into(), intent).await?;
                        Ok(None)
                    }
                    Err(fate) => Ok(Some(OfferingInput::Tx { seq, purpose, fate })),
                }
            }
            OfferingEffect::Cancel { seq } => {
                let fate = match self.transactions.cancel(conn, id(seq)).await? {
                    Cancellation::Done
                    | Cancellation::Unknown
                    | Cancellation::Over { status: TxStatus::Cancelled } => Fate::Cancelled,
                    Cancellation::Over { status: TxStatus::Failed | TxStatus::Dropped } => {
                        Fate::Failed { lasting: false }
                    }
                    // The chain decides, and its fate follows.
                    Cancellation::Requested | Cancellation::Over { .. } => return Ok(None),
                };
                let flights = state.own().map(|own| own.flights.as_slice()).unwrap_or_default();
                let flight = flights.iter().find(|flight| flight.seq == seq);
                Ok(flight.map(|flight| OfferingInput::Tx { seq, purpose: flight.purpose, fate }))
            }
            // Nobody is asked for an offering of one's own.
            _ => Ok(None),
        }
    }

    fn env<'a>(&'a self, facts: &OfferingFacts) -> OfferingEnv<'a> {
        let chain = self.outlook.chain();
        let mut env = OfferingEnv::new(self.outlook.uptime(), self.runner.source(), &self.policy);
        env.now = chain.now;
        (env.fresh, env.skew) = (chain.fresh && facts.fresh, chain.skew);
        env.reachable = self.outlook.is_reachable();
        (env.balance, env.stake) = (facts.balance, facts.stake);
        env.signature_counts = facts.signature_counts;
        (env.pop_up_period, env.remove_period) = (facts.pop_up_period, facts.remove_period);
        env
    }

    /// What moves an offering on now, the first of all; none where only an order does.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn owner(&self, conn: &mut Conn, state: &OfferingState) -> Result<Option<Owner>, NodeError> {
        let facts = self.runner.facts(conn, state).await?;
        Ok(owners(state, &self.env(&facts)).first().copied())
    }

    /// Decisions were committed: looks for transactions to send, and for the next time that something is to be decided. It waits for
    /// nothing. A crash may come before it: the next start does the same.
    pub fn committed(&self) {
        self.transactions.wake();
        self.changed.notify_one();
    }
}

/// Whether nothing that changes for all offerings leads on.
fn is_over(state: &OfferingState) -> bool {
    state.chain.presence == Presence::Removed && state.own().is_none_or(|own| own.flights.is_empty())
}
