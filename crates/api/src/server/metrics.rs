//! The metrics page, in Prometheus' text format.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use privatix_adapter::Role;
use privatix_chain::{EndpointStatus, Standing};
use privatix_jobs::{Depth, Histogram, LaneStats, MOST_COUNTED};
use privatix_market::Runway;
use privatix_node::{Money, Node, NodeError};

use super::health;
use super::outlook::Outlook;
use crate::node::{Balances, ChainStatus, Health, TorStatus};

/// What the page shows beside what the node knows by itself.
pub(crate) struct Figures<'a> {
    pub(crate) health: Health,
    pub(crate) balances: Option<&'a Balances>,
    pub(crate) tor: Option<&'a TorStatus>,
    pub(crate) lost_log_lines: u64,
    /// The last look at the open transactions.
    pub(crate) outlook: Option<Outlook>,
}

/// What the page shows of the node.
struct OfNode {
    side: Role,
    chain: ChainStatus,
    /// The label and the standing of each.
    endpoints: Vec<(String, &'static str)>,
    runway: Option<Runway>,
    money: Option<Money>,
    gas_spent: u128,
    /// What the database has; None where it could not be read.
    work: Option<Work>,
}

/// What the page shows of jobs.
struct Work {
    failed: u64,
    lanes: Vec<Lane>,
    /// Jobs of kinds that this version does not handle.
    unhandled: Vec<(String, u64)>,
}

/// What the page shows of a lane of jobs.
struct Lane {
    name: &'static str,
    due: u64,
    /// For how long the oldest due job has been due.
    oldest_due: Duration,
    suspects: u64,
    running: u64,
    /// Runs by how they ended.
    done: u64,
    retried: u64,
    failed: u64,
    wait: Histogram,
    run: Histogram,
}

impl Lane {
    fn of(stats: LaneStats, depths: &[Depth], now: SystemTime) -> Self {
        let LaneStats { lane: name, kinds, running, done, retried, failed, wait, run, .. } = stats;
        let depths = || depths.iter().filter(|depth| kinds.contains(&depth.kind));
        let total = |count: fn(&Depth) -> u64| depths().map(count).fold(0, u64::saturating_add);
        let oldest = depths().filter_map(|depth| depth.oldest_due).min();
        Self {
            name,
            due: total(|depth| depth.due),
            oldest_due: oldest.and_then(|due| now.duration_since(due).ok()).unwrap_or_default(),
            suspects: total(|depth| depth.suspects),
            running,
            done,
            retried,
            failed,
            wait,
            run,
        }
    }
}

pub(crate) async fn page(node: &Node, figures: &Figures<'_>) -> String {
    let work = work(node).await.inspect_err(|error| tracing::warn!(%error, "the metrics page lacks jobs"));
    let of_node = OfNode {
        side: node.side(),
        chain: health::chain_status(node),
        endpoints: node.endpoints().status().into_iter().map(endpoint).collect(),
        runway: node.reserve().map(|reserve| reserve.runway),
        money: node.money(),
        gas_spent: node.gas_spent(),
        work: work.ok(),
    };
    written(&of_node, figures)
}

async fn work(node: &Node) -> Result<Work, NodeError> {
    let stats = node.jobs().map(|jobs| jobs.lanes()).unwrap_or_default();
    let kinds: Vec<&'static str> = stats.iter().flat_map(|lane| lane.kinds.iter().copied()).collect();
    let mut conn = node.db().read().await?;
    let failed = privatix_jobs::failed_count(&mut conn).await?;
    // Before the processor is made, no kind is known.
    let (mut depths, mut unhandled) = (Vec::new(), Vec::new());
    let now = SystemTime::now();
    if !stats.is_empty() {
        depths = privatix_jobs::depths(&mut conn, &kinds, now).await?;
        unhandled = privatix_jobs::unhandled(&mut conn, &kinds).await?;
    }
    let lanes = stats.into_iter().map(|stats| Lane::of(stats, &depths, now)).collect();
    Ok(Work { failed, lanes, unhandled })
}

fn written(of_node: &OfNode, figures: &Figures<'_>) -> String {
    let OfNode { side, chain, endpoints, runway, money, gas_spent, work } = of_node;
    let mut text = Text::default();
    text.head("privatix_info", "gauge", "The daemon.");
    let (role, version) = (side.to_string(), env!("CARGO_PKG_VERSION").to_owned());
    text.line("privatix_info", &[("role", &role), ("version", &version)], 1);

    of_process(&mut text, &figures.health, figures.tor, figures.lost_log_lines);

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
    of_endpoints(endpoints, &mut text);
    if let Some(days) = runway.and_then(Runway::days) {
        let help = "Whole days for which the ether lasts, once the closes of the open channels are paid.";
        text.head("privatix_gas_runway_days", "gauge", help);
        text.line("privatix_gas_runway_days", &[], days);
    }
    if let Some(money) = money {
        of_money(*side, money, &mut text);
    }
    text.head("privatix_gas_spent_wei_total", "counter", "Wei paid for gas since the start.");
    text.line("privatix_gas_spent_wei_total", &[], gas_spent);
    if let Some(work) = work {
        of_work(work, &mut text);
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

/// An endpoint's label, which has no credentials, and its standing in a word.
fn endpoint(EndpointStatus { label, standing, .. }: EndpointStatus) -> (String, &'static str) {
    let standing = match standing {
        Standing::Good => "good",
        Standing::Resting { .. } => "resting",
        Standing::Quarantined { .. } => "quarantined",
        _ => "unknown",
    };
    (label, standing)
}

fn of_endpoints(endpoints: &[(String, &'static str)], text: &mut Text) {
    let help = "The chain endpoints: 1 beside the standing that each has.";
    text.head("privatix_chain_endpoint", "gauge", help);
    for (label, standing) in endpoints {
        text.line("privatix_chain_endpoint", &[("endpoint", label), ("standing", standing)], 1);
    }
}

fn of_work(work: &Work, text: &mut Text) {
    let help = format!("Jobs that failed for good; {MOST_COUNTED} stands for more.");
    text.head("privatix_jobs_failed", "gauge", &help);
    text.line("privatix_jobs_failed", &[], work.failed);
    if !work.lanes.is_empty() {
        of_lanes(work, text);
    }
}

fn of_outlook(outlook: &Outlook, text: &mut Text) {
    let help = "For how long the oldest open transaction has been open, in seconds.";
    text.head("privatix_transactions_oldest_open_seconds", "gauge", help);
    let waits = outlook.oldest.and_then(|since| since.elapsed().ok()).unwrap_or_default();
    text.line("privatix_transactions_oldest_open_seconds", &[], waits.as_secs());
    text.head("privatix_transactions_obstructed", "gauge", "Open transactions that do not advance.");
    text.line("privatix_transactions_obstructed", &[], outlook.obstructed);
    if let Some(urgent) = &outlook.urgent {
        let help = "Seconds until the deadline of the open transaction that has the smallest share of its time left.";
        text.head("privatix_transactions_urgent_left_seconds", "gauge", help);
        text.line("privatix_transactions_urgent_left_seconds", &[], urgent.left);
    }
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

fn of_lanes(Work { lanes, unhandled, .. }: &Work, text: &mut Text) {
    let help = format!("Jobs that could start now; {MOST_COUNTED} of a kind stands for more.");
    text.head("privatix_jobs_due", "gauge", &help);
    for lane in lanes {
        text.line("privatix_jobs_due", &[("lane", lane.name)], lane.due);
    }
    text.head(
        "privatix_jobs_oldest_due_seconds",
        "gauge",
        "For how long the oldest due job has been due, in seconds.",
    );
    for lane in lanes {
        let waits = lane.oldest_due.as_secs_f64();
        text.line("privatix_jobs_oldest_due_seconds", &[("lane", lane.name)], waits);
    }
    text.head("privatix_jobs_suspect", "gauge", "Jobs that ran at repeated crashes, and run alone now.");
    for lane in lanes {
        text.line("privatix_jobs_suspect", &[("lane", lane.name)], lane.suspects);
    }
    let help = "Jobs that wait for a version of the daemon that handles their kind.";
    text.head("privatix_jobs_without_handler", "gauge", help);
    for (kind, count) in unhandled {
        text.line("privatix_jobs_without_handler", &[("kind", kind)], count);
    }
    text.head("privatix_jobs_running", "gauge", "Jobs that run.");
    for lane in lanes {
        text.line("privatix_jobs_running", &[("lane", lane.name)], lane.running);
    }
    let help = "Runs of jobs since the start, by how they ended; runs that were put back are not counted.";
    text.head("privatix_jobs_ended_total", "counter", help);
    for lane in lanes {
        for (outcome, count) in [("done", lane.done), ("retried", lane.retried), ("failed", lane.failed)] {
            text.line("privatix_jobs_ended_total", &[("lane", lane.name), ("outcome", outcome)], count);
        }
    }
    let help = "From when a job could start until it did.";
    text.histograms("privatix_jobs_wait_seconds", help, lanes.iter().map(|lane| (lane.name, &lane.wait)));
    let help = "From the start of a job's run until its end.";
    text.histograms("privatix_jobs_run_seconds", help, lanes.iter().map(|lane| (lane.name, &lane.run)));
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
        let quoted = |value: &str| value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let labels: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}=\"{}\"", quoted(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use alloy::primitives::{Address, U256};

    use super::*;
    use crate::node::{Check, CheckState, OnionStatus};
    use crate::server::outlook::{Gas, Urgent};

    /// A node of which everything is known that the page can show.
    fn full() -> OfNode {
        let mut money = Money::default();
        money.totals.channels.insert(("open", "active"), 2);
        (money.totals.earned, money.totals.enforceable, money.totals.settled) = (90, 60, 30);
        (money.totals.vouchers, money.in_flight) = (8, 20);
        let lane = Lane {
            name: "money",
            due: 3,
            oldest_due: Duration::from_millis(1_500),
            suspects: 1,
            running: 2,
            done: 5,
            retried: 6,
            failed: 7,
            wait: Histogram::default(),
            run: Histogram::default(),
        };
        OfNode {
            side: Role::Agent,
            chain: ChainStatus {
                state: "following".into(),
                head: Some(100),
                head_time: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000)),
                head_age: Some(12),
                view_age: Some(13),
                freshness: Some("fresh".into()),
                confirmed: Some(95),
                processed: Some(94),
                unsearched: Some(50),
                reorgs: 1,
                open_transactions: 4,
            },
            endpoints: vec![("https://one.example".into(), "good"), ("a \"b\"".into(), "quarantined")],
            runway: Some(Runway::Days(30)),
            money: Some(money),
            gas_spent: 77,
            work: Some(Work { failed: 9, lanes: vec![lane], unhandled: vec![("old".into(), 11)] }),
        }
    }

    fn full_page() -> String {
        let gas =
            |balance: u64, needed: u64| Ok(Gas { balance: U256::from(balance), needed: U256::from(needed) });
        let outlook = Outlook {
            gas: gas(500, 400),
            rescue: Some(gas(300, 1)),
            urgent: Some(Urgent { id: "7".into(), kind: "close_channel".into(), left: 321, window: 900 }),
            oldest: Some(SystemTime::UNIX_EPOCH),
            obstructed: 3,
            damaged: Vec::new(),
        };
        let health = Health {
            live: true,
            checks: vec![Check { name: "reserve".into(), state: CheckState::AtRisk, message: None }],
            ..Health::default()
        };
        let balances = Balances {
            account: Address::ZERO,
            ether: U256::from(1),
            wallet: 2_u64.into(),
            contract: 3_u64.into(),
            token_unit: crate::node::TokenUnit::default(),
        };
        let onion = OnionStatus {
            address: "a.onion".into(),
            reachable: true,
            last_reached: None,
            problem: None,
            restarts: 2,
        };
        let tor = TorStatus { ready: true, onion: Some(onion), ..TorStatus::default() };
        let figures = Figures {
            health,
            balances: Some(&balances),
            tor: Some(&tor),
            lost_log_lines: 6,
            outlook: Some(outlook),
        };
        written(&full(), &figures)
    }

    #[test]
    fn the_page_shows_each_figure() {
        let page = full_page();
        for line in [
            "privatix_live 1",
            r#"privatix_check{name="reserve",state="atRisk"} 1"#,
            "privatix_chain_head_block 100",
            "privatix_chain_confirmed_block 95",
            "privatix_chain_processed_block 94",
            "privatix_chain_unsearched_blocks 50",
            "privatix_chain_head_timestamp_seconds 1000",
            "privatix_chain_head_age_seconds 12",
            "privatix_chain_view_age_seconds 13",
            "privatix_chain_reorgs_total 1",
            r#"privatix_chain_endpoint{endpoint="https://one.example",standing="good"} 1"#,
            r#"privatix_chain_endpoint{endpoint="a \"b\"",standing="quarantined"} 1"#,
            "privatix_transactions_open 4",
            "privatix_transactions_obstructed 3",
            "privatix_transactions_urgent_left_seconds 321",
            "privatix_gas_needed_wei 400",
            "privatix_gas_spent_wei_total 77",
            "privatix_gas_runway_days 30",
            "privatix_rescue_ether_wei 300",
            r#"privatix_channels{status="open",service="active"} 2"#,
            "privatix_vouchers_total 8",
            r#"privatix_money{state="earned"} 90"#,
            r#"privatix_money{state="enforceable"} 60"#,
            r#"privatix_money{state="settled"} 30"#,
            r#"privatix_money{state="in_flight"} 20"#,
            "privatix_jobs_failed 9",
            r#"privatix_jobs_due{lane="money"} 3"#,
            r#"privatix_jobs_oldest_due_seconds{lane="money"} 1.5"#,
            r#"privatix_jobs_suspect{lane="money"} 1"#,
            r#"privatix_jobs_running{lane="money"} 2"#,
            r#"privatix_jobs_ended_total{lane="money",outcome="done"} 5"#,
            r#"privatix_jobs_ended_total{lane="money",outcome="retried"} 6"#,
            r#"privatix_jobs_ended_total{lane="money",outcome="failed"} 7"#,
            r#"privatix_jobs_without_handler{kind="old"} 11"#,
            r#"privatix_balance{of="ether"} 1"#,
            r#"privatix_balance{of="wallet"} 2"#,
            r#"privatix_balance{of="contract"} 3"#,
            "privatix_tor_ready 1",
            "privatix_onion_reachable 1",
            "privatix_onion_restarts_total 2",
            "privatix_log_lines_lost_total 6",
        ] {
            assert!(page.lines().any(|shown| shown == line), "{line} is not in {page}");
        }
        let oldest =
            page.lines().find_map(|line| line.strip_prefix("privatix_transactions_oldest_open_seconds "));
        assert!(oldest.is_some_and(|seconds| seconds.parse::<u64>().unwrap() > 1_000_000_000), "{page}");
    }

    /// The table of docs/daemons.md has the metrics in backticks in its first column, without their prefix.
    #[test]
    fn each_metric_is_documented_and_each_documented_one_exists() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/daemons.md");
        let docs = std::fs::read_to_string(docs).unwrap();
        let table = docs.lines().skip_while(|line| !line.starts_with("| metric, `privatix_...`")).skip(2);
        let table = table.take_while(|line| line.starts_with('|')).filter_map(|row| row.split('|').nth(1));
        let documented: BTreeSet<String> = table
            .flat_map(|cell| cell.split(" by ").next().unwrap_or_default().split('`').skip(1).step_by(2))
            .map(|name| format!("privatix_{name}"))
            .collect();
        let page = full_page();
        let shown: BTreeSet<String> = page
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .map(str::to_owned)
            .collect();
        assert_eq!(shown, documented, "the page on the left, docs/daemons.md on the right");
    }

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
