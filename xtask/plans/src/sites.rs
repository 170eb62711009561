//! The places in our sources that run queries.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::Result;

/// The calls of `on!` in libraries and daemons that no test has executed, one line each.
pub(crate) fn not_executed(root: &Path, executed: &BTreeSet<String>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for group in ["crates", "bins"] {
        for entry in fs::read_dir(root.join(group))? {
            let sources = entry?.path().join("src");
            if sources.is_dir() {
                collect(root, &sources, &mut found)?;
            }
        }
    }
    found.retain(|site| !executed.contains(site));
    found.sort();
    Ok(found.into_iter().map(|site| format!("no test executes the query of {site}")).collect())
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, found)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let name = path.strip_prefix(root)?.display().to_string();
            let lines = calls(&fs::read_to_string(&path)?);
            found.extend(lines.into_iter().map(|line| format!("{name}:{line}")));
        }
    }
    Ok(())
}

/// The numbers of the lines that call `on!`, up to the tests of the file.
fn calls(source: &str) -> Vec<usize> {
    let lines = source.lines().zip(1..).take_while(|(line, _)| *line != "#[cfg(test)]");
    lines.filter(|(line, _)| is_call(line)).map(|(_, number)| number).collect()
}

fn is_call(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices("on!(").any(|(at, _)| !code[..at].ends_with(is_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_and_comments_and_tests_are_not() {
        let source = "\
//! on!(in a document)
fn f() {
    on!(conn, |c| query.execute(c).await)?; // and on!(here)
    let json_on!(x);
    Ok(on!(conn, |c| {
}
#[cfg(test)]
mod tests { on!(x) }
";
        assert_eq!(calls(source), [3, 5]);
    }

    #[test]
    fn what_was_executed_is_not_missing() {
        let root = tempfile::tempdir().unwrap();
        let sources = root.path().join("crates/a/src");
        fs::create_dir_all(&sources).unwrap();
        fs::create_dir_all(root.path().join("bins")).unwrap();
        fs::write(sources.join("lib.rs"), "on!(a)\non!(b)\n").unwrap();
        let executed = BTreeSet::from(["crates/a/src/lib.rs:1".to_owned()]);
        let missing = not_executed(root.path(), &executed).unwrap();
        assert_eq!(missing, ["no test executes the query of crates/a/src/lib.rs:2"]);
    }
}
