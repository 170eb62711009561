//! What the chain shows of an agent's offerings and what becomes of their transactions, brought to the decisions.

use privatix_chain::{TxChange, TxRecord};
use privatix_channel::OfferingHash;
use privatix_db::{Conn, Savepoint};
use privatix_market::Subject;
use privatix_market::offering::{OfferingInput, OfferingPurpose, OfferingState, Shown};
use privatix_store::offering_states::{self, Loaded, Stored};
use privatix_store::purposes::Recorded;

use super::{OfferingDecider, OfferingNotApplied, see};
use crate::fate::{self, Sender};
use crate::shell::is_cancelling;
use crate::{NodeError, Stood};

impl OfferingDecider {
    /// Decides what the chain shows now of the own ones among these offerings, once for each, after the events of a batch were stored
    /// or undone, and the offerings folded. One that was not known here is kept from now on: the database that knew it was lost.
    ///
    /// # Errors
    /// [`NodeError`]: the transaction is to be rolled back, and the batch to be applied again.
    pub async fn chain(&self, conn: &mut Conn, stood: Stood) -> Result<(), NodeError> {
        for ((agent, offering), before) in stood.offerings {
            if agent != self.runner.agent() {
                continue;
            }
            let now = match self.now(conn, offering).await? {
                Ok(now) => now,
                Err(what) => {
                    tracing::error!(%offering, what, "something stored of the offering cannot be read; it is left as it is");
                    continue;
                }
            };
            let shown = now.state.chain.clone();
            // Of one that could not be read before, or was not known, everything is new.
            let mut stored = now;
            stored.state.chain = match before {
                Some(Loaded::Whole(before)) => before.state.chain,
                _ => Shown::default(),
            };
            // The batch may have brought the blocks of its transactions, or taken them back.
            see(conn, &mut stored.state).await?;
            self.decide_alone(conn, &stored, OfferingInput::Chain(shown), None).await?;
        }
        Ok(())
    }

    /// The state of an own offering that the chain shows; its first one, if there was none. In words, what cannot be read.
    async fn now(
        &self,
        conn: &mut Conn,
        offering: OfferingHash,
    ) -> Result<Result<Stored, String>, NodeError> {
        let key = (self.runner.agent(), offering);
        let loaded = match offering_states::load(conn, key).await? {
            None => {
                self.begin(conn, &OfferingState::found(key.0, offering)).await?;
                offering_states::load(conn, key).await?
            }
            loaded => loaded,
        };
        Ok(match loaded {
            Some(Loaded::Whole(now)) => Ok(*now),
            Some(Loaded::Damaged(what)) => Err(what.to_string()),
            None => Err("its state".to_owned()),
        })
    }

    /// Decides what became of a transaction, by what is recorded of it. Returns whether something was decided: nothing is where it is
    /// about no own offering that has a state.
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
    ) -> Result<bool, NodeError> {
        let Subject::Offering(agent, offering) = recorded.effect.subject else { return Ok(false) };
        let Some(purpose) = OfferingPurpose::of(recorded.purpose) else { return Ok(false) };
        if agent != self.runner.agent() || is_cancelling(recorded.effect) {
            return Ok(false);
        }
        let Some(fate) = fate::fate_of(recorded, record, change, sender) else {
            tracing::error!(tx = %record.id, ?change, "the outcome of a transaction has no block; its end is waited for");
            return Ok(false);
        };
        let stored = match self.load(conn, offering).await {
            Ok(stored) => stored,
            Err(OfferingNotApplied::Unknown(_)) => return Ok(false),
            Err(error) if error.is_damage() => {
                tracing::error!(%offering, %error, "the outcome of a transaction leads to nothing");
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        let input = OfferingInput::Tx { seq: recorded.effect.seq, purpose, fate };
        self.decide_alone(conn, &stored, input, record.failure.as_deref()).await
    }

    /// Decides an input so that what is wrong with one offering delays no other. Returns whether it was decided.
    async fn decide_alone(
        &self,
        conn: &mut Conn,
        stored: &Stored,
        input: OfferingInput,
        failure: Option<&str>,
    ) -> Result<bool, NodeError> {
        // An effect that fails after others leaves nothing of the decision.
        let part = Savepoint::begin(conn).await?;
        match self.decide_in(conn, stored, input, failure).await {
            Ok(_) => {
                part.keep(conn).await?;
                Ok(true)
            }
            Err(OfferingNotApplied::Node(error)) if !error.is_damage() => Err(error),
            Err(error @ OfferingNotApplied::Moved(_)) => Err(error.into()),
            Err(error) => {
                part.undo(conn).await?;
                tracing::error!(offering = %stored.state.hash, %error, "nothing is decided about the offering");
                Ok(false)
            }
        }
    }
}
