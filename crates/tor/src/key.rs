//! Keys that derive from an account's key, so that whoever has the account has them too.

use std::fmt;

use hmac::{Hmac, Mac as _};
use privatix_somc::{AddressError, SomcAddress};
use sha2::Sha512;
use tor_hscrypto::pk::{HsClientDescEncKey, HsClientDescEncSecretKey, HsIdKey, HsIdKeypair};
use tor_llcrypto::pk::{curve25519, ed25519};
use zeroize::Zeroizing;

/// What an account's key is for here; each purpose gives another key. Changing one changes every account's address.
const IDENTITY: &[u8] = b"privatix onion service identity, version 1";
const DISCOVERY: &[u8] = b"privatix onion service discovery, version 1: ";

/// The secrets that an account has on Tor.
///
/// They derive from the account's key by HMAC-SHA-512 with a text per purpose: one way, so that nobody can compute the
/// account's key from them, and the same on every machine that the account is restored on.
#[derive(Clone)]
pub struct OnionKeys {
    account: Zeroizing<[u8; 32]>,
}

impl OnionKeys {
    /// The keys of the account whose secret key these bytes are.
    pub fn of_account(secret: [u8; 32]) -> Self {
        Self { account: Zeroizing::new(secret) }
    }

    /// The address of the account's onion service.
    ///
    /// # Errors
    /// A port of zero.
    pub fn address(&self, port: u16) -> Result<SomcAddress, AddressError> {
        let identity = HsIdKey::from(&self.identity()).id();
        SomcAddress::onion(identity.as_ref(), port)
    }

    /// The public key by which the account proves to a private onion service that it may find it, as
    /// `descriptor:x25519:...`: what the service's operator lists. Each service gets another one, so that two services
    /// cannot know that they have the same client.
    pub fn discovery_key(&self, service: &SomcAddress) -> String {
        HsClientDescEncKey::from(&self.discovery(service)).to_string()
    }

    pub(crate) fn identity(&self) -> HsIdKeypair {
        let seed = self.derive(IDENTITY, &[]);
        HsIdKeypair::from(ed25519::ExpandedKeypair::from(&ed25519::Keypair::from_bytes(&seed)))
    }

    pub(crate) fn discovery(&self, service: &SomcAddress) -> HsClientDescEncSecretKey {
        curve25519::StaticSecret::from(*self.derive(DISCOVERY, service.host().as_bytes())).into()
    }

    fn derive(&self, purpose: &[u8], of: &[u8]) -> Zeroizing<[u8; 32]> {
        let Ok(mut mac) = Hmac::<Sha512>::new_from_slice(self.account.as_slice()) else {
            unreachable!("HMAC takes keys of any length")
        };
        mac.update(purpose);
        mac.update(of);
        let long = Zeroizing::new(<[u8; 64]>::from(mac.finalize().into_bytes()));
        let mut short = Zeroizing::new([0; 32]);
        short.copy_from_slice(&long[..32]);
        short
    }
}

/// Shows nothing of the keys.
impl fmt::Debug for OnionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnionKeys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_always_has_the_same_address_and_another_account_another() {
        let address = |byte| OnionKeys::of_account([byte; 32]).address(80).unwrap().to_string();
        assert_eq!(address(1), address(1));
        assert_ne!(address(1), address(2));
        // Published addresses must outlive every version of this program.
        assert_eq!(address(1), "tor:rlwpm3t44rbn5jllcabzyhgpsea55xx2m3c7jzwgq2cvavdpuodno4ad.onion:80");
    }

    #[test]
    fn each_private_service_sees_another_client() {
        let keys = OnionKeys::of_account([1; 32]);
        let service = |byte| OnionKeys::of_account([byte; 32]).address(80).unwrap();
        assert_eq!(keys.discovery_key(&service(7)), keys.discovery_key(&service(7)));
        assert_ne!(keys.discovery_key(&service(7)), keys.discovery_key(&service(8)));
        assert!(keys.discovery_key(&service(7)).starts_with("descriptor:x25519:"));
    }

    #[test]
    fn no_secret_is_shown() {
        assert_eq!(format!("{:?}", OnionKeys::of_account([1; 32])), "OnionKeys { .. }");
    }
}
