//! Confirmed chain events, the ground truth that everything on-chain is folded from.

use alloy::primitives::{Address, B256};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use privatix_channel::{ChainEvent, ChannelDescriptor, ChannelId, LogPosition, OfferingHash};
use privatix_db::types::{Addr, Bytes32};
use privatix_db::{Conn, on};
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::columns::{from_json, hash, id, signed, to_json, unsigned};
use crate::offerings::OfferingEvent;
use crate::schema::chain_events;

/// Where an event stands on the chain: this identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Block and index of the log.
    pub at: LogPosition,
    /// The transaction that made it.
    pub tx: B256,
}

/// What a confirmed event of the service contract means for the market.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum MarketEvent {
    /// An offering was announced or removed.
    Offering {
        /// Its agent.
        agent: Address,
        /// Its hash.
        offering: OfferingHash,
        /// What happened.
        event: OfferingEvent,
    },
    /// A channel was opened: it takes a place of its offering.
    Opened {
        /// The channel.
        channel: ChannelId,
        /// All that identifies it.
        descriptor: ChannelDescriptor,
        /// What happened, as the channel protocol sees it.
        event: ChainEvent,
    },
    /// Something happened to an open channel.
    Changed {
        /// The channel.
        channel: ChannelId,
        /// Its agent.
        agent: Address,
        /// What happened.
        event: ChainEvent,
    },
    /// A channel was closed: it frees a place of its offering.
    Closed {
        /// The channel.
        channel: ChannelId,
        /// Its agent.
        agent: Address,
        /// Its client.
        client: Address,
        /// Its offering.
        offering: OfferingHash,
        /// What happened.
        event: ChainEvent,
    },
}

impl MarketEvent {
    /// The agent whose offering or channel it is.
    pub fn agent(&self) -> Address {
        match self {
            Self::Offering { agent, .. } | Self::Changed { agent, .. } | Self::Closed { agent, .. } => *agent,
            Self::Opened { descriptor, .. } => descriptor.agent,
        }
    }

    /// The channel it is about.
    pub fn channel(&self) -> Option<ChannelId> {
        match self {
            Self::Offering { .. } => None,
            Self::Opened { channel, .. } | Self::Changed { channel, .. } | Self::Closed { channel, .. } => {
                Some(*channel)
            }
        }
    }

    /// The offering whose state or supply it changes.
    pub fn offering(&self) -> Option<OfferingHash> {
        match self {
            Self::Offering { offering, .. } | Self::Closed { offering, .. } => Some(*offering),
            Self::Opened { descriptor, .. } => Some(descriptor.offering),
            Self::Changed { .. } => None,
        }
    }

    /// What it means for its channel.
    pub fn channel_event(&self) -> Option<ChainEvent> {
        match self {
            Self::Offering { .. } => None,
            Self::Opened { event, .. } | Self::Changed { event, .. } | Self::Closed { event, .. } => {
                Some(*event)
            }
        }
    }
}

/// Stores an event. Returns false, and changes nothing, when it is already there.
///
/// # Errors
/// [`StoreError::OtherEvent`] if its place is taken by another one.
pub async fn record(conn: &mut Conn, place: Place, event: &MarketEvent) -> Result<bool, StoreError> {
    let key = (signed("block", place.at.block)?, signed("log index", place.at.index)?);
    let row = (
        chain_events::block.eq(key.0),
        chain_events::log_index.eq(key.1),
        chain_events::tx.eq(Bytes32::from(place.tx)),
        chain_events::agent.eq(Addr::from(event.agent())),
        chain_events::channel.eq(event.channel().map(id)),
        chain_events::offering.eq(event.offering().map(hash)),
        chain_events::event.eq(to_json("chain event", event)?),
    );
    let insert = diesel::insert_into(chain_events::table).values(row).on_conflict_do_nothing();
    if on!(&mut *conn, |c| insert.execute(c).await)? > 0 {
        return Ok(true);
    }
    let stored = chain_events::table.find(key).select((chain_events::tx, chain_events::event));
    let (tx, stored): (Bytes32, String) = on!(conn, |c| stored.first(c).await)?;
    if tx == place.tx.into() && from_json::<MarketEvent>("chain event", &stored)? == *event {
        Ok(false)
    } else {
        Err(StoreError::OtherEvent { block: place.at.block, index: place.at.index })
    }
}

/// Where the channel's last event stands.
pub(crate) async fn last_of_channel(
    conn: &mut Conn,
    channel: ChannelId,
) -> Result<Option<LogPosition>, StoreError> {
    let query = chain_events::table
        .filter(chain_events::channel.eq(id(channel)))
        .order((chain_events::block.desc(), chain_events::log_index.desc()))
        .select((chain_events::block, chain_events::log_index));
    let last: Option<(i64, i64)> = on!(conn, |c| query.first(c).await.optional())?;
    last.map(|(block, index)| position(block, index)).transpose()
}

/// The channel's events in chain order.
pub async fn of_channel(
    conn: &mut Conn,
    channel: ChannelId,
) -> Result<Vec<(Place, MarketEvent)>, StoreError> {
    let query = chain_events::table
        .filter(chain_events::channel.eq(id(channel)))
        .order((chain_events::block, chain_events::log_index))
        .select((chain_events::block, chain_events::log_index, chain_events::tx, chain_events::event));
    let rows: Vec<Row> = on!(conn, |c| query.load(c).await)?;
    rows.into_iter().map(event).collect()
}

/// The events that make an offering's state and supply, in chain order.
pub async fn of_offering(
    conn: &mut Conn,
    agent: Address,
    offering: OfferingHash,
) -> Result<Vec<(Place, MarketEvent)>, StoreError> {
    let query = chain_events::table
        .filter(chain_events::agent.eq(Addr::from(agent)))
        .filter(chain_events::offering.eq(hash(offering)))
        .order((chain_events::block, chain_events::log_index))
        .select((chain_events::block, chain_events::log_index, chain_events::tx, chain_events::event));
    let rows: Vec<Row> = on!(conn, |c| query.load(c).await)?;
    rows.into_iter().map(event).collect()
}

/// Deletes every event above `block` and returns them in chain order: the caller folds what they touched again.
pub async fn undo_above(conn: &mut Conn, block: u64) -> Result<Vec<(Place, MarketEvent)>, StoreError> {
    let above = chain_events::block.gt(signed("block", block)?);
    let query = chain_events::table
        .filter(above)
        .order((chain_events::block, chain_events::log_index))
        .select((chain_events::block, chain_events::log_index, chain_events::tx, chain_events::event));
    let rows: Vec<Row> = on!(&mut *conn, |c| query.load(c).await)?;
    on!(conn, |c| diesel::delete(chain_events::table.filter(above)).execute(c).await)?;
    rows.into_iter().map(event).collect()
}

type Row = (i64, i64, Bytes32, String);

fn event((block, log_index, tx, event): Row) -> Result<(Place, MarketEvent), StoreError> {
    let place = Place { at: position(block, log_index)?, tx: tx.bytes().into() };
    Ok((place, from_json("chain event", &event)?))
}

pub(crate) fn position(block: i64, log_index: i64) -> Result<LogPosition, StoreError> {
    Ok(LogPosition::new(unsigned("block", block)?, unsigned("log index", log_index)?))
}
