//! Puts the contracts on a chain: at addresses known in advance ([`place_service`], [`place_token`]), for everybody; or at
//! the deployer's next addresses ([`deploy`]), for tests.

mod deterministic;

use alloy::{
    network::Network,
    primitives::{Address, B256, U256},
    providers::Provider,
};
use privatix_channel::{Amount, Domain, Terms};

pub use self::deterministic::{
    Created, PROXY, PROXY_CODE, Placed, Preview, SERVICE_SALT, ServiceDeployment, TOKEN_SALT,
    TokenDeployment, place_service, place_token, preview_service, preview_token,
};
use crate::{AboveContractRange, CodeMismatch, PSC, PTC};

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
    /// The contract's constructor would refuse the terms.
    #[error(
        "the contract refuses these terms: {terms:?}; each period is from 1 s to 90 days, the challenge at least 15 minutes, \
         the fee's delay longer than the period of removal, the least stake above zero"
    )]
    Terms {
        /// What was wanted.
        terms: Terms,
    },
    /// The chain has no deployment proxy, or other code at its address.
    #[error(
        "this chain has no deterministic deployment proxy at {PROXY} ({found} bytes of other code are there): check the \
         endpoint and its chain, or have the proxy deployed first (github.com/Arachnid/deterministic-deployment-proxy)"
    )]
    NoProxy {
        /// How many bytes of code are at its address.
        found: usize,
    },
    /// The deployment's transaction was mined and did not create the contract.
    #[error(
        "transaction {transaction} did not create {contract}: look it up in a block explorer, then try again"
    )]
    NotCreated {
        /// Which contract.
        contract: &'static str,
        /// The transaction.
        transaction: B256,
    },
    /// What is at the contract's address is not the known contract.
    #[error("{contract} is not the service contract that was to be there: use an endpoint that you trust")]
    Unverified {
        /// The address.
        contract: Address,
        /// What differs.
        #[source]
        source: CodeMismatch,
    },
}

impl DeployError {
    /// The contract's own refusal, if that is why.
    pub fn refusal(&self) -> Option<crate::PscError> {
        match self {
            Self::Failed { source, .. } => crate::PscError::of(source),
            _ => None,
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
