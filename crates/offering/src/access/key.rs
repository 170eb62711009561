//! The key that access is sealed to: fresh for each request.

use std::fmt;

use alloy::primitives::B256;
use hpke::{Deserializable, Kem, Serializable};
use serde::{Deserialize, Serialize};

pub(super) type Suite = hpke::kem::X25519HkdfSha256;
pub(super) type Aead = hpke::aead::ChaCha20Poly1305;
pub(super) type Kdf = hpke::kdf::HkdfSha256;

/// The client's half of a sealing: a fresh X25519 key pair (RFC 7748), kept in memory until the
/// answer came and wiped when dropped. A client that lost it asks again with another.
pub struct AccessKey {
    secret: <Suite as Kem>::PrivateKey,
    public: RecipientKey,
}

impl AccessKey {
    /// A fresh key from the system's randomness.
    ///
    /// # Panics
    /// If the system has no randomness to give.
    pub fn generate() -> Self {
        let (secret, public) = Suite::gen_keypair();
        let mut bytes = B256::ZERO;
        public.write_exact(bytes.as_mut_slice());
        Self { secret, public: RecipientKey(bytes) }
    }

    /// What the agent seals to.
    pub fn public(&self) -> RecipientKey {
        self.public
    }

    pub(super) fn secret(&self) -> &<Suite as Kem>::PrivateKey {
        &self.secret
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// An X25519 public key as 32 bytes; `0x` and 64 digits as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecipientKey(B256);

impl RecipientKey {
    /// Takes 32 bytes for a key. A key that no secret belongs to is found when sealing.
    pub const fn new(bytes: B256) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_b256(&self) -> &B256 {
        &self.0
    }

    pub(super) fn to_hpke(self) -> Option<<Suite as Kem>::PublicKey> {
        <Suite as Kem>::PublicKey::from_bytes(self.0.as_slice()).ok()
    }
}
