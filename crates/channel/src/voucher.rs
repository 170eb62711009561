//! What is signed for a payment: vouchers, by the client's side.

use alloy::primitives::{B256, b256, keccak256};
use serde::{Deserialize, Serialize};

use crate::{Amount, ChannelId, Domain, VoucherSignature};

/// `keccak256("Voucher(bytes32 channelId,uint128 cumulativeAmount)")`.
const VOUCHER_TYPE_HASH: B256 = b256!("e97c93f01d3ef8eaba1586553df13308f236815bf4ea49c7b696895d8f5ea68a");

fn struct_hash(channel: ChannelId, cumulative: Amount) -> B256 {
    let mut words = [0; 3 * 32];
    words[..32].copy_from_slice(VOUCHER_TYPE_HASH.as_slice());
    words[32..64].copy_from_slice(channel.as_slice());
    words[80..].copy_from_slice(&cumulative.get().to_be_bytes());
    keccak256(words)
}

/// A balance proof before it is signed: the client owes the agent `cumulative` in all since the channel opened.
///
/// A higher voucher replaces all lower ones, so a lost or repeated one harms nobody. The amount is a ceiling: the contract pays
/// the lesser of it and the channel's deposit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Voucher {
    /// The channel that pays.
    pub channel: ChannelId,
    /// Everything paid through the channel so far, this payment included.
    pub cumulative: Amount,
}

impl Voucher {
    /// The EIP-712 digest of `Voucher(bytes32 channelId,uint128 cumulativeAmount)`, to be signed by the channel's signer.
    pub fn digest(&self, domain: &Domain) -> B256 {
        domain.digest(struct_hash(self.channel, self.cumulative))
    }
}

/// A voucher with a well-formed signature. Only a [`VoucherVerifier`](crate::VoucherVerifier) finds out whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SignedVoucher {
    /// What was signed.
    #[serde(flatten)]
    pub voucher: Voucher,
    /// The signature of the channel's signer.
    pub signature: VoucherSignature,
}

impl SignedVoucher {
    /// The channel that pays.
    pub const fn channel(&self) -> ChannelId {
        self.voucher.channel
    }

    /// Everything paid through the channel so far, this payment included.
    pub const fn cumulative(&self) -> Amount {
        self.voucher.cumulative
    }
}

#[cfg(test)]
mod tests {
    use alloy::{
        primitives::Address,
        sol_types::{SolStruct as _, eip712_domain},
    };

    use super::*;

    /// The same structs as alloy hashes them.
    mod reference {
        alloy::sol! {
            struct Voucher { bytes32 channelId; uint128 cumulativeAmount; }
        }
    }

    #[test]
    fn the_constant_is_the_hash_of_its_text() {
        assert_eq!(VOUCHER_TYPE_HASH, keccak256("Voucher(bytes32 channelId,uint128 cumulativeAmount)"));
    }

    #[test]
    fn the_digest_is_that_of_eip_712() {
        let contract = Address::repeat_byte(7);
        let domain = Domain::new(31_337, contract, Address::repeat_byte(8));
        let alloys = eip712_domain! {
            name: "EVM Payment Channel", version: "1", chain_id: 31_337, verifying_contract: contract,
        };
        let channel = ChannelId::new(B256::repeat_byte(0xcc));
        for cumulative in [Amount::ZERO, Amount::new(1), Amount::MAX_ON_CHAIN, Amount::MAX] {
            let (channel_id, cumulative_amount) = (channel.into(), cumulative.get());
            let voucher = reference::Voucher { channelId: channel_id, cumulativeAmount: cumulative_amount };
            let ours = Voucher { channel, cumulative }.digest(&domain);
            assert_eq!(ours, voucher.eip712_signing_hash(&alloys));
        }
    }
}
