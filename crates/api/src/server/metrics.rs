//! The metrics page, in Prometheus' text format.

use std::fmt::Write;
use std::time::SystemTime;

use privatix_jobs::JobStatus;
use privatix_node::{Node, NodeError};
use privatix_store::{channels, vouchers};

use super::health;
use crate::node::{Balances, Health, TorStatus};

/// What the page shows beside what the node knows by itself.
pub(crate) struct Figures<'a> {
    pub(crate) health: Health,
    pub(crate) balances: Option<&'a Balances>,
    pub(crate) tor: Option<&'a TorStatus>,
    pub(crate) lost_log_lines: u64,
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
    text.head("privatix_chain_reorgs_total", "counter", "Reorganisations undone since the start.");
    text.line("privatix_chain_reorgs_total", &[], chain.reorgs);
    text.head("privatix_transactions_open", "gauge", "Transactions that are not final.");
    text.line("privatix_transactions_open", &[], chain.open_transactions);

    if let Err(error) = stored(node, &mut text).await {
        tracing::warn!(%error, "the metrics page lacks what is stored");
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
pub(crate) fn starting(health: &Health, tor: &TorStatus, lost_log_lines: u64) -> String {
    let mut text = Text::default();
    of_process(&mut text, health, Some(tor), lost_log_lines);
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

async fn stored(node: &Node, text: &mut Text) -> Result<(), NodeError> {
    let mut conn = node.db().read().await?;
    text.head("privatix_channels", "gauge", "Channels.");
    for (status, service, count) in channels::counts(&mut conn).await? {
        text.line("privatix_channels", &[("status", status.as_str()), ("service", service.as_str())], count);
    }
    text.head("privatix_vouchers_total", "counter", "Vouchers signed or accepted.");
    text.line("privatix_vouchers_total", &[], vouchers::count(&mut conn).await?);

    text.head("privatix_jobs", "gauge", "Jobs that are not done.");
    let jobs = privatix_jobs::counts(&mut conn).await?;
    for (status, count) in [
        (JobStatus::Waiting, jobs.waiting),
        (JobStatus::Running, jobs.running),
        (JobStatus::Failed, jobs.failed),
    ] {
        text.line("privatix_jobs", &[("status", status.as_str())], count);
    }
    Ok(())
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}
