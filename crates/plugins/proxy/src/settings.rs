//! What an operator can set, with defaults that suit a public seller and a buyer at home.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU64;
use std::time::Duration;

use privatix_adapter::AdapterRefusal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::destination::Destinations;

/// Settings of the selling side.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ServerSettings {
    /// Where to listen, for both protocols. Port 0 takes any free one. `[::]`, the default, takes connections over IPv4, too.
    pub listen: SocketAddr,
    /// Name or address under which clients reach this machine. Needed when `listen` is a wildcard address.
    pub public_host: Option<String>,
    /// Port under which clients reach it, if it is another than that of `listen` (port forwarding).
    pub public_port: Option<u16>,
    /// What clients may reach through the proxy.
    pub destinations: Destinations,
    /// Bounds on connections.
    pub limits: Limits,
    /// How usage is reported.
    pub reports: Reports,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 1080)),
            public_host: None,
            public_port: None,
            destinations: Destinations::default(),
            limits: Limits::default(),
            reports: Reports::default(),
        }
    }
}

impl ServerSettings {
    /// Reads and checks the settings of a configuration.
    ///
    /// # Errors
    /// [`AdapterRefusal::Settings`] that names the field.
    pub fn parse(settings: &Value) -> Result<Self, AdapterRefusal> {
        let mut parsed: Self = parse(settings)?;
        parsed.limits.check()?;
        parsed.public_host = parsed.public_host.map(without_brackets);
        if parsed.listen.ip().is_unspecified() && parsed.public_host.is_none() {
            return Err(refuse(
                "public_host",
                format!(
                    "needed, as {} is no address that clients can reach: name this machine's",
                    parsed.listen.ip()
                ),
            ));
        }
        if parsed.public_host.as_ref().is_some_and(|host| host.trim().is_empty()) {
            return Err(refuse("public_host", "is empty: name this machine's public address"));
        }
        if parsed.public_port == Some(0) {
            return Err(refuse("public_port", "is 0: name the port that clients connect to"));
        }
        Ok(parsed)
    }
}

/// Settings of the buying side.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClientSettings {
    /// The address to open local ports on.
    pub listen: IpAddr,
    /// The first local port to try; each new channel takes the next free one, and keeps it for its life. A port whose
    /// channel is over is taken again when there are no others. 0 takes any free port.
    pub port: u16,
    /// How many ports to try, from `port` on.
    pub port_count: u16,
    /// Allows a `listen` address that other machines can reach. They use the channel without a password then.
    pub allow_remote_users: bool,
    /// Allows agents at private and loopback addresses. Without it an agent cannot point this machine at its own network.
    pub allow_private_agents: bool,
    /// Bounds on connections.
    pub limits: Limits,
    /// How usage is reported.
    pub reports: Reports,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 1080,
            port_count: 100,
            allow_remote_users: false,
            allow_private_agents: false,
            limits: Limits::default(),
            reports: Reports::default(),
        }
    }
}

impl ClientSettings {
    /// Reads and checks the settings of a configuration.
    ///
    /// # Errors
    /// [`AdapterRefusal::Settings`] that names the field.
    pub fn parse(settings: &Value) -> Result<Self, AdapterRefusal> {
        let parsed: Self = parse(settings)?;
        parsed.limits.check()?;
        if !parsed.listen.is_loopback() && !parsed.allow_remote_users {
            return Err(refuse(
                "listen",
                format!(
                    "{} lets other machines use your channels: take 127.0.0.1, or set allow_remote_users",
                    parsed.listen
                ),
            ));
        }
        if parsed.port_count == 0 {
            return Err(refuse("port_count", "is 0: allow at least one port"));
        }
        Ok(parsed)
    }
}

/// Bounds on connections, so that no client or stranger can exhaust the machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at once in all, of those that have logged in. They have places of their own; further ones are refused.
    pub connections: usize,
    /// Connections of one channel that carry a request at once. As many more may be logged in between two requests; further
    /// ones are refused.
    pub connections_per_channel: usize,
    /// Connections at once that have not logged in (yet). When all their places are taken, the one idle for longest is closed for
    /// a new one. Where no login is asked for, there are none.
    pub connections_before_login: usize,
    /// Of these, connections from one IPv4 address or one IPv6 /64 network.
    pub connections_before_login_per_address: usize,
    /// Time for a client to say what it wants (login and request).
    #[serde(with = "humantime_serde")]
    pub handshake: Duration,
    /// Time to resolve a name and connect to it. A client then waits as long once more, and `suspended_wait`, for the agent
    /// to do the same with the destination.
    #[serde(with = "humantime_serde")]
    pub connect: Duration,
    /// A connection without a byte for this time is closed. Time spent suspended does not count.
    #[serde(with = "humantime_serde")]
    pub idle: Duration,
    /// The most bytes of an HTTP request's head, at least 8192. An answer's head above it is relayed unseen.
    pub header_bytes: usize,
    /// How long a new connection waits for a suspended channel before it is refused: short suspensions pass unnoticed.
    #[serde(with = "humantime_serde")]
    pub suspended_wait: Duration,
    /// Wrong passwords for one channel from one address in a minute, until further ones are refused unseen.
    pub wrong_passwords_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_channel: 512,
            connections_before_login: 1024,
            connections_before_login_per_address: 256,
            handshake: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            idle: Duration::from_mins(10),
            header_bytes: 64 * 1024,
            suspended_wait: Duration::from_secs(5),
            wrong_passwords_per_minute: 10,
        }
    }
}

impl Limits {
    fn check(&self) -> Result<(), AdapterRefusal> {
        for (field, zero) in [
            ("limits.connections", self.connections == 0),
            ("limits.connections_per_channel", self.connections_per_channel == 0),
            ("limits.connections_before_login", self.connections_before_login == 0),
            ("limits.connections_before_login_per_address", self.connections_before_login_per_address == 0),
            ("limits.handshake", self.handshake.is_zero()),
            ("limits.connect", self.connect.is_zero()),
            ("limits.idle", self.idle.is_zero()),
        ] {
            if zero {
                return Err(refuse(field, "is 0, so nothing could ever pass: set it above 0"));
            }
        }
        if self.header_bytes < 8192 {
            return Err(refuse(
                "limits.header_bytes",
                "is too small for what browsers send: set it to 8192 or more",
            ));
        }
        Ok(())
    }
}

/// How usage is reported. What a client can use unpaid is at most the offering's lag, what passes until the next report, and
/// what passes until the agent has judged that report.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Reports {
    /// At the latest after this many bytes of a session.
    pub every_bytes: NonZeroU64,
    /// At the latest after this time with any bytes.
    #[serde(with = "humantime_serde")]
    pub every: Duration,
    /// A session without connections for this time has ended; later use is a new one.
    #[serde(with = "humantime_serde")]
    pub session_idle: Duration,
}

impl Default for Reports {
    fn default() -> Self {
        const KIB_256: NonZeroU64 = NonZeroU64::new(256 * 1024).unwrap();
        Self { every_bytes: KIB_256, every: Duration::from_millis(250), session_idle: Duration::from_mins(1) }
    }
}

/// Clients get an IPv6 address as it is; operators write it with brackets, too.
fn without_brackets(host: String) -> String {
    let inner = host.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner.map(str::parse::<Ipv6Addr>) {
        Some(Ok(address)) => address.to_string(),
        _ => host,
    }
}

fn parse<T: DeserializeOwned>(settings: &Value) -> Result<T, AdapterRefusal> {
    let empty = Value::Object(serde_json::Map::new());
    let settings = if settings.is_null() { &empty } else { settings };
    serde_path_to_error::deserialize(settings).map_err(|error| {
        let field = error.path().to_string();
        refuse(&field, error.into_inner().to_string())
    })
}

fn refuse(field: &str, reason: impl Into<String>) -> AdapterRefusal {
    AdapterRefusal::Settings { field: field.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(answer: Result<impl std::fmt::Debug, AdapterRefusal>) -> String {
        answer.unwrap_err().to_string()
    }

    #[test]
    fn defaults_hold_but_for_what_only_the_operator_knows() {
        let server = ServerSettings::parse(&json!({"public_host": "proxy.example"})).unwrap();
        assert_eq!(server.listen.port(), 1080);
        assert!(server.destinations.deny_ports.contains(&25));
        assert!(ClientSettings::parse(&Value::Null).unwrap().listen.is_loopback());
        assert!(refused(ServerSettings::parse(&json!({}))).contains("`public_host`: needed"));
    }

    #[test]
    fn a_public_address_of_version_6_may_stand_in_brackets() {
        for host in ["[2001:db8::1]", "2001:db8::1"] {
            let parsed = ServerSettings::parse(&json!({ "public_host": host })).unwrap();
            assert_eq!(parsed.public_host.as_deref(), Some("2001:db8::1"));
        }
    }

    #[test]
    fn settings_read_back_what_they_write() {
        let server = ServerSettings { public_host: Some("h".into()), ..Default::default() };
        assert_eq!(ServerSettings::parse(&serde_json::to_value(&server).unwrap()).unwrap(), server);
        let client = ClientSettings::default();
        assert_eq!(ClientSettings::parse(&serde_json::to_value(&client).unwrap()).unwrap(), client);
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (settings, expected) in [
            (json!({"lisen": "0.0.0.0:1"}), "lisen"),
            (json!({"listen": 7}), "`listen`"),
            (json!({"listen": "127.0.0.1:1080", "limits": {"idle": "soon"}}), "`limits.idle`"),
            (json!({"listen": "127.0.0.1:1080", "limits": {"idle": "0s"}}), "`limits.idle`"),
            (json!({"listen": "127.0.0.1:1080", "limits": {"connections": 0}}), "`limits.connections`"),
            (json!({"listen": "127.0.0.1:1080", "limits": {"header_bytes": 100}}), "`limits.header_bytes`"),
            (json!({"listen": "127.0.0.1:1080", "reports": {"every_bytes": 0}}), "`reports.every_bytes`"),
            (
                json!({"listen": "127.0.0.1:1080", "destinations": {"allow": ["10.0.0.0/33"]}}),
                "`destinations.allow[0]`",
            ),
            (json!({"listen": "127.0.0.1:1080", "public_port": 0}), "`public_port`"),
            (json!({"listen": "127.0.0.1:1080", "public_host": " "}), "`public_host`"),
            (json!("all"), "setting"),
        ] {
            let said = refused(ServerSettings::parse(&settings));
            assert!(said.contains(expected), "{settings}: {said}");
        }
    }

    #[test]
    fn an_open_proxy_for_the_neighbourhood_must_be_wished_for() {
        assert!(refused(ClientSettings::parse(&json!({"listen": "0.0.0.0"}))).contains("allow_remote_users"));
        assert!(ClientSettings::parse(&json!({"listen": "0.0.0.0", "allow_remote_users": true})).is_ok());
    }
}
