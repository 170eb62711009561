//! Logs as typed events.

use alloy::{
    primitives::{Address, B256, LogData, U256},
    sol_types::SolEventInterface as _,
};
use privatix_channel::{
    Amount, Announcement, ChainEvent, ChainTime, ChannelDescriptor, ChannelEvent, ChannelId, Closure,
    ContractEvent, Fee, OfferingEvent, OfferingHash,
};

use crate::{
    PSC::{self, PSCEvents},
    PTC::PTCEvents,
    convert::{from_fee, from_u40, from_u96},
};

/// An event of the service contract.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PscEvent {
    /// Tokens arrived for an account's internal balance.
    Deposited {
        /// Whose balance grew.
        account: Address,
        /// By how much: what the contract received.
        amount: Amount,
    },
    /// Tokens moved from an account's internal balance to a wallet.
    Withdrawn {
        /// Whose balance shrank.
        account: Address,
        /// Whose wallet received them.
        to: Address,
        /// By how much.
        amount: Amount,
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
        /// Whose.
        account: Address,
        /// Its nonce from now on.
        nonce: u64,
    },
    /// An agent announced a new offering.
    OfferingRegistered {
        /// The offering's agent.
        agent: Address,
        /// The offering: hash of its signed message.
        offering: OfferingHash,
        /// What was announced.
        announcement: Announcement,
    },
    /// An agent announced a live offering again: with the places that are free now.
    OfferingPoppedUp {
        /// The offering's agent.
        agent: Address,
        /// The offering: hash of its signed message.
        offering: OfferingHash,
        /// What was announced.
        announcement: Announcement,
    },
    /// An agent removed an offering.
    OfferingRemoved {
        /// The offering's agent.
        agent: Address,
        /// The offering.
        offering: OfferingHash,
    },
    /// The fee of an offering's next channels was brought up to date.
    OfferingFeeRefreshed {
        /// The offering's agent.
        agent: Address,
        /// The offering.
        offering: OfferingHash,
        /// The fee from now on.
        fee: Fee,
    },
    /// A client opened a channel.
    ChannelOpened {
        /// The channel's id.
        channel: ChannelId,
        /// What identifies it in calls.
        descriptor: ChannelDescriptor,
        /// The first deposit.
        deposit: Amount,
        /// The network fee, fixed from now on.
        fee: Fee,
    },
    /// A client added to a deposit; a pending close request is cancelled.
    ChannelToppedUp {
        /// The channel and its parties.
        channel: ChannelParties,
        /// The whole deposit after the top-up.
        deposit: Amount,
        /// Whether a close request stood, which is cancelled now.
        request_cancelled: bool,
    },
    /// A voucher was cashed; the channel stays open.
    ChannelSettled {
        /// The channel and its parties.
        channel: ChannelParties,
        /// Everything credited to the agent so far, fee included.
        paid: Amount,
    },
    /// A client asked to close alone.
    ChannelCloseRequested {
        /// The channel and its parties.
        channel: ChannelParties,
        /// Everything credited to the agent so far, what the client admitted included.
        paid: Amount,
        /// The end of the challenge: the first second in which the close can be finalized.
        ends_at: ChainTime,
    },
    /// A client took its close request back.
    ChannelCloseCancelled {
        /// The channel and its parties.
        channel: ChannelParties,
    },
    /// A channel closed.
    ChannelClosed {
        /// The channel and its parties.
        channel: ChannelParties,
        /// The offering under which it was open.
        offering: OfferingHash,
        /// Everything credited to the agent, fee included.
        paid: Amount,
        /// What went back to the client.
        refund: Amount,
        /// Who closed, and whether it was disputed.
        closure: Closure,
    },
    /// A row of a batch took no effect. Anybody can cause it for any channel: to be read in one's own receipts only.
    ClaimSkipped {
        /// The row.
        index: u64,
        /// The channel that it named.
        channel: ChannelId,
        /// Why.
        reason: SkipReason,
    },
    /// The network fee of offerings announced from a time on was set; a higher one that was announced before and did not
    /// count yet is withdrawn.
    FeeChanged {
        /// The new fee.
        fee: Fee,
        /// From when it counts: now where it falls, later where it rises.
        effective_at: ChainTime,
    },
    /// The fee address wants to hand itself over.
    FeeAddressProposed {
        /// Who it is now.
        current: Address,
        /// Who may accept; zero withdraws the proposal.
        proposed: Address,
    },
    /// The fee address changed.
    FeeAddressChanged {
        /// Who it was; zero at the deployment.
        previous: Address,
        /// Who it is now.
        current: Address,
    },
}

/// Why a row of a batch took no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// The channel is not known to the contract.
    #[error("the channel is not open on this chain: a reorganisation may have undone its opening")]
    NotOpened,
    /// The channel is closed.
    #[error("the channel is closed already")]
    Closed,
    /// The voucher brings nothing.
    #[error("the channel has paid as much already")]
    NothingToSettle,
    /// The signature is not of whoever signs for the channel.
    #[error("the voucher's signature is not accepted for the channel")]
    InvalidSignature,
}

/// A channel and its two parties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelParties {
    /// The channel's id.
    pub id: ChannelId,
    /// Who locked the deposit.
    pub client: Address,
    /// Who is paid.
    pub agent: Address,
}

/// An event of the token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenEvent {
    /// Tokens moved.
    Transfer {
        /// Whose they were; zero when created.
        from: Address,
        /// Whose they are.
        to: Address,
        /// How many.
        amount: Amount,
    },
    /// An owner let a spender take tokens.
    Approval {
        /// Whose tokens.
        owner: Address,
        /// Who may take them.
        spender: Address,
        /// How many; everything above an amount's range counts as its maximum.
        amount: Amount,
    },
}

/// A log that is not an event of the contract.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Another event, or another contract.
    #[error("unknown event {}: is the address that of the expected contract?", topic.map_or_else(|| "without a signature".to_owned(), |topic| topic.to_string()))]
    Unknown {
        /// The log's first topic.
        topic: Option<B256>,
    },
    /// The signature is known, the rest does not fit it.
    #[error("malformed log of a known event: does the endpoint return complete logs?")]
    Malformed(#[source] alloy::sol_types::Error),
    /// A number beyond what the token's supply allows.
    #[error(
        "event carries the amount {0}, above what an amount can hold: is the address that of the expected contract?"
    )]
    AmountOutOfRange(U256),
    /// A number that names nothing.
    #[error("event carries {value} as its {field}: is the address that of the expected contract?")]
    UnknownValue {
        /// What it should name.
        field: &'static str,
        /// The number.
        value: U256,
    },
}

impl PscEvent {
    /// Decodes a log of the service contract. The caller has checked the log's address.
    pub fn decode(log: &LogData) -> Result<Self, EventError> {
        let event = PSCEvents::decode_raw_log(log.topics(), &log.data)
            .map_err(|e| refused(log, &crate::topics::known(), e))?;
        Ok(match event {
            PSCEvents::Deposited(e) => Self::Deposited { account: e.account, amount: amount(e.amount)? },
            PSCEvents::Withdrawn(e) => {
                Self::Withdrawn { account: e.account, to: e.to, amount: amount(e.amount)? }
            }
            PSCEvents::OperatorChanged(e) => Self::OperatorChanged {
                agent: e.agent,
                operator: Some(e.operator).filter(|operator| !operator.is_zero()),
                nonce: e.nonce,
            },
            PSCEvents::ConsentsRevoked(e) => Self::ConsentsRevoked { account: e.account, nonce: e.nonce },
            PSCEvents::OfferingRegistered(e) => Self::OfferingRegistered {
                agent: e.agent,
                offering: e.offering.into(),
                announcement: Announcement {
                    min_deposit: from_u96(e.minDeposit),
                    supply: e.supply,
                    fee: from_fee(e.fee),
                    source_type: e.sourceType,
                    source: e.source,
                },
            },
            PSCEvents::OfferingPoppedUp(e) => Self::OfferingPoppedUp {
                agent: e.agent,
                offering: e.offering.into(),
                announcement: Announcement {
                    min_deposit: from_u96(e.minDeposit),
                    supply: e.supply,
                    fee: from_fee(e.fee),
                    source_type: e.sourceType,
                    source: e.source,
                },
            },
            PSCEvents::OfferingRemoved(e) => {
                Self::OfferingRemoved { agent: e.agent, offering: e.offering.into() }
            }
            PSCEvents::OfferingFeeRefreshed(e) => Self::OfferingFeeRefreshed {
                agent: e.agent,
                offering: e.offering.into(),
                fee: from_fee(e.fee),
            },
            PSCEvents::ChannelOpened(e) => opened(&e),
            PSCEvents::ChannelToppedUp(e) => Self::ChannelToppedUp {
                channel: parties(e.channelId, e.client, e.agent),
                deposit: from_u96(e.deposit),
                request_cancelled: e.requestCancelled,
            },
            PSCEvents::ChannelSettled(e) => Self::ChannelSettled {
                channel: parties(e.channelId, e.client, e.agent),
                paid: from_u96(e.paid),
            },
            PSCEvents::ChannelCloseRequested(e) => Self::ChannelCloseRequested {
                channel: parties(e.channelId, e.client, e.agent),
                paid: from_u96(e.paid),
                ends_at: from_u40(e.challengeEndsAt),
            },
            PSCEvents::ChannelCloseCancelled(e) => {
                Self::ChannelCloseCancelled { channel: parties(e.channelId, e.client, e.agent) }
            }
            PSCEvents::ChannelClosed(e) => Self::ChannelClosed {
                channel: parties(e.channelId, e.client, e.agent),
                offering: e.offering.into(),
                paid: from_u96(e.paid),
                refund: from_u96(e.refund),
                closure: Closure::from_number(e.closure)
                    .ok_or(EventError::UnknownValue { field: "closure", value: U256::from(e.closure) })?,
            },
            PSCEvents::ClaimSkipped(e) => skipped(&e)?,
            PSCEvents::FeeChanged(e) => {
                Self::FeeChanged { fee: from_fee(e.fee), effective_at: from_u40(e.effectiveAt) }
            }
            PSCEvents::FeeAddressProposed(e) => {
                Self::FeeAddressProposed { current: e.current, proposed: e.proposed }
            }
            PSCEvents::FeeAddressChanged(e) => {
                Self::FeeAddressChanged { previous: e.previous, current: e.current }
            }
        })
    }

    /// The channel that the event is about, with its parties, if it is about one.
    pub fn channel(&self) -> Option<ChannelParties> {
        match self {
            Self::ChannelOpened { channel, descriptor, .. } => {
                Some(ChannelParties { id: *channel, client: descriptor.client, agent: descriptor.agent })
            }
            Self::ChannelToppedUp { channel, .. }
            | Self::ChannelSettled { channel, .. }
            | Self::ChannelCloseRequested { channel, .. }
            | Self::ChannelCloseCancelled { channel }
            | Self::ChannelClosed { channel, .. } => Some(*channel),
            _ => None,
        }
    }

    /// The offering that it is about, or whose free places it changes.
    pub const fn offering(&self) -> Option<OfferingHash> {
        match self {
            Self::OfferingRegistered { offering, .. }
            | Self::OfferingPoppedUp { offering, .. }
            | Self::OfferingRemoved { offering, .. }
            | Self::OfferingFeeRefreshed { offering, .. }
            | Self::ChannelClosed { offering, .. } => Some(*offering),
            Self::ChannelOpened { descriptor, .. } => Some(descriptor.offering),
            _ => None,
        }
    }

    /// What the event means for the market, in a block of this time. None for what is followed otherwise: balances, skipped
    /// rows of batches and the fee address.
    pub fn chain_event(self, block_time: ChainTime) -> Option<ChainEvent> {
        let of_channel = self.channel().zip(self.channel_event());
        let of_contract = |event| ChainEvent::Contract { block_time, event };
        let of_offering = |agent, offering, event| {
            let block_time = Some(block_time);
            ChainEvent::Offering { agent, offering, block_time, event }
        };
        Some(match self {
            Self::OfferingRegistered { agent, offering, announcement } => {
                of_offering(agent, offering, OfferingEvent::Registered(announcement))
            }
            Self::OfferingPoppedUp { agent, offering, announcement } => {
                of_offering(agent, offering, OfferingEvent::PoppedUp(announcement))
            }
            Self::OfferingRemoved { agent, offering } => of_offering(agent, offering, OfferingEvent::Removed),
            Self::OfferingFeeRefreshed { agent, offering, fee } => {
                of_offering(agent, offering, OfferingEvent::FeeRefreshed { fee })
            }
            Self::ChannelOpened { channel, descriptor, .. } => {
                ChainEvent::Opened { channel, descriptor, event: of_channel?.1 }
            }
            Self::ChannelClosed { channel, offering, .. } => ChainEvent::Closed {
                channel: channel.id,
                agent: channel.agent,
                client: channel.client,
                offering,
                event: of_channel?.1,
            },
            Self::ChannelToppedUp { .. }
            | Self::ChannelSettled { .. }
            | Self::ChannelCloseRequested { .. }
            | Self::ChannelCloseCancelled { .. } => {
                let (channel, event) = of_channel?;
                ChainEvent::Changed { channel: channel.id, agent: channel.agent, event }
            }
            Self::FeeChanged { fee, effective_at } => {
                of_contract(ContractEvent::FeeChanged { fee, effective_at })
            }
            Self::OperatorChanged { agent, operator, nonce } => {
                of_contract(ContractEvent::OperatorChanged { agent, operator, nonce })
            }
            Self::ConsentsRevoked { account, nonce } => {
                of_contract(ContractEvent::ConsentsRevoked { account, nonce })
            }
            Self::Deposited { .. }
            | Self::Withdrawn { .. }
            | Self::ClaimSkipped { .. }
            | Self::FeeAddressProposed { .. }
            | Self::FeeAddressChanged { .. } => return None,
        })
    }

    /// What the event does to its channel, for [`privatix_channel::OnChain`].
    pub fn channel_event(&self) -> Option<ChannelEvent> {
        match *self {
            Self::ChannelOpened { deposit, fee, .. } => Some(ChannelEvent::Opened { deposit, fee }),
            Self::ChannelToppedUp { deposit, request_cancelled, .. } => {
                Some(ChannelEvent::ToppedUp { deposit, request_cancelled })
            }
            Self::ChannelSettled { paid, .. } => Some(ChannelEvent::Settled { paid }),
            Self::ChannelCloseRequested { paid, ends_at, .. } => {
                Some(ChannelEvent::CloseRequested { paid, ends_at })
            }
            Self::ChannelCloseCancelled { .. } => Some(ChannelEvent::CloseCancelled),
            Self::ChannelClosed { paid, refund, closure, .. } => {
                Some(ChannelEvent::Closed { paid, refund, closure })
            }
            _ => None,
        }
    }

    /// The event's name in the contract, for logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Deposited { .. } => "Deposited",
            Self::Withdrawn { .. } => "Withdrawn",
            Self::OperatorChanged { .. } => "OperatorChanged",
            Self::ConsentsRevoked { .. } => "ConsentsRevoked",
            Self::OfferingRegistered { .. } => "OfferingRegistered",
            Self::OfferingPoppedUp { .. } => "OfferingPoppedUp",
            Self::OfferingRemoved { .. } => "OfferingRemoved",
            Self::OfferingFeeRefreshed { .. } => "OfferingFeeRefreshed",
            Self::ChannelOpened { .. } => "ChannelOpened",
            Self::ChannelToppedUp { .. } => "ChannelToppedUp",
            Self::ChannelSettled { .. } => "ChannelSettled",
            Self::ChannelCloseRequested { .. } => "ChannelCloseRequested",
            Self::ChannelCloseCancelled { .. } => "ChannelCloseCancelled",
            Self::ChannelClosed { .. } => "ChannelClosed",
            Self::ClaimSkipped { .. } => "ClaimSkipped",
            Self::FeeChanged { .. } => "FeeChanged",
            Self::FeeAddressProposed { .. } => "FeeAddressProposed",
            Self::FeeAddressChanged { .. } => "FeeAddressChanged",
        }
    }
}

impl TokenEvent {
    /// Decodes a log of the token; nothing for its other events. The caller has checked the address.
    pub fn decode(log: &LogData) -> Result<Option<Self>, EventError> {
        let event = PTCEvents::decode_raw_log(log.topics(), &log.data)
            .map_err(|e| refused(log, &crate::topics::TOKEN, e))?;
        Ok(match event {
            PTCEvents::Transfer(e) => {
                Some(Self::Transfer { from: e.from, to: e.to, amount: amount(e.value)? })
            }
            PTCEvents::Approval(e) => Some(Self::Approval {
                owner: e.owner,
                spender: e.spender,
                amount: amount(e.value).unwrap_or(Amount::MAX), // "unlimited" is the largest 256-bit number
            }),
            PTCEvents::EIP712DomainChanged(_)
            | PTCEvents::AuthorizationUsed(_)
            | PTCEvents::AuthorizationCanceled(_) => None,
        })
    }
}

fn opened(e: &PSC::ChannelOpened) -> PscEvent {
    PscEvent::ChannelOpened {
        channel: e.channelId.into(),
        descriptor: ChannelDescriptor {
            client: e.client,
            agent: e.agent,
            offering: e.offering.into(),
            nonce: e.nonce,
            signer: e.signer,
        },
        deposit: from_u96(e.deposit),
        fee: from_fee(e.fee),
    }
}

fn skipped(e: &PSC::ClaimSkipped) -> Result<PscEvent, EventError> {
    let reason = match e.reason {
        0 => SkipReason::NotOpened,
        1 => SkipReason::Closed,
        2 => SkipReason::NothingToSettle,
        3 => SkipReason::InvalidSignature,
        value => return Err(EventError::UnknownValue { field: "reason", value: U256::from(value) }),
    };
    let index =
        u64::try_from(e.index).map_err(|_| EventError::UnknownValue { field: "index", value: e.index })?;
    Ok(PscEvent::ClaimSkipped { index, channel: e.channelId.into(), reason })
}

fn parties(id: B256, client: Address, agent: Address) -> ChannelParties {
    ChannelParties { id: id.into(), client, agent }
}

fn amount(value: U256) -> Result<Amount, EventError> {
    u128::try_from(value).map(Amount::new).map_err(|_| EventError::AmountOutOfRange(value))
}

fn refused(log: &LogData, known: &[B256], error: alloy::sol_types::Error) -> EventError {
    match log.topics().first() {
        Some(topic) if known.contains(topic) => EventError::Malformed(error),
        topic => EventError::Unknown { topic: topic.copied() },
    }
}
