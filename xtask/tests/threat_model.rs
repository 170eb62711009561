//! Every row of `docs/threat-model.md`, and of the behaviours in ADR 0005, names tests that exist, or says `open` and why; and the check that says so finds a breach.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use privatix_testkit::toolchain::workspace_root;
use xtask::threats;

#[test]
fn each_attack_and_each_behaviour_names_its_test_or_is_open() {
    let root = workspace_root();
    let tests = all_tests(&root);
    assert!(tests.len() > 1000, "the sources were read: {} tests", tests.len());
    for (page, least) in [("docs/threat-model.md", 80), ("docs/adr/0005-pure-decisions.md", 19)] {
        let rows = threats::rows(&std::fs::read_to_string(root.join(page)).unwrap());
        assert!(rows.len() >= least, "the tables of {page} were read: {} rows", rows.len());
        let breaches = threats::breaches(&rows, &tests, &root);
        assert!(breaches.is_empty(), "{page}:\n{}", breaches.join("\n"));
    }
}

fn all_tests(root: &Path) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for folder in ["bins", "crates", "examples", "tests", "xtask", "contracts/test"] {
        each_source(&root.join(folder), &mut |ending, text| match ending {
            "rs" => tests.append(&mut threats::tests_in_rust(text)),
            "sol" => tests.append(&mut threats::tests_in_solidity(text)),
            _ => {}
        });
    }
    tests
}

fn each_source(folder: &Path, look: &mut dyn FnMut(&str, &str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.extension().and_then(|ending| ending.to_str()) {
            _ if path.is_dir() => each_source(&path, look),
            Some(ending @ ("rs" | "sol")) => look(ending, &std::fs::read_to_string(&path).unwrap()),
            _ => {}
        }
    }
}

const MODEL: &str = "
| who | is trusted with |
| --- | --- |
| disk | `what_is_no_test` |

| | attack | what stops it | test |
| --- | --- | --- | --- |
| C1 | under-pays | `xtask/src/lib.rs` (`assess`) | `it_is_suspended` |
| C2 | floods | | open: accepted; decided by `it_is_suspended` |
| C3 | waits | | open: protocol 2 |
";

fn breaches(model: &str) -> Vec<String> {
    let tests = ["it_is_suspended".to_owned()].into();
    threats::breaches(&threats::rows(model), &tests, &workspace_root())
}

#[test]
fn rows_are_read_with_what_they_name() {
    let rows = threats::rows(MODEL);
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["C1", "C2", "C3"]);
    assert_eq!(rows[0].files, ["xtask/src/lib.rs".to_owned()].into());
    assert_eq!((rows[0].open.as_deref(), rows[2].open.as_deref()), (None, Some("protocol 2")));
    assert_eq!(rows[1].tests, ["it_is_suspended".to_owned()].into());
    assert_eq!(breaches(MODEL), [""; 0]);
}

#[test]
fn a_row_without_a_test_that_exists_is_found() {
    for (from, to, found) in [
        ("`it_is_suspended` |\n| C2", "|\n| C2", "C1 names no test and is not open"),
        ("`it_is_suspended` |\n| C2", "`it_was` |\n| C2", "C1 names the test it_was, which does not exist"),
        ("protocol 2", "", "C3 is open and does not say why"),
        ("| C3", "| C2", "C2 is there twice"),
        ("lib.rs", "away.rs", "C1 names the file xtask/src/away.rs, which does not exist"),
    ] {
        assert_eq!(breaches(&MODEL.replace(from, to)), [found]);
    }
}

#[test]
fn tests_are_found_by_their_attributes_and_names() {
    let rust = "
        #[test]
        fn plain() {}
        #[tokio::test(start_paused = true)]
        async fn with_a_runtime() {}
        proptest! {
            /// Says why.
            #[test]
            #[cfg(unix)]
            fn of_properties(n in 0..9_u32) {}
        }
        #[cfg(test)]
        mod tests {}
        fn helper() {}
        #[must_use]
        fn other() {}
    ";
    let expected = ["of_properties", "plain", "with_a_runtime"].map(str::to_owned);
    assert_eq!(threats::tests_in_rust(rust), expected.into());
    let solidity = "
        function test_Close_IsTheAgentAlone() public {}
        function testFuzz_Words(uint256 word) public {}
        function invariant_Market() public {}
        function _open() private {}
    ";
    let expected = ["test_Close_IsTheAgentAlone", "testFuzz_Words", "invariant_Market"].map(str::to_owned);
    assert_eq!(threats::tests_in_solidity(solidity), expected.into());
}
