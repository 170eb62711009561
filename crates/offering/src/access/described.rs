//! The client's request for access in a session: with the channel's descriptor, so that it can be checked before the opening was seen.

use std::time::{Duration, SystemTime};

use alloy::primitives::{Address, B256, Bytes};
use alloy::signers::{Signer, SignerSync};
use alloy::sol_types::{Eip712Domain, SolStruct, eip712_domain};
use privatix_channel::{ChannelDescriptor, ChannelId, Domain, OfferingHash};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::RecipientKey;
use super::request::{RequestError, millis};
use crate::MessageSignature;

/// The longest that a client's plug-in may give an agent's, in bytes.
pub const MAX_ACCESS_DATA: usize = 4096;

mod typed {
    alloy::sol! {
        struct AccessRequest {
            bytes32 channel;
            bytes32 recipient;
            uint64 issuedAt;
            bytes data;
        }
    }
}

/// Messaging protocol 2: "seal the access of this channel to this key", signed by the channel's client or by its voucher signer, for one
/// contract on one chain. The signature is over the channel's id, which the descriptor gives, and over the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DescribedAccessRequest {
    /// What identifies the channel.
    #[serde(serialize_with = "put_descriptor", deserialize_with = "read_descriptor")]
    pub descriptor: ChannelDescriptor,
    /// The fresh key to seal to.
    pub recipient: RecipientKey,
    /// When it was signed, in milliseconds since the Unix epoch.
    pub issued_at: u64,
    /// What the client's plug-in gives the agent's: at most [`MAX_ACCESS_DATA`] bytes.
    pub data: Bytes,
    /// The signature over all of it.
    pub signature: MessageSignature,
}

impl DescribedAccessRequest {
    /// Signs a request. Ask with a later `now` each time: the agent takes each moment once.
    ///
    /// # Errors
    /// [`RequestError::WrongSigner`] when the key is neither the client's nor the voucher signer's, [`RequestError::Data`] for too much
    /// data.
    pub fn sign(
        descriptor: &ChannelDescriptor,
        domain: &Domain,
        recipient: RecipientKey,
        data: Bytes,
        now: SystemTime,
        signer: &(impl SignerSync + Signer),
    ) -> Result<Self, RequestError> {
        let address = signer.address();
        if !descriptor.is_clients(address) {
            return Err(RequestError::WrongSigner { found: Some(address) });
        }
        check_length(&data)?;
        let issued_at = millis(now);
        let digest = digest(descriptor.id(domain), recipient, issued_at, &data, domain);
        let signature = MessageSignature::sign(&digest, signer, address, None)?;
        Ok(Self { descriptor: *descriptor, recipient, issued_at, data, signature })
    }

    /// The channel that it is about.
    pub fn channel(&self, domain: &Domain) -> ChannelId {
        self.descriptor.id(domain)
    }

    /// Checks that the request is not older than `max_age` nor from the future by more than that, and signed by the client or the voucher
    /// signer of the channel that its descriptor describes. Whether there is such a channel, and whether the request was answered before,
    /// is not looked at.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn verify(&self, domain: &Domain, now: SystemTime, max_age: Duration) -> Result<(), RequestError> {
        check_length(&self.data)?;
        let away = Duration::from_millis(self.issued_at.abs_diff(millis(now)));
        if away > max_age {
            return Err(RequestError::Stale { away, max_age });
        }
        let digest = digest(self.channel(domain), self.recipient, self.issued_at, &self.data, domain);
        match self.signature.signer(&digest) {
            Some(signer) if self.descriptor.is_clients(signer) => Ok(()),
            found => Err(RequestError::WrongSigner { found }),
        }
    }
}

fn check_length(data: &Bytes) -> Result<(), RequestError> {
    let length = data.len();
    if length > MAX_ACCESS_DATA { Err(RequestError::Data { length }) } else { Ok(()) }
}

fn digest(
    channel: ChannelId,
    recipient: RecipientKey,
    issued_at: u64,
    data: &Bytes,
    domain: &Domain,
) -> B256 {
    let request = typed::AccessRequest {
        channel: channel.into(),
        recipient: *recipient.as_b256(),
        issuedAt: issued_at,
        data: data.clone(),
    };
    request.eip712_signing_hash(&eip712(domain))
}

/// The domain of these requests: another version than that of messaging protocol 1, so that neither is taken for the other.
fn eip712(domain: &Domain) -> Eip712Domain {
    eip712_domain! {
        name: "Privatix Access",
        version: "2",
        chain_id: domain.chain_id(),
        verifying_contract: domain.contract(),
    }
}

/// A descriptor as JSON: the nonce has more digits than other languages' numbers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireDescriptor {
    client: Address,
    agent: Address,
    offering: OfferingHash,
    nonce: String,
    signer: Address,
}

fn put_descriptor<S: Serializer>(descriptor: &ChannelDescriptor, serializer: S) -> Result<S::Ok, S::Error> {
    let ChannelDescriptor { client, agent, offering, nonce, signer } = *descriptor;
    WireDescriptor { client, agent, offering, nonce: nonce.to_string(), signer }.serialize(serializer)
}

fn read_descriptor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ChannelDescriptor, D::Error> {
    let WireDescriptor { client, agent, offering, nonce, signer } =
        WireDescriptor::deserialize(deserializer)?;
    let parsed: u64 = nonce.parse().map_err(serde::de::Error::custom)?;
    // One spelling only.
    if parsed.to_string() != nonce {
        return Err(serde::de::Error::custom("a nonce has no sign and no leading zeros"));
    }
    Ok(ChannelDescriptor { client, agent, offering, nonce: parsed, signer })
}
