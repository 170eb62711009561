use privatix_channel::{ChannelId, OfferingHash};
use privatix_db::DbError;

/// What can go wrong with stored marketplace state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database belongs to another role, chain, contract or account.
    #[error(
        "the database belongs to {found}, the configuration says {expected}; configure another database file, or correct the configuration"
    )]
    OtherIdentity {
        /// Whose it is.
        found: String,
        /// Who we are.
        expected: String,
    },
    /// The channel is not known here.
    #[error("no channel {0}; list the known ones with `channels`")]
    NoSuchChannel(ChannelId),
    /// The offering is not known here.
    #[error("no offering {0}; list the known ones with `offerings`")]
    NoSuchOffering(OfferingHash),
    /// The order is not known here.
    #[error("no order {0}; list the known ones with `orders`")]
    NoSuchOrder(u64),
    /// The number of an order is that of another one.
    #[error("another order has the number {0}; restore the database from a backup")]
    OrderNumberUsed(u64),
    /// The caller's key of an order is that of an order for something else.
    #[error(
        "the key {key:?} is that of order {order}, which is for something else; give each order a key of its own"
    )]
    OrderKeyUsed {
        /// The key.
        key: String,
        /// The order that has it.
        order: u64,
    },
    /// The place of an event on the chain is taken by another one: the chain was reorganised, and what it orphaned was not
    /// undone.
    #[error(
        "another event is stored for log {index} of block {block}: the chain was reorganised below what was taken as final; raise the configured confirmations and start with a new database"
    )]
    OtherEvent {
        /// The block's number.
        block: u64,
        /// The log's index in the block.
        index: u64,
    },
    /// A stored value is not of its column's form: the database was changed by something else than this program.
    #[error("stored {what} is malformed: {reason}; restore the database from a backup")]
    Corrupt {
        /// The column.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The database itself.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl StoreError {
    /// Whether something stored cannot be read: that is the same at each repetition, and says nothing about other rows.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt { .. } => true,
            Self::Db(error) => error.is_damage(),
            _ => false,
        }
    }
}

impl From<diesel::result::Error> for StoreError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}
