//! What cargo would upload of the crates that other projects may use alone.
//!
//! Their migrations lie in the top-level folder `migrations/`, where they are read side by side; each crate has a link
//! to its own, which cargo follows when it packs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use privatix_testkit::toolchain::workspace_root;

use crate::Result;
use crate::command::{cargo, output, run};

/// The crates with tables, and the folder of `migrations/` that holds them.
pub const WITH_TABLES: [(&str, &str); 3] =
    [("privatix-jobs", "jobs"), ("privatix-chain", "chain"), ("privatix-store", "store")];

/// Crates that build outside of the workspace with nothing but each other.
pub const ALONE: [&str; 4] = ["privatix-db", "privatix-jobs", "privatix-net", "privatix-chain"];

/// Those of [`ALONE`] that do not build alloy, either.
pub const WITHOUT_ETHEREUM: [&str; 3] = ["privatix-db", "privatix-jobs", "privatix-net"];

/// Packs the crates of [`ALONE`], unpacks them and builds them there.
pub fn build_alone() -> Result<()> {
    if let Some(home) = cargo_home() {
        forget_unpacked(&home.join("registry/src"))?;
    }
    let mut command = cargo();
    command.args(["package", "--allow-dirty"]);
    for name in ALONE {
        command.args(["--package", name]);
    }
    run(&mut command)
}

fn cargo_home() -> Option<PathBuf> {
    let named = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    named.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
}

/// Removes what cargo unpacked of them at an earlier run. It verifies one package against the others out of a registry of its
/// own making, whose sources it keeps by version: without this, yesterday's source of the same version would be taken. Such
/// registries have no host, so that their folders begin with a hyphen.
fn forget_unpacked(sources: &Path) -> Result<()> {
    let Ok(registries) = std::fs::read_dir(sources) else { return Ok(()) };
    for registry in registries {
        let registry = registry?;
        if !registry.file_name().to_string_lossy().starts_with('-') {
            continue;
        }
        for package in std::fs::read_dir(registry.path())? {
            let package = package?;
            let name = package.file_name().to_string_lossy().into_owned();
            if ALONE.iter().any(|ours| name.strip_prefix(ours).is_some_and(|rest| rest.starts_with('-'))) {
                std::fs::remove_dir_all(package.path())?;
            }
        }
    }
    Ok(())
}

/// The migrations of a crate that its package lacks, as paths in the package.
pub fn missing_migrations(package: &str, folder: &str) -> Result<Vec<String>> {
    let packed = output(cargo().args(["package", "--list", "--allow-dirty", "--package", package]))?;
    let packed: BTreeSet<&str> = packed.lines().collect();
    let wanted = migrations(&workspace_root().join("migrations").join(folder))?;
    Ok(wanted.into_iter().filter(|file| !packed.contains(file.as_str())).collect())
}

/// The files of a folder of migrations, as a package that contains the folder names them.
fn migrations(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for migration in std::fs::read_dir(folder)? {
        let migration = migration?;
        let name = migration.file_name().to_string_lossy().into_owned();
        files.extend(["up.sql", "down.sql"].map(|file| format!("migrations/{name}/{file}")));
    }
    if files.is_empty() {
        return Err(format!("{} holds no migrations", folder.display()).into());
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_packages_of_registries_without_a_host_are_forgotten() {
        let sources = tempfile::tempdir().unwrap();
        let kept = ["index.crates.io-1/privatix-db-0.1.0", "-2/serde-1.0.0", "-2/privatix-dbx-0.1.0"];
        let gone = ["-2/privatix-db-0.1.0", "-3/privatix-jobs-0.2.0"];
        for folder in kept.iter().chain(&gone) {
            std::fs::create_dir_all(sources.path().join(folder)).unwrap();
        }
        forget_unpacked(sources.path()).unwrap();
        assert!(kept.iter().all(|folder| sources.path().join(folder).exists()));
        assert!(!gone.iter().any(|folder| sources.path().join(folder).exists()));
        forget_unpacked(&sources.path().join("none")).unwrap();
    }
}
