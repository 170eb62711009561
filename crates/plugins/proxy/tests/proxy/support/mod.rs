//! What the tests share: both sides of the proxy in this process, an origin that counts what it sends and receives, and
//! programs that speak the proxy's protocols byte by byte.

pub(crate) mod origin;
pub(crate) mod program;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use privatix_adapter::{
    Access, AdapterError, Configuration, Credentials, Host, Provision, Provisioned, Role, SessionId,
    SessionReport, UsageReports, usage_reports,
};
use privatix_channel::{ChannelId, Usage};
use privatix_plugin_proxy::{Endpoint, ProxyClient, ProxyServer};
use serde_json::{Value, json};

/// Against hangs only: nothing right takes so long, however slow the machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const PASSWORD: &str = "correct-horse-battery";

pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: waited in vain"))
}

pub(crate) fn channel(number: u64) -> ChannelId {
    format!("0x{number:064x}").parse().unwrap()
}

pub(crate) fn credentials(channel: ChannelId) -> Credentials {
    Credentials { username: channel.to_string(), password: PASSWORD.into() }
}

/// Settings of an agent for tests: any port, and the local origin may be reached.
pub(crate) fn agent_settings() -> Value {
    json!({"listen": "127.0.0.1:0", "destinations": {"allow_private": true}})
}

/// Settings of a client for tests.
pub(crate) fn client_settings() -> Value {
    json!({"port": 0, "allow_private_agents": true})
}

/// `settings` with some of `changes`' fields in place of its own.
pub(crate) fn with(mut settings: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        settings[name] = value.clone();
    }
    settings
}

/// One adapter and what it reported.
pub(crate) struct Side {
    pub(crate) host: Host,
    pub(crate) reports: UsageReports,
    latest: HashMap<SessionId, SessionReport>,
}

impl Side {
    pub(crate) async fn agent(settings: Value) -> Self {
        Self::new(Host::new(Arc::new(ProxyServer::new())).unwrap(), Role::Agent, settings).await.unwrap()
    }

    pub(crate) async fn client(settings: Value) -> Self {
        Self::new(Host::new(Arc::new(ProxyClient::new())).unwrap(), Role::Client, settings).await.unwrap()
    }

    pub(crate) async fn new(host: Host, role: Role, settings: Value) -> Result<Self, AdapterError> {
        let (reporter, reports) = usage_reports();
        host.configure(Configuration { role, settings }, reporter).await?;
        Ok(Self { host, reports, latest: HashMap::new() })
    }

    /// Provisions and starts a channel for sale. Returns where it is sold.
    pub(crate) async fn sell(&self, channel: ChannelId) -> Endpoint {
        self.sell_with(channel, json!({})).await
    }

    pub(crate) async fn sell_with(&self, channel: ChannelId, parameters: Value) -> Endpoint {
        let credentials = credentials(channel);
        let provision =
            Provision::Sell { channel, credentials, parameters, used: Usage::ZERO, up_to: Usage::MAX };
        let Provisioned { endpoint } = self.host.provision(provision).await.unwrap();
        self.host.start(channel).await.unwrap();
        Endpoint::parse(&endpoint).unwrap()
    }

    /// Provisions and starts a channel bought at `endpoint`. Returns the local port.
    pub(crate) async fn buy(&self, channel: ChannelId, endpoint: &Endpoint) -> SocketAddr {
        let access =
            Access { endpoint: serde_json::to_value(endpoint).unwrap(), credentials: credentials(channel) };
        let Provisioned { endpoint } = self.host.provision(Provision::buy(channel, access)).await.unwrap();
        self.host.start(channel).await.unwrap();
        address(&Endpoint::parse(&endpoint).unwrap())
    }

    fn absorb(&mut self, batch: Vec<SessionReport>) {
        for report in batch {
            if let Some(earlier) = self.latest.get(&report.session) {
                assert!(earlier.total <= report.total, "a total fell: {earlier:?}, then {report:?}");
            }
            self.latest.insert(report.session, report);
        }
    }

    /// The metered total of a channel, as reported up to now.
    pub(crate) fn metered(&mut self, channel: ChannelId) -> u64 {
        let batch = self.reports.take();
        self.absorb(batch);
        self.latest.values().filter(|report| report.channel == channel).map(|report| report.total.get()).sum()
    }

    /// Stops the channel. What it metered must be whole by then, all its sessions ended.
    pub(crate) async fn stop(&mut self, channel: ChannelId) -> u64 {
        self.host.stop(channel).await.unwrap();
        let metered = self.metered(channel);
        for report in self.latest.values().filter(|report| report.channel == channel) {
            assert!(report.ended_at.is_some(), "not ended after stop: {report:?}");
        }
        metered
    }

    /// Waits for reports until the channel's total is at least `bytes`.
    pub(crate) async fn metered_at_least(&mut self, channel: ChannelId, bytes: u64) -> u64 {
        loop {
            let metered = self.metered(channel);
            if metered >= bytes {
                return metered;
            }
            let batch =
                soon(&format!("a report of {bytes} bytes, {metered} are reported"), self.reports.recv())
                    .await;
            self.absorb(batch.unwrap());
        }
    }
}

pub(crate) fn address(endpoint: &Endpoint) -> SocketAddr {
    SocketAddr::new(endpoint.host.parse().unwrap(), endpoint.port.get())
}

/// An agent and a client with one channel between them.
pub(crate) struct Pair {
    pub(crate) agent: Side,
    pub(crate) client: Side,
    pub(crate) channel: ChannelId,
    /// The agent's port.
    pub(crate) sold_at: SocketAddr,
    /// The client's local port.
    pub(crate) local: SocketAddr,
}

impl Pair {
    pub(crate) async fn new() -> Self {
        Self::with(agent_settings(), client_settings()).await
    }

    pub(crate) async fn with(agent: Value, client: Value) -> Self {
        let (agent, client, channel) = (Side::agent(agent).await, Side::client(client).await, channel(1));
        let endpoint = agent.sell(channel).await;
        let local = client.buy(channel, &endpoint).await;
        Self { agent, client, channel, sold_at: address(&endpoint), local }
    }

    /// Stops the channel at both sides and returns what each metered.
    pub(crate) async fn stop(&mut self) -> (u64, u64) {
        // The client's first: the agent's then sees its connections end and not break.
        let bought = self.client.stop(self.channel).await;
        (self.agent.stop(self.channel).await, bought)
    }
}
