//! Copies of a database, made while it is in use, and their way back.
//!
//! A copy is a database of its own at one moment: SQLite writes it in a read transaction (`VACUUM INTO`), so that writers go
//! on meanwhile. It gets its name only once it is whole, checked and on the disk.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::database::{beside, lock_beside};
use crate::disk::{free_space, is_same_disk};
use crate::{Conn, DbError, MigrationSet, SqliteConn, migrate, private};

/// What SQLite may keep beside a database.
const SIDE_FILES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// What a copy leaves free for the daemon's commits.
const RESERVE: u64 = 64 << 20;

/// What can go wrong with a copy of a database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// There is nothing to copy.
    #[error("there is no database at {path}; check the path")]
    Missing {
        /// Where it was sought.
        path: PathBuf,
    },
    /// The copy would replace something.
    #[error("{path} exists and was not changed; choose another name")]
    Exists {
        /// The file that exists.
        path: PathBuf,
    },
    /// Another process writes the same copy.
    #[error("another process is writing {path}; wait for it, or choose another name")]
    UnderWay {
        /// The unfinished copy.
        path: PathBuf,
    },
    /// The disk would be full.
    #[error(
        "a copy needs {} MiB in {folder}, where {} MiB are free, or the daemon could not commit any more; make room, or write it to another disk",
        needed.div_ceil(1 << 20), free >> 20
    )]
    NoSpace {
        /// Where the copy was to be written.
        folder: PathBuf,
        /// Bytes that it needs, with what must stay free.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The database is not sound.
    #[error("{path} is damaged: {findings}; use another copy")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite's checks found.
        findings: String,
    },
    /// A log of commits (WAL) lies beside the file.
    #[error(
        "{path} holds commits that are not in its database yet; copies are made by `backup`, not file by file. Move it away with its database, then try again"
    )]
    Commits {
        /// The file.
        path: PathBuf,
    },
    /// The database that is to be replaced does not take in its last commits.
    #[error(
        "the present database {path} cannot be closed: {reason}; move it away together with its -wal and -shm files, then try again"
    )]
    Present {
        /// The present database.
        path: PathBuf,
        /// What SQLite answered.
        reason: String,
    },
    /// A file.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Copies the database at `path`, in use or not, to the new file `to`, which only its owner may read.
///
/// Whatever was committed when this began is in the copy. It is migrated to `sets`, and `mark` returns SQL that is run in it,
/// for what a database should know of itself when it comes back; it is asked once the copy can take in nothing more. A process
/// that is killed meanwhile leaves `<to>.part` behind, which the next call for the same file uses again. Returns the bytes of
/// the copy.
///
/// # Errors
/// [`BackupError::Missing`], [`BackupError::Exists`], [`BackupError::UnderWay`], [`BackupError::NoSpace`],
/// [`BackupError::Damaged`] (nothing is kept then), [`BackupError::File`], [`BackupError::Db`].
pub async fn back_up(
    path: &Path,
    to: &Path,
    sets: &[MigrationSet],
    mark: impl FnOnce() -> String + Send + 'static,
) -> Result<u64, BackupError> {
    let (path, to, sets) = (path.to_owned(), to.to_owned(), sets.to_vec());
    blocking(move || copy(&path, &to, &sets, mark)).await
}

/// A copy on its way to become the database: checked and brought up to date, but not in its place yet. Dropped, it changes
/// nothing.
#[derive(Debug)]
#[must_use = "the copy is in use only after `replace`"]
pub struct Restoring {
    database: PathBuf,
    part: PathBuf,
    _lock: File,
}

impl Restoring {
    /// Takes the lock of the database at `database`, which no process may have open, and puts a copy of `backup` beside it,
    /// checked, migrated to `sets`, and with `mark` run in it.
    ///
    /// # Errors
    /// [`BackupError::Missing`], [`BackupError::Commits`], [`BackupError::Damaged`], [`BackupError::File`],
    /// [`DbError::InUse`], [`DbError::Newer`], [`DbError::Migration`].
    pub async fn begin(
        backup: &Path,
        database: &Path,
        sets: &[MigrationSet],
        mark: &str,
    ) -> Result<Self, BackupError> {
        let (backup, database) = (backup.to_owned(), database.to_owned());
        let (sets, mark) = (sets.to_vec(), mark.to_owned());
        blocking(move || bring(&backup, database, &sets, &mark)).await
    }

    /// A connection to the copy, for checks of what is in it. Drop it before [`replace`](Self::replace).
    ///
    /// # Errors
    /// [`BackupError::Db`].
    pub fn conn(&self) -> Result<Conn, BackupError> {
        Ok(Conn::Sqlite(SqliteConn::new(connect(&self.part)?)))
    }

    /// Puts the copy in the database's place, in one step: whoever is killed meanwhile leaves the former database or the new
    /// one. Returns the name under which the former one is kept, if there was one.
    ///
    /// # Errors
    /// [`BackupError::Present`], [`BackupError::Commits`], [`BackupError::File`]; nothing was replaced then.
    pub async fn replace(self) -> Result<Option<PathBuf>, BackupError> {
        blocking(move || {
            close(connect(&self.part)?, &self.part)?;
            let kept = self.keep_present()?;
            fs::rename(&self.part, &self.database).map_err(file("replace", &self.database))?;
            sync_folder_of(&self.database)?;
            Ok(kept)
        })
        .await
    }

    /// Checkpoints the present database into one file and links it under a second name.
    fn keep_present(&self) -> Result<Option<PathBuf>, BackupError> {
        let database = &self.database;
        if database.exists() {
            // Its last commits must be in it, as the copy would take in those that lie beside it.
            close(connect(database)?, database).map_err(|error| BackupError::Present {
                path: database.clone(),
                reason: error.to_string(),
            })?;
        }
        if !database.exists() {
            return no_side_files(database).map(|()| None);
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut kept = beside(database, &format!(".replaced-{now}"));
        let mut another = 2;
        while let Err(error) = fs::hard_link(database, &kept) {
            if error.kind() != io::ErrorKind::AlreadyExists {
                return Err(file("keep the former database as", &kept)(error));
            }
            kept = beside(database, &format!(".replaced-{now}-{another}"));
            another += 1;
        }
        Ok(Some(kept))
    }
}

fn copy(
    path: &Path,
    to: &Path,
    sets: &[MigrationSet],
    mark: impl FnOnce() -> String,
) -> Result<u64, BackupError> {
    if !path.is_file() {
        return Err(BackupError::Missing { path: path.to_owned() });
    }
    if to.exists() {
        return Err(BackupError::Exists { path: to.to_owned() });
    }
    check_space(path, to)?;
    let part = beside(to, ".part");
    let written = write_part(path, &part, sets, mark)?;
    let named = name(&part, to);
    if named.is_err() {
        let _ = fs::remove_file(&part); // the error that is returned names what is wrong
    }
    named?;
    sync_folder_of(to)?;
    let bytes = written.metadata().map_err(file("read", to))?.len();
    Ok(bytes)
}

/// Refuses a copy that would leave the disk full.
fn check_space(database: &Path, to: &Path) -> Result<(), BackupError> {
    let folder = folder_of(to);
    let free = match free_space(folder) {
        Ok(free) => free,
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(()),
        Err(error) => return Err(file("look at", folder)(error)),
    };
    let size = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
    let size = size(database).saturating_add(size(&beside(database, "-wal")));
    let needed = needed(size, is_same_disk(database, folder));
    if free < needed {
        return Err(BackupError::NoSpace { folder: folder.to_owned(), needed, free });
    }
    Ok(())
}

/// What must be free where a copy of a database of this size is written. On the database's own disk its log of commits may
/// grow meanwhile by as much again.
fn needed(size: u64, is_same_disk: bool) -> u64 {
    size.saturating_mul(if is_same_disk { 2 } else { 1 }).saturating_add(RESERVE)
}

/// Writes a checked copy, and returns it locked.
fn write_part(
    path: &Path,
    part: &Path,
    sets: &[MigrationSet],
    mark: impl FnOnce() -> String,
) -> Result<File, BackupError> {
    let written = private::create(part).map_err(file("create", part))?;
    match written.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(BackupError::UnderWay { path: part.to_owned() }),
        Err(TryLockError::Error(error)) => return Err(file("lock", part)(error)),
    }
    let fill = move |written: &File| {
        written.set_len(0).map_err(file("write", part))?;
        remove_side_files(part)?;
        let mut source = connect(path)?;
        diesel::sql_query("VACUUM INTO ?")
            .bind::<Text, _>(part.to_string_lossy())
            .execute(&mut source)
            .map_err(DbError::from)?;
        drop(source);
        let mut conn = connect(part)?;
        migrate::run(&mut conn, path, sets)?;
        conn.batch_execute(&mark()).map_err(DbError::from)?;
        verify(&mut conn, part)?;
        close(conn, part)?;
        written.sync_all().map_err(file("write", part))
    };
    match fill(&written) {
        Ok(()) => Ok(written),
        Err(error) => {
            let _ = remove_side_files(part); // the error that is returned names what is wrong
            let _ = fs::remove_file(part);
            Err(error)
        }
    }
}

/// Gives the finished copy its name, and never another file's.
fn name(part: &Path, to: &Path) -> Result<(), BackupError> {
    match fs::hard_link(part, to) {
        Ok(()) => fs::remove_file(part).map_err(file("remove", part)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(BackupError::Exists { path: to.to_owned() })
        }
        // File systems without links.
        Err(_) if !to.exists() => fs::rename(part, to).map_err(file("write", to)),
        Err(_) => Err(BackupError::Exists { path: to.to_owned() }),
    }
}

fn bring(
    backup: &Path,
    database: PathBuf,
    sets: &[MigrationSet],
    mark: &str,
) -> Result<Restoring, BackupError> {
    if !backup.is_file() {
        return Err(BackupError::Missing { path: backup.to_owned() });
    }
    let lock = lock_beside(&database)?;
    for suffix in ["-wal", "-journal"] {
        let path = beside(backup, suffix);
        if path.exists() {
            return Err(BackupError::Commits { path });
        }
    }
    let part = beside(&database, ".restoring");
    remove_side_files(&part)?;
    let mut written = private::create(&part).map_err(file("create", &part))?;
    written.set_len(0).map_err(file("write", &part))?;
    let mut source = File::open(backup).map_err(file("read", backup))?;
    io::copy(&mut source, &mut written).map_err(file("write", &part))?;
    drop(written);
    let check = || {
        let mut conn = connect(&part).map_err(|error| match error {
            BackupError::Damaged { findings, .. } => {
                BackupError::Damaged { path: backup.to_owned(), findings }
            }
            other => other,
        })?;
        verify(&mut conn, backup)?;
        migrate::run(&mut conn, backup, sets)?;
        conn.batch_execute(mark).map_err(DbError::from)?;
        verify(&mut conn, backup)?;
        close(conn, &part)
    };
    let checked = check();
    if checked.is_err() {
        let _ = remove_side_files(&part); // the error that is returned names what is wrong
        let _ = fs::remove_file(&part);
    }
    checked?;
    File::open(&part).and_then(|part| part.sync_all()).map_err(file("write", &part))?;
    Ok(Restoring { database, part, _lock: lock })
}

#[derive(QueryableByName)]
struct Finding {
    #[diesel(sql_type = Text)]
    finding: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// SQLite's whole check, and the references between tables.
fn verify(conn: &mut SqliteConnection, path: &Path) -> Result<(), BackupError> {
    let damaged = |findings: String| BackupError::Damaged { path: path.to_owned(), findings };
    let query = "SELECT integrity_check AS finding FROM pragma_integrity_check LIMIT 10";
    let found: Vec<Finding> =
        diesel::sql_query(query).load(conn).map_err(|error| damaged(error.to_string()))?;
    if !matches!(found.as_slice(), [one] if one.finding == "ok") {
        let findings: Vec<String> = found.into_iter().map(|one| one.finding).collect();
        return Err(damaged(findings.join("; ")));
    }
    let query = "SELECT count(*) AS n FROM pragma_foreign_key_check";
    let Count { n } =
        diesel::sql_query(query).get_result(conn).map_err(|error| damaged(error.to_string()))?;
    if n == 0 { Ok(()) } else { Err(damaged(format!("{n} rows refer to rows that are not there"))) }
}

fn connect(path: &Path) -> Result<SqliteConnection, BackupError> {
    let mut conn = SqliteConnection::establish(&path.to_string_lossy())
        .map_err(|error| DbError::Open { path: path.to_owned(), reason: error.to_string() })?;
    // The first statements that read the file.
    conn.batch_execute("PRAGMA busy_timeout=10000; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;")
        .map_err(|error| BackupError::Damaged { path: path.to_owned(), findings: error.to_string() })?;
    Ok(conn)
}

/// Closes a database that nobody else has open, so that one file holds all of it.
fn close(mut conn: SqliteConnection, path: &Path) -> Result<(), BackupError> {
    conn.batch_execute("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode=DELETE;")
        .map_err(DbError::from)?;
    drop(conn);
    no_side_files(path)
}

/// SQLite would take what lies beside a database for its newest commits.
fn no_side_files(path: &Path) -> Result<(), BackupError> {
    match SIDE_FILES.map(|suffix| beside(path, suffix)).into_iter().find(|path| path.exists()) {
        Some(path) => Err(BackupError::Commits { path }),
        None => Ok(()),
    }
}

fn remove_side_files(path: &Path) -> Result<(), BackupError> {
    for path in SIDE_FILES.map(|suffix| beside(path, suffix)) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(file("remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a new name survive a power cut.
fn sync_folder_of(path: &Path) -> Result<(), BackupError> {
    let folder = folder_of(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(file("write", folder))
}

fn file(action: &'static str, path: &Path) -> impl Fn(io::Error) -> BackupError {
    move |source| BackupError::File { action, path: path.to_owned(), source }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| DbError::Batch(error.to_string()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_copy_leaves_room_for_itself_the_log_and_the_daemon() {
        assert_eq!(needed(100 * MIB, false), 164 * MIB);
        assert_eq!(needed(100 * MIB, true), 264 * MIB);
        assert_eq!(needed(u64::MAX, true), u64::MAX);
    }

    #[test]
    fn a_copy_that_would_fill_the_disk_is_refused_before_it_is_begun() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("huge.db");
        // Sparse: as large as all that is free, and written nowhere.
        let free = free_space(folder.path()).unwrap();
        File::create(&database).and_then(|file| file.set_len(free)).unwrap();
        let to = folder.path().join("copy.db");
        let refused = copy(&database, &to, &[], String::new).unwrap_err();
        assert!(matches!(refused, BackupError::NoSpace { .. }), "{refused}");
        assert!(!to.exists() && !beside(&to, ".part").exists());
    }
}
