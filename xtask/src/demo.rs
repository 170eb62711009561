//! `cargo xtask demo`: builds the daemons and the demo, and becomes the demo.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::Result;
use crate::command::{cannot_run, cargo, run as run_command};
use crate::metadata;

/// What to show.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The size of the file to download, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 32)]
    mib: u64,
    /// Send all messages over Tor, on a private network of its own (needs Debian's package `tor`).
    #[arg(long)]
    tor: bool,
    /// Open another channel at the end and leave everything running until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Build with optimisations: slower to build, faster to run.
    #[arg(long)]
    release: bool,
}

/// Runs the command. Returns only if that fails.
pub fn run(args: &Args) -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--package", "privatix-agentd", "--package", "privatix-clientd"]);
    build.args(["--package", "privatix-demo"]);
    if args.release {
        build.arg("--release");
    }
    run_command(&mut build)?;
    let profile = if args.release { "release" } else { "debug" };
    let bins = metadata::load()?.target_directory.join(profile);
    let mut demo = Command::new(bins.join("privatix-demo"));
    demo.arg("--bins").arg(&bins).arg("--mib").arg(args.mib.to_string());
    if args.tor {
        demo.arg("--tor");
    }
    if args.keep {
        demo.arg("--keep");
    }
    // In place of this process, so that Ctrl-C has one reader, who stops everything in order.
    let error = demo.exec();
    Err(cannot_run(&demo, &error).into())
}
