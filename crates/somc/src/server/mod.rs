//! The agent's side: accepts connections and answers their requests.

mod access;
mod connection;
mod greeting;
mod lanes;
mod peers;
mod stats;
mod watchers;
mod writer;

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use privatix_channel::ChannelId;
use tokio::{
    io::AsyncWriteExt as _,
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

pub use self::stats::ServerStats;
use self::{connection::Connection, peers::PeerTable, stats::Counters, watchers::Watchers};
use crate::{
    BoxStream, Identities, Listener, Notice, PeerId, Refusal, ServerLimits, Service,
    frame::FrameReader,
    message,
    transport::{Reading, Writing, split},
};

/// Connections over the limit that are being informed of it at the same time; more are just dropped.
const MAX_TURNED_AWAY: usize = 64;
/// For a peer to take the word that ends its connection.
const FAREWELL: Duration = Duration::from_secs(1);
/// What is still read from a peer after that word.
const FAREWELL_BYTES: usize = 256 * 1024;
/// How long a client is asked to wait when all places are taken.
const FULL: Duration = Duration::from_secs(5);

/// A server of the messaging channel. Clones share their limits, so that one agent can serve several listeners.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    service: Arc<dyn Service>,
    limits: ServerLimits,
    peers: Arc<PeerTable>,
    turned_away: Arc<Semaphore>,
    calls: Semaphore,
    strangers_calls: Semaphore,
    /// `None` speaks version 1 only.
    identities: Option<Arc<dyn Identities>>,
    handshakes: Semaphore,
    watchers: Arc<Watchers>,
    counters: Counters,
}

impl Server {
    /// A server that answers with `service`, in clear.
    pub fn new(service: impl Service + 'static, limits: ServerLimits) -> Self {
        Self::start(service, limits, None)
    }

    /// A server that answers with `service`, in sessions in which it proves to be one of these agents, and in clear.
    pub fn with_identities(
        service: impl Service + 'static,
        limits: ServerLimits,
        identities: Arc<dyn Identities>,
    ) -> Self {
        Self::start(service, limits, Some(identities))
    }

    fn start(
        service: impl Service + 'static,
        limits: ServerLimits,
        identities: Option<Arc<dyn Identities>>,
    ) -> Self {
        let shared = Shared {
            service: Arc::new(service),
            peers: PeerTable::new(&limits),
            turned_away: Arc::new(Semaphore::new(MAX_TURNED_AWAY)),
            calls: Semaphore::new(limits.max_calls.clamp(1, Semaphore::MAX_PERMITS)),
            strangers_calls: Semaphore::new((limits.max_calls / 2).clamp(1, Semaphore::MAX_PERMITS)),
            identities,
            handshakes: Semaphore::new(limits.max_handshakes.clamp(1, Semaphore::MAX_PERMITS)),
            watchers: Arc::default(),
            counters: Counters::default(),
            limits,
        };
        Self { shared: Arc::new(shared) }
    }

    /// What it has done so far.
    pub fn stats(&self) -> ServerStats {
        self.shared.counters.read(self.shared.peers.counts().0)
    }

    /// Sends clients what they did not ask for.
    pub fn notifier(&self) -> Notifier {
        Notifier(Arc::clone(&self.shared.watchers))
    }

    /// Serves connections of `listener` until `shutdown`.
    ///
    /// Then it accepts and reads no more, answers what is in flight within
    /// [`shutdown_grace`](ServerLimits::shutdown_grace), says goodbye and returns. Dropping the future instead ends all
    /// its connections at once.
    pub async fn serve(&self, mut listener: impl Listener, shutdown: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.receive(stream, &peer, &mut connections, &shutdown),
                Err(error) => {
                    // Often too many open files: some connection must end first.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::select! {
                        () = shutdown.cancelled() => break,
                        () = tokio::time::sleep(Duration::from_millis(100)) => {}
                    }
                }
            }
        }
        drop(listener);
        // Each connection keeps the grace itself; this bounds what a connection does around it.
        let patience = self.shared.limits.shutdown_grace.saturating_add(3 * FAREWELL);
        if timeout(patience, async { while connections.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!(
                connections = connections.len(),
                "connections did not end in time and are aborted"
            );
            connections.shutdown().await;
        }
    }

    fn receive(
        &self,
        stream: BoxStream,
        peer: &PeerId,
        connections: &mut JoinSet<()>,
        shutdown: &CancellationToken,
    ) {
        let span = tracing::debug_span!("connection", %peer);
        match self.shared.peers.admit(peer, Instant::now()) {
            Ok(ticket) => {
                if ticket.made_room() {
                    self.shared.counters.dismissed();
                }
                let (shared, shutdown) = (Arc::clone(&self.shared), shutdown.clone());
                let connection = async move {
                    let _open = shared.counters.open_connection();
                    Connection::serve(&shared, stream, Arc::new(ticket), &shutdown).await;
                };
                connections.spawn(connection.instrument(span));
            }
            Err(refusal) => {
                self.shared.counters.turned_away();
                tracing::debug!(parent: &span, %refusal, "connection turned away");
                if let Ok(permit) = Arc::clone(&self.shared.turned_away).try_acquire_owned() {
                    connections.spawn(
                        async move {
                            let (reader, writer) = split(stream);
                            turn_away(reader, writer, &refusal).await;
                            drop(permit);
                        }
                        .instrument(span),
                    );
                }
            }
        }
    }
}

/// Sends views of channels to the clients that proved them. It holds neither the server nor its service, so that these may hold it.
#[derive(Clone, Debug)]
pub struct Notifier(Arc<Watchers>);

impl Notifier {
    /// Whether anybody is sent the notices of this channel.
    pub fn is_watched(&self, channel: ChannelId) -> bool {
        self.0.has(channel)
    }

    /// Sends a view to the connections on which its channel is proved. It waits for nothing: of views that come faster than a connection
    /// takes them, it is sent the newest.
    pub fn notify(&self, notice: Notice) {
        self.0.notify(notice);
    }

    /// Sends no more notices of a channel, which takes no place on its connections any more: it is closed.
    pub fn forget(&self, channel: ChannelId) {
        self.0.forget(channel);
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

/// Informs a connection why it ends, and ends it.
async fn turn_away(reader: FrameReader<Reading>, mut writer: Writing, refusal: &Refusal) {
    let deadline = Instant::now() + FAREWELL;
    let mut out = BytesMut::new();
    if message::put_bye(&mut out, refusal).is_ok() {
        let say = async { writer.write_all(&out).await.is_ok() && writer.shutdown().await.is_ok() };
        if matches!(timeout_at(deadline, say).await, Ok(true)) {
            reader.linger(FAREWELL_BYTES, deadline).await;
        }
    }
}
