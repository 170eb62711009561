//! Names to addresses: bounded in number, in time and in memory.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::system::{Failure, NameServers, Source};

/// What a [`Resolver`] keeps to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ResolverLimits {
    /// Lookups under way, over all shares. Each holds up to [`SOCKETS`](Self::SOCKETS) sockets.
    pub lookups: usize,
    /// Lookups under way of one [`Share`]. Others of it wait for a place.
    pub lookups_per_share: usize,
    /// For a lookup, with the wait for a place.
    pub within: Duration,
    /// Addresses taken of an answer.
    pub addresses: usize,
    /// Answers that are remembered.
    pub cached: u64,
    /// The longest that an answer is remembered, whatever its own time to live.
    pub cached_for: Duration,
}

impl ResolverLimits {
    /// Sockets that one lookup holds at once: one for IPv4 addresses and one for IPv6 addresses.
    pub const SOCKETS: usize = 2;
}

impl Default for ResolverLimits {
    fn default() -> Self {
        Self {
            lookups: 128,
            lookups_per_share: 16,
            within: Duration::from_secs(8),
            addresses: 16,
            cached: 1024,
            cached_for: Duration::from_mins(1),
        }
    }
}

/// Why there are no addresses.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// It is no name.
    #[error("{name:?} is no host name: {reason}")]
    Malformed {
        /// What was asked for.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such name, it has no address, or no name server could be asked.
    #[error("{name} does not resolve to an address: {reason}")]
    NotFound {
        /// The name.
        name: String,
        /// What the name server said.
        reason: String,
    },
    /// No name server answered in time.
    #[error(
        "no name server answered for {name} within {after:?}: try again, or check the name servers in resolv.conf"
    )]
    TimedOut {
        /// The name.
        name: String,
        /// The time given.
        after: Duration,
    },
    /// Other lookups took all places for as long as this one could wait.
    #[error("too many names are being looked up, {name} waited for {after:?}: try again")]
    TooMany {
        /// The name.
        name: String,
        /// The time given.
        after: Duration,
    },
}

/// Looks names up, at most [`ResolverLimits::lookups`] at a time. Clones share this bound and the memory of answers.
///
/// It reads the hosts file and `resolv.conf` (on other systems what they have instead) and notices within seconds when they
/// change. Of the sources that `nsswitch.conf` may name, those two are the ones it knows; `localhost` and what is below it
/// is always this machine (RFC 6761). IPv4 addresses come first.
#[derive(Clone, Debug)]
pub struct Resolver {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: ResolverLimits,
    places: Semaphore,
    servers: Mutex<NameServers>,
}

impl Resolver {
    /// The process's own, which asks the name servers of the system. All who call this share its bound.
    pub fn system() -> Self {
        static SYSTEM: OnceLock<Resolver> = OnceLock::new();
        SYSTEM.get_or_init(|| Self::new(Source::System, ResolverLimits::default())).clone()
    }

    /// One that asks these name servers and knows no hosts file.
    pub fn with_name_servers(servers: &[SocketAddr], limits: ResolverLimits) -> Self {
        Self::new(Source::Servers(servers.into()), limits)
    }

    fn new(source: Source, limits: ResolverLimits) -> Self {
        let places = Semaphore::new(limits.lookups.clamp(1, Semaphore::MAX_PERMITS));
        let servers = Mutex::new(NameServers::new(source, &limits));
        Self { shared: Arc::new(Shared { limits, places, servers }) }
    }

    /// A share: it takes at most [`ResolverLimits::lookups_per_share`] of the places, so that nobody takes them all.
    pub fn share(&self) -> Share {
        let most = self.shared.limits.lookups_per_share.clamp(1, Semaphore::MAX_PERMITS);
        Share { resolver: self.clone(), places: Arc::new(Semaphore::new(most)) }
    }

    /// The bounds.
    pub fn limits(&self) -> ResolverLimits {
        self.shared.limits
    }
}

/// The [system's](Self::system).
impl Default for Resolver {
    fn default() -> Self {
        Self::system()
    }
}

/// The right to a part of a [`Resolver`]'s lookups. Clones share it.
#[derive(Clone, Debug)]
pub struct Share {
    resolver: Resolver,
    places: Arc<Semaphore>,
}

impl Share {
    /// The addresses of `name`, at least one. A literal address is itself, and needs no place; IPv4 addresses are understood
    /// in every form that the C library knows.
    ///
    /// Cancellation: dropping the future gives its place back and ends the lookup.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Some(address) = literal(name) {
            return Ok(vec![address]);
        }
        let shared = &self.resolver.shared;
        let after = shared.limits.within;
        let due = Instant::now() + after;
        let too_many = || ResolveError::TooMany { name: name.to_owned(), after };
        let both = async {
            // In this order: who waits for a place of its own share must hold none of the others'.
            let own = self.places.acquire().await;
            (own, shared.places.acquire().await)
        };
        let _places = timeout_at(due, both).await.map_err(|_| too_many())?;
        if Instant::now() >= due {
            return Err(too_many()); // the place came too late to ask anybody
        }

        let servers = shared.servers.lock().current();
        match timeout_at(due, servers.lookup(name)).await {
            Ok(Ok(mut addresses)) if !addresses.is_empty() => {
                // A machine without a route for one of the kinds finds that out at once and tries the next.
                addresses.sort_by_key(IpAddr::is_ipv6);
                addresses.truncate(shared.limits.addresses.max(1));
                Ok(addresses)
            }
            Ok(Ok(_)) => {
                Err(ResolveError::NotFound { name: name.to_owned(), reason: "it has no address".into() })
            }
            Ok(Err(Failure::Malformed(reason))) => {
                Err(ResolveError::Malformed { name: name.to_owned(), reason })
            }
            Ok(Err(Failure::NotFound(reason))) => {
                Err(ResolveError::NotFound { name: name.to_owned(), reason })
            }
            Ok(Err(Failure::TimedOut)) | Err(_) => {
                Err(ResolveError::TimedOut { name: name.to_owned(), after })
            }
        }
    }
}

/// An address in place of a name.
fn literal(name: &str) -> Option<IpAddr> {
    name.parse().ok().or_else(|| classic_ipv4(name).map(IpAddr::V4))
}

/// An IPv4 address of one to four numbers, the last of which fills what is left, each decimal, octal or hexadecimal
/// (inet_aton(3)): programs write `127.1`, and what they reach without a proxy they reach through it.
fn classic_ipv4(text: &str) -> Option<Ipv4Addr> {
    let mut numbers = Vec::with_capacity(4);
    for part in text.split('.') {
        let (digits, radix) = match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
            Some(digits) => (digits, 16),
            None if part.len() > 1 && part.starts_with('0') => (&part[1..], 8),
            None => (part, 10),
        };
        if numbers.len() == 4 || digits.is_empty() || digits.starts_with('+') {
            return None;
        }
        numbers.push(u32::from_str_radix(digits, radix).ok()?);
    }
    let (last, octets) = numbers.split_last()?;
    let room = u32::try_from(octets.len()).ok()? * 8;
    let fits = u64::from(*last) < 1 << (32 - room);
    if !fits || octets.iter().any(|octet| *octet > 0xff) {
        return None;
    }
    let high = octets.iter().zip([24, 16, 8]).fold(0, |high, (octet, shift)| high | octet << shift);
    Some(Ipv4Addr::from(high | last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood_as_the_c_library_does() {
        for (text, expected) in [
            ("127.0.0.1", Some("127.0.0.1")),
            ("127.1", Some("127.0.0.1")),
            ("10.1.258", Some("10.1.1.2")),
            ("2130706433", Some("127.0.0.1")),
            ("0x7f.0.0.1", Some("127.0.0.1")),
            ("0177.0.0.1", Some("127.0.0.1")),
            ("0X7F000001", Some("127.0.0.1")),
            ("0", Some("0.0.0.0")),
            ("4294967295", Some("255.255.255.255")),
            ("255.16777215", Some("255.255.255.255")),
            ("::1", Some("::1")),
            ("4294967296", None),
            ("255.16777216", None),
            ("256.1", None),
            ("1.2.3.4.5", None),
            ("1..2", None),
            ("1.", None),
            ("", None),
            ("08.1", None),
            ("0x", None),
            ("+1", None),
            ("-1", None),
            ("1.2.3.x", None),
            ("example", None),
        ] {
            assert_eq!(literal(text), expected.map(|ip| ip.parse().unwrap()), "{text}");
        }
    }
}
