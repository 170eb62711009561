//! What the tests of this crate share: two parties, a chain, a proxy offering.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, SystemTime};

use alloy::primitives::{Address, B256, keccak256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolStruct, eip712_domain};
use privatix_billing::{Billing, Measure, TermsDraft, Unit};
use privatix_channel::{Amount, ChannelDescriptor, Domain, OfferingHash};
use privatix_offering::{
    AccessContext, AccessMessage, Announced, Endpoint, IpType, MessageSignature, OfferingMessage, Password,
    SealedAccess, SignedOffering, Templates, proxy,
};
use serde_json::json;
use uuid::uuid;

pub(crate) fn key(byte: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(byte)).unwrap()
}

pub(crate) fn agent() -> PrivateKeySigner {
    key(0xA6)
}

pub(crate) fn client() -> PrivateKeySigner {
    key(0xC1)
}

pub(crate) fn domain() -> Domain {
    Domain::new(31_337, Address::repeat_byte(0x5C), Address::repeat_byte(0x70))
}

pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

pub(crate) fn message() -> OfferingMessage {
    OfferingMessage {
        template: proxy::offering_template(),
        agent: agent().address(),
        chain_id: domain().chain_id(),
        contract: domain().contract(),
        nonce: uuid!("0b2e9a54-6a3f-4df4-9c53-5b7a0b9a8f21"),
        service_name: "Fast proxy".into(),
        description: "SOCKS5 and HTTP CONNECT, \"unmetered\" nights – até amanhã".into(),
        country: "NL".parse().unwrap(),
        ip_type: Some(IpType::Datacenter),
        addresses: vec![],
        protocol: None,
        supply: 10,
        terms: TermsDraft {
            unit: Unit { name: "MiB".into(), measure: Measure::Bytes, size: 1_048_576 },
            billing: Billing::Postpaid,
            setup_price: Amount::ZERO,
            unit_price: Amount::new(1_000),
            free_units: 1,
            min_units: 100,
            max_units: Some(10_000),
            billing_interval: 1,
            max_billing_unit_lag: 3,
            max_suspend: Duration::from_mins(30),
            max_inactive: Duration::from_hours(1),
            max_first_use: None,
        },
        additional: json!({ "protocols": ["socks5", "http"], "maxConnections": 64 }),
    }
}

pub(crate) fn offering() -> SignedOffering {
    SignedOffering::sign(&message(), &Templates::builtin(), &agent()).unwrap()
}

pub(crate) fn announced(offering: &SignedOffering) -> Announced {
    Announced { hash: offering.hash(), agent: agent().address(), operator: None, domain: domain() }
}

pub(crate) fn descriptor() -> ChannelDescriptor {
    ChannelDescriptor {
        client: client().address(),
        agent: agent().address(),
        offering: offering().hash(),
        nonce: 7,
        signer: key(0x51).address(),
    }
}

pub(crate) fn context() -> AccessContext {
    AccessContext {
        descriptor: descriptor(),
        domain: domain(),
        offering_template: proxy::offering_template(),
        operator: None,
    }
}

pub(crate) fn access() -> AccessMessage {
    AccessMessage {
        template: proxy::access_template(),
        channel: context().channel(),
        username: "0123".into(),
        password: Password::new("correct horse"),
        endpoint: Endpoint::new(json!({ "host": "203.0.113.7", "port": 1080, "protocols": ["socks5"] })),
    }
}

mod typed {
    alloy::sol! {
        struct Offering {
            string message;
        }

        struct SealedAccess {
            bytes32 channel;
            bytes32 offering;
            bytes32 recipient;
            bytes32 encapsulated;
            bytes ciphertext;
        }
    }
}

/// Any bytes, signed by the agent and announced with their hash: what a hostile agent can do.
pub(crate) fn forged(text: &[u8]) -> (Vec<u8>, Announced) {
    let typed = typed::Offering { message: String::from_utf8_lossy(text).into_owned() };
    let eip712 = eip712_domain! { name: "Privatix Offering", version: "1", };
    let signature = agent().sign_hash_sync(&typed.eip712_signing_hash(&eip712)).unwrap();
    let wire = [text, &signature.as_bytes()].concat();
    let hash = OfferingHash::new(keccak256(&wire));
    (wire, Announced { hash, agent: agent().address(), operator: None, domain: domain() })
}

/// The agent's signature over whatever the value says: what a hostile agent can do.
pub(crate) fn resigned(sealed: &SealedAccess) -> SealedAccess {
    let value = typed::SealedAccess {
        channel: sealed.channel.into(),
        offering: descriptor().offering.into(),
        recipient: *sealed.recipient.as_b256(),
        encapsulated: sealed.encapsulated,
        ciphertext: sealed.ciphertext.clone(),
    };
    let eip712 = eip712_domain! {
        name: "Privatix Access",
        version: "1",
        chain_id: domain().chain_id(),
        verifying_contract: domain().contract(),
    };
    let signature = agent().sign_hash_sync(&value.eip712_signing_hash(&eip712)).unwrap();
    let signature = MessageSignature::from_bytes(&signature.as_bytes()).unwrap();
    SealedAccess { signature, ..sealed.clone() }
}
