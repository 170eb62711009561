//! Jobs a second, of all contenders in turn.
#![allow(clippy::float_arithmetic, clippy::cast_precision_loss, reason = "measurements, not money")]

use std::path::Path;
use std::time::Duration;

use crate::load::{Contender, Load, Shape};
use crate::{ours, theirs};

const SHAPES: [Shape; 4] = [
    Shape { name: "one at a time", workers: 1, producers: 1, a_push: 1, effects: false },
    Shape { name: "ones from four", workers: 8, producers: 4, a_push: 1, effects: false },
    Shape { name: "in tens", workers: 8, producers: 4, a_push: 10, effects: false },
    Shape { name: "in tens, a row each", workers: 8, producers: 4, a_push: 10, effects: true },
];

/// What one producer pushes.
pub fn batches(producer: u64, shape: Shape, jobs: u64) -> Vec<Vec<Load>> {
    let share = jobs / shape.producers;
    let numbers: Vec<u64> = (producer * share..(producer + 1) * share).collect();
    let batch = |part: &[u64]| part.iter().map(|n| Load::new(i64::try_from(*n).unwrap())).collect();
    numbers.chunks(usize::try_from(shape.a_push).unwrap()).map(batch).collect()
}

/// Measures and prints everything.
pub async fn run(dir: &Path, jobs: u64, rounds: usize) {
    let jobs = jobs.next_multiple_of(4);
    println!("jobs of 200 bytes, {jobs} a measurement, medians of {rounds}:");
    let mut commits = Vec::new();
    let mut taken = vec![[const { Vec::new() }; Contender::ALL.len()]; SHAPES.len()];
    for _ in 0..rounds {
        commits.push(ours::single_commits(&fresh(dir).path().join("plain.db"), jobs).await);
        for (shape, taken) in SHAPES.iter().zip(&mut taken) {
            for (contender, taken) in Contender::ALL.into_iter().zip(taken) {
                let home = fresh(dir);
                let file = home.path().join("jobs.db");
                taken.push(match contender {
                    Contender::Ours => ours::measure(&file, *shape, jobs).await,
                    other => theirs::measure(other, &file, *shape, jobs).await,
                });
            }
        }
    }
    let commits = rate(jobs, commits);
    println!("\n| | jobs/s | beside single commits | privatix-jobs beside it |\n| --- | --- | --- | --- |");
    println!("| single commits | {commits:.0} | | |");
    for (shape, taken) in SHAPES.iter().zip(taken) {
        let [ours, polling, hooked] = taken.map(|taken| rate(jobs, taken));
        for (contender, rate) in Contender::ALL.into_iter().zip([ours, polling, hooked]) {
            let beside =
                if contender == Contender::Ours { String::new() } else { format!("{:.2}", ours / rate) };
            let name = format!("{}: {}", shape.name, contender.name());
            println!("| {name} | {rate:.0} | {:.2} | {beside} |", rate / commits);
        }
    }
}

fn fresh(dir: &Path) -> tempfile::TempDir {
    tempfile::tempdir_in(dir).unwrap()
}

/// The rate at the median.
fn rate(jobs: u64, mut taken: Vec<Duration>) -> f64 {
    taken.sort_unstable();
    jobs as f64 / taken[taken.len() / 2].as_secs_f64()
}
