//! The client's way through the agent's proxy: SOCKS5 with a login (RFC 1928, RFC 1929), in one round trip.

use std::io;

use privatix_adapter::{AdapterRefusal, Credentials};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use crate::destination::Target;
use crate::front::DialError;

/// Asks the agent at the other end of `stream` for a connection to `target`.
///
/// Greeting, login and request leave together: the agent's answers to all three come after one round trip instead of three.
/// (Names are not resolved here: that is the agent's, which sees the destination anyhow.)
pub(crate) async fn request<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    credentials: &Credentials,
    target: &Target,
) -> Result<(), DialError> {
    let message = message(credentials, target).ok_or_else(|| {
        DialError::Unresolved(io::Error::other("name or credentials longer than SOCKS5 can carry"))
    })?;
    stream.write_all(&message).await.map_err(DialError::Agent)?;

    let [version, method] = read(stream).await?;
    if version != 5 || method != PASSWORD {
        return Err(not_socks("it does not ask for a SOCKS5 login with a password"));
    }
    let [_, status] = read(stream).await?;
    if status != 0 {
        return Err(DialError::AgentLogin);
    }
    let [version, reply, _, kind] = read(stream).await?;
    if version != 5 {
        return Err(not_socks("its reply is not of SOCKS5"));
    }
    match kind {
        IPV4 => drop::<[u8; 6]>(read(stream).await?),
        IPV6 => drop::<[u8; 18]>(read(stream).await?),
        NAME => {
            let [length] = read(stream).await?;
            let mut rest = vec![0; usize::from(length) + 2];
            stream.read_exact(&mut rest).await.map_err(DialError::Agent)?;
        }
        _ => return Err(not_socks("its reply has an unknown kind of address")),
    }
    match reply {
        0 => Ok(()),
        2 => Err(DialError::RefusedByAgent),
        3 => Err(DialError::Unreachable(io::Error::other("so the agent says"))),
        4 => Err(DialError::Unresolved(io::Error::other("so the agent says"))),
        5 => Err(DialError::Refused),
        6 => Err(DialError::TimedOut),
        _ => Err(DialError::AgentFailed),
    }
}

/// What SOCKS5 (RFC 1929) and HTTP Basic (RFC 7617) can carry.
pub(crate) fn check(credentials: &Credentials) -> Result<(), AdapterRefusal> {
    let refuse = |field: &str, reason: &str| {
        Err(AdapterRefusal::Parameters { field: field.to_owned(), reason: reason.to_owned() })
    };
    match (credentials.username.len(), credentials.password.expose().len()) {
        (0 | 256.., _) => refuse("credentials.username", "must have 1 to 255 bytes"),
        (_, 0 | 256..) => refuse("credentials.password", "must have 1 to 255 bytes"),
        _ if credentials.username.contains(':') => refuse("credentials.username", "must have no colon"),
        _ => Ok(()),
    }
}

const PASSWORD: u8 = 2;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

fn message(credentials: &Credentials, target: &Target) -> Option<Zeroizing<Vec<u8>>> {
    let mut message = Zeroizing::new(Vec::with_capacity(600)); // never grown, so no copy of the password is left behind
    message.extend([5, 1, PASSWORD]);
    message.push(1);
    for text in [credentials.username.as_str(), credentials.password.expose()] {
        message.push(u8::try_from(text.len()).ok()?);
        message.extend(text.as_bytes());
    }
    message.extend([5, 1, 0]);
    match target {
        Target::Address(address) => match address.ip() {
            std::net::IpAddr::V4(ip) => {
                message.push(IPV4);
                message.extend(ip.octets());
            }
            std::net::IpAddr::V6(ip) => {
                message.push(IPV6);
                message.extend(ip.octets());
            }
        },
        Target::Name(name, _) => {
            message.push(NAME);
            message.push(u8::try_from(name.len()).ok()?);
            message.extend(name.as_bytes());
        }
    }
    message.extend(target.port().to_be_bytes());
    Some(message)
}

async fn read<const N: usize>(stream: &mut (impl AsyncRead + Unpin)) -> Result<[u8; N], DialError> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(DialError::Agent)?;
    Ok(bytes)
}

fn not_socks(what: &str) -> DialError {
    DialError::Agent(io::Error::new(io::ErrorKind::InvalidData, what))
}
