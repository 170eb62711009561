//! `cargo xtask`: see `cargo xtask --help`.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer commands of this workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run all checks and tests, each as a step of its own.
    Test(xtask::test::Args),
    /// Run the benchmarks one after another and write docs/benchmarks.md.
    Bench(xtask::bench::Args),
    /// Sell and buy real traffic on a local chain, step by step, and check the bill.
    Demo(xtask::demo::Args),
    /// Compile the contracts, compare the committed artifacts, measure gas.
    Contracts(xtask::contracts::Args),
    /// Change the contracts one line at a time: the tests must find each change (also `contracts mutate`).
    Mutate(xtask::contracts::MutateArgs),
    /// Try to break what agents and clients decide, in a simulated world; from a seed, or by a scenario.
    Sim(xtask::sim::Args),
    /// Kill real daemons, take blocks back and break their endpoints while they trade: nothing may get lost.
    Torture(xtask::torture::Args),
    /// Place the contracts on a chain; `deploy --help` has the options.
    Deploy(xtask::deploy::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Test(args) => xtask::test::run(&args),
        Command::Bench(args) => xtask::bench::run(&args),
        Command::Demo(args) => xtask::demo::run(&args),
        Command::Contracts(args) => xtask::contracts::run(&args),
        Command::Mutate(args) => xtask::contracts::mutate(args),
        Command::Sim(args) => xtask::sim::run(&args),
        Command::Torture(args) => xtask::torture::run(&args),
        Command::Deploy(args) => xtask::deploy::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut stderr = std::io::stderr();
            let _ = writeln!(stderr, "error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                let _ = writeln!(stderr, "  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}
