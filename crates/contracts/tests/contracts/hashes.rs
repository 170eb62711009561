//! The Rust side and the contract hash the same: ids, EIP-712 digests and the domain.

use alloy::primitives::{Address, B256, keccak256};
use privatix_channel::{Amount, ChainTime, ChannelDescriptor, CloseAuthorization, RequestClose, Voucher};

use crate::on_chain;

/// Descriptors with every part varied, the extremes among them.
fn descriptors() -> Vec<ChannelDescriptor> {
    let word = |index: u64, part: u8| keccak256([&index.to_be_bytes()[..], &[part]].concat());
    let mut all: Vec<_> = (0..40)
        .map(|index| ChannelDescriptor {
            client: Address::from_word(word(index, 0)),
            agent: Address::from_word(word(index, 1)),
            offering: word(index, 2).into(),
            nonce: u64::from_be_bytes(word(index, 3)[..8].try_into().unwrap()),
            signer: if index % 3 == 0 { Address::ZERO } else { Address::from_word(word(index, 4)) },
        })
        .collect();
    let (zero, ones) = (Address::ZERO, Address::repeat_byte(0xff));
    for (address, offering, nonce) in [(zero, B256::ZERO, 0), (ones, B256::repeat_byte(0xff), u64::MAX)] {
        all.push(ChannelDescriptor {
            client: address,
            agent: address,
            offering: offering.into(),
            nonce,
            signer: address,
        });
    }
    all
}

#[test]
fn channel_ids_are_the_contracts() {
    on_chain(async |world| {
        for descriptor in descriptors() {
            let theirs = world.psc().channelIdOf(descriptor.into()).call().await.unwrap();
            assert_eq!(descriptor.id(&world.domain), theirs.into(), "{descriptor:?}");
        }
    });
}

#[test]
fn the_domain_separator_is_the_contracts() {
    on_chain(async |world| {
        assert_eq!(world.domain.separator(), world.psc().domainSeparator().call().await.unwrap());
    });
}

#[test]
fn voucher_and_closing_digests_are_the_contracts() {
    on_chain(async |world| {
        for (index, descriptor) in descriptors().iter().enumerate() {
            let channel = descriptor.id(&world.domain);
            let cumulative = match index {
                0 => 0,
                1 => u128::MAX,
                _ => u128::from_be_bytes(keccak256(index.to_be_bytes())[..16].try_into().unwrap()),
            };
            let voucher = Voucher { channel, cumulative: Amount::new(cumulative) };
            let theirs = world.psc().voucherDigest(channel.into(), cumulative).call().await.unwrap();
            assert_eq!(voucher.digest(&world.domain), theirs, "{voucher:?}");
            let (nonce, seconds) = (index as u64, u64::MAX - index as u64);
            let (amount, deadline) = (Amount::new(cumulative), ChainTime::new(seconds));
            let close = CloseAuthorization { channel, cumulative: amount, nonce, deadline };
            let theirs =
                world.psc().closeDigest(channel.into(), cumulative, nonce, seconds).call().await.unwrap();
            assert_eq!(close.digest(&world.domain), theirs, "{close:?}");
            let request = RequestClose { channel, admitted: amount, nonce, deadline };
            let theirs = world
                .psc()
                .requestCloseDigest(channel.into(), cumulative, nonce, seconds)
                .call()
                .await
                .unwrap();
            assert_eq!(request.digest(&world.domain), theirs, "{request:?}");
        }
    });
}
