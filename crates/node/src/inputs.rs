//! What the chain shows and what becomes of transactions, brought to the decisions about channels: [`Inputs`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use privatix_billing::Terms;
use privatix_chain::{Monitor, TxChange, TxRecord, is_processed};
use privatix_channel::{Amount, ChannelDescriptor, ChannelId, OnChain};
use privatix_db::{Conn, Savepoint};
use privatix_market::{Env, Input, Party, State, Subject, Wake};
use privatix_store::purposes::{self, Recorded};
use privatix_store::states::{self, Due, LifePart, Stored};
use privatix_store::{channels, meters, sessions};

use crate::NodeError;
use crate::fate::{self, Sender};
use crate::shell::{Applied, NotApplied, Runner, Shell, Transactions, is_cancelling};

/// What a decision depends on beside the channel's state.
#[async_trait]
pub trait Surroundings<P: Party>: Send + Sync {
    /// The surroundings of a decision about a channel, as they are now.
    ///
    /// # Errors
    /// [`NodeError`] leaves the input undecided.
    async fn env<'a>(&'a self, conn: &mut Conn, stored: &Stored<P>) -> Result<Env<'a, P>, NodeError>;
}

/// Gives decisions their inputs, inside the transactions that store what happened.
///
/// Channels that are not decided from a stored state are left alone. What is stored of one channel and cannot be read delays no
/// other: the channel is named in [`Decided::damaged`], and its events are stored in any case.
pub struct Inputs<'a, P: Party, T> {
    shell: &'a Shell<T>,
    surroundings: &'a dyn Surroundings<P>,
    runner: &'a dyn Runner<P>,
}

impl<P: Party, T> std::fmt::Debug for Inputs<'_, P, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inputs").finish_non_exhaustive()
    }
}

/// Channels as they were before the events of a batch.
#[derive(Debug)]
#[must_use = "what the events come to is to be decided"]
pub struct Before<P: Party> {
    states: BTreeMap<ChannelId, Stored<P>>,
    damaged: Vec<(ChannelId, String)>,
}

/// What was decided in a transaction.
#[derive(Debug)]
#[must_use = "what follows is done after the commit"]
pub struct Decided<P: Party> {
    /// A decision for each channel.
    pub applied: Vec<Applied<P>>,
    /// Channels about which nothing was decided, since something stored of them cannot be read, with what that is.
    pub damaged: Vec<(ChannelId, String)>,
}

impl<P: Party> Default for Decided<P> {
    fn default() -> Self {
        Self { applied: Vec::new(), damaged: Vec::new() }
    }
}

impl<'a, P: Party, T: Transactions> Inputs<'a, P, T> {
    /// Inputs for decisions of this shell.
    pub const fn new(
        shell: &'a Shell<T>,
        surroundings: &'a dyn Surroundings<P>,
        runner: &'a dyn Runner<P>,
    ) -> Self {
        Self { shell, surroundings, runner }
    }

    /// Loads the states of channels whose events are about to be stored: a decision sees what changes. Where events are undone,
    /// before the channels are folded again.
    ///
    /// # Errors
    /// [`NodeError`], of the database.
    pub async fn before(
        &self,
        conn: &mut Conn,
        channels: &BTreeSet<ChannelId>,
    ) -> Result<Before<P>, NodeError> {
        let mut before = Before { states: BTreeMap::new(), damaged: Vec::new() };
        for channel in channels {
            self.load(conn, *channel, &mut before).await?;
        }
        Ok(before)
    }

    async fn load(
        &self,
        conn: &mut Conn,
        channel: ChannelId,
        before: &mut Before<P>,
    ) -> Result<(), NodeError> {
        match self.shell.load(conn, channel).await {
            Ok(stored) => drop(before.states.insert(channel, stored)),
            Err(NotApplied::NoState(_)) => {}
            Err(error) => before.damaged.push((channel, damage(error)?)),
        }
        Ok(())
    }

    /// Keeps a channel that is seen being opened, with its first state: all parts are decided from it. Its effects are numbered
    /// after those of the channel's transactions so far. Nothing changes where the channel is kept already.
    ///
    /// # Errors
    /// [`NodeError`], of the database.
    pub async fn begin(
        &self,
        conn: &mut Conn,
        before: &mut Before<P>,
        opening: Opening<'_>,
    ) -> Result<(), NodeError>
    where
        P::Own: Default,
    {
        let Opening { channel, descriptor, deposit, terms } = opening;
        if !channels::insert(conn, channel, descriptor, deposit).await? {
            return Ok(());
        }
        let mut state = State::<P>::new(channel, *descriptor);
        state.terms = terms;
        let next = purposes::next_effect(conn, Subject::Channel(channel)).await?.seq;
        *P::last_effect(&mut state.own) = next.saturating_sub(1);
        states::create(conn, &state, &LifePart::all(), Due::At(Wake::default())).await?;
        self.load(conn, channel, before).await?;
        if let Some(stored) = before.states.get_mut(&channel) {
            // Its events may be stored already, and are not decided about.
            stored.state.chain = OnChain::default();
        }
        Ok(())
    }

    /// Decides what the chain shows now, once for each channel, after the events of a batch were stored or undone, and the channels
    /// folded.
    ///
    /// # Errors
    /// [`NodeError`]: the transaction is to be rolled back, and the batch to be applied again.
    pub async fn chain(&self, conn: &mut Conn, before: Before<P>) -> Result<Decided<P>, NodeError> {
        let mut decided = Decided { applied: Vec::new(), damaged: before.damaged };
        for (channel, mut stored) in before.states {
            // The batch may have brought their blocks, or taken them back.
            for (block, seen) in stored.state.mined() {
                *seen = is_processed(conn, Monitor::STREAM, block.number, block.hash).await?;
            }
            let shown = match channels::on_chain(conn, channel).await {
                Err(error) if error.is_damage() => {
                    decided.damaged.push((channel, error.to_string()));
                    continue;
                }
                shown => shown?,
            };
            self.decide(conn, &stored, Input::Chain(shown), &mut decided).await?;
        }
        Ok(decided)
    }

    /// Decides what was used, once for each channel, after reports of its meter were stored: a decision sees how much that is more than
    /// before.
    ///
    /// # Errors
    /// [`NodeError`]: the transaction is to be rolled back, and the reports to be stored again.
    pub async fn used(&self, conn: &mut Conn, before: Before<P>) -> Result<Decided<P>, NodeError> {
        let mut decided = Decided { applied: Vec::new(), damaged: before.damaged };
        for (channel, stored) in before.states {
            let used = match meters::used(conn, channel).await {
                Err(error) if error.is_damage() => {
                    decided.damaged.push((channel, error.to_string()));
                    continue;
                }
                used => used?.0,
            };
            let running = sessions::is_running(conn, channel).await?;
            self.decide(conn, &stored, Input::Used { used, running }, &mut decided).await?;
        }
        Ok(decided)
    }

    /// Decides what became of a transaction, by what is recorded of it; of a batch, by each of its rows.
    ///
    /// One that is being cancelled for a decision is left alone: that decision learns of it by itself.
    ///
    /// # Errors
    /// [`NodeError`]: the change is to be rolled back, and reported again.
    pub async fn transaction(
        &self,
        conn: &mut Conn,
        recorded: &Recorded,
        (record, change): (&TxRecord, TxChange),
        sender: Sender,
    ) -> Result<Decided<P>, NodeError> {
        let mut decided = Decided::default();
        if is_cancelling(recorded.effect) {
            return Ok(decided);
        }
        let Some(fate) = fate::fate_of(recorded, record, change, sender) else {
            tracing::error!(tx = %record.id, ?change, "the outcome of a transaction has no block; its end is waited for");
            return Ok(decided);
        };
        let Some((channel, input)) = fate::input(recorded, fate) else { return Ok(decided) };
        let mut before = Before { states: BTreeMap::new(), damaged: Vec::new() };
        self.load(conn, channel, &mut before).await?;
        decided.damaged = before.damaged;
        for stored in before.states.values() {
            self.decide(conn, stored, input.clone(), &mut decided).await?;
        }
        Ok(decided)
    }

    async fn decide(
        &self,
        conn: &mut Conn,
        stored: &Stored<P>,
        input: Input<P>,
        decided: &mut Decided<P>,
    ) -> Result<(), NodeError> {
        let channel = stored.state.id;
        let env = self.surroundings.env(conn, stored).await?;
        // An effect that fails after others leaves nothing of the decision.
        let part = Savepoint::begin(conn).await?;
        match self.shell.decide(conn, stored, input, &env, self.runner).await {
            Ok(applied) => {
                part.keep(conn).await?;
                decided.applied.push(applied);
            }
            Err(error) => {
                let what = damage(error)?;
                part.undo(conn).await?;
                decided.damaged.push((channel, what));
            }
        }
        Ok(())
    }
}

/// A channel that is seen being opened.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// Its id.
    pub channel: ChannelId,
    /// What identifies it.
    pub descriptor: &'a ChannelDescriptor,
    /// Its deposit, in base units.
    pub deposit: Amount,
    /// The terms of its offering, if they are known here.
    pub terms: Option<Arc<Terms>>,
}

/// What is wrong with the channel alone, so that the others go on.
///
/// # Errors
/// What concerns all of them: the database, and a decision that came between.
fn damage(error: NotApplied) -> Result<String, NodeError> {
    match error {
        NotApplied::Node(error) if !error.is_damage() => Err(error),
        NotApplied::Moved(channel) => {
            Err(NodeError::Refused(format!("channel {channel} was decided twice in one transaction")))
        }
        // A level that is refused is shown again, and one that reports without end is an error of the program.
        error => Ok(error.to_string()),
    }
}
