//! Where signatures count: the chain, the contract and its token.

use alloy::primitives::{Address, B256, b256, keccak256};
use serde::{Deserialize, Serialize};

/// `keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")`.
const DOMAIN_TYPE_HASH: B256 = b256!("8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f");
/// `keccak256("EVM Payment Channel")`.
const NAME_HASH: B256 = b256!("f7fa11363025285c89d11a5bb91f55b200984247c632333cde3a12838c341300");
/// `keccak256("1")`.
const VERSION_HASH: B256 = b256!("c89efdaa54c0f20c7adf612882df0950f5a951637e0307cdcb4c672f298b8bc6");

/// One service contract on one chain, with its token: the EIP-712 domain of every signature about its channels.
///
/// The domain is `("EVM Payment Channel", "1", chain_id, contract)`, as in MPP's EVM session draft, so that its wallets
/// can pay our agents. A signature made for another chain or contract means nothing here. The separator is hashed once,
/// when the domain is made.
///
/// A chain can fork and take another id. Ids of channels keep the id that the chain had at the contract's deployment, so
/// no channel is lost; signatures name the chain's id of today, so those of one fork mean nothing on the other.
///
/// ```
/// use alloy::primitives::Address;
/// use privatix_channel::Domain;
///
/// let domain = Domain::new(1, Address::repeat_byte(0x5c), Address::repeat_byte(0x70));
/// let fork = domain.on_chain(10_001);
/// assert_eq!((fork.chain_id(), fork.deployment_chain_id()), (10_001, 1));
/// assert_ne!(fork.separator(), domain.separator());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Fields", into = "Fields")]
pub struct Domain {
    chain_id: u64,
    deployment_chain_id: u64,
    contract: Address,
    token: Address,
    separator: B256,
}

impl Domain {
    /// The domain of the service contract at `contract`, which holds `token`, on chain `chain_id` (EIP-155), on which it was
    /// deployed.
    pub fn new(chain_id: u64, contract: Address, token: Address) -> Self {
        Self {
            chain_id,
            deployment_chain_id: chain_id,
            contract,
            token,
            separator: separator(chain_id, contract),
        }
    }

    /// The same contract where the chain's id is now `chain_id`: the same ids of channels, other signatures.
    #[must_use]
    pub fn on_chain(&self, chain_id: u64) -> Self {
        Self { chain_id, separator: separator(chain_id, self.contract), ..*self }
    }

    /// The chain's id now (EIP-155): signatures count for it.
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The chain's id when the contract was deployed: ids of channels contain it.
    pub const fn deployment_chain_id(&self) -> u64 {
        self.deployment_chain_id
    }

    /// The service contract.
    pub const fn contract(&self) -> Address {
        self.contract
    }

    /// The token that the contract holds. Not part of the EIP-712 domain: a channel's id carries it.
    pub const fn token(&self) -> Address {
        self.token
    }

    /// The EIP-712 domain separator.
    pub const fn separator(&self) -> B256 {
        self.separator
    }

    /// The EIP-712 digest of a struct with this hash.
    pub(crate) fn digest(&self, struct_hash: B256) -> B256 {
        digest(self.separator, struct_hash)
    }
}

fn separator(chain_id: u64, contract: Address) -> B256 {
    separator_of(NAME_HASH, chain_id, contract)
}

/// The separator of the EIP-712 domain with a name of this hash and version 1.
pub(crate) fn separator_of(name_hash: B256, chain_id: u64, contract: Address) -> B256 {
    let mut words = [0; 5 * 32];
    words[..32].copy_from_slice(DOMAIN_TYPE_HASH.as_slice());
    words[32..64].copy_from_slice(name_hash.as_slice());
    words[64..96].copy_from_slice(VERSION_HASH.as_slice());
    words[120..128].copy_from_slice(&chain_id.to_be_bytes());
    words[128..160].copy_from_slice(contract.into_word().as_slice());
    keccak256(words)
}

/// The EIP-712 digest of a struct with this hash in the domain with this separator.
pub(crate) fn digest(separator: B256, struct_hash: B256) -> B256 {
    let mut bytes = [0; 2 + 32 + 32];
    bytes[..2].copy_from_slice(b"\x19\x01");
    bytes[2..34].copy_from_slice(separator.as_slice());
    bytes[34..].copy_from_slice(struct_hash.as_slice());
    keccak256(bytes)
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "Domain")]
struct Fields {
    chain_id: u64,
    /// Absent where it is the chain's id of today, as it is but for forks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deployment_chain_id: Option<u64>,
    contract: Address,
    token: Address,
}

impl From<Fields> for Domain {
    fn from(fields: Fields) -> Self {
        let deployed = fields.deployment_chain_id.unwrap_or(fields.chain_id);
        Self::new(deployed, fields.contract, fields.token).on_chain(fields.chain_id)
    }
}

impl From<Domain> for Fields {
    fn from(domain: Domain) -> Self {
        let Domain { chain_id, deployment_chain_id, contract, token, .. } = domain;
        let deployment_chain_id = Some(deployment_chain_id).filter(|&deployed| deployed != chain_id);
        Self { chain_id, deployment_chain_id, contract, token }
    }
}

#[cfg(test)]
mod tests {
    use alloy::{
        primitives::address,
        sol_types::{Eip712Domain, eip712_domain},
    };

    use super::*;

    #[test]
    fn the_constants_are_the_hashes_of_their_texts() {
        let text = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
        assert_eq!(DOMAIN_TYPE_HASH, keccak256(text));
        assert_eq!(NAME_HASH, keccak256("EVM Payment Channel"));
        assert_eq!(VERSION_HASH, keccak256("1"));
    }

    #[test]
    fn the_separator_is_the_one_of_eip_712() {
        let contract = address!("5FbDB2315678afecb367f032d93F642f64180aa3");
        for chain_id in [1, 31_337, u64::MAX] {
            let expected: Eip712Domain = eip712_domain! {
                name: "EVM Payment Channel", version: "1", chain_id: chain_id, verifying_contract: contract,
            };
            assert_eq!(Domain::new(chain_id, contract, Address::ZERO).separator(), expected.separator());
        }
    }

    #[test]
    fn a_domain_read_back_has_its_separator() {
        let domain = Domain::new(5, Address::repeat_byte(1), Address::repeat_byte(2));
        for (domain, named) in
            [(domain, false), (domain.on_chain(6), true), (domain.on_chain(6).on_chain(5), false)]
        {
            let text = serde_json::to_string(&domain).unwrap();
            assert!(!text.contains("separator"));
            assert_eq!(text.contains("deployment"), named, "{text}");
            assert_eq!(serde_json::from_str::<Domain>(&text).unwrap(), domain);
        }
    }

    #[test]
    fn a_fork_with_another_chain_id_keeps_the_ids_of_channels_and_voids_signatures() {
        let domain = Domain::new(5, Address::repeat_byte(1), Address::repeat_byte(2));
        let fork = domain.on_chain(6);
        let descriptor = crate::ChannelDescriptor {
            client: Address::repeat_byte(3),
            agent: Address::repeat_byte(4),
            offering: B256::repeat_byte(5).into(),
            nonce: 6,
            signer: Address::repeat_byte(7),
        };
        let channel = descriptor.id(&domain);
        assert_eq!(descriptor.id(&fork), channel);
        let voucher = crate::Voucher { channel, cumulative: crate::Amount::new(8) };
        assert_ne!(voucher.digest(&fork), voucher.digest(&domain));
        assert_eq!(fork.separator(), Domain::new(6, domain.contract(), domain.token()).separator());
    }
}
