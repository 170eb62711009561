//! The orders about channels and offerings.

use clap::Subcommand;
use privatix_api::node::{GetOrder, ListOrders, OrderState, TokenUnit};
use privatix_api::{ApiClient, JobId};
use privatix_channel::{ChannelId, OfferingHash};

use super::channels::closed;
use super::token_unit;
use crate::DaemonError;
use crate::output::{Output, ago, or_dash, pairs, table, time};

/// `orders`
#[derive(Subcommand, Debug)]
pub(crate) enum OrdersCommand {
    /// Lists orders, newest first
    List {
        /// About this channel
        #[arg(long, value_name = "CHANNEL")]
        channel: Option<ChannelId>,
        /// About this offering of ours
        #[arg(long, value_name = "OFFERING", conflicts_with = "channel")]
        offering: Option<OfferingHash>,
        /// Older than this one
        #[arg(long, value_name = "ORDER")]
        before: Option<u64>,
        /// At most this many
        #[arg(long, value_name = "NUMBER")]
        limit: Option<u32>,
    },
    /// Shows an order: who gave it, what became of it, and what carried it out
    Show {
        /// The order
        order: u64,
    },
}

impl OrdersCommand {
    pub(crate) async fn carry_out(self, api: &ApiClient, output: Output) -> Result<(), DaemonError> {
        let unit = token_unit(api, output).await;
        match self {
            Self::List { channel, offering, before, limit } => {
                let ask = ListOrders { channel, offering, before, limit };
                output.show(&api.call(&ask).await?, |all| list(all, &unit));
            }
            Self::Show { order } => {
                output.show(&api.call(&GetOrder { order }).await?, |order| details(order, &unit));
            }
        }
        Ok(())
    }
}

fn list(orders: &[OrderState], unit: &TokenUnit) -> String {
    let rows = orders.iter().map(|order| {
        [
            order.order.to_string(),
            order.what.clone(),
            or_dash(order.amount.map(|amount| unit.show(amount))),
            about(order),
            order.by.clone(),
            ago(order.at),
            outcome(order),
        ]
    });
    table(["order", "what", "amount", "about", "by", "given", "outcome"], rows)
}

fn details(order: &OrderState, unit: &TokenUnit) -> String {
    pairs([
        ("order", order.order.to_string()),
        ("what", order.what.clone()),
        ("amount", or_dash(order.amount.map(|amount| unit.show(amount)))),
        ("about", about(order)),
        ("given", format!("{} by {}", time(order.at), order.by)),
        ("key", or_dash(order.key.as_ref())),
        ("outcome", outcome(order)),
        ("ended", or_dash(order.ended_at.map(time))),
        ("transaction", or_dash(order.transaction)),
        ("job", or_dash(order.job.as_ref().map(JobId::to_string))),
    ])
}

/// What an order is about, for people.
fn about(order: &OrderState) -> String {
    match (order.channel, order.offering) {
        (Some(channel), _) => format!("channel {channel}"),
        (None, offering) => or_dash(offering.map(|offering| format!("offering {offering}"))),
    }
}

/// What became of an order, for people.
fn outcome(order: &OrderState) -> String {
    if let Some(closure) = order.closure {
        return format!("closed {}", closed(closure));
    }
    match (order.is_done, &order.trouble) {
        (None, _) => "under way".to_owned(),
        (Some(true), _) => "done".to_owned(),
        (Some(false), trouble) => format!("not done: {}", or_dash(trouble.as_ref())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_shown_with_what_became_of_it() {
        let order = |rest: serde_json::Value| -> OrderState {
            let mut order = serde_json::json!({
                "order": 3, "what": "topUp", "amount": "5", "by": "user", "at": "2026-01-01T00:00:00Z",
            });
            order.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            serde_json::from_value(order).unwrap()
        };
        let failed = serde_json::json!({ "isDone": false, "trouble": "no tokens" });
        for (rest, expected) in [
            (serde_json::json!({}), "under way"),
            (serde_json::json!({ "isDone": true, "endedAt": "2026-01-01T00:00:01Z" }), "done"),
            (
                serde_json::json!({ "isDone": true, "closure": "by_agent", "transaction": 7 }),
                "closed by the agent",
            ),
            (failed, "not done: no tokens"),
        ] {
            let order = order(rest);
            let unit = TokenUnit::default();
            let (line, shown) = (list(std::slice::from_ref(&order), &unit), details(&order, &unit));
            assert!(line.contains(expected) && shown.contains(expected), "{line}\n{shown}");
            assert!(
                line.contains("topUp") && shown.contains("2026-01-01T00:00:00Z by user"),
                "{line}\n{shown}"
            );
        }
    }
}
