//! Between the channel crate's types and the contract's.

use alloy::primitives::{
    Bytes, U256,
    aliases::{U40, U96},
};
use privatix_channel::{Amount, ChainTime, ChannelDescriptor, Fee, Period, SignedVoucher, Terms};

use crate::IPSC;

/// An amount that the contract's 96 bits cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("amount {amount} is above the contract's maximum of {}: give a smaller amount", Amount::MAX_ON_CHAIN)]
pub struct AboveContractRange {
    /// The amount that was asked for.
    pub amount: Amount,
}

/// `amount` as the contract's `uint96`.
pub(crate) fn to_u96(amount: Amount) -> Result<U96, AboveContractRange> {
    U96::try_from(amount.get()).map_err(|_| AboveContractRange { amount })
}

/// The contract's `uint96` as an amount: every one fits.
pub(crate) fn from_u96(amount: U96) -> Amount {
    Amount::new(amount.to::<u128>())
}

/// A time of the contract.
pub(crate) fn from_u40(seconds: U40) -> ChainTime {
    ChainTime::new(seconds.to::<u64>())
}

/// A time in an error of the contract. It never holds one beyond 64 bits; should one appear, the latest is the nearest truth.
pub(crate) fn from_u256(seconds: U256) -> ChainTime {
    ChainTime::new(u64::try_from(seconds).unwrap_or(u64::MAX))
}

impl TryFrom<Terms> for IPSC::Terms {
    type Error = AboveContractRange;

    fn try_from(terms: Terms) -> Result<Self, Self::Error> {
        let period = |period: Period| U40::from(period.seconds());
        Ok(Self {
            popUpPeriod: period(terms.pop_up),
            removePeriod: period(terms.remove),
            challengePeriod: period(terms.challenge),
            feeDelay: period(terms.fee_delay),
            minStake: to_u96(terms.min_stake)?,
        })
    }
}

/// The contract's fee. It never holds one above the maximum; should one appear, the maximum is the nearest truth.
pub(crate) fn from_fee(fee: u16) -> Fee {
    Fee::new(fee).unwrap_or(Fee::MAX)
}

impl From<ChannelDescriptor> for IPSC::Descriptor {
    fn from(descriptor: ChannelDescriptor) -> Self {
        let ChannelDescriptor { client, agent, offering, nonce, signer } = descriptor;
        Self { client, agent, offering: offering.into(), nonce, signer }
    }
}

impl From<IPSC::Descriptor> for ChannelDescriptor {
    fn from(descriptor: IPSC::Descriptor) -> Self {
        let IPSC::Descriptor { client, agent, offering, nonce, signer } = descriptor;
        Self { client, agent, offering: offering.into(), nonce, signer }
    }
}

impl IPSC::Claim {
    /// The claim of a channel with its best voucher, for a batch of the channel's agent.
    pub fn voucher(descriptor: &ChannelDescriptor, voucher: &SignedVoucher) -> Self {
        Self {
            client: descriptor.client,
            offering: descriptor.offering.into(),
            nonce: descriptor.nonce,
            signer: descriptor.signer,
            cumulativeAmount: voucher.cumulative().get(),
            signature: Bytes::copy_from_slice(voucher.signature.as_bytes()),
        }
    }

    /// The claim of a channel to be closed with what is already paid on chain; for `closeBatch` only.
    pub fn already_paid(descriptor: &ChannelDescriptor) -> Self {
        Self {
            client: descriptor.client,
            offering: descriptor.offering.into(),
            nonce: descriptor.nonce,
            signer: descriptor.signer,
            cumulativeAmount: 0,
            signature: Bytes::new(),
        }
    }
}
