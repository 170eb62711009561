//! What went wrong, and the exit codes.

use privatix_chain::{ChainError, Endpoint, Fault};
use privatix_contracts::PscError;
use privatix_contracts::deploy::DeployError;
use privatix_daemon::DaemonError;

use crate::plan::{Missing, Network};

/// What the exit codes mean, for the help.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  the contracts are there, and their code is the known one
  1  it failed: the endpoint, the transaction; run it again
  2  the command line, the keystore or its password is wrong
  3  this chain does not take the deployment: no deployment proxy, or the constructor refuses
  4  what is at the contract's address is not the known contract";

/// What ends the program before the contracts are there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something has to be given.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// No key.
    #[error("{} needs --keystore: the encrypted key of the account that pays", .0.name())]
    NoKeystore(Network),
    /// No endpoint.
    #[error("{} needs --rpc, or PRIVATIX_DEPLOY_RPC in the environment: the endpoint of a node", .0.name())]
    NoEndpoint(Network),
    /// The node has no unlocked account.
    #[error("the node has no unlocked account: give --keystore")]
    NoAccount,
    /// The network's terms are not for this chain.
    #[error(
        "{} is for development nodes (chain 31337 or 1337), but the endpoint serves chain {chain_id}: take `test` or `main`",
        network.name()
    )]
    Unsuitable {
        /// The network.
        network: Network,
        /// The chain.
        chain_id: u64,
    },
    /// The keystore or its password.
    #[error(transparent)]
    Key(#[from] DaemonError),
    /// The endpoint.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A request that failed.
    #[error("cannot find out {what}: {fault}; check the endpoint")]
    Request {
        /// What was asked for.
        what: &'static str,
        /// What came back.
        fault: Fault,
    },
    /// The constructor refuses.
    #[error("cannot deploy {contract}: its constructor refuses: {refusal}")]
    Refused {
        /// Which contract.
        contract: &'static str,
        /// Why.
        refusal: PscError,
    },
    /// The endpoint did not do it.
    #[error("cannot deploy {contract}: {reason}; check the endpoint, and that the account has enough ether")]
    Failed {
        /// Which contract.
        contract: &'static str,
        /// What happened.
        reason: String,
    },
    /// Any other failure of the deployment.
    #[error(transparent)]
    Deploy(DeployError),
    /// The answer could not be printed.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] std::io::Error),
}

impl Error {
    /// A failed deployment, without the secrets of the endpoint's address.
    pub fn of_deployment(endpoint: &Endpoint, error: DeployError) -> Self {
        use alloy::contract::Error as Call;
        use alloy::providers::PendingTransactionError as Pending;

        if let DeployError::Failed { contract, .. } = &error
            && let Some(refusal) = error.refusal()
        {
            return Self::Refused { contract, refusal };
        }
        match error {
            DeployError::Failed { contract, source } => {
                let reason = match &source {
                    Call::TransportError(error)
                    | Call::PendingTransactionError(Pending::TransportError(error)) => {
                        endpoint.fault(error).to_string()
                    }
                    other => other.to_string(),
                };
                Self::Failed { contract, reason }
            }
            other => Self::Deploy(other),
        }
    }

    /// The code to exit with; see [`EXIT_CODES`].
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Missing(_) | Self::NoKeystore(_) | Self::NoEndpoint(_) | Self::Key(_) => 2,
            Self::Unsuitable { .. } => 2,
            Self::Chain(ChainError::BadUrl { .. } | ChainError::WrongChain { .. }) => 2,
            Self::Refused { .. } => 3,
            Self::Deploy(DeployError::NoProxy { .. } | DeployError::Terms { .. } | DeployError::Stake(_)) => {
                3
            }
            Self::Deploy(DeployError::Unverified { .. }) => 4,
            _ => 1,
        }
    }
}
