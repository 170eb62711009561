//! The service adapter API: how the marketplace's roles and the services that they sell or use speak to each other.
//!
//! What it owns:
//! - [`Adapter`], the one trait that a plug-in implements, for the seller's or the buyer's side;
//! - the values that they exchange ([`Configuration`], [`Provision`], [`SessionReport`], ...), all of which serialise;
//! - [`usage_reports`], the way of usage from adapters to their role: never blocking, coalescing, bounded;
//! - [`Host`], which drives an adapter of the same process and turns whatever it does wrong into an [`AdapterError`];
//! - `conformance` (feature of that name), the tests that each plug-in should pass.
//!
//! It knows no chain and no money: a service is resumed and suspended, and reports how much of it was used.
//!
//! A plug-in in full, and a role's way of using it:
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::{Arc, Mutex};
//! use privatix_adapter::*;
//! use privatix_channel::{ChannelId, Usage};
//!
//! /// Sells greetings, one usage each.
//! #[derive(Default)]
//! struct Greeter {
//!     reporter: Mutex<Option<UsageReporter>>,
//!     channels: Mutex<HashMap<ChannelId, (bool, u64, Option<Session>)>>, // passing?, greetings, session
//! }
//!
//! impl Greeter {
//!     fn greet(&self, channel: ChannelId) -> Option<&'static str> {
//!         let mut channels = self.channels.lock().unwrap();
//!         let (passing, count, session) = channels.get_mut(&channel)?;
//!         if !*passing { return None }
//!         *count += 1;
//!         let reporter = self.reporter.lock().unwrap().clone()?;
//!         session.get_or_insert_with(|| reporter.open(channel, None)).report(Usage::new(*count));
//!         Some("hello")
//!     }
//!
//!     fn set(&self, channel: ChannelId, passing: bool) -> Result<(), AdapterRefusal> {
//!         let mut channels = self.channels.lock().unwrap();
//!         channels.get_mut(&channel).ok_or(AdapterRefusal::UnknownChannel { channel })?.0 = passing;
//!         Ok(())
//!     }
//! }
//!
//! #[async_trait]
//! impl Adapter for Greeter {
//!     fn about(&self) -> About {
//!         let product = ProductId(uuid::uuid!("8f8cf2b4-7a3c-4c0e-9d0f-0c39f9b1a0de"));
//!         About { product, name: "greeter".into(), version: "1".into(), roles: vec![Role::Agent] }
//!     }
//!     async fn configure(&self, _: Configuration, reporter: UsageReporter) -> Result<(), AdapterRefusal> {
//!         *self.reporter.lock().unwrap() = Some(reporter);
//!         Ok(())
//!     }
//!     async fn provision(&self, provision: Provision) -> Result<Provisioned, AdapterRefusal> {
//!         self.channels.lock().unwrap().entry(provision.channel()).or_default();
//!         Ok(Provisioned { endpoint: serde_json::json!({}) })
//!     }
//!     async fn start(&self, channel: ChannelId) -> Result<(), AdapterRefusal> { self.set(channel, true) }
//!     async fn suspend(&self, channel: ChannelId) -> Result<(), AdapterRefusal> { self.set(channel, false) }
//!     async fn resume(&self, channel: ChannelId) -> Result<(), AdapterRefusal> { self.set(channel, true) }
//!     async fn stop(&self, channel: ChannelId) -> Result<(), AdapterRefusal> {
//!         self.channels.lock().unwrap().remove(&channel); // its session ends as it is dropped
//!         Ok(())
//!     }
//!     async fn health(&self) -> Health { Health::Well }
//!     async fn shutdown(&self) -> Result<(), AdapterRefusal> {
//!         self.channels.lock().unwrap().clear();
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "multi_thread")] async fn main() -> Result<(), AdapterError> {
//! let greeter = Arc::new(Greeter::default());
//! let host = Host::new(greeter.clone())?;
//! let (reporter, mut reports) = usage_reports();
//! host.configure(Configuration { role: Role::Agent, settings: serde_json::json!({}) }, reporter).await?;
//!
//! let channel = ChannelId::default();
//! let credentials = Credentials { username: channel.to_string(), password: "secret".into() };
//! let (parameters, used) = (serde_json::json!({}), Usage::ZERO);
//! let up_to = Usage::new(100); // what is paid, and what we lend; the greeter could refuse beyond it by itself
//! host.provision(Provision::Sell { channel, credentials, parameters, used, up_to }).await?;
//! assert_eq!(greeter.greet(channel), None);
//! host.start(channel).await?;
//! assert_eq!(greeter.greet(channel), Some("hello"));
//! assert_eq!(reports.recv().await.unwrap()[0].total, Usage::new(1));
//! host.shutdown().await?;
//! # Ok(()) }
//! ```

mod adapter;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod host;
mod secret;
mod usage;
mod values;

pub use adapter::Adapter;
pub use async_trait::async_trait;
pub use error::{AdapterError, AdapterRefusal, Call};
pub use host::{Host, Timeouts};
pub use secret::Secret;
pub use usage::{Session, SessionId, SessionReport, UsageReporter, UsageReports, usage_reports};
pub use values::{
    About, Access, Allowance, Configuration, Credentials, Health, LocalEndpoints, ProductId, Provision,
    Provisioned, Role,
};
