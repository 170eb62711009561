//! `cargo xtask sim`: builds the simulator and runs it, or tries what it finds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use privatix_testkit::toolchain::workspace_root;

use crate::Result;
use crate::command::{cargo, minutes, output, run as run_command, run_within};
use crate::metadata;

/// How long the step of `cargo xtask test` simulates, in seconds.
const STEP: u64 = 60;
/// Beyond the time that a run was given: it ends its last seed, and makes a failing one smaller.
const GRACE: Duration = Duration::from_mins(5);
/// How long the simulator has for one mutant, in seconds.
const MUTANT: u64 = 60;

/// What to simulate.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For how long.
    #[arg(long, default_value_t = STEP)]
    seconds: u64,
    /// The first seed. Those after it follow.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// On how many threads.
    #[arg(long, default_value_t = 1)]
    cores: u64,
    /// Run this file, or all files of this folder, and nothing else.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seconds", "seed", "shrink", "mutants"])]
    scenario: Option<PathBuf>,
    /// Run the first seed only.
    #[arg(long)]
    once: bool,
    /// How many runs may be spent to make a failing one smaller.
    #[arg(long, default_value_t = 400)]
    shrink: u32,
    /// Change the agent's decisions one line at a time: the simulator must find each change.
    #[arg(long, conflicts_with_all = ["seconds", "seed", "once", "shrink"])]
    mutants: bool,
    /// Only the mutant of this number, from 1.
    #[arg(long, requires = "mutants")]
    only: Option<usize>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if args.mutants {
        return mutants(args.only, args.cores);
    }
    let mut command = Command::new(build()?);
    if let Some(scenario) = &args.scenario {
        return run_within(command.arg("--scenario").arg(scenario), GRACE);
    }
    if args.once {
        command.arg("--once");
    }
    let (seconds, seed, cores) = (args.seconds.to_string(), args.seed.to_string(), args.cores.to_string());
    command.args(["--seconds", &seconds, "--seed", &seed, "--cores", &cores]);
    command.args(["--shrink", &args.shrink.to_string()]);
    run_within(&mut command, Duration::from_secs(args.seconds) + GRACE)
}

/// The step of `cargo xtask test`: all scenarios, and a minute of seeds. They begin with the same seed at every commit, so that a
/// failure is about the commit and not about luck; how many there are depends on the machine. Longer runs look for new failures.
pub fn check() -> Result<()> {
    let program = build()?;
    let scenarios = workspace_root().join("crates/sim/scenarios");
    run_within(Command::new(&program).arg("--scenario").arg(scenarios), GRACE)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    let mut command = Command::new(&program);
    command.args(["--seconds", &STEP.to_string(), "--seed", "1", "--cores", &cores]);
    run_within(&mut command, Duration::from_secs(STEP) + GRACE)
}

/// Builds the simulator with the features of the whole workspace, as all other steps do; its path.
fn build() -> Result<PathBuf> {
    run_command(cargo().args(BUILD))?;
    Ok(metadata::load()?.target_directory.join("debug/privatix-sim").into_std_path_buf())
}

const BUILD: [&str; 6] = ["build", "--quiet", "--workspace", "--all-features", "--bin", "privatix-sim"];

/// A change of one place in one file.
#[derive(Debug, PartialEq, Eq)]
struct Mutant {
    about: String,
    file: String,
    from: String,
    to: String,
}

/// Reads `crates/sim/mutants.txt`: a comment, then `file | text | replacement`, where `\|` is a bar and `\n` a line's end.
fn parse(text: &str) -> Result<Vec<Mutant>> {
    let mut about = String::new();
    let mut mutants = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(comment) = line.strip_prefix('#') {
            comment.trim().clone_into(&mut about);
            continue;
        }
        let plain = |part: &str| part.trim().replace('\u{0}', "|").replace("\\n", "\n");
        let line = line.replace("\\|", "\u{0}");
        let parts: Vec<String> = line.split(" | ").map(plain).collect();
        let [file, from, to] = <[String; 3]>::try_from(parts).map_err(|_| format!("not a mutant: {line}"))?;
        mutants.push(Mutant { about: about.clone(), file, from, to });
    }
    Ok(mutants)
}

/// Tries mutants on a copy of the workspace.
fn mutants(only: Option<usize>, cores: u64) -> Result<()> {
    let root = workspace_root();
    let all = parse(&fs::read_to_string(root.join("crates/sim/mutants.txt"))?)?;
    // In one target folder cargo would take the copy's packages for the workspace's own: they have the same places in it.
    let folder = metadata::load()?.target_directory.join("sim-mutants").into_std_path_buf();
    let (copy, target) = (folder.join("workspace"), folder.join("target"));
    copy_workspace(&root, &copy)?;
    let mut survivors = Vec::new();
    for (number, mutant) in (1..).zip(&all).filter(|(number, _)| only.is_none_or(|only| only == *number)) {
        println!("{number} of {}: {}", all.len(), mutant.about);
        let file = copy.join(&mutant.file);
        let source = fs::read_to_string(&file)?;
        if source.matches(&mutant.from).count() != 1 {
            return Err(
                format!("mutant {number}: {} does not contain once: {}", mutant.file, mutant.from).into()
            );
        }
        fs::write(&file, source.replace(&mutant.from, &mutant.to))?;
        let built = run_command(cargo().args(BUILD).current_dir(&copy).env("CARGO_TARGET_DIR", &target));
        let found = built.and_then(|()| finding(&folder, cores));
        fs::write(&file, source)?;
        if let Some(finding) = found? {
            println!("  found by {finding}");
        } else {
            println!("  SURVIVES");
            survivors.push(number.to_string());
        }
    }
    if survivors.is_empty() {
        return Ok(());
    }
    Err(format!("mutants that the simulator does not find: {}", survivors.join(", ")).into())
}

/// What the scenario files or the seeds find, of the simulator that was built in this folder.
fn finding(folder: &Path, cores: u64) -> Result<Option<String>> {
    let program = folder.join("target/debug/privatix-sim");
    let (seconds, cores) = (MUTANT.to_string(), cores.to_string());
    let (mut scenarios, mut seeds) = (Command::new(&program), Command::new(&program));
    scenarios.arg("--scenario").arg(folder.join("workspace/crates/sim/scenarios"));
    seeds.args(["--shrink", "0", "--seconds", &seconds, "--cores", &cores]);
    let printed = folder.join("printed.txt");
    for mut command in [scenarios, seeds] {
        command.stdout(fs::File::create(&printed)?).stderr(Stdio::null());
        let started = Instant::now();
        // A mutant may loop for ever: then it is found, too.
        if let Err(error) = run_within(&mut command, Duration::from_secs(MUTANT) + GRACE) {
            let printed = fs::read_to_string(&printed)?;
            let failure = printed.lines().find(|line| line.contains(" steps: at "));
            let what = failure.map_or_else(|| error.to_string(), |line| line.replace("FAILED: ", ""));
            return Ok(Some(format!("{what} ({})", minutes(started.elapsed()))));
        }
    }
    Ok(None)
}

/// Copies what git knows of the workspace, as it is now. Files that are the same keep their times, so that little is built again.
fn copy_workspace(root: &Path, copy: &Path) -> Result<()> {
    let files = output(Command::new("git").args(["ls-files"]).current_dir(root))?;
    for file in files.lines() {
        let (from, to) = (root.join(file), copy.join(file));
        let Ok(content) = fs::read(&from) else { continue }; // removed, and not committed
        if fs::read(&to).is_ok_and(|old| old == content) {
            continue;
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(to, content)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_has_a_file_a_text_and_a_replacement() {
        let mutants = parse("# Why.\na.rs | x \\| y\\n  z | w\n").unwrap();
        let text = |text: &str| text.to_owned();
        let (about, file, from, to) = (text("Why."), text("a.rs"), text("x | y\n  z"), text("w"));
        assert_eq!(mutants, [Mutant { about, file, from, to }]);
        assert!(parse("a.rs | x").is_err());
    }

    #[test]
    fn every_mutant_changes_one_place() {
        let root = workspace_root();
        for mutant in parse(&fs::read_to_string(root.join("crates/sim/mutants.txt")).unwrap()).unwrap() {
            let source = fs::read_to_string(root.join(&mutant.file)).unwrap();
            assert_eq!(source.matches(&mutant.from).count(), 1, "{mutant:?}");
            assert_ne!(mutant.from, mutant.to);
        }
    }
}
