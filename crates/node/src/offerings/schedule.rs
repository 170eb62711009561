//! Looks at offerings whose time has come.

use std::collections::BTreeSet;
use std::time::Duration;

use privatix_channel::OfferingHash;
use privatix_market::Wake;
use privatix_market::offering::OfferingInput;
use privatix_store::StoreError;
use privatix_store::offering_states::{self, Loaded, PAGE, Waits};
use tokio_util::sync::CancellationToken;

use super::{OfferingDecider, OfferingNotApplied, is_over};

/// How often it is compared in memory whether a time has come, or the surroundings changed.
const COMPARE_EVERY: Duration = Duration::from_secs(1);

impl OfferingDecider {
    /// Looks at every own offering at the start and when the surroundings change for all, and at each when its time comes, until
    /// `stop`. What cannot be decided about one stops no other.
    pub async fn run(&self, stop: &CancellationToken) {
        let mut around = None;
        let mut next = Wake::default();
        loop {
            let now_around = Some(self.around());
            let looked =
                if now_around == around { self.look_at_due(next).await } else { self.look_at_all().await };
            match looked {
                Ok(later) => (around, next) = (now_around, later),
                Err(error) => {
                    tracing::error!(%error, "the offerings whose time has come are not known; trying again");
                }
            }
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.changed.notified() => {
                        match self.next().await {
                            Ok(changed) => next = changed,
                            Err(error) => tracing::error!(%error, "the next time of an offering is not known; trying again"),
                        }
                    }
                    () = tokio::time::sleep(COMPARE_EVERY) => {}
                }
                if self.is_due(next) || around != Some(self.around()) {
                    break;
                }
            }
        }
    }

    /// What changes for all offerings at once.
    fn around(&self) -> (bool, bool, u64) {
        let chain = self.outlook.chain();
        (chain.fresh, chain.skew.is_none(), self.runner.version())
    }

    fn is_due(&self, at: Wake) -> bool {
        at.uptime.is_some_and(|at| at <= self.outlook.uptime())
            || at.chain.is_some_and(|at| self.outlook.chain().now.is_some_and(|now| at <= now))
    }

    /// The earliest time at which one is to be looked at.
    async fn next(&self) -> Result<Wake, StoreError> {
        offering_states::next(&mut *self.db.read().await?, Waits::ForTime, Wake::default()).await
    }

    async fn look_at_all(&self) -> Result<Wake, StoreError> {
        let agent = self.runner.agent();
        let all = offering_states::of_agent(&mut *self.db.read().await?, agent).await?;
        for some in all.chunks(PAGE) {
            let keys: Vec<_> = some.iter().map(|offering| (agent, *offering)).collect();
            let loaded = offering_states::load_all(&mut *self.db.read().await?, &keys).await?;
            for ((_, offering), loaded) in loaded {
                if !matches!(&loaded, Loaded::Whole(stored) if is_over(&stored.state)) {
                    self.look_at(offering).await;
                }
            }
        }
        self.next().await
    }

    async fn look_at_due(&self, at: Wake) -> Result<Wake, StoreError> {
        if !self.is_due(at) {
            return Ok(at);
        }
        let now = Wake { uptime: Some(self.outlook.uptime()), chain: self.outlook.chain().now };
        let (mut due, mut is_full) = (BTreeSet::new(), false);
        {
            let mut conn = self.db.read().await?;
            if let Some(now) = now.uptime {
                let page = offering_states::due_by_uptime(&mut conn, Waits::ForTime, now, None).await?;
                is_full |= page.len() >= PAGE;
                due.extend(page.into_iter().map(|(_, key)| key));
            }
            if let Some(now) = now.chain {
                let page = offering_states::due_by_chain(&mut conn, now, None).await?;
                is_full |= page.len() >= PAGE;
                due.extend(page.into_iter().map(|(_, key)| key));
            }
        }
        for (agent, offering) in due {
            if agent == self.runner.agent() {
                self.look_at(offering).await;
            }
        }
        // What could not be decided about is looked at again when something else is.
        let after = if is_full { Wake::default() } else { now };
        offering_states::next(&mut *self.db.read().await?, Waits::ForTime, after).await
    }

    async fn look_at(&self, offering: OfferingHash) {
        match self.decide(offering, OfferingInput::Look).await {
            Ok(_) => {}
            Err(error @ (OfferingNotApplied::Node(_) | OfferingNotApplied::Moved(_))) => {
                tracing::warn!(%offering, %error, "the offering cannot be decided about yet");
            }
            Err(error) => tracing::error!(%offering, %error, "nothing is decided about the offering"),
        }
    }
}
