//! The simulator as a program: `cargo xtask sim --help`.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use privatix_sim::{Failure, Plan, Scenario, run, run_many, shrink};

/// Tries to break what agents and clients decide.
#[derive(Debug, Parser)]
#[command(name = "privatix-sim")]
struct Args {
    /// For how long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// On how many threads.
    #[arg(long, default_value_t = 1)]
    cores: u64,
    /// Run this file, or all files of this folder, and nothing else.
    #[arg(long)]
    scenario: Option<PathBuf>,
    /// Run the first seed only.
    #[arg(long)]
    once: bool,
    /// How many runs may be spent to make a failing scenario smaller.
    #[arg(long, default_value_t = 400)]
    shrink: u32,
}

fn main() -> ExitCode {
    match work(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything held.
fn work(args: &Args) -> Result<bool, Box<dyn std::error::Error>> {
    let mut out = io::stdout().lock();
    if let Some(path) = &args.scenario {
        let mut holds = true;
        for file in files(path)? {
            let scenario: Scenario = toml::from_str(&fs::read_to_string(&file)?)?;
            match run(&scenario) {
                Ok(counts) => writeln!(out, "{}: holds, {} events", file.display(), counts.events)?,
                Err(failure) => {
                    holds = false;
                    writeln!(out, "{}: {failure}", file.display())?;
                }
            }
        }
        return Ok(holds);
    }
    let time = if args.once { Duration::ZERO } else { Duration::from_secs(args.seconds) };
    let failure = if args.once {
        run(&Scenario::random(args.seed)).err()
    } else {
        let summary = run_many(&Plan { seed: args.seed, time, cores: args.cores });
        let (counts, seconds) = (summary.counts, summary.time.as_millis().max(1));
        let speed = u128::from(counts.events) * 1_000 / seconds / u128::from(args.cores.max(1));
        writeln!(
            out,
            "{} runs from seed {}: {} events, {} decisions",
            summary.runs, args.seed, counts.events, counts.decisions
        )?;
        writeln!(out, "{speed} events a second on each of {} cores", args.cores)?;
        writeln!(out, "{} channels, {} faults injected", counts.channels, counts.faults)?;
        summary.failure
    };
    let Some(failure) = failure else { return Ok(true) };
    print(&mut out, *failure, args.shrink)?;
    Ok(false)
}

fn print(out: &mut impl io::Write, failure: Failure, most: u32) -> Result<(), Box<dyn std::error::Error>> {
    writeln!(out, "\nFAILED: {failure}")?;
    let before = failure.scenario.steps.len();
    let smallest = shrink(failure, most);
    writeln!(out, "smaller, with {} of {before} steps: {smallest}", smallest.scenario.steps.len())?;
    // Beside this program, which cargo put into its target folder.
    let program = std::env::current_exe()?;
    let file = smallest.write(&program.with_file_name("sim-failures"))?;
    writeln!(out, "as a scenario file, {}:\n\n{}", file.display(), fs::read_to_string(&file)?)?;
    Ok(())
}

fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    Ok(files)
}
