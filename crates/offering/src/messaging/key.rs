//! The key of an agent's sessions, and the agent's word that it is its own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy::primitives::{Address, B256};
use alloy::signers::SignerSync;
use alloy::sol_types::SolStruct;
use privatix_channel::Domain;
use serde::{Deserialize, Serialize};

use super::eip712;
use crate::{MessageSignature, SignatureProblem, VersionRange};

mod typed {
    alloy::sol! {
        struct MessagingKey {
            address agent;
            bytes32 key;
            uint16 minVersion;
            uint16 maxVersion;
            uint64 issuedAt;
            uint64 expiresAt;
        }
    }
}

/// The X25519 public key (RFC 7748) with which an agent's server starts sessions, as 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionKey(B256);

impl SessionKey {
    /// Takes 32 bytes for a key.
    pub const fn new(bytes: B256) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_b256(&self) -> &B256 {
        &self.0
    }
}

/// "Whoever holds this session key speaks for me for a day", signed by an agent or by its operator, for one contract on one
/// chain. The key itself is not in it: the session proves that the other side holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyBinding {
    /// The agent.
    pub agent: Address,
    /// The versions of the messaging protocol that it speaks.
    pub versions: VersionRange,
    /// From when on the key counts, in seconds since the Unix epoch.
    pub issued_at: u64,
    /// From when on it no longer counts, in the same way.
    pub expires_at: u64,
    /// The signature over these and the key.
    pub signature: MessageSignature,
}

/// What a client expects of an agent's [`KeyBinding`].
#[derive(Debug, Clone, Copy)]
pub struct ExpectedKey {
    /// The agent that is wanted.
    pub agent: Address,
    /// Its operator, as the chain shows it.
    pub operator: Option<Address>,
    /// The contract.
    pub domain: Domain,
    /// The time: the chain's where the client's view of it is fresh, else the clock's. One of them decides and not either, or
    /// whoever serves a false time could bring an old key back.
    pub now: SystemTime,
    /// [`issued_at`](KeyBinding::issued_at) of the newest binding of this agent that was accepted before.
    pub newest: Option<u64>,
}

impl KeyBinding {
    /// For how long a key counts.
    pub const VALIDITY: Duration = Duration::from_hours(24);
    /// How long after its issue an agent signs another key, so that a new session has half a day at least.
    pub const RENEWED_AFTER: Duration = Duration::from_hours(12);
    /// How far ahead of the client's time a binding may be issued: clocks differ.
    pub const MAX_SKEW: Duration = Duration::from_mins(15);

    /// Signs a binding that counts for [`VALIDITY`](Self::VALIDITY) from the last full hour on: the exact time would show which
    /// agents are one machine.
    ///
    /// # Errors
    /// [`SignatureProblem`] when the key is neither the agent's nor the operator's, or cannot sign.
    pub fn issue(
        agent: Address,
        operator: Option<Address>,
        key: &SessionKey,
        versions: VersionRange,
        (domain, now): (&Domain, SystemTime),
        signer: &impl SignerSync,
    ) -> Result<Self, SignatureProblem> {
        const HOUR: u64 = 3_600;
        let now = seconds(now);
        let issued_at = now.saturating_sub(now % HOUR);
        let expires_at = issued_at.saturating_add(Self::VALIDITY.as_secs());
        let digest = digest(agent, key, versions, (issued_at, expires_at), domain);
        let signature = MessageSignature::sign(&digest, signer, agent, operator)?;
        Ok(Self { agent, versions, issued_at, expires_at, signature })
    }

    /// Checks that this is the expected agent's word about `key`, and that it counts now.
    ///
    /// # Errors
    /// The first check that failed. After [`SignatureProblem::WrongSigner`] read the agent's operator from the chain again
    /// before giving up: it may have been replaced.
    pub fn verify(&self, key: &SessionKey, expected: &ExpectedKey) -> Result<(), BindingError> {
        let Self { agent, versions, issued_at, expires_at, signature } = *self;
        if agent != expected.agent {
            return Err(BindingError::OtherAgent { expected: expected.agent, found: agent });
        }
        let digest = digest(agent, key, versions, (issued_at, expires_at), &expected.domain);
        signature.check(&digest, agent, expected.operator)?;
        match expires_at.checked_sub(issued_at) {
            Some(validity @ 1..) if validity <= Self::VALIDITY.as_secs() => {}
            validity => return Err(BindingError::Validity { seconds: validity.unwrap_or_default() }),
        }
        let now = seconds(expected.now);
        if issued_at > now.saturating_add(Self::MAX_SKEW.as_secs()) {
            return Err(BindingError::FromTheFuture { issued_at, now });
        }
        if expires_at <= now {
            return Err(BindingError::Expired { expires_at, now });
        }
        match expected.newest {
            Some(newest) if expires_at <= newest => Err(BindingError::Superseded { expires_at, newest }),
            _ => Ok(()),
        }
    }

    /// The [`issued_at`](Self::issued_at) to remember of a binding that was verified, as [`ExpectedKey::newest`]: no later than this
    /// machine's clock and [`MAX_SKEW`](Self::MAX_SKEW), so that a chain's time that was far ahead keeps no later binding out.
    pub fn remembered(&self, clock: SystemTime) -> u64 {
        self.issued_at.min(seconds(clock).saturating_add(Self::MAX_SKEW.as_secs()))
    }

    /// When sessions with this key end.
    pub fn expires(&self) -> SystemTime {
        // A time that cannot be represented is of no binding that was verified: it ends at once.
        UNIX_EPOCH.checked_add(Duration::from_secs(self.expires_at)).unwrap_or(UNIX_EPOCH)
    }
}

fn digest(
    agent: Address,
    key: &SessionKey,
    versions: VersionRange,
    (issued_at, expires_at): (u64, u64),
    domain: &Domain,
) -> B256 {
    let binding = typed::MessagingKey {
        agent,
        key: *key.as_b256(),
        minVersion: versions.min(),
        maxVersion: versions.max(),
        issuedAt: issued_at,
        expiresAt: expires_at,
    };
    binding.eip712_signing_hash(&eip712(domain))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Why a [`KeyBinding`] is not accepted. None of it says anything about the agent: whoever is on the way to it can cause it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindingError {
    /// Another agent answers at this address.
    #[error("agent {found} answers, not {expected}")]
    OtherAgent {
        /// Who was wanted.
        expected: Address,
        /// Who answers.
        found: Address,
    },
    /// Neither the agent nor its operator signed it for this key.
    #[error("the key of the session is {0}")]
    Signature(#[from] SignatureProblem),
    /// It counts for longer than a day, or not at all.
    #[error("the key of the session is signed for {seconds} s; a day is the most, and a second the least")]
    Validity {
        /// For how long it counts.
        seconds: u64,
    },
    /// It is issued later than now.
    #[error(
        "the key of the session counts from {issued_at} s on, and it is {now} s; check this machine's clock"
    )]
    FromTheFuture {
        /// When it was issued, in seconds since the Unix epoch.
        issued_at: u64,
        /// The time that it was checked against ([`ExpectedKey::now`]), in the same way.
        now: u64,
    },
    /// Its time is over.
    #[error(
        "the key of the session expired at {expires_at} s, and it is {now} s; check this machine's clock"
    )]
    Expired {
        /// When it expired, in seconds since the Unix epoch.
        expires_at: u64,
        /// The time that it was checked against ([`ExpectedKey::now`]), in the same way.
        now: u64,
    },
    /// It could not be checked.
    #[error("the key of the session could not be checked: {reason}")]
    Unchecked {
        /// What failed.
        reason: String,
    },
    /// It had expired before a later one was issued that was accepted here.
    #[error(
        "the key of the session expired at {expires_at} s, before the one that was accepted here last was issued ({newest} s); if a clock was wrong then, forget what is remembered of this agent, which permits to talk to it in clear, too"
    )]
    Superseded {
        /// When it expired, in seconds since the Unix epoch.
        expires_at: u64,
        /// When the newest accepted one was issued, in the same way.
        newest: u64,
    },
}
