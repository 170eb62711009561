//! The threat model, `docs/threat-model.md`, and what ADR 0005 says must hold: each row names tests that exist, or says `open` and why.
//!
//! A row is one of a table whose last column is `test`. There, and in all other columns, a path of a source file stands for that
//! file, and the name of a scenario for that scenario; in the last column, every other word in backticks is the name of a test.

use std::collections::BTreeSet;
use std::path::Path;

/// A row of the threat model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its first cell, such as `C1`.
    pub name: String,
    /// Source files that it names, relative to the workspace.
    pub files: BTreeSet<String>,
    /// Tests that it names.
    pub tests: BTreeSet<String>,
    /// Why it is open, if it is.
    pub open: Option<String>,
}

/// The rows of a threat model.
pub fn rows(document: &str) -> Vec<Row> {
    let tables = rows_of_tables(document, |head| head.last() == Some(&"test"));
    let row = |cells: Vec<&str>| {
        let (name, last) = (cells.first()?, cells.last()?);
        let files = cells.iter().flat_map(|cell| quoted(cell)).filter_map(file);
        Some(Row {
            name: (*name).to_owned(),
            files: files.collect(),
            tests: quoted(last).filter(|name| file(name).is_none()).map(str::to_owned).collect(),
            open: last.split_once("open:").map(|(_, why)| why.trim().to_owned()),
        })
    };
    tables.into_iter().filter_map(row).collect()
}

/// What is wrong with these rows, where `tests` are the names of all tests, in Rust and in Solidity.
pub fn breaches(rows: &[Row], tests: &BTreeSet<String>, workspace: &Path) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut names = BTreeSet::new();
    for row in rows {
        let name = &row.name;
        if !names.insert(name) {
            breaches.push(format!("{name} is there twice"));
        }
        match &row.open {
            None if row.tests.is_empty() => breaches.push(format!("{name} names no test and is not open")),
            Some(why) if why.is_empty() => breaches.push(format!("{name} is open and does not say why")),
            _ => {}
        }
        for test in row.tests.difference(tests) {
            breaches.push(format!("{name} names the test {test}, which does not exist"));
        }
        for file in row.files.iter().filter(|file| !workspace.join(file).is_file()) {
            breaches.push(format!("{name} names the file {file}, which does not exist"));
        }
    }
    breaches
}

/// The names of the tests in a source file in Rust: functions below an attribute that ends in `test`.
pub fn tests_in_rust(source: &str) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim_start) {
        if let Some(attribute) = line.strip_prefix("#[") {
            let path: &str = attribute.split(['(', ']']).next().unwrap_or_default();
            is_test |= path == "test" || path.ends_with("::test");
        } else if !line.starts_with("//") && !line.is_empty() {
            let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            tests.extend(function.filter(|_| is_test).map(identifier));
            is_test = false;
        }
    }
    tests
}

/// The names of the tests in a source file in Solidity.
pub fn tests_in_solidity(source: &str) -> BTreeSet<String> {
    let functions =
        source.lines().filter_map(|line| line.trim_start().strip_prefix("function ")).map(identifier);
    functions.filter(|name| name.starts_with("test") || name.starts_with("invariant_")).collect()
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|&c| c.is_ascii_alphanumeric() || c == '_').collect()
}

/// The rows of the tables with such a head.
fn rows_of_tables(document: &str, is_wanted: impl Fn(&[&str]) -> bool) -> Vec<Vec<&str>> {
    let mut rows = Vec::new();
    let mut table = None; // whether the present one is wanted
    for line in document.lines() {
        let Some(cells) = cells(line) else {
            table = None;
            continue;
        };
        match table {
            None => table = Some(is_wanted(&cells)),
            Some(true) if !cells.iter().all(|cell| cell.starts_with("---")) => rows.push(cells),
            Some(_) => {}
        }
    }
    rows
}

/// The cells of a table's line.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The file that a word names: a source file by its path, a scenario of the simulator by its name.
fn file(name: &str) -> Option<String> {
    match Path::new(name).extension()?.to_str()? {
        "rs" | "sol" if name.contains('/') => Some(name.to_owned()),
        "toml" if !name.contains('/') => Some(format!("crates/sim/scenarios/{name}")),
        _ => None,
    }
}
