//! Accepts connections, finds out which protocol each speaks, and sees them all to their end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use privatix_adapter::AdapterRefusal;
use privatix_channel::ChannelId;
use privatix_net::PeerAddress;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::places::{Place, Places};
use super::strangers::{Stranger, Strangers};
use super::{Backend, DialError, LoginRefused, MeterAt, http, socks};
use crate::channel::Channel;
use crate::destination::Target;
use crate::settings::Limits;

/// Opens a port; `[::]` takes both families of addresses.
///
/// # Errors
/// [`AdapterRefusal::Unavailable`], e.g. for a port in use.
pub(crate) async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), AdapterRefusal> {
    let unavailable = |error: std::io::Error| AdapterRefusal::Unavailable {
        reason: format!("cannot listen on {address}: {error}"),
        remedy: "free the port, or set `listen` to another".to_owned(),
    };
    let listener = privatix_net::listen(address).await.map_err(unavailable)?;
    let local = listener.local_addr().map_err(unavailable)?;
    Ok((listener, local))
}

/// A port being served. Dropped, it closes the port and all connections.
pub(crate) struct Listener {
    stop: DropGuard,
    accepting: JoinHandle<()>,
}

impl Listener {
    /// Serves `listener` for `backend`. `places` bounds the connections at once; it may be shared with other ports.
    pub(crate) fn serve<B: Backend>(listener: TcpListener, backend: Arc<B>, places: Arc<Places>) -> Self {
        let stop = CancellationToken::new();
        let accepting = tokio::spawn(accept(listener, backend, places, stop.clone()));
        Self { stop: stop.drop_guard(), accepting }
    }

    /// Whether the port is still served.
    pub(crate) fn is_alive(&self) -> bool {
        !self.accepting.is_finished()
    }

    /// Closes the port and all connections, and waits until they are gone.
    pub(crate) async fn shut_down(self) {
        drop(self.stop);
        if let Err(failed) = self.accepting.await {
            tracing::error!(error = %failed, "accepting connections ended badly");
        }
    }
}

async fn accept<B: Backend>(
    listener: TcpListener,
    backend: Arc<B>,
    places: Arc<Places>,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let strangers = Arc::new(Strangers::default());
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let (stream, peer) = match accepted {
            Ok((stream, address)) => (stream, PeerAddress::from(address)),
            Err(error) => {
                // Out of file descriptors, most likely; some will come free.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Where nobody logs in, everybody has.
        let open_to = backend.open_to_all();
        let place = match (places.admit(open_to.is_none().then_some(peer.ip())), open_to) {
            (Ok(place), Some(channel)) => place.log_in(channel.id()).is_ok().then_some(place),
            (place, _) => place.ok(),
        };
        let Some(place) = place else {
            tracing::debug!(%peer, "connection turned away");
            continue;
        };
        let visit = Visit { backend: Arc::clone(&backend), place };
        let (strangers, stop) = (Arc::clone(&strangers), stop.clone());
        connections.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = visit.place.dismissed() => {
                    tracing::debug!(%peer, "connection closed, it had not logged in and another needed its place");
                }
                () = serve(&visit, &strangers, stream, peer) => {}
            }
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// What one connection sees of the side that it is served by: a login takes a place.
struct Visit<B> {
    backend: Arc<B>,
    place: Place,
}

#[async_trait]
impl<B: Backend> Backend for Visit<B> {
    fn open_to_all(&self) -> Option<Arc<Channel>> {
        self.backend.open_to_all()
    }

    fn login(&self, peer: IpAddr, username: &str, password: &[u8]) -> Result<Arc<Channel>, LoginRefused> {
        let channel = self.backend.login(peer, username, password)?;
        self.place.log_in(channel.id()).map_err(|_| LoginRefused::Full)?;
        Ok(channel)
    }

    async fn dial(&self, channel: ChannelId, target: &Target) -> Result<TcpStream, DialError> {
        self.backend.dial(channel, target).await
    }

    fn limits(&self) -> &Limits {
        self.backend.limits()
    }

    fn meter(&self) -> MeterAt {
        self.backend.meter()
    }
}

async fn serve<B: Backend>(backend: &B, strangers: &Strangers, stream: TcpStream, peer: PeerAddress) {
    // Without it small messages wait for acknowledgements of earlier ones, twice per relay.
    let _ = stream.set_nodelay(true);
    let mut first = [0];
    let spoke = tokio::time::timeout(backend.limits().handshake, stream.peek(&mut first)).await;
    match (spoke, first) {
        (Ok(Ok(1)), [5]) => socks::serve(backend, stream, peer).await,
        (Ok(Ok(1)), [byte]) if http::may_begin_with(byte) => http::serve(backend, stream, peer).await,
        (Ok(Ok(1)), [byte]) => strangers.refuse(Stranger::of(byte), stream, peer).await,
        _ => tracing::debug!(%peer, "connection closed, nothing was asked for"),
    }
}
