//! Signatures of messages: strict, recoverable, one spelling each.

use std::fmt;

use alloy::primitives::{Address, B256, Signature};
use alloy::signers::SignerSync;
use privatix_channel::{SignatureError, VoucherSignature};
use serde::{Deserialize, Serialize};

/// A 65-byte signature `r || s || v` of a message, as strict as a voucher's: low `s`, `v` 27 or
/// 28, so that nobody can give a signed message a second hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageSignature(VoucherSignature);

impl MessageSignature {
    /// The number of bytes.
    pub const SIZE: usize = 65;

    /// Reads `r || s || v`.
    ///
    /// # Errors
    /// [`SignatureProblem::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureProblem> {
        Ok(Self(VoucherSignature::from_bytes(bytes)?))
    }

    /// `r || s || v`.
    pub fn as_bytes(&self) -> &[u8; Self::SIZE] {
        self.0.as_bytes()
    }

    /// Who signed this digest.
    pub(crate) fn signer(&self, digest: &B256) -> Option<Address> {
        let signature = Signature::from_raw_array(self.as_bytes()).ok()?;
        signature.recover_address_from_prehash(digest).ok().filter(|address| !address.is_zero())
    }

    /// That this digest is signed by `agent`, or by its operator if it has one.
    pub(crate) fn check(
        &self,
        digest: &B256,
        agent: Address,
        operator: Option<Address>,
    ) -> Result<(), SignatureProblem> {
        match self.signer(digest) {
            Some(signer) if signer == agent || Some(signer) == operator => Ok(()),
            _ => Err(SignatureProblem::WrongSigner { expected: agent }),
        }
    }

    /// Signs a digest as `agent` or as its operator, and checks the result: a wrong key is found
    /// here, not at the other side.
    pub(crate) fn sign(
        digest: &B256,
        signer: &impl SignerSync,
        agent: Address,
        operator: Option<Address>,
    ) -> Result<Self, SignatureProblem> {
        let signature = signer
            .sign_hash_sync(digest)
            .map_err(|error| SignatureProblem::Signer { problem: error.to_string() })?;
        let signature = Self(VoucherSignature::try_from(signature.normalized_s())?);
        signature.check(digest, agent, operator).map(|()| signature)
    }
}

impl fmt::Debug for MessageSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageSignature({})", self.0)
    }
}

/// Why a signature is refused or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureProblem {
    /// Not a strict 65-byte signature.
    #[error(transparent)]
    Malformed(#[from] SignatureError),
    /// Signed by another key, or over other bytes.
    #[error("not signed by {expected} or its operator over these bytes")]
    WrongSigner {
        /// Who should have signed: the agent (its operator may in its place), or the client of an access request.
        expected: Address,
    },
    /// The key itself refused.
    #[error("the key could not sign: {problem}")]
    Signer {
        /// The signer's words.
        problem: String,
    },
}
