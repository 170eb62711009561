//! What identifies a channel.

use alloy::primitives::{Address, B256, keccak256};
use serde::{Deserialize, Serialize};

use crate::{ChannelId, Domain, OfferingHash};

/// What identifies a channel; the contract never stores it, it passes in calldata and is emitted in events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChannelDescriptor {
    /// Who locked the deposit and gets back what is not paid.
    pub client: Address,
    /// Who is paid.
    pub agent: Address,
    /// The agent's offering under which the channel was opened.
    pub offering: OfferingHash,
    /// Chosen by the client, new for each channel under the same offering and agent.
    pub nonce: u64,
    /// Whose key signs vouchers, by ECDSA only: the client's own, or a hot key that can spend this channel only. Zero leaves it
    /// to the client's account: its key while the account has no code, else whatever its code accepts (ERC-1271), now and
    /// later. Our clients always name a key.
    pub signer: Address,
}

impl ChannelDescriptor {
    /// `keccak256(abi.encode(bytes32 offering, uint64 nonce))`: what makes two channels of the same parties differ.
    pub fn salt(&self) -> B256 {
        let mut words = [0; 2 * 32];
        words[..32].copy_from_slice(self.offering.as_slice());
        words[56..].copy_from_slice(&self.nonce.to_be_bytes());
        keccak256(words)
    }

    /// `keccak256(abi.encode(client, agent, token, salt, signer, contract, chainId))`: the channel's id in
    /// `domain`, with the chain's id at the deployment of the contract.
    pub fn id(&self, domain: &Domain) -> ChannelId {
        let mut words = [0; 7 * 32];
        words[..32].copy_from_slice(self.client.into_word().as_slice());
        words[32..64].copy_from_slice(self.agent.into_word().as_slice());
        words[64..96].copy_from_slice(domain.token().into_word().as_slice());
        words[96..128].copy_from_slice(self.salt().as_slice());
        words[128..160].copy_from_slice(self.signer.into_word().as_slice());
        words[160..192].copy_from_slice(domain.contract().into_word().as_slice());
        words[216..].copy_from_slice(&domain.deployment_chain_id().to_be_bytes());
        ChannelId::new(keccak256(words))
    }

    /// Whose key signs vouchers of this channel: [`signer`](Self::signer), or the client when that is zero.
    ///
    /// Only for a channel that [names its signer](Self::names_signer) is this the contract's last word: without one, code of
    /// the client's account decides, and can void a voucher that its key signed.
    pub fn voucher_signer(&self) -> Address {
        if self.signer.is_zero() { self.client } else { self.signer }
    }

    /// Whether a key alone decides about vouchers, whatever code the client's account has or gets (EIP-7702).
    pub fn names_signer(&self) -> bool {
        !self.signer.is_zero()
    }

    /// Whether the key of this address speaks for the client: it is the client's own or the voucher signer's.
    pub fn is_clients(&self, address: Address) -> bool {
        address == self.client || address == self.voucher_signer()
    }
}

#[cfg(test)]
mod tests {
    use alloy::{primitives::U256, sol_types::SolValue as _};

    use super::*;

    #[test]
    fn the_id_is_the_hash_of_the_abi_encoding() {
        let descriptor = ChannelDescriptor {
            client: Address::repeat_byte(0xc1),
            agent: Address::repeat_byte(0xa9),
            offering: OfferingHash::new(B256::repeat_byte(0x0f)),
            nonce: 0x0102_0304_0506_0708,
            signer: Address::repeat_byte(0x51),
        };
        let domain = Domain::new(31_337, Address::repeat_byte(0x5c), Address::repeat_byte(0x70));

        let salt = keccak256((B256::from(descriptor.offering), U256::from(descriptor.nonce)).abi_encode());
        assert_eq!(descriptor.salt(), salt);
        let fields = (
            descriptor.client,
            descriptor.agent,
            domain.token(),
            salt,
            descriptor.signer,
            domain.contract(),
            U256::from(domain.chain_id()),
        );
        assert_eq!(descriptor.id(&domain), ChannelId::new(keccak256(fields.abi_encode())));
    }

    #[test]
    fn no_signer_means_the_client_signs() {
        let mut descriptor = ChannelDescriptor {
            client: Address::repeat_byte(1),
            agent: Address::repeat_byte(2),
            offering: OfferingHash::default(),
            nonce: 0,
            signer: Address::ZERO,
        };
        assert_eq!(descriptor.voucher_signer(), descriptor.client);
        assert!(!descriptor.names_signer());
        descriptor.signer = Address::repeat_byte(3);
        assert_eq!(descriptor.voucher_signer(), descriptor.signer);
        assert!(descriptor.names_signer());
    }
}
