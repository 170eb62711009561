//! The direct transport: plain TCP.
//!
//! It needs no secrecy of its own: offerings are public and signed, access is sealed and signed, and a voucher can only
//! move money to its agent.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use async_trait::async_trait;
use privatix_net::{Resolver, Share};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{BoxStream, Listener, PeerId, SomcAddress, SourceType, Transport, TransportError};

/// Addresses of one name that are tried: a stranger's name must not make its readers knock on many doors.
const MAX_CANDIDATES: usize = 8;
/// For one of several addresses, so that one that swallows what it is sent does not stand before those that answer.
const PER_CANDIDATE: Duration = Duration::from_secs(10);

/// Dials [`SourceType::Direct`] addresses over TCP.
#[derive(Clone, Debug)]
pub struct DirectTransport {
    allow_private: bool,
    /// An offering names any host it likes.
    lookups: Share,
}

impl DirectTransport {
    /// Refuses addresses that are not on the public internet, also when a public name resolves to them: an offering is
    /// written by a stranger and must not make its reader knock on doors of the reader's own network.
    pub fn public_only() -> Self {
        Self { allow_private: false, lookups: Resolver::system().share() }
    }

    /// Dials every address: for local networks and tests.
    pub fn anywhere() -> Self {
        Self { allow_private: true, lookups: Resolver::system().share() }
    }

    /// Looks names up with `resolver` instead of the system's.
    #[must_use]
    pub fn resolver(mut self, resolver: &Resolver) -> Self {
        self.lookups = resolver.share();
        self
    }
}

#[async_trait]
impl Transport for DirectTransport {
    async fn connect(&self, address: &SomcAddress) -> Result<BoxStream, TransportError> {
        if address.kind() != SourceType::Direct {
            return Err(TransportError::Unsupported { kind: address.kind() });
        }
        let resolved = self
            .lookups
            .lookup(address.host())
            .await
            .map_err(|source| TransportError::Resolve { address: address.clone(), source })?;
        let (candidates, refused): (Vec<_>, Vec<_>) = resolved
            .into_iter()
            .map(|ip| SocketAddr::new(ip, address.port()))
            .take(MAX_CANDIDATES)
            .partition(|candidate| self.allow_private || is_public(candidate.ip()));
        if let ([], [private, ..]) = (&*candidates, &*refused) {
            return Err(TransportError::NotPublic { address: address.clone(), ip: private.ip() });
        }
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        // The address that was checked is the one dialled: resolving again could give another.
        for candidate in &candidates {
            match dial(*candidate, candidates.len() > 1).await {
                Ok(stream) => return Ok(Box::new(stream)),
                Err(error) => failure = error,
            }
        }
        Err(TransportError::Unreachable { address: address.clone(), source: failure })
    }
}

async fn dial(address: SocketAddr, one_of_several: bool) -> io::Result<TcpStream> {
    let connect = TcpStream::connect(address);
    let stream = if one_of_several { timeout(PER_CANDIDATE, connect).await?? } else { connect.await? };
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Accepts TCP connections.
#[derive(Debug)]
pub struct DirectListener {
    listener: TcpListener,
    local: SocketAddr,
}

impl DirectListener {
    /// Listens on `address` (port 0 takes a free one). `[::]` takes connections over IPv4, too.
    pub async fn bind(address: SocketAddr) -> Result<Self, TransportError> {
        let failed = |source| TransportError::Listen { address: address.to_string(), source };
        let listener = privatix_net::listen(address).await.map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, local })
    }

    /// The address it listens on, with the port really taken.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

#[async_trait]
impl Listener for DirectListener {
    async fn accept(&mut self) -> Result<(BoxStream, PeerId), TransportError> {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // It fails on a connection that has ended already, which whoever reads it will find.
                    let _ = stream.set_nodelay(true);
                    return Ok((Box::new(stream), PeerId::from_socket(address)));
                }
                // A stranger that left again is not the listener's trouble, and must not slow it down.
                Err(error) if is_strangers(&error) => {}
                Err(error) => return Err(TransportError::Accept(error)),
            }
        }
    }
}

fn is_strangers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Whether `ip` is routed on the public internet (IANA special-purpose registries).
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

const fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(a == 0
        || ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_documentation()
        || a == 100 && b >= 64 && b < 128 // carrier-grade NAT
        || a == 192 && b == 0 && c == 0 // IETF protocols
        || a == 198 && (b == 18 || b == 19) // benchmarks
        || a >= 224) // multicast, reserved, broadcast
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, c, ..] = ip.segments();
    // Networks that carry an IPv4 address inside are as public as that one.
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b) {
        (0x2002, _) => embedded(b, c),                                            // 6to4
        (0x64, 0xff9b) if c == 0 => embedded(ip.segments()[6], ip.segments()[7]), // NAT64
        (0x2001, b) if b < 0x0200 => false, // Teredo and other protocols
        (0x2001, 0x0db8) => false,          // documentation
        (0x3fff, b) if b < 0x1000 => false, // documentation
        _ => a & 0xe000 == 0x2000,          // global unicast is 2000::/3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_private_networks_are_told_from_public_ones() {
        for ip in [
            "0.0.0.0",
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "203.0.113.5",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "2002:7f00:1::",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2001:db8::1",
            "2001::1",
            "3fff::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in
            ["1.1.1.1", "8.8.8.8", "100.128.0.1", "2606:4700::1111", "64:ff9b::1.1.1.1", "2002:101:101::"]
        {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }
}
