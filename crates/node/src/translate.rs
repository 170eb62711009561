//! What an event of the service contract means for the market.

use privatix_channel::ChainEvent;
use privatix_contracts::{self as contracts, ChannelParties, PscEvent};
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
        PscEvent::ChannelToppedUp { channel, deposit } => changed(channel, ChainEvent::ToppedUp { deposit }),
        PscEvent::ChannelSettled { channel, paid } => changed(channel, ChainEvent::Settled { paid }),
        PscEvent::ChannelCloseRequested { channel, paid } => {
            changed(channel, ChainEvent::CloseRequested { paid })
        }
        PscEvent::ChannelClosed { channel, offering, paid, refund, cooperative } => {
            Some(MarketEvent::Closed {
                channel: channel.id,
                agent: channel.agent,
                client: channel.client,
                offering,
                event: ChainEvent::Closed { paid, refund, cooperative },
            })
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
            source_type: said.source_type,
            source: said.source,
        }),
    }
}
