//! Tor for the messaging channel, in this process: onion services and the way to them, with nothing to install.
//!
//! It wraps [arti](https://arti.torproject.org). An embedder who wants no Tor does not depend on this crate.
//!
//! - [`Tor`] is the client: [`Tor::run`] gets it onto the network, [`Tor::status`] shows how far it is.
//! - [`TorTransport`] dials agents, each on circuits of its own.
//! - [`OnionService`] and [`OnionListener`] are an agent's side. The address derives from the account's key
//!   ([`OnionKeys`]). The service looks at itself as a client would and starts again when it cannot be reached.
//! - [`LocalProxy`] takes an HTTP client, such as that of the chain endpoint, over Tor.
//!
//! # Example
//!
//! ```no_run
//! use privatix_somc::{Server, ServerLimits};
//! use privatix_tor::{OnionKeys, OnionSettings, Tor, TorSettings};
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn serve(agent: impl privatix_somc::Service + 'static) -> Result<(), privatix_tor::TorError> {
//! let tor = Tor::new("data/tor", &TorSettings::default())?;
//! let keys = OnionKeys::of_account([7; 32]);
//! let (service, listener) = tor.onion_service(&keys, &OnionSettings::default())?;
//! println!("reachable soon at {}", service.address());
//!
//! let shutdown = CancellationToken::new();
//! let server = Server::new(agent, ServerLimits::default());
//! tokio::join!(
//!     tor.run(shutdown.clone()),
//!     service.run(shutdown.clone()),
//!     server.serve(listener, shutdown),
//! );
//! # Ok(()) }
//! ```

mod circuits;
mod error;
mod key;
#[cfg(test)]
mod network_tests;
mod proxy;
mod service;
mod settings;
mod status;
mod tor;
mod transport;
mod watchdog;

pub use self::{
    circuits::OnionListener,
    error::{TorError, Unreached},
    key::OnionKeys,
    proxy::LocalProxy,
    service::{OnionService, OnionSettings, OnionStatus},
    settings::{PluggableTransport, TorSettings},
    status::{TorProblem, TorStatus},
    tor::Tor,
    transport::TorTransport,
};
