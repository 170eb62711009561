//! Sessions: what version 2 of the protocol runs in. A Noise handshake (revision 34 of the specification) in which the server
//! proves a key that its agent signed, and records that only the two ends can read or write.
//!
//! This is the one module that knows of Noise and of the crate that implements it; the bytes are fixed by vectors.

use crate::VersionRange;

mod handshake;
mod stream;

pub use handshake::SessionSecret;
pub(crate) use handshake::{
    ClientStart, Established, HEADER, Initiator, LENGTHS, MAGIC, MAX_ANSWER, Start, answer,
};
pub(crate) use stream::{SessionReader, SessionWriter};

/// The versions that are spoken in a session.
pub(crate) const VERSIONS: VersionRange = VersionRange::exactly(2);
/// The pattern and its algorithms: the client has no key of its own, and the server sends its own encrypted.
const PATTERN: &str = "Noise_NX_25519_ChaChaPoly_SHA256";
/// Bytes that authentication adds to what is encrypted.
const TAG: usize = 16;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// The other side sent something else than its half of a handshake.
    #[error("it is no handshake: {0}")]
    Malformed(&'static str),
    /// The cryptography refused: somebody on the way changed a byte, or the other side does not hold its key.
    #[error("the handshake failed: {0}")]
    Noise(#[from] snow::Error),
}
