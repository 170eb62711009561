//! Ways in which payment systems lost money through signatures, each as a test that this one does not.
//!
//! Every test names the incident class and a public case of it. The classes in which every signature was good are in
//! `incidents_of_state.rs`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use alloy::{
    primitives::{Address, B256, U256, keccak256},
    signers::{SignerSync as _, local::PrivateKeySigner},
};
use common::*;
use privatix_channel::{
    Accepted, AgentChannel, ChainTime, ChannelEvent, CloseAuthorization, Closure, Domain, Phase,
    RequestClose, SignatureError, SignedRequestClose, SignedVoucher, Voucher, VoucherError, VoucherSignature,
    VoucherVerifier, model::Contract, sign_close, sign_request_close, sign_voucher,
};

/// Order of secp256k1.
const ORDER: U256 =
    alloy::primitives::uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);

fn wrong_signer() -> VoucherError {
    VoucherError::WrongSigner { expected: client_key().address() }
}

/// Well-formed, and nobody's.
fn garbage() -> VoucherSignature {
    let mut bytes = [0x11; 65];
    bytes[64] = 27;
    VoucherSignature::from_bytes(&bytes).unwrap()
}

fn with_amount(signed: SignedVoucher, base_units: u128) -> SignedVoucher {
    SignedVoucher { voucher: Voucher { cumulative: amount(base_units), ..signed.voucher }, ..signed }
}

fn pay(agent: &mut AgentChannel, base_units: u128) {
    let Accepted::New(new) = agent.accept(&voucher(base_units)).unwrap() else { panic!("not new") };
    agent.commit(new).unwrap();
}

/// The agent refuses this voucher with this error, whatever it had before, and nothing changes by it.
#[track_caller]
fn refused(voucher: &SignedVoucher, error: VoucherError) {
    for paid_before in [0, 50] {
        let mut agent = open_agent();
        if paid_before > 0 {
            pay(&mut agent, paid_before);
        }
        let before = (agent.best().copied(), agent.receipt());
        assert_eq!(agent.accept(voucher), Err(error), "with {paid_before} paid before");
        assert_eq!((agent.best().copied(), agent.receipt()), before);
    }
}

// ---------------------------------------------------------------- 1: verification skipped for stale vouchers

/// mpp-rs#130: amount 0 with a garbage signature gave free service on anyone's channel.
#[test]
fn incident_1_a_zero_voucher_with_a_garbage_signature_is_refused() {
    refused(&with_amount(SignedVoucher { signature: garbage(), ..voucher(0) }, 0), wrong_signer());
}

/// The same with an amount that was already paid.
#[test]
fn incident_1_a_stale_voucher_with_a_garbage_signature_is_refused_for_its_signature() {
    refused(&SignedVoucher { signature: garbage(), ..voucher(10) }, wrong_signer());
}

/// An equal amount is no proof of being the voucher that was verified before.
#[test]
fn incident_1_an_equal_amount_with_another_signature_is_verified_again() {
    refused(&SignedVoucher { signature: garbage(), ..voucher(50) }, wrong_signer());
    refused(&with_amount(voucher(49), 50), wrong_signer());
}

/// A zero voucher that is properly signed is acceptable and proves nothing.
#[test]
fn incident_1_a_signed_zero_voucher_buys_nothing() {
    let agent = open_agent();
    let Accepted::Same(receipt) = agent.accept(&voucher(0)).unwrap() else { panic!("zero is not new") };
    assert_eq!(receipt.cumulative(), amount(0));
}

// ---------------------------------------------------------------- 2: envelopes trusted by their claimed address

/// mpp-rs#131, mppx#52: `0x03 || signer || junk` forged any voucher.
#[test]
fn incident_2_an_envelope_that_names_its_signer_is_no_signature() {
    for length in [86, 64, 66, 85, 0, 20] {
        let mut envelope = vec![0x03];
        envelope.extend_from_slice(client_key().address().as_slice());
        envelope.resize(length, 0xee);
        assert_eq!(VoucherSignature::from_bytes(&envelope), Err(SignatureError::WrongLength { length }));
    }
    // Cut to the right length it is still none.
    let mut envelope = vec![0x03];
    envelope.extend_from_slice(client_key().address().as_slice());
    envelope.resize(64, 0x11);
    envelope.push(27);
    let signature = VoucherSignature::from_bytes(&envelope).unwrap();
    refused(&SignedVoucher { signature, ..voucher(70) }, wrong_signer());
}

// ---------------------------------------------------------------- 3: replay

/// mppx#628: vouchers at or below the settled amount still bought service.
#[test]
fn incident_3_a_voucher_replayed_after_settlement_buys_nothing() {
    // An agent that lost its database knows from the chain what was paid.
    let mut agent = open_agent();
    agent.apply(at(2), ChannelEvent::Settled { paid: amount(100) });
    let stale = VoucherError::Stale { cumulative: amount(99), best: amount(100) };
    assert_eq!(agent.accept(&voucher(99)), Err(stale));
    // Kept, as a reorganisation may undo the settlement; but nothing is gained by it.
    let Accepted::New(new) = agent.accept(&voucher(100)).unwrap() else { panic!("100 is to be kept") };
    assert_eq!(new.gained(), amount(0));
    assert_eq!(agent.commit(new).unwrap().cumulative(), amount(100));
    let Accepted::New(new) = agent.accept(&voucher(101)).unwrap() else { panic!("101 is new") };
    assert_eq!(new.gained(), amount(1), "only the difference is gained");
}

/// The same voucher sent again, by whomever, is the same voucher.
#[test]
fn incident_3_a_repeated_voucher_buys_nothing() {
    let mut agent = open_agent();
    pay(&mut agent, 50);
    for _ in 0..3 {
        assert!(matches!(agent.accept(&voucher(50)), Ok(Accepted::Same(_))));
    }
    let stale = VoucherError::Stale { cumulative: amount(40), best: amount(50) };
    assert_eq!(agent.accept(&voucher(40)), Err(stale));
    assert_eq!(agent.proven(), amount(50));
}

/// After the closing nothing can be cashed, so nothing is taken.
#[test]
fn incident_3_a_voucher_after_the_closing_is_refused() {
    let mut agent = open_agent();
    let closure = Closure::ByBoth;
    agent.apply(at(2), ChannelEvent::Closed { paid: amount(10), refund: amount(990), closure });
    let phase = Phase::Closed { closure };
    assert_eq!(agent.accept(&voucher(50)), Err(VoucherError::NotOpen { phase }));
}

// ---------------------------------------------------------------- 4: a pending close goes unseen

/// mppx#142, mpp-rs#250: the server went on serving a buyer that was closing.
#[test]
fn incident_4_a_close_request_stops_service_but_not_payment() {
    let mut agent = open_agent();
    assert!(agent.may_serve());
    let asked = ChannelEvent::CloseRequested { paid: amount(0), ends_at: ChainTime::new(900) };
    agent.apply(at(5), asked);
    assert!(!agent.may_serve());
    assert!(matches!(agent.accept(&voucher(50)), Ok(Accepted::New(_))), "it can still be cashed");
    agent.apply(at(6), ChannelEvent::ToppedUp { deposit: amount(2_000), request_cancelled: true });
    assert!(agent.may_serve(), "the client's top-up takes the request back");
    agent.apply(at(7), asked);
    assert!(!agent.may_serve());
    agent.apply(at(8), ChannelEvent::CloseCancelled);
    assert!(agent.may_serve(), "the client took the request back");
}

// ---------------------------------------------------------------- 5: lost updates

/// mpp-rs#248, #158: a request that started earlier wrote its older state over a newer one.
#[test]
fn incident_5_of_two_vouchers_accepted_side_by_side_the_higher_stays() {
    for order in [[0, 1], [1, 0]] {
        let mut agent = open_agent();
        let accepted = [60, 80].map(|base_units| match agent.accept(&voucher(base_units)).unwrap() {
            Accepted::New(new) => new,
            Accepted::Same(_) => panic!("both are new"),
        });
        for place in order {
            agent.commit(accepted[place]).unwrap();
        }
        assert_eq!(agent.best(), Some(&voucher(80)));
        assert_eq!(agent.receipt().cumulative(), amount(80));
    }
}

/// The client's side of it: whichever of two payments is stored last, the lower one is never sent after the higher.
#[test]
fn incident_5_a_client_never_goes_back_to_a_lower_voucher() {
    let mut client = open_client();
    let signed = [60, 80].map(|due| {
        let proposal = client.propose(amount(due)).unwrap().unwrap();
        proposal.sign(&client_key()).unwrap()
    });
    assert_eq!(client.commit(signed[1]), Ok(voucher(80)));
    assert_eq!(client.commit(signed[0]), Ok(voucher(80)), "what is to be sent now");
    assert_eq!(client.highest(), Some(&voucher(80)));
}

/// A deposit read late does not overwrite a newer one, so a voucher that was good stays good.
#[test]
fn incident_5_an_older_deposit_does_not_overwrite_a_newer_one() {
    let mut agent = AgentChannel::new(domain(), descriptor());
    agent.apply(at(9), ChannelEvent::ToppedUp { deposit: amount(2 * DEPOSIT), request_cancelled: false });
    agent.apply(at(1), opened());
    pay(&mut agent, 2 * DEPOSIT);
    assert_eq!(agent.proven(), amount(2 * DEPOSIT));
}

// ---------------------------------------------------------------- 6: a top-up counted twice

/// solana-foundation/pay-kit#259: no de-duplication by transaction.
#[test]
fn incident_6_a_top_up_seen_twice_counts_once() {
    let mut agent = open_agent();
    for _ in 0..2 {
        agent.apply(at(9), ChannelEvent::ToppedUp { deposit: amount(1_500), request_cancelled: false });
    }
    pay(&mut agent, 1_501);
    assert_eq!(agent.proven(), amount(1_500));
}

// ---------------------------------------------------------------- 8: no domain, one message for two roles

/// microraiden#134: the message lacked the contract's address.
#[test]
fn incident_8_a_voucher_for_another_contract_is_refused() {
    let other = Domain::new(31_337, Address::repeat_byte(0x5d), domain().token());
    let foreign = signed_by(&client_key(), &other, 70);
    let (expected, found) = (descriptor().id(&domain()), descriptor().id(&other));
    assert_ne!(expected, found);
    refused(&foreign, VoucherError::WrongChannel { expected, found });
    // Passed off as ours, its signature is over another domain.
    refused(&SignedVoucher { voucher: voucher(70).voucher, ..foreign }, wrong_signer());
    // Even the very same channel id signed under the other domain does not count.
    let same_id = sign_voucher(&client_key(), &other, voucher(70).voucher).unwrap();
    refused(&same_id, wrong_signer());
}

/// microraiden#198: the client's proof and the agent's closing agreement were the same bytes.
#[test]
fn incident_8_a_close_signature_is_no_voucher_and_a_voucher_no_close() {
    // A client that also is the agent of the same key would otherwise sign both at once.
    let Voucher { channel, cumulative } = voucher(70).voucher;
    let authorization = CloseAuthorization { channel, cumulative, nonce: 0, deadline: ChainTime::MAX };
    let close = sign_close(&client_key(), &domain(), authorization).unwrap();
    refused(&SignedVoucher { signature: close.signature, ..voucher(70) }, wrong_signer());

    assert!(close.is_signed_by(client_key().address(), &domain()));
    let swapped = privatix_channel::SignedClose { authorization, signature: voucher(70).signature };
    assert!(!swapped.is_signed_by(client_key().address(), &domain()));
}

/// A consent is none for a request of the client's side, and the other way round, though both have the same fields.
#[test]
fn incident_8_a_close_signature_is_no_close_request() {
    let Voucher { channel, cumulative } = voucher(70).voucher;
    let (nonce, deadline) = (4, ChainTime::new(9));
    let authorization = CloseAuthorization { channel, cumulative, nonce, deadline };
    let request = RequestClose { channel, admitted: cumulative, nonce, deadline };
    let close = sign_close(&client_key(), &domain(), authorization).unwrap();
    let asked = sign_request_close(&client_key(), &domain(), request).unwrap();
    assert!(asked.is_of(&descriptor(), &domain()));
    assert!(!SignedRequestClose { request, signature: close.signature }.is_of(&descriptor(), &domain()));
    let swapped = privatix_channel::SignedClose { authorization, signature: asked.signature };
    assert!(!swapped.is_signed_by(client_key().address(), &domain()));
    // Nor is it for another channel, nor by whom the channel does not name.
    let named = privatix_channel::ChannelDescriptor { signer: key(0x77).address(), ..descriptor() };
    assert!(!asked.is_of(&named, &domain()));
    let by_client = RequestClose { channel: named.id(&domain()), ..request };
    let by_client = sign_request_close(&client_key(), &domain(), by_client).unwrap();
    assert!(!by_client.is_of(&named, &domain()));
    assert!(sign_request_close(&key(0x77), &domain(), by_client.request).unwrap().is_of(&named, &domain()));
}

/// A consent binds the agent by its own key or by its operator's, as the chain shows it, and by nobody else's.
#[test]
fn a_consent_binds_by_the_agents_key_or_its_operators() {
    let Voucher { channel, cumulative } = voucher(70).voucher;
    let authorization = CloseAuthorization { channel, cumulative, nonce: 1, deadline: ChainTime::new(9) };
    let (agent, operator) = (agent_key().address(), key(0x0b));
    let by_agent = sign_close(&agent_key(), &domain(), authorization).unwrap();
    let by_operator = sign_close(&operator, &domain(), authorization).unwrap();
    assert!(by_agent.binds(agent, None, &domain()));
    assert!(by_agent.binds(agent, Some(operator.address()), &domain()));
    assert!(by_operator.binds(agent, Some(operator.address()), &domain()));
    assert!(!by_operator.binds(agent, None, &domain()));
    assert!(!by_operator.binds(agent, Some(key(0x0c).address()), &domain()));
    assert!(!by_operator.binds(agent, Some(Address::ZERO), &domain()));
}

/// The agent's signature is not the client's.
#[test]
fn incident_8_a_voucher_signed_by_the_agent_is_refused() {
    refused(&signed_by(&agent_key(), &domain(), 70), wrong_signer());
}

/// The old contract's label-and-personal-message proofs (and any `personal_sign`) mean nothing.
#[test]
fn incident_8_a_personal_message_signature_is_refused() {
    let digest = voucher(70).voucher.digest(&domain());
    for signature in [
        client_key().sign_message_sync(digest.as_slice()).unwrap(),
        client_key().sign_hash_sync(&keccak256(b"sender balance proof")).unwrap(),
    ] {
        refused(&SignedVoucher { signature: signature.try_into().unwrap(), ..voucher(70) }, wrong_signer());
    }
}

// ---------------------------------------------------------------- 9: no chain id

/// The original service contract: a proof was good on every chain with the contract at that address.
#[test]
fn incident_9_a_voucher_for_another_chain_is_refused() {
    let other = Domain::new(1, domain().contract(), domain().token());
    let foreign = signed_by(&client_key(), &other, 70);
    let (expected, found) = (descriptor().id(&domain()), descriptor().id(&other));
    refused(&foreign, VoucherError::WrongChannel { expected, found });
    refused(&SignedVoucher { voucher: voucher(70).voucher, ..foreign }, wrong_signer());
    let same_id = sign_voucher(&client_key(), &other, voucher(70).voucher).unwrap();
    refused(&same_id, wrong_signer());
    // On a fork the channel has the same id, and the signature is for the fork alone.
    let fork = signed_by(&client_key(), &domain().on_chain(1), 70);
    assert_eq!(fork.channel(), expected);
    refused(&fork, wrong_signer());
}

/// A close is bound to its chain and contract too.
#[test]
fn incident_9_a_close_for_another_chain_or_contract_is_refused() {
    let Voucher { channel, cumulative } = voucher(70).voucher;
    let authorization = CloseAuthorization { channel, cumulative, nonce: 0, deadline: ChainTime::MAX };
    let close = sign_close(&agent_key(), &domain(), authorization).unwrap();
    assert!(close.is_signed_by(agent_key().address(), &domain()));
    assert!(!close.is_signed_by(client_key().address(), &domain()));
    for other in [
        Domain::new(1, domain().contract(), domain().token()),
        domain().on_chain(1),
        Domain::new(31_337, Address::repeat_byte(0x5d), domain().token()),
    ] {
        assert!(!close.is_signed_by(agent_key().address(), &other));
    }
}

// ---------------------------------------------------------------- other channels, other values

/// A voucher counts for its channel only: not for the same parties' next one, nor under another token or signer.
#[test]
fn a_voucher_of_another_channel_is_refused() {
    let mine = descriptor();
    let others = [
        privatix_channel::ChannelDescriptor { nonce: 2, ..mine },
        privatix_channel::ChannelDescriptor { offering: B256::repeat_byte(0x0e).into(), ..mine },
        privatix_channel::ChannelDescriptor { agent: client_key().address(), ..mine },
        privatix_channel::ChannelDescriptor { client: agent_key().address(), ..mine },
        privatix_channel::ChannelDescriptor { signer: client_key().address(), ..mine },
    ];
    for other in others {
        let id = other.id(&domain());
        let foreign =
            sign_voucher(&client_key(), &domain(), Voucher { channel: id, cumulative: amount(70) }).unwrap();
        refused(&foreign, VoucherError::WrongChannel { expected: mine.id(&domain()), found: id });
        refused(&SignedVoucher { voucher: voucher(70).voucher, ..foreign }, wrong_signer());
    }
    let other_token = Domain::new(31_337, domain().contract(), Address::repeat_byte(0x71));
    assert_ne!(mine.id(&domain()), mine.id(&other_token));
}

/// A signature over one amount does not serve for another.
#[test]
fn a_voucher_with_a_changed_amount_is_refused() {
    for changed in [59, 61, 999, 1_000] {
        refused(&with_amount(voucher(60), changed), wrong_signer());
    }
}

/// A voucher is a ceiling, as in the contract: it proves what the deposit covers, and more after a top-up.
#[test]
fn a_voucher_above_the_deposit_proves_the_deposit() {
    for above in [DEPOSIT + 1, u128::MAX] {
        let mut agent = open_agent();
        pay(&mut agent, 100);
        let Accepted::New(new) = agent.accept(&voucher(above)).unwrap() else { panic!("not new") };
        assert_eq!(new.gained(), amount(DEPOSIT - 100));
        let receipt = agent.commit(new).unwrap();
        assert_eq!(receipt.cumulative(), amount(DEPOSIT), "no more is acknowledged than the contract pays");
        assert_eq!((agent.proven(), agent.claimable()), (amount(DEPOSIT), amount(DEPOSIT)));
        let stale = VoucherError::Stale { cumulative: amount(DEPOSIT), best: amount(above) };
        assert_eq!(agent.accept(&voucher(DEPOSIT)), Err(stale));

        agent.apply(at(2), ChannelEvent::ToppedUp { deposit: amount(DEPOSIT + 7), request_cancelled: false });
        assert_eq!(agent.proven(), amount((DEPOSIT + 7).min(above)));
    }
}

/// A reorganisation removes a top-up under the only voucher: it still brings the deposit, and the rest when the top-up is back.
#[test]
fn a_top_up_undone_by_a_reorganisation_leaves_the_voucher_its_worth() {
    let mut agent = open_agent();
    let topped_up = ChannelEvent::ToppedUp { deposit: amount(2 * DEPOSIT), request_cancelled: false };
    agent.apply(at(2), topped_up);
    pay(&mut agent, 2 * DEPOSIT);
    agent.reset_chain(*open_agent().on_chain());
    assert_eq!((agent.proven(), agent.claimable()), (amount(DEPOSIT), amount(DEPOSIT)));
    // The chain pays it, and then the top-up comes back.
    agent.apply(at(3), ChannelEvent::Settled { paid: amount(DEPOSIT) });
    assert_eq!(agent.claimable(), amount(0));
    agent.apply(at(4), topped_up);
    assert_eq!((agent.proven(), agent.claimable()), (amount(2 * DEPOSIT), amount(DEPOSIT)));
}

#[test]
fn a_voucher_of_a_channel_that_is_not_open_yet_is_refused() {
    let agent = AgentChannel::new(domain(), descriptor());
    let phase = Phase::Unopened;
    assert_eq!(agent.accept(&voucher(50)), Err(VoucherError::NotOpen { phase }));
}

// ---------------------------------------------------------------- strict signatures

/// The original service contract took both spellings of a signature.
#[test]
fn a_high_s_signature_is_refused() {
    let mut bytes = *voucher(70).signature.as_bytes();
    let s = U256::from_be_slice(&bytes[32..64]);
    bytes[32..64].copy_from_slice(&(ORDER - s).to_be_bytes::<32>());
    bytes[64] = 27 + 28 - bytes[64];
    assert_eq!(VoucherSignature::from_bytes(&bytes), Err(SignatureError::HighS));
}

/// A key that makes high-s signatures (many hardware keys do) is normalised by its owner's side.
#[test]
fn our_own_signatures_are_low_s() {
    struct HighS(PrivateKeySigner);
    impl alloy::signers::SignerSync for HighS {
        fn sign_hash_sync(&self, hash: &B256) -> alloy::signers::Result<alloy::primitives::Signature> {
            let low = self.0.sign_hash_sync(hash)?;
            Ok(alloy::primitives::Signature::new(low.r(), ORDER - low.s(), !low.v()))
        }
        fn chain_id_sync(&self) -> Option<u64> {
            None
        }
    }
    let signed = sign_voucher(&HighS(client_key()), &domain(), voucher(70).voucher).unwrap();
    assert_eq!(signed, voucher(70));
}

/// EIP-2098's 64 bytes, and anything else that is not 65.
#[test]
fn a_compact_signature_is_refused() {
    let bytes = *voucher(70).signature.as_bytes();
    let mut compact = bytes[..64].to_vec();
    compact[32] |= (bytes[64] - 27) << 7;
    assert_eq!(VoucherSignature::from_bytes(&compact), Err(SignatureError::WrongLength { length: 64 }));
    let mut long = bytes.to_vec();
    long.push(0);
    assert_eq!(VoucherSignature::from_bytes(&long), Err(SignatureError::WrongLength { length: 66 }));
    assert_eq!(VoucherSignature::from_bytes(&[]), Err(SignatureError::WrongLength { length: 0 }));
}

#[test]
fn only_27_and_28_are_recovery_bytes() {
    let mut bytes = *voucher(70).signature.as_bytes();
    for v in (0..=u8::MAX).filter(|v| ![27, 28].contains(v)) {
        bytes[64] = v;
        assert_eq!(VoucherSignature::from_bytes(&bytes), Err(SignatureError::BadV { v }));
    }
}

/// With the wrong one of the two the contract would recover another address, so the agent must not take it, even though the
/// rest of the signature is the client's and its key is known.
#[test]
fn the_other_recovery_byte_is_refused_with_the_key_known_too() {
    let mut bytes = *voucher(70).signature.as_bytes();
    bytes[64] = 27 + 28 - bytes[64];
    let signature = VoucherSignature::from_bytes(&bytes).unwrap();
    refused(&SignedVoucher { signature, ..voucher(70) }, wrong_signer());
}

#[test]
fn parts_out_of_range_are_refused() {
    let good = *voucher(70).signature.as_bytes();
    for (place, part) in [(0, "r"), (32, "s")] {
        for value in [U256::ZERO, ORDER, U256::MAX] {
            let mut bytes = good;
            bytes[place..place + 32].copy_from_slice(&value.to_be_bytes::<32>());
            assert_eq!(VoucherSignature::from_bytes(&bytes), Err(SignatureError::OutOfRange { part }));
        }
    }
}

/// `ecrecover` answers zero for nonsense: a zero signer would make nonsense valid.
#[test]
fn the_zero_address_signs_nothing() {
    let zero = privatix_channel::ChannelDescriptor { client: Address::ZERO, ..descriptor() };
    let verifier = VoucherVerifier::new(domain(), &zero);
    assert!(verifier.signer().is_zero());
    for signature in [garbage(), voucher(70).signature] {
        let voucher = Voucher { channel: verifier.channel(), cumulative: amount(70) };
        let error = VoucherError::WrongSigner { expected: Address::ZERO };
        assert_eq!(verifier.verify(&SignedVoucher { voucher, signature }), Err(error));
    }
    let Voucher { channel, cumulative } = voucher(70).voucher;
    let authorization = CloseAuthorization { channel, cumulative, nonce: 0, deadline: ChainTime::MAX };
    let close = privatix_channel::SignedClose { authorization, signature: garbage() };
    assert!(!close.is_signed_by(Address::ZERO, &domain()));
}

/// Where the client names a hot key, the hot key signs, and the client's own key does not.
#[test]
fn only_the_named_signer_signs() {
    let hot = key(0x77);
    let named = privatix_channel::ChannelDescriptor { signer: hot.address(), ..descriptor() };
    let verifier = VoucherVerifier::new(domain(), &named);
    let voucher = Voucher { channel: verifier.channel(), cumulative: amount(70) };
    verifier.verify(&sign_voucher(&hot, &domain(), voucher).unwrap()).unwrap();
    let error = VoucherError::WrongSigner { expected: hot.address() };
    assert_eq!(verifier.verify(&sign_voucher(&client_key(), &domain(), voucher).unwrap()), Err(error));
}

/// Every single-bit change of a signature is refused, with and without the key known.
#[test]
fn a_signature_with_one_bit_changed_is_refused() {
    let good = voucher(70);
    let mut known = open_agent();
    pay(&mut known, 50);
    for bit in 0..65 * 8 {
        let mut bytes = *good.signature.as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(signature) = VoucherSignature::from_bytes(&bytes) else { continue };
        let changed = SignedVoucher { signature, ..good };
        assert_eq!(known.accept(&changed), Err(wrong_signer()), "bit {bit}");
        assert_eq!(open_agent().accept(&changed), Err(wrong_signer()), "bit {bit}");
    }
}

/// A garbage voucher among good ones delays nobody: the best good one counts.
#[test]
fn a_forged_high_voucher_does_not_hide_the_good_ones() {
    let forged = SignedVoucher { signature: garbage(), ..voucher(900) };
    let queue = [voucher(10), forged, voucher(30), voucher(20)];
    let queued = open_agent().accept_newest(&queue);
    assert_eq!(queued.refused, [(1, wrong_signer())]);
    let Some((2, Accepted::New(new))) = queued.accepted else { panic!("{queued:?}") };
    assert_eq!(new.voucher(), &voucher(30));
}

/// What the agent accepts the contract pays, and the other way round: the model checks signatures like the contract.
#[test]
fn agent_and_contract_agree_on_every_signature_here() {
    use privatix_channel::{
        Terms,
        model::{Call, Source},
    };

    let (client, agent) = (descriptor().client, descriptor().agent);
    let mut contract = Contract::new(domain(), key(1).address(), Terms::TEST);
    for account in [client, agent] {
        contract.fund(account, amount(DEPOSIT));
        contract.call(account, &Call::Deposit { amount: amount(DEPOSIT) }).unwrap();
    }
    let offering = descriptor().offering;
    let source = Source::default();
    let register = Call::RegisterOffering { offering, min_deposit: amount(1), supply: 1, source };
    contract.call(agent, &register).unwrap();
    let open = Call::Open { agent, offering, nonce: 1, signer: Address::ZERO, amount: amount(DEPOSIT) };
    contract.call(client, &open).unwrap();

    let other = Domain::new(1, domain().contract(), domain().token());
    let mut flipped = *voucher(70).signature.as_bytes();
    flipped[64] = 27 + 28 - flipped[64];
    let flipped = VoucherSignature::from_bytes(&flipped).unwrap();
    let candidates = [
        voucher(70),
        voucher(DEPOSIT),
        voucher(DEPOSIT + 1),
        SignedVoucher { signature: garbage(), ..voucher(70) },
        SignedVoucher { signature: flipped, ..voucher(70) },
        with_amount(voucher(70), 71),
        signed_by(&agent_key(), &domain(), 70),
        sign_voucher(&client_key(), &other, voucher(70).voucher).unwrap(),
    ];
    for candidate in candidates {
        let (descriptor, cumulative) = (descriptor(), candidate.cumulative());
        let signature = candidate.signature.as_bytes().to_vec();
        let settled = contract.clone().call(agent, &Call::Settle { descriptor, cumulative, signature });
        assert_eq!(open_agent().accept(&candidate).is_ok(), settled.is_ok(), "{candidate:?}: {settled:?}");
    }
}
