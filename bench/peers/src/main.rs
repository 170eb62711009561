//! The job processor of Privatix beside `apalis-sqlite`, in one program, on one disk, under the same pragmas
//! (`journal_mode=WAL`, `synchronous=FULL`, the same caches), and with the same SQLite library.
//!
//! - `rates`: jobs from the first push to the last end that is on disk. Each round runs all contenders in turn, so that
//!   whatever else the machine does hits all of them; medians are printed.
//! - `campaign`: a process that pushes and runs jobs is killed by SIGKILL again and again. Then every job whose push was
//!   acknowledged must have left exactly one row: less is a loss, more is a duplicate.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod campaign;
mod load;
mod ours;
mod rates;
mod theirs;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use load::Contender;

/// The job processor beside apalis-sqlite.
#[derive(Parser)]
struct Cli {
    /// The folder for the databases; it should be on the disk that is to be measured.
    #[arg(long, default_value = ".", global = true)]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Jobs a second.
    Rates {
        /// Jobs of each measurement.
        #[arg(long, default_value_t = 2_000)]
        jobs: u64,
        /// Measurements of each contender; medians are printed.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Losses and duplicates under SIGKILL.
    Campaign {
        /// How often each contender is killed.
        #[arg(long, default_value_t = 200)]
        kills: u32,
    },
    /// One life of the campaign (it starts this itself).
    #[command(hide = true)]
    Life {
        contender: Contender,
        /// The number of the first job to push; without it none is pushed, and what is left is run.
        first: Option<i64>,
    },
}

fn main() {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match cli.command {
            Command::Rates { jobs, rounds } => rates::run(&cli.dir, jobs, rounds).await,
            Command::Campaign { kills } => campaign::run(&cli.dir, kills).await,
            Command::Life { contender, first } => campaign::life(contender, &cli.dir, first).await,
        }
    });
}
