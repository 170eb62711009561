//! The views' answers.

use privatix_channel::{Amount, ChainTime, Fee};

use crate::{
    IPSC,
    convert::{from_fee, from_u40, from_u96},
};

/// What the contract holds of a channel: the answer of `channels(id)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelInfo {
    /// The deposit, top-ups included.
    pub deposit: Amount,
    /// Everything credited to the agent so far, fee included.
    pub paid: Amount,
    /// The end of the challenge of the client's close request: the first second in which the close can be finalized. Of a
    /// closed channel the end of the request that stood when it closed.
    pub challenge_ends_at: Option<ChainTime>,
    /// The network fee, fixed at the opening.
    pub fee: Fee,
    /// Where the channel is in its life.
    pub state: ChannelState,
    /// Whether the agent was paid more than the client admitted while its close request stood.
    pub disputed: bool,
}

/// Where a channel is in its life on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelState {
    /// Never opened.
    None,
    /// Open, a close request included.
    Open,
    /// Closed for ever.
    Closed,
}

/// What the contract holds of an offering: the answer of `offerings(agent, hash)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferingInfo {
    /// The least deposit of a channel, and the agent's stake behind each place.
    pub min_deposit: Amount,
    /// Free places.
    pub supply: u32,
    /// Open channels.
    pub open: u32,
    /// The time of the registration or of the last pop-up.
    pub updated_at: ChainTime,
    /// The network fee of channels opened from now on.
    pub fee: Fee,
    /// Where the offering is in its life.
    pub state: OfferingState,
}

/// Where an offering is in its life on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OfferingState {
    /// Never registered.
    None,
    /// Open for channels.
    Live,
    /// Removed for ever.
    Removed,
}

impl From<IPSC::Channel> for ChannelInfo {
    fn from(channel: IPSC::Channel) -> Self {
        Self {
            deposit: from_u96(channel.deposit),
            paid: from_u96(channel.paid),
            challenge_ends_at: Some(from_u40(channel.challengeEndsAt)).filter(|end| end.seconds() != 0),
            fee: from_fee(channel.fee),
            state: match channel.state {
                0 => ChannelState::None,
                1 => ChannelState::Open,
                _ => ChannelState::Closed,
            },
            disputed: channel.disputed,
        }
    }
}

impl From<IPSC::Offering> for OfferingInfo {
    fn from(offering: IPSC::Offering) -> Self {
        Self {
            min_deposit: from_u96(offering.minDeposit),
            supply: offering.supply,
            open: offering.open,
            updated_at: from_u40(offering.updatedAt),
            fee: from_fee(offering.fee),
            state: match offering.state {
                0 => OfferingState::None,
                1 => OfferingState::Live,
                _ => OfferingState::Removed,
            },
        }
    }
}
