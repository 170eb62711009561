//! `cargo xtask deploy`: builds the program that places the contracts, and becomes it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::Result;
use crate::command::{cannot_run, cargo};
use crate::metadata;

/// Everything after `deploy` is the program's, its `--help` included.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Runs the command. Returns only if that fails.
pub fn run(args: &Args) -> Result<()> {
    // Quietly: standard output is the program's, which may print JSON.
    let mut build = cargo();
    build.args(["build", "--quiet", "--package", "privatix-deploy"]).stdin(Stdio::null());
    if !build.status().map_err(|error| cannot_run(&build, &error))?.success() {
        return Err("privatix-deploy does not build".into());
    }
    let mut deploy = Command::new(metadata::load()?.target_directory.join("debug/privatix-deploy"));
    deploy.args(&args.arguments);
    // In place of this process, for its exit code, and so that a password is asked for in the terminal.
    let error = deploy.exec();
    Err(cannot_run(&deploy, &error).into())
}
