//! SOCKS5 towards programs (RFC 1928), with user name and password where a login is asked for (RFC 1929).

use std::net::SocketAddr;
use std::sync::Arc;

use fast_socks5::server::states::{Authenticated, CommandRead};
use fast_socks5::server::{AuthMethod, AuthMethodSuccessState, Socks5ServerProtocol, SocksServerError};
use fast_socks5::util::target_addr::TargetAddr;
use fast_socks5::{ReplyError, Socks5Command};
use privatix_net::PeerAddress;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::farewell::farewell;
use super::{Backend, DialError, Refused, connect};
use crate::channel::{Channel, NotAdmitted};
use crate::destination::Target;
use crate::relay::relay;

type Asked = (Arc<Channel>, Socks5ServerProtocol<TcpStream, CommandRead>, Socks5Command, TargetAddr);

pub(super) async fn serve<B: Backend>(backend: &B, stream: TcpStream, peer: PeerAddress) {
    let (channel, protocol, command, target) =
        match tokio::time::timeout(backend.limits().handshake, greet(backend, stream, peer)).await {
            Ok(Ok(Some(asked))) => asked,
            Ok(Ok(None)) => return, // refused, and said so
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "SOCKS5 handshake failed"),
            Err(_) => return tracing::debug!(%peer, "SOCKS5 handshake took too long"),
        };
    if command != Socks5Command::TCPConnect {
        let _ = protocol.reply_error(&ReplyError::CommandNotSupported).await;
        return;
    }
    let target = match target {
        TargetAddr::Ip(address) => Target::Address(address),
        TargetAddr::Domain(name, port) => Target::from_host(&name, port),
    };
    if !target.is_sound() {
        tracing::debug!(channel = %channel.id(), %peer, "SOCKS5 request for what is no host name");
        let _ = protocol.reply_error(&ReplyError::HostUnreachable).await;
        return;
    }
    match connect(backend, &channel, peer, &target).await {
        Ok((destination, flow)) => {
            // RFC 1928's BND.ADDR would show the client the proxy's own addresses, which it has no use for.
            let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
            match protocol.reply_success(nowhere).await {
                Ok(stream) => {
                    let (plain, metered) = super::meter(backend, stream, destination, flow);
                    relay(plain, metered, backend.limits().idle).await;
                }
                Err(error) => tracing::debug!(%peer, %error, "program gone before its request was answered"),
            }
        }
        Err(refused) => {
            tracing::debug!(channel = %channel.id(), %peer, %target, %refused, "SOCKS5 request refused");
            let _ = protocol.reply_error(&reply_for(&refused)).await;
        }
    }
}

async fn greet<B: Backend>(
    backend: &B,
    stream: TcpStream,
    peer: PeerAddress,
) -> Result<Option<Asked>, SocksServerError> {
    let opened = Socks5ServerProtocol::start(stream);
    let (channel, protocol) = if let Some(channel) = backend.open_to_all() {
        // Programs that insist on a password may give any.
        match opened.negotiate_auth(&[Login::None, Login::Password]).await? {
            (Login::None, stream) => (channel, authenticated(stream)),
            (Login::Password, mut stream) => {
                read_credentials(&mut stream).await?;
                (channel, accept(stream).await?)
            }
        }
    } else {
        let (_, mut stream) = opened.negotiate_auth(&[Login::Password]).await?;
        let (username, password) = read_credentials(&mut stream).await?;
        match backend.login(peer.ip(), &username, &password) {
            Ok(channel) => (channel, accept(stream).await?),
            Err(refused) => {
                tracing::debug!(%peer, %refused, "login refused");
                // A program may have sent its request already.
                farewell(stream, &[1, 1]).await;
                return Ok(None);
            }
        }
    };
    let (protocol, command, target) = protocol.read_command().await?;
    Ok(Some((channel, protocol, command, target)))
}

/// The login methods. Ours and not the crate's, which writes passwords to the log at its debug level.
#[derive(Clone, Copy)]
enum Login {
    None,
    Password,
}

impl AuthMethod<TcpStream> for Login {
    type StartingState = (Self, TcpStream);

    fn method_id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Password => 2,
        }
    }

    fn new(self, stream: TcpStream) -> Self::StartingState {
        (self, stream)
    }
}

struct LoggedIn(TcpStream);

impl AuthMethodSuccessState<TcpStream> for LoggedIn {
    fn into_inner(self) -> TcpStream {
        self.0
    }
}

fn authenticated(stream: TcpStream) -> Socks5ServerProtocol<TcpStream, Authenticated> {
    LoggedIn(stream).finish_auth()
}

async fn accept(
    mut stream: TcpStream,
) -> Result<Socks5ServerProtocol<TcpStream, Authenticated>, SocksServerError> {
    write(&mut stream, &[1, 0], "accepting a login").await?;
    Ok(authenticated(stream))
}

/// RFC 1929: version 1, then name and password, each after its length.
async fn read_credentials(stream: &mut TcpStream) -> Result<(String, Zeroizing<Vec<u8>>), SocksServerError> {
    let reading = |source| SocksServerError::Io { source, context: "reading a login" };
    let version = stream.read_u8().await.map_err(reading)?;
    if version != 1 {
        return Err(SocksServerError::UnsupportedSocksVersion(version));
    }
    let mut username = vec![0; stream.read_u8().await.map_err(reading)?.into()];
    stream.read_exact(&mut username).await.map_err(reading)?;
    let mut password = Zeroizing::new(vec![0; stream.read_u8().await.map_err(reading)?.into()]);
    stream.read_exact(&mut password).await.map_err(reading)?;
    let username = String::from_utf8(username)
        .map_err(|source| SocksServerError::FromUtf8 { source, context: "reading a login" })?;
    Ok((username, password))
}

async fn write(stream: &mut TcpStream, bytes: &[u8], context: &'static str) -> Result<(), SocksServerError> {
    stream.write_all(bytes).await.map_err(|source| SocksServerError::Io { source, context })
}

/// RFC 1928 §6.
fn reply_for(refused: &Refused) -> ReplyError {
    match refused {
        Refused::NotAdmitted(NotAdmitted::TooMany(_)) | Refused::Suspended => ReplyError::GeneralFailure,
        Refused::NotAdmitted(NotAdmitted::Stopped(_)) => ReplyError::ConnectionNotAllowed,
        Refused::Dial(error) => match error {
            DialError::NotAllowed(_)
            | DialError::OwnMachine
            | DialError::RefusedByAgent
            | DialError::AgentLogin => ReplyError::ConnectionNotAllowed,
            DialError::Unresolved(_) => ReplyError::HostUnreachable,
            DialError::Refused => ReplyError::ConnectionRefused,
            DialError::Unreachable(_) => ReplyError::NetworkUnreachable,
            DialError::TimedOut => ReplyError::TtlExpired,
            DialError::TooManyLookups | DialError::Agent(_) | DialError::AgentFailed => {
                ReplyError::GeneralFailure
            }
        },
    }
}
