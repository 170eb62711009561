//! Both adapters keep the rules of the adapter API, as its kit checks them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use privatix_adapter::conformance::{self, Attempt, Driver, Flow};
use privatix_adapter::{Access, Adapter, Configuration, Provision, Provisioned, Role};
use privatix_channel::{ChannelId, Usage};
use privatix_plugin_proxy::{Endpoint, ProxyClient, ProxyServer};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::support::origin::{Origin, pattern};
use crate::support::program::{self, Outcome};
use crate::support::{PASSWORD, PATIENCE, Side, address, agent_settings, client_settings, credentials, with};

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_adapter_conforms() {
    let driver = ProxyDriver { origin: Origin::start().await, agent: None };
    conformance::run(|| Arc::new(ProxyServer::new()) as Arc<dyn Adapter>, &driver).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_adapter_conforms() {
    let agent = Side::agent(agent_settings()).await;
    let driver = ProxyDriver { origin: Origin::start().await, agent: Some(agent) };
    conformance::run(|| Arc::new(ProxyClient::new()) as Arc<dyn Adapter>, &driver).await.unwrap();
}

/// Uses a proxy to talk with an echoing origin.
struct ProxyDriver {
    origin: Origin,
    /// Where the client under test buys.
    agent: Option<Side>,
}

#[async_trait]
impl Driver for ProxyDriver {
    fn configuration(&self) -> Configuration {
        let quick = json!({"limits": {"suspended_wait": "100ms"}});
        match self.agent {
            None => Configuration { role: Role::Agent, settings: with(agent_settings(), &quick) },
            Some(_) => Configuration { role: Role::Client, settings: with(client_settings(), &quick) },
        }
    }

    async fn provision(&self, channel: ChannelId) -> Provision {
        let credentials = credentials(channel);
        match &self.agent {
            None => Provision::Sell {
                channel,
                credentials,
                parameters: json!({}),
                used: Usage::ZERO,
                up_to: Usage::MAX,
            },
            Some(agent) => {
                let endpoint = serde_json::to_value(agent.sell(channel).await).unwrap();
                Provision::buy(channel, Access { endpoint, credentials })
            }
        }
    }

    async fn provision_unserved(&self, channel: ChannelId) -> Provision {
        let provision = self.provision(channel).await;
        if let Some(agent) = &self.agent {
            agent.host.suspend(channel).await.unwrap();
        }
        provision
    }

    async fn open(&self, provision: &Provision, provisioned: &Provisioned) -> Option<Box<dyn Flow>> {
        let proxy = address(&Endpoint::parse(&provisioned.endpoint).unwrap());
        let name = provision.channel().to_string();
        let login = matches!(provision, Provision::Sell { .. }).then_some((name.as_str(), PASSWORD));
        match program::socks(proxy, login, "127.0.0.1", self.origin.address.port()).await {
            Outcome::Connected(stream) => Some(Box::new(Echo::new(stream))),
            Outcome::Refused(_) | Outcome::Denied | Outcome::Closed => None,
        }
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

struct Echo {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    began: bool,
}

impl Echo {
    fn new(stream: TcpStream) -> Self {
        let (from, to) = stream.into_split();
        Self { from, to, began: false }
    }
}

/// After this time without a byte a flow counts as blocked.
const BLOCKED: Duration = Duration::from_secs(5);

#[async_trait]
impl Flow for Echo {
    async fn pass(&mut self, amount: u64) -> Attempt {
        let mut message = pattern(usize::try_from(amount / 2).unwrap());
        let mut moved = 2 * message.len() as u64;
        if !std::mem::replace(&mut self.began, true) {
            if self.to.write_all(b"echo\n").await.is_err() {
                return Attempt::Broken;
            }
            moved += 5;
        }
        let mut back = vec![0; message.len()];
        let (mut sent, mut got) = (0, 0);
        while got < back.len() {
            // Patient once anything passed, as then it is slow and not blocked.
            let patience = if got == 0 { BLOCKED } else { PATIENCE };
            tokio::select! {
                biased;
                read = self.from.read(&mut back[got..]) => match read {
                    Ok(0) | Err(_) => return Attempt::Broken,
                    Ok(read) => got += read,
                },
                written = self.to.write(&message[sent..]), if sent < message.len() => match written {
                    Ok(written) => sent += written,
                    Err(_) => return Attempt::Broken,
                },
                () = tokio::time::sleep(patience) => return Attempt::Blocked,
            }
        }
        message.truncate(back.len());
        Attempt::Passed(Usage::new(moved))
    }
}
