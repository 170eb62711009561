//! What `cargo xtask deploy` runs: see its `--help`.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use privatix_deploy::args::Args;
use privatix_deploy::error::Error;
use privatix_deploy::run;

fn main() -> ExitCode {
    let args = Args::parse();
    match deploy(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = format!("error: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            note(&text);
            ExitCode::from(error.exit_code())
        }
    }
}

fn deploy(args: &Args) -> Result<(), Error> {
    let key = run::key(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let report = runtime.block_on(run::run(args, key, |step| {
        if !args.json {
            note(&step);
        }
    }))?;
    let mut stdout = std::io::stdout();
    if args.json {
        writeln!(stdout, "{:#}", report.json())?;
    } else {
        write!(stdout, "{}", report.text())?;
    }
    Ok(stdout.flush()?)
}

/// A line beside the answer; it does not matter whether anybody reads it.
fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
