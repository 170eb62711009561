//! What a client's daemon can be asked besides.

use alloy::primitives::Address;
use privatix_channel::{Amount, ChannelId, OfferingHash};
use privatix_jobs::JobId;
use serde::{Deserialize, Serialize};

use crate::agent::Offering;
use crate::node::Order;
use crate::request::requests;

requests! {
    /// Offerings on the market, the most recently announced first.
    Browse {
        /// Of this agent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<Address>,
        /// In this country, ISO 3166-1 alpha-2.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        country: Option<String>,
        /// Those too that have no free place, are off the market, whose message is not here, or whose agent has no address
        /// that `somc.contact` permits.
        #[serde(default)]
        all: bool,
        /// At most this many; 100 when not given, 1,000 at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    } => "market_browse" -> Vec<Offering>;

    /// Opens a channel under an offering. Goes on in the background.
    AcceptOffering {
        /// Which.
        offering: OfferingHash,
        /// Whose, if several agents announce the hash; otherwise the one whose message passed all checks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<Address>,
        /// How much to deposit; the least that the offering takes when not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deposit: Option<Amount>,
    } => "market_accept" -> Opening;

    /// Raises a channel's deposit. Goes on in the background.
    TopUpChannel {
        /// Which.
        channel: ChannelId,
        /// By how much.
        amount: Amount,
    } => "channels_topUp" -> Order;
}

/// A channel that is being opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Opening {
    /// The channel.
    pub channel: ChannelId,
    /// The job that opens it.
    pub job: JobId,
    /// What keeps it from being opened now, if the chain or its endpoint does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl Opening {
    pub(crate) const fn new(channel: ChannelId, job: JobId, warning: Option<String>) -> Self {
        Self { channel, job, warning }
    }
}
