//! A SOCKS port on loopback for one destination: how an HTTP client that knows nothing of Tor goes over it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arti_client::config::BoolOrAuto;
use arti_client::{IsolationToken, StreamPrefs};
use fast_socks5::server::Socks5ServerProtocol;
use fast_socks5::util::target_addr::TargetAddr;
use fast_socks5::{ReplyError, Socks5Command};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{Tor, TorError};

/// For a program to say what it wants.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections at once.
const CONNECTIONS: usize = 64;

/// A SOCKS port (RFC 1928) that goes over Tor to one host only: to whoever else on this machine finds it, it is no way
/// to anywhere else, so it asks for no password.
#[derive(Debug)]
pub struct LocalProxy {
    tor: Tor,
    listener: TcpListener,
    address: SocketAddr,
    host: String,
}

impl Tor {
    /// Opens a port that leads to `host`.
    ///
    /// # Errors
    /// [`TorError::Listen`].
    pub async fn proxy_to(&self, host: impl Into<String>) -> Result<LocalProxy, TorError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(TorError::Listen)?;
        let address = listener.local_addr().map_err(TorError::Listen)?;
        Ok(LocalProxy { tor: self.clone(), listener, address, host: host.into() })
    }
}

impl LocalProxy {
    /// The port.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the port until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut connections = JoinSet::new();
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let way = Arc::new(Way { tor: self.tor, host: self.host, isolation: IsolationToken::new() });
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match (accepted, Arc::clone(&places).try_acquire_owned()) {
                (Ok((stream, _)), Ok(place)) => {
                    let way = Arc::clone(&way);
                    connections.spawn(async move {
                        way.serve(stream).await;
                        drop(place);
                    });
                }
                (Ok(_), Err(_)) => {} // full
                (Err(error), _) => {
                    tracing::warn!(%error, "cannot accept a connection to the chain endpoint's local port");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

struct Way {
    tor: Tor,
    host: String,
    isolation: IsolationToken,
}

impl Way {
    async fn serve(&self, stream: TcpStream) {
        let asked = async {
            let opened = Socks5ServerProtocol::accept_no_auth(stream).await?;
            opened.read_command().await
        };
        let (protocol, command, target) = match tokio::time::timeout(HANDSHAKE, asked).await {
            Ok(Ok(asked)) => asked,
            Ok(Err(error)) => return tracing::debug!(%error, "SOCKS handshake failed"),
            Err(_) => return tracing::debug!("SOCKS handshake took too long"),
        };
        let (host, port) = match target {
            TargetAddr::Ip(address) => (address.ip().to_string(), address.port()),
            TargetAddr::Domain(name, port) => (name, port),
        };
        if command != Socks5Command::TCPConnect || !host.eq_ignore_ascii_case(&self.host) {
            let _ = protocol.reply_error(&ReplyError::ConnectionNotAllowed).await;
            return;
        }
        let mut prefs = StreamPrefs::new();
        prefs.set_isolation(self.isolation).connect_to_onion_services(BoolOrAuto::Explicit(true));
        let onward = self.tor.client().connect_with_prefs((host.as_str(), port), &prefs).await;
        match onward {
            Ok(mut onward) => {
                let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
                if let Ok(mut stream) = protocol.reply_success(nowhere).await {
                    // How it ends shows on either side.
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the chain endpoint was not reached over Tor");
                let _ = protocol.reply_error(&ReplyError::HostUnreachable).await;
            }
        }
    }
}
