//! The metrics page, in Prometheus' text format.

use std::fmt::Write;
use std::time::SystemTime;

use privatix_adapter::Role;
use privatix_db::Conn;
use privatix_jobs::{Depth, Histogram, LaneStats, MOST_COUNTED};
use privatix_node::{Money, Node, NodeError};

use super::health;
use super::outlook::Outlook;
use crate::node::{Balances, Health, TorStatus};

/// What the page shows beside what the node knows by itself.
pub(crate) struct Figures<'a> {
    pub(crate) health: Health,
    pub(crate) balances: Option<&'a Balances>,
    pub(crate) tor: Option<&'a TorStatus>,
    pub(crate) lost_log_lines: u64,
    /// The last look at the open transactions.
    pub(crate) outlook: Option<Outlook>,
}

pub(crate) async fn page(node: &Node, figures: &Figures<'_>) -> String {
    let mut text = Text::default();
    text.head("privatix_info", "gauge", "The daemon.");
    let (role, version) = (node.side().to_string(), env!("CARGO_PKG_VERSION").to_owned());
    text.line("privatix_info", &[("role", &role), ("version", &version)], 1);

    of_process(&mut text, &figures.health, figures.tor, figures.lost_log_lines);

    let chain = health::chain_status(node);
    for (name, help, block) in [
        ("privatix_chain_head_block", "The endpoint's newest block.", chain.head),
        ("privatix_chain_confirmed_block", "The newest block with enough confirmations.", chain.confirmed),
        ("privatix_chain_processed_block", "The newest block whose events are stored.", chain.processed),
        (
            "privatix_chain_unsearched_blocks",
            "Blocks of the past still to be searched for offerings.",
            chain.unsearched,
        ),
    ] {
        if let Some(block) = block {
            text.head(name, "gauge", help);
            text.line(name, &[], block);
        }
    }
    if let Some(time) = chain.head_time {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let name = "privatix_chain_head_timestamp_seconds";
        text.head(name, "gauge", "The newest block's own time, in seconds since the Unix epoch.");
        text.line(name, &[], since.as_secs());
    }
    if let Some(age) = chain.head_age {
        let name = "privatix_chain_head_age_seconds";
        text.head(name, "gauge", "Seconds since the newest block's own time, by this machine's clock.");
        text.line(name, &[], age);
    }
    if let Some(age) = chain.view_age {
        let name = "privatix_chain_view_age_seconds";
        text.head(name, "gauge", "Seconds for which what happens on the chain may not have been seen.");
        text.line(name, &[], age);
    }
    text.head("privatix_chain_reorgs_total", "counter", "Reorganisations undone since the start.");
    text.line("privatix_chain_reorgs_total", &[], chain.reorgs);
    text.head("privatix_transactions_open", "gauge", "Transactions that are not final.");
    text.line("privatix_transactions_open", &[], chain.open_transactions);
    if let Some(outlook) = &figures.outlook {
        of_outlook(outlook, &mut text);
    }

    if let Err(error) = of_work(node, &mut text).await {
        tracing::warn!(%error, "the metrics page lacks money, gas and jobs");
    }
    if let Some(balances) = figures.balances {
        text.head("privatix_balance", "gauge", "Base units of the token, or wei, at the last look.");
        text.line("privatix_balance", &[("of", "ether")], balances.ether);
        text.line("privatix_balance", &[("of", "wallet")], balances.wallet);
        text.line("privatix_balance", &[("of", "contract")], balances.contract);
    }
    text.0
}

/// The page while the daemon starts.
pub(crate) fn starting(health: &Health, tor: Option<&TorStatus>, lost_log_lines: u64) -> String {
    let mut text = Text::default();
    of_process(&mut text, health, tor, lost_log_lines);
    text.0
}

fn of_process(text: &mut Text, health: &Health, tor: Option<&TorStatus>, lost_log_lines: u64) {
    for (name, page, is) in [
        ("privatix_live", "/health/live", health.live),
        ("privatix_ready", "/health/ready", health.ready),
        ("privatix_money_safe", "/health/money", health.money_safe),
    ] {
        text.head(name, "gauge", &format!("1 when GET {page} answers 200."));
        text.line(name, &[], u8::from(is));
    }
    text.head("privatix_check", "gauge", "What money depends on: 1 beside the state that it is in.");
    for check in &health.checks {
        text.line("privatix_check", &[("name", &check.name), ("state", check.state.as_str())], 1);
    }

    text.head("privatix_log_lines_lost_total", "counter", "Lines that could not be written to the log.");
    text.line("privatix_log_lines_lost_total", &[], lost_log_lines);

    if let Some(tor) = tor {
        text.head("privatix_tor_ready", "gauge", "1 when the Tor network can be used.");
        text.line("privatix_tor_ready", &[], u8::from(tor.ready));
        if let Some(onion) = &tor.onion {
            text.head("privatix_onion_reachable", "gauge", "1 when the last look reached the onion service.");
            text.line("privatix_onion_reachable", &[], u8::from(onion.reachable));
            text.head(
                "privatix_onion_restarts_total",
                "counter",
                "Starts of the onion service because it was not reached.",
            );
            text.line("privatix_onion_restarts_total", &[], onion.restarts);
        }
    }
}

async fn of_work(node: &Node, text: &mut Text) -> Result<(), NodeError> {
    if let Some(money) = node.money() {
        of_money(node.side(), &money, text);
    }
    text.head("privatix_gas_spent_wei_total", "counter", "Wei paid for gas since the start.");
    text.line("privatix_gas_spent_wei_total", &[], node.gas_spent());
    let mut conn = node.db().read().await?;
    let help = format!("Jobs that failed for good; {MOST_COUNTED} stands for more.");
    text.head("privatix_jobs_failed", "gauge", &help);
    text.line("privatix_jobs_failed", &[], privatix_jobs::failed_count(&mut conn).await?);
    if let Some(jobs) = node.jobs() {
        of_lanes(&mut conn, &jobs.lanes(), text).await?;
    }
    Ok(())
}

fn of_outlook(outlook: &Outlook, text: &mut Text) {
    let help = "For how long the oldest open transaction has been open, in seconds.";
    text.head("privatix_transactions_oldest_open_seconds", "gauge", help);
    let waits = outlook.oldest.and_then(|since| since.elapsed().ok()).unwrap_or_default();
    text.line("privatix_transactions_oldest_open_seconds", &[], waits.as_secs());
    text.head("privatix_transactions_obstructed", "gauge", "Open transactions that do not advance.");
    text.line("privatix_transactions_obstructed", &[], outlook.obstructed);
    if let Ok(gas) = &outlook.gas {
        let help = "Wei that the open transactions need at the present price of gas.";
        text.head("privatix_gas_needed_wei", "gauge", help);
        text.line("privatix_gas_needed_wei", &[], gas.needed);
    }
    if let Some(Ok(rescue)) = &outlook.rescue {
        text.head("privatix_rescue_ether_wei", "gauge", "Wei of the rescue account, at the last look.");
        text.line("privatix_rescue_ether_wei", &[], rescue.balance);
    }
}

/// From totals that are kept in memory: costs the same however many channels there are.
fn of_money(side: Role, money: &Money, text: &mut Text) {
    let Money { totals, in_flight, .. } = money;
    text.head("privatix_channels", "gauge", "Channels.");
    for ((status, service), count) in &totals.channels {
        text.line("privatix_channels", &[("status", status), ("service", service)], count);
    }
    text.head("privatix_vouchers_total", "counter", "Vouchers signed or accepted.");
    text.line("privatix_vouchers_total", &[], totals.vouchers);
    text.head("privatix_money", "gauge", "Amounts in channels, in base units of the token, by state.");
    text.line("privatix_money", &[("state", "earned")], totals.earned);
    text.line("privatix_money", &[("state", "enforceable")], totals.enforceable);
    text.line("privatix_money", &[("state", "settled")], totals.settled);
    if side == Role::Agent {
        text.line("privatix_money", &[("state", "in_flight")], in_flight);
    }
}

/// Costs the same however many jobs wait.
async fn of_lanes(conn: &mut Conn, lanes: &[LaneStats], text: &mut Text) -> Result<(), NodeError> {
    let now = SystemTime::now();
    let kinds: Vec<&'static str> = lanes.iter().flat_map(|lane| lane.kinds.iter().copied()).collect();
    let depths = privatix_jobs::depths(conn, &kinds, now).await?;
    let of =
        |lane: &LaneStats| depths.iter().filter(|depth| lane.kinds.contains(&depth.kind)).collect::<Vec<_>>();
    let total = |count: fn(&Depth) -> u64| {
        move |depths: &[&Depth]| depths.iter().map(|depth| count(depth)).fold(0, u64::saturating_add)
    };
    let (due, suspects) = (total(|depth| depth.due), total(|depth| depth.suspects));
    let help = format!("Jobs that could start now; {MOST_COUNTED} of a kind stands for more.");
    text.head("privatix_jobs_due", "gauge", &help);
    for lane in lanes {
        text.line("privatix_jobs_due", &[("lane", lane.lane)], due(&of(lane)));
    }
    text.head(
        "privatix_jobs_oldest_due_seconds",
        "gauge",
        "For how long the oldest due job has been due, in seconds.",
    );
    for lane in lanes {
        let oldest = of(lane).iter().filter_map(|depth| depth.oldest_due).min();
        let waits = oldest.and_then(|due| now.duration_since(due).ok()).unwrap_or_default();
        text.line("privatix_jobs_oldest_due_seconds", &[("lane", lane.lane)], waits.as_secs_f64());
    }
    text.head("privatix_jobs_suspect", "gauge", "Jobs that ran at repeated crashes, and run alone now.");
    for lane in lanes {
        text.line("privatix_jobs_suspect", &[("lane", lane.lane)], suspects(&of(lane)));
    }
    let help = "Jobs that wait for a version of the daemon that handles their kind.";
    text.head("privatix_jobs_without_handler", "gauge", help);
    for (kind, count) in privatix_jobs::unhandled(conn, &kinds).await? {
        text.line("privatix_jobs_without_handler", &[("kind", &kind)], count);
    }
    text.head("privatix_jobs_running", "gauge", "Jobs that run.");
    for lane in lanes {
        text.line("privatix_jobs_running", &[("lane", lane.lane)], lane.running);
    }
    let help = "Runs of jobs since the start, by how they ended; runs that were put back are not counted.";
    text.head("privatix_jobs_ended_total", "counter", help);
    for lane in lanes {
        for (outcome, count) in [("done", lane.done), ("retried", lane.retried), ("failed", lane.failed)] {
            text.line("privatix_jobs_ended_total", &[("lane", lane.lane), ("outcome", outcome)], count);
        }
    }
    let help = "From when a job could start until it did.";
    text.histograms("privatix_jobs_wait_seconds", help, lanes.iter().map(|lane| (lane.lane, &lane.wait)));
    let help = "From the start of a job's run until its end.";
    text.histograms("privatix_jobs_run_seconds", help, lanes.iter().map(|lane| (lane.lane, &lane.run)));
    Ok(())
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One for each lane.
    fn histograms<'a>(
        &mut self,
        name: &str,
        help: &str,
        lanes: impl Iterator<Item = (&'a str, &'a Histogram)>,
    ) {
        self.head(name, "histogram", help);
        let buckets = format!("{name}_bucket");
        for (lane, histogram) in lanes {
            let mut below = 0_u64;
            for (bound, count) in Histogram::BOUNDS.iter().zip(histogram.counts) {
                below = below.saturating_add(count);
                let bound = bound.as_secs_f64().to_string();
                self.line(&buckets, &[("lane", lane), ("le", &bound)], below);
            }
            self.line(&buckets, &[("lane", lane), ("le", "+Inf")], histogram.total());
            self.line(&format!("{name}_sum"), &[("lane", lane)], histogram.sum.as_secs_f64());
            self.line(&format!("{name}_count"), &[("lane", lane)], histogram.total());
        }
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buckets_of_a_histogram_count_all_that_is_shorter() {
        let mut histogram = Histogram::default();
        (histogram.counts[0], histogram.counts[4], histogram.longer) = (2, 3, 1);
        let mut text = Text::default();
        text.histograms("wait_seconds", "Waits.", [("money", &histogram)].into_iter());
        for line in [
            r#"wait_seconds_bucket{lane="money",le="0.01"} 2"#,
            r#"wait_seconds_bucket{lane="money",le="1"} 5"#,
            r#"wait_seconds_bucket{lane="money",le="300"} 5"#,
            r#"wait_seconds_bucket{lane="money",le="+Inf"} 6"#,
            r#"wait_seconds_count{lane="money"} 6"#,
        ] {
            assert!(text.0.lines().any(|shown| shown == line), "{line} is not in {}", text.0);
        }
    }
}
