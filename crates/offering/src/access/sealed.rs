//! Access sealed to the client's key and signed by the agent.

use alloy::primitives::{Address, B256, Bytes};
use alloy::signers::SignerSync;
use alloy::sol_types::SolStruct;
use hpke::{Deserializable, OpModeR, OpModeS, Serializable};
use privatix_channel::{ChannelDescriptor, ChannelId, Domain};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::key::{Aead, Kdf, Suite};
use super::message::wipe;
use super::{AccessKey, AccessMessage, RecipientKey, eip712};
use crate::json::{self, FieldProblems, JsonError};
use crate::{MessageSignature, SignatureProblem, TemplateKind, Templates};

/// The largest access message, in bytes before it is sealed.
pub const MAX_ACCESS_SIZE: usize = 32 * 1024;

/// What ChaCha20-Poly1305 adds to a message.
const TAG_SIZE: usize = 16;

/// Separates this use of HPKE from any other (RFC 9180 §5.1, `info`).
const INFO: &[u8] = b"privatix access 1";

mod typed {
    alloy::sol! {
        struct SealedAccess {
            bytes32 channel;
            bytes32 offering;
            bytes32 recipient;
            bytes32 encapsulated;
            bytes ciphertext;
        }
    }
}

/// Which access: what the sealing and the signature are bound to, known to both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessContext {
    /// The channel: its parties and its offering.
    pub descriptor: ChannelDescriptor,
    /// The chain and contract that it is open on.
    pub domain: Domain,
    /// The template of the channel's offering: access must be of the same product.
    pub offering_template: B256,
    /// The operator that the chain shows for the agent, whose signature then counts as the agent's.
    pub operator: Option<Address>,
}

impl AccessContext {
    /// The channel's id.
    pub fn channel(&self) -> ChannelId {
        self.descriptor.id(&self.domain)
    }

    /// The associated data: chain, contract, channel, offering, agent; all of fixed length.
    fn associated_data(&self) -> [u8; 8 + 20 + 32 + 32 + 20] {
        let mut data = [0; 8 + 20 + 32 + 32 + 20];
        data[..8].copy_from_slice(&self.domain.chain_id().to_be_bytes());
        data[8..28].copy_from_slice(self.domain.contract().as_slice());
        data[28..60].copy_from_slice(self.channel().as_slice());
        data[60..92].copy_from_slice(self.descriptor.offering.as_slice());
        data[92..].copy_from_slice(self.descriptor.agent.as_slice());
        data
    }

    /// Checks the message's template, product, fields and channel.
    fn check(&self, value: &Value, templates: &Templates) -> Result<(), AccessError> {
        let named = value.get("template").and_then(Value::as_str).and_then(|text| text.parse::<B256>().ok());
        let Some(hash) = named else {
            return Err(FieldProblems::one("/template", "missing or not 0x and 64 hexadecimal digits").into());
        };
        let Some(template) = templates.of_kind(&hash, TemplateKind::Access) else {
            return Err(AccessError::UnknownTemplate { template: hash });
        };
        let Some(offering) = templates.of_kind(&self.offering_template, TemplateKind::Offering) else {
            return Err(AccessError::UnknownTemplate { template: self.offering_template });
        };
        if template.product() != offering.product() {
            return Err(AccessError::WrongProduct {
                expected: offering.product(),
                found: template.product(),
            });
        }
        template.validate(value)?;
        Ok(())
    }
}

/// An access message sealed with HPKE to one key and signed by the agent: safe to send over
/// anything, and to store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SealedAccess {
    /// The channel whose access this is.
    pub channel: ChannelId,
    /// The key it is sealed to.
    pub recipient: RecipientKey,
    /// HPKE's encapsulated key (`enc`).
    pub encapsulated: B256,
    /// The sealed canonical JSON of the message, with its tag.
    pub ciphertext: Bytes,
    /// The signature of the agent or its operator over all of the above and the offering.
    pub signature: MessageSignature,
}

impl SealedAccess {
    /// Checks the message as the client will, seals it to the key of a verified request and signs it
    /// with the key of the agent or of the context's operator.
    ///
    /// # Errors
    /// Whatever a client would refuse it for, [`AccessError::RecipientKey`] for an unusable key, and
    /// [`AccessError::Signature`] when the signer is neither the channel's agent nor the operator.
    pub fn seal(
        message: &AccessMessage,
        recipient: RecipientKey,
        context: &AccessContext,
        templates: &Templates,
        signer: &impl SignerSync,
    ) -> Result<Self, AccessError> {
        let channel = context.channel();
        if message.channel != channel {
            return Err(AccessError::WrongChannel { expected: channel, found: message.channel });
        }
        let mut value = json::to_value(message)?;
        let plaintext = json::canonical(&value).map(Zeroizing::new);
        let checked = context.check(&value, templates);
        wipe(&mut value);
        let plaintext = plaintext?;
        checked?;
        // The same reading as the client's: bounds on size and depth included.
        wipe(&mut json::parse_canonical(&plaintext, MAX_ACCESS_SIZE)?);

        let key = recipient.to_hpke().ok_or(AccessError::RecipientKey)?;
        let data = context.associated_data();
        let (enc, ciphertext) =
            hpke::single_shot_seal::<Aead, Kdf, Suite>(&OpModeS::Base, &key, INFO, &plaintext, &data)
                .map_err(|_| AccessError::RecipientKey)?;
        let mut encapsulated = B256::ZERO;
        enc.write_exact(encapsulated.as_mut_slice());
        let ciphertext = Bytes::from(ciphertext);
        let digest = digest(context, channel, recipient, encapsulated, &ciphertext);
        let signature = MessageSignature::sign(&digest, signer, context.descriptor.agent, context.operator)?;
        Ok(Self { channel, recipient, encapsulated, ciphertext, signature })
    }

    /// Checks that this is the agent's answer to this key for this channel, opens it, and checks the
    /// message against its template.
    ///
    /// # Errors
    /// The first check that failed: size, channel, key, signature, sealing, form, template, fields.
    pub fn open(
        &self,
        key: &AccessKey,
        context: &AccessContext,
        templates: &Templates,
    ) -> Result<AccessMessage, AccessError> {
        let limit = MAX_ACCESS_SIZE + TAG_SIZE;
        if self.ciphertext.len() > limit {
            return Err(JsonError::TooLarge { size: self.ciphertext.len(), limit }.into());
        }
        let channel = context.channel();
        if self.channel != channel {
            return Err(AccessError::WrongChannel { expected: channel, found: self.channel });
        }
        if self.recipient != key.public() {
            return Err(AccessError::OtherKey { expected: key.public(), found: self.recipient });
        }
        let digest = digest(context, channel, self.recipient, self.encapsulated, &self.ciphertext);
        self.signature.check(&digest, context.descriptor.agent, context.operator)?;

        let enc =
            Deserializable::from_bytes(self.encapsulated.as_slice()).map_err(|_| AccessError::Unsealable)?;
        let data = context.associated_data();
        let mode = OpModeR::Base;
        let plaintext = hpke::single_shot_open::<Aead, Kdf, Suite>(
            &mode,
            key.secret(),
            &enc,
            INFO,
            &self.ciphertext,
            &data,
        )
        .map(Zeroizing::new)
        .map_err(|_| AccessError::Unsealable)?;

        let mut value = json::parse_canonical(&plaintext, MAX_ACCESS_SIZE)?;
        let checked = context.check(&value, templates);
        if let Err(error) = checked {
            wipe(&mut value);
            return Err(error);
        }
        // The schema was satisfied, so a failure here quotes no secret.
        let message: AccessMessage = json::typed(value)?;
        if message.channel != channel {
            return Err(AccessError::WrongChannel { expected: channel, found: message.channel });
        }
        Ok(message)
    }
}

fn digest(
    context: &AccessContext,
    channel: ChannelId,
    recipient: RecipientKey,
    encapsulated: B256,
    ciphertext: &Bytes,
) -> B256 {
    let sealed = typed::SealedAccess {
        channel: channel.into(),
        offering: context.descriptor.offering.into(),
        recipient: *recipient.as_b256(),
        encapsulated,
        ciphertext: ciphertext.clone(),
    };
    sealed.eip712_signing_hash(&eip712(&context.domain))
}

/// Why access could not be sealed, or is refused. Messages never quote what was sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// Too large, too deep, not JSON, not canonical.
    #[error("the access message is refused: {0}")]
    Json(#[from] JsonError),
    /// For another channel, contract or chain.
    #[error("the access is for channel {found}, not for {expected}")]
    WrongChannel {
        /// The channel that it was presented for.
        expected: ChannelId,
        /// The channel that it names.
        found: ChannelId,
    },
    /// Sealed to a key of another request or of somebody else.
    #[error("the access is sealed for key {}, not for {}; ask the agent again", found.as_b256(), expected.as_b256())]
    OtherKey {
        /// The key that we hold.
        expected: RecipientKey,
        /// The key that it names.
        found: RecipientKey,
    },
    /// Not signed by the channel's agent (or, when sealing, not the agent's key).
    #[error("the access's signature is refused: {0}")]
    Signature(#[from] SignatureProblem),
    /// The key in the request is no usable X25519 key.
    #[error("the request's key is not a usable X25519 public key; generate a fresh one")]
    RecipientKey,
    /// Signed by the agent, but it does not open with our key for this channel.
    #[error("the access does not open with the key it names; ask the agent again")]
    Unsealable,
    /// No access template (or no offering template) of this hash is known here.
    #[error("the template {template} is not known here; add it to the templates to use this service")]
    UnknownTemplate {
        /// The template's hash.
        template: B256,
    },
    /// An access template of another product than the offering's.
    #[error("the access is to product {found}, but the offering is of product {expected}")]
    WrongProduct {
        /// Of the offering's template.
        expected: Uuid,
        /// Of the access's template.
        found: Uuid,
    },
    /// Fields that the schemas refuse.
    #[error("the access message does not fit its template: {0}")]
    Fields(#[from] FieldProblems),
}
