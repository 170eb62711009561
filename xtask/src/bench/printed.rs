//! Benchmarks that are not criterion's: they print their rates, and these are kept in criterion's files beside the others.
#![allow(clippy::float_arithmetic, reason = "measurements, not money")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::json;

use super::{Estimate, Quantity};
use crate::{Result, command::cannot_run};

/// A built benchmark.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    /// The bench target's name.
    pub name: String,
    /// Where to run it: its package's folder.
    pub dir: PathBuf,
    /// The program.
    pub path: PathBuf,
}

impl Program {
    /// Runs it with its output shown, and keeps the rates that it prints under `home`.
    pub fn run(&self, quick: bool, home: &Path) -> Result<()> {
        let mut command = Command::new(&self.path);
        command.arg("--bench").args(quick.then_some("--quick")).current_dir(&self.dir);
        command.env("CRITERION_HOME", home).stdin(Stdio::null()).stdout(Stdio::piped());
        println!("$ {} {}", self.name, if quick { "--bench --quick" } else { "--bench" });
        let mut child = command.spawn().map_err(|error| cannot_run(&command, &error))?;
        if let Some(output) = child.stdout.take() {
            for line in BufReader::new(output).lines() {
                let line = line?;
                println!("{line}");
                if let Some((what, estimate)) = printed_rate(&line) {
                    keep(home, &self.name, what, estimate)?;
                }
            }
        }
        let status = child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("benchmark {} failed ({status})", self.name).into())
        }
    }
}

/// Reads a line of the form `what  1234 MB/s`. Criterion's lines, which give three rates, are not of it.
fn printed_rate(line: &str) -> Option<(&str, Estimate)> {
    let (what, rate) = line.trim().strip_suffix(" MB/s")?.split_once("  ")?;
    let rate: f64 = rate.trim().parse().ok().filter(|rate| *rate > 0.0)?;
    let nanos = 1e9 / rate;
    Some((what, Estimate { nanos, low: nanos, high: nanos, quantity: Quantity::Bytes(1_000_000) }))
}

fn keep(home: &Path, group: &str, what: &str, estimate: Estimate) -> Result<()> {
    let Quantity::Bytes(bytes) = estimate.quantity else { return Ok(()) };
    let dir = home.join(group).join(what.replace('/', "_")).join("new");
    fs::create_dir_all(&dir)?;
    let benchmark = json!({ "full_id": format!("{group}/{what}"), "throughput": { "Bytes": bytes } });
    let mean = json!({
        "point_estimate": estimate.nanos,
        "confidence_interval": { "lower_bound": estimate.low, "upper_bound": estimate.high },
    });
    fs::write(dir.join("benchmark.json"), benchmark.to_string())?;
    fs::write(dir.join("estimates.json"), json!({ "mean": mean }).to_string())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::collect, *};

    #[test]
    fn a_printed_rate_is_kept_beside_criterions_estimates() {
        let home = tempfile::tempdir().unwrap();
        let (what, estimate) = printed_rate("  agent+client      1250 MB/s").unwrap();
        keep(home.path(), "download", what, estimate).unwrap();
        let found = collect(home.path()).unwrap();
        assert_eq!(found["download/agent+client"].rate(), "1250.0 MB/s");
        assert_eq!(found["download/agent+client"].row("x")[2], "–");
    }

    #[test]
    fn only_lines_of_one_rate_count() {
        for line in [
            "  ratio             93.1 %",
            "                        thrpt:  [9.9 MB/s 10.1 MB/s 10.2 MB/s]",
            "nothing  0 MB/s",
            "download of 256 MiB, medians of 7:",
        ] {
            assert!(printed_rate(line).is_none(), "{line}");
        }
    }

    #[test]
    fn a_failing_benchmark_is_named() {
        let program = |path| Program { name: "download".into(), dir: "/".into(), path: PathBuf::from(path) };
        program("/bin/true").run(true, Path::new("/")).unwrap();
        let error = program("/bin/false").run(false, Path::new("/")).unwrap_err();
        assert!(error.to_string().starts_with("benchmark download failed"), "{error}");
    }
}
