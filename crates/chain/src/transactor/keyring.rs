use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use alloy::consensus::{SignableTransaction, Signed, TxEnvelope};
use alloy::eips::Encodable2718;
use alloy::primitives::{Address, B256, Signature};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;

use crate::ChainError;

/// The accounts that a transactor can sign for. Cheap to clone; clones share what is inserted.
#[derive(Clone, Default)]
pub struct Keyring(Arc<RwLock<BTreeMap<Address, PrivateKeySigner>>>);

impl Keyring {
    /// A keyring of these keys.
    pub fn new(signers: impl IntoIterator<Item = PrivateKeySigner>) -> Self {
        let keys = signers.into_iter().map(|signer| (signer.address(), signer)).collect();
        Self(Arc::new(RwLock::new(keys)))
    }

    /// Adds a key; what waited for it goes on at the transactor's next look.
    pub fn insert(&self, signer: PrivateKeySigner) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(signer.address(), signer);
    }

    /// The accounts, sorted.
    pub fn accounts(&self) -> Vec<Address> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Whether it can sign for `account`.
    pub fn holds(&self, account: Address) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains_key(&account)
    }

    /// Signs; gives the encoded transaction and its hash.
    pub(super) fn sign<T>(&self, account: Address, tx: T) -> Result<(Vec<u8>, B256), ChainError>
    where
        T: SignableTransaction<Signature>,
        TxEnvelope: From<Signed<T>>,
    {
        let failed = |reason: String| ChainError::Signing { account, reason };
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let signer = keys.get(&account).ok_or_else(|| failed("its key is not in the keyring".to_owned()))?;
        let signature = signer.sign_hash_sync(&tx.signature_hash()).map_err(|e| failed(e.to_string()))?;
        let signed = TxEnvelope::from(tx.into_signed(signature));
        Ok((signed.encoded_2718(), *signed.tx_hash()))
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Keyring").field(&self.accounts()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_accounts_and_no_keys() {
        let signer = PrivateKeySigner::random();
        let ring = Keyring::new([signer.clone()]);
        let shown = format!("{ring:?}").to_lowercase();
        assert!(shown.contains(&format!("{:x}", signer.address())), "{shown}");
        assert!(!shown.contains(&format!("{:x}", signer.to_bytes())), "{shown}");
    }
}
