//! What an agent's daemon can be asked besides.

use alloy::primitives::{Address, B256};
use privatix_agent::OfferingDraft;
pub use privatix_channel::OfferingStatus;
use privatix_channel::{Amount, OfferingHash};
use privatix_offering::OfferingMessage;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::time::SystemTime;
use uuid::Uuid;

use crate::node::JobOrder;
use crate::request::requests;

requests! {
    /// Signs an offering and keeps it as a draft.
    CreateOffering {
        /// What is sold.
        draft: OfferingDraft,
    } => "offerings_create" -> Offering;

    /// Announces a draft on chain and locks its stake. Goes on in the background.
    PublishOffering {
        /// The offering's hash.
        offering: OfferingHash,
        /// The caller's key: given again under it, it is the same order. Where it was used for another order it is refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    } => "offerings_publish" -> Offering;

    /// Announces an offering again, so that it counts as fresh. Goes on in the background, as soon as the contract allows it.
    PopUpOffering {
        /// The offering's hash.
        offering: OfferingHash,
        /// The caller's key: given again under it, it is the same order. Where it was used for another order it is refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    } => "offerings_popUp" -> Offering;

    /// Has an offering announced again whenever its announcement is this old.
    ScheduleOffering {
        /// The offering's hash.
        offering: OfferingHash,
        /// The age at which it is announced again, in seconds of the chain's clock. When not given, only an order announces it again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        every_seconds: Option<NonZeroU32>,
        /// The caller's key: given again under it, it is the same order. Where it was used for another order it is refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    } => "offerings_schedule" -> Offering;

    /// Takes an offering off the market. Goes on in the background, as soon as the contract allows it.
    RemoveOffering {
        /// The offering's hash.
        offering: OfferingHash,
        /// The caller's key: given again under it, it is the same order. Where it was used for another order it is refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    } => "offerings_remove" -> Offering;

    /// Our offerings, newest first.
    ListOfferings {
        /// At most this many; 100 when not given, 1,000 at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    } => "offerings_list" -> Vec<Offering>;

    /// One of our offerings.
    GetOffering {
        /// The offering's hash.
        offering: OfferingHash,
    } => "offerings_get" -> Offering;

    /// The account, the operator that the chain shows for it, and the key that is used here.
    GetOperator {} => "operator_get" -> Operator;

    /// Appoints who may act for the account in place of the operator before; nobody when none is given. Goes on in the
    /// background.
    AppointOperator {
        /// Who.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operator: Option<Address>,
    } => "operator_appoint" -> JobOrder;

    /// The offering templates that can be used.
    ListTemplates {} => "templates_list" -> Vec<Template>;
}

/// An offering.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offering {
    /// Who sells.
    pub agent: Address,
    /// What names it.
    pub hash: OfferingHash,
    /// Where it is in its life.
    pub status: OfferingStatus,
    /// Country of the service, ISO 3166-1 alpha-2; known with the message.
    pub country: Option<String>,
    /// Least deposit of a channel.
    pub min_deposit: Amount,
    /// Places.
    pub supply: u32,
    /// Places free now.
    pub free_supply: u32,
    /// Where its message can be had, e.g. `direct:agent.example.org:9500`.
    pub source: String,
    /// Block of the last announcement.
    pub announced_at: Option<u64>,
    /// When its agent last sent its message, as a client knows it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde")]
    pub seen_at: Option<SystemTime>,
    /// Why its last transaction failed, why there is no message, why its agent is not contacted, or why it is not shown any more.
    pub problem: Option<String>,
    /// When it was first stored here.
    #[serde(with = "humantime_serde")]
    pub created_at: SystemTime,
    /// What the agent signed: prices, rules, description.
    pub message: Option<OfferingMessage>,
    /// The number of the order that this answers (`orders_get`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u64>,
    /// How far orders about it are, and what they wait for. Only for our own offerings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<OfferingProgress>,
}

/// What is done about one of our offerings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfferingProgress {
    /// Whether an order is not carried out yet. An order that was given up is not pending: `problem` shows why it failed.
    pub pending: bool,
    /// What it waits for; missing where only an order changes it.
    pub waits_for: Option<String>,
    /// Whether that is something that the operator has to do.
    pub needs_operator: bool,
    /// How old its announcement may become before it is announced again, in seconds of the chain's clock; missing where only an order
    /// does that.
    pub pop_up_every_seconds: Option<u32>,
}

/// Who acts for an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operator {
    /// Whose offerings, channels and money it is about.
    pub account: Address,
    /// Its operator by the newest block, if it has one.
    pub operator: Option<Address>,
    /// Who signs and pays gas here: the account, or its operator.
    pub sender: Address,
}

/// An offering template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// Its hash, for an offering draft's `template`.
    pub hash: B256,
    /// Its name.
    pub name: String,
    /// The product it is for.
    pub product: Uuid,
    /// The JSON Schema that a message must fit.
    pub schema: serde_json::Value,
}
