//! What a client's daemon can be asked besides.

use alloy::primitives::Address;
use privatix_channel::{Amount, ChannelId, OfferingHash};
use privatix_jobs::JobId;
use privatix_offering::SignedReceipt;
use serde::{Deserialize, Serialize};

use crate::agent::Offering;
use crate::node::{ChannelOrder, ChannelPolicy};
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
        /// Those too that have no free place, are off the market, whose message is not here, that were announced too long ago
        /// (`offerings.expires_after`), whose agent has not answered for too long (`offerings.unseen_for`) or has no address that
        /// `somc.contact` permits.
        #[serde(default)]
        all: bool,
        /// At most this many; 100 when not given, 1,000 at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    } => "market_browse" -> Vec<Offering>;

    /// Opens a channel under an offering. Goes on in the background.
    AcceptOffering {
        /// The offering's hash.
        offering: OfferingHash,
        /// Whose, if several agents announce the hash; otherwise the one whose message passed all checks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<Address>,
        /// How much to deposit, in base units; the least that the offering takes when not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deposit: Option<Amount>,
        /// Asked again under the same key, it is the same order. Choose another one for each channel that is wanted. Under a key that
        /// was used for another order it is refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    } => "market_accept" -> Opening;

    /// Raises a channel's deposit. Goes on in the background.
    TopUpChannel {
        /// The channel.
        channel: ChannelId,
        /// By how much, in base units.
        amount: Amount,
        /// Asked again under the same key, it is the same order. Choose another one for each top-up that is wanted. Under a key that
        /// was used for another order it is refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    } => "channels_topUp" -> ToppingUp;

    /// Believes what the agent of a restored channel claims beyond what this database shows as signed ([`claimed`] of the channel's
    /// details): the service goes on, and is paid for above that.
    ///
    /// [`claimed`]: crate::node::ChannelDetails::claimed
    AcceptClaim {
        /// The channel.
        channel: ChannelId,
        /// What the agent claims in all, in base units. Another amount than it claims by now is refused.
        claimed: Amount,
    } => "channels_acceptClaim" -> ChannelOrder;

    /// What a channel's agent has signed of where the channel stands: the newest receipt. The agent is asked for another one first.
    GetReceipt {
        /// The channel.
        channel: ChannelId,
    } => "channels_receipt" -> ChannelReceipt;

    /// Forgets that an agent has proved a key here, so that it may be talked to in clear again (version 1 of the messaging protocol), unless
    /// `somc.least_version` forbids that. For an agent that went back to earlier software.
    ForgetAgent {
        /// The agent.
        agent: Address,
    } => "agents_forget" -> ForgottenAgent;

    /// Pays and tops a channel up by a policy of its own from now on, in place of that of the configuration. A top-up that is under way
    /// goes on.
    SetPolicy {
        /// The channel.
        channel: ChannelId,
        /// Its policy; that of the configuration again when not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policy: Option<ChannelPolicy>,
    } => "channels_setPolicy" -> ChannelOrder;
}

/// The newest receipt of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ChannelReceipt {
    /// The receipt, with the signature of the agent or its operator.
    pub receipt: SignedReceipt,
    /// Why the agent gave none now, so that this is an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl ChannelReceipt {
    pub(crate) const fn new(receipt: SignedReceipt, problem: Option<String>) -> Self {
        Self { receipt, problem }
    }
}

/// An agent of which nothing is remembered any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ForgottenAgent {
    /// The agent.
    pub agent: Address,
    /// Whether it had proved a key here.
    pub was_known: bool,
}

impl ForgottenAgent {
    pub(crate) const fn new(agent: Address, was_known: bool) -> Self {
        Self { agent, was_known }
    }
}

/// A channel that is being opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Opening {
    /// The channel.
    pub channel: ChannelId,
    /// The order's number.
    #[serde(default)]
    pub order: u64,
    /// The job that provides its deposit and opens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// What keeps it from being opened now, if the chain or its endpoint does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl Opening {
    pub(crate) const fn new(
        channel: ChannelId,
        order: u64,
        job: Option<JobId>,
        warning: Option<String>,
    ) -> Self {
        Self { channel, order, job, warning }
    }
}

/// A channel whose deposit is being raised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ToppingUp {
    /// The order's number.
    pub order: u64,
    /// The job that provides its tokens and adds them. None while it waits for another top-up of the channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// What keeps it from being carried out now, if the chain or its endpoint does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl ToppingUp {
    pub(crate) const fn new(order: u64, job: Option<JobId>, warning: Option<String>) -> Self {
        Self { order, job, warning }
    }
}
