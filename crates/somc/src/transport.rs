//! The two seams between the protocol and a network: [`Transport`] dials, [`Listener`] accepts.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use async_trait::async_trait;
use privatix_net::{PeerAddress, ResolveError, SocksError};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{SomcAddress, SourceType, frame::FrameReader};

/// What a connection is made of: an ordered, reliable stream of bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection of any transport.
pub type BoxStream = Box<dyn Stream>;

/// Dials endpoints of one or more kinds.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Opens a connection to `address`.
    ///
    /// The caller bounds the time by dropping the future, so it must be safe to drop at any point.
    async fn connect(&self, address: &SomcAddress) -> Result<BoxStream, TransportError>;
}

/// Accepts connections.
#[async_trait]
pub trait Listener: Send {
    /// The next connection and who it is from.
    ///
    /// Must be safe to drop at any point without losing a connection, and must not wait for one stranger while others
    /// knock: a handshake of the transport's own belongs in a task. An error does not end the listener: the server
    /// waits a little and asks again.
    async fn accept(&mut self) -> Result<(BoxStream, PeerId), TransportError>;
}

#[async_trait]
impl<T: Transport + ?Sized> Transport for Arc<T> {
    async fn connect(&self, address: &SomcAddress) -> Result<BoxStream, TransportError> {
        (**self).connect(address).await
    }
}

#[async_trait]
impl<L: Listener + ?Sized> Listener for Box<L> {
    async fn accept(&mut self) -> Result<(BoxStream, PeerId), TransportError> {
        (**self).accept().await
    }
}

/// Who is at the other end of an accepted connection, as far as its transport knows.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PeerId {
    name: String,
    group: Option<Arc<str>>,
}

impl PeerId {
    /// A peer known by its network address, which its name for logs does not show (see [`PeerAddress`]). Peers of one IPv4 address, or of one IPv6 /64 network, share their limits.
    pub fn from_socket(address: SocketAddr) -> Self {
        let group = match address.ip().to_canonical() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
        };
        Self::in_group(PeerAddress::from(address).to_string(), group)
    }

    /// A peer that shares its limits with all others of `group`.
    pub fn in_group(name: impl Into<String>, group: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), group: Some(group.into()) }
    }

    /// A peer whose transport hides who it is, as an onion service's: only the limits per connection and in all apply.
    pub fn anonymous(name: impl Into<String>) -> Self {
        Self { name: name.into(), group: None }
    }

    /// Whose limits this peer shares.
    pub(crate) const fn group(&self) -> Option<&Arc<str>> {
        self.group.as_ref()
    }
}

/// The name for logs.
impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The name alone: the group is an address.
impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeerId").field(&self.name).finish()
    }
}

/// Several transports as one, chosen by the address's kind.
///
/// ```
/// use privatix_somc::{DirectTransport, SourceType, Transports};
///
/// let transports = Transports::new().with(SourceType::Direct, DirectTransport::public_only());
/// ```
#[derive(Clone, Default)]
pub struct Transports(BTreeMap<SourceType, Arc<dyn Transport>>);

impl Transports {
    /// No transport yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Dials addresses of `kind` with `transport`.
    #[must_use]
    pub fn with(mut self, kind: SourceType, transport: impl Transport + 'static) -> Self {
        self.0.insert(kind, Arc::new(transport));
        self
    }
}

impl fmt::Debug for Transports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transports").field(&self.0.keys()).finish()
    }
}

#[async_trait]
impl Transport for Transports {
    async fn connect(&self, address: &SomcAddress) -> Result<BoxStream, TransportError> {
        match self.0.get(&address.kind()) {
            Some(transport) => transport.connect(address).await,
            None => Err(TransportError::Unsupported { kind: address.kind() }),
        }
    }
}

/// One direction of a connection, in clear or out of a session.
pub(crate) type Reading = Box<dyn AsyncRead + Send + Unpin>;
/// The other direction.
pub(crate) type Writing = Box<dyn AsyncWrite + Send + Unpin>;

/// The two directions of a connection.
pub(crate) fn split(stream: BoxStream) -> (FrameReader<Reading>, Writing) {
    let (reader, writer) = tokio::io::split(stream);
    (FrameReader::new(Box::new(reader)), Box::new(writer))
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No transport for this kind of address.
    #[error(
        "no transport for {kind} addresses is enabled; enable it in the configuration or choose another offering"
    )]
    Unsupported {
        /// The kind asked for.
        kind: SourceType,
    },
    /// The address leads into a private network.
    #[error(
        "{address} leads to {ip}, which is not a public address; allow private addresses if you trust this agent"
    )]
    NotPublic {
        /// The announced address.
        address: SomcAddress,
        /// What it resolved to.
        ip: IpAddr,
    },
    /// The name does not resolve.
    #[error("cannot reach {address}: {source}")]
    Resolve {
        /// The address.
        address: SomcAddress,
        /// What the resolver said.
        source: ResolveError,
    },
    /// The endpoint cannot be reached.
    #[error("cannot reach {address}: {source}")]
    Unreachable {
        /// The address.
        address: SomcAddress,
        /// What the network said.
        source: io::Error,
    },
    /// The SOCKS5 proxy gave no connection.
    #[error("cannot reach {address} through the SOCKS5 proxy at {proxy}: {source}")]
    Socks {
        /// The address.
        address: SomcAddress,
        /// The proxy.
        proxy: SocketAddr,
        /// What the proxy replied, or what is wrong with it.
        source: SocksError,
    },
    /// The address to listen on cannot be taken.
    #[error("cannot listen on {address}: {source}; choose another port or stop the program that has it")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Accepting a connection failed.
    #[error("cannot accept a connection: {0}")]
    Accept(#[source] io::Error),
    /// This side has no connection to the network that the transport goes over. It says nothing of the address.
    #[error(transparent)]
    Offline(Box<dyn std::error::Error + Send + Sync>),
    /// An error of a transport from elsewhere.
    #[error("transport failed: {0}")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_of_one_network_share_their_limits() {
        let group = |text: &str| PeerId::from_socket(text.parse().unwrap()).group().cloned();
        assert_eq!(group("192.0.2.1:1"), group("192.0.2.1:2"));
        assert_eq!(group("192.0.2.1:1"), group("[::ffff:192.0.2.1]:1"));
        assert_ne!(group("192.0.2.1:1"), group("192.0.2.2:1"));
        assert_eq!(group("[2001:db8:1:2::1]:1"), group("[2001:db8:1:2:ffff::1]:9"));
        assert_ne!(group("[2001:db8:1:2::1]:1"), group("[2001:db8:1:3::1]:1"));
        assert_eq!(PeerId::anonymous("circuit 7").group(), None);
    }
}
