//! The jobs with which earlier versions served and closed channels, and changed offerings. Nothing carries them out any more:
//! [adoption](crate::adoption) ends them.

use privatix_channel::{ChannelId, OfferingHash};
use privatix_jobs::{Duplicates, Job, Lane, Policy};
use privatix_node::{channel_subject, lanes};
use serde::{Deserialize, Serialize};

/// Job of earlier versions: make a freshly opened channel known to the plug-in and prepare its access.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProvisionChannel {
    /// The channel.
    pub channel: ChannelId,
}

impl Job for ProvisionChannel {
    const KIND: &'static str = "provision_channel";
    const LANE: Lane = lanes::SERVICE;

    fn subject(&self) -> String {
        channel_subject(self.channel)
    }

    fn policy() -> Policy {
        Policy::default().duplicates(Duplicates::RefusedWhilePending)
    }
}

/// Job of earlier versions: close a channel on chain, cashing the best voucher.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CloseChannel {
    /// The channel.
    pub channel: ChannelId,
    /// Close although there is nothing to gain: gives the client its deposit back, and frees the place and its stake.
    pub even_unpaid: bool,
}

impl Job for CloseChannel {
    const KIND: &'static str = "close_channel";
    const LANE: Lane = lanes::MONEY;

    /// Apart from the channel's other jobs: what a challenge would void does not wait for the plug-in.
    fn subject(&self) -> String {
        format!("close {}", self.channel)
    }

    /// Or one that closes only for money would stand for one that closes anyhow.
    fn key(&self) -> String {
        if self.even_unpaid { "even unpaid".to_owned() } else { String::new() }
    }

    fn policy() -> Policy {
        Policy::default().duplicates(Duplicates::RefusedWhileWaiting)
    }
}

/// What a [`ChangeOffering`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferingAction {
    /// Announce it for the first time and lock its stake.
    Publish,
    /// Announce it again.
    PopUp,
    /// Take it off the market and get its stake back.
    Remove,
}

/// Job of earlier versions: send the transaction that changes an offering.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeOffering {
    /// The offering.
    pub offering: OfferingHash,
    /// What to do.
    pub action: OfferingAction,
}

impl Job for ChangeOffering {
    const KIND: &'static str = "change_offering";
    const LANE: Lane = lanes::MONEY;

    fn subject(&self) -> String {
        format!("offering {}", self.offering)
    }

    fn key(&self) -> String {
        match self.action {
            OfferingAction::Publish => "register_offering",
            OfferingAction::PopUp => "pop_up_offering",
            OfferingAction::Remove => "remove_offering",
        }
        .to_owned()
    }

    fn policy() -> Policy {
        Policy::default().duplicates(Duplicates::RefusedWhilePending)
    }
}
