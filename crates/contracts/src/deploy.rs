//! Puts the contracts on a chain.

use alloy::{
    network::Network,
    primitives::{Address, U256},
    providers::Provider,
};
use privatix_channel::{Amount, Domain, Terms};

use crate::{AboveContractRange, PSC, PTC};

/// What to deploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Receives the token's whole supply.
    pub holder: Address,
    /// The token's supply in base units.
    pub supply: Amount,
    /// Receives and sets the network fee.
    pub fee_address: Address,
    /// The service contract's periods and least stake.
    pub terms: Terms,
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
#[non_exhaustive]
pub enum DeployError {
    /// The deployment's transaction failed.
    #[error("cannot deploy {contract}: check the endpoint, and that the deployer holds enough ether")]
    Failed {
        /// Which contract.
        contract: &'static str,
        /// Why.
        #[source]
        source: alloy::contract::Error,
    },
    /// The least stake cannot be held by the contract.
    #[error("cannot deploy the service contract (PSC) with this least stake")]
    Stake(#[from] AboveContractRange),
}

impl DeployError {
    /// The contract's own refusal, if that is why.
    pub fn refusal(&self) -> Option<crate::PscError> {
        match self {
            Self::Failed { source, .. } => crate::PscError::of(source),
            Self::Stake(_) => None,
        }
    }
}

/// Deploys the token and the service contract from the provider's default sender, and waits until both are mined.
pub async fn deploy<P: Provider<N>, N: Network>(
    provider: P,
    wanted: Deployment,
) -> Result<Deployed, DeployError> {
    let token = deploy_token(&provider, wanted.holder, wanted.supply).await?;
    let contract = deploy_service(&provider, token, wanted.fee_address, wanted.terms).await?;
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
        .map_err(|source| DeployError::Failed { contract: "the token (PTC)", source })
}

/// Deploys a service contract for `token`.
pub async fn deploy_service<P: Provider<N>, N: Network>(
    provider: P,
    token: Address,
    fee_address: Address,
    terms: Terms,
) -> Result<Address, DeployError> {
    PSC::deploy_builder(provider, token, fee_address, terms.try_into()?)
        .deploy()
        .await
        .map_err(|source| DeployError::Failed { contract: "the service contract (PSC)", source })
}
