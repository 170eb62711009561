//! Places for connections: those that have logged in have places of their own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use privatix_channel::ChannelId;
use privatix_net::{Full, Network, NotIdentified, VisitorLimits};

use crate::settings::Limits;

/// Lest a flood fills the log.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// The places of one port, or of several that share them.
pub(crate) struct Places {
    places: privatix_net::Places<Network, ChannelId>,
    shortage: Mutex<Shortage>,
}

#[derive(Default)]
struct Shortage {
    /// Whether one that has logged in found no place, and none has come free since.
    full: bool,
    warned: Option<Instant>,
}

impl Places {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let places = privatix_net::Places::new(VisitorLimits {
            strangers: limits.connections_before_login,
            strangers_per_group: limits.connections_before_login_per_address,
            known: limits.connections,
            // Beside those in use, as many that are kept open between two requests.
            known_per_owner: limits.connections_per_channel.saturating_mul(2),
        });
        Arc::new(Self { places, shortage: Mutex::default() })
    }

    /// A new connection's place, if need be that of another that has not logged in. The bound per address does not hold for
    /// one whose address is not given.
    pub(super) fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Result<Place, Full> {
        Ok(Place { place: self.places.admit(peer.map(Network::from))?, all: Arc::clone(self) })
    }

    /// Whether one that has logged in found no place, and none has come free since.
    pub(crate) fn are_full(&self) -> bool {
        self.shortage.lock().full
    }

    fn note_shortage(&self) {
        let mut shortage = self.shortage.lock();
        shortage.full = true;
        let now = Instant::now();
        if shortage.warned.is_none_or(|warned| now.duration_since(warned) >= WARN_EVERY) {
            shortage.warned = Some(now);
            tracing::warn!("connections are turned away, all places are taken");
        }
    }
}

/// A connection's place, until it is dropped.
pub(super) struct Place {
    place: privatix_net::Place<Network, ChannelId>,
    all: Arc<Places>,
}

impl Place {
    /// Takes a place among those that have logged in. Again it does nothing.
    pub(super) fn log_in(&self, channel: ChannelId) -> Result<(), NotIdentified> {
        self.place.identify(channel).inspect_err(|error| {
            if *error == NotIdentified::Full {
                self.all.note_shortage();
            }
        })
    }

    /// Completes when another connection has got the place.
    pub(super) async fn dismissed(&self) {
        self.place.dismissed().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.place.is_known() {
            self.all.shortage.lock().full = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Arc<Places> {
        Places::new(&Limits {
            connections: 3,
            connections_per_channel: 1, // and one between two requests
            connections_before_login: 3,
            connections_before_login_per_address: 2,
            ..Limits::default()
        })
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn connections_that_have_not_logged_in_take_no_place_of_those_that_have() {
        let places = places();
        let channel = ChannelId::default();
        let buyer = places.admit(Some(address(1))).unwrap();
        buyer.log_in(channel).unwrap();
        buyer.log_in(channel).unwrap();
        let another = places.admit(Some(address(1))).unwrap();
        another.log_in(channel).unwrap();
        let strangers: Vec<Place> = (0..9).map(|_| places.admit(Some(address(1))).unwrap()).collect();
        assert!(!buyer.place.is_dismissed());
        let gone: Vec<bool> = strangers.iter().map(|stranger| stranger.place.is_dismissed()).collect();
        assert_eq!(gone, [true, true, true, true, true, true, true, false, false], "the oldest go first");
        let other: ChannelId = format!("0x{:064x}", 7).parse().unwrap();
        assert_eq!(strangers[0].log_in(other), Err(NotIdentified::Gone));
        assert_eq!(strangers[8].log_in(channel), Err(NotIdentified::OwnerFull));
        strangers[8].log_in(other).unwrap();
        drop(strangers);
        drop((buyer, another));
        assert_eq!(places.places.counts(), (0, 0));
    }

    fn enter(places: &Arc<Places>, channel: ChannelId) -> Place {
        let place = places.admit(Some(address(9))).unwrap();
        place.log_in(channel).unwrap();
        place
    }

    #[test]
    fn the_places_of_those_that_have_logged_in_are_bounded_and_it_shows() {
        let places = places();
        let channels: [ChannelId; 4] = [1, 2, 3, 4].map(|number| format!("0x{number:064x}").parse().unwrap());
        let first = places.admit(Some(address(1))).unwrap();
        first.log_in(channels[0]).unwrap();
        let _second = enter(&places, channels[1]);
        let _third = enter(&places, channels[3]);
        let third = places.admit(Some(address(3))).unwrap();
        assert!(!places.are_full());
        assert_eq!(third.log_in(channels[2]), Err(NotIdentified::Full));
        assert!(places.are_full());
        drop(first);
        third.log_in(channels[2]).unwrap();
        assert!(!places.are_full());
    }
}
