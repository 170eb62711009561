//! Token transfers by signature (EIP-3009), as they open and top up channels.

use alloy::primitives::{Address, B256, b256, keccak256};
use serde::{Deserialize, Serialize};

use crate::{Amount, ChainTime, ChannelDescriptor, ChannelId, Domain};

/// `keccak256` of EIP-3009's `ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256
/// validBefore,bytes32 nonce)`.
const RECEIVE_TYPE_HASH: B256 = b256!("d099cc98ef71107a616c4f0f941f04c322d8e254fe26b3c6668db87aae413de8");

/// A client's permission to move `value` tokens from its wallet into the contract, once; anybody may submit it.
///
/// Its nonce names what the tokens are for, so the client's signature covers every parameter of the call: whoever takes the
/// permission from the pool can only do with it what the client signed. Made by [`opening`](Self::opening) and
/// [`top_up`](Self::top_up) only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TransferAuthorization {
    from: Address,
    to: Address,
    value: Amount,
    valid_after: ChainTime,
    valid_before: ChainTime,
    nonce: B256,
}

impl TransferAuthorization {
    /// Opens the channel that `descriptor` names with `deposit`: the nonce is the channel's id, which hashes agent, offering,
    /// nonce, signer and contract. It counts strictly after the first and strictly before the second of `validity`.
    pub fn opening(
        domain: &Domain,
        descriptor: &ChannelDescriptor,
        deposit: Amount,
        validity: (ChainTime, ChainTime),
    ) -> Self {
        Self::new(domain, descriptor, deposit, descriptor.id(domain).into(), validity)
    }

    /// Adds `amount` to the deposit of the channel that `descriptor` names. `salt` is new for each top-up of the channel:
    /// every authorisation counts once.
    pub fn top_up(
        domain: &Domain,
        descriptor: &ChannelDescriptor,
        amount: Amount,
        salt: B256,
        validity: (ChainTime, ChainTime),
    ) -> Self {
        Self::new(domain, descriptor, amount, top_up_nonce(descriptor.id(domain), salt), validity)
    }

    fn new(
        domain: &Domain,
        descriptor: &ChannelDescriptor,
        value: Amount,
        nonce: B256,
        (valid_after, valid_before): (ChainTime, ChainTime),
    ) -> Self {
        Self { from: descriptor.client, to: domain.contract(), value, valid_after, valid_before, nonce }
    }

    /// Whose tokens move: the client's.
    pub const fn from(&self) -> Address {
        self.from
    }

    /// Where they go: the service contract.
    pub const fn to(&self) -> Address {
        self.to
    }

    /// How many.
    pub const fn value(&self) -> Amount {
        self.value
    }

    /// It counts after this second.
    pub const fn valid_after(&self) -> ChainTime {
        self.valid_after
    }

    /// It counts before this second.
    pub const fn valid_before(&self) -> ChainTime {
        self.valid_before
    }

    /// EIP-3009's nonce: the token takes each one of an account once.
    pub const fn nonce(&self) -> B256 {
        self.nonce
    }

    /// What the client signs: the EIP-712 digest in the domain of the **token**, whose separator this is.
    pub fn digest(&self, token_separator: B256) -> B256 {
        let mut words = [0; 7 * 32];
        words[..32].copy_from_slice(RECEIVE_TYPE_HASH.as_slice());
        words[32..64].copy_from_slice(self.from.into_word().as_slice());
        words[64..96].copy_from_slice(self.to.into_word().as_slice());
        words[112..128].copy_from_slice(&self.value.get().to_be_bytes());
        words[152..160].copy_from_slice(&self.valid_after.seconds().to_be_bytes());
        words[184..192].copy_from_slice(&self.valid_before.seconds().to_be_bytes());
        words[192..].copy_from_slice(self.nonce.as_slice());
        crate::domain::digest(token_separator, keccak256(words))
    }
}

/// `keccak256(abi.encode(bytes32 id, bytes32 salt))`.
fn top_up_nonce(channel: ChannelId, salt: B256) -> B256 {
    let mut words = [0; 2 * 32];
    words[..32].copy_from_slice(channel.as_slice());
    words[32..].copy_from_slice(salt.as_slice());
    keccak256(words)
}

#[cfg(test)]
mod tests {
    use alloy::{
        primitives::U256,
        sol_types::{SolStruct as _, SolValue as _, eip712_domain},
    };

    use super::*;

    alloy::sol! {
        struct ReceiveWithAuthorization {
            address from;
            address to;
            uint256 value;
            uint256 validAfter;
            uint256 validBefore;
            bytes32 nonce;
        }
    }

    #[test]
    fn the_constant_is_the_hash_of_its_text() {
        let text = "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,\
                    uint256 validBefore,bytes32 nonce)";
        assert_eq!(RECEIVE_TYPE_HASH, keccak256(text));
    }

    #[test]
    fn the_digest_is_that_of_eip_3009_and_the_nonce_names_the_purpose() {
        let token = Address::repeat_byte(0x70);
        let domain = Domain::new(31_337, Address::repeat_byte(0x5c), token);
        let descriptor = ChannelDescriptor {
            client: Address::repeat_byte(0xc1),
            agent: Address::repeat_byte(0xa9),
            offering: B256::repeat_byte(0x0f).into(),
            nonce: 3,
            signer: Address::repeat_byte(0x51),
        };
        let tokens = eip712_domain! {
            name: "Privatix Token", version: "1", chain_id: 31_337, verifying_contract: token,
        };
        let (validity, salt) = ((ChainTime::new(7), ChainTime::MAX), B256::repeat_byte(0x5a));
        let opening = TransferAuthorization::opening(&domain, &descriptor, Amount::MAX, validity);
        let top_up = TransferAuthorization::top_up(&domain, &descriptor, Amount::new(9), salt, validity);
        assert_eq!(opening.nonce(), B256::from(descriptor.id(&domain)));
        assert_eq!(top_up.nonce(), keccak256((B256::from(descriptor.id(&domain)), salt).abi_encode()));
        for ours in [opening, top_up] {
            let theirs = ReceiveWithAuthorization {
                from: descriptor.client,
                to: domain.contract(),
                value: ours.value().into(),
                validAfter: U256::from(7),
                validBefore: U256::from(u64::MAX),
                nonce: ours.nonce(),
            };
            assert_eq!(ours.digest(tokens.separator()), theirs.eip712_signing_hash(&tokens));
        }
    }
}
