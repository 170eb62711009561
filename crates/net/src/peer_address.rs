//! A peer's network address, as logs may show it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::Network;

/// Made at the start of the process and never stored, so that nobody finds the address behind a name by trying all of
/// them, and a name means nothing to the next process.
static KEY: LazyLock<[u8; 32]> = LazyLock::new(rand::random);

static SHOWN: AtomicBool = AtomicBool::new(false);

/// From now on, [`PeerAddress`]es of this process show themselves.
///
/// For the process, because its log is one: a line names a peer whatever part of the program wrote it.
pub fn show_peer_addresses() {
    SHOWN.store(true, Ordering::Relaxed);
}

/// A peer's network address, which logs do not show: they also name channels, and with them accounts.
///
/// `Display` and `Debug` give a name instead: six hexadecimal digits that stand for the address's [`Network`] while this
/// process runs, so that lines about one peer can be found. After [`show_peer_addresses`] they give the address.
///
/// ```
/// use std::net::SocketAddr;
/// use privatix_net::PeerAddress;
///
/// let [one, two] = ["192.0.2.7:4711", "192.0.2.7:4712"].map(|text| PeerAddress::from(text.parse::<SocketAddr>().unwrap()));
/// assert_eq!(one.to_string().len(), 6);
/// assert_eq!(one.to_string(), two.to_string());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddress(SocketAddr);

impl PeerAddress {
    /// The address itself, not to be logged.
    pub const fn socket(&self) -> SocketAddr {
        self.0
    }

    /// Its IP address, not to be logged.
    pub const fn ip(&self) -> IpAddr {
        self.0.ip()
    }
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        Self(address)
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if SHOWN.load(Ordering::Relaxed) {
            return self.0.fmt(f);
        }
        let [a, b, c] = name(&KEY, self.ip());
        write!(f, "{a:02x}{b:02x}{c:02x}")
    }
}

impl fmt::Debug for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first bytes of a keyed hash of the address's network.
fn name(key: &[u8; 32], ip: IpAddr) -> [u8; 3] {
    let network = Network::from(ip).to_string();
    // It takes a key of any length, so this never fails.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 3] };
    mac.update(network.as_bytes());
    let [a, b, c, ..]: [u8; 32] = mac.finalize().into_bytes().into();
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_a_network_under_one_key() {
        let name = |key: u8, ip: &str| name(&[key; 32], ip.parse().unwrap());
        assert_eq!(name(1, "192.0.2.7"), name(1, "::ffff:192.0.2.7"));
        assert_ne!(name(1, "192.0.2.7"), name(1, "192.0.2.8"));
        assert_eq!(name(1, "2001:db8:1:2::1"), name(1, "2001:db8:1:2::9"));
        assert_ne!(name(1, "192.0.2.7"), name(2, "192.0.2.7"), "another process, another name");
    }
}
