//! The events' signatures (first topics), grouped as a monitor's filters want them.
//!
//! Of channel events the second topic is the channel, the third the client, the fourth the agent; of offering events the
//! second is the agent, the third the offering; of balance and account events the second is the account. `ClaimSkipped` is in
//! no filter of a monitor: anybody can cause it for any channel, so it is to be read in one's own receipts only.

use alloy::{primitives::B256, sol_types::SolEvent as _};

use crate::{PSC, PTC};

/// A channel's life.
pub const CHANNEL: [B256; 6] = [
    PSC::ChannelOpened::SIGNATURE_HASH,
    PSC::ChannelToppedUp::SIGNATURE_HASH,
    PSC::ChannelSettled::SIGNATURE_HASH,
    PSC::ChannelCloseRequested::SIGNATURE_HASH,
    PSC::ChannelCloseCancelled::SIGNATURE_HASH,
    PSC::ChannelClosed::SIGNATURE_HASH,
];

/// The channel events that move an offering's supply and feed the rating.
pub const OPENINGS_AND_CLOSINGS: [B256; 2] =
    [PSC::ChannelOpened::SIGNATURE_HASH, PSC::ChannelClosed::SIGNATURE_HASH];

/// An offering's life.
pub const OFFERING: [B256; 4] = [
    PSC::OfferingRegistered::SIGNATURE_HASH,
    PSC::OfferingPoppedUp::SIGNATURE_HASH,
    PSC::OfferingRemoved::SIGNATURE_HASH,
    PSC::OfferingFeeRefreshed::SIGNATURE_HASH,
];

/// Money into and out of internal balances.
pub const BALANCE: [B256; 2] = [PSC::Deposited::SIGNATURE_HASH, PSC::Withdrawn::SIGNATURE_HASH];

/// Who may act for an account, and which consents count.
pub const ACCOUNT: [B256; 2] = [PSC::OperatorChanged::SIGNATURE_HASH, PSC::ConsentsRevoked::SIGNATURE_HASH];

/// The rows of a batch that took no effect: for receipts, not for filters.
pub const SKIPPED: B256 = PSC::ClaimSkipped::SIGNATURE_HASH;

/// The network fee and its address.
pub const FEE: [B256; 3] = [
    PSC::FeeChanged::SIGNATURE_HASH,
    PSC::FeeAddressProposed::SIGNATURE_HASH,
    PSC::FeeAddressChanged::SIGNATURE_HASH,
];

/// The token's events.
pub const TOKEN: [B256; 2] = [PTC::Transfer::SIGNATURE_HASH, PTC::Approval::SIGNATURE_HASH];

/// Every event of the service contract that a monitor may act on.
pub fn all() -> Vec<B256> {
    [CHANNEL.as_slice(), &OFFERING, &BALANCE, &ACCOUNT, &FEE].concat()
}

/// Every event of the service contract.
pub(crate) fn known() -> Vec<B256> {
    [all().as_slice(), &[SKIPPED]].concat()
}
