//! What is compared: an entry of the contract's storage, and how to read it, judge it and find its logs.

use std::fmt;

use alloy::primitives::{Address, Bytes};
use alloy::rpc::types::Filter;
use alloy::sol_types::SolCall as _;
use privatix_adapter::Role as Side;
use privatix_channel::{ChainTime, ChannelId, Held, Life, OfferingHash, OfferingStatus, OnChain};
use privatix_contracts::{ChannelInfo, ChannelState, OfferingInfo, OfferingState, PSC, PscEvent, topics};
use privatix_db::Conn;
use privatix_offering::{OfferingLife, OnContract};
use privatix_store::offerings::{self, Offering};
use privatix_store::{StoreError, channels};

/// An entry of the contract's storage, which its events should explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ContractEntry {
    /// A channel.
    Channel(ChannelId),
    /// An agent's offering.
    Offering(Address, OfferingHash),
}

impl fmt::Display for ContractEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(channel) => write!(f, "channel {channel}"),
            Self::Offering(agent, offering) => write!(f, "offering {offering} of {agent}"),
        }
    }
}

/// A kind of entries.
pub(super) trait Entry: Copy + Ord + Send + Sync + Into<ContractEntry> {
    /// What its events come to.
    type Seen: Copy + PartialEq + Send + Sync;
    /// What the contract holds.
    type Held: Copy + Send + Sync;
    /// For errors.
    const HELD: &'static str;
    const LOGS: &'static str;

    /// What the stored events come to.
    async fn seen(self, conn: &mut Conn) -> Result<Self::Seen, StoreError>;
    /// The call that reads the entry.
    fn call(self) -> Vec<u8>;
    /// Its answer.
    fn read(answer: &Bytes) -> Result<Self::Held, alloy::sol_types::Error>;
    /// What the contract holds and the events do not explain.
    fn unexplained(seen: &Self::Seen, held: &Self::Held) -> Option<String>;
    /// When the challenge ends that the contract shows and the events do not.
    fn unseen_challenge(seen: &Self::Seen, held: &Self::Held) -> Option<ChainTime>;
    /// From which block on an event may be missing; none: from the first one that is followed.
    fn since(seen: &Self::Seen) -> Option<u64>;
    /// Which logs may explain it: of the contract, any of these.
    fn filters(self) -> Vec<Filter>;
    /// Whether an event that matches one of them is about the entry.
    fn is_about(self, event: &PscEvent) -> bool;
}

impl From<ChannelId> for ContractEntry {
    fn from(channel: ChannelId) -> Self {
        Self::Channel(channel)
    }
}

impl Entry for ChannelId {
    type Seen = OnChain;
    type Held = Held;
    const HELD: &'static str = "what it holds of channels";
    const LOGS: &'static str = "the logs of a channel";

    async fn seen(self, conn: &mut Conn) -> Result<OnChain, StoreError> {
        channels::on_chain(conn, self).await
    }

    fn call(self) -> Vec<u8> {
        PSC::channelsCall { channelId: *self.as_b256() }.abi_encode()
    }

    fn read(answer: &Bytes) -> Result<Held, alloy::sol_types::Error> {
        let info = ChannelInfo::from(PSC::channelsCall::abi_decode_returns(answer)?);
        Ok(Held {
            life: match info.state {
                ChannelState::None => Life::Unopened,
                ChannelState::Open => Life::Open,
                ChannelState::Closed => Life::Closed,
            },
            deposit: info.deposit,
            paid: info.paid,
            fee: info.fee,
            challenge_ends_at: info.challenge_ends_at,
        })
    }

    fn unexplained(seen: &OnChain, held: &Held) -> Option<String> {
        seen.unexplained(held).map(|what| what.to_string())
    }

    fn unseen_challenge(seen: &OnChain, held: &Held) -> Option<ChainTime> {
        let is_unseen = held.life == Life::Open && seen.challenge_ends_at().is_none();
        held.challenge_ends_at.filter(|_| is_unseen)
    }

    fn since(seen: &OnChain) -> Option<u64> {
        seen.opened_at
    }

    fn filters(self) -> Vec<Filter> {
        vec![Filter::new().event_signature(topics::CHANNEL.to_vec()).topic1(*self.as_b256())]
    }

    fn is_about(self, _: &PscEvent) -> bool {
        true
    }
}

/// An agent's offering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OfferingKey {
    pub(super) agent: Address,
    pub(super) hash: OfferingHash,
}

impl From<OfferingKey> for ContractEntry {
    fn from(OfferingKey { agent, hash }: OfferingKey) -> Self {
        Self::Offering(agent, hash)
    }
}

impl OfferingKey {
    pub(super) fn of(offering: &Offering) -> Self {
        Self { agent: offering.agent, hash: offering.hash }
    }
}

/// What an offering's events come to, and where its last announcement stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SeenOffering {
    by_events: OnContract,
    announced_at: Option<u64>,
}

impl From<&Offering> for SeenOffering {
    fn from(offering: &Offering) -> Self {
        let life = match (offering.status, offering.announced_at) {
            (_, None) => OfferingLife::Unregistered,
            (OfferingStatus::Removed, _) => OfferingLife::Removed,
            _ => OfferingLife::Live,
        };
        let by_events = OnContract {
            life,
            min_deposit: offering.announcement.min_deposit,
            free: offering.free_supply,
            fee: offering.announcement.fee,
        };
        Self { by_events, announced_at: offering.announced_at }
    }
}

impl Entry for OfferingKey {
    type Seen = SeenOffering;
    type Held = OnContract;
    const HELD: &'static str = "what it holds of offerings";
    const LOGS: &'static str = "the logs of an offering";

    async fn seen(self, conn: &mut Conn) -> Result<SeenOffering, StoreError> {
        Ok((&offerings::get(conn, self.agent, self.hash).await?).into())
    }

    fn call(self) -> Vec<u8> {
        PSC::offeringsCall { agent: self.agent, offering: *self.hash.as_b256() }.abi_encode()
    }

    fn read(answer: &Bytes) -> Result<OnContract, alloy::sol_types::Error> {
        Ok(held_offering(PSC::offeringsCall::abi_decode_returns(answer)?.into()))
    }

    fn unexplained(seen: &SeenOffering, held: &OnContract) -> Option<String> {
        seen.by_events.unexplained(held).map(|what| what.to_string())
    }

    fn unseen_challenge(_: &SeenOffering, _: &OnContract) -> Option<ChainTime> {
        None
    }

    fn since(seen: &SeenOffering) -> Option<u64> {
        seen.announced_at
    }

    fn filters(self) -> Vec<Filter> {
        let (agent, hash) = (self.agent.into_word(), *self.hash.as_b256());
        vec![
            Filter::new().event_signature(topics::OFFERING.to_vec()).topic1(agent).topic2(hash),
            // They move its free places; the offering is no topic of theirs.
            Filter::new().event_signature(topics::OPENINGS_AND_CLOSINGS.to_vec()).topic3(agent),
        ]
    }

    fn is_about(self, event: &PscEvent) -> bool {
        event.offering() == Some(self.hash)
    }
}

/// What the contract holds of an offering.
pub(crate) fn held_offering(info: OfferingInfo) -> OnContract {
    OnContract {
        life: match info.state {
            OfferingState::None => OfferingLife::Unregistered,
            OfferingState::Live => OfferingLife::Live,
            OfferingState::Removed => OfferingLife::Removed,
        },
        min_deposit: info.min_deposit,
        free: info.supply,
        fee: info.fee,
    }
}

/// The most offerings of the market that are compared: those that were announced last.
const MOST_OFFERINGS: u32 = 1_000;

/// The offerings that a side relies on: an agent on its own that are, or should be, on the market; a client on what is for sale.
pub(super) async fn offerings_of(
    conn: &mut Conn,
    side: Side,
    account: Address,
) -> Result<Vec<Offering>, StoreError> {
    match side {
        Side::Agent => offerings::followed(conn, account).await,
        Side::Client => {
            let for_sale = offerings::Filter { available: true, ..offerings::Filter::default() };
            offerings::list(conn, &for_sale, 0, MOST_OFFERINGS).await
        }
    }
}
