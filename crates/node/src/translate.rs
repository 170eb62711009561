//! What an event of the service contract means for the market.

use privatix_channel::ChainEvent;
use privatix_contracts::{self as contracts, ChannelParties, PscEvent};
use privatix_store::contract::ContractEvent;
use privatix_store::events::MarketEvent;
use privatix_store::offerings::{Announcement, OfferingEvent};

/// None for events that are about neither offerings nor channels.
pub(crate) fn market_event(event: PscEvent) -> Option<MarketEvent> {
    let changed = |channel: ChannelParties, event| {
        Some(MarketEvent::Changed { channel: channel.id, agent: channel.agent, event })
    };
    match event {
        PscEvent::OfferingRegistered(said) => Some(announced(said, OfferingEvent::Registered)),
        PscEvent::OfferingPoppedUp(said) => Some(announced(said, OfferingEvent::PoppedUp)),
        PscEvent::OfferingRemoved { agent, offering } => {
            Some(MarketEvent::Offering { agent, offering, event: OfferingEvent::Removed })
        }
        PscEvent::ChannelOpened { channel, descriptor, deposit, fee } => {
            Some(MarketEvent::Opened { channel, descriptor, event: ChainEvent::Opened { deposit, fee } })
        }
        PscEvent::OfferingFeeRefreshed { agent, offering, fee } => {
            Some(MarketEvent::Offering { agent, offering, event: OfferingEvent::FeeRefreshed { fee } })
        }
        PscEvent::ChannelToppedUp { channel, deposit, request_cancelled } => {
            changed(channel, ChainEvent::ToppedUp { deposit, request_cancelled })
        }
        PscEvent::ChannelSettled { channel, paid } => changed(channel, ChainEvent::Settled { paid }),
        PscEvent::ChannelCloseRequested { channel, paid, ends_at } => {
            changed(channel, ChainEvent::CloseRequested { paid, ends_at })
        }
        PscEvent::ChannelCloseCancelled { channel } => changed(channel, ChainEvent::CloseCancelled),
        PscEvent::ChannelClosed { channel, offering, paid, refund, closure } => Some(MarketEvent::Closed {
            channel: channel.id,
            agent: channel.agent,
            client: channel.client,
            offering,
            event: ChainEvent::Closed { paid, refund, closure },
        }),
        _ => None,
    }
}

/// None for events that are about neither the contract's fee nor an account's operator and nonce.
pub(crate) fn contract_event(event: &PscEvent) -> Option<ContractEvent> {
    match *event {
        PscEvent::FeeChanged { fee, effective_at } => Some(ContractEvent::FeeChanged { fee, effective_at }),
        PscEvent::OperatorChanged { agent, operator, nonce } => {
            Some(ContractEvent::OperatorChanged { agent, operator, nonce })
        }
        PscEvent::ConsentsRevoked { account, nonce } => {
            Some(ContractEvent::ConsentsRevoked { account, nonce })
        }
        _ => None,
    }
}

fn announced(said: contracts::Announcement, event: impl Fn(Announcement) -> OfferingEvent) -> MarketEvent {
    MarketEvent::Offering {
        agent: said.agent,
        offering: said.offering,
        event: event(Announcement {
            min_deposit: said.min_deposit,
            supply: said.supply,
            fee: said.fee,
            source_type: said.source_type,
            source: said.source,
        }),
    }
}
