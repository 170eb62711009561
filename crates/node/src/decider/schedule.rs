//! Looks at channels whose time has come.

use std::time::Duration;

use privatix_channel::ChannelId;
use privatix_db::DbError;
use privatix_market::{Input, Party, Wake};
use privatix_store::StoreError;
use privatix_store::states::{self, PAGE, Stored};
use tokio_util::sync::CancellationToken;

use super::{Decider, Now, Unsure};
use crate::shell::NotApplied;

/// How often it is compared in memory whether the surroundings changed: the chain's time, the age of what is seen of it.
const COMPARE_EVERY: Duration = Duration::from_secs(1);
/// How many channels are looked at in one transaction: few, as payments wait for its end.
const TOGETHER: usize = 16;

/// What changes for all channels at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
struct Around {
    fresh: bool,
    clock_agrees: bool,
    affords_new: bool,
    recovering: bool,
    /// The adapter's life; `None` while it starts.
    adapter: Option<u64>,
}

/// Looks at all channels, page by page, with other work between them.
#[derive(Clone, Copy, Debug)]
struct Sweep {
    after: Option<ChannelId>,
}

impl<P: Party> Decider<P> {
    /// Looks at every channel that is not final at the start, and when the surroundings change for all; at others when their time
    /// comes, or when they are [marked](Self::mark). Until `stop`.
    ///
    /// What cannot be decided about one channel stops no other.
    pub async fn run(&self, stop: &CancellationToken) {
        let mut around = self.around();
        let mut unexplained = self.outlook.unexplained();
        let mut sweep = Some(Sweep { after: None });
        while !stop.is_cancelled() {
            let now_around = self.around();
            if now_around != around {
                tracing::info!(?around, now = ?now_around, "what decisions depend on changed; all channels are looked at");
                around = now_around;
                self.agenda.lock().mark_serving();
                sweep = Some(Sweep { after: None });
            }
            let now_unexplained = self.outlook.unexplained();
            self.mark_all(now_unexplained.symmetric_difference(&unexplained));
            unexplained = now_unexplained;

            if let Err(error) = self.work(&mut sweep, stop).await {
                tracing::error!(%error, "the channels whose time has come are not known; trying again");
                if stop.run_until_cancelled(tokio::time::sleep(COMPARE_EVERY)).await.is_none() {
                    return;
                }
            }
            if sweep.is_some() {
                continue;
            }
            let pause = self.agenda.lock().pause(self.outlook.uptime());
            let pause = pause.unwrap_or(COMPARE_EVERY).min(COMPARE_EVERY);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One round of looks.
    async fn work(&self, sweep: &mut Option<Sweep>, stop: &CancellationToken) -> Result<(), StoreError> {
        let now = self.now();
        self.look_at_ready(stop).await;
        let is_due = self.agenda.lock().begin(now);
        if is_due {
            self.look_at_due(now, stop).await.inspect_err(|_| {
                // Asked again.
                self.agenda.lock().expect(Wake { uptime: Some(now.uptime), chain: None });
            })?;
        }
        if let Some(Sweep { after }) = *sweep {
            let page = states::not_final(&mut *self.reader().await?, after).await?;
            let is_last = page.len() < PAGE;
            *sweep = (!is_last).then(|| Sweep { after: page.last().copied() });
            if is_last {
                // Each look has given the time of the next one; what was left alone has none.
                let next = states::next(&mut *self.reader().await?, Wake::default()).await?;
                self.agenda.lock().expect(next);
            }
            self.look_at(page, stop).await;
        }
        Ok(())
    }

    /// Looks at the channels whose stored time has come, the longest due first, and asks for the next time.
    async fn look_at_due(&self, now: Now, stop: &CancellationToken) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = states::due_by_uptime(&mut *self.reader().await?, now.uptime, after).await?;
            after = page.last().copied();
            let length = page.len();
            let due = page.into_iter().map(|(at, channel)| (channel, Wake { uptime: Some(at), chain: None }));
            self.look_at_those(due, stop).await;
            self.look_at_ready(stop).await;
            if length < PAGE || stop.is_cancelled() {
                break;
            }
        }
        if let Some(chain) = now.chain {
            let mut after = None;
            loop {
                let page = states::due_by_chain(&mut *self.reader().await?, chain, after).await?;
                after = page.last().copied();
                let length = page.len();
                let due =
                    page.into_iter().map(|(at, channel)| (channel, Wake { uptime: None, chain: Some(at) }));
                self.look_at_those(due, stop).await;
                self.look_at_ready(stop).await;
                if length < PAGE || stop.is_cancelled() {
                    break;
                }
            }
        }
        let over = Wake { uptime: Some(now.uptime), chain: now.chain };
        let next = states::next(&mut *self.reader().await?, over).await?;
        self.agenda.lock().expect(next);
        Ok(())
    }

    /// Looks at those that are marked, or whose pause is over.
    async fn look_at_ready(&self, stop: &CancellationToken) {
        let ready = self.agenda.lock().take_ready(self.outlook.uptime());
        self.look_at(ready, stop).await;
    }

    /// Looks at channels whose stored times are over, unless those say nothing.
    async fn look_at_those(&self, due: impl Iterator<Item = (ChannelId, Wake)>, stop: &CancellationToken) {
        let due: Vec<ChannelId> = {
            let agenda = self.agenda.lock();
            due.filter(|(channel, at)| !agenda.is_left(*channel, *at)).map(|(channel, _)| channel).collect()
        };
        self.look_at(due, stop).await;
    }

    async fn look_at(&self, channels: impl IntoIterator<Item = ChannelId>, stop: &CancellationToken) {
        let channels: Vec<ChannelId> = channels.into_iter().collect();
        for some in channels.chunks(TOGETHER) {
            if stop.is_cancelled() {
                return;
            }
            if self.look_together(some).await {
                continue;
            }
            for channel in some {
                if let Err(error) = self.decide(*channel, Input::Look).await {
                    self.not_looked(*channel, &error);
                }
            }
        }
    }

    /// Looks at channels in one transaction. `false` where one of them has to be rolled back, and the others with it: then nothing is
    /// stored.
    async fn look_together(&self, channels: &[ChannelId]) -> bool {
        let unsure = Unsure { decider: self, channels };
        let looked = async {
            let (mut all, mut refused) = (Vec::new(), Vec::new());
            let mut tx = self.db.begin().await?;
            let env = |stored: &Stored<P>| self.env_of(stored);
            for channel in channels {
                match self.shell.apply(&mut tx, *channel, Input::Look, &env, &*self.runner).await {
                    Ok(applied) => all.push(applied),
                    // Nothing of it was written.
                    Err(
                        error
                        @ (NotApplied::NoState(_) | NotApplied::Damaged { .. } | NotApplied::Refused(_)),
                    ) => refused.push((*channel, error)),
                    Err(error) => return Err(error),
                }
            }
            tx.commit().await?;
            Ok((all, refused))
        };
        let looked = looked.await;
        unsure.settle();
        let Ok((all, refused)) = looked else { return false };
        for applied in &all {
            self.committed(applied);
        }
        for (channel, error) in refused {
            self.note_damage(channel, &error);
            self.not_looked(channel, &error);
        }
        true
    }

    /// Nothing was decided about a channel: its stored time stays as it is.
    fn not_looked(&self, channel: ChannelId, error: &NotApplied) {
        let now = self.now();
        let mut agenda = self.agenda.lock();
        match error {
            NotApplied::NoState(_) => agenda.forget(channel),
            // Shown as such already.
            error if error.is_damage() => agenda.leave(channel),
            error => {
                tracing::warn!(%channel, %error, "the channel cannot be decided about yet");
                agenda.postpone(channel, now);
            }
        }
    }

    fn mark_all<'a>(&self, channels: impl Iterator<Item = &'a ChannelId>) {
        let mut agenda = self.agenda.lock();
        for channel in channels {
            agenda.mark(*channel);
        }
    }

    fn around(&self) -> Around {
        let chain = self.outlook.chain();
        Around {
            fresh: chain.fresh,
            clock_agrees: chain.skew.is_none(),
            affords_new: self.outlook.gas().affords_new,
            recovering: self.outlook.kept_open(None).is_some(),
            adapter: (!self.outlook.adapter_starts()).then(|| self.outlook.instance()),
        }
    }

    async fn reader(&self) -> Result<privatix_db::ReadGuard, DbError> {
        self.db.read().await
    }
}
