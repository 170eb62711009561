//! The promises of the database layer, over real SQLite files.
#![allow(clippy::unwrap_used, reason = "tests")]
use std::time::SystemTime;

use diesel::prelude::*;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use privatix_db::types::{Addr, Amount128, Bytes32, Micros};
use privatix_db::{
    BatchWrite, Conn, Database, DbError, EmbeddedMigrations, GroupCommit, MigrationSet, embed_migrations, on,
};

const OLD: MigrationSet = set("old", &embed_migrations!("tests/migrations/old"));
const NEW: MigrationSet = set("new", &embed_migrations!("tests/migrations/new"));

const fn set(name: &'static str, sqlite: &'static EmbeddedMigrations) -> MigrationSet {
    MigrationSet { name, sqlite }
}

#[allow(missing_docs, reason = "tables are documented by their migrations")]
mod schema {
    diesel::table! {
        line (text) { text -> Text, }
    }
    diesel::table! {
        note (id) { id -> BigInt, body -> Text, }
    }
    diesel::table! {
        typed (id) { id -> BigInt, hash -> Binary, account -> Binary, amount -> Binary, at -> BigInt, }
    }
}
use schema::{line, note, typed};

async fn add(conn: &mut Conn, body: &str) -> Result<(), DbError> {
    on!(conn, |c| diesel::insert_into(note::table).values(note::body.eq(body)).execute(c).await)?;
    Ok(())
}

async fn bodies(db: &Database) -> Vec<String> {
    let mut conn = db.read().await.unwrap();
    on!(&mut *conn, |c| note::table.order(note::id).select(note::body).load(c).await).unwrap()
}

async fn open(dir: &tempfile::TempDir, sets: &[MigrationSet]) -> Result<Database, DbError> {
    Database::open(&dir.path().join("test.db"), sets).await
}

#[tokio::test]
async fn what_is_committed_is_there_after_reopening_and_what_is_dropped_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir, &[OLD]).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    add(&mut tx, "kept").await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = db.begin().await.unwrap();
    add(&mut tx, "dropped").await.unwrap();
    drop(tx);
    let mut tx = db.begin().await.unwrap();
    add(&mut tx, "after").await.unwrap();
    tx.commit().await.unwrap();
    drop(db);

    let db = open(&dir, &[OLD]).await.unwrap();
    assert_eq!(bodies(&db).await, ["kept", "after"]);
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_are_their_owner_s_alone_whatever_they_were_before() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let files = || {
        let mut files: Vec<(String, u32)> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
                (entry.file_name().into_string().unwrap(), mode)
            })
            .collect();
        files.sort();
        files
    };
    let private =
        ["test.db", "test.db-shm", "test.db-wal", "test.db.lock"].map(|name| (name.to_owned(), 0o600));
    for body in ["new files", "files of an earlier version"] {
        let db = open(&dir, &[OLD]).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        add(&mut tx, body).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(files(), private, "{body}");
        // As an earlier version left them at a power cut.
        for (name, _) in files() {
            std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        drop(db);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_cancelled_at_any_await_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir, &[OLD]).await.unwrap();
    for polls in 0..40 {
        let work = async {
            let mut tx = db.begin().await?;
            for n in 0..5 {
                add(&mut tx, &format!("{polls}-{n}")).await?;
            }
            tokio::task::yield_now().await;
            drop(tx);
            Ok::<_, DbError>(())
        };
        let mut work = Box::pin(work);
        for _ in 0..polls {
            if futures_poll_once(work.as_mut()).await {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let mut tx = db.begin().await.unwrap();
    add(&mut tx, "only").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(bodies(&db).await, ["only"]);
}

async fn futures_poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

#[tokio::test]
async fn an_older_program_refuses_a_newer_database_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir, &[NEW]).await.unwrap());
    let refusal = open(&dir, &[OLD]).await.unwrap_err();
    assert!(matches!(&refusal, DbError::Newer { version, .. } if version == "20260101000002"), "{refusal}");
    open(&dir, &[NEW]).await.unwrap();
}

#[tokio::test]
async fn an_older_database_is_migrated_and_keeps_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir, &[OLD]).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    add(&mut tx, "old").await.unwrap();
    tx.commit().await.unwrap();
    drop(db);
    let db = open(&dir, &[NEW]).await.unwrap();
    assert_eq!(bodies(&db).await, ["old"]);
}

#[tokio::test]
async fn two_sets_with_one_version_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refusal = open(&dir, &[OLD, NEW]).await.unwrap_err();
    assert!(matches!(refusal, DbError::DuplicateMigration { first: "old", second: "new", .. }), "{refusal}");
}

#[tokio::test]
async fn a_database_in_use_is_refused_until_its_last_handle_drops() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(&dir, &[]).await.unwrap();
    let clone = first.clone();
    drop(first);
    assert!(matches!(open(&dir, &[]).await.unwrap_err(), DbError::InUse { .. }));
    drop(clone);
    open(&dir, &[]).await.unwrap();
}

#[tokio::test]
async fn a_look_at_a_database_sees_its_commits_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.db");
    assert!(Database::look(&path).await.unwrap().is_none());
    assert!(!path.exists());
    let db = open(&dir, &[OLD]).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    add(&mut tx, "seen").await.unwrap();
    tx.commit().await.unwrap();
    let look = async || {
        let mut conn = Database::look(&path).await.unwrap().unwrap();
        let written = on!(&mut conn, |c| diesel::insert_into(note::table)
            .values(note::body.eq("new"))
            .execute(c)
            .await);
        assert!(written.is_err());
        let seen: Vec<String> = on!(&mut conn, |c| note::table.select(note::body).load(c).await).unwrap();
        assert_eq!(seen, ["seen"]);
    };
    look().await; // while it is in use
    drop(db);
    look().await;
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let refusal = Database::open(&dir.path().join("no/such/x.db"), &[]).await.unwrap_err();
    assert!(refusal.to_string().contains("no/such/x.db"), "{refusal}");
}

#[tokio::test]
async fn readers_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir, &[OLD]).await.unwrap();
    let mut conn = db.read().await.unwrap();
    assert!(add(&mut conn, "sneaky").await.is_err());
}

struct Notes {
    batches: tokio::sync::mpsc::UnboundedSender<usize>,
}

impl BatchWrite for Notes {
    type Item = String;
    type Outcome = usize;

    async fn write(&mut self, conn: &mut Conn, items: Vec<String>) -> Result<Vec<usize>, DbError> {
        let _ = self.batches.send(items.len());
        for item in &items {
            add(conn, item).await?;
        }
        Ok(items.iter().map(String::len).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writes_share_commits_and_each_gets_its_own_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir, &[OLD]).await.unwrap();
    let (batches, mut sizes) = tokio::sync::mpsc::unbounded_channel();
    let (group, task) = GroupCommit::start(db.clone(), Notes { batches }, 64);
    let held = db.begin().await.unwrap(); // everything submitted meanwhile has to queue up
    let writes: Vec<_> = (0..200)
        .map(|n| {
            let group = group.clone();
            tokio::spawn(async move { group.submit("x".repeat(n + 1)).await.unwrap() })
        })
        .collect();
    drop(held);
    for (n, write) in writes.into_iter().enumerate() {
        assert_eq!(write.await.unwrap(), n + 1);
    }
    drop(group);
    task.await.unwrap();
    assert_eq!(bodies(&db).await.len(), 200);
    let mut commits = 0;
    while let Ok(size) = sizes.try_recv() {
        assert!(size <= 64);
        commits += 1;
    }
    assert!(commits < 200, "{commits} commits for 200 writes share nothing");
}

#[tokio::test]
async fn a_failed_batch_is_rolled_back_whole_and_the_next_one_works() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir, &[OLD]).await.unwrap();
    let (batches, _sizes) = tokio::sync::mpsc::unbounded_channel();
    let (group, task) = GroupCommit::start(db.clone(), Notes { batches }, 64);
    let (a, b) = tokio::join!(group.submit("twin".into()), group.submit("twin".into()));
    assert!(matches!(a, Err(DbError::Batch(_))), "{a:?}");
    assert!(matches!(b, Err(DbError::Batch(_))), "{b:?}");
    assert_eq!(group.submit("single".into()).await.unwrap(), 6);
    drop(group);
    task.await.unwrap();
    assert_eq!(bodies(&db).await, ["single"]);
}

#[tokio::test]
async fn column_types_round_trip_and_amounts_compare_as_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir, &[]).await.unwrap();
    let now = Micros::now();
    let mut tx = db.begin().await.unwrap();
    on!(&mut *tx, |c| {
        c.batch_execute(
            "CREATE TABLE typed (id INTEGER PRIMARY KEY, hash BLOB NOT NULL, account BLOB NOT NULL,
             amount BLOB NOT NULL, at BIGINT NOT NULL)",
        )
        .await
    })
    .unwrap();
    for amount in [u128::MAX, 0, 255, 256, 1] {
        let row = (
            typed::hash.eq(Bytes32::from([7; 32])),
            typed::account.eq(Addr::from([9; 20])),
            typed::amount.eq(Amount128::from(amount)),
            typed::at.eq(now),
        );
        on!(&mut *tx, |c| diesel::insert_into(typed::table).values(row).execute(c).await).unwrap();
    }
    let rows: Vec<(Bytes32, Addr, Amount128, Micros)> = on!(&mut *tx, |c| {
        typed::table
            .order(typed::amount)
            .select((typed::hash, typed::account, typed::amount, typed::at))
            .load(c)
            .await
    })
    .unwrap();
    assert_eq!(rows.iter().map(|r| r.2.into()).collect::<Vec<u128>>(), [0, 1, 255, 256, u128::MAX]);
    assert_eq!(rows[0].0.bytes(), [7; 32]);
    assert_eq!(rows[0].1.bytes(), [9; 20]);
    assert_eq!(rows[0].3, now);
    assert_eq!(Micros::from(SystemTime::from(Micros(-5))), Micros(-5));
    drop(tx);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_present_until_its_last_clone_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(&dir.path().join("present.db"), &[]).await.unwrap();
    let mut presences = db.presences();
    let first = db.enter("a worker".into()).unwrap();
    assert!(db.enter("a worker".into()).is_none());
    let second = first.clone();
    drop(first);
    assert!(presences.borrow_and_update().contains(second.name()));
    drop(second);
    presences.changed().await.unwrap();
    assert!(presences.borrow().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_full_disk_a_transaction_takes_no_further_statements() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(&dir.path().join("full.db"), &[]).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    on!(&mut *tx, |c| c.batch_execute("CREATE TABLE line (text TEXT PRIMARY KEY NOT NULL)").await).unwrap();
    tx.commit().await.unwrap();

    let mut tx = db.begin().await.unwrap();
    on!(&mut *tx, |c| c.batch_execute("INSERT INTO line VALUES ('before'); PRAGMA max_page_count = 3").await)
        .unwrap();
    let large = format!("INSERT INTO line VALUES ('{}')", "x".repeat(100_000));
    on!(&mut *tx, |c| c.batch_execute(&large).await).unwrap_err();
    assert!(tx.is_broken());
    // Without that, it would commit alone: the database has rolled back.
    on!(&mut *tx, |c| c.batch_execute("INSERT INTO line VALUES ('after')").await).unwrap_err();
    assert!(matches!(tx.commit().await, Err(DbError::Broken)));

    let mut tx = db.begin().await.unwrap();
    on!(&mut *tx, |c| c
        .batch_execute("PRAGMA max_page_count = 1000000; INSERT INTO line VALUES ('again')")
        .await)
    .unwrap();
    // A constraint undoes its statement only.
    on!(&mut *tx, |c| c.batch_execute("INSERT INTO line VALUES ('again')").await).unwrap_err();
    assert!(!tx.is_broken());
    tx.commit().await.unwrap();
    let mut conn = db.read().await.unwrap();
    let lines: Vec<String> = on!(&mut *conn, |c| line::table.select(line::text).load(c).await).unwrap();
    assert_eq!(lines, ["again"]);
}

async fn insert(conn: &mut Conn, text: &str) -> Result<String, diesel::result::Error> {
    let query = diesel::insert_into(line::table).values(line::text.eq(text)).returning(line::text);
    on!(conn, |c| query.get_result(c).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_a_statement_that_returns_rows_breaks_the_transaction_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(&dir.path().join("full.db"), &[]).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    on!(&mut *tx, |c| c.batch_execute("CREATE TABLE line (text TEXT PRIMARY KEY NOT NULL)").await).unwrap();
    tx.commit().await.unwrap();

    let mut tx = db.begin().await.unwrap();
    on!(&mut *tx, |c| c.batch_execute("PRAGMA max_page_count = 3").await).unwrap();
    assert_eq!(insert(&mut tx, "before").await.unwrap(), "before");
    {
        // Whoever swallows the error, and goes on with the same connection.
        let conn: &mut Conn = &mut tx;
        let full = insert(conn, &"x".repeat(100_000)).await.unwrap_err();
        assert!(full.to_string().contains("full"), "{full}");
        insert(conn, "alone").await.unwrap_err();
        on!(conn, |c| c.batch_execute("INSERT INTO line VALUES ('alone too')").await).unwrap_err();
    }
    assert!(tx.is_broken());
    assert!(matches!(tx.commit().await, Err(DbError::Broken)));

    let mut tx = db.begin().await.unwrap();
    on!(&mut *tx, |c| c.batch_execute("PRAGMA max_page_count = 1000000").await).unwrap();
    insert(&mut tx, "again").await.unwrap();
    // A constraint undoes its statement only.
    insert(&mut tx, "again").await.unwrap_err();
    tx.commit().await.unwrap();
    let mut conn = db.read().await.unwrap();
    let lines: Vec<String> = on!(&mut *conn, |c| line::table.select(line::text).load(c).await).unwrap();
    assert_eq!(lines, ["again"]);
}
