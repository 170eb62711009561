//! The offering message: what an agent sells, where and for how much.

use alloy::primitives::{Address, B256};
use privatix_billing::{Terms, TermsDraft, TermsError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{Country, SomcAddress, VersionRange};

/// What kind of address a client's traffic leaves from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum IpType {
    /// A home connection.
    Residential,
    /// A data centre.
    Datacenter,
    /// A mobile network.
    Mobile,
}

/// What an agent sells. Field names in JSON are in camel case; the message's canonical JSON is what
/// the agent signs ([`SignedOffering`](crate::SignedOffering)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OfferingMessage {
    /// The hash of the [`Template`](crate::Template) that describes this message.
    pub template: B256,
    /// Who sells, announces and signs.
    pub agent: Address,
    /// The chain (EIP-155) where it is announced and paid.
    pub chain_id: u64,
    /// The service contract there.
    pub contract: Address,
    /// Random, so that equal offerings have different hashes.
    pub nonce: Uuid,
    /// What it is called; 1 to 64 characters.
    pub service_name: String,
    /// What it is; up to 1,024 characters.
    pub description: String,
    /// Where the service is rendered from.
    pub country: Country,
    /// What kind of address the client's traffic leaves from, where that means anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_type: Option<IpType>,
    /// Where the agent is reached, in its order of preference: 1 to 8 addresses, none twice. The one that the chain
    /// announces is usually among them. Empty, which is absent in JSON, where only the announced one counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<SomcAddress>,
    /// The versions of the messaging protocol that the agent speaks; absent in JSON where it does not say. With one that knows
    /// [sessions](crate::VersionRange::in_sessions) nobody talks in clear: what is signed here cannot be made to look older on the way.
    /// Clients from before this field refuse messages that have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<VersionRange>,
    /// How many channels may be open at once; at least 1.
    pub supply: u32,
    /// Prices and rules of billing.
    pub terms: TermsDraft,
    /// What the product's template asks in addition; an object.
    pub additional: Value,
}

impl OfferingMessage {
    /// The terms, checked.
    ///
    /// # Errors
    /// The first rule that they break.
    pub fn terms(&self) -> Result<Terms, TermsError> {
        self.terms.clone().validate()
    }
}
