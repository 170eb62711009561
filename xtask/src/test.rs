//! `cargo xtask test`: every check, in the order in which a mistake is found soonest.
//!
//! All cargo steps name the whole workspace with all features and share one target folder: `clippy` and `doc` share the
//! checked dependencies, `build`, `test`, `doctest` and `examples` the built ones. Naming single packages would give
//! other feature sets and compile the dependencies again.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use cargo_metadata::{Message, TargetKind};
use clap::ValueEnum;

use crate::{
    Error, Result,
    command::{Failed, cargo, minutes, npm_script, output, run as run_command, run_within, succeeds},
    contracts::{self, MutateArgs},
    package, packages, sim, torture,
};

const DEMO_LIMIT: Duration = Duration::from_mins(5);
const EXAMPLE_LIMIT: Duration = Duration::from_mins(3);
/// Mutants that a run tries; each takes a quarter of a minute. `cargo xtask mutate` tries all.
const MUTANTS: u32 = 3;
const EVERYTHING: [&str; 2] = ["--workspace", "--all-features"];

/// Which steps to run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run this step only (may be repeated).
    #[arg(long, value_name = "STEP", conflicts_with = "skip")]
    only: Vec<Step>,
    /// Leave this step out (may be repeated).
    #[arg(long, value_name = "STEP", hide_possible_values = true)]
    skip: Vec<Step>,
    /// List the steps and end.
    #[arg(long)]
    list: bool,
    /// Stop at the first step that fails.
    #[arg(long)]
    fail_fast: bool,
}

/// A check that passes, fails, or is skipped for a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Step {
    /// `cargo fmt --check`
    Fmt,
    /// Install Foundry, solc and the contract libraries by npm, when needed.
    Npm,
    /// Install Debian's packages `tor`, `faketime` and `python3-cryptography` by apt-get, when needed.
    Packages,
    /// `forge fmt --check`
    ForgeFmt,
    /// Compile the contracts.
    ForgeBuild,
    /// Unit, fuzz and invariant tests of the contracts.
    ForgeTest,
    /// Change the contracts one line at a time, a few of all the mutants: the tests must find each change.
    Mutate,
    /// Compare the committed contract artifacts with what the compiler gives.
    Artifacts,
    /// `cargo clippy`, warnings refused.
    Clippy,
    /// `cargo deny`: licences, sources, advisories; only if it is installed.
    Deny,
    /// `cargo doc`, warnings refused.
    Doc,
    /// Build libraries, daemons, tests and examples.
    Build,
    /// All Rust tests, by nextest if it is installed.
    Test,
    /// Whether every query was executed by the tests, and reads no whole table.
    Plans,
    /// The simulator for a minute, and all its scenarios: nothing that happens may break what agents and clients decide.
    Sim,
    /// Examples in the documentation.
    Doctest,
    /// Pack the crates that other projects may use alone, and build them outside of the workspace.
    Package,
    /// Run every example program.
    Examples,
    /// Run the demo, with a small file, directly and over Tor.
    Demo,
    /// Kill both daemons, take blocks back and break their endpoints, 25 times within a minute of trade.
    Torture,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Skipped(String),
}

#[derive(Debug)]
struct Finished {
    step: Step,
    time: Duration,
    result: std::result::Result<Outcome, Failed>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if args.list {
        for step in Step::value_variants() {
            println!("{:12} {}", step.name(), step.about());
        }
        return Ok(());
    }
    let steps = selected(&args.only, &args.skip);
    let started = Instant::now();
    let mut finished = Vec::new();
    for (n, &step) in steps.iter().enumerate() {
        println!("\n=== {} ({} of {}) ===", step.name(), n + 1, steps.len());
        let start = Instant::now();
        let result = step.run().map_err(failed_of);
        let time = start.elapsed();
        match &result {
            Ok(Outcome::Passed) => println!("--- {}: passed in {}", step.name(), minutes(time)),
            Ok(Outcome::Skipped(why)) => println!("--- {}: skipped: {why}", step.name()),
            Err(error) => println!("--- {}: FAILED in {}: {error}", step.name(), minutes(time)),
        }
        let failed = result.is_err();
        finished.push(Finished { step, time, result });
        if failed && args.fail_fast {
            break;
        }
    }
    // In a long log nobody finds the place where it failed.
    for (step, printed) in printed_last(&finished) {
        println!("\n=== what {step} printed last ===\n{printed}");
    }
    println!("\n{}", summary(&finished, steps.len()));
    let failed = failures(&finished);
    let total = minutes(started.elapsed());
    if failed.is_empty() {
        println!("all green in {total}");
        return Ok(());
    }
    Err(format!(
        "failed in {total}: {}; again with `cargo xtask test --only {}`",
        failed.join(", "),
        failed[0]
    )
    .into())
}

fn failed_of(error: Error) -> Failed {
    match error.downcast() {
        Ok(failed) => *failed,
        Err(other) => Failed { what: other.to_string(), printed: Vec::new() },
    }
}

fn printed_last(finished: &[Finished]) -> impl Iterator<Item = (String, String)> {
    let failed = finished.iter().filter_map(|done| Some((done.step, done.result.as_ref().err()?)));
    let printed = failed.filter(|(_, failed)| !failed.printed.is_empty());
    printed.map(|(step, failed)| (step.name(), failed.printed.join("\n")))
}

fn selected(only: &[Step], skip: &[Step]) -> Vec<Step> {
    let wanted = |step: &&Step| (only.is_empty() || only.contains(step)) && !skip.contains(step);
    Step::value_variants().iter().filter(wanted).copied().collect()
}

fn failures(finished: &[Finished]) -> Vec<String> {
    finished.iter().filter(|done| done.result.is_err()).map(|done| done.step.name()).collect()
}

fn summary(finished: &[Finished], planned: usize) -> String {
    let mut text = String::new();
    for done in finished {
        let (mark, why) = match &done.result {
            Ok(Outcome::Passed) => ("passed", ""),
            Ok(Outcome::Skipped(why)) => ("skipped", why.as_str()),
            Err(failed) => ("FAILED", failed.what.as_str()),
        };
        let line = format!("  {:12} {mark:8} {:>12}  {why}", done.step.name(), minutes(done.time));
        text += line.trim_end();
        text.push('\n');
    }
    if finished.len() < planned {
        let left = (planned - finished.len()).to_string();
        text += &["  ", &left, " steps were not run\n"].concat();
    }
    text
}

impl Step {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn about(self) -> String {
        let value = self.to_possible_value();
        value.and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default()
    }

    fn run(self) -> Result<Outcome> {
        match self {
            Self::Fmt => {
                run_command(cargo().args(["fmt", "--all", "--check"]))?;
                // A workspace of its own; it is built by `bench --peers` only.
                run_command(cargo().args(["fmt", "--manifest-path", "bench/peers/Cargo.toml", "--check"]))?;
            }
            Self::Npm => contracts::install()?,
            Self::Packages => packages::install()?,
            Self::ForgeFmt => forge("fmt", &["--check"])?,
            Self::ForgeBuild => forge("build", &[])?,
            Self::ForgeTest => forge("test", &[])?,
            Self::Mutate => contracts::mutate(MutateArgs::sample(MUTANTS, commit_seed()))?,
            Self::Artifacts => forge("artifacts:check", &[])?,
            Self::Clippy => {
                let mut command = cargo();
                command.arg("clippy").args(EVERYTHING).args(["--all-targets", "--", "-D", "warnings"]);
                run_command(&mut command)?;
            }
            Self::Deny => return deny(),
            Self::Doc => {
                let mut command = cargo();
                command.arg("doc").args(EVERYTHING).arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings");
                run_command(&mut command)?;
            }
            Self::Build => run_command(&mut build())?,
            Self::Test => tests()?,
            Self::Plans => plans()?,
            Self::Sim => sim::check()?,
            Self::Doctest => run_command(cargo().args(["test", "--doc"]).args(EVERYTHING))?,
            Self::Package => package::build_alone()?,
            Self::Examples => examples()?,
            Self::Demo => demo()?,
            Self::Torture => {
                run_command(&mut build())?;
                torture::check()?;
            }
        }
        Ok(Outcome::Passed)
    }
}

/// A number that the commit determines, so that a run can be repeated and each commit tries others; 0 outside of a repository.
fn commit_seed() -> u32 {
    let commit = output(Command::new("git").args(["rev-parse", "HEAD"])).unwrap_or_default();
    seed_of(&commit)
}

fn seed_of(commit: &str) -> u32 {
    commit.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

/// An npm script of the contracts, after the set-up when a step is run alone.
fn forge(script: &str, args: &[&str]) -> Result<()> {
    contracts::install()?;
    let mut command = npm_script(script);
    if !args.is_empty() {
        command.arg("--").args(args);
    }
    run_command(&mut command)
}

fn build() -> Command {
    let mut command = cargo();
    command.arg("build").args(EVERYTHING).args(["--lib", "--bins", "--tests", "--examples"]);
    command
}

fn tests() -> Result<()> {
    packages::install()?;
    // Tests start daemons: cargo builds binaries only for the tests of their own package.
    run_command(&mut build())?;
    let mut command = cargo();
    if succeeds(cargo().args(["nextest", "--version"])) {
        command.args(["nextest", "run"]);
    } else {
        println!("cargo-nextest is not installed: taking `cargo test`");
        command.args(["test", "--lib", "--bins", "--tests"]);
    }
    let notes = queries()?;
    if notes.exists() {
        fs::remove_dir_all(&notes)?; // of an older run
    }
    fs::create_dir_all(&notes)?;
    run_command(command.args(EVERYTHING).env("PRIVATIX_PREBUILT", "1").env("PRIVATIX_NOTE_QUERIES", notes))
}

/// Where the tests note the queries that they execute.
fn queries() -> Result<PathBuf> {
    Ok(crate::metadata::load()?.target_directory.join("queries").into_std_path_buf())
}

fn plans() -> Result<()> {
    let program = crate::metadata::load()?.target_directory.join("debug/privatix-plans");
    run_command(Command::new(program).arg(queries()?))
}

fn deny() -> Result<Outcome> {
    if !succeeds(cargo().args(["deny", "--version"])) {
        return Ok(Outcome::Skipped("cargo-deny is not installed".to_owned()));
    }
    run_command(cargo().args(["deny", "--all-features", "check", "bans", "licenses", "sources"]))?;
    if !succeeds(cargo().args(["deny", "fetch", "db"])) {
        return Ok(Outcome::Skipped("advisories only: their database cannot be fetched".to_owned()));
    }
    run_command(cargo().args(["deny", "--all-features", "check", "--disable-fetch", "advisories"]))?;
    Ok(Outcome::Passed)
}

/// The demo with what [`build`] built.
fn demo() -> Result<()> {
    packages::install()?;
    run_command(&mut build())?;
    let bins = crate::metadata::load()?.target_directory.join("debug");
    for transport in [&[][..], &["--tor"]] {
        let mut demo = Command::new(bins.join("privatix-demo"));
        run_within(demo.arg("--bins").arg(&bins).args(["--mib", "8"]).args(transport), DEMO_LIMIT)?;
    }
    Ok(())
}

fn examples() -> Result<()> {
    let programs = example_programs()?;
    if programs.is_empty() {
        return Err("the workspace has no example programs".into());
    }
    for program in programs {
        run_within(Command::new(program).env("PRIVATIX_PREBUILT", "1"), EXAMPLE_LIMIT)?;
    }
    Ok(())
}

/// Builds the examples, in the same way as [`build`] does, and gives the paths of their programs.
fn example_programs() -> Result<Vec<PathBuf>> {
    let mut command = build();
    command.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("the examples do not build".into());
    }
    let mut programs = Vec::new();
    for message in Message::parse_stream(output.stdout.as_slice()) {
        if let Message::CompilerArtifact(artifact) = message?
            && artifact.target.kind.contains(&TargetKind::Example)
            && let Some(path) = artifact.executable
        {
            // Its test harness is no program of its own.
            if !artifact.profile.test {
                programs.push(path.into_std_path_buf());
            }
        }
    }
    programs.sort();
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_selected_by_name_and_keep_their_order() {
        assert_eq!(selected(&[Step::Test, Step::Fmt], &[]), [Step::Fmt, Step::Test]);
        assert_eq!(selected(&[], &[]).len(), Step::value_variants().len());
        assert!(!selected(&[], &[Step::Deny]).contains(&Step::Deny));
    }

    #[test]
    fn the_summary_names_what_failed_was_skipped_or_not_run() {
        let time = Duration::from_secs(3);
        let finished = [
            Finished { step: Step::Fmt, time, result: Ok(Outcome::Passed) },
            Finished { step: Step::Deny, time, result: Ok(Outcome::Skipped("not installed".into())) },
            Finished { step: Step::ForgeTest, time, result: Err(failed_of("two tests".into())) },
        ];
        assert_eq!(failures(&finished), ["forge-test"]);
        let text = summary(&finished, 5);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "  fmt          passed          3.0 s");
        assert_eq!(lines[1], "  deny         skipped         3.0 s  not installed");
        assert_eq!(lines[2], "  forge-test   FAILED          3.0 s  two tests");
        assert_eq!(lines[3], "  2 steps were not run");
        assert_eq!(printed_last(&finished).count(), 0);
        let failed = Failed { what: "`anvil` failed".into(), printed: vec!["why".into(), "so".into()] };
        let result = Err(failed_of(failed.into()));
        let last: Vec<_> = printed_last(&[Finished { step: Step::Demo, time, result }]).collect();
        assert_eq!(last, [("demo".to_owned(), "why\nso".to_owned())]);
    }

    #[test]
    fn the_commit_chooses_the_mutants() {
        assert_eq!(seed_of("0000002a9461cbf0c0ffee00\n"), 42);
        assert_ne!(seed_of("ffffffff9461cbf0c0ffee00\n"), seed_of("fffffffe9461cbf0c0ffee00\n"));
        assert_eq!((seed_of(""), seed_of("no commit")), (0, 0));
    }

    #[test]
    fn every_step_says_what_it_does() {
        for step in Step::value_variants() {
            assert!(!step.about().is_empty(), "{}", step.name());
        }
    }
}
