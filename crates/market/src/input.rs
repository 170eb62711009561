//! What a decision is asked about: [`Input`].

use std::sync::Arc;

use privatix_billing::Terms;
use privatix_channel::{Amount, ChannelId, OnChain, SignedVoucher, Usage, VoucherError, VoucherVerifier};
use serde::{Deserialize, Serialize};

use crate::{Actual, BlockRef, Party};

/// Something that happened. It may come again: a repeated input has no second effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input<P: Party> {
    /// What the chain shows now, whatever changed it: an event, a reorganisation, a restart.
    Chain(OnChain),
    /// Nothing but the surroundings is new: a start, a time that was waited for, another view of the chain.
    Look,
    /// A report of this side's meter. A session that has ended is reported, too, also by a new life of the adapter.
    Used {
        /// What was used so far. A total that is lower than an earlier one counts as that.
        used: Usage,
        /// Whether a session runs now.
        running: bool,
    },
    /// The terms of the channel's offering, once they are known. The first ones count.
    Terms(Arc<Terms>),
    /// The service adapter's answer.
    Adapter {
        /// The request that it answers. An answer to an earlier request is ignored.
        seq: u32,
        /// The answer.
        answer: Answered,
    },
    /// Whether the service adapter holds a sold service to its bound: `false` when it has not taken a lower one in time, and `true`
    /// once it has.
    Bounded(bool),
    /// Whether the service adapter reaches the seller of a bought service by the access that it was given: `false` once it has failed for a
    /// while, and `true` once that is over.
    Reached(bool),
    /// What became of a transaction.
    Tx {
        /// Its number.
        seq: u32,
        /// Its purpose, as it was stored.
        purpose: P::Purpose,
        /// What became of it.
        fate: Fate,
    },
    /// The user's order.
    Order(P::Order),
    /// The other side's message.
    Peer(P::Message),
    /// What came of an effect that is done in the transaction that stores the state.
    Report(P::Report),
}

/// An answer of the service adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answered {
    /// The service is in this state now.
    Did(Actual),
    /// The same, and a sold service is found elsewhere than the access states that its client may have. The new one is stored in the
    /// transaction that decides this.
    Moved(Actual),
    /// The adapter answered that it does not do this for this channel.
    Refused,
    /// No answer: the runner has given up.
    GaveUp,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// The money for it is there: it is to be submitted.
    Funded,
    /// The money for it could not be provided. It was not submitted.
    Unfunded(Trouble),
    /// A batch took it.
    Batched,
    /// It is in a block, with success and with the confirmations that count.
    Mined(BlockRef),
    /// It is in a block, and reverted.
    Reverted,
    /// It was given up, or a foreign transaction took its nonce: it cannot be mined any more.
    Failed {
        /// Whether the same would fail again until somebody does something: no key, no longer the operator.
        lasting: bool,
    },
    /// It was cancelled, and cannot be mined any more.
    Cancelled,
    /// A reorganisation took its outcome back: it is under way again.
    Reinstated {
        /// In a batch with other channels, so that it is not cancelled for this one.
        batch: bool,
    },
    /// A reorganisation took its outcome back after it was cancelled: it is not sent again. It may still be mined.
    Withdrawn,
    /// Its outcome is final.
    Final,
}

/// Why something that a client does for its channel did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trouble {
    /// The account has not enough tokens.
    Funds,
    /// It would exceed what the user allows to spend.
    Budget,
    /// The key could not be used.
    Key,
    /// Its transaction failed.
    Failed,
    /// Its tokens could not be taken out of the wallet: there is no transaction.
    Unpaid,
    /// It was cancelled.
    Cancelled,
    /// The channel ended first.
    Ended,
    /// It was on chain, was undone, and did not come again.
    Vanished,
    /// A later order took its place.
    Replaced,
    /// The database came back from a backup that holds it as not done. It may have been done since, so it is not repeated.
    Restored,
}

impl Trouble {
    /// What it is, for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Funds => "the account has not enough tokens",
            Self::Budget => "it would exceed the budget",
            Self::Key => "the key could not be used",
            Self::Failed => "its transaction failed",
            Self::Unpaid => "its tokens could not be taken out of the wallet; the log has the reason",
            Self::Cancelled => "it was cancelled",
            Self::Ended => "the channel ended first",
            Self::Vanished => "it was undone by a reorganisation, and did not come again",
            Self::Replaced => "a later order took its place",
            Self::Restored => {
                "the database came back from a backup in which it was not done yet, so it is not repeated; look on chain whether it was \
                 done, and order it again if not"
            }
        }
    }
}

/// Judges the signatures of vouchers. The real one is [`VoucherVerifier`]; a simulation needs no cryptography.
pub trait Verifier {
    /// What is judged.
    type Voucher;
    /// Why it is refused.
    type Refused;

    /// The channel and the amount of a voucher that its signer signed.
    fn verified(&self, voucher: &Self::Voucher) -> Result<(ChannelId, Amount), Self::Refused>;
}

impl Verifier for VoucherVerifier {
    type Voucher = SignedVoucher;
    type Refused = VoucherError;

    fn verified(&self, voucher: &SignedVoucher) -> Result<(ChannelId, Amount), VoucherError> {
        self.verify(voucher)?;
        Ok((voucher.channel(), voucher.cumulative()))
    }
}

/// A voucher that a [`Verifier`] accepted: what was not checked is no input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    channel: ChannelId,
    cumulative: Amount,
}

impl Verified {
    /// Checks a voucher.
    ///
    /// # Errors
    /// The verifier's.
    pub fn check<V: Verifier>(verifier: &V, voucher: &V::Voucher) -> Result<Self, V::Refused> {
        let (channel, cumulative) = verifier.verified(voucher)?;
        Ok(Self { channel, cumulative })
    }

    /// Whose it is.
    pub const fn channel(&self) -> ChannelId {
        self.channel
    }

    /// Everything paid with it so far, in base units.
    pub const fn cumulative(&self) -> Amount {
        self.cumulative
    }
}
