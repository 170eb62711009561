//! The steps of a channel and many channels, with both daemons as they are installed.

use std::process::Command;

use crate::{Result, command::cargo, command::run as run_command, metadata};

/// Builds them with the release profile and measures. Returns the tables.
pub(super) fn run(quick: bool) -> Result<String> {
    let mut build = cargo();
    build.args(["build", "--release", "--package", "privatix-agentd", "--package", "privatix-clientd"]);
    build.args(["--package", "privatix-demo"]);
    run_command(&mut build)?;
    let bins = metadata::load()?.target_directory.join("release");
    let mut measure = Command::new(bins.join("privatix-measure"));
    measure.arg("--bins").arg(&bins);
    if quick {
        measure.args(["--rounds", "1", "--channels", "100"]);
    }
    super::tables(&mut measure)
}
