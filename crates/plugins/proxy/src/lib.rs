//! A metered SOCKS5 and HTTP proxy, sold and bought through the marketplace.
//!
//! What it owns: the two sides of one product, each an [`Adapter`](privatix_adapter::Adapter):
//! - [`ProxyServer`], the agent's: one port for all channels, SOCKS5 (CONNECT) and HTTP (CONNECT and absolute form), with the
//!   access message's credentials as login; exact byte counts per channel; bounds on connections, time and destinations;
//! - [`ProxyClient`], the client's: a local port per channel, for any program that knows SOCKS5 or HTTP proxies.
//!
//! # What a program notices
//! As little as possible: what works without the proxy works through SOCKS5, CONNECT and absolute form, and what fails without
//! it fails in the same way. A request in absolute form keeps its bytes but for the fields between a program and its proxy; its
//! answer is relayed as it comes, informational responses and upgrades included. Each connection serves one request.
//!
//! # What is counted
//! The payload, in bytes, both directions added up: what one side's system received from the other's over their connection,
//! after the login. TLS and HTTP of the user's own count, as they are payload here; logins, the proxies' protocol and TCP's
//! overhead do not. (A plain HTTP request in absolute form counts as it is sent on: in origin form, without the headers
//! between a program and its proxy.)
//!
//! Both sides ask their operating system what it acknowledged or saw acknowledged, so both meters show the same number,
//! whichever way a connection ends: in order, cancelled by the program, broken by the destination, or stopped with its channel.
//! What arrived counts even if the program does not take it any more. Bytes that were never sent do not count. Bytes that were sent and never acknowledged do not count either, up to 1 MiB of a
//! channel or as many as were delivered, whichever is more; beyond that the seller counts them, because a buyer could take bytes
//! and never acknowledge them. Its meter is then ahead, and its log has a warning.
//!
//! What remains apart is what was on the wire in the moment in which a machine or the
//! network failed, and at most about one packet for a cancelled download whose program had closed its own direction before.
//! (On systems other than Linux, what was written counts as delivered.)
//!
//! # What a break looks like
//! A connection that broke at one side is reset at the other, after all that came before the break was passed on: nobody takes
//! a part for the whole.
//!
//! # What a suspension does
//! Connections are paused, not closed: nothing more is read from or written to the other side, TCP's flow control stalls both
//! ends, and a download goes on with the next byte when the channel is resumed. (What was sent before may still arrive, and
//! counts.) New connections wait for [`Limits::suspended_wait`], then they are refused.
//! [`Adapter::allow`](privatix_adapter::Adapter::allow) does the same at an exact number of bytes. Stopping resets everything.
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
//! let provision = Provision::Sell { channel, credentials: credentials.clone(), parameters: json!({}), used: Usage::ZERO, up_to: Usage::MAX };
//! let endpoint = agent.provision(provision).await?.endpoint; // goes into the access message
//! agent.start(channel).await?;
//!
//! let client = Host::new(Arc::new(ProxyClient::new()))?;
//! let (reporter, mut bought) = usage_reports();
//! let settings = json!({"port": 0, "allow_private_agents": true});
//! client.configure(Configuration { role: Role::Client, settings }, reporter).await?;
//! let access = Access { endpoint, credentials };
//! let local = Endpoint::parse(&client.provision(Provision::buy(channel, access)).await?.endpoint)?;
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
mod lane;
mod lifecycle;
mod metered;
mod pace;
mod relay;
mod reporting;
mod server;
mod settings;
mod tally;
mod throttle;
mod tunnel;

use privatix_adapter::{About, AdapterRefusal, ProductId, Role};

pub use client::ProxyClient;
pub use destination::{Destinations, Network, ParseNetworkError};
pub use endpoint::{Endpoint, Protocol};
pub use server::ProxyServer;
pub use settings::{ClientSettings, Limits, Reports, ServerSettings};

/// The product that both adapters serve: that of the marketplace's built-in proxy templates.
pub const PRODUCT: ProductId = ProductId(uuid::uuid!("4b0ad8f5-4e0d-4a4c-9a3f-5c1c5e8d2a11"));

fn about(name: &str, role: Role) -> About {
    About {
        product: PRODUCT,
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        roles: vec![role],
    }
}

fn expect_role(expected: Role, role: Role) -> Result<(), AdapterRefusal> {
    if role == expected { Ok(()) } else { Err(AdapterRefusal::WrongRole { role }) }
}
