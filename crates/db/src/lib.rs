//! A small asynchronous database layer that several crates can share one transaction over.
//!
//! What it owns: opening and migrating a database ([`Database::open`]), reading ([`Database::read`]), writing in
//! transactions ([`Database::begin`]), many small durable writes in one commit ([`GroupCommit`]), and the column types
//! of Ethereum values ([`types`]). It knows no table: each crate on top brings its own as a [`MigrationSet`].
//!
//! The embedded backend is SQLite in WAL mode with `synchronous=FULL`: what is committed survives a power cut. There
//! is one writer, so a write transaction never fails for another one's sake; readers never wait for it.
//! Queries are written in [`on!`], which expands once per backend: a second backend is a second variant of [`Conn`].
//!
//! ```
//! # #[tokio::main(flavor = "multi_thread")] async fn main() -> Result<(), privatix_db::DbError> {
//! use diesel_async::SimpleAsyncConnection;
//! use privatix_db::{Database, on};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! let db = Database::open(&dir.path().join("app.db"), &[]).await?;
//! let mut tx = db.begin().await?;
//! on!(&mut *tx, |c| c.batch_execute("CREATE TABLE seen (id INTEGER PRIMARY KEY)").await)?;
//! tx.commit().await?; // dropped instead, it would be rolled back
//! # Ok(()) }
//! ```

mod activity;
pub mod backup;
mod conn;
mod database;
mod disk;
mod error;
mod group_commit;
mod migrate;
#[cfg(feature = "notes")]
pub mod notes;
mod presence;
mod private;
mod savepoint;
pub mod types;

pub use activity::Activity;
pub use conn::{Conn, SqliteConn};
pub use database::{Database, ReadGuard, Tx};
pub use diesel_migrations::{EmbeddedMigrations, embed_migrations};
pub use disk::free_space;
pub use error::DbError;
pub use group_commit::{BatchWrite, GroupCommit};
pub use migrate::MigrationSet;
pub use presence::Presence;
pub use savepoint::Savepoint;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
