use std::time::{Duration, SystemTime};

use alloy::primitives::Address;
use privatix_adapter::AdapterError;
use privatix_chain::ChainError;
use privatix_channel::{ChannelId, SignError, VoucherError};
use privatix_contracts::CodeMismatch;
use privatix_contracts::token::TokenRefusal;
use privatix_db::DbError;
use privatix_jobs::{JobError, JobsError};
use privatix_market::{ClockSkew, Refused};
use privatix_offering::{NotPermitted, OfferingError};
use privatix_store::StoreError;

use crate::after;
use crate::limited::Limited;
use crate::shell::{NotApplied, NumberUsed};

/// What can go wrong in a role.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The chain endpoint, or a transaction.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A contract call that the endpoint refused or answered in a wrong form.
    #[error("cannot read {what} from the chain: {reason}; check the endpoint and the contract address")]
    Contract {
        /// What was asked for.
        what: &'static str,
        /// What came back.
        reason: String,
    },
    /// The configured contract is not the one that this version was made for.
    #[error(
        "{contract} is not a service contract of this version: {mismatch}; check chain.contract and the endpoint, or, if you \
         have verified that contract yourself, set chain.unknown_contract = \"warn\""
    )]
    UnknownContract {
        /// Its address.
        contract: Address,
        /// What differs.
        mismatch: CodeMismatch,
    },
    /// The node was opened without an endpoint, and the first one that answers shows another contract.
    #[error(
        "the {what} of contract {contract} differs from the last check: check chain.contract and the endpoint; if the change \
         is intended, restart while the endpoint answers, and the contract is checked as at a first start"
    )]
    OtherContract {
        /// Its address.
        contract: Address,
        /// What differs.
        what: &'static str,
    },
    /// Two endpoints show different contracts at the configured address, so that one of them lies, or serves another chain.
    #[error(
        "the {what} of contract {contract} is not the same at {first} and {second}: compare with a block explorer, and remove \
         the endpoint that is wrong from the configuration"
    )]
    EndpointsDisagree {
        /// Its address.
        contract: Address,
        /// What differs.
        what: &'static str,
        /// The preferred endpoint.
        first: String,
        /// The other one.
        second: String,
    },
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Stored marketplace state.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The job queue.
    #[error(transparent)]
    Jobs(#[from] JobsError),
    /// The service adapter.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// An offering message.
    #[error(transparent)]
    Offering(#[from] OfferingError),
    /// A voucher.
    #[error(transparent)]
    Voucher(#[from] VoucherError),
    /// The key refused to sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The key refused to sign something else than a voucher.
    #[error("cannot sign {what}: {reason}")]
    Signing {
        /// What was to be signed.
        what: &'static str,
        /// What the signer said.
        reason: String,
    },
    /// A decision gave a number to a transaction that another one has.
    #[error(transparent)]
    NumberUsed(Box<NumberUsed>),
    /// The channel has no access yet.
    #[error("channel {0} has no access yet; wait until the agent has prepared it")]
    NoAccess(ChannelId),
    /// Not enough money for what was asked.
    #[error("{what} needs {needed} base units, {available} are there; {remedy}")]
    Insufficient {
        /// What was asked for.
        what: &'static str,
        /// How much it takes.
        needed: privatix_channel::Amount,
        /// How much there is.
        available: privatix_channel::Amount,
        /// What to do.
        remedy: &'static str,
    },
    /// A limit that the user has set does not allow it.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// The agent was not reached, or did not answer as it should.
    #[error("no good answer from the agent at {address}: {reason}")]
    Peer {
        /// Where it was sought.
        address: String,
        /// What happened.
        reason: String,
    },
    /// This side has no connection to the network that agents are reached over.
    #[error("{reason}")]
    Offline {
        /// What is in the way, with its remedy.
        reason: String,
    },
    /// The agent has no address that the client may use.
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
    /// A transaction that uses the next permit, or the allowance, is on its way.
    #[error(
        "another transaction that moves tokens out of the wallet is on its way; wait until it is confirmed"
    )]
    WalletBusy,
    /// The stored voucher cannot be read, or is not one of the channel. To close without it would be final.
    #[error(
        "the stored voucher of channel {channel} is damaged ({reason}); the channel is kept open until a better voucher comes, the \
         database is restored from a backup, or the voucher is given up (`abandon`)"
    )]
    DamagedVoucher {
        /// The channel.
        channel: ChannelId,
        /// What is wrong with the voucher.
        reason: String,
    },
    /// What only the account's own key may do.
    #[error("an operator cannot {what} {account}: do it with the key of that account")]
    NotForOperators {
        /// What was asked for, with its preposition.
        what: &'static str,
        /// The account.
        account: alloy::primitives::Address,
    },
    /// A token that cannot be paid with.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// What is asked for is there only while the node runs.
    #[error("the node is not running yet, or not any more; try again")]
    NotRunning,
    /// The service adapter is not ready for the channel: it was just started.
    #[error("the service adapter is not ready yet; see its health if that lasts")]
    AdapterStarting,
    /// What happens on the chain is not seen, so nothing new may rely on it.
    #[error("the view of the chain is stale: {0}")]
    StaleView(String),
    /// This machine's clock and the chain's time contradict each other, so no money is locked.
    #[error(
        "{0}: no money is locked while they are more than chain.max_clock_skew apart; set this machine's clock, or, if the \
         endpoint is behind its chain, use another one, and try again"
    )]
    Clock(ClockSkew),
    /// The contract holds something of a channel that no event explains, so nothing new may rely on that channel.
    #[error("events of channel {channel} are missing: {what}")]
    Unreconciled {
        /// The channel.
        channel: ChannelId,
        /// What differs.
        what: String,
    },
    /// A request that makes no sense as things stand.
    #[error("{0}")]
    Refused(String),
    /// A task of the daemon ended unexpectedly.
    #[error("the {task} ended unexpectedly: {reason}; see the log before it")]
    TaskEnded {
        /// The task's name.
        task: &'static str,
        /// What it left behind.
        reason: String,
    },
}

/// For whoever handles no channel apart from the others.
impl From<NotApplied> for NodeError {
    fn from(error: NotApplied) -> Self {
        match error {
            NotApplied::Node(error) => error,
            NotApplied::NoState(channel) => StoreError::NoSuchChannel(channel).into(),
            NotApplied::Damaged { .. } => {
                StoreError::Corrupt { what: "state of a channel", reason: error.to_string() }.into()
            }
            NotApplied::Refused(Refused::Clock(skew)) => Self::Clock(skew),
            NotApplied::Refused(_) | NotApplied::Moved(_) | NotApplied::Endless(_) => {
                Self::Refused(error.to_string())
            }
        }
    }
}

impl From<NumberUsed> for NodeError {
    fn from(used: NumberUsed) -> Self {
        Self::NumberUsed(Box::new(used))
    }
}

impl NodeError {
    /// Whether the same may succeed later with nothing changed by the operator.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Chain(_)
            | Self::Contract { .. }
            | Self::Db(_)
            | Self::Jobs(_)
            | Self::NoAccess(_)
            | Self::Peer { .. }
            | Self::Offline { .. }
            | Self::WalletBusy
            | Self::DamagedVoucher { .. }
            | Self::NotRunning
            | Self::AdapterStarting
            | Self::StaleView(_)
            | Self::Clock(_)
            | Self::Unreconciled { .. }
            | Self::TaskEnded { .. } => true,
            Self::Adapter(AdapterError::Refused { refusal, .. }) => refusal.is_temporary(),
            Self::Adapter(_) => true,
            Self::Store(error) => matches!(error, StoreError::Db(_)),
            _ => false,
        }
    }

    /// Whether something stored cannot be read. It is the same at each repetition, and says nothing about other channels.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::DamagedVoucher { .. } | Self::Voucher(_) | Self::NumberUsed(_) => true,
            Self::Store(error) => error.is_damage(),
            Self::Db(error) | Self::Chain(ChainError::Db(error)) => error.is_damage(),
            _ => false,
        }
    }

    /// When to try again, for an error that passes by itself however long it takes: it counts as no failed try, and nobody is
    /// given up because of it. `None` for all other errors.
    pub fn postponed(&self) -> Option<SystemTime> {
        let pause = match self {
            Self::StaleView(_) | Self::Clock(_) | Self::Unreconciled { .. } => Duration::from_secs(5),
            Self::AdapterStarting => Duration::from_secs(1),
            Self::DamagedVoucher { .. } => Duration::from_secs(15),
            Self::WalletBusy => Duration::from_secs(2),
            _ => return None,
        };
        Some(after(SystemTime::now(), pause))
    }

    /// What it means for the job that ran into it: try again, or give up.
    pub fn into_job_error(self) -> JobError {
        match self.postponed() {
            Some(until) => JobError::postpone(until, self),
            None if self.is_temporary() => JobError::retry(self),
            None => JobError::fail(self),
        }
    }
}
