//! `cargo xtask contracts`: the npm scripts of `contracts/package.json`, with the set-up done.

use clap::Subcommand;
use privatix_testkit::toolchain::{self, Installed};

use crate::{
    Result,
    command::{npm_script, run as run_command},
};

/// What to do with the contracts.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Action {
    /// Compile and refresh the committed artifacts (the default).
    Build,
    /// Recompile and fail if the committed artifacts differ.
    Check,
    /// Measure the gas of every call and write the table.
    Gas,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    install()?;
    let action = args.action.unwrap_or(Action::Build);
    run_command(&mut npm_script(match action {
        Action::Build => "artifacts",
        Action::Check => "artifacts:check",
        Action::Gas => "gas",
    }))
}

/// Installs Foundry, the Solidity compiler and the contract libraries unless they are there.
pub fn install() -> Result<()> {
    let dir = toolchain::contracts_dir();
    if !toolchain::is_installed(&dir) {
        println!("installing Foundry and solc by `npm ci` in contracts/ (once, about 190 MB)...");
    }
    match toolchain::install(&dir)? {
        Installed::Now => println!("installed"),
        Installed::Already => println!("contracts/node_modules is up to date"),
    }
    Ok(())
}
