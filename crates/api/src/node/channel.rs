//! Channels, with what was used and paid.

use std::time::{Duration, SystemTime};

use alloy::primitives::Address;
use privatix_billing::{ClientPolicy, Percent, TopUpAmount, TopUpPolicy, Unit};
use privatix_channel::{
    AgentView, Amount, ChainTime, ChannelId, ChannelStatus, Closure, OfferingHash, ServiceStatus, Usage,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// The offering it is under.
    pub offering: OfferingHash,
    /// Who sells.
    pub agent: Address,
    /// Who buys.
    pub client: Address,
    /// Where it is on chain.
    pub status: ChannelStatus,
    /// Where its service is.
    pub service: ServiceStatus,
    /// Since when the service is there.
    #[serde(with = "humantime_serde")]
    pub service_since: SystemTime,
    /// Why the service is there.
    pub reason: Option<String>,
    /// Whether the operator paused it.
    pub paused: bool,
    /// Its deposit.
    pub deposit: Amount,
    /// Paid in all by vouchers.
    pub paid: Amount,
    /// Of that, acknowledged by the agent.
    pub acknowledged: Amount,
    /// Of that, cashed on chain.
    pub settled: Amount,
    /// Vouchers signed or accepted.
    pub vouchers: u64,
    /// Metered on this side, in the finest measure: bytes, seconds, requests.
    pub used: Usage,
    /// The network's fee in 1/100,000, taken from what is cashed.
    pub fee: u16,
    /// Block of its opening.
    pub opened_at: Option<u64>,
    /// When the challenge of the client's pending close request ends, in seconds since 1970 on the chain's clock.
    pub challenge_ends_at: Option<ChainTime>,
    /// How it ended, once it is closed: who closed, and whether it was disputed.
    pub closure: Option<Closure>,
    /// A top-up is on its way.
    pub top_up_pending: bool,
    /// When it was first heard of.
    #[serde(with = "humantime_serde")]
    pub created_at: SystemTime,
}

/// A channel with its usage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelDetails {
    /// The channel.
    pub channel: Channel,
    /// The unit that its terms count in; None while the offering message is not here.
    pub unit: Option<Unit>,
    /// Where the service is: for a client, where its programs connect to.
    pub endpoint: Option<Value>,
    /// What the agent's best voucher would still bring on chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimable: Option<Amount>,
    /// What the agent of a client's restored channel claims in all beyond what the database shows as signed, until that is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<Amount>,
    /// What the agent showed of its side last: its meter, and what its service does. Clients have it of agents that speak version 2 of the
    /// messaging protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_view: Option<AgentView>,
    /// The client's own meter, as it said last. Agents have it of clients that speak version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_used: Option<Usage>,
    /// How a client pays and tops the channel up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<ChannelPolicy>,
    /// Whether that is a policy of this channel's own, and not that of the configuration.
    #[serde(default)]
    pub has_own_policy: bool,
    /// When this side closes the channel, whose service has ended, or asks to close it: at the latest then, unless something changes
    /// meanwhile. Times in which the daemon does not run, or does not see the chain, do not count. None where no time leads there.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde")]
    pub closes_at: Option<SystemTime>,
    /// Stretches of use, newest first.
    pub sessions: Vec<Session>,
}

/// How a client pays and tops a channel up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelPolicy {
    /// When the deposit is raised by itself; never when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_up: Option<AutomaticTopUp>,
    /// What is due is paid once nothing was used for this time, e.g. `3s`. In an order, that of the configuration when not given.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde")]
    pub settle_after: Option<Duration>,
}

/// When a deposit is raised by itself, and by how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AutomaticTopUp {
    /// Once the price of the use is this share of the deposit: 1 to 100 percent.
    pub percent: Percent,
    /// By how much, in base units; as much as is deposited when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// Never above this, in base units; the chain's own limit when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_deposit: Option<Amount>,
}

impl ChannelPolicy {
    /// As billing has it. What this does not give is as `configured`, except for the top-up: none is given for never.
    pub(crate) fn billing(self, configured: ClientPolicy) -> ClientPolicy {
        let top_up = self.top_up.map(|top_up| TopUpPolicy {
            percent: top_up.percent,
            amount: top_up.amount.map_or(TopUpAmount::Double, TopUpAmount::Fixed),
            max_deposit: top_up.max_deposit,
        });
        let settle_after = self.settle_after.unwrap_or(configured.settle_after);
        ClientPolicy { top_up, settle_after, ..configured }
    }
}

impl From<ClientPolicy> for ChannelPolicy {
    fn from(policy: ClientPolicy) -> Self {
        let top_up = policy.top_up.map(|top_up| AutomaticTopUp {
            percent: top_up.percent,
            amount: match top_up.amount {
                TopUpAmount::Double => None,
                TopUpAmount::Fixed(amount) => Some(amount),
            },
            max_deposit: top_up.max_deposit,
        });
        Self { top_up, settle_after: Some(policy.settle_after) }
    }
}

/// A stretch of use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Chosen by the plug-in.
    pub id: Uuid,
    /// Metered in it.
    pub used: Usage,
    /// The user's network address; only with `privacy.keep_peer_addresses`, and where the plug-in reports it.
    pub peer: Option<String>,
    /// When it began.
    #[serde(with = "humantime_serde")]
    pub started_at: SystemTime,
    /// When it was last used.
    #[serde(with = "humantime_serde")]
    pub last_usage: Option<SystemTime>,
    /// When it ended.
    #[serde(with = "humantime_serde")]
    pub stopped_at: Option<SystemTime>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use privatix_billing::{Drift, PerMille};

    use super::*;

    #[test]
    fn a_policy_keeps_as_configured_what_it_does_not_give_and_tops_up_only_if_told() {
        let top_up =
            AutomaticTopUp { percent: Percent::try_from(80).unwrap(), amount: None, max_deposit: None };
        let mut configured =
            ChannelPolicy { top_up: Some(top_up), settle_after: Some(Duration::from_secs(9)) }
                .billing(ClientPolicy::default());
        configured.drift = Drift { share: PerMille::try_from(25).unwrap(), absolute: None };

        let nothing = ChannelPolicy { top_up: None, settle_after: None }.billing(configured);
        assert_eq!(nothing, ClientPolicy { top_up: None, ..configured });
        let own =
            ChannelPolicy { top_up: None, settle_after: Some(Duration::from_secs(1)) }.billing(configured);
        assert_eq!(own, ClientPolicy { settle_after: Duration::from_secs(1), ..nothing });
    }
}
