//! The service offering messaging channel (SOMC): how a client and an agent talk.
//!
//! A client fetches an agent's [offerings](Client::offering) and its sealed [access](Client::access), [pays](Client::pay)
//! with vouchers, and asks whether the agent [answers](Client::ping). This crate owns the message protocol (specified in
//! `docs/somc-protocol.md`), its server and its client, and the direct transport. It knows nothing of billing, storage or
//! the chain.
//!
//! - [`Server`] answers with a [`Service`] within [`ServerLimits`]; everything that strangers send is bounded.
//! - [`Client`] is one connection; many requests are under way on it at once. [`Peer`] dials when needed, dials again
//!   after a loss and repeats what may be repeated.
//! - [`Identities`] let a server prove for which agents it speaks, and a [`Recognition`] is how a client knows them
//!   ([`Server::with_identities`], [`Peer::expecting`]). Without them all is said in clear, as in the example below.
//! - Errors: a [`Refusal`] is the same typed value on both sides of the wire; [`ClientError`] adds what can go wrong
//!   on the way.
//! - Networks: anything that implements [`Transport`] and [`Listener`] carries the protocol. [`DirectTransport`] and
//!   [`DirectListener`] are TCP; [`Transports`] picks one by the [`SomcAddress`] that an offering announced on chain.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use async_trait::async_trait;
//! use privatix_channel::{OfferingHash, SignedVoucher};
//! use privatix_offering::{AccessRequest, SealedAccess};
//! use privatix_somc::{
//!     ClientError, ClientLimits, DirectListener, DirectTransport, Paid, Peer, Refusal, RetryPolicy, Server, ServerLimits,
//!     Service, SomcAddress,
//! };
//! use tokio_util::sync::CancellationToken;
//!
//! /// An agent that sells nothing.
//! struct Nothing;
//!
//! #[async_trait]
//! impl Service for Nothing {
//!     async fn offering(&self, offering: OfferingHash) -> Result<Vec<u8>, Refusal> {
//!         Err(Refusal::UnknownOffering { offering })
//!     }
//!     async fn access(&self, request: AccessRequest) -> Result<SealedAccess, Refusal> {
//!         Err(Refusal::UnknownChannel { channel: request.channel })
//!     }
//!     async fn pay(&self, voucher: SignedVoucher) -> Result<Paid, Refusal> {
//!         Err(Refusal::UnknownChannel { channel: voucher.channel() })
//!     }
//! }
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The agent.
//! let listener = DirectListener::bind("127.0.0.1:0".parse()?).await?;
//! let address = SomcAddress::from(listener.local_addr());
//! let shutdown = CancellationToken::new();
//! let server = Server::new(Nothing, ServerLimits::default());
//! let serving = tokio::spawn({
//!     let shutdown = shutdown.clone();
//!     async move { server.serve(listener, shutdown).await }
//! });
//!
//! // The client.
//! let transport = Arc::new(DirectTransport::anywhere());
//! let agent = Peer::new(transport, address, ClientLimits::default(), RetryPolicy::default());
//! agent.ping().await?;
//! let missing = agent.offering(OfferingHash::default()).await;
//! assert!(matches!(missing, Err(ClientError::Refused(Refusal::UnknownOffering { .. }))));
//!
//! shutdown.cancel();
//! serving.await?;
//! # Ok(()) }
//! ```

mod client;
mod direct;
mod error;
mod frame;
mod identity;
mod limits;
mod message;
mod notices;
mod peer;
mod rate;
mod refusal;
mod server;
mod service;
mod session;
mod socks;
mod transport;

pub use privatix_offering::{
    AddressError, BindingError, KeyBinding, SessionId, SessionKey, SomcAddress, SourceType, VersionRange,
};

pub use self::{
    client::{Client, Notices},
    direct::{DirectListener, DirectTransport},
    error::ClientError,
    identity::{Expected, Identities, Identity, KnownAgent, Recognition},
    limits::{ClientLimits, ServerLimits},
    message::Method,
    peer::{Peer, RetryPolicy},
    rate::RateLimit,
    refusal::{Refusal, Unready},
    server::{Notifier, Server, ServerStats},
    service::{CallerSession, Notice, NumberedAccess, Paid, Service, Standing},
    session::SessionSecret,
    socks::SocksTransport,
    transport::{BoxStream, Listener, PeerId, Stream, Transport, TransportError, Transports},
};
