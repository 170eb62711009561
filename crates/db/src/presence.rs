//! Who of this process works on a database, under names that rows refer to.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::Database;

/// Keeps a name [present](Database::presences) until its last clone is dropped.
///
/// One process at a time opens a database, so a name that rows hold and that is not present belongs to nobody that
/// still works: its process has ended, or this process has dropped it.
#[derive(Clone)]
pub struct Presence(Arc<Name>);

struct Name {
    name: String,
    // Keeps the database open: what is present may still write.
    db: Database,
}

impl Presence {
    /// The name.
    pub fn name(&self) -> &str {
        &self.0.name
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Presence").field(&self.0.name).finish()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.db.present().send_modify(|names| {
            names.remove(&self.name);
        });
    }
}

impl Database {
    /// Makes `name` present. Choose one that was never used before: `None` if it is present already.
    pub fn enter(&self, name: String) -> Option<Presence> {
        let is_new = self.present().send_if_modified(|names| names.insert(name.clone()));
        is_new.then(|| Presence(Arc::new(Name { name, db: self.clone() })))
    }

    /// The names that are present, and a way to wait until they change.
    pub fn presences(&self) -> watch::Receiver<BTreeSet<String>> {
        self.present().subscribe()
    }
}
