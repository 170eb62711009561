//! An adapter under test with its driver, and all that it reported.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use privatix_channel::{ChannelId, Usage};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::{Attempt, Driver, Flow};
use crate::{Adapter, Host, Provision, Provisioned, SessionId, SessionReport, Timeouts, usage_reports};

/// What a check found, in words.
pub(super) type Outcome<T = ()> = Result<T, String>;

/// Every report of one adapter instance, per channel and session, in order of arrival.
#[derive(Default)]
pub(super) struct Ledger {
    reports: Mutex<HashMap<(ChannelId, SessionId), Vec<SessionReport>>>,
    grew: Notify,
}

impl Ledger {
    /// The metered total of a channel over all its sessions.
    pub(super) fn total(&self, channel: ChannelId) -> Usage {
        self.sessions(channel).iter().map(|session| session.total).sum()
    }

    /// The newest report of each session of a channel.
    pub(super) fn sessions(&self, channel: ChannelId) -> Vec<SessionReport> {
        let reports = self.reports.lock();
        reports
            .iter()
            .filter(|((of, _), _)| *of == channel)
            .filter_map(|(_, all)| all.last().cloned())
            .collect()
    }

    /// Every report, session by session.
    pub(super) fn histories(&self) -> Vec<Vec<SessionReport>> {
        self.reports.lock().values().cloned().collect()
    }

    fn add(&self, batch: Vec<SessionReport>) {
        let mut reports = self.reports.lock();
        for report in batch {
            reports.entry((report.channel, report.session)).or_default().push(report);
        }
        self.grew.notify_waiters();
    }

    /// Waits until the ledger is as `wanted` says; `false` if it is not so in time.
    pub(super) async fn until(&self, patience: Duration, wanted: impl Fn(&Self) -> bool) -> bool {
        tokio::time::timeout(patience, async {
            loop {
                let grew = self.grew.notified();
                tokio::pin!(grew);
                grew.as_mut().enable();
                if wanted(self) {
                    return;
                }
                grew.await;
            }
        })
        .await
        .is_ok()
    }
}

/// A configured adapter instance under test.
pub(super) struct Instance {
    pub(super) host: Host,
    pub(super) ledger: Arc<Ledger>,
    collector: AbortOnDropHandle<()>,
}

/// A provisioned channel.
pub(super) struct Channel {
    pub(super) id: ChannelId,
    pub(super) provision: Provision,
    pub(super) provisioned: Provisioned,
}

/// What a check works with.
pub(super) struct Rig<'a> {
    new_adapter: &'a dyn Fn() -> Arc<dyn Adapter>,
    pub(super) driver: &'a dyn Driver,
    pub(super) instance: Instance,
}

impl<'a> Rig<'a> {
    pub(super) async fn new(
        new_adapter: &'a dyn Fn() -> Arc<dyn Adapter>,
        driver: &'a dyn Driver,
    ) -> Outcome<Self> {
        let instance = Instance::new(new_adapter(), driver).await?;
        Ok(Self { new_adapter, driver, instance })
    }

    /// Ends the present instance and puts a new one in its place, as a restart of the daemon would.
    pub(super) async fn restart(&mut self) -> Outcome {
        let next = Instance::new((self.new_adapter)(), self.driver);
        self.instance.host.shutdown().await.map_err(|error| error.to_string())?;
        self.instance = next.await?;
        Ok(())
    }

    pub(super) async fn dismantle(self) {
        // A failing shutdown is found by its own check.
        let _ = self.instance.host.shutdown().await;
        self.instance.collector.abort();
    }

    /// Makes a channel that no other check uses.
    pub(super) async fn channel(&self) -> Outcome<Channel> {
        self.provision(fresh_channel()).await
    }

    pub(super) async fn provision(&self, id: ChannelId) -> Outcome<Channel> {
        self.provision_as(self.driver.provision(id).await).await
    }

    pub(super) async fn provision_as(&self, provision: Provision) -> Outcome<Channel> {
        let provisioned =
            self.instance.host.provision(provision.clone()).await.map_err(|error| error.to_string())?;
        Ok(Channel { id: provision.channel(), provision, provisioned })
    }

    pub(super) async fn open(&self, channel: &Channel) -> Option<Box<dyn Flow>> {
        self.driver.open(&channel.provision, &channel.provisioned).await
    }

    /// Opens a flow and passes something through it; the meter is expected to show exactly that, beyond what it showed before.
    pub(super) async fn expect_passes(&self, channel: &Channel, when: &str) -> Outcome<Box<dyn Flow>> {
        let before = self.instance.ledger.total(channel.id);
        let mut flow = self.open(channel).await.ok_or_else(|| format!("the service is refused {when}"))?;
        match flow.pass(AMOUNT).await {
            Attempt::Passed(moved) if moved.is_zero() => {
                Err("the driver reports a pass of nothing".to_owned())
            }
            Attempt::Passed(moved) => {
                let expected = before.saturating_add(moved);
                self.expect_total(channel.id, expected, when).await?;
                Ok(flow)
            }
            stuck => Err(format!("the service does not pass {when}: {stuck:?}")),
        }
    }

    pub(super) async fn expect_total(&self, channel: ChannelId, expected: Usage, when: &str) -> Outcome {
        let ledger = &self.instance.ledger;
        if ledger.until(self.driver.patience(), |ledger| ledger.total(channel) >= expected).await {
            tokio::time::sleep(SETTLE).await; // a meter that shows too much may do so a little later
        }
        match ledger.total(channel) {
            total if total == expected => Ok(()),
            total => Err(format!("the meter shows {total} instead of {expected} {when}")),
        }
    }

    /// Neither a new flow nor this one passes or is metered.
    pub(super) async fn expect_cut(
        &self,
        channel: &Channel,
        under_way: Option<&mut Box<dyn Flow>>,
        when: &str,
    ) -> Outcome {
        tokio::time::sleep(SETTLE).await; // what was in a buffer may still be metered
        let before = self.instance.ledger.total(channel.id);
        if let Some(flow) = under_way
            && let Attempt::Passed(moved) = flow.pass(AMOUNT).await
        {
            return Err(format!("a flow under way still passes ({moved}) {when}"));
        }
        if let Some(mut flow) = self.open(channel).await
            && let Attempt::Passed(moved) = flow.pass(AMOUNT).await
        {
            return Err(format!("a new flow passes ({moved}) {when}"));
        }
        tokio::time::sleep(SETTLE).await;
        match self.instance.ledger.total(channel.id) {
            after if after == before => Ok(()),
            after => Err(format!("the meter went from {before} to {after} {when}")),
        }
    }
}

impl Instance {
    pub(super) async fn new(adapter: Arc<dyn Adapter>, driver: &dyn Driver) -> Outcome<Self> {
        let host = Host::with_timeouts(adapter, Timeouts::default()).map_err(|error| error.to_string())?;
        let (reporter, mut reports) = usage_reports();
        let ledger = Arc::new(Ledger::default());
        let collector = AbortOnDropHandle::new(tokio::spawn({
            let ledger = Arc::clone(&ledger);
            async move {
                while let Some(batch) = reports.recv().await {
                    ledger.add(batch);
                }
            }
        }));
        // A reporter that is cloned and dropped must not matter: give it twice, as a repeated call would.
        host.configure(driver.configuration(), reporter.clone()).await.map_err(|error| error.to_string())?;
        host.configure(driver.configuration(), reporter)
            .await
            .map_err(|error| format!("configured again: {error}"))?;
        Ok(Self { host, ledger, collector })
    }
}

/// How much a check tries to pass: more than a buffer.
const AMOUNT: u64 = 100_000;

/// How long what was under way may take to show after a call returned.
const SETTLE: Duration = Duration::from_millis(100);

pub(super) fn fresh_channel() -> ChannelId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("0x{number:064x}").parse().unwrap_or_default()
}
