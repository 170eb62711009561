//! Orders about channels and offerings, and what became of them.

use std::time::SystemTime;

use privatix_chain::TxId;
use privatix_channel::{Amount, ChannelId, Closure, OfferingHash};
use privatix_jobs::JobId;
use serde::{Deserialize, Serialize};

/// An order, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OrderState {
    /// Its number.
    pub order: u64,
    /// The channel that it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelId>,
    /// The offering that it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offering: Option<OfferingHash>,
    /// What is ordered: `open`, `topUp`, `pause`, `resume`, `acceptClaim`, `setPolicy`, `terminate`, `close` or `abandon` about a
    /// channel, `publish`, `popUp`, `schedule` or `remove` about an offering; `unknown` where a later version stored it.
    pub what: String,
    /// The tokens that it takes, or what is accepted as claimed, in base units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// Who gave it.
    pub by: String,
    /// The caller's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When it was stored.
    #[serde(with = "humantime_serde")]
    pub at: SystemTime,
    /// The job that provides its tokens; none before there is one, once it is not kept any more, and in a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Whether it was carried out; none while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_done: Option<bool>,
    /// Who closed the channel: of an agent's order to close.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closure: Option<Closure>,
    /// The transaction that carried it out, where one of ours did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<TxId>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde")]
    pub ended_at: Option<SystemTime>,
    /// Why it was not carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}
