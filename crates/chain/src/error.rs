use std::time::Duration;

use alloy::primitives::{Address, B256};
use privatix_db::DbError;

use crate::rpc::{Fault, RpcError};

/// What can go wrong between us and the chain.
///
/// [`ChainError::is_permanent`] separates a wrong set-up, which only an operator can mend, from trouble that passes: the
/// monitor and the transactor return the first from `run` and retry the second.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The endpoint's address cannot be used.
    #[error(
        "chain endpoint is not a usable URL: {reason}; give one like http://127.0.0.1:8545 or wss://host/path"
    )]
    BadUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// The proxy's address cannot be used.
    #[error(
        "chain proxy is not a usable address: {reason}; write socks5h://host:port, or socks5h://user:password@host:port"
    )]
    BadProxy {
        /// What is wrong with it.
        reason: String,
    },
    /// The endpoint serves another chain than the configured one.
    #[error(
        "endpoint {endpoint} serves chain {found}, but chain {expected} is configured; correct the endpoint or the chain id"
    )]
    WrongChain {
        /// The endpoint, without credentials.
        endpoint: String,
        /// The configured chain id.
        expected: u64,
        /// What the endpoint says.
        found: u64,
    },
    /// Nothing is deployed at a contract's address.
    #[error(
        "there is no contract at {address} on chain {chain_id}; correct the contract address, or the endpoint if this is another network"
    )]
    NoContract {
        /// The configured address.
        address: Address,
        /// The chain it was looked for on.
        chain_id: u64,
    },
    /// The database follows other contracts, or another chain.
    #[error(
        "this database's event stream {stream:?} follows {stored}, but {configured} is configured; use another database file, or restore the configuration it was made with"
    )]
    OtherStream {
        /// The stream's name.
        stream: String,
        /// What the database says.
        stored: String,
        /// What the configuration says.
        configured: String,
    },
    /// A request to the endpoint failed.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The endpoint knows fewer blocks than it, or another node behind the same address, reported before.
    #[error("endpoint's head went back from block {best} to {head}; waiting for it to catch up")]
    HeadWentBack {
        /// The highest head seen.
        best: u64,
        /// The head now.
        head: u64,
    },
    /// What the endpoint answered contradicts itself or what was asked. Never used, always asked again.
    #[error("endpoint's answer about blocks {from} to {to} is inconsistent: {what}; asking again")]
    Inconsistent {
        /// First block asked for.
        from: u64,
        /// Last block asked for.
        to: u64,
        /// The contradiction.
        what: Inconsistency,
    },
    /// Two endpoints say different things of the chain, and there is no third to decide. Nothing is applied.
    #[error(
        "{first} and {second} disagree about block {block}, and none of them is proved wrong; nothing of it is believed: configure a third endpoint, or remove the one that you do not trust"
    )]
    Disagreement {
        /// The block.
        block: u64,
        /// The preferred endpoint, without credentials.
        first: String,
        /// The other.
        second: String,
    },
    /// A reorg goes below the oldest block hash that is kept; undoing all of it blindly could destroy money records.
    #[error(
        "the chain below block {oldest} is not the one that was processed: endpoint says {found:?}, stored is {stored}; check that the endpoint serves the right network, or start with a new database"
    )]
    DeepReorg {
        /// The oldest remembered block.
        oldest: u64,
        /// Its remembered hash.
        stored: B256,
        /// What the endpoint says of it.
        found: Option<B256>,
    },
    /// Another monitor moved this stream's cursor meanwhile; nothing was applied.
    #[error("event stream {stream:?} was moved by another monitor; run one monitor per stream")]
    CursorMoved {
        /// The stream's name.
        stream: String,
    },
    /// The owner of the effects refused them; the batch was rolled back and is offered again.
    #[error("applying the events of blocks {from} to {to} failed: {source}")]
    Sink {
        /// First block of the batch.
        from: u64,
        /// Last block of the batch.
        to: u64,
        /// What the sink said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The owner of a transaction's outcome refused it; the status was rolled back and is offered again.
    #[error("recording the outcome of transaction {tx} failed: {source}")]
    TxSink {
        /// The intent.
        tx: crate::TxId,
        /// What the sink said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Signing failed.
    #[error("signing for {account} failed: {source}")]
    Signing {
        /// The account.
        account: Address,
        /// The signer's error.
        source: crate::SignerError,
    },
    /// A bump was asked of a transaction that is not under way.
    #[error("transaction {tx} is {status}, only a sent one can have its fee raised")]
    NotSent {
        /// The intent.
        tx: crate::TxId,
        /// Its status.
        status: crate::TxStatus,
    },
    /// An intent that is over for good cannot be cancelled.
    #[error("transaction {tx} is {status} for good; it cannot be cancelled any more")]
    NotOpen {
        /// The intent.
        tx: crate::TxId,
        /// Its status.
        status: crate::TxStatus,
    },
    /// A price that pools would refuse in place of what is offered now.
    #[error(
        "transaction {tx} cannot be replaced at this price: pools want at least {} wei per gas in all and a tip of {} wei, and no tip above the whole", least.max_fee, least.priority_fee
    )]
    PriceTooLow {
        /// The intent.
        tx: crate::TxId,
        /// The least that would do.
        least: crate::Fees,
    },
    /// No intent has this id.
    #[error("there is no transaction {tx}; list them to see the ids")]
    UnknownTx {
        /// The id asked for.
        tx: crate::TxId,
    },
}

impl ChainError {
    /// Whether only a change of the set-up can help.
    pub fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::BadUrl { .. }
                | Self::BadProxy { .. }
                | Self::WrongChain { .. }
                | Self::NoContract { .. }
                | Self::OtherStream { .. }
                | Self::NotSent { .. }
                | Self::NotOpen { .. }
                | Self::PriceTooLow { .. }
                | Self::UnknownTx { .. }
        )
    }

    /// How long the endpoint asked us to wait, if it did.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rpc(RpcError { fault: Fault::RateLimited { retry_after }, .. }) => *retry_after,
            _ => None,
        }
    }
}

impl From<diesel::result::Error> for ChainError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(DbError::Query(error))
    }
}

/// How an answer contradicts itself or the question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Inconsistency {
    /// A log from a block that was not asked for.
    #[error("a log of block {0} was not asked for")]
    LogOutOfRange(u64),
    /// A log of another contract or event than asked for.
    #[error("a log of {0} does not match the filter")]
    LogNotAskedFor(Address),
    /// A log that the endpoint itself calls removed.
    #[error("log {index} of block {block} is marked as removed")]
    LogRemoved {
        /// Its block.
        block: u64,
        /// Its index in the block.
        index: u64,
    },
    /// A log without its block, transaction or index.
    #[error("a log of {0} lacks its position in the chain")]
    LogWithoutPosition(Address),
    /// A log of another block than the one the endpoint shows at that height.
    #[error("log {index} of block {block} belongs to {log}, the chain has {header}")]
    LogOfOtherBlock {
        /// Its block number.
        block: u64,
        /// Its index in the block.
        index: u64,
        /// The block hash that the log names.
        log: B256,
        /// The block hash at that height.
        header: B256,
    },
    /// Two different logs at one position.
    #[error("two different logs are at block {block}, index {index}")]
    LogsCollide {
        /// Their block.
        block: u64,
        /// Their index.
        index: u64,
    },
    /// The block's bloom filter shows that logs are missing from the answer.
    #[error("logs of block {0} are missing from the answer")]
    LogsMissing(u64),
    /// A block below the head is not there.
    #[error("block {0} is below the head but unknown")]
    HeaderMissing(u64),
    /// A header of another height than asked for.
    #[error("asked for block {asked}, got {got}")]
    HeaderOfOtherBlock {
        /// Asked for.
        asked: u64,
        /// Got.
        got: u64,
    },
    /// A processed block is another one, although a second endpoint still has it.
    #[error("block {0} is not the one that was processed, which another endpoint still has")]
    OtherBranch(u64),
    /// A block does not follow the one before it.
    #[error("block {0} does not follow the block before it")]
    BrokenChain(u64),
}

/// What a sink says when it cannot apply an effect.
///
/// Made of any error by `?`. Hence it is no [`std::error::Error`] itself; [`ChainError::Sink`] and
/// [`ChainError::TxSink`] carry what is inside.
pub struct SinkError(BoxedError);

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

impl SinkError {
    /// Wraps any error, or a message.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }

    pub(crate) fn into_inner(self) -> BoxedError {
        self.0
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for SinkError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl std::fmt::Debug for SinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Display for SinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
