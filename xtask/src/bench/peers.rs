//! `bench/peers`, a workspace of its own: what it prints as tables goes into the document.

use std::{fs, path::Path};

use privatix_testkit::toolchain::workspace_root;

use crate::{Result, command::cargo};

/// Builds it and runs both of its programs on the disk of `home`. Returns the tables.
pub(super) fn run(home: &Path, quick: bool) -> Result<String> {
    let target = home.join("target");
    let databases = home.join("databases");
    fs::create_dir_all(&databases)?;
    let (rates, campaign): (&[&str], &[&str]) = if quick {
        (&["rates", "--jobs", "200", "--rounds", "1"], &["campaign", "--kills", "3"])
    } else {
        (&["rates"], &["campaign"])
    };
    let tables = [rates, campaign].map(|args| tables(&target, &databases, args));
    let [rates, campaign] = tables;
    Ok(format!("{}\n{}", rates?, campaign?))
}

fn tables(target: &Path, databases: &Path, args: &[&str]) -> Result<String> {
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--locked", "--manifest-path"]);
    command.arg(workspace_root().join("bench/peers/Cargo.toml"));
    command.arg("--target-dir").arg(target).arg("--").arg("--dir").arg(databases).args(args);
    println!("$ bench/peers {}", args.join(" "));
    super::tables(&mut command)
}
