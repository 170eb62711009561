//! Which queries a run executes, and from which lines, for a check of their plans. Exists with the feature `notes` only,
//! and does nothing unless the environment names a folder ([`FOLDER`]).
//!
//! Each process writes a file of its own there. Its lines are `site<TAB>file:line` for a call of [`on!`](crate::on), and
//! `sql<TAB>statement`, each once.

use std::collections::HashSet;
use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};

use diesel::connection::{Connection, InstrumentationEvent};
use diesel::sqlite::SqliteConnection;

/// The environment variable that names the folder.
pub const FOLDER: &str = "PRIVATIX_NOTE_QUERIES";

static NOTES: LazyLock<Option<Mutex<Notes>>> = LazyLock::new(|| {
    let folder = PathBuf::from(std::env::var_os(FOLDER)?);
    let name = format!("{}-{:x}", std::process::id(), started_nanos());
    let file = OpenOptions::new().append(true).create(true).open(folder.join(&name));
    match file {
        Ok(file) => Some(Mutex::new(Notes { file, seen: HashSet::new() })),
        Err(error) => {
            tracing::error!(%error, name, "cannot note queries in the folder of {FOLDER}");
            None
        }
    }
});

/// The start's time, as process ids come again in a long run.
fn started_nanos() -> u128 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos())
}

struct Notes {
    file: File,
    seen: HashSet<String>,
}

fn note(line: String) {
    if let Some(notes) = &*NOTES {
        let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        if !notes.seen.contains(&line) {
            if let Err(error) = writeln!(notes.file, "{line}") {
                tracing::error!(%error, "cannot note a query");
            }
            notes.seen.insert(line);
        }
    }
}

/// Notes a call of [`on!`](crate::on).
#[doc(hidden)]
pub fn site(file: &str, line: u32) {
    if NOTES.is_some() {
        note(format!("site\t{file}:{line}"));
    }
}

/// Notes a statement, without the values that are bound to it.
pub(crate) fn statement(query: &dyn Display) {
    if NOTES.is_some() {
        let text = query.to_string();
        let text = text.split(" -- binds: ").next().unwrap_or_default();
        note(format!("sql\t{}", text.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
}

/// Notes what a reader runs.
pub(crate) fn watch(conn: &mut SqliteConnection) {
    if NOTES.is_some() {
        conn.set_instrumentation(|event: InstrumentationEvent<'_>| {
            if let InstrumentationEvent::StartQuery { query, .. } = event {
                statement(query);
            }
        });
    }
}
