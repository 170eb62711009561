//! Accepts connections, finds out which protocol each speaks, and sees them all to their end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use privatix_adapter::Refusal;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::{Backend, http, socks};

/// Opens a port; `[::]` takes both families of addresses.
///
/// # Errors
/// [`Refusal::Unavailable`], e.g. for a port in use.
pub(crate) async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Refusal> {
    let unavailable = |error: std::io::Error| Refusal::Unavailable {
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
    full: Arc<AtomicBool>,
}

impl Listener {
    /// Serves `listener` for `backend`. `places` bounds the connections at once; it may be shared with other ports.
    pub(crate) fn serve<B: Backend>(listener: TcpListener, backend: Arc<B>, places: Arc<Semaphore>) -> Self {
        let stop = CancellationToken::new();
        let full = Arc::new(AtomicBool::new(false));
        let accepting = tokio::spawn(accept(listener, backend, places, stop.clone(), Arc::clone(&full)));
        Self { stop: stop.drop_guard(), accepting, full }
    }

    /// Whether the last connection found no place.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
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
    places: Arc<Semaphore>,
    stop: CancellationToken,
    full: Arc<AtomicBool>,
) {
    let connections = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely; some will come free.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let place = Arc::clone(&places).try_acquire_owned();
        let was_full = full.swap(place.is_err(), Ordering::Relaxed);
        let Ok(place) = place else {
            if !was_full {
                tracing::warn!(%peer, "connections are turned away, all places are taken"); // once, lest a flood fills the log
            }
            continue;
        };
        let (backend, stop) = (Arc::clone(&backend), stop.clone());
        connections.spawn(async move {
            stop.run_until_cancelled(serve(&*backend, stream, peer)).await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn serve<B: Backend>(backend: &B, stream: TcpStream, peer: SocketAddr) {
    // Without it small messages wait for acknowledgements of earlier ones, twice per relay.
    let _ = stream.set_nodelay(true);
    let mut first = [0];
    let spoke = tokio::time::timeout(backend.limits().handshake, stream.peek(&mut first)).await;
    match (spoke, first) {
        (Ok(Ok(1)), [5]) => socks::serve(backend, stream, peer).await,
        // Each HTTP method is a token of letters.
        (Ok(Ok(1)), [letter]) if letter.is_ascii_alphabetic() => http::serve(backend, stream, peer).await,
        _ => tracing::debug!(%peer, "connection closed, it speaks neither SOCKS5 nor HTTP"),
    }
}
