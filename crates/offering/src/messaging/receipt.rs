//! Receipts: an agent's transferable word about where a channel stands.

use alloy::primitives::{Address, B256};
use alloy::signers::SignerSync;
use alloy::sol_types::SolStruct;
use privatix_channel::{Amount, ChannelId, Domain, Reason, ServiceState, Usage};
use serde::{Deserialize, Serialize};

use super::eip712;
use crate::{MessageSignature, SignatureProblem};

mod typed {
    alloy::sol! {
        struct Receipt {
            bytes32 channel;
            address agent;
            uint128 cumulative;
            uint64 used;
            uint8 service;
            string reason;
            uint64 block;
            bytes32 blockHash;
        }
    }
}

/// Where a channel stands by its agent's word. It moves no money: vouchers and the contract do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// The channel.
    pub channel: ChannelId,
    /// Its agent.
    pub agent: Address,
    /// What is acknowledged: proven by a voucher and stored, in base units of the token.
    pub cumulative: Amount,
    /// What the agent's meter shows, in base units of the measure.
    pub used: Usage,
    /// What the service does.
    pub service: ServiceState,
    /// Why it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The newest block that the agent had seen. It dates the receipt from below: the hash was not known before.
    pub block: u64,
    /// Its hash.
    pub block_hash: B256,
}

impl Receipt {
    fn digest(&self, domain: &Domain) -> B256 {
        let receipt = typed::Receipt {
            channel: self.channel.into(),
            agent: self.agent,
            cumulative: self.cumulative.get(),
            used: self.used.get(),
            service: self.service.code(),
            reason: self.reason.as_ref().map_or_else(String::new, |reason| reason.as_str().to_owned()),
            block: self.block,
            blockHash: self.block_hash,
        };
        receipt.eip712_signing_hash(&eip712(domain))
    }
}

/// A [`Receipt`] with the signature of the agent or of its operator: proof to third parties of what the agent said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedReceipt {
    #[serde(flatten)]
    receipt: Receipt,
    signature: MessageSignature,
}

impl SignedReceipt {
    /// Signs a receipt as its agent or as its operator.
    ///
    /// # Errors
    /// [`SignatureProblem`] when the key is neither's, or cannot sign.
    pub fn sign(
        receipt: Receipt,
        domain: &Domain,
        operator: Option<Address>,
        signer: &impl SignerSync,
    ) -> Result<Self, SignatureProblem> {
        let signature = MessageSignature::sign(&receipt.digest(domain), signer, receipt.agent, operator)?;
        Ok(Self { receipt, signature })
    }

    /// Checks that `agent`, or its operator, signed it for this contract. Compare the channel of the receipt with the one that
    /// was asked about.
    ///
    /// # Errors
    /// [`SignatureProblem::WrongSigner`].
    pub fn verify(
        &self,
        domain: &Domain,
        agent: Address,
        operator: Option<Address>,
    ) -> Result<&Receipt, SignatureProblem> {
        if self.receipt.agent != agent {
            return Err(SignatureProblem::WrongSigner { expected: agent });
        }
        self.signature.check(&self.receipt.digest(domain), agent, operator).map(|()| &self.receipt)
    }

    /// What it says; nothing of it has been checked.
    pub const fn unverified(&self) -> &Receipt {
        &self.receipt
    }

    /// The signature.
    pub const fn signature(&self) -> &MessageSignature {
        &self.signature
    }
}
