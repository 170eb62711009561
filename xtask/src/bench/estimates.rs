//! Reading what criterion leaves in its folder: `<id>/new/{benchmark,estimates}.json`.
#![allow(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "measurements, not money"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};

use crate::Result;

/// What one iteration of a benchmark works through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Nothing was declared: the iteration itself counts.
    Iteration,
    /// This many elements.
    Elements(u64),
    /// This many bytes.
    Bytes(u64),
}

/// A benchmark's mean time for an iteration, in nanoseconds, with its 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub nanos: f64,
    /// Lower bound of the interval.
    pub low: f64,
    /// Upper bound of the interval.
    pub high: f64,
    /// What an iteration works through.
    pub quantity: Quantity,
}

#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
    throughput: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Deserialize)]
struct Estimates {
    mean: Mean,
}

#[derive(Deserialize)]
struct Mean {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

/// All estimates under criterion's folder, by benchmark id.
pub fn collect(home: &Path) -> Result<BTreeMap<String, Estimate>> {
    let mut found = BTreeMap::new();
    let mut open = vec![home.to_path_buf()];
    while let Some(dir) = open.pop() {
        if !dir.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.ends_with("new/estimates.json") {
                let estimates: Estimates = read(&path)?;
                let benchmark: Benchmark = read(&path.with_file_name("benchmark.json"))?;
                found.insert(benchmark.full_id.clone(), estimate(&estimates.mean, &benchmark));
            } else if path.is_dir() {
                open.push(path);
            }
        }
    }
    Ok(found)
}

fn read<T: DeserializeOwned>(path: &PathBuf) -> Result<T> {
    let text = fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    Ok(serde_json::from_str(&text).map_err(|e| format!("{} is not criterion's: {e}", path.display()))?)
}

fn estimate(mean: &Mean, benchmark: &Benchmark) -> Estimate {
    let amount = |key: &str| benchmark.throughput.as_ref()?.get(key)?.as_u64();
    let quantity = match (amount("Elements"), amount("Bytes").or_else(|| amount("BytesDecimal"))) {
        (Some(n), _) => Quantity::Elements(n),
        (None, Some(n)) => Quantity::Bytes(n),
        (None, None) => Quantity::Iteration,
    };
    let interval = &mean.confidence_interval;
    Estimate { nanos: mean.point_estimate, low: interval.lower_bound, high: interval.upper_bound, quantity }
}

impl Estimate {
    /// Nanoseconds for one element or byte, or for the iteration.
    pub fn nanos_each(&self) -> f64 {
        match self.quantity {
            Quantity::Iteration => self.nanos,
            Quantity::Elements(n) | Quantity::Bytes(n) => self.nanos / n.max(1) as f64,
        }
    }

    /// The rate for people: `12,345/s` or `67.8 MB/s`.
    pub fn rate(&self) -> String {
        let per_second = 1e9 / self.nanos_each();
        match self.quantity {
            Quantity::Bytes(_) => format!("{:.1} MB/s", per_second / 1e6),
            Quantity::Elements(_) | Quantity::Iteration if per_second >= 100.0 => {
                format!("{}/s", grouped(per_second.round() as u64))
            }
            Quantity::Elements(_) | Quantity::Iteration => format!("{per_second:.2}/s"),
        }
    }

    /// The estimate as cells: benchmark, time, interval, rate.
    pub(super) fn row(&self, id: &str) -> Vec<String> {
        let interval = if self.low < self.high {
            format!("{} – {}", time(self.low), time(self.high))
        } else {
            "–".to_owned() // the benchmark gives no interval
        };
        vec![id.to_owned(), time(self.nanos), interval, self.rate()]
    }
}

fn time(nanos: f64) -> String {
    match nanos {
        n if n < 1e3 => format!("{n:.1} ns"),
        n if n < 1e6 => format!("{:.2} µs", n / 1e3),
        n if n < 1e9 => format!("{:.2} ms", n / 1e6),
        n => format!("{:.2} s", n / 1e9),
    }
}

/// 1234567 as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let head = digits.len() % 3;
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && place % 3 == head {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_read_by_id_with_what_they_count() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("verify/ours_fast/new");
        fs::create_dir_all(&dir).unwrap();
        let benchmark = r#"{"group_id":"verify","function_id":"ours/fast","full_id":"verify/ours/fast",
            "throughput":{"Elements":64}}"#;
        fs::write(dir.join("benchmark.json"), benchmark).unwrap();
        let mean = r#"{"mean":{"confidence_interval":{"confidence_level":0.95,"lower_bound":6300.0,
            "upper_bound":6500.0},"point_estimate":6400.0,"standard_error":1.0},"median":{}}"#;
        fs::write(dir.join("estimates.json"), mean).unwrap();

        let found = collect(home.path()).unwrap();
        let estimate = found["verify/ours/fast"];
        assert_eq!(estimate.quantity, Quantity::Elements(64));
        assert!((estimate.nanos_each() - 100.0).abs() < 1e-9);
        assert_eq!(estimate.row("x"), ["x", "6.40 µs", "6.30 µs – 6.50 µs", "10,000,000/s"]);

        fs::write(dir.join("estimates.json"), "{}").unwrap();
        assert!(collect(home.path()).unwrap_err().to_string().contains("is not criterion's"));
    }

    #[test]
    fn a_missing_folder_has_no_estimates() {
        assert!(collect(Path::new("/no/such/folder")).unwrap().is_empty());
    }

    #[test]
    fn rates_and_times_are_short_to_read() {
        let estimate = |nanos, quantity| Estimate { nanos, low: nanos, high: nanos, quantity };
        assert_eq!(estimate(1e9, Quantity::Bytes(67_800_000)).rate(), "67.8 MB/s");
        assert_eq!(estimate(2e9, Quantity::Iteration).rate(), "0.50/s");
        assert_eq!([999, 1_000, 123_456, 1_234_567].map(grouped), ["999", "1,000", "123,456", "1,234,567"]);
        assert_eq!([12.0, 1.2e4, 1.2e7, 1.2e10].map(time), ["12.0 ns", "12.00 µs", "12.00 ms", "12.00 s"]);
    }
}
