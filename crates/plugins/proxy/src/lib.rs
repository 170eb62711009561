//! A metered SOCKS5 and HTTP proxy, sold and bought through the marketplace.
//!
//! What it owns: the two sides of one product, each an [`Adapter`](privatix_adapter::Adapter):
//! - [`ProxyServer`], the agent's: one port for all channels, SOCKS5 (CONNECT) and HTTP (CONNECT and absolute form), with the
//!   access message's credentials as login; exact byte counts per channel; bounds on connections, time and destinations;
//! - [`ProxyClient`], the client's: a local port per channel, for any program that knows SOCKS5 or HTTP proxies.
//!
//! What counts is the payload: bytes sent to and received from destinations, neither logins nor proxy protocol. Both sides
//! count the same stream, so they agree to the byte on every connection that ended in order.
//!
//! Suspended connections are paused, not closed: a download goes on where it was when the channel is resumed.
//!
//! ```
//! use std::sync::Arc;
//! use privatix_adapter::{Access, Configuration, Credentials, Host, Provision, Role, usage_reports};
//! use privatix_channel::{ChannelId, Usage};
//! use privatix_plugin_proxy::{Endpoint, ProxyClient, ProxyServer};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "multi_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let channel = ChannelId::default();
//! let credentials = Credentials { username: channel.to_string(), password: "from the access message".into() };
//!
//! let agent = Host::new(Arc::new(ProxyServer::new()))?;
//! let (reporter, mut sold) = usage_reports();
//! agent.configure(Configuration { role: Role::Agent, settings: json!({"listen": "127.0.0.1:0"}) }, reporter).await?;
//! let provision = Provision::Sell { channel, credentials: credentials.clone(), parameters: json!({}), used: Usage::ZERO };
//! let endpoint = agent.provision(provision).await?.endpoint; // goes into the access message
//! agent.start(channel).await?;
//!
//! let client = Host::new(Arc::new(ProxyClient::new()))?;
//! let (reporter, mut bought) = usage_reports();
//! let settings = json!({"port": 0, "allow_private_agents": true});
//! client.configure(Configuration { role: Role::Client, settings }, reporter).await?;
//! let access = Access { endpoint, credentials };
//! let local = Endpoint::parse(&client.provision(Provision::Buy { channel, access }).await?.endpoint)?;
//! client.start(channel).await?;
//! println!("curl --proxy socks5h://{}:{} https://example.org", local.host, local.port);
//!
//! client.shutdown().await?;
//! agent.shutdown().await?;
//! # Ok(()) }
//! ```

mod channel;
mod client;
mod destination;
mod endpoint;
mod front;
mod lifecycle;
mod metered;
mod relay;
mod reporting;
mod server;
mod settings;
mod throttle;
mod tunnel;

use privatix_adapter::{About, ProductId, Refusal, Role};
use uuid::Uuid;

pub use client::ProxyClient;
pub use destination::{Destinations, Network, ParseNetworkError};
pub use endpoint::{Endpoint, Protocol};
pub use server::ProxyServer;
pub use settings::{ClientSettings, Limits, Reports, ServerSettings};

/// The product that both adapters serve.
pub const PRODUCT: ProductId = ProductId(Uuid::from_u128(0x1d7d_1ba5_3c0e_4f6b_9a52_7f0f_64c1_90aa));

fn about(name: &str, role: Role) -> About {
    About {
        product: PRODUCT,
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        roles: vec![role],
    }
}

fn expect_role(expected: Role, role: Role) -> Result<(), Refusal> {
    if role == expected { Ok(()) } else { Err(Refusal::WrongRole { role }) }
}
