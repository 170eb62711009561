//! An offering is taken as its agent signed and announced it, or refused by the name of what is
//! wrong.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use alloy::primitives::{Address, B256, keccak256};
use privatix_billing::TermsError;
use privatix_channel::{Amount, Domain, OfferingHash, SignatureError};
use privatix_offering::{
    Announced, JsonError, MAX_OFFERING_SIZE, OfferingError, OfferingMessage, SignatureProblem,
    SignedOffering, SomcAddress, Templates, proxy,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{agent, announced, client, domain, forged, message, offering};

fn verify(wire: &[u8], announced: &Announced) -> Result<SignedOffering, OfferingError> {
    SignedOffering::verify(wire, announced, &Templates::builtin())
}

fn signing_refused(change: impl FnOnce(&mut OfferingMessage)) -> OfferingError {
    let mut message = message();
    change(&mut message);
    SignedOffering::sign(&message, &Templates::builtin(), &agent()).unwrap_err()
}

/// The message as JSON with one change, signed by the agent all the same.
fn forged_with(change: impl FnOnce(&mut Value)) -> Result<SignedOffering, OfferingError> {
    let mut value = serde_json::to_value(message()).unwrap();
    change(&mut value);
    let (wire, announced) = forged(&serde_json_canonicalizer::to_vec(&value).unwrap());
    verify(&wire, &announced)
}

#[test]
fn what_the_agent_signs_the_client_reads() {
    let offering = offering();
    let read = verify(offering.wire(), &announced(&offering)).unwrap();
    assert_eq!(read, offering);
    assert_eq!(read.message(), &message());
    assert_eq!(read.terms().unit_price(), Amount::new(1_000));
    assert_eq!(B256::from(read.hash()), keccak256(offering.wire()));
    assert_eq!(&offering.wire()[offering.wire().len() - 65..], offering.signature().as_bytes());
}

#[test]
fn the_signature_is_plain_eip_712_over_the_text() {
    let offering = offering();
    let (text, _) = offering.wire().split_last_chunk::<65>().unwrap();
    assert_eq!(forged(text).0, offering.wire());
    let value: Value = serde_json::from_slice(text).unwrap();
    assert_eq!(serde_json_canonicalizer::to_vec(&value).unwrap(), text);
    assert_eq!(value["terms"]["maxSuspend"], json!(1_800));
    assert_eq!(value["country"], json!("NL"));
}

/// The message as JSON with these addresses, signed by the agent all the same; or the problems with it.
fn with_addresses(addresses: &Value) -> Result<Vec<SomcAddress>, String> {
    match forged_with(|value| value["addresses"] = addresses.clone()) {
        Ok(offering) => Ok(offering.message().addresses.clone()),
        Err(OfferingError::Fields(problems)) => Err(problems.to_string()),
        Err(error) => Err(format!("not refused by its fields: {error}")),
    }
}

#[test]
fn an_offering_lists_the_agents_addresses_in_its_order() {
    let onion = SomcAddress::onion(&[7; 32], 80).unwrap();
    let direct = SomcAddress::direct("2001:db8::1", 9500).unwrap();
    let message = OfferingMessage { addresses: vec![onion.clone(), direct.clone()], ..message() };
    let offering = SignedOffering::sign(&message, &Templates::builtin(), &agent()).unwrap();
    let read = verify(offering.wire(), &announced(&offering)).unwrap();
    assert_eq!(read.message().addresses, [onion.clone(), direct.clone()]);
    let listed = json!([onion.to_string(), "direct:[2001:db8::1]:9500"]);
    assert_eq!(with_addresses(&listed), Ok(vec![onion, direct]));
}

#[test]
fn an_offering_without_addresses_has_no_such_field() {
    let value = serde_json::to_value(message()).unwrap();
    assert!(value.get("addresses").is_none(), "{value}");
    assert!(offering().message().addresses.is_empty());
    assert!(with_addresses(&json!([])).unwrap_err().starts_with("/addresses: "));
}

#[test]
fn an_agents_addresses_are_bounded_and_differ() {
    let direct = |port: u16| SomcAddress::direct("agent.example", port).unwrap();
    let eight: Vec<_> = (1..=8).map(direct).collect();
    assert_eq!(with_addresses(&json!(eight)), Ok(eight));
    let refused = |addresses: Vec<SomcAddress>| {
        let error = signing_refused(|message| message.addresses = addresses.clone()).to_string();
        assert!(error.contains(": /addresses: "), "{error}");
        assert!(with_addresses(&json!(addresses)).unwrap_err().starts_with("/addresses: "));
    };
    refused((1..=9).map(direct).collect());
    refused(vec![direct(1), direct(2), direct(1)]);
}

#[test]
fn a_listed_address_that_is_none_or_is_spelled_otherwise_is_refused_by_its_place() {
    let onion = SomcAddress::onion(&[7; 32], 80).unwrap().host().to_owned();
    for (text, problem) in [
        ("agent.example:1".to_owned(), "starts with direct: or tor:"),
        ("direct:agent.example".to_owned(), "the port is missing"),
        (format!("tor:{}", onion.replacen('a', "b", 1)), "malformed tor endpoint address"),
        (format!("tor:{onion}"), "another spelling of tor:"),
        ("direct:Agent.example:1".to_owned(), "another spelling of direct:agent.example:1"),
        ("x".repeat(300), "/addresses/1: \"xxx"),
    ] {
        let error = with_addresses(&json!(["direct:agent.example:9", text])).unwrap_err();
        assert!(error.starts_with("/addresses/1: ") && error.contains(problem), "{text}: {error}");
    }
    assert!(with_addresses(&json!([7])).unwrap_err().starts_with("/addresses/0: "));
    assert!(with_addresses(&json!("direct:agent.example:9")).unwrap_err().starts_with("/addresses: "));
}

#[test]
fn equal_offerings_differ_by_their_nonce() {
    let other = OfferingMessage { nonce: uuid::Uuid::new_v4(), ..message() };
    let other = SignedOffering::sign(&other, &Templates::builtin(), &agent()).unwrap();
    assert_ne!(other.hash(), offering().hash());
}

#[test]
fn another_hash_than_announced_is_refused_first() {
    let offering = offering();
    let announced = Announced { hash: OfferingHash::new(B256::ZERO), ..announced(&offering) };
    let error = verify(offering.wire(), &announced).unwrap_err();
    assert_eq!(error, OfferingError::WrongHash { announced: announced.hash, found: offering.hash() });
    assert!(error.to_string().starts_with("the offering's hash is 0x"), "{error}");
    // Even rubbish is refused by its hash, before it is parsed.
    assert!(matches!(verify(b"rubbish", &announced), Err(OfferingError::WrongHash { .. })));
}

#[test]
fn another_agent_than_the_announcing_one_is_refused() {
    let offering = offering();
    let announced = Announced { agent: client().address(), ..announced(&offering) };
    let error = verify(offering.wire(), &announced).unwrap_err();
    let problem = SignatureProblem::WrongSigner { expected: client().address() };
    assert_eq!(error, OfferingError::Signature(problem));
    assert_eq!(
        error.to_string(),
        format!(
            "the offering's signature is refused: not signed by {} or its operator over these bytes",
            client().address()
        )
    );
}

#[test]
fn an_agent_cannot_resell_another_agents_message() {
    let error = forged_with(|value| value["agent"] = json!(client().address())).unwrap_err();
    assert_eq!(error, OfferingError::WrongAgent { announced: agent().address(), found: client().address() });
}

#[test]
fn signing_with_another_key_than_the_agents_is_refused() {
    let error = SignedOffering::sign(&message(), &Templates::builtin(), &client()).unwrap_err();
    let problem = SignatureProblem::WrongSigner { expected: agent().address() };
    assert_eq!(error, OfferingError::Signature(problem));
}

#[test]
fn an_operators_signature_counts_while_the_chain_shows_it() {
    let (operator, templates) = (client(), Templates::builtin());
    let by = |operator| SignedOffering::sign_by(&message(), &templates, &client(), Some(operator));
    let offering = by(operator.address()).unwrap();
    assert!(offering.is_signed_by(operator.address()) && !offering.is_signed_by(agent().address()));

    let shown = |operator| Announced { operator, ..announced(&offering) };
    assert_eq!(verify(offering.wire(), &shown(Some(operator.address()))).unwrap(), offering);
    let refused = OfferingError::Signature(SignatureProblem::WrongSigner { expected: agent().address() });
    for other in [None, Some(Address::ZERO), Some(announced(&offering).domain.contract())] {
        assert_eq!(verify(offering.wire(), &shown(other)).unwrap_err(), refused, "{other:?}");
        // What was verified and kept stays good when the operator is replaced.
        assert_eq!(SignedOffering::restore(offering.wire(), &shown(other), &templates).unwrap(), offering);
    }
    // The agent's own key needs no operator, and another key than the operator named signs nothing.
    assert_eq!(by(agent().address()).unwrap_err(), refused);
    let own = SignedOffering::sign_by(&message(), &templates, &agent(), Some(operator.address()));
    assert!(own.is_ok_and(|own| verify(own.wire(), &announced(&own)).is_ok()));
}

#[test]
fn what_was_kept_is_checked_again_but_for_its_signer() {
    let offering = offering();
    let restore =
        |wire: &[u8], announced: &Announced| SignedOffering::restore(wire, announced, &Templates::builtin());
    let mut spoilt = offering.wire().to_vec();
    spoilt[9] ^= 1;
    assert!(matches!(restore(&spoilt, &announced(&offering)), Err(OfferingError::WrongHash { .. })));
    let elsewhere = Announced { agent: client().address(), ..announced(&offering) };
    assert!(matches!(restore(offering.wire(), &elsewhere), Err(OfferingError::WrongAgent { .. })));
}

#[test]
fn a_second_spelling_of_the_signature_is_refused() {
    let offering = offering();
    let (text, _) = offering.wire().split_last_chunk::<65>().unwrap();
    let announce =
        |wire: &[u8]| Announced { hash: OfferingHash::new(keccak256(wire)), ..announced(&offering) };
    let respelled = |change: fn(&mut [u8; 65])| {
        let mut signature = *offering.signature().as_bytes();
        change(&mut signature);
        let wire = [text, &signature].concat();
        verify(&wire, &announce(&wire)).unwrap_err()
    };
    let malformed = |error| OfferingError::Signature(SignatureProblem::Malformed(error));
    let error = respelled(|signature| {
        // s becomes order - s, and the parity flips: the same signature, mathematically.
        let order = "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141";
        let order = alloy::primitives::U256::from_str_radix(order, 16).unwrap();
        let s = alloy::primitives::U256::from_be_slice(&signature[32..64]);
        signature[32..64].copy_from_slice(&(order - s).to_be_bytes::<32>());
        signature[64] = 27 + 28 - signature[64];
    });
    assert_eq!(error, malformed(SignatureError::HighS));
    let error = respelled(|signature| signature[64] -= 27);
    assert!(matches!(
        error,
        OfferingError::Signature(SignatureProblem::Malformed(SignatureError::BadV { .. }))
    ));
}

#[test]
fn too_few_bytes_are_refused() {
    let wire = [1; 64];
    let announced = Announced { hash: OfferingHash::new(keccak256(wire)), ..announced(&offering()) };
    assert_eq!(verify(&wire, &announced), Err(OfferingError::TooShort { size: 64 }));
}

#[test]
fn too_many_bytes_are_refused_before_they_are_hashed() {
    let wire = vec![b' '; MAX_OFFERING_SIZE + 1];
    let error = verify(&wire, &announced(&offering())).unwrap_err();
    let limit = MAX_OFFERING_SIZE;
    assert_eq!(error, OfferingError::Json(JsonError::TooLarge { size: limit + 1, limit }));
    assert_eq!(
        error.to_string(),
        "the offering message is refused: 65537 bytes are more than the limit of 65536"
    );
    let huge = signing_refused(|message| message.additional = json!({ "x": "y".repeat(MAX_OFFERING_SIZE) }));
    assert!(matches!(huge, OfferingError::Json(JsonError::TooLarge { .. })));
}

#[test]
fn deep_nesting_is_refused_before_it_is_parsed() {
    let (wire, announced) = forged(&[vec![b'['; 10_000], vec![b']'; 10_000]].concat());
    assert_eq!(verify(&wire, &announced), Err(OfferingError::Json(JsonError::TooDeep)));
    let mut nested = json!(0);
    for _ in 0..40 {
        nested = json!([nested]);
    }
    let error = signing_refused(|message| message.additional = json!({ "x": nested }));
    assert_eq!(error, OfferingError::Json(JsonError::TooDeep));
}

#[test]
fn what_is_not_json_or_not_canonical_is_refused() {
    let (wire, announced) = forged(b"{\"a\":");
    let error = verify(&wire, &announced).unwrap_err().to_string();
    assert!(error.starts_with("the offering message is refused: not JSON: EOF while parsing"), "{error}");

    let pretty = serde_json::to_vec_pretty(&message()).unwrap();
    let (wire, announced) = forged(&pretty);
    assert_eq!(verify(&wire, &announced), Err(OfferingError::Json(JsonError::NotCanonical)));
}

#[test]
fn a_message_of_an_unknown_template_is_refused() {
    let template = B256::repeat_byte(9);
    assert_eq!(
        signing_refused(|message| message.template = template),
        OfferingError::UnknownTemplate { template }
    );
    // A known template of the wrong kind is as good as unknown.
    let template = proxy::access_template();
    let error = signing_refused(|message| message.template = template);
    assert_eq!(error, OfferingError::UnknownTemplate { template });
    assert!(error.to_string().contains("add it to the templates"), "{error}");
    for (value, problem) in [
        (json!(5), "/template: missing or not a string"),
        (json!("0x12"), "/template: not 0x and 64 hexadecimal digits"),
    ] {
        let error = forged_with(|message| message["template"] = value).unwrap_err().to_string();
        assert_eq!(error, format!("the offering does not fit its template: {problem}"));
    }
    let (wire, announced) = forged(b"[]");
    assert!(matches!(verify(&wire, &announced), Err(OfferingError::Fields(_))));
}

#[test]
fn every_bad_field_is_named_by_its_pointer() {
    let cases: &[(&str, Value, &str)] = &[
        ("/agent", json!("0xZZ"), "/agent: \"0xZZ\" does not match"),
        ("/agent", json!("0X5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c"), "/agent: "),
        ("/chainId", json!(0), "/chainId: 0 is less than the minimum of 1"),
        ("/chainId", json!("1"), "/chainId: \"1\" is not of type \"integer\""),
        ("/nonce", json!("not-a-uuid"), "/nonce: \"not-a-uuid\" does not match"),
        ("/serviceName", json!(""), "/serviceName: "),
        ("/serviceName", json!("a\u{0}b"), "/serviceName: "),
        ("/description", json!("x".repeat(1_025)), "/description: "),
        ("/country", json!("nl"), "/country: \"nl\" does not match"),
        ("/ipType", json!("satellite"), "/ipType: \"satellite\" is not one of"),
        ("/supply", json!(0), "/supply: 0 is less than the minimum of 1"),
        ("/supply", json!(1_u64 << 32), "/supply: 4294967296 is greater than the maximum"),
        ("/terms/unit/measure", json!("parsecs"), "/terms/unit/measure: \"parsecs\" is not one of"),
        ("/terms/unit/measure", json!("seconds"), "/terms/unit/measure: "), // the proxy sells bytes
        ("/terms/billing", json!("later"), "/terms/billing: \"later\" is not one of"),
        ("/terms/unitPrice", json!(1_000), "/terms/unitPrice: 1000 is not of type \"string\""),
        ("/terms/unitPrice", json!("01"), "/terms/unitPrice: \"01\" does not match"),
        ("/terms/unitPrice", json!("-1"), "/terms/unitPrice: \"-1\" does not match"),
        ("/terms/minUnits", json!(-1), "/terms/minUnits: -1 is less than the minimum of 1"),
        ("/terms/maxSuspend", json!(0), "/terms/maxSuspend: 0 is less than the minimum of 1"),
        ("/additional", json!([]), "/additional: [] is not of type \"object\""),
        ("/additional/protocols", json!([]), "/additional/protocols: "),
        ("/additional/protocols/1", json!("ftp"), "/additional/protocols/1: \"ftp\" is not one of"),
    ];
    for (pointer, value, expected) in cases {
        let error =
            forged_with(|message| *message.pointer_mut(pointer).unwrap() = value.clone()).unwrap_err();
        assert!(matches!(error, OfferingError::Fields(_)), "{pointer} = {value}: {error:?}");
        let (error, expected) =
            (error.to_string(), format!("the offering does not fit its template: {expected}"));
        assert!(error.starts_with(&expected), "{pointer} = {value}: {error}");
    }
}

#[test]
fn missing_and_unknown_fields_are_named() {
    let error = forged_with(|message| {
        message["terms"].as_object_mut().unwrap().remove("unitPrice");
    });
    assert_eq!(
        error.unwrap_err().to_string(),
        "the offering does not fit its template: /terms/unitPrice: missing"
    );
    for (pointer, name) in [("", "color"), ("/terms", "vat"), ("/terms/unit", "a/b"), ("/additional", "ftp")]
    {
        let error = forged_with(|message| {
            message.pointer_mut(pointer).unwrap()[name] = json!(1);
        });
        let named = format!("{pointer}/{}: unknown field", name.replace('/', "~1"));
        assert_eq!(
            error.unwrap_err().to_string(),
            format!("the offering does not fit its template: {named}")
        );
    }
}

#[test]
fn all_bad_fields_are_named_at_once() {
    let error = forged_with(|message| {
        message["supply"] = json!(0);
        message["terms"]["freeUnits"] = json!(-1);
    });
    let OfferingError::Fields(problems) = error.unwrap_err() else { panic!("not about fields") };
    let pointers: Vec<_> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
    assert!(pointers.contains(&"/supply") && pointers.contains(&"/terms/freeUnits"), "{pointers:?}");
}

#[test]
fn a_code_that_is_no_country_is_refused() {
    let error = forged_with(|message| message["country"] = json!("XX")).unwrap_err().to_string();
    assert!(error.contains("\"XX\" is not an assigned ISO 3166-1 alpha-2 country code"), "{error}");
}

#[test]
fn amounts_that_do_not_fit_are_refused() {
    let too_large = "340282366920938463463374607431768211456";
    let error =
        forged_with(|message| message["terms"]["unitPrice"] = json!(too_large)).unwrap_err().to_string();
    assert!(error.contains("does not fit in 128 bits"), "{error}");
}

#[test]
fn numbers_that_readers_round_are_refused() {
    for value in [json!(0.5), json!(1_u64 << 53)] {
        let error = signing_refused(|message| message.additional["maxBandwidth"] = value);
        let pointer = "/additional/maxBandwidth".to_owned();
        assert_eq!(error, OfferingError::Json(JsonError::InexactNumber { pointer }));
    }
    let error = signing_refused(|message| message.terms.max_units = Some(1 << 60));
    assert_eq!(
        error.to_string(),
        "the offering message is refused: /terms/maxUnits holds a number that is not whole or is beyond 2^53 - 1; write it as a string"
    );
}

#[test]
fn terms_that_break_a_rule_are_refused_by_agent_and_client_alike() {
    let error = signing_refused(|message| message.terms.unit_price = Amount::ZERO);
    assert_eq!(
        error.to_string(),
        "the offering's terms are refused: /terms/unitPrice is zero; set it to at least 1"
    );
    let error = forged_with(|message| message["terms"]["billingInterval"] = json!(4)).unwrap_err();
    let expected = TermsError::IntervalAboveLag { billing_interval: 4, max_billing_unit_lag: 3 };
    assert_eq!(error, OfferingError::Terms(expected));
}

#[test]
fn another_chain_or_contract_is_refused() {
    let offering = offering();
    let elsewhere = Domain::new(1, domain().contract(), domain().token());
    let error =
        verify(offering.wire(), &Announced { domain: elsewhere, ..announced(&offering) }).unwrap_err();
    assert_eq!(error, OfferingError::WrongChain { expected: 1, found: 31_337 });
    assert_eq!(error.to_string(), "the offering is for chain 31337, not for 1");
    let other = Address::repeat_byte(1);
    let elsewhere = Domain::new(31_337, other, domain().token());
    let error =
        verify(offering.wire(), &Announced { domain: elsewhere, ..announced(&offering) }).unwrap_err();
    assert_eq!(error, OfferingError::WrongContract { expected: other, found: domain().contract() });
}

fn any_message() -> impl Strategy<Value = OfferingMessage> {
    let texts = ("\\PC{0,64}", "\\PC{0,200}");
    let numbers = (1..=u32::MAX, 1..1_u128 << 60, 0..1_000_u64, 1..1_000_u64, any::<[u8; 16]>());
    let country = prop_oneof![Just("NL"), Just("BR"), Just("CI")];
    (texts, numbers, country, any::<bool>()).prop_map(
        |((name, description), (supply, price, free, min, nonce), country, bounded)| {
            let mut message = message();
            let name = name.trim();
            message.service_name = if name.is_empty() { "x".into() } else { name.into() };
            message.description = description;
            message.supply = supply;
            message.country = country.parse().unwrap();
            message.nonce = uuid::Uuid::from_bytes(nonce);
            message.terms.unit_price = Amount::new(price);
            message.terms.free_units = free;
            message.terms.min_units = min;
            message.terms.max_units = bounded.then_some(min + free + 1);
            message.ip_type = None;
            message
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_offering_survives_the_way(message in any_message()) {
        let offering = SignedOffering::sign(&message, &Templates::builtin(), &agent()).unwrap();
        let read = verify(offering.wire(), &announced(&offering)).unwrap();
        prop_assert_eq!(read.message(), &message);
        prop_assert_eq!(read.hash(), offering.hash());
    }

    #[test]
    fn any_changed_byte_is_refused(at in any::<proptest::sample::Index>(), flip in 1..=255_u8) {
        let offering = offering();
        let mut wire = offering.wire().to_vec();
        let at = at.index(wire.len());
        wire[at] ^= flip;
        let refused = verify(&wire, &announced(&offering));
        prop_assert!(matches!(refused, Err(OfferingError::WrongHash { .. })), "by its hash");
        // And by its signature, should somebody announce the changed bytes in the agent's name.
        let hash = OfferingHash::new(keccak256(&wire));
        let refused = verify(&wire, &Announced { hash, ..announced(&offering) });
        let expected = matches!(refused, Err(OfferingError::Signature(_) | OfferingError::Json(JsonError::Syntax { .. })));
        prop_assert!(expected, "by its signature: {:?}", refused);
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let announced = Announced { hash: OfferingHash::new(keccak256(&bytes)), ..announced(&offering()) };
        prop_assert!(verify(&bytes, &announced).is_err());
        let (wire, announced) = forged(String::from_utf8_lossy(&bytes).as_bytes());
        prop_assert!(verify(&wire, &announced).is_err());
    }
}
