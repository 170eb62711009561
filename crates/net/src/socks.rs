//! The client's side of SOCKS5: asks a proxy, such as a tor daemon, for a connection.
//!
//! RFC 1928 with the login of RFC 1929, and the replies about onion services that tor adds to it (tor's proposal 304). Host
//! names go to the proxy as they are: nothing is looked up here.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const NO_LOGIN: u8 = 0;
const BY_PASSWORD: u8 = 2;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// A user name and a password of 1 to 255 bytes each. `Debug` hides both.
#[derive(Clone, PartialEq, Eq)]
pub struct SocksLogin {
    username: String,
    password: String,
}

impl SocksLogin {
    /// A login; none if a part has no bytes or more than 255, which RFC 1929 cannot express.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Option<Self> {
        let (username, password) = (username.into(), password.into());
        let fits = |text: &str| (1..=255).contains(&text.len());
        (fits(&username) && fits(&password)).then_some(Self { username, password })
    }
}

impl fmt::Debug for SocksLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SocksLogin(…)")
    }
}

/// Connects to `host` and `port` through the SOCKS5 proxy at `proxy`.
///
/// A host that is an IP address (version 6 without brackets) is asked for as such; any other is a name, which the proxy
/// resolves. With a login, no other way of authentication is offered, so that a proxy cannot leave it out.
///
/// The caller bounds the time: dropped at any point, it closes the connection to the proxy.
///
/// # Errors
/// [`SocksError`].
pub async fn socks_connect(
    proxy: SocketAddr,
    login: Option<&SocksLogin>,
    host: &str,
    port: u16,
) -> Result<TcpStream, SocksError> {
    let request = request(host, port)?;
    let mut stream = TcpStream::connect(proxy).await.map_err(SocksError::Unreachable)?;
    // The handshake's messages and those of the protocol above it are small, and each waits for an answer.
    stream.set_nodelay(true).map_err(SocksError::Unreachable)?;
    handshake(&mut stream, login, &request).await?;
    Ok(stream)
}

/// Reads exactly the bytes of each answer and none after them: those belong to whoever gets the stream.
async fn handshake(
    stream: &mut TcpStream,
    login: Option<&SocksLogin>,
    request: &[u8],
) -> Result<(), SocksError> {
    let method = if login.is_some() { BY_PASSWORD } else { NO_LOGIN };
    stream.write_all(&[VERSION, 1, method]).await?;
    let [version, chosen] = read(stream).await?;
    expect_version(version, VERSION)?;
    if chosen != method {
        return Err(SocksError::Method { by_password: login.is_some() });
    }
    if let Some(login) = login {
        stream.write_all(&login_message(login)).await?;
        let [version, status] = read(stream).await?;
        expect_version(version, LOGIN_VERSION)?;
        if status != 0 {
            return Err(SocksError::Login);
        }
    }
    stream.write_all(request).await?;
    let [version, reply, _reserved, kind] = read(stream).await?;
    expect_version(version, VERSION)?;
    if reply != 0 {
        // What follows it has no meaning, and not every proxy sends it.
        return Err(SocksReply::from(reply).into());
    }
    skip_address(stream, kind).await
}

/// The address that the proxy connected from, which nobody here needs.
async fn skip_address(stream: &mut TcpStream, kind: u8) -> Result<(), SocksError> {
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => {
            let [length] = read(stream).await?;
            usize::from(length)
        }
        found => return Err(SocksError::NotSocks5 { found }),
    };
    let mut address = [0; 255 + 2];
    // A length is a byte, so address and port always fit.
    if let Some(address) = address.get_mut(..length + 2) {
        stream.read_exact(address).await?;
    }
    Ok(())
}

async fn read<const N: usize>(stream: &mut TcpStream) -> Result<[u8; N], SocksError> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

const fn expect_version(found: u8, expected: u8) -> Result<(), SocksError> {
    if found == expected { Ok(()) } else { Err(SocksError::NotSocks5 { found }) }
}

fn login_message(login: &SocksLogin) -> Vec<u8> {
    let mut message = vec![LOGIN_VERSION];
    for part in [&login.username, &login.password] {
        // A login has no longer parts.
        message.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
        message.extend_from_slice(part.as_bytes());
    }
    message
}

fn request(host: &str, port: u16) -> Result<Vec<u8>, SocksError> {
    let mut request = vec![VERSION, CONNECT, 0];
    match host.parse() {
        Ok(IpAddr::V4(ip)) => {
            request.push(IPV4);
            request.extend_from_slice(&ip.octets());
        }
        Ok(IpAddr::V6(ip)) => {
            request.push(IPV6);
            request.extend_from_slice(&ip.octets());
        }
        Err(_) => {
            let length = u8::try_from(host.len()).ok().filter(|length| *length > 0);
            request.extend([NAME, length.ok_or(SocksError::Host { length: host.len() })?]);
            request.extend_from_slice(host.as_bytes());
        }
    }
    request.extend_from_slice(&port.to_be_bytes());
    Ok(request)
}

/// Why a SOCKS5 proxy gave no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocksError {
    /// Nobody listens there.
    #[error("the proxy cannot be reached: {0}; start it, or correct its address")]
    Unreachable(#[source] io::Error),
    /// The connection to it ended within the handshake.
    #[error("the connection to the proxy broke: {0}; check that a SOCKS5 proxy listens there")]
    Broken(#[from] io::Error),
    /// What listens there speaks another protocol.
    #[error(
        "it does not speak SOCKS5 (it sent {found:#04x}); correct the address (tor's SocksPort is 9050 by default)"
    )]
    NotSocks5 {
        /// The byte that is none of the protocol's.
        found: u8,
    },
    /// It wants another way of authentication.
    #[error("the proxy {}", if *.by_password { "takes no user name and password" } else { "asks for a user name and a password; put them into its address" })]
    Method {
        /// Whether a user name and a password were offered.
        by_password: bool,
    },
    /// It refused the login.
    #[error("the proxy refuses the user name or the password; correct them")]
    Login,
    /// A host that SOCKS5 cannot express.
    #[error("a host name of {length} bytes cannot be asked for; it must have 1 to 255")]
    Host {
        /// Its length in bytes.
        length: usize,
    },
    /// It refused the request, or failed.
    #[error(transparent)]
    Refused(#[from] SocksReply),
}

/// What a proxy replied instead of connecting (RFC 1928 section 6; from [`OnionNotFound`](Self::OnionNotFound) on: tor's
/// proposal 304, sent by a tor daemon whose `SocksPort` has the flag `ExtendedErrors`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocksReply {
    /// 1
    #[error("the proxy failed for a reason that it does not name; its own log may")]
    GeneralFailure,
    /// 2
    #[error("the proxy's rules do not allow this connection; allow it in its configuration")]
    NotAllowed,
    /// 3
    #[error("the network is unreachable from the proxy; check the proxy's own connection")]
    NetworkUnreachable,
    /// 4. For tor also: the onion service's descriptor was not found.
    #[error("the host is unreachable from the proxy; it may be offline, try again later")]
    HostUnreachable,
    /// 5
    #[error("the host refuses the connection; its service may be down, try again later")]
    ConnectionRefused,
    /// 6. For tor: it took too long.
    #[error("the proxy did not reach the host in time; try again later")]
    TimedOut,
    /// 7
    #[error("the proxy makes no connections; take another proxy")]
    CommandNotSupported,
    /// 8
    #[error("the proxy does not take this kind of address; take a proxy that resolves names")]
    AddressNotSupported,
    /// 0xF0
    #[error(
        "the onion service's descriptor is not found; the service is down or its address is wrong, try again later"
    )]
    OnionNotFound,
    /// 0xF1
    #[error("the onion service's descriptor is invalid; the service's operator must mend it")]
    OnionInvalid,
    /// 0xF2
    #[error("the onion service's introduction failed; it may have just ended, try again later")]
    OnionIntroduction,
    /// 0xF3
    #[error("the rendezvous with the onion service failed; try again later")]
    OnionRendezvous,
    /// 0xF4
    #[error(
        "the onion service asks for client authorisation; give tor the key that the service's operator has allowed"
    )]
    OnionNoKey,
    /// 0xF5
    #[error("the onion service refuses our client authorisation; have its operator allow our key")]
    OnionWrongKey,
    /// 0xF6
    #[error("the onion address is invalid; its version or its checksum is wrong")]
    OnionBadAddress,
    /// 0xF7
    #[error("the onion service's introduction took too long; try again later")]
    OnionTimedOut,
    /// Another.
    #[error("the proxy replied with the unknown code {0:#04x}")]
    Other(u8),
}

impl From<u8> for SocksReply {
    fn from(code: u8) -> Self {
        match code {
            1 => Self::GeneralFailure,
            2 => Self::NotAllowed,
            3 => Self::NetworkUnreachable,
            4 => Self::HostUnreachable,
            5 => Self::ConnectionRefused,
            6 => Self::TimedOut,
            7 => Self::CommandNotSupported,
            8 => Self::AddressNotSupported,
            0xf0 => Self::OnionNotFound,
            0xf1 => Self::OnionInvalid,
            0xf2 => Self::OnionIntroduction,
            0xf3 => Self::OnionRendezvous,
            0xf4 => Self::OnionNoKey,
            0xf5 => Self::OnionWrongKey,
            0xf6 => Self::OnionBadAddress,
            0xf7 => Self::OnionTimedOut,
            other => Self::Other(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_asked_for_as_such_and_a_name_as_a_name() {
        assert_eq!(request("192.0.2.7", 80).unwrap(), [5, 1, 0, 1, 192, 0, 2, 7, 0, 80]);
        let v6 = request("2001:db8::1", 443).unwrap();
        assert_eq!((&v6[..6], v6.len()), (&[5, 1, 0, 4, 0x20, 0x01][..], 4 + 16 + 2));
        assert_eq!(request("a.b", 258).unwrap(), [5, 1, 0, 3, 3, b'a', b'.', b'b', 1, 2]);
        assert!(request(&"a".repeat(255), 1).is_ok());
        for host in [String::new(), "a".repeat(256)] {
            let length = host.len();
            assert!(matches!(request(&host, 1), Err(SocksError::Host { length: found }) if found == length));
        }
    }

    #[test]
    fn a_login_is_one_that_the_protocol_can_express_and_is_never_shown() {
        let login = SocksLogin::new("user", "secret").unwrap();
        assert_eq!(login_message(&login), b"\x01\x04user\x06secret");
        assert!(!format!("{login:?}").contains("secret"));
        let long = "a".repeat(256);
        for (username, password) in [("", "a"), ("a", ""), ("a", &*long), (&*long, "a")] {
            assert_eq!(SocksLogin::new(username, password), None);
        }
    }
}
