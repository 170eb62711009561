use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use privatix_channel::{ChainEvent, ChannelId};
use privatix_db::Conn;
use privatix_market::Party;
use privatix_store::events::Place;
use privatix_store::offering_states::{self, Key, Loaded};

use crate::inputs::Before;
use crate::{Decider, NodeError, OfferingDecider};

/// How offerings stood before the chain was brought up to date with events of theirs: their states, where they have one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stood {
    /// Each with its state before; `None` where it had none.
    pub offerings: BTreeMap<Key, Option<Loaded>>,
}

impl Stood {
    /// Of those offerings that are announced, changed or removed by these events. What only takes or frees a place is not among them.
    ///
    /// # Errors
    /// [`NodeError`] of the database.
    pub(crate) async fn of<'a>(
        conn: &mut Conn,
        events: impl Iterator<Item = &'a ChainEvent>,
    ) -> Result<Self, NodeError> {
        let changes = |event: &&ChainEvent| matches!(event, ChainEvent::Offering { .. });
        let keys: BTreeSet<Key> = events.filter(changes).filter_map(ChainEvent::offering).collect();
        let keys: Vec<Key> = keys.into_iter().collect();
        let mut states = offering_states::load_all(conn, &keys).await?;
        let offerings = keys.into_iter().map(|key| (key, states.remove(&key))).collect();
        Ok(Self { offerings })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.offerings.is_empty()
    }
}

/// Where a role differs from the other one: what it does about news. Every method that gets a connection runs inside the
/// transaction that makes the news durable, so its follow-up jobs commit with their cause.
#[async_trait]
pub trait RoleRules: Send + Sync + 'static {
    /// Which side of its channels this role is.
    type Side: Party;

    /// Who decides about its channels.
    fn decider(&self) -> &Decider<Self::Side>;

    /// Who decides about the offerings of its own account; `None` where it has none. What was decided by it is committed:
    /// [`offerings_committed`](Self::offerings_committed).
    fn own_offerings(&self) -> Option<&OfferingDecider> {
        None
    }

    /// The node starts, and nothing is decided and no job runs before this returns. The transactor can be asked, and a recovery has
    /// begun. The place to build what decisions need.
    ///
    /// # Errors
    /// [`NodeError`] ends the run.
    async fn on_start(&self) -> Result<(), NodeError>;

    /// A confirmed chain event, seen for the first time, before the offering and the channel that it is about are brought up
    /// to date with it and with the other events of its batch. The place to store a channel that is seen being opened, with its
    /// first state in `before`.
    async fn on_event(
        &self,
        conn: &mut Conn,
        before: &mut Before<Self::Side>,
        place: Place,
        event: &ChainEvent,
    ) -> Result<(), NodeError>;

    /// The chain shows these offerings otherwise than before, or may do so: they were announced, removed, or an event of theirs was
    /// undone. They are brought up to date already. The place to decide about them. By default nothing follows.
    async fn on_offerings(&self, conn: &mut Conn, stood: Stood) -> Result<(), NodeError> {
        let _ = (conn, stood);
        Ok(())
    }

    /// What [`on_offerings`](Self::on_offerings) has decided is committed. Called without waiting for anything.
    fn offerings_committed(&self) {}

    /// Kinds of its jobs that would move money a second time, or undo a later order, if they were carried out again.
    fn not_to_be_repeated(&self) -> &'static [&'static str];

    /// What the chain says of these channels, or how their services stand, was committed again: views of them in memory
    /// are old. By default there are none.
    async fn on_committed(&self, channels: &[ChannelId]) {
        let _ = channels;
    }
}
