//! Whether the daemon can do its work, without asking anybody: every part tells by itself how it is.

use privatix_adapter as adapter;
use privatix_chain::{MonitorState, MonitorStatus, TransactorState};
use privatix_node::Node;

use crate::node::{ChainStatus, Health, Reason};

pub(crate) fn health(node: &Node) -> Health {
    let mut health = Health::default();
    let mut hindered = |part: &str, message: String| {
        health.reasons.push(Reason { part: part.to_owned(), message });
    };
    match node.monitor() {
        None => hindered("chain_monitor", "the node is starting; try again".into()),
        Some(status) => {
            if let Some(reason) = monitor_hindered(&status) {
                hindered("chain_monitor", reason);
            }
        }
    }
    if let Ok(transactor) = node.transactor()
        && let TransactorState::Stalled { reason, failures, .. } = &transactor.status().borrow().state
    {
        hindered("transactor", format!("{reason} ({failures} failures in a row)"));
    }
    let changes = node.services().host().health_changes();
    let plugin = changes.borrow().clone();
    match plugin {
        None => hindered("adapter", "the plug-in has not said yet how it is; try again".into()),
        Some(adapter::Health::Well) => {}
        Some(adapter::Health::Degraded { reason }) => {
            health.warnings.push(Reason { part: "adapter".into(), message: reason });
        }
        Some(adapter::Health::Failed { reason }) => hindered("adapter", reason),
        Some(other) => hindered("adapter", format!("{other:?}")),
    }
    health.warnings.extend(
        node.notices().all().into_iter().map(|(part, message)| Reason { part: part.to_owned(), message }),
    );
    health.ready = health.reasons.is_empty();
    health
}

fn monitor_hindered(status: &MonitorStatus) -> Option<String> {
    match &status.state {
        MonitorState::Following => None,
        MonitorState::Idle => Some("it has not heard from the chain endpoint yet; try again".into()),
        MonitorState::CatchingUp => {
            let block = |block: Option<u64>| block.map_or("?".into(), |block| block.to_string());
            let (processed, confirmed) = (block(status.processed), block(status.confirmed));
            Some(format!("it is catching up: block {processed} of {confirmed}; wait"))
        }
        MonitorState::Stalled { reason, failures, .. } => {
            Some(format!("{reason} ({failures} failures in a row)"))
        }
        other => Some(format!("{other:?}")),
    }
}

pub(crate) fn chain_status(node: &Node) -> ChainStatus {
    let monitor = node.monitor();
    let state = match monitor.as_ref().map(|status| &status.state) {
        None | Some(MonitorState::Idle) => "idle",
        Some(MonitorState::CatchingUp) => "catching_up",
        Some(MonitorState::Following) => "following",
        Some(_) => "stalled",
    };
    let open = node.transactor().map_or(0, |transactor| transactor.status().borrow().open);
    ChainStatus {
        state: state.to_owned(),
        head: monitor.as_ref().and_then(|status| status.head),
        confirmed: monitor.as_ref().and_then(|status| status.confirmed),
        processed: monitor.as_ref().and_then(|status| status.processed),
        reorgs: monitor.as_ref().map_or(0, |status| status.reorgs),
        open_transactions: u64::try_from(open).unwrap_or(u64::MAX),
    }
}
