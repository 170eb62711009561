//! Crates that other projects may use alone bring what they need, and nothing of the market.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use privatix_testkit::toolchain::workspace_root;
use xtask::{command, package};

#[test]
fn packages_contain_their_migrations() {
    for (name, folder) in package::WITH_TABLES {
        assert_eq!(package::missing_migrations(name, folder).unwrap(), [""; 0], "missing in {name}");
    }
}

#[test]
fn what_is_not_of_the_chain_does_not_build_alloy() {
    for name in package::WITHOUT_ETHEREUM {
        let mut cargo = command::cargo();
        cargo.args(["tree", "--package", name, "--edges", "normal,build", "--prefix", "none"]);
        let tree = command::output(cargo.args(["--format", "{p}"])).unwrap();
        assert!(tree.starts_with(name), "{tree}");
        let of_ethereum: Vec<&str> = tree.lines().filter(|line| line.starts_with("alloy")).collect();
        assert_eq!(of_ethereum, [""; 0], "below {name}");
    }
}

/// Words that would show that a general library knows what it is used for here.
const OF_THE_MARKET: [&str; 8] =
    ["voucher", "offering", "settle", "agent", "client", "deposit", "marketplace", "privatix::"];

#[test]
fn the_job_processor_and_the_database_layer_lack_the_words_of_the_market() {
    for folder in ["db", "jobs"] {
        lacks(&workspace_root().join("crates").join(folder), &OF_THE_MARKET);
    }
}

/// As [`OF_THE_MARKET`], without the words that a library of an Ethereum client needs itself: it is the client of an endpoint, outcomes
/// settle, and WETH takes deposits.
const NOT_OF_THE_CHAIN: [&str; 7] =
    ["voucher", "offering", "agent", "marketplace", "privatix::", "open-channel", "channel id"];

/// Its tests and benchmarks run the market's contracts.
#[test]
fn the_chain_side_lacks_the_words_of_the_market() {
    let of_chain = workspace_root().join("crates/chain");
    for folder in ["src", "migrations", "examples"] {
        lacks(&of_chain.join(folder), &NOT_OF_THE_CHAIN);
    }
    let readme = std::fs::read_to_string(of_chain.join("README.md")).unwrap();
    lacks_in(Path::new("crates/chain/README.md"), &readme, &NOT_OF_THE_CHAIN);
}

fn lacks(folder: &Path, words: &[&str]) {
    let mut files = 0;
    each_source(folder, &mut |path, text| {
        files += 1;
        lacks_in(path, text, words);
    });
    assert!(files > 0, "no source of {} was read", folder.display());
}

fn lacks_in(path: &Path, text: &str, words: &[&str]) {
    for (n, line) in text.lines().enumerate() {
        let line = line.to_lowercase();
        let found = words.iter().find(|word| line.contains(**word));
        assert_eq!(found, None, "{}:{}", path.display(), n + 1);
    }
}

fn each_source(folder: &Path, look: &mut dyn FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_source(&path, look);
        } else if path.extension().is_some_and(|ending| ending == "rs" || ending == "md" || ending == "sql") {
            look(&path, &std::fs::read_to_string(&path).unwrap());
        }
    }
}
