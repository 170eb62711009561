//! Offering and access messages: templates, canonical bytes, hashes, signatures, sealing.
//!
//! Two messages travel between an agent and a client, and this crate owns both, without any
//! storage or transport:
//!
//! - the **offering message** ([`OfferingMessage`]) says what is sold and for how much. The agent
//!   signs its canonical bytes ([`SignedOffering`]) and announces the hash of both on chain; a client
//!   that was given the bytes checks them against the chain ([`SignedOffering::verify`]).
//! - the **access message** ([`AccessMessage`]) holds what a client needs to use the service it paid
//!   for. The client asks for it with a signed [`AccessRequest`] that carries a fresh key; the agent
//!   seals the message to that key and signs it ([`SealedAccess`]).
//!
//! For the messaging channel itself an agent signs the key of its sessions ([`KeyBinding`]) and receipts ([`SignedReceipt`]), and
//! a client proves within a session that a channel is its own ([`ChannelProof`]). No method carries receipts and proofs yet.
//!
//! Where the two meet is a [`SomcAddress`]; which of an agent's [`Addresses`] a client uses is its [`ContactPolicy`].
//!
//! Both are JSON described by a [`Template`]: a JSON Schema that belongs to a product (a kind of
//! service). [`Templates`] knows the built-in ones; operators and plug-ins add their own.
//!
//! # What is signed, hashed and sealed
//!
//! | thing | bytes |
//! | --- | --- |
//! | template hash | keccak256 of the template's canonical JSON (RFC 8785) |
//! | offering signature | EIP-712 `Offering(string message)` in the domain `("Privatix Offering", "1")` over the canonical JSON, by the agent or its operator |
//! | offering hash | keccak256 of canonical JSON and 65-byte signature, one after the other; these are also the bytes on the wire |
//! | access request | EIP-712 `AccessRequest(bytes32 channel,bytes32 recipient,uint64 issuedAt)` in `("Privatix Access", "1", chain, contract)`, by the client or its voucher signer |
//! | sealed access | HPKE (RFC 9180) base mode, X25519, HKDF-SHA256, ChaCha20-Poly1305; associated data: chain, contract, channel, offering, agent |
//! | session key | EIP-712 `MessagingKey(address agent,bytes32 key,uint16 minVersion,uint16 maxVersion,uint64 issuedAt,uint64 expiresAt)` in `("Privatix Messaging", "1", chain, contract)`, by the agent or its operator |
//! | proof of a channel | EIP-712 `Attach(bytes32 channel,bytes32 session)` or `Leave(bytes32 channel,uint128 cumulative,bytes32 session)` in the same domain, by the client or its voucher signer |
//! | receipt | EIP-712 `Receipt(bytes32 channel,address agent,uint128 cumulative,uint64 used,uint8 service,string reason,uint64 block,bytes32 blockHash)` in the same domain, by the agent or its operator |
//! | access signature | EIP-712 `SealedAccess(bytes32 channel,bytes32 offering,bytes32 recipient,bytes32 encapsulated,bytes ciphertext)`, by the agent or its operator |
//!
//! # Example
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use alloy::{primitives::Address, signers::local::PrivateKeySigner};
//! use privatix_billing::{Billing, Measure, TermsDraft, Unit};
//! use privatix_channel::{Amount, Domain};
//! use privatix_offering::{Announced, OfferingMessage, SignedOffering, Templates, proxy};
//!
//! let agent = PrivateKeySigner::random();
//! let domain = Domain::new(31_337, Address::repeat_byte(0xC0), Address::repeat_byte(0x70));
//! let templates = Templates::builtin();
//! let message = OfferingMessage {
//!     template: proxy::offering_template(),
//!     agent: agent.address(),
//!     chain_id: domain.chain_id(),
//!     contract: domain.contract(),
//!     nonce: uuid::Uuid::new_v4(),
//!     service_name: "Fast proxy".into(),
//!     description: "SOCKS5 and HTTP CONNECT".into(),
//!     country: "NL".parse()?,
//!     ip_type: None,
//!     addresses: vec![],
//!     protocol: None,
//!     supply: 10,
//!     terms: TermsDraft {
//!         unit: Unit { name: "MiB".into(), measure: Measure::Bytes, size: 1_048_576 },
//!         billing: Billing::Postpaid,
//!         setup_price: Amount::ZERO,
//!         unit_price: Amount::new(1_000),
//!         free_units: 0,
//!         min_units: 100,
//!         max_units: None,
//!         billing_interval: 1,
//!         max_billing_unit_lag: 3,
//!         max_suspend: Duration::from_secs(1_800),
//!         max_inactive: Duration::from_secs(1_800),
//!         max_first_use: None,
//!     },
//!     additional: serde_json::json!({ "protocols": ["socks5", "http"] }),
//! };
//!
//! // The agent signs, announces `hash()` on chain and serves `wire()`.
//! let offering = SignedOffering::sign(&message, &templates, &agent)?;
//!
//! // The client checks what it fetched against what the chain says.
//! let announced = Announced { hash: offering.hash(), agent: agent.address(), operator: None, domain };
//! let checked = SignedOffering::verify(offering.wire(), &announced, &templates)?;
//! assert_eq!(checked.message().service_name, "Fast proxy");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod access;
mod address;
mod addresses;
mod contact;
mod country;
mod json;
mod message;
mod messaging;
mod on_contract;
pub mod proxy;
mod signature;
mod signed;
mod template;
mod versions;

pub use access::{
    AccessContext, AccessError, AccessKey, AccessMessage, AccessRequest, DescribedAccessRequest, Endpoint,
    MAX_ACCESS_DATA, MAX_ACCESS_SIZE, Password, RecipientKey, ReplayGuard, RequestError, SealedAccess,
};
pub use address::{AddressError, SomcAddress, SourceType};
pub use addresses::Addresses;
pub use contact::{ContactPolicy, NotPermitted, UnknownContactPolicy};
pub use country::{Country, UnknownCountry};
pub use json::{FieldProblem, FieldProblems, JsonError, MAX_DEPTH};
pub use message::{IpType, OfferingMessage};
pub use messaging::{
    BindingError, ChannelProof, ExpectedKey, KeyBinding, LeaveProof, ProofError, Receipt, SessionId,
    SessionKey, SignedReceipt,
};
pub use on_contract::{NotAcceptable, OfferingLife, OnContract, UnexplainedOffering};
pub use signature::{MessageSignature, SignatureProblem};
pub use signed::{Announced, MAX_OFFERING_SIZE, OfferingError, SignedOffering};
pub use template::{MAX_TEMPLATE_SIZE, Template, TemplateError, TemplateKind, Templates};
pub use versions::VersionRange;
