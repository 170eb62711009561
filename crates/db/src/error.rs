use std::path::PathBuf;
use std::time::Duration;

/// What can go wrong with the database itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// The file cannot be opened or created.
    #[error("cannot open database {path}: {reason}; check that the folder exists and is writable")]
    Open {
        /// The database file.
        path: PathBuf,
        /// What the system answered.
        reason: String,
    },
    /// Another process has it open.
    #[error("database {path} is in use by another process; stop that process or configure another file")]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// A newer program has migrated the database: running an older one on it could lose data.
    #[error(
        "database {path} has schema version {version}, which this program does not know; run the newer program that wrote it, or restore a backup from before the upgrade"
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The newest unknown version found.
        version: String,
    },
    /// Two migration sets use one version, so one of them would silently never run.
    #[error("migration version {version} is in both set {first} and set {second}; rename one of them")]
    DuplicateMigration {
        /// The version.
        version: String,
        /// The set that had it first.
        first: &'static str,
        /// The set that has it too.
        second: &'static str,
    },
    /// A migration failed; nothing of it was kept.
    #[error("migration of {path} failed: {reason}")]
    Migration {
        /// The database file.
        path: PathBuf,
        /// What the database answered.
        reason: String,
    },
    /// The writer did not come free. A transaction is held across something slow, or across another `begin`.
    #[error("waited {0:?} for the database writer; a write transaction is held too long")]
    WriterBusy(Duration),
    /// A stored value does not have the form its column promises.
    #[error("stored {what} is malformed: {reason}")]
    Corrupt {
        /// The column or type.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The task that commits batches has ended, so the outcome of this write is unknown; repeat it after a restart.
    #[error("the database is shutting down; repeat the operation after the restart")]
    ShuttingDown,
    /// The batch that this write was part of failed; nothing of it was kept.
    #[error("a batch of writes failed and was rolled back: {0}")]
    Batch(String),
    /// An earlier statement failed in a way in which the database may have rolled back the transaction.
    #[error(
        "an earlier statement of this transaction failed and may have undone it; nothing was kept, repeat all of it"
    )]
    Broken,
    /// A query failed.
    #[error("database query failed: {0}")]
    Query(#[from] diesel::result::Error),
}

impl DbError {
    /// Whether something stored cannot be read: that is the same at each repetition.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Query(diesel::result::Error::DeserializationError(_)))
    }
}
