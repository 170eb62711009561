//! Two parties and their channel.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use alloy::{
    primitives::{Address, B256},
    signers::local::PrivateKeySigner,
};
use privatix_channel::{
    AgentChannel, Amount, ChannelDescriptor, ChannelEvent, ClientChannel, Domain, Fee, LogPosition,
    SignedVoucher, Voucher, sign_voucher,
};

pub(crate) fn key(seed: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(seed)).unwrap()
}

pub(crate) fn client_key() -> PrivateKeySigner {
    key(0xc1)
}

pub(crate) fn agent_key() -> PrivateKeySigner {
    key(0xa9)
}

pub(crate) fn domain() -> Domain {
    Domain::new(31_337, Address::repeat_byte(0x5c), Address::repeat_byte(0x70))
}

pub(crate) fn descriptor() -> ChannelDescriptor {
    ChannelDescriptor {
        client: client_key().address(),
        agent: agent_key().address(),
        offering: B256::repeat_byte(0x0f).into(),
        nonce: 1,
        signer: Address::ZERO,
    }
}

pub(crate) const DEPOSIT: u128 = 1_000;

pub(crate) fn opened() -> ChannelEvent {
    ChannelEvent::Opened { deposit: amount(DEPOSIT), fee: Fee::ZERO }
}

pub(crate) fn open_agent() -> AgentChannel {
    let mut agent = AgentChannel::new(domain(), descriptor());
    agent.apply(at(1), opened());
    agent
}

pub(crate) fn open_client() -> ClientChannel {
    let mut client = ClientChannel::new(domain(), descriptor());
    client.apply(at(1), opened());
    client
}

pub(crate) fn amount(base_units: u128) -> Amount {
    Amount::new(base_units)
}

pub(crate) fn at(block: u64) -> LogPosition {
    LogPosition::new(block, 0)
}

/// A voucher of the test's channel, signed by its client.
pub(crate) fn voucher(base_units: u128) -> SignedVoucher {
    signed_by(&client_key(), &domain(), base_units)
}

/// A voucher of the test's channel in `domain`, signed by `signer`.
pub(crate) fn signed_by(signer: &PrivateKeySigner, domain: &Domain, base_units: u128) -> SignedVoucher {
    let voucher = Voucher { channel: descriptor().id(domain), cumulative: amount(base_units) };
    sign_voucher(signer, domain, voucher).unwrap()
}
