//! An adapter that does for each channel what the test says.

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_adapter::{
    About, Adapter, AdapterRefusal, Allowance, Configuration, Health, ProductId, Provision, Provisioned,
    Role, UsageReporter,
};
use privatix_channel::{ChannelId, Usage};
use tokio::sync::watch;

/// What it does with a call.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum Does {
    /// What it is asked for.
    #[default]
    All,
    Refuse,
    /// Answers once it [does](Self::All) or refuses that.
    Hang,
}

#[derive(Default)]
struct Channel {
    does: HashMap<&'static str, Does>,
    /// What calls that come from now on do, instead.
    next: HashMap<&'static str, Does>,
    is_known: bool,
    calls: Vec<&'static str>,
    /// Bounds that were named, and those that were taken.
    named: Vec<u64>,
    taken: Vec<u64>,
}

#[derive(Default)]
pub struct Scripted {
    channels: Mutex<HashMap<ChannelId, Channel>>,
    changed: watch::Sender<()>,
}

impl Scripted {
    fn with<T>(&self, id: ChannelId, change: impl FnOnce(&mut Channel) -> T) -> T {
        let changed = change(self.channels.lock().entry(id).or_default());
        self.changed.send_replace(());
        changed
    }

    /// What this call does, also where it hangs already.
    pub fn set(&self, id: ChannelId, call: &'static str, does: Does) {
        self.with(id, |channel| channel.does.insert(call, does));
    }

    /// What this call does from now on, but for those that hang already.
    pub fn set_next(&self, id: ChannelId, call: &'static str, does: Does) {
        self.with(id, |channel| channel.next.insert(call, does));
    }

    /// The calls about a channel.
    pub fn calls(&self, id: ChannelId) -> Vec<&'static str> {
        self.with(id, |channel| channel.calls.clone())
    }

    /// The bounds that were named to it.
    pub fn bounds(&self, id: ChannelId) -> Vec<u64> {
        self.with(id, |channel| channel.named.clone())
    }

    async fn until(&self, id: ChannelId, holds: impl Fn(&Channel) -> bool) {
        let mut changed = self.changed.subscribe();
        while !self.channels.lock().get(&id).is_some_and(&holds) {
            changed.changed().await.unwrap();
        }
    }

    pub async fn called(&self, id: ChannelId, call: &'static str) {
        self.called_times(id, call, 1).await;
    }

    pub async fn called_times(&self, id: ChannelId, call: &'static str, times: usize) {
        self.until(id, |channel| channel.calls.iter().filter(|made| **made == call).count() >= times).await;
    }

    /// Waits until it has taken a bound last.
    pub async fn bounded(&self, id: ChannelId, up_to: u64) {
        self.until(id, |channel| channel.taken.last() == Some(&up_to)).await;
    }

    pub async fn bounded_times(&self, id: ChannelId, up_to: u64, times: usize) {
        self.until(id, |channel| channel.taken.iter().filter(|taken| **taken == up_to).count() >= times)
            .await;
    }

    async fn call(&self, id: ChannelId, call: &'static str) -> Result<(), AdapterRefusal> {
        let next = self.with(id, |channel| {
            channel.calls.push(call);
            channel.next.get(call).copied()
        });
        let mut changed = self.changed.subscribe();
        loop {
            let does = next.unwrap_or_else(|| {
                self.channels
                    .lock()
                    .get(&id)
                    .and_then(|known| known.does.get(call))
                    .copied()
                    .unwrap_or_default()
            });
            match does {
                Does::Hang => changed.changed().await.unwrap(),
                Does::Refuse => {
                    return Err(AdapterRefusal::Unavailable {
                        reason: "the script".into(),
                        remedy: "none".into(),
                    });
                }
                Does::All => break,
            }
        }
        self.with(id, |channel| match call {
            "provision" => channel.is_known = true,
            "stop" => channel.is_known = false,
            _ => {}
        });
        let is_known = self.with(id, |channel| channel.is_known);
        if is_known || call == "stop" { Ok(()) } else { Err(AdapterRefusal::UnknownChannel { channel: id }) }
    }
}

#[async_trait]
impl Adapter for Scripted {
    fn about(&self) -> About {
        let product = ProductId(uuid::Uuid::from_u128(3));
        About { product, name: "scripted".into(), version: "0".into(), roles: vec![Role::Agent] }
    }

    async fn configure(&self, _: Configuration, _: UsageReporter) -> Result<(), AdapterRefusal> {
        Ok(())
    }

    async fn provision(&self, provision: Provision) -> Result<Provisioned, AdapterRefusal> {
        self.call(provision.channel(), "provision").await?;
        Ok(Provisioned { endpoint: serde_json::json!({}) })
    }

    async fn start(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.call(channel, "start").await
    }

    async fn suspend(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.call(channel, "suspend").await
    }

    async fn resume(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.call(channel, "resume").await
    }

    async fn stop(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
        self.call(channel, "stop").await
    }

    async fn allow(&self, channel: ChannelId, up_to: Usage) -> Result<Allowance, AdapterRefusal> {
        self.with(channel, |known| known.named.push(up_to.get()));
        self.call(channel, "allow").await?;
        self.with(channel, |known| known.taken.push(up_to.get()));
        Ok(Allowance::Enforced)
    }

    async fn health(&self) -> Health {
        Health::Well
    }

    async fn shutdown(&self) -> Result<(), AdapterRefusal> {
        Ok(())
    }
}
