use std::collections::BTreeMap;

use super::Estimate;

/// A benchmark beside another of the same run: its limit, or what others do.
#[derive(Debug, Clone, Copy)]
pub struct Comparison {
    /// What is compared, in words.
    pub name: &'static str,
    /// Criterion's id of the benchmark, as `group/function`.
    pub measured: &'static str,
    /// Criterion's id of the baseline.
    pub baseline: &'static str,
    /// The least ratio of the rates, measured over baseline.
    pub at_least: f64,
}

/// All comparisons. Extend this list with a benchmark's goal.
pub const COMPARISONS: &[Comparison] = &[
    Comparison {
        name: "vouchers verified on one busy channel, beside libsecp256k1 alone",
        measured: "verify/ours/same_channel",
        baseline: "verify/limit/libsecp256k1_verify",
        at_least: 1.0 / 1.2,
    },
    Comparison {
        name: "vouchers verified on 1,000 channels in turn, beside libsecp256k1 alone",
        measured: "verify/ours/many_channels",
        baseline: "verify/limit/libsecp256k1_verify",
        at_least: 1.0 / 1.2,
    },
    Comparison {
        name: "vouchers verified, beside recovering the address as peers do",
        measured: "verify/ours/same_channel",
        baseline: "verify/peers/alloy_recover",
        at_least: 4.0,
    },
    Comparison {
        name: "payments on disk and acknowledged over loopback, 1,000 channels, beside single commits",
        measured: "payments/over loopback",
        baseline: "payments/single commits",
        at_least: 6.5,
    },
    Comparison {
        name: "download through agent and client over a link of 1 Gbit/s, beside a direct one",
        measured: "download/link of 1 Gbit/s/agent+client",
        baseline: "download/link of 1 Gbit/s/direct",
        at_least: 0.9,
    },
    Comparison {
        name: "download through agent and client on loopback without limit, beside a direct one",
        measured: "download/loopback, no limit/agent+client",
        baseline: "download/loopback, no limit/direct",
        at_least: 0.9,
    },
    Comparison {
        name: "vouchers stored durably, 1,000 at a time, beside single commits",
        measured: "durable_vouchers/1000 channels",
        baseline: "durable_vouchers/single commits",
        at_least: 5.0,
    },
    Comparison {
        name: "jobs pushed ten a commit and done by eight workers, beside single commits",
        measured: "jobs/queue x10",
        baseline: "jobs/single commits",
        // A commit claims and ends eight at most.
        at_least: 1.0,
    },
    Comparison {
        name: "jobs pushed ten a commit and done by 64 workers, beside single commits",
        measured: "jobs/queue x10, 64 workers",
        baseline: "jobs/single commits",
        at_least: 2.0,
    },
    Comparison {
        name: "billing of 100 changed channels of 1,000,000 open, beside 100 of 100",
        measured: "tick/100 changed of/1000000",
        baseline: "tick/100 changed of/100",
        at_least: 0.25,
    },
];

impl Comparison {
    /// Rate of what was measured over the rate of its baseline; `None` if one of them is missing.
    #[allow(clippy::float_arithmetic, reason = "measurements, not money")]
    fn ratio(&self, estimates: &BTreeMap<String, Estimate>) -> Option<f64> {
        let of = |id: &str| estimates.get(id).map(Estimate::nanos_each);
        Some(of(self.baseline)? / of(self.measured)?)
    }

    /// Whether the goal is met; `None` when it was not measured.
    pub fn is_met(&self, estimates: &BTreeMap<String, Estimate>) -> Option<bool> {
        self.ratio(estimates).map(|ratio| ratio >= self.at_least)
    }

    /// The comparison as cells: what, measured, beside, ratio, goal, met.
    pub(super) fn row(&self, estimates: &BTreeMap<String, Estimate>) -> Vec<String> {
        let shown = |id: &str| estimates.get(id).map_or_else(|| "not measured".to_owned(), Estimate::rate);
        let ratio = self.ratio(estimates).map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
        let met = match self.is_met(estimates) {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "–",
        };
        let goal = format!("at least {:.2}", self.at_least);
        vec![self.name.to_owned(), shown(self.measured), shown(self.baseline), ratio, goal, met.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Quantity, report},
        *,
    };

    const GOAL: Comparison =
        Comparison { name: "ours", measured: "g/ours", baseline: "g/limit", at_least: 0.8 };

    fn estimates(ours: f64, limit: f64) -> BTreeMap<String, Estimate> {
        let estimate = |nanos| Estimate { nanos, low: nanos, high: nanos, quantity: Quantity::Elements(1) };
        BTreeMap::from([("g/ours".to_owned(), estimate(ours)), ("g/limit".to_owned(), estimate(limit))])
    }

    #[test]
    fn a_goal_is_met_missed_or_not_measured() {
        assert_eq!(GOAL.is_met(&estimates(110.0, 100.0)), Some(true));
        assert_eq!(GOAL.is_met(&estimates(130.0, 100.0)), Some(false));
        assert_eq!(GOAL.is_met(&BTreeMap::new()), None);
    }

    #[test]
    fn the_report_shows_each_comparison_with_its_goal_and_all_estimates() {
        let text = report("A machine.", &estimates(125_000.0, 100_000.0), &[GOAL]);
        let row = text.lines().find(|line| line.starts_with("| ours")).unwrap();
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[1..7], ["ours", "8,000/s", "10,000/s", "0.80", "at least 0.80", "yes"]);
        assert!(text.starts_with("A machine.\n") && text.contains("| g/limit"));
        let text = report("A machine.", &BTreeMap::new(), &[GOAL]);
        assert!(text.contains("not measured"), "{text}");
    }
}
