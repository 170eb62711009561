//! What each side puts up with.

use std::time::Duration;

use crate::RateLimit;

/// What a server puts up with. The sizes of messages are not here: they belong to the protocol
/// ([`Method::max_request`](crate::Method::max_request)).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerLimits {
    /// Connections that have proved a channel, by a payment that was acknowledged or refused as `stale` or `equal`, or by
    /// access that they were given. They have
    /// places of their own and are never ended for another's sake. Beyond this number those that prove a channel count as
    /// strangers still.
    pub max_connections: usize,
    /// Of these, connections of one channel.
    pub max_connections_per_channel: usize,
    /// Connections that have not proved a channel: strangers. When all their places are taken, the one that has been idle
    /// the longest ends to make room for a new one; a new one is answered that the server is busy only if each of them is
    /// being answered.
    pub max_strangers: usize,
    /// Of these, connections of one peer (see [`PeerId`](crate::PeerId)). Raise it where many peers have one address: behind
    /// a container's port mapping or a load balancer that does not keep addresses.
    pub max_connections_per_peer: usize,
    /// Cost (see [`Method::cost`](crate::Method::cost)) of the requests of one connection that are being answered; the
    /// server reads no further until some of them are.
    pub max_in_flight: u32,
    /// Channels that one connection may prove, so that it is sent their notices.
    pub max_attached: usize,
    /// Calls of the [`Service`](crate::Service) at the same time, over all connections; others wait in the order in
    /// which they came, and are answered that the server is busy when [`request_timeout`](Self::request_timeout) passes so.
    /// Strangers have at most half of them.
    pub max_calls: usize,
    /// Cost of requests that one connection may send.
    pub connection_rate: RateLimit,
    /// Cost of requests that all connections of one peer that have not proved a channel may send together. New connections
    /// have the same rate once more, for themselves; each costs [`CONNECTION_COST`](Self::CONNECTION_COST), its first
    /// payment included.
    pub peer_rate: RateLimit,
    /// Handshakes of sessions that are computed at the same time, in the order in which they came. Each takes a core for about
    /// 0.2 ms; half of the cores leave the other half to those who are connected.
    pub max_handshakes: usize,
    /// From accepting a connection to the end of its hello.
    pub handshake_timeout: Duration,
    /// From a frame's first byte to its last.
    pub frame_timeout: Duration,
    /// Without any request.
    pub idle_timeout: Duration,
    /// For the service to answer a request.
    pub request_timeout: Duration,
    /// For a peer to take what it asked for.
    pub write_timeout: Duration,
    /// For the requests in flight at a shutdown.
    pub shutdown_grace: Duration,
}

impl ServerLimits {
    /// What a new connection costs its peer.
    pub const CONNECTION_COST: u32 = 8;
    /// What a session costs its peer besides.
    pub const SESSION_COST: u32 = 16;
}

/// Fit for strangers on the public internet and for slow onion circuits.
impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_connections_per_channel: 4,
            max_strangers: 1024,
            max_connections_per_peer: 64,
            max_in_flight: 256,
            max_attached: 1024,
            max_calls: 4096,
            connection_rate: RateLimit::new(500, 1_000),
            peer_rate: RateLimit::new(2_000, 4_000),
            max_handshakes: std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
            handshake_timeout: Duration::from_secs(20),
            frame_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_mins(5),
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

/// What a client puts up with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientLimits {
    /// From dialling to the server's hello. An onion service takes seconds.
    pub connect_timeout: Duration,
    /// From a frame's first byte to its last.
    pub frame_timeout: Duration,
    /// From asking to the answer, the wait for a free place in flight included.
    pub request_timeout: Duration,
    /// For the server to take what is sent.
    pub write_timeout: Duration,
    /// Cost (see [`Method::cost`](crate::Method::cost)) of requests in flight on one connection; the server's own limit
    /// holds where it is lower.
    pub max_in_flight: u32,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_mins(1),
            frame_timeout: Duration::from_mins(1),
            request_timeout: Duration::from_mins(1),
            write_timeout: Duration::from_secs(30),
            max_in_flight: 1_024,
        }
    }
}
