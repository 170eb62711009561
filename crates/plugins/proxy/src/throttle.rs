//! Slows down who guesses passwords.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use privatix_channel::ChannelId;

/// Counts wrong passwords per channel and address. Only guesses at a known channel count, so that a client that does not know
/// yet that its channel ended stops nobody behind the same address; and only for that channel, so that a neighbour cannot
/// lock others out but by knowing which channel they use.
pub(crate) struct Throttle {
    per_minute: u32,
    wrong: Mutex<HashMap<(ChannelId, IpAddr), Window>>,
}

struct Window {
    since: Instant,
    count: u32,
}

const WINDOW: Duration = Duration::from_mins(1);

/// Beyond this many entries those that are over are swept out, and if none is, guesses go uncounted: memory is bounded, and
/// secrets are too long to guess anyhow.
const MOST: usize = 10_000;

impl Throttle {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute, wrong: Mutex::default() }
    }

    /// Whether a guess is not even to be looked at.
    pub(crate) fn is_throttled(&self, channel: ChannelId, peer: IpAddr, now: Instant) -> bool {
        self.wrong.lock().get(&(channel, network(peer))).is_some_and(|window| {
            window.count >= self.per_minute && now.duration_since(window.since) < WINDOW
        })
    }

    /// Notes a wrong password.
    pub(crate) fn note(&self, channel: ChannelId, peer: IpAddr, now: Instant) {
        let mut wrong = self.wrong.lock();
        let is_over = |window: &Window| now.duration_since(window.since) >= WINDOW;
        if wrong.len() >= MOST {
            wrong.retain(|_, window| !is_over(window));
        }
        if wrong.len() >= MOST && !wrong.contains_key(&(channel, network(peer))) {
            return;
        }
        let window = wrong.entry((channel, network(peer))).or_insert(Window { since: now, count: 0 });
        if is_over(window) {
            *window = Window { since: now, count: 0 };
        }
        window.count = window.count.saturating_add(1);
    }
}

/// An IPv6 peer has a /64 of addresses to come from.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & (u128::MAX << 64)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(number: u8) -> ChannelId {
        format!("0x{number:064x}").parse().unwrap()
    }

    #[test]
    fn guesses_are_stopped_for_a_minute_for_that_peer_and_channel_only() {
        let throttle = Throttle::new(3);
        let (peer, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let start = Instant::now();
        for _ in 0..3 {
            assert!(!throttle.is_throttled(channel(1), peer, start));
            throttle.note(channel(1), peer, start);
        }
        assert!(throttle.is_throttled(channel(1), peer, start));
        assert!(!throttle.is_throttled(channel(1), other, start));
        assert!(!throttle.is_throttled(channel(2), peer, start));
        assert!(!throttle.is_throttled(channel(1), peer, start + WINDOW));
        throttle.note(channel(1), peer, start + WINDOW);
        assert!(!throttle.is_throttled(channel(1), peer, start + WINDOW));
    }

    #[test]
    fn another_address_of_the_same_v6_network_is_the_same_peer() {
        let throttle = Throttle::new(1);
        let now = Instant::now();
        throttle.note(channel(1), "2001:db8::1".parse().unwrap(), now);
        assert!(throttle.is_throttled(channel(1), "2001:db8::ffff:2".parse().unwrap(), now));
        assert!(!throttle.is_throttled(channel(1), "2001:db8:0:1::1".parse().unwrap(), now));
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::new(1);
        let now = Instant::now();
        for number in 0..20_000_u32 {
            throttle.note(channel(1), IpAddr::from(number.to_be_bytes()), now);
        }
        assert_eq!(throttle.wrong.lock().len(), MOST);
        throttle.note(channel(1), "192.0.2.1".parse().unwrap(), now + WINDOW);
        assert_eq!(throttle.wrong.lock().len(), 1);
    }
}
