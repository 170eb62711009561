//! The promises of copies, over real SQLite files.
#![allow(clippy::unwrap_used, reason = "tests")]
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use diesel::prelude::*;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use privatix_db::backup::{self, BackupError, Restoring};
use privatix_db::{Database, DbError, EmbeddedMigrations, MigrationSet, embed_migrations, on};
use rand::RngExt as _;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

const OLD: MigrationSet = set("old", &embed_migrations!("tests/migrations/old"));
const NEW: MigrationSet = set("new", &embed_migrations!("tests/migrations/new"));
const MARK: &str = "INSERT INTO note (body) VALUES ('a copy')";

const fn set(name: &'static str, sqlite: &'static EmbeddedMigrations) -> MigrationSet {
    MigrationSet { name, sqlite }
}

#[allow(missing_docs, reason = "tables are documented by their migrations")]
mod schema {
    diesel::table! {
        note (id) { id -> BigInt, body -> Text, }
    }
}
use schema::note;

async fn add(db: &Database, bodies: &[&str]) {
    let mut tx = db.begin().await.unwrap();
    for body in bodies {
        on!(&mut *tx, |c| diesel::insert_into(note::table).values(note::body.eq(body)).execute(c).await)
            .unwrap();
    }
    tx.commit().await.unwrap();
}

async fn bodies(db: &Database) -> Vec<String> {
    let mut conn = db.read().await.unwrap();
    on!(&mut *conn, |c| note::table.order(note::id).select(note::body).load(c).await).unwrap()
}

async fn open(path: &Path) -> Database {
    Database::open(path, &[OLD]).await.unwrap()
}

/// A database with these notes, closed.
async fn made(path: &Path, notes: &[&str]) {
    add(&open(path).await, notes).await;
}

fn notes_of(colour: &str) -> Vec<String> {
    (0..2_000).map(|number| format!("{colour} {number}")).collect()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

async fn restore(from: &Path, to: &Path) -> Result<Option<PathBuf>, BackupError> {
    Restoring::begin(from, to, &[OLD], MARK).await?.replace().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_made_while_others_write_is_of_one_moment_and_misses_nothing_from_before() {
    let folder = Folder::new();
    let db = open(&folder.at("live.db")).await;
    let stop = CancellationToken::new();
    let writing = tokio::spawn({
        let (db, stop) = (db.clone(), stop.clone());
        async move {
            let mut written = 0u32;
            while !stop.is_cancelled() {
                add(&db, &[&format!("left {written}"), &format!("right {written}")]).await;
                written += 1;
            }
            written
        }
    });
    for round in 0..5 {
        let before = bodies(&db).await.len();
        let copy = folder.at(&format!("copy-{round}"));
        let bytes = backup::back_up(&folder.at("live.db"), &copy, &[OLD], || MARK.to_owned()).await.unwrap();
        let metadata = copy.metadata().unwrap();
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (bytes, 0o600));
        assert!(!folder.names().iter().any(|name| name.contains(".part")));

        let mut found = bodies(&open(&copy).await).await;
        assert_eq!(found.pop().as_deref(), Some("a copy"));
        assert!(found.len() >= before && found.len().is_multiple_of(2), "{before} {}", found.len());
        for (number, pair) in found.chunks(2).enumerate() {
            assert_eq!(pair, [format!("left {number}"), format!("right {number}")]);
        }
    }
    stop.cancel();
    assert!(writing.await.unwrap() > 0, "others wrote meanwhile");
}

#[tokio::test]
async fn a_copy_replaces_nothing_and_there_is_one_writer_of_it() {
    let folder = Folder::new();
    let (live, copy) = (folder.at("live.db"), folder.at("copy"));
    let missing = backup::back_up(&live, &copy, &[OLD], || MARK.to_owned()).await.unwrap_err();
    assert!(matches!(missing, BackupError::Missing { .. }), "{missing}");

    made(&live, &["one"]).await;
    std::fs::write(&copy, "precious").unwrap();
    let refused = backup::back_up(&live, &copy, &[OLD], || MARK.to_owned()).await.unwrap_err();
    assert!(matches!(refused, BackupError::Exists { .. }), "{refused}");
    assert_eq!(std::fs::read(&copy).unwrap(), b"precious");
    std::fs::remove_file(&copy).unwrap();

    // What a process that was killed has left behind is used again, once nobody writes it.
    let part = std::fs::File::create(folder.at("copy.part")).unwrap();
    std::fs::write(folder.at("copy.part"), vec![7; 10_000]).unwrap();
    std::fs::write(folder.at("copy.part-journal"), vec![7; 10_000]).unwrap();
    part.try_lock().unwrap();
    let busy = backup::back_up(&live, &copy, &[OLD], || MARK.to_owned()).await.unwrap_err();
    assert!(matches!(busy, BackupError::UnderWay { .. }), "{busy}");
    drop(part);
    backup::back_up(&live, &copy, &[OLD], || MARK.to_owned()).await.unwrap();
    assert_eq!(folder.names(), ["copy", "live.db", "live.db.lock"]);
}

#[tokio::test]
async fn what_is_restored_is_the_copy_and_the_former_database_is_kept_with_its_last_commits() {
    let folder = Folder::new();
    let (live, copy, crashed) = (folder.at("live.db"), folder.at("copy"), folder.at("crashed.db"));
    let db = open(&live).await;
    add(&db, &["one"]).await;
    backup::back_up(&live, &copy, &[OLD], String::new).await.unwrap();
    add(&db, &["two"]).await;
    // As a process leaves it that is killed: the last commit lies beside the database.
    for suffix in ["", "-wal"] {
        std::fs::copy(folder.at(&format!("live.db{suffix}")), folder.at(&format!("crashed.db{suffix}")))
            .unwrap();
    }
    drop(db);

    let former = restore(&copy, &crashed).await.unwrap().unwrap();
    assert_eq!(bodies(&open(&crashed).await).await, ["one", "a copy"]);
    assert_eq!(bodies(&open(&former).await).await, ["one", "two"]);
    assert_eq!(crashed.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let empty = folder.at("empty.db");
    assert_eq!(restore(&copy, &empty).await.unwrap(), None);
    assert_eq!(bodies(&open(&empty).await).await, ["one", "a copy"]);
    assert!(!folder.names().iter().any(|name| name.contains("restoring")));
}

#[tokio::test]
async fn nothing_that_is_not_sound_is_restored_and_nothing_in_use_is_replaced() {
    let folder = Folder::new();
    let (live, copy) = (folder.at("live.db"), folder.at("copy"));
    let many = notes_of("grey");
    made(&live, &many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    backup::back_up(&live, &copy, &[OLD], String::new).await.unwrap();
    let whole = std::fs::read(&copy).unwrap();

    let mut torn = whole.clone();
    torn.truncate(whole.len() / 2);
    let mut flipped = whole.clone();
    let middle = whole.len() / 2 / 4096 * 4096;
    flipped[middle..middle + 64].fill(0xff);
    for damaged in [torn, flipped, b"not a database at all".to_vec(), vec![0xff; 100_000]] {
        std::fs::write(&copy, damaged).unwrap();
        let refused = restore(&copy, &live).await.unwrap_err();
        assert!(matches!(refused, BackupError::Damaged { .. }), "{refused}");
    }
    std::fs::write(&copy, &whole).unwrap();
    std::fs::write(folder.at("copy-wal"), "commits").unwrap();
    let refused = restore(&copy, &live).await.unwrap_err();
    assert!(matches!(refused, BackupError::Commits { .. }), "{refused}");
    std::fs::remove_file(folder.at("copy-wal")).unwrap();

    let db = open(&live).await;
    let refused = restore(&copy, &live).await.unwrap_err();
    assert!(matches!(refused, BackupError::Db(DbError::InUse { .. })), "{refused}");
    drop(db);

    let newer = folder.at("newer.db");
    drop(Database::open(&newer, &[NEW]).await.unwrap());
    let refused = restore(&newer, &live).await.unwrap_err();
    assert!(matches!(refused, BackupError::Db(DbError::Newer { .. })), "{refused}");

    drop(Restoring::begin(&copy, &live, &[OLD], MARK).await.unwrap()); // changes nothing
    assert_eq!(bodies(&open(&live).await).await, many);
}

#[tokio::test]
async fn an_older_copy_is_brought_up_to_date() {
    let folder = Folder::new();
    let (old, live) = (folder.at("old.db"), folder.at("live.db"));
    made(&old, &["one"]).await;
    let restoring = Restoring::begin(&old, &live, &[NEW], "").await.unwrap();
    let mut conn = restoring.conn().unwrap();
    on!(&mut conn, |c| c.batch_execute("SELECT author FROM note").await).unwrap();
    drop(conn);
    restoring.replace().await.unwrap();
    assert_eq!(bodies(&Database::open(&live, &[NEW]).await.unwrap()).await, ["one"]);
}

const DATABASE: &str = "PRIVATIX_DB_RESTORE_TEST_FOLDER";
const RESTORED: &str = "restored";
const KILLS: u32 = 30;
/// A guard against hangs, nothing else.
const PATIENCE: Duration = Duration::from_mins(2);

/// The process that is killed: restores one copy after the other, and writes in between. Does nothing unless the test below
/// has started it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_child_process() {
    let Ok(folder) = std::env::var(DATABASE) else { return };
    let folder = Path::new(&folder);
    let live = folder.join("live.db");
    for copy in ["black", "white"].iter().cycle() {
        let restoring = Restoring::begin(&folder.join(copy), &live, &[OLD], "").await.unwrap();
        if let Some(former) = restoring.replace().await.unwrap() {
            std::fs::remove_file(former).unwrap();
        }
        add(&open(&live).await, &["written since"]).await;
        println!("{RESTORED}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_of_a_restore_leaves_a_whole_database() {
    let folder = Folder::new();
    for colour in ["black", "white"] {
        let made_of = folder.at(&format!("{colour}.db"));
        let notes = notes_of(colour);
        made(&made_of, &notes.iter().map(String::as_str).collect::<Vec<_>>()).await;
        backup::back_up(&made_of, &folder.at(colour), &[OLD], String::new).await.unwrap();
    }
    let live = folder.at("live.db");
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "as_a_child_process", "--nocapture"])
            .env(DATABASE, folder.0.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reading = async {
            // The first restore heals what the kill before has left; the next one is interrupted.
            while !lines.next_line().await.unwrap().unwrap().contains(RESTORED) {}
            // Not an event that is waited for: the kill is to come at any moment of about one turn.
            tokio::time::sleep(Duration::from_micros(rand::rng().random_range(0..40_000))).await;
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap();
        child.kill().await.unwrap();

        let mut found = bodies(&open(&live).await).await;
        found.retain(|body| body != "written since");
        let whole = ["black", "white"].iter().any(|colour| found == notes_of(colour));
        assert!(whole, "kill {kill}: {} notes", found.len());
    }
}
