//! Signing with a key that is at hand. Remote keys sign the digests of [`Voucher`], [`CloseAuthorization`] and
//! [`RequestClose`] themselves.

use alloy::signers::SignerSync;

use crate::{
    CloseAuthorization, Domain, RequestClose, SignatureError, SignedClose, SignedRequestClose, SignedVoucher,
    Voucher, VoucherError, VoucherSignature,
};

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The signer refused or failed.
    #[error("the key could not sign: {0}")]
    Signer(#[source] alloy::signers::Error),
    /// The signer made a signature that the contract would not take.
    #[error("the key made an unusable signature: {0}")]
    Malformed(#[from] SignatureError),
    /// The signature is not of the channel's signer: the wrong key was used.
    #[error("the key is not the channel's: {0}")]
    WrongKey(#[from] VoucherError),
}

/// Signs a voucher. Whether the amount may be signed is [`ClientChannel`](crate::ClientChannel)'s rule, not this function's.
pub fn sign_voucher(
    signer: &impl SignerSync,
    domain: &Domain,
    voucher: Voucher,
) -> Result<SignedVoucher, SignError> {
    let signature = signer.sign_hash_sync(&voucher.digest(domain)).map_err(SignError::Signer)?;
    Ok(SignedVoucher { voucher, signature: strict(signature)? })
}

/// Signs a close authorisation with the agent's key or its operator's.
pub fn sign_close(
    signer: &impl SignerSync,
    domain: &Domain,
    authorization: CloseAuthorization,
) -> Result<SignedClose, SignError> {
    let signature = signer.sign_hash_sync(&authorization.digest(domain)).map_err(SignError::Signer)?;
    Ok(SignedClose { authorization, signature: strict(signature)? })
}

/// Signs a request to close, for somebody else to submit, with the key of the channel's signer.
pub fn sign_request_close(
    signer: &impl SignerSync,
    domain: &Domain,
    request: RequestClose,
) -> Result<SignedRequestClose, SignError> {
    let signature = signer.sign_hash_sync(&request.digest(domain)).map_err(SignError::Signer)?;
    Ok(SignedRequestClose { request, signature: strict(signature)? })
}

/// Hardware keys often do not normalise `s`; the signer itself may.
fn strict(signature: alloy::primitives::Signature) -> Result<VoucherSignature, SignatureError> {
    signature.normalized_s().try_into()
}
