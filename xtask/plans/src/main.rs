//! Reads what the tests have noted (see `privatix_db::notes`) and fails
//! - if a query of our libraries was executed by no test: it would be checked by nobody;
//! - if a statement reads a whole table, by an index or not, or sorts without a limit, unless [`ALLOWED`] says why it may.
//!
//! The plans are SQLite's, for the tables as the migrations leave them and without statistics, as the daemons have none.
#![allow(clippy::print_stdout, reason = "a developer's command")]

mod sites;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl as _;
use privatix_db::{Database, ReadGuard, on};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A scan or a sort that is meant.
struct Allowed {
    /// The step of the plan, or its beginning.
    step: &'static str,
    /// What the statement contains.
    of: &'static str,
    /// Why it costs little.
    #[expect(dead_code, reason = "for the reader")]
    why: &'static str,
}

const ALLOWED: &[Allowed] = &[];

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).ok_or("which folder holds the notes?")?;
    let notes = Notes::read(Path::new(&folder))?;
    let mut faults = sites::not_executed(&privatix_testkit::toolchain::workspace_root(), &notes.sites)?;
    let home = tempfile::tempdir()?;
    let sets = [privatix_jobs::MIGRATIONS, privatix_chain::MIGRATIONS, privatix_store::MIGRATIONS];
    let db = Database::open(&home.path().join("plans.db"), &sets).await?;
    let mut conn = db.read().await?;
    let mut checked = 0_u32;
    let mut used = BTreeSet::new();
    for statement in &notes.statements {
        let Some(steps) = plan(&mut conn, statement).await? else { continue };
        checked = checked.saturating_add(1);
        for step in steps.iter().filter(|step| is_costly(step, statement)) {
            match ALLOWED.iter().position(|a| step.starts_with(a.step) && statement.contains(a.of)) {
                Some(n) => {
                    used.insert(n);
                }
                None => faults.push(format!("{step}\n      in {statement}")),
            }
        }
    }
    let unused = ALLOWED.iter().enumerate().filter(|(n, _)| !used.contains(n));
    faults.extend(unused.map(|(_, a)| format!("no longer needed in ALLOWED: {} of {}", a.step, a.of)));
    println!("{checked} statements, executed from {} places", notes.sites.len());
    if faults.is_empty() {
        return Ok(());
    }
    for fault in &faults {
        println!("  {fault}");
    }
    Err(format!("{} faults", faults.len()).into())
}

/// The steps of a statement's plan; `None` if it is none of a program's tables, or has none.
async fn plan(conn: &mut ReadGuard, statement: &str) -> Result<Option<Vec<String>>> {
    const PLANNED: [&str; 5] = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"];
    let first = statement.split(' ').next().unwrap_or_default().to_ascii_uppercase();
    if !PLANNED.contains(&first.as_str()) {
        return Ok(None);
    }
    let explain = diesel::sql_query(format!("EXPLAIN QUERY PLAN {statement}"));
    match on!(&mut **conn, |c| explain.load::<Step>(c).await) {
        Ok(steps) => Ok(Some(steps.into_iter().map(|step| step.detail).collect())),
        Err(error) if error.to_string().starts_with("no such table") => Ok(None), // a test's own
        Err(error) => Err(format!("{error} in {statement}").into()),
    }
}

/// Rows of a subquery or of a virtual table are as many as the caller passes.
fn is_costly(step: &str, statement: &str) -> bool {
    let scans = step.strip_prefix("SCAN ").is_some_and(|of| {
        !of.starts_with('(') && !of.contains("VIRTUAL TABLE") && !of.starts_with("CONSTANT ROW")
    });
    let sorts = step.starts_with("USE TEMP B-TREE") && !statement.contains(" LIMIT ");
    scans || sorts
}

struct Notes {
    sites: BTreeSet<String>,
    statements: BTreeSet<String>,
}

impl Notes {
    fn read(folder: &Path) -> Result<Self> {
        let mut kinds: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for entry in std::fs::read_dir(folder)? {
            let text = std::fs::read_to_string(entry?.path())?;
            // A process that was killed may leave half a line at the end.
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            for line in whole.lines() {
                for kind in ["site", "sql"] {
                    if let Some(value) = line.strip_prefix(kind).and_then(|rest| rest.strip_prefix('\t')) {
                        kinds.entry(kind).or_default().insert(value.to_owned());
                    }
                }
            }
        }
        let mut taken = |kind| kinds.remove(kind).unwrap_or_default();
        let (sites, statements) = (taken("site"), taken("sql"));
        if statements.is_empty() {
            return Err("no query was noted: run the tests with the folder in PRIVATIX_NOTE_QUERIES".into());
        }
        Ok(Self { sites, statements })
    }
}
