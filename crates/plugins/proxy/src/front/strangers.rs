//! Programs that speak another protocol than the port: each gets a refusal that it understands, if its protocol has one, and
//! leaves a line in the log that names what to change.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use privatix_net::PeerAddress;
use tokio::net::TcpStream;

use super::farewell::farewell;

/// What a program speaks, by its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stranger {
    Socks4,
    Tls,
    Unknown,
}

impl Stranger {
    pub(super) const fn of(first: u8) -> Self {
        match first {
            4 => Self::Socks4,
            // A record of a TLS handshake (RFC 8446 §5.1).
            22 => Self::Tls,
            _ => Self::Unknown,
        }
    }

    const fn refusal(self) -> &'static [u8] {
        match self {
            // "Request rejected or failed", then six bytes without a meaning.
            Self::Socks4 => &[0, 0x5b, 0, 0, 0, 0, 0, 0],
            // A fatal alert, handshake_failure (RFC 8446 §6).
            Self::Tls => &[21, 3, 1, 0, 2, 2, 40],
            Self::Unknown => b"",
        }
    }
}

/// Refuses programs that speak another protocol. One per port.
#[derive(Default)]
pub(super) struct Strangers {
    socks4: Seldom,
    tls: Seldom,
    unknown: Seldom,
}

impl Strangers {
    pub(super) async fn refuse(&self, stranger: Stranger, stream: TcpStream, peer: PeerAddress) {
        self.log(stranger, peer);
        farewell(stream, stranger.refusal()).await;
    }

    fn log(&self, stranger: Stranger, peer: PeerAddress) {
        let (seldom, what) = match stranger {
            Stranger::Socks4 => {
                (&self.socks4, "a program speaks SOCKS4 to the proxy's port: set it to SOCKS5 or to HTTP")
            }
            Stranger::Tls => (
                &self.tls,
                "a program speaks TLS to the proxy's port: set it to an HTTP or SOCKS5 proxy without TLS (not \"HTTPS proxy\")",
            ),
            Stranger::Unknown => (
                &self.unknown,
                "a program speaks neither SOCKS5 nor HTTP to the proxy's port: set it to one of them",
            ),
        };
        match seldom.turn(Instant::now()) {
            Some(0) => tracing::info!(%peer, "{what}"),
            Some(more) => tracing::info!(%peer, not_logged = more, "{what}"),
            None => tracing::debug!(%peer, "{what}"),
        }
    }
}

/// Lets an event be logged once in a while, so that a flood of them cannot fill the log.
#[derive(Default)]
struct Seldom(Mutex<Option<(Instant, u64)>>);

impl Seldom {
    const PAUSE: Duration = Duration::from_secs(30);

    /// Whether it is time to log the event, and how many were left out since the last time.
    fn turn(&self, now: Instant) -> Option<u64> {
        let mut last = self.0.lock();
        if let Some((at, left_out)) = last.as_mut()
            && now.duration_since(*at) < Self::PAUSE
        {
            *left_out = left_out.saturating_add(1);
            return None;
        }
        Some(last.replace((now, 0)).map_or(0, |(_, left_out)| left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_logged_once_in_a_while_with_the_number_left_out() {
        let (seldom, began) = (Seldom::default(), Instant::now());
        let turns = [0, 1, 29, 30, 31, 90].map(|after| seldom.turn(began + Duration::from_secs(after)));
        assert_eq!(turns, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
