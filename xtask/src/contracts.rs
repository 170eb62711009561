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
    /// Change the contracts one line at a time: the tests must find each change.
    Mutate(MutateArgs),
}

/// Which mutants to try: all of them unless something is given. The whole list takes about half an hour.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct MutateArgs {
    /// Try this number of mutants only, spread over the list.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,
    /// Which sample: the same seed gives the same one.
    #[arg(long, value_name = "SEED", requires = "sample")]
    seed: Option<u32>,
    /// Try the mutant with this number only.
    #[arg(long, value_name = "ID", conflicts_with = "sample")]
    only: Option<u32>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    install()?;
    let script = match args.action.unwrap_or(Action::Build) {
        Action::Build => "artifacts",
        Action::Check => "artifacts:check",
        Action::Gas => "gas",
        Action::Mutate(which) => return mutate(which),
    };
    run_command(&mut npm_script(script))
}

/// Tries mutants of the contracts, and fails when the tests of the contracts pass with one.
pub fn mutate(which: MutateArgs) -> Result<()> {
    install()?;
    run_command(npm_script("mutate").args(which.options()))
}

impl MutateArgs {
    /// A sample that the seed determines.
    pub const fn sample(size: u32, seed: u32) -> Self {
        Self { sample: Some(size), seed: Some(seed), only: None }
    }

    /// As the npm script takes them.
    fn options(self) -> Vec<String> {
        let given = [("--sample", self.sample), ("--seed", self.seed), ("--only", self.only)];
        let mut options = Vec::new();
        for (name, value) in given {
            if let Some(value) = value {
                options.extend([name.to_owned(), value.to_string()]);
            }
        }
        if !options.is_empty() {
            options.insert(0, "--".to_owned()); // for the script, not for npm
        }
        options
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_of_mutants_reaches_the_script() {
        assert!(MutateArgs::default().options().is_empty());
        assert_eq!(MutateArgs::sample(3, 9).options(), ["--", "--sample", "3", "--seed", "9"]);
        let only = MutateArgs { only: Some(0), ..MutateArgs::default() };
        assert_eq!(only.options(), ["--", "--only", "0"]);
    }
}
