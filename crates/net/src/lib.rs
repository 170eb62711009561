//! What every part that meets strangers shares, so that no stranger and no slow operation takes what others need.
//!
//! What it owns:
//! - [`Resolver`]: names to addresses, asynchronously and bounded. The C library's resolver blocks a thread for each lookup,
//!   for as long as a name server that never answers likes, and a time limit does not free that thread. On tokio those are
//!   the threads that the database works on.
//! - [`Places`]: places for connections that have and for those that have not said who they are, and [`Visitors`], the pure
//!   decision behind them: who may stay when places are taken. Used by the messaging server, the proxy and the control API.
//! - [`listen`]: on both families of addresses where the machine has both.
//! - [`socks_connect`]: connections through a SOCKS5 proxy, with names that the proxy resolves.
//! - [`Network`]: what counts as one peer: an IPv4 address, or an IPv6 network of 64 bits.
//! - [`PeerAddress`]: a peer's address, which logs do not show beside its channel.
//!
//! ```
//! use privatix_net::{ResolveError, Resolver};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), ResolveError> {
//! let share = Resolver::system().share(); // one for each channel: a bound of its own within the bound in all
//! let addresses = share.lookup("localhost").await?;
//! assert!(addresses.iter().all(|address| address.is_loopback()));
//! # Ok(()) }
//! ```

mod listen;
mod network;
mod peer_address;
mod places;
mod resolver;
mod socks;
mod system;
mod visitors;

pub use listen::listen;
pub use network::Network;
pub use peer_address::{PeerAddress, show_peer_addresses};
pub use places::{Place, Places, Serving};
pub use resolver::{ResolveError, Resolver, ResolverLimits, Share};
pub use socks::{SocksError, SocksLogin, SocksReply, socks_connect};
pub use visitors::{Admitted, Full, NotIdentified, Visitor, VisitorLimits, Visitors};
