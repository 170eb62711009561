//! The metrics page, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;

use privatix_jobs::JobStatus;
use privatix_node::{Node, NodeError};

use super::health;
use crate::node::Balances;

/// Channels and jobs are counted among so many of the newest, which bounds what a look costs.
const COUNTED: u32 = 1_000;

pub(crate) async fn page(node: &Node, balances: Option<&Balances>) -> String {
    let mut text = Text::default();
    text.head("privatix_info", "gauge", "The daemon.");
    let (role, version) = (node.side().to_string(), env!("CARGO_PKG_VERSION").to_owned());
    text.line("privatix_info", &[("role", &role), ("version", &version)], 1);

    text.head("privatix_ready", "gauge", "1 when GET /health answers 200.");
    text.line("privatix_ready", &[], u8::from(health::health(node).ready));

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
    text.head("privatix_chain_reorgs_total", "counter", "Reorganisations undone since the start.");
    text.line("privatix_chain_reorgs_total", &[], chain.reorgs);
    text.head("privatix_transactions_open", "gauge", "Transactions that are not final.");
    text.line("privatix_transactions_open", &[], chain.open_transactions);

    if let Err(error) = stored(node, &mut text).await {
        tracing::warn!(%error, "the metrics page lacks what is stored");
    }
    if let Some(balances) = balances {
        text.head("privatix_balance", "gauge", "Base units of the token, or wei, at the last look.");
        text.line("privatix_balance", &[("of", "ether")], balances.ether);
        text.line("privatix_balance", &[("of", "wallet")], balances.wallet);
        text.line("privatix_balance", &[("of", "contract")], balances.contract);
    }
    text.0
}

async fn stored(node: &Node, text: &mut Text) -> Result<(), NodeError> {
    let mut statuses: BTreeMap<(&'static str, &'static str), u64> = BTreeMap::new();
    let (mut vouchers, mut paid) = (0_u64, 0_u128);
    for view in node.channels(COUNTED).await? {
        *statuses.entry((view.channel.status.as_str(), view.channel.service.as_str())).or_default() += 1;
        vouchers = vouchers.saturating_add(view.vouchers);
        paid = paid.saturating_add(view.paid.get());
    }
    text.head("privatix_channels", "gauge", "Channels, of the 1,000 newest.");
    for ((status, service), count) in statuses {
        text.line("privatix_channels", &[("status", status), ("service", service)], count);
    }
    text.head("privatix_vouchers", "gauge", "Vouchers signed or accepted on the 1,000 newest channels.");
    text.line("privatix_vouchers", &[], vouchers);
    text.head("privatix_paid", "gauge", "Base units paid by vouchers on the 1,000 newest channels.");
    text.line("privatix_paid", &[], paid);

    text.head("privatix_jobs", "gauge", "Jobs that are not done, at most 1,000 of each status.");
    let mut conn = node.db().read().await?;
    for status in [JobStatus::Waiting, JobStatus::Running, JobStatus::Failed] {
        let filter = privatix_jobs::Filter::new().status(status).limit(COUNTED);
        let page = privatix_jobs::list(&mut conn, &filter).await?;
        text.line("privatix_jobs", &[("status", status.as_str())], page.jobs.len());
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
