//! What comes out of the model.

use alloy::primitives::Address;

use super::Source;
use crate::{Amount, ChainTime, ChannelDescriptor, ChannelEvent, ChannelId, Closure, Fee, OfferingHash};

/// What a call did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The contract's events, in their order.
    pub events: Vec<Event>,
    /// What the call returned.
    pub returned: Returned,
}

/// What a call returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returned {
    /// Nothing.
    Nothing,
    /// The id of the channel that it opened.
    Channel(ChannelId),
    /// What it withdrew.
    Amount(Amount),
    /// How many rows of a batch took effect.
    Rows(u64),
    /// What each call of a `multicall` returned.
    Calls(Vec<Self>),
}

/// An event of the service contract.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names and meanings are those of the contract's interface")]
pub enum Event {
    Deposited {
        account: Address,
        amount: Amount,
    },
    Withdrawn {
        account: Address,
        to: Address,
        amount: Amount,
    },
    OperatorChanged {
        agent: Address,
        operator: Address,
        nonce: u64,
    },
    ConsentsRevoked {
        account: Address,
        nonce: u64,
    },
    OfferingRegistered {
        agent: Address,
        offering: OfferingHash,
        min_deposit: Amount,
        supply: u32,
        fee: Fee,
        source: Source,
    },
    OfferingPoppedUp {
        agent: Address,
        offering: OfferingHash,
        min_deposit: Amount,
        supply: u32,
        fee: Fee,
        source: Source,
    },
    OfferingRemoved {
        agent: Address,
        offering: OfferingHash,
    },
    OfferingFeeRefreshed {
        agent: Address,
        offering: OfferingHash,
        fee: Fee,
    },
    ChannelOpened {
        channel: ChannelId,
        descriptor: ChannelDescriptor,
        deposit: Amount,
        fee: Fee,
    },
    ChannelToppedUp {
        channel: ChannelId,
        client: Address,
        agent: Address,
        deposit: Amount,
        request_cancelled: bool,
    },
    ChannelSettled {
        channel: ChannelId,
        client: Address,
        agent: Address,
        paid: Amount,
    },
    ChannelCloseRequested {
        channel: ChannelId,
        client: Address,
        agent: Address,
        paid: Amount,
        ends_at: ChainTime,
    },
    ChannelCloseCancelled {
        channel: ChannelId,
        client: Address,
        agent: Address,
    },
    ChannelClosed {
        channel: ChannelId,
        client: Address,
        agent: Address,
        offering: OfferingHash,
        paid: Amount,
        refund: Amount,
        closure: Closure,
    },
    ClaimSkipped {
        index: u64,
        channel: ChannelId,
        reason: SkipReason,
    },
    FeeChanged {
        fee: Fee,
        effective_at: ChainTime,
    },
    FeeAddressProposed {
        current: Address,
        proposed: Address,
    },
    FeeAddressChanged {
        previous: Address,
        current: Address,
    },
}

impl Event {
    /// What the event does to its channel, if it is about one.
    pub const fn channel_event(&self) -> Option<(ChannelId, ChannelEvent)> {
        Some(match *self {
            Self::ChannelOpened { channel, deposit, fee, .. } => {
                (channel, ChannelEvent::Opened { deposit, fee })
            }
            Self::ChannelToppedUp { channel, deposit, request_cancelled, .. } => {
                (channel, ChannelEvent::ToppedUp { deposit, request_cancelled })
            }
            Self::ChannelSettled { channel, paid, .. } => (channel, ChannelEvent::Settled { paid }),
            Self::ChannelCloseRequested { channel, paid, ends_at, .. } => {
                (channel, ChannelEvent::CloseRequested { paid, ends_at })
            }
            Self::ChannelCloseCancelled { channel, .. } => (channel, ChannelEvent::CloseCancelled),
            Self::ChannelClosed { channel, paid, refund, closure, .. } => {
                (channel, ChannelEvent::Closed { paid, refund, closure })
            }
            _ => return None,
        })
    }
}

/// Why a row of a batch took no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// The channel was never opened.
    NotOpened,
    /// The channel is closed.
    Closed,
    /// As much, or more, is paid already.
    NothingToSettle,
    /// Not signed by whoever signs for the channel.
    InvalidSignature,
}
