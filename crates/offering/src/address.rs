//! Where an agent's messaging endpoint is: what an offering announces on chain.

use std::{fmt, net::IpAddr, str::FromStr};

use data_encoding::BASE32_NOPAD_NOCASE;
use serde::{Deserialize, Serialize};
use sha3::{Digest as _, Sha3_256};

/// How an endpoint is reached, with the number that stands for it on chain (`sourceType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SourceType {
    /// A Tor onion service.
    Tor = 0,
    /// A host and port, dialled directly over TCP.
    Direct = 1,
}

impl SourceType {
    /// The number used on chain.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tor => 0,
            Self::Direct => 1,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Tor => "tor",
            Self::Direct => "direct",
        }
    }
}

impl fmt::Display for SourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl TryFrom<u8> for SourceType {
    type Error = AddressError;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            0 => Ok(Self::Tor),
            1 => Ok(Self::Direct),
            number => Err(AddressError::UnknownSourceType { number }),
        }
    }
}

/// The address of an agent's messaging endpoint, checked for its form.
///
/// What an offering announces on chain was written by a stranger, so nothing but a well-formed host and port gets
/// through. An onion address must be of version 3 and have the right checksum, so that a mistyped one is refused
/// without asking the network. As text it is `direct:host:port` or `tor:<56 characters>.onion:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SomcAddress {
    kind: SourceType,
    host: String,
    port: u16,
}

impl SomcAddress {
    /// The port assumed when an onion address names none.
    pub const DEFAULT_ONION_PORT: u16 = 80;

    /// Reads an announced address: `host:port` (`[v6]:port`) for [`SourceType::Direct`], `<name>.onion[:port]` for
    /// [`SourceType::Tor`].
    pub fn new(kind: SourceType, address: &str) -> Result<Self, AddressError> {
        let malformed = |reason| AddressError::Malformed { kind, reason };
        // 253 characters of a DNS name, brackets, a colon and a port.
        if address.len() > 262 {
            return Err(malformed("it is longer than any host name"));
        }
        let (host, port) = match kind {
            SourceType::Direct => {
                let (host, port) = address
                    .rsplit_once(':')
                    .ok_or_else(|| malformed("the port is missing: write host:port"))?;
                (direct_host(host).map_err(malformed)?, port_number(port).map_err(malformed)?)
            }
            SourceType::Tor => {
                let (host, port) = match address.split_once(':') {
                    Some((host, port)) => (host, port_number(port).map_err(malformed)?),
                    None => (address, Self::DEFAULT_ONION_PORT),
                };
                (onion_host(host).map_err(malformed)?, port)
            }
        };
        Ok(Self { kind, host, port })
    }

    /// A direct address. An IPv6 address needs no brackets here, as the port stands apart.
    pub fn direct(host: impl fmt::Display, port: u16) -> Result<Self, AddressError> {
        let host = host.to_string();
        match host.parse() {
            Ok(IpAddr::V6(address)) => Self::new(SourceType::Direct, &format!("[{address}]:{port}")),
            _ => Self::new(SourceType::Direct, &format!("{host}:{port}")),
        }
    }

    /// The address of the onion service whose identity is this ed25519 public key.
    ///
    /// # Errors
    /// [`AddressError::Malformed`] for port 0.
    pub fn onion(identity: &[u8; 32], port: u16) -> Result<Self, AddressError> {
        let [first, second] = onion_checksum(identity);
        let mut name = [0; ONION_BYTES];
        name[..32].copy_from_slice(identity);
        name[32..].copy_from_slice(&[first, second, ONION_VERSION]);
        let name = BASE32_NOPAD_NOCASE.encode_display(&name).to_string();
        Self::new(SourceType::Tor, &format!("{name}.onion:{port}"))
    }

    /// Reads the address of an onion service as people write it: `<56 characters>.onion`, with `:port` or without, and with
    /// `tor:` before it or without.
    ///
    /// # Errors
    /// [`AddressError::Malformed`].
    pub fn read_onion(text: &str) -> Result<Self, AddressError> {
        Self::new(SourceType::Tor, text.strip_prefix("tor:").unwrap_or(text))
    }

    /// How it is reached.
    pub const fn kind(&self) -> SourceType {
        self.kind
    }

    /// The host name, IP address (version 6 without brackets) or onion name, in lower case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, never zero.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The text announced on chain beside [`kind`](Self::kind): `host:port`.
    pub fn source(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl From<std::net::SocketAddr> for SomcAddress {
    fn from(address: std::net::SocketAddr) -> Self {
        Self { kind: SourceType::Direct, host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for SomcAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.source())
    }
}

impl FromStr for SomcAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("direct", address)) => Self::new(SourceType::Direct, address),
            Some(("tor", address)) => Self::new(SourceType::Tor, address),
            _ => Err(AddressError::NoKind),
        }
    }
}

impl TryFrom<String> for SomcAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SomcAddress> for String {
    fn from(address: SomcAddress) -> Self {
        address.to_string()
    }
}

fn port_number(text: &str) -> Result<u16, &'static str> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err("the port is not a number from 1 to 65535"),
    }
}

fn direct_host(text: &str) -> Result<String, &'static str> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or("a bracket is not closed")?;
        return match inner.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => Ok(address.to_string()),
            _ => Err("only an IPv6 address stands in brackets"),
        };
    }
    if let Ok(IpAddr::V4(address)) = text.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() > 253 || !text.split('.').all(label) {
        return Err("the host is neither an IP address (version 6 in brackets) nor a host name");
    }
    // No name server is to be asked for one (RFC 7686).
    if text.to_ascii_lowercase().ends_with(".onion") {
        return Err("an onion address is not reached directly; its kind is tor");
    }
    Ok(text.to_ascii_lowercase())
}

/// The bytes in an onion name: the key, the checksum, the version.
const ONION_BYTES: usize = 32 + 2 + 1;
const ONION_VERSION: u8 = 3;

/// Checks a name of version 3 (Tor's `rend-spec-v3`, "Encoding onion addresses").
fn onion_host(text: &str) -> Result<String, &'static str> {
    let text = text.to_ascii_lowercase();
    let name = text.strip_suffix(".onion").unwrap_or_default();
    let mut bytes = [0; ONION_BYTES];
    if name.len() != 56 || BASE32_NOPAD_NOCASE.decode_mut(name.as_bytes(), &mut bytes).is_err() {
        return Err("an onion address is 56 characters of base32 followed by .onion");
    }
    let [identity @ .., first, second, version] = bytes;
    if version != ONION_VERSION {
        return Err("the onion address is not of version 3, the only one that Tor still serves");
    }
    if onion_checksum(&identity) != [first, second] {
        return Err(
            "the checksum of the onion address is wrong; copy the address again, a character differs",
        );
    }
    Ok(text)
}

fn onion_checksum(identity: &[u8; 32]) -> [u8; 2] {
    let hash =
        Sha3_256::new_with_prefix(b".onion checksum").chain_update(identity).chain_update([ONION_VERSION]);
    let [first, second, ..]: [u8; 32] = hash.finalize().into();
    [first, second]
}

/// Why a text is not an endpoint's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// A number on chain that stands for no known way to reach an endpoint.
    #[error("endpoint type {number} is unknown; 0 is tor, 1 is direct")]
    UnknownSourceType {
        /// The number found.
        number: u8,
    },
    /// A text without its kind in front.
    #[error("an endpoint address starts with direct: or tor:, as in direct:agent.example:9000")]
    NoKind,
    /// Not an address of its kind.
    #[error("malformed {kind} endpoint address: {reason}")]
    Malformed {
        /// What it should have been.
        kind: SourceType,
        /// What is wrong.
        reason: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONION: &str = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";

    #[test]
    fn an_address_reads_back_what_it_writes() {
        let onion = format!("tor:{ONION}:9000");
        for text in ["direct:agent.example:9000", "direct:127.0.0.1:1", "direct:[2001:db8::1]:65535", &onion]
        {
            let address: SomcAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(SomcAddress::new(address.kind(), &address.source()), Ok(address.clone()));
            let json = serde_json::to_string(&address).unwrap();
            assert_eq!(serde_json::from_str::<SomcAddress>(&json).unwrap(), address);
        }
        let address =
            SomcAddress::new(SourceType::Tor, &ONION.to_uppercase().replace("ONION", "onion")).unwrap();
        assert_eq!((address.host(), address.port()), (ONION, 80));
    }

    #[test]
    fn an_ipv6_host_is_understood_with_and_without_brackets() {
        for host in ["2001:db8::1", "[2001:db8::1]", "2001:DB8:0::1"] {
            assert_eq!(SomcAddress::direct(host, 9500).unwrap().to_string(), "direct:[2001:db8::1]:9500");
        }
        for (host, port) in [("::1%eth0", 9500), ("[::1", 9500), ("::1]", 9500), ("::1", 0)] {
            assert!(SomcAddress::direct(host, port).is_err(), "{host} {port}");
        }
    }

    #[test]
    fn a_hostile_address_is_refused() {
        for text in [
            "",
            ":",
            "host",
            "host:",
            ":80",
            "host:0",
            "host:65536",
            "host:+80",
            "host:8 0",
            "a b:80",
            "a\n:80",
            "a/b:80",
            "user@host:80",
            "-a:80",
            "a..b:80",
            "::1:80",
            "[::1:80",
            "[127.0.0.1]:80",
            "é.example:80",
            "http://host:80",
            "example.onion:80",
            "[::1%eth0]:80",
        ] {
            assert!(SomcAddress::new(SourceType::Direct, text).is_err(), "{text:?}");
        }
        let long = format!("{}.example:80", "a".repeat(300));
        assert!(SomcAddress::new(SourceType::Direct, &long).is_err());
        for text in
            ["", "example.onion", "short.onion:80", &ONION[1..], &ONION.replace('z', "1"), "127.0.0.1:80"]
        {
            assert!(SomcAddress::new(SourceType::Tor, text).is_err(), "{text:?}");
        }
        assert_eq!("agent.example:80".parse::<SomcAddress>(), Err(AddressError::NoKind));
    }

    #[test]
    fn an_onion_address_with_any_wrong_character_is_refused() {
        let name = ONION.strip_suffix(".onion").unwrap();
        for at in 0..name.len() {
            let other = if name.as_bytes()[at] == b'a' { "b" } else { "a" };
            let wrong = format!("{}{other}{}.onion", &name[..at], &name[at + 1..]);
            assert!(SomcAddress::new(SourceType::Tor, &wrong).is_err(), "{wrong}");
        }
        let reason = |text: &str| SomcAddress::new(SourceType::Tor, text).unwrap_err().to_string();
        assert!(reason(&ONION.replacen('2', "3", 1)).contains("checksum"));
        assert!(reason(&ONION.replace("wid.", "wia.")).contains("version 3"));
    }

    #[test]
    fn an_onion_address_follows_from_the_services_key() {
        // Written by an implementation of its own: Python's hashlib and base64.
        let address = SomcAddress::onion(&[7; 32], 80).unwrap();
        assert_eq!(address.host(), "a4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dwc6ad.onion");
        assert_eq!(address.to_string().parse(), Ok(address));
        assert!(SomcAddress::onion(&[7; 32], 0).is_err());
    }

    #[test]
    fn an_onion_service_is_read_with_its_kind_and_port_or_without() {
        let expected = SomcAddress::new(SourceType::Tor, ONION).unwrap();
        for text in [ONION, &format!("{ONION}:80"), &format!("tor:{ONION}"), &format!("tor:{ONION}:80")] {
            assert_eq!(SomcAddress::read_onion(text), Ok(expected.clone()), "{text}");
        }
        for text in ["direct:agent.example:80", "agent.example:80", "tor:tor:", &format!("tor:tor:{ONION}")] {
            SomcAddress::read_onion(text).unwrap_err();
        }
    }

    #[test]
    fn the_numbers_are_those_on_chain() {
        assert_eq!(SourceType::try_from(0), Ok(SourceType::Tor));
        assert_eq!(SourceType::try_from(1), Ok(SourceType::Direct));
        assert_eq!(SourceType::try_from(2), Err(AddressError::UnknownSourceType { number: 2 }));
        assert_eq!((SourceType::Tor.number(), SourceType::Direct.number()), (0, 1));
    }
}
