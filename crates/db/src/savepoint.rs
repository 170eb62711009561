use diesel_async::SimpleAsyncConnection as _;

use crate::{Conn, DbError, on};

/// A part of a transaction that is kept or undone as a whole.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use diesel_async::SimpleAsyncConnection as _;
/// use privatix_db::{Database, Savepoint, on};
///
/// let dir = tempfile::tempdir()?;
/// let db = Database::open(&dir.path().join("app.db"), &[]).await?;
/// let mut tx = db.begin().await?;
/// on!(&mut *tx, |c| c.batch_execute("CREATE TABLE note (text)").await)?;
/// let part = Savepoint::begin(&mut tx).await?;
/// on!(&mut *tx, |c| c.batch_execute("INSERT INTO note VALUES ('undone')").await)?;
/// part.undo(&mut tx).await?;
/// tx.commit().await?;
/// # Ok(()) }
/// ```
///
/// One within another ends before it. Dropped without an end, it is kept with the transaction.
#[must_use = "it is kept or undone"]
#[derive(Debug)]
pub struct Savepoint(());

impl Savepoint {
    /// Begins a part.
    ///
    /// # Errors
    /// [`DbError::Query`].
    pub async fn begin(conn: &mut Conn) -> Result<Self, DbError> {
        execute(conn, "SAVEPOINT part").await?;
        Ok(Self(()))
    }

    /// Keeps what was written in it, as far as the transaction is committed.
    ///
    /// # Errors
    /// [`DbError::Query`].
    pub async fn keep(self, conn: &mut Conn) -> Result<(), DbError> {
        execute(conn, "RELEASE part").await
    }

    /// Undoes what was written in it; the transaction goes on.
    ///
    /// # Errors
    /// [`DbError::Query`].
    pub async fn undo(self, conn: &mut Conn) -> Result<(), DbError> {
        execute(conn, "ROLLBACK TO part; RELEASE part").await
    }
}

async fn execute(conn: &mut Conn, sql: &str) -> Result<(), DbError> {
    Ok(on!(conn, |c| c.batch_execute(sql).await)?)
}
