//! Runs: one, or many for a while.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, fs, io, thread};

use crate::report::{RowOfRun, Rows, Rule, Violation};
use crate::scenario::Scenario;
use crate::sim::{Counts, Sim};

/// A run that broke an invariant.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was run.
    pub scenario: Scenario,
    /// What is wrong.
    pub violation: Violation,
    /// The last inputs before it.
    pub rows: Vec<RowOfRun>,
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {} steps: {}", self.scenario.seed, self.scenario.steps.len(), self.violation)?;
        writeln!(
            f,
            "\n| seconds | channel | input | effects | state afterwards |\n| --- | --- | --- | --- | --- |"
        )?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

impl Failure {
    /// Writes its scenario into a folder, which is made if there is none, as `seed_N.toml`; the file's path.
    ///
    /// # Errors
    /// The folder cannot be made, or the file not written.
    pub fn write(&self, folder: &Path) -> io::Result<PathBuf> {
        let text = toml::to_string(&self.scenario).map_err(io::Error::other)?;
        fs::create_dir_all(folder)?;
        let file = folder.join(format!("seed_{}.toml", self.scenario.seed));
        fs::write(&file, text)?;
        Ok(file)
    }
}

/// Runs a scenario to its end.
///
/// # Errors
/// The first invariant that does not hold. Terms that break a rule are one, too.
pub fn run(scenario: &Scenario) -> Result<Counts, Box<Failure>> {
    match attempt(scenario, None) {
        Ok(counts) => Ok(counts),
        Err((violation, _)) => {
            // Once more, with its inputs written down.
            let rows = Some(Rows { of: violation.channel, last: VecDeque::new() });
            let (violation, rows) = attempt(scenario, rows).err().unwrap_or((violation, Vec::new()));
            Err(Box::new(Failure { scenario: scenario.clone(), violation, rows }))
        }
    }
}

/// With `rows`, the last inputs are written down.
fn attempt(scenario: &Scenario, rows: Option<Rows>) -> Result<Counts, (Violation, Vec<RowOfRun>)> {
    let wrong = |what: String| (Violation { at: 0, channel: None, rule: Rule::Terms, what }, Vec::new());
    let terms = scenario.world.terms().map_err(|error| wrong(error.to_string()))?;
    let mut sim = Sim::new(scenario, terms, rows);
    let ended = catch_unwind(AssertUnwindSafe(|| sim.run()));
    let rows = sim.rows.take().map(|rows| rows.last.into()).unwrap_or_default();
    if ended.is_err() {
        let (rule, what) = (Rule::Invariant(8), "a decision panicked".to_owned());
        return Err((Violation { at: sim.now, channel: None, rule, what }, rows));
    }
    match sim.violation.take() {
        None => Ok(sim.counts),
        Some(violation) => Err((violation, rows)),
    }
}

/// How long to run which seeds.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The first seed. Those after it follow.
    pub seed: u64,
    /// For how long.
    pub time: Duration,
    /// On how many threads.
    pub cores: u64,
}

/// What many runs came to.
#[derive(Debug)]
pub struct Summary {
    /// How many runs there were.
    pub runs: u64,
    /// What they counted.
    pub counts: Counts,
    /// How long they took.
    pub time: Duration,
    /// The one that failed, of the lowest seed.
    pub failure: Option<Box<Failure>>,
}

/// Runs the scenarios of one seed after the other, until the time is over or one fails.
pub fn run_many(plan: &Plan) -> Summary {
    let started = Instant::now();
    let (next, stop) = (AtomicU64::new(plan.seed), AtomicBool::new(false));
    let summary =
        Mutex::new(Summary { runs: 0, counts: Counts::default(), time: Duration::ZERO, failure: None });
    thread::scope(|scope| {
        for _ in 0..plan.cores.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) && started.elapsed() < plan.time {
                    let result = run(&Scenario::random(next.fetch_add(1, Ordering::Relaxed)));
                    let Ok(mut summary) = summary.lock() else { return };
                    summary.runs += 1;
                    match result {
                        Ok(counts) => summary.counts.add(counts),
                        Err(failure) => {
                            stop.store(true, Ordering::Relaxed);
                            let is_first = summary
                                .failure
                                .as_ref()
                                .is_none_or(|f| failure.scenario.seed < f.scenario.seed);
                            if is_first {
                                summary.failure = Some(failure);
                            }
                        }
                    }
                }
            });
        }
    });
    let mut summary = summary.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    summary.time = started.elapsed();
    summary
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.decisions += other.decisions;
        self.channels += other.channels;
        self.faults += other.faults;
    }
}
