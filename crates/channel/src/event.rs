//! What the service contract logs, as far as the market follows it.

use alloy::primitives::Address;
use serde::{Deserialize, Serialize};

use crate::{Amount, ChainTime, ChannelDescriptor, ChannelId, Closure, Fee, OfferingHash};

/// A confirmed event of the service contract: of an offering, of a channel, or of the contract itself and its accounts.
///
/// Its serde form is stored: it stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum ChainEvent {
    /// An offering was announced, changed or removed.
    Offering {
        /// Its agent.
        agent: Address,
        /// Its hash.
        offering: OfferingHash,
        /// The time of its block. `None` in an event that an earlier version stored.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        block_time: Option<ChainTime>,
        /// What happened.
        event: OfferingEvent,
    },
    /// A channel was opened: it takes a place of its offering.
    Opened {
        /// The channel.
        channel: ChannelId,
        /// All that identifies it.
        descriptor: ChannelDescriptor,
        /// What happened.
        event: ChannelEvent,
    },
    /// Something happened to an open channel.
    Changed {
        /// The channel.
        channel: ChannelId,
        /// Its agent.
        agent: Address,
        /// What happened.
        event: ChannelEvent,
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
        event: ChannelEvent,
    },
    /// Something happened to the contract itself or to an account of it.
    Contract {
        /// The time of its block: a fee counts from a time on.
        block_time: ChainTime,
        /// What happened.
        event: ContractEvent,
    },
}

/// Something that the contract did with a channel: its events with the amounts that they carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelEvent {
    /// `ChannelOpened`: the client locked a deposit.
    Opened {
        /// The first deposit.
        deposit: Amount,
        /// The network fee, fixed from now on.
        fee: Fee,
    },
    /// `ChannelToppedUp`: the client added to the deposit; a pending close request is thereby cancelled.
    ToppedUp {
        /// The whole deposit after the top-up.
        deposit: Amount,
        /// Whether a close request stood, which is cancelled now.
        request_cancelled: bool,
    },
    /// `ChannelSettled`: a voucher was cashed; the channel stays open.
    Settled {
        /// Everything credited to the agent so far, fee included.
        paid: Amount,
    },
    /// `ChannelCloseRequested`: the client asked to close alone; the challenge runs.
    CloseRequested {
        /// Everything credited to the agent so far, what the client admitted and the fee included.
        paid: Amount,
        /// The end of the challenge: the first second in which the close can be finalized.
        ends_at: ChainTime,
    },
    /// `ChannelCloseCancelled`: the client took its request back.
    CloseCancelled,
    /// `ChannelClosed`: the money is shared out, nothing can follow.
    Closed {
        /// Everything credited to the agent, fee included.
        paid: Amount,
        /// What went back to the client.
        refund: Amount,
        /// Who closed, and whether it was disputed.
        closure: Closure,
    },
}

/// Something that happened to an offering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum OfferingEvent {
    /// `OfferingRegistered`: announced for the first time.
    Registered(Announcement),
    /// `OfferingPoppedUp`: announced again; `supply` counts the places free then.
    PoppedUp(Announcement),
    /// `OfferingFeeRefreshed`: the network fee of its next channels was brought up to date.
    FeeRefreshed {
        /// The fee from then on.
        fee: Fee,
    },
    /// `OfferingRemoved`: taken off the market.
    Removed,
}

/// What an announcement says of an offering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Least deposit of a channel.
    pub min_deposit: Amount,
    /// Places: all of them at a registration, those free at that moment at a pop-up. In an
    /// [`OfferingOnChain`](crate::OfferingOnChain): all that are known of.
    pub supply: u32,
    /// The network fee of the channels that open next under it.
    pub fee: Fee,
    /// How the offering message can be had (`SomcAddress`'s kind).
    pub source_type: u8,
    /// The address from which the offering message can be fetched.
    pub source: String,
}

/// Something that happened to the contract itself or to an account of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ContractEvent {
    /// The network fee was set; one that was announced before and did not count yet is withdrawn.
    FeeChanged {
        /// The new fee.
        fee: Fee,
        /// From when it counts: at once where it falls, later where it rises.
        effective_at: ChainTime,
    },
    /// An agent appointed another operator, or none. Its consents so far are void.
    OperatorChanged {
        /// The agent.
        agent: Address,
        /// Who may act for it now.
        operator: Option<Address>,
        /// The agent's nonce from now on.
        nonce: u64,
    },
    /// The consents and relayed close requests of an account with an older nonce are void.
    ConsentsRevoked {
        /// The account.
        account: Address,
        /// Its nonce from now on.
        nonce: u64,
    },
}

impl ChainEvent {
    /// Whether this is the event that is stored as `stored`, where an earlier version may have left out its block's time.
    pub fn is_stored_as(&self, stored: &Self) -> bool {
        let mut event = self.clone();
        if let (Self::Offering { block_time, .. }, Self::Offering { block_time: None, .. }) =
            (&mut event, stored)
        {
            *block_time = None;
        }
        event == *stored
    }

    /// The agent whose offering or channel it is; None for events of the contract.
    pub const fn agent(&self) -> Option<Address> {
        match self {
            Self::Offering { agent, .. } | Self::Changed { agent, .. } | Self::Closed { agent, .. } => {
                Some(*agent)
            }
            Self::Opened { descriptor, .. } => Some(descriptor.agent),
            Self::Contract { .. } => None,
        }
    }

    /// The channel it is about.
    pub const fn channel(&self) -> Option<ChannelId> {
        match self {
            Self::Opened { channel, .. } | Self::Changed { channel, .. } | Self::Closed { channel, .. } => {
                Some(*channel)
            }
            Self::Offering { .. } | Self::Contract { .. } => None,
        }
    }

    /// The offering whose state or supply it changes: its agent and its hash.
    pub const fn offering(&self) -> Option<(Address, OfferingHash)> {
        match self {
            Self::Offering { agent, offering, .. } | Self::Closed { agent, offering, .. } => {
                Some((*agent, *offering))
            }
            Self::Opened { descriptor, .. } => Some((descriptor.agent, descriptor.offering)),
            Self::Changed { .. } | Self::Contract { .. } => None,
        }
    }

    /// Whether it may be about a channel of this account: what names no client is.
    pub fn may_concern(&self, account: Address) -> bool {
        match self {
            Self::Offering { .. } | Self::Changed { .. } | Self::Contract { .. } => true,
            Self::Opened { descriptor, .. } => [descriptor.client, descriptor.agent].contains(&account),
            Self::Closed { client, agent, .. } => [*client, *agent].contains(&account),
        }
    }

    /// What it means for its channel.
    pub const fn channel_event(&self) -> Option<ChannelEvent> {
        match self {
            Self::Opened { event, .. } | Self::Changed { event, .. } | Self::Closed { event, .. } => {
                Some(*event)
            }
            Self::Offering { .. } | Self::Contract { .. } => None,
        }
    }

    /// Whether it announces an offering for the first time: what was before does not count then.
    pub const fn is_registration(&self) -> bool {
        matches!(self, Self::Offering { event: OfferingEvent::Registered(_), .. })
    }

    /// Whether it announces an offering, for the first time or again.
    pub const fn is_announcement(&self) -> bool {
        matches!(
            self,
            Self::Offering { event: OfferingEvent::Registered(_) | OfferingEvent::PoppedUp(_), .. }
        )
    }
}

impl ChannelEvent {
    /// The event's name, for messages and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "opened",
            Self::ToppedUp { .. } => "topped_up",
            Self::Settled { .. } => "settled",
            Self::CloseRequested { .. } => "close_requested",
            Self::CloseCancelled => "close_cancelled",
            Self::Closed { .. } => "closed",
        }
    }
}

impl ContractEvent {
    /// Whose operator or nonce it changes; None for the network fee.
    pub const fn account(&self) -> Option<Address> {
        match self {
            Self::FeeChanged { .. } => None,
            Self::OperatorChanged { agent: account, .. } | Self::ConsentsRevoked { account, .. } => {
                Some(*account)
            }
        }
    }
}
