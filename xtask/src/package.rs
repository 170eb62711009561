//! What cargo would upload of the crates that other projects may use alone.
//!
//! Their migrations lie in the top-level folder `migrations/`, where they are read side by side; each crate has a link
//! to its own, which cargo follows when it packs.

use std::collections::BTreeSet;
use std::path::Path;

use privatix_testkit::toolchain::workspace_root;

use crate::Result;
use crate::command::{cargo, output, run};

/// The crates with tables, and the folder of `migrations/` that holds them.
pub const WITH_TABLES: [(&str, &str); 3] =
    [("privatix-jobs", "jobs"), ("privatix-chain", "chain"), ("privatix-store", "store")];

/// Crates that build outside of the workspace with nothing but each other.
pub const ALONE: [&str; 2] = ["privatix-db", "privatix-jobs"];

/// Packs the crates of [`ALONE`], unpacks them and builds them there.
pub fn build_alone() -> Result<()> {
    let mut command = cargo();
    command.args(["package", "--allow-dirty"]);
    for name in ALONE {
        command.args(["--package", name]);
    }
    run(&mut command)
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
