//! Access reaches the client that asked for it and nobody else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes};
use privatix_channel::{ChannelDescriptor, Domain, OfferingHash};
use privatix_offering::{
    AccessContext, AccessError, AccessKey, AccessMessage, AccessRequest, DescribedAccessRequest, Endpoint,
    JsonError, MAX_ACCESS_DATA, MAX_ACCESS_SIZE, Password, RecipientKey, ReplayGuard, RequestError,
    SealedAccess, SignatureProblem, Template, Templates, proxy,
};
use proptest::prelude::*;
use serde_json::json;
use support::{access, agent, client, context, descriptor, domain, key, now, resigned};

const MAX_AGE: Duration = Duration::from_mins(5);

fn seal(message: &AccessMessage, recipient: RecipientKey) -> Result<SealedAccess, AccessError> {
    SealedAccess::seal(message, recipient, &context(), &Templates::builtin(), &agent())
}

fn open(sealed: &SealedAccess, key: &AccessKey) -> Result<AccessMessage, AccessError> {
    sealed.open(key, &context(), &Templates::builtin())
}

fn request() -> AccessRequest {
    AccessRequest::sign(&descriptor(), &domain(), AccessKey::generate().public(), now(), &client()).unwrap()
}

#[test]
fn what_the_agent_seals_the_client_opens() {
    let key = AccessKey::generate();
    let sealed = seal(&access(), key.public()).unwrap();
    let carried: SealedAccess = serde_json::from_str(&serde_json::to_string(&sealed).unwrap()).unwrap();
    assert_eq!(carried, sealed);
    let opened = open(&carried, &key).unwrap();
    assert_eq!(opened, access());
    assert_eq!(opened.password.expose(), "correct horse");
}

#[test]
fn no_secret_is_readable_on_the_way() {
    let sealed = seal(&access(), AccessKey::generate().public()).unwrap();
    let contains = |secret: &[u8]| sealed.ciphertext.windows(secret.len()).any(|window| window == secret);
    assert!(!contains(b"correct horse") && !contains(b"203.0.113.7") && !contains(b"password"));
}

#[test]
fn every_sealing_is_fresh() {
    let key = AccessKey::generate();
    let (first, second) = (seal(&access(), key.public()).unwrap(), seal(&access(), key.public()).unwrap());
    assert_ne!(first.encapsulated, second.encapsulated);
    assert_ne!(first.ciphertext, second.ciphertext);
    assert_ne!(AccessKey::generate().public(), key.public());
}

#[test]
fn access_sealed_for_another_key_is_refused() {
    let (ours, theirs) = (AccessKey::generate(), AccessKey::generate());
    let sealed = seal(&access(), theirs.public()).unwrap();
    let error = open(&sealed, &ours).unwrap_err();
    assert_eq!(error, AccessError::OtherKey { expected: ours.public(), found: theirs.public() });
    assert!(error.to_string().ends_with("; ask the agent again"), "{error}");

    // Relabelled as ours it is no longer what the agent signed.
    let relabelled = SealedAccess { recipient: ours.public(), ..sealed };
    let expected = SignatureProblem::WrongSigner { expected: agent().address() };
    assert_eq!(open(&relabelled, &ours), Err(AccessError::Signature(expected)));
}

#[test]
fn an_agent_that_signs_what_does_not_open_is_found_out() {
    // Sealed in another context (another offering), then presented for a channel of that agent.
    let key = AccessKey::generate();
    let other = AccessContext { offering_template: proxy::offering_template(), ..context() };
    let sealed =
        SealedAccess::seal(&access(), key.public(), &other, &Templates::builtin(), &agent()).unwrap();
    let mut bytes = sealed.ciphertext.to_vec();
    bytes[0] ^= 1;
    let spoilt = resigned(&SealedAccess { ciphertext: Bytes::from(bytes), ..sealed });
    assert_eq!(open(&spoilt, &key), Err(AccessError::Unsealable));
}

#[test]
fn the_signature_is_plain_eip_712() {
    let sealed = seal(&access(), AccessKey::generate().public()).unwrap();
    assert_eq!(resigned(&sealed), sealed);
}

#[test]
fn somebody_elses_signature_is_refused() {
    let key = AccessKey::generate();
    let error = SealedAccess::seal(&access(), key.public(), &context(), &Templates::builtin(), &client());
    let expected = AccessError::Signature(SignatureProblem::WrongSigner { expected: agent().address() });
    assert_eq!(error, Err(expected.clone()));
    assert_eq!(
        expected.to_string(),
        format!(
            "the access's signature is refused: not signed by {} or its operator over these bytes",
            agent().address()
        )
    );
}

#[test]
fn an_operators_signature_counts_while_the_chain_shows_it() {
    let key = AccessKey::generate();
    let operated = AccessContext { operator: Some(client().address()), ..context() };
    let templates = Templates::builtin();
    let sealed = SealedAccess::seal(&access(), key.public(), &operated, &templates, &client()).unwrap();
    assert_eq!(sealed.open(&key, &operated, &templates).unwrap(), access());
    let refused = AccessError::Signature(SignatureProblem::WrongSigner { expected: agent().address() });
    assert_eq!(sealed.open(&key, &context(), &templates), Err(refused), "no operator is shown any more");
    // The agent's own signature counts with or without an operator.
    let own = seal(&access(), key.public()).unwrap();
    assert_eq!(own.open(&key, &operated, &templates).unwrap(), access());
}

#[test]
fn access_of_another_channel_chain_or_contract_is_refused() {
    let key = AccessKey::generate();
    let sealed = seal(&access(), key.public()).unwrap();
    let elsewhere = [
        AccessContext { descriptor: ChannelDescriptor { nonce: 8, ..descriptor() }, ..context() },
        AccessContext { domain: Domain::new(1, domain().contract(), domain().token()), ..context() },
        AccessContext { domain: Domain::new(31_337, Address::ZERO, domain().token()), ..context() },
    ];
    for other in elsewhere {
        let error = sealed.open(&key, &other, &Templates::builtin()).unwrap_err();
        assert_eq!(
            error,
            AccessError::WrongChannel { expected: other.channel(), found: context().channel() }
        );
        // Relabelled, it is no longer what the agent signed.
        let relabelled = SealedAccess { channel: other.channel(), ..sealed.clone() };
        let error = relabelled.open(&key, &other, &Templates::builtin()).unwrap_err();
        assert!(matches!(error, AccessError::Signature(_)), "{error:?}");
    }
    let message = AccessMessage { channel: B256::ZERO.into(), ..access() };
    let error = seal(&message, key.public()).unwrap_err();
    assert!(matches!(error, AccessError::WrongChannel { .. }), "{error:?}");
}

#[test]
fn an_unusable_recipient_key_is_refused() {
    // The points of small order: a shared secret would be known to everybody.
    for point in [B256::ZERO, B256::with_last_byte(0) | one()] {
        assert_eq!(seal(&access(), RecipientKey::new(point)), Err(AccessError::RecipientKey));
    }
}

/// The number one as X25519 writes it: little-endian.
fn one() -> B256 {
    let mut bytes = B256::ZERO;
    bytes[0] = 1;
    bytes
}

/// A change that spoils a message.
type Change = fn(&mut AccessMessage);

fn change_endpoint(message: &mut AccessMessage, field: &str, value: serde_json::Value) {
    let mut endpoint = message.endpoint.expose().clone();
    endpoint[field] = value;
    message.endpoint = Endpoint::new(endpoint);
}

fn seal_refused(change: impl FnOnce(&mut AccessMessage)) -> AccessError {
    let mut message = access();
    change(&mut message);
    seal(&message, AccessKey::generate().public()).unwrap_err()
}

#[test]
fn a_message_that_does_not_fit_its_template_is_refused_without_quoting_it() {
    let cases: [(Change, &str); 6] = [
        (|message| message.password = Password::new(""), "/password: "),
        (|message| message.username = String::new(), "/username: "),
        (|message| message.endpoint = Endpoint::new(json!("hunter2")), "/endpoint: "),
        (|message| change_endpoint(message, "port", json!("hunter2")), "/endpoint/port: "),
        (|message| change_endpoint(message, "hunter3", json!("hunter2")), "/endpoint/hunter3: unknown field"),
        (
            |message| message.endpoint = Endpoint::new(json!({ "port": 1, "protocols": ["http"] })),
            "/endpoint/host: missing",
        ),
    ];
    for (change, expected) in cases {
        let error = seal_refused(change).to_string();
        let expected = format!("the access message does not fit its template: {expected}");
        assert!(error.starts_with(&expected), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn unknown_templates_and_other_products_are_refused() {
    let template = B256::repeat_byte(3);
    let error = seal_refused(|message| message.template = template);
    assert_eq!(error, AccessError::UnknownTemplate { template });
    let error = seal_refused(|message| message.template = proxy::offering_template());
    assert_eq!(error, AccessError::UnknownTemplate { template: proxy::offering_template() });

    let mut templates = Templates::builtin();
    let other = Template::parse(
        br#"{"kind":"access","name":"VPN","product":"7f3df6a1-93be-4a51-8d02-1b1b8b1f0c11","schema":{}}"#,
    )
    .unwrap();
    let found = other.product();
    let template = templates.insert(other);
    let message = AccessMessage { template, ..access() };
    let key = AccessKey::generate();
    let error = SealedAccess::seal(&message, key.public(), &context(), &templates, &agent()).unwrap_err();
    assert_eq!(error, AccessError::WrongProduct { expected: proxy::PRODUCT, found });
}

#[test]
fn sizes_and_depth_are_bounded_on_both_sides() {
    let error = seal_refused(|message| change_endpoint(message, "host", json!("x".repeat(MAX_ACCESS_SIZE))));
    assert!(
        matches!(error, AccessError::Fields(_) | AccessError::Json(JsonError::TooLarge { .. })),
        "{error:?}"
    );

    let key = AccessKey::generate();
    let sealed = seal(&access(), key.public()).unwrap();
    let size = MAX_ACCESS_SIZE + 17;
    let huge = SealedAccess { ciphertext: Bytes::from(vec![0; size]), ..sealed };
    let limit = MAX_ACCESS_SIZE + 16;
    assert_eq!(open(&huge, &key), Err(AccessError::Json(JsonError::TooLarge { size, limit })));
}

#[test]
fn a_request_by_the_client_or_its_voucher_signer_is_accepted() {
    for signer in [client(), key(0x51)] {
        let request =
            AccessRequest::sign(&descriptor(), &domain(), AccessKey::generate().public(), now(), &signer)
                .unwrap();
        let carried: AccessRequest = serde_json::from_str(&serde_json::to_string(&request).unwrap()).unwrap();
        assert_eq!(carried.verify(&descriptor(), &domain(), now(), MAX_AGE), Ok(()));
    }
}

#[test]
fn a_request_by_anybody_else_is_refused() {
    let stranger = key(0x99);
    let refused = RequestError::WrongSigner { found: Some(stranger.address()) };
    let recipient = AccessKey::generate().public();
    let signed = AccessRequest::sign(&descriptor(), &domain(), recipient, now(), &stranger);
    assert_eq!(signed, Err(refused.clone()));

    // The stranger signs for a channel of its own and presents that for ours.
    let own = ChannelDescriptor { client: stranger.address(), signer: Address::ZERO, ..descriptor() };
    let theirs = AccessRequest::sign(&own, &domain(), recipient, now(), &stranger).unwrap();
    let error = theirs.verify(&descriptor(), &domain(), now(), MAX_AGE).unwrap_err();
    assert_eq!(
        error,
        RequestError::WrongChannel { expected: descriptor().id(&domain()), found: own.id(&domain()) }
    );
    let relabelled = AccessRequest { channel: descriptor().id(&domain()), ..theirs };
    let error = relabelled.verify(&descriptor(), &domain(), now(), MAX_AGE).unwrap_err();
    assert!(matches!(error, RequestError::WrongSigner { .. }), "{error:?}");
    assert!(
        error.to_string().starts_with("the access request is not signed by the channel's client"),
        "{error}"
    );
}

#[test]
fn a_request_for_another_chain_or_contract_is_refused() {
    let request = request();
    for other in [
        Domain::new(1, domain().contract(), domain().token()),
        Domain::new(31_337, Address::ZERO, domain().token()),
    ] {
        let error = request.verify(&descriptor(), &other, now(), MAX_AGE).unwrap_err();
        assert!(matches!(error, RequestError::WrongChannel { .. }), "{error:?}");
        let relabelled = AccessRequest { channel: descriptor().id(&other), ..request.clone() };
        let error = relabelled.verify(&descriptor(), &other, now(), MAX_AGE).unwrap_err();
        assert!(matches!(error, RequestError::WrongSigner { .. }), "{error:?}");
    }
}

#[test]
fn a_redirected_or_redated_request_is_refused() {
    let request = request();
    let redirected = AccessRequest { recipient: AccessKey::generate().public(), ..request.clone() };
    let redated = AccessRequest { issued_at: request.issued_at + 1, ..request };
    for changed in [redirected, redated] {
        let error = changed.verify(&descriptor(), &domain(), now(), MAX_AGE).unwrap_err();
        assert!(matches!(error, RequestError::WrongSigner { .. }), "{error:?}");
    }
}

#[test]
fn an_old_or_future_request_is_refused() {
    let request = request();
    let verify = |at| request.verify(&descriptor(), &domain(), at, MAX_AGE);
    assert_eq!(verify(now() + MAX_AGE), Ok(()));
    assert_eq!(verify(now() - MAX_AGE), Ok(()));
    let away = MAX_AGE + Duration::from_millis(1);
    assert_eq!(verify(now() + away), Err(RequestError::Stale { away, max_age: MAX_AGE }));
    assert_eq!(verify(now() - away), Err(RequestError::Stale { away, max_age: MAX_AGE }));
    assert_eq!(
        verify(now() + away).unwrap_err().to_string(),
        "the access request is 300.001s away from the agent's clock, more than 300s; set the clocks and ask again"
    );
}

#[test]
fn a_request_is_answered_once() {
    let mut guard = ReplayGuard::new(MAX_AGE);
    let at = |millis| AccessRequest { issued_at: request().issued_at + millis, ..request() };
    assert_eq!(guard.accept(&at(5), now()), Ok(()));
    let replayed = RequestError::Replayed { channel: request().channel };
    assert_eq!(guard.accept(&at(5), now()), Err(replayed.clone()));
    assert_eq!(guard.accept(&at(4), now()), Err(replayed));
    assert_eq!(guard.accept(&at(6), now()), Ok(()));
    // Other channels are not concerned.
    let other = AccessRequest { channel: B256::repeat_byte(1).into(), ..at(1) };
    assert_eq!(guard.accept(&other, now()), Ok(()));
}

#[test]
fn the_guard_remembers_as_long_as_a_request_can_be_used() {
    let mut guard = ReplayGuard::new(MAX_AGE);
    let request = request();
    guard.accept(&request, now()).unwrap();
    let last_chance = now() + MAX_AGE;
    assert_eq!(request.verify(&descriptor(), &domain(), last_chance, MAX_AGE), Ok(()));
    assert!(matches!(guard.accept(&request, last_chance), Err(RequestError::Replayed { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_access_survives_the_way(username in "\\PC{1,60}", password in "\\PC{1,60}", port in 1..=u16::MAX) {
        let mut message = access();
        message.username = username;
        message.password = Password::new(password);
        change_endpoint(&mut message, "port", json!(port));
        let key = AccessKey::generate();
        prop_assert_eq!(open(&seal(&message, key.public()).unwrap(), &key).unwrap(), message);
    }

    #[test]
    fn any_changed_byte_of_sealed_access_is_refused(at in any::<proptest::sample::Index>(), flip in 1..=255_u8) {
        let key = AccessKey::generate();
        let sealed = seal(&access(), key.public()).unwrap();
        let mut changed = sealed.clone();
        // One flat view of everything: channel, recipient, encapsulated key, ciphertext, signature.
        let (mut channel, mut recipient) = (B256::from(sealed.channel), *sealed.recipient.as_b256());
        let mut ciphertext = sealed.ciphertext.to_vec();
        let mut signature = *sealed.signature.as_bytes();
        let at = at.index(96 + ciphertext.len() + 65);
        match at {
            0..32 => channel[at] ^= flip,
            32..64 => recipient[at - 32] ^= flip,
            64..96 => changed.encapsulated[at - 64] ^= flip,
            _ if at < 96 + ciphertext.len() => ciphertext[at - 96] ^= flip,
            _ => signature[at - 96 - sealed.ciphertext.len()] ^= flip,
        }
        changed.channel = channel.into();
        changed.recipient = RecipientKey::new(recipient);
        changed.ciphertext = Bytes::from(ciphertext);
        if let Ok(signature) = privatix_offering::MessageSignature::from_bytes(&signature) {
            changed.signature = signature;
            prop_assert!(changed != sealed);
            prop_assert!(open(&changed, &key).is_err());
        }
        // And whatever the agent itself would sign, it does not open, unless only the signature changed.
        if (64..96 + sealed.ciphertext.len()).contains(&at) {
            prop_assert_eq!(open(&resigned(&changed), &key), Err(AccessError::Unsealable));
        }
    }
}

fn described(data: Bytes) -> DescribedAccessRequest {
    let recipient = RecipientKey::new(B256::repeat_byte(7));
    DescribedAccessRequest::sign(&descriptor(), &domain(), recipient, data, now(), &client()).unwrap()
}

#[test]
fn a_request_with_a_descriptor_proves_itself_and_is_no_request_of_version_1() {
    for signer in [client(), key(0x51)] {
        let (recipient, data) = (AccessKey::generate().public(), Bytes::from(vec![5; MAX_ACCESS_DATA]));
        let request =
            DescribedAccessRequest::sign(&descriptor(), &domain(), recipient, data, now(), &signer).unwrap();
        let carried: DescribedAccessRequest =
            serde_json::from_str(&serde_json::to_string(&request).unwrap()).unwrap();
        assert_eq!(carried, request);
        assert_eq!(carried.channel(&domain()), descriptor().id(&domain()));
        assert_eq!(carried.verify(&domain(), now(), MAX_AGE), Ok(()));
        let late = now() + MAX_AGE + Duration::from_millis(1);
        assert!(matches!(carried.verify(&domain(), late, MAX_AGE), Err(RequestError::Stale { .. })));
    }
    let request = described(Bytes::new());
    let plain = AccessRequest {
        channel: request.channel(&domain()),
        recipient: request.recipient,
        issued_at: request.issued_at,
        signature: request.signature,
    };
    let refused = plain.verify(&descriptor(), &domain(), now(), MAX_AGE);
    assert!(matches!(refused, Err(RequestError::WrongSigner { .. })), "{refused:?}");
    let other = Domain::new(1, domain().contract(), domain().token());
    let refused = request.verify(&other, now(), MAX_AGE);
    assert!(matches!(refused, Err(RequestError::WrongSigner { .. })), "{refused:?}");
}

#[test]
fn any_changed_part_of_a_request_with_a_descriptor_is_refused() {
    let changes: [fn(&mut DescribedAccessRequest); 8] = [
        |request| request.descriptor.client = Address::repeat_byte(1),
        |request| request.descriptor.agent = Address::repeat_byte(1),
        |request| request.descriptor.offering = OfferingHash::new([1; 32].into()),
        |request| request.descriptor.nonce += 1,
        |request| request.descriptor.signer = Address::repeat_byte(1),
        |request| request.recipient = RecipientKey::new(B256::repeat_byte(8)),
        |request| request.issued_at += 1,
        |request| request.data = Bytes::from_static(&[1]),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut request = described(Bytes::from_static(&[2]));
        change(&mut request);
        let refused = request.verify(&domain(), now(), MAX_AGE);
        assert!(matches!(refused, Err(RequestError::WrongSigner { .. })), "{number}: {refused:?}");
    }
    let mut request = described(Bytes::new());
    request.data = Bytes::from(vec![0; MAX_ACCESS_DATA + 1]);
    let length = MAX_ACCESS_DATA + 1;
    assert_eq!(request.verify(&domain(), now(), MAX_AGE), Err(RequestError::Data { length }));
    let stranger = key(0x99);
    let recipient = RecipientKey::new(B256::repeat_byte(7));
    let signed =
        DescribedAccessRequest::sign(&descriptor(), &domain(), recipient, Bytes::new(), now(), &stranger);
    assert_eq!(signed, Err(RequestError::WrongSigner { found: Some(stranger.address()) }));
}

/// What another implementation signs and sends.
#[test]
fn a_request_with_a_descriptor_is_the_same_in_every_language() {
    let descriptor = ChannelDescriptor {
        client: client().address(),
        agent: Address::repeat_byte(0xA6),
        offering: OfferingHash::new([0x11; 32].into()),
        nonce: u64::MAX,
        signer: Address::ZERO,
    };
    let (recipient, data) = (RecipientKey::new(B256::repeat_byte(7)), Bytes::from_static(&[0xDA, 0x7A]));
    let request =
        DescribedAccessRequest::sign(&descriptor, &domain(), recipient, data, now(), &client()).unwrap();
    let text = serde_json::to_string(&request).unwrap();
    assert_eq!(text, VECTOR);
    for (from, to) in [(r#""18446744073709551615""#, "18446744073709551615"), (r#""184"#, r#""0184"#)] {
        assert!(serde_json::from_str::<DescribedAccessRequest>(&text.replace(from, to)).is_err(), "{to}");
    }
}

const VECTOR: &str = r#"{"descriptor":{"client":"0xeb3b580543341e68da1462edce4f168a9d6682ce","agent":"0xa6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6","offering":"0x1111111111111111111111111111111111111111111111111111111111111111","nonce":"18446744073709551615","signer":"0x0000000000000000000000000000000000000000"},"recipient":"0x0707070707070707070707070707070707070707070707070707070707070707","issuedAt":1790000000000,"data":"0xda7a","signature":"0xb89d10781f648b3b1c0a44c245d87707000f8b969beea333e8a887eed66592c870dc59df7d4938c90ddcb69e8231d283f9528b08f5d79f2c9338b6cdcfbf88bf1b"}"#;
