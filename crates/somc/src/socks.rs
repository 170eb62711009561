//! The transport through a SOCKS5 proxy: a tor daemon that runs already.

use std::{fmt, net::SocketAddr, sync::Arc};

use alloy::{hex, primitives::keccak256};
use async_trait::async_trait;
use privatix_net::{SocksLogin, socks_connect};

use crate::{BoxStream, SomcAddress, SourceType, Transport, TransportError, direct::is_public};

/// Dials agents through a SOCKS5 proxy, such as a tor daemon's `SocksPort` (`127.0.0.1:9050`).
///
/// Names and onion addresses go to the proxy as they are: nothing is looked up here.
///
/// **Agents are kept apart.** Each is asked for with a user name and a password of its own: the name is random for each
/// transport, the password stands for the agent's address. Tor uses no circuit for streams of different logins
/// (`IsolateSOCKSAuth`, on by default: tor's manual, section "Client options", `SocksPort`). So two agents cannot learn from
/// a shared circuit that they serve one client, and no other program of this machine shares a circuit with it either. A
/// proxy that takes no login is therefore refused.
///
/// With `ExtendedErrors` at its `SocksPort`, tor says why it did not reach an onion service, and the error then names it.
///
/// ```
/// use privatix_somc::{SocksTransport, SourceType, Transports};
///
/// let tor = SocksTransport::new(([127, 0, 0, 1], 9050).into()).with_exits();
/// let transports = Transports::new().with(SourceType::Tor, tor.clone()).with(SourceType::Direct, tor);
/// ```
#[derive(Clone)]
pub struct SocksTransport {
    proxy: SocketAddr,
    username: Arc<str>,
    exits: bool,
}

impl SocksTransport {
    /// Dials onion addresses alone, through the proxy at `proxy`.
    pub fn new(proxy: SocketAddr) -> Self {
        let username = hex::encode(rand::random::<[u8; 16]>());
        Self { proxy, username: username.into(), exits: false }
    }

    /// Dials direct addresses, too: for tor, through its exits. Addresses of private networks are refused; a name that
    /// leads to one is the proxy's to refuse, as tor does (`ClientRejectInternalAddresses`).
    #[must_use]
    pub const fn with_exits(mut self) -> Self {
        self.exits = true;
        self
    }

    fn login(&self, address: &SomcAddress) -> Option<SocksLogin> {
        // A hash, as an address can be longer than a password.
        let password = hex::encode(keccak256(address.to_string()));
        SocksLogin::new(&*self.username, password)
    }
}

/// Without the login: who knows it could join the circuits.
impl fmt::Debug for SocksTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocksTransport")
            .field("proxy", &self.proxy)
            .field("exits", &self.exits)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for SocksTransport {
    async fn connect(&self, address: &SomcAddress) -> Result<BoxStream, TransportError> {
        let kind = address.kind();
        match (kind, self.exits) {
            (SourceType::Tor, _) => {}
            (SourceType::Direct, true) => {
                if let Some(ip) = address.host().parse().ok().filter(|ip| !is_public(*ip)) {
                    return Err(TransportError::NotPublic { address: address.clone(), ip });
                }
            }
            _ => return Err(TransportError::Unsupported { kind }),
        }
        let login = self.login(address);
        let connected = socks_connect(self.proxy, login.as_ref(), address.host(), address.port()).await;
        match connected {
            Ok(stream) => Ok(Box::new(stream)),
            Err(source) => Err(TransportError::Socks { address: address.clone(), proxy: self.proxy, source }),
        }
    }
}
