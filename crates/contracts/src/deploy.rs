//! Puts the contracts on a chain.

use alloy::{
    network::Network,
    primitives::{Address, U256, aliases::U40},
    providers::Provider,
};
use privatix_channel::{Amount, Domain};

use crate::{PSC, PTC};

/// The periods of a service contract, in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Periods {
    /// Between two announcements of an offering.
    pub pop_up: u32,
    /// From an offering's last announcement to its removal.
    pub remove: u32,
    /// In which an agent can answer a close request.
    pub challenge: u32,
}

impl Periods {
    /// The reference system's in production.
    pub const PRODUCTION: Self = Self { pop_up: 500, remove: 100, challenge: 5_000 };
    /// The reference system's in tests.
    pub const TEST: Self = Self { pop_up: 10, remove: 5, challenge: 20 };
}

/// What to deploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Receives the token's whole supply.
    pub holder: Address,
    /// The token's supply in base units.
    pub supply: Amount,
    /// Receives and sets the network fee.
    pub fee_address: Address,
    /// The service contract's periods.
    pub periods: Periods,
}

/// Where the contracts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// The token (PTC).
    pub token: Address,
    /// The service contract (PSC).
    pub contract: Address,
}

impl Deployed {
    /// The EIP-712 domain of the contract's channels.
    pub fn domain(&self, chain_id: u64) -> Domain {
        Domain::new(chain_id, self.contract, self.token)
    }
}

/// A deployment that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot deploy {contract}: check the endpoint, and that the deployer holds enough ether")]
pub struct DeployError {
    /// Which contract.
    pub contract: &'static str,
    /// Why.
    #[source]
    pub source: alloy::contract::Error,
}

/// Deploys the token and the service contract from the provider's default sender, and waits until both are mined.
pub async fn deploy<P: Provider<N>, N: Network>(
    provider: P,
    wanted: Deployment,
) -> Result<Deployed, DeployError> {
    let token = deploy_token(&provider, wanted.holder, wanted.supply).await?;
    let contract = deploy_service(&provider, token, wanted.fee_address, wanted.periods).await?;
    Ok(Deployed { token, contract })
}

/// Deploys a token whose whole supply `holder` receives.
pub async fn deploy_token<P: Provider<N>, N: Network>(
    provider: P,
    holder: Address,
    supply: Amount,
) -> Result<Address, DeployError> {
    PTC::deploy_builder(provider, holder, U256::from(supply.get()))
        .deploy()
        .await
        .map_err(|source| DeployError { contract: "the token (PTC)", source })
}

/// Deploys a service contract for `token`.
pub async fn deploy_service<P: Provider<N>, N: Network>(
    provider: P,
    token: Address,
    fee_address: Address,
    periods: Periods,
) -> Result<Address, DeployError> {
    let [pop_up, remove, challenge] = [periods.pop_up, periods.remove, periods.challenge].map(U40::from);
    PSC::deploy_builder(provider, token, fee_address, pop_up, remove, challenge)
        .deploy()
        .await
        .map_err(|source| DeployError { contract: "the service contract (PSC)", source })
}
