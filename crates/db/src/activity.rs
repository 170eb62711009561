//! What the statements of a connection come to, seen by diesel's instrumentation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use diesel::connection::{Connection, InstrumentationEvent};
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sqlite::SqliteConnection;

/// Watches the writer's connection. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Activity(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    is_running: AtomicBool,
    is_broken: AtomicBool,
    statements: AtomicU64,
}

impl Activity {
    pub(crate) fn watch(&self, conn: &mut SqliteConnection) {
        let activity = self.clone();
        conn.set_instrumentation(move |event: InstrumentationEvent<'_>| match event {
            InstrumentationEvent::StartQuery { .. } => {
                #[cfg(feature = "notes")]
                if let InstrumentationEvent::StartQuery { query, .. } = &event {
                    crate::notes::statement(query);
                }
                activity.0.statements.fetch_add(1, Ordering::SeqCst);
                activity.0.is_running.store(true, Ordering::SeqCst);
            }
            InstrumentationEvent::FinishQuery { error, .. } => {
                activity.note(error);
                activity.0.is_running.store(false, Ordering::SeqCst);
            }
            _ => {}
        });
    }

    /// What a statement came to.
    pub(crate) fn note(&self, error: Option<&Error>) {
        if error.is_some_and(may_have_rolled_back) {
            self.0.is_broken.store(true, Ordering::SeqCst);
        }
    }

    pub(crate) fn reset(&self) {
        self.0.is_broken.store(false, Ordering::SeqCst);
    }

    /// True while a statement runs.
    pub fn is_running(&self) -> bool {
        self.0.is_running.load(Ordering::SeqCst)
    }

    /// How many statements have been started.
    pub fn statements(&self) -> u64 {
        self.0.statements.load(Ordering::SeqCst)
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.0.is_broken.load(Ordering::SeqCst)
    }
}

/// A full disk, a failed read and the like make SQLite roll back the whole transaction, and then each further statement
/// commits alone. A constraint undoes its statement only.
fn may_have_rolled_back(error: &Error) -> bool {
    match error {
        Error::DatabaseError(kind, _) => !matches!(
            kind,
            DatabaseErrorKind::UniqueViolation
                | DatabaseErrorKind::ForeignKeyViolation
                | DatabaseErrorKind::NotNullViolation
                | DatabaseErrorKind::CheckViolation
        ),
        _ => false,
    }
}
