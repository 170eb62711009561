//! What the API answers while there is no role yet: how far the start is.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jsonrpsee::RpcModule;
use jsonrpsee::types::ErrorObjectOwned;
use privatix_node::Part;
use tokio::sync::watch;

use super::guard::Pages;
use super::health::reason_of;
use super::metrics;
use crate::node::{Check, CheckState, Health, TorStatus};
use crate::{ErrorCode, Failure, agent, client, node};

/// What a daemon waits for before its role can be made.
#[derive(Clone)]
pub(crate) struct Starting {
    /// The Tor that it reaches the chain endpoint through.
    pub(crate) tor: Option<watch::Receiver<TorStatus>>,
    /// The endpoint itself, with what is in its way: it is waited for once Tor is there.
    pub(crate) endpoint: Option<watch::Receiver<String>>,
    pub(crate) lost_log_lines: Arc<AtomicU64>,
}

impl Starting {
    /// Answers every method of either role with how far the start is.
    pub(crate) fn into_module(self) -> RpcModule<Self> {
        let mut module = RpcModule::new(self);
        for method in node::METHODS.iter().chain(agent::METHODS).chain(client::METHODS) {
            let refused = module.register_method(method, |_, starting, _| {
                let (_, message) = starting.waits();
                Err::<(), _>(ErrorObjectOwned::from(Failure::new(ErrorCode::Unavailable, message)))
            });
            if let Err(error) = refused {
                // A name in two lists, which the methods' own test finds.
                tracing::error!(%error, method, "a method of the control API is missing during the start");
            }
        }
        module
    }
}

impl Starting {
    /// The part that is waited for, and what is known of it.
    fn waits(&self) -> (Part, String) {
        if let Some(trouble) = &self.endpoint {
            let trouble = trouble.borrow().clone();
            let message = format!(
                "the daemon is starting: it waits for a chain endpoint, as it has never seen its contract: {trouble}"
            );
            return (Part::ChainEndpoint, message);
        }
        let message = self.tor.as_ref().map(|tor| waits(&tor.borrow()));
        (Part::Tor, message.unwrap_or_else(|| "the daemon is starting; try again".to_owned()))
    }
}

impl Pages for Starting {
    fn health(&self) -> Health {
        let (part, message) = self.waits();
        let check = Check { name: "view".into(), state: CheckState::Unknown, message: Some(message.clone()) };
        Health {
            live: true,
            checks: vec![check],
            reasons: vec![reason_of(part, message)],
            ..Health::default()
        }
    }

    fn metrics(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        let lost_log_lines = self.lost_log_lines.load(Ordering::Relaxed);
        let tor = self.tor.as_ref().map(|tor| tor.borrow().clone());
        let page = metrics::starting(&self.health(), tor.as_ref(), lost_log_lines);
        Box::pin(std::future::ready(page))
    }
}

fn waits(tor: &TorStatus) -> String {
    let TorStatus { bootstrap_percent: percent, stage, problem, .. } = tor;
    let waits = "the daemon is starting: it waits for Tor, through which it reaches the chain endpoint";
    match problem {
        _ if tor.ready => "the daemon is starting: Tor is ready; try again".to_owned(),
        Some(problem) => format!("{waits} ({percent} %): {problem}"),
        None => format!("{waits} ({percent} %: {stage})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starting(tor: TorStatus) -> Starting {
        Starting { tor: Some(watch::channel(tor).1), endpoint: None, lost_log_lines: Arc::default() }
    }

    #[test]
    fn the_health_page_shows_how_far_tor_is_and_what_is_in_its_way() {
        let shown = |tor| {
            let health = starting(tor).health();
            assert_eq!((health.live, health.ready, health.money_safe), (true, false, false));
            assert_eq!(health.reasons[0].part.as_str(), "tor");
            health.reasons[0].message.clone()
        };
        let under_way = TorStatus { bootstrap_percent: 35, stage: "loading".into(), ..TorStatus::default() };
        assert!(shown(under_way.clone()).contains("waits for Tor"));
        assert!(shown(under_way.clone()).contains("(35 %: loading)"));
        let stuck = TorStatus { problem: Some("no network; check it".into()), ..under_way.clone() };
        assert!(shown(stuck).contains("(35 %): no network; check it"));
        assert!(shown(TorStatus { ready: true, ..under_way }).contains("Tor is ready"));
    }

    #[test]
    fn the_health_page_shows_why_no_endpoint_can_be_asked() {
        let (trouble, endpoint) = watch::channel("node.example is unreachable".to_owned());
        let starting = Starting { endpoint: Some(endpoint), ..starting(TorStatus::default()) };
        for reason in ["node.example is unreachable", "it refuses the key"] {
            trouble.send_replace(reason.to_owned());
            let health = starting.health();
            assert_eq!((health.live, health.ready, health.money_safe), (true, false, false));
            assert_eq!(health.reasons[0].part.as_str(), "chain_endpoint");
            assert!(health.reasons[0].message.contains(reason), "{health:?}");
        }
    }

    #[tokio::test]
    async fn every_method_is_answered_with_how_far_the_start_is() {
        let module = starting(TorStatus { bootstrap_percent: 35, ..TorStatus::default() }).into_module();
        for method in node::METHODS.iter().chain(agent::METHODS).chain(client::METHODS) {
            let request = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{}}}}"#);
            let (answer, _) = module.raw_json_request(&request, 1).await.unwrap();
            let answer: serde_json::Value = serde_json::from_str(answer.get()).unwrap();
            assert_eq!(answer["error"]["data"]["code"], "unavailable", "{method}: {answer}");
            assert!(answer["error"]["message"].as_str().unwrap().contains("35 %"), "{answer}");
        }
    }

    #[tokio::test]
    async fn the_metrics_page_shows_a_daemon_that_is_not_ready() {
        let page = starting(TorStatus::default()).metrics().await;
        for line in ["privatix_ready 0", "privatix_tor_ready 0"] {
            assert!(page.lines().any(|shown| shown == line), "{page}");
        }
    }
}
