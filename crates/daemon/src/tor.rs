//! Tor beside a role: what runs for it, and what people and programs see of it.

use std::fmt;

use privatix_api::node::{OnionStatus, TorStatus};
use privatix_chain::ProxyUrl;
use privatix_node::{Notices, Part};
use privatix_somc::SomcAddress;
use privatix_tor as tor;
use privatix_tor::{OnionKeys, OnionListener, OnionSettings, Tor, TorProblem, TorTransport};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::DaemonError;
use crate::error::with_causes;

/// The Tor client of this process. It works until the role has ended.
pub struct DaemonTor {
    tor: Tor,
    keys: OnionKeys,
    onion: watch::Sender<Option<tor::OnionStatus>>,
    background: Background,
}

/// What runs beside the role, until it has ended.
#[derive(Clone, Default)]
pub(crate) struct Background {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Background {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Ends it all.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl DaemonTor {
    /// Starts it, and has `notices` and the watch show how it is.
    pub(crate) fn start(
        tor: Tor,
        keys: OnionKeys,
        notices: &Notices,
        background: &Background,
    ) -> (Self, watch::Receiver<TorStatus>) {
        let onion = watch::Sender::new(None);
        let (shown, seen) = watch::channel(TorStatus::default());
        background.spawn({
            let (tor, stop) = (tor.clone(), background.stop());
            async move { tor.run(stop).await }
        });
        background.spawn({
            let showing = show(tor.status(), onion.subscribe(), shown, notices.clone());
            let stop = background.stop();
            async move {
                let _ = stop.run_until_cancelled(showing).await;
            }
        });
        (Self { tor, keys, onion, background: background.clone() }, seen)
    }

    /// Starts the account's onion service. Returns its address and what accepts its connections.
    ///
    /// # Errors
    /// [`DaemonError::Usage`].
    pub fn onion_service(
        &self,
        settings: &OnionSettings,
    ) -> Result<(SomcAddress, OnionListener), DaemonError> {
        let (service, listener) = self
            .tor
            .onion_service(&self.keys, settings)
            .map_err(|error| DaemonError::of_tor("somc", error))?;
        let (address, mut status) = (service.address().clone(), service.status());
        self.background.spawn(service.run(self.background.stop()));
        let onion = self.onion.clone();
        self.background.spawn(async move {
            // It ends with the service.
            loop {
                onion.send_replace(Some(status.borrow_and_update().clone()));
                if status.changed().await.is_err() {
                    break;
                }
            }
        });
        Ok((address, listener))
    }

    /// Proves to private services that this account may find them.
    ///
    /// # Errors
    /// [`DaemonError::Usage`].
    pub fn prove_to(&self, services: &[SomcAddress]) -> Result<(), DaemonError> {
        services.iter().try_for_each(|service| {
            self.tor.prove_to(service, &self.keys).map_err(|error| DaemonError::Usage {
                what: "somc.private_agents".into(),
                reason: error.to_string(),
            })
        })
    }

    /// A local port that leads to `host` over Tor.
    pub(crate) async fn proxy_to(&self, host: &str) -> Result<ProxyUrl, DaemonError> {
        let proxy = self.tor.proxy_to(host).await.map_err(DaemonError::Tor)?;
        let url = format!("socks5h://{}", proxy.address()).parse()?;
        self.background.spawn(proxy.run(self.background.stop()));
        Ok(url)
    }

    /// Waits until the network can be used.
    pub(crate) async fn ready(&self) {
        // It lives as long as the client.
        let _ = self.tor.status().wait_for(|status| status.ready).await;
    }

    /// The way to agents.
    pub fn transport(&self) -> TorTransport {
        self.tor.transport()
    }
}

impl fmt::Debug for DaemonTor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DaemonTor").field("tor", &self.tor).finish_non_exhaustive()
    }
}

/// Shows that there is no Tor in this run, why, and what `remains` without it.
pub(crate) fn unusable(
    error: &tor::TorError,
    remains: &str,
    notices: &Notices,
) -> watch::Receiver<TorStatus> {
    let problem = with_causes(error);
    tracing::warn!("{problem}; until the next start {remains}");
    notices.set(Part::Tor, Some(format!("{problem}; then restart the daemon: until then {remains}")));
    watch::channel(TorStatus { problem: Some(problem), ..TorStatus::default() }).1
}

/// Shows changes until either source has ended.
async fn show(
    mut tor: watch::Receiver<tor::TorStatus>,
    mut onion: watch::Receiver<Option<tor::OnionStatus>>,
    shown: watch::Sender<TorStatus>,
    notices: Notices,
) {
    loop {
        let now = status(&tor.borrow_and_update(), onion.borrow_and_update().as_ref());
        notices.set(Part::Tor, notice(&now));
        shown.send_replace(now);
        let gone = tokio::select! {
            changed = tor.changed() => changed.is_err(),
            changed = onion.changed() => changed.is_err(),
        };
        if gone {
            return;
        }
    }
}

fn status(tor: &tor::TorStatus, onion: Option<&tor::OnionStatus>) -> TorStatus {
    TorStatus {
        bootstrap_percent: tor.percent,
        ready: tor.ready,
        stage: tor.stage.clone(),
        problem: tor.problem.as_ref().map(problem),
        onion: onion.map(|onion| OnionStatus {
            address: onion.address.to_string(),
            reachable: onion.reachable,
            last_reached: onion.last_reached,
            problem: onion.problem.clone(),
            restarts: onion.restarts,
        }),
    }
}

/// What is in Tor's way, with the settings that can help.
fn problem(problem: &TorProblem) -> String {
    let settings = match problem {
        TorProblem::Filtered(_) => " (tor.bridges, tor.transports)",
        TorProblem::Stalled(_) => " (tor.bridges)",
        _ => "",
    };
    format!("{problem}{settings}")
}

/// What an operator should know of it, if anything.
fn notice(status: &TorStatus) -> Option<String> {
    if !status.ready {
        let percent = status.bootstrap_percent;
        return Some(match &status.problem {
            Some(problem) => format!("{problem} ({percent} % of the start is done)"),
            None => format!("Tor is starting: {}", status.stage),
        });
    }
    let onion = status.onion.as_ref().filter(|onion| !onion.reachable)?;
    Some(match &onion.problem {
        Some(problem) if onion.last_reached.is_some() || onion.restarts > 0 => {
            format!("clients cannot reach the onion service now: {problem}")
        }
        _ => "the onion service is being published; clients cannot reach it yet".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn onion(reachable: bool, before: bool) -> OnionStatus {
        OnionStatus {
            address: "tor:x.onion:80".into(),
            reachable,
            last_reached: before.then_some(SystemTime::UNIX_EPOCH),
            problem: (!reachable).then(|| "why not".to_owned()),
            restarts: 0,
        }
    }

    #[test]
    fn the_settings_that_can_help_are_named() {
        for (found, named) in [
            (TorProblem::Filtered("x".into()), "(tor.bridges, tor.transports)"),
            (TorProblem::Stalled("x".into()), "(tor.bridges)"),
        ] {
            assert!(problem(&found).ends_with(named), "{found}");
        }
        assert!(!problem(&TorProblem::Offline("x".into())).contains("tor."));
    }

    #[test]
    fn an_operator_sees_how_far_tor_is_and_nothing_once_all_is_well() {
        let starting =
            TorStatus { bootstrap_percent: 45, stage: "45%: reading".into(), ..TorStatus::default() };
        assert_eq!(notice(&starting).as_deref(), Some("Tor is starting: 45%: reading"));
        let stuck = TorStatus { problem: Some("no network".into()), ..starting };
        assert_eq!(notice(&stuck).as_deref(), Some("no network (45 % of the start is done)"));
        let ready = TorStatus { bootstrap_percent: 100, ready: true, ..TorStatus::default() };
        assert_eq!(notice(&ready), None);
        let with = |onion| TorStatus { onion: Some(onion), ..ready.clone() };
        assert_eq!(notice(&with(onion(true, true))), None);
        assert!(notice(&with(onion(false, false))).unwrap().contains("being published"));
        assert!(
            notice(&with(onion(false, true)))
                .unwrap()
                .contains("cannot reach the onion service now: why not")
        );
    }
}
