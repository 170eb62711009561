//! Strict signatures: one spelling per signature, the same that the contract accepts.

use std::{fmt, str::FromStr};

use alloy::primitives::{Address, B256, Signature, hex, keccak256};
use secp256k1::{
    Message, PublicKey,
    ecdsa::{RecoverableSignature, RecoveryId},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The order of secp256k1.
const ORDER: [u8; 32] = hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
/// Half the order: the largest `s` of a low-s signature (EIP-2).
const HALF_ORDER: [u8; 32] = hex!("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0");

/// A 65-byte ECDSA signature `r || s || v` over secp256k1, of a voucher or of a close.
///
/// A value of this type is well-formed: 65 bytes (no compact EIP-2098 form, no envelope), `r` and `s` in range, low `s`
/// (EIP-2) and `v` 27 or 28. So nobody can give a signature a second spelling. Well-formed says nothing about who signed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VoucherSignature([u8; 65]);

impl VoucherSignature {
    /// Reads `r || s || v`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        let bytes: [u8; 65] =
            bytes.try_into().map_err(|_| SignatureError::WrongLength { length: bytes.len() })?;
        let (r, rest) = bytes.split_at(32);
        let (s, v) = rest.split_at(32);
        let zero = [0; 32];
        if r == zero || r >= ORDER.as_slice() {
            return Err(SignatureError::OutOfRange { part: "r" });
        }
        if s == zero || s >= ORDER.as_slice() {
            return Err(SignatureError::OutOfRange { part: "s" });
        }
        if s > HALF_ORDER.as_slice() {
            return Err(SignatureError::HighS);
        }
        match v {
            [27 | 28] => Ok(Self(bytes)),
            _ => Err(SignatureError::BadV { v: bytes[64] }),
        }
    }

    /// `r || s || v`, as the contract takes it.
    pub const fn as_bytes(&self) -> &[u8; 65] {
        &self.0
    }

    /// Who signed this EIP-712 digest, or `None` when no key did.
    pub(crate) fn recover(&self, digest: B256) -> Option<PublicKey> {
        let id = if self.0[64] == 27 { RecoveryId::Zero } else { RecoveryId::One };
        let signature = RecoverableSignature::from_compact(&self.0[..64], id).ok()?;
        signature.recover(Message::from_digest(digest.0)).ok()
    }
}

/// Whether the `s` of 65 bytes `r || s || v` is above half the order, whatever the rest is.
#[cfg(feature = "model")]
pub(crate) fn has_high_s(signature: &[u8; 65]) -> bool {
    signature[32..64] > HALF_ORDER[..]
}

/// The address of a public key: the last 20 bytes of the keccak hash of its point.
pub(crate) fn address_of(key: &PublicKey) -> Address {
    Address::from_word(keccak256(&key.serialize_uncompressed()[1..]))
}

impl TryFrom<&[u8]> for VoucherSignature {
    type Error = SignatureError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        Self::from_bytes(bytes)
    }
}

impl TryFrom<Signature> for VoucherSignature {
    type Error = SignatureError;

    fn try_from(signature: Signature) -> Result<Self, Self::Error> {
        Self::from_bytes(&signature.as_bytes())
    }
}

/// `0x` and 130 lower-case digits.
impl fmt::Display for VoucherSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_prefixed(self.0))
    }
}

impl fmt::Debug for VoucherSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VoucherSignature({self})")
    }
}

impl FromStr for VoucherSignature {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0x").ok_or(SignatureError::NotHex)?;
        // The hex decoder would take a second prefix.
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(SignatureError::NotHex);
        }
        if digits.len() != 130 {
            return Err(SignatureError::WrongLength { length: digits.len() / 2 });
        }
        Self::from_bytes(&hex::decode(digits).map_err(|_| SignatureError::NotHex)?)
    }
}

impl Serialize for VoucherSignature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VoucherSignature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer, "a 65-byte signature as 0x and 130 hexadecimal digits")
    }
}

/// Why bytes or a text are not a strict signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Not hexadecimal text.
    #[error("a signature is written as 0x followed by 130 hexadecimal digits")]
    NotHex,
    /// Not 65 bytes: compact (EIP-2098) signatures and envelopes of any kind are not accepted.
    #[error("a signature has 65 bytes (r, s, v), this one has {length}")]
    WrongLength {
        /// The number of bytes found.
        length: usize,
    },
    /// A part that is zero or not below the curve's order.
    #[error("the signature's {part} is zero or not below the curve's order")]
    OutOfRange {
        /// `r` or `s`.
        part: &'static str,
    },
    /// The other spelling of a valid signature (EIP-2); the signer must normalise `s`.
    #[error("the signature's s is in the upper half of the curve's order: sign with low s (EIP-2)")]
    HighS,
    /// A recovery byte that is neither 27 nor 28.
    #[error("the signature's v is {v}, it must be 27 or 28")]
    BadV {
        /// The byte found.
        v: u8,
    },
}
