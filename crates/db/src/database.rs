use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use diesel_async::SimpleAsyncConnection;
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, watch};

use crate::{Activity, Conn, DbError, MigrationSet, SqliteConn, migrate, on, private};

const READERS: usize = 4;
const WRITER_PATIENCE: Duration = Duration::from_secs(30);
// FULL makes a commit wait for the disk; NORMAL would lose the last commits at a power cut.
const PRAGMAS: &str = "PRAGMA busy_timeout=10000; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; \
                       PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16000;";

/// A handle to an open database; cheap to clone.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    path: PathBuf,
    writer: Arc<Mutex<Writer>>,
    readers: std::sync::Mutex<Vec<Conn>>,
    free_readers: Arc<Semaphore>,
    present: watch::Sender<BTreeSet<String>>,
    _lock: File,
}

struct Writer {
    conn: Conn,
    // A transaction was begun and neither committed nor rolled back: its `Tx` was dropped.
    open: bool,
    activity: Activity,
}

impl Database {
    /// Opens the SQLite database at `path`, creating it if missing, and migrates it.
    ///
    /// All its files are their owner's alone, whatever the umask, also those that an earlier version made.
    ///
    /// One process at a time: a lock file beside the database (`<path>.lock`) is held until the last handle drops.
    ///
    /// # Errors
    /// [`DbError::InUse`], [`DbError::Open`], [`DbError::Newer`], [`DbError::Migration`],
    /// [`DbError::DuplicateMigration`].
    pub async fn open(path: &Path, sets: &[MigrationSet]) -> Result<Self, DbError> {
        let path = path.to_owned();
        let sets = sets.to_vec();
        let task = tokio::task::spawn_blocking(move || Self::open_blocking(&path, &sets));
        task.await.map_err(|e| DbError::Batch(e.to_string()))?
    }

    fn open_blocking(path: &Path, sets: &[MigrationSet]) -> Result<Self, DbError> {
        let failed =
            |e: &dyn std::fmt::Display| DbError::Open { path: path.to_owned(), reason: e.to_string() };
        let lock = lock_beside(path)?;
        private::create(path).map_err(|e| failed(&e))?;
        // SQLite gives those that it makes the mode of the database.
        for suffix in ["-wal", "-shm", "-journal"] {
            private::narrow(&beside(path, suffix));
        }
        let connect = || -> Result<SqliteConnection, DbError> {
            let mut conn = SqliteConnection::establish(&path.to_string_lossy()).map_err(|e| failed(&e))?;
            conn.batch_execute(PRAGMAS).map_err(|e| failed(&e))?;
            Ok(conn)
        };
        let mut writer = connect()?;
        migrate::run(&mut writer, path, sets)?;
        let activity = Activity::default();
        let conn = Conn::Sqlite(SqliteConn::watched(writer, activity.clone()));
        let writer = Writer { conn, open: false, activity };
        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            let mut reader = connect()?;
            reader.batch_execute("PRAGMA query_only=ON").map_err(|e| failed(&e))?;
            #[cfg(feature = "notes")]
            crate::notes::watch(&mut reader);
            readers.push(Conn::Sqlite(SqliteConn::new(reader)));
        }
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            writer: Arc::new(Mutex::new(writer)),
            readers: std::sync::Mutex::new(readers),
            free_readers: Arc::new(Semaphore::new(READERS)),
            present: watch::Sender::default(),
            _lock: lock,
        })))
    }

    /// Reads a database as it is, in use or not: neither locked nor migrated. `None` if there is no file.
    ///
    /// # Errors
    /// [`DbError::Open`].
    pub async fn look(path: &Path) -> Result<Option<Conn>, DbError> {
        let path = path.to_owned();
        let task = tokio::task::spawn_blocking(move || {
            if !path.is_file() {
                return Ok(None);
            }
            let failed =
                |e: &dyn std::fmt::Display| DbError::Open { path: path.clone(), reason: e.to_string() };
            let mut conn = SqliteConnection::establish(&path.to_string_lossy()).map_err(|e| failed(&e))?;
            conn.batch_execute("PRAGMA busy_timeout=30000; PRAGMA query_only=ON").map_err(|e| failed(&e))?;
            Ok(Some(Conn::Sqlite(SqliteConn::new(conn))))
        });
        task.await.map_err(|e| DbError::Batch(e.to_string()))?
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// A read-only connection, given back when the guard drops. Sees every commit made before.
    ///
    /// # Errors
    /// [`DbError::ShuttingDown`] if the pool is gone.
    pub async fn read(&self) -> Result<ReadGuard, DbError> {
        let permit =
            Arc::clone(&self.0.free_readers).acquire_owned().await.map_err(|_| DbError::ShuttingDown)?;
        let conn = self.readers().pop().ok_or(DbError::ShuttingDown)?;
        Ok(ReadGuard { conn: Some(conn), db: self.clone(), _permit: permit })
    }

    /// Begins a write transaction; waits for its turn. Rolled back unless [committed](Tx::commit).
    ///
    /// There is one writer: never hold a transaction across network calls, and never begin another while holding one.
    ///
    /// # Errors
    /// [`DbError::WriterBusy`] after 30 s; [`DbError::Query`].
    pub async fn begin(&self) -> Result<Tx, DbError> {
        let wait = Arc::clone(&self.0.writer).lock_owned();
        let mut writer = tokio::time::timeout(WRITER_PATIENCE, wait)
            .await
            .map_err(|_| DbError::WriterBusy(WRITER_PATIENCE))?;
        writer.activity.reset();
        if writer.open {
            // The connection's own lock makes this wait for a statement that its dropped owner left running.
            // SQLite may already have rolled back by itself, which makes this statement fail: harmless.
            let _ = on!(&mut writer.conn, |c| c.batch_execute("ROLLBACK").await);
            writer.open = false;
        }
        writer.open = true;
        // Where SQLite had rolled back by itself, the ROLLBACK above has failed and marked the connection as broken.
        writer.activity.reset();
        on!(&mut writer.conn, |c| c.batch_execute("BEGIN IMMEDIATE").await)?;
        Ok(Tx { writer })
    }

    pub(crate) fn present(&self) -> &watch::Sender<BTreeSet<String>> {
        &self.0.present
    }

    /// Commits a change that means nothing, and returns how long that took: whether the disk takes commits, and whether the
    /// writer comes free for them.
    ///
    /// # Errors
    /// [`DbError::WriterBusy`]; [`DbError::Query`], for example of a disk that is full.
    pub async fn probe(&self) -> Result<Duration, DbError> {
        let started = std::time::Instant::now();
        let mut tx = self.begin().await?;
        // Free for applications, and in the database's first page.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let statement = format!("PRAGMA user_version = {}", now & 0x7fff_ffff);
        on!(&mut *tx, |c| c.batch_execute(&statement).await)?;
        tx.commit().await?;
        Ok(started.elapsed())
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Vec<Conn>> {
        // A poisoned lock only means that a push or pop panicked (out of memory); the vector is still sound.
        self.0.readers.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("path", &self.0.path).finish_non_exhaustive()
    }
}

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(crate) fn lock_beside(path: &Path) -> Result<File, DbError> {
    let failed = |e: std::io::Error| DbError::Open { path: path.to_owned(), reason: e.to_string() };
    let file = private::create(&beside(path, ".lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DbError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// A read-only connection out of the pool.
#[allow(missing_debug_implementations, reason = "connections have no Debug")]
pub struct ReadGuard {
    conn: Option<Conn>,
    db: Database,
    _permit: OwnedSemaphorePermit,
}

#[expect(clippy::expect_used, reason = "`conn` is taken by `drop` alone")]
mod read_guard {
    use super::{Conn, Deref, DerefMut, ReadGuard};

    impl Deref for ReadGuard {
        type Target = Conn;
        fn deref(&self) -> &Conn {
            self.conn.as_ref().expect("present until dropped")
        }
    }

    impl DerefMut for ReadGuard {
        fn deref_mut(&mut self) -> &mut Conn {
            self.conn.as_mut().expect("present until dropped")
        }
    }
}

impl Drop for ReadGuard {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.db.readers().push(conn);
        }
    }
}

/// A write transaction. Dropping it rolls it back.
///
/// Cancellation: a future dropped inside a transaction loses the whole transaction, never a part of it.
#[allow(missing_debug_implementations, reason = "connections have no Debug")]
#[must_use = "a transaction that is not committed is rolled back"]
pub struct Tx {
    writer: OwnedMutexGuard<Writer>,
}

impl Tx {
    /// Commits; returns once the data is on disk.
    ///
    /// # Errors
    /// [`DbError::Query`], [`DbError::Broken`]; the transaction is then rolled back.
    pub async fn commit(mut self) -> Result<(), DbError> {
        if self.is_broken() {
            return Err(DbError::Broken);
        }
        on!(&mut self.writer.conn, |c| c.batch_execute("COMMIT").await)?;
        self.writer.open = false;
        Ok(())
    }

    /// True if a statement failed in a way in which the database may have rolled back the whole transaction (a full
    /// disk, for example). Such a transaction cannot be committed, and takes no further statements.
    pub fn is_broken(&self) -> bool {
        self.writer.activity.is_broken()
    }

    /// Whether statements of the transaction run, for whoever waits for it.
    pub fn activity(&self) -> Activity {
        self.writer.activity.clone()
    }
}

impl Deref for Tx {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        &self.writer.conn
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.writer.conn
    }
}
