//! What `cargo xtask bench --daemons` runs: how long the steps of a channel take, and what many channels cost, with two real
//! daemons on a local chain of one block a second. It prints a table of Markdown for each.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

mod many;
mod process;
mod relay;
mod times;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use privatix_demo::Result;

/// Measures the steps of a channel, and many channels of one agent.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench --daemons")]
struct Args {
    /// How often each step of a channel is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
    rounds: u8,
    /// How many channels are open at once with one agent
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    channels: u32,
    /// Where agentd and clientd are
    #[arg(long, value_name = "FOLDER")]
    bins: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<()> {
    times::measure(&args.bins, args.rounds).await?;
    println!();
    many::measure(&args.bins, args.channels).await
}
