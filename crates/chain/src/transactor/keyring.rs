use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use alloy::consensus::TypedTransaction;
use alloy::eips::Encodable2718;
use alloy::primitives::{Address, B256};

use super::signer::{Signer, SignerError, checked};
use crate::ChainError;

/// What a signer may take for one transaction.
const PATIENCE: Duration = Duration::from_secs(10);

/// The accounts that a transactor can sign for. Cheap to clone; clones share what is inserted.
#[derive(Clone, Default)]
pub struct Keyring(Arc<RwLock<BTreeMap<Address, Arc<dyn Signer>>>>);

impl Keyring {
    /// A keyring of these signers.
    pub fn new<S: Signer + 'static>(signers: impl IntoIterator<Item = S>) -> Self {
        let keys = signers.into_iter().map(|signer| (signer.account(), Arc::new(signer) as Arc<dyn Signer>));
        Self(Arc::new(RwLock::new(keys.collect())))
    }

    /// Adds a signer; what waited for it goes on at the transactor's next look.
    pub fn insert(&self, signer: impl Signer + 'static) {
        let account = signer.account();
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(account, Arc::new(signer));
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
    pub(super) async fn sign(
        &self,
        account: Address,
        tx: TypedTransaction,
    ) -> Result<(Vec<u8>, B256), ChainError> {
        let failed = |source| ChainError::Signing { account, source };
        let signer = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&account).cloned();
        let Some(signer) = signer else {
            return Err(failed(SignerError::Unavailable("its key is not in the keyring".to_owned())));
        };
        let answer = tokio::time::timeout(PATIENCE, signer.sign(&tx)).await.unwrap_or_else(|_| {
            Err(SignerError::Unavailable(format!("no answer within {} s", PATIENCE.as_secs())))
        });
        let signature = answer.and_then(|signature| checked(account, &tx, signature)).map_err(failed)?;
        let signed = tx.into_envelope(signature);
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
    use alloy::signers::local::PrivateKeySigner;

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
