use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use diesel::migration::{Migration, MigrationSource};
use diesel::sqlite::{Sqlite, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

use crate::DbError;

/// The tables of one crate, as embedded migrations.
///
/// Versions (the digits before the first `_` of a migration's folder) must differ between all sets of a database;
/// [`Database::open`](crate::Database::open) refuses a clash.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "EmbeddedMigrations has no Debug")]
pub struct MigrationSet {
    /// The owning crate's name, for messages.
    pub name: &'static str,
    /// The migrations for SQLite, by [`embed_migrations!`](crate::embed_migrations).
    pub sqlite: &'static EmbeddedMigrations,
}

/// Refuses a database from the future, then runs what is pending, set by set.
pub(crate) fn run(conn: &mut SqliteConnection, path: &Path, sets: &[MigrationSet]) -> Result<(), DbError> {
    let failed =
        |e: &dyn std::fmt::Display| DbError::Migration { path: path.to_owned(), reason: e.to_string() };

    let mut known: BTreeMap<String, &'static str> = BTreeMap::new();
    let mut ours = Vec::new();
    for set in sets {
        let migrations: Vec<Box<dyn Migration<Sqlite>>> = set.sqlite.migrations().map_err(|e| failed(&e))?;
        for migration in migrations {
            let version = migration.name().version().to_string();
            if let Some(first) = known.insert(version.clone(), set.name) {
                return Err(DbError::DuplicateMigration { version, first, second: set.name });
            }
            ours.push((set.name, migration));
        }
    }
    let applied: BTreeSet<String> =
        conn.applied_migrations().map_err(|e| failed(&e))?.iter().map(ToString::to_string).collect();
    if let Some(version) = applied.iter().rfind(|version| !known.contains_key(*version)) {
        return Err(DbError::Newer { path: path.to_owned(), version: version.clone() });
    }
    for (set, migration) in ours {
        if !applied.contains(&migration.name().version().to_string()) {
            conn.run_migration(&*migration).map_err(|e| failed(&e))?;
            tracing::info!(set, migration = %migration.name(), "database migrated");
        }
    }
    Ok(())
}
