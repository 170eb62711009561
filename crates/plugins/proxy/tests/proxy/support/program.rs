//! Programs that speak the proxy's protocols byte by byte, as RFC 1928, RFC 1929 and RFC 9110 have them.

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::soon;

/// What became of a request to a proxy.
#[derive(Debug)]
pub(crate) enum Outcome {
    Connected(TcpStream),
    /// SOCKS5: its reply code; HTTP: its status.
    Refused(u16),
    /// The login was refused.
    Denied,
    /// The connection was closed.
    Closed,
}

impl Outcome {
    pub(crate) fn connected(self) -> TcpStream {
        match self {
            Self::Connected(stream) => stream,
            other => panic!("not connected: {other:?}"),
        }
    }

    pub(crate) fn refused(self) -> u16 {
        match self {
            Self::Refused(code) => code,
            other => panic!("not refused: {other:?}"),
        }
    }
}

pub(crate) type Login<'a> = Option<(&'a str, &'a str)>;

/// SOCKS5 to a host that is an address or a name.
pub(crate) async fn socks(proxy: SocketAddr, login: Login<'_>, host: &str, port: u16) -> Outcome {
    soon("a SOCKS5 handshake", async {
        let Ok(mut stream) = TcpStream::connect(proxy).await else { return Outcome::Closed };
        socks_over(&mut stream, login, host, port).await.map_or(Outcome::Closed, |refusal| match refusal {
            None => Outcome::Connected(stream),
            Some(refusal) => refusal,
        })
    })
    .await
}

async fn socks_over(
    stream: &mut TcpStream,
    login: Login<'_>,
    host: &str,
    port: u16,
) -> std::io::Result<Option<Outcome>> {
    stream.write_all(&[5, 1, if login.is_some() { 2 } else { 0 }]).await?;
    let mut two = [0; 2];
    stream.read_exact(&mut two).await?;
    if two[1] == 0xff {
        return Ok(Some(Outcome::Denied));
    }
    if let Some((username, password)) = login {
        let mut message = vec![1, username.len() as u8];
        message.extend(username.as_bytes());
        message.push(password.len() as u8);
        message.extend(password.as_bytes());
        stream.write_all(&message).await?;
        stream.read_exact(&mut two).await?;
        if two[1] != 0 {
            return Ok(Some(Outcome::Denied));
        }
    }
    let mut message = vec![5, 1, 0];
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => {
            message.push(1);
            message.extend(ip.octets());
        }
        Ok(IpAddr::V6(ip)) => {
            message.push(4);
            message.extend(ip.octets());
        }
        Err(_) => {
            message.extend([3, host.len() as u8]);
            message.extend(host.as_bytes());
        }
    }
    message.extend(port.to_be_bytes());
    stream.write_all(&message).await?;
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).await?;
    assert_eq!((reply[0], reply[3]), (5, 1), "a SOCKS5 reply with an IPv4 address");
    Ok((reply[1] != 0).then_some(Outcome::Refused(reply[1].into())))
}

/// HTTP CONNECT.
pub(crate) async fn connect(proxy: SocketAddr, login: Login<'_>, host: &str, port: u16) -> Outcome {
    let authorization =
        login.map_or_else(String::new, |login| format!("Proxy-Authorization: {}\r\n", basic(login)));
    let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{authorization}\r\n");
    soon("an HTTP handshake", async {
        let Ok(mut stream) = TcpStream::connect(proxy).await else { return Outcome::Closed };
        if stream.write_all(request.as_bytes()).await.is_err() {
            return Outcome::Closed;
        }
        match head(&mut stream).await {
            Some((200, _)) => Outcome::Connected(stream),
            Some((407, _)) => Outcome::Denied,
            Some((status, _)) => Outcome::Refused(status),
            None => Outcome::Closed,
        }
    })
    .await
}

pub(crate) fn basic((username, password): (&str, &str)) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    format!("Basic {encoded}")
}

/// Reads the head of an HTTP response, and not a byte more.
pub(crate) async fn head(stream: &mut TcpStream) -> Option<(u16, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    Some((head.split_ascii_whitespace().nth(1)?.parse().ok()?, head))
}

/// Sends bytes as they are and returns all that comes back until the other side ends.
pub(crate) async fn exchange(proxy: SocketAddr, message: &[u8]) -> Vec<u8> {
    soon("an exchange", async {
        let mut stream = TcpStream::connect(proxy).await.unwrap();
        let _ = stream.write_all(message).await; // may be cut short by a refusal
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    })
    .await
}
