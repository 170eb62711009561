//! How a token's owner lets the service contract take tokens.

use super::PermitDomain;

/// How tokens get from a wallet into the service contract.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DepositWay {
    /// By an EIP-2612 permit: one transaction.
    Permit {
        /// The domain in which permits are signed.
        domain: PermitDomain,
    },
    /// By `approve`, then the deposit: two transactions, and one more where an allowance must be set to zero first.
    Approve {
        /// Why not by a permit.
        because: NoPermit,
    },
}

/// Why a token is not paid with permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoPermit {
    /// It has no `DOMAIN_SEPARATOR()`, which EIP-2612 demands.
    #[error("it has no permits (no DOMAIN_SEPARATOR())")]
    NoSeparator,
    /// It has no `nonces(owner)`.
    #[error("it has no permits (no nonces())")]
    NoNonces,
    /// No domain that we know has its separator.
    #[error("its permits are signed in a domain that its name and version do not explain")]
    UnknownDomain,
    /// It refuses a permit that is right by EIP-2612.
    #[error("its permits are not those of EIP-2612 (it refuses one, as DAI does)")]
    OtherForm,
    /// It does not refuse a permit with a wrong signature: most likely it has no such function and accepts any call.
    #[error("it has no permits (it accepts one with a wrong signature)")]
    AcceptsAny,
}

impl std::fmt::Display for DepositWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Permit { domain } => write!(f, "by permit, signed in the domain {domain}"),
            Self::Approve { because } => write!(f, "by approve + deposit: {because}"),
        }
    }
}
