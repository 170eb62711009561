use alloy::primitives::{Address, U256};
use privatix_channel::{Amount, Domain, Terms};
use privatix_contracts::{
    PSC, PTC, call,
    deploy::{Deployed, Deployment, deploy},
};

use crate::{Anvil, TestkitError};

/// The marketplace's contracts on an [`Anvil`], as tests use them: [`Terms::TEST`], and tokens for its accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contracts {
    /// Address of the token (PTC).
    pub token: Address,
    /// Address of the service contract (PSC).
    pub contract: Address,
    /// The EIP-712 domain of its channels.
    pub domain: Domain,
}

impl Contracts {
    /// All tokens: 100 million with 8 decimals.
    pub const SUPPLY: Amount = Amount::new(100_000_000 * 100_000_000);
    /// What each of the accounts 1 to 9 gets: 1 million tokens. The rest stays with account 0, the deployer.
    pub const FUNDS: Amount = Amount::new(1_000_000 * 100_000_000);
    /// Index of the account that receives the network fee.
    pub const FEE_ACCOUNT: usize = 9;

    /// Tokens in the wallet of `account`.
    pub async fn token_balance(&self, anvil: &Anvil, account: Address) -> Result<Amount, TestkitError> {
        anvil.view(self.token, &PTC::balanceOfCall { account }).await.map(amount)
    }

    /// Internal balance of `account` in the service contract.
    pub async fn internal_balance(&self, anvil: &Anvil, account: Address) -> Result<Amount, TestkitError> {
        anvil.view(self.contract, &PSC::balanceOfCall { account }).await.map(amount)
    }

    /// Gives tokens of the deployer to any account.
    pub async fn give(&self, anvil: &Anvil, to: Address, tokens: Amount) -> Result<(), TestkitError> {
        anvil.send(0, self.token, &call::transfer(to, tokens)).await.map(drop)
    }

    /// Moves tokens of the funded account `index` from its wallet to its internal balance.
    ///
    /// # Panics
    /// When there is no such account.
    pub async fn deposit(&self, anvil: &Anvil, index: usize, tokens: Amount) -> Result<(), TestkitError> {
        anvil.send(index, self.token, &call::approve(self.contract, tokens)).await?;
        anvil.send(index, self.contract, &call::deposit(tokens)).await.map(drop)
    }
}

/// Sums above `u128` do not exist: the supply is far below.
fn amount(value: U256) -> Amount {
    Amount::new(value.saturating_to())
}

impl Anvil {
    /// Deploys the token and the service contract with the shortest periods ([`Terms::TEST`]: seconds, and 15 minutes for a
    /// challenge; [`Self::warp`] lets them pass) and gives [`Contracts::FUNDS`] to each of the accounts 1 to 9. Needs automining. Deterministic: on a new
    /// node the addresses are always the same.
    pub async fn deploy(&self) -> Result<Contracts, TestkitError> {
        self.deploy_with(Terms::TEST).await
    }

    /// As [`Self::deploy`], with other terms.
    pub async fn deploy_with(&self, terms: Terms) -> Result<Contracts, TestkitError> {
        let wanted = Deployment {
            holder: self.account(0),
            supply: Contracts::SUPPLY,
            fee_address: self.account(Contracts::FEE_ACCOUNT),
            terms,
        };
        let deployed: Deployed =
            deploy(self.provider(), wanted).await.map_err(|error| TestkitError::Deploy(error.into()))?;
        let contracts = Contracts {
            token: deployed.token,
            contract: deployed.contract,
            domain: deployed.domain(self.chain_id()),
        };
        for index in 1..10 {
            contracts.give(self, self.account(index), Contracts::FUNDS).await?;
        }
        Ok(contracts)
    }
}
