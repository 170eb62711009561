use std::time::SystemTime;

use async_trait::async_trait;
use privatix_billing::{Account, Terms};
use privatix_chain::{TxChange, TxRecord};
use privatix_channel::{ChainEvent, ChannelId, ServiceStatus};
use privatix_db::Conn;
use privatix_market::Party;
use privatix_store::channels::Channel;
use privatix_store::events::Place;
use privatix_store::purposes::Recorded;

use crate::inputs::Before;
use crate::{Decider, NodeError};

/// Where a role differs from the other one: what it does about news. Every method that gets a connection runs inside the
/// transaction that makes the news durable, so its follow-up jobs commit with their cause.
#[async_trait]
pub trait Role: Send + Sync + 'static {
    /// Which side of its channels this role is.
    type Side: Party;

    /// Who decides about those of its channels that have a stored state. `None`: none has one.
    fn decider(&self) -> Option<&Decider<Self::Side>>;

    /// The node starts, and nothing is decided and no job runs before this returns. The transactor can be asked, and a recovery has
    /// begun. The place to build what decisions need.
    ///
    /// # Errors
    /// [`NodeError`] ends the run.
    async fn on_start(&self) -> Result<(), NodeError>;

    /// A confirmed chain event, seen for the first time, before the offering and the channel that it is about are brought up
    /// to date with it and with the other events of its batch. The place to store a channel that is seen being opened: with its
    /// first state in `before`, if this side has a [decider](Self::decider).
    async fn on_event(
        &self,
        conn: &mut Conn,
        before: Option<&mut Before<Self::Side>>,
        place: Place,
        event: &ChainEvent,
    ) -> Result<(), NodeError>;

    /// A channel that we keep was brought up to date with an event.
    async fn on_channel(
        &self,
        conn: &mut Conn,
        channel: &Channel,
        event: &ChainEvent,
    ) -> Result<(), NodeError>;

    /// Blocks were undone, and a channel that we keep was folded again from what is left: a close request that a later block
    /// had taken back may stand again, with no event that says so.
    async fn on_undone(&self, conn: &mut Conn, channel: &Channel) -> Result<(), NodeError>;

    /// The database came back from a backup, and no job runs until the chain was caught up with: the place to answer what
    /// cannot wait. Called at each start of a recovery.
    async fn on_restored(&self, conn: &mut Conn) -> Result<(), NodeError>;

    /// Kinds of its jobs that would move money a second time, or undo a later order, if they were carried out again.
    fn not_to_be_repeated(&self) -> &'static [&'static str];

    /// Kinds of its jobs that end channels, and that [`NodeError::KeptOpen`] puts off during a recovery.
    fn put_off(&self) -> &'static [&'static str];

    /// A service was stopped for good, and all its usage is stored; its status is still `Terminating`. The place to settle
    /// what is owed.
    async fn on_stopped(&self, channel: ChannelId) -> Result<(), NodeError>;

    /// A service came into a state that it was ordered into.
    async fn on_service(
        &self,
        conn: &mut Conn,
        channel: &Channel,
        now: ServiceStatus,
    ) -> Result<(), NodeError>;

    /// A transaction of ours has come to an outcome, or an outcome was taken back or became final. What it leads to depends on
    /// what is recorded of it: its subject and its purpose.
    async fn on_transaction(
        &self,
        conn: &mut Conn,
        recorded: &Recorded,
        record: &TxRecord,
        change: TxChange,
    ) -> Result<(), NodeError>;

    /// What the chain says of these channels, or how their services stand, was committed again: views of them in memory
    /// are old.
    async fn on_committed(&self, channels: &[ChannelId]);

    /// Billing's question about a live channel: decides, sets going what follows, returns when to ask again.
    async fn assess(
        &self,
        channel: &Channel,
        terms: &Terms,
        account: &Account,
        now: SystemTime,
    ) -> Result<Option<SystemTime>, NodeError>;
}
