//! `cargo xtask bench`: the workspace's criterion benchmarks, and `docs/benchmarks.md` made of their estimates.

mod comparisons;
mod daemons;
mod estimates;
mod machine;
mod peers;
mod printed;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use cargo_metadata::{Message, TargetKind};
use privatix_testkit::toolchain::workspace_root;

use crate::{
    Result,
    command::{cannot_run, cargo},
    metadata,
    table::{markdown, replace_between},
};
pub use comparisons::{COMPARISONS, Comparison};
pub use estimates::{Estimate, Quantity, collect};
pub use printed::Program;

const BEGIN: &str = "<!-- results: written by `cargo xtask bench` -->";
const END: &str = "<!-- end of results -->";
const PEERS: [&str; 2] = ["<!-- peers: written by `cargo xtask bench --peers` -->", "<!-- end of peers -->"];
const DAEMONS: [&str; 2] =
    ["<!-- daemons: written by `cargo xtask bench --daemons` -->", "<!-- end of daemons -->"];

/// Which benchmarks to run.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct Args {
    /// Run only the bench target of this name (may be repeated); the others keep their last estimates.
    #[arg(long, value_name = "NAME")]
    bench: Vec<String>,
    /// Measure for a moment only: whether everything runs, and rough figures. Writes no document.
    #[arg(long, conflicts_with = "collect")]
    quick: bool,
    /// Run the job processor beside another job queue instead (`bench/peers`, some minutes more to build).
    #[arg(long, conflicts_with_all = ["bench", "collect", "check"])]
    peers: bool,
    /// Measure the steps of a channel and 10,000 open channels instead, with both daemons on a local chain.
    #[arg(long, conflicts_with_all = ["bench", "collect", "check", "peers"])]
    daemons: bool,
    /// Run nothing: make the document of the last estimates.
    #[arg(long, conflicts_with = "bench")]
    collect: bool,
    /// Fail when a goal is missed or was not measured.
    #[arg(long)]
    check: bool,
    /// Print the tables without writing docs/benchmarks.md.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    // Rough figures must not be taken for good ones by a later run.
    let kept = if args.quick { "benchmarks-quick" } else { "benchmarks" };
    let home = metadata::load()?.target_directory.join(kept).into_std_path_buf();
    if args.peers {
        let home = home.with_file_name("peers");
        let text = format!("{}\n\n{}", machine::described(&home), peers::run(&home, args.quick)?);
        return if args.dry_run || args.quick { Ok(()) } else { write(&document(), PEERS, &text) };
    }
    if args.daemons {
        let text = format!("{}\n\n{}", machine::described(&home), daemons::run(args.quick)?);
        return if args.dry_run || args.quick { Ok(()) } else { write(&document(), DAEMONS, &text) };
    }
    if !args.collect {
        let programs = programs(&args.bench)?;
        if args.bench.is_empty() && home.exists() {
            fs::remove_dir_all(&home)?; // what no longer exists must not show up
        }
        for program in programs {
            program.run(args.quick, &home)?; // one after another: each wants the machine for itself
        }
    }
    let estimates = collect(&home)?;
    if estimates.is_empty() {
        return Err(format!("no estimates in {}: run `cargo xtask bench` first", home.display()).into());
    }
    let text = report(&machine::described(&home), &estimates, COMPARISONS);
    println!("\n{text}");
    if !args.dry_run && !args.quick {
        write(&document(), [BEGIN, END], &text)?;
    }
    let missed: Vec<&str> =
        COMPARISONS.iter().filter(|c| c.is_met(&estimates) != Some(true)).map(|c| c.name).collect();
    if args.check && !missed.is_empty() {
        return Err(format!("missed or not measured: {}", missed.join("; ")).into());
    }
    Ok(())
}

/// Builds the bench targets and gives their programs with the folders to run them in.
fn programs(only: &[String]) -> Result<Vec<Program>> {
    let mut command = cargo();
    command.args(["bench", "--workspace", "--all-features", "--no-run"]);
    command.arg("--message-format=json-render-diagnostics");
    let targets: Vec<&str> =
        if only.is_empty() { vec!["*"] } else { only.iter().map(String::as_str).collect() };
    for target in targets {
        command.args(["--bench", target]);
    }
    println!("building the benchmarks with the release profile...");
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("the benchmarks do not build".into());
    }
    let mut programs = Vec::new();
    for message in Message::parse_stream(output.stdout.as_slice()) {
        if let Message::CompilerArtifact(artifact) = message?
            && artifact.target.kind.contains(&TargetKind::Bench)
            && let (Some(program), Some(dir)) = (artifact.executable, artifact.manifest_path.parent())
        {
            let (dir, path) = (dir.as_std_path().to_path_buf(), program.into_std_path_buf());
            programs.push(Program { name: artifact.target.name, dir, path });
        }
    }
    programs.sort();
    Ok(programs)
}

/// Runs a program, shows what it prints, and gives its tables, with an empty line between two.
fn tables(command: &mut Command) -> Result<String> {
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| cannot_run(command, &error))?;
    let (mut text, mut is_between) = (String::new(), false);
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line?;
            println!("{line}");
            if line.starts_with('|') {
                if std::mem::take(&mut is_between) && !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(&line);
                text.push('\n');
            } else {
                is_between = true;
            }
        }
    }
    let status = child.wait()?;
    if status.success() { Ok(text) } else { Err(format!("{command:?} failed ({status})").into()) }
}

fn report(machine: &str, estimates: &BTreeMap<String, Estimate>, comparisons: &[Comparison]) -> String {
    let compared: Vec<Vec<String>> = comparisons.iter().map(|c| c.row(estimates)).collect();
    let all: Vec<Vec<String>> = estimates.iter().map(|(id, estimate)| estimate.row(id)).collect();
    format!(
        "{machine}\n\n{}\n{}",
        markdown(&["what", "measured", "beside", "ratio", "goal", "met"], &compared),
        markdown(&["benchmark", "time", "95 % interval", "rate"], &all),
    )
}

fn document() -> PathBuf {
    workspace_root().join("docs/benchmarks.md")
}

/// Replaces what is between two marker lines; a document that is missing is begun with the first pair.
fn write(path: &Path, [begin, end]: [&str; 2], results: &str) -> Result<()> {
    let old = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            format!(
                "# Benchmarks\n\n`cargo xtask bench` runs them and writes this table.\n\n{BEGIN}\n{END}\n"
            )
        }
        Err(error) => return Err(error.into()),
    };
    let marks = || format!("{} has lost its marker lines `{begin}` and `{end}`", path.display());
    let new = replace_between(&old, begin, end, results).ok_or_else(marks)?;
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, new)?;
    println!("wrote {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_made_once_and_then_only_its_results_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docs/benchmarks.md");
        write(&path, [BEGIN, END], "first").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("# Benchmarks", "# Our words")).unwrap();
        write(&path, [BEGIN, END], "second").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("# Our words") && text.contains("second") && !text.contains("first"),
            "{text}"
        );
        fs::write(&path, "no markers").unwrap();
        assert!(write(&path, [BEGIN, END], "third").unwrap_err().to_string().contains("marker"));
    }
}
