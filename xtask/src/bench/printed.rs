//! Benchmarks that are not criterion's: they print their rates, and these are kept in files like criterion's.
//!
//! They print lines of the form `what  1234 MB/s`, each under a heading that is indented less:
//! `heading, details`. The rate's id is `<bench target>/<heading>/<what>`; details may change without making it another.
#![allow(clippy::float_arithmetic, reason = "measurements, not money")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::json;

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
        command.env("CRITERION_HOME", home.join("criterion")).stdin(Stdio::null()).stdout(Stdio::piped());
        println!("$ {} {}", self.name, if quick { "--bench --quick" } else { "--bench" });
        let mut child = command.spawn().map_err(|error| cannot_run(&command, &error))?;
        if let Some(output) = child.stdout.take() {
            let mut heading = String::new();
            for line in BufReader::new(output).lines() {
                let line = line?;
                println!("{line}");
                match printed_rate(&line) {
                    Some((what, nanos)) => keep(home, &format!("{}/{heading}/{what}", self.name), nanos)?,
                    None => heading_of(&line).clone_into(&mut heading),
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

/// Reads a line of the form `what  1234 MB/s`: what, and nanoseconds for a megabyte. Criterion's lines, which give three
/// rates, are not of it.
fn printed_rate(line: &str) -> Option<(&str, f64)> {
    let (what, rate) = line.trim().strip_suffix(" MB/s")?.split_once("  ")?;
    let rate: f64 = rate.trim().parse().ok().filter(|rate| *rate > 0.0)?;
    Some((what, 1e9 / rate))
}

/// A heading without its details.
fn heading_of(line: &str) -> &str {
    let line = line.trim();
    line.rsplit_once(", ").map_or(line, |(heading, _)| heading)
}

/// Keeps a rate where [`collect`](super::collect) finds it, apart from criterion's own files, which criterion reads, too.
fn keep(home: &Path, id: &str, nanos: f64) -> Result<()> {
    let dir = home.join("printed").join(id.replace('/', "_")).join("new");
    fs::create_dir_all(&dir)?;
    let benchmark = json!({ "full_id": id, "throughput": { "Bytes": 1_000_000 } });
    let interval = json!({ "lower_bound": nanos, "upper_bound": nanos });
    let mean = json!({ "point_estimate": nanos, "confidence_interval": interval });
    fs::write(dir.join("benchmark.json"), benchmark.to_string())?;
    fs::write(dir.join("estimates.json"), json!({ "mean": mean }).to_string())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::collect, *};

    #[test]
    fn a_printed_rate_is_kept_for_the_table() {
        let home = tempfile::tempdir().unwrap();
        let (what, nanos) = printed_rate("    agent+client      1250 MB/s").unwrap();
        keep(home.path(), &format!("download/{}/{what}", heading_of("  link of 1 Gbit/s, 64 MiB")), nanos)
            .unwrap();
        let found = collect(home.path()).unwrap();
        let estimate = found["download/link of 1 Gbit/s/agent+client"];
        assert_eq!(estimate.row("x")[2..], ["–", "1250.0 MB/s"]);
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
        let home = tempfile::tempdir().unwrap();
        let program = |path| Program { name: "download".into(), dir: "/".into(), path: PathBuf::from(path) };
        program("/bin/true").run(true, home.path()).unwrap();
        let error = program("/bin/false").run(false, home.path()).unwrap_err();
        assert!(error.to_string().starts_with("benchmark download failed"), "{error}");
    }
}
