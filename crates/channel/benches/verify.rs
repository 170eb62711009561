//! Vouchers verified per second on one core, beside the limit (libsecp256k1's own verification of a message that is already
//! hashed) and beside what peers do (alloy: build the domain, hash, recover the address).
//!
//! `ours/same_channel` is a busy channel; `ours/many_channels` goes round 1,000 channels, as a busy agent does. No bench sees
//! a voucher again before thousands of others: a processor that had learned its signature by heart would be up to a twentieth
//! faster, which is not what an agent meets.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot set up has nothing to measure")]

use std::hint::black_box;

use alloy::{
    primitives::{Address, B256, Signature},
    signers::local::PrivateKeySigner,
    sol_types::{SolStruct as _, eip712_domain},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use privatix_channel::{
    Amount, ChannelDescriptor, Domain, SignedVoucher, Voucher, VoucherVerifier, sign_voucher,
};
use secp256k1::{
    Message, PublicKey,
    ecdsa::{self, RecoverableSignature, RecoveryId},
};

mod reference {
    alloy::sol! {
        struct Voucher { bytes32 channelId; uint128 cumulativeAmount; }
    }
}

fn channel(nonce: u64, vouchers: u64) -> (Domain, VoucherVerifier, Vec<SignedVoucher>) {
    let key = PrivateKeySigner::from_bytes(&B256::from(alloy::primitives::U256::from(nonce + 1))).unwrap();
    let domain = Domain::new(1, Address::repeat_byte(0x5c), Address::repeat_byte(0x70));
    let descriptor = ChannelDescriptor {
        client: key.address(),
        agent: Address::repeat_byte(0xa9),
        offering: B256::repeat_byte(0x0f).into(),
        nonce,
        signer: Address::ZERO,
    };
    let channel = descriptor.id(&domain);
    let verifier = VoucherVerifier::new(domain, &descriptor);
    let vouchers = (1..=vouchers)
        .map(|amount| Voucher { channel, cumulative: Amount::from(amount) })
        .map(|voucher| sign_voucher(&key, &domain, voucher).unwrap())
        .collect::<Vec<_>>();
    verifier.verify(&vouchers[0]).unwrap();
    (domain, verifier, vouchers)
}

fn recoverable(voucher: &SignedVoucher) -> RecoverableSignature {
    let bytes = voucher.signature.as_bytes();
    let id = if bytes[64] == 27 { RecoveryId::Zero } else { RecoveryId::One };
    RecoverableSignature::from_compact(&bytes[..64], id).unwrap()
}

fn verify(criterion: &mut Criterion) {
    let (domain, verifier, vouchers) = channel(0, 4_096);
    let many: Vec<_> = (1..=1_000).map(|nonce| channel(nonce, 5)).collect();
    // The first voucher of all channels, the second of all, and so on.
    let in_turn: Vec<_> =
        (0..5).flat_map(|place| many.iter().map(move |one| (&one.1, &one.2[place]))).collect();

    let mut group = criterion.benchmark_group("verify");
    group.throughput(Throughput::Elements(1));

    let mut round = vouchers.iter().cycle();
    group.bench_function("ours/same_channel", |bencher| {
        bencher.iter(|| verifier.verify(black_box(round.next().unwrap())).unwrap());
    });

    let mut round = in_turn.iter().cycle();
    group.bench_function("ours/many_channels", |bencher| {
        bencher.iter(|| {
            let (verifier, voucher) = round.next().unwrap();
            verifier.verify(black_box(voucher)).unwrap();
        });
    });

    let raw: Vec<(RecoverableSignature, ecdsa::Signature, Message, PublicKey)> = in_turn
        .iter()
        .map(|(_, voucher)| {
            let message = Message::from_digest(voucher.voucher.digest(&domain).0);
            let signature = recoverable(voucher);
            (signature, signature.to_standard(), message, signature.recover(message).unwrap())
        })
        .collect();
    let mut round = raw.iter().cycle();
    group.bench_function("limit/libsecp256k1_verify", |bencher| {
        bencher.iter(|| {
            let (_, signature, message, key) = black_box(round.next().unwrap());
            ecdsa::verify(signature, *message, key).unwrap();
        });
    });

    let mut round = raw.iter().cycle();
    group.bench_function("limit/libsecp256k1_recover", |bencher| {
        bencher.iter(|| {
            let (signature, _, message, _) = black_box(round.next().unwrap());
            signature.recover(*message).unwrap()
        });
    });

    let signer = verifier.signer();
    let mut round = vouchers.iter().cycle();
    group.bench_function("peers/alloy_recover", |bencher| {
        bencher.iter(|| {
            let voucher = black_box(round.next().unwrap());
            let domain = eip712_domain! {
                name: "EVM Payment Channel", version: "1", chain_id: 1, verifying_contract: domain.contract(),
            };
            let typed = reference::Voucher {
                channelId: voucher.channel().into(),
                cumulativeAmount: voucher.cumulative().get(),
            };
            let signature = Signature::from_raw(voucher.signature.as_bytes()).unwrap();
            let found = signature.recover_address_from_prehash(&typed.eip712_signing_hash(&domain)).unwrap();
            assert_eq!(found, signer);
        });
    });
    group.finish();
}

criterion_group!(benches, verify);
criterion_main!(benches);
