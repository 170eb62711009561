//! Operators, nonces, and who signs for an account.

use alloy::primitives::{Address, B256};

use super::{Contract, Event, Revert, Signatures, contract::Events};
use crate::{ChainTime, ChannelDescriptor, VoucherSignature, signature::address_of};

/// An account's slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    operator: Address,
    nonce: u64,
}

/// What the code of an account decides about signatures (ERC-1271).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// It accepts everything.
    AcceptsAll,
    /// It accepts nothing.
    RefusesAll,
}

impl Contract {
    /// Gives an account code, or takes it away.
    pub fn set_code(&mut self, account: Address, code: Option<Code>) {
        match code {
            Some(code) => self.codes.insert(account, code),
            None => self.codes.remove(&account),
        };
    }

    /// Who may act for an agent; zero when nobody may.
    pub fn operator_of(&self, agent: Address) -> Address {
        self.account(agent).operator
    }

    /// What a consent or a relayed close request of an account must carry.
    pub fn nonce_of(&self, account: Address) -> u64 {
        self.account(account).nonce
    }

    fn account(&self, account: Address) -> Account {
        self.accounts.get(&account).copied().unwrap_or_default()
    }

    pub(super) fn set_operator(&mut self, agent: Address, operator: Address, events: &mut Events) {
        let account = self.accounts.entry(agent).or_default();
        account.operator = operator;
        account.nonce += 1;
        events.push(Event::OperatorChanged { agent, operator, nonce: account.nonce });
    }

    pub(super) fn revoke_consents(
        &mut self,
        sender: Address,
        account: Address,
        events: &mut Events,
    ) -> Result<(), Revert> {
        self.require_agent(sender, account)?;
        let slot = self.accounts.entry(account).or_default();
        slot.nonce += 1;
        events.push(Event::ConsentsRevoked { account, nonce: slot.nonce });
        Ok(())
    }

    pub(super) fn require_agent(&self, sender: Address, agent: Address) -> Result<(), Revert> {
        if sender == agent || sender == self.operator_of(agent) {
            return Ok(());
        }
        Err(Revert::NotAgent { caller: sender })
    }

    pub(super) fn require_current(
        &self,
        account: Address,
        given: u64,
        deadline: ChainTime,
    ) -> Result<(), Revert> {
        if self.time > deadline {
            return Err(Revert::Expired { deadline });
        }
        let current = self.nonce_of(account);
        if given == current { Ok(()) } else { Err(Revert::WrongNonce { given, current }) }
    }

    /// Whether whoever signs for the channel signed this.
    pub(super) fn is_signed(&self, descriptor: &ChannelDescriptor, digest: B256, signature: &[u8]) -> bool {
        if self.signatures == Signatures::Tags {
            return signature == tag(descriptor.voucher_signer(), digest);
        }
        if !descriptor.signer.is_zero() {
            return key_of(digest, signature) == Some(descriptor.signer);
        }
        match self.codes.get(&descriptor.client) {
            Some(Code::AcceptsAll) => true,
            Some(Code::RefusesAll) => false,
            None => key_of(digest, signature) == Some(descriptor.client),
        }
    }

    /// Whether the agent's key or its operator's signed this; their code counts for nothing.
    pub(super) fn binds_agent(&self, agent: Address, digest: B256, signature: &[u8]) -> bool {
        key_of(digest, signature).is_some_and(|key| key == agent || key == self.operator_of(agent))
    }
}

/// What counts as the signature of `signer` under [`Signatures::Tags`].
pub fn tag(signer: Address, digest: B256) -> Vec<u8> {
    [signer.as_slice(), digest.as_slice()].concat()
}

fn key_of(digest: B256, signature: &[u8]) -> Option<Address> {
    let key = VoucherSignature::from_bytes(signature).ok()?.recover(digest)?;
    Some(address_of(&key))
}
