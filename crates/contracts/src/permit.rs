//! EIP-2612 permits: an allowance by signature, so that a purchase is one transaction.

use std::borrow::Cow;

use alloy::{
    primitives::{Address, B256, Signature, U256},
    sol,
    sol_types::{Eip712Domain, SolStruct as _},
};
use privatix_channel::Amount;

use crate::IPSC;

sol! {
    struct Permit {
        address owner;
        address spender;
        uint256 value;
        uint256 nonce;
        uint256 deadline;
    }
}

/// The token's name in its EIP-712 domain.
const TOKEN_NAME: &str = "Privatix Token";

/// A permit to be signed by the owner of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermitRequest {
    /// The chain's id (EIP-155).
    pub chain_id: u64,
    /// The token (PTC).
    pub token: Address,
    /// Whose tokens.
    pub owner: Address,
    /// Who may take them: the service contract.
    pub spender: Address,
    /// How many.
    pub value: Amount,
    /// The token's `nonces(owner)`: each permit is good once.
    pub nonce: u64,
    /// Unix seconds after which it is void.
    pub deadline: u64,
}

impl PermitRequest {
    /// What the owner signs.
    pub fn digest(&self) -> B256 {
        let domain = Eip712Domain::new(
            Some(Cow::Borrowed(TOKEN_NAME)),
            Some(Cow::Borrowed("1")),
            Some(U256::from(self.chain_id)),
            Some(self.token),
            None,
        );
        let permit = Permit {
            owner: self.owner,
            spender: self.spender,
            value: U256::from(self.value.get()),
            nonce: U256::from(self.nonce),
            deadline: U256::from(self.deadline),
        };
        permit.eip712_signing_hash(&domain)
    }

    /// The permit with the owner's signature over [`digest`](Self::digest), as the contract takes it.
    pub fn signed(&self, signature: &Signature) -> IPSC::Permit {
        IPSC::Permit {
            value: U256::from(self.value.get()),
            deadline: U256::from(self.deadline),
            v: 27 + u8::from(signature.v()),
            r: signature.r().into(),
            s: signature.s().into(),
        }
    }
}
