//! EIP-2612 permits: an allowance by signature, so that a purchase is one transaction.

use alloy::{
    primitives::{Address, B256, Signature, U256},
    sol,
    sol_types::SolStruct as _,
};
use privatix_channel::Amount;

use crate::IPSC;
use crate::token::PermitDomain;

sol! {
    struct Permit {
        address owner;
        address spender;
        uint256 value;
        uint256 nonce;
        uint256 deadline;
    }
}

/// A permit to be signed by the owner of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermitRequest {
    /// Whose tokens.
    pub owner: Address,
    /// Who may take them: the service contract.
    pub spender: Address,
    /// How many.
    pub value: Amount,
    /// The token's `nonces(owner)`: each permit is good once.
    pub nonce: U256,
    /// Unix seconds after which it is void.
    pub deadline: u64,
}

impl PermitRequest {
    /// What the owner signs, in the domain of the token.
    pub fn digest(&self, domain: &PermitDomain) -> B256 {
        let permit = Permit {
            owner: self.owner,
            spender: self.spender,
            value: U256::from(self.value.get()),
            nonce: self.nonce,
            deadline: U256::from(self.deadline),
        };
        permit.eip712_signing_hash(domain.eip712())
    }

    /// The permit with the owner's signature over [`digest`](Self::digest), as the contract takes it.
    pub fn signed(&self, signature: &Signature) -> IPSC::Permit {
        IPSC::Permit {
            value: U256::from(self.value.get()),
            deadline: U256::from(self.deadline),
            v: if signature.v() { 28 } else { 27 },
            r: signature.r().into(),
            s: signature.s().into(),
        }
    }
}
