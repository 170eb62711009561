//! The API's connections: those that have shown the token have places of their own.

use std::sync::Arc;
use std::time::Duration;

use jsonrpsee::server::{HttpBody, Methods, ServerConfig, serve_with_graceful_shutdown};
use privatix_net::{Network, PeerAddress, VisitorLimits};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::GRACE;
use super::guard::{GuardLayer, Rules};

/// All who show the token are one owner.
pub(crate) type Place = privatix_net::Place<Network, ()>;
type Places = privatix_net::Places<Network, ()>;

/// What is accepted without the token: enough for those that ask for the health page.
pub(crate) const STRANGERS: u32 = 32;

/// Accepts connections until `shutdown`, then lets the requests under way come to their end.
pub(crate) async fn serve(
    listener: TcpListener,
    config: ServerConfig,
    most: usize,
    rules: Arc<Rules>,
    methods: Methods,
    shutdown: CancellationToken,
) {
    let strangers = usize::try_from(STRANGERS).unwrap_or(usize::MAX);
    let places = Places::new(VisitorLimits {
        strangers,
        strangers_per_group: strangers,
        known: most,
        known_per_owner: most,
    });
    let builder = jsonrpsee::server::Server::builder().set_config(config).to_service_builder();
    let (stop, stopping) = jsonrpsee::server::stop_channel();
    let connections = TaskTracker::new();
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let (stream, peer) = match accepted {
            Ok((stream, address)) => (stream, PeerAddress::from(address)),
            Err(error) => {
                // Out of file descriptors, most likely; some will come free.
                tracing::warn!(%error, "the control API cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // None only while each of the strangers is being answered, which takes no time.
        let Ok(place) = places.admit(Some(Network::from(peer.ip()))) else { continue };
        let place = Arc::new(place);
        let guard = GuardLayer { rules: Arc::clone(&rules), place: Arc::clone(&place) };
        let service = builder.clone().set_http_middleware(tower::ServiceBuilder::new().layer(guard));
        let service = service.build(methods.clone(), stop.clone());
        let service = tower::ServiceBuilder::new()
            .map_request(|request: http::Request<_>| request.map(HttpBody::new))
            .service(service);
        let stopped = stop.clone().shutdown();
        connections.spawn(async move {
            tokio::select! {
                served = serve_with_graceful_shutdown(stream, service, stopped) => {
                    if let Err(error) = served {
                        tracing::debug!(%peer, error, "a connection to the control API broke");
                    }
                }
                () = place.dismissed() => {
                    tracing::debug!(%peer, "connection to the control API closed, another without the token came");
                }
            }
        });
    }
    drop(listener);
    // Fails only if nobody waits for it, and then all connections have ended.
    let _ = stopping.stop();
    connections.close();
    if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
        tracing::warn!("requests to the control API were aborted by the shutdown");
    }
}
