//! What is signed for the messaging channel counts for one agent, one contract and one session, and nowhere else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use alloy::primitives::{Address, B256};
use privatix_channel::{Amount, ChannelId, Domain, ServiceState, Usage};
use privatix_offering::{
    BindingError, ChannelProof, ExpectedKey, KeyBinding, LeaveProof, MessageSignature, ProofError, Receipt,
    SessionId, SessionKey, SignatureProblem, SignedReceipt, VersionRange,
};
use proptest::prelude::*;
use support::{agent, client, descriptor, domain, key, now};

const HOUR: Duration = Duration::from_hours(1);

fn session_key() -> SessionKey {
    SessionKey::new(B256::repeat_byte(7))
}

fn session() -> SessionId {
    SessionId::new(B256::repeat_byte(0x44))
}

fn versions() -> VersionRange {
    VersionRange::new(1, 2).unwrap()
}

fn binding() -> KeyBinding {
    let (domain, now) = (domain(), now());
    KeyBinding::issue(agent().address(), None, &session_key(), versions(), (&domain, now), &agent()).unwrap()
}

fn expected() -> ExpectedKey {
    ExpectedKey { agent: agent().address(), operator: None, domain: domain(), now: now(), newest: None }
}

fn receipt() -> Receipt {
    Receipt {
        channel: ChannelId::new(B256::repeat_byte(0x33)),
        agent: agent().address(),
        cumulative: Amount::new(5_000),
        used: Usage::new(5_242_880),
        service: ServiceState::Suspended,
        reason: Some("unpaid".parse().unwrap()),
        block: 1_234,
        block_hash: B256::repeat_byte(0x44),
    }
}

fn other_domains() -> [Domain; 2] {
    let (chain, contract, token) = (domain().chain_id(), domain().contract(), domain().token());
    [Domain::new(chain + 1, contract, token), Domain::new(chain, Address::repeat_byte(0x5D), token)]
}

fn wrong_signer(expected: Address) -> SignatureProblem {
    SignatureProblem::WrongSigner { expected }
}

/// The signatures were made with another implementation of EIP-712 and of deterministic ECDSA (Foundry's `cast wallet sign`).
#[test]
fn what_is_signed_are_these_bytes() {
    let signature = |signature: &MessageSignature| *signature.as_bytes();
    let now_binding = binding();
    assert_eq!((now_binding.issued_at, now_binding.expires_at), (1_789_999_200, 1_790_085_600));
    assert_eq!(
        signature(&now_binding.signature),
        alloy::hex!(
            "fd94f194f28789fef28fe6e5a81249b4faf65f7c1b04a5765f3f98830f456dd81ac38ae0128e6c9ac879a55b4501f4ae9c8cfc02cab6bbd620ce65ced11fbda91c"
        )
    );
    let proof = ChannelProof::sign(&descriptor(), &domain(), session(), &client()).unwrap();
    assert_eq!(
        proof.channel.to_string(),
        "0x5332e23e308ab9f1f0e01245692d3b70a0fc7119ae02fe4868ea5333af426146"
    );
    assert_eq!(
        signature(&proof.signature),
        alloy::hex!(
            "8b875e7443bfa717fb7d5165d4ff4c90bfc15b6b8811f8350035dc565f8017981fbdf5e5b1f049f78ae4d6aff4666ce28c2b5e4219aefaf3b6df0883600e46b11b"
        )
    );
    let leave = LeaveProof::sign(&descriptor(), &domain(), session(), Amount::new(5_000), &client()).unwrap();
    assert_eq!(
        signature(&leave.signature),
        alloy::hex!(
            "4ee4acd773c81fb883d8540f3ecff431094aad592afd37cb23c43e221c3b1b9748837d1b6a5e26a886734d4762be41b2c076bf0c95e5fc107c9cf1ea15deb48c1b"
        )
    );
    let receipt = SignedReceipt::sign(receipt(), &domain(), None, &agent()).unwrap();
    assert_eq!(
        signature(receipt.signature()),
        alloy::hex!(
            "611084447127c32248937a92aa5218555872d460334745013bf677f6f27d737f7d5bb3f1015e6ba06bb94497e4c3e5dc31bcb6fb9cfae511e9b3fd7ef0e73feb1c"
        )
    );
}

#[test]
fn a_key_of_another_agent_chain_contract_or_session_is_refused() {
    assert_eq!(binding().verify(&session_key(), &expected()), Ok(()));
    let carried: KeyBinding = serde_json::from_str(&serde_json::to_string(&binding()).unwrap()).unwrap();
    assert_eq!(carried, binding());

    let other = key(0x99).address();
    let asked_for_another = ExpectedKey { agent: other, ..expected() };
    let error = BindingError::OtherAgent { expected: other, found: agent().address() };
    assert_eq!(binding().verify(&session_key(), &asked_for_another), Err(error));

    let wrong = Err(BindingError::Signature(wrong_signer(agent().address())));
    for domain in other_domains() {
        assert_eq!(binding().verify(&session_key(), &ExpectedKey { domain, ..expected() }), wrong);
    }
    assert_eq!(binding().verify(&SessionKey::new(B256::repeat_byte(8)), &expected()), wrong);
    for changed in [
        KeyBinding { versions: VersionRange::exactly(1), ..binding() },
        KeyBinding { issued_at: binding().issued_at + 1, ..binding() },
        KeyBinding { expires_at: binding().expires_at - 1, ..binding() },
    ] {
        assert_eq!(changed.verify(&session_key(), &expected()), wrong, "{changed:?}");
    }
}

#[test]
fn an_operator_signs_while_the_chain_shows_it() {
    let (operator, domain) = (key(0x0B), domain());
    let issue = |known| {
        let of = (&domain, now());
        KeyBinding::issue(agent().address(), known, &session_key(), versions(), of, &operator)
    };
    assert_eq!(issue(None), Err(wrong_signer(agent().address())));
    let binding = issue(Some(operator.address())).unwrap();
    let verify = |operator| binding.verify(&session_key(), &ExpectedKey { operator, ..expected() });
    assert_eq!(verify(Some(operator.address())), Ok(()));
    let wrong = Err(BindingError::Signature(wrong_signer(agent().address())));
    assert_eq!(verify(None), wrong, "before the chain shows it");
    assert_eq!(verify(Some(key(0x0C).address())), wrong, "after it was replaced");
}

/// Signs what a hostile agent likes.
fn signed(issued_at: u64, expires_at: u64) -> KeyBinding {
    use alloy::signers::SignerSync as _;
    use alloy::sol_types::{SolStruct as _, eip712_domain};

    alloy::sol! {
        struct MessagingKey {
            address agent;
            bytes32 key;
            uint16 minVersion;
            uint16 maxVersion;
            uint64 issuedAt;
            uint64 expiresAt;
        }
    }

    let value = MessagingKey {
        agent: agent().address(),
        key: *session_key().as_b256(),
        minVersion: 1,
        maxVersion: 2,
        issuedAt: issued_at,
        expiresAt: expires_at,
    };
    let eip712 = eip712_domain! {
        name: "Privatix Messaging",
        version: "1",
        chain_id: domain().chain_id(),
        verifying_contract: domain().contract(),
    };
    let signature = agent().sign_hash_sync(&value.eip712_signing_hash(&eip712)).unwrap();
    let signature = MessageSignature::from_bytes(&signature.as_bytes()).unwrap();
    KeyBinding { agent: agent().address(), versions: versions(), issued_at, expires_at, signature }
}

#[test]
fn a_key_counts_for_a_day_at_most() {
    let verify = |issued_at, expires_at, newest| {
        signed(issued_at, expires_at).verify(&session_key(), &ExpectedKey { newest, ..expected() })
    };
    let (now, day) = (1_790_000_000, 86_400);
    assert_eq!(verify(now, now + day, None), Ok(()));
    assert_eq!(verify(now, now + day + 1, None), Err(BindingError::Validity { seconds: day + 1 }));
    assert_eq!(verify(now + 1, now, None), Err(BindingError::Validity { seconds: 0 }));
    assert_eq!(verify(now, now, None), Err(BindingError::Validity { seconds: 0 }));
    assert_eq!(verify(0, u64::MAX, None), Err(BindingError::Validity { seconds: u64::MAX }));

    let ahead = KeyBinding::MAX_SKEW.as_secs();
    assert_eq!(verify(now + ahead, now + day, None), Ok(()));
    let issued_at = now + ahead + 1;
    assert_eq!(verify(issued_at, now + day, None), Err(BindingError::FromTheFuture { issued_at, now }));

    assert_eq!(verify(now - day, now + 1, None).map_err(drop), Err(()), "a day and a second");
    assert_eq!(verify(now - 10, now + 1, None), Ok(()));
    assert_eq!(verify(now - 10, now, None), Err(BindingError::Expired { expires_at: now, now }));
}

#[test]
fn an_old_key_does_not_come_back_with_an_old_time() {
    let (expires_at, newest) = (binding().expires_at, binding().expires_at + 1);
    let old = |newest| binding().verify(&session_key(), &ExpectedKey { newest: Some(newest), ..expected() });
    assert_eq!(old(binding().issued_at), Ok(()), "the same again");
    assert_eq!(old(expires_at - 1), Ok(()), "its successor, issued while it counts");
    assert_eq!(old(expires_at), Err(BindingError::Superseded { expires_at, newest: expires_at }));
    assert_eq!(old(newest), Err(BindingError::Superseded { expires_at, newest }));
}

#[test]
fn a_key_from_a_wrong_future_keeps_no_later_one_out() {
    let (now, skew) = (1_790_000_000, KeyBinding::MAX_SKEW.as_secs());
    let remembered = |issued_at| signed(issued_at, issued_at + 86_400).remembered(support::now());
    assert_eq!(remembered(now), now);
    assert_eq!(remembered(now + skew), now + skew);
    assert_eq!(remembered(now + 1_000_000_000), now + skew);
}

#[test]
fn a_key_shows_the_hour_of_its_start_only() {
    let domain = domain();
    let at = |now| {
        KeyBinding::issue(agent().address(), None, &session_key(), versions(), (&domain, now), &agent())
            .unwrap()
            .issued_at
    };
    let hour = now() - Duration::from_secs(800);
    assert_eq!(at(hour), 1_789_999_200);
    assert_eq!(at(hour + HOUR - Duration::from_secs(1)), 1_789_999_200);
    assert_eq!(at(hour + HOUR), 1_790_002_800);
}

#[test]
fn a_proof_counts_in_its_session_and_for_its_channel_only() {
    let (descriptor, domain) = (descriptor(), domain());
    for signer in [client(), key(0x51)] {
        let proof = ChannelProof::sign(&descriptor, &domain, session(), &signer).unwrap();
        assert_eq!(proof.verify(&descriptor, &domain, session()), Ok(()));
        let elsewhere = proof.verify(&descriptor, &domain, SessionId::new(B256::repeat_byte(0x45)));
        assert!(matches!(elsewhere, Err(ProofError::WrongSigner { .. })), "{elsewhere:?}");
        let mut other = descriptor;
        other.nonce += 1;
        let elsewhere = proof.verify(&other, &domain, session());
        assert!(matches!(elsewhere, Err(ProofError::OtherChannel { .. })), "{elsewhere:?}");
        for domain in other_domains() {
            assert!(proof.verify(&descriptor, &domain, session()).is_err());
        }

        // To leave is more than to be there.
        let leave =
            LeaveProof { channel: proof.channel, cumulative: Amount::ZERO, signature: proof.signature };
        assert!(leave.verify(&descriptor, &domain, session()).is_err());
        let leave = LeaveProof::sign(&descriptor, &domain, session(), Amount::new(5), &signer).unwrap();
        assert_eq!(leave.verify(&descriptor, &domain, session()), Ok(()));
        let less = LeaveProof { cumulative: Amount::new(4), ..leave };
        assert!(matches!(less.verify(&descriptor, &domain, session()), Err(ProofError::WrongSigner { .. })));
        let elsewhere = leave.verify(&descriptor, &domain, SessionId::new(B256::repeat_byte(0x45)));
        assert!(matches!(elsewhere, Err(ProofError::WrongSigner { .. })), "{elsewhere:?}");
    }
    let found = Some(agent().address());
    let refused = ChannelProof::sign(&descriptor, &domain, session(), &agent());
    assert_eq!(refused, Err(ProofError::WrongSigner { found }));
    let refused = LeaveProof::sign(&descriptor, &domain, session(), Amount::ZERO, &agent());
    assert_eq!(refused, Err(ProofError::WrongSigner { found }));
}

#[test]
fn a_receipt_is_of_its_agent_or_operator() {
    let (domain, operator) = (domain(), key(0x0B));
    let signed = SignedReceipt::sign(receipt(), &domain, Some(operator.address()), &operator).unwrap();
    let verify = |agent, operator| signed.verify(&domain, agent, operator).cloned();
    assert_eq!(verify(agent().address(), Some(operator.address())), Ok(receipt()));
    assert_eq!(verify(agent().address(), None), Err(wrong_signer(agent().address())));
    let other = operator.address();
    assert_eq!(verify(other, Some(other)), Err(wrong_signer(other)), "it names its agent");
    for domain in other_domains() {
        let verified = signed.verify(&domain, agent().address(), Some(operator.address()));
        assert_eq!(verified, Err(wrong_signer(agent().address())));
    }
}

proptest! {
    #[test]
    fn any_changed_value_of_a_receipt_is_refused(which in 0..8_usize, by in 1..u64::MAX) {
        let signed = SignedReceipt::sign(receipt(), &domain(), None, &agent()).unwrap();
        let mut value = serde_json::to_value(&signed).unwrap();
        let (name, changed) = match which {
            0 => ("channel", serde_json::json!(B256::with_last_byte(1))),
            1 => ("cumulative", serde_json::json!(Amount::new(5_000 + u128::from(by)))),
            2 => ("used", serde_json::json!(Usage::new(5_242_880_u64.wrapping_add(by)))),
            3 => ("service", serde_json::json!("running")),
            4 => ("reason", serde_json::json!("unpaid_")),
            5 => ("block", serde_json::json!(1_234_u64.wrapping_add(by))),
            6 => ("blockHash", serde_json::json!(B256::with_last_byte(1))),
            _ => ("agent", serde_json::json!(Address::repeat_byte(1))),
        };
        prop_assert!(value.get(name).is_some(), "{name} in {value}");
        value[name] = changed;
        let changed: SignedReceipt = serde_json::from_value(value).unwrap();
        prop_assert_eq!(changed.verify(&domain(), agent().address(), None), Err(wrong_signer(agent().address())));
        prop_assert!(signed.verify(&domain(), agent().address(), None).is_ok());
    }
}
