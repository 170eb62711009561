//! Internal balances and wallets.

use alloy::primitives::{Address, B256, b256};

use super::{Authorization, Contract, Event, Revert, contract::Events};
use crate::{
    Amount, TransferAuthorization, VoucherSignature,
    domain::separator_of,
    signature::{address_of, has_high_s},
};

/// `keccak256("Privatix Token")`.
const TOKEN_NAME_HASH: B256 = b256!("c60731eee993de3bf7177fb17d97a74686b31ee0bec177709b3972bbe483ba23");

impl Contract {
    /// Puts tokens into a wallet, which allows the contract to take them.
    pub fn fund(&mut self, account: Address, amount: Amount) {
        add(self.wallets.entry(account).or_default(), amount);
    }

    /// An account's internal balance; the fee address's holds the fees.
    pub fn balance_of(&self, account: Address) -> Amount {
        let fees = if account == self.fee_address { self.uncollected_fees } else { Amount::ZERO };
        self.balances.get(&account).copied().unwrap_or_default().saturating_add(fees)
    }

    /// The tokens in an account's wallet.
    pub fn wallet_of(&self, account: Address) -> Amount {
        self.wallets.get(&account).copied().unwrap_or_default()
    }

    /// The tokens that the contract holds.
    pub const fn held(&self) -> Amount {
        self.held
    }

    /// The separator of the token's EIP-712 domain, in which authorisations are signed.
    pub fn token_separator(&self) -> B256 {
        separator_of(TOKEN_NAME_HASH, self.domain.chain_id(), self.domain.token())
    }

    pub(super) fn deposit(
        &mut self,
        sender: Address,
        account: Address,
        amount: Amount,
        events: &mut Events,
    ) -> Result<(), Revert> {
        self.pull(sender, amount)?;
        if amount.is_zero() {
            return Err(Revert::ZeroAmount);
        }
        self.credit(account, amount);
        events.push(Event::Deposited { account, amount });
        Ok(())
    }

    pub(super) fn deposit_for(
        &mut self,
        sender: Address,
        account: Address,
        amount: Amount,
        events: &mut Events,
    ) -> Result<(), Revert> {
        if account.is_zero() {
            return Err(Revert::ZeroAddress);
        }
        self.deposit(sender, account, amount, events)
    }

    pub(super) fn withdraw(
        &mut self,
        sender: Address,
        to: Address,
        amount: Amount,
        events: &mut Events,
    ) -> Result<(), Revert> {
        if amount.is_zero() {
            return Err(Revert::ZeroAmount);
        }
        if to.is_zero() || to == self.domain.contract() {
            return Err(Revert::InvalidRecipient { recipient: to });
        }
        self.debit(sender, amount)?;
        take(&mut self.held, amount);
        self.fund(to, amount);
        events.push(Event::Withdrawn { account: sender, to, amount });
        Ok(())
    }

    pub(super) fn withdraw_all(
        &mut self,
        sender: Address,
        to: Address,
        events: &mut Events,
    ) -> Result<Amount, Revert> {
        let amount = self.balance_of(sender);
        if !amount.is_zero() {
            self.withdraw(sender, to, amount, events)?;
        }
        Ok(amount)
    }

    /// Takes tokens from a wallet with an allowance.
    pub(super) fn pull(&mut self, account: Address, needed: Amount) -> Result<(), Revert> {
        let available = self.wallet_of(account);
        if available < needed {
            return Err(Revert::InsufficientWallet { account, available, needed });
        }
        take(self.wallets.entry(account).or_default(), needed);
        add(&mut self.held, needed);
        Ok(())
    }

    /// Takes tokens from a wallet by its authorisation. `signed` is what the authorisation has to be over.
    pub(super) fn pull_authorized(
        &mut self,
        signed: &TransferAuthorization,
        authorization: &Authorization,
    ) -> Result<(), Revert> {
        let (authorizer, nonce) = (signed.from(), signed.nonce());
        if self.time <= signed.valid_after() {
            return Err(Revert::AuthorizationNotYetValid { valid_after: signed.valid_after() });
        }
        if self.time >= signed.valid_before() {
            return Err(Revert::AuthorizationExpired { valid_before: signed.valid_before() });
        }
        if self.authorizations.contains(&(authorizer, nonce)) {
            return Err(Revert::AuthorizationAlreadyUsed { authorizer, nonce });
        }
        let signature = &authorization.signature;
        if has_high_s(signature) {
            return Err(Revert::AuthorizationHighS { s: B256::from_slice(&signature[32..64]) });
        }
        let digest = signed.digest(self.token_separator());
        let key = VoucherSignature::from_bytes(signature).ok().and_then(|good| good.recover(digest));
        let signer = key.map(|key| address_of(&key)).ok_or(Revert::AuthorizationMalformed)?;
        if signer != authorizer {
            return Err(Revert::AuthorizationNotSigned { signer, authorizer });
        }
        self.authorizations.insert((authorizer, nonce));
        self.pull(authorizer, signed.value())
    }

    pub(super) fn credit(&mut self, account: Address, amount: Amount) {
        add(self.balances.entry(account).or_default(), amount);
    }

    pub(super) fn credit_fees(&mut self, amount: Amount) {
        add(&mut self.uncollected_fees, amount);
    }

    pub(super) fn debit(&mut self, account: Address, needed: Amount) -> Result<(), Revert> {
        let available = self.balance_of(account);
        if available < needed {
            return Err(Revert::InsufficientBalance { account, available, needed });
        }
        // Collected only when they are needed.
        if self.balances.get(&account).copied().unwrap_or_default() < needed {
            let fees = std::mem::take(&mut self.uncollected_fees);
            self.credit(account, fees);
        }
        take(self.balances.entry(account).or_default(), needed);
        Ok(())
    }
}

/// Amounts here are backed by tokens, of which there are fewer than 2^96.
fn add(to: &mut Amount, amount: Amount) {
    *to = to.saturating_add(amount);
}

fn take(from: &mut Amount, amount: Amount) {
    *from = from.saturating_sub(amount);
}

#[cfg(test)]
mod tests {
    use alloy::primitives::keccak256;

    use super::*;

    #[test]
    fn the_tokens_name_is_hashed() {
        assert_eq!(TOKEN_NAME_HASH, keccak256("Privatix Token"));
    }
}
