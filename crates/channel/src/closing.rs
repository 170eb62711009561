//! What is signed about closing: the agent's consent, and the client's side's request that somebody else submits.

use alloy::primitives::{Address, B256, b256, keccak256};
use serde::{Deserialize, Serialize};

use crate::{
    Amount, ChainTime, ChannelDescriptor, ChannelId, Domain, VoucherSignature, signature::address_of,
};

/// `keccak256("Close(bytes32 channelId,uint128 cumulativeAmount,uint64 nonce,uint64 deadline)")`.
const CLOSE_TYPE_HASH: B256 = b256!("94fcdfb76eef1a02498a11059010089f3c0e18956c12a2c59ceda67e36ba7b03");
/// `keccak256("RequestClose(bytes32 channelId,uint128 admitted,uint64 nonce,uint64 deadline)")`.
const REQUEST_CLOSE_TYPE_HASH: B256 =
    b256!("47566224c377e53043b7c73deb492993303796031b35127316b12ce5cf104c91");

fn struct_hash(type_hash: B256, channel: ChannelId, amount: Amount, nonce: u64, deadline: ChainTime) -> B256 {
    let mut words = [0; 5 * 32];
    words[..32].copy_from_slice(type_hash.as_slice());
    words[32..64].copy_from_slice(channel.as_slice());
    words[80..96].copy_from_slice(&amount.get().to_be_bytes());
    words[120..128].copy_from_slice(&nonce.to_be_bytes());
    words[152..].copy_from_slice(&deadline.seconds().to_be_bytes());
    keccak256(words)
}

/// The agent's agreement to close a channel at `cumulative`; with a voucher over the same amount anybody may close.
///
/// It counts until its deadline, until the agent's nonce is raised, and until more than its amount is paid. The contract
/// cannot know a voucher that nobody shows it: an agent that signed one takes no voucher above the amount until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CloseAuthorization {
    /// The channel to close.
    pub channel: ChannelId,
    /// What the agent is to have got from it in all.
    pub cumulative: Amount,
    /// The agent's nonce in the contract, `nonceOf(agent)`.
    pub nonce: u64,
    /// The last second in which it counts.
    pub deadline: ChainTime,
}

impl CloseAuthorization {
    /// The EIP-712 digest of `Close(bytes32 channelId,uint128 cumulativeAmount,uint64 nonce,uint64 deadline)`, to be signed by
    /// the agent or its operator.
    pub fn digest(&self, domain: &Domain) -> B256 {
        let Self { channel, cumulative, nonce, deadline } = *self;
        domain.digest(struct_hash(CLOSE_TYPE_HASH, channel, cumulative, nonce, deadline))
    }
}

/// A close authorisation with a well-formed signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SignedClose {
    /// What was signed.
    #[serde(flatten)]
    pub authorization: CloseAuthorization,
    /// The signature of the agent or of its operator.
    pub signature: VoucherSignature,
}

impl SignedClose {
    /// Whether the key of `account` signed this for the contract of `domain`. The zero address never signs.
    pub fn is_signed_by(&self, account: Address, domain: &Domain) -> bool {
        is_signed_by(&self.signature, self.authorization.digest(domain), account)
    }

    /// Whether this binds `agent`: its own key or that of its operator signed it. `operator` is the one that the chain shows,
    /// if there is one.
    pub fn binds(&self, agent: Address, operator: Option<Address>, domain: &Domain) -> bool {
        self.is_signed_by(agent, domain)
            || operator.is_some_and(|operator| self.is_signed_by(operator, domain))
    }
}

/// A request of the client's side to close a channel, which admits `admitted`: anybody may submit it (`requestCloseFor`).
///
/// Whoever signs the channel's vouchers signs it, and not the client's account: that key can spend the deposit anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequestClose {
    /// The channel to close.
    pub channel: ChannelId,
    /// What the agent is to have got from it in all, as the client sees it.
    pub admitted: Amount,
    /// The client's nonce in the contract, `nonceOf(client)`.
    pub nonce: u64,
    /// The last second in which it counts.
    pub deadline: ChainTime,
}

impl RequestClose {
    /// The EIP-712 digest of `RequestClose(bytes32 channelId,uint128 admitted,uint64 nonce,uint64 deadline)`, to be signed by
    /// the channel's signer.
    pub fn digest(&self, domain: &Domain) -> B256 {
        let Self { channel, admitted, nonce, deadline } = *self;
        domain.digest(struct_hash(REQUEST_CLOSE_TYPE_HASH, channel, admitted, nonce, deadline))
    }
}

/// A request to close with a well-formed signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SignedRequestClose {
    /// What was signed.
    #[serde(flatten)]
    pub request: RequestClose,
    /// The signature of the channel's signer.
    pub signature: VoucherSignature,
}

impl SignedRequestClose {
    /// Whether the signer of the channel that `descriptor` names signed this request for that channel.
    pub fn is_of(&self, descriptor: &ChannelDescriptor, domain: &Domain) -> bool {
        let digest = self.request.digest(domain);
        self.request.channel == descriptor.id(domain)
            && is_signed_by(&self.signature, digest, descriptor.voucher_signer())
    }
}

fn is_signed_by(signature: &VoucherSignature, digest: B256, account: Address) -> bool {
    !account.is_zero() && signature.recover(digest).is_some_and(|key| address_of(&key) == account)
}

#[cfg(test)]
mod tests {
    use alloy::sol_types::{SolStruct as _, eip712_domain};

    use super::*;

    /// The same structs as alloy hashes them.
    mod reference {
        alloy::sol! {
            struct Close { bytes32 channelId; uint128 cumulativeAmount; uint64 nonce; uint64 deadline; }
            struct RequestClose { bytes32 channelId; uint128 admitted; uint64 nonce; uint64 deadline; }
        }
    }

    #[test]
    fn the_constants_are_the_hashes_of_their_texts() {
        let text = "Close(bytes32 channelId,uint128 cumulativeAmount,uint64 nonce,uint64 deadline)";
        assert_eq!(CLOSE_TYPE_HASH, keccak256(text));
        let text = "RequestClose(bytes32 channelId,uint128 admitted,uint64 nonce,uint64 deadline)";
        assert_eq!(REQUEST_CLOSE_TYPE_HASH, keccak256(text));
    }

    #[test]
    fn the_digests_are_those_of_eip_712_for_the_chain_as_it_is_now() {
        let contract = Address::repeat_byte(7);
        let deployed = Domain::new(31_337, contract, Address::repeat_byte(8));
        let channel = ChannelId::new(B256::repeat_byte(0xcc));
        for (domain, chain) in [(deployed, 31_337), (deployed.on_chain(5), 5)] {
            let alloys = eip712_domain! {
                name: "EVM Payment Channel", version: "1", chain_id: chain, verifying_contract: contract,
            };
            for amount in [0, 1, u128::MAX] {
                for (nonce, seconds) in [(0, 0), (1, 2), (u64::MAX, u64::MAX - 1)] {
                    let (amount, deadline) = (Amount::new(amount), ChainTime::new(seconds));
                    let close = CloseAuthorization { channel, cumulative: amount, nonce, deadline };
                    let theirs = reference::Close {
                        channelId: channel.into(),
                        cumulativeAmount: amount.get(),
                        nonce,
                        deadline: seconds,
                    };
                    assert_eq!(close.digest(&domain), theirs.eip712_signing_hash(&alloys));
                    let request = RequestClose { channel, admitted: amount, nonce, deadline };
                    let theirs = reference::RequestClose {
                        channelId: channel.into(),
                        admitted: amount.get(),
                        nonce,
                        deadline: seconds,
                    };
                    assert_eq!(request.digest(&domain), theirs.eip712_signing_hash(&alloys));
                }
            }
        }
    }
}
