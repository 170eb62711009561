//! What of a channel cannot be read.

use crate::StoreError;

/// What of a channel cannot be read, so that nothing is decided about it. A voucher that cannot be read is not among it: the
/// channel is kept open then, and everything else goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// A later version of this program stored it, or something else did.
    #[error("the state is stored in form {found}, and this version reads form {known}")]
    Schema {
        /// The stored form.
        found: i32,
        /// The form that this version reads.
        known: i32,
    },
    /// What this side did, or the answers that it received. Also what belongs to the other side, such as its transactions.
    #[error("what was done about the channel cannot be read: {reason}")]
    Own {
        /// What is wrong with it.
        reason: String,
    },
    /// The copy of its offering's terms.
    #[error("the channel's copy of its terms cannot be read: {reason}")]
    Terms {
        /// What is wrong with it.
        reason: String,
    },
    /// Its events on chain.
    #[error("the channel's events cannot be read: {reason}")]
    Events {
        /// What is wrong with them.
        reason: String,
    },
    /// Its sessions.
    #[error("the channel's use cannot be read: {reason}")]
    Usage {
        /// What is wrong with it.
        reason: String,
    },
    /// A column.
    #[error("a column of the channel cannot be read: {reason}")]
    Row {
        /// What is wrong with it.
        reason: String,
    },
}

impl Unreadable {
    /// What the operator can do, for messages.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Schema { .. } => "start the version that stored it",
            Self::Own { .. }
            | Self::Terms { .. }
            | Self::Events { .. }
            | Self::Usage { .. }
            | Self::Row { .. } => "restore the database from a backup",
        }
    }
}

/// The value, or in words why it cannot be read.
///
/// # Errors
/// Every other error.
pub(crate) fn unless_damaged<T>(read: Result<T, StoreError>) -> Result<Result<T, String>, StoreError> {
    match read {
        Ok(value) => Ok(Ok(value)),
        Err(error) if error.is_damage() => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}
