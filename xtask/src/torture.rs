//! `cargo xtask torture`: builds both daemons and has them killed while they trade.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Result;
use crate::command::{cargo, run as run_command, run_within};
use crate::metadata;

/// How many faults the step of `cargo xtask test` has, and over how many seconds.
const STEP: (u32, u64) = (25, 60);
/// Beyond the time of the faults: set-up and end, with a challenge that must pass.
const GRACE: Duration = Duration::from_mins(6);

/// Which faults happen.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many.
    #[arg(long, default_value_t = STEP.0)]
    faults: u32,
    /// Over how many seconds they are spread.
    #[arg(long, default_value_t = STEP.1)]
    seconds: u64,
    /// Decides which faults happen, and what the buyers do.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--workspace", "--all-features"]);
    run_command(build.args(["--bin", "agentd", "--bin", "clientd", "--bin", "privatix-torture"]))?;
    torture(args)
}

/// The step of `cargo xtask test`, with what was built already: a short run, with the same seed at every commit.
pub(crate) fn check() -> Result<()> {
    torture(&Args { faults: STEP.0, seconds: STEP.1, seed: 1 })
}

fn torture(args: &Args) -> Result<()> {
    let target = metadata::load()?.target_directory;
    let bins = target.join("debug");
    let mut torture = Command::new(bins.join("privatix-torture"));
    let (faults, seconds, seed) = (args.faults.to_string(), args.seconds.to_string(), args.seed.to_string());
    torture.args(["--faults", &faults, "--seconds", &seconds, "--seed", &seed]);
    torture.arg("--bins").arg(&bins).arg("--keep").arg(Path::new(&target).join("torture"));
    // A fault may take longer than its share of the time.
    run_within(&mut torture, Duration::from_secs(args.seconds) * 2 + GRACE)
}
