//! Tokens as they are found on public chains, to try a service contract over.

use std::collections::BTreeMap;

use alloy::network::TransactionBuilder as _;
use alloy::primitives::Bytes;
use alloy::providers::Provider as _;
use alloy::rpc::types::TransactionRequest;
use privatix_channel::{Domain, Terms};
use privatix_contracts::{call, deploy::deploy_service};

use crate::{Anvil, Contracts, TestkitError};

/// A kind of token: `contracts/test/tokens/Tokens.sol` says what makes each differ. The marketplace's own token, with
/// OpenZeppelin's permits and EIP-5267, is what [`Anvil::deploy`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestToken {
    /// EIP-2612 under version "2", as USDC.
    UsdcLike,
    /// EIP-2612 with the chain's id as the domain's salt, as bridged tokens on Polygon.
    SaltedDomain,
    /// EIP-2612 under a domain without a version, as UNI.
    NoVersion,
    /// EIP-2612 under another domain than the one that it shows.
    WrongSeparator,
    /// No return values, no permits, and an allowance that can only be changed through zero, as USDT.
    UsdtLike,
    /// Permits of another form, as DAI.
    DaiLike,
    /// Name and symbol as words, no permits, as MKR.
    MkrLike,
    /// Takes a hundredth of every transfer.
    FeeOnTransfer,
    /// Moves tokens and returns false, as Tether Gold.
    ReturnsFalse,
    /// Accepts calls of functions that it does not have, and describes itself with garbage.
    AcceptsAnyPermit,
}

impl TestToken {
    fn bytecode(self) -> Result<Bytes, TestkitError> {
        let all: BTreeMap<String, Bytes> = serde_json::from_str(include_str!("../artifacts/tokens.json"))
            .map_err(|error| self.failed(&error))?;
        all.get(&format!("{self:?}"))
            .cloned()
            .ok_or_else(|| self.failed(&"it has no artifact: run `npm run artifacts` in contracts"))
    }

    fn failed(self, reason: &dyn std::fmt::Display) -> TestkitError {
        TestkitError::Token { token: format!("{self:?}"), reason: reason.to_string() }
    }
}

impl Anvil {
    /// As [`Self::deploy`], over another token. The deployer keeps the supply that the accounts 1 to 9 do not get.
    pub async fn deploy_over(&self, token: TestToken) -> Result<Contracts, TestkitError> {
        let provider = self.provider();
        let creation = TransactionRequest::default().with_deploy_code(token.bytecode()?);
        let pending = provider.send_transaction(creation).await.map_err(|error| token.failed(&error))?;
        let receipt = pending.get_receipt().await.map_err(|error| token.failed(&error))?;
        let address = receipt.contract_address.filter(|_| receipt.status());
        let address = address.ok_or_else(|| token.failed(&"its creation reverted"))?;
        let fees = self.account(Contracts::FEE_ACCOUNT);
        let contract = deploy_service(&provider, address, fees, Terms::TEST)
            .await
            .map_err(|error| TestkitError::Deploy(error.into()))?;
        for index in 1..10 {
            self.send(0, address, &call::transfer(self.account(index), Contracts::FUNDS)).await?;
        }
        let domain = Domain::new(self.chain_id(), contract, address);
        Ok(Contracts { token: address, contract, domain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_token_has_its_artifact() {
        use TestToken::*;
        for token in [
            UsdcLike,
            SaltedDomain,
            NoVersion,
            WrongSeparator,
            UsdtLike,
            DaiLike,
            MkrLike,
            FeeOnTransfer,
            ReturnsFalse,
            AcceptsAnyPermit,
        ] {
            assert!(token.bytecode().is_ok_and(|code| code.len() > 100), "{token:?}");
        }
    }
}
