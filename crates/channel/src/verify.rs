//! Verifying vouchers fast.

use std::sync::OnceLock;

use alloy::primitives::Address;
use secp256k1::PublicKey;

use crate::{Amount, ChannelDescriptor, ChannelId, Domain, Phase, SignedVoucher, signature::address_of};

/// Verifies the vouchers of one channel.
///
/// Holds what would otherwise be computed for every payment: the domain separator, the channel's id and, from the first
/// valid voucher on, the signer's public key.
#[derive(Clone, Debug)]
pub struct VoucherVerifier {
    domain: Domain,
    channel: ChannelId,
    signer: Address,
    key: OnceLock<PublicKey>,
}

impl VoucherVerifier {
    /// A verifier of the channel that `descriptor` names in `domain`.
    pub fn new(domain: Domain, descriptor: &ChannelDescriptor) -> Self {
        let channel = descriptor.id(&domain);
        Self { domain, channel, signer: descriptor.voucher_signer(), key: OnceLock::new() }
    }

    /// The channel's id.
    pub const fn channel(&self) -> ChannelId {
        self.channel
    }

    /// Who must have signed.
    pub const fn signer(&self) -> Address {
        self.signer
    }

    /// Whether the channel's signer signed this voucher of this channel: if so, and if the channel names its signer, the contract
    /// accepts the signature too. Of a channel without a named signer the code of the client's account decides, if it has any.
    ///
    /// The zero address never signs. Amounts are not judged here.
    ///
    /// # Errors
    /// [`VoucherError::WrongChannel`] and [`VoucherError::WrongSigner`].
    pub fn verify(&self, voucher: &SignedVoucher) -> Result<(), VoucherError> {
        if voucher.channel() != self.channel {
            return Err(VoucherError::WrongChannel { expected: self.channel, found: voucher.channel() });
        }
        // Recovery rather than plain verification with the known key: it alone also judges `v`, without which the contract's
        // `ecrecover` would find somebody else. It costs an eighth more.
        let signer = voucher.signature.recover(voucher.voucher.digest(&self.domain));
        let valid = match (signer, self.key.get()) {
            (None, _) => false,
            (Some(signer), Some(known)) => signer.eq_fast_unstable(known),
            (Some(signer), None) => {
                let valid = !self.signer.is_zero() && address_of(&signer) == self.signer;
                if valid {
                    self.key.get_or_init(|| signer);
                }
                valid
            }
        };
        if valid { Ok(()) } else { Err(VoucherError::WrongSigner { expected: self.signer }) }
    }
}

/// Why a voucher is refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VoucherError {
    /// A voucher of another channel, or of another contract's or chain's channel.
    #[error("the voucher is for channel {found}, not for {expected}")]
    WrongChannel {
        /// The channel that it was presented to.
        expected: ChannelId,
        /// The channel that it names.
        found: ChannelId,
    },
    /// Signed by somebody else, for another role, contract or chain, over other values, or by nobody at all.
    #[error("the voucher is not signed by the channel's signer {expected}")]
    WrongSigner {
        /// Who should have signed.
        expected: Address,
    },
    /// Above a consent to close that still counts: with that consent the client could close below this voucher.
    #[error(
        "the voucher's {cumulative} is above the {consented} at which the agent agreed to close: wait until that agreement has expired"
    )]
    AboveConsent {
        /// The voucher's amount.
        cumulative: Amount,
        /// The amount of the lowest consent that counts.
        consented: Amount,
    },
    /// Properly signed, but below what is already proven: a late or replayed message. It buys nothing.
    #[error("the voucher's {cumulative} is below the {best} already proven")]
    Stale {
        /// The voucher's amount.
        cumulative: Amount,
        /// The highest amount signed or paid on chain, whether the deposit covers it or not or paid on chain.
        best: Amount,
    },
    /// The channel is not open on chain (yet, or any more).
    #[error("the channel takes no payments: it is {phase}")]
    NotOpen {
        /// What the channel is.
        phase: Phase,
    },
}
