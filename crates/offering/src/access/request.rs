//! The client's request for access, and the agent's guard against old ones.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy::primitives::{Address, B256};
use alloy::signers::SignerSync;
use alloy::sol_types::SolStruct;
use privatix_channel::{ChannelDescriptor, ChannelId, Domain};
use serde::{Deserialize, Serialize};

use super::{RecipientKey, eip712};
use crate::{MessageSignature, SignatureProblem};

mod typed {
    alloy::sol! {
        struct AccessRequest {
            bytes32 channel;
            bytes32 recipient;
            uint64 issuedAt;
        }
    }
}

/// "Seal the access of this channel to this key", signed by the channel's client or by its voucher
/// signer, for one contract on one chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessRequest {
    /// The channel.
    pub channel: ChannelId,
    /// The fresh key to seal to.
    pub recipient: RecipientKey,
    /// When it was signed, in milliseconds since the Unix epoch.
    pub issued_at: u64,
    /// The signature over the three above.
    pub signature: MessageSignature,
}

impl AccessRequest {
    /// Signs a request. Ask with a later `now` each time: the agent takes each moment once.
    ///
    /// # Errors
    /// [`RequestError::WrongSigner`] when the key is neither the client's nor the voucher signer's.
    pub fn sign(
        descriptor: &ChannelDescriptor,
        domain: &Domain,
        recipient: RecipientKey,
        now: SystemTime,
        signer: &(impl SignerSync + alloy::signers::Signer),
    ) -> Result<Self, RequestError> {
        let address = signer.address();
        if !descriptor.is_clients(address) {
            return Err(RequestError::WrongSigner { found: Some(address) });
        }
        let (channel, issued_at) = (descriptor.id(domain), millis(now));
        let digest = digest(channel, recipient, issued_at, domain);
        let signature = MessageSignature::sign(&digest, signer, address, None)?;
        Ok(Self { channel, recipient, issued_at, signature })
    }

    /// Checks that the request is for this channel, not older than `max_age` nor from the future by
    /// more than that, and signed by the channel's client or its voucher signer. Whether it was
    /// answered before is for a [`ReplayGuard`].
    ///
    /// # Errors
    /// The first check that failed.
    pub fn verify(
        &self,
        descriptor: &ChannelDescriptor,
        domain: &Domain,
        now: SystemTime,
        max_age: Duration,
    ) -> Result<(), RequestError> {
        let expected = descriptor.id(domain);
        if self.channel != expected {
            return Err(RequestError::WrongChannel { expected, found: self.channel });
        }
        let away = Duration::from_millis(self.issued_at.abs_diff(millis(now)));
        if away > max_age {
            return Err(RequestError::Stale { away, max_age });
        }
        let digest = digest(self.channel, self.recipient, self.issued_at, domain);
        match self.signature.signer(&digest) {
            Some(signer) if descriptor.is_clients(signer) => Ok(()),
            found => Err(RequestError::WrongSigner { found }),
        }
    }
}

fn digest(channel: ChannelId, recipient: RecipientKey, issued_at: u64, domain: &Domain) -> B256 {
    let request = typed::AccessRequest {
        channel: channel.into(),
        recipient: *recipient.as_b256(),
        issuedAt: issued_at,
    };
    request.eip712_signing_hash(&eip712(domain))
}

pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Refuses requests that were answered before: per channel, each must be signed later than the last.
///
/// Only verified requests may be shown to it. It remembers one number per channel for `max_age`;
/// older requests are refused by their age. What an attacker gains by replaying a request to an
/// agent that restarted meanwhile is the same access sealed to the same client's key: nothing.
#[derive(Debug, Clone)]
pub struct ReplayGuard {
    max_age: Duration,
    last: HashMap<ChannelId, u64>,
    by_time: BTreeSet<(u64, ChannelId)>,
}

impl ReplayGuard {
    /// A guard for requests of up to this age.
    pub fn new(max_age: Duration) -> Self {
        Self { max_age, last: HashMap::new(), by_time: BTreeSet::new() }
    }

    /// The age up to which requests are to be accepted.
    pub fn max_age(&self) -> Duration {
        self.max_age
    }

    /// Whether a verified request would be [accepted](Self::accept).
    ///
    /// # Errors
    /// [`RequestError::Replayed`].
    pub fn check(&self, request: &AccessRequest) -> Result<(), RequestError> {
        self.check_moment(request.channel, request.issued_at)
    }

    /// The same for a request about this channel that was signed at this moment.
    ///
    /// # Errors
    /// [`RequestError::Replayed`].
    pub fn check_moment(&self, channel: ChannelId, issued_at: u64) -> Result<(), RequestError> {
        match self.last.get(&channel) {
            Some(last) if issued_at <= *last => Err(RequestError::Replayed { channel }),
            _ => Ok(()),
        }
    }

    /// Accepts a verified request once.
    ///
    /// # Errors
    /// [`RequestError::Replayed`].
    pub fn accept(&mut self, request: &AccessRequest, now: SystemTime) -> Result<(), RequestError> {
        self.accept_moment(request.channel, request.issued_at, now)
    }

    /// The same for a request about this channel that was signed at this moment.
    ///
    /// # Errors
    /// [`RequestError::Replayed`].
    pub fn accept_moment(
        &mut self,
        channel: ChannelId,
        issued_at: u64,
        now: SystemTime,
    ) -> Result<(), RequestError> {
        self.forget_older_than(millis(now.checked_sub(self.max_age).unwrap_or(UNIX_EPOCH)));
        self.check_moment(channel, issued_at)?;
        if let Some(last) = self.last.get(&channel).copied() {
            self.by_time.remove(&(last, channel));
        }
        self.last.insert(channel, issued_at);
        self.by_time.insert((issued_at, channel));
        Ok(())
    }

    fn forget_older_than(&mut self, oldest: u64) {
        while let Some((at, channel)) = self.by_time.first().copied().filter(|(at, _)| *at < oldest) {
            self.by_time.remove(&(at, channel));
            self.last.remove(&channel);
        }
    }
}

/// Why a request for access is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// For another channel, contract or chain.
    #[error("the access request is for channel {found}, not for {expected}")]
    WrongChannel {
        /// The channel that it was presented for.
        expected: ChannelId,
        /// The channel that it names.
        found: ChannelId,
    },
    /// Too old, or from a clock that is ahead.
    #[error(
        "the access request is {away:?} away from the agent's clock, more than {max_age:?}; set the clocks and ask again"
    )]
    Stale {
        /// How far it is away.
        away: Duration,
        /// How far it may be.
        max_age: Duration,
    },
    /// Signed by neither the client nor the voucher signer of the channel, or over other values.
    #[error("the access request is not signed by the channel's client or voucher signer{}", found.map(|found| format!(", but by {found}")).unwrap_or_default())]
    WrongSigner {
        /// Who signed, if anybody did.
        found: Option<Address>,
    },
    /// More data than a client's plug-in may give.
    #[error("the access request carries {length} bytes of data, more than {}", super::MAX_ACCESS_DATA)]
    Data {
        /// How many bytes it has.
        length: usize,
    },
    /// An earlier or the same request was answered already.
    #[error("the access request for channel {channel} was answered before; sign a new one")]
    Replayed {
        /// The channel.
        channel: ChannelId,
    },
    /// The request could not be signed.
    #[error("the access request could not be signed: {0}")]
    Signature(#[from] SignatureProblem),
}
