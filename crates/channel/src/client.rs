//! The client's view of a channel.

use alloy::{primitives::B256, signers::SignerSync};

use crate::{
    Amount, ChannelDescriptor, ChannelEvent, ChannelId, Domain, LogPosition, OnChain, Phase, SignError,
    SignedVoucher, Voucher, VoucherError, VoucherSignature, VoucherVerifier, sign_voucher,
};

/// A channel as its client sees it: what the chain says, and the highest voucher that it signed.
///
/// A payment goes in steps, and the types lead through them: [`propose`](Self::propose) decides what to sign and changes
/// nothing; the [`Proposal`] is signed; the caller stores the [`SignedProposal`] durably; [`commit`](Self::commit) takes it in
/// and gives the voucher to send. A client that dies between the steps never signs a second, lower voucher for what it has
/// already paid.
#[derive(Clone, Debug)]
pub struct ClientChannel {
    domain: Domain,
    descriptor: ChannelDescriptor,
    on_chain: OnChain,
    highest: Option<SignedVoucher>,
    verifier: VoucherVerifier,
}

/// A voucher that may be signed. Made by [`ClientChannel::propose`] only.
#[derive(Clone, Debug)]
#[must_use = "sign and store the proposal, then commit it"]
pub struct Proposal {
    voucher: Voucher,
    domain: Domain,
    verifier: VoucherVerifier,
}

impl Proposal {
    /// What is to be signed.
    pub const fn voucher(&self) -> Voucher {
        self.voucher
    }

    /// The EIP-712 digest, for a key that is not at hand (hardware, remote, async).
    pub fn digest(&self) -> B256 {
        self.voucher.digest(&self.domain)
    }

    /// Signs with a key at hand.
    ///
    /// # Errors
    /// [`SignError::WrongKey`] when it is not the key of the channel's signer.
    pub fn sign(self, signer: &impl SignerSync) -> Result<SignedProposal, SignError> {
        let signed = sign_voucher(signer, &self.domain, self.voucher)?;
        self.with_signature(signed.signature)
    }

    /// Takes a signature that was made elsewhere over [`digest`](Self::digest).
    ///
    /// # Errors
    /// [`SignError::WrongKey`] when it is not of the channel's signer.
    pub fn with_signature(self, signature: VoucherSignature) -> Result<SignedProposal, SignError> {
        let voucher = SignedVoucher { voucher: self.voucher, signature };
        self.verifier.verify(&voucher)?;
        Ok(SignedProposal { voucher })
    }
}

/// A signed voucher that has not been sent: store it, then [`commit`](ClientChannel::commit) it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "store the voucher, then commit it; send only what commit gives back"]
pub struct SignedProposal {
    voucher: SignedVoucher,
}

impl SignedProposal {
    /// What to store durably before it is committed and sent.
    pub const fn voucher(&self) -> &SignedVoucher {
        &self.voucher
    }
}

/// Why nothing may be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignRefused {
    /// More than the deposit: the contract would pay the deposit alone, until a top-up.
    #[error("{due} is due but the channel's deposit is {deposit}: top the channel up or stop the service")]
    AboveDeposit {
        /// What was to be signed.
        due: Amount,
        /// What the channel holds.
        deposit: Amount,
    },
    /// The channel is not open on chain (yet, or any more), or this client asked to close it.
    #[error("the channel takes no payments: it is {phase}")]
    NotOpen {
        /// What the channel is.
        phase: Phase,
    },
}

impl ClientChannel {
    /// The view of a channel that nothing is known of yet.
    pub fn new(domain: Domain, descriptor: ChannelDescriptor) -> Self {
        let verifier = VoucherVerifier::new(domain, &descriptor);
        Self { domain, descriptor, on_chain: OnChain::default(), highest: None, verifier }
    }

    /// The view rebuilt from what was stored.
    ///
    /// # Errors
    /// The stored voucher is verified again: an error here means that the store is damaged or belongs to another channel,
    /// contract or chain.
    pub fn restore(
        domain: Domain,
        descriptor: ChannelDescriptor,
        on_chain: OnChain,
        highest: Option<SignedVoucher>,
    ) -> Result<Self, VoucherError> {
        let verifier = VoucherVerifier::new(domain, &descriptor);
        if let Some(voucher) = &highest {
            verifier.verify(voucher)?;
        }
        Ok(Self { domain, descriptor, on_chain, highest, verifier })
    }

    /// The channel's id.
    pub const fn id(&self) -> ChannelId {
        self.verifier.channel()
    }

    /// What identifies the channel.
    pub const fn descriptor(&self) -> &ChannelDescriptor {
        &self.descriptor
    }

    /// What the chain says.
    pub const fn on_chain(&self) -> &OnChain {
        &self.on_chain
    }

    /// The highest committed voucher: what to send again when an answer was lost, or an agent lost it.
    pub const fn highest(&self) -> Option<&SignedVoucher> {
        self.highest.as_ref()
    }

    /// Everything that the agent can claim or has got: by voucher or on chain.
    pub fn promised(&self) -> Amount {
        self.highest.map_or(Amount::ZERO, |highest| highest.cumulative()).max(self.on_chain.paid)
    }

    /// What may still be promised before a top-up.
    pub fn left(&self) -> Amount {
        self.on_chain.deposit.saturating_sub(self.promised())
    }

    /// Takes in an event of the chain; whether it changed anything.
    pub fn apply(&mut self, at: LogPosition, event: ChannelEvent) -> bool {
        self.on_chain.apply(at, event)
    }

    /// Replaces what the chain says: after a reorganisation, folded again from the events that remain.
    pub fn reset_chain(&mut self, on_chain: OnChain) {
        self.on_chain = on_chain;
    }

    /// What to sign so that `due` is paid in all, or `None` when that is promised already. Changes nothing.
    ///
    /// `due` is what the client's own meter and terms say, never what the agent asks for. The voucher is over exactly
    /// `due`: never above the deposit and never at or below what was signed before.
    pub fn propose(&self, due: Amount) -> Result<Option<Proposal>, SignRefused> {
        let phase = self.on_chain.phase();
        if phase != Phase::Open {
            return Err(SignRefused::NotOpen { phase });
        }
        let deposit = self.on_chain.deposit;
        if due > deposit {
            return Err(SignRefused::AboveDeposit { due, deposit });
        }
        if due <= self.promised() {
            return Ok(None);
        }
        Ok(Some(Proposal {
            voucher: Voucher { channel: self.id(), cumulative: due },
            domain: self.domain,
            verifier: self.verifier.clone(),
        }))
    }

    /// Takes in a voucher that is stored durably, and gives the one to send: this one, or a higher one that was committed
    /// meanwhile.
    ///
    /// # Errors
    /// [`VoucherError::WrongChannel`] when another channel proposed it.
    pub fn commit(&mut self, stored: SignedProposal) -> Result<SignedVoucher, VoucherError> {
        let voucher = stored.voucher;
        if voucher.channel() != self.id() {
            return Err(VoucherError::WrongChannel { expected: self.id(), found: voucher.channel() });
        }
        match self.highest {
            Some(highest) if highest.cumulative() >= voucher.cumulative() => Ok(highest),
            _ => {
                self.highest = Some(voucher);
                Ok(voucher)
            }
        }
    }
}
