//! Who is connected, which of them have proved a channel, and what each peer has used of its rates.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use privatix_channel::ChannelId;
use privatix_net::{Place, Places, VisitorLimits};
use tokio::time::Instant;

use super::FULL;
use crate::{Method, PeerId, RateLimit, Refusal, ServerLimits, rate::TokenBucket};

/// Peers remembered before those without a connection are forgotten.
const MAX_REMEMBERED: usize = 65_536;

type Group = Arc<str>;
/// A request that is being answered.
pub(super) type Serving = privatix_net::Serving<Group, ChannelId>;

/// All connections, and all peers that have one or used up some of their rates.
pub(super) struct PeerTable {
    rate: RateLimit,
    places: Places<Group, ChannelId>,
    peers: Mutex<HashMap<Group, Peer>>,
}

struct Peer {
    connections: usize,
    /// Apart from the other, so that no number of requests keeps a new connection out.
    for_connections: TokenBucket,
    for_requests: TokenBucket,
}

impl Peer {
    fn new(rate: RateLimit, now: Instant) -> Self {
        let bucket = || TokenBucket::full(rate, now);
        Self { connections: 0, for_connections: bucket(), for_requests: bucket() }
    }

    /// Whether forgetting it changes nothing.
    fn is_like_new(&mut self, now: Instant) -> bool {
        self.connections == 0 && self.for_connections.is_full(now) && self.for_requests.is_full(now)
    }
}

impl PeerTable {
    pub(super) fn new(limits: &ServerLimits) -> Arc<Self> {
        let places = Places::new(VisitorLimits {
            strangers: limits.max_strangers,
            strangers_per_group: limits.max_connections_per_peer,
            known: limits.max_connections,
            known_per_owner: limits.max_connections_per_channel,
        });
        Arc::new(Self { rate: limits.peer_rate, places, peers: Mutex::default() })
    }

    /// Connections at present: those that have not proved a channel, and those that have.
    pub(super) fn counts(&self) -> (usize, usize) {
        self.places.counts()
    }

    /// Lets a new connection of `peer` in, if need be in the place of another, or returns why not.
    pub(super) fn admit(self: &Arc<Self>, peer: &PeerId, now: Instant) -> Result<Ticket, Refusal> {
        let group = peer.group().cloned();
        if let Some(group) = &group {
            let mut peers = self.peers.lock();
            let peer = self.peer(&mut peers, group, now);
            let taken = peer.for_connections.take(ServerLimits::CONNECTION_COST, now);
            taken.map_err(|retry_after| Refusal::RateLimited { retry_after })?;
            peer.connections += 1;
        }
        let counted = Counted { table: Arc::clone(self), group };
        let place =
            self.places.admit(counted.group.clone()).map_err(|_| Refusal::Busy { retry_after: FULL })?;
        Ok(Ticket {
            place: Arc::new(place),
            counted,
            known: AtomicBool::new(false),
            has_paid_its_way: AtomicBool::new(false),
        })
    }

    fn peer<'a>(&self, peers: &'a mut HashMap<Group, Peer>, group: &Group, now: Instant) -> &'a mut Peer {
        if peers.len() >= MAX_REMEMBERED && !peers.contains_key(group) {
            // Buckets that are full again say no more than none. Should that not make room for many, forgetting
            // strangers' debts is better than growing without end, or than coming here for each of them.
            peers.retain(|_, peer| !peer.is_like_new(now));
            if peers.len() > MAX_REMEMBERED / 2 {
                peers.retain(|_, peer| peer.connections > 0);
            }
        }
        peers.entry(Arc::clone(group)).or_insert_with(|| Peer::new(self.rate, now))
    }
}

/// A connection in its peer's count, until it is dropped.
struct Counted {
    table: Arc<PeerTable>,
    group: Option<Group>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some(group) = self.group.take() else { return };
        if let Entry::Occupied(mut peer) = self.table.peers.lock().entry(group) {
            peer.get_mut().connections -= 1;
            // What is used up stays remembered: else reconnecting would renew it.
            if peer.get_mut().is_like_new(Instant::now()) {
                peer.remove();
            }
        }
    }
}

/// The right to one connection; given back when dropped.
pub(super) struct Ticket {
    place: Arc<Place<Group, ChannelId>>,
    counted: Counted,
    known: AtomicBool,
    /// Its first payment was taken from the rate of connections already.
    has_paid_its_way: AtomicBool,
}

impl Ticket {
    /// Completes when the connection has lost its place to another and must end.
    pub(super) async fn dismissed(&self) {
        self.place.dismissed().await;
    }

    /// Whether it has lost its place.
    pub(super) fn is_dismissed(&self) -> bool {
        self.place.is_dismissed()
    }

    /// Whether another had to go for it.
    pub(super) fn made_room(&self) -> bool {
        self.place.made_room()
    }

    /// Whether it has proved a channel, and a place among those that have was free.
    pub(super) fn is_known(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    /// It has proved a channel.
    pub(super) fn identify(&self, channel: ChannelId) {
        if !self.is_known() && self.place.identify(channel).is_ok() {
            self.known.store(true, Ordering::Release);
        }
    }

    /// Takes the cost of a session from the peer's rate of connections. The time in a refusal is for a connection and its session.
    pub(super) fn take_session(&self, now: Instant) -> Result<(), Refusal> {
        const SESSION: u32 = ServerLimits::SESSION_COST;
        let Some(group) = &self.counted.group else { return Ok(()) };
        let mut peers = self.counted.table.peers.lock();
        let Some(peer) = peers.get_mut(group) else { return Ok(()) };
        peer.for_connections.take(SESSION, now).map_err(|_| {
            let retry_after = peer.for_connections.wait(ServerLimits::CONNECTION_COST + SESSION, now);
            Refusal::RateLimited { retry_after }
        })
    }

    /// A request begins; it lasts until the result is dropped. Meanwhile the connection does not lose its place.
    pub(super) fn serve(&self) -> Option<Serving> {
        (!self.is_known()).then(|| self.place.serve())
    }

    /// Takes a request's cost from the peer's rate, or returns after which time it will be there.
    ///
    /// Those that have proved a channel do not share their rate with strangers. A connection's first payment, which may
    /// prove one, was taken from the rate of connections: what strangers ask for does not get in its way.
    pub(super) fn take(&self, method: Method, cost: u32, now: Instant) -> Result<(), Duration> {
        let Some(group) = &self.counted.group else { return Ok(()) };
        if self.is_known() {
            return Ok(());
        }
        if method == Method::Pay && !self.has_paid_its_way.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        match self.counted.table.peers.lock().get_mut(group) {
            Some(peer) => peer.for_requests.take(cost, now),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;

    use super::*;

    fn limits(per_peer: usize, rate: RateLimit) -> ServerLimits {
        ServerLimits { max_connections_per_peer: per_peer, peer_rate: rate, ..ServerLimits::default() }
    }

    fn channel(number: u8) -> ChannelId {
        ChannelId::new(B256::repeat_byte(number))
    }

    fn enter(table: &Arc<PeerTable>, group: &str) -> Ticket {
        table.admit(&PeerId::in_group("peer", group), Instant::now()).unwrap()
    }

    #[test]
    fn the_oldest_idle_stranger_of_a_peer_makes_room_for_its_next() {
        let table = PeerTable::new(&limits(2, RateLimit::UNLIMITED));
        let (first, second, other) = (enter(&table, "a"), enter(&table, "a"), enter(&table, "b"));
        drop(first.serve()); // it asked for something, so the second is idle for longer now
        let third = enter(&table, "a");
        assert!(second.is_dismissed());
        assert!(!first.is_dismissed() && !third.is_dismissed() && !other.is_dismissed());
        drop(second);
        assert_eq!(table.counts(), (3, 0));
        drop((first, third));
        assert_eq!(table.counts(), (1, 0));
    }

    #[test]
    fn a_stranger_that_is_being_answered_makes_no_room() {
        let table = PeerTable::new(&limits(1, RateLimit::UNLIMITED));
        let first = enter(&table, "a");
        let (one, other) = (first.serve(), first.serve());
        let admit = || table.admit(&PeerId::in_group("peer", "a"), Instant::now());
        drop(one);
        assert!(matches!(admit(), Err(Refusal::Busy { .. })), "one answer is still to come");
        drop(other);
        assert!(admit().is_ok_and(|ticket| ticket.made_room()));
        assert!(first.is_dismissed());
    }

    #[test]
    fn who_has_proved_a_channel_does_not_count_with_strangers_and_stays() {
        let table = PeerTable::new(&limits(1, RateLimit::UNLIMITED));
        let payer = enter(&table, "a");
        payer.identify(channel(1));
        assert!(payer.is_known());
        let strangers: Vec<_> = (0..5).map(|_| enter(&table, "a")).collect();
        assert!(!payer.is_dismissed());
        assert_eq!(strangers.iter().filter(|one| one.is_dismissed()).count(), 4);
        assert_eq!(table.counts(), (1, 1));
    }

    #[test]
    fn one_channel_takes_no_more_than_its_places() {
        let most = ServerLimits::default().max_connections_per_channel;
        let table = PeerTable::new(&limits(64, RateLimit::UNLIMITED));
        let all: Vec<_> = (0..=most).map(|_| enter(&table, "a")).collect();
        for one in &all {
            one.identify(channel(1));
        }
        assert_eq!(table.counts(), (1, most));
        all[most].identify(channel(2));
        assert_eq!(table.counts(), (0, most + 1));
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
    fn a_session_costs_its_peer_more_than_a_connection() {
        let cost = ServerLimits::CONNECTION_COST + ServerLimits::SESSION_COST;
        let table = PeerTable::new(&limits(9, RateLimit::new(1, cost)));
        let (peer, now) = (PeerId::in_group("a", "net"), Instant::now());
        let first = table.admit(&peer, now).unwrap();
        assert_eq!(first.take_session(now), Ok(()));
        assert!(matches!(first.take_session(now), Err(Refusal::RateLimited { .. })));
        assert!(matches!(table.admit(&peer, now), Err(Refusal::RateLimited { .. })));
    }

    #[test]
    fn what_strangers_of_an_address_ask_for_keeps_no_first_payment_from_it_out() {
        let cost = ServerLimits::CONNECTION_COST;
        let table = PeerTable::new(&limits(9, RateLimit::new(1, 4 * cost)));
        let now = Instant::now();
        let stranger = enter(&table, "net");
        while stranger.take(Method::Ping, 1, now).is_ok() {}
        let payer = enter(&table, "net");
        assert_eq!(payer.take(Method::Pay, 1, now), Ok(()));
        assert!(payer.take(Method::Pay, 1, now).is_err(), "one is enough to prove a channel");
        payer.identify(channel(1));
        assert_eq!(payer.take(Method::Pay, 1, now), Ok(()), "its rate is its own then");
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
        assert_eq!(table.counts(), (0, 0));
    }

    #[test]
    fn anonymous_peers_share_nothing() {
        let table = PeerTable::new(&limits(0, RateLimit::new(1, 1)));
        let ticket = table.admit(&PeerId::anonymous("circuit"), Instant::now()).unwrap();
        assert_eq!(ticket.take(Method::Ping, u32::MAX, Instant::now()), Ok(()));
        assert!(table.peers.lock().is_empty());
    }
}
