//! A client's proof, within one session, that a channel is its own.

use std::fmt;

use alloy::primitives::{Address, B256};
use alloy::signers::{Signer, SignerSync};
use alloy::sol_types::SolStruct;
use privatix_channel::{Amount, ChannelDescriptor, ChannelId, Domain};
use serde::{Deserialize, Serialize};

use super::eip712;
use crate::{MessageSignature, SignatureProblem};

mod typed {
    alloy::sol! {
        struct Attach {
            bytes32 channel;
            bytes32 session;
        }

        struct Leave {
            bytes32 channel;
            uint128 cumulative;
            bytes32 session;
        }
    }
}

/// What names a session: the hash of its handshake, which no other session has.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(B256);

impl SessionId {
    /// Takes the hash of a handshake.
    pub const fn new(hash: B256) -> Self {
        Self(hash)
    }

    /// The 32 bytes.
    pub const fn as_b256(&self) -> &B256 {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", self.0)
    }
}

/// "This channel is mine", signed for one session by the channel's client or its voucher signer.
///
/// A voucher proves no such thing: settlements show it on chain while the channel is open, and then anybody can send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelProof {
    /// The channel.
    pub channel: ChannelId,
    /// The signature over the channel and the session.
    pub signature: MessageSignature,
}

impl ChannelProof {
    /// Proves the channel in this session.
    ///
    /// # Errors
    /// [`ProofError`] when the key is neither the client's nor the voucher signer's, or cannot sign.
    pub fn sign(
        descriptor: &ChannelDescriptor,
        domain: &Domain,
        session: SessionId,
        signer: &(impl SignerSync + Signer),
    ) -> Result<Self, ProofError> {
        let channel = descriptor.id(domain);
        let signature = signed(&Self::digest(channel, session, domain), descriptor, signer)?;
        Ok(Self { channel, signature })
    }

    /// Checks the proof for a session, and that it is about this channel.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(
        &self,
        descriptor: &ChannelDescriptor,
        domain: &Domain,
        session: SessionId,
    ) -> Result<(), ProofError> {
        is_about(descriptor, domain, self.channel)?;
        is_signed(&Self::digest(self.channel, session, domain), descriptor, &self.signature)
    }

    fn digest(channel: ChannelId, session: SessionId, domain: &Domain) -> B256 {
        let attach = typed::Attach { channel: channel.into(), session: *session.as_b256() };
        attach.eip712_signing_hash(&eip712(domain))
    }
}

/// "I leave, and this is what I pay", signed for one session by the channel's client or its voucher signer: the agent may end
/// the service and close the channel over `cumulative`, for which it also needs the voucher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaveProof {
    /// The channel.
    pub channel: ChannelId,
    /// What its last voucher is over, in base units of the token; zero where none was signed.
    pub cumulative: Amount,
    /// The signature over both and the session.
    pub signature: MessageSignature,
}

impl LeaveProof {
    /// Leaves the channel in this session.
    ///
    /// # Errors
    /// [`ProofError`] when the key is neither the client's nor the voucher signer's, or cannot sign.
    pub fn sign(
        descriptor: &ChannelDescriptor,
        domain: &Domain,
        session: SessionId,
        cumulative: Amount,
        signer: &(impl SignerSync + Signer),
    ) -> Result<Self, ProofError> {
        let channel = descriptor.id(domain);
        let signature = signed(&Self::digest(channel, cumulative, session, domain), descriptor, signer)?;
        Ok(Self { channel, cumulative, signature })
    }

    /// Checks the word for a session, and that it is about this channel.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(
        &self,
        descriptor: &ChannelDescriptor,
        domain: &Domain,
        session: SessionId,
    ) -> Result<(), ProofError> {
        is_about(descriptor, domain, self.channel)?;
        let digest = Self::digest(self.channel, self.cumulative, session, domain);
        is_signed(&digest, descriptor, &self.signature)
    }

    fn digest(channel: ChannelId, cumulative: Amount, session: SessionId, domain: &Domain) -> B256 {
        let leave = typed::Leave {
            channel: channel.into(),
            cumulative: cumulative.get(),
            session: *session.as_b256(),
        };
        leave.eip712_signing_hash(&eip712(domain))
    }
}

fn signed(
    digest: &B256,
    descriptor: &ChannelDescriptor,
    signer: &(impl SignerSync + Signer),
) -> Result<MessageSignature, ProofError> {
    let address = signer.address();
    if !descriptor.is_clients(address) {
        return Err(ProofError::WrongSigner { found: Some(address) });
    }
    Ok(MessageSignature::sign(digest, signer, address, None)?)
}

fn is_about(descriptor: &ChannelDescriptor, domain: &Domain, found: ChannelId) -> Result<(), ProofError> {
    let expected = descriptor.id(domain);
    if found == expected { Ok(()) } else { Err(ProofError::OtherChannel { expected, found }) }
}

fn is_signed(
    digest: &B256,
    descriptor: &ChannelDescriptor,
    signature: &MessageSignature,
) -> Result<(), ProofError> {
    match signature.signer(digest) {
        Some(signer) if descriptor.is_clients(signer) => Ok(()),
        found => Err(ProofError::WrongSigner { found }),
    }
}

/// Why a client's word within a session is refused or could not be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// It is about another channel.
    #[error("it is about channel {found}, not {expected}")]
    OtherChannel {
        /// The channel that was meant.
        expected: ChannelId,
        /// The one that it names.
        found: ChannelId,
    },
    /// Neither the channel's client nor its voucher signer signed it for this session.
    #[error("not signed for this session by the channel's client or its voucher signer")]
    WrongSigner {
        /// Who signed, if anybody.
        found: Option<Address>,
    },
    /// The key could not sign.
    #[error(transparent)]
    Signature(#[from] SignatureProblem),
}
