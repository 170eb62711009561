//! Clients' circuits to an onion service, bounded: each may be a stranger's.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arti_client::DataStream;
use async_trait::async_trait;
use futures::{Stream, StreamExt as _};
use privatix_somc::{BoxStream, Listener, PeerId, TransportError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tor_cell::relaycell::msg::{Connected, End};
use tor_hsservice::{RendRequest, StreamRequest};
use tor_proto::stream::IncomingStreamRequest;

/// Circuits at once; further ones are dropped. The messaging server has its own, stricter limits for connections.
const CIRCUITS: usize = 4096;
/// Circuits that are being built at once: what a flood of introductions costs.
const BUILDING: usize = 1024;
/// For a circuit to the client's rendezvous point, which may be one that does not answer.
const BUILD: Duration = Duration::from_secs(30);
/// A circuit without streams ends after this time: so the circuits above last against all introductions that three
/// introduction points pass on, 75 a second.
const IDLE: Duration = Duration::from_secs(30);

/// A stream that came in, and over which circuit.
pub(crate) type Arrival = (BoxStream, PeerId);

/// Takes what clients open to whoever accepts it, until arti ends the service.
pub(crate) async fn serve(
    requests: impl Stream<Item = RendRequest> + Send,
    port: u16,
    streams: &mpsc::Sender<Arrival>,
) {
    let mut circuits = JoinSet::new();
    let building = Arc::new(Semaphore::new(BUILDING));
    let mut requests = std::pin::pin!(requests);
    let mut number = 0_u64;
    loop {
        let request = tokio::select! {
            biased;
            Some(_) = circuits.join_next() => continue,
            request = requests.next() => request,
        };
        let Some(request) = request else { return };
        // Dropping a request refuses it; its client tries another introduction.
        let Ok(permit) = Arc::clone(&building).try_acquire_owned() else { continue };
        if circuits.len() >= CIRCUITS {
            continue;
        }
        number += 1;
        let (peer, streams) = (format!("circuit {number}"), streams.clone());
        circuits.spawn(async move {
            match timeout(BUILD, request.accept()).await {
                Ok(Ok(opened)) => {
                    drop(permit);
                    circuit(opened, port, &peer, &streams).await;
                }
                Ok(Err(error)) => tracing::debug!(peer, %error, "circuit to a client failed"),
                Err(_) => tracing::debug!(peer, "circuit to a client took too long"),
            }
        });
    }
}

async fn circuit(
    mut opened: impl Stream<Item = StreamRequest> + Unpin,
    port: u16,
    peer: &str,
    streams: &mpsc::Sender<Arrival>,
) {
    let in_use = Arc::new(());
    loop {
        let request = match timeout(IDLE, opened.next()).await {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(_) if Arc::strong_count(&in_use) > 1 => continue,
            Err(_) => return tracing::debug!(peer, "circuit closed, it had no streams"),
        };
        let wanted = matches!(request.request(), IncomingStreamRequest::Begin(begin) if begin.port() == port);
        if !wanted {
            // What other services answer, so that this one looks like them (arti, `StreamRequest::reject`).
            let _ = request.reject(End::new_with_reason(tor_cell::relaycell::msg::EndReason::DONE)).await;
            continue;
        }
        match request.accept(Connected::new_empty()).await {
            Ok(stream) => {
                let stream = Counted { stream, _in_use: Arc::clone(&in_use) };
                // One circuit is one client, as far as can be known.
                let peer = PeerId::in_group(peer, peer);
                if streams.send((Box::new(stream), peer)).await.is_err() {
                    return; // nobody accepts any more
                }
            }
            Err(error) => tracing::debug!(peer, %error, "stream from a client failed"),
        }
    }
}

/// A stream that counts as use of its circuit.
struct Counted {
    stream: DataStream,
    _in_use: Arc<()>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.stream), cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.stream), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.stream), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.stream), cx)
    }
}

/// Accepts an onion service's connections.
#[derive(Debug)]
pub struct OnionListener {
    streams: mpsc::Receiver<Arrival>,
}

impl OnionListener {
    pub(crate) const fn new(streams: mpsc::Receiver<Arrival>) -> Self {
        Self { streams }
    }
}

#[async_trait]
impl Listener for OnionListener {
    async fn accept(&mut self) -> Result<(BoxStream, PeerId), TransportError> {
        match self.streams.recv().await {
            Some(arrival) => Ok(arrival),
            // The service has ended, and with it the daemon: there is nothing to accept until then.
            None => std::future::pending().await,
        }
    }
}
