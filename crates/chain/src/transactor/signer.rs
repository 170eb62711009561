use std::sync::Arc;

use alloy::consensus::{SignableTransaction, TypedTransaction};
use alloy::primitives::{Address, Signature};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use async_trait::async_trait;

/// Why a transaction was not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignerError {
    /// The signer does not answer, for now: it is asked again.
    #[error("the signer is unavailable: {0}; check that it runs and can be reached")]
    Unavailable(String),
    /// The signer does not want to: it is asked again, since its rules may change.
    #[error("the signer refuses: {0}; check its rules")]
    Refused(String),
    /// The signature is not one of this account for this transaction.
    #[error("the signer's answer is {0}; check which key it uses")]
    Wrong(&'static str),
}

/// Signs the transactions of one account: with a key at hand, as a [`PrivateKeySigner`] does, or by asking a key store in
/// another process or at another place.
///
/// What it gives is checked before it is used. It is called for several transactions at once, and given 10 seconds for each;
/// none of them delays another account, and a call that is dropped has no effect, as only what is stored is ever sent.
/// Signatures need not be deterministic.
#[async_trait]
pub trait Signer: Send + Sync {
    /// The account.
    fn account(&self) -> Address;

    /// Signs a transaction, that is its [`signature_hash`](SignableTransaction::signature_hash), with `s` in the lower half
    /// of its range (EIP-2).
    ///
    /// # Errors
    /// [`SignerError::Unavailable`], [`SignerError::Refused`].
    async fn sign(&self, tx: &TypedTransaction) -> Result<Signature, SignerError>;
}

#[async_trait]
impl Signer for PrivateKeySigner {
    fn account(&self) -> Address {
        self.address()
    }

    async fn sign(&self, tx: &TypedTransaction) -> Result<Signature, SignerError> {
        self.sign_hash_sync(&tx.signature_hash()).map_err(|error| SignerError::Refused(error.to_string()))
    }
}

#[async_trait]
impl<S: Signer + ?Sized> Signer for Arc<S> {
    fn account(&self) -> Address {
        (**self).account()
    }

    async fn sign(&self, tx: &TypedTransaction) -> Result<Signature, SignerError> {
        (**self).sign(tx).await
    }
}

/// Whether a signature is the account's, of this transaction, and one that nodes take.
pub(super) fn checked(
    account: Address,
    tx: &TypedTransaction,
    signature: Signature,
) -> Result<Signature, SignerError> {
    if signature.normalize_s().is_some() {
        return Err(SignerError::Wrong("a signature with a high s, which nodes refuse (EIP-2)"));
    }
    match signature.recover_address_from_prehash(&tx.signature_hash()) {
        Ok(signer) if signer == account => Ok(signature),
        _ => Err(SignerError::Wrong("a signature of another key or another transaction")),
    }
}

#[cfg(test)]
mod tests {
    use alloy::consensus::TxEip1559;
    use alloy::primitives::U256;

    use super::*;

    #[tokio::test]
    async fn a_signature_of_another_key_or_with_a_high_s_is_refused() {
        let (key, other) = (PrivateKeySigner::random(), PrivateKeySigner::random());
        let tx = TypedTransaction::from(TxEip1559 { chain_id: 1, ..Default::default() });
        let another = TypedTransaction::from(TxEip1559 { chain_id: 2, ..Default::default() });
        let signature = key.sign(&tx).await.unwrap();
        assert_eq!(checked(key.address(), &tx, signature), Ok(signature));
        let order =
            U256::from_str_radix("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16);
        let high = Signature::new(signature.r(), order.unwrap() - signature.s(), !signature.v());
        for wrong in [other.sign(&tx).await.unwrap(), key.sign(&another).await.unwrap(), high] {
            let refusal = checked(key.address(), &tx, wrong).unwrap_err();
            assert!(matches!(refusal, SignerError::Wrong(_)), "{refusal}");
        }
    }
}
