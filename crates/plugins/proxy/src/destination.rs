//! Where a client may go: names are resolved once, and what they resolve to is checked and connected to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a client wants to reach.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    Address(SocketAddr),
    Name(String, u16),
}

impl Target {
    /// From a host as in a URL: a name, an IPv4 address, or an IPv6 address with or without brackets.
    pub(crate) fn from_host(host: &str, port: u16) -> Self {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        bare.parse::<IpAddr>()
            .map_or_else(|_| Self::Name(host.to_owned(), port), |ip| Self::Address(SocketAddr::new(ip, port)))
    }

    /// Whether it can be resolved at all: a name of what the DNS has (RFC 1123, and the underscore), so that nothing else gets
    /// into resolvers and logs. International names come in their ASCII form (RFC 5890).
    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Self::Address(_) => true,
            Self::Name(name, _) => {
                (1..=253).contains(&name.len())
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
            }
        }
    }

    pub(crate) const fn port(&self) -> u16 {
        match self {
            Self::Address(address) => address.port(),
            Self::Name(_, port) => *port,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// Which destinations clients may reach.
///
/// The order of judgement: `deny` and `deny_ports` first, then `allow`, then everything that is not private. What counts as
/// private: loopback, private and shared (CGNAT) networks, link-local (with cloud metadata services), unique-local,
/// multicast, broadcast, documentation, benchmarking and reserved ranges, in IPv6 also where it embeds such an IPv4 address
/// (mapped, compatible, 6to4, NAT64, Teredo).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Destinations {
    /// Allows all private destinations. For tests and closed networks.
    pub allow_private: bool,
    /// Networks that are allowed although they are private.
    pub allow: Vec<Network>,
    /// Networks that are never allowed, e.g. this machine's own public address.
    pub deny: Vec<Network>,
    /// If not empty, only these ports are allowed.
    pub allow_ports: Vec<u16>,
    /// Ports that are never allowed.
    pub deny_ports: Vec<u16>,
}

impl Default for Destinations {
    /// Everything public but mail submission without login (port 25), the port of spam.
    fn default() -> Self {
        Self {
            allow_private: false,
            allow: Vec::new(),
            deny: Vec::new(),
            allow_ports: Vec::new(),
            deny_ports: vec![25],
        }
    }
}

/// Why a destination is not allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum NotAllowed {
    #[error("port {0} is not allowed")]
    Port(u16),
    #[error("{0} is in a network that is not allowed")]
    Denied(IpAddr),
    #[error("{0} is a private address")]
    Private(IpAddr),
}

impl Destinations {
    /// Everything: for the side that goes only where it was asked to.
    pub(crate) fn everything() -> Self {
        Self { allow_private: true, deny_ports: Vec::new(), ..Self::default() }
    }

    /// Everything but private addresses.
    pub(crate) fn public() -> Self {
        Self { deny_ports: Vec::new(), ..Self::default() }
    }

    pub(crate) fn judge_port(&self, port: u16) -> Result<(), NotAllowed> {
        let listed = self.allow_ports.is_empty() || self.allow_ports.contains(&port);
        if port == 0 || !listed || self.deny_ports.contains(&port) {
            return Err(NotAllowed::Port(port));
        }
        Ok(())
    }

    pub(crate) fn judge(&self, ip: IpAddr) -> Result<(), NotAllowed> {
        let plain = ip.to_canonical(); // ::ffff:a.b.c.d is connected to as a.b.c.d
        let disguised = embedded_v4(plain).map(IpAddr::V4);
        if self
            .deny
            .iter()
            .any(|network| network.contains(plain) || disguised.is_some_and(|ip| network.contains(ip)))
        {
            return Err(NotAllowed::Denied(ip));
        }
        if self.allow_private || self.allow.iter().any(|network| network.contains(plain)) || is_public(plain)
        {
            return Ok(());
        }
        Err(NotAllowed::Private(ip))
    }

    /// Whether connecting to this machine itself is all right, under whatever address it was reached.
    pub(crate) fn allows_own_machine(&self, ip: IpAddr) -> bool {
        self.allow_private || self.allow.iter().any(|network| network.contains(ip.to_canonical()))
    }
}

/// Whether an address is one of the open internet. Source of the ranges: IANA's special-purpose address registries.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(a == 0 // this network
        || ip.is_private()
        || (a == 100 && (64..128).contains(&b)) // shared, CGNAT
        || ip.is_loopback()
        || ip.is_link_local()
        || (a == 192 && b == 0 && c == 0) // protocol assignments
        || ip.is_documentation()
        || (a == 192 && b == 88 && c == 99) // 6to4 relays
        || (a == 198 && (18..20).contains(&b)) // benchmarking
        || a >= 224) // multicast, reserved, broadcast
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(embedded) = embedded_v4(IpAddr::V6(ip)) {
        return is_public_v4(embedded);
    }
    match ip.segments() {
        [0x2001, s1, ..] if s1 < 0x200 || s1 == 0x0db8 => false, // protocol assignments, documentation
        [0x3fff, s1, ..] if s1 < 0x1000 => false,                // documentation
        // Only 2000::/3 is given out at all: leaves out loopback, mapped, unique- and link-local, multicast.
        [s0, ..] => s0 & 0xe000 == 0x2000,
    }
}

/// The IPv4 address that traffic to an IPv6 address ends at.
fn embedded_v4(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else { return None };
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match ip.segments() {
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low), // NAT64
        [0x2001, 0, .., high, low] => v4(!high, !low),            // Teredo: the client, inverted
        [0x2002, high, low, ..] => v4(high, low),                 // 6to4
        _ => None,
    }
}

/// A network in CIDR notation, e.g. `10.0.0.0/8` or `fd00::/8`; a bare address is a network of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether `ip` is in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.base, ip) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                base.to_bits() & mask == ip.to_bits() & mask
            }
            (IpAddr::V6(base), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                base.to_bits() & mask == ip.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// The text is no network.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is no network: write it like 10.0.0.0/8 or fd00::/8")]
pub struct ParseNetworkError(String);

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseNetworkError(text.to_owned());
        let (base, prefix) = text.split_once('/').map_or((text, None), |(base, prefix)| (base, Some(prefix)));
        let base: IpAddr = base.parse().map_err(|_| wrong())?;
        let longest = if base.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(longest), str::parse).map_err(|_| wrong())?;
        if prefix > longest {
            return Err(wrong());
        }
        Ok(Self { base, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn private_addresses_are_refused_in_every_disguise() {
        let destinations = Destinations::default();
        for refused in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001:0:4136:e378:8000:63bf:80ff:fffe",
            "2001:db8::1",
            "2001:10::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "3fff::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert_eq!(destinations.judge(ip(refused)), Err(NotAllowed::Private(ip(refused))), "{refused}");
        }
    }

    #[test]
    fn public_addresses_are_allowed() {
        for allowed in [
            "1.1.1.1",
            "8.8.8.8",
            "99.255.0.1",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2002:808:808::1",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
        ] {
            assert_eq!(Destinations::default().judge(ip(allowed)), Ok(()), "{allowed}");
        }
    }

    #[test]
    fn the_operators_lists_come_first() {
        let destinations = Destinations {
            allow: vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()],
            deny: vec!["8.8.0.0/16".parse().unwrap(), "10.1.2.3".parse().unwrap()],
            ..Destinations::default()
        };
        assert_eq!(destinations.judge(ip("10.1.9.9")), Ok(()));
        assert_eq!(destinations.judge(ip("::ffff:10.1.9.9")), Ok(()));
        assert_eq!(destinations.judge(ip("fd77::1")), Ok(()));
        assert_eq!(destinations.judge(ip("10.2.0.1")), Err(NotAllowed::Private(ip("10.2.0.1"))));
        assert_eq!(destinations.judge(ip("8.8.8.8")), Err(NotAllowed::Denied(ip("8.8.8.8"))));
        assert_eq!(destinations.judge(ip("::ffff:8.8.8.8")), Err(NotAllowed::Denied(ip("::ffff:8.8.8.8"))));
        assert_eq!(destinations.judge(ip("10.1.2.3")), Err(NotAllowed::Denied(ip("10.1.2.3"))));
        for disguised in ["64:ff9b::808:808", "2002:808:808::1"] {
            assert_eq!(
                destinations.judge(ip(disguised)),
                Err(NotAllowed::Denied(ip(disguised))),
                "{disguised}"
            );
        }
        let closed =
            Destinations { deny: vec!["0.0.0.0/0".parse().unwrap()], allow_private: true, ..closed() };
        assert_eq!(closed.judge(ip("1.2.3.4")), Err(NotAllowed::Denied(ip("1.2.3.4"))));
    }

    fn closed() -> Destinations {
        Destinations::default()
    }

    #[test]
    fn ports_are_judged() {
        let destinations = Destinations::default();
        assert_eq!(destinations.judge_port(443), Ok(()));
        assert_eq!(destinations.judge_port(25), Err(NotAllowed::Port(25)));
        assert_eq!(destinations.judge_port(0), Err(NotAllowed::Port(0)));
        let web = Destinations { allow_ports: vec![80, 443], ..Destinations::default() };
        assert_eq!(web.judge_port(443), Ok(()));
        assert_eq!(web.judge_port(22), Err(NotAllowed::Port(22)));
    }

    #[test]
    fn networks_are_read_strictly() {
        for wrong in
            ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "10.0.0.0/-1", "host/8", "10.0.0.0/8/8"]
        {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        assert_eq!("::1".parse::<Network>().unwrap().to_string(), "::1/128");
    }

    #[test]
    fn a_name_that_no_resolver_should_see_is_not_sound() {
        for name in ["", "a b", "a\nb", "a\0", "fe80::1%eth0", "\u{fc}ber.example", &"a".repeat(254)] {
            assert!(!Target::Name(name.to_owned(), 80).is_sound(), "{name:?}");
        }
        for name in ["localhost", "xn--ber-goa.example.", "_srv.a-b.example", "127.1"] {
            assert!(Target::Name(name.to_owned(), 80).is_sound(), "{name:?}");
        }
    }

    #[test]
    fn a_host_is_an_address_if_it_can_be_one() {
        assert_eq!(Target::from_host("[::1]", 80), Target::Address("[::1]:80".parse().unwrap()));
        assert_eq!(Target::from_host("127.0.0.1", 80), Target::Address("127.0.0.1:80".parse().unwrap()));
        // Not an address to Rust, but to some resolvers: what it resolves to is judged.
        assert_eq!(Target::from_host("127.1", 80), Target::Name("127.1".into(), 80));
    }
}
