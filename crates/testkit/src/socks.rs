use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::TestkitError;

/// What a [`SocksServer`] was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocksRequest {
    /// User name and password, if a login was made.
    pub login: Option<(String, String)>,
    /// The host as it was written in the request: a name that was not resolved, or an address.
    pub host: String,
    /// Whether it came as a name.
    pub is_name: bool,
    /// The port.
    pub port: u16,
}

type Route = dyn Fn(&SocksRequest) -> Result<SocketAddr, u8> + Send + Sync;

/// A SOCKS5 proxy on loopback that writes down what it is asked for, and connects to where the test says, whatever the
/// host's name. It takes every login.
#[derive(Debug)]
pub struct SocksServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<SocksRequest>>>,
    task: JoinHandle<()>,
}

impl SocksServer {
    /// A proxy that asks `route` where to connect, or with which code of RFC 1928 section 6 to refuse.
    pub async fn start(
        route: impl Fn(&SocksRequest) -> Result<SocketAddr, u8> + Send + Sync + 'static,
    ) -> Result<Self, TestkitError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(TestkitError::Listen)?;
        let address = listener.local_addr().map_err(TestkitError::Listen)?;
        let asked = Arc::<Mutex<Vec<SocksRequest>>>::default();
        let (noted, route): (_, Arc<Route>) = (Arc::clone(&asked), Arc::new(route));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (noted, route) = (Arc::clone(&noted), Arc::clone(&route));
                // A client that goes away, or that speaks another protocol, is the test's to notice.
                connections.spawn(async move { drop(serve(stream, &noted, &*route).await) });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, asked, task })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that it was asked for, in order.
    pub fn asked(&self) -> Vec<SocksRequest> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Ends its connections, too.
impl Drop for SocksServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, asked: &Mutex<Vec<SocksRequest>>, route: &Route) -> io::Result<()> {
    let [_, methods] = read(&mut stream).await?;
    let methods = read_vec(&mut stream, methods).await?;
    let login = if methods.contains(&2) {
        stream.write_all(&[5, 2]).await?;
        let [_, length] = read(&mut stream).await?;
        let username = text(read_vec(&mut stream, length).await?)?;
        let [length] = read(&mut stream).await?;
        let password = text(read_vec(&mut stream, length).await?)?;
        stream.write_all(&[1, 0]).await?;
        Some((username, password))
    } else {
        stream.write_all(&[5, 0]).await?;
        None
    };
    let [_, _, _, kind] = read(&mut stream).await?;
    let host = match kind {
        1 => SocketAddr::from((read::<4>(&mut stream).await?, 0)).ip().to_string(),
        4 => SocketAddr::from((read::<16>(&mut stream).await?, 0)).ip().to_string(),
        _ => {
            let [length] = read(&mut stream).await?;
            text(read_vec(&mut stream, length).await?)?
        }
    };
    let port = stream.read_u16().await?;
    let request = SocksRequest { login, host, is_name: kind == 3, port };
    let to = route(&request);
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    let answer = |code| [5, code, 0, 1, 0, 0, 0, 0, 0, 0];
    match to {
        Ok(to) => {
            let mut destination = TcpStream::connect(to).await?;
            stream.write_all(&answer(0)).await?;
            copy_bidirectional(&mut stream, &mut destination).await?;
            Ok(())
        }
        Err(code) => stream.write_all(&answer(code)).await,
    }
}

async fn read<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn read_vec(stream: &mut TcpStream, length: u8) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(io::Error::other)
}
