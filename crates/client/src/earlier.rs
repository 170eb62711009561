//! The jobs with which earlier versions opened, used and closed channels, and fetched offerings. Nothing carries them out any more:
//! [adoption](crate::adoption) and [`adopt_offerings`](crate::adopt_offerings) end them.

use alloy::primitives::Address;
use privatix_channel::{Amount, ChannelId, OfferingHash};
use privatix_jobs::{Duplicates, Job, Lane, Policy};
use privatix_node::{channel_subject, lanes};
use serde::{Deserialize, Serialize};

/// Job of earlier versions: open a channel on chain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenChannel {
    /// The channel, stored with its descriptor and its deposit.
    pub channel: ChannelId,
}

/// Job of earlier versions: raise a channel's deposit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TopUp {
    /// The channel.
    pub channel: ChannelId,
    /// By how much.
    pub amount: Amount,
}

/// Job of earlier versions: ask on chain to close a channel, admitting what was signed; the agent then has a challenge period to claim it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RequestClose {
    /// The channel.
    pub channel: ChannelId,
    /// Nobody asked for it: the agent was given time to close first. It waits apart from the channel's other jobs, so that a
    /// request of the user need not wait for it.
    #[serde(default)]
    pub unprompted: bool,
}

/// Job of earlier versions: take the rest of the deposit back after the challenge.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FinalizeClose {
    /// The channel.
    pub channel: ChannelId,
}

fn policy() -> Policy {
    Policy::default().duplicates(Duplicates::RefusedWhileWaiting)
}

impl Job for OpenChannel {
    const KIND: &'static str = "open_channel";
    const LANE: Lane = lanes::MONEY;

    fn subject(&self) -> String {
        channel_subject(self.channel)
    }

    fn policy() -> Policy {
        policy()
    }
}

impl Job for TopUp {
    const KIND: &'static str = "top_up";
    const LANE: Lane = lanes::MONEY;

    fn subject(&self) -> String {
        channel_subject(self.channel)
    }

    fn policy() -> Policy {
        policy()
    }
}

impl Job for RequestClose {
    const KIND: &'static str = "request_close";
    const LANE: Lane = lanes::MONEY;

    fn subject(&self) -> String {
        if self.unprompted {
            format!("unprompted close {}", self.channel)
        } else {
            channel_subject(self.channel)
        }
    }

    fn policy() -> Policy {
        policy()
    }
}

impl Job for FinalizeClose {
    const KIND: &'static str = "finalize_close";
    const LANE: Lane = lanes::MONEY;

    fn subject(&self) -> String {
        channel_subject(self.channel)
    }

    fn policy() -> Policy {
        policy()
    }
}

/// Job of earlier versions: fetch the access of a freshly opened channel and start its service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FetchAccess {
    /// The channel.
    pub channel: ChannelId,
}

impl Job for FetchAccess {
    const KIND: &'static str = "fetch_access";
    const LANE: Lane = lanes::PEERS;

    /// Not the channel's: whoever waits for access must still be able to end the channel.
    fn subject(&self) -> String {
        format!("access {}", self.channel)
    }

    fn policy() -> Policy {
        Policy::default().duplicates(Duplicates::RefusedWhilePending)
    }
}

/// Job of earlier versions: fetch an announced offering's message from its agent and check it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FetchOffering {
    /// Who announced it.
    pub agent: Address,
    /// What its message must hash to.
    pub offering: OfferingHash,
}

impl Job for FetchOffering {
    const KIND: &'static str = "fetch_offering";
    const LANE: Lane = lanes::STRANGERS;

    fn subject(&self) -> String {
        format!("offering {} of {}", self.offering, self.agent)
    }

    fn policy() -> Policy {
        policy()
    }
}
