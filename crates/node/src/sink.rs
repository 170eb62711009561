use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use privatix_chain::{
    ConfirmedBatch, ConfirmedLog, Direction, LogSink, SinkError, TxChange, TxRecord, TxSink,
};
use privatix_channel::{ChainEvent, ChannelEvent, ChannelId, LogPosition};
use privatix_contracts::PscEvent;
use privatix_db::Conn;
use privatix_jobs::Wake;
use privatix_market::{Party, Subject};
use privatix_store::events::Place;
use privatix_store::purposes::{self, Damaged, Recorded, TxNumber};
use privatix_store::{channels, events, offerings, states};
use tokio::sync::mpsc;

use crate::fate::Sender;
use crate::inputs::Decided;
use crate::role::Stood;
use crate::spent::{Spending, Spent};
use crate::{Damage, Marks, Node, NodeError, RoleRules};

/// Where confirmed events and finished transactions go: the store, the role, and then whoever waits for them.
pub(crate) struct Sink<R> {
    pub(crate) node: Arc<Node>,
    pub(crate) role: Arc<R>,
    pub(crate) wake: Wake,
    pub(crate) marks: Marks,
    pub(crate) spent: Arc<Spent>,
    pub(crate) damage: Damage,
    pub(crate) committed: mpsc::UnboundedSender<Vec<ChannelId>>,
}

/// What a commit informs of.
pub(crate) struct Touched<P: Party> {
    /// The channels that it has changed.
    pub(crate) channels: BTreeSet<ChannelId>,
    /// What was decided about those that have a stored state.
    decided: Decided<P>,
    /// Whether offerings may stand otherwise than before.
    of_offerings: bool,
}

impl<R: RoleRules> Sink<R> {
    async fn apply_batch(
        &self,
        conn: &mut Conn,
        batch: &ConfirmedBatch,
    ) -> Result<Touched<R::Side>, NodeError> {
        let decoded = |log: &ConfirmedLog| {
            let event = PscEvent::decode(&log.log.data)
                .map_err(|e| NodeError::Contract { what: "an event", reason: e.to_string() })?;
            let place = Place { at: LogPosition::new(log.block, log.index), tx: log.tx };
            Ok::<_, NodeError>(event.chain_event(log.block_time.into()).map(|event| (place, event)))
        };
        let events =
            batch.logs.iter().filter_map(|log| decoded(log).transpose()).collect::<Result<_, _>>()?;
        self.take(conn, events, batch.direction).await
    }

    /// Stores events, in chain order, and what follows from those that are new. Returns what that has changed.
    ///
    /// Of the past, the role is informed of how offerings stand now, and of the channels that are kept: what else there was is over,
    /// and events that followed it may be stored already.
    pub(crate) async fn take(
        &self,
        conn: &mut Conn,
        mut events: Vec<(Place, ChainEvent)>,
        direction: Direction,
    ) -> Result<Touched<R::Side>, NodeError> {
        let mut touched = BTreeSet::new();
        let inputs = self.role.decider().inputs();
        let seen = events.iter().filter_map(|(_, event)| event.channel()).collect();
        let mut before = inputs.before(conn, &seen).await?;
        let mut are_new = events::record_all(conn, &events).await?.into_iter();
        events.retain(|_| are_new.next().unwrap_or_default());
        if direction != Direction::Past {
            for (place, event) in &events {
                self.role.on_event(conn, &mut before, *place, event).await?;
            }
        }
        let stood = Stood::of(conn, events.iter().map(|(_, event)| event)).await?;
        offerings::advance_all(conn, &events).await?;
        let of_offerings = self.follow_offerings(conn, stood).await?;
        let channels = events.iter().filter_map(|(_, event)| event.channel()).collect();
        let kept = channels::kept(conn, &channels).await?;
        for (place, event) in &events {
            if let (Some(channel), Some(change)) = (event.channel(), event.channel_event())
                && kept.contains(&channel)
            {
                touched.insert(channel);
                let advanced = advance(conn, channel, *place, change).await;
                self.tolerate(channel, advanced)?;
            }
        }
        let decided = inputs.chain(conn, before).await?;
        Ok(Touched { channels: touched, decided, of_offerings })
    }

    /// Informs the role of offerings that may stand otherwise than before. Returns whether there are any.
    async fn follow_offerings(&self, conn: &mut Conn, stood: Stood) -> Result<bool, NodeError> {
        if stood.is_empty() {
            return Ok(false);
        }
        self.role.on_offerings(conn, stood).await?;
        Ok(true)
    }

    /// Damaged data of one channel must not delay the events of the others. Its own events are stored in any case.
    fn tolerate(&self, channel: ChannelId, done: Result<(), NodeError>) -> Result<(), NodeError> {
        match done {
            Err(error) if error.is_damage() => {
                self.damage.found(channel, error.to_string());
                Ok(())
            }
            done => done,
        }
    }

    /// What the outcome of a transaction leads to, by what it was for.
    async fn answer(
        &self,
        conn: &mut Conn,
        record: &TxRecord,
        change: TxChange,
    ) -> Result<Outcome<R::Side>, NodeError> {
        let rows = purposes::of_tx(conn, TxNumber(record.id.0)).await?;
        let mut outcome = Outcome::default();
        if rows.is_empty() {
            tracing::warn!(
                tx = record.id.0,
                kind = record.intent.kind,
                subject = record.intent.subject,
                "what the transaction was for is not known; its outcome leads to nothing"
            );
        }
        for row in rows {
            match row {
                Ok(recorded) => {
                    outcome.channels.extend(recorded.effect.subject.channel());
                    self.decided_by(conn, &recorded, (record, change), &mut outcome).await?;
                }
                // It would be the same at each repetition, and the outcome stands whatever is stored of its subject.
                Err(Damaged { subject, error }) => {
                    tracing::error!(tx = record.id.0, kind = record.intent.kind, subject = record.intent.subject, %error, "the outcome of a transaction leads to nothing");
                    if let Some(channel) = subject.and_then(|subject| subject.channel()) {
                        outcome.channels.insert(channel);
                        self.damage.found(channel, error.to_string());
                    }
                }
            }
        }
        Ok(outcome)
    }

    /// Decides what a change of a transaction means for its channel or its offering, if that has a stored state.
    async fn decided_by(
        &self,
        conn: &mut Conn,
        recorded: &Recorded,
        change: (&TxRecord, TxChange),
        outcome: &mut Outcome<R::Side>,
    ) -> Result<(), NodeError> {
        match (recorded.effect.subject, self.role.own_offerings()) {
            (Subject::Channel(channel), _) if states::is_stored(conn, channel).await? => {
                let sender = self.sender(conn).await?;
                let inputs = self.role.decider().inputs();
                outcome.decided.push(inputs.transaction(conn, recorded, change, sender).await?);
            }
            (Subject::Offering(..), Some(offerings)) => {
                let sender = self.sender(conn).await?;
                outcome.of_offerings |= offerings.transaction(conn, recorded, change, sender).await?;
            }
            _ => {}
        }
        Ok(())
    }

    async fn sender(&self, conn: &mut Conn) -> Result<Sender, NodeError> {
        Ok(match self.node.sender_standing(conn).await {
            Err(error) if error.is_damage() => {
                tracing::error!(%error, "whether we may still act for our account cannot be read; it is taken for granted");
                Sender::MaySend
            }
            standing => standing?,
        })
    }

    /// Informs those who wait of a commit that has changed these channels.
    pub(crate) fn announce(&self, Touched { channels: touched, decided, of_offerings }: Touched<R::Side>) {
        self.role.decider().all_committed(decided);
        if of_offerings {
            self.role.offerings_committed();
        }
        self.wake.wake();
        for channel in &touched {
            self.marks.mark(*channel);
        }
        if !touched.is_empty() {
            let _ = self.committed.send(touched.into_iter().collect()); // the receiver is gone only at shutdown
        }
    }

    /// Undoes what was above a block. Returns what that has changed.
    async fn undo(&self, conn: &mut Conn, to_block: u64) -> Result<Touched<R::Side>, NodeError> {
        let undone = events::undo_above(conn, to_block).await?;
        tracing::warn!(to_block, events = undone.len(), "the chain was reorganised; events are undone");
        let events = undone.iter().map(|(_, event)| event);
        let stood = Stood::of(conn, events.clone()).await?;
        let touched: BTreeSet<_> = events.clone().filter_map(ChainEvent::offering).collect();
        for (agent, offering) in touched {
            offerings::refold(conn, agent, offering).await?;
        }
        let of_offerings = self.follow_offerings(conn, stood).await?;
        let of_channels: BTreeSet<_> = events.filter_map(ChainEvent::channel).collect();
        let inputs = self.role.decider().inputs();
        let before = inputs.before(conn, &of_channels).await?;
        for channel in &of_channels {
            let refolded = channels::refold(conn, *channel).await;
            self.tolerate(*channel, refolded.map(drop).map_err(NodeError::from))?;
        }
        let decided = inputs.chain(conn, before).await?;
        Ok(Touched { channels: of_channels, decided, of_offerings })
    }
}

/// Brings a channel up to date with an event.
async fn advance(
    conn: &mut Conn,
    channel: ChannelId,
    place: Place,
    change: ChannelEvent,
) -> Result<(), NodeError> {
    if let Some(channel) = channels::advance(conn, channel, place.at, change).await? {
        tracing::info!(channel = %channel.id, event = change.name(), status = %channel.status, block = place.at.block, "channel changed on chain");
    }
    Ok(())
}

#[async_trait]
impl<R: RoleRules> LogSink for Sink<R> {
    type Applied = Touched<R::Side>;

    async fn apply(&self, conn: &mut Conn, batch: &ConfirmedBatch) -> Result<Self::Applied, SinkError> {
        self.apply_batch(conn, batch).await.map_err(SinkError::new)
    }

    async fn rollback(&self, conn: &mut Conn, to_block: u64) -> Result<Self::Applied, SinkError> {
        self.undo(conn, to_block).await.map_err(SinkError::new)
    }

    fn committed(&self, touched: Self::Applied) {
        self.announce(touched);
    }
}

/// What the outcome of a transaction leads to.
struct Outcome<P: Party> {
    /// The channels that it is about.
    channels: BTreeSet<ChannelId>,
    /// What was decided about those that have a stored state.
    decided: Vec<Decided<P>>,
    /// Whether something was decided about an own offering.
    of_offerings: bool,
}

impl<P: Party> Default for Outcome<P> {
    fn default() -> Self {
        Self { channels: BTreeSet::new(), decided: Vec::new(), of_offerings: false }
    }
}

/// What the change of a transaction informs of.
pub(crate) struct Answered<P: Party> {
    /// What it leads to.
    outcome: Outcome<P>,
    /// What it changes of the gas that was paid.
    spending: Option<Spending>,
}

#[async_trait]
impl<R: RoleRules> TxSink for Sink<R> {
    type Applied = Answered<R::Side>;

    async fn changed(
        &self,
        conn: &mut Conn,
        record: &TxRecord,
        change: TxChange,
    ) -> Result<Self::Applied, SinkError> {
        let outcome = self.answer(conn, record, change).await.map_err(SinkError::new)?;
        Ok(Answered { outcome, spending: Spending::of(record, change) })
    }

    fn changed_own(&self, record: &TxRecord, change: TxChange) -> Option<Self::Applied> {
        let spending = Some(Spending::of(record, change)?);
        Some(Answered { outcome: Outcome::default(), spending })
    }

    fn committed(&self, Answered { outcome, spending }: Self::Applied) {
        let Outcome { channels, decided, of_offerings } = outcome;
        for decided in decided {
            self.role.decider().all_committed(decided);
        }
        if of_offerings {
            self.role.offerings_committed();
        }
        if let Some(spending) = spending {
            self.spent.count(spending);
        }
        self.wake.wake();
        for channel in &channels {
            self.marks.mark_totals(*channel);
        }
        if !channels.is_empty() {
            let _ = self.committed.send(channels.into_iter().collect()); // the receiver is gone only at shutdown
        }
    }
}
