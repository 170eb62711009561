//! The agent's half of the rule about consents to close.
//!
//! The contract cannot know a voucher that nobody shows: with an old consent a client could close below what it has paid
//! since. So an agent that signed a consent takes no voucher above its amount until the consent is void beyond doubt: until a
//! final block shows that its deadline is over, that its nonce was raised, or that more than its amount is paid.

use serde::{Deserialize, Serialize};

use crate::{Amount, ChainTime, ChannelId, CloseAuthorization, Period, Phase, VoucherError};

/// How far ahead the deadline of a consent lies, at most: an agent may have to refuse payments for up to this time.
pub const LONGEST_CONSENT: Period = Period::minutes(15);

/// What a final block shows about a channel and its agent. A reorganisation cannot take it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalView {
    /// The block's time.
    pub time: ChainTime,
    /// The agent's nonce, `nonceOf(agent)`.
    pub nonce: u64,
    /// What the channel has paid.
    pub paid: Amount,
}

impl CloseAuthorization {
    /// Whether no later block can hold a close by this consent.
    pub fn is_void(&self, view: &FinalView) -> bool {
        self.deadline < view.time || self.nonce < view.nonce || self.cumulative < view.paid
    }
}

/// The consents of one channel that may still count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Consents(Vec<CloseAuthorization>);

impl Consents {
    /// The consents that were stored; one that was stored twice counts once.
    pub fn new(stored: impl IntoIterator<Item = CloseAuthorization>) -> Self {
        let mut consents = Self::default();
        stored.into_iter().for_each(|consent| consents.add(consent));
        consents
    }

    /// Those that may still count.
    pub fn iter(&self) -> impl Iterator<Item = &CloseAuthorization> {
        self.0.iter()
    }

    /// The lowest amount at which the channel could be closed with a consent.
    pub fn lowest(&self) -> Option<Amount> {
        self.0.iter().map(|consent| consent.cumulative).min()
    }

    /// Takes in a consent that is about to be signed.
    pub(crate) fn add(&mut self, consent: CloseAuthorization) {
        if !self.0.contains(&consent) {
            self.0.push(consent);
        }
    }

    /// Drops those that a final block has voided; whether there were any.
    pub(crate) fn prune(&mut self, view: &FinalView) -> bool {
        let before = self.0.len();
        self.0.retain(|consent| !consent.is_void(view));
        self.0.len() != before
    }

    /// Whether a voucher over this amount may be taken while these consents count.
    pub(crate) fn permit(&self, cumulative: Amount) -> Result<(), VoucherError> {
        match self.lowest() {
            Some(consented) if cumulative > consented => {
                Err(VoucherError::AboveConsent { cumulative, consented })
            }
            _ => Ok(()),
        }
    }
}

/// A consent that may be signed once it is stored. Made by [`AgentChannel::consent`](crate::AgentChannel::consent) only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "store the consent, commit it, then sign what commit gives back"]
pub struct NewConsent {
    pub(crate) consent: CloseAuthorization,
}

impl NewConsent {
    /// What to store durably before it is committed and signed.
    pub const fn consent(&self) -> &CloseAuthorization {
        &self.consent
    }
}

/// Why an agent does not agree to close at an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsentRefused {
    /// Less than is signed or paid.
    #[error("{cumulative} is below the {signed} that is signed or paid: ask for that")]
    BelowSigned {
        /// The amount asked for.
        cumulative: Amount,
        /// The highest amount that a voucher promises or that is paid on chain, whether the deposit covers it or not.
        signed: Amount,
    },
    /// The channel is not open on chain.
    #[error("the channel cannot be closed: it is {phase}")]
    NotOpen {
        /// What the channel is.
        phase: Phase,
    },
    /// Another channel's.
    #[error("the consent is for channel {found}, not for {expected}")]
    WrongChannel {
        /// The channel that it was presented to.
        expected: ChannelId,
        /// The channel that it names.
        found: ChannelId,
    },
}
