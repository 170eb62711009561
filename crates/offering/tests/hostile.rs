//! Whatever an agent (or whoever answers in its place) sends, signed and announced as it should be: it is refused with a
//! typed error or it is a message that any client may use, and nothing panics.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::LazyLock;

use alloy::primitives::{B256, Bytes};
use hpke::{
    Deserializable, OpModeS, Serializable, aead::ChaCha20Poly1305, kdf::HkdfSha256, kem::X25519HkdfSha256,
};
use privatix_offering::{
    AccessError, AccessKey, AccessMessage, AccessRequest, OfferingError, SealedAccess, SignedOffering,
    Template, Templates, proxy,
};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use support::{
    access, agent, announced, client, context, descriptor, domain, forged, message, now, offering, resigned,
};

/// Any JSON, with the texts and numbers that trip readers.
fn any_json() -> impl Strategy<Value = Value> {
    let numbers = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        prop::sample::select(vec![
            json!(0),
            json!(-1),
            json!(u64::MAX),
            json!((1_u64 << 53) - 1),
            json!(1e308)
        ]),
    ];
    let texts = prop_oneof![
        "\\PC{0,20}".prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "0x",
            "NL",
            "\u{0}",
            "\u{202e}",
            "\u{feff}",
            "\u{10ffff}",
            "../../etc/passwd"
        ])
        .prop_map(Value::from),
        "0x[0-9a-f]{64}".prop_map(Value::from),
    ];
    let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), numbers, texts];
    leaf.prop_recursive(6, 48, 6, |inner| {
        let name = prop_oneof!["\\PC{0,6}", Just("template".to_owned()), Just("~/".to_owned())];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..6).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

/// A change of one place of a document.
#[derive(Clone, Debug)]
enum Spoil {
    Replace(Index, Value),
    Remove(Index),
    Add(Index, String, Value),
}

fn spoils() -> impl Strategy<Value = Vec<Spoil>> {
    let spoil = prop_oneof![
        (any::<Index>(), any_json()).prop_map(|(at, value)| Spoil::Replace(at, value)),
        any::<Index>().prop_map(Spoil::Remove),
        (any::<Index>(), "\\PC{0,8}", any_json()).prop_map(|(at, name, value)| Spoil::Add(at, name, value)),
    ];
    prop::collection::vec(spoil, 0..4)
}

/// The pointers of every place in a document.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let inner: Vec<(String, &Value)> = match value {
        Value::Array(items) => {
            items.iter().enumerate().map(|(place, item)| (place.to_string(), item)).collect()
        }
        Value::Object(fields) => {
            fields.iter().map(|(name, field)| (name.replace('~', "~0").replace('/', "~1"), field)).collect()
        }
        _ => Vec::new(),
    };
    for (name, value) in inner {
        places(value, &format!("{at}/{name}"), found);
    }
}

fn spoil(mut document: Value, spoils: Vec<Spoil>) -> Value {
    for change in spoils {
        let mut found = Vec::new();
        places(&document, "", &mut found);
        match change {
            Spoil::Replace(at, value) => *document.pointer_mut(at.get::<String>(&found)).unwrap() = value,
            Spoil::Remove(at) => {
                let Some((parent, name)) = at.get::<String>(&found).rsplit_once('/') else { continue };
                match document.pointer_mut(parent).unwrap() {
                    Value::Object(fields) => drop(fields.remove(&name.replace("~1", "/").replace("~0", "~"))),
                    Value::Array(items) => drop(items.pop()),
                    _ => {}
                }
            }
            Spoil::Add(at, name, value) => match document.pointer_mut(at.get::<String>(&found)).unwrap() {
                Value::Object(fields) => drop(fields.insert(name, value)),
                Value::Array(items) => items.push(value),
                _ => {}
            },
        }
    }
    document
}

fn canonical(value: &Value) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value).unwrap()
}

/// Any plaintext sealed and signed by the channel's agent to the client's key.
fn sealed(plaintext: &[u8], key: &AccessKey) -> SealedAccess {
    let (context, channel) = (context(), context().channel());
    let data = [
        &domain().chain_id().to_be_bytes()[..],
        domain().contract().as_slice(),
        channel.as_slice(),
        context.descriptor.offering.as_slice(),
        context.descriptor.agent.as_slice(),
    ]
    .concat();
    let recipient = Deserializable::from_bytes(key.public().as_b256().as_slice()).unwrap();
    let (enc, ciphertext) = hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &recipient,
        b"privatix access 1",
        plaintext,
        &data,
    )
    .unwrap();
    let mut encapsulated = B256::ZERO;
    enc.write_exact(encapsulated.as_mut_slice());
    let signature = *offering().signature(); // to be replaced
    let (recipient, ciphertext) = (key.public(), Bytes::from(ciphertext));
    resigned(&SealedAccess { channel, recipient, encapsulated, ciphertext, signature })
}

/// The client's key, and an honest answer and request, as JSON: X25519 is slow without optimisation.
static KEY: LazyLock<AccessKey> = LazyLock::new(AccessKey::generate);
static ANSWER: LazyLock<Value> = LazyLock::new(|| {
    let sealed = SealedAccess::seal(&access(), KEY.public(), &context(), &Templates::builtin(), &agent());
    serde_json::to_value(sealed.unwrap()).unwrap()
});
static REQUEST: LazyLock<Value> = LazyLock::new(|| {
    let request = AccessRequest::sign(&descriptor(), &domain(), KEY.public(), now(), &client());
    serde_json::to_value(request.unwrap()).unwrap()
});

fn open(sealed: &SealedAccess, key: &AccessKey) -> Result<AccessMessage, AccessError> {
    sealed.open(key, &context(), &Templates::builtin())
}

#[test]
fn the_forger_of_these_tests_can_make_good_messages_too() {
    let (wire, announced) = forged(&canonical(&serde_json::to_value(message()).unwrap()));
    assert!(SignedOffering::verify(&wire, &announced, &Templates::builtin()).is_ok());
    let plaintext = canonical(&serde_json::to_value(access()).unwrap());
    assert_eq!(open(&sealed(&plaintext, &KEY), &KEY), Ok(access()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_spoilt_offering_is_refused_or_means_one_thing(spoils in spoils()) {
        let value = spoil(serde_json::to_value(message()).unwrap(), spoils);
        let (wire, announced) = forged(&canonical(&value));
        match SignedOffering::verify(&wire, &announced, &Templates::builtin()) {
            Ok(read) => {
                // What was read is all that was said: written again it is the same bytes.
                let again = SignedOffering::sign(read.message(), &Templates::builtin(), &agent()).unwrap();
                prop_assert_eq!(again.wire(), &wire[..]);
                prop_assert_eq!(read.message().agent, agent().address());
            }
            Err(error) => prop_assert!(error.to_string().chars().count() < 16 * 600, "{error}"),
        }
    }

    #[test]
    fn any_json_is_no_offering(value in any_json()) {
        let (wire, announced) = forged(&canonical(&value));
        let refused = SignedOffering::verify(&wire, &announced, &Templates::builtin());
        prop_assert!(matches!(
            refused,
            Err(OfferingError::Fields(_) | OfferingError::Json(_) | OfferingError::UnknownTemplate { .. })
        ), "{:?}", refused);
    }

    #[test]
    fn a_spoilt_access_message_is_refused_without_a_quote(spoils in spoils()) {
        let value = spoil(serde_json::to_value(access()).unwrap(), spoils);
        match open(&sealed(&canonical(&value), &KEY), &KEY) {
            Ok(read) => {
                prop_assert_eq!(serde_json::to_value(&read).unwrap(), value);
                prop_assert_eq!(read.channel, context().channel());
            }
            Err(error) => {
                let text = format!("{error} {error:?}");
                prop_assert!(!text.contains("correct horse") && !text.contains("203.0.113.7"), "{text}");
            }
        }
    }

    #[test]
    fn any_sealed_bytes_are_no_access(plaintext in prop::collection::vec(any::<u8>(), 0..200)) {
        let refused = open(&sealed(&plaintext, &KEY), &KEY);
        prop_assert!(matches!(refused, Err(AccessError::Json(_) | AccessError::Fields(_))), "{:?}", refused);
    }

    #[test]
    fn a_spoilt_answer_never_opens(spoils in spoils()) {
        let spoilt = spoil(ANSWER.clone(), spoils);
        prop_assume!(spoilt != *ANSWER);
        if let Ok(read) = serde_json::from_value::<SealedAccess>(spoilt) {
            prop_assert!(open(&read, &KEY).is_err());
        }
    }

    #[test]
    fn a_spoilt_request_is_never_answered(spoils in spoils()) {
        let spoilt = spoil(REQUEST.clone(), spoils);
        prop_assume!(spoilt != *REQUEST);
        if let Ok(read) = serde_json::from_value::<AccessRequest>(spoilt) {
            let verified = read.verify(&descriptor(), &domain(), now(), std::time::Duration::from_mins(5));
            prop_assert!(verified.is_err());
        }
    }

    #[test]
    fn a_spoilt_template_is_refused_or_stays_what_it_is(spoils in spoils()) {
        let templates = Templates::builtin();
        let proxy = templates.get(&proxy::offering_template()).unwrap().canonical();
        let spoilt = spoil(serde_json::from_slice(proxy).unwrap(), spoils);
        let mut known = Templates::builtin();
        if let Ok(template) = Template::parse(&serde_json::to_vec(&spoilt).unwrap()) {
            prop_assert_eq!(Template::parse(template.canonical()).unwrap().hash(), template.hash());
            let hash = known.insert(template);
            // Whatever it asks for, a message under it is taken or refused.
            let mut asked = message();
            asked.template = hash;
            if let Ok(signed) = SignedOffering::sign(&asked, &known, &agent()) {
                prop_assert!(SignedOffering::verify(signed.wire(), &announced(&signed), &known).is_ok());
            }
        }
        prop_assert!(SignedOffering::verify(offering().wire(), &announced(&offering()), &known).is_ok());
    }
}
