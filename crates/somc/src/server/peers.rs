//! What each peer has used of its limits, over all its connections.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{PeerId, RateLimit, Refusal, ServerLimits, rate::TokenBucket};

/// Peers remembered before those without a connection are forgotten.
const MAX_REMEMBERED: usize = 65_536;
/// What a peer with too many connections is told to wait.
const CROWDED: Duration = Duration::from_secs(5);

/// All peers that have a connection or used up some of their rate.
pub(super) struct PeerTable {
    rate: RateLimit,
    max_connections: usize,
    peers: Mutex<HashMap<Arc<str>, Peer>>,
}

struct Peer {
    connections: usize,
    bucket: TokenBucket,
}

impl PeerTable {
    pub(super) fn new(limits: &ServerLimits) -> Arc<Self> {
        Arc::new(Self {
            rate: limits.peer_rate,
            max_connections: limits.max_connections_per_peer,
            peers: Mutex::default(),
        })
    }

    /// Lets a new connection of `peer` in, or tells why not.
    pub(super) fn admit(self: &Arc<Self>, peer: &PeerId, now: Instant) -> Result<Ticket, Refusal> {
        let Some(group) = peer.group() else { return Ok(Ticket { table: Arc::clone(self), group: None }) };
        let mut peers = self.peers.lock();
        if peers.len() >= MAX_REMEMBERED && !peers.contains_key(group) {
            // A bucket that is full again says no more than none. Should that not make room for many, forgetting
            // strangers' debts is better than growing without end, or than coming here for each of them.
            peers.retain(|_, peer| peer.connections > 0 || !peer.bucket.is_full(now));
            if peers.len() > MAX_REMEMBERED / 2 {
                peers.retain(|_, peer| peer.connections > 0);
            }
        }
        let entry = peers
            .entry(Arc::clone(group))
            .or_insert_with(|| Peer { connections: 0, bucket: TokenBucket::full(self.rate, now) });
        if entry.connections >= self.max_connections {
            return Err(Refusal::Busy { retry_after: CROWDED });
        }
        entry
            .bucket
            .take(ServerLimits::CONNECTION_COST, now)
            .map_err(|retry_after| Refusal::RateLimited { retry_after })?;
        entry.connections += 1;
        Ok(Ticket { table: Arc::clone(self), group: Some(Arc::clone(group)) })
    }
}

/// The right to one connection; given back when dropped.
pub(super) struct Ticket {
    table: Arc<PeerTable>,
    group: Option<Arc<str>>,
}

impl Ticket {
    /// Takes `cost` from the peer's rate, or tells after which time it will be there.
    pub(super) fn take(&self, cost: u32, now: Instant) -> Result<(), Duration> {
        let Some(group) = &self.group else { return Ok(()) };
        match self.table.peers.lock().get_mut(group) {
            Some(peer) => peer.bucket.take(cost, now),
            None => Ok(()),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(group) = self.group.take() else { return };
        let mut peers = self.table.peers.lock();
        if let Entry::Occupied(mut peer) = peers.entry(group) {
            peer.get_mut().connections -= 1;
            // What is used up stays remembered: else reconnecting would renew it.
            if peer.get().connections == 0 && peer.get_mut().bucket.is_full(Instant::now()) {
                peer.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_peer: usize, rate: RateLimit) -> ServerLimits {
        ServerLimits { max_connections_per_peer: per_peer, peer_rate: rate, ..ServerLimits::default() }
    }

    #[test]
    fn connections_of_one_peer_are_counted_and_given_back() {
        let table = PeerTable::new(&limits(2, RateLimit::UNLIMITED));
        let (peer, other) = (PeerId::in_group("a", "net 1"), PeerId::in_group("b", "net 2"));
        let now = Instant::now();
        let first = table.admit(&peer, now).unwrap();
        let _second = table.admit(&peer, now).unwrap();
        assert!(matches!(table.admit(&peer, now), Err(Refusal::Busy { .. })));
        assert!(table.admit(&other, now).is_ok());
        drop(first);
        assert!(table.admit(&peer, now).is_ok());
    }

    #[test]
    fn reconnecting_does_not_renew_a_rate() {
        let cost = ServerLimits::CONNECTION_COST;
        let table = PeerTable::new(&limits(9, RateLimit::new(1, 2 * cost)));
        let peer = PeerId::in_group("a", "net");
        let now = Instant::now();
        drop(table.admit(&peer, now).unwrap());
        drop(table.admit(&peer, now).unwrap());
        assert!(matches!(table.admit(&peer, now), Err(Refusal::RateLimited { .. })));
    }

    #[test]
    fn the_table_does_not_grow_without_end() {
        let table = PeerTable::new(&limits(1, RateLimit::new(1, 100)));
        let now = Instant::now();
        let kept = table.admit(&PeerId::in_group("kept", "kept"), now).unwrap();
        for number in 0..=MAX_REMEMBERED {
            drop(table.admit(&PeerId::in_group("", number.to_string()), now).unwrap());
            assert!(table.peers.lock().len() <= MAX_REMEMBERED);
        }
        assert!(table.peers.lock().contains_key("kept"));
        drop(kept);
    }

    #[test]
    fn anonymous_peers_share_nothing() {
        let table = PeerTable::new(&limits(0, RateLimit::new(1, 1)));
        let ticket = table.admit(&PeerId::anonymous("circuit"), Instant::now()).unwrap();
        assert_eq!(ticket.take(u32::MAX, Instant::now()), Ok(()));
        assert!(table.peers.lock().is_empty());
    }
}
