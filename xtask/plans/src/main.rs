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

const ALLOWED: &[Allowed] = &[
    Allowed { step: "SCAN identity", of: "FROM `identity`", why: "one row" },
    Allowed { step: "SCAN recovery", of: "`recovery`", why: "one row" },
    Allowed {
        step: "USE TEMP B-TREE FOR ORDER BY",
        of: "FROM json_each(?) ORDER BY key RETURNING id",
        why: "the jobs of one push",
    },
    Allowed { step: "USE TEMP B-TREE FOR ORDER BY", of: "AND watched = 1)", why: "the working set" },
    Allowed { step: "SCAN kinds", of: "WITH RECURSIVE kinds", why: "one row for each kind" },
    Allowed { step: "SCAN n", of: "WITH RECURSIVE n", why: "a test makes rows" },
    Allowed { step: "SCAN channels", of: "UPDATE channels SET fold_version = 0;", why: "a test" },
    Allowed { step: "SCAN channels", of: "UPDATE channels SET username = 'u'", why: "a test" },
    Allowed { step: "SCAN job", of: "UPDATE job SET created_at = created_at + ", why: "a test" },
    Allowed { step: "SCAN job", of: "UPDATE job SET token = token + 1", why: "a test" },
    Allowed { step: "SCAN chain_events", of: "SELECT event FROM chain_events ORDER BY block", why: "a test" },
    Allowed {
        step: "SCAN contract_events",
        of: "SELECT event FROM contract_events ORDER BY block",
        why: "a test",
    },
    Allowed { step: "SCAN vouchers", of: "UPDATE vouchers SET signature = zeroblob(65)", why: "a test" },
    Allowed { step: "SCAN fold_snapshots", of: "UPDATE fold_snapshots SET state = '{'", why: "a test" },
];

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
    let partial = partial_indexes(&mut conn).await?;
    let mut checked = 0_u32;
    let mut used = BTreeSet::new();
    for statement in &notes.statements {
        let Some(steps) = plan(&mut conn, statement).await? else { continue };
        checked = checked.saturating_add(1);
        for step in steps.iter().filter(|step| is_costly(step, statement, &partial)) {
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

async fn partial_indexes(conn: &mut ReadGuard) -> Result<BTreeSet<String>> {
    let query = diesel::sql_query(
        "SELECT name AS detail FROM sqlite_master WHERE type = 'index' AND sql LIKE '% WHERE %'",
    );
    let names: Vec<Step> = on!(&mut **conn, |c| query.load(c).await)?;
    Ok(names.into_iter().map(|name| name.detail).collect())
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

/// Rows of a subquery or of a virtual table are as many as the caller passes; a partial index holds what it was made for;
/// and a page of everything, in the order of an index, ends with its limit.
fn is_costly(step: &str, statement: &str, partial: &BTreeSet<String>) -> bool {
    let is_limited = statement.contains(" LIMIT ");
    if let Some(of) = step.strip_prefix("SCAN ") {
        let words: Vec<&str> = of.split(' ').collect();
        let index =
            words.iter().position(|word| *word == "INDEX").and_then(|at| words.get(at.checked_add(1)?));
        let is_partial = index.is_some_and(|index| partial.contains(*index));
        let is_page = is_limited && !statement.contains(" WHERE ") && !statement.contains(" GROUP BY ");
        let is_given = of.starts_with('(')
            || of.starts_with("CONSTANT ROW")
            || of.ends_with("-ROW VALUES CLAUSE")
            || of.contains("VIRTUAL TABLE");
        return !(is_given || is_partial || is_page);
    }
    // The last term sorts among equals only.
    step.starts_with("USE TEMP B-TREE") && !step.contains("LAST TERM") && !is_limited
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_tables_and_sorts_without_a_limit_are_costly() {
        let partial = BTreeSet::from(["job_due".to_owned()]);
        for (step, statement, expected) in [
            ("SCAN job", "SELECT 1 FROM job", true),
            ("SCAN job USING COVERING INDEX job_subject", "SELECT 1 FROM job WHERE a = ? LIMIT ?", true),
            ("SCAN job USING INDEX job_ids", "SELECT 1 FROM job ORDER BY id LIMIT ?", false),
            ("SCAN job USING INDEX job_due", "SELECT 1 FROM job WHERE claim_at IS NOT NULL", false),
            ("SCAN json_each VIRTUAL TABLE INDEX 1:", "SELECT 1 FROM json_each(?)", false),
            ("SCAN 100-ROW VALUES CLAUSE", "INSERT INTO job (a) VALUES (?), (?)", false),
            ("USE TEMP B-TREE FOR LAST TERM OF ORDER BY", "SELECT 1 FROM job ORDER BY a, b", false),
            ("SCAN (subquery-1)", "SELECT 1 FROM (SELECT 1)", false),
            ("SEARCH job USING INDEX job_due (kind=?)", "SELECT 1 FROM job", false),
            ("USE TEMP B-TREE FOR ORDER BY", "SELECT 1 FROM job ORDER BY a", true),
            ("USE TEMP B-TREE FOR ORDER BY", "SELECT 1 FROM job ORDER BY a LIMIT ?", false),
        ] {
            assert_eq!(is_costly(step, statement, &partial), expected, "{step} of {statement}");
        }
    }
}
