//! The signed offering: canonical bytes and the agent's signature, checked against the chain.

use alloy::primitives::{Address, B256, keccak256};
use alloy::signers::SignerSync;
use alloy::sol_types::{SolStruct, eip712_domain};
use privatix_billing::{Terms, TermsError};
use privatix_channel::{Domain, OfferingHash};
use serde_json::Value;

use crate::json::{self, FieldProblem, FieldProblems, JsonError, shortened};
use crate::{MessageSignature, OfferingMessage, SignatureProblem, SomcAddress, TemplateKind, Templates};

/// The largest signed offering, in bytes on the wire.
pub const MAX_OFFERING_SIZE: usize = 64 * 1024;

mod eip712 {
    alloy::sol! {
        /// A wallet that signs this shows the whole message. Chain and contract are in it.
        struct Offering {
            string message;
        }
    }
}

/// What the chain says about an offering: what a received message must match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// The announced hash.
    pub hash: OfferingHash,
    /// The agent that announced it.
    pub agent: Address,
    /// The operator that the chain shows for the agent, whose signature then counts as the agent's. `None` where there
    /// is none, or where only the agent's own signature is to count.
    pub operator: Option<Address>,
    /// The chain and contract where it is announced.
    pub domain: Domain,
}

/// An offering message with its agent's signature: what is served, hashed and announced.
///
/// A value of this type has passed every check: canonical, signed by the message's agent or by an
/// operator of it, valid against its template, with usable terms.
#[derive(Debug, Clone, PartialEq)]
pub struct SignedOffering {
    wire: Vec<u8>,
    hash: OfferingHash,
    message: OfferingMessage,
    terms: Terms,
    signature: MessageSignature,
}

impl SignedOffering {
    /// Checks and signs a message with its agent's key.
    ///
    /// # Errors
    /// Whatever a client would refuse it for, and [`OfferingError::Signature`] when the key is not
    /// `message.agent`'s.
    pub fn sign(
        message: &OfferingMessage,
        templates: &Templates,
        signer: &impl SignerSync,
    ) -> Result<Self, OfferingError> {
        Self::sign_by(message, templates, signer, None)
    }

    /// Checks and signs a message with the key of its agent, or of the agent's `operator` if it has one. Clients accept an
    /// operator's signature while the chain shows that operator for the agent.
    ///
    /// # Errors
    /// As [`sign`](Self::sign), where the key may be the operator's, too.
    pub fn sign_by(
        message: &OfferingMessage,
        templates: &Templates,
        signer: &impl SignerSync,
        operator: Option<Address>,
    ) -> Result<Self, OfferingError> {
        let value = json::to_value(message)?;
        let mut wire = json::canonical(&value)?;
        // The same reading as the client's: bounds on size and depth included.
        let value = json::parse_canonical(&wire, MAX_OFFERING_SIZE - MessageSignature::SIZE)?;
        let (message, terms) = check_message(value, templates)?;
        let signature = MessageSignature::sign(&digest(&wire)?, signer, message.agent, operator)?;
        wire.extend_from_slice(signature.as_bytes());
        Ok(Self { hash: hash(&wire), wire, message, terms, signature })
    }

    /// Checks received bytes against what the chain announced, in the order of cost and trust: size,
    /// hash, signature (before anything in the message is believed), form, template, fields, terms,
    /// and that it is announced where it says.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn verify(wire: &[u8], announced: &Announced, templates: &Templates) -> Result<Self, OfferingError> {
        Self::read(wire, announced, templates, Trust::Stranger)
    }

    /// Reads bytes that passed [`verify`](Self::verify) before and were kept. Everything is checked
    /// again but who signed them: the operator that did may have been replaced since.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn restore(wire: &[u8], announced: &Announced, templates: &Templates) -> Result<Self, OfferingError> {
        Self::read(wire, announced, templates, Trust::VerifiedBefore)
    }

    fn read(
        wire: &[u8],
        announced: &Announced,
        templates: &Templates,
        trust: Trust,
    ) -> Result<Self, OfferingError> {
        if wire.len() > MAX_OFFERING_SIZE {
            return Err(JsonError::TooLarge { size: wire.len(), limit: MAX_OFFERING_SIZE }.into());
        }
        let found = hash(wire);
        if found != announced.hash {
            return Err(OfferingError::WrongHash { announced: announced.hash, found });
        }
        let Some((bytes, signature)) = wire.split_last_chunk::<{ MessageSignature::SIZE }>() else {
            return Err(OfferingError::TooShort { size: wire.len() });
        };
        let signature = MessageSignature::from_bytes(signature)?;
        if trust == Trust::Stranger {
            signature.check(&digest(bytes)?, announced.agent, announced.operator)?;
        }

        let value = json::parse_canonical(bytes, MAX_OFFERING_SIZE)?;
        let (message, terms) = check_message(value, templates)?;
        if message.agent != announced.agent {
            return Err(OfferingError::WrongAgent { announced: announced.agent, found: message.agent });
        }
        let (chain_id, contract) = (announced.domain.chain_id(), announced.domain.contract());
        if message.chain_id != chain_id {
            return Err(OfferingError::WrongChain { expected: chain_id, found: message.chain_id });
        }
        if message.contract != contract {
            return Err(OfferingError::WrongContract { expected: contract, found: message.contract });
        }
        Ok(Self { wire: wire.to_vec(), hash: found, message, terms, signature })
    }

    /// What is served: the canonical JSON, then the 65-byte signature.
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// keccak256 of [`wire`](Self::wire): what is announced on chain.
    pub fn hash(&self) -> OfferingHash {
        self.hash
    }

    /// The message.
    pub fn message(&self) -> &OfferingMessage {
        &self.message
    }

    /// The message's terms, checked.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The signature of the agent or of its operator.
    pub fn signature(&self) -> &MessageSignature {
        &self.signature
    }

    /// Whether `account` signed it.
    pub fn is_signed_by(&self, account: Address) -> bool {
        let Some((bytes, _)) = self.wire.split_last_chunk::<{ MessageSignature::SIZE }>() else {
            return false;
        };
        digest(bytes).is_ok_and(|digest| self.signature.check(&digest, account, None).is_ok())
    }
}

/// Where the bytes of an offering come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// From anybody.
    Stranger,
    /// From where we put them after we had verified them.
    VerifiedBefore,
}

fn hash(wire: &[u8]) -> OfferingHash {
    OfferingHash::new(keccak256(wire))
}

/// The EIP-712 digest of the message's text.
fn digest(bytes: &[u8]) -> Result<B256, JsonError> {
    let text =
        std::str::from_utf8(bytes).map_err(|error| JsonError::Syntax { problem: error.to_string() })?;
    let domain = eip712_domain! { name: "Privatix Offering", version: "1", };
    Ok(eip712::Offering { message: text.to_owned() }.eip712_signing_hash(&domain))
}

/// Each address is one, in its only spelling: else one address could be listed twice.
fn check_addresses(message: &Value) -> Result<(), FieldProblems> {
    let listed = message.get("addresses").and_then(Value::as_array).into_iter().flatten();
    let problems = listed.enumerate().filter_map(|(index, text)| {
        let text = text.as_str().unwrap_or_default();
        let problem = match text.parse::<SomcAddress>() {
            Ok(address) if address.to_string() == text => return None,
            Ok(address) => format!("another spelling of {address}; write it like that"),
            Err(error) => error.to_string(),
        };
        Some(FieldProblem { pointer: format!("/addresses/{index}"), problem: shortened(&problem) })
    });
    FieldProblems::collect(problems).map_or(Ok(()), Err)
}

/// Template, fields and terms.
fn check_message(value: Value, templates: &Templates) -> Result<(OfferingMessage, Terms), OfferingError> {
    let Some(named) = value.get("template").and_then(Value::as_str) else {
        return Err(FieldProblems::one("/template", "missing or not a string").into());
    };
    let hash: B256 =
        named.parse().map_err(|_| FieldProblems::one("/template", "not 0x and 64 hexadecimal digits"))?;
    let Some(template) = templates.of_kind(&hash, TemplateKind::Offering) else {
        return Err(OfferingError::UnknownTemplate { template: hash });
    };
    template.validate(&value)?;
    check_addresses(&value)?;
    let message: OfferingMessage = json::typed(value)?;
    let terms = message.terms()?;
    Ok((message, terms))
}

/// Why an offering is refused. Nothing of it was used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferingError {
    /// Too large, too deep, not JSON, not canonical.
    #[error("the offering message is refused: {0}")]
    Json(#[from] JsonError),
    /// Fewer bytes than a signature has.
    #[error("the offering has {size} bytes, fewer than its signature alone")]
    TooShort {
        /// Its size.
        size: usize,
    },
    /// Not what the chain announced.
    #[error("the offering's hash is {found}, the chain announced {announced}")]
    WrongHash {
        /// On chain.
        announced: OfferingHash,
        /// Of the bytes.
        found: OfferingHash,
    },
    /// Not signed by the announcing agent (or, when signing, neither the agent's key nor its operator's).
    #[error("the offering's signature is refused: {0}")]
    Signature(#[from] SignatureProblem),
    /// The message names another agent than the one that announced and signed it.
    #[error("the offering names agent {found}, but {announced} announced it")]
    WrongAgent {
        /// On chain.
        announced: Address,
        /// In the message.
        found: Address,
    },
    /// No offering template of this hash is known here.
    #[error("the offering's template {template} is not known here; add it to the templates to trade in it")]
    UnknownTemplate {
        /// The template's hash.
        template: B256,
    },
    /// Fields that the schemas refuse.
    #[error("the offering does not fit its template: {0}")]
    Fields(#[from] FieldProblems),
    /// Terms that break a rule.
    #[error("the offering's terms are refused: /terms/{0}")]
    Terms(#[from] TermsError),
    /// Announced on this chain, made for another.
    #[error("the offering is for chain {found}, not for {expected}")]
    WrongChain {
        /// Our chain.
        expected: u64,
        /// In the message.
        found: u64,
    },
    /// Announced by this contract, made for another.
    #[error("the offering is for contract {found}, not for {expected}")]
    WrongContract {
        /// Our contract.
        expected: Address,
        /// In the message.
        found: Address,
    },
}
